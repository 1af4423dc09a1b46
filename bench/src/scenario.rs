//! What is measured.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The topic of all messages that do not depend on the number of filters.
pub const TOPIC: &str = "sensors/building-7/t/001";

/// How many messages of QoS 1 and 2 are in flight at most, in both directions.
pub const WINDOW: usize = 100;

/// How many messages a batch has.
pub const BATCH: usize = 1_000;

/// How many threads publish together.
pub const THREADS: usize = 2;

/// How many messages are acknowledged by the application, all of which it has received before.
pub const ACKNOWLEDGED: usize = 50_000;

/// How many messages are queued while there is no connection.
const OFFLINE: usize = 1_000_000;

/// How long a late reader leaves its messages alone.
pub const LATE: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scenario {
    /// The client publishes, with a window of [`WINDOW`].
    Publish { qos: u8, size: usize },
    /// [`WINDOW`] tasks publish at QoS 1, and each waits for its acknowledgement.
    Awaited,
    /// The client publishes [`BATCH`] messages at QoS 1 and waits for all of them, again and again.
    Batches,
    /// [`THREADS`] threads publish with one client, with a window of [`WINDOW`].
    Threads { qos: u8 },
    /// The client queues messages of QoS 1 before there is a connection, and sends them then.
    Offline,
    /// The server publishes.
    Receive { qos: u8, size: usize },
    /// The server publishes at QoS 0, to each of this many filters in turn.
    Filters(usize),
    /// As `Filters`, with a stream and a task for each filter, where the client has streams.
    Streams(usize),
    /// The application acknowledges [`ACKNOWLEDGED`] messages of QoS 1 that it has received: one by
    /// one, or by the position of every nth.
    Acknowledge { every: usize },
    /// The server publishes 1 KiB at QoS 0, and the application begins to read after [`LATE`].
    LateReader,
    /// The client publishes at QoS 0, and the server sends the message back.
    PingPong,
    /// Connections that do nothing, at most this many.
    Idle(usize),
    /// Connections made and closed, one after the other.
    Connect,
    /// As `Connect`, over TLS without resumption.
    ConnectTls,
}

impl Scenario {
    pub fn all() -> Vec<Self> {
        const SIZES: [usize; 3] = [16, 1 << 10, 1 << 16];
        let mut all = Vec::new();
        for qos in 0..3 {
            all.extend(SIZES.map(|size| Self::Publish { qos, size }));
        }
        all.extend([Self::Awaited, Self::Batches]);
        all.extend([0, 1].map(|qos| Self::Threads { qos }));
        all.push(Self::Offline);
        for qos in 0..3 {
            all.extend(SIZES.map(|size| Self::Receive { qos, size }));
        }
        all.extend([1, 1_000, 10_000].map(Self::Filters));
        all.push(Self::Streams(100));
        all.extend([1, 1_000, ACKNOWLEDGED].map(|every| Self::Acknowledge { every }));
        all.extend([
            Self::LateReader,
            Self::PingPong,
            Self::Idle(1_000),
            Self::Idle(10_000),
            Self::Connect,
            Self::ConnectTls,
        ]);
        all
    }

    /// What a row is called.
    pub fn title(self) -> String {
        match self {
            Self::Publish { qos, size } => format!("publish QoS {qos}, {}", bytes(size)),
            Self::Awaited => format!("publish QoS 1, each awaited, {WINDOW} tasks"),
            Self::Batches => format!("publish QoS 1, batches of {BATCH}"),
            Self::Threads { qos } => format!("publish QoS {qos}, from {THREADS} threads"),
            Self::Offline => format!("publish QoS 1, {OFFLINE} queued without a connection"),
            Self::Receive { qos, size } => format!("receive QoS {qos}, {}", bytes(size)),
            Self::Filters(1) => "receive QoS 0, 1 filter".to_owned(),
            Self::Filters(n) => format!("receive QoS 0, {n} filters"),
            Self::Streams(n) => format!("receive QoS 0, to {n} streams"),
            Self::Acknowledge { every: 1 } => format!("acknowledge {ACKNOWLEDGED}, one by one"),
            Self::Acknowledge {
                every: ACKNOWLEDGED,
            } => format!("acknowledge {ACKNOWLEDGED}, by position, all at once"),
            Self::Acknowledge { every } => {
                format!("acknowledge {ACKNOWLEDGED}, by position, {every} at a time")
            }
            Self::LateReader => "receive 1 KiB, a reader that starts late".to_owned(),
            Self::PingPong => "ping-pong QoS 0".to_owned(),
            Self::Idle(n) => format!("idle connections, up to {n}"),
            Self::Connect => "connect and disconnect".to_owned(),
            Self::ConnectTls => "connect and disconnect, over TLS".to_owned(),
        }
    }

    /// The size of a payload.
    pub fn size(self) -> usize {
        match self {
            Self::Publish { size, .. } | Self::Receive { size, .. } => size,
            Self::LateReader => 1 << 10,
            _ => 16,
        }
    }

    /// The quality of service of the messages.
    pub fn qos(self) -> u8 {
        match self {
            Self::Publish { qos, .. } | Self::Receive { qos, .. } | Self::Threads { qos } => qos,
            Self::Awaited | Self::Batches | Self::Offline | Self::Acknowledge { .. } => 1,
            _ => 0,
        }
    }

