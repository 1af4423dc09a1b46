//! Restoring: a session from what an earlier process has stored.

use crate::outbound::{Outbound, Restored as RestoredFlow};
use crate::queue::{Fate, Outgoing};
use crate::record::{
    BadRecord, Flow, FlowPhase, Identity, Record, RecordKey, StoredMessage, StoredSubscription,
};
use crate::storing::{Journal, expires_at, is_requeued};
use crate::{Config, Event, Instant, OperationId, PublishError, Session};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;
use martlet_proto::{PacketIdentifier, Utf8String, Version};

/// A session that goes on where an earlier process has stopped.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The session. [`Session::unsettled`] names the messages that it still has to settle.
    pub session: Session,
    /// The version that was spoken last; `None` when no server has accepted a connection yet.
    pub version: Option<Version>,
    /// Records that cannot be used. They stay in the store, but for those that contradict another.
    pub quarantined: Vec<Quarantined>,
}

/// A record that cannot be used, as it was in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its key. Of a message and its flow it tells the operation.
    pub key: RecordKey,
    /// Its value.
    pub value: Bytes,
    /// What is wrong with it.
    pub reason: BadRecord,
}

/// Why a session cannot be restored. The records are given back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct RestoreError {
    kind: RestoreErrorKind,
    records: Vec<(RecordKey, Bytes)>,
}

/// What is in the way of restoring a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreErrorKind {
    /// There are records, but none that says whose session they are.
    #[error("the store has no identity record: it is not one of this client, or was damaged")]
    NoIdentity,
    /// The record that says whose session it is cannot be read.
    #[error("the identity record cannot be used: {0}")]
    Identity(BadRecord),
    /// The session is another client's.
    #[error(
        "the store is that of the client {stored:?}, not of {configured:?}; give each client a store of its own"
    )]
    ClientIdentifier {
        /// Whose session is stored.
        stored: Utf8String,
        /// Whose session was asked for.
        configured: Utf8String,
    },
}

impl RestoreError {
    /// What is in the way.
    pub fn kind(&self) -> &RestoreErrorKind {
        &self.kind
    }

    /// The records, as they were given.
    pub fn into_records(self) -> Vec<(RecordKey, Bytes)> {
        self.records
    }
}

/// Records by what they are of.
#[derive(Default)]
struct Sorted {
    identity: Option<Identity>,
    messages: BTreeMap<OperationId, StoredMessage>,
    flows: BTreeMap<OperationId, Flow>,
    received: BTreeMap<PacketIdentifier, u64>,
    subscriptions: BTreeMap<u64, StoredSubscription>,
}

impl Sorted {
    /// Takes a record in; false when one with its key is there.
    fn insert(&mut self, key: RecordKey, record: Record) -> bool {
        let operation = OperationId(key.number());
        match record {
            Record::Identity(identity) => self.identity.replace(identity).is_none(),
            Record::Message(message) => self.messages.insert(operation, message).is_none(),
            Record::Flow(flow) => self.flows.insert(operation, flow).is_none(),
            Record::Received { id, incarnation } => self.received.insert(id, incarnation).is_none(),
            Record::Subscription(stored) => self.subscriptions.insert(key.number(), stored).is_none(),
        }
    }
}

/// What becomes of the messages.
#[derive(Default)]
struct Messages {
    published: Vec<(PacketIdentifier, RestoredFlow)>,
    released: Vec<(u64, PacketIdentifier, RestoredFlow)>,
    abandoned: Vec<(PacketIdentifier, RestoredFlow)>,
    queue: BTreeMap<OperationId, Outgoing>,
    in_doubt: Vec<OperationId>,
    identifiers: BTreeSet<PacketIdentifier>,
    last_published: Option<OperationId>,
    next_place: u64,
}

