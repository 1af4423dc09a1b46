//! A client in a loop of one's own, against the embedded broker in simulated time. Every step drains the client and
//! checks the rule: a second drain yields nothing, and no time that has come is left behind.
#![allow(clippy::unwrap_used, reason = "a test may")]

use bytes::BytesMut;
use martlet_broker::{Broker, ConnectionId, Memory};
use martlet_client::proto::{ConnAck, ConnectReasonCode, Packet, Subscription, Version};
use martlet_client::session::{Config, DisconnectOptions, Event, Publish, Subscribe};
use martlet_client::{
    ConnectionError, Embedded, EmbeddedEvent, GivenUp, Instant, LinkConfig, LinkEvent, Observer,
    PubAckReasonCode, PublishError, QoS, Session, TransportError, TransportErrorKind, VersionChoice,
};
use martlet_tests::sim::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A network between a client and a broker that carries what it is told to, when it is told to.
struct World {
    client: Embedded,
    broker: Broker,
    now: Duration,
    connection: Option<ConnectionId>,
    /// What the broker has not taken: the beginning of a packet.
    input: BytesMut,
    /// The socket is full.
    blocked: bool,
    /// Sockets can be opened, by themselves.
    reachable: bool,
    /// The servers that were dialled.
    dialed: Vec<String>,
    /// How often the sending side was to be shut down.
    shut_down: usize,
    events: Vec<EmbeddedEvent>,
}

fn at(now: Duration) -> Instant {
    Instant::from_epoch(now)
}

fn refused() -> TransportError {
    TransportError::new(TransportErrorKind::Connect, "refused")
}

fn link() -> LinkConfig {
    let mut link = LinkConfig::new("mqtt://one.example".parse().unwrap());
    link.seed = 1;
    link.reconnect.retry_first = true;
    link
}

impl World {
    fn new(link: LinkConfig) -> Self {
        let config = Config { client_identifier: "me".try_into().unwrap(), ..Config::default() };
        Self {
            client: Embedded::new(Session::new(config), link),
            broker: Broker::new(martlet_broker::Config {
                sys_interval: Duration::ZERO,
                ..Default::default()
            }),
            now: Duration::ZERO,
            connection: None,
            input: BytesMut::new(),
            blocked: false,
            reachable: true,
            dialed: Vec::new(),
            shut_down: 0,
            events: Vec::new(),
        }
    }

    /// One of each poll, in order. Returns whether there was anything; `most` bytes are written.
    fn drain_once(&mut self, most: usize) -> bool {
        let (now, mut any) = (at(self.now), false);
        let mut left = most;
        while let Some(output) = self.client.poll_wire(now).filter(|_| !self.blocked && left > 0) {
            any = true;
            let chunk = output.chunk();
            let n = chunk.len().min(left);
            self.input.extend_from_slice(&chunk[..n]);
            self.client.handle_written(now, n);
            left -= n;
            if let Some(id) = self.connection {
                self.broker.handle_input(self.now, id, &mut self.input);
            }
        }
        if left == 0 {
            self.blocked = true;
        }
        if self.client.poll_shutdown(now) {
            any = true;
            self.shut_down += 1;
        }
        if let Some(target) = self.client.poll_dial(now) {
            any = true;
            self.dialed.push(target.host().to_owned());
            self.cut_server_side();
            if self.reachable {
                self.dialed();
            }
        }
        while let Some(event) = self.client.poll_event() {
            any = true;
            self.events.push(event);
        }
        any
    }

    fn dialed(&mut self) {
        self.connection = Some(self.broker.handle_open(self.now));
        self.input.clear();
        self.blocked = false;
        self.client.handle_dialed(at(self.now));
    }

    fn cut_server_side(&mut self) {
        if let Some(id) = self.connection.take() {
            self.broker.handle_close(self.now, id);
        }
    }

    /// Drains, and holds the client to the rule.
    fn drain(&mut self) {
        let mut rounds = 0;
        while self.drain_once(usize::MAX) {
            rounds += 1;
            assert!(rounds < 100, "it does not come to rest: {:?}", self.client);
        }
        let next = self.client.poll_timeout();
        assert!(next.is_none_or(|next| next > at(self.now)), "{next:?} is left behind at {:?}", self.now);
        if !self.client.wants_socket() {
            self.cut_server_side();
        }
    }

    fn wire(&mut self, bytes: &[u8]) {
        self.client.handle_wire(at(self.now), bytes);
        self.drain();
    }

