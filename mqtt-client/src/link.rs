//! The link: everything between a session and a socket, still without I/O.
//!
//! ```text
//!            poll_dial               handle_dialed          exchange
//!   Waiting ──────────► Dialing ──────────────────► Opening ────────► Up ──┬─ poll_close ─► Closing ─┐
//!      ▲                   │ failed                                        │ eof, error, refusal     │
//!      │                   ▼                                               ▼                         │
//!      └── retry ─────── Lost ◄────────────────────────────────────────────┴─────────────────────────┘
//!                          └── final error, budget spent, disconnect() ──► Stopped
//! ```

use crate::reconnect::{Backoff, Reconnect};
use bytes::{Buf, BytesMut};
use martlet_proto::{ConnectReasonCode, Version};
use martlet_session::{
    ConnectOptions, ConnectionError, Instant, SendBuffer, Session, TransportError, TransportErrorKind,
};
use martlet_transport::Endpoint;
use std::time::Duration;

/// How long the last bytes of a connection, and the server's end of it, are waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// Output that the socket has not taken, above which the session is not asked for more.
const ENOUGH: usize = 64 * 1024;

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
    /// When to try again.
    pub reconnect: Reconnect,
    /// How long resolving a name and opening a socket may take in all.
    pub dial_timeout: Duration,
    /// Makes the waits between attempts differ from those of other clients.
    pub seed: u64,
}

/// Transport, reconnect policy and buffers between a [`Session`] and a socket; not the session itself. Its steps
/// alternate: [`handle_wire`](Self::handle_wire) takes in bytes from the socket, [`exchange`](Self::exchange) moves
/// plain bytes between link and session, [`poll_wire`](Self::poll_wire) gives bytes for the socket. Only `exchange`
/// needs the session; it does no I/O.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    servers: Vec<Server>,
    current: usize,
    backoff: Backoff,
    phase: Phase,
    input: BytesMut,
    /// Bytes have come since the last exchange.
    fresh: bool,
    /// Any byte has come on this connection.
    heard: bool,
    /// Any byte has left on this connection.
    spoke: bool,
    session_wants_input: bool,
    output: SendBuffer,
    /// What a lost connection did not write. Payloads are the application's: they are dropped where no session is
    /// locked.
    unwritten: SendBuffer,
    /// When the socket must have taken something.
    write_deadline: Option<Instant>,
    write_timeout: Option<Duration>,
    connected: bool,
    events: std::collections::VecDeque<LinkEvent>,
}

/// What is remembered of a server, as long as the process lives.
#[derive(Debug, Clone, Copy, Default)]
struct Server {
    speaks_3_1_1: bool,
    /// It has accepted MQTT 5: when it is silent later, that is not for the version.
    speaks_5: bool,
    /// Connections in a row that ended after CONNECT without a byte.
    silent: u32,
    /// Try 3.1.1 next, for one connection.
    try_3_1_1: bool,
}

