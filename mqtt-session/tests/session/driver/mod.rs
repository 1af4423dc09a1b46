//! Drives a session against a server that is a test: time is simulated, the server's packets go in
//! whole or byte by byte, and what comes out is shown as short lines, so that a test reads like a
//! transcript.
//! Every step drains the session with [`Drain`], which checks that a second drain yields nothing and
//! that the session's invariants hold.
#![allow(unreachable_pub, reason = "shared by the files beside it")]

mod describe;

pub use describe::{describe, describe_event, whole};

use bytes::{Buf, Bytes, BytesMut};
use martlet_proto::*;
use martlet_session::drain::{Drain, run_timers};
use martlet_session::{
    AckToken, CleanStart, Config, ConnectOptions, ConnectionError, DisconnectOptions, Durable,
    Event, Instant, OperationId, OutgoingPublish, ReceivedPublish, RecordKey, Restored, Session,
    StoreOp, StoreSeq,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How the server's bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunking {
    Whole,
    Bytes,
}

pub struct Peer {
    pub session: Session,
    pub now: Instant,
    pub version: Version,
    pub chunking: Chunking,
    /// The socket takes no bytes.
    pub blocked: bool,
    /// All bytes of this connection, as the server got them.
    pub wire: Vec<u8>,
    /// Those that were not looked at yet.
    unseen: BytesMut,
    input: BytesMut,
    events: Vec<Event>,
    /// Delivered and not taken.
    pub messages: Vec<ReceivedPublish>,
    /// Why the session wanted the connection closed.
    pub close: Option<ConnectionError>,
    /// What is to be stored, of a durable session.
    pub operations: VecDeque<(StoreSeq, StoreOp)>,
    pub store: BTreeMap<RecordKey, Bytes>,
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub fn filter(filter: &str) -> TopicFilter {
    TopicFilter::new(filter).unwrap()
}

pub fn words(text: &str) -> Utf8String {
    Utf8String::new(text).unwrap()
}

/// The defaults, and a client identifier, which 3.1 asks for.
pub fn named() -> Config {
    Config::default().client_identifier(words("me"))
}

/// A session that is stored.
pub fn durable() -> Config {
    named()
        .clean_start(CleanStart::Never)
        .durable(Durable::default())
}

/// Connected; what was stored, sent and reported until then is discarded.
pub fn connected(version: Version, config: Config) -> Peer {
    let mut peer = Peer::connected(version, config);
    peer.store_all();
    peer.forget();
    peer
}

/// The defaults, with this many in flight.
pub fn window(n: u16) -> Config {
    Config::default().max_in_flight(n).max_in_flight_3x(n)
}

pub fn id(n: u16) -> PacketIdentifier {
    PacketIdentifier::new(n).unwrap()
}

pub fn qos(n: u8) -> QoS {
    QoS::from_u8(n).unwrap()
}

/// A message to publish, with the key 1.
pub fn message(quality: u8, name: &str, payload: &str) -> OutgoingPublish {
    OutgoingPublish::new(topic(name), payload.to_owned())
        .qos(qos(quality))
        .key(Some(1))
}

pub fn expiring(quality: u8, name: &str, payload: &str, seconds: u32) -> OutgoingPublish {
    let properties = PublishProperties::builder()
        .message_expiry_interval(seconds)
        .build();
    message(quality, name, payload).properties(properties)
}

pub fn connack(session_present: bool) -> ConnAck {
    ConnAck {
        session_present,
        ..ConnAck::new(ConnectReasonCode::Success)
    }
}

pub fn puback(n: u16) -> Packet {
    Packet::PubAck(Ack::new(id(n), PubAckReasonCode::Success))
}

pub fn pubrec(n: u16) -> Packet {
    Packet::PubRec(Ack::new(id(n), PubAckReasonCode::Success))
}

pub fn pubrel(n: u16) -> Packet {
    Packet::PubRel(Ack::new(id(n), PubRelReasonCode::Success))
}

pub fn pubcomp(n: u16) -> Packet {
    Packet::PubComp(Ack::new(id(n), PubRelReasonCode::Success))
}

pub fn suback(n: u16, reasons: &[SubAckReasonCode]) -> Packet {
    SubAck {
        packet_identifier: id(n),
        reason_string: None,
        user_properties: UserProperties::new(),
        reasons: reasons.to_vec(),
    }
    .into()
}

pub fn unsuback(n: u16, reasons: &[UnsubAckReasonCode]) -> Packet {
    UnsubAck {
        packet_identifier: id(n),
        reason_string: None,
        user_properties: UserProperties::new(),
        reasons: reasons.to_vec(),
    }
    .into()
}

/// A message of the server; `n` 0 is QoS 0.
pub fn delivery(quality: u8, n: u16, duplicate: bool) -> Delivery {
    match quality {
        0 => Delivery::AtMostOnce,
        1 => Delivery::AtLeastOnce {
            packet_identifier: id(n),
            duplicate,
        },
        _ => Delivery::ExactlyOnce {
            packet_identifier: id(n),
            duplicate,
        },
    }
}

pub fn publish(quality: u8, n: u16, name: &str, payload: &str) -> Packet {
    let name = topic(name);
    Packet::Publish(
        PublishRef::new(&name, payload.as_bytes())
            .with_delivery(delivery(quality, n, false))
            .into(),
    )
}

pub fn duplicate(quality: u8, n: u16, name: &str, payload: &str) -> Packet {
    let name = topic(name);
    Packet::Publish(
        PublishRef::new(&name, payload.as_bytes())
            .with_delivery(delivery(quality, n, true))
            .into(),
    )
}

impl Peer {
    /// Not connected.
    pub fn new(config: Config) -> Self {
        Self {
            session: Session::new(config),
            // Not the epoch, so that no test passes because zero is zero.
            now: Instant::from_epoch(seconds(1000)),
            version: Version::V5,
            chunking: Chunking::Whole,
            blocked: false,
            wire: Vec::new(),
            unseen: BytesMut::new(),
            input: BytesMut::new(),
            events: Vec::new(),
            messages: Vec::new(),
            close: None,
            operations: VecDeque::new(),
            store: BTreeMap::new(),
        }
    }

