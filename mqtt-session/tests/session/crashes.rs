//! A durable session, a server and a process that may die between any two operations on the store:
//! nothing that was stored is lost, QoS 2 arrives exactly once, order is kept, and every end is
//! reported.

use bytes::{BufMut, BytesMut};
use martlet_proto::{
    Ack, ConnAck, ConnectReasonCode, Delivery, MAX_PACKET_SIZE, Packet, PacketIdentifier,
    PubAckReasonCode, PubRelReasonCode, PublishRef, QoS, TopicName, Utf8String, Version,
};
use martlet_session::CleanStart;
use martlet_session::Durable;
use martlet_session::drain::Drain;
use martlet_session::{
    AckToken, Config, ConnectOptions, ConnectionError, Event, Instant, OperationId,
    OutgoingPublish, RecordKey, Session, StoreOp, StoreSeq, WhenServerHangsUp,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Number = u64;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The application publishes with QoS 1 or 2.
    Publish(u8),
    /// So many operations are stored, in one go.
    Store(usize),
    /// So many packets arrive at the server, and at the client.
    ToServer(usize),
    ToClient(usize),
    /// The server has a message for the client, with QoS 1 or 2.
    Deliver(u8),
    /// The application takes what has come.
    Take,
    /// The connection breaks, and another is made.
    Cut,
    /// The process dies after this number of further operations was stored, and another begins.
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..=2u8).prop_map(Step::Publish),
        6 => (0..6usize).prop_map(Step::Store),
        6 => (1..4usize).prop_map(Step::ToServer),
        6 => (1..4usize).prop_map(Step::ToClient),
        4 => (1..=2u8).prop_map(Step::Deliver),
        4 => Just(Step::Take),
        1 => Just(Step::Cut),
        2 => (0..6usize).prop_map(Step::Crash),
    ]
}

// ---- the server

/// A session on the server; it is never lost.
#[derive(Debug, Default)]
struct Server {
    exists: bool,
    connected: bool,
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    received: BTreeSet<PacketIdentifier>,
    /// What it has taken from the client, in order.
    log: Vec<Number>,
    /// What it has for the client, in order: number, QoS, and whether PUBREC has come.
    outgoing: VecDeque<(PacketIdentifier, Number, QoS, bool)>,
    /// Of QoS 2 messages: those whose PUBREC it has.
    recorded: BTreeSet<Number>,
}

fn publish(id: PacketIdentifier, number: Number, qos: QoS, duplicate: bool) -> Packet {
    let delivery = match qos {
        QoS::ExactlyOnce => Delivery::ExactlyOnce {
            packet_identifier: id,
            duplicate,
        },
        _ => Delivery::AtLeastOnce {
            packet_identifier: id,
            duplicate,
        },
    };
    let topic = TopicName::from_static("t").unwrap();
    Packet::Publish(
        PublishRef::new(&topic, &number.to_be_bytes())
            .with_delivery(delivery)
            .into(),
    )
}

fn pubrel(id: PacketIdentifier) -> Packet {
    Packet::PubRel(Ack::new(id, PubRelReasonCode::Success))
}

impl Server {
    fn handle(&mut self, packet: Packet, answers: &mut VecDeque<Packet>) {
        match packet {
            Packet::Connect(_) => {
                self.connected = true;
                let present = std::mem::replace(&mut self.exists, true);
                answers.push_back(
                    ConnAck {
                        session_present: present,
                        ..ConnAck::new(ConnectReasonCode::Success)
                    }
                    .into(),
                );
                for &(id, number, qos, recorded) in &self.outgoing {
                    answers.push_back(if recorded {
                        pubrel(id)
                    } else {
                        publish(id, number, qos, true)
                    });
                }
            }
            Packet::PingReq => answers.push_back(Packet::PingResp),
            Packet::Publish(publish) => {
                let number = u64::from_be_bytes(publish.payload().try_into().unwrap());
                match publish.delivery() {
                    Delivery::ExactlyOnce {
                        packet_identifier, ..
                    } => {
                        if self.received.insert(packet_identifier) {
                            self.log.push(number);
                        }
                        answers.push_back(Packet::PubRec(Ack::new(
                            packet_identifier,
                            PubAckReasonCode::Success,
                        )));
                    }
                    Delivery::AtLeastOnce {
                        packet_identifier, ..
                    } => {
                        self.log.push(number);
                        answers.push_back(Packet::PubAck(Ack::new(
                            packet_identifier,
                            PubAckReasonCode::Success,
                        )));
                    }
                    Delivery::AtMostOnce => {}
                }
            }
            Packet::PubRel(ack) => {
                self.received.remove(&ack.packet_identifier);
                answers.push_back(Packet::PubComp(Ack::new(
                    ack.packet_identifier,
                    PubRelReasonCode::Success,
                )));
            }
            Packet::PubAck(ack) => self
                .outgoing
                .retain(|&(id, ..)| id != ack.packet_identifier),
            Packet::PubRec(ack) => {
                for (id, number, _, recorded) in &mut self.outgoing {
                    if *id == ack.packet_identifier {
                        *recorded = true;
                        self.recorded.insert(*number);
                    }
                }
                answers.push_back(pubrel(ack.packet_identifier));
            }
            Packet::PubComp(ack) => self
                .outgoing
                .retain(|&(id, ..)| id != ack.packet_identifier),
            _ => {}
        }
    }

