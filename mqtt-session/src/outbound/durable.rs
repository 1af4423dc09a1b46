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

/// What becomes of a message in flight that is withdrawn.
pub(crate) enum InFlight {
    /// The server has it: its flow goes on.
    Released(Fate),
    /// It is given up. The identifier, if the server may hold it.
    GivenUp(Fate, Option<PacketIdentifier>),
}

impl Outbound {
    /// Whether another message may take a packet identifier: within the window, whatever of it was
    /// sent.
    pub(super) fn may_admit(&self, window: usize) -> bool {
        self.unacknowledged < window && self.has_identifier()
    }

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

    /// Takes back a message that was never sent.
    pub(crate) fn withdraw(
        &mut self,
        operation: OperationId,
        deferred_drops: &mut DeferredDrops,
    ) -> Option<Fate> {
        if let Some(outgoing) = self.queue.remove(operation) {
            return Some(outgoing.defer(deferred_drops));
        }
        let mut id = self.publishes.last;
        while id != 0 {
            let slot = self.slot(id);
            if let State::Publish(outgoing) = &slot.state {
                if outgoing.operation == operation && !outgoing.written && slot.position.is_none() {
                    let fate = outgoing.fate();
                    self.unlink(Self::publishes, id);
                    self.release(id, deferred_drops);
                    return Some(fate);
                }
            }
            id = slot.previous;
        }
        None
    }

    /// Takes back a message of QoS 0 that was never sent.
    pub(crate) fn withdraw_qos0(
        &mut self,
        operation: OperationId,
        deferred_drops: &mut DeferredDrops,
    ) -> Option<Fate> {
        let outgoing = self.queue.remove_qos0(operation)?;
        Some(outgoing.defer(deferred_drops))
    }

    /// The application does not want a message any more that may have arrived.
    pub(crate) fn withdraw_in_flight(
        &mut self,
        operation: OperationId,
        deferred_drops: &mut DeferredDrops,
    ) -> Option<InFlight> {
        let (_, id, _) = self.in_order().find(|&(it, ..)| it == operation)?;
        let fate = match &mut self.slot(id.get()).state {
            State::Publish(outgoing) => outgoing.fate(),
            State::Released { fate, .. } => {
                let before = *fate;
                fate.reported = true;
                return Some(InFlight::Released(before));
            }
            State::Free | State::Abandoned(_) | State::Request(_) => return None,
        };
        let abandoned = self.abandon(operation, deferred_drops);
        Some(InFlight::GivenUp(fate, abandoned))
    }

    /// A message is not sent any more. Returns its packet identifier if the server may hold it.
    pub(crate) fn abandon(
        &mut self,
        operation: OperationId,
        deferred_drops: &mut DeferredDrops,
    ) -> Option<PacketIdentifier> {
        let (_, id, released) = self.in_order().find(|&(it, ..)| it == operation)?;
        let list = if released.is_some() {
            Self::released
        } else {
            Self::publishes
        };
        self.unlink(list, id.get());
        let fate = match &self.slot(id.get()).state {
            State::Publish(outgoing) => outgoing.fate(),
            State::Released { fate, .. } => *fate,
            State::Free | State::Abandoned(_) | State::Request(_) => {
                unreachable!("the lists hold messages")
            }
        };
        self.abandon_slot(id, fate, deferred_drops)
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

    /// Messages with a packet identifier in the order of sending, then those that were released in
    /// that of PUBREC. The last says which they are, and whether their end was reported.
    pub(crate) fn in_order(
        &self,
    ) -> impl Iterator<Item = (OperationId, PacketIdentifier, Option<bool>)> + '_ {
        let slot = |id: u16| {
            self.slots
                .get(usize::from(id).checked_sub(1)?)
                .map(|slot| (id, slot))
        };
        let list =
            move |first| core::iter::successors(slot(first), move |(_, last)| slot(last.next));
        list(self.publishes.first)
            .chain(list(self.released.first))
            .filter_map(|(id, slot)| {
                let id = PacketIdentifier::new(id)?;
                match &slot.state {
                    State::Publish(outgoing) => Some((outgoing.operation, id, None)),
                    State::Released { fate, .. } => Some((fate.operation, id, Some(fate.reported))),
                    State::Free | State::Abandoned(_) | State::Request(_) => None,
                }
            })
    }

    /// Messages whose end was not reported.
    pub(crate) fn operations(&self) -> impl Iterator<Item = OperationId> + '_ {
        let slots = self.slots.iter().filter_map(|slot| match &slot.state {
            State::Publish(outgoing) => Some(outgoing.fate()),
            State::Released { fate, .. } => Some(*fate),
            State::Free | State::Abandoned(_) | State::Request(_) => None,
        });
        let fates = slots.chain(self.queue.qos12.iter().map(TrackedMessage::fate));
        fates
            .filter(|fate| !fate.reported)
            .map(|fate| fate.operation)
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
            outbound.queue.restore(outgoing);
        }
        outbound
    }
}
