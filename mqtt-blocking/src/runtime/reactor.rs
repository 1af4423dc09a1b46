//! The loop of one thread: it polls a future, and waits for sockets, timers and wake-ups.

use crate::runtime::place::Place;
use mio::event::Source;
use mio::{Events, Interest, Poll as Poller, Registry, Token};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// The token of wake-ups by other threads; those of sockets count from the next.
const WAKE: Token = Token(0);

/// How many events are taken at a time: a client has a socket, or a few while it dials.
const EVENTS: usize = 16;

thread_local! {
    /// The reactor whose loop runs on this thread.
    static CURRENT: RefCell<Option<Arc<Reactor>>> = const { RefCell::new(None) };
}

/// Where sockets and timers of one thread are registered.
#[derive(Debug)]
pub(crate) struct Reactor {
    registry: Registry,
    registered: Mutex<Registered>,
    /// How often the loop has gone round.
    #[cfg(test)]
    pub(crate) turns: std::sync::atomic::AtomicUsize,
}

#[derive(Debug, Default)]
struct Registered {
    sockets: HashMap<Token, Arc<Readiness>>,
    timers: BTreeMap<TimerKey, Arc<Place>>,
    /// The last number of a socket or timer. None is used twice, so that an event that comes late
    /// meets no stranger.
    last: usize,
}

/// When a timer fires, and its number.
pub(crate) type TimerKey = (Instant, usize);

/// What a socket can do without blocking, as far as it is known, and which tasks wait for more.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    pub(crate) reading: Direction,
    pub(crate) writing: Direction,
}

/// One direction of a socket.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    is_ready: AtomicBool,
    waiting: Place,
}

impl Direction {
    /// Makes a system call, when it may succeed and until it does. Pending, and woken later, when it
    /// would block.
    pub(crate) fn poll_call<O>(
        &self,
        cx: &Context<'_>,
        mut call: impl FnMut() -> io::Result<O>,
    ) -> Poll<io::Result<O>> {
        let mut is_kept = false;
        loop {
            // Unset before the call, so that no event is lost between that and what it has shown.
            while self.is_ready.swap(false, Ordering::AcqRel) {
                let result = call();
                let kind = result.as_ref().err().map(io::Error::kind);
                if kind == Some(io::ErrorKind::WouldBlock) {
                    continue;
                }
                self.is_ready.store(true, Ordering::Release);
                if kind != Some(io::ErrorKind::Interrupted) {
                    return Poll::Ready(result);
                }
            }
            if is_kept {
                return Poll::Pending;
            }
            self.waiting.keep(cx.waker());
            is_kept = true;
        }
    }

    fn handle_ready(&self) {
        self.is_ready.store(true, Ordering::Release);
        self.waiting.wake();
    }
}