    fn eof(&mut self) {
        self.cut_server_side();
        self.client.handle_eof(at(self.now), None);
        self.drain();
    }

    /// What the broker has written; the network carries `most` bytes of it at a time.
    fn hear_broker(&mut self, most: usize) -> bool {
        let mut output = BytesMut::new();
        if let Some(id) = self.connection {
            while self.broker.poll_transmit(self.now, id, &mut output) > 0 {}
        }
        let was = self.connection;
        for chunk in output.chunks(most) {
            if self.connection == was {
                self.wire(chunk);
            }
        }
        let closed = self.broker.poll_close().filter(|id| Some(*id) == self.connection);
        if closed.is_some() {
            self.eof();
        }
        closed.is_some() || !output.is_empty()
    }

    /// Until both have said what they have to say.
    fn settle(&mut self) {
        self.drain();
        while self.hear_broker(7) {}
    }

    /// To the next moment that anybody waits for, or this one if that is sooner.
    fn wait(&mut self, until: Duration) {
        let next = [self.client.poll_timeout().map(Instant::since_epoch), self.broker.poll_timeout()];
        self.now = self.now.max(next.into_iter().flatten().fold(until, Duration::min));
        self.broker.handle_timeout(self.now);
        self.client.handle_timeout(at(self.now));
        self.settle();
    }

    /// Lets so much time pass.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.wait(until);
        }
    }

    fn subscribe(&mut self, filter: &str) {
        let subscriptions = vec![Subscription::new(filter.try_into().unwrap(), QoS::ExactlyOnce)];
        self.client.session_mut().subscribe(at(self.now), Subscribe::new(subscriptions)).unwrap();
    }

    fn publish(&mut self, qos: QoS, payload: &str) {
        let message = Publish::new("a/b".try_into().unwrap(), payload.to_owned());
        self.client.session_mut().publish(at(self.now), Publish { qos, key: Some(0), ..message }).unwrap();
    }

    fn disconnect(&mut self) {
        self.client.session_mut().disconnect(at(self.now), DisconnectOptions::default());
        self.settle();
    }

    /// The events so far, and takes the messages among them.
    fn take(&mut self) -> Vec<EmbeddedEvent> {
        std::mem::take(&mut self.events)
    }

    /// The payloads that have come so far; they are acknowledged.
    fn take_messages(&mut self) -> Vec<String> {
        let mut messages = Vec::new();
        for event in std::mem::take(&mut self.events) {
            match event {
                EmbeddedEvent::Session(Event::Message(message)) => {
                    messages.push(String::from_utf8(message.publish.payload().to_vec()).unwrap());
                    self.client.session_mut().acknowledge(message.token, PubAckReasonCode::Success);
                }
                other => self.events.push(other),
            }
        }
        self.drain();
        messages
    }

    /// Why the connection or the attempt ended that ended last, and when the next begins.
    fn ended(&self) -> (&ConnectionError, Option<Duration>) {
        let ended = self.events.iter().rev().find_map(|event| match event {
            EmbeddedEvent::Link(LinkEvent::Disconnected { error, retry_in }) => Some((error, *retry_in)),
            _ => None,
        });
        ended.expect("something has ended")
    }

    fn settled(&self) -> usize {
        let is_settled = |event: &&EmbeddedEvent| {
            matches!(event, EmbeddedEvent::Session(Event::Published { result: Ok(_), .. }))
        };
        self.events.iter().filter(is_settled).count()
    }
}

#[test]
fn a_whole_conversation() {
    let mut world = World::new(link());
    world.subscribe("a/+");
    for (qos, payload) in [(QoS::AtMostOnce, "0"), (QoS::AtLeastOnce, "1"), (QoS::ExactlyOnce, "2")] {
        world.publish(qos, payload);
    }
    world.settle();
    assert_eq!(world.take_messages(), ["0", "1", "2"]);
    world.settle();
    assert_eq!(world.settled(), 3);
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
            self.0.lock().unwrap().push(format!("out {}", packet.packet_type()));
        }
        fn packet_received(&mut self, _: Instant, packet: &Packet) {
            self.0.lock().unwrap().push(format!("in {}", packet.packet_type()));
        }
    }
    let mut world = World::new(link());
    let seen = Arc::default();
    world.client.set_observer(Seen(Arc::clone(&seen)));
    world.settle();
    world.disconnect();
    assert_eq!(*seen.lock().unwrap(), ["out CONNECT", "in CONNACK", "out DISCONNECT"]);
}

