//! The topic filters of all streams, and finding those that match a message.

use super::few::Few;
use crate::hub::route::{RouteKey, UNMATCHED};
use martlet_proto::{QoS, SubscribeFilter, SubscriptionIdentifier, TopicFilter, TopicTree};
use martlet_session::ReceivedPublish;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many identifiers of earlier SUBSCRIBEs of a filter are remembered: the server may still send
/// messages with them. With one that is forgotten, a message is routed by its topic.
pub(super) const IDENTIFIERS: usize = 4;

/// Names a filter.
type FilterKey = usize;

/// The filters that messages under one pattern are for.
type FilterKeys = Few<()>;

#[derive(Debug)]
pub(super) struct Filters {
    by_filter: BTreeMap<TopicFilter, FilterKey>,
    all: Slab<Subscribers>,
    /// What messages are expected to come under.
    tree: TopicTree<FilterKeys>,
    /// What they may come under, if nothing in `tree` explains them: filters without a leading
    /// `$name/`.
    shortened: TopicTree<FilterKeys>,
    identifiers: HashMap<SubscriptionIdentifier, Identified>,
    next_identifier: u32,
    /// Messages looked up so far.
    lookups: u64,
    /// Filters that match; reused for each message.
    matched: Vec<FilterKey>,
    /// How many filters and identifiers were looked at.
    #[cfg(test)]
    looked_at: usize,
}

/// The filters that were subscribed to with one identifier.
#[derive(Debug, Default)]
struct Identified {
    filters: BTreeSet<FilterKey>,
    /// The last message that had this identifier.
    named_by: u64,
}

/// The streams of one topic filter; they share its subscription.
#[derive(Debug)]
struct Subscribers {
    filter: TopicFilter,
    /// Those of its SUBSCRIBEs, the latest last, each with the number of streams that came with it.
    identifiers: Vec<(SubscriptionIdentifier, usize)>,
    routes: Few<Wanted>,
    wanted: Totals,
    /// The last SUBSCRIBE had no identifier: messages for it have none, or those of other
    /// subscriptions.
    anonymous: bool,
    /// Other filters that its messages come under, each with the number of streams that said so.
    also: BTreeMap<TopicFilter, usize>,
}

/// What one stream asks of a filter's subscription.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    identifier: SubscriptionIdentifier,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
}

/// What all streams of a filter ask for, counted.
#[derive(Debug, Default)]
struct Totals {
    qos: [usize; 3],
    local: usize,
    retain_as_published: usize,
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            by_filter: BTreeMap::new(),
            all: Slab::new(),
            tree: TopicTree::new(),
            shortened: TopicTree::new(),
            identifiers: HashMap::new(),
            next_identifier: 1,
            lookups: 0,
            matched: Vec::new(),
            #[cfg(test)]
            looked_at: 0,
        }
    }
}

impl Filters {
    // ---- who has which

    /// A stream among the subscribers of its filters. What is asked for serves all streams of a
    /// filter: `subscriptions` are changed to say so.
    pub(super) fn enter(
        &mut self,
        route: RouteKey,
        identifier: SubscriptionIdentifier,
        subscriptions: &mut [SubscribeFilter],
        also: &[TopicFilter],
    ) {
        for subscription in subscriptions {
            // Of a filter that is named twice the last counts, as with the server.
            self.leave(route, &subscription.filter, also, Leave::Keep);
            let key = self.key(&subscription.filter);
            let Some(subscribers) = self.all.get_mut(key) else {
                continue;
            };
            let wanted = Wanted {
                identifier,
                qos: subscription.qos,
                no_local: subscription.no_local,
                retain_as_published: subscription.retain_as_published,
            };
            subscribers.routes.insert(route, wanted);
            subscribers.wanted.count(wanted, 1);
            subscribers.combine(subscription);
            match subscribers
                .identifiers
                .iter_mut()
                .find(|(known, _)| *known == identifier)
            {
                Some((_, streams)) => *streams += 1,
                None => {
                    subscribers.identifiers.push((identifier, 1));
                    self.identifiers
                        .entry(identifier)
                        .or_default()
                        .filters
                        .insert(key);
                }
            }
            let new: Vec<_> = also
                .iter()
                .filter(|filter| {
                    let streams = subscribers.also.entry((*filter).clone()).or_default();
                    *streams += 1;
                    *streams == 1 && filter.pattern() != subscribers.filter.pattern()
                })
                .collect();
            let oldest = (subscribers.identifiers.len() > IDENTIFIERS)
                .then(|| subscribers.identifiers.remove(0).0);
            for filter in new {
                self.tree
                    .get_or_insert_with(filter, Few::new)
                    .insert(key, ());
            }
            if let Some(oldest) = oldest {
                self.forget_identifier(oldest, key);
            }
        }
    }

