//! Random commands, packets, pauses and broken connections against a session and a server that
//! keeps books: nothing panics, the rule to drain holds (the driver checks it at every step), and
//! the promises of MQTT are kept.

mod server;

use self::server::{Outgoing, Server, unsuback_of};
use crate::driver::*;
use martlet_proto::{Packet, PubAckReasonCode, SubAckReasonCode, SubscribeFilter, Version};
use martlet_session::CleanStart;
use martlet_session::{
    Accepted, Event, InboundLimits, LostSession, PublishError, ReceivedPublish, SubscribeRequest,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::num::NonZeroU16;

/// Small, so that it is met often.
const RECEIVE_MAXIMUM: u16 = 4;

#[derive(Debug, Clone)]
enum Step {
    Publish {
        quality: u8,
        expiry: Option<u32>,
        large: bool,
    },
    Subscribe,
    Unsubscribe,
    Ping,
    /// Takes one of the messages that wait, of those modulo their number.
    Take(usize, bool),
    /// The server answers one of the things that it owes.
    Answer(usize, bool),
    /// It has answered, but the connection breaks before that arrives.
    LoseAnswer(usize),
    ServerPublish(u8),
    /// An acknowledgement that nobody waits for, or that somebody does.
    Stray(u8, u16),
    Wait(u64),
    Block,
    Unblock,
    Cut,
    Garbage,
    Open {
        keep: bool,
        receive_maximum: u16,
    },
    Disconnect(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let publish = (
        0..3u8,
        prop::option::weighted(0.3, 0..20u32),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(quality, expiry, large)| Step::Publish {
            quality,
            expiry,
            large,
        });
    let open =
        (prop::bool::weighted(0.7), 1..6u16).prop_map(|(keep, receive_maximum)| Step::Open {
            keep,
            receive_maximum,
        });
    prop_oneof![
        12 => publish,
        1 => Just(Step::Subscribe),
        1 => Just(Step::Unsubscribe),
        1 => Just(Step::Ping),
        8 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(i, bad)| Step::Take(i, bad)),
        12 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(i, bad)| Step::Answer(i, bad)),
        1 => any::<usize>().prop_map(Step::LoseAnswer),
        8 => (0..3u8).prop_map(Step::ServerPublish),
        2 => (0..6u8, 1..30u16).prop_map(|(kind, id)| Step::Stray(kind, id)),
        3 => (0..30_000u64).prop_map(Step::Wait),
        1 => Just(Step::Block),
        2 => Just(Step::Unblock),
        1 => Just(Step::Cut),
        1 => Just(Step::Garbage),
        5 => open,
        1 => (0..20u64).prop_map(Step::Disconnect),
    ]
}

struct World {
    peer: Peer,
    server: Server,
    version: Version,
    /// Accepted and not ended, by operation.
    open: BTreeSet<u64>,
    messages: Vec<ReceivedPublish>,
    /// QoS 2 payloads delivered in this session.
    delivered: BTreeSet<String>,
    log: Vec<String>,
    published: usize,
    dropped: u64,
}

impl World {
    fn new(version: Version, requeue: bool, chunking: Chunking) -> Self {
        let lost = if requeue {
            LostSession::Requeue
        } else {
            LostSession::InDoubt
        };
        let config = named()
            .clean_start(CleanStart::Never)
            .max_in_flight(4)
            .publish_timeout(requeue.then_some(seconds(20)))
            .lost_qos1(lost)
            .lost_qos2(lost)
            .inbound(
                InboundLimits::default()
                    .receive_maximum(RECEIVE_MAXIMUM)
                    .soft_messages(6)
                    .hard_messages(12),
            );
        let mut peer = Peer::new(config);
        peer.version = version;
        peer.chunking = chunking;
        Self {
            peer,
            server: Server::default(),
            version,
            open: BTreeSet::new(),
            messages: Vec::new(),
            delivered: BTreeSet::new(),
            log: Vec::new(),
            published: 0,
            dropped: 0,
        }
    }

    /// Tells each side what the other has done.
    fn settle(&mut self) {
        for packet in self.peer.packets() {
            self.log.push(describe(&packet));
            self.server.handle(packet);
        }
        for event in self.peer.events() {
            // How many are reported together depends on when they are polled.
            if let Event::InboundDropped(n) = event {
                self.dropped += n;
                continue;
            }
            self.log.push(describe_event(&event));
            match event {
                Event::Published { operation, .. } => {
                    assert!(
                        self.open.remove(&operation.get()),
                        "{operation:?} ended twice"
                    );
                }
                Event::Message(message) => {
                    if message.publish.delivery().qos().as_u8() == 2 {
                        let payload = String::from_utf8(message.publish.payload().to_vec())
                            .expect("a number");
                        assert!(self.delivered.insert(payload), "exactly once");
                    }
                    self.messages.push(message);
                }
                _ => {}
            }
        }
        let is_counted =
            |message: &&ReceivedPublish| !self.peer.session.is_superseded(&message.token);
        assert_eq!(
            self.peer.session.unhandled(),
            self.messages.iter().filter(is_counted).count()
        );
        if self.peer.close.is_some() {
            self.disconnected();
            self.peer.close();
            self.settle();
        }
    }