impl Session {
    /// The session that an earlier process has stored: all records of its store, in any order. Without records it is a
    /// new one. The session is durable whatever the configuration says.
    ///
    /// It goes on as after the loss of a connection: what may have been sent is sent again, with its packet identifier,
    /// and the end of each message is told, also to those that did not ask for it. A message that no server has been
    /// sent expires when its time is over, the time between the processes included if
    /// [`Durable::epoch`](crate::Durable::epoch) is set; otherwise what was left of it when it was accepted counts anew
    /// from `now`.
    ///
    /// A record that is torn, corrupt or of a later release is set aside and reported: a message without its flow may
    /// have been sent, and is requeued or in doubt as after the loss of the server's session; a flow without its message
    /// keeps its packet identifier.
    ///
    /// # Errors
    /// [`RestoreError`] when it is not known whose session it is, or it is another's; it gives the records back.
    pub fn restore(
        mut config: Config,
        now: Instant,
        records: impl IntoIterator<Item = (RecordKey, Bytes)>,
    ) -> Result<Restored, RestoreError> {
        config.durable.get_or_insert_default();
        let records: Vec<_> = records.into_iter().collect();
        if records.is_empty() {
            return Ok(Restored { session: Self::new(config), version: None, quarantined: Vec::new() });
        }
        let mut sorted = Sorted::default();
        let mut quarantined = Vec::new();
        for (key, value) in &records {
            let inserted = Record::decode(*key, value).map(|record| sorted.insert(*key, record));
            let reason = match inserted {
                Ok(true) => continue,
                Ok(false) => BadRecord::Contradicts,
                Err(reason) => reason,
            };
            if *key == RecordKey::IDENTITY {
                return Err(RestoreError { kind: RestoreErrorKind::Identity(reason), records });
            }
            quarantined.push(Quarantined { key: *key, value: value.clone(), reason });
        }
        let Some(identity) = sorted.identity.take() else {
            return Err(RestoreError { kind: RestoreErrorKind::NoIdentity, records });
        };
        let (stored, configured) = (&identity.client_identifier, &config.client_identifier);
        if !stored.is_empty() && !configured.is_empty() && stored != configured {
            let (stored, configured) = (stored.clone(), configured.clone());
            let kind = RestoreErrorKind::ClientIdentifier { stored, configured };
            return Err(RestoreError { kind, records });
        }
        let version = identity.version;
        let session = Self::from_records(config, now, identity, sorted, &mut quarantined);
        Ok(Restored { session, version, quarantined })
    }

    fn from_records(
        config: Config,
        now: Instant,
        identity: Identity,
        mut sorted: Sorted,
        quarantined: &mut Vec<Quarantined>,
    ) -> Self {
        let mut session = Self::new(config);
        let mut journal = Journal::new();
        let operations = sorted.messages.keys().chain(sorted.flows.keys()).map(|operation| operation.0);
        let last =
            operations.chain(sorted.subscriptions.values().map(|stored| stored.order)).max().unwrap_or(0);
        session.next_operation = identity.next_operation.max(last.saturating_add(1));
        session.established = identity.established;
        // It may have begun a session that is empty.
        session.unanswered_connects = u32::from(identity.connecting);
        if session.config.client_identifier.is_empty() && !identity.client_identifier.is_empty() {
            session.rare.get_or_insert_default().assigned = Some(identity.client_identifier.clone());
        }
        journal.first_operation = session.next_operation;

        for (id, incarnation) in core::mem::take(&mut sorted.received) {
            if incarnation == identity.incarnation {
                session.inbound.restore(id);
            } else {
                journal.delete(RecordKey::received(id));
            }
        }
        for (number, stored) in core::mem::take(&mut sorted.subscriptions) {
            let filter = stored.subscription.filter.clone();
            journal.next_subscription = journal.next_subscription.max(number.saturating_add(1));
            let StoredSubscription { order, identifier, subscription } = stored;
            if let Some(older) = journal.subscriptions.insert(filter, number) {
                journal.delete(RecordKey::subscription(older));
            }
            session.requests.restore_registered(subscription, identifier, order);
        }

        let mut messages = Messages::default();
        let incarnation = identity.incarnation;
        session.sort_messages(now, incarnation, sorted, &mut messages, &mut journal, quarantined);
        messages.released.sort_by_key(|&(place, ..)| place);
        journal.next_place = messages.next_place;
        journal.published = messages.last_published.unwrap_or(OperationId(0));
        let released = messages.released.into_iter().map(|(_, id, flow)| (id, flow));
        let flows = messages.published.into_iter().chain(released).chain(messages.abandoned).collect();
        session.outbound = Outbound::restore(flows, messages.queue.into_values());
        for operation in messages.in_doubt {
            journal.forget(operation);
            let result = Err(PublishError::InDoubt);
            session.events.push_back(Event::Published { operation, key: None, result });
        }
        journal.identity = Some(identity);
        session.output.journal = Some(Box::new(journal));
        session.requests.changed = Some(Box::default());
        session.expire_at(session.outbound.next_expiry());
        session
    }