#[test]
fn events_come_in_the_order_in_which_things_happened() {
    let mut world = World::new(link());
    world.settle();
    world.eof();
    world.pass(Duration::from_secs(60));
    let kinds: Vec<_> = world.take().iter().map(|event| format!("{event:?}")).collect();
    let begins = [
        "Link(Connecting",
        "Session(Connected",
        "Link(Disconnected { error: ClosedByPeer, retry_in: Some",
        "Link(Connecting",
        "Session(Connected",
    ];
    assert_eq!(kinds.len(), begins.len(), "{kinds:?}");
    for (kind, begin) in kinds.iter().zip(begins) {
        assert!(kind.starts_with(begin), "{kind} is not {begin}");
    }
}

/// Who does not look at events for a while gets them in order all the same.
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
    assert_eq!(world.settled(), 1);
    // A socket that fails, instead of one that ends.
    world.cut_server_side();
    world.client.handle_eof(at(world.now), Some(std::io::Error::other("reset").into()));
    world.drain();
    assert!(matches!(world.ended().0, ConnectionError::Transport(error) if error.to_string() == "reset"));
    world.client.retry_now();
    world.settle();
    assert_eq!(world.dialed.len(), 3);
    assert!(world.client.session().is_connected());
}

#[test]
fn a_dial_that_fails_goes_to_the_next_server() {
    let mut config = link();
    config.endpoints.push("mqtt://two.example".parse().unwrap());
    let mut world = World::new(config);
    world.reachable = false;
    world.drain();
    world.client.handle_dial_failed(Instant::EPOCH, refused());
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

/// Without `retry_first` the first failure is the last, and who waits is told.
#[test]
fn when_nobody_is_left_to_ask_everyone_is_told() {
    let mut config = link();
    config.reconnect.retry_first = false;
    let mut world = World::new(config);
    world.reachable = false;
    world.publish(QoS::AtLeastOnce, "never");
    world.drain();
    world.client.handle_dial_failed(Instant::EPOCH, refused());
    world.drain();
    assert!(matches!(world.client.stopped(), Some(ConnectionError::Transport(_))));
    assert_eq!(world.ended().1, None);
    let failed = |event: &EmbeddedEvent| {
        matches!(event, EmbeddedEvent::Session(Event::Published { result: Err(PublishError::Closed), .. }))
    };
    assert!(world.events.iter().any(failed), "{:?}", world.events);
    assert_eq!(world.client.poll_timeout(), None);
}

#[test]
fn a_refused_connack_is_told_with_its_reason() {
    let users = martlet_broker::Config::default().with_user("ann", "secret").unwrap();
    let mut world =
        World::new(LinkConfig { endpoints: vec!["mqtt://bob:wrong@one.example".parse().unwrap()], ..link() });
    world.broker = Broker::new(users);
    world.settle();
    let (error, retry_in) = world.ended();
    assert!(
        matches!(error, ConnectionError::Refused(refusal)
            if refusal.reason == ConnectReasonCode::BadUserNameOrPassword
                || refusal.reason == ConnectReasonCode::NotAuthorized),
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
        assert_eq!(world.client.stopped(), Some(&ConnectionError::ClosedHere), "{moment}");
        assert_eq!(world.client.poll_timeout(), None, "{moment}");
        assert_eq!(world.ended(), (&ConnectionError::ClosedHere, None), "{moment}");
        world.client.retry_now();
        world.client.handle_dialed(at(world.now));
        world.settle();
        assert_eq!(world.dialed.len(), 1, "{moment}");
    }
}

/// Who looks late must not take that for a server that is late: what is due is written first.
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
    assert_eq!(world.settled(), 1);
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
        matches!(event, EmbeddedEvent::Link(LinkEvent::Disconnected { error: ConnectionError::Transport(error), .. })
            if error.kind() == TransportErrorKind::WriteTimeout)
    });
    assert!(ended, "{:?}", world.events);
    world.settle();
    assert_eq!(world.settled(), 1);
}

