//! SUBSCRIBE, UNSUBSCRIBE and PINGREQ, from the command to the answer, and the subscriptions that the server should
//! have.
//!
//! ```text
//!   pending ──connection──► sent(id) ──SUBACK, UNSUBACK──► answered
//!    │ ▲                      │ └──request timeout──► failed; the identifier waits for the late answer
//!    │ └──connection lost─────┘
//!    └──offline timeout──► failed; an UNSUBSCRIBE is sent all the same
//! ```

use crate::{Instant, Limits, OperationId};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use martlet_proto::{
    Packet, PacketIdentifier, SubAckReasonCode, Subscribe, Subscription, SubscriptionIdentifier, TopicFilter,
    Unsubscribe, UserProperties,
};

/// How many requests may wait for a connection: more than any program subscribes, less than memory minds.
pub(crate) const MAX_PENDING: usize = 65_535;

/// How large the SUBSCRIBEs that restore subscriptions become, in bytes: a compromise between round trips and what a
/// server may refuse.
const RESTORE_SIZE: usize = 8 * 1024;

#[derive(Debug)]
pub(crate) struct Request {
    /// `None`: nobody waits, or nobody any more.
    pub(crate) operation: Option<OperationId>,
    /// Larger for later requests of the application; 0 for those of the session.
    pub(crate) order: u64,
    /// Until when it waits for a connection.
    pub(crate) deadline: Option<Instant>,
    /// It was sent on this connection, and its time is not over.
    pub(crate) awaited: bool,
    pub(crate) kind: RequestKind,
}

#[derive(Debug)]
pub(crate) enum RequestKind {
    Subscribe(Subscribe),
    /// Subscriptions made again after the server lost them.
    Restore(Subscribe),
    Unsubscribe(Unsubscribe),
}

impl RequestKind {
    /// Its packet; the identifier is not known yet.
    pub(crate) fn packet(&self) -> Packet {
        match self {
            Self::Subscribe(packet) | Self::Restore(packet) => packet.clone().into(),
            Self::Unsubscribe(packet) => packet.clone().into(),
        }
    }
}

/// Whose answer is awaited until a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    Request(PacketIdentifier, Option<OperationId>),
    Ping(OperationId),
}

/// Deadlines of things that leave in order and wait equally long: they begin when the bytes are handed out.
#[derive(Debug)]
pub(crate) struct Deadlines<T> {
    /// In the order of leaving: first those that wait for an answer, then those that have not left.
    queue: VecDeque<(Until, T)>,
    waiting: usize,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    /// The deadline.
    Answered(Instant),
    /// Where the packet ends in the connection's bytes.
    HandedOut(u64),
}

impl<T> Default for Deadlines<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), waiting: 0 }
    }
}

impl<T: Copy> Deadlines<T> {
    pub(crate) fn expect(&mut self, packet_end: u64, what: T) {
        self.queue.push_back((Until::HandedOut(packet_end), what));
    }

    /// Whether everything has left.
    #[inline]
    pub(crate) fn is_departing_empty(&self) -> bool {
        self.queue.len() == self.waiting
    }

    /// Bytes up to `upto` have left. Returns whether deadlines were added.
    pub(crate) fn handed_out(&mut self, upto: u64, deadline: Instant) -> bool {
        let before = self.waiting;
        while let Some((until, _)) = self.queue.get_mut(self.waiting) {
            if !matches!(until, Until::HandedOut(end) if *end <= upto) {
                break;
            }
            *until = Until::Answered(deadline);
            self.waiting += 1;
        }
        self.waiting > before
    }

