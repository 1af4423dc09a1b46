//! The settings of the session, which the builder has under the names that
//! [`Config`](martlet_session::Config) has them.

use crate::builder::{Builder, setting};
use martlet_proto::{TextError, Utf8String};
use martlet_session::{
    CleanStart, InboundLimits, LostSession, Oversized, QueueLimits, TopicAliases, WhenServerHangsUp,
};
use std::time::Duration;

impl Builder {
    /// Keeps one session with the server for as long as `expiry`, whatever becomes of connections
    /// and of this process: what is published for it meanwhile is delivered after the next CONNECT.
    ///
    /// One setting for what must agree: the client identifier; Clean Start, which is never; the
    /// Session Expiry Interval in whole seconds, for ever from 136 years on; and streams that are
    /// dropped leave their subscriptions with the server, so that only an unsubscribe ends them.
    /// What comes before its stream is there again waits in [`Client::unmatched`]. Messages on
    /// their way *to* the server survive the process with a [`store`](Self::store).
    ///
    /// ```
    /// # use martlet_client::Client;
    /// # use std::time::Duration;
    /// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    /// let builder = Client::builder("mqtt://localhost").lasting_session("meter-7", DAY);
    /// # assert!(builder.check().is_ok());
    /// ```
    ///
    /// [`build`](Self::build) reports an identifier that is over 65,535 bytes or holds U+0000 as
    /// [`ConnectError::Setting`](crate::ConnectError::Setting). In 3.x, which has no expiry, the
    /// server decides how long it keeps a session.
    ///
    /// [`Client::unmatched`]: crate::Client::unmatched
    pub fn lasting_session(
        self,
        identifier: impl TryInto<Utf8String, Error: Into<TextError>>,
        expiry: Duration,
    ) -> Self {
        let identifier = setting("client identifier", identifier.try_into());
        self.set(identifier, |builder, identifier| {
            let seconds = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
            builder.change(|config| {
                config
                    .client_identifier(identifier)
                    .clean_start(CleanStart::Never)
                    .session_expiry_interval(seconds)
            });
            builder.has_client_identifier = true;
            builder.has_clean_start = true;
            builder.keep_subscriptions = true;
        })
    }

    /// Sets which connections begin with a new session on the server (MQTT 5 §3.1.2.4). Default:
    /// the first in MQTT 5, and all of them in 3.x; none with a [`store`](Self::store) or a
    /// [`lasting_session`](Self::lasting_session).
    pub fn clean_start(mut self, clean_start: CleanStart) -> Self {
        self.change(|config| config.clean_start(clean_start));
        self.has_clean_start = true;
        self
    }

    /// Sets the largest packet to take, in bytes. Default: 16 MiB. See
    /// [`Config`](martlet_session::Config::maximum_packet_size).
    pub fn maximum_packet_size(mut self, bytes: u32) -> Self {
        self.change(|config| config.maximum_packet_size(bytes));
        self
    }
}

/// Settings that are handed on as they are.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        impl Builder {
            $(
                $(#[$doc])*
                pub fn $name(mut self, $name: $type) -> Self {
                    self.change(|config| config.$name($name));
                    self
                }
            )*
        }
    };
}

