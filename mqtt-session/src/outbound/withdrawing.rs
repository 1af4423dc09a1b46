//! Messages that are not to be sent any more, and all those in flight in their order.

use super::{Outbound, State};
use crate::OperationId;
use crate::outbound::queue::{Fate, TrackedMessage};
use crate::output::deferred_drops::DeferredDrops;
use martlet_proto::PacketIdentifier;

/// What becomes of a message in flight that is withdrawn.
pub(crate) enum InFlight {
    /// The server has it: its flow goes on.
    Released(Fate),
    /// It is given up. The identifier, if the server may hold it.
    GivenUp(Fate, Option<PacketIdentifier>),
}

impl Outbound {
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
}
