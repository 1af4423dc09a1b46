//! What one measurement gives, as the processes print it: a line of JSON.

use crate::messages::Tally;
use crate::{Allocations, CountAllocations};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What the client's process measured, around the messages only.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ClientSample {
    /// Messages, round trips or connections.
    pub messages: usize,
    /// Seconds of CPU time in user mode, of all threads.
    pub user: f64,
    /// Seconds of CPU time in the kernel, of all threads.
    pub system: f64,
    pub wall: f64,
    /// The most memory that the process has had resident, in bytes.
    pub peak: u64,
    /// How much more is resident after the measured part than before, in bytes; in the scenario of a
    /// queue, when it is longest.
    pub grown: u64,
    /// Allocations in the measured part, if this is the build that counts them.
    pub allocations: Option<u64>,
    /// As `grown`, but what is allocated; likewise.
    #[serde(default)]
    pub heap: Option<u64>,
    /// The messages that arrived here, if the scenario has any.
    pub tally: Option<Tally>,
    /// Round trips in microseconds: median and 99th percentile.
    pub latency: Option<(f64, f64)>,
}

/// What the server's process measured.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct ServerSample {
    /// Seconds of CPU time.
    pub cpu: f64,
    /// The messages that arrived here.
    pub tally: Tally,
    /// The connections that were accepted.
    pub connections: usize,
    /// How many of the server's messages were acknowledged.
    pub acknowledged: usize,
}

impl ClientSample {
    pub fn print(&self) {
        println!("{}", serde_json::to_string(self).expect("a sample"));
    }
}

impl ServerSample {
    pub fn print(&self) {
        println!("{}", serde_json::to_string(self).expect("a sample"));
    }
}

/// The measured part, from its beginning.
pub struct Stopwatch {
    start: Instant,
    user: f64,
    system: f64,
    resident: u64,
    allocations: Option<Allocations>,
    count: Option<CountAllocations>,
    /// What has grown, resident and allocated, at the mark.
    marked: Option<(u64, Option<u64>)>,
}

impl Stopwatch {
    pub fn start(count: Option<CountAllocations>) -> Self {
        let resident = memory("VmRSS:");
        let (user, system) = cpu();
        Self {
            start: Instant::now(),
            user,
            system,
            resident,
            allocations: count.map(|count| count()),
            count,
            marked: None,
        }
    }

    /// What has grown is what has grown until now.
    pub fn mark(&mut self) {
        self.marked = Some(self.grown());
    }

    fn grown(&self) -> (u64, Option<u64>) {
        let before = self.allocations.map(|before| before.live);
        let now = self.count.map(|count| count().live);
        let heap = now
            .zip(before)
            .map(|(now, before)| now.saturating_sub(before));
        (memory("VmRSS:").saturating_sub(self.resident), heap)
    }

    pub fn stop(self, messages: usize) -> ClientSample {
        let wall = self.start.elapsed().as_secs_f64();
        let (user, system) = cpu();
        let allocations = self.count.map(|count| count());
        let (grown, heap) = self.marked.unwrap_or_else(|| self.grown());
        ClientSample {
            messages,
            user: user - self.user,
            system: system - self.system,
            wall,
            peak: memory("VmHWM:"),
            grown,
            allocations: allocations
                .zip(self.allocations)
                .map(|(to, from)| to.count - from.count),
            heap,
            tally: None,
            latency: None,
        }
    }
}

/// User and system time of this process, in seconds.
fn cpu() -> (f64, f64) {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the usage of this process");
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
    (seconds(usage.user_time()), seconds(usage.system_time()))
}

/// A line of `/proc/self/status`, in bytes. (`getrusage` counts the parent's memory too.)
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
