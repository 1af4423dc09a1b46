//! Where the waker of a task is kept.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The waker of a task that waits for one thing. To clone, wake or drop a waker may be code of
/// others, which may touch the same loop or wait for it: all of it is done in here, and without the
/// lock. Nothing else of the loop owns a waker, so that it need not care.
#[derive(Debug, Default)]
pub(crate) struct Place(Mutex<Option<Waker>>);

impl Place {
    fn kept(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a clone of this waker, in place of what was kept. The caller looks afterwards whether
    /// what it waits for has happened: what happens from then on wakes it.
    pub(crate) fn keep(&self, waker: &Waker) {
        // Compares two addresses.
        let is_kept = |kept: &Waker| kept.will_wake(waker);
        if self.kept().as_ref().is_some_and(is_kept) {
            return;
        }
        let clone = waker.clone();
        let replaced = self.kept().replace(clone);
        drop(replaced);
    }

    /// Wakes the task, if one waits.
    pub(crate) fn wake(&self) {
        let kept = self.kept().take();
        if let Some(waker) = kept {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::Wake;
    use std::thread;
    use std::time::Duration;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A future may be polled by another task than before, which is the one to wake then; once.
    #[test]
    fn the_last_waker_is_woken_once() {
        let place = Place::default();
        let tasks = [(); 2].map(|()| Arc::<Counted>::default());
        for task in [&tasks[0], &tasks[1], &tasks[1]] {
            place.keep(&Waker::from(Arc::clone(task)));
        }
        let woken = || tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed));
        let kept = || tasks.each_ref().map(|task| Arc::strong_count(task) - 1);
        assert_eq!((woken(), kept()), ([0, 0], [0, 1]));
        place.wake();
        place.wake();
        assert_eq!((woken(), kept()), ([0, 1], [0, 0]));
    }

    /// Its task is polled at once, and waits again.
    struct Again(Arc<Place>);

    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            self.0.keep(Waker::noop());
        }
    }

    /// It hung where it was woken under the lock.
    #[test]
    fn a_waker_that_is_woken_keeps_another() {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let place = Arc::<Place>::default();
            let again = Arc::new(Again(Arc::clone(&place)));
            place.keep(&Waker::from(again));
            place.wake();
            done.send(place.kept().is_some()).unwrap();
        });
        assert_eq!(is_done.recv_timeout(Duration::from_secs(60)), Ok(true));
    }
}
