//! What becomes of the table when the server does not have the session any more;
//! `session/lost_session.rs` says when which holds.

use super::{List, Outbound, State};
use crate::LostSession;
use crate::OutgoingPublish;
use crate::ordered::places_in_order;
use crate::outbound::queue::{Fate, TrackedMessage};
use crate::output::deferred_drops::DeferredDrops;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use martlet_proto::QoS;

/// The lists of messages in flight, the oldest first.
const LISTS: [fn(&mut Outbound) -> &mut List; 2] = [Outbound::released, Outbound::publishes];

/// What becomes of a message in flight when the server has lost the session.
enum Lost {
    /// It is sent again, as another message.
    Requeue(TrackedMessage),
    /// It is in doubt, or its end was reported before.
    Ended {
        fate: Fate,
        message: Option<OutgoingPublish>,
    },
}

fn lost(state: State, qos1: LostSession, qos2: LostSession) -> Lost {
    match state {
        State::Publish(outgoing) => {
            let policy = match outgoing.message.qos {
                QoS::AtLeastOnce => qos1,
                _ => qos2,
            };
            let is_sent_again = !outgoing.written || policy == LostSession::Requeue;
            if is_sent_again && !outgoing.reported {
                return Lost::Requeue(outgoing);
            }
            Lost::Ended {
                fate: outgoing.fate(),
                message: Some(outgoing.message),
            }
        }
        State::Released { fate, kept } => match kept {
            Some(outgoing) if !fate.reported => Lost::Requeue(*outgoing),
            kept => Lost::Ended {
                fate,
                message: kept.map(|outgoing| outgoing.message),
            },
        },
        State::Free | State::Abandoned(_) | State::Request(_) => {
            unreachable!("the lists hold messages")
        }
    }
}

impl Outbound {
    /// The server has lost the session: messages go back to the front of the queue in their order,
    /// or are given back as in doubt.
    pub(crate) fn lose_session(
        &mut self,
        qos1: LostSession,
        qos2: LostSession,
        deferred_drops: &mut DeferredDrops,
    ) -> Vec<Fate> {
        let (mut in_doubt, mut requeue) = (Vec::new(), Vec::new());
        for list in LISTS {
            while let Some(id) = NonZeroU16::new(list(self).first) {
                self.unlink(list, id.get());
                match lost(self.take(id.get()), qos1, qos2) {
                    Lost::Requeue(outgoing) => requeue.push(Some(outgoing)),
                    Lost::Ended { fate, message } => {
                        if let Some(message) = message {
                            deferred_drops.add(message);
                        }
                        // Nothing more is reported to an application that got its failure.
                        if !fate.reported {
                            in_doubt.push(fate);
                        }
                    }
                }
            }
        }
        self.free_abandoned();
        let operation = |outgoing: &Option<TrackedMessage>| {
            outgoing.as_ref().map_or(0, |one| one.operation.get())
        };
        let order = places_in_order(requeue.iter().map(operation));
        for place in order.into_iter().rev() {
            if let Some(mut outgoing) = requeue[place].take() {
                outgoing.written = false;
                self.queue.push_front(outgoing);
            }
        }
        in_doubt
    }

    /// The server has no session, and MQTT 3.1.1 goes on with that of the client: messages keep
    /// their packet identifiers and are to be sent again, or are given back as in doubt.
    pub(crate) fn go_on_without_server(
        &mut self,
        qos1: LostSession,
        qos2: LostSession,
        deferred_drops: &mut DeferredDrops,
    ) -> Vec<Fate> {
        let mut in_doubt = Vec::new();
        for list in LISTS {
            let mut next = list(self).first;
            while next != 0 {
                let (id, slot) = (next, self.slot(next));
                next = slot.next;
                let (fate, may_have_arrived, policy) = match &slot.state {
                    State::Publish(outgoing) if outgoing.message.qos == QoS::AtLeastOnce => {
                        (outgoing.fate(), outgoing.written, qos1)
                    }
                    State::Publish(outgoing) => (outgoing.fate(), outgoing.written, qos2),
                    State::Released { fate, .. } => (*fate, true, qos2),
                    State::Free | State::Abandoned(_) | State::Request(_) => {
                        unreachable!("the lists hold messages")
                    }
                };
                let in_doubt_now = may_have_arrived && policy == LostSession::InDoubt;
                // An application that got its failure does not expect it to be sent later.
                if !in_doubt_now && !fate.reported {
                    continue;
                }
                self.unlink(list, id);
                self.release(id, deferred_drops);
                if !fate.reported {
                    in_doubt.push(fate);
                }
            }
        }
        self.free_abandoned();
        self.resume();
        in_doubt
    }
}
