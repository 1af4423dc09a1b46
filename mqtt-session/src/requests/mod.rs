//! Subscriptions as state: what the server has granted for each topic filter, and the last wish for
//! it. SUBSCRIBE and UNSUBSCRIBE packets are made from the wishes; `requesting` sends them.
//!
//! ```text
//!            ┌─ a later wish for the same filter takes its place
//!   ready ───┴───connection───► sent(id) ──SUBACK, UNSUBACK──► answered
//!    │ ▲                          │ └──request timeout──► failed; the identifier waits for the late answer
//!    │ └──connection lost─────────┘
//!    ├──offline timeout──► failed; an UNSUBSCRIBE is sent all the same
//!    ├──session lost──► an UNSUBSCRIBE is answered: there is nothing left to unsubscribe from
//!    └──connections lost too often between packet and answer──► failed, and not sent again
//! ```
//!
//! A request that was sent and not answered when a connection was lost is suspected to be the
//! reason. It is sent after everything else, and alone, so that the next loss has one suspect. For
//! the last attempt its filters are sent in packets of their own.

mod asking;
pub(crate) mod deadlines;
#[cfg(feature = "durable")]
mod durable;
mod operations;

pub(crate) use self::asking::OVERHEAD;
use self::operations::{FilterOutcome, Operation};
use crate::ordered::Ordered;
use crate::requests::deadlines::Deadlines;
use crate::{Event, Instant, OperationId, RequestError};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use martlet_proto::{
    PacketIdentifier, SubscribeFilter, SubscriptionIdentifier, TopicFilter, UserProperties,
};

/// How many requests may wait to be sent: more than any program makes, few enough to bound their
/// memory.
const MAX_PENDING: usize = 65_535;

/// How many requests may wait for their answers. The rest is state, which costs no packet
/// identifier and can still be withdrawn without a trace.
const MAX_AWAITED: usize = 64;

/// How many times as many connections may end at a request that is not suspected for each of them.
const PATIENCE: u32 = 4;

/// How many packet identifiers requests may hold, including those that have timed out.
const MAX_IDENTIFIERS: usize = 1024;

/// What one SUBSCRIBE or UNSUBSCRIBE asks for.
#[derive(Debug)]
pub(crate) struct PendingRequest {
    pub(crate) action: RequestKind,
    /// Larger for later requests of the application; 0 for subscriptions that the session makes
    /// again.
    pub(crate) order: u64,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) past: Past,
    /// It was sent while no other request waited for its answer, because it is suspected.
    pub(crate) alone: bool,
    /// It was sent on this connection, and its time is not over.
    pub(crate) awaited: bool,
    /// Its place among the requests that are ready; unique.
    number: u64,
}

/// What became of a request on earlier connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// How many connections ended between its bytes and its answer.
    pub(crate) losses: u32,
    /// Those of them that may have ended because of it.
    pub(crate) suspicions: u32,
    /// The server has sent an answer that did not fit it.
    pub(crate) misanswered: bool,
}

impl Past {
    /// Whether it has ended too many connections to be sent again.
    fn is_over(self, most: u32) -> bool {
        self.suspicions >= most || self.losses >= most.saturating_mul(PATIENCE)
    }

    /// That of two requests which become one.
    fn join(self, other: Self) -> Self {
        Self {
            losses: self.losses.max(other.losses),
            suspicions: self.suspicions.max(other.suspicions),
            misanswered: self.misanswered || other.misanswered,
        }
    }
}

/// What is to be sent next.
pub(crate) enum NextRequest {
    Send(PendingRequest),
    /// A suspected request, once the connection is seen to work.
    AwaitLiveness,
    Nothing,
}

/// Which of the requests that had no answer may be why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    All,
    /// Not those that make a subscription again: the server has granted it before, and went on
    /// sending after the packet had left. The network is the likelier reason, and a bad one must
    /// not end a stream.
    New,
    /// The connection ended for another reason.
    None,
}

/// What a packet says besides its filters.
#[derive(Debug, Clone)]
pub(crate) enum RequestKind {
    Subscribe {
        identifier: Option<SubscriptionIdentifier>,
        user_properties: UserProperties,
    },
    Unsubscribe {
        user_properties: UserProperties,
    },
}

impl RequestKind {
    pub(crate) fn is_unsubscribe(&self) -> bool {
        matches!(self, Self::Unsubscribe { .. })
    }
}

/// What is wanted for one topic filter. The options matter in a SUBSCRIBE only.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) subscription: SubscribeFilter,
    pub(crate) waiters: Vec<Waiter>,
}

/// To whom the answer to a wish is reported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiter {
    operation: OperationId,
    /// Which filter of the operation it is.
    place: usize,
}

