//! What handles and the driver share: the session, and an owner for each kind of thing beside it;
//! all under one mutex that is never held across a system call, user code or a wake-up.

use crate::clock::Clock;
use crate::defaults::PublishDefaults;
use crate::hub::connection::HubConnection;
use crate::hub::deferred::{Defers, Locked};
use crate::hub::events::Subscribers;
use crate::hub::publishers::Publishers;
use crate::hub::requests::RequestReplies;
use crate::hub::room::Need;
use crate::hub::routes::Routes;
use crate::hub::statistics::Counts;
use crate::hub::waiters::Waiters;
use crate::hub::wakers::{Caller, KeptWaker, Wakers};
use crate::sync::Mutex;
use bytes::Bytes;
use martlet_session::{DisconnectOptions, GivenUp, Instant, Session};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The runtime's clock.
    clock: Clock,
    /// What a publish uses when it does not say; `None`: what every message has.
    pub(crate) publish_defaults: Option<Box<PublishDefaults>>,
    /// Streams that are dropped leave their subscriptions with the server.
    pub(crate) keep_on_server: bool,
    /// How much the last owner of a handle lets the session settle.
    pub(crate) drain: Duration,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) session: Session,
    /// The time of the driver's last turn: good enough for what starts no wait.
    pub(crate) now: Instant,
    pub(crate) connection: HubConnection,
    pub(crate) publishers: Publishers,
    pub(crate) requests: RequestReplies,
    /// Messages on their way to streams.
    pub(crate) routes: Routes,
    pub(crate) events: Subscribers,
    pub(crate) waiters: Waiters,
    pub(crate) counts: Counts,
    pub(crate) turns: Turns,
    /// Wakers that nobody needs any more: dropped after the unlock.
    pub(crate) deferred: Vec<KeptWaker>,
}

/// How the driver is called, and what its last turn has left.
#[derive(Debug)]
pub(crate) struct Turns {
    driver: Option<KeptWaker>,
    /// Something was asked of the driver while it was awake.
    pub(crate) attention: bool,
    /// The session has events that were not dispatched.
    pub(crate) backlog: bool,
    /// Everything that was published has been written to the socket.
    flushed: bool,
}

impl Turns {
    /// The client has stopped for good: the driver is not called any more.
    pub(crate) fn take_driver(&mut self) -> Option<KeptWaker> {
        self.driver.take()
    }
}

impl Defers for State {
    #[inline]
    fn has_deferred(&self) -> bool {
        !self.deferred.is_empty() || self.session.has_deferred_drops()
    }

    #[inline]
    fn take_deferred(&mut self, wakers: &mut Vec<KeptWaker>, bytes: &mut Vec<Bytes>) {
        std::mem::swap(&mut self.deferred, wakers);
        self.session.poll_deferred_drops(bytes);
    }
}

impl Shared {
    pub(crate) fn new(
        mut session: Session,
        clock: Clock,
        drain: Duration,
        publish_defaults: Option<Box<PublishDefaults>>,
    ) -> Self {
        session.defer_drops();
        let state = State {
            session,
            now: clock.now(),
            connection: HubConnection::new(clock.now()),
            publishers: Publishers::default(),
            requests: RequestReplies::default(),
            routes: Routes::default(),
            events: Subscribers::default(),
            waiters: Waiters::default(),
            counts: Counts::default(),
            turns: Turns {
                driver: None,
                attention: false,
                backlog: false,
                flushed: true,
            },
            deferred: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            clock,
            publish_defaults,
            keep_on_server: false,
            drain,
        }
    }

