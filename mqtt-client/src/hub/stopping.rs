//! How a client stops, and goes on.

use crate::hub::connection::LeftBehind;
use crate::hub::shared::State;
use crate::hub::wakers::Wakers;
use martlet_session::{ConnectionError, RequestError, StoreError};

impl State {
    /// No server is left to try: everything that waits gets the reason, and accepted messages are
    /// kept for [`revive`](Self::revive).
    pub(crate) fn stop(&mut self, error: ConnectionError, wakers: &mut Wakers) {
        self.session.stop(self.now, error.clone());
        self.end(error, false, wakers);
    }

    /// The client goes on after it has stopped, unless that was for good.
    pub(crate) fn revive(&mut self) {
        if self.connection.revive() {
            self.session.resume();
            self.routes.resume();
            self.events.resume();
        }
    }

    /// There will be no further connection: everything that waits gets the reason.
    pub(crate) fn terminate(&mut self, error: ConnectionError, wakers: &mut Wakers) {
        // From here on the session rejects everything.
        self.session.close(self.now, error.clone());
        if self.publishers.storing.outcome().is_some() {
            self.dispatch_all(wakers);
            self.publishers.fail_all(&error, wakers);
        }
        self.end(error, true, wakers);
        self.deferred.extend(self.turns.take_driver());
        self.waiters.wake_all_sleepers(wakers);
    }

    fn end(&mut self, error: ConnectionError, for_good: bool, wakers: &mut Wakers) {
        self.dispatch_all(wakers);
        let (authenticating, waiters) = (&mut self.connection.authenticating, &mut self.waiters);
        authenticating.forget(RequestError::Closed(error.clone()), waiters, wakers);
        self.routes.end(wakers);
        self.events.end(wakers);
        self.requests.fail_all(&error, wakers);
        self.publishers.room.wake(&self.session, wakers);
        self.connection
            .set_stopped(error, for_good, &mut self.waiters, wakers);
    }

    fn dispatch_all(&mut self, wakers: &mut Wakers) {
        while self.dispatch(wakers) && self.has_backlog() {}
    }

    /// The store holds all that it ever will.
    pub(crate) fn set_stored(&mut self, stored: Result<(), StoreError>, wakers: &mut Wakers) {
        let why = self.connection.why_stopped();
        if self.publishers.finish_storing(stored, &why, wakers) {
            self.waiters.notify(wakers);
        }
    }

    /// What the client has left behind, once it has disconnected for good. The messages are given
    /// once.
    pub(crate) fn left_behind(&mut self) -> Option<LeftBehind> {
        let stored = self.publishers.storing.outcome()?.clone();
        if !self.connection.is_finished() {
            return None;
        }
        let mut left = LeftBehind {
            in_flight: 0,
            queued: 0,
            messages: Vec::new(),
            stored,
        };
        if let Some(undelivered) = &mut self.connection.undelivered {
            left.in_flight = undelivered.in_flight;
            left.queued = undelivered.queued;
            left.messages = std::mem::take(&mut undelivered.messages);
        }
        Some(left)
    }
}
