//! What a durable session stores of its changes, and what waits until it is stored.

use crate::outbound::Acked;
use crate::outbound::queue::{Fate, TrackedMessage};
use crate::requests::Wishes;
use crate::store::journal::{AwaitsStore, Journal, RESERVED_OPERATIONS};
use crate::store::lag::StoreLag;
use crate::store::record::{self, RecordKey, SessionIdentity, StoredSubscription};
use crate::{
    Event, Instant, OperationId, PublishError, Session, StoreError, StoreOp, StoreSeq,
    WhenStoreFails,
};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;
use martlet_proto::{PacketIdentifier, QoS, Version};

impl Session {
    // ---- handlers

    /// The store holds what was handed out up to and including this operation, and will after a
    /// crash. What has waited for it goes on: drain. In any order but the store's own it must not
    /// be called.
    pub fn handle_stored(&mut self, upto: StoreSeq) {
        let may_answer = self.is_online();
        let Some(journal) = &mut self.journal else {
            return;
        };
        if journal.confirm(upto) {
            self.events.push_back(Event::StoreRecovered);
        }
        while let Some(waiting) = journal.pop_stored() {
            match waiting {
                AwaitsStore::Answer(answer) if may_answer => self.output.write_answer(answer),
                AwaitsStore::Message(_) | AwaitsStore::Flow(_) | AwaitsStore::Answer(_) => {}
            }
        }
    }

    /// The store could not take this operation, and has taken none that follows. Try them again, in
    /// their order, and tell with [`handle_stored`](Self::handle_stored) when it has worked. Until
    /// then no message above QoS 0 is accepted,
    /// [`Durable::when_store_fails`](crate::Durable::when_store_fails) says what becomes of those
    /// that are not stored, and what waits for the store waits on. [`Event::StoreFailed`] tells it.
    /// Returns the messages that were given up: leave out [their records](RecordKey::operation)
    /// when you try again, or they are sent after a crash although they were reported as failed.
    pub fn handle_store_failed(&mut self, from: StoreSeq, error: &StoreError) -> Vec<OperationId> {
        let hold = self.when_store_fails() == WhenStoreFails::Hold;
        let Some(journal) = &mut self.journal else {
            return Vec::new();
        };
        if journal.fail(from, error) {
            self.events.push_back(Event::StoreFailed(error.clone()));
        }
        if hold {
            return Vec::new();
        }
        let unstored = journal.take_unstored();
        for &operation in &unstored {
            if let Some(fate) = self.outbound.withdraw(operation, &mut self.deferred_drops) {
                self.report(fate, Err(PublishError::Store(error.clone())));
                self.forget(operation);
            }
        }
        unstored
    }

    // ---- polls

    /// What to do to the store next, and its number. Do it in this order, as many at a time as you
    /// like, and tell [`handle_stored`](Self::handle_stored). Nothing comes from a session that is
    /// not [durable](crate::Config::durable). Look again after
    /// [`poll_transmit`](Self::poll_transmit) has given bytes.
    #[must_use = "an operation is handed out once"]
    pub fn poll_store(&mut self, now: Instant) -> Option<(StoreSeq, StoreOp)> {
        self.journal.as_ref()?;
        self.store_subscriptions();
        loop {
            if let Some(operation) = self.journal.as_mut()?.hand_out(now) {
                return Some(operation);
            }
            // Messages get their packet identifiers, which are stored too. They are encoded when
            // bytes are asked for.
            if !self.admit_next(now) {
                return None;
            }
        }
    }

    // ---- getters

    /// How far the store is behind; `None` of a session that is not durable.
    pub fn store_lag(&self, now: Instant) -> Option<StoreLag> {
        let (operations, since) = self.journal.as_ref()?.lag();
        let oldest = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        Some(StoreLag { operations, oldest })
    }

    /// Whether what must outlive the process is stored.
    #[inline]
    pub fn is_durable(&self) -> bool {
        self.journal.is_some()
    }

    // ---- the session's changes

    fn when_store_fails(&self) -> WhenStoreFails {
        self.config
            .durable
            .as_ref()
            .map_or(WhenStoreFails::Fail, |durable| durable.when_store_fails)
    }