    /// The process has died, and with it what was not stored; another begins with the store. Gives
    /// back the process that has died.
    pub fn crash(&mut self, config: Config) -> Restored {
        let records = self.store.iter().map(|(key, value)| (*key, value.clone()));
        let mut restored = Session::restore(config, self.now, records).unwrap();
        let store = std::mem::take(&mut self.store);
        let fresh = Self {
            now: self.now,
            store,
            ..Self::new(Config::default())
        };
        *self = fresh;
        std::mem::swap(&mut self.session, &mut restored.session);
        self.drain();
        restored
    }

    /// So many operations are stored.
    pub fn store(&mut self, n: usize) {
        for _ in 0..n {
            let Some((upto, operation)) = self.operations.pop_front() else {
                break;
            };
            match operation {
                StoreOp::Put { key, value } => drop(self.store.insert(key, value)),
                StoreOp::Delete { key } => drop(self.store.remove(&key)),
            }
            self.session.handle_stored(upto);
        }
        self.drain();
    }

    /// Everything is stored, also what follows from it.
    pub fn store_all(&mut self) {
        while !self.operations.is_empty() {
            self.store(self.operations.len());
        }
    }

    /// Connected; what was sent and reported until then is discarded.
    pub fn connected(version: Version, config: Config) -> Self {
        let mut peer = Self::new(config);
        peer.reconnect(version, false);
        peer.forget();
        peer
    }

    /// Discards what was sent and reported.
    pub fn forget(&mut self) {
        self.said();
        self.reported();
    }

    // ---- what happens outside

    pub fn open(&mut self, version: Version) {
        self.open_with(version, ConnectOptions::new(version));
    }

    pub fn open_with(&mut self, version: Version, options: ConnectOptions) {
        let options = options.version(version);
        self.version = version;
        self.wire.clear();
        self.unseen.clear();
        self.input.clear();
        self.close = None;
        self.session.handle_open(self.now, options);
        self.drain();
    }

    /// A connection that the server accepts without limits, and that is seen to work.
    pub fn reconnect(&mut self, version: Version, session_present: bool) {
        self.open(version);
        self.send(connack(session_present));
        self.answer_ping();
    }

    /// Answers a PINGREQ, if one was the last to be sent, and leaves it out of what was said. Behind
    /// a CONNACK, and in no time, it is the one that a suspect waits for.
    pub fn answer_ping(&mut self) {
        if self.unseen.ends_with(&[0xc0, 0]) {
            self.unseen.truncate(self.unseen.len() - 2);
            self.send(Packet::PingResp);
        }
    }

    /// The server sends a packet.
    pub fn send(&mut self, packet: impl Into<Packet>) {
        let mut bytes = Vec::new();
        packet.into().encode(self.version, &mut bytes).unwrap();
        self.send_bytes(&bytes);
    }

    /// The server sends a PUBLISH with properties of this one sending.
    pub fn send_publish(&mut self, publish: PublishRef<'_>) {
        let mut bytes = Vec::new();
        publish.encode(self.version, &mut bytes).unwrap();
        self.send_bytes(&bytes);
    }

    /// The server sends several packets that arrive together.
    pub fn send_all(&mut self, packets: &[Packet]) {
        let mut bytes = Vec::new();
        for packet in packets {
            packet.encode(self.version, &mut bytes).unwrap();
        }
        self.send_bytes(&bytes);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let step = if self.chunking == Chunking::Bytes {
            1
        } else {
            bytes.len().max(1)
        };
        for chunk in bytes.chunks(step) {
            self.input.extend_from_slice(chunk);
            self.session.handle_input(self.now, &mut self.input);
            self.drain();
        }
    }

