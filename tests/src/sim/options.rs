//! What a world is like.

use super::{Random, Sabotage};
use martlet_proto::Version;
use martlet_session::{LostSession, WhenFull};

/// A world's ways. [`from_seed`](Self::from_seed) draws them; a test may then set what it is about.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the clients speak.
    pub version: Version,
    /// How many clients publish, from 1 to 3.
    pub publishers: u8,
    /// The first of them subscribes too; otherwise there is one more client, which does.
    pub together: bool,
    /// How many topics there are, at most 8; each belongs to one publisher.
    pub topics: u8,
    /// How long bytes travel, in milliseconds: from, to.
    pub latency: (u64, u64),
    /// In how many of 1,000 cases a write arrives in two parts.
    pub split: u32,
    /// How many QoS 1 and 2 messages a client has in flight.
    pub max_in_flight: u16,
    /// How many QoS 1 and 2 messages a client takes unacknowledged (MQTT 5).
    pub receive_maximum: u16,
    /// The server's receive maximum and maximum packet size change between connections, and its
    /// maximum QoS where nobody subscribes (MQTT 5).
    pub limits_change: bool,
    /// How many QoS 1 and 2 messages the server sends unacknowledged, whatever a client takes.
    pub server_in_flight: u16,
    /// What a client does with QoS 1 when the server has lost its session.
    pub lost_qos1: LostSession,
    /// Likewise with QoS 2.
    pub lost_qos2: LostSession,
    /// How many messages may wait to be sent, and what happens to one more.
    pub queue: (usize, WhenFull),
    /// Above how many unhandled messages the client does not read, and how many are too many.
    pub inbound: (usize, usize),
    /// How many seconds a publisher waits for the end of a message.
    pub publish_timeout: Option<u64>,
    /// In how many of 1,000 cases a message expires within some seconds.
    pub expiry: u32,
    /// In how many of 1,000 cases a message is rejected by the subscriber (MQTT 5).
    pub reject: u32,
    /// In how many of 1,000 goes the subscriber unsubscribes for a while.
    pub unsubscribe: u32,
    /// Seconds.
    pub keep_alive: u16,
    /// How many messages are published in one go, at most.
    pub burst: u64,
    /// Milliseconds between two goes.
    pub pace: u64,
    /// In how many of 1,000 cases a reader leaves what waits for another time.
    pub slow_reader: u32,
    /// How long the disk takes to store what there is, in milliseconds: from, to. `None`: nothing
    /// is stored.
    pub durable: Option<(u64, u64)>,
    /// What goes wrong.
    pub faults: Faults,
    /// What the server does wrong on purpose.
    pub misdeeds: Misdeeds,
    /// A bug that the clients have.
    pub sabotage: Option<Sabotage>,
}

/// What goes wrong: in how many of 1,000 goes.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// A connection breaks at any byte in either direction.
    pub cut: u32,
    /// All bytes of a connection vanish from now on, in one direction or in both, without an error.
    pub half_open: u32,
    /// A client leaves its connection, which the server does not hear, and connects again at once.
    pub take_over: u32,
    /// What travels is held up for seconds.
    pub delay: u32,
    /// A socket takes no bytes for a while.
    pub block: u32,
    /// The broker starts again with its memory.
    pub restart: u32,
    /// The broker starts again without (not in 3.1, whose clients cannot know).
    pub amnesia: u32,
    /// The application disconnects, and connects again later.
    pub disconnect: u32,
    /// The process of a client dies, between any two operations on its store, and another goes on
    /// with what is stored.
    pub crash: u32,
}

/// What the server does wrong on purpose, and what the applications want that makes it: in how many
/// of 1,000 goes.
#[derive(Debug, Clone, Default)]
pub struct Misdeeds {
    /// A message is published at which the server hangs up.
    pub forbidden_publish: u32,
    /// Filters are subscribed to at which the server hangs up.
    pub forbidden_filter: u32,
    /// Filters are subscribed to, as many as 20 in one request, and unsubscribed from; the server
    /// hangs up when more than 8 come at a time.
    pub many_filters: u32,
    /// How many messages more than a client's receive maximum the server sends (MQTT 5).
    pub overshoot: u16,
    /// The server begins to answer with the wrong number of codes, for some seconds.
    pub miscount: u32,
    /// The server begins to answer QoS 2 with PUBACK, for some seconds.
    pub wrong_flow: u32,
    /// The server begins to assign client identifiers to clients that have one, for some seconds
    /// (MQTT 5).
    pub rename: u32,
}

impl Misdeeds {
    /// 1 for each that sessions survive, 0 for the others.
    const SURVIVED: Self = Self {
        forbidden_publish: 1,
        forbidden_filter: 1,
        many_filters: 1,
        overshoot: 1,
        miscount: 1,
        wrong_flow: 1,
        rename: 1,
    };

    /// Those that sessions survive.
    #[must_use]
    pub fn survived(self) -> Self {
        let survived = Self::SURVIVED;
        Self {
            forbidden_publish: self.forbidden_publish * survived.forbidden_publish,
            forbidden_filter: self.forbidden_filter * survived.forbidden_filter,
            many_filters: self.many_filters * survived.many_filters,
            overshoot: self.overshoot * survived.overshoot,
            miscount: self.miscount * survived.miscount,
            wrong_flow: self.wrong_flow * survived.wrong_flow,
            rename: self.rename * survived.rename,
        }
    }

