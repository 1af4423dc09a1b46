//! What is dropped only once the lock is released: wakers that nobody needs any more, topics and payloads of messages
//! that have come to their end. Their `Drop` may be anybody's code, and may call the client.

use crate::shared::State;
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
struct Spent(Lists);

impl Drop for Spent {
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

/// The state under its lock. What is spent when this goes is dropped after the unlock.
pub(crate) struct Locked<'a> {
    // In this order: fields are dropped from the first to the last.
    state: MutexGuard<'a, State>,
    spent: Spent,
}

impl<'a> Locked<'a> {
    #[inline]
    pub(crate) fn new(state: MutexGuard<'a, State>) -> Self {
        Self { state, spent: Spent::default() }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.state.spent.is_empty() || self.state.session.has_spent() {
            let lists = &mut self.spent.0;
            *lists = EMPTY.try_with(Cell::take).unwrap_or_default();
            std::mem::swap(&mut self.state.spent, &mut lists.wakers);
            self.state.session.poll_spent(&mut lists.bytes);
        }
    }
}

/// Puts the caller's waker where it will be looked for. The one before it is spent.
#[inline]
pub(crate) fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>, spent: &mut Vec<Waker>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => spent.extend(slot.replace(cx.waker().clone())),
    }
}
