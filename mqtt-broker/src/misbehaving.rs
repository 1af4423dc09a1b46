//! Acting on [`Moods`](crate::Moods): what the broker does wrong on purpose.

use crate::broker::Broker;
use crate::connection::Gone;
use crate::event::BrokerEvent;
use crate::ids::ConnectionId;
use core::time::Duration;
use martlet_proto::{PacketType, Publish, Subscribe};

impl Broker {
    /// Closes the connection of a client whose SUBSCRIBE is not liked.
    pub(crate) fn dislikes(
        &mut self,
        now: Duration,
        id: ConnectionId,
        subscribe: &Subscribe,
    ) -> bool {
        let dislikes = self.config.moods.forbids(subscribe);
        if dislikes {
            self.misbehave(id, PacketType::Subscribe, None);
            self.close(now, id, Gone::Dropped);
        }
        dislikes
    }

    /// Something is done wrong on purpose.
    pub(crate) fn misbehave(
        &mut self,
        connection: ConnectionId,
        at: PacketType,
        publish: Option<Publish>,
    ) {
        self.record(|_| BrokerEvent::Misbehaved {
            connection,
            at,
            publish,
        });
    }
}
