//! Sessions that outlive the process.

use super::Config;
use alloc::boxed::Box;
use core::time::Duration;

/// How a session is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durable {
    pub(crate) when_store_fails: WhenStoreFails,
    pub(crate) epoch: Option<Duration>,
}

impl Durable {
    /// Sets what becomes of messages that the store could not take. Default: they fail.
    #[must_use]
    pub fn when_store_fails(mut self, when_store_fails: WhenStoreFails) -> Self {
        self.when_store_fails = when_store_fails;
        self
    }

    /// Sets the time from the Unix epoch to the epoch of the session's
    /// [`Instant`](crate::Instant)s. With it, a message expires when its time is over, also while
    /// no process runs; without it, the time between processes does not count. Default: `None`.
    #[must_use]
    pub fn epoch(mut self, epoch: impl Into<Option<Duration>>) -> Self {
        self.epoch = epoch.into();
        self
    }
}

/// What becomes of messages above QoS 0 that were accepted, and that the store could not take.
/// Either way no more are accepted until it works again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenStoreFails {
    /// They fail as [`PublishError::Store`](crate::PublishError::Store).
    #[default]
    Fail,
    /// They wait until the store works again, or are lost with the process.
    Hold,
}

impl Config {
    /// Sets that what must outlive the process is stored:
    /// [`Session::poll_store`](crate::Session::poll_store) then returns it, and packets above QoS 0
    /// leave when they are stored. Default: `None`, nothing is stored.
    #[must_use]
    pub fn durable(mut self, durable: impl Into<Option<Durable>>) -> Self {
        self.durable = durable.into().map(Box::new);
        self
    }
}
