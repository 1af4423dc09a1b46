//! The state of the connection. It is kept once, in [`Phase`]: what the application sees, whether
//! there is a connection, and why the client has stopped are read from it.
//!
//! ```text
//!   Connecting ───────────► Connected ─────► Lost ─────┐  the session has lost it, and the link
//!     ▲    ▲ │                                         │  has not reported what follows
//!     │    │ └─────────────────┬───────────────────────┤
//!     │    └── the link ── Disconnected          Stopped, from any phase
//!     └─────────── revive ───────────────────────────┘
//! ```

use crate::error::WithCauses;
use crate::hub::authenticating::Authenticating;
use crate::hub::waiters::Waiters;
use crate::hub::wakers::Wakers;
use martlet_session::{
    Connected, ConnectionError, DeliveryStage, Instant, StoreError, Undelivered,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a client's connection is doing.
///
/// ```
/// # use martlet_client::{Client, ConnectionState};
/// # fn example(client: Client) -> bool {
/// matches!(client.state(), ConnectionState::Connected(_))
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// An attempt is under way, or about to begin.
    Connecting {
        /// 1 for the first attempt of a client, and for the first after a connection; one more for
        /// each that fails.
        attempt: u32,
    },
    /// The server has accepted the connection.
    Connected(Arc<Connected>),
    /// There is no connection, and another attempt will be made.
    Disconnected {
        /// Why the last attempt or connection ended.
        reason: ConnectionError,
        /// How long it is, from when this state began, to the next attempt.
        retry_in: Duration,
    },
    /// The client has stopped: there is no connection, and no attempt will be made, unless
    /// [`reconnect`](crate::Client::reconnect) revives it.
    Stopped {
        /// Why: an error to which the policy's reaction is to stop, or the last of as many attempts
        /// as it allows.
        reason: ConnectionError,
    },
    /// The client has disconnected, as [`disconnect`](crate::Client::disconnect) asked, or as it
    /// does when its last handle or its driver is dropped. It is for good.
    Closed,
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting { attempt } => write!(f, "connecting, attempt {attempt}"),
            Self::Connected(connected) => write!(f, "connected with {}", connected.version),
            Self::Disconnected { reason, retry_in } => {
                let reason = WithCauses(reason);
                write!(f, "disconnected, next attempt in {retry_in:?}: {reason}")
            }
            Self::Stopped { reason } => write!(f, "stopped: {}", WithCauses(reason)),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// What a client leaves behind when it disconnects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftBehind {
    /// Messages of QoS 1 and 2 that were in flight: they may have arrived.
    pub in_flight: usize,
    /// Messages that were queued: they were not sent, or were to be sent again after the server had
    /// lost the session.
    pub queued: usize,
    /// These messages: first those that the server has, then those in flight, then those that were
    /// queued, each in their order. The first `disconnect` that completes gets them.
    pub messages: Vec<Undelivered>,
    /// Whether the store has it all; `Ok` without a store. Otherwise why not: the store fails until
    /// time is up, or is still at it. A later client may then find an earlier state in it, send
    /// again what is acknowledged, and not find the messages that were reported as
    /// [`PublishError::Store`](crate::PublishError::Store).
    pub stored: Result<(), StoreError>,
}

/// The connection, what the application wants of it, and what ends with it.
#[derive(Debug)]
pub(crate) struct HubConnection {
    phase: Phase,
    /// How many changes the application could see.
    version: u64,
    /// When the last of them was.
    since: Instant,
    /// The time of the driver's last turn.
    pub(crate) now: Instant,
    /// Connections so far.
    made: u64,
    /// Attempts and connections that have ended by an error, and the last.
    failures: u64,
    last_error: Option<Box<ConnectionError>>,
    /// What the application wants of the driver.
    pub(crate) wanted: Option<Wanted>,
    pub(crate) authenticating: Authenticating,
    /// What was not acknowledged when the client disconnected.
    pub(crate) undelivered: Option<Box<LastUndelivered>>,
}

/// What was not acknowledged at the end.
#[derive(Debug)]
pub(crate) struct LastUndelivered {
    pub(crate) in_flight: usize,
    pub(crate) queued: usize,
    /// Given to the first `disconnect` that completes.
    pub(crate) messages: Vec<Undelivered>,
}

#[derive(Debug)]
enum Phase {
    Connecting {
        attempt: u32,
    },
    Connected(Arc<Connected>),
    /// The session has lost it; the link has not reported what follows.
    Lost(Arc<Connected>),
    Disconnected {
        why: ConnectionError,
        retry_in: Duration,
    },
    Stopped {
        why: ConnectionError,
        for_good: bool,
    },
}

/// What the application wants, if it does not want to wait. Of what several callers want, the greatest counts: it
/// is all that the others want, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    Connection,
    /// In place of the one that there is.
    Another,
}