    /// The time.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A panic under the lock can only come from a bug; what it left behind is still better than a
    /// second panic.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, State> {
        Locked::new(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Polls under the lock. Where the caller has to wait and its waker was not cloned yet, it is cloned
    /// after the unlock, and polled again: what came in between is found then. `poll` lets the caller
    /// wait in one place at most, so the second time is the last.
    #[inline]
    pub(crate) fn poll<T>(
        &self,
        mut caller: Caller<'_>,
        mut poll: impl FnMut(&mut State, &mut Caller<'_>) -> Poll<T>,
    ) -> Poll<T> {
        loop {
            let polled = poll(&mut self.lock(), &mut caller);
            if !caller.handle_unlocked(polled.is_pending()) {
                return polled;
            }
        }
    }

    /// The driver has nothing to do; `false` when something has come up in the meantime.
    pub(crate) fn rest(&self, cx: &Context<'_>) -> bool {
        let rests = self.poll(
            Caller::with(cx, Some(KeptWaker::cloned(cx))),
            State::poll_attention,
        );
        rests.is_pending()
    }

    /// Runs `act` under the lock and wakes the driver after it.
    pub(crate) fn act<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = self.now();
        let mut state = self.lock();
        let result = act(&mut state, now);
        let driver = state.call_driver();
        drop(state);
        wake(driver);
        result
    }
}

#[inline]
pub(crate) fn wake(waker: Option<KeptWaker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    // ---- the driver

    /// The driver is to look at the session: wake what this returns after the lock is released.
    #[inline]
    #[must_use = "wake it after the lock is released"]
    pub(crate) fn call_driver(&mut self) -> Option<KeptWaker> {
        let waker = self.turns.driver.take();
        self.turns.attention |= waker.is_none();
        waker
    }

    /// The driver begins a turn.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.connection.now = now;
        self.turns.attention = false;
        // It is awake: a wake-up would be for nothing, or go to a task that does not poll it any
        // more.
        self.deferred.extend(self.turns.driver.take());
    }

    /// The driver waits for something to do.
    fn poll_attention(&mut self, caller: &mut Caller<'_>) -> Poll<()> {
        if self.turns.attention {
            return Poll::Ready(());
        }
        caller.wait_in(&mut self.turns.driver);
        Poll::Pending
    }

    /// The socket has taken everything that the link had, or not.
    pub(crate) fn set_flushed(&mut self, output_is_empty: bool, wakers: &mut Wakers) {
        // What was in flight on a lost connection may never have been written.
        let is_lost = self.connection.connected().is_none() && self.session.in_flight() > 0;
        let unsent = self.session.has_output() || self.session.queued() > 0 || is_lost;
        let flushed = output_is_empty && !unsent;
        if flushed && !self.turns.flushed {
            self.waiters.notify_flushed(wakers);
        }
        self.turns.flushed = flushed;
    }

    /// Nothing is left to write, neither here nor, when the driver last looked, in the link. If
    /// not, the driver looks again and tells.
    pub(crate) fn is_flushed(&mut self) -> bool {
        self.turns.flushed &= !self.session.has_output() && self.session.queued() == 0;
        self.turns.flushed
    }

    /// The application will not go on with the connection, or not authenticate again.
    pub(crate) fn give_up(&mut self, why: GivenUp, wakers: &mut Wakers) {
        let authenticating = &mut self.connection.authenticating;
        authenticating.finish(Err(why.clone().into()), &mut self.waiters, wakers);
        self.session.give_up(why);
    }

    // ---- publishers that wait for room

    /// Waits for room, under a number that the first call sets.
    pub(crate) fn await_room(&mut self, id: &mut Option<u64>, need: Need, caller: &mut Caller<'_>) {
        let id = *id.get_or_insert_with(|| self.waiters.new_id());
        self.publishers.room.wait(id, need, caller);
    }

    /// A publisher does not wait any more. If it had been woken for room that it will not use, or
    /// others have waited behind it, they are.
    pub(crate) fn leave_room(&mut self, id: u64, wakers: &mut Wakers) {
        self.forget_room(id);
        self.publishers.room.wake(&self.session, wakers);
    }

    /// A publisher has found room by itself.
    pub(crate) fn forget_room(&mut self, id: u64) {
        self.deferred.extend(self.publishers.room.remove(id));
    }
}

/// Kept by clients and streams: when the last is gone, the connection ends.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let options = DisconnectOptions::default().drain(self.shared.drain);
        self.shared.act(|state, now| {
            state.session.disconnect(now, options);
        });
    }
}
