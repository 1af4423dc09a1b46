//! The connection as it is, as a value and as a stream of changes.

use crate::client::Client;
use crate::shared::{Shared, State};
use crate::wakers::Wakers;
use futures_core::Stream;
use martlet_session::{Connected, ConnectionError};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// What a client's connection is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// An attempt is under way, or about to begin.
    Connecting {
        /// 1 for the first attempt of a client, and for the first after a connection; one more for each that fails.
        attempt: u32,
    },
    /// The server has accepted the connection.
    Connected(Arc<Connected>),
    /// There is no connection, and another attempt will be made.
    Disconnected {
        /// Why the last attempt or connection ended.
        why: ConnectionError,
        /// How long it is, from when this state began, to the next attempt.
        retry_in: Duration,
    },
    /// There is no connection, and there will be none.
    GaveUp {
        /// Why: [`ClosedHere`](ConnectionError::ClosedHere) after a disconnect, otherwise an error that no attempt would
        /// change, or the last of as many attempts as the policy allows.
        why: ConnectionError,
    },
}

impl Client {
    /// The state of the connection as it is now.
    pub fn state(&self) -> ConnectionState {
        self.shared().lock().connection.state.clone()
    }

    /// The state as it is now, and then each change. [`events`](Self::events) tells more, but nothing of the past.
    pub fn state_changes(&self) -> StateChanges {
        StateChanges { shared: Arc::clone(self.shared()), seen: None, watch: None }
    }
}

/// The states of a connection, from [`Client::state_changes`]: first the present one, then each that comes. The latest
/// counts: a reader that looks late misses those in between, so nothing piles up. Ends after
/// [`GaveUp`](ConnectionState::GaveUp). It does not keep the client connected, as clients and subscriptions do.
#[derive(Debug)]
pub struct StateChanges {
    shared: Arc<Shared>,
    seen: Option<u64>,
    watch: Option<u64>,
}

impl StateChanges {
    /// The next state; `None` at the end. Cancel safe: a state is told only when this is ready.
    pub async fn next(&mut self) -> Option<ConnectionState> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<ConnectionState>> {
        let mut state = self.shared.lock();
        let connection = &state.connection;
        if self.seen != Some(connection.version) {
            self.seen = Some(connection.version);
            return Poll::Ready(Some(connection.state.clone()));
        }
        if matches!(connection.state, ConnectionState::GaveUp { .. }) {
            return Poll::Ready(None);
        }
        state.watch(&mut self.watch, cx);
        Poll::Pending
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
        if let Some(id) = self.watch {
            self.shared.lock().unwatch(id);
        }
    }
}

/// The state, and how many there were before it.
#[derive(Debug)]
pub(crate) struct Connection {
    state: ConnectionState,
    version: u64,
}

impl Default for Connection {
    fn default() -> Self {
        Self { state: ConnectionState::Connecting { attempt: 1 }, version: 0 }
    }
}

impl State {
    pub(crate) fn set_connection(&mut self, state: ConnectionState, wakers: &mut Wakers) {
        self.connection.state = state;
        self.connection.version += 1;
        self.notify_watchers(wakers);
    }

    /// The link is at work on this attempt.
    pub(crate) fn set_connecting(&mut self, attempt: u32, wakers: &mut Wakers) {
        if self.connection.state != (ConnectionState::Connecting { attempt }) {
            self.set_connection(ConnectionState::Connecting { attempt }, wakers);
        }
    }

    /// An attempt or a connection has ended.
    pub(crate) fn set_disconnected(
        &mut self,
        why: ConnectionError,
        retry_in: Option<Duration>,
        wakers: &mut Wakers,
    ) {
        let state = match retry_in {
            Some(retry_in) => ConnectionState::Disconnected { why, retry_in },
            None => ConnectionState::GaveUp { why },
        };
        self.set_connection(state, wakers);
    }
}
