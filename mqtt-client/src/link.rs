//! The link: everything between a session and a socket, still without I/O.
//!
//! ```text
//!            poll_dial          handle_dialed             handshakes done          exchange
//!   Waiting ──────────► Dialing ─────────────► Handshaking ───────────────► Opening ────────► Up
//!      ▲                   │          plain TCP ──────┼──────────────────────────▲             │
//!      │                   │ failed                   │ failed        eof, error, refusal      │ poll_close
//!      │                   ▼                          ▼                          ▼             ▼
//!      └── retry ─────── Lost ◄───────────────────────┴──────────────────────────┴───────── Closing
//!                          └── nobody left to ask, budget spent, disconnect() ──► Stopped
//! ```
//!
//! Where the application prepares each attempt, `poll_prepare` and `handle_prepared` come before `poll_dial`.

use crate::dial::Target;
use crate::events::ClientEvent;
use crate::hooks::Attempt;
use crate::intake::Intake;
use crate::observer::{Observer, Trace};
use crate::reconnect::{Backoff, Reconnect, random_seed};
use crate::servers::{End, Servers};
use crate::stage::{self, StackConfig, Stage};
use bytes::Buf;
use martlet_proto::Version;
use martlet_session::{
    Awaited, Config, ConnectOptions, ConnectionError, GivenUp, Instant, SendBuffer, Session, TransportError,
    TransportErrorKind,
};
use martlet_transport::Endpoint;
use std::collections::VecDeque;
use std::time::Duration;

/// How long the last bytes of a connection, and the server's end of it, are waited for.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// Output that the socket has not taken, above which the session is not asked for more.
const ENOUGH: usize = 64 * 1024;

/// How long dialling may take, and the handshakes after it, unless somebody says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Which version to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionChoice {
    /// This one.
    Fixed(Version),
    /// MQTT 5 first, and 3.1.1 at once when the server refuses the level or twice closes after CONNECT without a byte.
    /// What a server accepted is remembered for later connections to it.
    Negotiate,
}

/// What a [`Link`] is told once.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// The servers, tried in turn.
    pub endpoints: Vec<Endpoint>,
    /// Which version to speak.
    pub version: VersionChoice,
    /// What each CONNECT says; its version is set by the link, its credentials by the endpoint when that has any.
    pub connect: ConnectOptions,
    /// Whether each attempt is prepared first, with [`Link::poll_prepare`], and how long that may take.
    pub prepare_timeout: Option<Duration>,
    /// When to try again.
    pub reconnect: Reconnect,
    /// What stands between the socket and MQTT beside what the endpoints' schemes say.
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
    /// One server, and everything else at its default: the version is negotiated, nothing is prepared, dialling and
    /// handshakes may take 10 s each, and the seed is a new one each time. For a server with TLS, set `stack.tls` too.
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

/// Transport, reconnect policy and buffers between a [`Session`] and a socket; not the session itself. Its steps
/// alternate: [`handle_wire`](Self::handle_wire) takes in bytes from the socket and opens them, through TLS and
/// WebSocket where there are any; [`exchange`](Self::exchange) moves plain bytes between link and session;
/// [`poll_wire`](Self::poll_wire) seals bytes for the socket. Only `exchange` needs the session; it does no I/O and no
/// encryption. Plain TCP is a straight pass without a copy.
pub struct Link {
    config: LinkConfig,
    servers: Servers,
    backoff: Backoff,
    /// Which attempt since the last connection this is, or the next will be.
    attempt: u32,
    last_error: Option<ConnectionError>,
    /// This attempt, as the application has prepared it.
    prepared: Option<Box<Attempt>>,
    phase: Phase,
    /// Proxy, TLS and WebSocket of the connection, where it has any.
    stage: Option<Box<Stage>>,
    /// Plain bytes for the session.
    input: Intake,
    /// Bytes have come since the last exchange.
    fresh: bool,
    /// Any byte of MQTT has come on this connection.
    heard: bool,
    /// Any byte of MQTT has left on this connection.
    spoke: bool,
    session_wants_input: bool,
    /// Plain bytes of the session.
    output: SendBuffer,
    /// What a lost connection did not write. Payloads are the application's: they are dropped where no session is
    /// locked.
    unwritten: SendBuffer,
    /// When the socket must have taken something.
    write_deadline: Option<Instant>,
    write_timeout: Option<Duration>,
    connected: bool,
    trace: Option<Trace>,
    events: VecDeque<LinkEvent>,
}