    /// Whether the SUBSCRIBE of these filters has no identifier.
    pub(super) fn set_anonymous(&mut self, subscriptions: &[SubscribeFilter], anonymous: bool) {
        for subscription in subscriptions {
            let key = self.by_filter.get(&subscription.filter);
            if let Some(subscribers) = key.and_then(|key| self.all.get_mut(*key)) {
                subscribers.anonymous = anonymous;
            }
        }
    }

    /// The key of a filter, which gets one if it has none.
    fn key(&mut self, filter: &TopicFilter) -> FilterKey {
        if let Some(key) = self.by_filter.get(filter) {
            return *key;
        }
        let key = self.all.insert(Subscribers {
            filter: filter.clone(),
            identifiers: Vec::new(),
            routes: Few::new(),
            wanted: Totals::default(),
            anonymous: false,
            also: BTreeMap::new(),
        });
        self.by_filter.insert(filter.clone(), key);
        self.tree
            .get_or_insert_with(filter, Few::new)
            .insert(key, ());
        if let Some(shortened) = shorten(filter) {
            self.shortened
                .get_or_insert_with(&shortened, Few::new)
                .insert(key, ());
        }
        key
    }

    /// One stream loses this filter. Returns whether nobody has it any more.
    pub(super) fn leave(
        &mut self,
        route: RouteKey,
        filter: &TopicFilter,
        also: &[TopicFilter],
        how: Leave,
    ) -> bool {
        let Some(&key) = self.by_filter.get(filter) else {
            return false;
        };
        let Some(subscribers) = self.all.get_mut(key) else {
            return false;
        };
        let Some(wanted) = subscribers.routes.remove(route) else {
            return false;
        };
        subscribers.wanted.count(wanted, usize::MAX);
        let used = subscribers
            .identifiers
            .iter_mut()
            .find(|(known, _)| *known == wanted.identifier);
        let unused = used.is_some_and(|(_, streams)| {
            *streams -= 1;
            *streams == 0
        });
        let mut dropped = Vec::new();
        for filter in also {
            if let Some(streams) = subscribers.also.get_mut(filter) {
                *streams -= 1;
                if *streams == 0 {
                    subscribers.also.remove(filter);
                    dropped.push(filter);
                }
            }
        }
        let is_last = subscribers.routes.is_empty() && how != Leave::Keep;
        if unused && how == Leave::Rejected {
            subscribers
                .identifiers
                .retain(|(known, _)| *known != wanted.identifier);
            self.forget_identifier(wanted.identifier, key);
        }
        for other in dropped
            .into_iter()
            .filter(|other| other.pattern() != filter.pattern())
        {
            remove_from(&mut self.tree, other, key);
        }
        if is_last {
            self.remove(filter);
        }
        is_last
    }

    /// Nobody has this filter any more. Returns who had it.
    pub(super) fn remove(&mut self, filter: &TopicFilter) -> Vec<RouteKey> {
        let Some(key) = self.by_filter.remove(filter) else {
            return Vec::new();
        };
        let Subscribers {
            identifiers,
            routes,
            also,
            ..
        } = self.all.remove(key);
        for (identifier, _) in identifiers {
            self.forget_identifier(identifier, key);
        }
        remove_from(&mut self.tree, filter, key);
        for other in also.keys() {
            remove_from(&mut self.tree, other, key);
        }
        if let Some(shortened) = shorten(filter) {
            remove_from(&mut self.shortened, &shortened, key);
        }
        routes.into_keys()
    }

