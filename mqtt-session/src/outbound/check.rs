//! What must agree in the table, its lists and its counts. Tests check it after each drain.

use super::{List, Outbound, Slot, State};
use crate::OperationId;
use crate::outbound::queue::TrackedMessage;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

impl Outbound {
    /// # Errors
    /// When something does not agree: what.
    pub(crate) fn check(&self) -> Result<(), String> {
        let free = self.check_free()?;
        let publishes = self.check_list(self.publishes, |slot| match &slot.state {
            State::Publish(outgoing) => Some(outgoing.operation),
            State::Free | State::Released { .. } | State::Abandoned(_) | State::Request(_) => None,
        })?;
        let released = self.check_list(self.released, |slot| match &slot.state {
            State::Released { fate, .. } => Some(fate.operation),
            State::Free | State::Publish(_) | State::Abandoned(_) | State::Request(_) => None,
        })?;
        let abandoned = self.check_list(self.abandoned.list, |slot| match &slot.state {
            State::Abandoned(abandoned) => Some(abandoned.fate.operation),
            State::Free | State::Publish(_) | State::Released { .. } | State::Request(_) => None,
        })?;
        same("given up", self.abandoned.len, abandoned.len())?;
        // The lists hold all, and each once.
        let count = |is_one: fn(&State) -> bool| {
            let states = self.slots.iter().map(|slot| &slot.state);
            states.filter(|state| is_one(state)).count()
        };
        let is_publish = |state: &State| matches!(state, State::Publish(_));
        let is_released = |state: &State| matches!(state, State::Released { .. });
        same("free", free, count(|state| matches!(state, State::Free)))?;
        same("listed publishes", publishes.len(), count(is_publish))?;
        same("listed releases", released.len(), count(is_released))?;
        let is_abandoned = |state: &State| matches!(state, State::Abandoned(_));
        same("listed as given up", abandoned.len(), count(is_abandoned))?;
        let unacknowledged = publishes.len() + released.len();
        same("unacknowledged", self.unacknowledged, unacknowledged)?;
        self.check_in_flight()?;
        self.check_resend()?;
        self.check_queue(&publishes, &released)
    }

    fn listed(&self, id: u16) -> Result<&Slot, String> {
        let slot = self.slots.get(usize::from(id) - 1);
        slot.ok_or_else(|| format!("#{id} is in a list and not in the table"))
    }

    fn check_free(&self) -> Result<usize, String> {
        let (mut count, mut last, mut next) = (0, 0, self.free.first);
        while next != 0 {
            let slot = self.listed(next)?;
            holds(matches!(slot.state, State::Free), || {
                format!("#{next} is not free")
            })?;
            holds(slot.position.is_none(), || {
                format!("#{next} is free and was sent")
            })?;
            count += 1;
            holds(count <= self.slots.len(), || {
                "the free slots are a circle".into()
            })?;
            (last, next) = (next, slot.next);
        }
        same("the last free slot", self.free.last, last)?;
        same("resting", self.resting, count)?;
        Ok(count)
    }

    /// The operations of a list, whose links go both ways.
    fn check_list(
        &self,
        list: List,
        operation: impl Fn(&Slot) -> Option<OperationId>,
    ) -> Result<Vec<OperationId>, String> {
        let (mut operations, mut last, mut next) = (Vec::new(), 0, list.first);
        while next != 0 {
            let slot = self.listed(next)?;
            let Some(operation) = operation(slot) else {
                return Err(format!(
                    "#{next} is in a list of another state: {:?}",
                    slot.state
                ));
            };
            operations.push(operation);
            same(&format!("before #{next}"), slot.previous, last)?;
            holds(operations.len() <= self.slots.len(), || {
                "a list is a circle".into()
            })?;
            (last, next) = (next, slot.next);
        }
        same("the last of a list", list.last, last)?;
        Ok(operations)
    }

    fn check_in_flight(&self) -> Result<(), String> {
        let is_message = |slot: &&Slot| !matches!(slot.state, State::Free | State::Request(_));
        let messages = self.slots.iter().filter(is_message);
        let sent = messages.filter(|slot| slot.position.is_some()).count();
        same("in flight", self.in_flight, sent)
    }

    /// From the next that is to be sent again on, nothing was sent on this connection.
    fn check_resend(&self) -> Result<(), String> {
        let mut next = self.resend;
        while next != 0 {
            let slot = self.listed(next)?;
            let waits = matches!(slot.state, State::Publish(_)) && slot.position.is_none();
            holds(waits, || {
                format!("#{next} is to be sent again: {:?}", slot.state)
            })?;
            next = slot.next;
        }
        if self.resend_released != 0 {
            let slot = self.listed(self.resend_released)?;
            holds(matches!(slot.state, State::Released { .. }), || {
                format!("#{} is to be released again", self.resend_released)
            })?;
        }
        Ok(())
    }

    /// The queue is in order, behind what is in flight, and its bytes are counted.
    fn check_queue(
        &self,
        publishes: &[OperationId],
        released: &[OperationId],
    ) -> Result<(), String> {
        let mut bytes = 0;
        for line in [&self.queue.qos0, &self.queue.qos12] {
            let operations: Vec<_> = line.iter().map(|outgoing| outgoing.operation).collect();
            holds(operations.is_sorted(), || {
                format!("{operations:?} are queued out of order")
            })?;
            bytes += line
                .iter()
                .map(|outgoing: &TrackedMessage| outgoing.message.size())
                .sum::<usize>();
        }
        same("bytes in the queue", self.queue.bytes(), bytes)?;
        let mut in_flight = publishes.iter().chain(released);
        match in_flight.find(|operation| self.queue.holds(**operation)) {
            Some(operation) => Err(format!("{operation:?} is in flight and in the queue")),
            None => Ok(()),
        }
    }
}

fn holds(condition: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(broken()) }
}

fn same<T: Copy + PartialEq + Debug>(what: &str, stated: T, found: T) -> Result<(), String> {
    holds(stated == found, || {
        format!("{what}: {stated:?}, but {found:?}")
    })
}
