//! The configuration of a session, and the options of each connection and of its end.

#[cfg(feature = "durable")]
mod durable;
#[cfg(not(feature = "durable"))]
#[path = "not_durable.rs"]
mod durable;
mod limits;
mod options;
mod policies;
mod small;

use durable::Durable as DurableSettings;
#[cfg(feature = "durable")]
pub use durable::{Durable, WhenStoreFails};
pub use limits::{DropQos0, Excess, InboundLimits, QueueLimits, WhenFull};
pub use options::{Authentication, ConnectOptions, DisconnectOptions};
pub use policies::{CleanStart, LostSession, Oversized, TopicAliases, WhenServerHangsUp};

use alloc::boxed::Box;
use core::time::Duration;
use martlet_proto::Utf8String;

/// How a session behaves: `Config::default().client_identifier(name)`. Each setting has a default;
/// [`check`](Config::check) names one that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub(crate) client_identifier: Utf8String,
    pub(crate) clean_start: CleanStart,
    pub(crate) resubscribe: bool,
    pub(crate) session_expiry_interval: Option<u32>,
    pub(crate) strict_session_present: bool,
    pub(crate) keep_alive: u16,
    pub(crate) keep_alive_margin: Option<Duration>,
    pub(crate) ping_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) offline_timeout: Duration,
    pub(crate) max_request_losses: u32,
    pub(crate) max_filters_per_packet: u16,
    pub(crate) publish_timeout: Option<Duration>,
    pub(crate) held_acknowledgements_after: Option<Duration>,
    pub(crate) max_in_flight: u16,
    pub(crate) max_in_flight_3x: u16,
    pub(crate) queue: QueueLimits,
    pub(crate) inbound: InboundLimits,
    pub(crate) maximum_packet_size: u32,
    pub(crate) announce_maximum_packet_size: bool,
    pub(crate) oversized: Oversized,
    pub(crate) diagnostics: u32,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) request_response_information: bool,
    pub(crate) topic_aliases_out: TopicAliases,
    pub(crate) lost_qos1: LostSession,
    pub(crate) lost_qos2: LostSession,
    pub(crate) hang_up_limit: u8,
    /// In milliseconds: a `Duration` is four times as large.
    pub(crate) hang_up_millis: u32,
    pub(crate) when_server_hangs_up: WhenServerHangsUp,
    pub(crate) durable: Option<Box<DurableSettings>>,
    pub(crate) reject_properties_in_3x: bool,
}

impl Config {
    /// The default of [`maximum_packet_size`](Self::maximum_packet_size), in bytes.
    pub const DEFAULT_MAXIMUM_PACKET_SIZE: u32 = 16 * 1024 * 1024;

    /// Sets the client identifier, which names the session to the server. Empty: the server assigns
    /// one (not in 3.1, and in 3.1.1 only with a clean start). Default: empty.
    #[must_use]
    pub fn client_identifier(mut self, client_identifier: Utf8String) -> Self {
        self.client_identifier = client_identifier;
        self
    }

    /// Sets which connections begin with a new session on the server (MQTT 5 §3.1.2.4). Default:
    /// the first in MQTT 5, and all of them in 3.x, where a session that is to be kept says so in
    /// every CONNECT.
    #[must_use]
    pub fn clean_start(mut self, clean_start: CleanStart) -> Self {
        self.clean_start = clean_start;
        self
    }

    /// Sets whether the subscriptions are made again where the server has lost them. Without it
    /// they are the application's to make, after each connection that resumed no session. Default:
    /// true.
    #[must_use]
    pub fn resubscribe(mut self, resubscribe: bool) -> Self {
        self.resubscribe = resubscribe;
        self
    }

    /// Sets how many seconds the session outlives a connection (MQTT 5 §3.1.2.11.2); `u32::MAX`:
    /// for ever. 3.x has none. `None`: 3,600
    /// while the client means to come back; after `disconnect()` 0, or, if the session is durable,
    /// 3,600 still. Default: `None`.
    #[must_use]
    pub fn session_expiry_interval(
        mut self,
        session_expiry_interval: impl Into<Option<u32>>,
    ) -> Self {
        self.session_expiry_interval = session_expiry_interval.into();
        self
    }

