//! The rule to drain as code. What drives a session in tests uses it, so that the rule, the check
//! that it suffices, and the check of the session's invariants are written once.

use crate::{ConnectionError, Event, Instant, SendBuffer, Session, StoreOp, StoreSeq};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// How a session is drained. It is for tests.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Drain {
    /// The socket takes no bytes.
    pub socket_full: bool,
    /// The invariants are not checked: the check costs more the more is in flight.
    pub unchecked: bool,
}

/// What a drain has brought. It is for tests.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Drained {
    /// What is to be stored, in order. Call [`Session::handle_stored`] and drain again.
    pub operations: Vec<(StoreSeq, StoreOp)>,
    /// What is to be written.
    pub output: SendBuffer,
    /// What the application should know.
    pub events: Vec<Event>,
    /// Why the connection is to be closed.
    pub close: Option<ConnectionError>,
    /// What to wait for besides the socket and the store.
    pub timeout: Option<Instant>,
}

impl Drain {
    /// Drains the polls of a session by the rule that [`Session`] documents.
    ///
    /// # Errors
    /// When a second drain yields anything, or the session's
    /// [invariants](Session::check_invariants) do not hold.
    pub fn run(self, session: &mut Session, now: Instant) -> Result<Drained, String> {
        let mut drained = Drained::default();
        self.poll(session, now, &mut drained);
        let mut again = Drained::default();
        self.poll(session, now, &mut again);
        if !again.is_empty() {
            return Err(format!("a second drain yields {again:?}"));
        }
        if !self.unchecked {
            session.check_invariants()?;
        }
        Ok(drained)
    }

    fn poll(self, session: &mut Session, now: Instant, drained: &mut Drained) {
        loop {
            while let Some(operation) = session.poll_store(now) {
                drained.operations.push(operation);
            }
            if self.socket_full || session.poll_transmit(now, &mut drained.output) == 0 {
                break;
            }
        }
        while let Some(event) = session.poll_event() {
            drained.events.push(event);
        }
        drained.close = session.poll_close();
        drained.timeout = session.poll_timeout();
    }
}

impl Drained {
    /// Whether there is nothing to do but to wait.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
            && self.output.is_empty()
            && self.events.is_empty()
            && self.close.is_none()
    }
}

/// Calls [`Session::handle_timeout`] if a timer has run out; returns whether one had.
///
/// # Errors
/// When a timer that has run out is left behind.
#[doc(hidden)]
pub fn run_timers(session: &mut Session, now: Instant) -> Result<bool, String> {
    let is_due = |session: &Session| session.poll_timeout().is_some_and(|at| at <= now);
    if !is_due(session) {
        return Ok(false);
    }
    session.handle_timeout(now);
    if is_due(session) {
        return Err(format!(
            "a timer that has run out was left behind: {:?} at {now:?}",
            session.poll_timeout()
        ));
    }
    Ok(true)
}
