//! When something is due: one table for all of the broker's timers.

use crate::ids::{ConnectionId, SessionId};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BrokerTimer {
    /// When to close a connection that has not sent its CONNECT.
    Connect(ConnectionId),
    /// When to look whether a client was silent for one and a half times its keep alive.
    KeepAlive(ConnectionId),
    /// When to publish the will of a client that is gone.
    Will(SessionId),
    /// When to end the session of a client that is gone.
    SessionExpiry(SessionId),
    /// When to publish the topics under `$SYS`.
    Sys,
}

/// Each timer has at most one deadline.
#[derive(Debug, Default)]
pub(crate) struct BrokerDeadlines {
    by_time: BTreeSet<(Duration, BrokerTimer)>,
    by_timer: BTreeMap<BrokerTimer, Duration>,
}

impl BrokerDeadlines {
    pub(crate) fn set(&mut self, timer: BrokerTimer, at: Duration) {
        self.stop(timer);
        self.by_timer.insert(timer, at);
        self.by_time.insert((at, timer));
    }

    pub(crate) fn stop(&mut self, timer: BrokerTimer) {
        if let Some(at) = self.by_timer.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<BrokerTimer> {
        let &(at, timer) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}
