//! The driver: the one future that moves bytes between the link and a socket.

pub(crate) mod authenticator;
pub(crate) mod dial;
pub(crate) mod guard;
pub(crate) mod hooks;
pub(crate) mod log;
#[cfg(feature = "metrics")]
mod metrics;
pub(crate) mod runtime;
#[cfg(feature = "scram")]
pub(crate) mod scram;
pub(crate) mod socket;
pub(crate) mod streams;
#[cfg(not(target_family = "wasm"))]
mod tcp;
pub(crate) mod turn;
pub(crate) mod writer;

use crate::driver::hooks::Hooks;
use crate::driver::runtime::{Pinned, Runtime, Timer};
use crate::driver::socket::SocketOptions;
use crate::driver::turn::Turn;
use crate::driver::writer::Writer;
use crate::event::ClientEvent;
use crate::hub::shared::Shared;
use crate::hub::wakers::Wakers;
use crate::link::{FAREWELL, Link};
use futures_io::{AsyncRead, AsyncWrite};
use martlet_session::{
    ConnectionError, GivenUp, Instant, StoreError, StoreErrorKind, TransportError,
    TransportErrorKind,
};
#[cfg(feature = "tls")]
use martlet_transport::TrustFiles;
use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How many turns the driver takes before it lets others run; it wakes itself then.
const TURNS: usize = 32;

/// How much is read at a time.
const READ_SIZE: usize = 64 * 1024;

/// How much is read for a sign of life, while a stream is full.
const SIP: usize = 256;

/// How many bytes the session gets for each time that the lock is held; more come at once only out
/// of TLS and WebSocket.
const GIVEN: usize = 2 * READ_SIZE;

/// How often a socket that cannot be written any more is read.
const LAST_READS: usize = 16;

/// The most that the timer is set to; timers need not know longer times.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

thread_local! {
    /// Where reads go before they are appended to what the link has: one for each thread, not for
    /// each connection, so that an idle connection holds none.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Drives a client: spawn it, or poll it where you like. It ends, with the reason, when the client
/// has disconnected for good: by [`Client::disconnect`](crate::Client::disconnect), or when the
/// last handle and stream are dropped. A client that has stopped for another reason can be revived
/// ([`Client::reconnect`](crate::Client::reconnect)), so its driver waits for that as long as
/// anybody has a handle. Dropping it closes the connection without a DISCONNECT and tells everyone
/// who waits; with a store, it waits for the write that is under way.
///
/// ```
/// # use martlet_client::{Client, ConnectError, Driver, runtime::Runtime};
/// # async fn example<R: Runtime + Unpin>(runtime: R) -> Result<(), ConnectError> {
/// let (client, driver) = Client::builder("mqtt://broker.example").build(runtime)?;
/// let events = client.events(); // before the driver is polled: none is missed
/// let reason = driver.await; // beside your own futures, in a `select!` or a task
/// println!("{reason}");
/// # Ok(())
/// # }
/// ```
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
    /// How much is read next.
    read_size: usize,
    /// The last read was not the last of what there was.
    more_is_there: bool,
    /// The client has stopped for good.
    finished: bool,
    #[cfg(feature = "metrics")]
    metrics: metrics::MetricsPublisher,
    /// The files that TLS trusts, read again when they have changed.
    #[cfg(feature = "tls")]
    trust: Option<Box<TrustFiles>>,
}

enum Io<R: Runtime> {
    Closed,
    Dialing(Pinned<R::Dial>),
    Open {
        socket: R::Socket,
        shut_down: bool,
        unflushed: bool,
    },
}