    /// Sets whether the connection is closed when the server has a session although there is none
    /// here yet [MQTT-3.2.2-4]. Default: false: a new `Session` without clean start is an empty,
    /// but existing, session.
    #[must_use]
    pub fn strict_session_present(mut self, strict_session_present: bool) -> Self {
        self.strict_session_present = strict_session_present;
        self
    }

    /// Sets the keep alive, in seconds; 0 turns it off (MQTT 5 §3.1.2.10). Default: 60.
    #[must_use]
    pub fn keep_alive(mut self, keep_alive: u16) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Sets how long before the end of the keep alive a PINGREQ is due. `None`, or where less than
    /// a second of the keep alive would be left, which may be the server's: a quarter of it.
    /// Default: `None`.
    #[must_use]
    pub fn keep_alive_margin(mut self, keep_alive_margin: impl Into<Option<Duration>>) -> Self {
        self.keep_alive_margin = keep_alive_margin.into();
        self
    }

    /// Sets how long after a PINGREQ became due something must have arrived. Default: 10 s.
    #[must_use]
    pub fn ping_timeout(mut self, ping_timeout: Duration) -> Self {
        self.ping_timeout = ping_timeout;
        self
    }

    /// Sets how long after the transport is up the CONNACK must have arrived. With enhanced
    /// authentication each step has this long, those of the server and those of the application; it
    /// counts from when the step became due. Default: 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Sets how long after a SUBSCRIBE or UNSUBSCRIBE left its answer must have arrived. Default:
    /// 10 s.
    #[must_use]
    pub fn request_timeout(mut self, request_timeout: Duration) -> Self {
        self.request_timeout = request_timeout;
        self
    }

    /// Sets how long a subscribe or unsubscribe waits to be sent, counted from the command; a
    /// connection that is lost before the answer does not restart the wait. A subscribe then fails
    /// and is withdrawn; an unsubscribe fails, but is still sent when there is a connection.
    /// Default: 60 s.
    #[must_use]
    pub fn offline_timeout(mut self, offline_timeout: Duration) -> Self {
        self.offline_timeout = offline_timeout;
        self
    }

    /// Sets how many connections may end between a SUBSCRIBE or UNSUBSCRIBE and its answer before
    /// it fails as [`RequestError::ConnectionsLost`](crate::RequestError::ConnectionsLost) and is
    /// not sent again: some servers close the connection instead of answering. After the first loss
    /// it is sent alone and after everything else; for the last attempt each filter has a packet of
    /// its own, so that one bad filter does not fail the others. The limit also holds for
    /// subscriptions that are made again.
    ///
    /// Two kinds of connections do not count, up to four times the limit in all: those that ended
    /// for a reason of their own, such as a DISCONNECT with *server shutting down*, and, for a
    /// subscription that is made again, those on which the server went on sending after the
    /// SUBSCRIBE had left: that looks like a bad network. Before the last attempt a PINGREQ goes, and
    /// it waits for the PINGRESP, or [`request_timeout`](Self::request_timeout): connections that end
    /// before that do not count either. Default: 3.
    #[must_use]
    pub fn max_request_losses(mut self, max_request_losses: u32) -> Self {
        self.max_request_losses = max_request_losses;
        self
    }

    /// Sets how many topic filters a SUBSCRIBE or UNSUBSCRIBE has at most; more travel in several
    /// packets, with one answer to the application. Some servers take no more than eight. Default:
    /// 8.
    #[must_use]
    pub fn max_filters_per_packet(mut self, max_filters_per_packet: u16) -> Self {
        self.max_filters_per_packet = max_filters_per_packet;
        self
    }

    /// Sets how long after a PUBLISH of QoS 1 or 2 left its handle waits; the message stays in
    /// flight. Default: for ever.
    #[must_use]
    pub fn publish_timeout(mut self, publish_timeout: impl Into<Option<Duration>>) -> Self {
        self.publish_timeout = publish_timeout.into();
        self
    }

    /// Sets after how long an unhandled message that holds back the acknowledgements of later ones
    /// is reported as [`AcknowledgementsHeld`](crate::Event::AcknowledgementsHeld), and again at
    /// this interval; after up to twice as long when another message held them first. `None`:
    /// never. Default: 10 s.
    #[must_use]
    pub fn held_acknowledgements_after(
        mut self,
        held_acknowledgements_after: impl Into<Option<Duration>>,
    ) -> Self {
        self.held_acknowledgements_after = held_acknowledgements_after.into();
        self
    }

