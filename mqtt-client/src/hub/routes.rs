//! Which stream a message goes to, and what becomes of it there.
//!
//! Each stream has a route: a queue, a waker and its topic filters. A message with subscription
//! identifiers that are known here goes to the streams of those subscriptions only, so that the
//! copies that a server sends for overlapping subscriptions do not multiply; one without, or of an
//! earlier process, to every stream with a filter that matches. One that no filter explains goes to
//! the streams whose filter matches without its leading `$name/`, then to those that its
//! identifiers name; if there are none, to the stream of unmatched messages.

use self::filters::{Filters, Leave};
pub use self::positions::PositionError;
use self::pressure::Pressure;
pub(crate) use self::pressure::{BEFORE_DEADLINE, Owed};
use self::streams::StreamTable;
use self::tickets::Tickets;
pub(crate) use self::tickets::Verdict;
use self::unmatched::Holder;
use crate::hub::discards::Discards;
use crate::hub::message::Message;
use crate::hub::responses::Responses;
use crate::hub::route::{
    Queued, ReaderProgress, Route, RouteKey, StreamOptions, Ticket, UNMATCHED,
};
use crate::hub::stream_statistics::StreamStatistics;
use crate::hub::wakers::{Caller, KeptWaker, Wakers};
use martlet_proto::{SubscribeFilter, SubscriptionIdentifier, TopicFilter, TopicName};
use martlet_session::{AckToken, DeliveryId, Instant, ReceivedPublish};
use std::task::Poll;

mod few;
mod filters;
mod positions;
mod pressure;
mod streams;
mod tickets;
mod unmatched;

/// At least this many superseded messages wait before all queues are looked through for them.
const FEW: usize = 64;

/// All that is known of messages between the session and the application, by who owns it.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    streams: StreamTable,
    filters: Filters,
    /// The reader of the stream of unmatched messages, and what waits for one.
    holder: Holder,
    pub(crate) tickets: Tickets,
    superseded: Superseded,
    losses: Losses,
    pressure: Pressure,
    /// Requests that wait for their responses.
    pub(crate) responses: Responses,
    /// Messages routed so far.
    delivered: u64,
    /// No message will come, unless the client is revived.
    ended: bool,
    /// Reused for each message.
    targets: Vec<RouteKey>,
}

/// Messages that have come again, whose earlier copies wait.
#[derive(Debug, Default)]
struct Superseded {
    /// At most this many of the messages that wait are superseded …
    at_most: usize,
    /// … and at this many they are looked for: a part of what waits, so that looking costs each
    /// message little.
    sweep_at: usize,
}

/// Messages that nobody gets, until they are reported.
#[derive(Debug, Default)]
struct Losses {
    /// Dropped because their stream was full.
    dropped: u64,
    /// Messages that no stream took, and none can take any more.
    discards: Discards,
}

impl Routes {
    // ---- streams

    /// A route for these subscriptions and the identifier to subscribe with. Where other streams
    /// have the same filter, what is asked for serves all of them: the highest QoS, no local only
    /// if all want it, retain as published if any does. Messages are expected under the filters of
    /// `also`, too. Nobody can read before [`handle_granted`](Self::handle_granted).
    pub(crate) fn add(
        &mut self,
        subscriptions: &mut [SubscribeFilter],
        also: Vec<TopicFilter>,
        options: StreamOptions,
    ) -> (RouteKey, SubscriptionIdentifier) {
        let identifier = self.filters.identifier(subscriptions);
        let mut route = Route::new(options);
        route.filters = subscriptions
            .iter()
            .map(|subscription| subscription.filter.clone())
            .collect();
        route.identifier = Some(identifier);
        route.reader.is_pending = true;
        let key = self.streams.insert(route);
        self.filters.enter(key, identifier, subscriptions, &also);
        self.filters.set_anonymous(subscriptions, options.anonymous);
        if let Some(route) = self.streams.subscription_mut(key) {
            route.also = also;
        }
        (key, identifier)
    }

    /// The SUBACK of this route has come: from here on somebody may read.
    pub(crate) fn handle_granted(&mut self, key: RouteKey) {
        if let Some(route) = self.streams.subscription_mut(key) {
            route.reader.is_pending = false;
            route.come();
        }
    }

    /// What a stream's reader does without the lock.
    pub(crate) fn progress(&mut self, key: RouteKey) -> ReaderProgress {
        match self.streams.get_mut(key) {
            Some(route) => route.reader.progress.clone(),
            None => ReaderProgress::default(),
        }
    }

    /// The server does not have this subscription any more: its streams lose the filter.
    pub(crate) fn remove_filter(&mut self, filter: &TopicFilter, wakers: &mut Wakers) {
        for key in self.filters.remove(filter) {
            if let Some(route) = self.streams.subscription_mut(key) {
                route.filters.remove(filter);
                if route.filters.is_empty() {
                    wakers.take(&mut route.waker);
                }
            }
        }
    }

