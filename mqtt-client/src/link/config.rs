//! The configuration of a link, and its events.

use crate::link::reconnect::{Reconnect, random_seed};
use crate::link::stage::StackConfig;
use martlet_proto::Version;
use martlet_session::{Config, ConnectOptions, ConnectionError};
use martlet_transport::Endpoint;
use std::time::Duration;

/// How long dialling may take, and the handshakes after it, unless somebody says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which version to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionChoice {
    /// This one.
    Fixed(Version),
    /// MQTT 5 first, and 3.1.1 at once for a server that does not speak it: it refuses the level,
    /// its CONNACK cannot be read as one of MQTT 5, it does not answer the CONNECT in time, or it
    /// twice closes the connection after CONNECT without a byte. What a server accepted is
    /// remembered for later connections to it.
    Negotiate,
}

/// The configuration of a [`Link`](crate::embedded::Link).
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// The servers, tried in turn.
    pub endpoints: Vec<Endpoint>,
    /// Which version to speak.
    pub version: VersionChoice,
    /// What each CONNECT says; its version is set by the link, its credentials by the endpoint when
    /// that has any.
    pub connect: ConnectOptions,
    /// Whether each attempt is prepared first, with
    /// [`Link::poll_prepare`](crate::embedded::Link::poll_prepare), and how long that may take.
    pub prepare_timeout: Option<Duration>,
    /// When to try again.
    pub reconnect: Reconnect,
    /// The layers between the socket and MQTT, beside those of the endpoints' schemes.
    pub stack: StackConfig,
    /// How long resolving a name and opening a socket may take in all.
    pub dial_timeout: Duration,
    /// How long the handshakes of proxy, TLS and WebSocket may take in all.
    pub handshake_timeout: Duration,
    /// The largest packet that the session takes, in bytes: its
    /// [`maximum_packet_size`](martlet_session::Config::maximum_packet_size).
    pub maximum_packet_size: u32,
    /// Makes the waits between attempts differ from those of other clients.
    pub seed: u64,
}

impl LinkConfig {
    /// One server, and everything else at its default: the version is negotiated, nothing is
    /// prepared, dialling and handshakes may take 10 s each, and the seed is a new one each time.
    /// For a server with TLS, set `stack.tls` too.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoints: vec![endpoint],
            version: VersionChoice::Negotiate,
            connect: ConnectOptions::new(Version::V5),
            prepare_timeout: None,
            reconnect: Reconnect::default(),
            stack: StackConfig::default(),
            dial_timeout: PATIENCE,
            handshake_timeout: PATIENCE,
            maximum_packet_size: Config::default().maximum_packet_size,
            seed: random_seed(),
        }
    }
}

/// What happened to the connection, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// An attempt begins.
    Connecting(Endpoint),
    /// An attempt or a connection has ended.
    Disconnected {
        /// The reason.
        error: ConnectionError,
        /// When the next attempt begins; `None`: there will be none.
        retry_in: Option<Duration>,
    },
    /// The attempt or connection that has just ended did so by an error that does not go away by
    /// itself, and the policy says to try on: somebody should look after it. See
    /// [`Reaction::RetrySlowly`](crate::reconnect::Reaction::RetrySlowly).
    ErrorPersists {
        /// Whose error it is.
        endpoint: Endpoint,
        /// What is wrong.
        error: ConnectionError,
        /// How many times in a row it was seen.
        times: u32,
    },
}
