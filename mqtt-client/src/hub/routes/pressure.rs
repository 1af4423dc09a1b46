//! When the socket is left unread, so that a stream that fills is emptied before more comes.
//!
//! ```text
//!            half full                      not taken from in time
//!   Alive ──────────────► Alive, watched ───────────────────────────► Gone      drops at its limits,
//!     ▲                       │      ▲                                  │       is not waited for
//!     │      emptied          │      │ no answer is outstanding         │
//!     ├───────────────────────┘      │ any more                         │
//!     │                              │                                  │
//!     │           an answer is outstanding that it may wait for         │
//!     ├──────────────────────── Blocked ◄─── Alive, watched             │
//!     └──────────────── its reader comes ───────────────────────────────┘
//! ```
//!
//! The socket is left unread while a watched stream is `Alive`. That always ends: the reader takes
//! from it, or the time is up at which it becomes `Blocked` or `Gone`. While an answer of the
//! server is outstanding, that is [`STEP`] after it has last come: it may be waiting for the answer
//! itself, and what the application waits for is always read in the end. Before the keep alive's
//! PINGRESP would be too late, a little is read: any byte will do.

use super::streams::StreamTable;
use crate::hub::route::{Queued, ReaderState, Route, RouteKey};
use martlet_session::Instant;
use std::time::Duration;

/// How long a reader is waited for at a time while an answer is outstanding.
const STEP: Duration = Duration::from_millis(100);

/// Before a deadline of a reply, the socket is read in any case for this long.
pub(crate) const BEFORE_DEADLINE: Duration = Duration::from_secs(5);

/// What the server owes when it is decided whether to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owed {
    /// An answer that the application may be waiting for, or reading what we send.
    pub(crate) answer: bool,
    /// From then on the socket is read, so that no answer comes too late.
    pub(crate) read_from: Option<Instant>,
}

/// Which streams fill, and what is done about it.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// Streams that fill, for as long as their readers are waited for.
    watched: Vec<RouteKey>,
    /// Streams whose readers are gone.
    gone: Vec<RouteKey>,
    /// The stream that the socket is left unread for.
    waits_for: Option<RouteKey>,
    /// The socket is read for a sign of life only.
    sips: bool,
    /// All streams together hold as much as they may.
    is_crowded: bool,
}

impl Pressure {
    /// A stream is half full.
    #[inline]
    pub(super) fn watch(&mut self, key: RouteKey, route: &mut Route, now: Instant) {
        let reader = &mut route.reader;
        if !reader.is_watched && matches!(reader.state, ReaderState::Alive | ReaderState::Blocked) {
            reader.is_watched = true;
            reader.came = false;
            reader.seen = now;
            self.watched.push(key);
        }
    }

    /// Until when the socket is to be left unread at most; `None`: it is to be read. `is_crowded`:
    /// all streams together hold as much as they may, so each that holds anything is watched.
    pub(super) fn hold(
        &mut self,
        streams: &mut StreamTable,
        now: Instant,
        owed: Owed,
        is_crowded: bool,
    ) -> Option<Instant> {
        self.release();
        if is_crowded && !self.is_crowded {
            for (key, route) in streams.all_mut() {
                if !route.queue.is_empty() {
                    self.watch(key, route, now);
                }
            }
        }
        self.is_crowded = is_crowded;
        let mut i = 0;
        while let Some(&key) = self.watched.get(i) {
            let Some(route) = streams.get_mut(key) else {
                self.watched.swap_remove(i);
                continue;
            };
            match wait_until(route, now, owed, is_crowded) {
                Some(until) if now < until => {
                    self.waits_for = Some(key);
                    return Some(until);
                }
                // It stays watched, and reading goes on; only a little where just the deadline is a
                // reason to.
                Some(_) => {
                    self.sips |= !owed.answer;
                    i += 1;
                }
                None => {
                    self.watched.swap_remove(i);
                    route.reader.is_watched = false;
                    if route.reader.state == ReaderState::Gone {
                        self.gone.push(key);
                    }
                }
            }
        }
        None
    }

    /// Nothing is left unread: there is no connection, or it is ending.
    pub(super) fn release(&mut self) {
        self.waits_for = None;
        self.sips = false;
    }

    /// Whether only a little is to be read, so that the keep alive has a sign of life.
    pub(super) fn sips(&self) -> bool {
        self.sips
    }

    /// Whether the socket was left unread for this stream and need not be any more.
    #[inline]
    pub(super) fn is_relieved(&mut self, key: RouteKey, streams: &mut StreamTable) -> bool {
        if self.waits_for != Some(key) {
            return false;
        }
        let fills = match streams.get_mut(key) {
            Some(route) => fills(route, self.is_crowded),
            None => false,
        };
        if !fills {
            self.waits_for = None;
        }
        !fills
    }

    /// The oldest message of a stream whose reader is gone.
    pub(super) fn drop_of_gone(&mut self, streams: &mut StreamTable) -> Option<Queued> {
        while let Some(&key) = self.gone.last() {
            if let Some(route) = streams.get_mut(key) {
                route.look_for_progress();
                if route.reader.state == ReaderState::Gone {
                    if let Some(queued) = route.drop_oldest() {
                        return Some(queued);
                    }
                }
            }
            self.gone.pop();
        }
        None
    }

    /// A stream was dropped.
    pub(super) fn forget_reader(&mut self, key: RouteKey, route: &Route) {
        if route.reader.is_watched {
            self.watched.retain(|other| *other != key);
        }
        if route.reader.state == ReaderState::Gone {
            self.gone.retain(|other| *other != key);
        }
        if self.waits_for == Some(key) {
            self.waits_for = None;
        }
    }
}

#[inline]
fn fills(route: &Route, is_crowded: bool) -> bool {
    route.is_half_full() || (is_crowded && !route.queue.is_empty())
}

/// Until when a watched stream is waited for; `None`: it need not be watched any more. Decides what
/// becomes of its reader.
fn wait_until(route: &mut Route, now: Instant, owed: Owed, is_crowded: bool) -> Option<Instant> {
    if !fills(route, is_crowded)
        || matches!(route.reader.state, ReaderState::Gone | ReaderState::Ignored)
    {
        return None;
    }
    route.look_for_progress();
    let timeout = route.options.limits.reader_timeout;
    let reader = &mut route.reader;
    if std::mem::take(&mut reader.came) {
        reader.seen = now;
    }
    let allowed = if owed.answer {
        STEP.min(timeout)
    } else {
        timeout
    };
    let until = reader.seen + allowed;
    let read_from = owed.read_from.unwrap_or(until).min(until);
    reader.state = match (owed.answer, now < until) {
        (false, false) => ReaderState::Gone,
        (false, true) => ReaderState::Alive,
        (true, _) if now < read_from => ReaderState::Alive,
        (true, _) => ReaderState::Blocked,
    };
    if reader.state == ReaderState::Gone {
        None
    } else {
        Some(read_from)
    }
}
