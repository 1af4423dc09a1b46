//! The messages: their payloads are numbered, so that loss and repetition are seen.

use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};

/// The payload of message `number`: a fresh buffer.
pub fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut payload = vec![b'x'; size];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload
}

/// The messages that a client publishes.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    /// The number of the first.
    pub first: usize,
    pub n: usize,
    pub qos: u8,
    pub size: usize,
}

impl Outgoing {
    pub fn new(scenario: Scenario, n: usize) -> Self {
        Self {
            first: 0,
            n,
            qos: scenario.qos(),
            size: scenario.size(),
        }
    }

    /// A fresh payload for each message.
    pub fn payloads(self) -> impl Iterator<Item = Vec<u8>> + Send {
        self.part(0, 1)
    }

    /// The payloads of one of several tasks.
    pub fn part(self, task: usize, tasks: usize) -> impl Iterator<Item = Vec<u8>> + Send {
        (task..self.n)
            .step_by(tasks)
            .map(move |number| payload((self.first + number) as u64, self.size))
    }

    /// The same messages, in batches of `size`.
    pub fn batches(self, size: usize) -> impl Iterator<Item = Self> {
        (0..self.n).step_by(size).map(move |first| Self {
            first: self.first + first,
            n: size.min(self.n - first),
            ..self
        })
    }
}

/// Which messages arrived: their count, and the sum of their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub count: u64,
    pub sum: u64,
}

impl Tally {
    pub fn add(&mut self, payload: &[u8]) {
        self.count += 1;
        if let Some(number) = payload.first_chunk() {
            self.sum = self.sum.wrapping_add(u64::from_be_bytes(*number));
        }
    }

    /// Adds what arrived elsewhere.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Whether each of the first `n` messages arrived once.
    pub fn is_whole(self, n: usize) -> bool {
        let n = n as u64;
        self.count == n && self.sum == n * n.saturating_sub(1) / 2
    }
}
