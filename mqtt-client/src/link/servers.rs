//! The servers that a link may connect to: whose turn it is, and what is known of each.

use crate::link::config::VersionChoice;
use crate::link::reconnect::{Backoff, NextTry, Reaction};
use martlet_proto::{BinaryData, ConnectReasonCode, DisconnectReasonCode, Utf8String, Version};
use martlet_session::ErrorClass;
use martlet_session::{ConnectOptions, ConnectionError, Instant, Instead, TransportErrorKind};
use martlet_transport::{Endpoint, Scheme};
use std::time::Duration;

/// How many servers that only the application has chosen are remembered.
const CHOSEN: usize = 16;

/// How many attempts in a row are made at once to find the version: closed twice without a byte,
/// then the older one.
const AT_ONCE: u32 = 2;

/// From this number of protocol errors in a row on they are reported as such.
const PERSISTENT: u32 = 3;

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
    /// How often in a row a server may reject permanently before the reaction to that follows.
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
    /// Permanent errors in a row.
    rejections: u32,
    rest: Rest,
    speaks_3_1_1: bool,
    /// It has accepted MQTT 5: when it is silent later, that is not for the version.
    speaks_5: bool,
    /// Connections in a row with MQTT 5 that the server closed after CONNECT without a byte. Where
    /// that alone was the reason to try 3.1.1, the server may have been starting, and each
    /// connection begins with MQTT 5 again: one more that it closes leads to 3.1.1 at once.
    closed: u32,
    /// Try 3.1.1 next, for one connection.
    try_3_1_1: bool,
}

/// Whether a server has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    No,
    /// It comes after this time, after a permanent error.
    Until(Instant),
    /// The policy says to stop.
    ForGood,
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
pub(crate) struct EndedConnection<'a> {
    pub(crate) error: &'a ConnectionError,
    /// Where it went.
    pub(crate) endpoint: &'a Endpoint,
    /// Whether bytes of MQTT had left.
    pub(crate) spoke: bool,
    /// Whether bytes of MQTT had come.
    pub(crate) heard: bool,
    /// Whether a message or an acknowledgement had come.
    pub(crate) delivered: bool,
    /// Whether the CONNACK had the form that it has before MQTT 5.
    pub(crate) in_old_form: bool,
}

/// What follows.
#[derive(Debug, Default)]
pub(crate) struct Next {
    /// How long to wait before the next attempt; `None`: nobody is left.
    pub(crate) retry_in: Option<Duration>,
    /// How many times in a row the error has come, if it does not go away by itself.
    pub(crate) persists: Option<u32>,
}

/// Whom to ask after the end of an attempt or a connection.
enum Step {
    /// The same server, at once, perhaps in an older version.
    SameServer,
    /// The server that this one has named, at once.
    ServerNamed,
    /// The next of those listed.
    NextListed,
    /// Nobody.
    Stop,
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
            rejections: 0,
            rest: Rest::No,
            speaks_3_1_1: false,
            speaks_5: false,
            closed: 0,
            try_3_1_1: false,
        }
    }
}

impl Servers {
    /// `prepared`: the application prepares each attempt, and may do better after a permanent
    /// error: only the second in a row counts as one.
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

