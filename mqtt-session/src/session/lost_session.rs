//! What becomes of messages when the server does not have the session any more.
//!
//! MQTT 5 and clean sessions of 3.1.1 begin anew: packet identifiers mean nothing, what is sent
//! again is a new message. 3.1.1 without a clean session goes on with the session of the client,
//! whatever the server says of its own:
//!
//! | on its way | [`LostSession::Requeue`](crate::LostSession::Requeue) | [`LostSession::InDoubt`](crate::LostSession::InDoubt) |
//! |---|---|---|
//! | PUBLISH, never sent | sent for the first time, with its packet identifier | the same |
//! | PUBLISH, unacknowledged | again, with its packet identifier and DUP [MQTT-4.4.0-1] | fails |
//! | PUBREL, unacknowledged | again, with its packet identifier [MQTT-4.4.0-1] | fails |
//! | received at QoS 2, and not released | a copy with DUP is known on this connection; without DUP it is new | the same |
//!
//! Acknowledgements of earlier connections are not sent: an identifier that the server has
//! forgotten may stand for another message of its own already. PUBREC and PUBCOMP answer what it
//! sends again.

use crate::{PublishError, Session};
use martlet_proto::Version;

impl Session {
    /// The server has accepted a connection without the session that should be there, or that was
    /// there before.
    pub(crate) fn lose_session(&mut self, version: Version) {
        let goes_on = !version.has_properties() && !self.clean_start;
        let flows = self.begin_incarnation(version);
        let (qos1, qos2) = (self.config.lost_qos1, self.config.lost_qos2);
        let in_doubt = if goes_on {
            self.inbound.doubt_for_now();
            self.outbound
                .go_on_without_server(qos1, qos2, &mut self.deferred_drops)
        } else {
            self.inbound.lose_session();
            self.outbound
                .lose_session(qos1, qos2, &mut self.deferred_drops)
        };
        for fate in in_doubt {
            self.report(fate, Err(PublishError::InDoubt));
        }
        self.forget_flows(flows);
        // Messages with an expiry may be back in the queue.
        self.expire_at(self.outbound.next_expiry());
    }
}