    /// The server has rejected one stream's SUBSCRIBE for this filter. The subscription that other
    /// streams have of it is as it was. Returns whether no stream has the filter any more: the
    /// server may still have an earlier subscription.
    pub(crate) fn reject_filter(&mut self, key: RouteKey, filter: &TopicFilter) -> bool {
        let Some(route) = self.streams.get_mut(key) else {
            return false;
        };
        route.filters.remove(filter);
        let also = &route.also;
        self.filters.leave(key, filter, also, Leave::Rejected)
    }

    /// The filters of a stream that nobody else has.
    pub(crate) fn filters_of_only(&self, key: RouteKey) -> Vec<TopicFilter> {
        let Some(route) = self.streams.subscription(key) else {
            return Vec::new();
        };
        route
            .filters
            .iter()
            .filter(|filter| self.filters.is_only(key, filter))
            .cloned()
            .collect()
    }

    /// A stream loses all its filters: returns those that no other stream has.
    pub(crate) fn leave(&mut self, key: RouteKey) -> Vec<TopicFilter> {
        let Some(route) = self.streams.subscription_mut(key) else {
            return Vec::new();
        };
        let filters = std::mem::take(&mut route.filters);
        let also = std::mem::take(&mut route.also);
        let is_last = |filter: &TopicFilter| self.filters.leave(key, filter, &also, Leave::Gone);
        filters.into_iter().filter(is_last).collect()
    }

    /// A stream leaves with its filters and its place.
    fn take_route(&mut self, key: RouteKey) -> Option<Route> {
        self.leave(key);
        let mut route = self.streams.remove(key)?;
        self.pressure.forget_reader(key, &route);
        self.abandon_positions(route.ledger.take());
        Some(route)
    }

    /// A stream was dropped. What it had not taken is discarded, and to be concluded
    /// ([`poll_concluded`](Tickets::poll_concluded)). Returns the filters that no other stream has.
    pub(crate) fn remove(
        &mut self,
        key: RouteKey,
        deferred: &mut Vec<KeptWaker>,
    ) -> Vec<TopicFilter> {
        if key == UNMATCHED {
            self.release_unmatched(deferred);
            let ledger = self.streams.unmatched.ledger.take();
            self.abandon_positions(ledger);
            let queue = self.streams.unmatched.queue.drain();
            self.discard_all(queue);
            return Vec::new();
        }
        let unsubscribe = self.leave(key);
        let Some(mut route) = self.take_route(key) else {
            return unsubscribe;
        };
        deferred.extend(route.waker.take());
        self.discard_all(route.queue.drain());
        unsubscribe
    }

    /// Counts messages that no stream took, and none can take any more.
    fn discard_all(&mut self, queue: impl IntoIterator<Item = Queued>) {
        for queued in queue {
            self.losses.discards.add(&queued.message);
            self.tickets.drop_copy(queued.ticket);
        }
    }

    // ---- messages

    /// Puts a message into the queues of its streams. `resumed`: the session may be that of an
    /// earlier process, so a message that matches no stream waits in the stream of
    /// unmatched messages. Returns how many streams have it; afterwards, as always, look at
    /// [`poll_concluded`](Tickets::poll_concluded).
    pub(crate) fn deliver(
        &mut self,
        delivery: ReceivedPublish,
        now: Instant,
        resumed: bool,
        wakers: &mut Wakers,
    ) -> usize {
        let mut targets = std::mem::take(&mut self.targets);
        let may_wait = resumed | self.find_targets(&delivery, resumed, &mut targets);
        let (message, token) = Message::received(delivery);
        match targets[..] {
            [] if self.keeps_unmatched(may_wait) => {
                let ticket = Ticket::Own(token);
                self.push_to_unmatched(Queued { message, ticket }, now, wakers);
            }
            [] => {
                self.losses.discards.add(&message);
                self.tickets.drop_message(token);
            }
            [only] if !self.acknowledges_on_arrival(only) => {
                let ticket = Ticket::Own(token);
                self.push(only, Queued { message, ticket }, now, wakers);
            }
            _ => self.deliver_to_all(&targets, &message, token, now, wakers),
        }
        let copies = targets.len();
        targets.clear();
        self.targets = targets;
        copies
    }

