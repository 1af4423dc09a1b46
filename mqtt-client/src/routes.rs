//! Which stream a message goes to.
//!
//! Each stream has a route: a queue, a waker and its topic filters. A message with subscription identifiers that are
//! known here goes to the streams of those subscriptions only, so that the copies that a server sends for overlapping
//! subscriptions do not multiply; one without, or of an earlier process, to every stream with a filter that matches;
//! with none, to the catch-all.

pub(crate) use self::verdict::Verdict;
use self::verdict::{Shared, conclude, token};
use crate::message::Message;
use crate::request::Responses;
use crate::route::{Queued, Route, StreamOptions, Ticket};
use crate::spent::set_waker;
use crate::wakers::Wakers;
use martlet_proto::{QoS, Subscription, SubscriptionIdentifier, TopicFilter, TopicName};
use martlet_session::{AckToken, DeliveryId, Instant, Message as Delivery};
use slab::Slab;
use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

mod verdict;

/// Names a route.
pub(crate) type RouteKey = usize;

/// The catch-all's key.
pub(crate) const CATCH_ALL: RouteKey = usize::MAX;

/// How many identifiers of earlier SUBSCRIBEs of a filter are remembered: the server may still send messages with
/// them. With one that is forgotten, a message goes by its topic.
const IDENTIFIERS: usize = 4;

/// How long messages wait for somebody to take the catch-all. As long as they do, the server may wait for us, however few
/// it sends unacknowledged.
const GRACE: Duration = Duration::from_secs(10);

/// So many superseded messages wait at least before all queues are looked through for them.
const FEW: usize = 64;

#[derive(Debug)]
pub(crate) struct Routes {
    routes: Slab<Route>,
    catch_all: Route,
    taker: Taker,
    /// When the messages of the catch-all came that nobody holds, in `delivered`.
    unheld: VecDeque<u64>,
    /// A subscription was left with the server: what comes for it is kept.
    detached: bool,
    /// Messages routed so far.
    delivered: u64,
    filters: BTreeMap<TopicFilter, Subscribers>,
    identifiers: BTreeMap<SubscriptionIdentifier, Vec<TopicFilter>>,
    next_identifier: u32,
    /// Deliveries that went to several streams, until each has concluded its copy.
    shared: Slab<Shared>,
    /// At most so many of the messages that wait are superseded …
    superseded: usize,
    /// … and at so many they are looked for: a part of what waits, so that looking costs each message little.
    sweep_at: usize,
    /// Messages that the application has taken and not acknowledged.
    taken: BTreeMap<(DeliveryId, RouteKey), TopicName>,
    /// Messages of streams that were dropped because the stream was full, since somebody last asked.
    dropped: u64,
    /// The last stream that was seen to fill before its reader had a turn.
    pressed: Option<RouteKey>,
    ended: bool,
    /// Requests that wait for their responses.
    pub(crate) responses: Responses,
    /// Reused for each message.
    targets: Vec<RouteKey>,
    /// What is to be concluded of messages that were dropped.
    concluded: Vec<(AckToken, Verdict)>,
}

/// Who takes what comes to the catch-all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taker {
    /// Somebody holds it.
    Held,
    /// Perhaps somebody will. What waits is given up at this time; `None`: nothing waits.
    Awaited(Option<Instant>),
    /// Nobody has come in time.
    Nobody,
}

/// The streams of one topic filter; they share its subscription.
#[derive(Debug, Default)]
struct Subscribers {
    /// Those of its SUBSCRIBEs, the latest last.
    identifiers: Vec<SubscriptionIdentifier>,
    routes: Vec<(RouteKey, Subscription)>,
}

/// What ends with a stream.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Filters that no other stream has.
    pub(crate) unsubscribe: Vec<TopicFilter>,
    /// How many messages were not taken.
    pub(crate) untaken: u64,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            routes: Slab::new(),
            catch_all: Route::default(),
            taker: Taker::Awaited(None),
            unheld: VecDeque::new(),
            detached: false,
            delivered: 0,
            filters: BTreeMap::new(),
            identifiers: BTreeMap::new(),
            next_identifier: 1,
            shared: Slab::new(),
            superseded: 0,
            sweep_at: 0,
            taken: BTreeMap::new(),
            dropped: 0,
            pressed: None,
            ended: false,
            responses: Responses::default(),
            targets: Vec::new(),
            concluded: Vec::new(),
        }
    }
}