    /// Sets how many QoS 1 and 2 messages may be unacknowledged at a time; the server's Receive
    /// Maximum limits it further. Default: 100.
    #[must_use]
    pub fn max_in_flight(mut self, max_in_flight: u16) -> Self {
        self.max_in_flight = max_in_flight;
        self
    }

    /// Sets the same for a 3.x server, which cannot tell its Receive Maximum; the smaller of the
    /// two counts. Default: 20, what mosquitto takes by default: it ends a 3.x connection with more
    /// QoS 2 messages unacknowledged.
    #[must_use]
    pub fn max_in_flight_3x(mut self, max_in_flight_3x: u16) -> Self {
        self.max_in_flight_3x = max_in_flight_3x;
        self
    }

    /// Sets the bounds of the messages that cannot be sent yet.
    #[must_use]
    pub fn queue(mut self, queue: QueueLimits) -> Self {
        self.queue = queue;
        self
    }

    /// Sets the bounds of the messages that have arrived and wait to be taken.
    #[must_use]
    pub fn inbound(mut self, inbound: InboundLimits) -> Self {
        self.inbound = inbound;
        self
    }

    /// Sets the largest packet to take, in bytes; MQTT 5 announces it to the server. Default: 16
    /// MiB.
    #[must_use]
    pub fn maximum_packet_size(mut self, maximum_packet_size: u32) -> Self {
        self.maximum_packet_size = maximum_packet_size;
        self
    }

    /// Sets whether the CONNECT of MQTT 5 has the Maximum Packet Size. Without it a server may send
    /// what is larger than this client takes. Default: true.
    #[must_use]
    pub fn announce_maximum_packet_size(mut self, announce_maximum_packet_size: bool) -> Self {
        self.announce_maximum_packet_size = announce_maximum_packet_size;
        self
    }

    /// Sets what to do with a message above the maximum packet size where the server cannot know
    /// it: in 3.x, and where it is not announced. Default: skip it.
    #[must_use]
    pub fn oversized(mut self, oversized: Oversized) -> Self {
        self.oversized = oversized;
        self
    }

    /// Sets how many bytes of the server's reason strings and user properties wait in events at a
    /// time, and at most in one error. What does not fit is left out and counted
    /// ([`Counters::diagnostics_left_out`](crate::Counters::diagnostics_left_out)). Default: 1 MiB.
    #[must_use]
    pub fn diagnostics(mut self, diagnostics: u32) -> Self {
        self.diagnostics = diagnostics;
        self
    }

    /// Sets the highest topic alias to take (MQTT 5 §3.1.2.11.5). Default: 16.
    #[must_use]
    pub fn topic_alias_maximum(mut self, topic_alias_maximum: u16) -> Self {
        self.topic_alias_maximum = topic_alias_maximum;
        self
    }

    /// Sets whether the server is asked for a topic to make response topics of (MQTT 5
    /// §3.1.2.11.6). Default: false.
    #[must_use]
    pub fn request_response_information(mut self, request_response_information: bool) -> Self {
        self.request_response_information = request_response_information;
        self
    }

    /// Sets whether topic aliases are used on what is sent, as far as the server takes them: a
    /// topic that comes again costs two bytes instead of its name (MQTT 5 §3.3.2.3.4). Default:
    /// automatic.
    #[must_use]
    pub fn topic_aliases_out(mut self, topic_aliases_out: TopicAliases) -> Self {
        self.topic_aliases_out = topic_aliases_out;
        self
    }

    /// Sets what to do with a QoS 1 message in flight when the server has lost the session.
    /// Default: requeue.
    #[must_use]
    pub fn lost_qos1(mut self, lost_qos1: LostSession) -> Self {
        self.lost_qos1 = lost_qos1;
        self
    }

    /// Sets what to do with a QoS 2 message that was written when the server has lost the session.
    /// Default: in doubt, which in 3.1.1 without a clean session deviates from [MQTT-4.4.0-1]: sent
    /// again, the message could arrive twice.
    #[must_use]
    pub fn lost_qos2(mut self, lost_qos2: LostSession) -> Self {
        self.lost_qos2 = lost_qos2;
        self
    }

