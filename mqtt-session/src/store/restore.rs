//! Reading a store: its records by what they are of, and those that cannot be used.

use crate::OperationId;
use crate::store::record::{
    BadRecord, Flow, Record, RecordKey, SessionIdentity, StoredMessage, StoredSubscription,
};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use martlet_proto::{PacketIdentifier, Utf8String};

/// A record that cannot be used, as it was in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// Its key. Of a message and its flow it tells the operation.
    pub key: RecordKey,
    /// Its value.
    pub value: Bytes,
    /// What is wrong with it.
    pub reason: BadRecord,
}

/// Why a session cannot be restored. The records are given back.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    #[error("the identity record cannot be used")]
    Identity(#[source] BadRecord),
    /// No session can work with the configuration.
    #[error("the configuration cannot work")]
    Configuration(#[source] crate::ConfigError),
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

impl core::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.kind.fmt(f)
    }
}

impl core::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.kind.source()
    }
}

impl RestoreError {
    pub(crate) fn new(kind: RestoreErrorKind, records: Vec<(RecordKey, Bytes)>) -> Self {
        Self { kind, records }
    }

    /// What is in the way.
    pub fn kind(&self) -> &RestoreErrorKind {
        &self.kind
    }

    /// The records, as they were given.
    pub fn into_records(self) -> Vec<(RecordKey, Bytes)> {
        self.records
    }
}

/// The records of a store, by what they are of.
pub(crate) struct Stored {
    pub(crate) identity: SessionIdentity,
    pub(crate) messages: BTreeMap<OperationId, StoredMessage>,
    pub(crate) flows: BTreeMap<OperationId, Flow>,
    /// QoS 2 identifiers, each with the incarnation in which it was received.
    pub(crate) received: BTreeMap<PacketIdentifier, u64>,
    /// By the number of the record.
    pub(crate) subscriptions: BTreeMap<u64, StoredSubscription>,
    pub(crate) quarantined: Vec<Quarantined>,
}

impl Stored {
    /// Reads the records of the client with this identifier, if it is known.
    ///
    /// # Errors
    /// When it is not known whose session it is, or it is another's.
    pub(crate) fn read(
        records: &[(RecordKey, Bytes)],
        client_identifier: &Utf8String,
    ) -> Result<Self, RestoreErrorKind> {
        let mut stored = Self {
            identity: identity_of(records, client_identifier)?,
            messages: BTreeMap::new(),
            flows: BTreeMap::new(),
            received: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            quarantined: Vec::new(),
        };
        let others = records
            .iter()
            .filter(|(key, _)| *key != RecordKey::IDENTITY);
        for (key, value) in others {
            let inserted = Record::decode(*key, value).map(|record| stored.insert(*key, record));
            let reason = match inserted {
                Ok(true) => continue,
                Ok(false) => BadRecord::Contradicts,
                Err(reason) => reason,
            };
            stored.quarantined.push(Quarantined {
                key: *key,
                value: value.clone(),
                reason,
            });
        }
        Ok(stored)
    }

    /// Takes in a record; false when one with its key is there.
    fn insert(&mut self, key: RecordKey, record: Record) -> bool {
        let operation = OperationId(key.number());
        match record {
            Record::Identity(_) => false,
            Record::Message(message) => self.messages.insert(operation, message).is_none(),
            Record::Flow(flow) => self.flows.insert(operation, flow).is_none(),
            Record::Received { id, incarnation } => self.received.insert(id, incarnation).is_none(),
            Record::Subscription(stored) => {
                self.subscriptions.insert(key.number(), stored).is_none()
            }
        }
    }

    /// The highest number of an operation.
    pub(crate) fn last_operation(&self) -> u64 {
        let messages = self.messages.keys().map(|operation| operation.0);
        let flows = self.flows.keys().map(|operation| operation.0);
        let subscriptions = self.subscriptions.values().map(|stored| stored.order);
        let all = messages.chain(flows).chain(subscriptions);
        all.max().unwrap_or(0)
    }
}

/// Whose session is stored: what the one identity record has.
fn identity_of(
    records: &[(RecordKey, Bytes)],
    configured: &Utf8String,
) -> Result<SessionIdentity, RestoreErrorKind> {
    let mut found = None;
    for (key, value) in records
        .iter()
        .filter(|(key, _)| *key == RecordKey::IDENTITY)
    {
        let record = Record::decode(*key, value).map_err(RestoreErrorKind::Identity)?;
        let Record::Identity(identity) = record else {
            unreachable!("the key is that of the identity")
        };
        if found.replace(identity).is_some() {
            return Err(RestoreErrorKind::Identity(BadRecord::Contradicts));
        }
    }
    let identity = found.ok_or(RestoreErrorKind::NoIdentity)?;
    let stored = &identity.client_identifier;
    if !stored.is_empty() && !configured.is_empty() && stored != configured {
        return Err(RestoreErrorKind::ClientIdentifier {
            stored: stored.clone(),
            configured: configured.clone(),
        });
    }
    Ok(identity)
}
