//! What the server's acknowledgements do to the table.

use super::abandoned::Abandoned;
use super::{List, Outbound, Slot, State};
use crate::LostSession;
use crate::outbound::queue::{Fate, TrackedMessage};
use crate::output::deferred_drops::DeferredDrops;
use alloc::boxed::Box;
use martlet_proto::{PacketIdentifier, PacketType, QoS};

/// What an acknowledgement did.
#[cfg_attr(
    not(feature = "durable"),
    expect(dead_code, reason = "for what is stored")
)]
pub(crate) enum Acked {
    /// The message is completed.
    Complete(Fate),
    /// PUBREC: a PUBREL is due.
    Released,
    /// PUBREC once more: a PUBREL is due once more.
    ReleasedAgain,
    /// The server has let go of the identifier of a message whose end was reported before.
    Abandoned(Fate),
    /// An answer of another flow: it has ended the message, because the right answer will not come.
    Mistaken {
        fate: Fate,
        /// The answer that was due.
        expected: PacketType,
        /// The identifier, if the server may hold it on: it rests.
        abandoned: Option<PacketIdentifier>,
    },
    /// Nobody waits for it.
    Unknown,
}

impl Outbound {
    /// PUBACK.
    #[inline]
    pub(crate) fn handle_puback(
        &mut self,
        id: PacketIdentifier,
        deferred_drops: &mut DeferredDrops,
    ) -> Acked {
        self.complete(id, deferred_drops, |outgoing| {
            outgoing.message.qos == QoS::AtLeastOnce
        })
    }

    /// PUBREC with a reason code of 0x80 or above.
    pub(crate) fn handle_pubrec_error(
        &mut self,
        id: PacketIdentifier,
        deferred_drops: &mut DeferredDrops,
    ) -> Acked {
        self.complete(id, deferred_drops, |outgoing| {
            outgoing.message.qos == QoS::ExactlyOnce
        })
    }

    #[inline(always)]
    fn complete(
        &mut self,
        id: PacketIdentifier,
        deferred_drops: &mut DeferredDrops,
        expected: impl Fn(&TrackedMessage) -> bool,
    ) -> Acked {
        match self.find(id) {
            Some(Slot { state: State::Publish(outgoing), position, .. })
                // What was never sent cannot have been acknowledged: it is a late one of another
                // message.
                if expected(outgoing) && (position.is_some() || outgoing.written) =>
            {
                let fate = outgoing.fate();
                self.landed(id.get());
                self.unlink(Self::publishes, id.get());
                self.release(id.get(), deferred_drops);
                Acked::Complete(fate)
            }
            _ => self.complete_otherwise(id, deferred_drops),
        }
    }

    /// An answer that ends a flow, but not the flow that has this identifier. The message of that
    /// flow fails, because a server that answers so does not send the answer that is due: the
    /// message would stay in the window for ever.
    #[cold]
    fn complete_otherwise(
        &mut self,
        id: PacketIdentifier,
        deferred_drops: &mut DeferredDrops,
    ) -> Acked {
        let Some(slot) = self.find(id) else {
            return Acked::Unknown;
        };
        let was_sent = slot.position.is_some();
        let (fate, expected, list) = match &slot.state {
            State::Publish(outgoing) if was_sent || outgoing.written => {
                let qos1 = outgoing.message.qos == QoS::AtLeastOnce;
                let expected = if qos1 {
                    PacketType::PubAck
                } else {
                    PacketType::PubRec
                };
                (
                    outgoing.fate(),
                    expected,
                    Self::publishes as fn(&mut Self) -> &mut List,
                )
            }
            &State::Released { fate, .. } => (
                fate,
                PacketType::PubComp,
                Self::released as fn(&mut Self) -> &mut List,
            ),
            &State::Abandoned(Abandoned { fate, .. }) => {
                self.landed(id.get());
                self.unlink_abandoned(id.get());
                self.free(id.get());
                return Acked::Abandoned(fate);
            }
            State::Free | State::Publish(_) | State::Request(_) => return Acked::Unknown,
        };
        self.landed(id.get());
        self.unlink(list, id.get());
        // A server that has not answered QoS 2 with PUBREC may wait for PUBREL all the same.
        let abandoned = if expected == PacketType::PubRec {
            self.abandon_slot(id, fate, deferred_drops)
        } else {
            self.release(id.get(), deferred_drops);
            None
        };
        Acked::Mistaken {
            fate,
            expected,
            abandoned,
        }
    }

    /// PUBREC of success: the message is the server's now. A repeated one gets its PUBREL again.
    #[inline]
    pub(crate) fn handle_pubrec(
        &mut self,
        id: PacketIdentifier,
        position: u64,
        policy: LostSession,
        deferred_drops: &mut DeferredDrops,
    ) -> Acked {
        let Some(Slot {
            state,
            position: sent,
            ..
        }) = self.find(id)
        else {
            return Acked::Unknown;
        };
        match state {
            State::Publish(outgoing)
                if outgoing.message.qos == QoS::ExactlyOnce
                    && (sent.is_some() || outgoing.written) =>
            {
                let fate = outgoing.fate();
                self.unlink(Self::publishes, id.get());
                let mut kept = None;
                if policy == LostSession::Requeue {
                    let slot = self.slot(id.get());
                    if let State::Publish(outgoing) =
                        core::mem::replace(&mut slot.state, State::Free)
                    {
                        kept = Some(Box::new(outgoing));
                    }
                } else if deferred_drops.is_kept() {
                    self.defer_slot(id.get(), deferred_drops);
                }
                self.slot(id.get()).state = State::Released { fate, kept };
                // The server may be answering a PUBLISH of an earlier connection; the flow goes on
                // in this one.
                self.appeared(id.get(), position);
                self.append(Self::released, id.get());
                Acked::Released
            }
            State::Released { .. } => {
                self.appeared(id.get(), position);
                Acked::ReleasedAgain
            }
            &mut State::Abandoned(abandoned) => {
                self.release_abandoned(id, abandoned, position);
                Acked::Released
            }
            // A message of QoS 1: its PUBACK will not come.
            _ => self.complete_otherwise(id, deferred_drops),
        }
    }

    /// The server has said of a released message that nobody subscribes to it.
    pub(crate) fn set_unmatched(&mut self, id: PacketIdentifier) {
        if let Some(Slot {
            state: State::Released { fate, .. },
            ..
        }) = self.find(id)
        {
            fate.unmatched = true;
        }
    }

    /// PUBCOMP.
    #[inline]
    pub(crate) fn handle_pubcomp(
        &mut self,
        id: PacketIdentifier,
        deferred_drops: &mut DeferredDrops,
    ) -> Acked {
        match self.find(id).map(|slot| &slot.state) {
            Some(&State::Released { fate, .. }) => {
                self.landed(id.get());
                self.unlink(Self::released, id.get());
                self.release(id.get(), deferred_drops);
                Acked::Complete(fate)
            }
            _ => self.complete_otherwise(id, deferred_drops),
        }
    }
}
