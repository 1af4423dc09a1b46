//! Work that blocks, on a thread of its own.

use crate::runtime::place::Place;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;

/// Runs `work`, which may block, on a thread of its own, and returns a future of its result: for
/// hooks, which must not block the client's thread.
///
/// The future fails when the thread cannot be started, or `work` panics. Dropping it does not stop
/// the thread, whose result is then dropped.
///
/// ```
/// use martlet_blocking::{Client, hooks::GivenUp, runtime::off_thread};
/// # fn fetch_token() -> String { String::new() }
///
/// let builder = Client::builder("mqtt://broker.example").before_connect(|mut attempt| async move {
///     let token = off_thread(fetch_token).await.map_err(GivenUp::for_now)?;
///     attempt.set_credentials("device-7", token)?;
///     Ok(attempt)
/// });
/// ```
pub fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> OffThread<T> {
    let slot = Arc::<Slot<T>>::default();
    let result = Fills(Arc::clone(&slot));
    let run = move || result.0.fill(Ok(work()));
    if let Err(error) = thread::Builder::new()
        .name("martlet-work".into())
        .spawn(run)
    {
        // The future was not polled yet, so no waker is there.
        slot.state().result = Some(Err(error));
    }
    OffThread(slot)
}

/// The result of [`off_thread`].
#[must_use = "the result is dropped unless it is awaited"]
pub struct OffThread<T>(Arc<Slot<T>>);

impl<T> Future for OffThread<T> {
    type Output = io::Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.0.take() {
            return Poll::Ready(result);
        }
        self.0.waiting.keep(cx.waker());
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> fmt::Debug for OffThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffThread").finish_non_exhaustive()
    }
}

struct Slot<T> {
    state: Mutex<State<T>>,
    waiting: Place,
}

struct State<T> {
    result: Option<io::Result<T>>,
    is_filled: bool,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                result: None,
                is_filled: false,
            }),
            waiting: Place::default(),
        }
    }
}

impl<T> Slot<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<io::Result<T>> {
        self.state().result.take()
    }

    /// The first result counts.
    fn fill(&self, result: io::Result<T>) {
        let mut state = self.state();
        if state.is_filled {
            return;
        }
        state.is_filled = true;
        state.result = Some(result);
        drop(state);
        self.waiting.wake();
    }
}

/// Fills the slot when the work panics.
struct Fills<T>(Arc<Slot<T>>);

impl<T> Drop for Fills<T> {
    fn drop(&mut self) {
        self.0.fill(Err(io::Error::other("the work panicked")));
    }
}
