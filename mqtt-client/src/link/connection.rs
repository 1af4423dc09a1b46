//! One connection: its bytes in both directions, and what they have shown of the server.

use crate::link::config::VersionChoice;
use crate::link::intake::Intake;
use crate::link::observer::Trace;
use crate::link::stage::{Stage, not_plain, plain_end};
use bytes::{Buf, BytesMut};
use martlet_proto::Version;
use martlet_session::{
    Awaited, ConnectionError, Instant, Instead, SendBuffer, Session, TransportError,
    TransportErrorKind,
};
use martlet_transport::Endpoint;
use std::io;
use std::task::Poll;
use std::time::Duration;

/// The first byte of a CONNACK.
const CONNACK: u8 = 0x20;

/// How a CONNACK before MQTT 5 begins: its two bytes have no properties.
const OLD_CONNACK: (u8, Option<u8>) = (CONNACK, Some(2));

/// How long the last bytes of a connection, and the server's end of it, are waited for.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// Output that the socket has not taken, above which the session is not asked for more.
const ENOUGH: usize = 64 * 1024;

/// What a connection has shown of the server.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SeenOfServer {
    /// Any byte of MQTT has left.
    pub(crate) spoke: bool,
    /// Any byte has come.
    pub(crate) heard: bool,
    /// A message or an acknowledgement has come.
    pub(crate) delivered: bool,
    /// The first answer was a CONNACK as it is before MQTT 5.
    pub(crate) in_old_form: bool,
    pub(crate) is_accepted: bool,
}

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum ConnectionProgress {
    /// Proxy, TLS and WebSocket, until this time.
    Handshaking(Instant),
    /// The way to the server is open; the CONNECT has not been asked for yet.
    Opening,
    Up,
    Closing {
        deadline: Instant,
        error: ConnectionError,
    },
    Lost(ConnectionError),
}

/// What belongs to one connection, from the open socket on. It is dropped as a whole: the next
/// begins with nothing.
pub(crate) struct ServerConnection {
    pub(crate) progress: ConnectionProgress,
    /// Proxy, TLS and WebSocket, where there are any.
    pub(crate) stage: Option<Box<Stage>>,
    /// Plain bytes for the session.
    pub(crate) input: Intake,
    /// Bytes have come since the last exchange.
    fresh: bool,
    /// The session has had as much as it gets at a time, and there is more.
    pub(crate) may_take_more: bool,
    /// The first two bytes of MQTT that have come.
    heard: Option<(u8, Option<u8>)>,
    /// A message or an acknowledgement has come.
    delivered: bool,
    /// Any byte of MQTT has left.
    spoke: bool,
    /// Plain bytes of the session.
    pub(crate) output: SendBuffer,
    /// When the socket must have taken something.
    write_deadline: Option<Instant>,
    write_timeout: Option<Duration>,
    /// The server has accepted it.
    pub(crate) is_accepted: bool,
}

impl ServerConnection {
    /// The socket is open. Handshakes take until `deadline`; `most`: how many bytes the session
    /// gets at a time.
    pub(crate) fn new(stage: Option<Box<Stage>>, deadline: Instant, most: usize) -> Self {
        let progress = match stage {
            Some(_) => ConnectionProgress::Handshaking(deadline),
            None => ConnectionProgress::Opening,
        };
        Self {
            progress,
            stage,
            input: Intake::new(most),
            fresh: false,
            may_take_more: false,
            heard: None,
            delivered: false,
            spoke: false,
            output: SendBuffer::new(),
            write_deadline: None,
            write_timeout: None,
            is_accepted: false,
        }
    }

