//! Messages that the application acknowledges by their position in the stream.

use super::{Routes, Verdict};
use crate::hub::ledger::Ledger;
use crate::hub::route::{RouteKey, Ticket};
use martlet_session::{AckToken, DeliveryId};

/// Why a position cannot be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PositionError {
    /// It is of another stream, or of an earlier run of the program.
    #[error("the position is of another stream")]
    OtherStream,
    /// The stream has not come to it: it is not one that this client has given.
    #[error("the stream has not come to this position")]
    NotReached,
    /// The server has lost the session that the message came in: what was not acknowledged before
    /// comes again, or is lost, as the server has it.
    #[error("the server has lost the session of this position")]
    SessionLost,
    /// The stream was dropped, and what was not acknowledged with it: that comes again on the next
    /// connection.
    #[error("the stream of this position was dropped")]
    StreamEnded,
}

impl Routes {
    /// From now on messages of this stream are acknowledged by position. Returns what names the
    /// stream.
    pub(crate) fn keep_positions(&mut self, key: RouteKey) -> u64 {
        let ledger = Box::new(Ledger::default());
        let stream = ledger.stream;
        if let Some(route) = self.streams.get_mut(key) {
            route.ledger = Some(ledger);
        }
        stream
    }

    /// The number of a message that is handed out and has to be acknowledged, and that which it had
    /// before, if this is the delivery that it `replaces`; what held it there is to be concluded.
    pub(crate) fn hand_out(
        &mut self,
        key: RouteKey,
        ticket: Ticket,
        replaces: Option<DeliveryId>,
    ) -> (u64, Option<u64>) {
        let Some(ledger) = self.ledger(key) else {
            self.tickets.abandon(ticket);
            return (0, None);
        };
        let number = ledger.hold(ticket);
        let earlier = replaces.and_then(|delivery| ledger.earlier.remove(&delivery));
        let before = earlier.and_then(|earlier| ledger.replace(earlier));
        if let Some(before) = before {
            self.tickets.drop_copy(before);
        }
        (number, earlier)
    }

    /// The number of a message that is handed out, and acknowledged already.
    pub(crate) fn number(&mut self, key: RouteKey) -> u64 {
        let Some(ledger) = self.ledger(key) else {
            return 0;
        };
        ledger.pass()
    }

    /// The acknowledgements for the session of all that a stream has handed out up to this number,
    /// but for those that are not mere acknowledgements: they are to be concluded.
    ///
    /// # Errors
    /// [`PositionError`]; nothing has changed then.
    pub(crate) fn release_up_to(
        &mut self,
        key: RouteKey,
        stream: u64,
        number: u64,
    ) -> Result<impl Iterator<Item = AckToken> + '_, PositionError> {
        let Self {
            streams, tickets, ..
        } = self;
        let ledger = streams
            .get_mut(key)
            .and_then(|route| route.ledger.as_deref_mut())
            .filter(|ledger| ledger.stream == stream)
            .ok_or(PositionError::StreamEnded)?;
        if number > ledger.last {
            return Err(PositionError::NotReached);
        }
        if number > ledger.void.0 && number <= ledger.void.1 {
            return Err(PositionError::SessionLost);
        }
        ledger.acknowledged = ledger.acknowledged.max(number);
        Ok(ledger
            .release(number)
            .filter_map(|ticket| tickets.acknowledge(ticket)))
    }

    /// How many messages of a stream are to be acknowledged by position.
    pub(crate) fn held(&mut self, key: RouteKey, stream: u64) -> usize {
        match self.ledger(key) {
            Some(ledger) if ledger.stream == stream => ledger.held(),
            _ => 0,
        }
    }

    /// There is a new connection. With the session of the last one, what is not acknowledged comes
    /// again; without it, it does not, and is to be concluded.
    pub(crate) fn renew_positions(&mut self, is_resumed: bool) {
        let Self {
            streams, tickets, ..
        } = self;
        for (_, route) in streams.all_mut() {
            let Some(ledger) = &mut route.ledger else {
                continue;
            };
            ledger.earlier.clear();
            if is_resumed {
                ledger.expect_again(|ticket| tickets.delivery(ticket));
                continue;
            }
            for ticket in ledger.lose_session() {
                tickets.drop_copy(ticket);
            }
        }
    }

    /// The stream is gone: what it has handed out stays unacknowledged, and is to be concluded.
    pub(super) fn abandon_positions(&mut self, ledger: Option<Box<Ledger<Ticket>>>) {
        let Some(mut ledger) = ledger else { return };
        for ticket in ledger.release(u64::MAX) {
            self.tickets.abandon(ticket);
        }
    }

    fn ledger(&mut self, key: RouteKey) -> Option<&mut Ledger<Ticket>> {
        self.streams.get_mut(key)?.ledger.as_deref_mut()
    }
}

impl super::tickets::Tickets {
    /// The acknowledgement for the session, if that is all there is to say; what is more is to be
    /// concluded.
    #[inline]
    fn acknowledge(&mut self, ticket: Ticket) -> Option<AckToken> {
        if let Ticket::Own(token) = ticket {
            return Some(token);
        }
        match self.conclude(ticket, Verdict::Acknowledged)? {
            (token, Verdict::Acknowledged) => Some(token),
            other => {
                self.defer(other);
                None
            }
        }
    }
}
