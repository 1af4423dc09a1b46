//! The servers that a link may connect to: whose turn it is, and what is known of each.

use crate::link::VersionChoice;
use crate::reconnect::{Backoff, ends_client, is_permanent};
use martlet_proto::{BinaryData, ConnectReasonCode, DisconnectReasonCode, Utf8String, Version};
use martlet_session::{ConnectOptions, ConnectionError, Instant};
use martlet_transport::Endpoint;
use std::time::Duration;

/// All servers, and the one whose turn it is.
#[derive(Debug)]
pub(crate) struct Servers {
    version: VersionChoice,
    list: Vec<Server>,
    current: usize,
    /// Another server that the current one has named for the time being; asked once.
    elsewhere: Option<Server>,
    /// Server References in a row.
    followed: u32,
}

/// What is remembered of a server, as long as the process lives.
#[derive(Debug)]
struct Server {
    endpoint: Endpoint,
    identity: Identity,
    /// It has made up its mind, and is not asked again.
    left_out: bool,
    speaks_3_1_1: bool,
    /// It has accepted MQTT 5: when it is silent later, that is not for the version.
    speaks_5: bool,
    /// Connections in a row that ended after CONNECT without a byte.
    silent: u32,
    /// Try 3.1.1 next, for one connection.
    try_3_1_1: bool,
}

/// Who we are to a server.
#[derive(Debug, Clone)]
enum Identity {
    /// As the CONNECT's options say.
    Options,
    /// As the URI said.
    Uri(Box<Endpoint>),
    /// It has not to do with us, only somebody said that it has.
    Nobody,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) struct End<'a> {
    pub(crate) error: &'a ConnectionError,
    /// Whether bytes of MQTT had left.
    pub(crate) spoke: bool,
    /// Whether bytes of MQTT had come.
    pub(crate) heard: bool,
}

impl Server {
    fn new(endpoint: Endpoint, identity: Identity) -> Self {
        Self {
            endpoint,
            identity,
            left_out: false,
            speaks_3_1_1: false,
            speaks_5: false,
            silent: 0,
            try_3_1_1: false,
        }
    }
}

impl Servers {
    /// # Panics
    /// Without a server.
    pub(crate) fn new(endpoints: Vec<Endpoint>, version: VersionChoice) -> Self {
        assert!(!endpoints.is_empty(), "a link needs an endpoint");
        let server = |endpoint: Endpoint| {
            let named = endpoint.user_name().is_some() || endpoint.password().is_some();
            let identity = if named { Identity::Uri(Box::new(endpoint.clone())) } else { Identity::Options };
            Server::new(endpoint, identity)
        };
        let list = endpoints.into_iter().map(server).collect();
        Self { version, list, current: 0, elsewhere: None, followed: 0 }
    }

    fn server(&self) -> &Server {
        self.elsewhere.as_ref().unwrap_or(&self.list[self.current])
    }

    fn server_mut(&mut self) -> &mut Server {
        self.elsewhere.as_mut().unwrap_or(&mut self.list[self.current])
    }