impl PendingRequest {
    pub(crate) fn new(action: RequestKind, order: u64, wishes: Vec<Wish>) -> Self {
        Self {
            action,
            order,
            wishes,
            past: Past::default(),
            alone: false,
            awaited: false,
            number: 0,
        }
    }

    /// The same for other wishes.
    pub(crate) fn with_wishes(&self, wishes: Vec<Wish>) -> Self {
        Self {
            past: self.past,
            ..Self::new(self.action.clone(), self.order, wishes)
        }
    }

    /// In chunks of at most `filters` filters, and about `bytes` bytes.
    fn split(mut self, filters: usize, bytes: usize) -> Vec<Self> {
        let mut chunks = Vec::new();
        let mut chunk = Vec::new();
        let mut size = 0;
        for wish in core::mem::take(&mut self.wishes) {
            // Length 2 and options 1 for each.
            let entry = wish.subscription.filter.as_bytes().len() + 3;
            if !chunk.is_empty() && (chunk.len() >= filters || size + entry > bytes) {
                chunks.push(self.with_wishes(core::mem::take(&mut chunk)));
                size = 0;
            }
            size += entry;
            chunk.push(wish);
        }
        if !chunk.is_empty() {
            chunks.push(self.with_wishes(chunk));
        }
        chunks
    }

    /// Tells it from all others that were sent.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    fn key(&self) -> Key {
        Key {
            losses: self.past.losses,
            order: self.order,
            number: self.number,
        }
    }
}

/// Whose answer is awaited until a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AwaitedAnswer {
    /// A request, by its packet identifier and its number.
    Request(PacketIdentifier, u64),
    Ping(OperationId),
}

/// The order of sending: first what is not suspected, of that first what the session asks for
/// itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    losses: u32,
    order: u64,
    number: u64,
}

/// What is known of one topic filter.
#[derive(Debug, Default)]
struct Entry {
    /// What the server has granted, and should still have.
    granted: Option<Registered>,
    /// The server has lost what it had granted, and has not granted it again.
    lost: bool,
    /// The server may have a subscription that is not in `granted`: it was asked, and has not
    /// answered.
    asked: bool,
    /// The last wish was to be subscribed.
    wanted: bool,
    stage: Stage,
}

impl Entry {
    /// Whether the entry holds no information.
    fn is_over(&self) -> bool {
        self.granted.is_none() && !self.asked && self.stage == Stage::Idle
    }
}

/// Where the last wish for a filter is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// It waits to be sent, in the request with this key.
    Ready(Key),
    /// The request with this number was sent with it.
    Sent(u64),
}

#[derive(Debug)]
struct Registered {
    subscription: SubscribeFilter,
    identifier: Option<SubscriptionIdentifier>,
    /// Of the request that made it; it is stored.
    #[cfg_attr(not(feature = "durable"), expect(dead_code))]
    order: u64,
}

/// Requests and pings; most sessions have none for most of their time.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    wishes: Option<Box<Wishes>>,
    pub(crate) deadlines: Deadlines<AwaitedAnswer>,
    /// PINGREQs without their PINGRESP; those of the application have an operation.
    pub(crate) pings: VecDeque<Option<OperationId>>,
}

impl Requests {
    pub(crate) fn wishes(&self) -> Option<&Wishes> {
        self.wishes.as_deref()
    }

    /// The wishes, if there are any.
    #[inline]
    pub(crate) fn known(&mut self) -> Option<&mut Wishes> {
        self.wishes.as_deref_mut()
    }

    /// The wishes, created if there are none.
    pub(crate) fn wishes_mut(&mut self) -> &mut Wishes {
        self.wishes.get_or_insert_default()
    }

    /// Requests that were sent on this connection and wait for their answers.
    #[inline]
    pub(crate) fn outstanding(&self) -> usize {
        self.wishes().map_or(0, |wishes| wishes.outstanding)
    }

    /// When the next request, sent or not, or ping fails, or may be sent.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let wishes = self.wishes().and_then(|wishes| wishes.next_deadline(now));
        self.deadlines.next().into_iter().chain(wishes).min()
    }
}

/// What is wanted of the server, and what it has granted.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    filters: Ordered<TopicFilter, Entry>,
    ready: Ordered<Key, PendingRequest>,
    operations: Ordered<OperationId, Operation>,
    /// When the first of them expires, or earlier where that one has ended.
    earliest: Instant,
    /// When the last of them expires.
    latest: Instant,
    /// Some of them expire before older ones.
    is_mixed: bool,
    next_number: u64,
    /// Wishes that wait to be sent.
    unsent: usize,
    /// Filters that the server has lost and not granted again.
    lost: usize,
    /// Sent on this connection, not answered, and awaited.
    outstanding: usize,
    /// The same, including those that have timed out.
    identifiers: usize,
    /// The request that waits for its answer is suspected: nothing is sent beside it.
    probing: bool,
    /// When suspected requests are sent although messages that should go first were not
    /// acknowledged.
    probe_at: Option<Instant>,
    /// Filters whose subscription has changed since it was stored, if it is.
    pub(crate) changed: Option<Box<Changed>>,
    /// Events that the session has not emitted yet.
    pub(crate) events: VecDeque<Event>,
}

