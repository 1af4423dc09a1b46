//! A relay before a broker that changes packets on their way, as servers are known to.

use bytes::{Bytes, BytesMut};
use martlet_broker::Direction;
use martlet_broker::proto::{
    Delivery, MAX_PACKET_SIZE, Packet, Publish, PublishProperties, PublishRef,
    SubscriptionIdentifier, TopicName, Version,
};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::sync::{Arc, OnceLock};

/// What becomes of a packet: any number of packets.
pub(crate) type Meddle = Arc<dyn Fn(Direction, Packet) -> Vec<Packet> + Send + Sync>;

/// Starts a relay before the server, and returns its port. Its threads end with the connections,
/// and the one that listens with the process.
pub(crate) fn meddler(server: SocketAddr, meddle: &Meddle) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let meddle = Arc::clone(meddle);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(server).unwrap();
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            let version = Arc::new(OnceLock::new());
            for (direction, from, to) in [
                (Direction::FromClient, &client, &server),
                (Direction::ToClient, &server, &client),
            ] {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let (meddle, version) = (Arc::clone(&meddle), Arc::clone(&version));
                std::thread::spawn(move || relay(direction, from, to, &version, &meddle));
            }
        }
    });
    port
}

fn relay(
    direction: Direction,
    mut from: TcpStream,
    mut to: TcpStream,
    version: &OnceLock<Version>,
    meddle: &Meddle,
) {
    let mut input = BytesMut::new();
    let mut buffer = vec![0; 64 * 1024];
    // A connection that is reset has ended, too.
    let has_ended = loop {
        let Ok(length) = from.read(&mut buffer) else {
            break false;
        };
        if length == 0 {
            break true;
        }
        input.extend_from_slice(&buffer[..length]);
        let mut output = BytesMut::new();
        let spoken = || version.get().copied().unwrap_or(Version::V5);
        while let Ok(Some(packet)) = Packet::decode(&mut input, spoken(), MAX_PACKET_SIZE) {
            if let Packet::Connect(connect) = &packet {
                version.set(connect.version).unwrap();
            }
            for packet in meddle(direction, packet) {
                packet.encode(spoken(), &mut output).unwrap();
            }
        }
        if to.write_all(&output).is_err() {
            break false;
        }
    };
    // The other direction goes on: a client that has sent a DISCONNECT waits until the server has
    // read it, and then publishes for the session that it has left.
    if has_ended {
        let _ = to.shutdown(Shutdown::Write);
    } else {
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

/// The parts of a PUBLISH, to be changed.
pub(crate) struct Parts {
    pub(crate) topic: Option<TopicName>,
    pub(crate) payload: Bytes,
    pub(crate) delivery: Delivery,
    pub(crate) retain: bool,
    pub(crate) properties: PublishProperties,
    pub(crate) identifiers: Vec<SubscriptionIdentifier>,
    pub(crate) alias: Option<NonZeroU16>,
}

impl Parts {
    pub(crate) fn of(publish: &Publish) -> Self {
        let properties = publish.properties();
        Self {
            topic: publish.topic_name(),
            payload: publish.payload_bytes(),
            delivery: publish.delivery(),
            retain: publish.retain(),
            properties: publish.message_properties(),
            identifiers: properties.subscription_identifiers().collect(),
            alias: properties.topic_alias(),
        }
    }

    /// The PUBLISH, which is the same in all versions that can say it.
    pub(crate) fn packet(&self, version: Version) -> Packet {
        let none = TopicName::new("none").unwrap();
        let mut publish = PublishRef::new(self.topic.as_ref().unwrap_or(&none), &self.payload)
            .with_delivery(self.delivery)
            .with_retain(self.retain)
            .with_properties(&self.properties)
            .with_subscription_identifiers(&self.identifiers);
        publish = match (self.alias, &self.topic) {
            (Some(alias), Some(_)) => publish.with_topic_alias(alias),
            (Some(alias), None) => publish.with_topic_alias_only(alias),
            (None, _) => publish,
        };
        let mut bytes = BytesMut::new();
        publish.encode(version, &mut bytes).unwrap();
        let decoded = Packet::decode(&mut bytes, version, MAX_PACKET_SIZE);
        decoded.unwrap().unwrap()
    }
}