impl<R: Runtime> Driver<R> {
    pub(crate) fn new(
        runtime: R,
        shared: Arc<Shared>,
        mut link: Link,
        options: SocketOptions,
        hooks: Option<Box<Hooks>>,
    ) -> Self {
        link.set_most(GIVEN);
        let timer = runtime.timer();
        shared.lock().connection.authenticating.available =
            hooks.as_ref().is_some_and(|hooks| hooks.can_authenticate());
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
            read_size: READ_SIZE,
            more_is_there: false,
            finished: false,
            #[cfg(feature = "metrics")]
            metrics: metrics::MetricsPublisher::default(),
            #[cfg(feature = "tls")]
            trust: None,
        }
    }

    pub(crate) fn with_writer(mut self, writer: Writer) -> Self {
        self.shared.lock().publishers.storing.begin();
        self.writer = Some(Box::new(writer));
        self
    }

    #[cfg(feature = "tls")]
    pub(crate) fn with_trust(mut self, trust: Option<Box<TrustFiles>>) -> Self {
        self.trust = trust;
        self
    }

    /// Before an attempt that speaks TLS: reads the files again that have changed.
    #[cfg(feature = "tls")]
    fn refresh_trust(&mut self) {
        let Some(trust) = &mut self.trust else {
            return;
        };
        if !self.link.is_about_to_speak_tls() {
            return;
        }
        let event = match trust.refresh() {
            Ok(false) => return,
            Ok(true) => Some(ClientEvent::TrustReloaded),
            Err(error) if trust.config().is_ok() => Some(ClientEvent::TrustNotReloaded(error)),
            // Where there was never one, the attempt fails and says why.
            Err(_) => None,
        };
        self.link.set_tls(trust.config().clone());
        if let Some(event) = event {
            self.shared.lock().events.push(&event, &mut self.wakers);
            self.wakers.wake();
        }
    }

    /// The client has disconnected: `Ok` when the store holds all, or has failed until time was up.
    /// If it does not answer by then, that is reported to the application, and the driver continues
    /// to wait. `Err` has the time of the next check.
    fn poll_stored(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        let Some(writer) = &self.writer else {
            return Ok(());
        };
        let deadline = *self.store_deadline.get_or_insert_with(|| {
            writer.hurry();
            now + FAREWELL
        });
        let outcome = match writer.outcome() {
            None if deadline <= now => writer.failure().map(Err),
            outcome => outcome,
        };
        let stored = match &outcome {
            Some(outcome) => outcome.clone(),
            None if deadline <= now => Err(StoreError::new(
                StoreErrorKind::Io,
                "the store does not answer in time",
            )),
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
        #[cfg(feature = "tls")]
        self.refresh_trust();
        if let Some(target) = self.link.poll_dial(now) {
            // How a stream is opened may be the application's code.
            let dial = guarded(|| self.runtime.dial(&target, &self.options));
            match dial {
                Ok(dial) => self.set_io(Io::Dialing(Box::pin(dial))),
                Err(error) => {
                    self.set_io(Io::Closed);
                    self.link.handle_dial_failed(error);
                    return true;
                }
            }
        }
        let Io::Dialing(dial) = &mut self.io else {
            return false;
        };
        let dialed = match guarded(|| dial.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return false,
            Ok(Poll::Ready(dialed)) => dialed,
            Err(error) => Err(error),
        };
        match dialed {
            Ok(socket) => {
                self.set_io(Io::Open {
                    socket,
                    shut_down: false,
                    unflushed: false,
                });
                self.link.handle_dialed(now);
            }
            Err(error) => {
                self.set_io(Io::Closed);
                self.link.handle_dial_failed(error);
            }
        }
        true
    }

    /// Dropping a stream may be the application's code, too.
    fn set_io(&mut self, io: Io<R>) {
        let before = std::mem::replace(&mut self.io, io);
        let _ = guarded(|| drop(before));
    }

    /// Reads once. Returns how much came; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<usize> {
        let Io::Open { socket, .. } = &mut self.io else {
            return None;
        };
        if !self.link.wants_wire() {
            return None;
        }
        // A place is a large block: only where there is likely much to put into it.
        let is_much = self.more_is_there && self.read_size == READ_SIZE;
        let mut room = self.read_size;
        let in_place = is_much.then(|| {
            let runtime = &self.runtime;
            self.link.read_in_place(|place, most| {
                room = most;
                guarded_stream(|| runtime.poll_read_into(socket, cx, place, most))
            })
        });
        let read = match in_place.flatten() {
            Some(read) => read,
            None => {
                // Taken while it is used: a stream may drive another client of this thread.
                let mut scratch = SCRATCH.take();
                scratch.resize(READ_SIZE, 0);
                let place = &mut scratch[..room];
                let read = guarded_stream(|| Pin::new(socket).poll_read(cx, place));
                if let Poll::Ready(Ok(n @ 1..)) = read {
                    self.link.handle_wire(now, &scratch[..n.min(room)]);
                }
                SCRATCH.set(scratch);
                read
            }
        };
        self.more_is_there = matches!(read, Poll::Ready(Ok(n)) if n >= room.min(READ_SIZE / 2));
        match read {
            Poll::Pending => None,
            Poll::Ready(Ok(0)) => {
                self.link.handle_eof(None);
                Some(0)
            }
            Poll::Ready(Ok(n)) => {
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
        }
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
                    self.link.hold(false);
                    let mut reads = 0..LAST_READS;
                    while reads.next().is_some() && self.poll_read(cx, now).is_some_and(|n| n > 0) {
                    }
                    self.link.handle_eof(Some(error.into()));
                    return true;
                }
            }
        }
    }

    fn poll_write_once(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<bool>> {
        let Io::Open {
            socket,
            shut_down,
            unflushed,
        } = &mut self.io
        else {
            return Poll::Ready(Ok(false));
        };
        let Some(output) = self.link.poll_wire(now) else {
            if *unflushed {
                ready!(guarded_stream(|| Pin::new(&mut *socket).poll_flush(cx)))?;
                *unflushed = false;
            }
            if self.link.is_closing() && !*shut_down {
                // The server must get everything before the socket goes: shut down our side and
                // wait for its end.
                ready!(guarded_stream(|| Pin::new(socket).poll_close(cx)))?;
                *shut_down = true;
            }
            return Poll::Ready(Ok(false));
        };
        let mut slices = [IoSlice::new(&[]); 16];
        let used = output.chunks_vectored(&mut slices);
        let n = ready!(guarded_stream(|| match used {
            1 => Pin::new(socket).poll_write(cx, &slices[0]),
            _ => Pin::new(socket).poll_write_vectored(cx, &slices[..used]),
        }))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        *unflushed = true;
        self.link.handle_written(now, n);
        Poll::Ready(Ok(true))
    }

    /// Moves bytes between the link and the session, under the lock, and tells everyone who waits.
    /// Returns whether anything happened, and when time is up next.
    fn exchange(&mut self, now: Instant) -> (bool, Option<Instant>) {
        let mut turn = Turn::new(
            &self.shared,
            &mut self.link,
            &mut self.wakers,
            self.writer.as_deref_mut(),
            self.observes,
        );
        turn.begin(now);
        turn.reconnect();
        let is_flushed = turn.link.is_flushed();
        let mut any = turn.exchange(now);
        if let Some(hooks) = &mut self.hooks {
            any |= hooks.exchange(now, &mut turn.state, turn.wakers);
        }
        any |= turn.report();
        let (state, link) = (&mut *turn.state, &mut *turn.link);
        state.waiters.wake_sleepers(now, turn.wakers);
        state.set_flushed(link.is_flushed(), turn.wakers);
        let held_until = state.hold_input(now, is_flushed, link.poll_timeout());
        self.read_size = if state.routes.sips() { SIP } else { READ_SIZE };
        let holds = state.has_backlog() || held_until.is_some();
        let held = link.hold(holds);
        any |= state.has_backlog() || (held && !holds);
        let timeouts = [
            link.poll_timeout(),
            state.session.poll_timeout(),
            state.waiters.next_sleeper(),
            self.hooks.as_ref().and_then(|hooks| hooks.poll_timeout()),
            state.routes.poll_timeout(),
            state.requests.at_start.poll_timeout(),
            held_until,
        ];
        self.finished = turn.stop();
        turn.end(now, self.finished);
        #[cfg(feature = "metrics")]
        self.metrics.handle_turn(now, &self.shared);
        // A link that has failed may have last words, if the socket takes them at once.
        if !self.link.has_socket() && !self.link.is_dialing() && !self.link.has_failed() {
            self.set_io(Io::Closed);
        }
        let timeouts = timeouts.into_iter().flatten();
        #[cfg(feature = "metrics")]
        let timeouts = timeouts.chain(self.metrics.poll_timeout());
        (any, timeouts.min())
    }

    /// Sets the timer, unless it fires early enough. Returns whether the time has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> bool {
        let Some(at) = at else { return false };
        if self.armed.is_none_or(|armed| at < armed) {
            let wait = at.saturating_duration_since(self.shared.now());
            self.timer.reset(wait.min(LONGEST_WAIT));
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
        let now = this.shared.now();
        if this.link.is_write_due(now) {
            this.poll_write(cx, now);
        }
        for _ in 0..TURNS {
            let mut any = this
                .hooks
                .as_mut()
                .is_some_and(|hooks| hooks.poll(cx, now, &mut this.link));
            any |= this.poll_dial(cx, now);
            let read = this.poll_read(cx, now);
            any |= read.is_some();
            let (moved, timeout) = this.exchange(now);
            if let (true, Some(error)) = (this.finished, this.link.stopped()) {
                let error = error.clone();
                match this.poll_stored(now) {
                    Ok(()) => return Poll::Ready(error),
                    Err(deadline) if this.poll_timer(cx, deadline) => break,
                    Err(_) if this.shared.rest(cx) => return Poll::Pending,
                    Err(_) => continue,
                }
            }
            any |= moved;
            any |= this.poll_write(cx, now);
            if read.is_some_and(|n| n >= READ_SIZE / 2) {
                // Much has come, and more is likely: those it is for have their turn first, while
                // it is in the cache.
                break;
            }
            if !any {
                if this.poll_timer(cx, timeout) {
                    // The clock is read once for each time that the driver is woken.
                    break;
                }
                if this.shared.rest(cx) {
                    return Poll::Pending;
                }
            }
        }
        this.runtime.yield_now(cx);
        Poll::Pending
    }
}