    /// The streams that a message is for, each once. Returns whether it is for the stream of
    /// unmatched messages while that is not taken.
    #[inline]
    fn find_targets(
        &mut self,
        delivery: &ReceivedPublish,
        resumed: bool,
        targets: &mut Vec<RouteKey>,
    ) -> bool {
        self.delivered += 1;
        let delivered = self.delivered;
        // A message that some stream has is not kept for the stream of unmatched messages.
        let skips_unmatched = self.holder.taker != unmatched::Taker::Held;
        let mut is_awaited = false;
        let streams = &mut self.streams;
        self.filters.find(delivery, !resumed, |key| {
            if key == UNMATCHED && skips_unmatched {
                is_awaited = true;
                return;
            }
            let Some(route) = streams.get_mut(key) else {
                return;
            };
            if route.found_for != delivered {
                route.found_for = delivered;
                targets.push(key);
            }
        });
        is_awaited
    }

    fn acknowledges_on_arrival(&self, key: RouteKey) -> bool {
        match self.streams.subscription(key) {
            Some(route) => route.options.acknowledge_on_arrival,
            None => false,
        }
    }

    /// To several streams, or to some that acknowledge on arrival.
    fn deliver_to_all(
        &mut self,
        targets: &[RouteKey],
        message: &Message,
        token: AckToken,
        now: Instant,
        wakers: &mut Wakers,
    ) {
        let acknowledging = targets
            .iter()
            .filter(|key| !self.acknowledges_on_arrival(**key))
            .count();
        let shared = if acknowledging == 0 {
            self.tickets.drop_message(token);
            None
        } else {
            Some(self.tickets.share(token, acknowledging))
        };
        for &key in targets {
            let ticket = match shared {
                Some(shared) if !self.acknowledges_on_arrival(key) => Ticket::Shared(shared),
                _ => Ticket::Acknowledged,
            };
            let message = message.clone();
            self.push(key, Queued { message, ticket }, now, wakers);
        }
    }

    #[inline]
    fn push(&mut self, key: RouteKey, queued: Queued, now: Instant, wakers: &mut Wakers) {
        let Some(route) = self.streams.get_mut(key) else {
            return self.tickets.drop_copy(queued.ticket);
        };
        if route.options.responses {
            self.tickets.drop_copy(queued.ticket);
            return self.responses.deliver(queued.message, wakers);
        }
        route.push(queued, |ticket| {
            self.losses.dropped += 1;
            self.tickets.drop_copy(ticket);
        });
        route.call(wakers);
        if route.is_half_full() {
            self.pressure.watch(key, route, now);
        }
    }

    /// Of the last `deliveries`, some have come again. The copies that they take the place of are
    /// dropped once they are a part of what waits that is worth looking for, and to be concluded
    /// ([`poll_concluded`](Tickets::poll_concluded)).
    pub(crate) fn supersede(&mut self, deliveries: u64, is_superseded: impl Fn(&AckToken) -> bool) {
        let deliveries = usize::try_from(deliveries).unwrap_or(usize::MAX);
        let superseded = &mut self.superseded;
        superseded.at_most = superseded.at_most.saturating_add(deliveries);
        if superseded.at_most >= superseded.sweep_at {
            self.drop_superseded(is_superseded);
        }
    }

    /// All copies that others have taken the place of are dropped, and to be concluded.
    pub(crate) fn drop_superseded(&mut self, is_superseded: impl Fn(&AckToken) -> bool) {
        if std::mem::take(&mut self.superseded.at_most) == 0 {
            return;
        }
        let tickets = &self.tickets;
        let is_gone = |ticket: &Ticket| tickets.token(ticket).is_some_and(&is_superseded);
        let mut superseded = Vec::new();
        for (_, route) in self.streams.all_mut() {
            superseded.extend(route.queue.take_if(is_gone));
        }
        for queued in superseded {
            self.tickets.drop_copy(queued.ticket);
        }
        let waiting: usize = self.streams.all().map(|route| 1 + route.queue.len()).sum();
        self.superseded.sweep_at = FEW.max(waiting / 4);
    }

    /// The next message of a stream. `Ready(None)` at the end. Those before it that are superseded
    /// are to be concluded ([`poll_concluded`](Tickets::poll_concluded)).
    #[inline]
    pub(crate) fn poll_next(
        &mut self,
        key: RouteKey,
        is_superseded: impl Fn(&AckToken) -> bool,
        caller: &mut Caller<'_>,
    ) -> Poll<Option<Queued>> {
        let Some(route) = self.streams.get_mut(key) else {
            return Poll::Ready(None);
        };
        route.come();
        while let Some(queued) = route.queue.pop() {
            let is_gone = self.superseded.at_most > 0
                && self
                    .tickets
                    .token(&queued.ticket)
                    .is_some_and(&is_superseded);
            if !is_gone {
                return Poll::Ready(Some(queued));
            }
            self.tickets.drop_copy(queued.ticket);
        }
        if self.ended || (key != UNMATCHED && route.filters.is_empty()) {
            return Poll::Ready(None);
        }
        caller.wait_in(&mut route.waker);
        Poll::Pending
    }

