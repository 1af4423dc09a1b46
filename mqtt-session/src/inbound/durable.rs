//! What a durable session stores of what it has received, and gets back after a restart.

use super::Inbound;
use crate::inbound::id_sets::{DOUBTED, RECEIVED, RECORDED};
use martlet_proto::PacketIdentifier;

impl Inbound {
    /// Whether another process must doubt too.
    pub(crate) fn has_doubts(&self) -> bool {
        !self.doubts_for_now() && self.received.iter(DOUBTED).next().is_some()
    }

    /// An earlier process has acknowledged this QoS 2 message.
    pub(crate) fn restore(&mut self, packet_identifier: PacketIdentifier) {
        self.received.insert(packet_identifier, RECEIVED);
        self.received.insert(packet_identifier, RECORDED);
    }

    /// QoS 2 identifiers whose PUBREC has left, or is about to.
    pub(crate) fn recorded(&self) -> impl Iterator<Item = PacketIdentifier> + '_ {
        self.received.iter(RECORDED)
    }
}
