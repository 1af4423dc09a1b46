//! The configuration of a session, and the options of each connection and of its end.

use alloc::boxed::Box;
use core::num::{NonZeroU8, NonZeroU16, NonZeroU32};
use core::time::Duration;
use martlet_proto::{BinaryData, DisconnectReasonCode, UserProperties, Utf8String, Version, Will};

/// How a session behaves. All fields have defaults;
/// `Config { client_identifier, ..Config::default() }` will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Names the session to the server. Empty: the server assigns one (not in 3.1, and in 3.1.1
    /// only with a clean start). Default: empty.
    pub client_identifier: Utf8String,
    /// Begin with a new session on the server. It governs the first CONNECT; later ones resume,
    /// except in 3.x, where a clean session is clean each time (MQTT 5 §3.1.2.4). Default: true.
    pub clean_start: bool,
    /// Seconds that the session outlives a connection (MQTT 5 §3.1.2.11.2). `None`: 3,600 while the
    /// client means to come back; after `disconnect()` 0, or, if the session is durable, 3,600
    /// still. Default: `None`.
    pub session_expiry_interval: Option<u32>,
    /// Close the connection when the server has a session although there is none here yet
    /// [MQTT-3.2.2-4]. Default: false: a new `Session` without clean start is an empty, but
    /// existing, session.
    pub strict_session_present: bool,
    /// Seconds; 0 turns keep alive off (MQTT 5 §3.1.2.10). Default: 60.
    pub keep_alive: u16,
    /// A PINGREQ is due this long before the keep alive ends. `None`, or where less than a second
    /// of the keep alive would be left, which may be the server's: a quarter of it. Default:
    /// `None`.
    pub keep_alive_margin: Option<Duration>,
    /// How long after a PINGREQ became due something must have arrived. Default: 10 s.
    pub ping_timeout: Duration,
    /// How long after the transport is up the CONNACK must have arrived. With enhanced
    /// authentication each step has this long, those of the server and those of the application; it
    /// counts from when the step became due. Default: 10 s.
    pub connect_timeout: Duration,
    /// How long after a SUBSCRIBE or UNSUBSCRIBE left its answer must have arrived. Default: 10 s.
    pub request_timeout: Duration,
    /// How long a subscribe or unsubscribe waits to be sent, counted from the command; a connection
    /// that is lost before the answer does not restart the wait. A subscribe then fails and is
    /// withdrawn; an unsubscribe fails, but is still sent when there is a connection. Default: 60
    /// s.
    pub offline_timeout: Duration,
    /// How many connections may end between a SUBSCRIBE or UNSUBSCRIBE and its answer before it
    /// fails as [`RequestError::ConnectionsLost`](crate::RequestError::ConnectionsLost) and is not
    /// sent again: some servers close the connection instead of answering. After the first loss it
    /// is sent alone and after everything else; for the last attempt each filter has a packet of
    /// its own, so that one bad filter does not fail the others. The limit also holds for
    /// subscriptions that are made again.
    ///
    /// Two kinds of connections do not count, up to four times the limit in all: those that ended
    /// for a reason of their own, such as a DISCONNECT with *server shutting down*, and, for a
    /// subscription that is made again, those on which the server went on sending after the
    /// SUBSCRIBE had left: that looks like a bad network. Default: 3.
    pub max_request_losses: NonZeroU32,
    /// How many topic filters a SUBSCRIBE or UNSUBSCRIBE has at most; more travel in several
    /// packets, with one answer to the application. Some servers take no more than eight. Default:
    /// 8.
    pub max_filters_per_packet: NonZeroU16,
    /// How long after a PUBLISH of QoS 1 or 2 left its handle waits; the message stays in flight.
    /// Default: for ever.
    pub publish_timeout: Option<Duration>,
    /// When an untaken message has held back the acknowledgements of later ones for this long, an
    /// [`AcknowledgementsHeld`](crate::Event::AcknowledgementsHeld) event is emitted, and repeated
    /// at this interval; after up to twice as long when another message held them first. `None`:
    /// never. Default: 10 s.
    pub held_acknowledgements_after: Option<Duration>,
    /// How many QoS 1 and 2 messages may be unacknowledged at a time; the server's Receive Maximum
    /// limits it further. Default: 100.
    pub max_in_flight: NonZeroU16,
    /// The same for a 3.x server, which cannot tell its Receive Maximum; the smaller of the two
    /// counts. Default: 20, what mosquitto takes by default: it ends a 3.x connection with more QoS
    /// 2 messages unacknowledged.
    pub max_in_flight_3x: NonZeroU16,
    /// Messages that cannot be sent yet.
    pub queue: QueueLimits,
    /// Messages that have arrived and wait to be taken.
    pub inbound: InboundLimits,
    /// The largest packet to take, in bytes; MQTT 5 announces it to the server. Default: 16 MiB.
    pub maximum_packet_size: u32,
    /// Whether the CONNECT of MQTT 5 has the Maximum Packet Size. Without it a server may send what
    /// is larger than this client takes. Default: true.
    pub announce_maximum_packet_size: bool,
    /// What to do with a message above that maximum where the server cannot know it: in 3.x, and
    /// where it is not announced. Default: skip it.
    pub oversized: Oversized,
    /// How many bytes of the server's reason strings and user properties wait in events at a time,
    /// and at most in one error. What does not fit is left out and counted
    /// ([`Counters::diagnostics_left_out`](crate::Counters::diagnostics_left_out)). Default: 1 MiB.
    pub diagnostics: u32,
    /// The highest topic alias to take (MQTT 5 §3.1.2.11.5). Default: 16.
    pub topic_alias_maximum: u16,
    /// Ask the server for a topic to make response topics of (MQTT 5 §3.1.2.11.6). Default: false.
    pub request_response_information: bool,
    /// Whether topic aliases are used on what is sent, as far as the server takes them: a topic
    /// that comes again costs two bytes instead of its name (MQTT 5 §3.3.2.3.4). Default:
    /// automatic.
    pub topic_aliases_out: TopicAliases,
    /// What to do with a QoS 1 message in flight when the server has lost the session. Default:
    /// requeue.
    pub lost_qos1: LostSession,
    /// What to do with a QoS 2 message that was written when the server has lost the session.
    /// Default: in doubt, which in 3.1.1 without a clean session deviates from [MQTT-4.4.0-1]: sent
    /// again, the message could arrive twice.
    pub lost_qos2: LostSession,
    /// How many connections in a row the server, or the network, may end without an acknowledgement
    /// while messages of QoS 1 or 2 are in flight: then they are sent again one at a time. When so
    /// many more end at the same message, with nothing else in flight,
    /// [`when_server_hangs_up`](Self::when_server_hangs_up) decides about it. A connection on which
    /// the server fell silent counts as well for sending them one at a time, so that the others get
    /// past the message, but no message is given up for it. A connection that the server has ended
    /// for another reason does not count. Default: 3.
    pub hang_up_limit: NonZeroU8,
    /// What to do with a message at which the server hangs up each time. Default: it fails.
    pub when_server_hangs_up: WhenServerHangsUp,
    /// Store what must outlive the process: [`Session::poll_store`](crate::Session::poll_store)
    /// then tells what, and packets above QoS 0 leave when they are stored. Default: `None`,
    /// nothing is stored.
    pub durable: Option<Box<Durable>>,
    /// Refuse a message with properties on a 3.x connection. Default: false: they are dropped and
    /// counted.
    pub refuse_properties_in_3x: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_identifier: Utf8String::default(),
            clean_start: true,
            session_expiry_interval: None,
            strict_session_present: false,
            keep_alive: 60,
            keep_alive_margin: None,
            ping_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            offline_timeout: Duration::from_secs(60),
            max_request_losses: NonZeroU32::new(3).expect("not zero"),
            max_filters_per_packet: NonZeroU16::new(8).expect("not zero"),
            publish_timeout: None,
            held_acknowledgements_after: Some(Duration::from_secs(10)),
            max_in_flight: NonZeroU16::new(100).expect("not zero"),
            max_in_flight_3x: NonZeroU16::new(20).expect("not zero"),
            queue: QueueLimits::default(),
            inbound: InboundLimits::default(),
            maximum_packet_size: 16 * 1024 * 1024,
            announce_maximum_packet_size: true,
            oversized: Oversized::Skip,
            diagnostics: 1024 * 1024,
            topic_alias_maximum: 16,
            request_response_information: false,
            topic_aliases_out: TopicAliases::Automatic,
            lost_qos1: LostSession::Requeue,
            lost_qos2: LostSession::InDoubt,
            hang_up_limit: NonZeroU8::new(3).expect("not zero"),
            when_server_hangs_up: WhenServerHangsUp::Fail,
            durable: None,
            refuse_properties_in_3x: false,
        }
    }
}

