//! Storing: what of the session outlives the process, and what waits until it does.
//!
//! Persistence is I/O, so it is an output: changes of the session become operations on a store, which `poll_store`
//! hands out in order and `handle_stored` confirms. Order is all that is asked of the store: when an operation is
//! stored, so are all before it. Then a crash leaves the session as it was at some moment, and only what leaves for the
//! server has to wait:
//!
//! | what leaves | waits for | otherwise, after a crash |
//! |---|---|---|
//! | PUBLISH, QoS > 0 | the message and its packet identifier | it is lost, or comes again with another identifier |
//! | | the end of an earlier one that this connection does not take | the earlier one follows, on one that does |
//! | PUBREL | *released* | PUBLISH follows PUBREL: a second copy |
//! | PUBREC | the identifier | the resent PUBLISH is delivered again |
//! | PUBCOMP | the identifier's deletion | a stale identifier swallows a new message |
//!
//! Everything else waits for nothing. The end of a message is told at once, before the deletion of its record is
//! stored: after a crash a QoS 1 message may be sent again, as it always may, and of a QoS 2 message a PUBREL; its end
//! is told again. Waiting would cost every publish a write to the disk and prevent neither, since the application's own
//! reaction to the end can be lost as well.

use crate::outbound::Acked;
use crate::output::Output;
use crate::queue::{Fate, Outgoing};
use crate::record::{self, Flow, FlowPhase, Identity, RecordKey, StoredSubscription};
use crate::session::Phase;
use crate::{Config, Event, Instant, OperationId, PublishError, Session, WhenStoreFails};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use martlet_proto::{
    Ack, Packet, PacketIdentifier, PacketType, PubRec, PubRelReasonCode, QoS, TopicFilter, Version,
};

/// Operations are numbered in blocks of so many: the identity record is not written for each message.
const RESERVED_OPERATIONS: u64 = 4096;

/// A store that is so many operations behind is waited for before more is read: each packet of the server's may add
/// one.
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

/// How a store failed, in the words of whoever keeps it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    kind: StoreErrorKind,
    text: Arc<str>,
}

/// Why a store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Reading or writing failed.
    Io,
    /// The disk, or what is granted of it, is full.
    Full,
    /// Somebody else has it open.
    Locked,
    /// It is not a store, or damaged beyond single records.
    Corrupt,
    /// It is closed.
    Closed,
}

impl StoreError {
    /// With this text for people: lower case, without a full stop, without secrets.
    pub fn new(kind: StoreErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: Arc::from(text.into()) }
    }

    /// Why it failed.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

/// What is on its way to the store, and what waits for it.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Not handed out yet.
    operations: VecDeque<StoreOp>,
    handed_out: u64,
    stored: u64,
    /// By the operation that it waits for, which rises.
    waiting: VecDeque<(u64, Waiting)>,
    /// Flows of messages up to this one are stored: their PUBLISH may leave.
    pub(super) published: OperationId,
    /// A PUBREL that is sent again waits for this operation.
    resumed_at: u64,
    /// A PUBLISH waits for this operation: the end of one that stood before it.
    failed_at: u64,
    failure: Option<(u64, StoreError)>,
    /// As last put; `None` before the first.
    pub(super) identity: Option<Identity>,
    /// The place of the next PUBREC in their order.
    pub(super) next_place: u64,
    /// The end of messages before this one is told always: whoever published them is gone.
    pub(super) first_operation: u64,
    /// The numbers of the subscriptions' records.
    pub(super) subscriptions: BTreeMap<TopicFilter, u64>,
    pub(super) next_subscription: u64,
}

#[derive(Debug)]
enum Waiting {
    Message(OperationId),
    Flow(OperationId),
    Answer(Answer),
}

/// An answer to the server that may have to wait for the store.
#[derive(Debug)]
pub(crate) enum Answer {
    /// PUBREC.
    Received(PubRec),
    /// PUBREL.
    Release(PacketIdentifier),
    /// PUBCOMP.
    Complete(PacketIdentifier, PubRelReasonCode),
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            operations: VecDeque::new(),
            handed_out: 0,
            stored: 0,
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

    /// The number of the last operation there is.
    fn last(&self) -> u64 {
        self.handed_out + self.operations.len() as u64
    }

    fn put(&mut self, key: RecordKey, value: Bytes) {
        self.operations.push_back(StoreOp::Put { key, value });
    }

    pub(super) fn delete(&mut self, key: RecordKey) {
        self.operations.push_back(StoreOp::Delete { key });
    }

    fn wait(&mut self, waiting: Waiting) {
        self.waiting.push_back((self.last(), waiting));
    }

    fn incarnation(&self) -> u64 {
        self.identity.as_ref().map_or(0, |identity| identity.incarnation)
    }

