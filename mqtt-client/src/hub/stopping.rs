//! How a client stops, and goes on.

use crate::hub::connection::LeftBehind;
use crate::hub::shared::State;
use crate::hub::wakers::Wakers;
use martlet_session::{ConnectionError, DeliveryStage, RequestError, StoreError, Undelivered};
use std::sync::Arc;

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

    /// What the client has left behind, once it has disconnected for good.
    pub(crate) fn left_behind(&self) -> Option<LeftBehind> {
        let stored = self.publishers.storing.outcome()?;
        if !self.connection.is_finished() {
            return None;
        }
        let messages = self.connection.undelivered.clone();
        let messages = messages.unwrap_or_else(|| Arc::new([]));
        let is_queued = |message: &&Undelivered| message.stage == DeliveryStage::Queued;
        let queued = messages.iter().filter(is_queued).count();
        Some(LeftBehind {
            in_flight: messages.len() - queued,
            queued,
            messages,
            stored: stored.clone(),
        })
    }
}
