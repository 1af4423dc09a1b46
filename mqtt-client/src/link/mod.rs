//! The link: everything between a session and a socket, still without I/O.
//!
//! ```text
//!            poll_dial          handle_dialed             handshakes done          exchange
//!   Waiting ──────────► Dialing ─────────────► Handshaking ───────────────► Opening ────────► Up
//!      ▲                   │          plain TCP ──────┼──────────────────────────▲             │
//!      │                   │ failed                   │ failed        eof, error, rejection      │ poll_close
//!      │                   ▼                          ▼                          ▼             ▼
//!      └── retry ─────── Lost ◄───────────────────────┴──────────────────────────┴───────── Closing
//!                          └── nobody left to ask, budget spent, disconnect() ──► Stopped
//! ```
//!
//! From the open socket to its end the phase is `Connected`; the connection in it knows how far it
//! has come ([`ConnectionProgress`]).
//!
//! Where the application prepares each attempt, `poll_prepare` and `handle_prepared` come before
//! `poll_dial`.

use crate::link::attempt::Attempt;
use crate::link::connection::{ConnectionProgress, ServerConnection};
use crate::link::observer::Trace;
use crate::link::reconnect::Backoff;
use crate::link::servers::Servers;
use crate::link::stage::Stage;
use crate::link::target::Target;
use bytes::Buf;
use martlet_proto::Version;
use martlet_session::{
    Awaited, ConnectionError, GivenUp, Instant, SendBuffer, Session, TransportError,
    TransportErrorKind,
};
use martlet_transport::Endpoint;
#[cfg(feature = "tls")]
use martlet_transport::{TlsConfig, TrustError};
use std::borrow::Cow;
use std::collections::VecDeque;

pub(crate) mod attempt;
mod config;
mod connection;
mod exchange;
mod in_place;
pub(crate) mod intake;
pub(crate) mod observer;
pub(crate) mod packet_logger;
pub(crate) mod reconnect;
pub(crate) mod servers;
#[cfg(feature = "tracing")]
pub(crate) mod spans;
pub(crate) mod stage;
pub(crate) mod target;
mod watched;

pub use config::{LinkConfig, LinkEvent, VersionChoice};
pub(crate) use connection::FAREWELL;

/// Transport, reconnect policy and buffers between a [`Session`] and a socket; not the session
/// itself. Its steps alternate: [`handle_wire`](Self::handle_wire) takes in bytes from the socket
/// and opens them, through TLS and WebSocket where there are any; [`exchange`](Self::exchange)
/// moves plain bytes between link and session; [`poll_wire`](Self::poll_wire) seals bytes for the
/// socket. Only `exchange` needs the session; it does no I/O and no encryption. Plain TCP is a
/// straight pass without a copy.
pub struct Link {
    config: LinkConfig,
    maximum_packet_size: u32,
    servers: Servers,
    backoff: Backoff,
    /// Which attempt since the last connection this is, or the next will be.
    attempt: u32,
    last_error: Option<ConnectionError>,
    /// This attempt, as the application has prepared it.
    prepared: Option<Box<Attempt>>,
    phase: Phase,
    session_wants_input: bool,
    /// How many bytes the session gets at a time.
    most: usize,
    /// What a lost connection did not write. Payloads are the application's: they are dropped where
    /// no session is locked.
    unwritten: SendBuffer,
    trace: Option<Trace>,
    /// Those of the attempt or connection.
    #[cfg(feature = "tracing")]
    pub(crate) spans: spans::Spans,
    /// Bytes of sockets that were not counted yet: sent, received.
    wire: [u32; 2],
    events: VecDeque<LinkEvent>,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "an idle connection is the one with a connection; a box would only be one more block"
)]
enum Phase {
    Waiting(Instant),
    /// The application prepares the attempt.
    Preparing(Instant),
    /// `poll_dial` has not been asked yet.
    Dial,
    Dialing(Instant),
    /// There is a socket, or was until now: handshaking, opening, up, closing or lost.
    Connected(ServerConnection),
    /// The attempt has failed before there was a socket.
    Lost(ConnectionError),
    Stopped(ConnectionError),
}

