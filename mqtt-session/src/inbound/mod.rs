//! Messages on their way to the application, and the acknowledgements that they are owed.
//!
//! ```text
//!  QoS 1:  PUBLISH ─► waiting ──taken──► (in order of arrival) PUBACK
//!  QoS 2:  PUBLISH ─► waiting ──taken──► (in order of arrival) PUBREC ─► recorded ──PUBREL──► PUBCOMP
//!                                           └─ with an error: PUBREC, over
//! ```
//!
//! An acknowledgement leaves when the message and all before it, of its QoS, were taken
//! [MQTT-4.6.0-2, MQTT-4.6.0-3]. When a connection ends, what waits becomes *stale*: the server
//! will send it again. A QoS 1 copy that comes again replaces the stale one; of a QoS 2 message the
//! first copy stays, and its token acknowledges on the new connection; when the application has
//! abandoned it, it is delivered again.

use crate::error::Details;
use crate::event::{AckToken, DeliveryId};
use crate::inbound::aliases::HeardAliases;
use crate::inbound::id_sets::{DOUBTED, IdSets, RECEIVED, RECORDED};
use crate::inbound::unhandled::Unhandled;
use crate::inbound::waiting::{AwaitingAck, Mark};
use crate::output::{DelayedAnswer, Output, ShortAcks};
use crate::store::context::Context;
use crate::{InboundLimits, Instant, Misbehaviour, ReceivedPublish};
use alloc::boxed::Box;
use core::num::NonZeroU16;
use martlet_proto::{
    Delivery, PacketIdentifier, PacketType, PubAckReasonCode, PubRelReasonCode, Publish, QoS,
    TopicName,
};

mod aliases;
mod doubts;
#[cfg(feature = "durable")]
mod durable;
mod id_sets;
mod stale;
mod unhandled;
mod waiting;

/// While the application lags, a message smaller than this is copied out of its read buffer, which
/// it would pin.
const DETACH_BELOW: usize = 4096;
/// The application lags when this number of messages wait, and have done so for this long, in about
/// milliseconds: fewer pin less memory than a copy of each is worth, and a burst is over before.
const LAGGING: usize = 64;
const LAG: u32 = 20;

/// More of one QoS than there are packet identifiers cannot wait for their acknowledgement.
const MOST: usize = u16::MAX as usize;

#[derive(Debug)]
pub(crate) struct Inbound {
    qos1: AwaitingAck,
    qos2: AwaitingAck,
    /// QoS 2 identifiers between PUBLISH and PUBREL; those of them whose PUBREC has left, and those
    /// in doubt.
    received: IdSets,
    /// Most servers make none.
    aliases: Option<Box<HeardAliases>>,
    /// Messages of QoS 0 that were not taken, and of QoS 1 and 2: the server may send the latter
    /// only because we let it, so they are not made to pay for the former.
    unhandled: Unhandled,
    /// What this connection's CONNECT allows the server to have unacknowledged.
    receive_maximum: NonZeroU16,
    /// Sequence of QoS 0 tokens.
    qos0: u64,
    /// PUBLISHes of this connection that the server counts against our Receive Maximum.
    unacknowledged: u32,
    /// That was more than `receive_maximum` on this connection.
    exceeded: bool,
    /// At the last turn [`LAGGING`] messages waited.
    crowded: bool,
    /// The first turn at which they did, the last turn if they do not:
    /// [about milliseconds](Instant::about_millis).
    crowded_since: u32,
    /// That is [`LAG`] ago.
    lagging: bool,
    /// Since the last look a message was taken before an earlier one.
    overtaken: bool,
}

/// What to do with a PUBLISH.
pub(crate) enum Arrived {
    Deliver(ReceivedPublish),
    /// Nothing: the application has it already.
    Known,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            qos1: AwaitingAck::default(),
            qos2: AwaitingAck::default(),
            received: IdSets::default(),
            aliases: None,
            unhandled: Unhandled::default(),
            receive_maximum: NonZeroU16::MAX,
            qos0: 0,
            unacknowledged: 0,
            exceeded: false,
            crowded: false,
            crowded_since: 0,
            lagging: false,
            overtaken: false,
        }
    }
}

impl Inbound {
    pub(crate) fn unhandled(&self) -> usize {
        (self.unhandled.messages[0] + self.unhandled.messages[1]) as usize
    }

    pub(crate) fn unhandled_bytes(&self) -> usize {
        self.unhandled.bytes[0] + self.unhandled.bytes[1]
    }

    pub(crate) fn is_above_soft(&self, limits: &InboundLimits) -> bool {
        self.unhandled() >= limits.soft_messages || self.unhandled_bytes() >= limits.soft_bytes
    }