    /// Where the server is whose turn it is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.server().endpoint
    }

    /// Whether it is to learn nothing of who we are: another server has named it.
    pub(crate) fn is_stranger(&self) -> bool {
        matches!(self.server().identity, Identity::Nobody)
    }

    /// The version to speak with it.
    pub(crate) fn version(&self) -> Version {
        let server = self.server();
        match self.version {
            VersionChoice::Fixed(version) => version,
            VersionChoice::Negotiate if server.speaks_3_1_1 || server.try_3_1_1 => Version::V3_1_1,
            VersionChoice::Negotiate => Version::V5,
        }
    }

    /// What the CONNECT to it says.
    pub(crate) fn connect(&self, options: &ConnectOptions) -> ConnectOptions {
        let mut connect = options.clone();
        connect.version = self.version();
        let (user_name, password) = match &self.server().identity {
            Identity::Options => return connect,
            Identity::Uri(uri) => (uri.user_name(), uri.password()),
            Identity::Nobody => (None, None),
        };
        // Checked by `Endpoint::parse`.
        connect.user_name = user_name.and_then(|name| Utf8String::try_from(name).ok());
        connect.password = password.and_then(|password| BinaryData::try_from(password).ok());
        connect
    }

    /// It has accepted the connection.
    pub(crate) fn accepted(&mut self) {
        let version = self.version();
        let server = self.server_mut();
        server.speaks_3_1_1 = version == Version::V3_1_1 && !server.speaks_5;
        server.speaks_5 |= version == Version::V5;
    }

    /// An attempt or a connection has ended: whom to ask next, and how long to wait before; `None`: nobody is left.
    pub(crate) fn ended(&mut self, now: Instant, end: &End<'_>, backoff: &mut Backoff) -> Option<Duration> {
        if self.fall_back(end) {
            return Some(Duration::ZERO);
        }
        if backoff.ended(now) {
            self.followed = 0;
        }
        if ends_client(end.error) {
            return None;
        }
        if self.refer(end.error, backoff) {
            return Some(Duration::ZERO);
        }
        if self.elsewhere.take().is_none() && is_permanent(end.error) {
            self.list[self.current].left_out = true;
        }
        let count = self.list.len();
        let mut in_turn = (1..=count).map(|step| (self.current + step) % count);
        let next = in_turn.find(|&index| !self.list[index].left_out)?;
        let wait = backoff.retry(next > self.current)?;
        if !wait.is_zero() {
            self.followed = 0;
        }
        self.current = next;
        Some(wait)
    }

    /// Whether to try this server again at once, perhaps with 3.1.1.
    fn fall_back(&mut self, end: &End<'_>) -> bool {
        let is_newest = self.version == VersionChoice::Negotiate && self.version() == Version::V5;
        let server = self.server_mut();
        if !is_newest {
            server.try_3_1_1 = false;
            return false;
        }
        let refused = matches!(end.error, ConnectionError::Refused(refusal)
            if refusal.reason == ConnectReasonCode::UnsupportedProtocolVersion);
        let silent =
            *end.error == ConnectionError::ClosedByPeer && end.spoke && !end.heard && !server.speaks_5;
        server.silent = if silent { server.silent + 1 } else { 0 };
        server.try_3_1_1 = refused || server.silent >= 2;
        // Once silent, the same is asked again at once; twice, with the older version.
        refused || silent
    }

    /// Whether the server has named another one, and that one is asked.
    fn refer(&mut self, error: &ConnectionError, backoff: &Backoff) -> bool {
        let (reference, moved) = match error {
            ConnectionError::Refused(refusal) => match refusal.reason {
                ConnectReasonCode::UseAnotherServer => (&refusal.server_reference, false),
                ConnectReasonCode::ServerMoved => (&refusal.server_reference, true),
                _ => return false,
            },
            ConnectionError::DisconnectedByPeer(farewell) => match farewell.reason {
                DisconnectReasonCode::UseAnotherServer => (&farewell.server_reference, false),
                DisconnectReasonCode::ServerMoved => (&farewell.server_reference, true),
                _ => return false,
            },
            _ => return false,
        };
        let policy = backoff.policy();
        let Some(reference) = reference else { return false };
        if self.followed >= policy.server_references {
            return false;
        }
        let Server { endpoint, identity, .. } = self.server();
        let Ok(other) = endpoint.referred(reference.as_str()) else { return false };
        let is_known = other.host() == endpoint.host() || policy.credentials_elsewhere;
        let other = if is_known {
            Server::new(other, identity.clone())
        } else {
            // Tokens stand in queries, too.
            Server::new(other.without_query(), Identity::Nobody)
        };
        self.followed += 1;
        if moved && self.elsewhere.is_none() {
            self.list[self.current] = other;
        } else {
            self.elsewhere = Some(other);
        }
        true
    }
}