impl Routes {
    fn route(&mut self, key: RouteKey) -> Option<&mut Route> {
        if key == CATCH_ALL { Some(&mut self.catch_all) } else { self.routes.get_mut(key) }
    }

    /// A route that a filter, a target or a stream names.
    fn known(&self, key: RouteKey) -> &Route {
        if key == CATCH_ALL { &self.catch_all } else { &self.routes[key] }
    }

    // ---- subscriptions

    /// A route for these subscriptions and the identifier to subscribe with. Where other streams have the same filter,
    /// what is asked for serves all of them: the highest QoS, no local only if all want it, retain as published if any
    /// does.
    pub(crate) fn add(
        &mut self,
        subscriptions: &mut [Subscription],
        options: StreamOptions,
    ) -> (RouteKey, SubscriptionIdentifier) {
        let identifier = self.common_identifier(subscriptions).unwrap_or_else(|| self.free_identifier());
        let filters: Vec<_> = subscriptions.iter().map(|subscription| subscription.filter.clone()).collect();
        let key = self.routes.insert(Route::new(filters, identifier, options));
        self.enter(key, identifier, subscriptions);
        (key, identifier)
    }

    /// The catch-all gets what these subscriptions are for, as long as nobody unsubscribes from their filters. Returns the
    /// identifier to subscribe with.
    pub(crate) fn add_to_catch_all(&mut self, subscriptions: &mut [Subscription]) -> SubscriptionIdentifier {
        let identifier = self.free_identifier();
        self.catch_all.identifier = Some(identifier);
        self.enter(CATCH_ALL, identifier, subscriptions);
        identifier
    }

    /// Of what the catch-all was to get, what it still is, as it is to be asked for now.
    pub(crate) fn renew_catch_all(&self, subscriptions: &mut Vec<Subscription>) {
        subscriptions.retain_mut(|subscription| {
            let subscribers = self.filters.get(&subscription.filter);
            let subscribers = subscribers.filter(|it| it.routes.iter().any(|(key, _)| *key == CATCH_ALL));
            subscribers.inspect(|it| it.combine(subscription)).is_some()
        });
    }

    /// A route among the subscribers of its filters.
    fn enter(
        &mut self,
        key: RouteKey,
        identifier: SubscriptionIdentifier,
        subscriptions: &mut [Subscription],
    ) {
        for subscription in subscriptions {
            let subscribers = self.filters.entry(subscription.filter.clone()).or_default();
            // Of one that is named twice the last counts, as with the server.
            subscribers.routes.retain(|(other, _)| *other != key);
            subscribers.routes.push((key, subscription.clone()));
            subscribers.combine(subscription);
            if !subscribers.identifiers.contains(&identifier) {
                subscribers.identifiers.push(identifier);
                self.identifiers.entry(identifier).or_default().push(subscription.filter.clone());
            }
            if subscribers.identifiers.len() > IDENTIFIERS {
                let oldest = subscribers.identifiers.remove(0);
                self.forget_identifier(oldest, &subscription.filter);
            }
        }
    }

