//! What becomes of stored messages and their flows when a session is restored.
//!
//! | flow | of this session of the server | of one that it has lost |
//! |---|---|---|
//! | none, and no record of one is damaged | queued | |
//! | none, and the record of one is damaged | as after the loss: requeued or in doubt | |
//! | published | sent again; without its message only the identifier is kept | requeued or in doubt |
//! | released | PUBREL is sent again | requeued or in doubt; nothing if its end was reported |
//! | abandoned | the identifier is kept | nothing |

use crate::outbound::RestoredFlow;
use crate::outbound::queue::{Fate, TrackedMessage};
use crate::store::journal::{Journal, expires_at};
use crate::store::record::{BadRecord, Flow, FlowPhase, RecordKey, StoredMessage};
use crate::store::restore::Quarantined;
use crate::{Config, Instant, LostSession, OperationId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use martlet_proto::{PacketIdentifier, QoS};

/// Stored messages and flows, sorted by what becomes of them.
#[derive(Default)]
pub(crate) struct Sorted {
    published: Vec<(PacketIdentifier, RestoredFlow)>,
    /// With the place of each in the order of PUBRECs.
    released: Vec<(u64, PacketIdentifier, RestoredFlow)>,
    abandoned: Vec<(PacketIdentifier, RestoredFlow)>,
    queue: BTreeMap<OperationId, TrackedMessage>,
    pub(crate) in_doubt: Vec<OperationId>,
    pub(crate) last_published: Option<OperationId>,
    /// Behind those of all that are released.
    pub(crate) next_place: u64,
    /// Flows that contradict another.
    pub(crate) quarantined: Vec<Quarantined>,
}

impl Sorted {
    /// The flows in the order of sending and, those released, of PUBREC; and the queue.
    pub(crate) fn into_table(
        mut self,
    ) -> (
        Vec<(PacketIdentifier, RestoredFlow)>,
        impl Iterator<Item = TrackedMessage>,
    ) {
        self.released.sort_by_key(|&(place, ..)| place);
        let released = self.released.into_iter().map(|(_, id, flow)| (id, flow));
        let mut flows = self.published;
        flows.extend(released);
        flows.append(&mut self.abandoned);
        (flows, self.queue.into_values())
    }
}

/// Sorts stored messages and flows.
pub(crate) struct Sorting<'a> {
    config: &'a Config,
    now: Instant,
    /// That of the server's session.
    incarnation: u64,
    /// Records that cannot be used.
    bad: BTreeSet<RecordKey>,
    /// Gets what is to be deleted.
    journal: &'a mut Journal,
    /// The identifiers of flows so far.
    identifiers: BTreeSet<PacketIdentifier>,
    sorted: Sorted,
}

impl<'a> Sorting<'a> {
    pub(crate) fn new(
        config: &'a Config,
        now: Instant,
        incarnation: u64,
        quarantined: &[Quarantined],
        journal: &'a mut Journal,
    ) -> Self {
        Self {
            config,
            now,
            incarnation,
            bad: quarantined.iter().map(|bad| bad.key).collect(),
            journal,
            identifiers: BTreeSet::new(),
            sorted: Sorted::default(),
        }
    }

    pub(crate) fn sort(
        mut self,
        mut messages: BTreeMap<OperationId, StoredMessage>,
        flows: BTreeMap<OperationId, Flow>,
    ) -> Sorted {
        for (operation, flow) in flows {
            let message = messages.remove(&operation);
            self.sort_flow(operation, &flow, message);
        }
        for (operation, message) in messages {
            if self.bad.contains(&RecordKey::flow(operation)) {
                self.requeue(operation, message);
            } else {
                self.queue(operation, message);
            }
        }
        self.sorted
    }

    fn sort_flow(&mut self, operation: OperationId, flow: &Flow, message: Option<StoredMessage>) {
        if self.has_ended(operation, flow, message.as_ref()) {
            self.journal.delete(RecordKey::flow(operation));
        } else if flow.incarnation != self.incarnation {
            self.lose(operation, flow.phase, message);
        } else if self.identifiers.insert(flow.packet_identifier) {
            self.go_on(operation, flow, message);
        } else {
            self.contradict(operation, flow, message);
        }
    }

