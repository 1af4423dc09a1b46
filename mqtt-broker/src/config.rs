//! What a broker allows, and where its memory ends.

use crate::moods::Moods;
use bytes::Bytes;
use core::num::NonZeroU16;
use core::time::Duration;
use martlet_proto::{
    BinaryData, ConnectReasonCode, MAX_PACKET_SIZE, QoS, TextError, Utf8String, Version,
};
use std::collections::BTreeMap;

/// How a [`Broker`](crate::Broker) behaves. Take [`BrokerConfig::default`] and change what matters:
///
/// ```
/// use martlet_broker::{BrokerConfig, BrokerLimits};
/// use martlet_proto::{QoS, Version};
///
/// let config = BrokerConfig::default()
///     .versions([Version::V3_1_1])
///     .limits(BrokerLimits::default().maximum_qos(QoS::AtLeastOnce));
/// # let _ = config;
/// ```
///
/// A bound of 0 messages, bytes, connections, … means that there is none.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// The versions that are spoken; a CONNECT of another one is rejected. Default: all.
    pub versions: Vec<Version>,
    /// The limits that clients get in CONNACK and are held to.
    pub limits: BrokerLimits,
    /// Rejects every CONNECT with this reason. Default: `None`.
    pub reject: Option<ConnectReasonCode>,
    /// Sent with the reasons *use another server* and *server moved* (MQTT 5).
    pub server_reference: Option<Utf8String>,
    /// Given to clients that ask for response information (MQTT 5).
    pub response_information: Option<Utf8String>,
    /// User names and passwords. `None` (the default): everybody is welcome. A CONNECT without a
    /// user name is then *not authorized*; a wrong one is a *bad user name or password*.
    pub users: Option<BTreeMap<Utf8String, BinaryData>>,
    /// Enhanced authentication that follows a script (MQTT 5). Default: `None`, every method is
    /// rejected.
    pub authentication: Option<ScriptedAuthentication>,
    /// How long an open connection may take to send its CONNECT. Zero: for ever. Default: 10
    /// seconds.
    pub connect_timeout: Duration,
    /// How often the topics under `$SYS` are published. Zero: never, and there are none. Default:
    /// 10 seconds.
    pub sys_interval: Duration,
    /// Client identifiers for clients that have none are drawn from this seed.
    pub seed: u64,
    /// How many topic aliases are used towards a client that allows them (MQTT 5). Default: 16.
    pub outbound_topic_aliases: u16,
    /// How many QoS 1 and 2 messages may be unacknowledged by one client; a lower Receive Maximum
    /// of its own wins. Default: 1,000.
    pub max_in_flight: NonZeroU16,
    /// Open connections. Default: 10,000.
    pub max_connections: usize,
    /// Sessions, connected or not. Default: 10,000.
    pub max_sessions: usize,
    /// Subscriptions of one session. Default: 10,000.
    pub max_subscriptions: usize,
    /// Retained messages. Default: 100,000.
    pub max_retained: usize,
    /// Messages that wait for one session; further ones are dropped. Default: 100,000.
    pub max_queued: usize,
    /// Bytes of messages that wait for one session; further ones are dropped. Default: 64 MiB.
    pub max_queued_bytes: usize,
    /// Bytes of acknowledgements and other answers that a client has not taken; beyond it the
    /// client is cut off. Default: 16 MiB.
    pub max_output_bytes: usize,
    /// What it does wrong on purpose. Default: nothing.
    pub moods: Moods,
    /// Whether [`Broker::poll_event`](crate::Broker::poll_event) returns events. It must be polled
    /// then. Default: false.
    pub record_events: bool,
}

/// The limits that a client gets in CONNACK and is held to (MQTT 5 §3.2.2.3). 3.x has no fields for
/// them: such a client is held to the packet size and the subscription limits, and granted no more
/// than the maximum QoS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerLimits {
    /// QoS 1 and 2 messages that a client may have unacknowledged. Default: 65,535.
    pub receive_maximum: NonZeroU16,
    /// The highest QoS that is taken and granted. Default: 2.
    pub maximum_qos: QoS,
    /// Whether messages are retained. Default: true.
    pub retain_available: bool,
    /// The largest packet that is taken, in bytes. Default: all that MQTT allows, 256 MiB; set it
    /// where clients are not trusted.
    pub maximum_packet_size: u32,
    /// The highest topic alias that is taken. Default: 16.
    pub topic_alias_maximum: u16,
    /// Whether `+` and `#` may be subscribed to. Default: true.
    pub wildcard_subscription_available: bool,
    /// Whether subscription identifiers may be used. Default: true.
    pub subscription_identifier_available: bool,
    /// Whether `$share/…` may be subscribed to. Default: true.
    pub shared_subscription_available: bool,
    /// Seconds; replaces what a client of MQTT 5 asks for. Default: `None`.
    pub server_keep_alive: Option<u16>,
    /// Seconds that a session is kept at most; `u32::MAX` (the default): for ever, if the client
    /// wants. It holds for the persistent sessions of 3.x too.
    pub maximum_session_expiry: u32,
}