/// How the topic aliases of sent messages are chosen. An alias always lives as long as its
/// connection: a message that waits, or is sent again, has its full topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopicAliases {
    /// The session: busy topics have the aliases that the server takes.
    #[default]
    Automatic,
    /// The application, with [`OutgoingPublish::topic_alias`](crate::OutgoingPublish::topic_alias).
    Manual,
    /// Nobody: there are none.
    Off,
}

/// Bounds of the messages that wait to be sent: for a connection, for the window, for the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// At most this many messages. Default: 10,000.
    pub messages: usize,
    /// At most this many bytes of topics, properties and payloads. Default: 64 MiB.
    pub bytes: usize,
    /// What to do when one more comes. Default: refuse it.
    pub when_full: WhenFull,
    /// Whether QoS 0 messages are queued while there is no connection, or refused. Default: queued.
    pub qos0_offline: bool,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            messages: 10_000,
            bytes: 64 * 1024 * 1024,
            when_full: WhenFull::Refuse,
            qos0_offline: true,
        }
    }
}

/// What a full queue does with one more message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Refuses it.
    #[default]
    Refuse,
    /// Drops the oldest to make room.
    DropOldest,
    /// Accepts it and drops it at once.
    DropNewest,
}

/// What to do with a message above our maximum packet size where the server cannot know it. In MQTT
/// 5 CONNECT announces it, and a server that sends such a message loses the connection
/// [MQTT-3.1.2-24].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Oversized {
    /// Its bytes are skipped as they come, it is acknowledged as if it had been taken, and
    /// [`Event::MessageSkipped`](crate::Event::MessageSkipped) names it. Otherwise one retained
    /// message would end every connection.
    #[default]
    Skip,
    /// The connection is closed.
    Disconnect,
}