#[derive(Debug)]
enum Phase {
    Waiting(Instant),
    /// The application prepares the attempt.
    Preparing(Instant),
    /// `poll_dial` has not been asked yet.
    Dial,
    Dialing(Instant),
    Handshaking(Instant),
    Opening,
    Up,
    Closing {
        deadline: Instant,
        error: ConnectionError,
    },
    Lost(ConnectionError),
    Stopped(ConnectionError),
}

/// What happened to the connection, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// An attempt begins.
    Connecting(Endpoint),
    /// An attempt or a connection has ended.
    Disconnected {
        /// Why.
        error: ConnectionError,
        /// When the next attempt begins; `None`: there will be none.
        retry_in: Option<Duration>,
    },
}

impl Link {
    /// A link that dials at once.
    ///
    /// # Panics
    /// Without an endpoint.
    pub fn new(mut config: LinkConfig) -> Self {
        let endpoints = std::mem::take(&mut config.endpoints);
        Self {
            servers: Servers::new(endpoints, config.version, config.prepare_timeout.is_some()),
            backoff: Backoff::new(config.reconnect, config.seed),
            attempt: 1,
            last_error: None,
            prepared: None,
            phase: Phase::Dial,
            stage: None,
            input: Intake::default(),
            fresh: false,
            heard: false,
            spoke: false,
            session_wants_input: true,
            output: SendBuffer::new(),
            unwritten: SendBuffer::new(),
            write_deadline: None,
            write_timeout: None,
            connected: false,
            trace: None,
            events: VecDeque::new(),
            config,
        }
    }

    /// Shows every packet to `observer`.
    pub fn set_observer(&mut self, observer: Box<dyn Observer + Send>) {
        self.trace = Some(Trace::new(observer));
    }

    /// Shows an event of the client to the observer, if there is one.
    pub(crate) fn show(&mut self, at: Instant, event: &ClientEvent) {
        if let Some(trace) = &mut self.trace {
            trace.event(at, event);
        }
    }

    pub(crate) fn has_observer(&self) -> bool {
        self.trace.is_some()
    }

    /// Whether the observer has panicked since the last question.
    pub(crate) fn observer_has_panicked(&mut self) -> bool {
        self.trace.as_mut().is_some_and(Trace::has_panicked)
    }

    // ---- getters

    /// Why the link will not dial again, once that is so.
    pub fn stopped(&self) -> Option<&ConnectionError> {
        match &self.phase {
            Phase::Stopped(error) => Some(error),
            _ => None,
        }
    }

    /// Which attempt is under way or about to begin: 1 is the first of all, and the first after a connection.
    pub fn connecting(&self) -> Option<u32> {
        let connecting = match self.phase {
            Phase::Preparing(_)
            | Phase::Dial
            | Phase::Dialing(_)
            | Phase::Handshaking(_)
            | Phase::Opening => true,
            Phase::Up => !self.connected,
            Phase::Waiting(_) | Phase::Closing { .. } | Phase::Lost(_) | Phase::Stopped(_) => false,
        };
        connecting.then_some(self.attempt)
    }

    /// Whether there should be a socket; when it turns false, drop it.
    pub fn has_socket(&self) -> bool {
        matches!(self.phase, Phase::Handshaking(_) | Phase::Opening | Phase::Up | Phase::Closing { .. })
    }

    /// Whether the application is preparing an attempt; when it turns false, its answer is not wanted any more.
    pub fn is_preparing(&self) -> bool {
        matches!(self.phase, Phase::Preparing(_))
    }

    /// Whether a dial is under way; when it turns false, drop it.
    pub fn is_dialing(&self) -> bool {
        matches!(self.phase, Phase::Dialing(_))
    }

    /// Whether the socket should be read.
    pub fn wants_wire(&self) -> bool {
        self.has_socket() && self.session_wants_input
    }

