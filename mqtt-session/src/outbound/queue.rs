//! Messages that wait to be sent, within bounds.

use crate::output::deferred_drops::DeferredDrops;
use crate::{Instant, OperationId, OutgoingPublish, QueueLimits, WhenFull};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use martlet_proto::QoS;

/// A message with what the session knows of it.
#[derive(Debug)]
pub(crate) struct TrackedMessage {
    pub(crate) message: OutgoingPublish,
    pub(crate) operation: OperationId,
    /// When its message expiry interval runs out; it may not be sent for the first time from then
    /// on.
    pub(crate) expires_at: Option<Instant>,
    /// It was handed out before: DUP, and it does not expire any more.
    pub(crate) written: bool,
    /// Its end was already reported to the application.
    pub(crate) reported: bool,
    /// Connections that the server has ended while this message was the first in flight.
    pub(crate) hang_ups: u8,
}

impl TrackedMessage {
    pub(crate) fn fate(&self) -> Fate {
        Fate {
            operation: self.operation,
            key: self.message.key,
            reported: self.reported,
            unmatched: false,
        }
    }

    /// The message is over; only its fate is left to be reported.
    pub(crate) fn defer(self, deferred_drops: &mut DeferredDrops) -> Fate {
        let fate = self.fate();
        deferred_drops.add(self.message);
        fate
    }

    /// The expiry interval without the whole seconds that have passed: a second that has only begun
    /// still counts, so that a message that leaves at once keeps its interval. Never 0, which some
    /// servers take for none.
    pub(crate) fn expiry_left(&self, now: Instant) -> Option<u32> {
        let left = self.expires_at?.saturating_duration_since(now);
        let begun = u64::from(left.subsec_nanos() > 0);
        Some(
            left.as_secs()
                .saturating_add(begun)
                .clamp(1, u32::MAX.into()) as u32,
        )
    }
}

/// To whom the end of a message is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) operation: OperationId,
    pub(crate) key: Option<u32>,
    pub(crate) reported: bool,
    /// The server has no subscriber for it.
    pub(crate) unmatched: bool,
}

/// Messages without a packet identifier, oldest first. QoS 0 has a line of its own: it does not
/// wait for the window.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) qos0: VecDeque<TrackedMessage>,
    pub(crate) qos12: VecDeque<TrackedMessage>,
    bytes: usize,
}

/// What became of a message when it met a full queue.
pub(crate) enum Enqueued {
    Yes,
    Rejected(TrackedMessage),
    /// These were dropped for it, or it was.
    Dropped(Vec<TrackedMessage>),
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.qos0.len() + self.qos12.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn fits(&self, size: usize, limits: &QueueLimits) -> bool {
        self.len() < limits.messages && self.bytes.saturating_add(size) <= limits.bytes
    }

    pub(crate) fn push(&mut self, outgoing: TrackedMessage, limits: &QueueLimits) -> Enqueued {
        let size = outgoing.message.size();
        let mut dropped = Vec::new();
        if !self.fits(size, limits) {
            match limits.when_full {
                WhenFull::Reject => return Enqueued::Rejected(outgoing),
                WhenFull::DropNewest => dropped.push(outgoing),
                // It would not fit an empty queue either: the others do not have to go for it.
                WhenFull::DropOldest if size > limits.bytes => dropped.push(outgoing),
                WhenFull::DropOldest => {
                    while !self.fits(size, limits) {
                        let Some(oldest) = self.pop_oldest() else {
                            break;
                        };
                        dropped.push(oldest);
                    }
                    if self.fits(size, limits) {
                        self.push_back(outgoing);
                    } else {
                        dropped.push(outgoing);
                    }
                }
            }
            return Enqueued::Dropped(dropped);
        }
        self.push_back(outgoing);
        Enqueued::Yes
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TrackedMessage> {
        self.qos0.iter_mut().chain(&mut self.qos12)
    }

    fn line(&mut self, qos: QoS) -> &mut VecDeque<TrackedMessage> {
        if qos == QoS::AtMostOnce {
            &mut self.qos0
        } else {
            &mut self.qos12
        }
    }

    pub(super) fn push_back(&mut self, outgoing: TrackedMessage) {
        self.bytes += outgoing.message.size();
        self.line(outgoing.message.qos).push_back(outgoing);
    }

    /// Back to the front: it was in the queue, or in flight, before all others.
    pub(crate) fn push_front(&mut self, outgoing: TrackedMessage) {
        self.bytes += outgoing.message.size();
        self.line(outgoing.message.qos).push_front(outgoing);
    }

    pub(crate) fn oldest_line(&self, with_qos12: bool) -> Option<QoS> {
        match (self.qos0.front(), self.qos12.front().filter(|_| with_qos12)) {
            (Some(a), Some(b)) => Some(if a.operation < b.operation {
                QoS::AtMostOnce
            } else {
                QoS::AtLeastOnce
            }),
            (Some(_), None) => Some(QoS::AtMostOnce),
            (None, Some(_)) => Some(QoS::AtLeastOnce),
            (None, None) => None,
        }
    }

    pub(crate) fn pop_line(&mut self, line: QoS) -> Option<TrackedMessage> {
        let outgoing = self.line(line).pop_front()?;
        self.bytes -= outgoing.message.size();
        Some(outgoing)
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<TrackedMessage> {
        let line = self.oldest_line(true)?;
        self.pop_line(line)
    }

    /// Whether a message above QoS 0 is here; they stand in the order of their operations.
    pub(crate) fn holds(&self, operation: OperationId) -> bool {
        self.qos12
            .binary_search_by_key(&operation, |outgoing| outgoing.operation)
            .is_ok()
    }

    /// Takes a message above QoS 0 out.
    pub(crate) fn remove(&mut self, operation: OperationId) -> Option<TrackedMessage> {
        let i = self
            .qos12
            .binary_search_by_key(&operation, |outgoing| outgoing.operation)
            .ok()?;
        let outgoing = self.qos12.remove(i)?;
        self.bytes -= outgoing.message.size();
        Some(outgoing)
    }

    /// Takes a message of QoS 0 out.
    pub(crate) fn remove_qos0(&mut self, operation: OperationId) -> Option<TrackedMessage> {
        let i = self
            .qos0
            .binary_search_by_key(&operation, |outgoing| outgoing.operation)
            .ok()?;
        let outgoing = self.qos0.remove(i)?;
        self.bytes -= outgoing.message.size();
        Some(outgoing)
    }

    /// Takes out what has expired.
    pub(crate) fn take_expired(&mut self, now: Instant, out: &mut Vec<TrackedMessage>) {
        for line in [&mut self.qos0, &mut self.qos12] {
            let is_over =
                |outgoing: &TrackedMessage| outgoing.expires_at.is_some_and(|at| at <= now);
            let (expired, rest): (VecDeque<_>, VecDeque<_>) =
                core::mem::take(line).into_iter().partition(is_over);
            self.bytes -= expired
                .iter()
                .map(|outgoing| outgoing.message.size())
                .sum::<usize>();
            *line = rest;
            out.extend(expired);
        }
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.qos0
            .iter()
            .chain(&self.qos12)
            .filter_map(|outgoing| outgoing.expires_at)
            .min()
    }
}
