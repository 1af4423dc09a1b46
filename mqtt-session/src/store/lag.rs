//! For how long the store has been behind.

use crate::Instant;
use alloc::collections::VecDeque;
use core::time::Duration;

/// What a store has not done yet, of a durable session: from
/// [`Session::store_lag`](crate::Session::store_lag).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreLag {
    /// Operations that the store has not committed.
    pub operations: usize,
    /// For how long the oldest of those that were handed out has waited.
    pub oldest: Duration,
}

/// At most this many moments are remembered; of more, every other one is forgotten, and what was
/// handed out then counts as handed out at the moment before it.
const MOMENTS: usize = 32;

/// When operations were handed out that are not stored: for each moment the first of them.
#[derive(Debug, Default)]
pub(crate) struct Lag(VecDeque<(u64, Instant)>);

impl Lag {
    /// This operation is handed out.
    #[inline]
    pub(crate) fn hand_out(&mut self, operation: u64, now: Instant) {
        if self.0.back().is_some_and(|&(_, at)| at >= now) {
            return;
        }
        if self.0.len() == MOMENTS {
            let mut is_kept = false;
            self.0.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
        }
        self.0.push_back((operation, now));
    }

    /// Operations up to this one are stored; `is_all`: nothing that was handed out is left.
    pub(crate) fn confirm(&mut self, stored: u64, is_all: bool) {
        if is_all {
            return self.0.clear();
        }
        while self.0.get(1).is_some_and(|&(first, _)| first <= stored + 1) {
            self.0.pop_front();
        }
    }

    /// When the oldest was handed out.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.0.front().map(|&(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn at(secs: u64) -> Instant {
        Instant::from_epoch(Duration::from_secs(secs))
    }

    #[test]
    fn the_oldest_is_what_was_not_stored() {
        let mut lag = Lag::default();
        for (operation, secs) in [(1, 10), (2, 10), (3, 11), (4, 12)] {
            lag.hand_out(operation, at(secs));
        }
        lag.confirm(1, false);
        assert_eq!(lag.oldest(), Some(at(10)));
        lag.confirm(2, false);
        assert_eq!(lag.oldest(), Some(at(11)));
        lag.confirm(4, true);
        assert_eq!(lag.oldest(), None);
    }

    #[test]
    fn it_does_not_grow() {
        let mut lag = Lag::default();
        for n in 1..=1000 {
            lag.hand_out(n, at(n));
            assert!(lag.0.len() <= MOMENTS);
        }
        assert_eq!(lag.oldest(), Some(at(1)));
        lag.confirm(990, false);
        let oldest = lag.oldest().unwrap();
        assert!(oldest <= at(991) && oldest >= at(900), "{oldest:?}");
    }
}
