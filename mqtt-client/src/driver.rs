//! The driver: the one future that moves bytes between the link and a socket.

use crate::events::ClientEvent;
use crate::hooks::Hooks;
use crate::link::{FAREWELL, Link, LinkEvent};
use crate::runtime::{Pinned, Runtime, Timer};
use crate::shared::{Shared, State};
use crate::socket::SocketOptions;
use crate::store::Writer;
use crate::wakers::Wakers;
use futures_io::{AsyncRead, AsyncWrite};
use martlet_session::{ConnectionError, Instant, StoreError, StoreErrorKind};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// How many turns the driver takes before it lets others run; it wakes itself then.
const TURNS: usize = 32;

/// So many turns are left to a reader: more than tokio's current-thread runtime takes to poll what `block_on` was given.
const MOST_LEFT: u8 = 100;

/// How much is read at a time.
const READ_SIZE: usize = 64 * 1024;

/// How often a socket that cannot be written any more is read.
const LAST_READS: usize = 16;

thread_local! {
    /// Where reads go before they are appended to what the link has: one for each thread, not for each connection,
    /// so that an idle connection holds none.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Drives a client: spawn it, or poll it where you like. It ends, with the reason, when the client has disconnected for
/// good. Dropping it closes the connection without a DISCONNECT and tells everyone who waits; with a store, it waits for
/// the write that is under way.
#[must_use = "the client does nothing unless its driver is polled"]
pub struct Driver<R: Runtime> {
    runtime: R,
    shared: Arc<Shared>,
    link: Link,
    io: Io<R>,
    options: SocketOptions,
    timer: R::Timer,
    /// What the timer is set to. It may fire early: the clock decides.
    armed: Option<Instant>,
    hooks: Option<Box<Hooks>>,
    writer: Option<Box<Writer>>,
    /// How long the store's last commits are waited for, once the client has disconnected.
    store_deadline: Option<Instant>,
    /// The key of the observer among those who read events.
    observes: Option<usize>,
    wakers: Wakers,
    /// A stream fills whose reader has had no turn yet, and so many turns were left to it.
    pressed: bool,
    left: u8,
}

enum Io<R: Runtime> {
    Closed,
    Dialing(Pinned<R::Dial>),
    Open { socket: R::Socket, shut_down: bool, unflushed: bool },
}

impl<R: Runtime> Driver<R> {
    pub(crate) fn new(
        runtime: R,
        shared: Arc<Shared>,
        link: Link,
        options: SocketOptions,
        hooks: Option<Box<Hooks>>,
    ) -> Self {
        let timer = runtime.timer();
        shared.lock().authenticating.available = hooks.as_ref().is_some_and(|hooks| hooks.can_authenticate());
        let observes = link.has_observer().then(|| shared.lock().events.add());
        Self {
            runtime,
            shared,
            link,
            io: Io::Closed,
            options,
            timer,
            armed: None,
            hooks,
            writer: None,
            store_deadline: None,
            observes,
            wakers: Wakers::default(),
            pressed: false,
            left: 0,
        }
    }

    pub(crate) fn with_writer(mut self, writer: Writer) -> Self {
        self.shared.lock().expect_stored();
        self.writer = Some(Box::new(writer));
        self
    }

    /// The client has disconnected: `Ok` when the store holds all, or has failed until time was up. Where it does not
    /// answer by then, the application is told so, and the driver goes on to wait. `Err` has the time to look again at the
    /// latest.
    fn poll_stored(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let deadline = *self.store_deadline.get_or_insert_with(|| {
            writer.hurry();
            now + FAREWELL
        });
        let outcome = writer.outcome().or_else(|| writer.failure().filter(|_| deadline <= now).map(Err));
        let stored = match &outcome {
            Some(outcome) => outcome.clone(),
            None if deadline <= now => {
                Err(StoreError::new(StoreErrorKind::Io, "the store does not answer in time"))
            }
            None => return Err(Some(deadline)),
        };
        let mut state = self.shared.lock();
        state.set_stored(stored, &mut self.wakers);
        drop(state);
        self.wakers.wake();
        if outcome.is_some() { Ok(()) } else { Err(None) }
    }

    /// Opens a socket when the link asks for one. Returns whether anything happened.
    fn poll_dial(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if let Some(target) = self.link.poll_dial(now) {
            self.io = Io::Dialing(Box::pin(self.runtime.dial(&target, &self.options)));
        }
        let Io::Dialing(dial) = &mut self.io else { return false };
        let Poll::Ready(dialed) = dial.as_mut().poll(cx) else { return false };
        match dialed {
            Ok(socket) => {
                self.io = Io::Open { socket, shut_down: false, unflushed: false };
                self.link.handle_dialed(now);
            }
            Err(error) => {
                self.io = Io::Closed;
                self.link.handle_dial_failed(error);
            }
        }
        true
    }

    /// Whether nothing is read in this turn, so that a reader that was woken gets one before its stream is full. A runtime
    /// may have its reasons to poll the driver some dozens of times before it; who does not come then is slow.
    fn leave_turn(&mut self) -> bool {
        if !self.pressed {
            self.left = 0;
        }
        let leaves = self.pressed && self.left < MOST_LEFT;
        self.left += u8::from(leaves);
        leaves
    }

    /// Reads once. Returns how much came; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<usize> {
        let Io::Open { socket, .. } = &mut self.io else { return None };
        if !self.link.wants_wire() {
            return None;
        }
        // Taken while it is used: a stream may drive another client of this thread.
        let mut scratch = SCRATCH.take();
        scratch.resize(READ_SIZE, 0);
        let read = Pin::new(socket).poll_read(cx, &mut scratch);
        let read = match read {
            Poll::Pending => None,
            Poll::Ready(Ok(0)) => {
                self.link.handle_eof(None);
                Some(0)
            }
            Poll::Ready(Ok(n)) => {
                self.link.handle_wire(now, &scratch[..n]);
                if self.link.has_failed() {
                    // TLS tells the server why, if the socket takes it at once.
                    let _ = self.poll_write_once(cx, now);
                }
                Some(n)
            }
            Poll::Ready(Err(error)) => {
                self.link.handle_eof(Some(error.into()));
                Some(0)
            }
        };
        SCRATCH.set(scratch);
        read
    }

    /// Writes what the link has until the socket is full. Returns whether it took anything.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut any = false;
        loop {
            match self.poll_write_once(cx, now) {
                Poll::Pending => return any,
                Poll::Ready(Ok(true)) => any = true,
                Poll::Ready(Ok(false)) => return any,
                Poll::Ready(Err(error)) => {
                    // The server may have said why before it went.
                    let mut reads = 0..LAST_READS;
                    while reads.next().is_some() && self.poll_read(cx, now).is_some_and(|n| n > 0) {}
                    self.link.handle_eof(Some(error.into()));
                    return true;
                }
            }
        }
    }

    fn poll_write_once(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<bool>> {
        let Io::Open { socket, shut_down, unflushed } = &mut self.io else { return Poll::Ready(Ok(false)) };
        let Some(output) = self.link.poll_wire(now) else {
            if *unflushed {
                ready!(Pin::new(&mut *socket).poll_flush(cx))?;
                *unflushed = false;
            }
            if self.link.is_closing() && !*shut_down {
                // The server must get everything before the socket goes: shut down our side and wait for its end.
                ready!(Pin::new(socket).poll_close(cx))?;
                *shut_down = true;
            }
            return Poll::Ready(Ok(false));
        };
        let mut slices = [IoSlice::new(&[]); 16];
        let used = output.chunks_vectored(&mut slices);
        let n = if used == 1 {
            ready!(Pin::new(socket).poll_write(cx, &slices[0]))?
        } else {
            ready!(Pin::new(socket).poll_write_vectored(cx, &slices[..used]))?
        };
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        *unflushed = true;
        self.link.handle_written(now, n);
        Poll::Ready(Ok(true))
    }

    /// Moves bytes between the link and the session, under the lock, and tells everyone who waits. Returns whether
    /// anything happened, and when time is up next.
    fn exchange(&mut self, now: Instant) -> (bool, Option<Instant>) {
        let mut state = self.shared.lock();
        state.begin_turn(now);
        if let Some(writer) = &mut self.writer {
            if let Some(restored) = writer.take_restored() {
                state.events.push(&restored, &mut self.wakers);
            }
            writer.gather(now, &mut state.session);
        }
        if std::mem::take(&mut state.retry_now) {
            self.link.retry_now();
        }
        let mut any = self.link.exchange(now, &mut state.session);
        any |= state.dispatch(&mut self.wakers);
        if let Some(hooks) = &mut self.hooks {
            any |= hooks.exchange(now, &mut state, &mut self.wakers);
        }
        while let Some(event) = self.link.poll_event() {
            any = true;
            let event = match event {
                LinkEvent::Connecting(endpoint) => ClientEvent::Connecting(endpoint),
                LinkEvent::Disconnected { error, retry_in } => {
                    if retry_in.is_some() {
                        state.set_disconnected(error.clone(), retry_in, &mut self.wakers);
                    }
                    ClientEvent::Disconnected { error, retry_in }
                }
            };
            state.events.push(&event, &mut self.wakers);
        }
        if let Some(attempt) = self.link.connecting() {
            state.set_connecting(attempt, &mut self.wakers);
        }
        state.wake_sleepers(now, &mut self.wakers);
        state.set_flushed(self.link.is_flushed(), &mut self.wakers);
        self.pressed = state.routes.is_pressed();
        let hooks = self.hooks.as_ref().and_then(|hooks| hooks.poll_timeout());
        let taker = state.routes.poll_timeout();
        let timeouts =
            [self.link.poll_timeout(), state.session.poll_timeout(), state.next_sleeper(), hooks, taker];
        if let Some(error) = self.link.stopped().filter(|_| state.terminated.is_none()) {
            state.terminate(error.clone(), &mut self.wakers);
        }
        let observed = observed(&mut self.link, self.observes, &mut state, &mut self.wakers);
        if let Some(writer) = &mut self.writer {
            if self.link.stopped().is_some() {
                writer.gather_all(now, &mut state.session);
            } else {
                writer.gather(now, &mut state.session);
            }
        }
        drop(state);
        if let Some(writer) = &mut self.writer {
            writer.hand_over();
        }
        self.wakers.wake();
        self.show(now, observed);
        // A link that has failed may have last words, if the socket takes them at once.
        if !self.link.has_socket() && !self.link.is_dialing() && !self.link.has_failed() {
            self.io = Io::Closed;
        }
        (any, timeouts.into_iter().flatten().min())
    }

    /// Outside the lock: the observer is the application's code.
    fn show(&mut self, now: Instant, observed: VecDeque<ClientEvent>) {
        for event in observed {
            self.link.show(now, &event);
        }
    }

    /// Sets the timer, unless it fires early enough. Returns whether the time has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> bool {
        let Some(at) = at else { return false };
        if self.armed.is_none_or(|armed| at < armed) {
            self.timer.reset(at);
            self.armed = Some(at);
        }
        match self.timer.poll_expired(cx) {
            Poll::Ready(()) => {
                self.armed = None;
                true
            }
            Poll::Pending => false,
        }
    }
}