settings! {
    /// Sets the keep alive, in seconds; 0 turns it off. Default: 60.
    keep_alive: u16;
    /// Sets how long before the end of the keep alive a PINGREQ is due. Default: a quarter of it.
    /// See [`Config`](martlet_session::Config::keep_alive_margin).
    keep_alive_margin: impl Into<Option<Duration>>;
    /// Sets how long after a PINGREQ became due something must have arrived. Default: 10 s.
    ping_timeout: Duration;
    /// Sets how long after the transport is up the CONNACK must have arrived. Default: 10 s. See
    /// [`Config`](martlet_session::Config::connect_timeout).
    connect_timeout: Duration;
    /// Sets how long after a SUBSCRIBE, UNSUBSCRIBE or [`ping`](crate::Client::ping) left its
    /// answer must have arrived. Default: 10 s.
    request_timeout: Duration;
    /// Sets how long a subscribe or unsubscribe waits for a connection. Default: 60 s. See
    /// [`Config`](martlet_session::Config::offline_timeout).
    offline_timeout: Duration;
    /// Sets how long after a PUBLISH of QoS 1 or 2 left its handle waits; the message stays in
    /// flight. Default: for ever.
    publish_timeout: impl Into<Option<Duration>>;
    /// Sets how many seconds the session outlives a connection (MQTT 5 §3.1.2.11.2); `u32::MAX`:
    /// for ever. Default: 3,600 while the client means to come back. See
    /// [`Config`](martlet_session::Config::session_expiry_interval).
    session_expiry_interval: impl Into<Option<u32>>;
    /// Sets whether the connection is closed when the server has a session although there is none
    /// here yet [MQTT-3.2.2-4]. Default: false.
    strict_session_present: bool;
    /// Sets whether the subscriptions are made again where the server has lost them. Without it
    /// they are yours to make, after each connection that resumed no session. Default: true.
    resubscribe: bool;
    /// Sets how many connections may end between a SUBSCRIBE or UNSUBSCRIBE and its answer before
    /// it fails. Default: 3. See [`Config`](martlet_session::Config::max_request_losses).
    max_request_losses: u32;
    /// Sets how many topic filters a SUBSCRIBE or UNSUBSCRIBE has at most; more travel in several
    /// packets. Default: 8, what the strictest servers take.
    max_filters_per_packet: u16;
    /// Sets how many QoS 1 and 2 messages may be unacknowledged at a time; the server's Receive
    /// Maximum limits it further. Default: 100.
    max_in_flight: u16;
    /// Sets how many QoS 1 and 2 messages may be unacknowledged at a time by a 3.x server, which
    /// cannot announce a Receive Maximum; [`max_in_flight`](Self::max_in_flight) limits it further.
    /// Default: 20, what mosquitto takes by default.
    max_in_flight_3x: u16;
    /// Sets the bounds of the messages that cannot be sent yet. Default: 10,000 messages and 64 MiB;
    /// a full queue lets a publish wait. See [`QueueLimits`].
    queue: QueueLimits;
    /// Sets the bounds of the messages that have arrived and wait to be taken. See
    /// [`InboundLimits`] for the defaults.
    inbound: InboundLimits;
    /// Sets whether the CONNECT of MQTT 5 has the Maximum Packet Size. Default: true.
    announce_maximum_packet_size: bool;
    /// Sets what becomes of a message above the maximum packet size where the server cannot know
    /// it. Default: it is skipped.
    oversized: Oversized;
    /// Sets how many bytes of the server's reason strings and user properties wait in events at a
    /// time. Default: 1 MiB.
    diagnostics: u32;
    /// Sets the highest topic alias to take (MQTT 5 §3.1.2.11.5). Default: 16.
    topic_alias_maximum: u16;
    /// Sets whether topic aliases are used on what is sent (MQTT 5 §3.3.2.3.4). Default:
    /// automatic.
    topic_aliases_out: TopicAliases;
    /// Sets whether the server is asked for a topic to make response topics of (MQTT 5
    /// §3.1.2.11.6). Default: false.
    request_response_information: bool;
    /// Sets after how long an unhandled message that holds back the acknowledgements of later ones
    /// is reported. Default: 10 s. See
    /// [`Config`](martlet_session::Config::held_acknowledgements_after).
    held_acknowledgements_after: impl Into<Option<Duration>>;
    /// Sets what becomes of a QoS 1 message in flight when the server has lost the session.
    /// Default: it is sent again.
    lost_qos1: LostSession;
    /// Sets what becomes of a QoS 2 message that was written when the server has lost the session.
    /// Default: it fails as in doubt. See [`Config`](martlet_session::Config::lost_qos2).
    lost_qos2: LostSession;
    /// Sets how many connections in a row may end without an acknowledgement before messages in
    /// flight are sent one at a time. Default: 3. See
    /// [`Config`](martlet_session::Config::hang_up_limit).
    hang_up_limit: u8;
    /// Sets for how long nothing must have been acknowledged before a message fails because the
    /// server hangs up at it. Default: 2 minutes. See
    /// [`Config`](martlet_session::Config::hang_up_time).
    hang_up_time: Duration;
    /// Sets what becomes of a message at which the server hangs up each time. Default: it fails.
    when_server_hangs_up: WhenServerHangsUp;
    /// Sets whether a message with properties is rejected on a 3.x connection. Default: false: they
    /// are left out and counted.
    reject_properties_in_3x: bool;
}
