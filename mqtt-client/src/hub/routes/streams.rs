//! All streams: those of subscriptions, and the stream of unmatched messages.

use crate::hub::route::{ReaderState, Route, RouteKey, StreamOptions, UNMATCHED};
use crate::hub::stream_statistics::StreamStatistics;
use slab::Slab;

#[derive(Debug)]
pub(super) struct StreamTable {
    subscriptions: Slab<Route>,
    pub(super) unmatched: Route,
}

impl Default for StreamTable {
    fn default() -> Self {
        let mut unmatched = Route::new(StreamOptions::default());
        unmatched.reader.state = ReaderState::Ignored;
        Self {
            subscriptions: Slab::new(),
            unmatched,
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
        if key == UNMATCHED {
            Some(&mut self.unmatched)
        } else {
            self.subscriptions.get_mut(key)
        }
    }

    /// Those of subscriptions.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = &Route> {
        self.subscriptions.iter().map(|(_, route)| route)
    }

    /// What waits in them, from this place on: that of unmatched messages first. Returns the place
    /// that follows after `most`, if there are more.
    pub(super) fn look_at(
        &self,
        from: usize,
        most: usize,
        statistics: &mut Vec<StreamStatistics>,
    ) -> Option<usize> {
        if from == 0 {
            statistics.push(self.unmatched.statistics());
        }
        let end = from.saturating_add(most).min(self.subscriptions.capacity());
        let routes = (from..end).filter_map(|key| self.subscriptions.get(key));
        statistics.extend(routes.map(Route::statistics));
        (end < self.subscriptions.capacity()).then_some(end)
    }

    /// The stream of unmatched messages first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Route> {
        std::iter::once(&self.unmatched).chain(self.subscriptions())
    }

    /// The stream of unmatched messages first.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (RouteKey, &mut Route)> {
        std::iter::once((UNMATCHED, &mut self.unmatched)).chain(&mut self.subscriptions)
    }
}
