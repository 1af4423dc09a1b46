//! The clock of the tests: it stands still until a test sets it forward, and knows what is waited for.

use martlet_embedded::Clock;
use martlet_embedded::session::Instant;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// A handle of a clock; its clones are the same clock.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Rc<State>);

#[derive(Default)]
struct State {
    elapsed: Cell<Duration>,
    wake_at: Cell<Option<Duration>>,
}

impl TestClock {
    /// The time since the clock was made.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed.get()
    }

    /// Sets the clock forward to this moment, unless it is past.
    pub(crate) fn advance_to(&self, moment: Duration) {
        self.0.elapsed.set(self.elapsed().max(moment));
    }

    /// Forgets the timers: those that are still waited for are polled again.
    pub(crate) fn begin_turn(&self) {
        self.0.wake_at.set(None);
    }

    /// The first moment that was waited for in this turn.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        self.0.wake_at.get()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::from_epoch(self.elapsed())
    }

    async fn sleep_until(&mut self, moment: Instant) {
        let moment = moment.since_epoch();
        poll_fn(|_| {
            if self.elapsed() >= moment {
                return Poll::Ready(());
            }
            let first = self.wake_at().map_or(moment, |at| at.min(moment));
            self.0.wake_at.set(Some(first));
            Poll::Pending
        })
        .await;
    }
}