    // ---- getters

    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.progress, ConnectionProgress::Lost(_))
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.progress, ConnectionProgress::Closing { .. })
    }

    /// Whether the server has not accepted it yet, and may.
    pub(crate) fn is_connecting(&self) -> bool {
        match self.progress {
            ConnectionProgress::Handshaking(_) | ConnectionProgress::Opening => true,
            ConnectionProgress::Up => !self.is_accepted,
            ConnectionProgress::Closing { .. } | ConnectionProgress::Lost(_) => false,
        }
    }

    /// Whether what comes is taken in.
    fn is_receiving(&self) -> bool {
        matches!(
            self.progress,
            ConnectionProgress::Handshaking(_)
                | ConnectionProgress::Opening
                | ConnectionProgress::Up
        )
    }

    /// Whether all handshakes before MQTT are done.
    fn is_open(&self) -> bool {
        match &self.stage {
            Some(stage) => stage.is_open(),
            None => true,
        }
    }

    /// Whether the socket has taken everything.
    pub(crate) fn is_flushed(&self) -> bool {
        let is_sealed = match &self.stage {
            Some(stage) => stage.outgoing().is_empty(),
            None => true,
        };
        is_sealed && self.output.is_empty()
    }

    /// Whether the socket should have taken something by now.
    pub(crate) fn is_write_due(&self, now: Instant) -> bool {
        let is_due = self.write_deadline.is_some_and(|at| at <= now);
        is_due && matches!(self.progress, ConnectionProgress::Up)
    }

    /// When the time is up for what it waits for.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.progress {
            ConnectionProgress::Handshaking(at)
            | ConnectionProgress::Closing { deadline: at, .. } => Some(at),
            ConnectionProgress::Up => self.write_deadline,
            ConnectionProgress::Opening | ConnectionProgress::Lost(_) => None,
        }
    }

    /// What it has shown of the server.
    pub(crate) fn seen(&self) -> SeenOfServer {
        SeenOfServer {
            spoke: self.spoke,
            heard: self.heard.is_some(),
            delivered: self.delivered,
            in_old_form: !self.is_accepted && self.heard == Some(OLD_CONNACK),
            is_accepted: self.is_accepted,
        }
    }

    /// The same error, as that of a CONNECT which was not answered in its version where it was
    /// that. `choice`: how the version came about.
    pub(crate) fn explain(
        &self,
        error: ConnectionError,
        version: Version,
        choice: VersionChoice,
    ) -> ConnectionError {
        if self.is_accepted || !self.spoke {
            return error;
        }
        let is_fixed = choice == VersionChoice::Fixed(version);
        let instead = match (&error, self.heard) {
            (ConnectionError::Timeout(Awaited::ConnAck), None) => Instead::Silence,
            (ConnectionError::Malformed(what), Some((CONNACK, _))) => Instead::Unreadable(*what),
            (ConnectionError::ClosedByPeer, None) if is_fixed && version == Version::V5 => {
                Instead::Close
            }
            _ => return error,
        };
        ConnectionError::NoConnAck { version, instead }
    }

    // ---- handlers

    /// Bytes have come from the socket. No packet is to have more than `largest` bytes.
    pub(crate) fn handle_wire(
        &mut self,
        now: Instant,
        bytes: &[u8],
        from: (&Endpoint, Version),
        largest: u32,
        trace: &mut Option<Trace>,
    ) {
        if !self.is_receiving() {
            return;
        }
        if let Err(error) = self.receive(now, bytes, from, largest, trace) {
            self.progress = ConnectionProgress::Lost(error);
        } else if matches!(self.progress, ConnectionProgress::Handshaking(_)) && self.is_open() {
            self.progress = ConnectionProgress::Opening;
        }
    }

    fn receive(
        &mut self,
        now: Instant,
        bytes: &[u8],
        from: (&Endpoint, Version),
        largest: u32,
        trace: &mut Option<Trace>,
    ) -> Result<(), ConnectionError> {
        let (endpoint, version) = from;
        let before = self.input.len();
        let result = match &mut self.stage {
            Some(stage) => stage.open(bytes, self.input.opened()),
            None => {
                let wrong = match self.heard {
                    None => not_plain(bytes, endpoint),
                    Some(_) => None,
                };
                if let Some(error) = wrong {
                    // It has answered, if not in MQTT.
                    self.heard = bytes.first().map(|&first| (first, None));
                    return Err(error);
                }
                self.input.extend(bytes, version, largest);
                Ok(())
            }
        };
        if self.input.len() == before {
            return result;
        }
        let opened = match &self.stage {
            Some(_) => &self.input.opened()[before..],
            None => bytes,
        };
        match &mut self.heard {
            Some((_, Some(_))) => {}
            Some((_, second)) => *second = opened.first().copied(),
            heard => *heard = opened.first().map(|&first| (first, opened.get(1).copied())),
        }
        if let Some(trace) = trace {
            trace.received(now, opened);
        }
        self.fresh = true;
        result
    }

    /// Whether [`read_in_place`](Self::read_in_place) saves a copy.
    pub(crate) fn reads_in_place(&self) -> bool {
        self.stage.is_none() && self.is_receiving() && self.input.reads_in_place()
    }

    /// Lets `read` put what is missing of a large packet where it belongs: otherwise as
    /// [`handle_wire`](Self::handle_wire).
    pub(crate) fn read_in_place(
        &mut self,
        read: impl FnOnce(&mut BytesMut, usize) -> Poll<io::Result<usize>>,
        version: Version,
        largest: u32,
    ) -> Poll<io::Result<usize>> {
        let result = self.input.read_in_place(read, version, largest);
        self.fresh |= matches!(result, Poll::Ready(Ok(1..)));
        result
    }

    /// The socket has ended, or failed.
    pub(crate) fn handle_eof(&mut self, error: Option<TransportError>, endpoint: &Endpoint) {
        let error = match &self.progress {
            ConnectionProgress::Closing { error, .. } => error.clone(),
            ConnectionProgress::Lost(_) => return,
            _ => self.why_ended(error, endpoint),
        };
        self.progress = ConnectionProgress::Lost(error);
    }

    fn why_ended(&mut self, error: Option<TransportError>, endpoint: &Endpoint) -> ConnectionError {
        match (error, &mut self.stage) {
            // What a handshake was waiting for says more than how the wait ended.
            (Some(_), Some(stage)) if !stage.is_open() => stage.end(),
            (error, None) if self.heard.is_none() => plain_end(error, endpoint),
            (Some(error), _) => ConnectionError::Transport(error),
            (None, None) => ConnectionError::ClosedByPeer,
            (None, Some(stage)) => stage.end(),
        }
    }

    /// The socket has taken `n` bytes.
    pub(crate) fn written(&mut self, now: Instant, n: usize, trace: &mut Option<Trace>) {
        match &mut self.stage {
            None => {
                if let Some(trace) = trace {
                    trace.sent(now, &self.output, n);
                }
                self.output.advance(n);
                self.spoke = true;
            }
            Some(stage) => self.spoke |= stage.written(n),
        }
        self.write_deadline = None;
        if !self.is_flushed() {
            self.await_write(now);
        }
    }

    /// The time is `now`. `handshakes`: how long they may take.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        endpoint: &Endpoint,
        handshakes: Duration,
    ) {
        let error = match &self.progress {
            ConnectionProgress::Handshaking(deadline) if *deadline <= now => {
                let handshake = match &self.stage {
                    Some(stage) => stage.handshake(),
                    None => "no",
                };
                let text = format!(
                    "the {handshake} handshake with {endpoint} was not done in {handshakes:?}"
                );
                ConnectionError::Transport(TransportError::new(
                    TransportErrorKind::HandshakeTimeout,
                    text,
                ))
            }
            ConnectionProgress::Closing { deadline, error } if *deadline <= now => error.clone(),
            ConnectionProgress::Up if self.is_write_due(now) => {
                let text = "the server takes no more bytes";
                let error = TransportError::new(TransportErrorKind::WriteTimeout, text);
                ConnectionError::Transport(error)
            }
            _ => return,
        };
        self.progress = ConnectionProgress::Lost(error);
    }

    // ---- between the link and the session

    /// The server has accepted the connection. With a keep alive the socket must go on taking
    /// bytes.
    pub(crate) fn accepted(&mut self, session: &Session) {
        self.is_accepted = true;
        if session.limits().keep_alive > 0 {
            self.write_timeout = Some(session.ping_timeout());
        }
    }

    /// Gives the session what has come, if it takes it. Returns whether anything moved.
    pub(crate) fn feed(&mut self, now: Instant, session: &mut Session, version: Version) -> bool {
        self.may_take_more = false;
        if !self.fresh && (self.input.is_empty() || !session.wants_input()) {
            return false;
        }
        let before = self.input.len();
        if self.fresh && !self.delivered {
            self.delivered = self.input.has_delivery(version);
        }
        let at_end = self.is_lost();
        self.may_take_more = self.input.give(now, session, at_end);
        std::mem::take(&mut self.fresh) || self.input.len() != before
    }

    /// Takes what the session has to send, and closes where the session says so. Returns whether
    /// there was anything.
    pub(crate) fn transmit(&mut self, now: Instant, session: &mut Session) -> bool {
        if !matches!(
            self.progress,
            ConnectionProgress::Up | ConnectionProgress::Closing { .. }
        ) {
            return false;
        }
        let mut moved = false;
        while self.output.len() < ENOUGH && session.poll_transmit(now, &mut self.output) > 0 {
            moved = true;
        }
        if moved {
            self.await_write(now);
        }
        match session.poll_close() {
            Some(error) => {
                self.close(now, error);
                true
            }
            None => moved,
        }
    }

    /// The session closes the connection.
    fn close(&mut self, now: Instant, error: ConnectionError) {
        // To a server that has said the last word there is nothing to tell, and a dead one hears
        // nothing.
        let is_over = matches!(
            error,
            ConnectionError::Rejected(_)
                | ConnectionError::DisconnectedByPeer(_)
                | ConnectionError::Timeout(Awaited::PingResp)
        );
        self.progress = if is_over {
            ConnectionProgress::Lost(error)
        } else {
            let deadline = now + FAREWELL;
            ConnectionProgress::Closing { deadline, error }
        };
    }

    /// The socket must take something in time, counted from now unless it has a deadline.
    fn await_write(&mut self, now: Instant) {
        if self.write_deadline.is_none() {
            self.write_deadline = self.write_timeout.map(|timeout| now + timeout);
        }
    }

    // ---- to the socket

    /// What the socket is to take, if there is anything.
    pub(crate) fn poll_wire(
        &mut self,
        now: Instant,
        trace: &mut Option<Trace>,
    ) -> Option<&dyn Buf> {
        if self.is_lost() {
            self.say_goodbye();
            return self.last_words();
        }
        if let Err(error) = self.seal(now, trace) {
            self.progress = ConnectionProgress::Lost(error);
        }
        let unwritten: &dyn Buf = match &self.stage {
            Some(stage) => stage.outgoing(),
            None => &self.output,
        };
        if unwritten.has_remaining() {
            Some(unwritten)
        } else {
            None
        }
    }

    /// Seals what the session has sent, where there are TLS and WebSocket, and what they say when
    /// the connection closes.
    fn seal(&mut self, now: Instant, trace: &mut Option<Trace>) -> Result<(), ConnectionError> {
        let is_closing = self.is_closing();
        let Some(stage) = &mut self.stage else {
            return Ok(());
        };
        let sealed = stage.seal(now, &mut self.output, trace);
        if sealed.is_ok() && is_closing && self.output.is_empty() {
            stage.close();
        }
        if !stage.outgoing().is_empty() {
            self.await_write(now);
        }
        sealed
    }

    /// TLS and WebSocket say goodbye to a server that may still hear it, once. Returns whether they
    /// have: then [`poll_wire`](Self::poll_wire) has something before the connection is forgotten.
    pub(crate) fn say_goodbye(&mut self) -> bool {
        match (&mut self.stage, &self.progress) {
            (Some(stage), ConnectionProgress::Lost(error)) => stage.say_goodbye(error),
            _ => false,
        }
    }

    /// What a connection that has failed still has for the socket.
    fn last_words(&mut self) -> Option<&dyn Buf> {
        let last_words = self.stage.as_mut()?.last_words();
        if last_words.is_empty() {
            None
        } else {
            Some(last_words)
        }
    }
}

impl std::fmt::Debug for ServerConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No bytes: there are secrets among them.
        f.debug_struct("ServerConnection")
            .field("progress", &self.progress)
            .field("stage", &self.stage)
            .field("input", &self.input.len())
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}
