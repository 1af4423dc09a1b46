//! Reports for all messages at once, when the application or the client stops.

use super::{Outbound, State};
use crate::outbound::queue::Fate;
use crate::output::deferred_drops::DeferredDrops;
use crate::{DeliveryStage, OperationId, Undelivered};
use alloc::vec::Vec;

impl Outbound {
    /// Takes the keys of all messages whose end somebody waits for, in the order of their lists;
    /// the messages stay.
    pub(crate) fn take_keys(&mut self) -> Vec<(OperationId, u32)> {
        let mut keys = Vec::new();
        for first in [self.released.first, self.publishes.first] {
            let mut id = first;
            while id != 0 {
                let slot = self.slot(id);
                id = slot.next;
                let (operation, key, reported) = match &mut slot.state {
                    State::Publish(outgoing) => (
                        outgoing.operation,
                        &mut outgoing.message.key,
                        outgoing.reported,
                    ),
                    State::Released { fate, kept } => {
                        if let Some(kept) = kept {
                            kept.message.key = None;
                        }
                        (fate.operation, &mut fate.key, fate.reported)
                    }
                    State::Free | State::Abandoned(_) | State::Request(_) => {
                        unreachable!("the lists hold messages")
                    }
                };
                keys.extend(key.take().filter(|_| !reported).map(|key| (operation, key)));
            }
        }
        for outgoing in self.queue.iter_mut() {
            let key = outgoing.message.key.take().filter(|_| !outgoing.reported);
            keys.extend(key.map(|key| (outgoing.operation, key)));
        }
        keys
    }

    /// Messages whose end was not reported, each with its operation: first those that the server
    /// has, then those in flight, then those that wait; each in their order.
    pub(crate) fn undelivered(&self) -> impl Iterator<Item = Undelivered> + '_ {
        let in_list = |first: u16| {
            let next = |id: &u16| Some(self.slots[usize::from(*id) - 1].next).filter(|id| *id != 0);
            core::iter::successors(Some(first).filter(|id| *id != 0), next)
        };
        let flows = in_list(self.released.first).chain(in_list(self.publishes.first));
        let sent = flows.filter_map(|id| match &self.slots[usize::from(id) - 1].state {
            State::Publish(outgoing) => {
                Some((outgoing.fate(), DeliveryStage::InFlight, Some(outgoing)))
            }
            State::Released { fate, kept } => {
                Some((*fate, DeliveryStage::Received, kept.as_deref()))
            }
            State::Free | State::Abandoned(_) | State::Request(_) => None,
        });
        let queued = self.queue.qos12.iter().chain(&self.queue.qos0);
        let queued =
            queued.map(|outgoing| (outgoing.fate(), DeliveryStage::Queued, Some(outgoing)));
        let all = sent.chain(queued);
        all.filter(|(fate, ..)| !fate.reported)
            .map(|(fate, stage, outgoing)| Undelivered {
                operation: fate.operation,
                stage,
                message: outgoing.map(|outgoing| outgoing.message.clone()),
            })
    }

    /// Reports the end of everything that the application still waits for: the queue is emptied;
    /// messages in flight stay, because the server knows of them.
    pub(crate) fn report_all(&mut self, deferred_drops: &mut DeferredDrops) -> Vec<Fate> {
        let mut fates = Vec::new();
        for first in [self.released.first, self.publishes.first] {
            let mut id = first;
            while id != 0 {
                let slot = self.slot(id);
                id = slot.next;
                let (fate, reported) = match &mut slot.state {
                    State::Publish(outgoing) => (outgoing.fate(), &mut outgoing.reported),
                    State::Released { fate, .. } => (*fate, &mut fate.reported),
                    State::Free | State::Abandoned(_) | State::Request(_) => {
                        unreachable!("the lists hold messages")
                    }
                };
                *reported = true;
                fates.push(fate);
            }
        }
        while let Some(outgoing) = self.queue.pop_oldest() {
            fates.push(outgoing.defer(deferred_drops));
        }
        fates
    }
}