    /// Why no message above QoS 0 can be accepted.
    pub(crate) fn store_failure(&self) -> Option<&StoreError> {
        self.journal.as_ref()?.failure()
    }

    /// Whether messages wait until the store works again.
    pub(crate) fn is_held_by_store(&self) -> bool {
        self.store_failure().is_some() && self.when_store_fails() == WhenStoreFails::Hold
    }

    /// Whether the end of this message is reported although this process did not publish it.
    #[inline]
    pub(crate) fn is_of_earlier_process(&self, operation: OperationId) -> bool {
        self.journal
            .as_ref()
            .is_some_and(|journal| operation.0 < journal.first_operation)
    }

    /// Stores who the session is, if that has changed.
    pub(crate) fn store_identity(&mut self, version: Option<Version>) {
        if let (Some(identity), Some(journal)) = (self.identity_record(version), &mut self.journal)
        {
            journal.put_identity(identity);
        }
    }

    /// Who the session is; with a version, now that a server has accepted the connection.
    fn identity_record(&self, version: Option<Version>) -> Option<SessionIdentity> {
        let last = self.journal.as_ref()?.identity.as_ref();
        Some(SessionIdentity {
            established: self.established,
            // Another process must ask for what this one has not seen granted, and doubt what it
            // has doubted.
            connecting: self.unanswered_connects > 0
                || self.requests.wishes().is_some_and(Wishes::is_restoring)
                || self.inbound.has_doubts(),
            version: version.or(last.and_then(|last| last.version)),
            session_expiry_interval: match version {
                Some(_) => self.limits.session_expiry_interval,
                None => last.map_or(0, |last| last.session_expiry_interval),
            },
            incarnation: last.map_or(0, |last| last.incarnation),
            next_operation: last.map_or(self.next_operation + RESERVED_OPERATIONS, |last| {
                last.next_operation
            }),
            hang_ups: self
                .outbound
                .hang_ups(self.config.hang_up_limit)
                .min(SessionIdentity::MOST_HANG_UPS),
            client_identifier: self.client_identifier().clone(),
        })
    }