#[derive(Debug, Default)]
pub(crate) struct Changed(pub(crate) Vec<TopicFilter>);

impl Wishes {
    // ---- the subscriptions that the server should have

    /// The filters that are subscribed to.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &TopicFilter> {
        self.filters
            .iter()
            .filter(|(_, entry)| entry.granted.is_some())
            .map(|(filter, _)| filter)
    }

    fn changes(&mut self, filter: &TopicFilter) {
        if let Some(changed) = &mut self.changed {
            changed.0.push(filter.clone());
        }
    }

    /// Forgets a granted subscription. Returns whether the server may still have it.
    fn ungrant(&mut self, filter: &TopicFilter) -> bool {
        let Some(entry) = self.filters.get_mut(filter) else {
            return false;
        };
        let lost = core::mem::take(&mut entry.lost);
        self.lost -= usize::from(lost);
        let granted = entry.granted.take().is_some();
        if granted {
            self.changes(filter);
        }
        granted && !lost
    }

    fn grant(&mut self, filter: &TopicFilter, granted: Registered) {
        let Some(entry) = self.filters.get_mut(filter) else {
            return;
        };
        entry.granted = Some(granted);
        self.lost -= usize::from(core::mem::take(&mut entry.lost));
        self.changes(filter);
    }

    /// Removes an entry that holds no information.
    fn tidy(&mut self, filter: &TopicFilter) {
        if self.filters.get(filter).is_some_and(Entry::is_over) {
            self.filters.remove(filter);
        }
    }

    // ---- wishes that wait

    /// Whether this number of further wishes of one operation may wait.
    pub(crate) fn has_room(&self, wishes: usize) -> bool {
        self.operations.len() < MAX_PENDING && self.unsent.saturating_add(wishes) <= MAX_PENDING
    }

    /// Whether anything waits to be sent.
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts a request among those that are ready. Each of its filters is idle.
    fn put(&mut self, mut request: PendingRequest) {
        if request.wishes.is_empty() {
            return;
        }
        self.next_number += 1;
        request.number = self.next_number;
        request.alone = false;
        request.awaited = false;
        let key = request.key();
        for wish in &request.wishes {
            self.filters
                .get_or_insert_with(wish.subscription.filter.clone(), Entry::default)
                .stage = Stage::Ready(key);
        }
        self.unsent += request.wishes.len();
        self.ready.insert(key, request);
    }

    /// Takes out a request that is ready.
    fn take(&mut self, key: Key) -> Option<PendingRequest> {
        let request = self.ready.remove(&key)?;
        self.unsent -= request.wishes.len();
        for wish in &request.wishes {
            if let Some(entry) = self.filters.get_mut(&wish.subscription.filter) {
                entry.stage = Stage::Idle;
            }
        }
        Some(request)
    }

    /// Puts a request among those that are ready. Of two wishes for a filter that were not sent, or
    /// are to be sent again, the later one stays.
    fn place(&mut self, mut request: PendingRequest) {
        for wish in core::mem::take(&mut request.wishes) {
            let Some(other) = self.extract(&wish.subscription.filter) else {
                request.wishes.push(wish);
                continue;
            };
            let is_later = request.order >= other.order;
            let placed = request.with_wishes([wish].into());
            let (later, earlier) = if is_later {
                (placed, other)
            } else {
                (other, placed)
            };
            let mut later = self.join(later, earlier);
            if is_later && later.past == request.past {
                request.wishes.append(&mut later.wishes);
            }
            self.put(later);
        }
        self.put(request);
    }

    /// Of two requests, each for one and the same filter, the later one stays. The waiters of the
    /// earlier one get its answer too, or fail where one subscribes and the other unsubscribes.
    fn join(&mut self, mut later: PendingRequest, mut earlier: PendingRequest) -> PendingRequest {
        let wish = earlier.wishes.pop();
        let mut waiters = wish.map_or_else(Vec::new, |wish| wish.waiters);
        if later.action.is_unsubscribe() == earlier.action.is_unsubscribe() {
            later.past = later.past.join(earlier.past);
            for wish in &mut later.wishes {
                waiters.append(&mut wish.waiters);
                wish.waiters = core::mem::take(&mut waiters);
            }
        }
        self.settle_all(waiters, &FilterOutcome::failed(RequestError::Superseded));
        later
    }

    /// Removes the unsent wish for a filter: a request for it alone.
    fn extract(&mut self, filter: &TopicFilter) -> Option<PendingRequest> {
        let entry = self.filters.get_mut(filter)?;
        let Stage::Ready(key) = entry.stage else {
            return None;
        };
        entry.stage = Stage::Idle;
        let request = self.ready.get_mut(&key)?;
        let at = request
            .wishes
            .iter()
            .position(|wish| wish.subscription.filter == *filter)?;
        let wish = request.wishes.remove(at);
        let single = request.with_wishes([wish].into());
        if request.wishes.is_empty() {
            self.ready.remove(&key);
        }
        self.unsent -= 1;
        Some(single)
    }

    /// The unsent wish for a filter, and whether it is to unsubscribe.
    fn unsent_wish(&mut self, filter: &TopicFilter) -> Option<(&mut Wish, bool)> {
        let Stage::Ready(key) = self.filters.get(filter)?.stage else {
            return None;
        };
        let request = self.ready.get_mut(&key)?;
        let is_unsubscribe = request.action.is_unsubscribe();
        let wish = request
            .wishes
            .iter_mut()
            .find(|wish| wish.subscription.filter == *filter)?;
        Some((wish, is_unsubscribe))
    }

    // ---- sending

    /// Removes the next request that may be sent. Suspected requests wait for all others and until it
    /// `is_quiet`, but not past `latest`: then the others wait until one of them, of those that were
    /// lost least often, has been sent. One that was lost `gated_from` times waits for a connection
    /// that is seen to work.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        latest: Instant,
        gated_from: u32,
        is_quiet: impl FnOnce() -> bool,
    ) -> NextRequest {
        let Some(mut key) = self.ready.first_key().copied() else {
            return NextRequest::Nothing;
        };
        // Suspected ones are last in their order.
        let has_suspects = self.ready.last_key().is_some_and(|key| key.losses > 0);
        let is_due = has_suspects && *self.probe_at.get_or_insert(latest) <= now;
        if is_due {
            let suspect = self.ready.keys().find(|key| key.losses > 0);
            key = suspect.copied().unwrap_or(key);
        }
        if self.probing || self.outstanding >= MAX_AWAITED || self.identifiers >= MAX_IDENTIFIERS {
            return NextRequest::Nothing;
        }
        if key.losses > 0 {
            if self.outstanding > 0 || !(is_due || is_quiet()) {
                return NextRequest::Nothing;
            }
            if key.losses >= gated_from {
                return NextRequest::AwaitLiveness;
            }
        }
        self.take(key)
            .map_or(NextRequest::Nothing, NextRequest::Send)
    }

    /// Whether only suspected requests wait to be sent, for everything else to go first.
    fn is_holding_back(&self) -> bool {
        self.outstanding == 0 && self.ready.first_key().is_some_and(|key| key.losses > 0)
    }

    /// When the next request that was not sent fails, or may be sent.
    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let probe = self
            .probe_at
            .filter(|&at| at > now && self.is_holding_back());
        self.next_expiry().into_iter().chain(probe).min()
    }

    /// Cuts a request to what a packet may hold; the rest waits.
    pub(crate) fn cut(
        &mut self,
        request: PendingRequest,
        filters: usize,
        bytes: usize,
    ) -> Option<PendingRequest> {
        let mut chunks = request.split(filters, bytes).into_iter();
        let first = chunks.next();
        chunks.for_each(|chunk| self.put(chunk));
        first
    }

    /// A request cannot be sent now after all.
    pub(crate) fn put_back(&mut self, request: PendingRequest) {
        self.put(request);
    }

    /// A request is being sent.
    pub(crate) fn sent(&mut self, request: &mut PendingRequest) {
        self.next_number += 1;
        request.number = self.next_number;
        request.awaited = true;
        request.alone = request.past.losses > 0;
        self.probing |= request.alone;
        self.outstanding += 1;
        self.identifiers += 1;
        for wish in &request.wishes {
            let entry = self
                .filters
                .get_or_insert_with(wish.subscription.filter.clone(), Entry::default);
            entry.stage = Stage::Sent(request.number);
        }
    }

    /// Stops waiting for the answer to a request.
    fn not_awaited(&mut self, request: &mut PendingRequest) {
        if core::mem::take(&mut request.awaited) {
            self.outstanding -= 1;
            self.probing &= !request.alone;
        }
    }

    /// The filter waits for the answer to this request no longer.
    fn release(&mut self, number: u64, filter: &TopicFilter) {
        if let Some(entry) = self
            .filters
            .get_mut(filter)
            .filter(|entry| entry.stage == Stage::Sent(number))
        {
            entry.stage = Stage::Idle;
        }
    }
}
