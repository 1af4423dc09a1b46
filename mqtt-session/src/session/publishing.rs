//! Publishing: the commands and the acknowledgements of the session, over the machine in
//! `outbound`.

use crate::error::Details;
use crate::event::{Accepted, PublishOutcome};
use crate::outbound::queue::{Enqueued, Fate, TrackedMessage};
use crate::outbound::{Acked, Resent, send_qos0};
use crate::output::DelayedAnswer;
use crate::session::timers::TimerKind;
use crate::store::context::Context;
use crate::{Event, Instant, OperationId, OutgoingPublish, PublishError, Session, Undelivered};
use bytes::{Buf, BytesMut};
use core::time::Duration;
use martlet_proto::{
    Delivery, PacketIdentifier, PacketType, PubAck, PubAckReasonCode, PubRelReasonCode, QoS,
};

/// How many bytes of acknowledgements are handled before the caller's bound is looked at.
const SHORT_ACKS: usize = 16 * 1024;

impl Session {
    // ---- getters

    /// Messages of QoS 1 and 2 with a packet identifier: sent, or to be sent again.
    pub fn in_flight(&self) -> usize {
        self.outbound.unacknowledged()
    }

    /// The messages that were accepted and not acknowledged, with their content: first those that
    /// the server has, then those in flight, then those that wait, each in their order. Their
    /// memory is shared.
    pub fn undelivered(&self) -> impl Iterator<Item = Undelivered> + '_ {
        self.outbound.undelivered()
    }

    /// Messages that wait for a connection, the window or the socket.
    pub fn queued(&self) -> usize {
        self.outbound.queue().len()
    }

    /// Bytes of topics, properties and payloads of the messages that wait.
    pub fn queued_bytes(&self) -> usize {
        self.outbound.queue().bytes()
    }

    // ---- commands, acknowledgements

    /// Publishes a message. On a connection with room it is encoded at once; otherwise it is queued
    /// within the bounds. An accepted message ends in exactly one of: acknowledged, failed
    /// (reported by [`Event::Published`]), still waiting.
    ///
    /// # Errors
    /// [`PublishError`] when it cannot be accepted; nothing has changed then.
    pub fn publish(
        &mut self,
        now: Instant,
        message: OutgoingPublish,
    ) -> Result<Accepted, PublishError> {
        let connected = self.is_connected();
        let has_properties = !message.properties.is_empty();
        if let Err(error) = self.check(&message, connected, has_properties) {
            self.deferred_drops.add(message);
            return Err(error);
        }
        let stored = message.qos != QoS::AtMostOnce && self.is_durable();
        let operation = OperationId(self.next_operation);
        let expires_at = if has_properties {
            let seconds = message.properties.as_ref().message_expiry_interval();
            seconds.map(|seconds| now + Duration::from_secs(seconds.into()))
        } else {
            None
        };
        let outgoing = TrackedMessage {
            message,
            operation,
            expires_at,
            written: false,
            reported: false,
            hang_ups: 0,
        };
        let qos = outgoing.message.qos;
        // With an expiry it is encoded when it is handed out, so that what is left of it is right.
        if connected
            && (expires_at.is_none() || self.never_fits(outgoing.message.size()))
            && self.output.has_room()
            && self.outbound.may_pass(qos, self.window())
            && !stored
        {
            self.next_operation += 1;
            self.send(outgoing, now);
            return Ok(if qos == QoS::AtMostOnce {
                Accepted::Sent(operation)
            } else {
                Accepted::Pending(operation)
            });
        }
        match self.outbound.queue_mut().push(outgoing, &self.config.queue) {
            Enqueued::Rejected(outgoing) => {
                let error = self.no_room_for(&outgoing.message);
                outgoing.defer(&mut self.deferred_drops);
                return Err(error);
            }
            Enqueued::Yes => {}
            Enqueued::Dropped(dropped) => {
                for outgoing in dropped {
                    if outgoing.operation != operation {
                        self.forget_queued(&outgoing);
                    }
                    let fate = outgoing.defer(&mut self.deferred_drops);
                    self.report(fate, Err(PublishError::Dropped));
                }
            }
        }
        self.next_operation += 1;
        if stored {
            self.store_message(operation, now);
        }
        self.expire_at(expires_at);
        Ok(Accepted::Pending(operation))
    }

    /// Keeps what the application gave for a message, its topic and its payload, when the message
    /// is completed, instead of dropping it: [`poll_deferred_drops`](Self::poll_deferred_drops)
    /// returns it. It is for callers who hold a lock while they call the session: dropping a
    /// payload may run anybody's code (`Bytes::from_owner`).
    pub fn defer_drops(&mut self) {
        self.deferred_drops.keep();
    }

    /// Publishes a message of QoS 0, by reference, if it can go into the output at once;
    /// `Ok(false)` says that [`publish`](Self::publish) is the way. What only a queued message
    /// needs costs nothing here.
    ///
    /// # Errors
    /// [`PublishError`] when it cannot be accepted; nothing has changed then.
    #[inline]
    pub fn publish_at_once(&mut self, message: &OutgoingPublish) -> Result<bool, PublishError> {
        // With properties there may be an expiry, which needs the time.
        if message.qos != QoS::AtMostOnce
            || !message.properties.is_empty()
            || !self.has_output_room()
        {
            return Ok(false);
        }
        self.limits.check(message, self.output.version)?;
        self.next_operation += 1;
        self.output.tally.add_at_once();
        self.output
            .publish(message, Delivery::AtMostOnce, None)
            .expect("checked against the limits before");
        Ok(true)
    }

    /// Something in the queue expires then.
    pub(crate) fn expire_at(&mut self, at: Option<Instant>) {
        let next = self
            .timers
            .get(TimerKind::Expiry)
            .into_iter()
            .chain(at)
            .min();
        self.timers.set(TimerKind::Expiry, next);
    }

    /// How many messages may be in flight on this connection.
    #[inline]
    pub(crate) fn window(&self) -> usize {
        usize::from(self.window)
    }

    #[inline]
    pub(crate) fn send(&mut self, outgoing: TrackedMessage, now: Instant) {
        if !outgoing.message.properties.is_empty() && !self.output.version.has_properties() {
            self.output.tally.counters_mut().left_out_in_3x += 1;
        }
        if outgoing.message.qos == QoS::AtMostOnce {
            return self.send_qos0(outgoing, now);
        }
        let operation = outgoing.operation;
        let id = self.outbound.send(outgoing, now, &mut self.output);
        self.await_acknowledgement((id, operation));
    }

    fn send_qos0(&mut self, outgoing: TrackedMessage, now: Instant) {
        send_qos0(&outgoing, now, &mut self.output);
        self.deferred_drops.add(outgoing.message);
    }

    #[inline]
    fn await_acknowledgement(&mut self, message: (PacketIdentifier, OperationId)) {
        if self.config.publish_timeout.is_some() {
            let deadlines = self.publish_deadlines.get_or_insert_default();
            deadlines.expect(self.output.position(), message);
        }
    }

    /// Encodes what may go, in order, while there is room.
    pub(crate) fn pump(&mut self, now: Instant) {
        if !self.is_online() {
            return;
        }
        while self.output.has_room() {
            let window = self.window_now(now);
            if self.fail_resend(now) {
                continue;
            }
            match self.outbound.pump_resend(
                window,
                now,
                &mut Context::new(&mut self.output, &mut self.journal),
            ) {
                Some(Resent::Again(operation)) => {
                    self.probe_sent(operation, now);
                    continue;
                }
                Some(Resent::FirstTime(id, operation)) => {
                    self.await_acknowledgement((id, operation));
                    self.probe_sent(operation, now);
                    continue;
                }
                None => {}
            }
            let Some(outgoing) = self.outbound.pop_queue(window, self.is_durable()) else {
                break;
            };
            if let Err(error) = self.check_queued(&outgoing, now) {
                self.fail_queued(outgoing, error);
                continue;
            }
            if outgoing.message.qos == QoS::AtMostOnce {
                let fate = outgoing.fate();
                self.send(outgoing, now);
                self.report(fate, Ok(PublishOutcome::SUCCESS));
            } else if self.is_durable() {
                self.admit(outgoing);
            } else {
                let operation = outgoing.operation;
                self.send(outgoing, now);
                self.probe_sent(operation, now);
            }
        }
    }

    /// The next message to be sent again fails, if this connection does not take it, or it is too
    /// late for one that was never sent. Returns whether it did.
    pub(super) fn fail_resend(&mut self, now: Instant) -> bool {
        let (limits, version) = (&self.limits, self.output.version);
        let fits = |outgoing: &TrackedMessage| {
            if !outgoing.written && outgoing.expires_at.is_some_and(|at| at <= now) {
                return Err(PublishError::Expired);
            }
            limits.check(&outgoing.message, version)
        };
        let failed = self.outbound.fail_resend(fits, &mut self.deferred_drops);
        let Some((fate, error, abandoned)) = failed else {
            return false;
        };
        self.store_failed(fate.operation, abandoned);
        self.report(fate, Err(error));
        true
    }

    /// Whether a message of the queue can be sent on this connection, and it is not too late for it.
    #[inline]
    pub(super) fn check_queued(
        &self,
        outgoing: &TrackedMessage,
        now: Instant,
    ) -> Result<(), PublishError> {
        let version = self.output.version;
        let has_properties = !outgoing.message.properties.is_empty();
        if outgoing.expires_at.is_some_and(|at| at <= now) {
            return Err(PublishError::Expired);
        }
        if has_properties && !version.has_properties() && self.config.reject_properties_in_3x {
            return Err(PublishError::NotInVersion(version));
        }
        self.limits.check(&outgoing.message, version)
    }

    #[cold]
    pub(super) fn fail_queued(&mut self, outgoing: TrackedMessage, error: PublishError) {
        self.forget_queued(&outgoing);
        self.report(outgoing.fate(), Err(error));
        self.deferred_drops.add(outgoing.message);
    }

    /// Handles the acknowledgements of the usual, short form at the front of `input`, without
    /// making packets of them. Returns whether there was one. Call it while
    /// [`wants_input`](Self::wants_input).
    #[inline]
    pub(crate) fn handle_short_acks(&mut self, input: &mut BytesMut) -> bool {
        matches!(input[..], [0x40 | 0x50 | 0x62 | 0x70, 2, _, _, ..])
            && self.handle_short_acks_at_front(input)
    }

    /// Apart, so that messages that come have the registers for themselves.
    #[inline(never)]
    fn handle_short_acks_at_front(&mut self, input: &mut BytesMut) -> bool {
        if !self.is_online() || self.config.maximum_packet_size < 4 {
            return false;
        }
        // The end of a flow puts nothing into the output; it may say that there is enough to read
        // only where messages wait above their bound, or the store has to know.
        let ends_change_nothing =
            !self.is_durable() && !self.inbound.is_above_soft(&self.config.inbound);
        let (mut at, mut releases) = (0, 0);
        while let Some(&[first, 2, high, low]) = input.get(at..at + 4).filter(|_| at < SHORT_ACKS) {
            let Some(id) = PacketIdentifier::new(u16::from_be_bytes([high, low])) else {
                break;
            };
            let is_end = match first {
                0x40 => {
                    self.output.tally.add_received_ack(PacketType::PubAck);
                    let acked = self.outbound.handle_puback(id, &mut self.deferred_drops);
                    self.acknowledged(&acked, PacketType::PubAck, || Ok(PublishOutcome::SUCCESS));
                    true
                }
                0x50 => {
                    self.output.tally.add_received_ack(PacketType::PubRec);
                    self.handle_pubrec_success(id);
                    false
                }
                0x62 => {
                    self.output.tally.add_received_ack(PacketType::PubRel);
                    self.inbound
                        .handle_pubrel(id, &mut Context::new(&mut self.output, &mut self.journal));
                    releases += 4;
                    false
                }
                0x70 => {
                    self.output.tally.add_received_ack(PacketType::PubComp);
                    self.handle_pubcomp(id);
                    true
                }
                _ => break,
            };
            at += 4;
            let may_go_on = (is_end && ends_change_nothing) || self.wants_input();
            if !may_go_on {
                break;
            }
        }
        if at > 0 {
            input.advance(at);
        }
        if at > releases {
            self.note_answer();
            self.end_timed();
        }
        at > 0
    }

    pub(crate) fn handle_puback(&mut self, ack: PubAck) {
        self.note_answer();
        let acked = self
            .outbound
            .handle_puback(ack.packet_identifier, &mut self.deferred_drops);
        self.acknowledged(&acked, PacketType::PubAck, || outcome(ack));
        self.end_timed();
    }

    pub(crate) fn handle_pubrec(&mut self, ack: PubAck) {
        self.take_pubrec(ack);
        self.end_timed();
    }

    fn take_pubrec(&mut self, ack: PubAck) {
        self.note_answer();
        let id = ack.packet_identifier;
        if ack.reason.is_error() {
            let acked = self
                .outbound
                .handle_pubrec_error(id, &mut self.deferred_drops);
            return self.acknowledged(&acked, PacketType::PubRec, || outcome(ack));
        }
        self.handle_pubrec_success(id);
        if ack.reason == PubAckReasonCode::NoMatchingSubscribers {
            self.outbound.set_unmatched(id);
        }
    }

    /// PUBCOMP: what PUBREC said of subscribers stands.
    #[inline]
    pub(crate) fn handle_pubcomp(&mut self, id: PacketIdentifier) {
        let acked = self.outbound.handle_pubcomp(id, &mut self.deferred_drops);
        let reason = match acked {
            Acked::Complete(Fate {
                unmatched: true, ..
            }) => PubAckReasonCode::NoMatchingSubscribers,
            _ => PubAckReasonCode::Success,
        };
        self.acknowledged(&acked, PacketType::PubComp, || {
            Ok(PublishOutcome {
                reason,
                details: None,
            })
        });
    }

    #[inline]
    fn handle_pubrec_success(&mut self, id: PacketIdentifier) {
        match self.outbound.handle_pubrec(
            id,
            self.output.position(),
            self.config.lost_qos2,
            &mut self.deferred_drops,
        ) {
            Acked::Released => {
                self.store_release(id);
                self.answer_pubrec(id, PubRelReasonCode::Success);
            }
            Acked::ReleasedAgain => self.answer_pubrec(id, PubRelReasonCode::Success),
            acked => {
                self.acknowledged(&acked, PacketType::PubRec, || Ok(PublishOutcome::SUCCESS));
                // Nobody waits here, but the server does.
                self.answer_pubrec(id, PubRelReasonCode::PacketIdentifierNotFound);
            }
        }
    }

    /// PUBREL, in the order of the PUBRECs [MQTT-4.6.0-4]: behind those that wait for the store.
    #[inline]
    fn answer_pubrec(&mut self, id: PacketIdentifier, reason: PubRelReasonCode) {
        Context::new(&mut self.output, &mut self.journal)
            .answer_when_stored(DelayedAnswer::Release(id, reason));
    }

    #[inline]
    pub(crate) fn acknowledged(
        &mut self,
        acked: &Acked,
        received: PacketType,
        result: impl FnOnce() -> Result<PublishOutcome, PublishError>,
    ) {
        if self.is_durable() {
            self.forget_acked(acked);
        }
        match *acked {
            Acked::Complete(fate) => self.report(fate, result()),
            Acked::Mistaken { fate, expected, .. } => {
                self.report_mistaken(fate, expected, received, result());
            }
            _ => self.output.tally.counters_mut().unexpected_acknowledgements += 1,
        }
    }

    /// The server has answered a message with a packet of another flow. Where that packet rejects
    /// the message, the reason says more than the mistake.
    #[cold]
    fn report_mistaken(
        &mut self,
        fate: Fate,
        expected: PacketType,
        received: PacketType,
        result: Result<PublishOutcome, PublishError>,
    ) {
        self.output.tally.counters_mut().unexpected_acknowledgements += 1;
        let error = result
            .err()
            .unwrap_or(PublishError::WrongAcknowledgement { expected, received });
        self.report(fate, Err(error));
    }

    /// Tells the end of a message: of a failure always, of success to those who asked.
    #[inline]
    pub(crate) fn report(&mut self, fate: Fate, result: Result<PublishOutcome, PublishError>) {
        let wanted =
            fate.key.is_some() || result.is_err() || self.is_of_earlier_process(fate.operation);
        if !fate.reported && wanted {
            let is_plain = matches!(result, Ok(PublishOutcome { details: None, .. }));
            let event = Event::Published {
                operation: fate.operation,
                key: fate.key,
                result,
            };
            if is_plain {
                self.events.push_back(event);
            } else {
                self.tell(event);
            }
        }
    }
}

fn outcome(ack: PubAck) -> Result<PublishOutcome, PublishError> {
    let reason = ack.reason;
    let details = ack
        .properties
        .and_then(|p| Details::new(p.reason_string, p.user_properties));
    if reason.is_error() {
        Err(PublishError::Rejected { reason, details })
    } else {
        Ok(PublishOutcome { reason, details })
    }
}
