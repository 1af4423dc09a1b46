//! Wakers that are collected under the lock and woken after it.

use std::task::Waker;

/// Wake them with [`wake`](Self::wake) once the lock is released.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    #[inline]
    pub(crate) fn push(&mut self, waker: Waker) {
        self.0.push(waker);
    }

    pub(crate) fn take(&mut self, waker: &mut Option<Waker>) {
        self.0.extend(waker.take());
    }

    /// Wakes all; the memory is kept.
    pub(crate) fn wake(&mut self) {
        for waker in self.0.drain(..) {
            waker.wake();
        }
    }
}