    /// Whether this stream is the only one of a filter.
    pub(super) fn is_only(&self, route: RouteKey, filter: &TopicFilter) -> bool {
        self.get(filter)
            .is_some_and(|found| found.routes.len() == 1 && found.routes.contains_key(route))
    }

    /// Keeps the subscriptions that the stream of unmatched messages still is for, as they are to
    /// be asked for now.
    pub(super) fn renew_unmatched(&self, subscriptions: &mut Vec<SubscribeFilter>) {
        subscriptions.retain_mut(|subscription| {
            let subscribers = self.get(&subscription.filter);
            let subscribers = subscribers.filter(|found| found.routes.contains_key(UNMATCHED));
            subscribers
                .inspect(|found| found.combine(subscription))
                .is_some()
        });
    }

    fn get(&self, filter: &TopicFilter) -> Option<&Subscribers> {
        self.all.get(*self.by_filter.get(filter)?)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_filter.is_empty()
            && self.all.is_empty()
            && self.tree.is_empty()
            && self.shortened.is_empty()
            && self.identifiers.is_empty()
    }

    #[cfg(test)]
    pub(super) fn looked_at(&self) -> usize {
        self.looked_at
    }

    #[cfg(test)]
    pub(super) fn identifiers(&self) -> usize {
        self.identifiers.len()
    }

    // ---- identifiers

    /// The identifier that all these filters have already, or one that is free.
    pub(super) fn identifier(
        &mut self,
        subscriptions: &[SubscribeFilter],
    ) -> SubscriptionIdentifier {
        let latest = |subscription: &SubscribeFilter| {
            self.get(&subscription.filter)
                .and_then(|subscribers| Some(subscribers.identifiers.last()?.0))
        };
        let first = subscriptions.first().and_then(latest);
        let mut others = subscriptions.iter().skip(1);
        match first {
            Some(common) if others.all(|other| latest(other) == first) => common,
            _ => self.free_identifier(),
        }
    }

    pub(super) fn free_identifier(&mut self) -> SubscriptionIdentifier {
        loop {
            let number = self.next_identifier;
            self.next_identifier = if number == SubscriptionIdentifier::MAX {
                1
            } else {
                number + 1
            };
            let identifier = SubscriptionIdentifier::new(number).expect("within its range");
            if !self.identifiers.contains_key(&identifier) {
                return identifier;
            }
        }
    }

    fn forget_identifier(&mut self, identifier: SubscriptionIdentifier, key: FilterKey) {
        if let Some(identified) = self.identifiers.get_mut(&identifier) {
            identified.filters.remove(&key);
            if identified.filters.is_empty() {
                self.identifiers.remove(&identifier);
            }
        }
    }

    // ---- which a message is for

    /// Calls `found` with each stream that a message is for; with one twice if several of its
    /// filters match. `trusted`: identifiers are all of this process, so one that is known explains
    /// a message by itself.
    ///
    /// The work depends on the levels of the topic, on the filters that match it and on the bytes
    /// of the message; not on how many filters there are.
    #[inline]
    pub(super) fn find(
        &mut self,
        delivery: &ReceivedPublish,
        trusted: bool,
        mut found: impl FnMut(RouteKey),
    ) {
        let topic = delivery.topic_bytes();
        if self.all.len() == 1 {
            // One subscription: no need to look further than its filter.
            if let Some((_, only)) = self
                .all
                .iter()
                .next()
                .filter(|(_, only)| only.filter.matches(topic))
            {
                return only.routes.for_each_key(found);
            }
        }
        self.look_up(delivery, topic, trusted);
        for key in self.matched.drain(..) {
            if let Some(subscribers) = self.all.get(key) {
                subscribers.routes.for_each_key(&mut found);
            }
        }
    }

