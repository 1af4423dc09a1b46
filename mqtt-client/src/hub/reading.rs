//! Messages between the session and the streams: what a reader takes, and what the session learns.

use crate::hub::message::Message;
use crate::hub::route::{Queued, RouteKey, Ticket};
use crate::hub::routes::{PositionError, Verdict};
use crate::hub::shared::State;
use crate::hub::wakers::Caller;
use martlet_proto::{PubAckReasonCode, QoS};
use martlet_session::AckToken;
use std::collections::VecDeque;
use std::task::Poll;

/// How many messages of QoS 0 are taken under one lock: enough for its cost not to matter, few
/// enough to be no queue of their own.
const BATCH: usize = 64;

impl State {
    /// The next message of a stream; `Ready(None)` at the end.
    #[inline]
    pub(crate) fn poll_message(
        &mut self,
        key: RouteKey,
        caller: &mut Caller<'_>,
    ) -> Poll<Option<Queued>> {
        let session = &self.session;
        let is_superseded = |token: &AckToken| session.is_superseded(token);
        let next = self.routes.poll_next(key, is_superseded, caller);
        self.conclude_dropped();
        next
    }

    /// Moves messages of QoS 0 that come next in a stream into its batch. Returns whether the
    /// driver should look.
    #[inline]
    pub(crate) fn fill_batch(&mut self, key: RouteKey, batch: &mut VecDeque<Message>) -> bool {
        let mut look = false;
        while batch.len() < BATCH {
            let Some(Queued { message, ticket }) = self.routes.pop_qos0(key) else {
                break;
            };
            look |= self.conclude_copy(ticket, Verdict::Acknowledged);
            batch.push_back(message);
        }
        look
    }

    /// A stream is done with its copy of a message. Returns whether the driver should look.
    #[inline]
    pub(crate) fn conclude_copy(&mut self, ticket: Ticket, verdict: Verdict) -> bool {
        match self.routes.tickets.conclude(ticket, verdict) {
            Some((token, verdict)) => self.conclude(token, verdict),
            None => false,
        }
    }

    /// The application has taken a message, or nobody will. Returns whether the driver should look.
    #[inline]
    pub(crate) fn acknowledge(&mut self, token: AckToken) -> bool {
        let wanted = self.session.wants_input();
        let is_acknowledged = token.qos() != QoS::AtMostOnce;
        self.session.acknowledge(token, PubAckReasonCode::Success);
        is_acknowledged || (!wanted && self.session.wants_input())
    }

    /// All streams are done with a message. Returns whether the driver should look.
    #[inline]
    pub(crate) fn conclude(&mut self, token: AckToken, verdict: Verdict) -> bool {
        let wanted = self.session.wants_input();
        match verdict {
            Verdict::Acknowledged => return self.acknowledge(token),
            Verdict::Answered(reason, details) => {
                self.session.acknowledge_with(token, reason, details);
            }
            Verdict::Abandoned => {
                self.session.abandon(token);
                return !wanted && self.session.wants_input();
            }
        }
        true
    }

    /// The application gets a message that it acknowledges by position. Returns its number, and
    /// that which it had before, if it `may_have` come before.
    pub(crate) fn hand_out(
        &mut self,
        key: RouteKey,
        ticket: Ticket,
        may_have: bool,
    ) -> (u64, Option<u64>) {
        let replaces = if may_have {
            let token = self.routes.tickets.token(&ticket);
            token.and_then(|token| self.session.take_replaced(token))
        } else {
            None
        };
        let numbers = self.routes.hand_out(key, ticket, replaces);
        self.conclude_dropped();
        numbers
    }

    /// The application is done with all messages of a stream up to this one. Returns how many that
    /// were.
    pub(crate) fn acknowledge_up_to(
        &mut self,
        key: RouteKey,
        stream: u64,
        number: u64,
    ) -> Result<usize, PositionError> {
        let mut count = 0;
        let tokens = self.routes.release_up_to(key, stream, number)?;
        self.session.acknowledge_all(tokens.inspect(|_| count += 1));
        self.conclude_dropped();
        Ok(count)
    }

    /// Concludes messages that were dropped, or whose streams are gone.
    pub(crate) fn conclude_dropped(&mut self) {
        while let Some((token, verdict)) = self.routes.tickets.poll_concluded() {
            self.conclude(token, verdict);
        }
    }
}
