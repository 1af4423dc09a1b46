//! Tasks that wait for a change of the connection, or for a moment.

use crate::hub::wakers::{Caller, KeptWaker, Wakers};
use martlet_session::Instant;
use std::collections::BTreeMap;

/// Those who wait, by numbers that are used once.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// For a change of the connection, or for the socket to take everything as well.
    watchers: BTreeMap<(Change, u64), KeptWaker>,
    /// For a moment.
    sleepers: BTreeMap<(Instant, u64), KeptWaker>,
    last_id: u64,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// The connection changes.
    Connection,
    /// That, or the socket has taken everything.
    Flushed,
}

/// One who waits for a change; it has a number from its first wait on.
#[derive(Debug)]
pub(crate) struct Watcher {
    change: Change,
    id: Option<u64>,
}

impl Watcher {
    pub(crate) fn new(change: Change) -> Self {
        Self { change, id: None }
    }

    /// Whether it may be among those who wait.
    pub(crate) fn has_waited(&self) -> bool {
        self.id.is_some()
    }
}

impl Waiters {
    pub(crate) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Waits for a change.
    pub(crate) fn watch(&mut self, watcher: &mut Watcher, caller: &mut Caller<'_>) {
        let id = *watcher.id.get_or_insert_with(|| self.new_id());
        caller.wait_at(&mut self.watchers, (watcher.change, id));
    }

    pub(crate) fn unwatch(&mut self, watcher: &Watcher, deferred: &mut Vec<KeptWaker>) {
        let key = watcher.id.map(|id| (watcher.change, id));
        deferred.extend(key.and_then(|key| self.watchers.remove(&key)));
    }

    /// Something has changed that watchers may wait for.
    pub(crate) fn notify(&mut self, wakers: &mut Wakers) {
        for (_, waker) in std::mem::take(&mut self.watchers) {
            wakers.push(waker);
        }
    }

    /// The socket has taken everything.
    pub(crate) fn notify_flushed(&mut self, wakers: &mut Wakers) {
        for (_, waker) in self.watchers.split_off(&(Change::Flushed, 0)) {
            wakers.push(waker);
        }
    }

    pub(crate) fn sleep(&mut self, at: Instant, id: u64, caller: &mut Caller<'_>) {
        caller.wait_at(&mut self.sleepers, (at, id));
    }

    pub(crate) fn unsleep(&mut self, at: Instant, id: u64, deferred: &mut Vec<KeptWaker>) {
        deferred.extend(self.sleepers.remove(&(at, id)));
    }

    /// When somebody is to be woken next.
    pub(crate) fn next_sleeper(&self) -> Option<Instant> {
        self.sleepers.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Wakes those whose moment has come.
    pub(crate) fn wake_sleepers(&mut self, now: Instant, wakers: &mut Wakers) {
        while let Some(entry) = self.sleepers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            wakers.push(entry.remove());
        }
    }

    pub(crate) fn wake_all_sleepers(&mut self, wakers: &mut Wakers) {
        for (_, waker) in std::mem::take(&mut self.sleepers) {
            wakers.push(waker);
        }
    }
}