    /// All are asked again.
    pub(crate) fn revive(&mut self) {
        for server in &mut self.known {
            (server.rejections, server.rest) = (0, Rest::No);
        }
        (self.current, self.elsewhere, self.chosen) = (0, None, None);
        (self.followed, self.at_once) = (0, 0);
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

    /// The application has prepared the attempt, and sends it here. What comes of it is remembered
    /// of the server that is there, whose ever turn it is.
    pub(crate) fn choose(&mut self, endpoint: &Endpoint) {
        if is_same(self.endpoint(), endpoint) {
            return;
        }
        let known = self
            .known
            .iter()
            .position(|server| is_same(&server.endpoint, endpoint));
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
        let connect = options.clone().version(self.version());
        let (user_name, password) = match &self.server().identity {
            Identity::Options => return connect,
            Identity::Uri(uri) => (uri.user_name(), uri.password()),
            Identity::Nobody => (None, None),
        };
        // Checked by `Endpoint::parse`.
        connect
            .user_name(user_name.and_then(|name| Utf8String::try_from(name).ok()))
            .password(password.and_then(|password| BinaryData::try_from(password).ok()))
    }

    /// It has accepted the connection.
    pub(crate) fn accepted(&mut self, now: Instant, backoff: &mut Backoff) {
        let version = self.version();
        let server = self.server_mut();
        let is_guess = server.closed > 0;
        server.speaks_3_1_1 = version == Version::V3_1_1 && !server.speaks_5 && !is_guess;
        server.speaks_5 |= version == Version::V5;
        server.rest = Rest::No;
        // What was final before the first connection may not be after it.
        if backoff.reaction(ErrorClass::Permanent) != Reaction::Stop {
            for server in &mut self.known {
                if server.rest == Rest::ForGood {
                    server.rest = Rest::Until(now + backoff.longest());
                }
            }
        }
    }

    /// An attempt or a connection has ended: whom to ask next, and when.
    pub(crate) fn ended(
        &mut self,
        now: Instant,
        end: &EndedConnection<'_>,
        backoff: &mut Backoff,
    ) -> Next {
        let class = ErrorClass::of(end.error);
        let next = match self.step(now, end, class, backoff) {
            Step::SameServer | Step::ServerNamed => Next {
                retry_in: Some(Duration::ZERO),
                persists: None,
            },
            Step::NextListed => self.ask_next_listed(now, class, backoff),
            Step::Stop => Next::default(),
        };
        self.chosen = None;
        next
    }

    fn step(
        &mut self,
        now: Instant,
        end: &EndedConnection<'_>,
        class: ErrorClass,
        backoff: &mut Backoff,
    ) -> Step {
        if *end.error == ConnectionError::Replaced {
            // No failure: the application wants another connection.
            backoff.ended(now, ErrorClass::Transient, end.delivered);
            return Step::SameServer;
        }
        if self.fall_back(end) {
            return Step::SameServer;
        }
        if backoff.ended(now, class, end.delivered) {
            self.followed = 0;
            self.server_mut().rejections = 0;
        }
        match end.error {
            ConnectionError::ClosedHere | ConnectionError::Configuration(_) => Step::Stop,
            _ if self.refer(end, backoff) => Step::ServerNamed,
            _ => Step::NextListed,
        }
    }

    fn ask_next_listed(&mut self, now: Instant, class: ErrorClass, backoff: &mut Backoff) -> Next {
        let (reaction, times) = self.react(class, backoff);
        let is_slow = reaction == Reaction::RetrySlowly;
        // A server that only the application has chosen has no turn that it could be left out of.
        let has_turn = class == ErrorClass::Permanent && self.chosen.is_none();
        let mut wait = None;
        if has_turn {
            self.server_mut().rest = match reaction {
                Reaction::Stop => Rest::ForGood,
                Reaction::RetrySlowly => Rest::Until(now + backoff.longest()),
                Reaction::Retry => Rest::No,
            };
        } else if reaction == Reaction::Stop {
            return Next::default();
        } else if is_slow {
            wait = Some(backoff.longest());
        }
        self.elsewhere = None;
        let Some((next, turn)) = self.next_turn(now, wait) else {
            return Next::default();
        };
        let Some(retry_in) = backoff.retry(turn) else {
            return Next::default();
        };
        if !retry_in.is_zero() {
            self.followed = 0;
        }
        self.current = next;
        let persists = is_slow || (class == ErrorClass::Protocol && times >= PERSISTENT);
        Next {
            retry_in: Some(retry_in),
            persists: persists.then_some(times),
        }
    }

    /// What follows an error of this class, and how often in a row it has come.
    fn react(&mut self, class: ErrorClass, backoff: &Backoff) -> (Reaction, u32) {
        let reaction = backoff.reaction(class);
        if class != ErrorClass::Permanent {
            return (reaction, backoff.broken());
        }
        let chances = self.chances;
        let server = self.server_mut();
        server.rejections = server.rejections.saturating_add(1);
        if server.rejections < chances {
            return (Reaction::Retry, server.rejections);
        }
        (reaction, server.rejections)
    }

    /// Which of the listed servers is next, and when: the first in turn that does not rest, or else
    /// the one that rests the shortest. `slow`: all wait for so long.
    fn next_turn(&self, now: Instant, slow: Option<Duration>) -> Option<(usize, NextTry)> {
        let in_turn = || (1..=self.listed).map(|step| (self.current + step) % self.listed);
        let is_up = |&index: &usize| match self.known[index].rest {
            Rest::No => true,
            Rest::Until(at) => at <= now,
            Rest::ForGood => false,
        };
        if let Some(next) = in_turn().find(is_up) {
            let turn = match slow {
                Some(wait) => NextTry::After(wait),
                None if next > self.current => NextTry::AtOnce,
                None => NextTry::Backoff,
            };
            return Some((next, turn));
        }
        let until = |index: usize| match self.known[index].rest {
            Rest::Until(at) => Some((index, at)),
            Rest::No | Rest::ForGood => None,
        };
        let (next, at) = in_turn().filter_map(until).min_by_key(|&(_, at)| at)?;
        Some((next, NextTry::After(at.saturating_duration_since(now))))
    }

    /// Whether to try again at once, perhaps with 3.1.1.
    fn fall_back(&mut self, end: &EndedConnection<'_>) -> bool {
        let is_newest = self.version == VersionChoice::Negotiate && self.version() == Version::V5;
        let server = self.server_mut();
        if !is_newest {
            server.try_3_1_1 = false;
            self.at_once = 0;
            return false;
        }
        let denied = match end.error {
            ConnectionError::Rejected(rejection) => {
                rejection.reason == ConnectReasonCode::UnsupportedProtocolVersion || end.in_old_form
            }
            ConnectionError::NoConnAck {
                instead: Instead::Unreadable(_),
                ..
            } => true,
            // A server that has spoken it before is silent for another reason.
            ConnectionError::NoConnAck {
                instead: Instead::Silence,
                ..
            } => !server.speaks_5,
            _ => false,
        };
        let is_cut = match end.error {
            ConnectionError::ClosedByPeer => true,
            ConnectionError::Transport(error) => error.kind() == TransportErrorKind::Io,
            _ => false,
        };
        let closed = is_cut && end.spoke && !end.heard && !server.speaks_5;
        server.closed = if closed { server.closed + 1 } else { 0 };
        server.try_3_1_1 = denied || server.closed >= 2;
        // Once closed, the same is asked again at once; twice, with the older version.
        self.at_once = if denied || closed {
            self.at_once + 1
        } else {
            0
        };
        // More only where the application goes to another server each time.
        (1..=AT_ONCE).contains(&self.at_once)
    }

    /// Whether the server has named another one, and that one is asked.
    fn refer(&mut self, end: &EndedConnection<'_>, backoff: &Backoff) -> bool {
        let (reference, moved) = match end.error {
            ConnectionError::Rejected(rejection) => match rejection.reason {
                ConnectReasonCode::UseAnotherServer => (&rejection.server_reference, false),
                ConnectReasonCode::ServerMoved => (&rejection.server_reference, true),
                _ => return false,
            },
            ConnectionError::DisconnectedByPeer(disconnect) => match disconnect.reason {
                DisconnectReasonCode::UseAnotherServer => (&disconnect.server_reference, false),
                DisconnectReasonCode::ServerMoved => (&disconnect.server_reference, true),
                _ => return false,
            },
            _ => return false,
        };
        let policy = backoff.policy();
        let Some(reference) = reference else {
            return false;
        };
        if self.followed >= policy.server_references {
            return false;
        }
        let Ok(other) = end.endpoint.referred(reference.as_str()) else {
            return false;
        };
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
    one.scheme() == other.scheme()
        && (one.host(), one.zone(), one.port()) == (other.host(), other.zone(), other.port())
        && is_same_file
}