impl Link {
    /// A link for this session that dials at once. It reads packets of up to the session's
    /// [maximum packet size](martlet_session::Config::maximum_packet_size).
    pub fn new(mut config: LinkConfig, session: &Session) -> Self {
        let endpoints = std::mem::take(&mut config.endpoints);
        Self {
            servers: Servers::new(endpoints, config.version, config.prepare_timeout.is_some()),
            backoff: Backoff::new(config.reconnect, config.seed),
            attempt: 1,
            last_error: None,
            prepared: None,
            phase: Phase::Dial,
            session_wants_input: true,
            most: usize::MAX,
            unwritten: SendBuffer::new(),
            trace: None,
            #[cfg(feature = "tracing")]
            spans: spans::Spans::default(),
            wire: [0; 2],
            events: VecDeque::new(),
            maximum_packet_size: session.maximum_packet_size(),
            config,
        }
    }

    /// Sets how many bytes the session gets at a time.
    pub(crate) fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// Whether the application is to take messages first: nothing is read, and the session gets
    /// nothing. Returns whether it was.
    pub(crate) fn hold(&mut self, holds: bool) -> bool {
        match &mut self.phase {
            Phase::Connected(connection) => std::mem::replace(&mut connection.input.is_held, holds),
            _ => false,
        }
    }

    // ---- getters

    /// Why the link will not dial again, once that is so.
    pub fn stopped(&self) -> Option<&ConnectionError> {
        match &self.phase {
            Phase::Stopped(error) => Some(error),
            _ => None,
        }
    }

    /// Which attempt is under way or about to begin: 1 is the first of all, and the first after a
    /// connection.
    pub fn connecting(&self) -> Option<u32> {
        let is_connecting = match &self.phase {
            Phase::Preparing(_) | Phase::Dial | Phase::Dialing(_) => true,
            Phase::Connected(connection) => connection.is_connecting(),
            Phase::Waiting(_) | Phase::Lost(_) | Phase::Stopped(_) => false,
        };
        is_connecting.then_some(self.attempt)
    }

    fn connection(&self) -> Option<&ServerConnection> {
        match &self.phase {
            Phase::Connected(connection) => Some(connection),
            _ => None,
        }
    }

    /// Whether there should be a socket; when it turns false, drop it.
    pub fn has_socket(&self) -> bool {
        match self.connection() {
            Some(connection) => !connection.is_lost(),
            None => false,
        }
    }

    /// Whether the application is preparing an attempt; when it turns false, its answer is not
    /// wanted any more.
    pub fn is_preparing(&self) -> bool {
        matches!(self.phase, Phase::Preparing(_))
    }

    /// Whether a dial is under way; when it turns false, drop it.
    pub fn is_dialing(&self) -> bool {
        matches!(self.phase, Phase::Dialing(_))
    }

    /// Whether the socket should be read.
    pub fn wants_wire(&self) -> bool {
        match self.connection() {
            Some(connection) => {
                !connection.is_lost() && self.session_wants_input && !connection.input.is_held
            }
            None => false,
        }
    }

    /// Whether the connection is ending: when [`poll_wire`](Self::poll_wire) has nothing left, shut
    /// down the socket's sending side, and go on reading until its end.
    pub fn is_closing(&self) -> bool {
        match self.connection() {
            Some(connection) => connection.is_closing(),
            None => false,
        }
    }

    /// The version that the current connection speaks.
    pub fn version(&self) -> Version {
        self.servers.version()
    }

    /// Bytes of sockets since the last call: sent, received.
    pub(crate) fn take_wire(&mut self) -> [u32; 2] {
        std::mem::take(&mut self.wire)
    }

    /// Whether the socket has taken everything.
    pub fn is_flushed(&self) -> bool {
        match self.connection() {
            Some(connection) => connection.is_flushed(),
            None => true,
        }
    }

