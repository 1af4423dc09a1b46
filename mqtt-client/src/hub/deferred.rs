//! Values that are dropped only once the lock is released: wakers that are no longer needed, topics
//! and payloads of completed messages. Their `Drop` may be the application's code, and may call the
//! client.

use bytes::Bytes;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;
use std::task::{Context, Waker};

/// Lists with more room than this are not kept: a burst does not cost memory for ever.
const KEPT: usize = 4096;

thread_local! {
    /// Empty lists, for their memory: one pair for each thread, not for each client.
    static EMPTY: Cell<Lists> = const { Cell::new(Lists { wakers: Vec::new(), bytes: Vec::new() }) };
}

#[derive(Default)]
struct Lists {
    wakers: Vec<Waker>,
    bytes: Vec<Bytes>,
}

/// What was taken out under the lock; empties itself.
#[derive(Default)]
struct Deferred(Lists);

impl Drop for Deferred {
    fn drop(&mut self) {
        let Lists { wakers, bytes } = &mut self.0;
        if wakers.capacity() + bytes.capacity() == 0 {
            return;
        }
        wakers.clear();
        bytes.clear();
        if wakers.capacity() + bytes.capacity() <= KEPT {
            // When the thread is ending there is nothing to keep them for.
            let _ = EMPTY.try_with(|empty| empty.set(std::mem::take(&mut self.0)));
        }
    }
}

/// What is kept under a lock and collects what is to be dropped after the unlock.
pub(crate) trait Defers {
    /// Whether anything has been collected.
    fn has_deferred(&self) -> bool;

    /// Moves it to the ends of these lists, which are empty.
    fn take_deferred(&mut self, wakers: &mut Vec<Waker>, bytes: &mut Vec<Bytes>);
}

/// The state under its lock. What it has deferred when this goes is dropped after the unlock.
pub(crate) struct Locked<'a, T: Defers> {
    // In this order: fields are dropped from the first to the last.
    state: MutexGuard<'a, T>,
    deferred: Deferred,
}

impl<'a, T: Defers> Locked<'a, T> {
    #[inline]
    pub(crate) fn new(state: MutexGuard<'a, T>) -> Self {
        Self {
            state,
            deferred: Deferred::default(),
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
            let lists = &mut self.deferred.0;
            *lists = EMPTY.try_with(Cell::take).unwrap_or_default();
            self.state
                .take_deferred(&mut lists.wakers, &mut lists.bytes);
        }
    }
}

/// Puts the caller's waker where it will be looked for. The drop of the one before it is deferred.
#[inline]
pub(crate) fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>, deferred: &mut Vec<Waker>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => deferred.extend(slot.replace(cx.waker().clone())),
    }
}
