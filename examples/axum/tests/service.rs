//! The service over loopback, with an MQTT server of its own.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]

use martlet_broker::tokio::Server;
use martlet_broker::{BrokerConfig, BrokerEvent, Ending, Memory};
use martlet_tokio::proto::DisconnectReasonCode;
use martlet_tokio::{Client, QoS};
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The service on a free port, and what ends it.
struct Service {
    address: SocketAddr,
    client: Client,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Service {
    async fn start(broker: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = martlet_tokio::start(lamps::mqtt(&broker.uri())).unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = lamps::serve(listener, client.clone(), async {
            stopped.await.unwrap();
        });
        let ended = tokio::spawn(async { serving.await.map_err(|e| e.to_string()).unwrap() });
        Self {
            address,
            client,
            stop,
            ended,
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }
}

async fn broker() -> Server {
    let config = BrokerConfig::default().record_events(true);
    Server::start(config).await.unwrap()
}

/// The status and the body of the answer.
async fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: lamps\r\nconnection: close\r\n");
    let request = format!("{head}content-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Whether the last client has sent a DISCONNECT, and no message was accepted after that.
fn ended_in_good_order(broker: &Server) -> bool {
    let last = broker.events().into_iter().rev().find(|event| {
        matches!(
            event,
            BrokerEvent::Accepted { .. } | BrokerEvent::Disconnected { .. }
        )
    });
    let normal = Ending::Client(DisconnectReasonCode::NormalDisconnection);
    matches!(last, Some(BrokerEvent::Disconnected { ending, .. }) if ending == normal)
}

#[tokio::test]
async fn a_lamp_is_switched_and_its_state_is_known() {
    let broker = broker().await;
    let lamp = martlet_tokio::connect(broker.uri()).await.unwrap();
    let mut orders = lamp.subscribe("lamps/+/set").await.unwrap();
    let service = Service::start(&broker).await;

    let (status, _) = http(service.address, "POST", "/lamps/kitchen", "on").await;
    assert_eq!(status, 202);
    let order = orders.next().await.unwrap();
    assert_eq!(
        (order.topic(), order.text()),
        ("lamps/kitchen/set", Some("on"))
    );

    let (status, _) = http(service.address, "GET", "/lamps/kitchen", "").await;
    assert_eq!(status, 404);
    for state in ["on", "off"] {
        let publish = lamp.publish("lamps/kitchen/state", state).retain(true);
        publish.qos(QoS::AtLeastOnce).await.unwrap();
        // The lamp has its acknowledgement, and the service has the message soon.
        while http(service.address, "GET", "/lamps/kitchen", "").await != (200, state.into()) {}
    }

    // `+`, which no topic has.
    let (status, _) = http(service.address, "POST", "/lamps/%2B", "on").await;
    assert_eq!(status, 400);
    lamp.disconnect().await;
    service.stop().await;
}

#[tokio::test]
async fn without_an_acknowledgement_the_answer_is_503() {
    let mut broker = broker().await;
    let service = Service::start(&broker).await;
    service.client.connected().await.unwrap();
    broker.kill(Memory::Lost).await;
    let (status, text) = http(service.address, "POST", "/lamps/kitchen", "on").await;
    assert_eq!(status, 503, "{text}");
    service.stop().await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_client_disconnects() {
    let mut broker = broker().await;
    let service = Service::start(&broker).await;
    service.client.connected().await.unwrap();
    broker.kill(Memory::Kept).await;
    let address = service.address;
    let request = tokio::spawn(async move { http(address, "POST", "/lamps/hall", "on").await });
    // The message waits, or is in flight if the client does not know yet that the broker is gone.
    while service.client.undelivered().is_empty() {
        tokio::task::yield_now().await;
    }
    service.stop.send(()).unwrap();
    // It accepts no new connections.
    while TcpStream::connect(address).await.is_ok() {}
    assert!(!request.is_finished());
    broker.revive().await.unwrap();
    assert_eq!(request.await.unwrap().0, 202);
    service.ended.await.unwrap();
    assert!(ended_in_good_order(&broker));
}

#[cfg(unix)]
#[tokio::test]
async fn signals_end_the_process_in_good_order() {
    use std::process::Stdio;
    use tokio::process::Command;

    for signal in ["-INT", "-TERM"] {
        let broker = broker().await;
        let mut process = Command::new(env!("CARGO_BIN_EXE_lamps"))
            .args([&*broker.uri(), "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = output.next_line().await.unwrap().unwrap();
        let address = address.strip_prefix("http://").unwrap().parse().unwrap();
        let (status, _) = http(address, "POST", "/lamps/kitchen", "on").await;
        assert_eq!(status, 202);
        let id = process.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await;
        assert!(sent.unwrap().success());
        assert!(process.wait().await.unwrap().success());
        assert_eq!(
            output.next_line().await.unwrap().as_deref(),
            Some("stopped")
        );
        assert!(ended_in_good_order(&broker));
    }
}
