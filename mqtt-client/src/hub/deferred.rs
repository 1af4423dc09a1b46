//! Values that are dropped only once the lock is released: wakers that are no longer needed, topics
//! and payloads of completed messages. Their `Drop` may be the application's code, and may call the
//! client.

use crate::hub::wakers::KeptWaker;
use crate::sync::MutexGuard;
use bytes::Bytes;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Lists with more room than this are not kept: a burst does not cost memory for ever.
const KEPT: usize = 4096;

thread_local! {
    /// Empty lists, for their memory: one pair for each thread, not for each client.
    static EMPTY: Cell<Lists> = const { Cell::new(Lists::NONE) };
}

struct Lists {
    wakers: Vec<KeptWaker>,
    bytes: Vec<Bytes>,
}

impl Lists {
    const NONE: Self = Self {
        wakers: Vec::new(),
        bytes: Vec::new(),
    };
}

/// What was taken out under the lock; empties itself.
struct Deferred(Lists);

impl Deferred {
    /// Takes what `state` has collected.
    #[cold]
    fn take(state: &mut impl Defers) -> Self {
        // When the thread is ending there are no lists to use again.
        let mut lists = EMPTY
            .try_with(|empty| empty.replace(Lists::NONE))
            .unwrap_or(Lists::NONE);
        state.take_deferred(&mut lists.wakers, &mut lists.bytes);
        Self(lists)
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        let Lists { wakers, bytes } = &mut self.0;
        wakers.clear();
        bytes.clear();
        if wakers.capacity() + bytes.capacity() <= KEPT {
            let lists = std::mem::replace(&mut self.0, Lists::NONE);
            let _ = EMPTY.try_with(|empty| empty.set(lists));
        }
    }
}

/// What is kept under a lock and collects what is to be dropped after the unlock.
pub(crate) trait Defers {
    /// Whether anything has been collected.
    fn has_deferred(&self) -> bool;

    /// Moves it to the ends of these lists, which are empty.
    fn take_deferred(&mut self, wakers: &mut Vec<KeptWaker>, bytes: &mut Vec<Bytes>);
}

/// The state under its lock. What it has deferred when this goes is dropped after the unlock.
pub(crate) struct Locked<'a, T: Defers> {
    // In this order: fields are dropped from the first to the last.
    state: MutexGuard<'a, T>,
    /// `None`: nothing was deferred, as is usual, and there is nothing to drop.
    deferred: Option<Deferred>,
}

impl<'a, T: Defers> Locked<'a, T> {
    #[inline]
    pub(crate) fn new(state: MutexGuard<'a, T>) -> Self {
        Self {
            state,
            deferred: None,
        }
    }
}

impl<T: Defers> Deref for Locked<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T: Defers> DerefMut for Locked<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

impl<T: Defers> Drop for Locked<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.state.has_deferred() {
            self.deferred = Some(Deferred::take(&mut *self.state));
        }
    }
}
