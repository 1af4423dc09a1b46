//! The broker on real sockets. Every wait is for bytes or for the end of a stream.

#![allow(clippy::unwrap_used)]

use core::time::Duration;
use martlet_broker::tokio::Server;
use martlet_broker::{BrokerConfig, Memory};
use martlet_proto::{PublishRef, TopicName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// MQTT 3.1.1, clean session, keep alive off.
const CLEAN: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
/// MQTT 3.1.1, a session that is kept.
const LASTING: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01a";
/// MQTT 5.
const V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01b";

struct Client(TcpStream);

impl Client {
    async fn connect(server: &Server, connect: &[u8], connack: &[u8]) -> Self {
        let mut client = Self(TcpStream::connect(server.local_addr()).await.unwrap());
        client.say(connect).await;
        client.hears(connack).await;
        client
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn hears(&mut self, bytes: &[u8]) {
        let mut heard = vec![0; bytes.len()];
        self.0.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, bytes);
    }

    /// What is left of the stream, until the broker ends it. (A reset is an end too.)
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
        rest
    }
}

#[tokio::test]
async fn clients_talk() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    assert_eq!(server.uri(), format!("mqtt://{}", server.local_addr()));
    let mut a = Client::connect(&server, CLEAN, b"\x20\x02\x00\x00").await;
    a.say(b"\x82\x06\x00\x01\x00\x01t\x01").await;
    a.hears(b"\x90\x03\x00\x01\x01").await;
    let mut b = Client::connect(&server, V5, b"\x20\x06\x00\x00\x03\x22\x00\x10").await;
    b.say(b"\x32\x07\x00\x01t\x00\x09\x00x").await;
    b.hears(b"\x40\x02\x00\x09").await;
    a.hears(b"\x32\x06\x00\x01t\x00\x01x").await;
    // A command of the test reaches them as well.
    let topic = TopicName::new("t").unwrap();
    assert!(server.publish(PublishRef::new(&topic, b"y")));
    a.hears(b"\x30\x04\x00\x01ty").await;
    a.say(b"\xe0\x00").await;
    assert!(a.rest().await.is_empty());
    server.shutdown().await;
    assert_eq!(b.rest().await, b"\xe0\x01\x8b");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let config = BrokerConfig::default().connect_timeout(Duration::from_millis(20));
    let server = Server::start(config).await.unwrap();
    let mut client = Client(TcpStream::connect(server.local_addr()).await.unwrap());
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn killed_and_revived_at_the_same_address() {
    let mut server = Server::start(BrokerConfig::default()).await.unwrap();
    let address = server.local_addr();
    let mut client = Client::connect(&server, LASTING, b"\x20\x02\x00\x00").await;
    client.say(b"\x82\x06\x00\x01\x00\x01t\x01").await;
    client.hears(b"\x90\x03\x00\x01\x01").await;
    for (memory, connack) in [
        (Memory::Kept, b"\x20\x02\x01\x00"),
        (Memory::Lost, b"\x20\x02\x00\x00"),
    ] {
        server.kill(memory).await;
        assert!(client.rest().await.is_empty());
        assert!(TcpStream::connect(address).await.is_err());
        server.revive().await.unwrap();
        assert_eq!(server.local_addr(), address);
        client = Client::connect(&server, LASTING, connack).await;
    }
    server.kill(Memory::Kept).await;
    server.kill(Memory::Kept).await;
}

/// More than the sockets hold, in both directions at once, to a reader that starts late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_and_many_messages_arrive_in_order() {
    const COUNT: u32 = 20;
    const SIZE: usize = 1 << 20;
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let mut reader = Client::connect(&server, CLEAN, b"\x20\x02\x00\x00").await;
    reader.say(b"\x82\x06\x00\x01\x00\x01t\x00").await;
    reader.hears(b"\x90\x03\x00\x01\x00").await;
    let mut writer = Client::connect(&server, V5, b"\x20\x06\x00\x00\x03\x22\x00\x10").await;
    let topic = TopicName::new("t").unwrap();
    let packet = |i: u32, version| {
        let mut payload = vec![i as u8; SIZE];
        payload[..4].copy_from_slice(&i.to_be_bytes());
        let mut bytes = Vec::new();
        PublishRef::new(&topic, &payload)
            .encode(version, &mut bytes)
            .unwrap();
        bytes
    };
    for i in 0..COUNT {
        writer.say(&packet(i, martlet_proto::Version::V5)).await;
    }
    writer.say(b"\xc0\x00").await;
    writer.hears(b"\xd0\x00").await;
    for i in 0..COUNT {
        reader
            .hears(&packet(i, martlet_proto::Version::V3_1_1))
            .await;
    }
    assert_eq!(server.statistics().dropped, 0);
}

#[tokio::test]
async fn dropping_the_server_ends_everything() {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let mut client = Client::connect(&server, CLEAN, b"\x20\x02\x00\x00").await;
    drop(server);
    assert!(client.rest().await.is_empty());
}

/// A stream that was opened elsewhere is served like a socket of the listener, and ends with it.
#[tokio::test]
async fn streams_of_ones_own_are_served() {
    let mut server = Server::start(BrokerConfig::default()).await.unwrap();
    let connected = async |server: &Server| {
        // Smaller than any packet: the broker writes on when it can.
        let (mut here, there) = tokio::io::duplex(3);
        server.serve(there);
        here.write_all(CLEAN).await.unwrap();
        let mut connack = [0; 4];
        here.read_exact(&mut connack).await.unwrap();
        assert_eq!(&connack, b"\x20\x02\x00\x00");
        here
    };
    let rest = async |mut stream: tokio::io::DuplexStream| {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        rest
    };
    let mut client = connected(&server).await;
    client.write_all(b"\xc0\x00\xe0\x00").await.unwrap();
    assert_eq!(rest(client).await, b"\xd0\x00");
    let client = connected(&server).await;
    server.kill(Memory::Lost).await;
    assert!(rest(client).await.is_empty());
    let (client, there) = tokio::io::duplex(3);
    server.serve(there);
    assert!(rest(client).await.is_empty());
    server.revive().await.unwrap();
    let client = connected(&server).await;
    server.shutdown().await;
    assert!(rest(client).await.is_empty());
}