    fn put_flow(&mut self, operation: OperationId, packet_identifier: PacketIdentifier, phase: FlowPhase) {
        let flow = Flow { incarnation: self.incarnation(), packet_identifier, phase };
        self.put(RecordKey::flow(operation), flow.encode(operation));
    }

    /// The message has come to its end. First the message: a flow alone is that of a settled one.
    pub(super) fn forget(&mut self, operation: OperationId) {
        self.delete(RecordKey::message(operation));
        self.delete(RecordKey::flow(operation));
    }

    /// The connection is gone, and with it what was to be said on it.
    pub(crate) fn forget_answers(&mut self) {
        self.waiting.retain(|(_, waiting)| !matches!(waiting, Waiting::Answer(_)));
    }

    /// A QoS 2 message is about to be recorded.
    pub(crate) fn put_received(&mut self, id: PacketIdentifier) {
        self.put(RecordKey::received(id), record::encode_received(id, self.incarnation()));
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
}

impl Output {
    /// Answers the server when everything until now is stored.
    #[inline]
    pub(crate) fn answer_when_stored(&mut self, answer: Answer) {
        match &mut self.journal {
            Some(journal) if journal.stored < journal.last() => journal.wait(Waiting::Answer(answer)),
            _ => self.write_answer(answer),
        }
    }

    #[inline]
    fn write_answer(&mut self, answer: Answer) {
        let has_reasons = self.takes_reasons;
        let packet = match answer {
            Answer::Release(id) => return self.short_ack(PacketType::PubRel, id),
            Answer::Received(ack) => return self.acknowledge(PacketType::PubRec, ack),
            Answer::Complete(id, reason) if reason == PubRelReasonCode::Success || !has_reasons => {
                return self.short_ack(PacketType::PubComp, id);
            }
            Answer::Complete(id, reason) => Packet::PubComp(Ack::new(id, reason)),
        };
        self.answer(&packet).expect("an acknowledgement with a reason code");
    }
}

impl Session {
    // ---- handlers

    /// The store holds what was handed out up to and including this operation, and will after a crash. What has waited
    /// for it goes on: drain. In any order but the store's own it must not be called.
    pub fn handle_stored(&mut self, upto: StoreSeq) {
        let may_answer = matches!(self.phase, Phase::Connected | Phase::Draining);
        let Some(journal) = &mut self.output.journal else { return };
        journal.stored = journal.stored.max(upto.0.min(journal.handed_out));
        let stored = journal.stored;
        if journal.failure.take_if(|(from, _)| *from <= stored).is_some() {
            self.events.push_back(Event::StoreRecovered);
        }
        while let Some(journal) = &mut self.output.journal {
            if journal.waiting.front().is_none_or(|(at, _)| *at > stored) {
                break;
            }
            let Some((_, waiting)) = journal.waiting.pop_front() else { break };
            match waiting {
                Waiting::Message(_) => {}
                Waiting::Flow(operation) => journal.published = journal.published.max(operation),
                Waiting::Answer(answer) if may_answer => self.output.write_answer(answer),
                Waiting::Answer(_) => {}
            }
        }
    }

    /// The store could not take this operation, and has taken none that follows. Try them again, in their order, and
    /// tell with [`handle_stored`](Self::handle_stored) when it has worked. Until then no message above QoS 0 is
    /// accepted, [`Durable::when_store_fails`](crate::Durable::when_store_fails) says what becomes of those that are
    /// not stored, and what waits for the store waits on. [`Event::StoreFailed`] tells it.
    pub fn handle_store_failed(&mut self, from: StoreSeq, error: &StoreError) {
        let hold = self.when_store_fails() == WhenStoreFails::Hold;
        let Some(journal) = &mut self.output.journal else { return };
        let from = from.0.max(journal.stored + 1);
        let known = journal.failure.replace((from, error.clone()));
        if known.is_none_or(|(_, known)| known != *error) {
            self.events.push_back(Event::StoreFailed(error.clone()));
        }
        if hold {
            return;
        }
        let mut unstored = Vec::new();
        journal.waiting.retain(|(at, waiting)| match waiting {
            Waiting::Message(operation) if *at >= from => {
                unstored.push(*operation);
                false
            }
            _ => true,
        });
        for operation in unstored {
            if let Some(fate) = self.outbound.withdraw(operation) {
                self.report(fate, Err(PublishError::Store(error.clone())));
                self.forget(operation);
            }
        }
    }

    // ---- polls

    /// What to do to the store next, and its number. Do it in this order, as many at a time as you like, and tell
    /// [`handle_stored`](Self::handle_stored). Nothing comes from a session that is not
    /// [durable](crate::Config::durable). Look again after [`poll_transmit`](Self::poll_transmit) has given bytes.
    #[must_use = "an operation is handed out once"]
    pub fn poll_store(&mut self, now: Instant) -> Option<(StoreSeq, StoreOp)> {
        self.output.journal.as_ref()?;
        self.store_subscriptions();
        loop {
            let journal = self.output.journal.as_mut()?;
            if let Some(operation) = journal.operations.pop_front() {
                journal.handed_out += 1;
                return Some((StoreSeq(journal.handed_out), operation));
            }
            // Messages get their packet identifiers, which are stored too. They are encoded when bytes are asked for.
            if !self.admit_next(now) {
                return None;
            }
        }
    }

