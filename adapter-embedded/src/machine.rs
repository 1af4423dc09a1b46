//! What the client decides: when to connect and when to try again, what becomes of what was read and written, when a
//! connection has ended, and when the client has stopped. It does no I/O, and is handed the time.

#[cfg(test)]
mod tests;

use crate::Backoff;
use crate::session::*;
use alloc::collections::VecDeque;
use bytes::{Buf, BytesMut};
use core::time::Duration;
use embedded_io_async::ErrorKind;
use martlet_proto::{PubAckReasonCode, Version};

/// How long making a connection may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last bytes of a connection have.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that lasts for this long from its CONNACK was a success.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How often is read after a pause before the clock counts: a server that goes on and on does not stop it.
const LATE_READS: u8 = 16;
/// With more to be written nothing is read: a server that does not read gets no more answers.
const MOST_OUTPUT: usize = 512;

/// A session, and its way from one connection to the next. [`drain`](Self::drain) comes first; when it has no event,
/// [`step`](Self::step) returns what to do, and a `handle_…` method takes what came of it. One of these that returns an
/// error has ended the connection: hang up, and [`lose`](Self::lose) it.
pub(crate) struct Machine {
    pub(crate) session: Session,
    pub(crate) connect: ConnectOptions,
    backoff: Backoff,
    state: State,
    /// When the server accepted the client on the connection that there is.
    accepted_at: Option<Instant>,
    /// Messages that came while something else was waited for.
    received: VecDeque<ReceivedPublish>,
    input: BytesMut,
    output: SendBuffer,
    unflushed: bool,
    /// After a pause in which a timer ran out: how often to read, at most, before it is looked at.
    late_reads: u8,
    /// Once a server has accepted the client, its settings are right.
    accepted: bool,
    last_error: Option<ConnectionError>,
    /// The last attempt did not get as far as the session, and that was not reported yet.
    not_dialed: bool,
}

enum State {
    /// There is no connection, and none before this moment.
    Waiting(Instant),
    Open,
    /// The connection ends for this reason, once the output has left, or at this moment.
    Closing(ConnectionError, Instant),
}

/// What is to be done when there is no event.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Wait for this moment.
    Sleep(Instant),
    /// Make a connection, until this moment.
    Dial(Instant),
    /// Read or write once.
    Exchange(Exchange),
    /// The connection has ended.
    Lose(ConnectionError),
}

/// What an open connection waits for, whichever is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) reads: bool,
    pub(crate) writes: Writes,
    /// No longer than until this moment.
    pub(crate) until: Option<Instant>,
}

/// How the output leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// By writing of [`Machine::output`].
    Bytes,
    /// All of it is written, and not flushed.
    Flush,
    /// There is none.
    Nothing,
}

impl Machine {
    pub(crate) fn new(config: Config, backoff: Backoff, now: Instant) -> Self {
        Self {
            session: Session::new(config),
            connect: ConnectOptions::new(Version::V5),
            backoff,
            state: State::Waiting(now),
            accepted_at: None,
            received: VecDeque::new(),
            input: BytesMut::new(),
            output: SendBuffer::new(),
            unflushed: false,
            late_reads: 0,
            accepted: false,
            last_error: None,
            not_dialed: false,
        }
    }

    pub(crate) fn last_error(&self) -> Option<&ConnectionError> {
        self.last_error.as_ref()
    }

    /// Whether there is no connection.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    /// Whether all output has left.
    pub(crate) fn is_written(&self) -> bool {
        !self.session.has_output() && self.writes() == Writes::Nothing
    }

    /// Why there will be no connection any more, if that is so.
    pub(crate) fn stopped(&self) -> Option<ConnectionError> {
        if !self.is_closed() || self.session.wants_connection() {
            return None;
        }
        let error = self.last_error.clone();
        let error = error.filter(|_| self.session.is_on_hold());
        Some(error.unwrap_or(ConnectionError::ClosedHere))
    }

    /// The next attempt is made now.
    pub(crate) fn retry(&mut self, now: Instant) {
        self.session.resume();
        if let State::Waiting(until) = &mut self.state {
            *until = now;
        }
    }

    /// Keeps a message for the call that wants one, and drops every other event.
    pub(crate) fn keep(&mut self, event: Event) {
        if let Event::Message(mut message) = event {
            // Memory of its own: a small message would keep all that was read with it.
            message.publish.detach();
            self.received.push_back(message);
        }
    }

    /// The first of the messages that were kept.
    pub(crate) fn take_kept(&mut self) -> Option<ReceivedPublish> {
        // Of a message that has come again meanwhile there are two, and the earlier one is over.
        while let Some(message) = self.received.pop_front() {
            if !self.session.is_superseded(&message.token) {
                return Some(message);
            }
            self.session
                .acknowledge(message.token, PubAckReasonCode::Success);
        }
        None
    }

    /// The network was not waited for since the last step. If a timer has run out meanwhile, what may have arrived
    /// before that is to be read first: [`is_late`](Self::is_late).
    pub(crate) fn handle_pause(&mut self, now: Instant) {
        let is_due = self.session.poll_timeout().is_some_and(|at| at <= now);
        if is_due && matches!(self.state, State::Open) {
            self.session.handle_pause(now);
            self.late_reads = LATE_READS;
        }
    }

    pub(crate) fn is_late(&self) -> bool {
        self.late_reads > 0
    }

