//! Doubts: a server that has begun another session uses packet identifiers anew, and which of them,
//! nobody says.

use super::Inbound;
use crate::inbound::id_sets::{DOUBTED, RECEIVED};
use crate::store::context::Context;
use alloc::vec::Vec;
use martlet_proto::PacketIdentifier;

impl Inbound {
    /// The server may have begun a new session without our knowing: then a QoS 2 message with the
    /// identifier of one that is here already may be another. A server that says the same again
    /// sets DUP [MQTT-3.3.1-1]: who does not, says something new.
    pub(crate) fn doubt(&mut self) {
        self.received.copy(RECEIVED, DOUBTED);
    }

    /// The server says that it has no session, and MQTT 3.1.1 goes on with that of the client: a
    /// copy with DUP is still known on this connection. Later ones may be of a session that has
    /// begun since.
    pub(crate) fn doubt_for_now(&mut self) {
        self.doubt();
        self.qos2.rare.get_or_insert_default().doubts_for_now = true;
    }

    pub(super) fn doubts_for_now(&self) -> bool {
        self.qos2
            .rare
            .as_ref()
            .is_some_and(|rare| rare.doubts_for_now)
    }

    /// The connection is gone on which the server had no session: what it has not sent again, it
    /// does not have.
    pub(super) fn forget_doubts(&mut self) {
        let doubted: Vec<PacketIdentifier> = self.received.iter(DOUBTED).collect();
        for packet_identifier in doubted {
            self.forget_received(packet_identifier);
        }
        if let Some(rare) = &mut self.qos2.rare {
            rare.doubts_for_now = false;
        }
        self.qos1.lose_session();
    }

    /// The server has used the identifier anew: the message that had it was one of a session that
    /// is gone.
    pub(super) fn forget_doubted(
        &mut self,
        packet_identifier: PacketIdentifier,
        context: &mut Context<'_>,
    ) {
        self.forget_received(packet_identifier);
        if let Some(journal) = context.journal {
            journal.delete_received(packet_identifier);
        }
    }

    fn forget_received(&mut self, packet_identifier: PacketIdentifier) {
        self.received.remove(packet_identifier);
        if let Some(rare) = &mut self.qos2.rare {
            if let Some(&token) = rare.stale_ids.get(&packet_identifier.get().into()) {
                rare.forget(token);
            }
        }
    }
}