    // ---- getters

    /// Whether what must outlive the process is stored.
    #[inline]
    pub fn is_durable(&self) -> bool {
        self.output.journal.is_some()
    }

    /// Messages of QoS 1 and 2 that have not come to their end: after [`restore`](Self::restore) those of earlier
    /// processes, which [`Event::Published`] will tell of.
    pub fn unsettled(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.outbound.operations()
    }

    // ---- the session's changes

    fn when_store_fails(&self) -> WhenStoreFails {
        self.config.durable.as_ref().map_or(WhenStoreFails::Fail, |durable| durable.when_store_fails)
    }

    /// Why no message above QoS 0 can be accepted.
    pub(crate) fn store_failure(&self) -> Option<&StoreError> {
        let (_, error) = self.output.journal.as_ref()?.failure.as_ref()?;
        Some(error)
    }

    /// Whether messages wait until the store works again.
    pub(crate) fn is_held_by_store(&self) -> bool {
        self.store_failure().is_some() && self.when_store_fails() == WhenStoreFails::Hold
    }

    /// Whether the end of this message is told although nobody asked here.
    #[inline]
    pub(crate) fn is_of_earlier_process(&self, operation: OperationId) -> bool {
        self.output.journal.as_ref().is_some_and(|journal| operation.0 < journal.first_operation)
    }

    /// Stores who the session is, if that has changed.
    pub(crate) fn store_identity(&mut self, version: Option<Version>) {
        if let Some(identity) = self.identity_record(version) {
            self.put_identity(identity);
        }
    }

    /// Who the session is; with a version, now that a server has accepted the connection.
    fn identity_record(&self, version: Option<Version>) -> Option<Identity> {
        let last = self.output.journal.as_ref()?.identity.as_ref();
        Some(Identity {
            established: self.established,
            // Another process must ask for what this one has not seen granted, and doubt what it has doubted.
            connecting: self.unanswered_connects > 0
                || self.requests.restoring > 0
                || self.inbound.has_doubts(),
            version: version.or(last.and_then(|last| last.version)),
            session_expiry_interval: match version {
                Some(_) => self.limits.session_expiry_interval,
                None => last.map_or(0, |last| last.session_expiry_interval),
            },
            incarnation: last.map_or(0, |last| last.incarnation),
            next_operation: last
                .map_or(self.next_operation + RESERVED_OPERATIONS, |last| last.next_operation),
            client_identifier: self.client_identifier().clone(),
        })
    }

    fn put_identity(&mut self, identity: Identity) {
        let Some(journal) = &mut self.output.journal else { return };
        if journal.identity.as_ref() != Some(&identity) {
            journal.put(RecordKey::IDENTITY, identity.encode());
            journal.identity = Some(identity);
        }
    }

    /// A message was accepted and stands at the end of the queue.
    pub(crate) fn store_message(&mut self, operation: OperationId, now: Instant) {
        let epoch = self.config.durable.as_ref().and_then(|durable| durable.epoch);
        let Some(journal) = &mut self.output.journal else { return };
        let Some(outgoing) = self.outbound.queue().qos12.back().filter(|it| it.operation == operation) else {
            return;
        };
        if let Some(identity) = journal.identity.as_mut().filter(|it| it.next_operation <= operation.0) {
            identity.next_operation = operation.0.saturating_add(RESERVED_OPERATIONS);
            let value = identity.encode();
            journal.put(RecordKey::IDENTITY, value);
        }
        let value = record::encode_message(outgoing, now, epoch);
        journal.put(RecordKey::message(operation), value);
        journal.wait(Waiting::Message(operation));
    }

    /// A message of the queue gets its packet identifier; its PUBLISH follows when that is stored.
    pub(crate) fn admit(&mut self, outgoing: Outgoing) {
        if !outgoing.message.properties.is_empty() && !self.output.version.has_properties() {
            self.counters.left_out_in_3x += 1;
        }
        let operation = outgoing.operation;
        let id = self.outbound.admit(outgoing);
        if let Some(journal) = &mut self.output.journal {
            journal.put_flow(operation, id, FlowPhase::Published);
            journal.wait(Waiting::Flow(operation));
        }
    }

    /// A PUBREC has released this message.
    pub(crate) fn store_release(&mut self, id: PacketIdentifier) {
        let Some(journal) = &mut self.output.journal else { return };
        if let Some(Fate { operation, reported, .. }) = self.outbound.released_fate(id) {
            let place = journal.next_place;
            journal.next_place += 1;
            journal.put_flow(operation, id, FlowPhase::Released { place, reported });
        }
    }