    /// The next whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<T> {
        self.next().filter(|&deadline| deadline <= now)?;
        self.waiting -= 1;
        self.queue.pop_front().map(|(_, what)| what)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        match self.queue.front() {
            Some((Until::Answered(deadline), _)) => Some(*deadline),
            _ => None,
        }
    }

    /// Forgets what is over, once there is much of it.
    pub(crate) fn tidy(&mut self, live: usize, mut is_live: impl FnMut(&T) -> bool) {
        if self.waiting > 2 * live + 64 {
            self.queue.retain(|(until, what)| matches!(until, Until::HandedOut(_)) || is_live(what));
            let is_waiting = |(until, _): &&(Until, T)| matches!(until, Until::Answered(_));
            self.waiting = self.queue.iter().take_while(is_waiting).count();
        }
    }

    /// The connection is gone: what has not left does not leave.
    pub(crate) fn forget_departing(&mut self) {
        self.queue.truncate(self.waiting);
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.waiting = 0;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Not sent on this connection yet, in order.
    pub(crate) pending: VecDeque<Request>,
    /// Sent on this connection and not answered.
    pub(crate) outstanding: usize,
    pub(crate) deadlines: Deadlines<Waiting>,
    /// PINGREQs without their PINGRESP; those of the application have an operation.
    pub(crate) pings: VecDeque<Option<OperationId>>,
    /// SUBSCRIBEs that make lost subscriptions again and are not answered.
    pub(crate) restoring: u32,
    /// What the server has granted and should still have.
    registry: BTreeMap<TopicFilter, Registered>,
    /// Filters whose subscription has changed since it was stored, if it is.
    pub(crate) changed: Option<Box<Changed>>,
}

#[derive(Debug, Default)]
pub(crate) struct Changed(pub(crate) Vec<TopicFilter>);

#[derive(Debug)]
struct Registered {
    subscription: Subscription,
    identifier: Option<SubscriptionIdentifier>,
    /// Of the request that made it.
    order: u64,
}

impl Requests {
    /// The server has granted or refused a subscription. A refusal leaves an earlier subscription of the filter as it
    /// was; one that should have been restored is over.
    pub(crate) fn register(
        &mut self,
        subscription: Subscription,
        identifier: Option<SubscriptionIdentifier>,
        order: u64,
        reason: SubAckReasonCode,
        restore: bool,
    ) {
        self.changes(&subscription.filter);
        if reason.is_error() {
            if restore {
                self.registry.remove(&subscription.filter);
            }
        } else {
            let filter = subscription.filter.clone();
            self.registry.insert(filter, Registered { subscription, identifier, order });
        }
    }

    fn changes(&mut self, filter: &TopicFilter) {
        if let Some(changed) = &mut self.changed {
            changed.0.push(filter.clone());
        }
    }

    /// Subscriptions that were made before this request are over.
    pub(crate) fn unregister(&mut self, filters: &[TopicFilter], order: u64) {
        for filter in filters {
            if self.registry.get(filter).is_some_and(|registered| registered.order < order) {
                self.registry.remove(filter);
                self.changes(filter);
            }
        }
    }

    /// A subscription as it was made.
    pub(crate) fn registered(
        &self,
        filter: &TopicFilter,
    ) -> Option<(&Subscription, Option<SubscriptionIdentifier>, u64)> {
        let Registered { subscription, identifier, order } = self.registry.get(filter)?;
        Some((subscription, *identifier, *order))
    }

    /// A subscription that an earlier process has made.
    pub(crate) fn restore_registered(
        &mut self,
        subscription: Subscription,
        identifier: Option<SubscriptionIdentifier>,
        order: u64,
    ) {
        let filter = subscription.filter.clone();
        self.registry.insert(filter, Registered { subscription, identifier, order });
    }

