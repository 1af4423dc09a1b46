//! Observers: what they see, and that they do no harm.

use crate::scripted::{builder, client, connected, settle, soon};
use martlet_client::{
    ClientEvent, PacketLogger, QoS, Will,
    hooks::Observer,
    proto::{BinaryData, Packet},
    session::Instant,
};
use martlet_proto::{Auth, AuthReasonCode};
use std::sync::{Arc, Mutex};

type Lines = Arc<Mutex<Vec<String>>>;

fn logger(lines: &Lines) -> PacketLogger<impl FnMut(&str) + Clone + Send + Sync + 'static> {
    let lines = Arc::clone(lines);
    PacketLogger::new("me", move |line| {
        lines.lock().unwrap().push(line.to_owned());
    })
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_connection() {
    let lines = Lines::default();
    let will = Will::new("will", "secret").unwrap();
    let builder = builder()
        .credentials("secret", "secret")
        .will_message(will)
        .observer(logger(&lines));
    let (client, mut server, _network) = connected(builder).await;
    let (stream, _) = tokio::join!(
        async { client.subscribe("a/+").qos(QoS::AtLeastOnce).await },
        server.grant()
    );
    let mut stream = stream.unwrap();
    server
        .message("a/b\nfake line", "secret", crate::scripted::qos1(7), &[])
        .await;
    soon(stream.next()).await.unwrap();
    server.packet().await;
    let receipt = client
        .publish("a/b", "secret")
        .qos(QoS::ExactlyOnce)
        .enqueue()
        .await
        .unwrap();
    let server = tokio::spawn(server.serve());
    soon(receipt).await.unwrap();
    soon(client.disconnect()).await;
    soon(server).await.unwrap();
    let lines = lines.lock().unwrap();
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("secret") || line.contains('\n')),
        "{lines:#?}"
    );
    let expected = [
        "me ------ connecting to mqtt://test:1883",
        r#"me -out-> CONNECT MQTT 5 id "me" clean start keep alive 60 s will "will" [6 bytes] with user name with password"#,
        "me <-in-- CONNACK success (0x00)",
        "me ------ connected with MQTT 5",
        r#"me -out-> SUBSCRIBE #1 "a/+" QoS 1"#,
        "me <-in-- SUBACK #1 granted QoS 1 (0x01);",
        r#"me <-in-- PUBLISH QoS 1 #7 "a/b\nfake line" [6 bytes]"#,
        "me -out-> PUBACK #7 success (0x00)",
        r#"me -out-> PUBLISH QoS 2 #2 "a/b" [6 bytes]"#,
        "me <-in-- PUBREC #2 success (0x00)",
        "me -out-> PUBREL #2 success (0x00)",
        "me <-in-- PUBCOMP #2 success (0x00)",
        "me -out-> DISCONNECT normal disconnection (0x00)",
        "me ------ closed",
    ];
    assert_eq!(*lines, expected);
}

#[tokio::test(start_paused = true)]
async fn authentication_data_is_not_logged() {
    let lines = Lines::default();
    let (_client, _, mut network) = client(builder().observer(logger(&lines)));
    let mut server = network.dial().await.open();
    server.connect().await;
    let mut auth = Auth::new(AuthReasonCode::ContinueAuthentication);
    auth.authentication_method = Some("PIN".try_into().unwrap());
    auth.authentication_data = Some(BinaryData::try_from("secret").unwrap());
    server.send(auth).await;
    settle().await;
    let lines = lines.lock().unwrap();
    assert!(
        lines.contains(
            &r#"me <-in-- AUTH continue authentication (0x18) "PIN" [6 bytes]"#.to_owned()
        ),
        "{lines:#?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains("secret")),
        "{lines:#?}"
    );
}

#[derive(Clone)]
struct Panics(fn(&ClientEvent) -> bool);

impl Observer for Panics {
    fn packet_sent(&mut self, _: Instant, packet: &Packet) {
        assert!(
            !matches!(packet, Packet::Publish(_)),
            "the observer does not like messages"
        );
    }

    fn packet_received(&mut self, _: Instant, _: &Packet) {}

    fn client_event(&mut self, _: Instant, event: &ClientEvent) {
        assert!(!(self.0)(event), "the observer does not like this event");
    }
}

/// A panic in an observer took the driver with it, and the connection.
#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_is_dropped_and_the_connection_goes_on() {
    let dislikes: [fn(&ClientEvent) -> bool; 2] = [
        |_| false,
        |event| matches!(event, ClientEvent::Connected(_)),
    ];
    for dislikes in dislikes {
        let (client, driver, mut network) = client(builder().observer(Panics(dislikes)));
        let mut events = client.events();
        let server = network.accept().await;
        let server = tokio::spawn(server.serve());
        soon(client.publish("a", "b").qos(QoS::AtLeastOnce))
            .await
            .unwrap();
        soon(client.publish("a", "b").qos(QoS::AtLeastOnce))
            .await
            .unwrap();
        soon(client.disconnect()).await;
        soon(driver).await.unwrap();
        assert_eq!(soon(server).await.unwrap().len(), 2);
        let mut panics = 0;
        while let Some(event) = soon(events.next()).await {
            panics += u32::from(event == ClientEvent::ObserverPanicked);
        }
        assert_eq!(panics, 1, "reported once");
    }
}
