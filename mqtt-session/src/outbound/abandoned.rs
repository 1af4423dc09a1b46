//! Packet identifiers of messages that were given up in flight: they are not sent again, and their
//! end was reported. The server may hold such an identifier, so that no other packet may have it:
//!
//! | QoS | the identifier is free again | because |
//! |---|---|---|
//! | 1 | when the connection ends on which its PUBLISH was sent | a server keeps nothing of QoS 1 (MQTT 5 §4.1): on another connection it answers only what it gets on that |
//! | 2 | when the server answers, or has lost the session | it may wait for PUBREL, and takes the next message of QoS 2 with the identifier for a copy: it answers and does not deliver it (§4.3.3) |
//!
//! While the connection lasts they count against what the server takes at once [MQTT-3.3.4-9]. On a
//! session that never answers and is never lost those of QoS 2 would use up all identifiers, and
//! the client would stop. From [`MOST`] on, the one that was given up first is free, too: a message
//! that takes it is lost if the server waits for that PUBREL still. It is used last of all that are
//! free.

use super::{List, Outbound, State};
use crate::OperationId;
use crate::outbound::queue::Fate;
use crate::output::deferred_drops::DeferredDrops;
use alloc::vec::Vec;
use martlet_proto::{PacketIdentifier, QoS};

/// The most identifiers of QoS 2 that are kept: half of them all.
const MOST: usize = 32 * 1024;

/// A message that was given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abandoned {
    pub(super) fate: Fate,
    /// 2 if it is not known, after a restart.
    qos: QoS,
}

/// The messages that were given up, the first one first, and how many they are.
#[derive(Debug, Default)]
pub(super) struct AbandonedList {
    pub(super) list: List,
    pub(super) len: usize,
}

impl Outbound {
    /// The message of a slot that is in no list is given up. Returns its identifier, if the server
    /// may hold it; otherwise the slot is free.
    pub(super) fn abandon_slot(
        &mut self,
        id: PacketIdentifier,
        fate: Fate,
        deferred_drops: &mut DeferredDrops,
    ) -> Option<PacketIdentifier> {
        let qos = match &self.slot(id.get()).state {
            State::Publish(outgoing) => outgoing.message.qos,
            _ => QoS::ExactlyOnce,
        };
        if qos == QoS::AtLeastOnce && self.slot(id.get()).position.is_none() {
            self.release(id.get(), deferred_drops);
            return None;
        }
        self.defer_slot(id.get(), deferred_drops);
        self.put_abandoned(id.get(), fate, qos);
        Some(id)
    }

    /// A slot that is in no list holds the identifier of a message that was given up.
    pub(super) fn put_abandoned(&mut self, id: u16, fate: Fate, qos: QoS) {
        let fate = Fate {
            reported: true,
            ..fate
        };
        self.slot(id).state = State::Abandoned(Abandoned { fate, qos });
        self.link(Self::abandoned, id);
        self.abandoned.len += 1;
    }

    /// The server has let go of the identifier; the caller says what the slot is now.
    pub(super) fn unlink_abandoned(&mut self, id: u16) {
        self.unlink_from(Self::abandoned, id);
        self.abandoned.len -= 1;
    }

    /// PUBREC: the server has it after all, and keeps the identifier until PUBREL.
    #[cold]
    pub(super) fn release_abandoned(
        &mut self,
        id: PacketIdentifier,
        abandoned: Abandoned,
        position: u64,
    ) {
        let fate = abandoned.fate;
        self.unlink_abandoned(id.get());
        self.slot(id.get()).state = State::Released { fate, kept: None };
        self.appeared(id.get(), position);
        self.append(Self::released, id.get());
    }

    fn abandoned(&mut self) -> &mut List {
        &mut self.abandoned.list
    }

    /// The connection is gone, and with it those of QoS 1. Returns whose they were.
    pub(crate) fn free_abandoned_of_qos1(&mut self) -> Vec<OperationId> {
        let mut operations = Vec::new();
        let mut next = self.abandoned.list.first;
        while next != 0 {
            let (id, slot) = (next, self.slot(next));
            next = slot.next;
            if let State::Abandoned(Abandoned { fate, qos }) = slot.state {
                if qos == QoS::AtLeastOnce && slot.position.is_none() {
                    operations.push(fate.operation);
                    self.unlink_abandoned(id);
                    self.free(id);
                }
            }
        }
        operations
    }

    /// Frees the identifier that was given up first, if there are too many, and this connection has
    /// not seen it. Returns whose it was.
    pub(crate) fn free_first_abandoned(&mut self) -> Option<OperationId> {
        let id = self.abandoned.list.first;
        if self.abandoned.len <= MOST || self.slot(id).position.is_some() {
            return None;
        }
        let State::Abandoned(Abandoned { fate, .. }) = self.slot(id).state else {
            unreachable!("the list holds those that were given up")
        };
        self.unlink_abandoned(id);
        self.free(id);
        Some(fate.operation)
    }

    /// The server has let go of all packet identifiers.
    pub(super) fn free_abandoned(&mut self) {
        while self.abandoned.len > 0 {
            let id = self.abandoned.list.first;
            self.unlink_abandoned(id);
            self.free(id);
        }
    }
}