    fn sort_messages(
        &self,
        now: Instant,
        incarnation: u64,
        mut sorted: Sorted,
        messages: &mut Messages,
        journal: &mut Journal,
        quarantined: &mut Vec<Quarantined>,
    ) {
        let outgoing = |operation, StoredMessage { message, expiry }, written| {
            let interval = message.properties.as_ref().message_expiry_interval();
            let epoch = self.config.durable.as_ref().and_then(|durable| durable.epoch);
            let expires_at = expires_at(expiry, interval, now, epoch);
            Outgoing { message, operation, expires_at, written, reported: false }
        };
        // As after the loss of the server's session.
        let requeue = |messages: &mut Messages, operation, stored: StoredMessage| {
            if is_requeued(&self.config, stored.message.qos) {
                messages.queue.insert(operation, outgoing(operation, stored, false));
                return true;
            }
            messages.in_doubt.push(operation);
            false
        };
        let bad: BTreeSet<RecordKey> = quarantined.iter().map(|it| it.key).collect();
        for (operation, flow) in core::mem::take(&mut sorted.flows) {
            let id = flow.packet_identifier;
            let message = sorted.messages.remove(&operation);
            // The end of a message deletes it before its flow. One that has failed has a flow for as long as the server
            // may have its identifier.
            let failed =
                matches!(flow.phase, FlowPhase::Abandoned | FlowPhase::Released { reported: true, .. });
            let settled = message.is_none() && !failed && !bad.contains(&RecordKey::message(operation));
            if settled {
                journal.delete(RecordKey::flow(operation));
                continue;
            }
            let fate = |reported| Fate { operation, key: None, reported, unmatched: false };
            if flow.incarnation == incarnation && !messages.identifiers.insert(id) {
                let value = flow.encode(operation);
                let (key, reason) = (RecordKey::flow(operation), BadRecord::Contradicts);
                quarantined.push(Quarantined { key, value, reason });
                // It would stand in the way of whoever has the identifier next.
                journal.delete(key);
                if let Some(message) = message {
                    requeue(messages, operation, message);
                }
                continue;
            }
            if flow.incarnation != incarnation {
                match (flow.phase, message) {
                    (FlowPhase::Published | FlowPhase::Released { reported: false, .. }, Some(message)) => {
                        if requeue(messages, operation, message) {
                            journal.delete(RecordKey::flow(operation));
                        }
                    }
                    (FlowPhase::Released { reported: false, .. }, None) => messages.in_doubt.push(operation),
                    _ => journal.forget(operation),
                }
                continue;
            }
            match (flow.phase, message) {
                (FlowPhase::Published, Some(message)) => {
                    messages.last_published = Some(operation);
                    let flow = RestoredFlow::Published(outgoing(operation, message, true));
                    messages.published.push((id, flow));
                }
                (FlowPhase::Published, None) => {
                    messages.abandoned.push((id, RestoredFlow::Abandoned(fate(true))));
                }
                (FlowPhase::Released { place, reported }, message) => {
                    let kept = message
                        .filter(|message| is_requeued(&self.config, message.message.qos))
                        .map(|message| outgoing(operation, message, true));
                    messages.next_place = messages.next_place.max(place.saturating_add(1));
                    let flow = RestoredFlow::Released { fate: fate(reported), kept };
                    messages.released.push((place, id, flow));
                }
                (FlowPhase::Abandoned, message) => {
                    if message.is_some() {
                        journal.delete(RecordKey::message(operation));
                    }
                    messages.abandoned.push((id, RestoredFlow::Abandoned(fate(true))));
                }
            }
        }
        for (operation, message) in sorted.messages {
            if bad.contains(&RecordKey::flow(operation)) {
                requeue(messages, operation, message);
            } else {
                messages.queue.insert(operation, outgoing(operation, message, false));
            }
        }
    }
}