#[test]
fn an_attempt_can_be_prepared() {
    let mut world = World::new(LinkConfig { prepare_timeout: Some(Duration::from_secs(3)), ..link() });
    let users = martlet_broker::Config::default().with_user("ann", "secret").unwrap();
    world.broker = Broker::new(users);
    world.drain();
    assert!(world.dialed.is_empty());
    // Nobody prepares it in time.
    assert_eq!(world.client.poll_prepare(at(world.now)).unwrap().number(), 1);
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
    assert_eq!(attempt.unwrap().last_error(), Some(&ConnectionError::ClosedByPeer));
    world.client.handle_prepared(at(world.now), Err(GivenUp::for_good("no token")));
    world.drain();
    assert_eq!(world.ended(), (&ConnectionError::GivenUp(GivenUp::for_good("no token")), None));
}

/// What must be stored first leaves when that is told.
#[test]
fn a_session_that_is_stored() {
    let now = Instant::EPOCH;
    let config =
        || Config { client_identifier: "me".try_into().unwrap(), clean_start: false, ..Config::default() };
    let mut disk = BTreeMap::new();
    let mut world = World::new(link());
    let restored = Session::restore(config(), now, []).unwrap();
    world.client = Embedded::new(restored.session, link());
    world.publish(QoS::AtLeastOnce, "stored");
    let mut store = |world: &mut World| {
        while let Some((upto, operation)) = world.client.session_mut().poll_store(now) {
            match operation {
                martlet_client::StoreOp::Put { key, value } => drop(disk.insert(key, value)),
                martlet_client::StoreOp::Delete { key } => drop(disk.remove(&key)),
            }
            world.client.session_mut().handle_stored(upto);
        }
        world.settle();
    };
    world.settle();
    assert_eq!(world.settled(), 0, "nothing leaves that is not stored");
    for _ in 0..4 {
        store(&mut world);
    }
    assert_eq!(world.settled(), 1);
}

/// Whatever happens, in whatever order: the rule to drain holds after every step, and in the end everything has arrived.
#[test]
fn it_drains_to_rest_whatever_happens() {
    let mut settled = 0;
    for seed in 0..200 {
        settled += run(seed);
    }
    assert!(settled > 2000, "only {settled} messages in all");
}

fn run(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let mut config = link();
    // An older version would begin the session anew.
    config.version = VersionChoice::Fixed(Version::V5);
    config.seed = seed;
    config.endpoints.push("mqtt://two.example".parse().unwrap());
    let mut world = World::new(config);
    world.subscribe("a/b");
    world.settle();
    let (mut sent, mut arrived) = (0, Vec::new());
    for _ in 0..200 {
        match random.below(16) {
            0..3 => {
                let qos = if random.below(2) == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                world.publish(qos, &format!("{qos:?} {sent}"));
                sent += 1;
                world.drain();
            }
            3 => {
                // A few bytes fit, then it is full.
                let most = 1 + random.below(40) as usize;
                world.blocked = false;
                world.drain_once(most);
                world.drain();
            }
            4..8 => {
                world.blocked = false;
                world.drain();
            }
            8..11 => drop(world.hear_broker(1 + random.below(64) as usize)),
            11 => arrived.extend(world.take_messages()),
            12 => {
                let far = world.now + Duration::from_secs(100);
                world.wait(far);
            }
            13 => {
                world.reachable = random.below(2) == 0;
                if world.client.wants_socket() && !world.client.wants_wire() && world.connection.is_none() {
                    let now = at(world.now);
                    world.client.handle_dial_failed(now, refused());
                    world.drain();
                }
            }
            14 if random.below(3) == 0 => world.eof(),
            15 if random.below(4) == 0 => {
                world.broker.restart(world.now, Memory::Kept);
                world.connection = None;
                world.client.handle_eof(at(world.now), Some(std::io::Error::other("reset").into()));
                world.drain();
            }
            _ => {}
        }
    }
    world.reachable = true;
    world.blocked = false;
    world.drain();
    let begin = world.now;
    while arrived.iter().collect::<BTreeSet<_>>().len() < sent || world.settled() < sent {
        let far = world.now + Duration::from_secs(100);
        world.blocked = false;
        world.wait(far);
        arrived.extend(world.take_messages());
        assert!(
            world.now - begin < Duration::from_secs(3600),
            "seed {seed}: {} of {sent}, {} settled: {:?}",
            arrived.len(),
            world.settled(),
            world.events
        );
    }
    let mut twice = BTreeSet::new();
    let again = arrived.iter().find(|text| text.starts_with("ExactlyOnce") && !twice.insert(*text));
    assert_eq!(again, None, "seed {seed}: QoS 2 arrives once");
    world.settled()
}