    /// A message cannot be sent any more; the server may hold its identifier.
    pub(crate) fn store_failed(&mut self, operation: OperationId, abandoned: Option<PacketIdentifier>) {
        let Some(journal) = &mut self.output.journal else { return };
        match abandoned {
            Some(id) => {
                journal.put_flow(operation, id, FlowPhase::Abandoned);
                journal.delete(RecordKey::message(operation));
            }
            None => journal.forget(operation),
        }
        journal.failed_at = journal.last();
    }

    /// A message has come to its end.
    #[inline]
    pub(crate) fn forget(&mut self, operation: OperationId) {
        if let Some(journal) = &mut self.output.journal {
            journal.forget(operation);
        }
    }

    /// A message has left the queue, and does not come back.
    pub(crate) fn forget_queued(&mut self, outgoing: &Outgoing) {
        if outgoing.message.qos != QoS::AtMostOnce {
            self.forget(outgoing.operation);
        }
    }

    pub(crate) fn forget_acked(&mut self, acked: &Acked) {
        if let Acked::Settled(fate) | Acked::Abandoned(fate) = acked {
            self.forget(fate.operation);
        }
    }

    /// The server has kept the session.
    pub(crate) fn resume_stored(&mut self) {
        if let Some(journal) = &mut self.output.journal {
            journal.resumed_at = journal.last();
        }
    }

    /// The server has lost the session. One record makes those of all flows and received identifiers stale, so that a
    /// crash finds them all so or none; then they are deleted. Gives back whose flows they were.
    pub(crate) fn begin_incarnation(&mut self, version: Version) -> Vec<OperationId> {
        let Some(mut identity) = self.identity_record(Some(version)) else { return Vec::new() };
        identity.incarnation += 1;
        self.put_identity(identity);
        let Some(journal) = &mut self.output.journal else { return Vec::new() };
        journal.published = OperationId(0);
        journal.waiting.retain(|(_, waiting)| matches!(waiting, Waiting::Message(_)));
        for id in self.inbound.recorded() {
            journal.delete_received(id);
        }
        self.outbound.flows().collect()
    }

    /// After the tables have forgotten the session: messages that were not queued again are gone.
    pub(crate) fn forget_flows(&mut self, operations: Vec<OperationId>) {
        let Some(journal) = &mut self.output.journal else { return };
        for operation in operations {
            if self.outbound.queue().holds(operation) {
                journal.delete(RecordKey::flow(operation));
            } else {
                journal.forget(operation);
            }
        }
    }

    /// The application has disconnected: what is stored stays, and is told so. QoS 0 is not stored. Returns how many
    /// messages were told.
    pub(crate) fn keep_all(&mut self) -> usize {
        let (kept, lost) = self.outbound.keep_all();
        let unsettled = kept.iter().chain(&lost).filter(|fate| !fate.reported).count();
        for fate in lost {
            self.report(fate, Err(PublishError::Closed));
        }
        for fate in kept {
            self.report(fate, Err(PublishError::Kept));
        }
        if let Some(journal) = &mut self.output.journal {
            journal.first_operation = self.next_operation;
        }
        unsettled
    }

    /// Stores what the server has granted or ended since the last look.
    fn store_subscriptions(&mut self) {
        let Some(journal) = &mut self.output.journal else { return };
        while let Some(filter) = self.requests.changed.as_mut().and_then(|changed| changed.0.pop()) {
            if let Some((subscription, identifier, order)) = self.requests.registered(&filter) {
                let stored = StoredSubscription { order, identifier, subscription: subscription.clone() };
                let number = *journal.subscriptions.entry(filter).or_insert_with(|| {
                    journal.next_subscription += 1;
                    journal.next_subscription - 1
                });
                journal.operations.push_back(StoreOp::Put {
                    key: RecordKey::subscription(number),
                    value: stored.encode(number),
                });
            } else if let Some(number) = journal.subscriptions.remove(&filter) {
                journal.delete(RecordKey::subscription(number));
            }
        }
    }

    /// A durable session begins.
    pub(crate) fn begin_journal(&mut self) {
        self.output.journal = Some(Box::new(Journal::new()));
        self.requests.changed = Some(Box::default());
        self.store_identity(None);
    }
}

/// What is left to wait for of a stored expiry, from `now` on. The message's own interval bounds it, so that a clock
/// that was set back does not keep it for ever.
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

/// Whether a message in doubt is sent again.
pub(crate) fn is_requeued(config: &Config, qos: QoS) -> bool {
    let policy = if qos == QoS::AtLeastOnce { config.lost_qos1 } else { config.lost_qos2 };
    policy == crate::LostSession::Requeue
}
