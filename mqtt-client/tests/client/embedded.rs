//! A client in an event loop, against the embedded broker in simulated time. Every step
//! drains the client and checks the rule: a second drain yields nothing, and no time that has come
//! is left behind.

mod world;

use self::world::{World, at, link, rejected};
use bytes::BytesMut;
use martlet_broker::{Broker, Memory};
use martlet_client::proto::{ConnAck, ConnectReasonCode, Packet, Version};
use martlet_client::session::{Config, Event};
use martlet_client::{
    ConnectionError, PublishError, QoS, Reconnect,
    embedded::{Embedded, EmbeddedEvent, LinkConfig, LinkEvent, VersionChoice},
    hooks::{GivenUp, Observer},
    session::{CleanStart, Instant, Session, TransportErrorKind},
};
use martlet_tests::sim::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn a_whole_conversation() {
    let mut world = World::new(link());
    world.subscribe("a/+");
    for (qos, payload) in [
        (QoS::AtMostOnce, "0"),
        (QoS::AtLeastOnce, "1"),
        (QoS::ExactlyOnce, "2"),
    ] {
        world.publish(qos, payload);
    }
    world.settle();
    assert_eq!(world.take_messages(), ["0", "1", "2"]);
    world.settle();
    assert_eq!(world.acknowledged(), 3);
    // An hour of silence: PINGREQ and PINGRESP keep it open.
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.dialed, ["one.example"]);
    world.disconnect();
    assert_eq!(world.shut_down, 1);
    world.eof();
    assert_eq!(world.client.stopped(), Some(&ConnectionError::ClosedHere));
    assert_eq!(world.ended(), (&ConnectionError::ClosedHere, None));
    assert_eq!(world.client.poll_timeout(), None);
    assert!(!world.client.wants_socket() && !world.client.wants_wire());
}

#[test]
fn an_observer_sees_every_packet() {
    struct Seen(Arc<Mutex<Vec<String>>>);
    impl Observer for Seen {
        fn packet_sent(&mut self, _: Instant, packet: &Packet) {
            self.0
                .lock()
                .unwrap()
                .push(format!("out {}", packet.packet_type()));
        }
        fn packet_received(&mut self, _: Instant, packet: &Packet) {
            self.0
                .lock()
                .unwrap()
                .push(format!("in {}", packet.packet_type()));
        }
    }
    let mut world = World::new(link());
    let seen = Arc::default();
    world.client.set_observer(Seen(Arc::clone(&seen)));
    world.settle();
    world.disconnect();
    assert_eq!(
        *seen.lock().unwrap(),
        ["out CONNECT", "in CONNACK", "out DISCONNECT"]
    );
}

#[test]
fn events_come_in_the_order_in_which_things_happened() {
    let mut world = World::new(link());
    world.settle();
    world.eof();
    world.pass(Duration::from_secs(60));
    let kinds: Vec<_> = world
        .take()
        .iter()
        .map(|event| format!("{event:?}"))
        .collect();
    let begins = [
        "Link(Connecting",
        "Session(Connected",
        "Link(Disconnected { reason: ClosedByPeer, retry_in: Some",
        "Link(Connecting",
        "Session(Connected",
    ];
    assert_eq!(kinds.len(), begins.len(), "{kinds:?}");
    for (kind, begin) in kinds.iter().zip(begins) {
        assert!(kind.starts_with(begin), "{kind} is not {begin}");
    }
}

