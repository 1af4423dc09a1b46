//! Tasks that wait for a change of the connection, or for a moment.

use crate::hub::wakers::Wakers;
use martlet_session::Instant;
use std::collections::BTreeMap;
use std::task::{Context, Waker};

/// Those who wait, by numbers that are used once.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// For a change of the connection, or for the socket to take everything.
    watchers: BTreeMap<u64, Waker>,
    /// For a moment.
    sleepers: BTreeMap<(Instant, u64), Waker>,
    last_id: u64,
}

impl Waiters {
    pub(crate) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Waits for a change, under a number that the first call sets.
    pub(crate) fn watch(
        &mut self,
        id: &mut Option<u64>,
        cx: &Context<'_>,
        deferred: &mut Vec<Waker>,
    ) {
        let id = *id.get_or_insert_with(|| self.new_id());
        deferred.extend(self.watchers.insert(id, cx.waker().clone()));
    }

    pub(crate) fn unwatch(&mut self, id: u64, deferred: &mut Vec<Waker>) {
        deferred.extend(self.watchers.remove(&id));
    }

    /// Something has changed that watchers may wait for.
    pub(crate) fn notify(&mut self, wakers: &mut Wakers) {
        for (_, waker) in std::mem::take(&mut self.watchers) {
            wakers.push(waker);
        }
    }

    pub(crate) fn sleep(
        &mut self,
        at: Instant,
        id: u64,
        cx: &Context<'_>,
        deferred: &mut Vec<Waker>,
    ) {
        deferred.extend(self.sleepers.insert((at, id), cx.waker().clone()));
    }

    pub(crate) fn unsleep(&mut self, at: Instant, id: u64, deferred: &mut Vec<Waker>) {
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
