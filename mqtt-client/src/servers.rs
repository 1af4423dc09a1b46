//! The servers that a link may connect to: whose turn it is, and what is known of each.

use crate::link::VersionChoice;
use crate::reconnect::{Backoff, ends_client, is_permanent};
use martlet_proto::{BinaryData, ConnectReasonCode, DisconnectReasonCode, Utf8String, Version};
use martlet_session::{ConnectOptions, ConnectionError, Instant};
use martlet_transport::{Endpoint, Scheme};
use std::time::Duration;

/// How many servers that only the application has chosen are remembered.
const CHOSEN: usize = 16;

/// How many attempts in a row are made at once to find the version: silent twice, then the older one.
const AT_ONCE: u32 = 2;

/// All servers, and the one whose turn it is.
#[derive(Debug)]
pub(crate) struct Servers {
    version: VersionChoice,
    /// Those that are listed, then those that the application has chosen, the latest last.
    known: Vec<Server>,
    listed: usize,
    /// Whose turn it is, of those listed.
    current: usize,
    /// Another server that the current one has named for the time being; asked once.
    elsewhere: Option<Server>,
    /// To whom the application has sent this attempt instead.
    chosen: Option<usize>,
    /// How often in a row a server may refuse for good before it is left out.
    chances: u32,
    /// Server References in a row.
    followed: u32,
    /// Attempts in a row that were made at once to find the version.
    at_once: u32,
}

/// What is remembered of a server, as long as the process lives.
#[derive(Debug)]
struct Server {
    endpoint: Endpoint,
    identity: Identity,
    /// How often in a row it has refused for good.
    refusals: u32,
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
    /// Where it went.
    pub(crate) endpoint: &'a Endpoint,
    /// Whether bytes of MQTT had left.
    pub(crate) spoke: bool,
    /// Whether bytes of MQTT had come.
    pub(crate) heard: bool,
}

impl Identity {
    /// What the URI says, if it does.
    fn of(endpoint: &Endpoint) -> Option<Self> {
        let is_named = endpoint.user_name().is_some() || endpoint.password().is_some();
        is_named.then(|| Self::Uri(Box::new(endpoint.clone())))
    }
}

impl Server {
    fn new(endpoint: Endpoint, identity: Identity) -> Self {
        Self {
            endpoint,
            identity,
            refusals: 0,
            speaks_3_1_1: false,
            speaks_5: false,
            silent: 0,
            try_3_1_1: false,
        }
    }
}

impl Servers {
    /// `prepared`: the application prepares each attempt, and may do better after a refusal: only the second in a row is
    /// for good.
    ///
    /// # Panics
    /// Without a server.
    pub(crate) fn new(endpoints: Vec<Endpoint>, version: VersionChoice, prepared: bool) -> Self {
        assert!(!endpoints.is_empty(), "a link needs an endpoint");
        let server = |endpoint| {
            let identity = Identity::of(&endpoint).unwrap_or(Identity::Options);
            Server::new(endpoint, identity)
        };
        Self {
            version,
            listed: endpoints.len(),
            known: endpoints.into_iter().map(server).collect(),
            current: 0,
            elsewhere: None,
            chosen: None,
            chances: if prepared { 2 } else { 1 },
            followed: 0,
            at_once: 0,
        }
    }

    /// To whom this attempt goes.
    fn server(&self) -> &Server {
        match (self.chosen, &self.elsewhere) {
            (Some(chosen), _) => &self.known[chosen],
            (None, Some(elsewhere)) => elsewhere,
            (None, None) => &self.known[self.current],
        }
    }

    fn server_mut(&mut self) -> &mut Server {
        match (self.chosen, &mut self.elsewhere) {
            (Some(chosen), _) => &mut self.known[chosen],
            (None, Some(elsewhere)) => elsewhere,
            (None, None) => &mut self.known[self.current],
        }
    }

