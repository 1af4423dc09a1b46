//! The stream of unmatched messages: where messages go that no subscription explains.

use super::Routes;
use crate::hub::route::{Queued, ReaderState, Ticket};
use crate::hub::route::{RouteKey, UNMATCHED};
use crate::hub::wakers::{KeptWaker, Wakers};
use martlet_proto::{SubscribeFilter, SubscriptionIdentifier};
use martlet_session::Instant;
use std::time::Duration;

/// How long messages wait in the stream of unmatched messages until it is taken. Meanwhile a server
/// that sends few unacknowledged may send nothing else.
const GRACE: Duration = Duration::from_secs(10);

/// The reader of the stream of unmatched messages.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) taker: Taker,
    /// A subscription was left with the server: what comes for it is kept.
    detached: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taker {
    /// Somebody holds it.
    Held,
    /// Perhaps somebody will. What waits is given up at this time; `None`: nothing waits.
    Awaited(Option<Instant>),
    /// Nobody has come in time.
    Nobody,
}

impl Default for Holder {
    fn default() -> Self {
        Self {
            taker: Taker::Awaited(None),
            detached: false,
        }
    }
}

impl Routes {
    /// Adds these subscriptions to the stream of unmatched messages, until the application
    /// unsubscribes from their filters. Returns the identifier to subscribe with.
    pub(crate) fn add_to_unmatched(
        &mut self,
        subscriptions: &mut [SubscribeFilter],
    ) -> SubscriptionIdentifier {
        let identifier = self.filters.free_identifier();
        self.streams.unmatched.identifier = Some(identifier);
        self.filters
            .enter(UNMATCHED, identifier, subscriptions, &[]);
        identifier
    }

    /// Keeps the subscriptions that the stream of unmatched messages still is for, as they are to
    /// be asked for now.
    pub(crate) fn renew_unmatched(&self, subscriptions: &mut Vec<SubscribeFilter>) {
        self.filters.renew_unmatched(subscriptions);
    }

    /// Gives the stream of unmatched messages away, if it is not taken.
    pub(crate) fn hold_unmatched(&mut self) -> bool {
        if self.holder.taker == Taker::Held {
            return false;
        }
        self.holder.taker = Taker::Held;
        self.streams.unmatched.reader.state = ReaderState::Alive;
        true
    }

    /// The holder of the stream of unmatched messages has dropped it.
    pub(super) fn release_unmatched(&mut self, waker: &mut Vec<KeptWaker>) {
        self.holder.taker = Taker::Awaited(None);
        let unmatched = &mut self.streams.unmatched;
        unmatched.reader.state = ReaderState::Ignored;
        waker.extend(unmatched.waker.take());
    }

    /// A stream is gone, but its subscriptions stay with the server: what it had not taken waits in
    /// the stream of unmatched messages.
    pub(crate) fn detach(
        &mut self,
        key: RouteKey,
        now: Instant,
        wakers: &mut Wakers,
        deferred: &mut Vec<KeptWaker>,
    ) {
        self.holder.detached = true;
        if key == UNMATCHED {
            self.release_unmatched(deferred);
            let ledger = self.streams.unmatched.ledger.take();
            self.abandon_positions(ledger);
            self.await_taker(now);
            return;
        }
        let Some(mut route) = self.take_route(key) else {
            return;
        };
        deferred.extend(route.waker.take());
        for queued in route.queue.drain() {
            self.push_to_unmatched(queued, now, wakers);
        }
        if self.holder.taker != Taker::Held {
            self.await_taker(now);
        }
    }

