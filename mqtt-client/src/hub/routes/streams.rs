//! All streams: those of subscriptions, and the catch-all.

use crate::hub::route::{CATCH_ALL, ReaderState, Route, RouteKey, StreamOptions};
use slab::Slab;

#[derive(Debug)]
pub(super) struct StreamTable {
    subscriptions: Slab<Route>,
    pub(super) catch_all: Route,
}

impl Default for StreamTable {
    fn default() -> Self {
        let mut catch_all = Route::new(StreamOptions::default());
        catch_all.reader.state = ReaderState::Ignored;
        Self {
            subscriptions: Slab::new(),
            catch_all,
        }
    }
}

impl StreamTable {
    pub(super) fn insert(&mut self, route: Route) -> RouteKey {
        self.subscriptions.insert(route)
    }

    /// Removes the stream of a subscription.
    pub(super) fn remove(&mut self, key: RouteKey) -> Option<Route> {
        self.subscriptions.try_remove(key)
    }

    /// The stream of a subscription.
    pub(super) fn subscription(&self, key: RouteKey) -> Option<&Route> {
        self.subscriptions.get(key)
    }

    /// The stream of a subscription.
    #[inline]
    pub(super) fn subscription_mut(&mut self, key: RouteKey) -> Option<&mut Route> {
        self.subscriptions.get_mut(key)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: RouteKey) -> Option<&mut Route> {
        if key == CATCH_ALL {
            Some(&mut self.catch_all)
        } else {
            self.subscriptions.get_mut(key)
        }
    }

    /// Those of subscriptions.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = &Route> {
        self.subscriptions.iter().map(|(_, route)| route)
    }

    /// The catch-all first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Route> {
        std::iter::once(&self.catch_all).chain(self.subscriptions())
    }

    /// The catch-all first.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (RouteKey, &mut Route)> {
        std::iter::once((CATCH_ALL, &mut self.catch_all)).chain(&mut self.subscriptions)
    }
}
