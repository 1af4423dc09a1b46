//! Restoring: a session from what an earlier process has stored.

use crate::outbound::Outbound;
use crate::store::journal::Journal;
use crate::store::record::{RecordKey, SessionIdentity, StoredSubscription};
use crate::store::restore::{Quarantined, RestoreError, RestoreErrorKind, Stored};
use crate::store::sorting::{Sorted, Sorting};
use crate::{Config, Event, Instant, OperationId, PublishError, Session};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use martlet_proto::{PacketIdentifier, Version};

/// A session that goes on where an earlier process has stopped.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The session. [`Session::unacknowledged`] names the messages that it still has to settle.
    pub session: Session,
    /// The version that was spoken last; `None` when no server has accepted a connection yet.
    pub version: Option<Version>,
    /// Records that cannot be used. They stay in the store, but for those that contradict another.
    pub quarantined: Vec<Quarantined>,
}

impl Session {
    /// The session that an earlier process has stored: all records of its store, in any order.
    /// Without records it is a new one. The session is durable whatever the configuration says.
    ///
    /// It goes on as after the loss of a connection: what may have been sent is sent again, with
    /// its packet identifier, and the end of each message is reported, whether or not it has a key.
    /// A message that no server has been sent expires when its time is over, the time between the
    /// processes included if [`Durable::epoch`](crate::Durable::epoch) is set; otherwise what was
    /// left of it when it was accepted counts anew from `now`.
    ///
    /// A record that is torn, corrupt or of a later release is set aside and reported: a message
    /// without its flow may have been sent, and is requeued or in doubt as after the loss of the
    /// server's session; a flow without its message keeps its packet identifier.
    ///
    /// # Errors
    /// [`RestoreError`] when it is not known whose session it is, or it is another's; it gives the
    /// records back.
    pub fn restore(
        mut config: Config,
        now: Instant,
        records: impl IntoIterator<Item = (RecordKey, Bytes)>,
    ) -> Result<Restored, RestoreError> {
        config.durable.get_or_insert_default();
        let records: Vec<_> = records.into_iter().collect();
        if let Err(error) = config.check() {
            let kind = RestoreErrorKind::Configuration(error);
            return Err(RestoreError::new(kind, records));
        }
        if records.is_empty() {
            return Ok(Restored {
                session: Self::new(config),
                version: None,
                quarantined: Vec::new(),
            });
        }
        match Stored::read(&records, &config.client_identifier) {
            Ok(stored) => Ok(Self::from_stored(config, now, stored)),
            Err(kind) => Err(RestoreError::new(kind, records)),
        }
    }

    fn from_stored(config: Config, now: Instant, stored: Stored) -> Restored {
        let mut session = Self::new(config);
        let mut journal = Journal::new();
        session.restore_identity(&stored.identity, stored.last_operation());
        journal.first_operation = session.next_operation;
        let Stored {
            identity,
            messages,
            flows,
            received,
            subscriptions,
            mut quarantined,
        } = stored;
        let incarnation = identity.incarnation;
        session.restore_received(received, incarnation, &mut journal);
        session.restore_subscriptions(subscriptions, &mut journal);
        let config = &session.config;
        let sorting = Sorting::new(config, now, incarnation, &quarantined, &mut journal);
        let mut sorted = sorting.sort(messages, flows);
        quarantined.append(&mut sorted.quarantined);
        session.restore_messages(sorted, identity.hang_ups, &mut journal);
        let version = identity.version;
        journal.identity = Some(identity);
        session.journal = Some(Box::new(journal));
        session.requests.wishes_mut().changed = Some(Box::default());
        session.expire_at(session.outbound.next_expiry());
        Restored {
            session,
            version,
            quarantined,
        }
    }

    /// Who the session is, and that new operations have higher numbers than all that are stored.
    fn restore_identity(&mut self, identity: &SessionIdentity, last_operation: u64) {
        self.next_operation = identity
            .next_operation
            .max(last_operation.saturating_add(1));
        self.established = identity.established;
        // It may have begun a session that is empty.
        self.unanswered_connects = u32::from(identity.connecting);
        if self.config.client_identifier.is_empty() && !identity.client_identifier.is_empty() {
            self.rare.get_or_insert_default().assigned = Some(identity.client_identifier.clone());
        }
    }

    /// The QoS 2 identifiers that the server has not released, as far as it has the session still.
    fn restore_received(
        &mut self,
        received: BTreeMap<PacketIdentifier, u64>,
        incarnation: u64,
        journal: &mut Journal,
    ) {
        for (id, received_in) in received {
            if received_in == incarnation {
                self.inbound.restore(id);
            } else {
                journal.delete(RecordKey::received(id));
            }
        }
    }

    /// The subscriptions; of two records for one filter the later one counts.
    fn restore_subscriptions(
        &mut self,
        subscriptions: BTreeMap<u64, StoredSubscription>,
        journal: &mut Journal,
    ) {
        for (number, stored) in subscriptions {
            let StoredSubscription {
                order,
                identifier,
                subscription,
            } = stored;
            let filter = subscription.filter.clone();
            journal.next_subscription = journal.next_subscription.max(number.saturating_add(1));
            if let Some(older) = journal.subscriptions.insert(filter, number) {
                journal.delete(RecordKey::subscription(older));
            }
            self.requests
                .wishes_mut()
                .restore_registered(subscription, identifier, order);
        }
    }

    /// The table of messages in flight, the queue, and the end of those that are in doubt.
    fn restore_messages(&mut self, mut sorted: Sorted, hang_ups: u8, journal: &mut Journal) {
        journal.next_place = sorted.next_place;
        journal.published = sorted.last_published.unwrap_or(OperationId(0));
        let in_doubt = core::mem::take(&mut sorted.in_doubt);
        let (flows, queue) = sorted.into_table();
        self.outbound = Outbound::restore(flows, queue);
        self.outbound
            .restore_hang_ups(hang_ups, self.config.hang_up_limit);
        for operation in in_doubt {
            journal.forget(operation);
            self.events.push_back(Event::Published {
                operation,
                key: None,
                result: Err(PublishError::InDoubt),
            });
        }
    }
}