/// A scripted enhanced authentication (MQTT 5 §4.12), for CONNECT and for re-authentication alike:
/// each step sends a challenge and waits for an answer.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ScriptedAuthentication {
    /// The only method that is known.
    pub method: Utf8String,
    /// Each challenge and the answer that is expected to it. Without a step the client is let in at
    /// once.
    pub steps: Vec<(Bytes, Bytes)>,
    /// The data that comes with success.
    pub success: Option<BinaryData>,
}

/// A setter for each field, whose docs are there.
macro_rules! setters {
    ($type:ident { $($field:ident: $value:ty $(=> $convert:expr)?,)* }) => {
        impl $type {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](", stringify!($type), "::", stringify!($field), ").")]
                #[must_use]
                pub fn $field(mut self, $field: $value) -> Self {
                    self.$field = setters!(@ $field $(, $convert)?);
                    self
                }
            )*
        }
    };
    (@ $field:ident) => { $field };
    (@ $field:ident, $convert:expr) => { $convert($field) };
}

setters! {
    BrokerConfig {
        versions: impl IntoIterator<Item = Version> => Vec::from_iter,
        limits: BrokerLimits,
        reject: impl Into<Option<ConnectReasonCode>> => Into::into,
        server_reference: impl Into<Option<Utf8String>> => Into::into,
        response_information: impl Into<Option<Utf8String>> => Into::into,
        authentication: impl Into<Option<ScriptedAuthentication>> => Into::into,
        connect_timeout: Duration,
        sys_interval: Duration,
        seed: u64,
        outbound_topic_aliases: u16,
        max_in_flight: NonZeroU16,
        max_connections: usize,
        max_sessions: usize,
        max_subscriptions: usize,
        max_retained: usize,
        max_queued: usize,
        max_queued_bytes: usize,
        max_output_bytes: usize,
        moods: Moods,
        record_events: bool,
    }
}

setters! {
    BrokerLimits {
        receive_maximum: NonZeroU16,
        maximum_qos: QoS,
        retain_available: bool,
        maximum_packet_size: u32,
        topic_alias_maximum: u16,
        wildcard_subscription_available: bool,
        subscription_identifier_available: bool,
        shared_subscription_available: bool,
        server_keep_alive: impl Into<Option<u16>> => Into::into,
        maximum_session_expiry: u32,
    }
}

setters! {
    ScriptedAuthentication {
        method: Utf8String,
        steps: impl IntoIterator<Item = (Bytes, Bytes)> => Vec::from_iter,
        success: impl Into<Option<BinaryData>> => Into::into,
    }
}

impl BrokerConfig {
    /// Adds a user; from then on only users that were added may connect.
    ///
    /// # Errors
    /// [`TextError`] when the name or the password is longer than MQTT can carry, or the name holds
    /// U+0000.
    pub fn with_user(mut self, name: &str, password: &str) -> Result<Self, TextError> {
        self.users
            .get_or_insert_default()
            .insert(name.try_into()?, password.try_into()?);
        Ok(self)
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            versions: Version::ALL.to_vec(),
            limits: BrokerLimits::default(),
            reject: None,
            server_reference: None,
            response_information: None,
            users: None,
            authentication: None,
            connect_timeout: Duration::from_secs(10),
            sys_interval: Duration::from_secs(10),
            seed: 0,
            outbound_topic_aliases: 16,
            max_in_flight: NonZeroU16::MIN.saturating_add(999),
            max_connections: 10_000,
            max_sessions: 10_000,
            max_subscriptions: 10_000,
            max_retained: 100_000,
            max_queued: 100_000,
            max_queued_bytes: 64 << 20,
            max_output_bytes: 16 << 20,
            moods: Moods::new(),
            record_events: false,
        }
    }
}

impl Default for BrokerLimits {
    fn default() -> Self {
        Self {
            receive_maximum: NonZeroU16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: MAX_PACKET_SIZE,
            topic_alias_maximum: 16,
            wildcard_subscription_available: true,
            subscription_identifier_available: true,
            shared_subscription_available: true,
            server_keep_alive: None,
            maximum_session_expiry: u32::MAX,
        }
    }
}

/// Whether `count` has reached a bound of which 0 means none.
pub(crate) fn reached(count: usize, bound: usize) -> bool {
    bound != 0 && count >= bound
}
