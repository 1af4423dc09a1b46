//! Waiting for a future by parking the thread.

use crate::runtime::Reactor;
use std::cell::Cell;
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

thread_local! {
    /// That of this thread, while it waits for nothing.
    static PARKER: Cell<Option<Arc<Parker>>> = const { Cell::new(None) };
}

/// Wakes a thread that waits.
struct Parker {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

/// The moment after this time; `None`: that is further away than any.
pub(crate) fn after(time: Duration) -> Option<Instant> {
    Instant::now().checked_add(time)
}

/// Waits for the future, until `deadline` at most. On a client's own thread, where nothing happens
/// while it waits, the future is polled once.
pub(crate) fn wait<F: IntoFuture>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    // What is polled may wait for something else on this thread: that has another parker.
    let parker = PARKER
        .try_with(Cell::take)
        .ok()
        .flatten()
        .unwrap_or_else(|| {
            Arc::new(Parker {
                thread: thread::current(),
                is_woken: AtomicBool::new(false),
            })
        });
    let output = poll_until(future.into_future(), deadline, &parker);
    // A thread that ends, and drops a client in a variable of its own, has no place for it.
    let _ = PARKER.try_with(|cell| cell.set(Some(parker)));
    output
}

fn poll_until<F: Future>(
    future: F,
    deadline: Option<Instant>,
    parker: &Arc<Parker>,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::clone(parker));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        if Reactor::is_current() {
            return None;
        }
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            if parker.is_woken.swap(false, Ordering::AcqRel) {
                break;
            }
            match left {
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, poll_fn, ready};
    use std::sync::mpsc;

    #[test]
    fn a_future_is_polled_again_when_it_is_woken_and_only_then() {
        let (sender, receiver) = mpsc::channel::<Waker>();
        let thread = thread::spawn(move || {
            for waker in receiver {
                waker.wake();
            }
        });
        let mut polls = 0;
        let waits = poll_fn(|cx| {
            polls += 1;
            if polls == 100 {
                return Poll::Ready(polls);
            }
            sender.send(cx.waker().clone()).unwrap();
            // The thread may be unparked by others.
            thread::current().unpark();
            Poll::Pending
        });
        assert_eq!(wait(waits, None), Some(100));
        drop(sender);
        thread.join().unwrap();
    }

    /// A future that is woken again and again is not waited for beyond the deadline.
    #[test]
    fn a_deadline_ends_the_wait() {
        assert_eq!(wait(pending::<()>(), after(Duration::from_millis(1))), None);
        let mut polls = 0;
        let restless = poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!(wait(restless, after(Duration::from_millis(1))), None);
        assert!(polls > 0);
        // What is there already is taken, however late it is.
        assert_eq!(wait(ready(1), after(Duration::ZERO)), Some(1));
        // Further away than the clock can say, which is not now.
        let mut polls = 0;
        let second = poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls == 2 {
                Poll::Ready(3)
            } else {
                Poll::Pending
            }
        });
        assert_eq!(wait(second, after(Duration::MAX)), Some(3));
    }

    #[test]
    fn no_wait_ends_before_its_time() {
        for micros in [1, 999, 1_500] {
            let time = Duration::from_micros(micros);
            let begin = Instant::now();
            assert_eq!(wait(pending::<()>(), after(time)), None);
            assert!(begin.elapsed() >= time, "{:?}", begin.elapsed());
        }
    }

    /// The wake-up of a wait inside another one is not taken for that of the other.
    #[test]
    fn one_wait_inside_another_takes_no_wake_up_of_it() {
        // The thread has a parker from then on.
        assert_eq!(wait(ready(0), None), Some(0));
        let mut is_first = true;
        let outer = poll_fn(|cx| {
            if !std::mem::take(&mut is_first) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            assert_eq!(wait(pending::<()>(), after(Duration::from_millis(1))), None);
            Poll::Pending
        });
        assert_eq!(wait(outer, None), Some(()));
    }
}