    /// The next message of a stream, if it is of QoS 0.
    #[inline]
    pub(crate) fn pop_qos0(&mut self, key: RouteKey) -> Option<Queued> {
        self.streams.get_mut(key)?.queue.pop_qos0()
    }

    /// The topic of a message above QoS 0 that was not concluded, and whether the application has
    /// it.
    pub(crate) fn whereabouts(&self, delivery: DeliveryId) -> Option<(TopicName, bool)> {
        if let Some(topic) = self.tickets.taken(delivery) {
            return Some((topic.clone(), true));
        }
        let mut streams = self.streams.subscriptions();
        let queued = streams
            .find_map(|route| self.find_in_order(route, delivery))
            .or_else(|| self.find_in_unmatched(delivery))?;
        Some((queued.message.topic_name(), false))
    }

    /// Only what came before the message, at its QoS, is looked at: for one that holds back
    /// acknowledgements, that is little.
    fn find_in_order<'a>(&self, route: &'a Route, delivery: DeliveryId) -> Option<&'a Queued> {
        for queued in route.queue.unacknowledged(delivery.qos()) {
            let place = self.tickets.delivery(&queued.ticket);
            if place == Some(delivery) {
                return Some(queued);
            }
            if place > Some(delivery) {
                return None;
            }
        }
        None
    }

    /// What was detached has come in among others.
    fn find_in_unmatched(&self, delivery: DeliveryId) -> Option<&Queued> {
        let queue = &self.streams.unmatched.queue;
        queue
            .unacknowledged(delivery.qos())
            .find(|queued| self.tickets.delivery(&queued.ticket) == Some(delivery))
    }

    /// Whether the server has any of this route's subscriptions.
    pub(crate) fn has_filters(&self, key: RouteKey) -> bool {
        match self.streams.subscription(key) {
            Some(route) => !route.filters.is_empty(),
            None => false,
        }
    }

    /// The identifier of the SUBSCRIBE of this route.
    pub(crate) fn identifier(&self, key: RouteKey) -> Option<SubscriptionIdentifier> {
        self.streams.subscription(key)?.identifier
    }

    /// What waits in streams: see [`StreamTable::look_at`].
    pub(crate) fn look_at(
        &self,
        from: usize,
        most: usize,
        statistics: &mut Vec<StreamStatistics>,
    ) -> Option<usize> {
        self.streams.look_at(from, most, statistics)
    }

    /// How many messages this stream has dropped because it was full.
    pub(crate) fn dropped_of(&mut self, key: RouteKey) -> u64 {
        match self.streams.get_mut(key) {
            Some(route) => route.dropped,
            None => 0,
        }
    }

    /// How many messages full streams have dropped since this was last asked.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.losses.dropped)
    }

    /// The messages discarded since the last call.
    pub(crate) fn take_discards(&mut self) -> Discards {
        std::mem::take(&mut self.losses.discards)
    }

    // ---- what is read of the socket

    /// Until when the socket is to be left unread at most; `None`: it is to be read. `is_crowded`:
    /// all streams together hold as much as they may, so each that holds anything is watched.
    pub(crate) fn hold(&mut self, now: Instant, owed: Owed, is_crowded: bool) -> Option<Instant> {
        self.pressure.hold(&mut self.streams, now, owed, is_crowded)
    }

    /// Nothing is left unread: there is no connection, or it is ending.
    pub(crate) fn release(&mut self) {
        self.pressure.release();
    }

    /// Whether only a little is to be read, so that the keep alive has a sign of life.
    pub(crate) fn sips(&self) -> bool {
        self.pressure.sips()
    }

    /// Whether the socket was left unread for this stream and need not be any more.
    #[inline]
    pub(crate) fn is_relieved(&mut self, key: RouteKey) -> bool {
        self.pressure.is_relieved(key, &mut self.streams)
    }

    /// Drops the oldest message of a stream whose reader is gone, to make room for others. Returns
    /// whether there was one; it is to be concluded ([`poll_concluded`](Tickets::poll_concluded)).
    pub(crate) fn drop_of_gone(&mut self) -> bool {
        let Some(queued) = self.pressure.drop_of_gone(&mut self.streams) else {
            return false;
        };
        self.losses.dropped += 1;
        self.tickets.drop_copy(queued.ticket);
        true
    }

    /// The client goes on.
    pub(crate) fn resume(&mut self) {
        self.ended = false;
        self.responses.resume();
    }

    /// No message will come, unless the client is revived.
    pub(crate) fn end(&mut self, wakers: &mut Wakers) {
        self.ended = true;
        self.responses.end(wakers);
        for (_, route) in self.streams.all_mut() {
            wakers.take(&mut route.waker);
        }
    }
}

#[cfg(test)]
mod tests;
