//! The configuration of a link, and its events.

use crate::link::reconnect::{Reconnect, random_seed};
use crate::link::stage::StackConfig;
use martlet_proto::Version;
use martlet_session::{ConnectOptions, ConnectionError};
#[cfg(feature = "tls")]
use martlet_transport::TlsConfig;
use martlet_transport::{Endpoint, ProxyUri};
use std::time::Duration;

/// How long dialling may take, and the handshakes after it, unless somebody says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which version to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionChoice {
    /// This one.
    Fixed(Version),
    /// MQTT 5 first, and 3.1.1 at once for a server that does not speak it: it rejects the level,
    /// its CONNACK cannot be read as one of MQTT 5, it does not answer the CONNECT in time, or it
    /// twice closes the connection after CONNECT without a byte. What a server accepted is
    /// remembered for later connections to it.
    Negotiate,
}

/// The configuration of a [`Link`](crate::embedded::Link).
#[derive(Debug, Clone)]
pub struct LinkConfig {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) version: VersionChoice,
    pub(crate) connect: ConnectOptions,
    pub(crate) prepare_timeout: Option<Duration>,
    pub(crate) reconnect: Reconnect,
    pub(crate) stack: StackConfig,
    pub(crate) dial_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) seed: u64,
}

impl LinkConfig {
    /// One server, and everything else at its default: the version is negotiated, nothing is
    /// prepared, dialling and handshakes may take 10 s each, and the seed is a new one each time.
    /// For a server with TLS, set [`tls`](Self::tls) too.
    pub fn new(server: Endpoint) -> Self {
        Self {
            endpoints: vec![server],
            version: VersionChoice::Negotiate,
            connect: ConnectOptions::new(Version::V5),
            prepare_timeout: None,
            reconnect: Reconnect::default(),
            stack: StackConfig::default(),
            dial_timeout: PATIENCE,
            handshake_timeout: PATIENCE,
            seed: random_seed(),
        }
    }

    /// Adds a server to fail over to. They are tried in turn.
    #[must_use]
    pub fn server(mut self, server: Endpoint) -> Self {
        self.endpoints.push(server);
        self
    }

    /// Sets which version to speak. Default: [`VersionChoice::Negotiate`].
    #[must_use]
    pub fn version(mut self, version: VersionChoice) -> Self {
        self.version = version;
        self
    }

    /// Sets what each CONNECT says. Its version is the link's to set, and its credentials are the
    /// endpoint's when that has any. Default: nothing.
    #[must_use]
    pub fn connect(mut self, connect: ConnectOptions) -> Self {
        self.connect = connect;
        self
    }

    /// Sets that each attempt is prepared first, with
    /// [`Link::poll_prepare`](crate::embedded::Link::poll_prepare), and how long that may take.
    /// Default: it is not.
    #[must_use]
    pub fn prepare_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.prepare_timeout = timeout.into();
        self
    }

    /// Sets when to try again.
    #[must_use]
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.reconnect = policy;
        self
    }

    /// Sets the proxy that sockets are opened to. Unix sockets are opened without it. Default:
    /// none.
    #[must_use]
    pub fn proxy(mut self, proxy: ProxyUri) -> Self {
        self.stack.proxy = Some(proxy);
        self
    }

    /// Sets the configuration of TLS. Default: none; servers that need it then fail.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: TlsConfig) -> Self {
        self.stack.tls = Some(Ok(config));
        self
    }

    /// Adds a header to the request that begins a WebSocket connection. With an invalid one, or one
    /// that the handshake sets itself, each attempt fails.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.stack.headers.push((name.into(), value.into()));
        self
    }

    /// Sets how long resolving a name and opening a socket may take in all. Default: 10 s.
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// Sets how long the handshakes of proxy, TLS and WebSocket may take in all. Default: 10 s.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets what makes the waits between attempts differ from those of other clients. Default: a
    /// new one each time.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
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
        reason: ConnectionError,
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