    /// The lowest identifier that is free: used again as soon as it may be.
    fn deliver(&mut self, number: Number, qos: QoS, answers: &mut VecDeque<Packet>) {
        let free = |id: &PacketIdentifier| self.outgoing.iter().all(|(used, ..)| used != id);
        let id = (1..100)
            .filter_map(PacketIdentifier::new)
            .find(free)
            .unwrap();
        self.outgoing.push_back((id, number, qos, false));
        if self.connected {
            answers.push_back(publish(id, number, qos, false));
        }
    }
}

// ---- the world

struct World {
    session: Session,
    now: Instant,
    server: Server,
    to_server: VecDeque<Packet>,
    to_client: VecDeque<Packet>,
    store: BTreeMap<RecordKey, bytes::Bytes>,
    operations: VecDeque<(StoreSeq, StoreOp)>,
    held: VecDeque<AckToken>,
    next: Number,
    /// What was accepted and not lost with a process before it was stored: by operation.
    accepted: BTreeMap<u64, (Number, QoS)>,
    ended: BTreeSet<u64>,
    /// How often each message of the server was delivered, and how often that was allowed.
    delivered: BTreeMap<Number, (QoS, u32)>,
    /// QoS 2 messages that this process has delivered.
    here: BTreeSet<Number>,
}

