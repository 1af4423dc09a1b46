//! Which stream a message goes to.
//!
//! Each stream has a route: a queue, a waker and its topic filters. A message with subscription identifiers goes to
//! the streams of those subscriptions; without, to every stream with a filter that matches; with none, to the
//! catch-all.

use crate::message::Message;
use crate::wakers::Wakers;
use martlet_proto::{Subscription, SubscriptionIdentifier, TopicFilter};
use martlet_session::{AckToken, Message as Delivery};
use slab::Slab;
use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll};

/// Names a route.
pub(crate) type RouteKey = usize;

#[derive(Debug)]
pub(crate) struct Routes {
    routes: Slab<Route>,
    catch_all: Route,
    /// Somebody holds the catch-all.
    catch_all_held: bool,
    /// When the messages of the catch-all came that nobody holds, in `delivered`.
    unheld: VecDeque<u64>,
    /// Messages routed so far.
    delivered: u64,
    filters: BTreeMap<TopicFilter, Subscribers>,
    identifiers: BTreeMap<SubscriptionIdentifier, Vec<TopicFilter>>,
    next_identifier: u32,
    /// Deliveries that went to several streams, until each has taken its copy.
    shared: Slab<Shared>,
    ended: bool,
    /// Reused for each message.
    targets: Vec<RouteKey>,
}

/// The streams of one topic filter; they share its subscription.
#[derive(Debug)]
struct Subscribers {
    identifier: SubscriptionIdentifier,
    routes: Vec<(RouteKey, Subscription)>,
}

#[derive(Debug, Default)]
struct Route {
    queue: VecDeque<Queued>,
    waker: Option<std::task::Waker>,
    filters: Vec<TopicFilter>,
}

#[derive(Debug)]
struct Queued {
    message: Message,
    ticket: Ticket,
}

#[derive(Debug)]
enum Ticket {
    Own(AckToken),
    /// A key of `shared`.
    Shared(usize),
}

#[derive(Debug)]
struct Shared {
    token: AckToken,
    left: usize,
}

/// Where a message went.
pub(crate) enum Routed {
    Queued,
    /// No stream explains it, and nobody holds the catch-all.
    Nowhere(AckToken),
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            routes: Slab::new(),
            catch_all: Route::default(),
            catch_all_held: false,
            unheld: VecDeque::new(),
            delivered: 0,
            filters: BTreeMap::new(),
            identifiers: BTreeMap::new(),
            next_identifier: 1,
            shared: Slab::new(),
            ended: false,
            targets: Vec::new(),
        }
    }
}

/// The catch-all's key.
pub(crate) const CATCH_ALL: RouteKey = usize::MAX;

impl Routes {
    fn route(&mut self, key: RouteKey) -> Option<&mut Route> {
        if key == CATCH_ALL { Some(&mut self.catch_all) } else { self.routes.get_mut(key) }
    }

    /// A route for these subscriptions and the identifier to subscribe with. Where other streams have the same filter,
    /// what is asked for serves all of them: the highest QoS, no local only if all want it, retain as published if any
    /// does.
    pub(crate) fn add(&mut self, subscriptions: &mut [Subscription]) -> (RouteKey, SubscriptionIdentifier) {
        let identifier = self.free_identifier();
        let filters: Vec<_> = subscriptions.iter().map(|subscription| subscription.filter.clone()).collect();
        let key = self.routes.insert(Route { filters: filters.clone(), ..Route::default() });
        for subscription in subscriptions {
            let filter = &subscription.filter;
            let subscribers = self
                .filters
                .entry(filter.clone())
                .or_insert_with(|| Subscribers { identifier, routes: Vec::new() });
            // The new SUBSCRIBE replaces the old one, and its identifier with it.
            let old = std::mem::replace(&mut subscribers.identifier, identifier);
            subscribers.routes.push((key, subscription.clone()));
            let each = || subscribers.routes.iter().map(|(_, wanted)| wanted);
            subscription.qos = each().map(|wanted| wanted.qos).max().unwrap_or_default();
            subscription.no_local = each().all(|wanted| wanted.no_local);
            subscription.retain_as_published = each().any(|wanted| wanted.retain_as_published);
            self.forget_identifier(old, &subscription.filter);
        }
        self.identifiers.insert(identifier, filters);
        (key, identifier)
    }