    /// `wants_input` has become true again: the session looks at what it left.
    pub fn read_on(&mut self) {
        self.session.handle_input(self.now, &mut self.input);
        self.drain();
    }

    /// Bytes that the session has left unread.
    pub fn unread(&self) -> usize {
        self.input.len()
    }

    /// The network connection breaks.
    pub fn cut(&mut self) {
        self.session
            .handle_close(self.now, ConnectionError::ClosedByPeer);
        self.input.clear();
        self.drain();
    }

    /// The connection is closed as the session has asked.
    pub fn close(&mut self) {
        let reason = self
            .close
            .take()
            .expect("the session asked for the end of the connection");
        self.session.handle_close(self.now, reason);
        self.input.clear();
        self.drain();
    }

    /// Lets the time pass; every timer runs out when it is due.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.session.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            run_timers(&mut self.session, self.now).unwrap();
            self.drain();
        }
        self.now = end;
        // Nothing is due, and that is no harm.
        self.session.handle_timeout(self.now);
        self.drain();
    }

    /// The socket takes bytes again.
    pub fn unblock(&mut self) {
        self.blocked = false;
        self.drain();
    }

    // ---- commands

    pub fn publish(&mut self, message: OutgoingPublish) -> OperationId {
        let accepted = self.session.publish(self.now, message).unwrap();
        self.drain();
        accepted.operation()
    }

    /// Subscribes to one filter.
    pub fn subscribe(&mut self, name: &str, quality: u8) -> OperationId {
        self.subscribe_to(vec![SubscribeFilter::new(filter(name), qos(quality))])
    }

    pub fn subscribe_to(&mut self, subscriptions: Vec<SubscribeFilter>) -> OperationId {
        let subscribe = martlet_session::SubscribeRequest::new(subscriptions);
        let operation = self.session.subscribe(self.now, subscribe).unwrap();
        self.drain();
        operation
    }

    pub fn unsubscribe(&mut self, name: &str) -> OperationId {
        let unsubscribe = martlet_session::UnsubscribeRequest::new([filter(name)]);
        let operation = self.session.unsubscribe(self.now, unsubscribe).unwrap();
        self.drain();
        operation
    }

    /// Takes the `i`th of the messages that were delivered and not taken.
    pub fn take(&mut self, i: usize) {
        self.take_with(i, PubAckReasonCode::Success);
    }

    pub fn take_with(&mut self, i: usize, reason: PubAckReasonCode) {
        let message = self.messages.remove(i);
        self.acknowledge(message.token, reason);
    }

    pub fn acknowledge(&mut self, token: AckToken, reason: PubAckReasonCode) {
        self.session.acknowledge(token, reason);
        self.drain();
    }

    pub fn disconnect(&mut self, drain: Duration) {
        self.disconnect_with(DisconnectOptions::default().drain(drain));
    }

    pub fn disconnect_with(&mut self, options: DisconnectOptions) {
        self.session.disconnect(self.now, options);
        self.drain();
    }

    // ---- what comes out

    pub fn drain(&mut self) {
        let drain = Drain {
            socket_full: self.blocked,
            // Among many messages it takes too long.
            unchecked: self.session.in_flight() + self.session.queued() >= 200,
        };
        let mut drained = drain.run(&mut self.session, self.now).unwrap();
        for (seq, operation) in drained.operations {
            if let Some((last, _)) = self.operations.back() {
                assert_eq!(seq.get(), last.get() + 1, "numbers rise by one");
            }
            self.operations.push_back((seq, operation));
        }
        let bytes = drained.output.copy_to_bytes(drained.output.remaining());
        self.wire.extend_from_slice(&bytes);
        self.unseen.extend_from_slice(&bytes);
        self.events.append(&mut drained.events);
        if let Some(reason) = drained.close {
            assert_eq!(self.close.replace(reason), None, "a second reason to close");
        }
    }

    /// The packets that the client has sent since the last look.
    pub fn packets(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(packet) =
            Packet::decode(&mut self.unseen, self.version, MAX_PACKET_SIZE).unwrap()
        {
            packets.push(packet);
        }
        assert!(self.unseen.is_empty(), "half a packet");
        packets
    }

    /// The same, as lines.
    pub fn said(&mut self) -> Vec<String> {
        self.packets().iter().map(describe).collect()
    }

    /// The session's events since the last call, as lines; messages are kept in `messages`.
    pub fn reported(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for event in std::mem::take(&mut self.events) {
            lines.push(describe_event(&event));
            if let Event::Message(message) = event {
                self.messages.push(message);
            }
        }
        lines
    }

    /// The session's events since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// How the connection ends, and what is said about it last.
    pub fn end(&mut self) -> (String, Vec<String>) {
        (
            whole(self.close.as_ref().expect("the connection is to end")),
            self.said(),
        )
    }
}