    fn disconnected(&mut self) {
        self.server.disconnected();
    }

    fn send(&mut self, packet: Packet) {
        self.peer.send(packet);
        self.settle();
    }

    fn open(&mut self, keep: bool, receive_maximum: u16) {
        if self.server.connected {
            return;
        }
        let keep = keep && self.log.iter().any(|line| line.starts_with("connected"));
        self.peer.blocked = false;
        self.peer.open(self.version);
        self.settle();
        let mut accepted = connack(keep);
        self.server.window = 4;
        if self.version.has_properties() {
            accepted.properties.receive_maximum = NonZeroU16::new(receive_maximum);
            self.server.window = self.server.window.min(usize::from(receive_maximum));
        }
        if !keep {
            self.server.lose_session();
            self.delivered.clear();
        }
        self.server.connected = true;
        self.send(accepted.into());
        // The server sends again what it has.
        let again: Vec<Packet> = self
            .server
            .outgoing
            .iter()
            .map(|out| {
                if out.recorded {
                    pubrel(out.id)
                } else {
                    duplicate(out.quality, out.id, "a", &out.payload)
                }
            })
            .collect();
        for packet in again {
            if !self.server.connected {
                return;
            }
            if let Packet::Publish(publish) = &packet {
                let quality = usize::from(publish.delivery().qos().as_u8());
                let id = publish
                    .delivery()
                    .packet_identifier()
                    .expect("not QoS 0")
                    .get();
                self.server.order[quality - 1].push_back(id);
            }
            self.send(packet);
        }
    }