    /// The server has granted a stream its filters: messages that wait in the stream of unmatched
    /// messages and match move to it, in front of what has come for it since. A resumed session's
    /// messages come with the connection, before the application can subscribe. A subscribe that is
    /// rejected or cancelled moves nothing.
    pub(crate) fn claim_waiting(&mut self, key: RouteKey, now: Instant) {
        if self.holder.taker == Taker::Held || self.streams.unmatched.queue.is_empty() {
            return;
        }
        let Some(filters) = self.streams.subscription(key).map(|route| {
            let filters = route.filters.iter().chain(&route.also);
            filters.cloned().collect::<Vec<_>>()
        }) else {
            return;
        };
        let matches = |topic: &str| filters.iter().any(|filter| filter.matches(topic));
        let waiting = self.streams.unmatched.queue.drain();
        let (claimed, rest): (Vec<_>, Vec<_>) =
            waiting.partition(|queued| matches(queued.message.topic()));
        let unmatched = &mut self.streams.unmatched;
        rest.into_iter()
            .for_each(|queued| unmatched.queue.push(queued));
        if unmatched.queue.is_empty() {
            self.holder.taker = Taker::Awaited(None);
        }
        if claimed.is_empty() {
            return;
        }
        let newer = self.streams.get_mut(key).map(|route| route.queue.drain());
        for mut queued in claimed {
            if self.acknowledges_on_arrival(key) {
                self.tickets.drop_copy(queued.ticket);
                queued.ticket = Ticket::Acknowledged;
            }
            self.push(key, queued, now, &mut Wakers::default());
        }
        if let Some(route) = self.streams.get_mut(key) {
            newer
                .into_iter()
                .flatten()
                .for_each(|queued| route.queue.push(queued));
        }
    }

    /// From now on somebody may come for what waits.
    fn await_taker(&mut self, now: Instant) {
        let until = if self.streams.unmatched.queue.is_empty() {
            None
        } else {
            Some(now + GRACE)
        };
        self.holder.taker = Taker::Awaited(until);
    }

    /// Whether messages that no stream takes are kept. `may_wait`: the session may be that of an
    /// earlier process, or they are for a subscription of the builder.
    pub(super) fn keeps_unmatched(&self, may_wait: bool) -> bool {
        match self.holder.taker {
            Taker::Held => true,
            Taker::Awaited(_) => may_wait || self.holder.detached,
            Taker::Nobody => false,
        }
    }

    /// There is a new connection: somebody may come for what the server then sends.
    pub(crate) fn handle_connected(&mut self) {
        if self.holder.taker == Taker::Nobody {
            self.holder.taker = Taker::Awaited(None);
        }
    }

    /// When nobody will have taken the stream of unmatched messages in time, if messages wait for
    /// that.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.holder.taker {
            Taker::Awaited(until) => until,
            Taker::Held | Taker::Nobody => None,
        }
    }

    /// If that time has come, what waits is discarded, and on this connection nothing waits any
    /// more, unless somebody has taken the stream of unmatched messages or left a subscription with
    /// the server again.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|until| now < until) {
            return;
        }
        self.holder.taker = Taker::Nobody;
        let queue = self.streams.unmatched.queue.drain();
        self.discard_all(queue);
    }

    /// Whether messages wait in the stream of unmatched messages, and nobody has it.
    #[inline]
    pub(crate) fn has_unheld(&self) -> bool {
        self.holder.taker != Taker::Held && !self.streams.unmatched.queue.is_empty()
    }

    /// Discards the oldest message of QoS 0 in the unclaimed stream of unmatched messages. Returns
    /// whether there was one. Others wait until their time is up, although the server may wait with
    /// them: they would be lost.
    pub(crate) fn give_up_unheld(&mut self) -> bool {
        let Some(queued) = self.streams.unmatched.queue.pop_droppable() else {
            return false;
        };
        self.discard_all([queued]);
        true
    }

    /// A message that nothing explains waits.
    pub(super) fn push_to_unmatched(&mut self, queued: Queued, now: Instant, wakers: &mut Wakers) {
        self.push(UNMATCHED, queued, now, wakers);
        if self.holder.taker == Taker::Awaited(None) {
            self.await_taker(now);
        }
    }
}