    fn free_identifier(&mut self) -> SubscriptionIdentifier {
        loop {
            let number = self.next_identifier;
            self.next_identifier = if number == SubscriptionIdentifier::MAX { 1 } else { number + 1 };
            let identifier = SubscriptionIdentifier::new(number).expect("within its range");
            if !self.identifiers.contains_key(&identifier) {
                return identifier;
            }
        }
    }

    fn forget_identifier(&mut self, identifier: SubscriptionIdentifier, filter: &TopicFilter) {
        if let Some(filters) = self.identifiers.get_mut(&identifier) {
            filters.retain(|other| other != filter);
            if filters.is_empty() {
                self.identifiers.remove(&identifier);
            }
        }
    }

    /// The server has refused this filter, or it was unsubscribed: its streams lose it.
    pub(crate) fn remove_filter(&mut self, filter: &TopicFilter, wakers: &mut Wakers) {
        let Some(subscribers) = self.filters.remove(filter) else { return };
        self.forget_identifier(subscribers.identifier, filter);
        for (key, _) in subscribers.routes {
            if let Some(route) = self.routes.get_mut(key) {
                route.filters.retain(|other| other != filter);
                if route.filters.is_empty() {
                    wakers.take(&mut route.waker);
                }
            }
        }
    }

    /// One stream loses this filter. Returns whether nobody has it any more.
    pub(crate) fn leave_filter(&mut self, key: RouteKey, filter: &TopicFilter) -> bool {
        if let Some(route) = self.routes.get_mut(key) {
            route.filters.retain(|other| other != filter);
        }
        let Some(subscribers) = self.filters.get_mut(filter) else { return false };
        subscribers.routes.retain(|(other, _)| *other != key);
        if !subscribers.routes.is_empty() {
            return false;
        }
        let identifier = subscribers.identifier;
        self.filters.remove(filter);
        self.forget_identifier(identifier, filter);
        true
    }

    /// A stream loses all its filters: returns those that nobody has any more.
    pub(crate) fn leave(&mut self, key: RouteKey) -> Vec<TopicFilter> {
        let Some(route) = self.routes.get_mut(key) else { return Vec::new() };
        let mut filters = std::mem::take(&mut route.filters);
        filters.retain(|filter| self.leave_filter(key, filter));
        filters
    }

    /// A stream was dropped: returns the filters that nobody has any more, and the tokens of what it had not taken.
    pub(crate) fn remove(&mut self, key: RouteKey) -> (Vec<TopicFilter>, Vec<AckToken>) {
        let unsubscribe = self.leave(key);
        let Some(route) = self.routes.try_remove(key) else { return Default::default() };
        let tokens = route.queue.into_iter().filter_map(|queued| self.redeem(queued.ticket)).collect();
        (unsubscribe, tokens)
    }

    /// Gives the catch-all to somebody, if nobody has it.
    pub(crate) fn hold_catch_all(&mut self) -> bool {
        self.unheld.clear();
        !std::mem::replace(&mut self.catch_all_held, true)
    }

    /// The oldest message that waits for somebody to take the catch-all, if so many have come after it that it would
    /// soon hold up others, or `at_once`. The caller acknowledges it.
    pub(crate) fn give_up_unheld(&mut self, patience: u64, at_once: bool) -> Option<AckToken> {
        let came = *self.unheld.front()?;
        if !at_once && self.delivered - came < patience {
            return None;
        }
        self.unheld.pop_front();
        let queued = self.catch_all.queue.pop_front()?;
        self.redeem(queued.ticket)
    }

    /// It is given back: what waits in it is acknowledged.
    pub(crate) fn release_catch_all(&mut self) -> Vec<AckToken> {
        self.catch_all_held = false;
        self.catch_all.waker = None;
        let queue = std::mem::take(&mut self.catch_all.queue);
        queue.into_iter().filter_map(|queued| self.redeem(queued.ticket)).collect()
    }