/// Events that are polled late come in order.
#[test]
fn events_that_were_left_keep_their_order() {
    let mut world = World::new(link());
    let now = Instant::EPOCH;
    let packet = |packet: Packet| {
        let mut bytes = BytesMut::new();
        packet.encode(Version::V5, &mut bytes).unwrap();
        bytes
    };
    let connack = packet(ConnAck::new(ConnectReasonCode::Success).into());
    for _ in 0..2 {
        assert!(world.client.poll_dial(now).is_some());
        world.client.handle_dialed(now);
        let n = world.client.poll_wire(now).unwrap().remaining();
        world.client.handle_written(now, n);
        world.client.handle_wire(now, &connack);
        world.client.handle_eof(now, None);
        assert!(world.client.poll_dial(now).is_none());
        world.client.retry_now();
    }
    let kinds: Vec<_> = std::iter::from_fn(|| world.client.poll_event())
        .map(|event| match event {
            EmbeddedEvent::Link(LinkEvent::Connecting(_)) => "connecting",
            EmbeddedEvent::Link(LinkEvent::Disconnected { .. }) => "disconnected",
            EmbeddedEvent::Session(Event::Connected(_)) => "connected",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["connecting", "connected", "disconnected"].repeat(2));
}

#[test]
fn it_comes_back_after_an_end() {
    let mut world = World::new(link());
    world.subscribe("a/b");
    world.settle();
    world.eof();
    let (error, retry_in) = world.ended();
    assert_eq!(*error, ConnectionError::ClosedByPeer);
    let wait = retry_in.unwrap();
    assert!(!wait.is_zero() && wait <= Duration::from_secs(1));
    assert_eq!(world.client.poll_timeout(), Some(at(world.now + wait)));
    world.publish(QoS::AtLeastOnce, "while there is no connection");
    world.pass(wait);
    assert_eq!(world.dialed.len(), 2);
    world.settle();
    assert_eq!(world.take_messages(), ["while there is no connection"]);
    assert_eq!(world.acknowledged(), 1);
    // A socket that fails, instead of one that ends.
    world.cut_server_side();
    world
        .client
        .handle_eof(at(world.now), Some(std::io::Error::other("reset").into()));
    world.drain();
    assert!(
        format!("{:#}", martlet_client::Error::from(world.ended().0.clone())).ends_with(": reset")
    );
    world.client.retry_now();
    world.settle();
    assert_eq!(world.dialed.len(), 3);
    assert!(world.client.session().is_connected());
}

#[test]
fn a_dial_that_fails_goes_to_the_next_server() {
    let mut world = World::new(link().server("mqtt://two.example".parse().unwrap()));
    world.reachable = false;
    world.drain();
    world.client.handle_dial_failed(Instant::EPOCH, rejected());
    world.reachable = true;
    world.settle();
    assert_eq!(world.dialed, ["one.example", "two.example"]);
    assert!(world.client.session().is_connected());
}

#[test]
fn a_dial_has_a_deadline() {
    let mut world = World::new(link());
    world.reachable = false;
    world.drain();
    assert!(world.client.wants_socket() && !world.client.wants_wire());
    world.pass(Duration::from_secs(10));
    let (error, _) = world.ended();
    assert!(
        matches!(error, ConnectionError::Transport(error) if error.kind() == TransportErrorKind::ConnectTimeout)
    );
    assert!(!world.client.wants_socket());
    // The late socket is nobody's.
    world.client.handle_dialed(at(world.now));
    world.drain();
    assert!(!world.client.wants_socket());
}

/// Without `retry_first` the first failure is the last, and everything that waits gets the reason.
#[test]
fn when_nobody_is_left_to_ask_everyone_is_told() {
    let mut world = World::new(link().reconnect(Reconnect::default()));
    world.reachable = false;
    world.publish(QoS::AtLeastOnce, "never");
    world.drain();
    world.client.handle_dial_failed(Instant::EPOCH, rejected());
    world.drain();
    assert!(matches!(
        world.client.stopped(),
        Some(ConnectionError::Transport(_))
    ));
    assert_eq!(world.ended().1, None);
    let failed = |event: &EmbeddedEvent| {
        matches!(
            event,
            EmbeddedEvent::Session(Event::Published {
                result: Err(PublishError::OnHold(_)),
                ..
            })
        )
    };
    assert!(world.events.iter().any(failed), "{:?}", world.events);
    assert_eq!(world.client.poll_timeout(), None);
}

#[test]
fn a_rejected_connack_is_told_with_its_reason() {
    let users = martlet_broker::BrokerConfig::default()
        .with_user("ann", "secret")
        .unwrap();
    let mut world =
        World::new(LinkConfig::new("mqtt://bob:wrong@one.example".parse().unwrap()).seed(1));
    world.broker = Broker::new(users);
    world.settle();
    let (error, retry_in) = world.ended();
    assert!(
        matches!(error, ConnectionError::Rejected(rejection)
            if rejection.reason == ConnectReasonCode::BadUserNameOrPassword
                || rejection.reason == ConnectReasonCode::NotAuthorized),
        "{error:?}"
    );
    assert_eq!(retry_in, None, "it would be the same again");
    assert!(world.client.stopped().is_some() && !world.client.wants_socket());
}

#[test]
fn disconnect_ends_it_for_ever_wherever_it_stands() {
    for moment in ["dialling", "connected", "waiting", "blocked"] {
        let mut world = World::new(link());
        world.reachable = moment != "dialling";
        world.settle();
        match moment {
            "waiting" => world.eof(),
            "blocked" => world.blocked = true,
            _ => {}
        }
        world.disconnect();
        world.pass(Duration::from_secs(24 * 3600));
        assert_eq!(world.dialed.len(), 1, "{moment}");
        assert_eq!(
            world.client.stopped(),
            Some(&ConnectionError::ClosedHere),
            "{moment}"
        );
        assert_eq!(world.client.poll_timeout(), None, "{moment}");
        assert_eq!(
            world.ended(),
            (&ConnectionError::ClosedHere, None),
            "{moment}"
        );
        world.client.retry_now();
        world.client.handle_dialed(at(world.now));
        world.settle();
        assert_eq!(world.dialed.len(), 1, "{moment}");
    }
}

/// A late poll must not be mistaken for a slow server: what is due is written first.
#[test]
fn a_loop_that_was_busy_writes_before_it_gives_up() {
    let mut world = World::new(link());
    world.settle();
    world.blocked = true;
    world.publish(QoS::AtLeastOnce, "late");
    world.drain();
    let deadline = world.client.poll_timeout().unwrap();
    world.now = deadline.since_epoch();
    world.blocked = false;
    world.client.handle_timeout(deadline);
    world.settle();
    assert!(world.client.session().is_connected());
    assert_eq!(world.acknowledged(), 1);
}

#[test]
fn a_socket_that_takes_nothing_is_given_up() {
    let mut world = World::new(link());
    world.settle();
    world.blocked = true;
    world.publish(QoS::AtLeastOnce, "late");
    world.drain();
    let begin = world.now;
    while world.dialed.len() == 1 {
        world.wait(begin + Duration::from_secs(60));
    }
    let ended = world.events.iter().any(|event| {
        matches!(event, EmbeddedEvent::Link(LinkEvent::Disconnected { reason: ConnectionError::Transport(error), .. })
            if error.kind() == TransportErrorKind::WriteTimeout)
    });
    assert!(ended, "{:?}", world.events);
    world.settle();
    assert_eq!(world.acknowledged(), 1);
}

#[test]
fn an_attempt_can_be_prepared() {
    let mut world = World::new(link().prepare_timeout(Some(Duration::from_secs(3))));
    let users = martlet_broker::BrokerConfig::default()
        .with_user("ann", "secret")
        .unwrap();
    world.broker = Broker::new(users);
    world.drain();
    assert!(world.dialed.is_empty());
    // Nobody prepares it in time.
    assert_eq!(
        world.client.poll_prepare(at(world.now)).unwrap().number(),
        1
    );
    world.pass(Duration::from_secs(3));
    assert!(matches!(world.ended().0, ConnectionError::Timeout(_)));
    world.pass(world.ended().1.unwrap());
    assert!(world.dialed.is_empty());
    let mut attempt = world.client.poll_prepare(at(world.now)).unwrap();
    assert_eq!(attempt.number(), 2);
    attempt.set_credentials("ann", "secret").unwrap();
    world.client.handle_prepared(at(world.now), Ok(attempt));
    world.settle();
    assert!(world.client.session().is_connected());
    world.eof();
    world.pass(world.ended().1.unwrap());
    let attempt = world.client.poll_prepare(at(world.now));
    assert_eq!(
        attempt.unwrap().last_error(),
        Some(&ConnectionError::ClosedByPeer)
    );
    world
        .client
        .handle_prepared(at(world.now), Err(GivenUp::for_good("no token")));
    world.drain();
    assert_eq!(
        world.ended(),
        (
            &ConnectionError::GivenUp(GivenUp::for_good("no token")),
            None
        )
    );
}

/// Packets that must be stored first are sent after that is reported.
#[test]
fn a_session_that_is_stored() {
    let now = Instant::EPOCH;
    let config = || {
        Config::default()
            .client_identifier("me".try_into().unwrap())
            .clean_start(CleanStart::Never)
    };
    let mut disk = BTreeMap::new();
    let mut world = World::new(link());
    let restored = Session::restore(config(), now, []).unwrap();
    world.client = Embedded::new(restored.session, link());
    world.publish(QoS::AtLeastOnce, "stored");
    let mut store = |world: &mut World| {
        while let Some((upto, operation)) = world.client.session_mut().poll_store(now) {
            match operation {
                martlet_client::store::StoreOp::Put { key, value } => drop(disk.insert(key, value)),
                martlet_client::store::StoreOp::Delete { key } => drop(disk.remove(&key)),
            }
            world.client.session_mut().handle_stored(upto);
        }
        world.settle();
    };
    world.settle();
    assert_eq!(world.acknowledged(), 0, "nothing leaves that is not stored");
    for _ in 0..4 {
        store(&mut world);
    }
    assert_eq!(world.acknowledged(), 1);
}

/// Whatever happens, in whatever order: the rule to drain holds after every step, and in the end
/// everything has arrived.
#[test]
fn it_drains_to_rest_whatever_happens() {
    let mut acknowledged = 0;
    for seed in 0..200 {
        let mut conversation = Conversation::new(seed);
        for _ in 0..200 {
            conversation.step();
        }
        conversation.finish(seed);
        acknowledged += conversation.world.acknowledged();
    }
    assert!(acknowledged > 2000, "only {acknowledged} messages in all");
}

/// A client that publishes to itself, while everything happens to it.
struct Conversation {
    world: World,
    random: Random,
    /// How many messages were published.
    sent: usize,
    arrived: Vec<String>,
}

impl Conversation {
    fn new(seed: u64) -> Self {
        let config = link()
            // An older version would begin the session anew.
            .version(VersionChoice::Fixed(Version::V5))
            .seed(seed)
            .server("mqtt://two.example".parse().unwrap());
        let mut world = World::new(config);
        world.subscribe("a/b");
        world.settle();
        Self {
            world,
            random: Random::new(seed),
            sent: 0,
            arrived: Vec::new(),
        }
    }

    /// Something happens.
    fn step(&mut self) {
        let world = &mut self.world;
        match self.random.below(16) {
            0..3 => {
                let qos = if self.random.below(2) == 0 {
                    QoS::AtLeastOnce
                } else {
                    QoS::ExactlyOnce
                };
                world.publish(qos, &format!("{qos:?} {}", self.sent));
                self.sent += 1;
                world.drain();
            }
            3 => {
                // A few bytes fit, then it is full.
                let most = 1 + self.random.below(40) as usize;
                world.blocked = false;
                world.drain_once(most);
                world.drain();
            }
            4..8 => {
                world.blocked = false;
                world.drain();
            }
            8..11 => drop(world.hear_broker(1 + self.random.below(64) as usize)),
            11 => self.arrived.extend(world.take_messages()),
            12 => {
                let far = world.now + Duration::from_secs(100);
                world.wait(far);
            }
            13 => {
                world.reachable = self.random.below(2) == 0;
                if world.client.wants_socket()
                    && !world.client.wants_wire()
                    && world.connection.is_none()
                {
                    let now = at(world.now);
                    world.client.handle_dial_failed(now, rejected());
                    world.drain();
                }
            }
            14 if self.random.below(3) == 0 => world.eof(),
            15 if self.random.below(4) == 0 => {
                world.broker.restart(world.now, Memory::Kept);
                world.connection = None;
                world
                    .client
                    .handle_eof(at(world.now), Some(std::io::Error::other("reset").into()));
                world.drain();
            }
            _ => {}
        }
    }

    /// Nothing goes wrong any more: everything arrives and is acknowledged.
    fn finish(&mut self, seed: u64) {
        let world = &mut self.world;
        world.reachable = true;
        world.blocked = false;
        world.drain();
        let begin = world.now;
        while self.arrived.iter().collect::<BTreeSet<_>>().len() < self.sent
            || world.acknowledged() < self.sent
        {
            let far = world.now + Duration::from_secs(100);
            world.blocked = false;
            world.wait(far);
            self.arrived.extend(world.take_messages());
            assert!(
                world.now - begin < Duration::from_secs(3600),
                "seed {seed}: {} of {}, {} acknowledged: {:?}",
                self.arrived.len(),
                self.sent,
                world.acknowledged(),
                world.events
            );
        }
        let mut twice = BTreeSet::new();
        let again = self
            .arrived
            .iter()
            .find(|text| text.starts_with("ExactlyOnce") && !twice.insert(*text));
        assert_eq!(again, None, "seed {seed}: QoS 2 arrives once");
    }
}