    /// The filters that are subscribed to.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &TopicFilter> {
        self.registry.keys()
    }

    /// The server has lost the session: asks for all subscriptions again, before anything that waits. Gives back
    /// those that this server does not take; they are over.
    pub(crate) fn restore(&mut self, limits: &Limits) -> Vec<(TopicFilter, SubAckReasonCode)> {
        self.pending.retain(|request| !matches!(request.kind, RequestKind::Restore(_)));
        let changed = &mut self.changed;
        let limit = RESTORE_SIZE.min(limits.maximum_packet_size as usize);
        let mut refused = Vec::new();
        self.registry.retain(|filter, registered| {
            let refusal = limits.refusal(&registered.subscription);
            refused.extend(refusal.map(|(reason, _)| (filter.clone(), reason)));
            if let Some(changed) = changed.as_mut().filter(|_| refusal.is_some()) {
                changed.0.push(filter.clone());
            }
            refusal.is_none()
        });
        let mut by_identifier: BTreeMap<Option<SubscriptionIdentifier>, Vec<Subscription>> = BTreeMap::new();
        for registered in self.registry.values() {
            by_identifier.entry(registered.identifier).or_default().push(registered.subscription.clone());
        }
        let mut restores = Vec::new();
        for (identifier, subscriptions) in by_identifier {
            let mut packet: Vec<Subscription> = Vec::new();
            let mut size = 0;
            for subscription in subscriptions {
                // Length 2 and options 1 for each; headers, identifier and properties take at most 16 in all.
                let entry = subscription.filter.as_bytes().len() + 3;
                if !packet.is_empty() && size + entry + 16 > limit {
                    restores.push((identifier, core::mem::take(&mut packet)));
                    size = 0;
                }
                size += entry;
                packet.push(subscription);
            }
            restores.push((identifier, packet));
        }
        self.restoring = restores.len() as u32;
        for (subscription_identifier, subscriptions) in restores.into_iter().rev() {
            let subscribe = Subscribe {
                packet_identifier: PacketIdentifier::MIN,
                subscription_identifier,
                user_properties: UserProperties::new(),
                subscriptions,
            };
            let kind = RequestKind::Restore(subscribe);
            let request = Request { operation: None, order: 0, deadline: None, awaited: false, kind };
            self.pending.push_front(request);
        }
        refused
    }

    /// Takes out the next request whose time without a connection is over; who waits for it is to be told. An
    /// UNSUBSCRIBE stays: the server has the subscription until it is sent.
    pub(crate) fn expire_pending(&mut self, now: Instant) -> Option<(OperationId, bool)> {
        let is_over = |request: &Request| request.deadline.is_some_and(|at| at <= now);
        let i = self.pending.iter().position(is_over)?;
        let request = &mut self.pending[i];
        request.deadline = None;
        let operation = request.operation.take();
        let is_unsubscribe = matches!(request.kind, RequestKind::Unsubscribe(_));
        if !is_unsubscribe {
            self.pending.remove(i);
        }
        Some((operation.expect("without one there is no deadline"), is_unsubscribe))
    }

    /// When the next request, sent or not, fails.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let pending = self.pending.iter().filter_map(|request| request.deadline).min();
        self.deadlines.next().into_iter().chain(pending).min()
    }

    /// A restoring SUBSCRIBE cannot be sent: its subscriptions are over.
    pub(crate) fn give_up_restoring(
        &mut self,
        restore: Subscribe,
        reason: SubAckReasonCode,
    ) -> Vec<(TopicFilter, SubAckReasonCode)> {
        self.restoring = self.restoring.saturating_sub(1);
        let filters = restore.subscriptions.into_iter().map(|subscription| subscription.filter);
        filters
            .inspect(|filter| {
                self.registry.remove(filter);
                self.changes(filter);
            })
            .map(|filter| (filter, reason))
            .collect()
    }

    /// The connection is gone: what was sent and not answered waits for the next, until `deadline`. A subscribe that
    /// nobody waits for is forgotten; subscriptions that are to be restored are not: the server may have begun a new
    /// session before they arrived.
    pub(crate) fn handle_close(
        &mut self,
        unanswered: Vec<Request>,
        deadline: Instant,
    ) -> impl Iterator<Item = OperationId> {
        self.outstanding = 0;
        self.deadlines.clear();
        let wanted = |request: &Request| {
            request.operation.is_some() || !matches!(request.kind, RequestKind::Subscribe(_))
        };
        self.pending.retain(|request| wanted(request));
        for request in unanswered.into_iter().rev().filter(|request| wanted(request)) {
            let deadline = request.operation.and(Some(deadline));
            self.pending.push_front(Request { deadline, ..request });
        }
        core::mem::take(&mut self.pings).into_iter().flatten()
    }
}
