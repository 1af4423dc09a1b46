//! The place of a stream among the routes, held by the stream.

use crate::hub::route::RouteKey;
use crate::hub::shared::{Handle, State};
use crate::hub::wakers::Wakers;
use std::sync::Arc;

/// A stream's place among the routes.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) handle: Arc<Handle>,
    pub(crate) key: RouteKey,
    /// What names the stream, if its messages are acknowledged by position.
    pub(crate) stream: u64,
    pub(crate) keep_on_server: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut wakers = Wakers::default();
        self.handle.shared.act(|state: &mut State, now| {
            state.drop_superseded();
            if self.keep_on_server {
                return state
                    .routes
                    .detach(self.key, now, &mut wakers, &mut state.deferred);
            }
            let filters = state.routes.remove(self.key, &mut state.deferred);
            state.conclude_dropped();
            state.withdraw_subscriptions(now, filters);
        });
        wakers.wake();
    }
}