/// What to do with a server that has more unacknowledged messages of QoS 1 and 2 than our Receive
/// Maximum allows [MQTT-3.3.4-9].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Excess {
    /// They are taken like others: the hard bounds hold for them too. The first of a connection is
    /// reported as [`Event::ReceiveMaximumExceeded`](crate::Event::ReceiveMaximumExceeded), all are
    /// counted. There are servers that do this without any fault of the network, and all that they
    /// have sent would come again on the next connection.
    #[default]
    Tolerate,
    /// The connection is closed with reason code 0x93, as the specification says (MQTT 5 §3.3.4).
    Disconnect,
}

/// Bounds of the messages that have arrived and were not taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboundLimits {
    /// How many QoS 1 and 2 messages the server may have unacknowledged (MQTT 5 §3.1.2.11.3); each
    /// connection allows no more than `hard_messages` leaves room for. A 3.x server does not know
    /// of it. Default: 1,024.
    pub receive_maximum: NonZeroU16,
    /// Above this many messages the socket is not read while the server owes us nothing. Default:
    /// 32,768.
    pub soft_messages: usize,
    /// Above this many bytes likewise. Default: 64 MiB.
    pub soft_bytes: usize,
    /// At this many messages QoS 0 is dropped. A server that sends more QoS 1 and 2 than this loses
    /// the connection (in MQTT 5 the receive maximum keeps a server that obeys it below). Default:
    /// 65,536.
    pub hard_messages: usize,
    /// At this many bytes QoS 0 is dropped, and a server of any version that sends more than this
    /// as QoS 1 and 2, not counting QoS 0, loses the connection. Default: 128 MiB.
    pub hard_bytes: usize,
    /// What to do with a server that has more than `receive_maximum` unacknowledged. Default:
    /// tolerate it.
    pub excess: Excess,
    /// Which QoS 0 message is dropped: the oldest that the session still holds, or the one that
    /// came. Default: the oldest.
    pub qos0_when_full: DropQos0,
}