impl<R: Runtime> Future for Driver<R>
where
    R: Unpin,
{
    type Output = ConnectionError;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ConnectionError> {
        let this = self.get_mut();
        let now = R::now();
        if this.link.is_write_due(now) {
            this.poll_write(cx, now);
        }
        for _ in 0..TURNS {
            let mut any = this.hooks.as_mut().is_some_and(|hooks| hooks.poll(cx, now, &mut this.link));
            any |= this.poll_dial(cx, now);
            let leaves = this.leave_turn();
            let read = if leaves { None } else { this.poll_read(cx, now) };
            any |= read.is_some();
            let (moved, timeout) = this.exchange(now);
            if let Some(error) = this.link.stopped() {
                let error = error.clone();
                match this.poll_stored(now) {
                    Ok(()) => return Poll::Ready(error),
                    Err(deadline) if this.poll_timer(cx, deadline) => break,
                    Err(_) if this.shared.lock().rest(cx) => return Poll::Pending,
                    Err(_) => continue,
                }
            }
            any |= moved;
            any |= this.poll_write(cx, now);
            if leaves || read.is_some_and(|n| n >= READ_SIZE / 2) {
                // Much has come, and more is likely: those it is for have their turn first, while it is in the cache.
                break;
            }
            if !any {
                if this.poll_timer(cx, timeout) {
                    // The clock is read once for each time that the driver is woken.
                    break;
                }
                if this.shared.lock().rest(cx) {
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Runtime> Drop for Driver<R> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.terminated.is_none() {
            let error = ConnectionError::ClosedHere;
            let event = ClientEvent::Disconnected { error: error.clone(), retry_in: None };
            state.events.push(&event, &mut self.wakers);
            state.terminate(error, &mut self.wakers);
        }
        if let Some(writer) = &mut self.writer {
            // What was accepted stays so, however the driver ends.
            writer.gather_all(state.now, &mut state.session);
        }
        let observed = observed(&mut self.link, self.observes, &mut state, &mut self.wakers);
        drop(state);
        if let Some(writer) = &mut self.writer {
            writer.hand_over();
        }
        self.wakers.wake();
        self.show(R::now(), observed);
        if let Some(writer) = &mut self.writer {
            writer.close();
            let outcome = writer.outcome().unwrap_or_else(|| {
                let dropped = || {
                    StoreError::new(StoreErrorKind::Closed, "the driver was dropped before all was stored")
                };
                Err(writer.failure().unwrap_or_else(dropped))
            });
            self.shared.lock().set_stored(outcome, &mut self.wakers);
            self.wakers.wake();
        }
    }
}

impl<R: Runtime> std::fmt::Debug for Driver<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("link", &self.link).finish_non_exhaustive()
    }
}

/// What has happened and the observer was not shown yet.
fn observed(
    link: &mut Link,
    observes: Option<usize>,
    state: &mut State,
    wakers: &mut Wakers,
) -> VecDeque<ClientEvent> {
    if link.observer_has_panicked() {
        state.events.push(&ClientEvent::ObserverPanicked, wakers);
    }
    observes.map(|key| state.events.drain(key)).unwrap_or_default()
}
