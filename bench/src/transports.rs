//! What the byte stack costs, beside the same client over tokio-rustls and tokio-tungstenite.
//!
//! Both sides are this client with its driver, on a current-thread runtime. Ours is given a URI
//! (`mqtts://`, `wss://`); the other is given a stream on which those crates have made TLS and
//! WebSocket (`TokioStreams`), and a URI without. Printed is CPU time of the client's thread for a
//! message of 256 B (kernel included), and the ratio. The server is a thread of its own, on
//! blocking sockets; where it were the bottleneck, the client's thread would sleep, which costs no
//! CPU time.
//!
//! `cargo run --release --manifest-path bench/Cargo.toml [-- --test]`
#![forbid(unsafe_code)]

mod framed;
mod server;

use bytes::Bytes;
use cpu_time::ThreadTime;
use framed::Frames;
use martlet_tests::certificates::Certificates;
use martlet_tokio::{
    Builder, Client, QoS, TlsConfig, TopicName, Trust, Version, runtime::TokioStreams,
};
use rustls::pki_types::ServerName;
use server::{Server, Work};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const TOPIC: &str = "sensors/building-7/t/001";
const PAYLOAD: &[u8] = &[b'x'; 256];
const WINDOW: u16 = 100;
const ROUNDS: usize = 11;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Tls,
    WebSocket,
    WebSocketTls,
}

impl Transport {
    const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::WebSocket, Self::WebSocketTls];

    fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::WebSocketTls)
    }

    fn has_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketTls)
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::WebSocket => "ws",
            Self::WebSocketTls => "wss",
        }
    }
}

/// The implementation of TLS and WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stack {
    Ours,
    Theirs,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let (n, rounds) = if quick { (2_000, 1) } else { (100_000, ROUNDS) };
    println!(
        "CPU time of the client's thread, ns a message; median of {rounds} interleaved rounds of {n} messages, 256 B"
    );
    println!("{:<36} {:>8} {:>8} {:>7}", "", "ours", "theirs", "ratio");
    for transport in Transport::ALL {
        for work in Work::ALL {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                ours.push(measure(transport, Stack::Ours, work, n));
                theirs.push(measure(transport, Stack::Theirs, work, n));
            }
            let (ours, theirs) = (median(&mut ours), median(&mut theirs));
            let name = format!("{}, {}", transport.scheme(), work.name());
            println!(
                "{name:<36} {ours:>8.0} {theirs:>8.0} {:>7.2}",
                ours / theirs
            );
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds of the client's thread for a message.
fn measure(transport: Transport, stack: Stack, work: Work, n: usize) -> f64 {
    let server = Server::start(transport.has_tls(), transport.has_websocket(), work, n);
    let port = server.port();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let nanos = runtime.block_on(async {
        let client = match stack {
            Stack::Ours => connect(transport, port).await,
            Stack::Theirs => connect_over_theirs(transport, port).await,
        };
        let spent = run(&client, work, n).await.as_nanos() as f64 / n as f64;
        drop(client);
        spent
    });
    drop(runtime);
    server.join();
    nanos
}

async fn run(client: &Client, work: Work, n: usize) -> std::time::Duration {
    let topic = TopicName::from_static(TOPIC).expect("a topic name");
    let payload = Bytes::from_static(PAYLOAD);
    match work {
        Work::Publish(qos) => {
            let start = ThreadTime::now();
            for _ in 1..n {
                drop(
                    client
                        .publish(&topic, payload.clone())
                        .qos(qos)
                        .enqueue()
                        .await
                        .expect("a publish"),
                );
            }
            client
                .publish(&topic, payload)
                .qos(qos)
                .await
                .expect("the last publish");
            client.flush().await.expect("a flush");
            start.elapsed()
        }
        Work::Receive => {
            let mut messages = client.subscribe("sensors/#").await.expect("a subscription");
            let start = ThreadTime::now();
            for _ in 0..n {
                let message = messages.next().await.expect("a message");
                assert_eq!(message.payload().len(), PAYLOAD.len());
            }
            start.elapsed()
        }
    }
}

fn builder(scheme: &str, port: u16) -> Builder {
    let builder = Client::builder(format!("{scheme}://localhost:{port}"));
    builder
        .version(Version::V3_1_1)
        .max_in_flight(WINDOW)
        .max_in_flight_3x(WINDOW)
}

async fn connect(transport: Transport, port: u16) -> Client {
    let builder = builder(transport.scheme(), port).tls_config(trust());
    martlet_tokio::connect_with(builder)
        .await
        .expect("a connection")
}

fn trust() -> TlsConfig {
    let authority = Certificates::shared().authority.pem.as_str();
    Trust::new().ca_pem(authority).build().expect("a trust")
}

async fn connect_over_theirs(transport: Transport, port: u16) -> Client {
    let config = Certificates::shared().client_config(None);
    let streams = TokioStreams::new(move |_| open(transport, port, config.clone()));
    let (client, driver) = builder("mqtt", port).build(streams).expect("a client");
    tokio::spawn(driver);
    client.connected().await.expect("a connection");
    client
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream that is being opened.
type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// A stream as users of those crates make it.
fn open(transport: Transport, port: u16, config: Arc<rustls::ClientConfig>) -> Opening {
    Box::pin(async move {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream: Box<dyn Stream> = match transport {
            Transport::Tcp => Box::new(socket),
            Transport::Tls => Box::new(TlsConnector::from(config).connect(name, socket).await?),
            Transport::WebSocket => Box::new(Frames::connect(socket).await?),
            Transport::WebSocketTls => Box::new(
                Frames::connect(TlsConnector::from(config).connect(name, socket).await?).await?,
            ),
        };
        Ok(stream)
    })
}

impl Work {
    const ALL: [Self; 3] = [
        Self::Publish(QoS::AtMostOnce),
        Self::Publish(QoS::AtLeastOnce),
        Self::Receive,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Publish(QoS::AtMostOnce) => "publish QoS 0",
            Self::Publish(_) => "publish QoS 1, window 100",
            Self::Receive => "receive QoS 0",
        }
    }
}