    /// The application has prepared the attempt, and sends it here. What comes of it is remembered of the server that is
    /// there, whose ever turn it is.
    pub(crate) fn choose(&mut self, endpoint: &Endpoint) {
        if is_same(self.endpoint(), endpoint) {
            return;
        }
        let known = self.known.iter().position(|server| is_same(&server.endpoint, endpoint));
        self.chosen = known.or_else(|| {
            if self.known.len() == self.listed + CHOSEN {
                self.known.remove(self.listed);
            }
            let identity = Identity::of(endpoint).unwrap_or_else(|| self.server().identity.clone());
            self.known.push(Server::new(endpoint.clone(), identity));
            Some(self.known.len() - 1)
        });
    }

    /// Where the server is to which this attempt goes, or the next.
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
        let wait = self.find_next(now, end, backoff);
        self.chosen = None;
        wait
    }

    fn find_next(&mut self, now: Instant, end: &End<'_>, backoff: &mut Backoff) -> Option<Duration> {
        if self.fall_back(end) {
            return Some(Duration::ZERO);
        }
        if backoff.ended(now) {
            self.followed = 0;
            self.server_mut().refusals = 0;
        }
        if ends_client(end.error) {
            return None;
        }
        if self.refer(end, backoff) {
            return Some(Duration::ZERO);
        }
        let chances = self.chances;
        if is_permanent(end.error) {
            let server = self.server_mut();
            server.refusals += 1;
            if server.refusals >= chances && self.chosen.is_some() {
                // Another turn would not keep the application from choosing it again.
                return None;
            }
        }
        self.elsewhere = None;
        let mut in_turn = (1..=self.listed).map(|step| (self.current + step) % self.listed);
        let next = in_turn.find(|&index| self.known[index].refusals < chances)?;
        let wait = backoff.retry(next > self.current)?;
        if !wait.is_zero() {
            self.followed = 0;
        }
        self.current = next;
        Some(wait)
    }

    /// Whether to try again at once, perhaps with 3.1.1.
    fn fall_back(&mut self, end: &End<'_>) -> bool {
        let is_newest = self.version == VersionChoice::Negotiate && self.version() == Version::V5;
        let server = self.server_mut();
        if !is_newest {
            server.try_3_1_1 = false;
            self.at_once = 0;
            return false;
        }
        let refused = matches!(end.error, ConnectionError::Refused(refusal)
            if refusal.reason == ConnectReasonCode::UnsupportedProtocolVersion);
        let silent =
            *end.error == ConnectionError::ClosedByPeer && end.spoke && !end.heard && !server.speaks_5;
        server.silent = if silent { server.silent + 1 } else { 0 };
        server.try_3_1_1 = refused || server.silent >= 2;
        // Once silent, the same is asked again at once; twice, with the older version.
        self.at_once = if refused || silent { self.at_once + 1 } else { 0 };
        // More only where the application goes to another server each time.
        (1..=AT_ONCE).contains(&self.at_once)
    }

    /// Whether the server has named another one, and that one is asked.
    fn refer(&mut self, end: &End<'_>, backoff: &Backoff) -> bool {
        let (reference, moved) = match end.error {
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
        let Ok(other) = end.endpoint.referred(reference.as_str()) else { return false };
        let is_known = other.host() == end.endpoint.host() || policy.credentials_elsewhere;
        let other = if is_known {
            Server::new(other, self.server().identity.clone())
        } else {
            // Tokens stand in queries, too.
            Server::new(other.without_query(), Identity::Nobody)
        };
        self.followed += 1;
        if moved && self.elsewhere.is_none() && self.chosen.is_none() {
            self.known[self.current] = other;
        } else {
            self.elsewhere = Some(other);
        }
        true
    }
}

/// Whether the same server is there, whatever is said to it.
fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    let is_same_file = one.scheme() != Scheme::Unix || one.path() == other.path();
    one.scheme() == other.scheme() && one.host() == other.host() && one.port() == other.port() && is_same_file
}