impl<R: Runtime> Drop for Driver<R> {
    fn drop(&mut self) {
        let now = self.shared.now();
        let mut turn = Turn::new(
            &self.shared,
            &mut self.link,
            &mut self.wakers,
            self.writer.as_deref_mut(),
            self.observes,
        );
        let state = &mut *turn.state;
        if !state.connection.is_finished() {
            let error = if std::thread::panicking() {
                // Everything of the application that it calls is guarded: this is a bug, and no
                // wish of anybody.
                ConnectionError::GivenUp(GivenUp::for_good("the client's driver panicked"))
            } else {
                state.connection.why_stopped()
            };
            let event = ClientEvent::ended(error.clone(), None);
            state.events.push(&event, turn.wakers);
            state.terminate(error, turn.wakers);
        }
        // What was accepted stays so, however the driver ends.
        turn.end(now, true);
        if let Some(writer) = &mut self.writer {
            writer.close();
            let outcome = writer.outcome().unwrap_or_else(|| {
                let dropped = || {
                    StoreError::new(
                        StoreErrorKind::Closed,
                        "the driver was dropped before all was stored",
                    )
                };
                Err(writer.failure().unwrap_or_else(dropped))
            });
            self.shared.lock().set_stored(outcome, &mut self.wakers);
            self.wakers.wake();
        }
        #[cfg(feature = "metrics")]
        self.metrics.handle_end(&self.shared);
        self.set_io(Io::Closed);
    }
}

impl<R: Runtime> std::fmt::Debug for Driver<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// Runs what may be code of the application.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, TransportError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| {
        TransportError::new(
            TransportErrorKind::Connect,
            "what opens the connection's stream panicked",
        )
    })
}
/// Runs what may be code of the application's own stream: a panic is an error of that stream.
fn guarded_stream<T>(run: impl FnOnce() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Poll::Ready(Err(io::Error::other("the connection's stream panicked"))))
}
