//! Storing: what of the session outlives the process, and what waits until it does.
//!
//! Persistence is I/O, so it is an output: changes of the session become operations on a store,
//! which `poll_store` hands out in order and `handle_stored` confirms. Order is all that is asked
//! of the store: when an operation is stored, so are all before it. Then a crash leaves the session
//! as it was at some moment, and only what leaves for the server has to wait:
//!
//! | what leaves | waits for | otherwise, after a crash |
//! |---|---|---|
//! | PUBLISH, QoS > 0 | the message and its packet identifier | it is lost, or comes again with another identifier |
//! | | the end of an earlier one that this connection does not take | the earlier one follows, on one that does |
//! | PUBREL | *released* | PUBLISH follows PUBREL: a second copy |
//! | PUBREC | the identifier | the resent PUBLISH is delivered again |
//! | PUBCOMP | the identifier's deletion | a stale identifier swallows a new message |
//!
//! Nothing else waits. The end of a message is reported at once, before the deletion of its record
//! is stored: after a crash a QoS 1 message may be sent again, as it always may, and of a QoS 2
//! message a PUBREL; its end is reported again. Waiting would cost every publish a write to the
//! disk and prevent neither, since the application's own reaction to the end can be lost as well.

use crate::output::DelayedAnswer;
use crate::store::lag::Lag;
use crate::store::record::{self, Flow, FlowPhase, RecordKey, SessionIdentity, StoredSubscription};
use crate::{Instant, OperationId, StoreError};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use martlet_proto::{PacketIdentifier, TopicFilter};

/// The size of the blocks in which operations are numbered: the identity record is not written for
/// each message.
pub(crate) const RESERVED_OPERATIONS: u64 = 4096;

/// The session waits for a store that is this number of operations behind before it reads more:
/// each packet of the server's may add one.
const FAR_BEHIND: usize = 1 << 17;

/// The number of an operation on the store: rises by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreSeq(pub(crate) u64);

impl StoreSeq {
    /// The number; the first is 1.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What to do to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreOp {
    /// Keep this value under this key, in place of any that is there.
    Put {
        /// The key.
        key: RecordKey,
        /// The value.
        value: Bytes,
    },
    /// Forget this key; it need not be there.
    Delete {
        /// The key.
        key: RecordKey,
    },
}

impl StoreOp {
    /// The key that it is about.
    pub const fn key(&self) -> RecordKey {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => *key,
        }
    }
}

/// What is on its way to the store, and what waits for it.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Not handed out yet.
    operations: VecDeque<StoreOp>,
    handed_out: u64,
    stored: u64,
    /// When what is not stored was handed out.
    lag: Lag,
    /// By the operation that it waits for, which rises.
    waiting: VecDeque<(u64, AwaitsStore)>,
    /// Flows of messages up to this one are stored: their PUBLISH may leave.
    pub(crate) published: OperationId,
    /// A PUBREL that is sent again waits for this operation.
    resumed_at: u64,
    /// A PUBLISH waits for this operation: the end of one that stood before it.
    failed_at: u64,
    failure: Option<(u64, StoreError)>,
    /// As last put; `None` before the first.
    pub(crate) identity: Option<SessionIdentity>,
    /// The place of the next PUBREC in their order.
    pub(crate) next_place: u64,
    /// The end of messages before this one is always reported: the process that published them has
    /// ended.
    pub(crate) first_operation: u64,
    /// The numbers of the subscriptions' records.
    pub(crate) subscriptions: BTreeMap<TopicFilter, u64>,
    pub(crate) next_subscription: u64,
}