    /// Whether the connection is ending: when [`poll_wire`](Self::poll_wire) has nothing left, shut down the socket's
    /// sending side, and go on reading until its end.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// The version that the current connection speaks.
    pub fn version(&self) -> Version {
        self.servers.version()
    }

    /// Whether the socket has taken everything.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty() && self.stage.as_ref().is_none_or(|stage| stage.outgoing().is_empty())
    }

    /// Whether the connection has failed, and [`exchange`](Self::exchange) is to be told. Until then
    /// [`poll_wire`](Self::poll_wire) may still have what TLS and WebSocket tell the server about it: write it if the
    /// socket takes it at once.
    pub fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Lost(_))
    }

    // ---- handlers

    /// The attempt that [`poll_prepare`](Self::poll_prepare) gave is ready, or there will be none.
    pub fn handle_prepared(&mut self, attempt: Result<Attempt, GivenUp>) {
        if self.is_preparing() {
            self.phase = match attempt {
                Ok(attempt) => {
                    self.servers.choose(attempt.endpoint());
                    self.prepared = Some(Box::new(attempt));
                    Phase::Dial
                }
                Err(why) => Phase::Lost(ConnectionError::GivenUp(why)),
            };
        }
    }

    /// The socket that [`poll_dial`](Self::poll_dial) asked for is open.
    pub fn handle_dialed(&mut self, now: Instant) {
        if !self.is_dialing() {
            return;
        }
        let LinkConfig { stack, maximum_packet_size, .. } = &self.config;
        let headers = match self.prepared.as_deref() {
            Some(attempt) => Some(attempt.headers().to_vec()),
            // They may hold a token.
            None => self.servers.is_stranger().then(Vec::new),
        };
        let other = headers.map(|headers| StackConfig { headers, ..stack.clone() });
        let stack = other.as_ref().unwrap_or(stack);
        self.phase = match Stage::new(stack, self.endpoint(), *maximum_packet_size) {
            Ok(None) => Phase::Opening,
            Ok(stage) => {
                self.stage = stage;
                Phase::Handshaking(now + self.config.handshake_timeout)
            }
            Err(error) => Phase::Lost(ConnectionError::Transport(error)),
        };
    }

    /// It could not be opened.
    pub fn handle_dial_failed(&mut self, error: TransportError) {
        if self.is_dialing() {
            self.phase = Phase::Lost(ConnectionError::Transport(error));
        }
    }

    /// Bytes have come from the socket.
    pub fn handle_wire(&mut self, now: Instant, bytes: &[u8]) {
        if !self.has_socket() || self.is_closing() {
            return;
        }
        let before = self.input.len();
        match &mut self.stage {
            None => match stage::not_plain(bytes).filter(|_| !self.heard) {
                Some(error) => self.phase = Phase::Lost(error),
                None => self.input.extend(bytes, self.servers.version(), self.config.maximum_packet_size),
            },
            Some(stage) => match stage.open(bytes, self.input.opened()) {
                Ok(()) if !matches!(self.phase, Phase::Handshaking(_)) => {}
                Ok(()) if !stage.is_open() => {}
                Ok(()) => self.phase = Phase::Opening,
                Err(error) => self.phase = Phase::Lost(error),
            },
        }
        if self.input.len() == before {
            return;
        }
        if let Some(trace) = &mut self.trace {
            let opened = self.stage.as_ref().map(|_| &self.input.opened()[before..]);
            trace.received(now, opened.unwrap_or(bytes));
        }
        self.fresh = true;
        self.heard = true;
    }

    /// The socket has ended, or failed.
    pub fn handle_eof(&mut self, error: Option<TransportError>) {
        match &self.phase {
            Phase::Handshaking(_) | Phase::Opening | Phase::Up => {
                let error = match (error, &mut self.stage) {
                    // What a handshake was waiting for says more than how the wait ended.
                    (Some(_), Some(stage)) if !stage.is_open() => stage.end(),
                    (Some(error), _) => ConnectionError::Transport(error),
                    (None, None) => ConnectionError::ClosedByPeer,
                    (None, Some(stage)) => stage.end(),
                };
                self.phase = Phase::Lost(error);
            }
            Phase::Closing { error, .. } => self.phase = Phase::Lost(error.clone()),
            _ => {}
        }
    }

    /// The socket has taken `n` bytes of what [`poll_wire`](Self::poll_wire) gave.
    pub fn handle_written(&mut self, now: Instant, n: usize) {
        if n == 0 {
            return;
        }
        match &mut self.stage {
            None => {
                if let Some(trace) = &mut self.trace {
                    trace.sent(now, &self.output, n);
                }
                self.output.advance(n);
                self.spoke = true;
            }
            Some(stage) => self.spoke |= stage.written(n),
        }
        self.write_deadline = self.write_timeout.filter(|_| !self.is_flushed()).map(|timeout| now + timeout);
    }

    /// The time is `now`. Early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.phase {
            Phase::Waiting(at) if *at <= now => self.phase = Phase::Dial,
            Phase::Preparing(deadline) if *deadline <= now => {
                self.phase = Phase::Lost(ConnectionError::Timeout(Awaited::Preparation));
            }
            Phase::Dialing(deadline) if *deadline <= now => {
                let text = format!("no connection to {} in {:?}", self.endpoint(), self.config.dial_timeout);
                let error = TransportError::new(TransportErrorKind::ConnectTimeout, text);
                self.phase = Phase::Lost(ConnectionError::Transport(error));
            }
            Phase::Handshaking(deadline) if *deadline <= now => {
                let handshake = self.stage.as_ref().map_or("no", |stage| stage.handshake());
                let (endpoint, timeout) = (self.endpoint(), self.config.handshake_timeout);
                let text = format!("the {handshake} handshake with {endpoint} was not done in {timeout:?}");
                let error = TransportError::new(TransportErrorKind::HandshakeTimeout, text);
                self.phase = Phase::Lost(ConnectionError::Transport(error));
            }
            Phase::Closing { deadline, error } if *deadline <= now => self.phase = Phase::Lost(error.clone()),
            Phase::Up if self.write_deadline.is_some_and(|at| at <= now) => {
                let error =
                    TransportError::new(TransportErrorKind::WriteTimeout, "the server takes no more bytes");
                self.phase = Phase::Lost(ConnectionError::Transport(error));
            }
            _ => {}
        }
    }

    /// Whether the socket should have taken something by now. Try it once more before the time is told: whoever looks
    /// late must not take a late look for a late peer.
    pub fn is_write_due(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Up) && self.write_deadline.is_some_and(|at| at <= now)
    }

    /// Moves plain bytes between the link and the session, and lets the session's time pass. Returns whether anything
    /// moved. Afterwards drain the session's events.
    pub fn exchange(&mut self, now: Instant, session: &mut Session) -> bool {
        let mut moved = false;
        self.handle_timeout(now);
        if matches!(self.phase, Phase::Opening) {
            if !session.wants_connection() {
                // The application has disconnected while the socket was being opened.
                self.phase = Phase::Lost(ConnectionError::ClosedHere);
            } else {
                self.open(now, session);
            }
            moved = true;
        }
        // Before time passes: what has arrived was not late, only looked at late.
        if self.fresh || (!self.input.is_empty() && session.wants_input()) {
            let before = self.input.len();
            self.input.give(now, session);
            moved |= self.fresh || self.input.len() != before;
            self.fresh = false;
        }
        if session.poll_timeout().is_some_and(|at| at <= now) {
            session.handle_timeout(now);
        }
        if session.is_connected() && !self.connected {
            self.connected = true;
            self.backoff.connected(now);
            self.servers.accepted();
            let has_keep_alive = session.limits().keep_alive > 0;
            self.write_timeout = has_keep_alive.then_some(session.config().ping_timeout);
        }
        if matches!(self.phase, Phase::Up | Phase::Closing { .. }) {
            moved |= self.transmit(now, session);
            if let Some(error) = session.poll_close() {
                // To a server that has said the last word there is nothing to tell, and a dead one hears nothing.
                let over = matches!(
                    error,
                    ConnectionError::Refused(_)
                        | ConnectionError::DisconnectedByPeer(_)
                        | ConnectionError::Timeout(Awaited::PingResp)
                );
                self.phase = if over {
                    Phase::Lost(error)
                } else {
                    Phase::Closing { deadline: now + FAREWELL, error }
                };
                moved = true;
            }
        }
        // When it turns true the socket is to be read, or nobody would learn of what comes.
        let wanted = std::mem::replace(&mut self.session_wants_input, session.wants_input());
        moved |= self.session_wants_input && !wanted;
        if matches!(self.phase, Phase::Lost(_)) {
            if !self.say_goodbye() {
                self.lose(now, session);
            }
            moved = true;
        }
        if !session.wants_connection() {
            self.stop();
        }
        // `poll_dial` has something to say.
        moved || matches!(self.phase, Phase::Dial)
    }

    fn open(&mut self, now: Instant, session: &mut Session) {
        if let Some(trace) = &mut self.trace {
            trace.open(self.servers.version());
        }
        let mut connect = match self.prepared.as_deref() {
            Some(attempt) => attempt.options().clone(),
            None => self.servers.connect(&self.config.connect),
        };
        connect.version = self.servers.version();
        self.phase = Phase::Up;
        session.handle_open(now, connect);
    }

    fn transmit(&mut self, now: Instant, session: &mut Session) -> bool {
        let mut moved = false;
        while self.output.len() < ENOUGH && session.poll_transmit(now, &mut self.output) > 0 {
            moved = true;
        }
        if moved && self.write_deadline.is_none() {
            self.write_deadline = self.write_timeout.map(|timeout| now + timeout);
        }
        moved
    }

    /// TLS and WebSocket say goodbye to a server that may still hear it, once. Returns whether they have: then
    /// [`poll_wire`](Self::poll_wire) has something before the connection is forgotten.
    fn say_goodbye(&mut self) -> bool {
        match (&self.phase, &mut self.stage) {
            (Phase::Lost(error), Some(stage)) => stage.say_goodbye(error),
            _ => false,
        }
    }

    /// The connection, or the attempt, is over.
    fn lose(&mut self, now: Instant, session: &mut Session) {
        let Phase::Lost(reason) = std::mem::replace(&mut self.phase, Phase::Dial) else { return };
        // What the session itself made of the last bytes says more than that they were the last.
        let error = session.poll_close().unwrap_or(reason);
        session.handle_close(now, error.clone());
        let retry_in = if !session.wants_connection() {
            None
        } else {
            let endpoint = self.endpoint().clone();
            let end = End { error: &error, endpoint: &endpoint, spoke: self.spoke, heard: self.heard };
            self.servers.ended(now, &end, &mut self.backoff)
        };
        self.attempt = if self.connected { 1 } else { self.attempt.saturating_add(1) };
        self.last_error = Some(error.clone());
        self.prepared = None;
        // The next connection begins with nothing. What comes before its CONNECT has left is its own already.
        self.stage = None;
        self.input = Intake::default();
        self.unwritten = std::mem::take(&mut self.output);
        self.fresh = false;
        self.heard = false;
        self.spoke = false;
        self.connected = false;
        self.session_wants_input = true;
        self.write_timeout = None;
        self.write_deadline = None;
        self.phase = match retry_in {
            Some(Duration::ZERO) => Phase::Dial,
            Some(wait) => Phase::Waiting(now + wait),
            None => Phase::Stopped(error.clone()),
        };
        self.events.push_back(LinkEvent::Disconnected { error, retry_in });
    }

    /// Stops dialling: the session was told to disconnect while there is no connection.
    fn stop(&mut self) {
        let is_ending = matches!(self.phase, Phase::Closing { .. } | Phase::Lost(_) | Phase::Stopped(_));
        if !is_ending && !matches!(self.phase, Phase::Opening | Phase::Up) {
            self.phase = Phase::Stopped(ConnectionError::ClosedHere);
            // The socket of a handshake is to be dropped, with what was to be written to it.
            self.stage = None;
            self.events
                .push_back(LinkEvent::Disconnected { error: ConnectionError::ClosedHere, retry_in: None });
        }
    }

    // ---- commands

    /// Makes the next attempt now, if it waits for its time.
    pub fn retry_now(&mut self) {
        if matches!(self.phase, Phase::Waiting(_)) {
            self.phase = Phase::Dial;
        }
    }

    // ---- polls

    /// Prepare this attempt to connect now, where the configuration says so, and tell the end with
    /// [`handle_prepared`](Self::handle_prepared).
    #[must_use = "the link waits for the attempt"]
    pub fn poll_prepare(&mut self, now: Instant) -> Option<Attempt> {
        let timeout = self.config.prepare_timeout?;
        if !matches!(self.phase, Phase::Dial) || self.prepared.is_some() {
            return None;
        }
        self.phase = Phase::Preparing(now + timeout);
        let connect = self.servers.connect(&self.config.connect);
        let endpoint = self.servers.endpoint().clone();
        let headers = match self.servers.is_stranger() {
            true => Vec::new(),
            false => self.config.stack.headers.clone(),
        };
        Some(Attempt::new(self.attempt, self.last_error.clone(), endpoint, connect, headers))
    }

    /// Open a socket to this target now, and tell the end with [`handle_dialed`](Self::handle_dialed) or
    /// [`handle_dial_failed`](Self::handle_dial_failed).
    #[must_use = "the link waits for the socket"]
    pub fn poll_dial(&mut self, now: Instant) -> Option<Target> {
        self.unwritten = SendBuffer::new();
        let is_ready = self.config.prepare_timeout.is_none() || self.prepared.is_some();
        if !matches!(self.phase, Phase::Dial) || !is_ready {
            return None;
        }
        self.phase = Phase::Dialing(now + self.config.dial_timeout);
        let endpoint = self.endpoint().clone();
        self.events.push_back(LinkEvent::Connecting(endpoint.clone()));
        let proxy = self.config.stack.proxy(&endpoint);
        let proxy = proxy.map(|proxy| (proxy.host().to_owned(), proxy.port()));
        Some(Target::new(endpoint, proxy))
    }

    /// Bytes for the socket, if there are any; tell how many it took with [`handle_written`](Self::handle_written). What
    /// TLS and WebSocket have is sealed here, 64 KiB and a little more ahead of the socket.
    #[must_use = "the server waits for it"]
    pub fn poll_wire(&mut self, now: Instant) -> Option<&dyn Buf> {
        let has_socket = self.has_socket();
        self.say_goodbye();
        let Some(stage) = &mut self.stage else {
            let output: &dyn Buf = &self.output;
            return Some(output).filter(|output| has_socket && output.has_remaining());
        };
        let outgoing = match self.phase {
            Phase::Lost(_) => stage.last_words(),
            _ => {
                if let Err(error) = stage.seal(now, &mut self.output, &mut self.trace) {
                    self.phase = Phase::Lost(error);
                } else if self.output.is_empty() && matches!(self.phase, Phase::Closing { .. }) {
                    stage.close();
                }
                if self.write_deadline.is_none() && !stage.outgoing().is_empty() {
                    self.write_deadline = self.write_timeout.map(|timeout| now + timeout);
                }
                stage.outgoing()
            }
        };
        let outgoing: &dyn Buf = outgoing;
        Some(outgoing).filter(|outgoing| outgoing.has_remaining())
    }

    /// What happened to the connection.
    #[must_use = "an event is told once"]
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            // A connection that lasts has none.
            self.events = VecDeque::new();
        }
        event
    }

    /// When to call [`exchange`](Self::exchange) even if nothing else happens; the session has a time of its own.
    #[must_use = "wait for it besides the socket"]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(at)
            | Phase::Preparing(at)
            | Phase::Dialing(at)
            | Phase::Handshaking(at)
            | Phase::Closing { deadline: at, .. } => Some(at),
            Phase::Up => self.write_deadline,
            _ => None,
        }
    }

    /// Where this attempt goes.
    fn endpoint(&self) -> &Endpoint {
        self.prepared.as_deref().map_or_else(|| self.servers.endpoint(), Attempt::endpoint)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No bytes: there are secrets among them.
        f.debug_struct("Link")
            .field("servers", &self.servers)
            .field("attempt", &self.attempt)
            .field("phase", &self.phase)
            .field("stage", &self.stage)
            .field("input", &self.input.len())
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