    /// Puts a message into the queues of its streams. `keep` says whether what no stream explains waits for somebody
    /// to take the catch-all.
    pub(crate) fn deliver(&mut self, delivery: Delivery, keep: bool, wakers: &mut Wakers) -> Routed {
        let mut targets = std::mem::take(&mut self.targets);
        self.find(&delivery, &mut targets);
        self.delivered += 1;
        if targets.is_empty() && (self.catch_all_held || keep) {
            targets.push(CATCH_ALL);
            if !self.catch_all_held {
                self.unheld.push_back(self.delivered);
            }
        }
        let (message, token) = Message::new(delivery);
        let routed = match targets[..] {
            [] => Routed::Nowhere(token),
            [only] => {
                self.push(only, Queued { message, ticket: Ticket::Own(token) }, wakers);
                Routed::Queued
            }
            _ => {
                let shared = self.shared.insert(Shared { token, left: targets.len() });
                for &key in &targets {
                    self.push(
                        key,
                        Queued { message: message.clone(), ticket: Ticket::Shared(shared) },
                        wakers,
                    );
                }
                Routed::Queued
            }
        };
        targets.clear();
        self.targets = targets;
        routed
    }

    fn find(&self, delivery: &Delivery, targets: &mut Vec<RouteKey>) {
        if let (1, Some((filter, subscribers))) = (self.filters.len(), self.filters.first_key_value()) {
            // One subscription: no need to look further than its filter.
            if filter.matches(delivery.topic()) {
                targets.extend(subscribers.routes.iter().map(|(key, _)| *key));
            }
            return;
        }
        let topic = delivery.topic();
        for identifier in delivery.properties().subscription_identifiers() {
            for filter in self.identifiers.get(&identifier).into_iter().flatten() {
                self.collect(filter, topic, targets);
            }
        }
        if targets.is_empty() {
            for filter in self.filters.keys() {
                self.collect(filter, topic, targets);
            }
        }
    }

    fn collect(&self, filter: &TopicFilter, topic: &str, targets: &mut Vec<RouteKey>) {
        if !filter.matches(topic) {
            return;
        }
        for (key, _) in self.filters.get(filter).into_iter().flat_map(|subscribers| &subscribers.routes) {
            if !targets.contains(key) {
                targets.push(*key);
            }
        }
    }

    fn push(&mut self, key: RouteKey, queued: Queued, wakers: &mut Wakers) {
        let Some(route) = self.route(key) else { return };
        route.queue.push_back(queued);
        wakers.take(&mut route.waker);
    }

    /// The next message of a stream, and the token to acknowledge if this was the last copy. `Ready(None)` at the end.
    pub(crate) fn poll_next(
        &mut self,
        key: RouteKey,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Message, Option<AckToken>)>> {
        let ended = self.ended;
        let Some(route) = self.route(key) else { return Poll::Ready(None) };
        match route.queue.pop_front() {
            Some(Queued { message, ticket }) => Poll::Ready(Some((message, self.redeem(ticket)))),
            None if ended || (key != CATCH_ALL && route.filters.is_empty()) => Poll::Ready(None),
            None => {
                route.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn redeem(&mut self, ticket: Ticket) -> Option<AckToken> {
        match ticket {
            Ticket::Own(token) => Some(token),
            Ticket::Shared(key) => {
                self.shared[key].left -= 1;
                (self.shared[key].left == 0).then(|| self.shared.remove(key).token)
            }
        }
    }

    /// No message will come any more.
    pub(crate) fn end(&mut self, wakers: &mut Wakers) {
        self.ended = true;
        wakers.take(&mut self.catch_all.waker);
        for (_, route) in &mut self.routes {
            wakers.take(&mut route.waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_proto::QoS;

    /// A second stream's `no_local` used to take the first stream's own publishes from it.
    #[test]
    fn what_is_asked_for_serves_every_stream_of_a_filter() {
        let mut routes = Routes::default();
        let filter = TopicFilter::new("a/+").unwrap();
        let mut first = [Subscription::new(filter.clone(), QoS::ExactlyOnce)];
        routes.add(&mut first);
        let wanted = Subscription {
            no_local: true,
            retain_as_published: true,
            ..Subscription::new(filter.clone(), QoS::AtMostOnce)
        };
        let mut second = [wanted.clone()];
        routes.add(&mut second);
        let expected = Subscription { no_local: false, qos: QoS::ExactlyOnce, ..wanted };
        assert_eq!(second, [expected]);
    }
}