    /// Sets how many connections in a row the server, or the network, may end without an
    /// acknowledgement while messages of QoS 1 or 2 are in flight: then they are sent again one at
    /// a time. When as many again end at the same message, which alone is in flight, and for
    /// [`hang_up_time`](Self::hang_up_time),
    /// [`when_server_hangs_up`](Self::when_server_hangs_up) decides about it. A connection on which
    /// the server fell silent counts as well for sending them one at a time, so that the others get
    /// past the message, but no message is given up for it. A connection that the server has ended
    /// for another reason does not count.
    ///
    /// A message that is alone in flight for this reason is preceded by a PINGREQ, and waits for the
    /// PINGRESP, or [`request_timeout`](Self::request_timeout): a connection that ends before that
    /// would have ended without the message, and the count begins anew. So no message is given up
    /// because a server accepts connections and closes each. A network that breaks may still cut as
    /// many connections in a row just then: where connections last no longer than a few round trips,
    /// set a longer [`hang_up_time`](Self::hang_up_time), or
    /// [`KeepTrying`](crate::WhenServerHangsUp::KeepTrying). Default: 3.
    #[must_use]
    pub fn hang_up_limit(mut self, hang_up_limit: u8) -> Self {
        self.hang_up_limit = hang_up_limit;
        self
    }

    /// Sets for how long nothing must have been acknowledged before a message fails because the
    /// server hangs up at it: an unsteady network looks the same, and must not cost a message. Zero:
    /// [`hang_up_limit`](Self::hang_up_limit) alone decides. In whole milliseconds, at most 49 days.
    /// A process that restores a stored session begins anew with the time, and also gives a message
    /// up at which four times that limit have ended. Default: 2 minutes.
    #[must_use]
    pub fn hang_up_time(mut self, hang_up_time: Duration) -> Self {
        self.hang_up_millis = hang_up_time.as_millis().try_into().unwrap_or(u32::MAX);
        self
    }

    /// Sets what to do with a message at which the server hangs up each time. Default: it fails.
    #[must_use]
    pub fn when_server_hangs_up(mut self, when_server_hangs_up: WhenServerHangsUp) -> Self {
        self.when_server_hangs_up = when_server_hangs_up;
        self
    }

    /// Sets whether a message with properties is rejected on a 3.x connection. Default: false: they
    /// are left out and counted.
    #[must_use]
    pub fn reject_properties_in_3x(mut self, reject_properties_in_3x: bool) -> Self {
        self.reject_properties_in_3x = reject_properties_in_3x;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_identifier: Utf8String::default(),
            clean_start: CleanStart::First,
            resubscribe: true,
            session_expiry_interval: None,
            strict_session_present: false,
            keep_alive: 60,
            keep_alive_margin: None,
            ping_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            offline_timeout: Duration::from_secs(60),
            max_request_losses: 3,
            max_filters_per_packet: 8,
            publish_timeout: None,
            held_acknowledgements_after: Some(Duration::from_secs(10)),
            max_in_flight: 100,
            max_in_flight_3x: 20,
            queue: QueueLimits::default(),
            inbound: InboundLimits::default(),
            maximum_packet_size: Self::DEFAULT_MAXIMUM_PACKET_SIZE,
            announce_maximum_packet_size: true,
            oversized: Oversized::Skip,
            diagnostics: 1024 * 1024,
            topic_alias_maximum: 16,
            request_response_information: false,
            topic_aliases_out: TopicAliases::Automatic,
            lost_qos1: LostSession::Requeue,
            lost_qos2: LostSession::InDoubt,
            hang_up_limit: 3,
            hang_up_millis: 120_000,
            when_server_hangs_up: WhenServerHangsUp::Fail,
            durable: None,
            reject_properties_in_3x: false,
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
    /// A setting is 0 that must be more: a bound at which no message can be taken, or a time within
    /// which no answer can come.
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
        zero(self.max_in_flight == 0, "max_in_flight")?;
        zero(self.max_in_flight_3x == 0, "max_in_flight_3x")?;
        zero(self.max_request_losses == 0, "max_request_losses")?;
        zero(self.max_filters_per_packet == 0, "max_filters_per_packet")?;
        zero(self.hang_up_limit == 0, "hang_up_limit")?;
        zero(self.inbound.receive_maximum == 0, "inbound.receive_maximum")?;
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