fn config() -> Config {
    Config::default()
        .client_identifier(Utf8String::from_static("me").unwrap())
        .clean_start(CleanStart::Never)
        .max_in_flight(3)
        .durable(Durable::default())
        // This network cuts as it likes, and nothing may be given up for it.
        .when_server_hangs_up(WhenServerHangsUp::KeepTrying)
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            session: Session::new(config()),
            now: Instant::EPOCH,
            server: Server::default(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            store: BTreeMap::new(),
            operations: VecDeque::new(),
            held: VecDeque::new(),
            next: 0,
            accepted: BTreeMap::new(),
            ended: BTreeSet::new(),
            delivered: BTreeMap::new(),
            here: BTreeSet::new(),
        };
        world.open();
        world
    }

    fn open(&mut self) {
        self.session
            .handle_open(self.now, ConnectOptions::new(Version::V5));
        self.drain();
    }

    fn drain(&mut self) {
        let mut drained = Drain::default().run(&mut self.session, self.now).unwrap();
        self.operations.extend(drained.operations);
        let mut bytes = BytesMut::new();
        bytes.put(&mut drained.output);
        while let Some(packet) = Packet::decode(&mut bytes, Version::V5, MAX_PACKET_SIZE).unwrap() {
            self.to_server.push_back(packet);
        }
        for event in drained.events {
            match event {
                Event::Message(message) => {
                    let number = u64::from_be_bytes(message.publish.payload().try_into().unwrap());
                    let (qos, times) = self.delivered.get_mut(&number).unwrap();
                    *times += 1;
                    if *qos == QoS::ExactlyOnce {
                        assert!(
                            !self.server.recorded.contains(&number),
                            "{number} again after its PUBREC"
                        );
                        assert!(self.here.insert(number), "{number} twice in one process");
                    }
                    self.held.push_back(message.token);
                }
                Event::Published {
                    operation, result, ..
                } => {
                    result.unwrap();
                    let (number, _) = self.accepted[&operation.get()];
                    assert!(
                        self.server.log.contains(&number),
                        "{number} acknowledged and never sent"
                    );
                    self.ended.insert(operation.get());
                }
                Event::Disconnected(reason) => assert_eq!(reason, ConnectionError::ClosedByPeer),
                _ => {}
            }
        }
        assert_eq!(drained.close, None);
    }

    /// So many operations reach the disk; gives back the last.
    fn write(&mut self, n: usize) -> Option<StoreSeq> {
        let n = n.min(self.operations.len());
        let mut last = None;
        for (seq, operation) in self.operations.drain(..n) {
            match operation {
                StoreOp::Put { key, value } => drop(self.store.insert(key, value)),
                StoreOp::Delete { key } => drop(self.store.remove(&key)),
            }
            last = Some(seq);
        }
        last
    }

    fn cut(&mut self) {
        // What is on its way is lost; the server's half may have arrived, that is another step.
        self.to_server.clear();
        self.to_client.clear();
        self.server.connected = false;
        self.session
            .handle_close(self.now, ConnectionError::ClosedByPeer);
        self.drain();
        self.to_server.clear();
        self.open();
    }

    fn crash(&mut self, n: usize) {
        self.write(n);
        self.to_server.clear();
        self.to_client.clear();
        self.server.connected = false;
        self.held.clear();
        self.here.clear();
        // Those that were not stored are lost with the process; nobody has heard of them.
        let waiting: BTreeSet<u64> = self
            .operations
            .drain(..)
            .filter_map(|(_, operation)| match operation {
                StoreOp::Put { key, .. } => key.operation().filter(|_| key.to_bytes()[0] == 2),
                StoreOp::Delete { .. } => None,
            })
            .map(OperationId::get)
            .collect();
        for operation in waiting {
            let (number, _) = self.accepted.remove(&operation).unwrap();
            assert!(
                !self.server.log.contains(&number),
                "{number} was sent before it was stored"
            );
        }
        let restored = Session::restore(config(), self.now, self.store.clone()).unwrap();
        assert_eq!(restored.quarantined, []);
        self.session = restored.session;
        for operation in self.session.unacknowledged() {
            assert!(
                self.accepted.contains_key(&operation.get()),
                "{operation:?} was never accepted"
            );
        }
        let unacknowledged: BTreeSet<u64> = self
            .session
            .unacknowledged()
            .map(OperationId::get)
            .collect();
        for operation in self
            .accepted
            .keys()
            .filter(|operation| !self.ended.contains(operation))
        {
            assert!(
                unacknowledged.contains(operation),
                "operation {operation} was stored, and is lost"
            );
        }
        self.open();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(qos) => {
                let number = self.next;
                self.next += 1;
                let qos = QoS::from_u8(qos).unwrap();
                let topic = TopicName::from_static("t").unwrap();
                let payload = number.to_be_bytes().to_vec();
                let message = OutgoingPublish::new(topic, payload).qos(qos).key(Some(1));
                let accepted = self.session.publish(self.now, message).unwrap();
                let before = self
                    .accepted
                    .insert(accepted.operation().get(), (number, qos));
                assert_eq!(before, None, "an operation was used twice");
            }
            Step::Store(n) => {
                if let Some(last) = self.write(n) {
                    self.session.handle_stored(last);
                }
            }
            Step::ToServer(n) => {
                for _ in 0..n {
                    let Some(packet) = self.to_server.pop_front() else {
                        break;
                    };
                    self.server.handle(packet, &mut self.to_client);
                }
            }
            Step::ToClient(n) => {
                let mut bytes = BytesMut::new();
                for packet in self.to_client.drain(..n.min(self.to_client.len())) {
                    packet.encode(Version::V5, &mut bytes).unwrap();
                }
                self.session.handle_input(self.now, &mut bytes);
            }
            Step::Deliver(qos) => {
                if self.server.exists && self.server.outgoing.len() < 20 {
                    let number = self.next;
                    self.next += 1;
                    let qos = QoS::from_u8(qos).unwrap();
                    self.delivered.insert(number, (qos, 0));
                    self.server.deliver(number, qos, &mut self.to_client);
                }
            }
            Step::Take => {
                for token in std::mem::take(&mut self.held) {
                    self.session.acknowledge(token, PubAckReasonCode::Success);
                }
            }
            Step::Cut => self.cut(),
            Step::Crash(n) => self.crash(n),
        }
        self.drain();
    }

    /// Nothing goes wrong any more: everything settles.
    fn finish(&mut self) {
        self.cut();
        for _ in 0..1000 {
            for step in [
                Step::Store(100),
                Step::ToServer(100),
                Step::ToClient(100),
                Step::Take,
            ] {
                self.step(step);
            }
        }
        assert_eq!(self.session.unacknowledged().count(), 0);
        assert_eq!(self.server.outgoing, []);
        assert_eq!(self.store.len(), 1, "the identity: {:?}", self.store.keys());
        for (operation, (number, qos)) in &self.accepted {
            assert!(
                self.ended.contains(operation),
                "the end of {number} was not reported"
            );
            let times = self
                .server
                .log
                .iter()
                .filter(|logged| *logged == number)
                .count();
            assert!(
                times == 1 || (times > 1 && *qos == QoS::AtLeastOnce),
                "{number} came {times} times"
            );
        }
        for (number, (_, times)) in &self.delivered {
            assert!(*times > 0, "{number} was never delivered");
        }
        for wanted in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let of_qos: BTreeSet<_> = self
                .accepted
                .values()
                .filter(|(_, qos)| *qos == wanted)
                .map(|(number, _)| *number)
                .collect();
            let mut seen = BTreeSet::new();
            let firsts: Vec<_> = self
                .server
                .log
                .iter()
                .filter(|number| of_qos.contains(number) && seen.insert(**number))
                .collect();
            assert!(firsts.is_sorted(), "out of order: {firsts:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 3 } else { 400 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_between_store_and_server(steps in proptest::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.finish();
    }
}

/// A process that dies all the time.
#[test]
fn a_crash_after_each_operation() {
    let mut world = World::new();
    for n in 0..200u8 {
        for step in [
            Step::Publish(1 + n % 2),
            Step::Deliver(2 - n % 2),
            Step::ToServer(3),
            Step::ToClient(3),
        ] {
            world.step(step);
            world.step(Step::Take);
            world.step(Step::Store(usize::from(n % 3)));
        }
        world.step(Step::Crash(1));
    }
    world.finish();
}