    /// The server does nothing wrong.
    pub(crate) fn is_none(&self) -> bool {
        let Self {
            forbidden_publish,
            forbidden_filter,
            many_filters,
            overshoot,
            miscount,
            wrong_flow,
            rename,
        } = *self;
        forbidden_publish + forbidden_filter + many_filters + miscount + wrong_flow + rename == 0
            && overshoot == 0
    }
}

impl Options {
    /// Drawn from this seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x6f70_7469_6f6e_7300);
        let version = match random.below(8) {
            0 => Version::V3_1,
            1..=3 => Version::V3_1_1,
            _ => Version::V5,
        };
        let low = random.between(0, 20);
        let mut often = |most: u64| random.below(most + 1) as u32;
        let faults = Faults {
            cut: often(40),
            half_open: often(6),
            take_over: often(10),
            delay: often(20),
            block: often(20),
            restart: often(8),
            amnesia: if version == Version::V3_1 {
                0
            } else {
                often(4)
            },
            disconnect: often(3),
            crash: 0,
        };
        let lost = |requeue| {
            if requeue {
                LostSession::Requeue
            } else {
                LostSession::InDoubt
            }
        };
        let publishers = [1, 1, 2, 3][random.below(4) as usize];
        let hard = [40, 400, 10_000][random.below(3) as usize];
        Self {
            version,
            publishers,
            together: random.per_mille(500),
            topics: publishers * random.between(1, if publishers == 1 { 4 } else { 2 }) as u8,
            latency: (low, low + random.between(0, 60)),
            split: [0, 100, 500][random.below(3) as usize],
            max_in_flight: [1, 3, 10, 100][random.below(4) as usize],
            receive_maximum: [1, 2, 10, 200][random.below(4) as usize],
            limits_change: random.per_mille(500),
            // A 3.x server that sends more at once than is ever taken at once is cut off each time.
            server_in_flight: [10, 30, 1000]
                [random.below(if hard < 10_000 { 2 } else { 3 }) as usize],
            lost_qos1: lost(random.per_mille(700)),
            lost_qos2: lost(random.per_mille(500)),
            queue: match random.below(4) {
                0 => (random.between(1, 20) as usize, WhenFull::Reject),
                1 => (random.between(1, 20) as usize, WhenFull::DropOldest),
                2 => (random.between(1, 20) as usize, WhenFull::DropNewest),
                _ => (10_000, WhenFull::Reject),
            },
            inbound: (random.between(1, 60) as usize, hard),
            publish_timeout: random.per_mille(300).then(|| random.between(1, 10)),
            expiry: [0, 0, 300][random.below(3) as usize],
            reject: [0, 0, 100][random.below(3) as usize],
            unsubscribe: [0, 0, 20][random.below(3) as usize],
            keep_alive: random.between(4, 30) as u16,
            burst: random.between(1, 12),
            pace: random.between(5, 200),
            slow_reader: [0, 300, 900][random.below(3) as usize],
            durable: None,
            faults,
            misdeeds: Misdeeds::default(),
            sabotage: None,
        }
    }

    /// Drawn from this seed, with clients that store their sessions and whose processes die.
    pub fn durable(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x6475_7261_626c_6500);
        let seeded = Self::from_seed(seed);
        let low = random.between(0, 20);
        Self {
            durable: Some((low, low + random.between(0, 300))),
            faults: Faults {
                crash: random.between(1, 20) as u32,
                ..seeded.faults
            },
            ..seeded
        }
    }

    /// Drawn from this seed, with a server that misbehaves. In one world of two nothing else goes
    /// wrong.
    pub fn moody(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x6d6f_6f64_7900_0000);
        let seeded = Self::from_seed(seed);
        // Some of them at a time.
        let mut often = |most: u64| {
            if random.per_mille(400) {
                random.between(1, most) as u32
            } else {
                0
            }
        };
        let misdeeds = Misdeeds {
            forbidden_publish: often(20),
            forbidden_filter: often(20),
            many_filters: often(30),
            overshoot: often(20) as u16,
            miscount: often(10),
            wrong_flow: often(10),
            rename: often(10),
        };
        let faults = if random.per_mille(500) {
            Faults::default()
        } else {
            Faults {
                disconnect: 0,
                ..seeded.faults
            }
        };
        Self {
            misdeeds: misdeeds.survived(),
            faults,
            ..seeded
        }
    }

    /// Whether nothing goes wrong, but for what the server does on purpose.
    pub(crate) fn are_faultless(&self) -> bool {
        let Faults {
            cut,
            half_open,
            take_over,
            delay,
            block,
            restart,
            amnesia,
            disconnect,
            crash,
        } = self.faults;
        cut + half_open + take_over + delay + block + restart + amnesia + disconnect + crash == 0
    }

    /// Nothing goes wrong.
    #[must_use]
    pub fn without_faults(self) -> Self {
        Self {
            faults: Faults::default(),
            ..self
        }
    }
}
