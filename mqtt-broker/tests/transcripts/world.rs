//! A broker, some peers and a clock. What a peer hears is written down as one line for each packet.

use bytes::BytesMut;
use core::time::Duration;
use martlet_broker::{Broker, BrokerConfig, BrokerEvent, ConnectionId};
use martlet_proto::{
    Ack, Connect, ConnectReasonCode, Delivery, Disconnect, DisconnectReasonCode, MAX_PACKET_SIZE,
    Packet, PacketIdentifier, PubAckReasonCode, PubRelReasonCode, Publish, PublishRef, QoS,
    Subscribe, SubscribeFilter, SubscriptionIdentifier, TopicFilter, TopicName, Unsubscribe,
    UserProperties, Version, Will,
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) use martlet_proto::QoS::{AtLeastOnce as Q1, AtMostOnce as Q0, ExactlyOnce as Q2};
pub(crate) use martlet_proto::Version::{V3_1, V3_1_1, V5};

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) now: Duration,
    /// How many bytes reach the broker at once.
    chunk: usize,
    wires: BTreeMap<Peer, Wire>,
    closing: BTreeSet<Peer>,
    pub(crate) events: Vec<BrokerEvent>,
}

pub(crate) type Peer = ConnectionId;

/// The two directions of a connection, and the version that its client speaks.
struct Wire {
    version: Version,
    input: BytesMut,
    output: BytesMut,
}

/// Runs a test with whole packets and a byte at a time.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the callers make it on the spot"
)]
pub(crate) fn each_way(config: BrokerConfig, test: impl Fn(&mut World)) {
    for chunk in [usize::MAX, 1] {
        test(&mut World::new(config.clone(), chunk));
    }
}

/// Runs a test for each version, with whole packets and a byte at a time.
pub(crate) fn each_version(test: impl Fn(&mut World, Version)) {
    for version in Version::ALL {
        each_way(config(), |world| test(world, version));
    }
}