impl Reactor {
    /// That of the loop on this thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
    }

    /// Whether this thread runs a loop: what would block here would stop it.
    pub(crate) fn is_current() -> bool {
        CURRENT
            .try_with(|current| current.borrow().is_some())
            .unwrap_or(false)
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        self.registered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn register(&self, socket: &mut impl Source) -> io::Result<(Token, Arc<Readiness>)> {
        let readiness = Arc::<Readiness>::default();
        let token = {
            let mut registered = self.registered();
            registered.last += 1;
            let token = Token(registered.last);
            registered.sockets.insert(token, Arc::clone(&readiness));
            token
        };
        let both = Interest::READABLE | Interest::WRITABLE;
        match self.registry.register(socket, token, both) {
            Ok(()) => Ok((token, readiness)),
            Err(error) => {
                self.registered().sockets.remove(&token);
                Err(error)
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        let registered = self.registered();
        registered.sockets.is_empty() && registered.timers.is_empty()
    }

    pub(crate) fn deregister(&self, socket: &mut impl Source, token: Token) {
        // Closing the socket does it too, where this fails.
        let _ = self.registry.deregister(socket);
        let readiness = self.registered().sockets.remove(&token);
        drop(readiness);
    }

    /// A timer that wakes at `at` what is kept in its place.
    pub(crate) fn set_timer(&self, at: Instant) -> (TimerKey, Arc<Place>) {
        let waiting = Arc::<Place>::default();
        let mut registered = self.registered();
        registered.last += 1;
        let key = (at, registered.last);
        registered.timers.insert(key, Arc::clone(&waiting));
        (key, waiting)
    }

    pub(crate) fn unset_timer(&self, key: TimerKey) {
        let before = self.registered().timers.remove(&key);
        drop(before);
    }

    /// How long until the first timer fires.
    fn wait(&self) -> Option<Duration> {
        let registered = self.registered();
        let (&(at, _), _) = registered.timers.first_key_value()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    fn wake_timers(&self) {
        if self.registered().timers.is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let mut registered = self.registered();
            let due = match registered.timers.first_entry() {
                Some(first) if first.key().0 <= now => first.remove(),
                _ => return,
            };
            drop(registered);
            due.wake();
        }
    }

    fn wake_sockets(&self, events: &Events) {
        for event in events {
            let found = self.registered().sockets.get(&event.token()).cloned();
            let Some(readiness) = found else { continue };
            let readable = event.is_readable() || event.is_read_closed() || event.is_error();
            let writable = event.is_writable() || event.is_write_closed() || event.is_error();
            if readable {
                readiness.reading.handle_ready();
            }
            if writable {
                readiness.writing.handle_ready();
            }
        }
    }
}

/// The loop runs: it looks at the alarm before it sleeps.
const RUNNING: u8 = 0;
/// It sleeps, or is about to: a system call must wake it.
const SLEEPING: u8 = 1;
/// The future is to be polled.
const WOKEN: u8 = 2;

/// The waker of the loop's future.
struct Alarm {
    state: AtomicU8,
    waker: mio::Waker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == SLEEPING {
            // It fails only where the loop is gone.
            let _ = self.waker.wake();
        }
    }
}

/// A loop that has not begun.
pub(crate) struct Loop {
    poller: Poller,
    reactor: Arc<Reactor>,
    alarm: Arc<Alarm>,
}

impl Loop {
    pub(crate) fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let waker = mio::Waker::new(poller.registry(), WAKE)?;
        let reactor = Arc::new(Reactor {
            registry: poller.registry().try_clone()?,
            registered: Mutex::default(),
            #[cfg(test)]
            turns: 0.into(),
        });
        let alarm = Arc::new(Alarm {
            state: AtomicU8::new(WOKEN),
            waker,
        });
        Ok(Self {
            poller,
            reactor,
            alarm,
        })
    }

    #[cfg(test)]
    pub(crate) fn reactor(&self) -> Arc<Reactor> {
        Arc::clone(&self.reactor)
    }

    /// Polls the future until it is ready, on this thread.
    pub(crate) fn run<F: Future>(mut self, future: F) -> io::Result<F::Output> {
        // Dropped after the future, whose drop may be the application's code.
        let _entered = Entered(CURRENT.replace(Some(Arc::clone(&self.reactor))));
        let mut future = pin!(future);
        let waker = Waker::from(Arc::clone(&self.alarm));
        let mut cx = Context::from_waker(&waker);
        let mut events = Events::with_capacity(EVENTS);
        let state = &self.alarm.state;
        loop {
            #[cfg(test)]
            self.reactor.turns.fetch_add(1, Ordering::Relaxed);
            if state.swap(RUNNING, Ordering::AcqRel) == WOKEN {
                if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                    return Ok(output);
                }
            }
            let change =
                |from, to| state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
            // Woken meanwhile, it looks at the sockets and goes on.
            let wait = match change(RUNNING, SLEEPING) {
                Ok(_) => self.reactor.wait(),
                Err(_) => Some(Duration::ZERO),
            };
            match self.poller.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            // Unless it was woken, which the next round finds.
            let _ = change(SLEEPING, RUNNING);
            self.reactor.wake_sockets(&events);
            self.reactor.wake_timers();
        }
    }
}

/// The loop runs on this thread; another one may have run there before, and goes on after it.
struct Entered(Option<Arc<Reactor>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes during a call is not lost, and one that would block is not made again before an event.
    #[test]
    fn an_event_during_a_call_counts() {
        let blocks = || io::Result::<usize>::Err(io::ErrorKind::WouldBlock.into());
        let cx = Context::from_waker(Waker::noop());
        let direction = Direction::default();
        direction.handle_ready();
        let mut calls = 0;
        let polled = direction.poll_call(&cx, || {
            calls += 1;
            if calls == 1 {
                direction.handle_ready();
                return blocks();
            }
            Ok(calls)
        });
        assert!(matches!(polled, Poll::Ready(Ok(2))), "{polled:?}");
        for expected in [1, 0] {
            let mut calls = 0;
            let polled = direction.poll_call(&cx, || {
                calls += 1;
                blocks()
            });
            assert!(polled.is_pending());
            assert_eq!(calls, expected);
        }
    }
}