#[derive(Debug)]
enum Phase {
    Waiting(Instant),
    /// `poll_dial` has not been asked yet.
    Dial,
    Dialing(Instant),
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
    pub fn new(config: LinkConfig) -> Self {
        assert!(!config.endpoints.is_empty(), "a link needs an endpoint");
        Self {
            servers: vec![Server::default(); config.endpoints.len()],
            current: 0,
            backoff: Backoff::new(config.reconnect, config.seed),
            phase: Phase::Dial,
            input: BytesMut::new(),
            fresh: false,
            heard: false,
            spoke: false,
            session_wants_input: true,
            output: SendBuffer::new(),
            unwritten: SendBuffer::new(),
            write_deadline: None,
            write_timeout: None,
            connected: false,
            events: std::collections::VecDeque::new(),
            config,
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

    /// Whether there should be a socket; when it turns false, drop it.
    pub fn has_socket(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Up | Phase::Closing { .. })
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
        let server = self.servers[self.current];
        match self.config.version {
            VersionChoice::Fixed(version) => version,
            VersionChoice::Negotiate if server.speaks_3_1_1 || server.try_3_1_1 => Version::V3_1_1,
            VersionChoice::Negotiate => Version::V5,
        }
    }

    // ---- handlers

    /// The socket that [`poll_dial`](Self::poll_dial) asked for is open.
    pub fn handle_dialed(&mut self) {
        if self.is_dialing() {
            self.phase = Phase::Opening;
        }
    }

    /// It could not be opened.
    pub fn handle_dial_failed(&mut self, error: TransportError) {
        if self.is_dialing() {
            self.phase = Phase::Lost(ConnectionError::Transport(error));
        }
    }

    /// Bytes have come from the socket.
    pub fn handle_wire(&mut self, bytes: &[u8]) {
        if self.is_closing() {
            return;
        }
        self.input.extend_from_slice(bytes);
        self.fresh = true;
        self.heard = true;
    }

    /// The socket has ended, or failed.
    pub fn handle_eof(&mut self, error: Option<TransportError>) {
        let error = error.map_or(ConnectionError::ClosedByPeer, ConnectionError::Transport);
        match &self.phase {
            Phase::Opening | Phase::Up => self.phase = Phase::Lost(error),
            Phase::Closing { error, .. } => self.phase = Phase::Lost(error.clone()),
            _ => {}
        }
    }

    /// The socket has taken `n` bytes of what [`poll_wire`](Self::poll_wire) gave.
    pub fn handle_written(&mut self, now: Instant, n: usize) {
        self.output.advance(n);
        if n > 0 {
            self.spoke = true;
            self.write_deadline =
                self.write_timeout.filter(|_| !self.output.is_empty()).map(|timeout| now + timeout);
        }
    }

    /// The time is `now`. Early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.phase {
            Phase::Waiting(at) if *at <= now => self.phase = Phase::Dial,
            Phase::Dialing(deadline) if *deadline <= now => {
                let text = format!("no connection to {} in {:?}", self.endpoint(), self.config.dial_timeout);
                let error = TransportError::new(TransportErrorKind::ConnectTimeout, text);
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
            if session.is_ended() {
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
            session.handle_input(now, &mut self.input);
            moved |= self.fresh || self.input.len() != before;
            self.fresh = false;
        }
        if session.poll_timeout().is_some_and(|at| at <= now) {
            session.handle_timeout(now);
        }
        if session.is_connected() && !self.connected {
            self.connected = true;
            self.backoff.connected(now);
            let version = self.version();
            let server = &mut self.servers[self.current];
            server.speaks_3_1_1 = version == Version::V3_1_1 && !server.speaks_5;
            server.speaks_5 |= version == Version::V5;
            let has_keep_alive = session.limits().keep_alive > 0;
            self.write_timeout = has_keep_alive.then_some(session.config().ping_timeout);
        }
        if matches!(self.phase, Phase::Up | Phase::Closing { .. }) {
            moved |= self.transmit(now, session);
            if let Some(error) = session.poll_close() {
                // To a server that has said the last word there is nothing to tell.
                let over =
                    matches!(error, ConnectionError::Refused(_) | ConnectionError::DisconnectedByPeer(_));
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
            self.lose(now, session);
            moved = true;
        }
        // `poll_dial` has something to say.
        moved || matches!(self.phase, Phase::Dial)
    }

    fn open(&mut self, now: Instant, session: &mut Session) {
        let mut connect = self.config.connect.clone();
        connect.version = self.version();
        let endpoint = self.endpoint();
        if endpoint.user_name().is_some() || endpoint.password().is_some() {
            // Checked by `Endpoint::parse`.
            connect.user_name = endpoint.user_name().and_then(|name| name.try_into().ok());
            connect.password = endpoint.password().and_then(|password| password.try_into().ok());
        }
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

    /// The connection, or the attempt, is over.
    fn lose(&mut self, now: Instant, session: &mut Session) {
        let Phase::Lost(reason) = std::mem::replace(&mut self.phase, Phase::Dial) else { return };
        // What the session itself made of the last bytes says more than that they were the last.
        let error = session.poll_close().unwrap_or(reason);
        session.handle_close(now, error.clone());
        let retry_in = if session.is_ended() {
            None
        } else if self.fall_back(&error) {
            Some(Duration::ZERO)
        } else {
            let servers_left = self.current + 1 < self.servers.len();
            let retry_in = self.backoff.failed(now, &error, servers_left);
            self.current = (self.current + 1) % self.servers.len();
            retry_in
        };
        // The next connection begins with nothing. What comes before its CONNECT has left is its own already.
        self.input = BytesMut::new();
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

    /// Whether to try this server again at once with 3.1.1.
    fn fall_back(&mut self, error: &ConnectionError) -> bool {
        if self.config.version != VersionChoice::Negotiate || self.version() != Version::V5 {
            self.servers[self.current].try_3_1_1 = false;
            return false;
        }
        let server = &mut self.servers[self.current];
        let refused = matches!(error, ConnectionError::Refused(refusal)
            if refusal.reason == ConnectReasonCode::UnsupportedProtocolVersion);
        let silent = *error == ConnectionError::ClosedByPeer && self.spoke && !self.heard && !server.speaks_5;
        server.silent = if silent { server.silent + 1 } else { 0 };
        server.try_3_1_1 = refused || server.silent >= 2;
        // Once silent, the same is asked again at once; twice, with the older version.
        refused || silent
    }

    // ---- commands

    /// Stops dialling: for when the session was told to disconnect while there is no connection.
    pub fn stop(&mut self) {
        if !matches!(self.phase, Phase::Opening | Phase::Up | Phase::Closing { .. } | Phase::Stopped(_)) {
            self.phase = Phase::Stopped(ConnectionError::ClosedHere);
            self.events
                .push_back(LinkEvent::Disconnected { error: ConnectionError::ClosedHere, retry_in: None });
        }
    }

    // ---- polls

    /// Open a socket to this endpoint now, and tell the end with [`handle_dialed`](Self::handle_dialed) or
    /// [`handle_dial_failed`](Self::handle_dial_failed).
    #[must_use = "the link waits for the socket"]
    pub fn poll_dial(&mut self, now: Instant) -> Option<&Endpoint> {
        self.unwritten = SendBuffer::new();
        if !matches!(self.phase, Phase::Dial) {
            return None;
        }
        self.phase = Phase::Dialing(now + self.config.dial_timeout);
        let endpoint = self.config.endpoints[self.current].clone();
        self.events.push_back(LinkEvent::Connecting(endpoint));
        Some(self.endpoint())
    }

    /// Bytes for the socket, if there are any; tell how many it took with [`handle_written`](Self::handle_written).
    pub fn poll_wire(&self) -> Option<&SendBuffer> {
        Some(&self.output).filter(|output| !output.is_empty() && self.has_socket())
    }

    /// What happened to the connection.
    #[must_use = "an event is told once"]
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// When to call [`exchange`](Self::exchange) even if nothing else happens; the session has a time of its own.
    #[must_use = "wait for it besides the socket"]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(at) | Phase::Dialing(at) | Phase::Closing { deadline: at, .. } => Some(at),
            Phase::Up => self.write_deadline,
            _ => None,
        }
    }

    fn endpoint(&self) -> &Endpoint {
        &self.config.endpoints[self.current]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_proto::{ConnAck, Packet};
    use martlet_session::Config;

    fn link() -> Link {
        Link::new(LinkConfig {
            endpoints: vec![Endpoint::parse("mqtt://broker.example").unwrap()],
            version: VersionChoice::Negotiate,
            connect: ConnectOptions::new(Version::V5),
            reconnect: Reconnect::default(),
            dial_timeout: Duration::from_secs(10),
            seed: 1,
        })
    }

    fn open(link: &mut Link, session: &mut Session, now: Instant) {
        link.exchange(now, session);
        assert!(link.poll_dial(now).is_some());
        link.handle_dialed();
        link.exchange(now, session);
        let n = link.poll_wire().expect("a CONNECT").remaining();
        link.handle_written(now, n);
    }

    fn accept(link: &mut Link, session: &mut Session, now: Instant) {
        let mut connack = BytesMut::new();
        let packet = Packet::from(ConnAck::new(false, ConnectReasonCode::Success));
        packet.encode(link.version(), &mut connack).unwrap();
        link.handle_wire(&connack);
        link.exchange(now, session);
        assert!(session.is_connected());
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_epoch(Duration::from_secs(seconds))
    }

    /// A server that was restarting behind a load balancer closed twice without a byte, and was spoken to in 3.1.1 from
    /// then on, although it had accepted MQTT 5 before.
    #[test]
    fn a_server_that_has_accepted_mqtt_5_is_not_asked_for_less_when_it_is_silent() {
        let (mut link, mut session) = (link(), Session::new(Config::default()));
        open(&mut link, &mut session, at(0));
        accept(&mut link, &mut session, at(0));
        for n in 1..5 {
            link.handle_eof(None);
            link.exchange(at(100 * n), &mut session);
            open(&mut link, &mut session, at(100 * n + 90));
            assert_eq!(link.version(), Version::V5, "{n}");
        }
    }

    #[test]
    fn a_server_that_never_answers_mqtt_5_is_asked_for_3_1_1_at_once() {
        let (mut link, mut session) = (link(), Session::new(Config::default()));
        for expected in [Version::V5, Version::V5, Version::V3_1_1] {
            open(&mut link, &mut session, at(0));
            assert_eq!(link.version(), expected);
            link.handle_eof(None);
            link.exchange(at(0), &mut session);
        }
    }

    /// A program that was busy for longer than the deadline lost a healthy connection: the deadline was judged before the
    /// write was tried.
    #[test]
    fn a_write_that_is_due_can_still_be_made() {
        let (mut link, mut session) = (link(), Session::new(Config::default()));
        open(&mut link, &mut session, at(0));
        accept(&mut link, &mut session, at(0));
        let topic = martlet_proto::TopicName::new("a").unwrap();
        session.publish(at(0), martlet_session::Publish::new(topic, "b")).unwrap();
        link.exchange(at(0), &mut session);
        assert!(!link.is_write_due(at(9)) && link.is_write_due(at(30)));
        let n = link.poll_wire().unwrap().remaining();
        link.handle_written(at(30), n);
        link.exchange(at(30), &mut session);
        assert!(session.is_connected());
    }
}