/// Without `$SYS`, so that time holds nothing but what a test is about.
pub(crate) fn config() -> BrokerConfig {
    BrokerConfig::default()
        .sys_interval(Duration::ZERO)
        .record_events(true)
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl World {
    pub(crate) fn new(config: BrokerConfig, chunk: usize) -> Self {
        // Not at zero: an epoch is of the caller's choosing.
        let now = seconds(1_000_000);
        Self {
            broker: Broker::new(config),
            now,
            chunk,
            wires: BTreeMap::new(),
            closing: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn open(&mut self, version: Version) -> Peer {
        let peer = self.broker.handle_open(self.now);
        self.wires.insert(
            peer,
            Wire {
                version,
                input: BytesMut::new(),
                output: BytesMut::new(),
            },
        );
        self.drain();
        peer
    }

    /// Opens a connection and sends this CONNECT.
    pub(crate) fn dial(&mut self, connect: Connect) -> Peer {
        let peer = self.open(connect.version);
        self.send(peer, connect);
        peer
    }

    /// A client that is let in.
    pub(crate) fn enter(&mut self, connect: Connect) -> Peer {
        let peer = self.dial(connect);
        let heard = self.hear(peer);
        assert!(
            heard.len() == 1 && heard[0].starts_with("CONNACK") && heard[0].ends_with(" 00"),
            "{heard:?}"
        );
        peer
    }

    /// A client that is let in, with a clean start.
    pub(crate) fn client(&mut self, version: Version, client_identifier: &str) -> Peer {
        self.enter(clean(version, client_identifier))
    }

    pub(crate) fn send(&mut self, peer: Peer, packet: impl Into<Packet>) {
        let mut bytes = BytesMut::new();
        packet
            .into()
            .encode(self.wires[&peer].version, &mut bytes)
            .unwrap();
        self.say(peer, &bytes);
    }

    pub(crate) fn send_publish(&mut self, peer: Peer, publish: PublishRef<'_>) {
        let mut bytes = BytesMut::new();
        publish
            .encode(self.wires[&peer].version, &mut bytes)
            .unwrap();
        self.say(peer, &bytes);
    }

    pub(crate) fn publish(&mut self, peer: Peer, topic: &str, payload: &str, qos: QoS, id: u16) {
        let topic = TopicName::new(topic).unwrap();
        self.send_publish(
            peer,
            PublishRef::new(&topic, payload.as_bytes()).with_delivery(delivery(qos, id, false)),
        );
    }

    pub(crate) fn retain(&mut self, peer: Peer, topic: &str, payload: &str) {
        let topic = TopicName::new(topic).unwrap();
        self.send_publish(
            peer,
            PublishRef::new(&topic, payload.as_bytes()).with_retain(true),
        );
    }

    /// Subscribes with the identifier 99 and takes the SUBACK of success.
    pub(crate) fn subscribe(&mut self, peer: Peer, filter: &str, qos: QoS) {
        self.send(peer, subscribe(99, [subscription(filter, qos)]));
        assert_eq!(self.hear(peer), [format!("SUBACK #99 {:02x}", qos.as_u8())]);
    }

    /// Bytes as a client writes them.
    pub(crate) fn say(&mut self, peer: Peer, bytes: &[u8]) {
        for chunk in bytes.chunks(self.chunk.min(bytes.len().max(1))) {
            let Some(wire) = self.wires.get_mut(&peer) else {
                return;
            };
            wire.input.extend_from_slice(chunk);
            self.broker.handle_input(self.now, peer, &mut wire.input);
            self.drain();
        }
    }

    /// Bytes in hexadecimal notation.
    pub(crate) fn say_hex(&mut self, peer: Peer, hex: &str) {
        self.say(peer, &from_hex(hex));
    }

    /// What the broker wrote, in hexadecimal notation.
    pub(crate) fn hear_hex(&mut self, peer: Peer) -> String {
        let bytes = self.transmit(peer);
        let mut hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.hang_up(peer) {
            hex.push("closed".into());
        }
        hex.join(" ")
    }

    /// What the broker wrote, one line for each packet; the last is `closed` when it closed the
    /// connection.
    pub(crate) fn hear(&mut self, peer: Peer) -> Vec<String> {
        let mut heard: Vec<String> = self.hear_packets(peer).iter().map(show).collect();
        if self.hang_up(peer) {
            heard.push("closed".into());
        }
        heard
    }

    pub(crate) fn hear_packets(&mut self, peer: Peer) -> Vec<Packet> {
        let mut bytes = self.transmit(peer);
        let Some(version) = self.wires.get(&peer).map(|wire| wire.version) else {
            return Vec::new();
        };
        let mut packets = Vec::new();
        while let Some(packet) = Packet::decode(&mut bytes, version, MAX_PACKET_SIZE).unwrap() {
            packets.push(packet);
        }
        assert!(bytes.is_empty(), "part of a packet: {bytes:?}");
        packets
    }

    fn transmit(&mut self, peer: Peer) -> BytesMut {
        self.pump();
        self.wires
            .get_mut(&peer)
            .map(|wire| wire.output.split())
            .unwrap_or_default()
    }

    /// Closes the connection when the broker has asked for it.
    fn hang_up(&mut self, peer: Peer) -> bool {
        let closing = self.closing.remove(&peer);
        if closing {
            self.cut(peer);
        }
        closing
    }

    pub(crate) fn is_open(&mut self, peer: Peer) -> bool {
        self.pump();
        self.wires.contains_key(&peer) && !self.closing.contains(&peer)
    }

    /// The network connection fails.
    pub(crate) fn cut(&mut self, peer: Peer) {
        self.wires.remove(&peer);
        self.broker.handle_close(self.now, peer);
        self.drain();
    }

    /// The client leaves politely.
    pub(crate) fn leave(&mut self, peer: Peer) {
        self.send(
            peer,
            Disconnect::new(DisconnectReasonCode::NormalDisconnection),
        );
        assert_eq!(self.hear(peer), ["closed"]);
    }

    /// Lets time pass, and calls the broker at every moment that it has asked for.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.broker.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.broker.handle_timeout(self.now);
            self.drain();
            assert!(
                self.broker
                    .poll_timeout()
                    .is_none_or(|next| next > self.now),
                "the same again"
            );
        }
        self.now = end;
    }

    /// Writes what is there to be written. Peers whose socket is blocked are those that never come
    /// here.
    fn pump(&mut self) {
        let peers: Vec<Peer> = self.wires.keys().copied().collect();
        for peer in peers {
            if let Some(wire) = self.wires.get_mut(&peer) {
                while self.broker.poll_transmit(self.now, peer, &mut wire.output) > 0 {}
            }
        }
        self.drain();
        assert_eq!(self.broker.poll_ready(), None, "all was transmitted");
    }

    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.broker.poll_event() {
            self.events.push(event);
        }
        while let Some(peer) = self.broker.poll_close() {
            if self.wires.contains_key(&peer) {
                self.closing.insert(peer);
                if let Some(wire) = self.wires.get_mut(&peer) {
                    while self.broker.poll_transmit(self.now, peer, &mut wire.output) > 0 {}
                }
            }
        }
    }

    pub(crate) fn dropped(&mut self) -> Vec<String> {
        self.events
            .drain(..)
            .filter_map(|event| match event {
                BrokerEvent::Dropped {
                    client_identifier,
                    reason,
                    publish,
                } => Some(format!(
                    "{client_identifier} {reason:?} {}",
                    String::from_utf8_lossy(publish.payload())
                )),
                _ => None,
            })
            .collect()
    }
}