#[derive(Debug)]
pub(crate) enum AwaitsStore {
    Message(OperationId),
    Flow(OperationId),
    Answer(DelayedAnswer),
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            operations: VecDeque::new(),
            handed_out: 0,
            stored: 0,
            lag: Lag::default(),
            waiting: VecDeque::new(),
            published: OperationId(0),
            resumed_at: 0,
            failed_at: 0,
            failure: None,
            identity: None,
            next_place: 0,
            first_operation: 0,
            subscriptions: BTreeMap::new(),
            next_subscription: 0,
        }
    }

    // ---- what has come of the store

    /// Operations up to this one are stored. Returns whether the store works again.
    pub(crate) fn confirm(&mut self, upto: StoreSeq) -> bool {
        self.stored = self.stored.max(upto.0.min(self.handed_out));
        let stored = self.stored;
        self.lag.confirm(stored, stored == self.handed_out);
        self.failure.take_if(|(from, _)| *from <= stored).is_some()
    }

    /// What has waited for the store, and does not any more.
    pub(crate) fn pop_stored(&mut self) -> Option<AwaitsStore> {
        let (at, _) = self.waiting.front()?;
        if *at > self.stored {
            return None;
        }
        let (_, waiting) = self.waiting.pop_front()?;
        if let AwaitsStore::Flow(operation) = waiting {
            self.published = self.published.max(operation);
        }
        Some(waiting)
    }

    /// The store has not taken this operation, nor those that follow. Returns whether this was not
    /// known.
    pub(crate) fn fail(&mut self, from: StoreSeq, error: &StoreError) -> bool {
        let from = from.0.max(self.stored + 1);
        let known = self.failure.replace((from, error.clone()));
        known.is_none_or(|(_, known)| known != *error)
    }

    /// Takes out the messages that are not stored because the store has failed.
    pub(crate) fn take_unstored(&mut self) -> Vec<OperationId> {
        let Some((from, _)) = self.failure else {
            return Vec::new();
        };
        let mut unstored = Vec::new();
        self.waiting.retain(|(at, waiting)| match waiting {
            AwaitsStore::Message(operation) if *at >= from => {
                unstored.push(*operation);
                false
            }
            _ => true,
        });
        unstored
    }

    /// Why the store does not take anything now.
    pub(crate) fn failure(&self) -> Option<&StoreError> {
        self.failure.as_ref().map(|(_, error)| error)
    }

    /// What to do to the store next.
    pub(crate) fn hand_out(&mut self, now: Instant) -> Option<(StoreSeq, StoreOp)> {
        let operation = self.operations.pop_front()?;
        self.handed_out += 1;
        self.lag.hand_out(self.handed_out, now);
        Some((StoreSeq(self.handed_out), operation))
    }

    /// How many operations are not stored, and when the oldest of them was handed out.
    pub(crate) fn lag(&self) -> (usize, Option<Instant>) {
        let behind = (self.handed_out - self.stored) as usize + self.operations.len();
        (behind, self.lag.oldest())
    }

    // ---- what is to be stored

    /// The number of the last operation there is.
    fn last(&self) -> u64 {
        self.handed_out + self.operations.len() as u64
    }

    fn put(&mut self, key: RecordKey, value: Bytes) {
        self.operations.push_back(StoreOp::Put { key, value });
    }

    pub(crate) fn delete(&mut self, key: RecordKey) {
        self.operations.push_back(StoreOp::Delete { key });
    }

    /// Whether anything is not stored yet.
    #[inline]
    pub(crate) fn is_behind(&self) -> bool {
        self.stored < self.last()
    }

    /// Keeps an answer to the server until everything until now is stored.
    #[inline]
    pub(crate) fn delay(&mut self, answer: DelayedAnswer) {
        self.wait(AwaitsStore::Answer(answer));
    }

    fn wait(&mut self, waiting: AwaitsStore) {
        self.waiting.push_back((self.last(), waiting));
    }

    fn incarnation(&self) -> u64 {
        self.identity
            .as_ref()
            .map_or(0, |identity| identity.incarnation)
    }

    fn put_flow(
        &mut self,
        operation: OperationId,
        packet_identifier: PacketIdentifier,
        phase: FlowPhase,
    ) {
        let flow = Flow {
            incarnation: self.incarnation(),
            packet_identifier,
            phase,
        };
        self.put(RecordKey::flow(operation), flow.encode(operation));
    }

    /// The message is completed. First the message: a flow alone is that of a acknowledged one.
    pub(crate) fn forget(&mut self, operation: OperationId) {
        self.delete(RecordKey::message(operation));
        self.delete(RecordKey::flow(operation));
    }

    /// The connection is gone, and with it what was to be said on it.
    pub(crate) fn forget_answers(&mut self) {
        self.waiting
            .retain(|(_, waiting)| !matches!(waiting, AwaitsStore::Answer(_)));
    }

    /// A QoS 2 message is about to be recorded.
    pub(crate) fn put_received(&mut self, id: PacketIdentifier) {
        self.put(
            RecordKey::received(id),
            record::encode_received(id, self.incarnation()),
        );
    }

    /// It was released.
    pub(crate) fn delete_received(&mut self, id: PacketIdentifier) {
        self.delete(RecordKey::received(id));
    }

    /// Whether the PUBLISH of this message may leave.
    pub(crate) fn may_publish(&self, operation: OperationId) -> bool {
        operation <= self.published && self.stored >= self.failed_at
    }

    /// Whether PUBRELs of an earlier connection may leave.
    pub(crate) fn may_release(&self) -> bool {
        self.stored >= self.resumed_at
    }

    pub(crate) fn is_far_behind(&self) -> bool {
        self.waiting.len() + self.operations.len() > FAR_BEHIND
    }

    pub(crate) fn put_identity(&mut self, identity: SessionIdentity) {
        if self.identity.as_ref() != Some(&identity) {
            self.put(RecordKey::IDENTITY, identity.encode());
            self.identity = Some(identity);
        }
    }

    /// A message was accepted.
    pub(crate) fn put_message(&mut self, operation: OperationId, value: Bytes) {
        let overtaken = |identity: &&mut SessionIdentity| identity.next_operation <= operation.0;
        if let Some(identity) = self.identity.as_mut().filter(overtaken) {
            identity.next_operation = operation.0.saturating_add(RESERVED_OPERATIONS);
            let value = identity.encode();
            self.put(RecordKey::IDENTITY, value);
        }
        self.put(RecordKey::message(operation), value);
        self.wait(AwaitsStore::Message(operation));
    }

    /// A message has got its packet identifier.
    pub(crate) fn put_published(&mut self, operation: OperationId, id: PacketIdentifier) {
        self.put_flow(operation, id, FlowPhase::Published);
        self.wait(AwaitsStore::Flow(operation));
    }

    /// A PUBREC has released a message; they keep the order of their PUBRECs.
    pub(crate) fn put_released(
        &mut self,
        operation: OperationId,
        id: PacketIdentifier,
        reported: bool,
    ) {
        let place = self.next_place;
        self.next_place += 1;
        self.put_flow(operation, id, FlowPhase::Released { place, reported });
    }

    /// A message cannot be sent any more; the server may hold its identifier.
    pub(crate) fn put_failed(
        &mut self,
        operation: OperationId,
        abandoned: Option<PacketIdentifier>,
    ) {
        match abandoned {
            Some(id) => {
                self.put_flow(operation, id, FlowPhase::Abandoned);
                self.delete(RecordKey::message(operation));
            }
            None => self.forget(operation),
        }
        self.failed_at = self.last();
    }

    /// Stores a subscription that the server has granted, or that it does not have any more.
    pub(crate) fn put_subscription(
        &mut self,
        filter: TopicFilter,
        stored: Option<StoredSubscription>,
    ) {
        if let Some(stored) = stored {
            let number = *self.subscriptions.entry(filter).or_insert_with(|| {
                self.next_subscription += 1;
                self.next_subscription - 1
            });
            self.put(RecordKey::subscription(number), stored.encode(number));
        } else if let Some(number) = self.subscriptions.remove(&filter) {
            self.delete(RecordKey::subscription(number));
        }
    }

    /// PUBRELs of earlier connections wait for what is to be stored now.
    pub(crate) fn resume(&mut self) {
        self.resumed_at = self.last();
    }

    /// The server's session is another: no flow is stored any more, and no answer is due.
    pub(crate) fn begin_incarnation(&mut self) {
        self.published = OperationId(0);
        self.waiting
            .retain(|(_, waiting)| matches!(waiting, AwaitsStore::Message(_)));
    }
}

/// What is left to wait for of a stored expiry, from `now` on. The message's own interval bounds
/// it, so that a clock that was set back does not keep it for ever.
pub(crate) fn expires_at(
    expiry: record::Expiry,
    interval: Option<u32>,
    now: Instant,
    epoch: Option<Duration>,
) -> Option<Instant> {
    let most = now + Duration::from_secs(interval.unwrap_or(u32::MAX).into());
    match (expiry, epoch) {
        (record::Expiry::Never, _) => None,
        (record::Expiry::After(left), _) => Some(most.min(now + left)),
        (record::Expiry::At(at), Some(epoch)) => {
            Some(most.min(Instant::from_epoch(at.saturating_sub(epoch))))
        }
        // Nobody knows the time any more: it counts anew.
        (record::Expiry::At(_), None) => Some(most),
    }
}