    fn take(&mut self, i: usize, bad: bool) {
        if self.messages.is_empty() {
            return;
        }
        let message = self.messages.remove(i % self.messages.len());
        let reason = if bad {
            PubAckReasonCode::QuotaExceeded
        } else {
            PubAckReasonCode::Success
        };
        if bad {
            // The server may send it again, if the answer is lost: then it is a new message.
            let payload = String::from_utf8(message.publish.payload().to_vec()).expect("a number");
            self.delivered.remove(&payload);
        }
        self.peer.acknowledge(message.token, reason);
        self.peer.read_on();
        self.settle();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish {
                quality,
                expiry,
                large,
            } => self.publish(quality, expiry, large),
            Step::Subscribe => {
                let subscribe = SubscribeRequest::new([SubscribeFilter::new(filter("a"), qos(1))]);
                _ = self.peer.session.subscribe(self.peer.now, subscribe);
                self.peer.drain();
            }
            Step::Unsubscribe => {
                let unsubscribe = martlet_session::UnsubscribeRequest::new([filter("a")]);
                _ = self.peer.session.unsubscribe(self.peer.now, unsubscribe);
                self.peer.drain();
            }
            Step::Ping => {
                _ = self.peer.session.ping();
                self.peer.drain();
            }
            Step::Take(i, bad) => self.take(i, bad && self.version.has_properties()),
            Step::Answer(i, bad) => {
                if self.server.connected && !self.server.owed.is_empty() {
                    let packet = self.server.answer(
                        self.version,
                        i % self.server.owed.len(),
                        bad && self.version.has_properties(),
                    );
                    self.send(packet);
                }
            }
            Step::LoseAnswer(i) => {
                if self.server.connected && !self.server.owed.is_empty() {
                    self.server
                        .answer(self.version, i % self.server.owed.len(), false);
                    self.cut();
                }
            }
            Step::ServerPublish(quality) => self.server_publish(quality),
            Step::Stray(kind, n) => self.stray(kind, n),
            Step::Wait(ms) => self.peer.wait(millis(ms)),
            Step::Block => self.peer.blocked = true,
            Step::Unblock => self.peer.unblock(),
            Step::Cut => self.cut(),
            Step::Garbage => {
                if self.server.connected {
                    self.peer.send_bytes(&[0xff, 0xff, 0xff]);
                }
            }
            Step::Open {
                keep,
                receive_maximum,
            } => self.open(keep, receive_maximum),
            Step::Disconnect(drain) => {
                self.peer.disconnect(seconds(drain));
            }
        }
        self.settle();
    }

    fn publish(&mut self, quality: u8, expiry: Option<u32>, large: bool) {
        self.published += 1;
        let payload = format!("{};", self.published);
        let payload = if large {
            payload.repeat(20_000)
        } else {
            payload
        };
        let mut message = message(quality, "a", &payload);
        if let Some(seconds) = expiry {
            message.properties = expiring(quality, "a", "", seconds).properties;
        }
        match self.peer.session.publish(self.peer.now, message) {
            Ok(Accepted::Pending(operation)) => assert!(self.open.insert(operation.get())),
            Ok(Accepted::Sent(_)) | Err(PublishError::Closed(_)) => {}
            Err(error) => panic!("{error}"),
        }
        self.peer.drain();
    }

    fn server_publish(&mut self, quality: u8) {
        if self.server.connected && self.server.outgoing.len() < usize::from(RECEIVE_MAXIMUM) {
            self.server.next_payload += 1;
            let payload = self.server.next_payload.to_string();
            let id = if quality > 0 {
                // Not one that it uses already.
                while {
                    self.server.next_id = self.server.next_id % 12 + 1;
                    self.server
                        .outgoing
                        .iter()
                        .any(|out| out.id == self.server.next_id)
                } {}
                let id = self.server.next_id;
                let out = Outgoing {
                    quality,
                    id,
                    payload: payload.clone(),
                    recorded: false,
                };
                self.server.outgoing.push(out);
                self.server.order[usize::from(quality) - 1].push_back(id);
                id
            } else {
                0
            };
            self.send(publish(quality, id, "a", &payload));
        }
    }

    /// The server sends something that nobody waits for.
    fn stray(&mut self, kind: u8, n: u16) {
        // Only what is nobody's: a server that acknowledges what it does not have breaks
        // its own books.
        if self.server.connected
            && !self.peer.blocked
            && !self.server.live.contains(&n)
            && !self.server.received.contains_key(&n)
        {
            let known = self.server.outgoing.iter().any(|out| out.id == n);
            let packet = match kind {
                0 => puback(n),
                1 => pubcomp(n),
                2 => suback(n, &[SubAckReasonCode::GrantedQos1]),
                3 => unsuback_of(self.version, n),
                4 if !known => pubrel(n),
                _ => Packet::PingResp,
            };
            self.send(packet);
        }
    }

    fn cut(&mut self) {
        self.disconnected();
        self.peer.cut();
        self.settle();
    }

    /// Everything completes, once both sides want it.
    fn finish(&mut self) {
        self.cut();
        // A drain goes on with the next connection, and would end it.
        self.peer
            .wait(seconds(if self.peer.session.is_ended() { 20 } else { 0 }));
        self.settle();
        while !self.messages.is_empty() {
            self.take(0, false);
        }
        self.open(true, 3);
        self.peer.unblock();
        self.settle();
        for _ in 0..10_000 {
            self.take(0, false);
            self.peer.read_on();
            self.settle();
            if self.server.connected && !self.server.owed.is_empty() {
                let packet = self.server.answer(self.version, 0, false);
                self.send(packet);
            } else if self.messages.is_empty() {
                break;
            }
        }
        assert!(self.open.is_empty(), "never ended: {:?}", self.open);
        assert!(
            self.server.outgoing.is_empty(),
            "never acknowledged: {:?}",
            self.server.outgoing
        );
        let session = &self.peer.session;
        assert_eq!(
            (
                session.in_flight(),
                session.queued(),
                session.queued_bytes()
            ),
            (0, 0, 0)
        );
        assert_eq!(session.unhandled(), 0);
    }
}

fn run(version: Version, requeue: bool, chunking: Chunking, steps: &[Step]) -> Vec<String> {
    let mut world = World::new(version, requeue, chunking);
    for step in steps {
        world.step(step);
    }
    world.finish();
    world.log.push(format!("dropped {}", world.dropped));
    world.log
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 3 } else { 1000 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_keeps_its_promises_and_chunks_do_not_matter(
        v5 in any::<bool>(),
        requeue in any::<bool>(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let version = if v5 { Version::V5 } else { Version::V3_1_1 };
        let whole = run(version, requeue, Chunking::Whole, &steps);
        let bytes = run(version, requeue, Chunking::Bytes, &steps);
        prop_assert_eq!(whole, bytes);
    }

    /// Any bytes, in any chunks, with any pauses.
    #[test]
    fn bytes_of_a_hostile_server_never_panic(
        version in prop::sample::select(&Version::ALL[..]),
        connected in any::<bool>(),
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
    ) {
        let mut peer = Peer::new(named().clean_start(CleanStart::Never));
        peer.open(version);
        if connected {
            peer.send(connack(false));
        }
        peer.publish(message(2, "a", "1"));
        peer.subscribe("a", 1);
        for chunk in chunks {
            peer.send_bytes(&chunk);
            peer.reported();
            while !peer.messages.is_empty() {
                peer.take(0);
            }
            peer.wait(seconds(1));
            if peer.close.is_some() {
                peer.close();
                peer.open(version);
                peer.send(connack(false));
            }
        }
    }
}
