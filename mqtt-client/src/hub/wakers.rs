//! Wakers and the lock. To clone, wake or drop a waker may be the application's code, which may call the
//! client: none of it is done while the lock is held.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Waker};

/// A waker that is kept under the lock. It has no `Clone`: it is made without the lock.
#[derive(Debug)]
pub(crate) struct KeptWaker(Waker);

impl KeptWaker {
    /// The caller's waker, before the lock is taken.
    #[inline]
    pub(crate) fn cloned(cx: &Context<'_>) -> Self {
        Self(cx.waker().clone())
    }

    /// Wakes the task, once the lock is released.
    #[inline]
    pub(crate) fn wake(self) {
        self.0.wake();
    }
}

/// The task that polls. [`Shared::poll`](crate::hub::shared::Shared::poll) owns it: it clones the waker,
/// and drops and wakes those collected here, without the lock.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    waker: &'a Waker,
    clone: Option<KeptWaker>,
    /// A clone was wanted where there was none.
    is_wanted: bool,
    /// The waker whose place was taken.
    replaced: Option<KeptWaker>,
    driver: Option<KeptWaker>,
}

impl<'a> Caller<'a> {
    /// For what may be ready: the waker is cloned when it turns out that it is needed.
    #[inline]
    pub(crate) fn new(cx: &Context<'a>) -> Self {
        Self::with(cx, None)
    }

    /// With a clone of its waker, if there is one already.
    #[inline]
    pub(crate) fn with(cx: &Context<'a>, clone: Option<KeptWaker>) -> Self {
        Self {
            waker: cx.waker(),
            clone,
            is_wanted: false,
            replaced: None,
            driver: None,
        }
    }

    /// Keeps the waker in this place; where there is no clone yet, that is for the next time that the
    /// caller polls.
    #[inline]
    pub(crate) fn wait_in(&mut self, place: &mut Option<KeptWaker>) {
        if place.as_ref().is_some_and(|kept| self.is_woken_by(kept)) {
            return;
        }
        if let Some(clone) = self.take_clone() {
            self.replaced = place.replace(clone);
        }
    }

    /// Keeps the waker under this key.
    pub(crate) fn wait_at<K: Ord>(&mut self, places: &mut BTreeMap<K, KeptWaker>, key: K) {
        match places.entry(key) {
            Entry::Occupied(kept) if self.is_woken_by(kept.get()) => {}
            Entry::Occupied(mut kept) => {
                if let Some(clone) = self.take_clone() {
                    self.replaced = Some(kept.insert(clone));
                }
            }
            Entry::Vacant(place) => {
                if let Some(clone) = self.take_clone() {
                    place.insert(clone);
                }
            }
        }
    }

    /// Whether this wakes the caller. That compares two addresses.
    #[inline]
    fn is_woken_by(&self, kept: &KeptWaker) -> bool {
        kept.0.will_wake(self.waker)
    }

    #[inline]
    fn take_clone(&mut self) -> Option<KeptWaker> {
        let clone = self.clone.take();
        self.is_wanted |= clone.is_none();
        clone
    }

    /// Whether its waker is where it was to be kept. Otherwise it polls once more.
    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        !self.is_wanted
    }

    /// Wakes the driver, if there is one to wake, after the unlock.
    #[inline]
    pub(crate) fn wake_later(&mut self, driver: Option<KeptWaker>) {
        if driver.is_some() {
            self.driver = driver;
        }
    }

    /// The lock is released. Returns whether to poll once more, with a clone of the waker: where the
    /// caller `has_to_wait` and its waker is not kept yet.
    #[inline]
    pub(crate) fn handle_unlocked(&mut self, has_to_wait: bool) -> bool {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
        let again = has_to_wait && std::mem::take(&mut self.is_wanted);
        if again {
            self.clone = Some(KeptWaker(self.waker.clone()));
        }
        again
    }
}

/// Wakers that are collected under the lock. Wake them with [`wake`](Self::wake) once it is released.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Vec<KeptWaker>);

impl Wakers {
    #[inline]
    pub(crate) fn push(&mut self, waker: KeptWaker) {
        self.0.push(waker);
    }

    pub(crate) fn take(&mut self, waker: &mut Option<KeptWaker>) {
        self.0.extend(waker.take());
    }

    /// Wakes all; the memory is kept. If one of them panics, the others are woken before the panic goes
    /// on.
    pub(crate) fn wake(&mut self) {
        let mut panic = None;
        let mut wakers = self.0.drain(..);
        let mut wake_all = || wakers.by_ref().for_each(KeptWaker::wake);
        while let Err(payload) = catch_unwind(AssertUnwindSafe(&mut wake_all)) {
            panic.get_or_insert(payload);
        }
        drop(wakers);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

/// What was not woken because something panicked is woken now.
impl Drop for Wakers {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            // A panic here would be the second.
            let _ = catch_unwind(AssertUnwindSafe(|| self.wake()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Counted {
        woken: Arc<AtomicUsize>,
        panics: bool,
    }

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.woken.fetch_add(1, Ordering::Relaxed);
            assert!(!self.panics, "a waker");
        }
    }

    /// The second and the fourth of five panic.
    fn five(woken: &Arc<AtomicUsize>) -> Wakers {
        let mut wakers = Wakers::default();
        for n in 0..5 {
            let counted = Counted {
                woken: Arc::clone(woken),
                panics: n % 2 == 1,
            };
            wakers.push(KeptWaker(Arc::new(counted).into()));
        }
        wakers
    }

    /// Those behind a waker that panicked were dropped, and slept for ever.
    #[test]
    fn a_waker_that_panics_keeps_nobody_asleep() {
        let woken = Arc::new(AtomicUsize::new(0));
        let mut wakers = five(&woken);
        let panic = catch_unwind(AssertUnwindSafe(|| wakers.wake())).expect_err("it goes on");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"a waker"));
        assert_eq!(woken.load(Ordering::Relaxed), 5);
        wakers.wake();
        assert_eq!(woken.load(Ordering::Relaxed), 5, "each once");
    }

    /// What was collected is woken also where something else panics first.
    #[test]
    fn a_panic_before_they_are_woken_keeps_nobody_asleep() {
        let woken = Arc::new(AtomicUsize::new(0));
        drop(five(&woken));
        assert_eq!(woken.load(Ordering::Relaxed), 5);
    }

    /// Each poll of something that was ready would pay for a clone; one that waits on in its place needs
    /// none either.
    #[test]
    fn a_waker_is_cloned_once_and_only_where_it_has_to_wait() {
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&counted));
        let clones = || Arc::strong_count(&counted) - 2;
        let mut caller = Caller::new(&Context::from_waker(&waker));
        let mut place = None;
        caller.wait_in(&mut place);
        assert!(!caller.handle_unlocked(false), "it is ready in the end");
        assert_eq!((clones(), place.is_some()), (0, false));
        caller.wait_in(&mut place);
        assert!(caller.handle_unlocked(true), "once more, with a clone");
        caller.wait_in(&mut place);
        assert!(!caller.handle_unlocked(true));
        assert_eq!((clones(), place.is_some()), (1, true));
        caller.wait_in(&mut place);
        assert!(!caller.handle_unlocked(true), "it waits there");
        assert_eq!(clones(), 1);
    }
}
