//! Waiting for a change of the connection.

use crate::error::ConnectError;
use crate::hub::shared::{Shared, State, wake};
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

    /// Waits until `look` finds something. It looks again whenever the connection changes, and when
    /// the socket has taken everything.
    pub(crate) async fn watch<T>(&self, mut look: impl FnMut(&mut State) -> Poll<T>) -> T {
        let mut watch = Watch {
            shared: self,
            id: None,
        };
        poll_fn(|cx| {
            let mut state = watch.shared.lock();
            let found = look(&mut state);
            if found.is_pending() {
                let State {
                    waiters, deferred, ..
                } = &mut *state;
                waiters.watch(&mut watch.id, cx, deferred);
                let driver = state.call_driver();
                drop(state);
                wake(driver);
            }
            found
        })
        .await
    }
}

struct Watch<'a> {
    shared: &'a Shared,
    id: Option<u64>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let state = &mut *self.shared.lock();
            state.waiters.unwatch(id, &mut state.deferred);
        }
    }
}
