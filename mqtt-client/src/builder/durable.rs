//! Setting up a client whose session is stored.

use crate::api::client::Client;
use crate::builder::Builder;
use crate::driver::Driver;
use crate::driver::runtime::Runtime;
use crate::driver::writer::Writer;
use crate::error::ConnectError;
use crate::event::ClientEvent;
use crate::store::Store;
use martlet_session::{
    CleanStart, Durable, Instant, RestoreError, Session, StoreError, Undelivered, WhenStoreFails,
};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Sets up a client whose session is stored. Made by [`Builder::store`].
#[must_use = "a builder does nothing until it is built"]
pub struct DurableBuilder {
    pub(crate) builder: Builder,
    pub(crate) store: Box<dyn Store>,
    pub(crate) when_store_fails: WhenStoreFails,
}

/// Why a client cannot go on with a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is wrong, or cannot work; of an adapter's `connect_with` also: no connection could
    /// be made, or the server rejected it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    /// What is in it is not a session of this client.
    #[error("the session cannot be restored")]
    Restore(#[from] RestoreError),
}

impl DurableBuilder {
    /// Sets what becomes of messages that the store could not take. Default: they fail.
    pub fn when_store_fails(mut self, policy: WhenStoreFails) -> Self {
        self.when_store_fails = policy;
        self
    }

    /// Reads the store, which blocks, and returns the messages in it that no server has
    /// acknowledged, without connecting: to look at them, or to bring them elsewhere. They stay in
    /// the store.
    ///
    /// # Errors
    /// [`OpenError`], as of [`build`](Self::build).
    pub fn undelivered(mut self) -> Result<Vec<Undelivered>, OpenError> {
        let records = self.store.load()?;
        self.builder.check()?;
        self.builder
            .change(|config| config.durable(Durable::default()));
        let restored = Session::restore(self.builder.config, Instant::EPOCH, records)?;
        Ok(restored.session.undelivered().collect())
    }

    /// Reads the store, which blocks, and makes the client and its driver. Messages that an earlier
    /// client has not acknowledged go on their way when the driver is polled; it first tells
    /// [`ClientEvent::Restored`], and of the end of each of them [`ClientEvent::Published`]: make
    /// the [`Events`](crate::Events) before.
    ///
    /// # Errors
    /// [`OpenError`] when a setting is wrong, or the store cannot be read, or holds the session of
    /// another client identifier.
    pub fn build<R: Runtime + Unpin>(
        mut self,
        runtime: R,
    ) -> Result<(Client, Driver<R>), OpenError> {
        let records = self.store.load()?;
        let clock = runtime.clock();
        let now = clock.now();
        // A clock before 1970 says nothing about how long no process ran.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let durable = Durable::default()
            .when_store_fails(self.when_store_fails)
            .epoch(unix.map(|unix| unix.saturating_sub(now.since_epoch())));
        let has_clean_start = self.builder.has_clean_start;
        self.builder.change(|config| {
            let config = config.durable(durable);
            match has_clean_start {
                true => config,
                false => config.clean_start(CleanStart::Never),
            }
        });
        let mut restored = None;
        let is_new = records.is_empty();
        let (client, driver) = self
            .builder
            .build_session(runtime, clock, is_new, |config| {
                let found = Session::restore(config, now, records)?;
                let unacknowledged = found.session.unacknowledged().collect();
                restored = Some(ClientEvent::Restored {
                    unacknowledged,
                    quarantined: found.quarantined,
                });
                Ok::<_, OpenError>(found.session)
            })?;
        let restored = restored.expect("the session was restored");
        let writer = Writer::start(self.store, Arc::clone(client.shared()), restored)?;
        Ok((client, driver.with_writer(writer)))
    }
}

impl std::fmt::Debug for DurableBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableBuilder")
            .field("builder", &self.builder)
            .finish_non_exhaustive()
    }
}