    /// A message was accepted and stands at the end of the queue.
    pub(crate) fn store_message(&mut self, operation: OperationId, now: Instant) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let durable = self.config.durable.as_ref();
        let epoch = durable.and_then(|durable| durable.epoch);
        let Some(outgoing) = self.outbound.queue().qos12.back() else {
            return;
        };
        if outgoing.operation == operation {
            let expires_at = outgoing.expires_at;
            let value =
                record::encode_message(operation, &outgoing.message, expires_at, now, epoch);
            journal.put_message(operation, value);
        }
    }

    /// What needs no room in the output: the next message of the queue gets its packet identifier,
    /// if the window lets it, or one that this connection does not take fails. Returns whether
    /// there was one.
    fn admit_next(&mut self, now: Instant) -> bool {
        if !self.is_online() {
            return false;
        }
        if self.fail_resend(now) {
            return true;
        }
        self.end_probe();
        let Some(outgoing) = self.outbound.pop_admissible(self.window()) else {
            return false;
        };
        match self.check_queued(&outgoing, now) {
            Ok(()) => self.admit(outgoing),
            Err(error) => self.fail_queued(outgoing, error),
        }
        true
    }

    /// A message of the queue gets its packet identifier; its PUBLISH follows when that is stored.
    pub(crate) fn admit(&mut self, outgoing: TrackedMessage) {
        if !outgoing.message.properties.is_empty() && !self.output.version.has_properties() {
            self.output.tally.counters_mut().left_out_in_3x += 1;
        }
        let operation = outgoing.operation;
        let id = self.outbound.admit(outgoing);
        if let Some(journal) = &mut self.journal {
            journal.put_published(operation, id);
        }
    }

    /// A PUBREC has released this message.
    pub(crate) fn store_release(&mut self, id: PacketIdentifier) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        if let Some(Fate {
            operation,
            reported,
            ..
        }) = self.outbound.released_fate(id)
        {
            journal.put_released(operation, id, reported);
        }
    }

    /// A message cannot be sent any more; the server may hold its identifier.
    pub(crate) fn store_failed(
        &mut self,
        operation: OperationId,
        abandoned: Option<PacketIdentifier>,
    ) {
        if let Some(journal) = &mut self.journal {
            journal.put_failed(operation, abandoned);
        }
        self.bound_given_up();
    }

    /// A message is completed.
    #[inline]
    pub(crate) fn forget(&mut self, operation: OperationId) {
        if let Some(journal) = &mut self.journal {
            journal.forget(operation);
        }
    }

    /// A message has left the queue, and does not come back.
    pub(crate) fn forget_queued(&mut self, outgoing: &TrackedMessage) {
        if outgoing.message.qos != QoS::AtMostOnce {
            self.forget(outgoing.operation);
        }
    }

    pub(crate) fn forget_acked(&mut self, acked: &Acked) {
        match acked {
            Acked::Complete(fate) | Acked::Abandoned(fate) => self.forget(fate.operation),
            Acked::Mistaken {
                fate, abandoned, ..
            } => self.store_failed(fate.operation, *abandoned),
            Acked::Released | Acked::ReleasedAgain | Acked::Unknown => {}
        }
    }

    /// The server has kept the session.
    pub(crate) fn resume_stored(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.resume();
        }
    }

    /// The server has lost the session. One record makes those of all flows and received
    /// identifiers stale, so that a crash finds them all so or none; then they are deleted. Gives
    /// back whose flows they were.
    pub(crate) fn begin_incarnation(&mut self, version: Version) -> Vec<OperationId> {
        let identity = self.identity_record(Some(version));
        let (Some(mut identity), Some(journal)) = (identity, &mut self.journal) else {
            return Vec::new();
        };
        identity.incarnation += 1;
        journal.put_identity(identity);
        journal.begin_incarnation();
        for id in self.inbound.recorded() {
            journal.delete_received(id);
        }
        self.outbound.flows().collect()
    }

    /// After the tables have forgotten the session: flows that go on all the same belong to the new
    /// incarnation; messages that were not queued again are gone.
    pub(crate) fn forget_flows(&mut self, operations: Vec<OperationId>) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let mut kept = BTreeSet::new();
        for (operation, id, released) in self.outbound.in_order() {
            kept.insert(operation);
            match released {
                Some(reported) => journal.put_released(operation, id, reported),
                None => journal.put_published(operation, id),
            }
        }
        journal.resume();
        for operation in operations
            .into_iter()
            .filter(|operation| !kept.contains(operation))
        {
            if self.outbound.queue().holds(operation) {
                journal.delete(RecordKey::flow(operation));
            } else {
                journal.forget(operation);
            }
        }
    }

    /// The application has disconnected: stored messages stay, and are reported as kept. QoS 0 is
    /// not stored.
    pub(crate) fn keep_all(&mut self) {
        let (kept, lost) = self.outbound.keep_all(&mut self.deferred_drops);
        for fate in lost {
            self.report(fate, Err(PublishError::Closed(self.why_closed())));
        }
        for fate in kept {
            self.report(fate, Err(PublishError::Kept));
        }
        if let Some(journal) = &mut self.journal {
            journal.first_operation = self.next_operation;
        }
    }

    /// Stores what the server has granted or ended since the last look.
    fn store_subscriptions(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let Some(wishes) = self.requests.known() else {
            return;
        };
        while let Some(filter) = wishes.changed.as_mut().and_then(|changed| changed.0.pop()) {
            let stored = wishes
                .registered(&filter)
                .map(|(subscription, identifier, order)| StoredSubscription {
                    order,
                    identifier,
                    subscription: subscription.clone(),
                });
            journal.put_subscription(filter, stored);
        }
    }

    /// A session begins.
    pub(crate) fn begin_journal(&mut self) {
        if self.config.durable.is_none() {
            return;
        }
        self.journal = Some(Box::new(Journal::new()));
        self.requests.wishes_mut().changed = Some(Box::default());
        self.store_identity(None);
    }

    /// Whether so much waits to be stored that no more is read.
    #[inline]
    pub(crate) fn is_store_far_behind(&self) -> bool {
        self.journal
            .as_ref()
            .is_some_and(|journal| journal.is_far_behind())
    }
}
