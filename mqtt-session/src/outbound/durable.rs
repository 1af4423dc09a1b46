//! What a durable session does with the table: packet identifiers are taken before anything is
//! sent, and come back after a restart.

use super::{Outbound, Slot, State};
use crate::OperationId;
use crate::outbound::queue::{Fate, TrackedMessage};
use crate::output::deferred_drops::DeferredDrops;
use alloc::boxed::Box;
use alloc::vec::Vec;
use martlet_proto::{PacketIdentifier, QoS};

/// A flow as it was stored.
#[derive(Debug)]
pub(crate) enum RestoredFlow {
    /// It may have been written.
    Published(TrackedMessage),
    Released {
        fate: Fate,
        kept: Option<TrackedMessage>,
    },
    Abandoned(Fate),
}

impl Outbound {
    /// The next message of the queue that may take a packet identifier.
    pub(crate) fn pop_admissible(&mut self, window: usize) -> Option<TrackedMessage> {
        if !self.may_admit(window) {
            return None;
        }
        self.queue.pop_line(QoS::AtLeastOnce)
    }

    /// A message takes its packet identifier and its place in the order of sending; it is sent like
    /// one that this connection has not seen.
    pub(crate) fn admit(&mut self, outgoing: TrackedMessage) -> PacketIdentifier {
        let id = self.allocate().expect("an identifier was free");
        self.slot(id.get()).state = State::Publish(outgoing);
        self.append(Self::publishes, id.get());
        if self.resend == 0 {
            self.resend = id.get();
        }
        id
    }

    /// Whose message this identifier stands for, after its PUBREC.
    pub(crate) fn released_fate(&mut self, id: PacketIdentifier) -> Option<Fate> {
        match self.find(id)?.state {
            State::Released { fate, .. } => Some(fate),
            _ => None,
        }
    }

    /// Whose messages have a packet identifier.
    pub(crate) fn flows(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.slots.iter().filter_map(|slot| match &slot.state {
            State::Publish(outgoing) => Some(outgoing.operation),
            State::Released { fate, .. } => Some(fate.operation),
            State::Abandoned(abandoned) => Some(abandoned.fate.operation),
            State::Free | State::Request(_) => None,
        })
    }

    /// The application has gone: messages above QoS 0 stay, without anybody who asks for them; the
    /// others are given back. First those that stay.
    pub(crate) fn keep_all(
        &mut self,
        deferred_drops: &mut DeferredDrops,
    ) -> (Vec<Fate>, Vec<Fate>) {
        let mut kept = Vec::new();
        let mut keep = |fate: Fate, key: &mut Option<u32>| {
            *key = None;
            if !fate.reported {
                kept.push(fate);
            }
        };
        for slot in &mut self.slots {
            match &mut slot.state {
                State::Publish(outgoing) => keep(outgoing.fate(), &mut outgoing.message.key),
                State::Released { fate, kept } => {
                    keep(*fate, &mut fate.key);
                    if let Some(outgoing) = kept {
                        outgoing.message.key = None;
                    }
                }
                State::Free | State::Abandoned(_) | State::Request(_) => {}
            }
        }
        for outgoing in &mut self.queue.qos12 {
            keep(outgoing.fate(), &mut outgoing.message.key);
        }
        kept.sort_by_key(|fate| fate.operation);
        let mut lost = Vec::new();
        while let Some(outgoing) = self.queue.pop_line(QoS::AtMostOnce) {
            lost.push(outgoing.defer(deferred_drops));
        }
        (kept, lost)
    }

    /// How far it has come, as one number: connections in a row, and, past `limit`, those at the
    /// suspect.
    pub(crate) fn hang_ups(&self, limit: u8) -> u8 {
        match &self.probe {
            Some(probe) => limit.saturating_add(probe.ended),
            None => self.hang_ups_in_a_row.min(limit.saturating_sub(1)),
        }
    }

    /// Goes on where an earlier process has stopped; the message that is first in order was its
    /// suspect.
    pub(crate) fn restore_hang_ups(&mut self, count: u8, limit: u8) {
        let suspect = [self.released.first, self.publishes.first]
            .into_iter()
            .find_map(|id| self.message(id));
        let last = self.flows().max();
        match (count.checked_sub(limit), last) {
            (Some(ended), Some(last)) => {
                self.probe_from(last, ended, None);
                if let Some(probe) = &mut self.probe {
                    probe.suspect = suspect;
                }
            }
            (None, Some(_)) => self.hang_ups_in_a_row = count,
            (_, None) => {}
        }
    }

    /// The table as it was stored: flows in the order of sending and, those released, of PUBREC,
    /// with identifiers that differ; and the queue, in its order.
    pub(crate) fn restore(
        flows: Vec<(PacketIdentifier, RestoredFlow)>,
        queue: impl IntoIterator<Item = TrackedMessage>,
    ) -> Self {
        let mut outbound = Self::default();
        let most = flows.iter().map(|(id, _)| id.get()).max().unwrap_or(0);
        outbound.slots.extend((0..most).map(|_| Slot {
            state: State::Free,
            position: None,
            previous: 0,
            next: 0,
        }));
        for (id, restored) in flows {
            let id = id.get();
            match restored {
                RestoredFlow::Published(outgoing) => {
                    outbound.slot(id).state = State::Publish(outgoing);
                    outbound.append(Self::publishes, id);
                }
                RestoredFlow::Released { fate, kept } => {
                    outbound.slot(id).state = State::Released {
                        fate,
                        kept: kept.map(Box::new),
                    };
                    outbound.append(Self::released, id);
                }
                RestoredFlow::Abandoned(fate) => {
                    outbound.put_abandoned(id, fate, QoS::ExactlyOnce);
                }
            }
        }
        for id in 1..=most {
            if matches!(outbound.slot(id).state, State::Free) {
                outbound.free(id);
            }
        }
        for outgoing in queue {
            // The bounds have let it in.
            outbound.queue.push_back(outgoing);
        }
        outbound
    }
}