    /// Whether the message has ended: that deletes it before its flow. One that has failed has a
    /// flow for as long as the server may have its identifier.
    fn has_ended(
        &self,
        operation: OperationId,
        flow: &Flow,
        message: Option<&StoredMessage>,
    ) -> bool {
        let has_failed = matches!(
            flow.phase,
            FlowPhase::Abandoned | FlowPhase::Released { reported: true, .. }
        );
        let is_damaged = self.bad.contains(&RecordKey::message(operation));
        message.is_none() && !has_failed && !is_damaged
    }

    /// The server has lost the session of this flow.
    fn lose(&mut self, operation: OperationId, phase: FlowPhase, message: Option<StoredMessage>) {
        let is_reported = matches!(
            phase,
            FlowPhase::Abandoned | FlowPhase::Released { reported: true, .. }
        );
        match (phase, message) {
            _ if is_reported => self.journal.forget(operation),
            (_, Some(message)) => {
                if self.requeue(operation, message) {
                    self.journal.delete(RecordKey::flow(operation));
                }
            }
            (FlowPhase::Released { .. }, None) => self.sorted.in_doubt.push(operation),
            (_, None) => self.journal.forget(operation),
        }
    }

    /// Another flow has the packet identifier of this one, which would conflict with the next
    /// message of that identifier.
    fn contradict(&mut self, operation: OperationId, flow: &Flow, message: Option<StoredMessage>) {
        let key = RecordKey::flow(operation);
        self.sorted.quarantined.push(Quarantined {
            key,
            value: flow.encode(operation),
            reason: BadRecord::Contradicts,
        });
        self.journal.delete(key);
        if let Some(message) = message {
            self.requeue(operation, message);
        }
    }

    /// The flow goes on as after the loss of a connection.
    fn go_on(&mut self, operation: OperationId, flow: &Flow, message: Option<StoredMessage>) {
        let id = flow.packet_identifier;
        let fate = |reported| Fate {
            operation,
            key: None,
            reported,
            unmatched: false,
        };
        let is_message_there = message.is_some();
        match (flow.phase, message) {
            (FlowPhase::Published, Some(message)) => {
                let outgoing = self.outgoing(operation, message, true);
                self.sorted.last_published = Some(operation);
                let flow = RestoredFlow::Published(outgoing);
                self.sorted.published.push((id, flow));
            }
            (FlowPhase::Released { place, reported }, message) => {
                let kept = message
                    .filter(|message| self.is_requeued(message.message.qos))
                    .map(|message| self.outgoing(operation, message, true));
                let fate = fate(reported);
                let flow = RestoredFlow::Released { fate, kept };
                self.sorted.next_place = self.sorted.next_place.max(place.saturating_add(1));
                self.sorted.released.push((place, id, flow));
            }
            (FlowPhase::Published, None) | (FlowPhase::Abandoned, _) => {
                if is_message_there {
                    self.journal.delete(RecordKey::message(operation));
                }
                let flow = RestoredFlow::Abandoned(fate(true));
                self.sorted.abandoned.push((id, flow));
            }
        }
    }

    /// As after the loss of the server's session. Returns whether the message is sent again.
    fn requeue(&mut self, operation: OperationId, message: StoredMessage) -> bool {
        let is_requeued = self.is_requeued(message.message.qos);
        if is_requeued {
            self.queue(operation, message);
        } else {
            self.sorted.in_doubt.push(operation);
        }
        is_requeued
    }

    fn queue(&mut self, operation: OperationId, message: StoredMessage) {
        let outgoing = self.outgoing(operation, message, false);
        self.sorted.queue.insert(operation, outgoing);
    }

    fn outgoing(
        &self,
        operation: OperationId,
        stored: StoredMessage,
        written: bool,
    ) -> TrackedMessage {
        let StoredMessage { message, expiry } = stored;
        let interval = message.properties.as_ref().message_expiry_interval();
        let durable = self.config.durable.as_ref();
        let epoch = durable.and_then(|durable| durable.epoch);
        TrackedMessage {
            expires_at: expires_at(expiry, interval, self.now, epoch),
            message,
            operation,
            written,
            reported: false,
            hang_ups: 0,
        }
    }

    /// Whether a message in doubt is sent again.
    fn is_requeued(&self, qos: QoS) -> bool {
        let policy = match qos {
            QoS::AtLeastOnce => self.config.lost_qos1,
            _ => self.config.lost_qos2,
        };
        policy == LostSession::Requeue
    }
}