    /// What the client subscribes to; nothing if it only publishes.
    pub fn filters(self) -> Vec<String> {
        match self {
            Self::Receive { .. } | Self::LateReader | Self::PingPong | Self::Acknowledge { .. } => {
                vec!["sensors/#".to_owned()]
            }
            Self::Filters(n) | Self::Streams(n) => {
                (0..n).map(|i| format!("sensors/{i}/+")).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The topics that the server publishes to, one after the other.
    pub fn topics(self) -> Vec<String> {
        match self {
            Self::Filters(n) | Self::Streams(n) => {
                (0..n).map(|i| format!("sensors/{i}/temperature")).collect()
            }
            _ => vec![TOPIC.to_owned()],
        }
    }

    /// After this long, a measurement has failed.
    pub fn timeout(self) -> Duration {
        Duration::from_secs(if self.is_long() { 60 } else { 8 })
    }

    /// Of the scenarios that take seconds there are few rounds.
    pub fn rounds(self, usual: usize) -> usize {
        match self {
            Self::Offline => usual.min(3),
            Self::Idle(10_000) => 1,
            _ => usual,
        }
    }

    fn is_long(self) -> bool {
        matches!(self, Self::Offline | Self::Idle(10_000))
    }

    /// How many files one process opens at most, besides a few.
    pub fn files(self) -> usize {
        match self {
            Self::Idle(n) => n,
            _ => 1,
        }
    }

    /// Whether connections are made over TLS.
    pub fn has_tls(self) -> bool {
        self == Self::ConnectTls
    }

    /// Whether the server publishes of its own accord.
    pub fn is_receive(self) -> bool {
        matches!(
            self,
            Self::Receive { .. }
                | Self::Filters(_)
                | Self::Streams(_)
                | Self::Acknowledge { .. }
                | Self::LateReader
        )
    }

    /// How many messages of QoS 1 and 2 the server sends before they are acknowledged.
    pub fn window(self) -> usize {
        match self {
            Self::Acknowledge { .. } => ACKNOWLEDGED,
            _ => WINDOW,
        }
    }

    /// The number of messages of the first round, which finds how many the others need.
    pub fn first(self, quick: bool) -> usize {
        let n = match self {
            Self::LateReader => return if quick { 2_000 } else { 20_000 },
            Self::Idle(_) | Self::Connect | Self::ConnectTls => 20,
            Self::PingPong => 500,
            Self::Filters(_) | Self::Streams(_) => 1_000,
            _ if self.size() > 1 << 12 => 500,
            _ => 4_000,
        };
        if quick { n.min(1_000) } else { n }
    }

    /// The number of messages of the other rounds, given the seconds and bytes that one took.
    pub fn messages(self, seconds: f64, resident: f64, target: f64) -> usize {
        let fit = (target / seconds.max(1e-9)) as usize;
        match self {
            Self::LateReader => self.first(false),
            // 10,000 in 1 GiB.
            Self::Idle(n) => {
                let fit = (107_374 * n.max(5_000)) as f64 / resident.max(1.0);
                fit.clamp(20.0, n as f64) as usize
            }
            Self::Connect | Self::ConnectTls => fit.clamp(20, 500),
            Self::PingPong => fit.clamp(200, 20_000),
            // Whole rounds of the tasks.
            Self::Awaited => fit.clamp(2_000, 400_000) / WINDOW * WINDOW,
            // Whole batches.
            Self::Batches => fit.clamp(2_000, 400_000) / BATCH * BATCH,
            Self::Offline => OFFLINE,
            Self::Filters(_) | Self::Streams(_) => fit.clamp(200, 2_000_000),
            Self::Acknowledge { .. } => ACKNOWLEDGED,
            _ if self.size() > 1 << 12 => fit.clamp(200, 20_000),
            _ => fit.clamp(2_000, 2_000_000),
        }
    }
}

fn bytes(size: usize) -> String {
    if size < 1 << 10 {
        format!("{size} B")
    } else {
        format!("{} KiB", size >> 10)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish { qos, size } => write!(f, "publish-{qos}-{size}"),
            Self::Awaited => f.write_str("awaited"),
            Self::Batches => f.write_str("batches"),
            Self::Threads { qos } => write!(f, "threads-{qos}"),
            Self::Offline => f.write_str("offline"),
            Self::Receive { qos, size } => write!(f, "receive-{qos}-{size}"),
            Self::Filters(n) => write!(f, "filters-{n}"),
            Self::Streams(n) => write!(f, "streams-{n}"),
            Self::Acknowledge { every } => write!(f, "acknowledge-{every}"),
            Self::LateReader => f.write_str("late"),
            Self::PingPong => f.write_str("ping-pong"),
            Self::Idle(n) => write!(f, "idle-{n}"),
            Self::Connect => f.write_str("connect"),
            Self::ConnectTls => f.write_str("connect-tls"),
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all()
            .into_iter()
            .find(|scenario| scenario.to_string() == text)
            .ok_or_else(|| format!("no scenario is called {text}"))
    }
}
