//! Messages of earlier connections that the application still has.

use super::waiting::FromEarlier;
use martlet_proto::{PacketIdentifier, PubAckReasonCode, QoS};

impl FromEarlier {
    /// A QoS 1 message has come, again or not. Returns the size of the copy that it replaces, and
    /// the first token that the message had, if there is one: what is said for the first time is
    /// another message, of a session that began unnoticed.
    pub(super) fn supersede(
        &mut self,
        packet_identifier: PacketIdentifier,
        duplicate: bool,
    ) -> Option<(u32, u64)> {
        let token = self
            .stale_ids
            .remove(&packet_identifier.get().into())
            .filter(|_| duplicate)?;
        let stale = self.stale.get_mut(&token)?;
        stale.superseded = true;
        self.superseded = true;
        let first = self.replaced.remove(&token).unwrap_or(token);
        Some((stale.bytes, first))
    }

    pub(super) fn take(&mut self, token: u64, reason: PubAckReasonCode, qos: QoS) {
        let Some(stale) = self.stale.get_mut(&token) else {
            return;
        };
        if qos == QoS::ExactlyOnce {
            // When it comes again it is acknowledged, not delivered.
            stale.taken = Some(reason);
            return;
        }
        self.forget(token);
    }

    /// Returns the packet identifier that a stale message had.
    pub(super) fn forget(&mut self, token: u64) -> Option<PacketIdentifier> {
        let packet_identifier = self.stale.remove(&token)?.packet_identifier;
        let id = packet_identifier.get().into();
        if self.stale_ids.get(&id) == Some(&token) {
            self.stale_ids.remove(&id);
        }
        Some(packet_identifier)
    }
}
