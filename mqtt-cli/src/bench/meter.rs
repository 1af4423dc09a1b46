//! What the tasks of one thread have counted and measured so far. The command reads it while they
//! run.

use super::latency::{Interval, Latency};
use crate::exit::{Failure, Status};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A number that tasks add to.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one thread.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Messages that clients have accepted to publish.
    pub(super) sent: Counter,
    pub(super) acknowledged: Counter,
    /// Messages that were sent and failed.
    pub(super) failed: Counter,
    /// Messages that a client did not accept, which ends its publishing.
    pub(super) not_accepted: Counter,
    /// Messages that were sent and not answered by the end.
    pub(super) unanswered: Counter,
    /// Messages that were due and that no client had taken when the run ended.
    pub(super) unsent: Counter,
    /// Messages due that no client has taken yet.
    pub(super) behind: Counter,
    /// Messages that came, without foreign ones.
    pub(super) received: Counter,
    pub(super) bytes: Counter,
    /// Of them, those that came for the first time.
    pub(super) distinct: Counter,
    pub(super) duplicates: Counter,
    pub(super) out_of_order: Counter,
    /// Messages that did not come, where the subscriber knows that: it has seen later ones.
    pub(super) missing: Counter,
    /// Messages of another run, or of other programs.
    pub(super) foreign: Counter,
    /// Messages without a header, which no latency is known of.
    pub(super) unstamped: Counter,
    /// Messages that came before they were due: the clocks differ.
    pub(super) early: Counter,
    /// Connections that were tried, made, not made, and lost for good.
    pub(super) attempted: Counter,
    pub(super) connected: Counter,
    pub(super) not_connected: Counter,
    /// Connections that were made when the last of all had been due.
    pub(super) late: Counter,
    pub(super) lost: Counter,
    /// Connections that were made again.
    pub(super) reconnected: Counter,
}

/// Latencies of one kind, of one thread.
#[derive(Debug)]
pub(super) struct Meter(Mutex<Measured>);

/// What is behind the lock of a meter.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) total: Latency,
    /// Since it was read last.
    pub(super) interval: Interval,
    /// Messages, also those without a latency.
    pub(super) messages: u64,
    /// When the first and the last of them came; times of the run.
    pub(super) first: Option<u64>,
    pub(super) last: u64,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Measured {
            total: Latency::new(),
            interval: Interval::new(),
            messages: 0,
            first: None,
            last: 0,
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    /// A message that came now, and took this long.
    pub(super) fn record(&mut self, now: u64, nanoseconds: u64) {
        self.total.record(nanoseconds);
        self.interval.record(nanoseconds);
        self.messages += 1;
        self.see(now);
    }

    /// Messages that have waited for this long and were not answered: they are slower than that.
    pub(super) fn at_least(&mut self, nanoseconds: u64, messages: u64) {
        self.total.record_many(nanoseconds, messages);
    }

    /// Messages that came now, and have no latency.
    pub(super) fn count(&mut self, now: u64, messages: u64) {
        self.interval.messages += messages;
        self.messages += messages;
        self.see(now);
    }

    fn see(&mut self, now: u64) {
        self.first.get_or_insert(now);
        self.last = self.last.max(now);
    }
}

/// Messages that all subscribers together are to receive.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
}

impl Budget {
    pub(super) fn new(messages: Option<u64>) -> Self {
        Self {
            left: AtomicU64::new(messages.unwrap_or(u64::MAX)),
        }
    }

    /// Takes one message; false when there is none left.
    pub(super) fn take(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

/// What went wrong: each text once, with how often.
#[derive(Debug, Default)]
pub(super) struct Errors(Mutex<Vec<(Failure, u64)>>);

/// Other texts than these are counted together.
const MOST_TEXTS: usize = 10;

impl Errors {
    pub(super) fn add(&self, failure: Failure) {
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = errors.iter_mut().find(|(found, _)| *found == failure) {
            *count += 1;
            return;
        }
        if errors.len() < MOST_TEXTS {
            errors.push((failure, 1));
            return;
        }
        let others = Failure::new(Status::Partial, "other errors");
        match errors.iter_mut().find(|(found, _)| *found == others) {
            Some((_, count)) => *count += 1,
            None => errors.push((others, 1)),
        }
    }

    pub(super) fn list(&self) -> Vec<(Failure, u64)> {
        let errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        errors.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_their_text_and_bounded() {
        let errors = Errors::default();
        for number in 0..1000 {
            errors.add(Failure::new(Status::Publish, format!("{}", number % 20)));
        }
        let list = errors.list();
        assert_eq!(list.len(), MOST_TEXTS + 1);
        assert_eq!(list[0].1, 50);
        assert_eq!(list.iter().map(|(_, count)| count).sum::<u64>(), 1000);
    }

    #[test]
    fn what_was_not_answered_is_in_the_percentiles_and_not_among_the_answers() {
        let meter = Meter::new();
        let mut measured = meter.lock();
        measured.record(7, 1_000);
        measured.at_least(1_000_000_000, 1);
        measured.count(9, 5);
        assert_eq!(measured.messages, 6);
        assert_eq!(measured.interval.messages, 6);
        assert_eq!((measured.first, measured.last), (Some(7), 9));
        let found = measured.total.percentiles().unwrap();
        assert_eq!(found.count, 2);
        assert!(found.max >= 1_000_000.0);
    }
}
