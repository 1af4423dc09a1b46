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
pub struct BrokerConfig {
    pub(crate) versions: Vec<Version>,
    pub(crate) limits: BrokerLimits,
    pub(crate) reject: Option<ConnectReasonCode>,
    pub(crate) server_reference: Option<Utf8String>,
    pub(crate) response_information: Option<Utf8String>,
    pub(crate) users: Option<BTreeMap<Utf8String, BinaryData>>,
    pub(crate) authentication: Option<ScriptedAuthentication>,
    pub(crate) connect_timeout: Duration,
    pub(crate) sys_interval: Duration,
    pub(crate) seed: u64,
    pub(crate) outbound_topic_aliases: u16,
    pub(crate) max_in_flight: NonZeroU16,
    pub(crate) max_connections: usize,
    pub(crate) max_sessions: usize,
    pub(crate) max_subscriptions: usize,
    pub(crate) max_retained: usize,
    pub(crate) max_queued: usize,
    pub(crate) max_queued_bytes: usize,
    pub(crate) max_output_bytes: usize,
    pub(crate) moods: Moods,
    pub(crate) record_events: bool,
}

/// The limits that a client gets in CONNACK and is held to (MQTT 5 §3.2.2.3). 3.x has no fields for
/// them: such a client is held to the packet size and the subscription limits, and granted no more
/// than the maximum QoS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerLimits {
    pub(crate) receive_maximum: NonZeroU16,
    pub(crate) maximum_qos: QoS,
    pub(crate) retain_available: bool,
    pub(crate) maximum_packet_size: u32,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) wildcard_subscription_available: bool,
    pub(crate) subscription_identifier_available: bool,
    pub(crate) shared_subscription_available: bool,
    pub(crate) server_keep_alive: Option<u16>,
    pub(crate) maximum_session_expiry: u32,
}

/// A scripted enhanced authentication (MQTT 5 §4.12), for CONNECT and for re-authentication alike:
/// each step sends a challenge and waits for an answer.
#[derive(Debug, Clone, Default)]
pub struct ScriptedAuthentication {
    pub(crate) method: Utf8String,
    pub(crate) steps: Vec<(Bytes, Bytes)>,
    pub(crate) success: Option<BinaryData>,
}

/// A consuming setter for each field.
macro_rules! setters {
    ($type:ident { $($(#[$doc:meta])* $field:ident: $value:ty $(=> $convert:expr)?,)* }) => {
        impl $type {
            $(
                $(#[$doc])*
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
        /// Sets the versions that are spoken; a CONNECT of another one is rejected. Default: all.
        versions: impl IntoIterator<Item = Version> => Vec::from_iter,
        /// Sets the limits that clients get in CONNACK and are held to.
        limits: BrokerLimits,
        /// Rejects every CONNECT with this reason, or with `None`, the default, those that are wrong.
        reject: impl Into<Option<ConnectReasonCode>> => Into::into,
        /// Sets what is sent with the reasons *use another server* and *server moved* (MQTT 5).
        server_reference: impl Into<Option<Utf8String>> => Into::into,
        /// Sets what clients get that ask for response information (MQTT 5).
        response_information: impl Into<Option<Utf8String>> => Into::into,
        /// Sets an enhanced authentication that follows a script (MQTT 5). Default: `None`, every
        /// method is rejected.
        authentication: impl Into<Option<ScriptedAuthentication>> => Into::into,
        /// Sets how long an open connection may take to send its CONNECT. Zero: for ever. Default: 10
        /// seconds.
        connect_timeout: Duration,
        /// Sets how often the topics under `$SYS` are published. Zero: never, and there are none.
        /// Default: 10 seconds.
        sys_interval: Duration,
        /// Sets the seed of the client identifiers for clients that have none. Default: 0.
        seed: u64,
        /// Sets how many topic aliases are used towards a client that allows them (MQTT 5). Default:
        /// 16.
        outbound_topic_aliases: u16,
        /// Sets how many QoS 1 and 2 messages may be unacknowledged by one client; a lower Receive
        /// Maximum of its own wins. Default: 1,000.
        max_in_flight: NonZeroU16,
        /// Sets how many connections may be open. Default: 10,000.
        max_connections: usize,
        /// Sets how many sessions there may be, connected or not. Default: 10,000.
        max_sessions: usize,
        /// Sets how many subscriptions one session may have. Default: 10,000.
        max_subscriptions: usize,
        /// Sets how many messages may be retained. Default: 100,000.
        max_retained: usize,
        /// Sets how many messages may wait for one session; further ones are dropped. Default: 100,000.
        max_queued: usize,
        /// Sets how many bytes of messages may wait for one session; further ones are dropped. Default:
        /// 64 MiB.
        max_queued_bytes: usize,
        /// Sets how many bytes of acknowledgements and other answers may wait for a client; beyond it
        /// the client is cut off. Default: 16 MiB.
        max_output_bytes: usize,
        /// Sets what it does wrong on purpose. Default: nothing.
        moods: Moods,
        /// Sets whether [`Broker::poll_event`](crate::Broker::poll_event) returns events. It must be
        /// polled then. Default: false.
        record_events: bool,
    }
}

setters! {
    BrokerLimits {
        /// Sets how many QoS 1 and 2 messages a client may have unacknowledged. Default: 65,535.
        receive_maximum: NonZeroU16,
        /// Sets the highest QoS that is taken and granted. Default: 2.
        maximum_qos: QoS,
        /// Sets whether messages are retained. Default: true.
        retain_available: bool,
        /// Sets the largest packet that is taken, in bytes. Default: all that MQTT allows, 256 MiB.
        maximum_packet_size: u32,
        /// Sets the highest topic alias that is taken. Default: 16.
        topic_alias_maximum: u16,
        /// Sets whether `+` and `#` may be subscribed to. Default: true.
        wildcard_subscription_available: bool,
        /// Sets whether subscription identifiers may be used. Default: true.
        subscription_identifier_available: bool,
        /// Sets whether `$share/…` may be subscribed to. Default: true.
        shared_subscription_available: bool,
        /// Sets the keep alive in seconds that replaces what a client of MQTT 5 asks for. Default:
        /// `None`.
        server_keep_alive: impl Into<Option<u16>> => Into::into,
        /// Sets for how many seconds a session is kept at most; `u32::MAX` (the default): for ever, if
        /// the client wants. It holds for the persistent sessions of 3.x too.
        maximum_session_expiry: u32,
    }
}

setters! {
    ScriptedAuthentication {
        /// Sets the only method that is known.
        method: Utf8String,
        /// Sets each challenge and the answer that is expected to it. Without a step the client is let
        /// in at once.
        steps: impl IntoIterator<Item = (Bytes, Bytes)> => Vec::from_iter,
        /// Sets the data that comes with success.
        success: impl Into<Option<BinaryData>> => Into::into,
    }
}

impl BrokerConfig {
    /// Adds a user; from then on only users that were added may connect. A CONNECT without a user
    /// name is then *not authorized*; a wrong one is a *bad user name or password*. By default
    /// everybody is welcome.
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