    /// Puts the filters that a message is for into `matched`.
    fn look_up(&mut self, delivery: &ReceivedPublish, topic: &[u8], trusted: bool) {
        self.lookups += 1;
        let identified = self.name_identifiers(delivery);
        find_in(&self.tree, topic, &mut self.matched);
        if self.matched.is_empty() {
            find_in(&self.shortened, topic, &mut self.matched);
        }
        #[cfg(test)]
        (self.looked_at += self.matched.len());
        if !identified {
            return;
        }
        if self.matched.is_empty() && trusted {
            // The topic was changed on its way, as with a mount point; the identifier says whose it
            // is.
            let named = delivery.properties().subscription_identifiers();
            for identifier in named {
                let Some(identified) = self.identifiers.get_mut(&identifier) else {
                    continue;
                };
                if std::mem::take(&mut identified.named_by) == self.lookups {
                    self.matched.extend(&identified.filters);
                }
            }
            return;
        }
        // Those that the identifiers name, if there are any; otherwise all that match.
        let is_named = |key: &FilterKey| {
            self.all.get(*key).is_some_and(|subscribers| {
                let identifiers = &mut subscribers.identifiers.iter();
                identifiers.any(|(identifier, _)| {
                    self.identifiers
                        .get(identifier)
                        .is_some_and(|named| named.named_by == self.lookups)
                })
            })
        };
        if self.matched.iter().any(is_named) {
            let is_anonymous =
                |key: &FilterKey| self.all.get(*key).is_some_and(|found| found.anonymous);
            self.matched
                .retain(|key| is_named(key) || is_anonymous(key));
        }
    }

    /// Marks the identifiers of a message. Returns whether any is known.
    fn name_identifiers(&mut self, delivery: &ReceivedPublish) -> bool {
        let (mut any, mut last) = (false, None);
        for identifier in delivery.properties().subscription_identifiers() {
            if last.replace(identifier) == Some(identifier) {
                continue;
            }
            #[cfg(test)]
            (self.looked_at += 1);
            if let Some(identified) = self.identifiers.get_mut(&identifier) {
                identified.named_by = self.lookups;
                any = true;
            }
        }
        any
    }
}

/// How a stream leaves a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// It comes back at once.
    Keep,
    /// It does not want it any more.
    Gone,
    /// The server has rejected its SUBSCRIBE: no message comes with that identifier.
    Rejected,
}

#[inline]
fn find_in(tree: &TopicTree<FilterKeys>, topic: &[u8], matched: &mut Vec<FilterKey>) {
    for keys in tree.matches(topic) {
        keys.for_each_key(|key| matched.push(key));
    }
}

fn remove_from(tree: &mut TopicTree<FilterKeys>, filter: &TopicFilter, key: FilterKey) {
    if let Some(keys) = tree.get_mut(filter) {
        keys.remove(key);
        if keys.is_empty() {
            tree.remove(filter);
        }
    }
}

/// The filter without a leading `$name/`, under which brokers deliver what they know by such a
/// name, as `$queue/`, `$exclusive/` or `$limited/`. `$SYS` is a topic, not a name.
fn shorten(filter: &TopicFilter) -> Option<TopicFilter> {
    let (name, rest) = filter.pattern().split_once('/')?;
    let is_name = name.len() > 1 && name.starts_with('$') && name != "$SYS";
    is_name.then(|| TopicFilter::new(rest).ok()).flatten()
}

impl Subscribers {
    /// What is asked for serves all of them.
    fn combine(&self, subscription: &mut SubscribeFilter) {
        let Totals {
            qos,
            local,
            retain_as_published,
        } = &self.wanted;
        let highest = [QoS::ExactlyOnce, QoS::AtLeastOnce]
            .into_iter()
            .find(|level| qos[*level as usize] > 0);
        subscription.qos = highest.unwrap_or_default();
        subscription.no_local = *local == 0;
        subscription.retain_as_published = *retain_as_published > 0;
    }
}

impl Totals {
    /// Adds `n`, which may stand for -1.
    fn count(&mut self, wanted: Wanted, n: usize) {
        let add =
            |total: &mut usize, yes: bool| *total = total.wrapping_add(if yes { n } else { 0 });
        add(&mut self.qos[wanted.qos as usize], true);
        add(&mut self.local, !wanted.no_local);
        add(&mut self.retain_as_published, wanted.retain_as_published);
    }
}