impl Default for InboundLimits {
    fn default() -> Self {
        Self {
            receive_maximum: NonZeroU16::new(1024).expect("not zero"),
            soft_messages: 32 * 1024,
            soft_bytes: 64 * 1024 * 1024,
            hard_messages: 64 * 1024,
            hard_bytes: 128 * 1024 * 1024,
            excess: Excess::Tolerate,
            qos0_when_full: DropQos0::Oldest,
        }
    }
}

/// Which message of QoS 0 to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DropQos0 {
    /// The oldest that the session still holds.
    #[default]
    Oldest,
    /// The one that came last.
    Newest,
}

/// What to do with a message in flight when the server has lost the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostSession {
    /// Send it again: it may arrive twice. In MQTT 5, and after a clean session, it is a new
    /// message. In 3.1.1 without a clean session it keeps its packet identifier: a PUBLISH is sent
    /// again with DUP, and a PUBREL if the server has answered with PUBREC before [MQTT-4.4.0-1].
    Requeue,
    /// Fail it as [`InDoubt`](crate::PublishError::InDoubt): it may have arrived or not.
    InDoubt,
}

/// What to do with a message of QoS 1 or 2 at which the server ends one connection after the other:
/// it may be too large for the server, or its topic forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenServerHangsUp {
    /// It fails as [`ServerHungUp`](crate::PublishError::ServerHungUp), and those behind it are
    /// sent. MQTT would have it sent again on each connection [MQTT-4.4.0-1].
    /// [`Event::ServerHangsUp`](crate::Event::ServerHangsUp) names it.
    #[default]
    Fail,
    /// It is sent again on each connection, and those behind it wait.
    KeepTrying,
    /// It is sent again on each connection, and
    /// [`Event::ServerHangsUp`](crate::Event::ServerHangsUp) asks the application each time that so
    /// many more have ended: it may [withdraw](crate::Session::withdraw) the message.
    Ask,
}

/// How a session is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durable {
    /// What becomes of messages that the store could not take. Default: they fail.
    pub when_store_fails: WhenStoreFails,
    /// Time from the Unix epoch to the epoch of the session's [`Instant`](crate::Instant)s. With
    /// it, a message expires when its time is over, also while no process runs; without it, the
    /// time between processes does not count. Default: `None`.
    pub epoch: Option<Duration>,
}

/// What becomes of messages above QoS 0 that were accepted, and that the store could not take.
/// Either way no more are accepted until it works again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenStoreFails {
    /// They fail as [`PublishError::Store`](crate::PublishError::Store).
    #[default]
    Fail,
    /// They wait until the store works again, or are lost with the process.
    Hold,
}

/// What one CONNECT says besides what [`Config`] holds for all: decided anew for each connection.
/// `Debug` shows neither the password nor the user name, which may be a token.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The version to speak.
    pub version: Version,
    /// Who we are.
    pub user_name: Option<Utf8String>,
    /// How we prove it. In 3.x only together with a user name.
    pub password: Option<BinaryData>,
    /// What the server publishes when the connection breaks.
    pub will: Option<Box<Will>>,
    /// Enhanced authentication (MQTT 5 §4.12). In 3.x, which has none, no connection is made then.
    pub authentication: Option<Box<Authentication>>,
    /// Name-value pairs of the users' own (MQTT 5).
    pub user_properties: UserProperties,
}