    /// Hands the session what was read.
    pub(crate) fn take_input(&mut self, now: Instant) {
        if self.may_read() {
            self.session.handle_input(now, &mut self.input);
        }
    }

    /// Drains the session until it has an event, or there is only a [`step`](Self::step) to be made.
    pub(crate) fn drain(&mut self, now: Instant) -> Option<Event> {
        // What has arrived is in time for a timer that runs out now.
        self.take_input(now);
        self.session.handle_timeout(now);
        if !self.is_closed() {
            while self.session.poll_transmit(now, &mut self.output) > 0 {}
        }
        if core::mem::take(&mut self.not_dialed) {
            return self.last_error.clone().map(Event::Disconnected);
        }
        let event = self.session.poll_event();
        if let Some(Event::Connected(_)) = event {
            self.accepted = true;
            self.accepted_at = Some(now);
        }
        if let (None, State::Open) = (&event, &self.state) {
            if let Some(reason) = self.session.poll_close() {
                self.state = State::Closing(reason, now + FLUSH_TIMEOUT);
            }
        }
        event
    }

    /// What is to be done next.
    pub(crate) fn step(&self, now: Instant) -> Step {
        let timeout = self.session.poll_timeout();
        let until = match self.state {
            State::Waiting(until) if now < until => {
                return Step::Sleep(timeout.map_or(until, |at| at.min(until)));
            }
            State::Waiting(_) => return Step::Dial(now + DIAL_TIMEOUT),
            State::Open if self.is_late() => Some(now),
            State::Open => timeout,
            State::Closing(ref reason, until) => {
                if now >= until || self.writes() == Writes::Nothing {
                    return Step::Lose(reason.clone());
                }
                Some(until)
            }
        };
        Step::Exchange(Exchange {
            reads: self.may_read() && self.session.wants_input(),
            writes: self.writes(),
            until,
        })
    }

    fn may_read(&self) -> bool {
        matches!(self.state, State::Open) && self.output.len() < MOST_OUTPUT
    }

    fn writes(&self) -> Writes {
        match (self.output.has_remaining(), self.unflushed) {
            (true, _) => Writes::Bytes,
            (false, true) => Writes::Flush,
            (false, false) => Writes::Nothing,
        }
    }

    /// What is to be written first.
    pub(crate) fn output(&self) -> &[u8] {
        self.output.chunk()
    }

    // ---- what came of a step

    /// There is a connection, or none: an error, or nothing in time.
    pub(crate) fn handle_dialed(
        &mut self,
        now: Instant,
        dialed: Result<(), TransportError>,
    ) -> Result<(), ConnectionError> {
        self.input.clear();
        self.output.clear();
        self.unflushed = false;
        self.not_dialed = dialed.is_err();
        dialed.map_err(ConnectionError::Transport)?;
        self.state = State::Open;
        self.session.handle_open(now, self.connect.clone());
        Ok(())
    }

    /// This much of the output was written; where there was none, it was flushed.
    pub(crate) fn handle_written(
        &mut self,
        written: Result<usize, ErrorKind>,
    ) -> Result<(), ConnectionError> {
        let had_output = self.output.has_remaining();
        match written {
            Ok(0) if had_output => Err(self.failed(ErrorKind::WriteZero)),
            Ok(n) => {
                self.output.advance(n);
                self.unflushed = had_output;
                Ok(())
            }
            Err(kind) => Err(self.failed(kind)),
        }
    }

    /// These bytes have arrived; none are the end of the connection.
    pub(crate) fn handle_read(
        &mut self,
        read: Result<&[u8], ErrorKind>,
    ) -> Result<(), ConnectionError> {
        match read {
            Ok([]) => Err(ConnectionError::ClosedByPeer),
            Ok(bytes) => {
                self.late_reads = self.late_reads.saturating_sub(1);
                self.input.extend_from_slice(bytes);
                Ok(())
            }
            Err(kind) => Err(self.failed(kind)),
        }
    }

    /// Nothing of what was waited for has come.
    pub(crate) fn handle_nothing(&mut self) {
        self.late_reads = 0;
    }

    /// Reading or writing failed. The network's own error need not be `Send`; its kind is the cause.
    fn failed(&self, kind: ErrorKind) -> ConnectionError {
        // A connection that was about to end has a better reason.
        if let State::Closing(reason, _) = &self.state {
            return reason.clone();
        }
        let error = TransportError::new(TransportErrorKind::Io, "the network connection failed");
        ConnectionError::Transport(error.caused_by(kind))
    }

    /// The connection has ended, or there was none to be had.
    pub(crate) fn lose(&mut self, now: Instant, reason: ConnectionError) {
        self.late_reads = 0;
        let accepted_at = self.accepted_at.take();
        if accepted_at.is_some_and(|at| now.saturating_duration_since(at) >= STABLE_AFTER) {
            self.backoff.reset();
        }
        self.session.handle_close(now, reason.clone());
        let class = ErrorClass::of(&reason);
        let is_permanent = class == ErrorClass::Permanent;
        self.state = State::Waiting(now + self.backoff.next(is_permanent));
        if class == ErrorClass::TakenOver || (is_permanent && !self.accepted) {
            self.session.stop(now, reason.clone());
        }
        self.last_error = Some(reason);
    }
}

/// No connection was made within the time for it.
pub(crate) fn not_in_time() -> TransportError {
    TransportError::new(TransportErrorKind::ConnectTimeout, "no connection in time")
}
