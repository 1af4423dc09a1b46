//! The session's timers: an enum and a table.

use crate::Instant;

/// When to …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum TimerKind {
    /// … give up waiting for the CONNACK, or for the next step of enhanced authentication, ours or
    /// the server's.
    Handshake,
    /// … send a PINGREQ.
    KeepAlive,
    /// … give up a connection on which nothing arrives after a PINGREQ.
    PingResponse,
    /// … fail the oldest subscribe, unsubscribe or ping without an answer, or without a connection
    /// to ask on.
    Request,
    /// … tell the oldest waiting publish that its time is over.
    PublishTimeout,
    /// … drop the next expired message from the queue.
    Expiry,
    /// … stop waiting for acknowledgements and disconnect.
    Drain,
    /// … look whether a message still holds back the acknowledgements of later ones.
    Acknowledgements,
    /// … send others beside the message at which the server may hang up, or that message without the
    /// PINGRESP that it waits for.
    Probe,
}

impl TimerKind {
    const COUNT: usize = 9;
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Handshake,
        Self::KeepAlive,
        Self::PingResponse,
        Self::Request,
        Self::PublishTimeout,
        Self::Expiry,
        Self::Drain,
        Self::Acknowledgements,
        Self::Probe,
    ];
}

/// Kept small: a timer that is not set is at the end of time, and none can be set to that.
#[derive(Debug, Clone)]
pub(crate) struct Timers([Instant; TimerKind::COUNT]);

impl Default for Timers {
    fn default() -> Self {
        Self([Instant::MAX; TimerKind::COUNT])
    }
}

impl Timers {
    #[inline]
    pub(crate) fn set(&mut self, timer: TimerKind, at: impl Into<Option<Instant>>) {
        self.0[timer as usize] = at.into().unwrap_or(Instant::MAX);
    }

    #[inline]
    pub(crate) fn stop(&mut self, timer: TimerKind) {
        self.0[timer as usize] = Instant::MAX;
    }

    /// Stops what waits on the connection; what messages and a drain wait for goes on.
    pub(crate) fn stop_connection(&mut self) {
        let of_connection = [
            TimerKind::Handshake,
            TimerKind::KeepAlive,
            TimerKind::PingResponse,
            TimerKind::Request,
            TimerKind::Acknowledgements,
            TimerKind::Probe,
        ];
        for timer in of_connection {
            self.stop(timer);
        }
    }

    pub(crate) fn get(&self, timer: TimerKind) -> Option<Instant> {
        Some(self.0[timer as usize]).filter(|&at| at < Instant::MAX)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().copied().min().filter(|&at| at < Instant::MAX)
    }

    /// Stops the timer and says so when it has run out; tells when that was.
    pub(crate) fn expire(&mut self, timer: TimerKind, now: Instant) -> Option<Instant> {
        let due = self.get(timer).filter(|&at| at <= now)?;
        self.stop(timer);
        Some(due)
    }
}