/// How a CONNECT begins an enhanced authentication (MQTT 5 §3.1.2.11.9). `Debug` shows the length
/// of the data only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// The name of the method, such as `SCRAM-SHA-256`. It stays the same as long as the connection
    /// lasts.
    pub method: Utf8String,
    /// The first data of the method, if it begins with the client.
    pub data: Option<BinaryData>,
}

impl ConnectOptions {
    /// This version, no credentials, no will.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            user_name: None,
            password: None,
            will: None,
            authentication: None,
            user_properties: UserProperties::new(),
        }
    }
}

impl core::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("version", &self.version)
            .field(
                "user_name",
                &self.user_name.as_ref().map(|name| Hidden(name.len())),
            )
            .field("password", &self.password)
            .field("will", &self.will)
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

/// How long it is, and no more.
struct Hidden(usize);

impl core::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "[{} bytes]", self.0)
    }
}

/// How to end a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisconnectOptions {
    /// The reason to send. 3.x has only a normal disconnection; with another reason the connection
    /// is closed without a DISCONNECT, so that the will is published. Default:
    /// normal disconnection.
    pub reason: DisconnectReasonCode,
    /// How long to wait until everything accepted is settled. Default: not at all.
    pub drain: Duration,
    /// Seconds that the session is to outlive the connection (MQTT 5 §3.14.2.2.2). Default: what
    /// the configuration says, or 0 if it says nothing and the session is not durable.
    pub session_expiry_interval: Option<u32>,
    /// For people (MQTT 5).
    pub reason_string: Option<Utf8String>,
    /// Name-value pairs of the users' own (MQTT 5).
    pub user_properties: UserProperties,
}

impl Default for DisconnectOptions {
    fn default() -> Self {
        Self {
            reason: DisconnectReasonCode::NormalDisconnection,
            drain: Duration::ZERO,
            session_expiry_interval: None,
            reason_string: None,
            user_properties: UserProperties::new(),
        }
    }
}

/// A CONNACK of MQTT 5 with every property of a fixed size and an assigned client identifier of 23
/// characters, the longest that every server must take, has 60 bytes.
const LEAST_PACKET_SIZE: u32 = 60;

/// Why no session can work with a [`Config`]: the fault is the configuration's, not the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// [`Config::maximum_packet_size`] has no room for what a server has to say: not even a CONNACK
    /// could be taken.
    #[error("maximum_packet_size is {given} bytes; a CONNACK may need {least}")]
    MaximumPacketSize {
        /// The value that was set, in bytes.
        given: u32,
        /// The least value, in bytes.
        least: u32,
    },
    /// A setting is 0 with which nothing can be done: a bound at which no message can be taken, or
    /// a time within which nobody can answer.
    #[error("{0} is 0; it must be more")]
    Zero(&'static str),
}

impl Config {
    /// Checks whether a session can work with this configuration.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is in the way.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.maximum_packet_size < LEAST_PACKET_SIZE {
            let (given, least) = (self.maximum_packet_size, LEAST_PACKET_SIZE);
            return Err(ConfigError::MaximumPacketSize { given, least });
        }
        let zero = |is_zero: bool, setting| {
            if is_zero {
                Err(ConfigError::Zero(setting))
            } else {
                Ok(())
            }
        };
        zero(self.inbound.hard_messages == 0, "inbound.hard_messages")?;
        zero(self.inbound.hard_bytes == 0, "inbound.hard_bytes")?;
        // With nothing waiting, the socket would not be read.
        zero(self.inbound.soft_messages == 0, "inbound.soft_messages")?;
        zero(self.inbound.soft_bytes == 0, "inbound.soft_bytes")?;
        zero(self.connect_timeout == Duration::ZERO, "connect_timeout")?;
        zero(
            self.ping_timeout == Duration::ZERO && self.keep_alive > 0,
            "ping_timeout",
        )?;
        zero(self.request_timeout == Duration::ZERO, "request_timeout")?;
        zero(
            self.publish_timeout == Some(Duration::ZERO),
            "publish_timeout",
        )
    }
}
