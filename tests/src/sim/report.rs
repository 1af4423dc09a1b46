//! What a world tells: counts, and what was wrong.

use super::Options;
use core::fmt;
use core::time::Duration;

/// What has happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps.
    pub steps: u64,
    /// Messages that the session accepted.
    pub accepted: u64,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Messages whose failure was reported.
    pub failed: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Deliveries of QoS 1 messages that had been delivered before.
    pub repeated: u64,
    /// Connections that ended, for whatever reason.
    pub connections: u64,
    /// Connections that broke at a random byte.
    pub cuts: u64,
    /// Connections whose bytes vanished.
    pub half_open: u64,
    /// Restarts of the broker with its memory.
    pub restarts: u64,
    /// Restarts without.
    pub amnesias: u64,
    /// Subscriptions that were ended for a while.
    pub unsubscribes: u64,
    /// Processes that died.
    pub crashes: u64,
    /// What the server did wrong on purpose.
    pub misdeeds: u64,
    /// Sessions whose loss a client could not notice: the CONNACK that would have said so was lost.
    pub unnoticed: u64,
}

impl Counts {
    /// Adds those of another world.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.accepted += other.accepted;
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        self.delivered += other.delivered;
        self.repeated += other.repeated;
        self.connections += other.connections;
        self.cuts += other.cuts;
        self.half_open += other.half_open;
        self.restarts += other.restarts;
        self.amnesias += other.amnesias;
        self.unsubscribes += other.unsubscribes;
        self.crashes += other.crashes;
        self.misdeeds += other.misdeeds;
        self.unnoticed += other.unnoticed;
    }
}

/// A world in which something was wrong.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The world's seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// The simulated time.
    pub at: Duration,
    /// The options.
    pub options: Box<Options>,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            step,
            at,
            options,
            what,
        } = self;
        write!(
            f,
            "{what}\n  seed {seed}, step {step}, {at:?}, {options:?}\n  \
             replay: MARTLET_SEED={seed} cargo test -p martlet-tests --test simulation replay"
        )
    }
}

impl std::error::Error for Failure {}