    /// The identifier that all these filters have already.
    fn common_identifier(&self, subscriptions: &[Subscription]) -> Option<SubscriptionIdentifier> {
        let latest = |subscription: &Subscription| {
            self.filters
                .get(&subscription.filter)
                .and_then(|subscribers| subscribers.identifiers.last())
                .copied()
        };
        let first = latest(subscriptions.first()?)?;
        subscriptions.iter().all(|subscription| latest(subscription) == Some(first)).then_some(first)
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

    /// The server does not have this subscription any more: its streams lose the filter.
    pub(crate) fn remove_filter(&mut self, filter: &TopicFilter, wakers: &mut Wakers) {
        let Some(subscribers) = self.filters.remove(filter) else { return };
        for identifier in subscribers.identifiers {
            self.forget_identifier(identifier, filter);
        }
        for (key, _) in subscribers.routes {
            if let Some(route) = self.routes.get_mut(key) {
                route.filters.retain(|other| other != filter);
                if route.filters.is_empty() {
                    wakers.take(&mut route.waker);
                }
            }
        }
    }

    /// The server has refused one stream this filter. The subscription that other streams have of it is as it was.
    pub(crate) fn refuse_filter(&mut self, key: RouteKey, filter: &TopicFilter) {
        let refused = self.route(key).and_then(|route| route.identifier);
        self.leave_filter(key, filter);
        let Some(subscribers) = self.filters.get(filter) else { return };
        let is_used = subscribers.routes.iter().any(|(other, _)| self.known(*other).identifier == refused);
        let Some(subscribers) = self.filters.get_mut(filter) else { return };
        if let Some(refused) = refused.filter(|_| !is_used) {
            subscribers.identifiers.retain(|identifier| *identifier != refused);
            self.forget_identifier(refused, filter);
        }
    }

    /// One stream loses this filter. Returns whether nobody has it any more.
    fn leave_filter(&mut self, key: RouteKey, filter: &TopicFilter) -> bool {
        if let Some(route) = self.routes.get_mut(key) {
            route.filters.retain(|other| other != filter);
        }
        let Some(subscribers) = self.filters.get_mut(filter) else { return false };
        subscribers.routes.retain(|(other, _)| *other != key);
        if !subscribers.routes.is_empty() {
            return false;
        }
        let identifiers = std::mem::take(&mut subscribers.identifiers);
        self.filters.remove(filter);
        for identifier in identifiers {
            self.forget_identifier(identifier, filter);
        }
        true
    }

    /// The filters of a stream that nobody else has.
    pub(crate) fn filters_of_only(&self, key: RouteKey) -> Vec<TopicFilter> {
        let Some(route) = self.routes.get(key) else { return Vec::new() };
        let mut filters = route.filters.clone();
        filters.sort();
        filters.dedup();
        filters.retain(|filter| {
            let subscribers = self.filters.get(filter);
            subscribers.is_some_and(|it| it.routes.iter().all(|(other, _)| *other == key))
        });
        filters
    }

    /// A stream loses all its filters: returns those that nobody has any more.
    pub(crate) fn leave(&mut self, key: RouteKey) -> Vec<TopicFilter> {
        let Some(route) = self.routes.get_mut(key) else { return Vec::new() };
        let mut filters = std::mem::take(&mut route.filters);
        filters.retain(|filter| self.leave_filter(key, filter));
        filters
    }

    /// A stream was dropped. What it had not taken is to be concluded ([`poll_concluded`](Self::poll_concluded)).
    pub(crate) fn remove(&mut self, key: RouteKey, spent: &mut Vec<Waker>) -> Ended {
        if key == CATCH_ALL {
            self.taker = Taker::Awaited(None);
            spent.extend(self.catch_all.waker.take());
            let queue = self.catch_all.take_queue();
            return Ended { untaken: self.conclude_all(queue), ..Ended::default() };
        }
        let unsubscribe = self.leave(key);
        let Some(mut route) = self.routes.try_remove(key) else { return Ended::default() };
        spent.extend(route.waker.take());
        Ended { unsubscribe, untaken: self.conclude_all(route.take_queue()) }
    }

    /// A stream is gone, but its subscriptions stay with the server: what it had not taken waits in the catch-all.
    pub(crate) fn detach(
        &mut self,
        key: RouteKey,
        now: Instant,
        wakers: &mut Wakers,
        spent: &mut Vec<Waker>,
    ) {
        self.detached = true;
        if key == CATCH_ALL {
            spent.extend(self.catch_all.waker.take());
            self.unheld.extend(self.catch_all.queue.iter().map(|_| self.delivered));
            self.await_taker(now);
            return;
        }
        self.leave(key);
        let Some(mut route) = self.routes.try_remove(key) else { return };
        spent.extend(route.waker.take());
        for queued in route.take_queue() {
            self.push_to_catch_all(queued, now, wakers);
        }
        if self.taker != Taker::Held {
            self.await_taker(now);
        }
    }

    /// From now on somebody may come for what waits.
    fn await_taker(&mut self, now: Instant) {
        let until = Some(now + GRACE).filter(|_| !self.catch_all.queue.is_empty());
        self.taker = Taker::Awaited(until);
    }

    fn conclude_all(&mut self, queue: impl IntoIterator<Item = Queued>) -> u64 {
        let mut untaken = 0;
        for queued in queue {
            untaken += 1;
            let concluded = self.conclude(queued.ticket, Verdict::Acknowledged);
            self.concluded.extend(concluded);
        }
        untaken
    }

    // ---- the catch-all

    /// Gives the catch-all to somebody, if nobody has it.
    pub(crate) fn hold_catch_all(&mut self) -> bool {
        self.unheld.clear();
        std::mem::replace(&mut self.taker, Taker::Held) != Taker::Held
    }

    /// There is a new connection: somebody may come for what the server then sends.
    pub(crate) fn handle_connected(&mut self) {
        if self.taker == Taker::Nobody {
            self.taker = Taker::Awaited(None);
        }
    }

    /// When nobody will have taken the catch-all in time, if messages wait for that.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.taker {
            Taker::Awaited(until) => until,
            Taker::Held | Taker::Nobody => None,
        }
    }

    /// If that time has come, what waits is to be concluded, and on this connection nothing waits any more, unless somebody
    /// has taken the catch-all or left a subscription with the server again. Returns how many messages it was.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> u64 {
        if self.poll_timeout().is_none_or(|until| now < until) {
            return 0;
        }
        self.taker = Taker::Nobody;
        self.unheld.clear();
        let queue = self.catch_all.take_queue();
        self.conclude_all(queue)
    }

    /// Concludes the oldest message that waits for somebody to take the catch-all, if so many have come after it that
    /// it would soon hold up others, or `at_once`. Returns whether there was one.
    pub(crate) fn give_up_unheld(&mut self, patience: u64, at_once: bool) -> bool {
        let Some(&came) = self.unheld.front() else { return false };
        if !at_once && self.delivered - came < patience {
            return false;
        }
        self.unheld.pop_front();
        let Some(queued) = self.catch_all.pop() else { return false };
        let concluded = self.conclude(queued.ticket, Verdict::Acknowledged);
        self.concluded.extend(concluded);
        true
    }

    fn push_to_catch_all(&mut self, queued: Queued, now: Instant, wakers: &mut Wakers) {
        let before = self.catch_all.dropped;
        self.push(CATCH_ALL, queued, wakers);
        if self.taker == Taker::Awaited(None) {
            self.await_taker(now);
        }
        if self.taker != Taker::Held {
            self.unheld.push_back(self.delivered);
            // Each that was dropped was one of them; which one matters little.
            for _ in before..self.catch_all.dropped {
                self.unheld.pop_front();
            }
        }
    }

    // ---- messages

    /// Puts a message into the queues of its streams. `keep` says whether what no stream explains waits for somebody
    /// to take the catch-all. Returns whether anybody has it; otherwise, as always, look at
    /// [`poll_concluded`](Self::poll_concluded).
    pub(crate) fn deliver(
        &mut self,
        delivery: Delivery,
        now: Instant,
        keep: bool,
        wakers: &mut Wakers,
    ) -> bool {
        let mut targets = std::mem::take(&mut self.targets);
        self.find(&delivery, &mut targets);
        if self.catch_all.identifier.is_some() && self.taker != Taker::Held {
            // What a stream has does not wait for somebody to take the catch-all.
            targets.retain(|key| *key != CATCH_ALL);
        }
        self.delivered += 1;
        let waits = match self.taker {
            Taker::Held => true,
            Taker::Awaited(_) => keep || self.detached,
            Taker::Nobody => false,
        };
        let (message, token) = Message::new(delivery);
        let mut routed = true;
        match targets[..] {
            [] if waits => {
                self.push_to_catch_all(Queued { message, ticket: Ticket::Own(token) }, now, wakers);
            }
            [] => {
                self.concluded.push((token, Verdict::Acknowledged));
                routed = false;
            }
            [only] if !self.known(only).options.acknowledge_on_arrival => {
                self.push(only, Queued { message, ticket: Ticket::Own(token) }, wakers);
            }
            _ => self.deliver_to_all(&targets, &message, token, wakers),
        }
        targets.clear();
        self.targets = targets;
        routed
    }

    /// To several streams, or to some that acknowledge on arrival.
    fn deliver_to_all(
        &mut self,
        targets: &[RouteKey],
        message: &Message,
        token: AckToken,
        wakers: &mut Wakers,
    ) {
        let takes = |key: RouteKey| !self.known(key).options.acknowledge_on_arrival;
        let left = targets.iter().filter(|key| takes(**key)).count();
        let shared = if left == 0 {
            self.concluded.push((token, Verdict::Acknowledged));
            None
        } else {
            Some(self.shared.insert(Shared { token, left, verdict: Verdict::Acknowledged }))
        };
        for &key in targets {
            let ticket = match shared {
                Some(shared) if !self.known(key).options.acknowledge_on_arrival => Ticket::Shared(shared),
                _ => Ticket::Acknowledged,
            };
            self.push(key, Queued { message: message.clone(), ticket }, wakers);
        }
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
        let route = if key == CATCH_ALL { &mut self.catch_all } else { &mut self.routes[key] };
        let (shared, concluded, dropped) = (&mut self.shared, &mut self.concluded, &mut self.dropped);
        if route.options.responses {
            concluded.extend(conclude(shared, queued.ticket, Verdict::Acknowledged));
            return self.responses.deliver(queued.message, wakers);
        }
        route.push(queued, |ticket| {
            *dropped += 1;
            concluded.extend(conclude(shared, ticket, Verdict::Acknowledged));
        });
        route.call(wakers);
        if route.is_pressed() {
            self.pressed = Some(key);
        }
    }

    /// Whether a stream fills whose reader was woken and has had no turn yet: what comes now would be dropped for want of
    /// one.
    pub(crate) fn is_pressed(&mut self) -> bool {
        let pressed = self.pressed.filter(|&key| self.route(key).is_some_and(|route| route.is_pressed()));
        self.pressed = pressed;
        pressed.is_some()
    }

    /// Of the last `deliveries`, some have come again. The copies that they take the place of are dropped once they are
    /// a part of what waits that is worth looking for, and to be concluded ([`poll_concluded`](Self::poll_concluded)).
    pub(crate) fn supersede(&mut self, deliveries: u64, is_superseded: impl Fn(&AckToken) -> bool) {
        self.superseded = self.superseded.saturating_add(usize::try_from(deliveries).unwrap_or(usize::MAX));
        if self.superseded >= self.sweep_at {
            self.drop_superseded(is_superseded);
        }
    }

    /// All copies that others have taken the place of are dropped, and to be concluded.
    pub(crate) fn drop_superseded(&mut self, is_superseded: impl Fn(&AckToken) -> bool) {
        if std::mem::take(&mut self.superseded) == 0 {
            return;
        }
        let mut superseded = Vec::new();
        let shared = &self.shared;
        let is_gone = |ticket: &Ticket| token(shared, ticket).is_some_and(&is_superseded);
        for (_, route) in &mut self.routes {
            superseded.extend(route.take_if(is_gone));
        }
        for queued in self.catch_all.take_if(is_gone) {
            // Each was one of them; which one matters little.
            self.unheld.pop_front();
            superseded.push(queued);
        }
        self.conclude_all(superseded);
        let queues = self.routes.iter().map(|(_, route)| route).chain([&self.catch_all]);
        self.sweep_at = FEW.max(queues.map(|route| 1 + route.queue.len()).sum::<usize>() / 4);
    }

    /// The next message of a stream. `Ready(None)` at the end. Those before it that are superseded are to be concluded
    /// ([`poll_concluded`](Self::poll_concluded)).
    pub(crate) fn poll_next(
        &mut self,
        key: RouteKey,
        is_superseded: impl Fn(&AckToken) -> bool,
        cx: &mut Context<'_>,
        spent: &mut Vec<Waker>,
    ) -> Poll<Option<Queued>> {
        let ended = self.ended;
        while let Some(queued) = self.route(key).and_then(Route::pop) {
            if self.superseded == 0 || !self.token(&queued.ticket).is_some_and(&is_superseded) {
                return Poll::Ready(Some(queued));
            }
            self.conclude_all([queued]);
        }
        let Some(route) = self.route(key) else { return Poll::Ready(None) };
        if ended || (key != CATCH_ALL && route.filters.is_empty()) {
            return Poll::Ready(None);
        }
        set_waker(&mut route.waker, cx, spent);
        Poll::Pending
    }

    /// The next message of a stream, if it is of QoS 0.
    #[inline]
    pub(crate) fn pop_qos0(&mut self, key: RouteKey) -> Option<Queued> {
        let route = self.route(key)?;
        route.queue.front().filter(|queued| queued.message.qos() == QoS::AtMostOnce)?;
        route.pop()
    }

    /// The token of a ticket.
    pub(crate) fn token<'a>(&'a self, ticket: &'a Ticket) -> Option<&'a AckToken> {
        token(&self.shared, ticket)
    }

    /// A stream is done with its copy. Returns what is to be told the session when that was the last.
    pub(crate) fn conclude(&mut self, ticket: Ticket, verdict: Verdict) -> Option<(AckToken, Verdict)> {
        conclude(&mut self.shared, ticket, verdict)
    }

    /// What is to be told the session of messages that were dropped or that nobody has.
    #[inline]
    pub(crate) fn poll_concluded(&mut self) -> Option<(AckToken, Verdict)> {
        self.concluded.pop()
    }

    /// The application has taken a message and will say when it is done with it.
    pub(crate) fn hand_out(&mut self, key: RouteKey, ticket: &Ticket, message: &Message) {
        if let Some(delivery) = self.token(ticket).map(AckToken::delivery) {
            self.taken.insert((delivery, key), message.topic_name());
        }
    }

    /// The application has said so, or dropped it.
    pub(crate) fn take_back(
        &mut self,
        key: RouteKey,
        ticket: Ticket,
        verdict: Verdict,
    ) -> Option<(AckToken, Verdict)> {
        if let Some(delivery) = self.token(&ticket).map(AckToken::delivery) {
            self.taken.remove(&(delivery, key));
        }
        self.conclude(ticket, verdict)
    }

    /// The topic of a message that was not concluded, and whether the application has it.
    pub(crate) fn whereabouts(&self, delivery: DeliveryId) -> Option<(TopicName, bool)> {
        let mut handed_out = self.taken.range((delivery, RouteKey::MIN)..=(delivery, RouteKey::MAX));
        if let Some((_, topic)) = handed_out.next() {
            return Some((topic.clone(), true));
        }
        let routes = self.routes.iter().map(|(_, route)| route).chain([&self.catch_all]);
        let mut waiting = routes.flat_map(|route| &route.queue);
        let is_it =
            |queued: &&Queued| self.token(&queued.ticket).is_some_and(|token| token.delivery() == delivery);
        waiting.find(is_it).map(|queued| (queued.message.topic_name(), false))
    }

    /// Whether the server has any of this route's subscriptions.
    pub(crate) fn has_filters(&self, key: RouteKey) -> bool {
        self.routes.get(key).is_some_and(|route| !route.filters.is_empty())
    }

    /// What the SUBSCRIBE of this route has.
    pub(crate) fn identifier(&self, key: RouteKey) -> Option<SubscriptionIdentifier> {
        self.routes.get(key)?.identifier
    }

    /// How many messages this stream has dropped because it was full.
    pub(crate) fn dropped_of(&mut self, key: RouteKey) -> u64 {
        self.route(key).map_or(0, |route| route.dropped)
    }

    /// How many messages full streams have dropped since this was last asked.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// No message will come any more.
    pub(crate) fn end(&mut self, wakers: &mut Wakers) {
        self.ended = true;
        self.responses.end(wakers);
        wakers.take(&mut self.catch_all.waker);
        for (_, route) in &mut self.routes {
            wakers.take(&mut route.waker);
        }
    }
}

impl Subscribers {
    /// What is asked for serves all of them.
    fn combine(&self, subscription: &mut Subscription) {
        let each = || self.routes.iter().map(|(_, wanted)| wanted);
        subscription.qos = each().map(|wanted| wanted.qos).max().unwrap_or_default();
        subscription.no_local = each().all(|wanted| wanted.no_local);
        subscription.retain_as_published = each().any(|wanted| wanted.retain_as_published);
    }
}

#[cfg(test)]
mod tests;
