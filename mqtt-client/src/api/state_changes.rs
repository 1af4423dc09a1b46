//! The state of the connection as a stream of changes.

use crate::hub::connection::ConnectionState;
use crate::hub::shared::Shared;
use crate::hub::waiters::{Change, Watcher};
use crate::hub::wakers::Caller;
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The states of a connection, from [`Client::state_changes`](crate::Client::state_changes): first
/// the present one, then each that comes. The latest counts: a reader that looks late misses those
/// in between, so nothing piles up. Ends after [`Closed`](ConnectionState::Closed), and after
/// [`Stopped`](ConnectionState::Stopped), and goes on
/// when the client is revived. It does not keep the client connected, as clients and subscriptions
/// do.
///
/// ```
/// # use martlet_client::{Client, ConnectionState};
/// # async fn example(client: Client) {
/// let mut states = client.state_changes();
/// while let Some(state) = states.next().await {
///     println!("{state}");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct StateChanges {
    shared: Arc<Shared>,
    seen: Option<u64>,
    watcher: Watcher,
}

impl StateChanges {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            seen: None,
            watcher: Watcher::new(Change::Connection),
        }
    }

    /// The next state; `None` at the end. Cancel safe: a state is taken only when this is ready.
    pub async fn next(&mut self) -> Option<ConnectionState> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<ConnectionState>> {
        self.shared.poll(Caller::new(cx), |state, caller| {
            let connection = &state.connection;
            if self.seen != Some(connection.version()) {
                self.seen = Some(connection.version());
                return Poll::Ready(Some(connection.state()));
            }
            if connection.stopped().is_some() {
                return Poll::Ready(None);
            }
            state.waiters.watch(&mut self.watcher, caller);
            Poll::Pending
        })
    }
}

impl Stream for StateChanges {
    type Item = ConnectionState;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnectionState>> {
        self.poll(cx)
    }
}

impl Drop for StateChanges {
    fn drop(&mut self) {
        if self.watcher.has_waited() {
            let state = &mut *self.shared.lock();
            let waiters = &mut state.waiters;
            waiters.unwatch(&self.watcher, &mut state.deferred);
        }
    }
}