    /// Whether the connection has failed, and [`exchange`](Self::exchange) must be called. Until
    /// then [`poll_wire`](Self::poll_wire) may still have what TLS and WebSocket tell the server
    /// about it: write it if the socket takes it at once.
    pub fn has_failed(&self) -> bool {
        match &self.phase {
            Phase::Connected(connection) => connection.is_lost(),
            Phase::Lost(_) => true,
            _ => false,
        }
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
        Trace::ask_log(&mut self.trace, self.maximum_packet_size);
        let mut stack = Cow::Borrowed(&self.config.stack);
        match self.prepared.as_deref() {
            Some(attempt) => attempt.adapt(stack.to_mut()),
            // They may hold a token.
            None if self.servers.is_stranger() => stack.to_mut().headers.clear(),
            None => {}
        }
        self.phase = match Stage::new(&stack, self.endpoint()) {
            Ok(stage) => {
                let deadline = now + self.config.handshake_timeout;
                Phase::Connected(ServerConnection::new(stage, deadline, self.most))
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
        let Phase::Connected(connection) = &mut self.phase else {
            return;
        };
        let from = (
            endpoint(&self.prepared, &self.servers),
            self.servers.version(),
        );
        let largest = self.maximum_packet_size;
        self.wire[1] = self.wire[1].saturating_add(bytes.len() as u32);
        connection.handle_wire(now, bytes, from, largest, &mut self.trace);
    }

    /// The socket has ended, or failed.
    pub fn handle_eof(&mut self, error: Option<TransportError>) {
        if let Phase::Connected(connection) = &mut self.phase {
            connection.handle_eof(error, endpoint(&self.prepared, &self.servers));
        }
    }

    /// The socket has taken `n` bytes of what [`poll_wire`](Self::poll_wire) gave.
    pub fn handle_written(&mut self, now: Instant, n: usize) {
        if let Phase::Connected(connection) = &mut self.phase {
            if n > 0 {
                self.wire[0] = self.wire[0].saturating_add(n as u32);
                connection.written(now, n, &mut self.trace);
            }
        }
    }

    /// The time is `now`. Early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Waiting(at) if *at <= now => self.phase = Phase::Dial,
            Phase::Preparing(deadline) if *deadline <= now => {
                self.phase = Phase::Lost(ConnectionError::Timeout(Awaited::Preparation));
            }
            Phase::Dialing(deadline) if *deadline <= now => {
                let text = format!(
                    "no connection to {} in {:?}",
                    self.endpoint(),
                    self.config.dial_timeout
                );
                let error = TransportError::new(TransportErrorKind::ConnectTimeout, text);
                self.phase = Phase::Lost(ConnectionError::Transport(error));
            }
            Phase::Connected(connection) => {
                let endpoint = endpoint(&self.prepared, &self.servers);
                connection.handle_timeout(now, endpoint, self.config.handshake_timeout);
            }
            _ => {}
        }
    }

    /// Whether the socket should have taken something by now. Try it once more before you report
    /// the time: a poll that runs late must not be mistaken for a slow peer.
    pub fn is_write_due(&self, now: Instant) -> bool {
        match self.connection() {
            Some(connection) => connection.is_write_due(now),
            None => false,
        }
    }

    // ---- commands

    /// Makes the next attempt now, if it waits for its time or the link has
    /// [stopped](Self::stopped). The session must want a connection: see [`Session::resume`].
    pub fn retry_now(&mut self) {
        match self.phase {
            Phase::Waiting(_) => self.phase = Phase::Dial,
            Phase::Stopped(_) => {
                self.servers.revive();
                self.backoff.revive();
                self.attempt = 1;
                self.phase = Phase::Dial;
            }
            _ => {}
        }
    }

    /// Sets the configuration of TLS that attempts from now on use, unless they were
    /// [prepared](Attempt::set_tls_config) with another.
    #[cfg(feature = "tls")]
    pub fn set_tls(&mut self, config: Result<TlsConfig, TrustError>) {
        self.config.stack.tls = Some(config);
    }

    /// Whether the next [`poll_dial`](Self::poll_dial) opens a socket for TLS with the
    /// configuration of all attempts.
    #[cfg(feature = "tls")]
    pub(crate) fn is_about_to_speak_tls(&self) -> bool {
        let has_own = self
            .prepared
            .as_deref()
            .is_some_and(Attempt::has_tls_config);
        self.is_about_to_dial() && self.endpoint().scheme().is_tls() && !has_own
    }

