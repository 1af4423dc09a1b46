//! What becomes of a message, also of one that several streams have.

use crate::hub::message::Message;
use crate::hub::route::{RouteKey, Ticket};
use martlet_proto::{PubAckReasonCode, TopicName};
use martlet_session::{AckToken, DeliveryId, Details};
use slab::Slab;
use std::collections::BTreeMap;

/// A message that several streams have, until each is done with its copy.
#[derive(Debug)]
struct SharedDelivery {
    token: AckToken,
    /// How many are not.
    left: usize,
    verdict: Verdict,
}

/// What is to become of a message that a stream is done with.
#[derive(Debug)]
pub(crate) enum Verdict {
    Acknowledged,
    Answered(PubAckReasonCode, Details),
    /// It was dropped without an answer.
    Abandoned,
}

impl Verdict {
    /// Of two streams that had the same message: one that has not answered counts most, then the
    /// one that answered first.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Abandoned, _) | (_, Self::Abandoned) => Self::Abandoned,
            (Self::Acknowledged, other) => other,
            (answered, _) => answered,
        }
    }
}

/// Where messages are: those that several streams have, those that the application has, and
/// those that neither has any more.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    /// Deliveries that went to several streams, until each has concluded its copy.
    shared: Slab<SharedDelivery>,
    /// Messages that the application has taken and not acknowledged.
    taken: BTreeMap<(DeliveryId, RouteKey), TopicName>,
    /// What is to be concluded of messages that no stream has.
    concluded: Vec<(AckToken, Verdict)>,
}

impl Tickets {
    /// A ticket for each of several streams, by its key.
    pub(super) fn share(&mut self, token: AckToken, streams: usize) -> usize {
        self.shared.insert(SharedDelivery {
            token,
            left: streams,
            verdict: Verdict::Acknowledged,
        })
    }

    /// The token of a ticket.
    #[inline]
    pub(crate) fn token<'a>(&'a self, ticket: &'a Ticket) -> Option<&'a AckToken> {
        match ticket {
            Ticket::Own(token) => Some(token),
            Ticket::Shared(key) => Some(&self.shared[*key].token),
            Ticket::Acknowledged => None,
        }
    }

    /// The message that a ticket is of.
    pub(super) fn delivery(&self, ticket: &Ticket) -> Option<DeliveryId> {
        self.token(ticket).map(AckToken::delivery)
    }

    /// A stream is done with its copy. Returns the acknowledgement for the session when that was
    /// the last.
    #[inline]
    pub(crate) fn conclude(
        &mut self,
        ticket: Ticket,
        verdict: Verdict,
    ) -> Option<(AckToken, Verdict)> {
        match ticket {
            Ticket::Own(token) => Some((token, verdict)),
            Ticket::Acknowledged => None,
            Ticket::Shared(key) => self.conclude_share(key, verdict),
        }
    }

    fn conclude_share(&mut self, key: usize, verdict: Verdict) -> Option<(AckToken, Verdict)> {
        let delivery = &mut self.shared[key];
        delivery.left -= 1;
        let before = std::mem::replace(&mut delivery.verdict, Verdict::Acknowledged);
        delivery.verdict = before.and(verdict);
        if delivery.left > 0 {
            return None;
        }
        let SharedDelivery { token, verdict, .. } = self.shared.remove(key);
        Some((token, verdict))
    }

    /// A copy that was not taken is done with.
    #[inline]
    pub(super) fn drop_copy(&mut self, ticket: Ticket) {
        let concluded = self.conclude(ticket, Verdict::Acknowledged);
        self.concluded.extend(concluded);
    }

    /// A copy that was handed out is not acknowledged.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        let concluded = self.conclude(ticket, Verdict::Abandoned);
        self.concluded.extend(concluded);
    }

    /// This is to be concluded.
    pub(super) fn defer(&mut self, concluded: (AckToken, Verdict)) {
        self.concluded.push(concluded);
    }

    /// No stream has this message.
    pub(super) fn drop_message(&mut self, token: AckToken) {
        self.concluded.push((token, Verdict::Acknowledged));
    }

    /// The next acknowledgement for the session of a message that no stream has any more.
    #[inline]
    pub(crate) fn poll_concluded(&mut self) -> Option<(AckToken, Verdict)> {
        self.concluded.pop()
    }

    /// The application has taken a message and will say when it is done with it.
    pub(crate) fn hand_out(&mut self, key: RouteKey, ticket: &Ticket, message: &Message) {
        if let Some(delivery) = self.delivery(ticket) {
            self.taken.insert((delivery, key), message.topic_name());
        }
    }

    /// The application has said so, or dropped it.
    pub(crate) fn take_back(&mut self, key: RouteKey, ticket: &Ticket) {
        if let Some(delivery) = self.delivery(ticket) {
            self.taken.remove(&(delivery, key));
        }
    }

    /// The topic of a message that the application has taken and not acknowledged.
    pub(super) fn taken(&self, delivery: DeliveryId) -> Option<&TopicName> {
        let streams = (delivery, RouteKey::MIN)..=(delivery, RouteKey::MAX);
        let (_, topic) = self.taken.range(streams).next()?;
        Some(topic)
    }
}