    /// More bytes have come.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        let now = now.about_millis();
        if !self.crowded {
            self.crowded_since = now;
        }
        self.crowded = self.unhandled() >= LAGGING;
        self.lagging = self.crowded && now.wrapping_sub(self.crowded_since) >= LAG;
    }

    /// One more message of QoS 0 does not fit.
    pub(crate) fn is_full(&self, limits: &InboundLimits) -> bool {
        self.unhandled() >= limits.hard_messages || self.unhandled_bytes() >= limits.hard_bytes
    }

    /// This message of QoS 1 or 2 does not fit.
    pub(crate) fn is_overrun(&self, limits: &InboundLimits, delivery: Delivery) -> bool {
        if self.knows(delivery) {
            return false;
        }
        let Unhandled {
            messages: [_, mut messages],
            bytes: [_, mut bytes],
        } = self.unhandled;
        if let (
            Delivery::AtLeastOnce {
                packet_identifier,
                duplicate: true,
            },
            Some(rare),
        ) = (delivery, &self.qos1.rare)
        {
            // A copy that it takes the place of makes room.
            if let Some(stale) = rare
                .stale_ids
                .get(&packet_identifier.get().into())
                .and_then(|stale| rare.stale.get(stale))
            {
                messages = messages.saturating_sub(1);
                bytes = bytes.saturating_sub(stale.bytes as usize);
            }
        }
        messages as usize >= limits.hard_messages
            || bytes >= limits.hard_bytes
            || self.qos1.entries.len() >= MOST
            || self.qos2.entries.len() >= MOST
    }

    /// Whether this is a copy of a QoS 2 message that is here already.
    fn knows(&self, delivery: Delivery) -> bool {
        match delivery {
            Delivery::ExactlyOnce {
                packet_identifier,
                duplicate,
            } => {
                self.received.contains(packet_identifier, RECEIVED)
                    && (duplicate || !self.received.contains(packet_identifier, DOUBTED))
            }
            Delivery::AtMostOnce | Delivery::AtLeastOnce { .. } => false,
        }
    }

    /// The Receive Maximum of this connection.
    pub(crate) fn receive_maximum(&self) -> NonZeroU16 {
        self.receive_maximum
    }

    /// Whether the server has sent all that it may before we acknowledge some of it.
    pub(crate) fn is_window_full(&self) -> bool {
        self.unacknowledged >= u32::from(self.receive_maximum.get())
    }

    /// The server has sent more than that. Returns whether it is the first time on this connection.
    pub(crate) fn note_excess(&mut self) -> bool {
        !core::mem::replace(&mut self.exceeded, true)
    }

    /// The topic that an alias stands for, or learns it.
    pub(crate) fn resolve_alias(
        &mut self,
        topic: &[u8],
        alias: NonZeroU16,
        maximum: u16,
    ) -> Result<Option<TopicName>, Misbehaviour> {
        if alias.get() > maximum {
            return Err(Misbehaviour::TopicAlias(alias.get()));
        }
        self.aliases.get_or_insert_default().resolve(alias, topic)
    }

    /// Takes in a PUBLISH whose topic is known.
    #[inline]
    pub(crate) fn arrive(
        &mut self,
        publish: Publish,
        aliased: Option<TopicName>,
        context: Context<'_>,
    ) -> Arrived {
        match self.enter(publish.delivery(), publish.len() as u32, context) {
            Some(sequence) => Arrived::Deliver(self.message(publish, aliased, sequence)),
            None => Arrived::Known,
        }
    }

    /// A message that is not delivered: it has its turn among those that are acknowledged, and
    /// nothing else.
    pub(crate) fn pass_over(&mut self, delivery: Delivery, mut context: Context<'_>) {
        let qos = delivery.qos();
        if let Some(sequence) =
            self.enter(delivery, 0, Context::new(context.output, context.journal))
        {
            self.unhandled.enter(qos, 0);
            self.acknowledge(
                &AckToken {
                    qos,
                    sequence,
                    bytes: 0,
                },
                PubAckReasonCode::Success,
                Some(&mut context),
            );
        }
    }

    /// Whether as many messages of this QoS as there are identifiers wait for their
    /// acknowledgement.
    pub(crate) fn has_no_place(&self, qos: QoS) -> bool {
        match qos {
            QoS::AtMostOnce => false,
            QoS::AtLeastOnce => self.qos1.entries.len() >= MOST,
            QoS::ExactlyOnce => self.qos2.entries.len() >= MOST,
        }
    }

    /// Gives a message of `bytes` bytes its place; `None` when the application has it already.
    #[inline]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "two references, in registers"
    )]
    fn enter(&mut self, delivery: Delivery, bytes: u32, context: Context<'_>) -> Option<u64> {
        Some(match delivery {
            Delivery::AtMostOnce => {
                self.qos0 += 1;
                self.qos0
            }
            Delivery::AtLeastOnce {
                packet_identifier,
                duplicate,
            } => {
                self.unacknowledged += 1;
                let rare = self.qos1.rare.as_mut();
                let superseded = rare.and_then(|rare| rare.supersede(packet_identifier, duplicate));
                let sequence = self.qos1.push(packet_identifier, bytes);
                if let Some((bytes, first)) = superseded {
                    self.unhandled.leave(QoS::AtLeastOnce, bytes);
                    let rare = self.qos1.rare.get_or_insert_default();
                    rare.replaced.insert(sequence, first);
                }
                sequence
            }
            Delivery::ExactlyOnce {
                packet_identifier, ..
            } => {
                if self.received.contains(packet_identifier, RECEIVED) {
                    // Only here is it in memory: other messages cost nothing for it.
                    let context = &mut Context::new(context.output, context.journal);
                    if self.knows(delivery) {
                        self.arrive_again(packet_identifier, context);
                        return None;
                    }
                    self.forget_doubted(packet_identifier, context);
                }
                self.unacknowledged += 1;
                self.received.insert(packet_identifier, RECEIVED);
                self.qos2.push(packet_identifier, bytes)
            }
        })
    }

    #[inline]
    fn message(
        &mut self,
        mut publish: Publish,
        aliased: Option<TopicName>,
        sequence: u64,
    ) -> ReceivedPublish {
        if self.lagging && publish.len() < DETACH_BELOW {
            publish.detach();
        }
        let (qos, bytes) = (publish.delivery().qos(), publish.len() as u32);
        self.unhandled.enter(qos, bytes);
        let token = AckToken {
            qos,
            sequence,
            bytes,
        };
        ReceivedPublish {
            publish,
            aliased,
            token,
        }
    }

    /// A QoS 2 message that is known: its PUBREC was lost, or the application still has it.
    fn arrive_again(&mut self, packet_identifier: PacketIdentifier, context: &mut Context<'_>) {
        let was_doubted = self.received.contains(packet_identifier, DOUBTED);
        self.received.remove_from(packet_identifier, DOUBTED);
        if self.received.contains(packet_identifier, RECORDED) {
            // Its record went with the session that the server says it does not have.
            let is_unrecorded = was_doubted && self.doubts_for_now();
            if let Some(journal) = context.journal.as_mut().filter(|_| is_unrecorded) {
                journal.put_received(packet_identifier);
            }
            if self.qos2.entries.len() >= MOST {
                // A server that says the same again and again gets its answer with the others.
                return;
            }
            self.qos2.push(packet_identifier, 0);
            if let Some(entry) = self.qos2.entries.back_mut() {
                entry.taken = Some(PubAckReasonCode::Success);
                entry.mark = Mark::Again;
            }
            self.overtaken = true;
            self.send_pubrecs(context);
        } else if self.qos2.revive(packet_identifier) {
            self.unacknowledged += 1;
            self.overtaken = true;
            self.send_pubrecs(context);
        }
    }

    /// Whether a copy of this message that came later has taken its place.
    pub(crate) fn is_superseded(&self, token: &AckToken) -> bool {
        let rare = self
            .qos1
            .rare
            .as_ref()
            .filter(|_| token.qos == QoS::AtLeastOnce);
        let stale = rare.and_then(|rare| rare.stale.get(&token.sequence));
        stale.is_some_and(|stale| stale.superseded)
    }

    /// Whether any message was superseded since this was last asked.
    pub(crate) fn take_superseded(&mut self) -> bool {
        self.qos1
            .rare
            .as_mut()
            .is_some_and(|rare| core::mem::take(&mut rare.superseded))
    }

    /// The application has taken the message; `context` is there while there is a connection.
    pub(crate) fn acknowledge(
        &mut self,
        token: &AckToken,
        reason: PubAckReasonCode,
        context: Option<&mut Context<'_>>,
    ) {
        self.leave(token);
        let waiting = match token.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => &mut self.qos1,
            QoS::ExactlyOnce => &mut self.qos2,
        };
        if !waiting.take(token.sequence, reason, token.qos, &mut self.overtaken) {
            return;
        }
        if let Some(context) = context {
            match token.qos {
                QoS::AtLeastOnce => self.send_pubacks(context.output),
                _ => self.send_pubrecs(context),
            }
        }
    }

    /// The application has taken these messages; `context` is there while there is a connection.
    pub(crate) fn acknowledge_all(
        &mut self,
        tokens: impl Iterator<Item = AckToken>,
        mut context: Option<&mut Context<'_>>,
    ) {
        let mut overtaken = false;
        let mut pubacks = ShortAcks::new(PacketType::PubAck);
        for token in tokens {
            if let Some(context) = &mut context {
                if let Some(packet_identifier) = self.take_next(&token) {
                    pubacks.push(packet_identifier, context.output);
                    continue;
                }
            }
            self.leave(&token);
            let waiting = match token.qos {
                QoS::AtMostOnce => continue,
                QoS::AtLeastOnce => &mut self.qos1,
                QoS::ExactlyOnce => &mut self.qos2,
            };
            waiting.take(
                token.sequence,
                PubAckReasonCode::Success,
                token.qos,
                &mut overtaken,
            );
        }
        if let Some(context) = context {
            pubacks.write(context.output);
            self.send_pubacks(context.output);
            self.send_pubrecs(context);
        }
        // Those of one call are in each other's way only until all of them were taken.
        let is_held = |waiting: &AwaitingAck| !waiting.entries.is_empty();
        self.overtaken |= overtaken && (is_held(&self.qos1) || is_held(&self.qos2));
    }

    /// The application has taken the message of QoS 1 whose acknowledgement is the next to leave,
    /// and nothing about it is rare: returns its packet identifier.
    #[inline]
    fn take_next(&mut self, token: &AckToken) -> Option<PacketIdentifier> {
        let waiting = &mut self.qos1;
        let is_next = token.qos == QoS::AtLeastOnce && token.sequence == waiting.base;
        if !is_next || waiting.rare.is_some() {
            return None;
        }
        let entry = waiting.entries.pop_front()?;
        waiting.base += 1;
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
        self.unhandled.leave(QoS::AtLeastOnce, token.bytes);
        Some(entry.packet_identifier)
    }

    /// The first delivery, on an earlier connection, of the message of this token. It is returned once.
    pub(crate) fn take_replaced(&mut self, token: &AckToken) -> Option<DeliveryId> {
        let waiting = match token.qos {
            QoS::AtLeastOnce => &mut self.qos1,
            QoS::AtMostOnce | QoS::ExactlyOnce => return None,
        };
        let sequence = waiting.rare.as_mut()?.replaced.remove(&token.sequence)?;
        let qos = token.qos;
        Some(DeliveryId { qos, sequence })
    }

    /// The message does not wait here any more.
    #[inline]
    fn leave(&mut self, token: &AckToken) {
        if !self.is_superseded(token) {
            self.unhandled.leave(token.qos, token.bytes);
        }
    }

    /// What to tell the server besides the reason, when the message is acknowledged on this
    /// connection.
    pub(crate) fn explain(&mut self, token: &AckToken, details: Box<Details>) {
        let waiting = match token.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => &mut self.qos1,
            QoS::ExactlyOnce => &mut self.qos2,
        };
        if let Some(entry) = waiting.entry(token.sequence) {
            entry.mark = Mark::Explained;
            waiting
                .rare
                .get_or_insert_default()
                .details
                .insert(token.sequence, details);
        }
    }

    /// The application has dropped the message without an answer: it is not acknowledged. When the
    /// server sends it again, on another connection, it is delivered again.
    pub(crate) fn abandon(&mut self, token: &AckToken) {
        self.leave(token);
        let waiting = match token.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => &mut self.qos1,
            QoS::ExactlyOnce => &mut self.qos2,
        };
        if let Some(entry) = waiting.entry(token.sequence) {
            entry.mark = Mark::Abandoned;
        } else if let Some(packet_identifier) = waiting
            .rare
            .as_mut()
            .and_then(|rare| rare.forget(token.sequence))
        {
            if token.qos == QoS::ExactlyOnce {
                self.received.remove(packet_identifier);
            }
        }
    }

    /// Whether a message was taken before an earlier one since the last time that somebody asked.
    #[inline]
    pub(crate) fn take_overtaken(&mut self) -> bool {
        core::mem::take(&mut self.overtaken)
    }

    /// Looks which messages hold back the acknowledgements of later ones: tells those that did so
    /// already when somebody last looked. Returns whether there are any, reported or not.
    pub(crate) fn look_for_holders(&mut self, mut tell: impl FnMut(DeliveryId, usize)) -> bool {
        let mut any = false;
        for (waiting, qos) in [
            (&mut self.qos1, QoS::AtLeastOnce),
            (&mut self.qos2, QoS::ExactlyOnce),
        ] {
            let holder = waiting.holder();
            let before = waiting.rare.as_ref().and_then(|rare| rare.holder);
            if let Some(sequence) = holder.filter(|_| holder == before) {
                let held = waiting
                    .entries
                    .iter()
                    .filter(|entry| entry.taken.is_some())
                    .count();
                tell(DeliveryId { qos, sequence }, held);
            }
            if holder != before {
                waiting.rare.get_or_insert_default().holder = holder;
            }
            any |= holder.is_some();
        }
        any
    }

    /// The messages that hold back the acknowledgements of later ones, the one of each QoS, and how
    /// many. It takes as long as there are messages unacknowledged.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (DeliveryId, usize)> {
        let all = [
            (&self.qos1, QoS::AtLeastOnce),
            (&self.qos2, QoS::ExactlyOnce),
        ];
        all.into_iter().filter_map(|(waiting, qos)| {
            let sequence = waiting.holder()?;
            let is_held = |entry: &&waiting::AwaitingEntry| entry.taken.is_some();
            let held = waiting.entries.iter().filter(is_held).count();
            Some((DeliveryId { qos, sequence }, held))
        })
    }

    #[inline]
    fn send_pubacks(&mut self, output: &mut Output) {
        while let Some((entry, reason)) = self.qos1.pop_taken() {
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
            let ack = self.qos1.acknowledgement(&entry, reason);
            output.acknowledge(PacketType::PubAck, ack);
        }
    }

    fn send_pubrecs(&mut self, context: &mut Context<'_>) {
        while let Some((entry, reason)) = self.qos2.pop_taken() {
            let packet_identifier = entry.packet_identifier;
            if entry.mark == Mark::Again {
                if !self.received.contains(packet_identifier, RECORDED) {
                    // Its PUBREL came in the meantime.
                    continue;
                }
            } else if reason.is_error() && context.output.takes_reasons {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                self.received.remove(packet_identifier);
            } else {
                self.received.insert(packet_identifier, RECORDED);
                if let Some(journal) = context.journal {
                    journal.put_received(packet_identifier);
                }
            }
            let ack = self.qos2.acknowledgement(&entry, reason);
            context.answer_when_stored(DelayedAnswer::Received(ack));
        }
    }

    /// PUBREL: answered in any case, since the server waits for the answer.
    pub(crate) fn handle_pubrel(
        &mut self,
        packet_identifier: PacketIdentifier,
        context: &mut Context<'_>,
    ) {
        if self.received.contains(packet_identifier, RECORDED) {
            self.received.remove(packet_identifier);
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
            if let Some(journal) = context.journal {
                journal.delete_received(packet_identifier);
            }
            context.answer_when_stored(DelayedAnswer::Complete(
                packet_identifier,
                PubRelReasonCode::Success,
            ));
        } else {
            // In 3.x there is no word for it.
            let reason = PubRelReasonCode::PacketIdentifierNotFound;
            context.answer_when_stored(DelayedAnswer::Complete(packet_identifier, reason));
        }
    }

    /// A new connection: the server counts anew, and topic aliases are forgotten. Its Receive
    /// Maximum is no more than there is room for beside unhandled messages of earlier connections.
    pub(crate) fn open(&mut self, limits: &InboundLimits) {
        self.unacknowledged = 0;
        self.exceeded = false;
        self.aliases = None;
        let room = limits
            .hard_messages
            .saturating_sub(self.unhandled.messages[1] as usize);
        let room = u16::try_from(room).unwrap_or(u16::MAX);
        let most = limits.receive_maximum.min(room);
        self.receive_maximum = NonZeroU16::new(most).unwrap_or(NonZeroU16::MIN);
    }

    pub(crate) fn handle_close(&mut self) {
        self.aliases = None;
        self.overtaken = false;
        if self.doubts_for_now() {
            self.forget_doubts();
        }
        // A QoS 1 message that was taken will come again and be delivered again; its
        // acknowledgement never left.
        self.qos1
            .become_stale(|entry| entry.taken.is_none() && entry.mark != Mark::Abandoned);
        let received = &mut self.received;
        self.qos2.become_stale(|entry| {
            if entry.mark == Mark::Abandoned {
                received.remove(entry.packet_identifier);
            }
            !matches!(entry.mark, Mark::Again | Mark::Abandoned)
        });
    }

    /// The server has lost the session: identifiers mean nothing any more, tokens do nothing.
    pub(crate) fn lose_session(&mut self) {
        self.received = IdSets::default();
        self.qos1.lose_session();
        self.qos2.lose_session();
    }
}
