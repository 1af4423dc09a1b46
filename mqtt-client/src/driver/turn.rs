//! A turn of the driver: what it does while it holds the lock, and what follows the unlock.

use crate::driver::log;
use crate::driver::writer::Writer;
use crate::event::ClientEvent;
use crate::hub::connection::Wanted;
use crate::hub::deferred::Locked;
use crate::hub::shared::{Shared, State};
use crate::hub::wakers::Wakers;
use crate::link::{Link, LinkEvent};
use martlet_session::Instant;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The lock, and what is used with it. [`end`](Self::end) releases it.
pub(crate) struct Turn<'a> {
    pub(crate) state: Locked<'a, State>,
    pub(crate) link: &'a mut Link,
    /// Those to wake after the unlock.
    pub(crate) wakers: &'a mut Wakers,
    writer: Option<&'a mut Writer>,
    /// The key of the observer among those who read events.
    observes: Option<usize>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        link: &'a mut Link,
        wakers: &'a mut Wakers,
        writer: Option<&'a mut Writer>,
        observes: Option<usize>,
    ) -> Self {
        Self {
            state: shared.lock(),
            link,
            wakers,
            writer,
            observes,
        }
    }

    /// Takes what the store has found and what it may have now.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.state.begin_turn(now);
        self.state.events.set_logged(log::is_on());
        if let Some(writer) = &mut self.writer {
            if let Some(restored) = writer.take_restored() {
                self.state.events.push(&restored, self.wakers);
            }
            writer.gather(now, &mut self.state.session);
        }
    }

    /// Connects, if the application has asked for it. A connection or an attempt that is ending ends first; then there
    /// is nothing left to replace.
    pub(crate) fn reconnect(&mut self) {
        if self.link.is_closing() || self.link.has_failed() {
            if let Some(wanted) = &mut self.state.connection.wanted {
                *wanted = Wanted::Connection;
            }
            return;
        }
        match self.state.connection.wanted.take() {
            Some(_) if self.state.session.is_ended() => {}
            Some(Wanted::Connection) => self.link.retry_now(),
            Some(Wanted::Another) => self.link.replace(&mut self.state.session),
            None => {}
        }
    }

    /// Moves bytes between the link and the session, and the session's events to their places.
    /// Returns whether anything happened.
    pub(crate) fn exchange(&mut self, now: Instant) -> bool {
        let moved = self.link.exchange(now, &mut self.state.session);
        self.state.counts.add_wire(self.link.take_wire());
        let any = self.state.dispatch(self.wakers);
        while self.state.has_backlog() && self.link.stopped().is_some() {
            self.state.dispatch(self.wakers);
        }
        moved || any
    }

    /// Reports what the link has to report, once the session has nothing more. Returns whether
    /// there was anything.
    pub(crate) fn report(&mut self) -> bool {
        let mut any = false;
        while !self.state.has_backlog() {
            let Some(event) = self.link.poll_event() else {
                break;
            };
            any = true;
            self.report_event(event);
        }
        if let Some(attempt) = self.link.connecting() {
            let state = &mut *self.state;
            let waiters = &mut state.waiters;
            state
                .connection
                .set_connecting(attempt, waiters, self.wakers);
        }
        any
    }

    fn report_event(&mut self, event: LinkEvent) {
        let state = &mut *self.state;
        let event = match event {
            LinkEvent::Connecting(endpoint) => ClientEvent::Connecting(endpoint),
            LinkEvent::Disconnected {
                reason: error,
                retry_in,
            } => {
                // Where there is no next attempt, the client stops.
                if let Some(retry_in) = retry_in {
                    let (why, waiters) = (error.clone(), &mut state.waiters);
                    state
                        .connection
                        .set_disconnected(why, retry_in, waiters, self.wakers);
                }
                ClientEvent::ended(error, retry_in)
            }
            LinkEvent::ErrorPersists {
                endpoint,
                error,
                times,
            } => ClientEvent::ErrorPersists {
                endpoint,
                error,
                times,
            },
        };
        state.events.push(&event, self.wakers);
    }

    /// If no server is left to try, the client waits until it is revived, unless it is
    /// disconnecting. Returns whether it is.
    pub(crate) fn stop(&mut self) -> bool {
        let Some(error) = self.link.stopped() else {
            return false;
        };
        let state = &mut *self.state;
        let for_good = state.session.is_ended() && !state.session.is_on_hold();
        if for_good && !state.connection.is_finished() {
            state.terminate(error.clone(), self.wakers);
        } else if !for_good && state.connection.stopped().is_none() {
            state.stop(error.clone(), self.wakers);
        }
        for_good
    }

    /// Releases the lock. After it, the store gets what it is to commit, those who wait are woken,
    /// and the observer, which is the application's code, is shown what has happened. `is_last`:
    /// the store gets all that there is.
    pub(crate) fn end(self, now: Instant, is_last: bool) {
        let Self {
            mut state,
            link,
            wakers,
            mut writer,
            observes,
        } = self;
        if link.observer_has_panicked() {
            state.events.push(&ClientEvent::ObserverPanicked, wakers);
        }
        let logged = state.events.drain_log().map(|events| {
            let client = state.session.client_identifier().clone();
            (client, events)
        });
        let observed = match observes {
            Some(key) => state.events.drain(key),
            None => Default::default(),
        };
        if let Some(writer) = &mut writer {
            let now = state.now;
            if is_last {
                writer.gather_all(now, &mut state.session);
            } else {
                writer.gather(now, &mut state.session);
            }
        }
        drop(state);
        if let Some(writer) = writer {
            writer.hand_over();
        }
        wakers.wake();
        if let Some((client, events)) = logged {
            // A logger that panics has no more lines of this turn.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                events.for_each(|event| log::write(link, client.as_str(), &event));
            }));
        }
        for event in observed {
            link.show(now, &event);
        }
    }
}
