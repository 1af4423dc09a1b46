//! What becomes of a message, also of one that several streams have.

use crate::route::Ticket;
use martlet_proto::PubAckReasonCode;
use martlet_session::{AckToken, Details};
use slab::Slab;

/// A message that several streams have, until each is done with its copy.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) token: AckToken,
    /// How many are not.
    pub(super) left: usize,
    pub(super) verdict: Verdict,
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
    /// Of two streams that had the same message: who has not answered counts most, then who has answered first.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Abandoned, _) | (_, Self::Abandoned) => Self::Abandoned,
            (Self::Acknowledged, other) => other,
            (answered, _) => answered,
        }
    }
}

/// The token of a ticket.
pub(super) fn token<'a>(shared: &'a Slab<Shared>, ticket: &'a Ticket) -> Option<&'a AckToken> {
    match ticket {
        Ticket::Own(token) => Some(token),
        Ticket::Shared(key) => Some(&shared[*key].token),
        Ticket::Acknowledged => None,
    }
}

/// A stream is done with its copy. Returns what is to be told the session when that was the last.
pub(super) fn conclude(
    shared: &mut Slab<Shared>,
    ticket: Ticket,
    verdict: Verdict,
) -> Option<(AckToken, Verdict)> {
    match ticket {
        Ticket::Own(token) => Some((token, verdict)),
        Ticket::Acknowledged => None,
        Ticket::Shared(key) => {
            let delivery = &mut shared[key];
            delivery.left -= 1;
            let before = std::mem::replace(&mut delivery.verdict, Verdict::Acknowledged);
            delivery.verdict = before.and(verdict);
            if delivery.left > 0 {
                return None;
            }
            let Shared { token, verdict, .. } = shared.remove(key);
            Some((token, verdict))
        }
    }
}
