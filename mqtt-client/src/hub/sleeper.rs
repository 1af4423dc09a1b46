//! Waiting for a moment.

use crate::hub::shared::Shared;
use crate::hub::wakers::Caller;
use martlet_session::Instant;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Waits for a moment; the driver's timer does the waiting.
#[derive(Debug)]
pub(crate) struct Sleeper {
    shared: Arc<Shared>,
    at: Instant,
    id: Option<u64>,
}

impl Sleeper {
    pub(crate) fn new(shared: &Arc<Shared>, timeout: Duration) -> Self {
        Self {
            shared: Arc::clone(shared),
            at: shared.now() + timeout,
            id: None,
        }
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let shared = &self.shared;
        if shared.now() >= self.at {
            return Poll::Ready(());
        }
        shared.poll(Caller::new(cx), |state, caller| {
            if state.connection.is_finished() {
                return Poll::Ready(());
            }
            let id = *self.id.get_or_insert_with(|| state.waiters.new_id());
            state.waiters.sleep(self.at, id, caller);
            if caller.is_kept() {
                caller.wake_later(state.call_driver());
            }
            Poll::Pending
        })
    }
}

/// Whether the time has run out, if there is a limit.
#[inline]
pub(crate) fn is_over(sleeper: &mut Option<Box<Sleeper>>, cx: &Context<'_>) -> bool {
    match sleeper {
        Some(sleeper) => sleeper.poll(cx).is_ready(),
        None => false,
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let state = &mut *self.shared.lock();
            state.waiters.unsleep(self.at, id, &mut state.deferred);
        }
    }
}
