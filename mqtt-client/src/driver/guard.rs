//! The futures of the application that the driver awaits, and what catches their panics.

use crate::event::Callback;
use martlet_session::GivenUp;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

/// What a hook of the application gives back: a future that the driver polls. It may await what it
/// likes, but must not block, and it is dropped when its deadline or the connection is over. One
/// that panics gives up for now.
pub type HookFuture<T> = Pin<Box<dyn Future<Output = Result<T, GivenUp>> + Send>>;

/// Which callbacks have panicked since the last look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Panics(Arc<AtomicU8>);

impl Panics {
    fn add(&self, callback: Callback) {
        self.0.fetch_or(1 << callback as u8, Ordering::Relaxed);
    }

    pub(crate) fn take(&self) -> impl Iterator<Item = Callback> {
        let panics = self.0.swap(0, Ordering::Relaxed);
        let all = [Callback::BeforeConnect, Callback::Authenticator];
        all.into_iter()
            .filter(move |&callback| panics & (1 << callback as u8) != 0)
    }

    /// Runs the callback.
    pub(crate) fn catch<T>(
        &self,
        callback: Callback,
        run: impl FnOnce() -> T,
    ) -> Result<T, GivenUp> {
        // Whatever state the panic left behind is the application's; it is only called again.
        catch_unwind(AssertUnwindSafe(run)).map_err(|_| {
            self.add(callback);
            // What the panic said may hold secrets, and the panic hook has shown it.
            GivenUp::for_now(format!("{callback} panicked"))
        })
    }

    /// The future of a callback, which gives up where the callback or the future panics.
    pub(crate) fn guard<T: Send + 'static>(
        &self,
        callback: Callback,
        make: impl FnOnce() -> HookFuture<T>,
    ) -> HookFuture<T> {
        match self.catch(callback, make) {
            Ok(future) => Box::pin(Guarded {
                future: Some(future),
                callback,
                panics: self.clone(),
            }),
            Err(why) => Box::pin(std::future::ready(Err(why))),
        }
    }
}

struct Guarded<T> {
    /// `None` once it is done.
    future: Option<HookFuture<T>>,
    callback: Callback,
    panics: Panics,
}

impl<T> Guarded<T> {
    /// Its drop is the application's code, too.
    fn release(&mut self) {
        let future = self.future.take();
        let _ = self.panics.catch(self.callback, || drop(future));
    }
}

impl<T> Future for Guarded<T> {
    type Output = Result<T, GivenUp>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(future) = &mut this.future else {
            return Poll::Pending;
        };
        let polled = this
            .panics
            .catch(this.callback, || future.as_mut().poll(cx));
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(why) => Err(why),
        };
        this.release();
        Poll::Ready(result)
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        self.release();
    }
}