// ---- packets

pub(crate) fn clean(version: Version, client_identifier: &str) -> Connect {
    let mut connect = Connect::new(version, client_identifier.try_into().unwrap());
    connect.keep_alive = 0;
    connect
}

/// A CONNECT that keeps the session: for ever.
pub(crate) fn lasting(version: Version, client_identifier: &str) -> Connect {
    let mut connect = clean(version, client_identifier);
    connect.clean_start = false;
    if version == V5 {
        connect.properties.session_expiry_interval = Some(u32::MAX);
    }
    connect
}

pub(crate) fn will(topic: &str, payload: &str) -> Will {
    Will::new(topic, payload).unwrap()
}

pub(crate) fn id(id: u16) -> PacketIdentifier {
    PacketIdentifier::new(id).unwrap()
}

pub(crate) fn delivery(qos: QoS, packet_identifier: u16, duplicate: bool) -> Delivery {
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce {
            packet_identifier: id(packet_identifier),
            duplicate,
        },
        QoS::ExactlyOnce => Delivery::ExactlyOnce {
            packet_identifier: id(packet_identifier),
            duplicate,
        },
    }
}

pub(crate) fn subscription(filter: &str, qos: QoS) -> SubscribeFilter {
    SubscribeFilter::new(TopicFilter::new(filter).unwrap(), qos)
}

pub(crate) fn subscribe(
    packet_identifier: u16,
    subscriptions: impl IntoIterator<Item = SubscribeFilter>,
) -> Subscribe {
    Subscribe {
        packet_identifier: id(packet_identifier),
        subscription_identifier: None,
        user_properties: UserProperties::new(),
        subscriptions: subscriptions.into_iter().collect(),
    }
}

pub(crate) fn identified(identifier: u32, subscribe: Subscribe) -> Subscribe {
    Subscribe {
        subscription_identifier: SubscriptionIdentifier::new(identifier),
        ..subscribe
    }
}

pub(crate) fn unsubscribe(packet_identifier: u16, filters: &[&str]) -> Unsubscribe {
    Unsubscribe {
        packet_identifier: id(packet_identifier),
        user_properties: UserProperties::new(),
        filters: filters
            .iter()
            .map(|filter| TopicFilter::new(*filter).unwrap())
            .collect(),
    }
}

