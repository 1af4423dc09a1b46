//! What the tasks of a run share, and how far it is.

use super::clock::Clock;
use super::latency::Latency;
use super::meter::{Budget, Counter, Counters, Errors, Meter};
use super::options::Work;
use super::payload::Payloads;
use crate::exit::Failure;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What all threads of a run share.
pub(super) struct Run {
    pub(super) work: Work,
    pub(super) clock: Clock,
    /// The identifier of the run, which its messages carry.
    pub(super) id: u64,
    pub(super) payloads: Payloads,
    pub(super) errors: Errors,
    /// Publishing and connecting have stopped; for loops that cannot wait for the phase.
    pub(super) is_stopped: AtomicBool,
    /// What a run with a number of messages to receive has left.
    pub(super) to_receive: Budget,
}

impl Run {
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Running(Window),
    /// Nothing is sent any more; answers are waited for.
    Draining(Window),
    /// Nothing is waited for any more.
    Ended(Window),
}

/// The times of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// The first message is due.
    pub(super) start: u64,
    /// The warm-up is over.
    pub(super) measured: u64,
    /// Nothing is due any more, where that is known.
    pub(super) end: Option<u64>,
}

pub(super) type Phases = watch::Receiver<Phase>;

/// Waits until the phase is one of these; returns it.
pub(super) async fn until(phases: &mut Phases, is_there: fn(&Phase) -> bool) -> Phase {
    let phase = phases.wait_for(is_there).await.ok().map(|phase| *phase);
    match phase {
        Some(phase) => phase,
        // The sender lives as long as the run.
        None => std::future::pending().await,
    }
}

pub(super) fn has_begun(phase: &Phase) -> bool {
    !matches!(phase, Phase::Connecting)
}

pub(super) fn is_draining(phase: &Phase) -> bool {
    matches!(phase, Phase::Draining(_) | Phase::Ended(_))
}

pub(super) fn has_ended(phase: &Phase) -> bool {
    matches!(phase, Phase::Ended(_))
}

impl Phase {
    pub(super) fn window(self) -> Option<Window> {
        match self {
            Self::Connecting => None,
            Self::Running(window) | Self::Draining(window) | Self::Ended(window) => Some(window),
        }
    }
}

/// What the tasks of one thread share.
pub(super) struct Shard {
    pub(super) run: Arc<Run>,
    /// The clients of this thread, in ascending order.
    pub(super) mine: Vec<u32>,
    pub(super) counters: Counters,
    /// How many messages each of these clients has sent.
    pub(super) published: Vec<Counter>,
    /// When the last message of all of them was due.
    pub(super) last_due: Counter,
    /// Until the acknowledgement, or until the connection is made.
    pub(super) answers: Meter,
    /// From end to end.
    pub(super) arrivals: Meter,
    /// From when something was due until it was begun.
    pub(super) lateness: Mutex<Latency>,
}

impl Shard {
    /// How many messages this client has sent.
    pub(super) fn published(&self, client: u32) -> &Counter {
        &self.published[client as usize / usize::from(self.run.work.threads)]
    }
}

/// How far a thread is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    Connecting,
    Ready,
    /// It has nothing left to send or to connect; of a subscriber, when all have stopped.
    Idle,
    /// Its clients could not connect.
    Failed(Failure),
}