impl HubConnection {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Connecting { attempt: 1 },
            version: 0,
            since: now,
            now,
            made: 0,
            failures: 0,
            last_error: None,
            wanted: None,
            authenticating: Authenticating::default(),
            undelivered: None,
        }
    }

    /// What the application sees.
    pub(crate) fn state(&self) -> ConnectionState {
        match &self.phase {
            Phase::Connecting { attempt } => ConnectionState::Connecting { attempt: *attempt },
            Phase::Connected(connected) | Phase::Lost(connected) => {
                ConnectionState::Connected(Arc::clone(connected))
            }
            Phase::Disconnected { why, retry_in } => ConnectionState::Disconnected {
                reason: why.clone(),
                retry_in: *retry_in,
            },
            Phase::Stopped { why, .. } => match why {
                ConnectionError::ClosedHere => ConnectionState::Closed,
                why => ConnectionState::Stopped {
                    reason: why.clone(),
                },
            },
        }
    }

    /// Differs from state to state.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Since when it has been in its state.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// How many attempts and connections have ended by an error.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// The last of these errors.
    pub(crate) fn last_error(&self) -> Option<&ConnectionError> {
        self.last_error.as_deref()
    }

    /// These messages were not acknowledged when the client disconnected.
    pub(crate) fn set_undelivered(&mut self, messages: Vec<Undelivered>) {
        let is_queued = |message: &&Undelivered| message.stage == DeliveryStage::Queued;
        let queued = messages.iter().filter(is_queued).count();
        self.undelivered = Some(Box::new(LastUndelivered {
            in_flight: messages.len() - queued,
            queued,
            messages,
        }));
    }

    /// How many connections there have been.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// The connection as it is; `None` while there is none.
    pub(crate) fn connected(&self) -> Option<&Arc<Connected>> {
        match &self.phase {
            Phase::Connected(connected) => Some(connected),
            _ => None,
        }
    }

    /// Whether this is the connection as it is.
    pub(crate) fn is(&self, connection: &Arc<Connected>) -> bool {
        self.connected()
            .is_some_and(|connected| Arc::ptr_eq(connected, connection))
    }

    /// Why the client has stopped; `None` while it has not.
    pub(crate) fn stopped(&self) -> Option<&ConnectionError> {
        match &self.phase {
            Phase::Stopped { why, .. } => Some(why),
            _ => None,
        }
    }

    /// Why the client has stopped, if not because of `disconnect`.
    pub(crate) fn why_stopped(&self) -> ConnectionError {
        let why = self.stopped().cloned();
        why.unwrap_or(ConnectionError::ClosedHere)
    }

    /// Whether the client has stopped for good.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Stopped { for_good: true, .. })
    }

    // ---- transitions

    /// The application wants this, beside what it wants already.
    pub(crate) fn want(&mut self, wanted: Wanted) {
        self.wanted = self.wanted.max(Some(wanted));
    }

    fn enter(&mut self, phase: Phase, waiters: &mut Waiters, wakers: &mut Wakers) {
        self.phase = phase;
        self.version += 1;
        self.since = self.now;
        waiters.notify(wakers);
    }

    /// What the application asked for is no failure.
    fn note_failure(&mut self, why: &ConnectionError) {
        if matches!(why, ConnectionError::ClosedHere | ConnectionError::Replaced) {
            return;
        }
        self.failures += 1;
        self.last_error = Some(Box::new(why.clone()));
    }

    /// The link is at work on this attempt.
    pub(crate) fn set_connecting(
        &mut self,
        attempt: u32,
        waiters: &mut Waiters,
        wakers: &mut Wakers,
    ) {
        if !matches!(self.phase, Phase::Connecting { attempt: known } if known == attempt) {
            self.enter(Phase::Connecting { attempt }, waiters, wakers);
        }
    }

    /// The server has accepted the connection.
    pub(crate) fn set_connected(
        &mut self,
        connected: Arc<Connected>,
        waiters: &mut Waiters,
        wakers: &mut Wakers,
    ) {
        self.made += 1;
        self.enter(Phase::Connected(connected), waiters, wakers);
    }

    /// The session has lost the connection, if there was one. The link reports it to the
    /// application, with what comes next.
    pub(crate) fn set_lost(&mut self) {
        if let Phase::Connected(connected) = &self.phase {
            self.phase = Phase::Lost(Arc::clone(connected));
        }
    }

    /// An attempt or a connection has ended, and another attempt will be made.
    pub(crate) fn set_disconnected(
        &mut self,
        why: ConnectionError,
        retry_in: Duration,
        waiters: &mut Waiters,
        wakers: &mut Wakers,
    ) {
        self.note_failure(&why);
        self.enter(Phase::Disconnected { why, retry_in }, waiters, wakers);
    }

    /// There will be no connection any more.
    pub(crate) fn set_stopped(
        &mut self,
        why: ConnectionError,
        for_good: bool,
        waiters: &mut Waiters,
        wakers: &mut Wakers,
    ) {
        if !matches!(self.phase, Phase::Stopped { .. }) {
            self.note_failure(&why);
        }
        self.enter(Phase::Stopped { why, for_good }, waiters, wakers);
    }

    /// The client goes on after it has stopped, unless that was for good. Returns whether it does.
    pub(crate) fn revive(&mut self) -> bool {
        let Phase::Stopped {
            for_good: false, ..
        } = self.phase
        else {
            return false;
        };
        // Nobody waits for a change: streams of states have ended.
        self.phase = Phase::Connecting { attempt: 1 };
        self.version += 1;
        self.since = self.now;
        true
    }
}