pub(crate) fn puback(packet_identifier: u16) -> Packet {
    Packet::PubAck(Ack::new(id(packet_identifier), PubAckReasonCode::Success))
}

pub(crate) fn pubrec(packet_identifier: u16) -> Packet {
    Packet::PubRec(Ack::new(id(packet_identifier), PubAckReasonCode::Success))
}

pub(crate) fn pubrel(packet_identifier: u16) -> Packet {
    Packet::PubRel(Ack::new(id(packet_identifier), PubRelReasonCode::Success))
}

pub(crate) fn pubcomp(packet_identifier: u16) -> Packet {
    Packet::PubComp(Ack::new(id(packet_identifier), PubRelReasonCode::Success))
}

pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    hex.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// A packet as one line: names and numbers as in the specification, codes in hexadecimal notation.
pub(crate) fn show(packet: &Packet) -> String {
    match packet {
        Packet::ConnAck(ack) => {
            let present = if ack.session_present { " present" } else { "" };
            format!("CONNACK{present} {:02x}", ack.reason.as_u8())
        }
        Packet::Publish(publish) => show_publish(publish),
        Packet::PubAck(ack) => show_ack("PUBACK", ack.packet_identifier, &[ack.reason.as_u8()]),
        Packet::PubRec(ack) => show_ack("PUBREC", ack.packet_identifier, &[ack.reason.as_u8()]),
        Packet::PubRel(ack) => show_ack("PUBREL", ack.packet_identifier, &[ack.reason.as_u8()]),
        Packet::PubComp(ack) => show_ack("PUBCOMP", ack.packet_identifier, &[ack.reason.as_u8()]),
        Packet::SubAck(ack) => {
            let codes: Vec<u8> = ack.reasons.iter().map(|reason| reason.as_u8()).collect();
            show_ack("SUBACK", ack.packet_identifier, &codes)
        }
        Packet::UnsubAck(ack) => {
            let codes: Vec<u8> = ack.reasons.iter().map(|reason| reason.as_u8()).collect();
            show_ack("UNSUBACK", ack.packet_identifier, &codes)
        }
        Packet::Disconnect(disconnect) => format!("DISCONNECT {:02x}", disconnect.reason.as_u8()),
        Packet::Auth(auth) => format!(
            "AUTH {:02x} {}",
            auth.reason.as_u8(),
            auth.authentication_data
                .as_ref()
                .map_or("-".into(), |data| String::from_utf8_lossy(data.as_bytes()))
        ),
        other => other.packet_type().to_string(),
    }
}

fn show_ack(name: &str, packet_identifier: PacketIdentifier, codes: &[u8]) -> String {
    let codes: String = codes.iter().map(|code| format!(" {code:02x}")).collect();
    format!("{name} #{packet_identifier}{codes}")
}

fn show_publish(publish: &Publish) -> String {
    let delivery = publish.delivery();
    let mut line = format!(
        "PUBLISH {} {}",
        publish.topic(),
        String::from_utf8_lossy(publish.payload())
    );
    if let Some(id) = delivery.packet_identifier() {
        line += &format!(" q{}#{id}", delivery.qos().as_u8());
    }
    for (yes, flag) in [
        (delivery.duplicate(), " dup"),
        (publish.retain(), " retain"),
    ] {
        if yes {
            line += flag;
        }
    }
    let properties = publish.properties();
    if let Some(alias) = properties.topic_alias() {
        line += &format!(" alias={alias}");
    }
    if let Some(seconds) = properties.message_expiry_interval() {
        line += &format!(" expiry={seconds}");
    }
    for identifier in properties.subscription_identifiers() {
        line += &format!(" for={}", identifier.get());
    }
    line
}

/// Rejected, and why.
pub(crate) fn rejected(reason: ConnectReasonCode) -> [String; 2] {
    [format!("CONNACK {:02x}", reason.as_u8()), "closed".into()]
}
