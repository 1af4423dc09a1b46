//! Waiting for a change of the connection.

use crate::error::ConnectError;
use crate::hub::shared::{Shared, State};
use crate::hub::waiters::{Change, Watcher};
use crate::hub::wakers::Caller;
use martlet_session::Connected;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

impl Shared {
    /// Waits for a connection; fails with the reason when there will be none.
    pub(crate) async fn connected(&self) -> Result<Arc<Connected>, ConnectError> {
        self.watch(|state| {
            if let Some(connected) = state.connection.connected() {
                return Poll::Ready(Ok(Arc::clone(connected)));
            }
            match state.connection.stopped() {
                Some(error) => Poll::Ready(Err(error.clone().into())),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Waits until `look` finds something. It looks again whenever the connection changes.
    pub(crate) async fn watch<T>(&self, look: impl FnMut(&mut State) -> Poll<T>) -> T {
        self.watch_for(Change::Connection, look).await
    }

    /// The same, at each such change.
    pub(crate) async fn watch_for<T>(
        &self,
        change: Change,
        mut look: impl FnMut(&mut State) -> Poll<T>,
    ) -> T {
        let mut watch = Watch {
            shared: self,
            watcher: Watcher::new(change),
        };
        poll_fn(|cx| {
            let shared = watch.shared;
            shared.poll(Caller::new(cx), |state, caller| {
                let found = look(state);
                if found.is_pending() {
                    state.waiters.watch(&mut watch.watcher, caller);
                    if caller.is_kept() {
                        caller.wake_later(state.call_driver());
                    }
                }
                found
            })
        })
        .await
    }
}

struct Watch<'a> {
    shared: &'a Shared,
    watcher: Watcher,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.watcher.has_waited() {
            let state = &mut *self.shared.lock();
            let waiters = &mut state.waiters;
            waiters.unwatch(&self.watcher, &mut state.deferred);
        }
    }
}