    /// Ends the connection in good order, and makes another at once, as with a new token or
    /// certificate; an attempt that is under way begins anew. Where there is neither, this is
    /// [`retry_now`](Self::retry_now).
    pub fn replace(&mut self, session: &mut Session) {
        match &mut self.phase {
            Phase::Connected(connection) => match connection.progress {
                ConnectionProgress::Up if session.is_connected() => session.replace(),
                ConnectionProgress::Handshaking(_)
                | ConnectionProgress::Opening
                | ConnectionProgress::Up => {
                    connection.progress = ConnectionProgress::Lost(ConnectionError::Replaced);
                }
                ConnectionProgress::Closing { .. } | ConnectionProgress::Lost(_) => {}
            },
            Phase::Preparing(_) | Phase::Dial | Phase::Dialing(_) => {
                self.phase = Phase::Lost(ConnectionError::Replaced);
            }
            Phase::Waiting(_) | Phase::Stopped(_) => self.retry_now(),
            Phase::Lost(_) => {}
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
        let headers = if self.servers.is_stranger() {
            Vec::new()
        } else {
            self.config.stack.headers.clone()
        };
        Some(Attempt::new(
            self.attempt,
            self.last_error.clone(),
            endpoint,
            connect,
            headers,
        ))
    }

    /// Open a socket to this target now, and tell the end with
    /// [`handle_dialed`](Self::handle_dialed) or [`handle_dial_failed`](Self::handle_dial_failed).
    #[must_use = "the link waits for the socket"]
    pub fn poll_dial(&mut self, now: Instant) -> Option<Target> {
        self.unwritten = SendBuffer::new();
        if !self.is_about_to_dial() {
            return None;
        }
        self.phase = Phase::Dialing(now + self.config.dial_timeout);
        let endpoint = self.endpoint().clone();
        self.events
            .push_back(LinkEvent::Connecting(endpoint.clone()));
        let proxy = self.config.stack.proxy(&endpoint).cloned();
        Some(Target::new(endpoint, proxy))
    }

    /// Bytes for the socket, if there are any; tell how many it took with
    /// [`handle_written`](Self::handle_written). What TLS and WebSocket have is sealed here, 64 KiB
    /// and a little more ahead of the socket.
    #[must_use = "the server waits for it"]
    pub fn poll_wire(&mut self, now: Instant) -> Option<&dyn Buf> {
        match &mut self.phase {
            Phase::Connected(connection) => connection.poll_wire(now, &mut self.trace),
            _ => None,
        }
    }

    /// What happened to the connection.
    #[must_use = "an event is returned once"]
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            // A connection that lasts has none.
            self.events = VecDeque::new();
        }
        event
    }

    /// When to call [`exchange`](Self::exchange) even if nothing else happens; the session has a
    /// time of its own.
    #[must_use = "wait for it besides the socket"]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting(at) | Phase::Preparing(at) | Phase::Dialing(at) => Some(*at),
            Phase::Connected(connection) => connection.poll_timeout(),
            Phase::Dial | Phase::Lost(_) | Phase::Stopped(_) => None,
        }
    }

    fn is_about_to_dial(&self) -> bool {
        let is_ready = self.config.prepare_timeout.is_none() || self.prepared.is_some();
        matches!(self.phase, Phase::Dial) && is_ready
    }

    /// Where this attempt goes.
    fn endpoint(&self) -> &Endpoint {
        endpoint(&self.prepared, &self.servers)
    }
}

/// Where an attempt goes.
fn endpoint<'a>(prepared: &'a Option<Box<Attempt>>, servers: &'a Servers) -> &'a Endpoint {
    match prepared {
        Some(attempt) => attempt.endpoint(),
        None => servers.endpoint(),
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No bytes: there are secrets among them.
        f.debug_struct("Link")
            .field("servers", &self.servers)
            .field("attempt", &self.attempt)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
