//! Messages on their way to the application, and the acknowledgements that they are owed.
//!
//! ```text
//!  QoS 1:  PUBLISH ─► waiting ──taken──► (in order of arrival) PUBACK
//!  QoS 2:  PUBLISH ─► waiting ──taken──► (in order of arrival) PUBREC ─► recorded ──PUBREL──► PUBCOMP
//!                                           └─ with an error: PUBREC, over
//! ```
//!
//! An acknowledgement leaves when the message and all before it, of its QoS, were taken [MQTT-4.6.0-2, MQTT-4.6.0-3].
//! When a connection ends, what waits becomes *stale*: the server will send it again. A QoS 1 copy that comes again
//! replaces the stale one; of a QoS 2 message the first copy stays, and its token acknowledges on the new connection;
//! when the application has abandoned it, it is delivered again.

use crate::error::Details;
use crate::event::{AckToken, DeliveryId};
use crate::id_sets::{DOUBTED, IdSets, RECEIVED, RECORDED};
use crate::output::Output;
use crate::storing::Answer;
use crate::{InboundLimits, Message, Misbehaviour};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use core::num::NonZeroU16;
use martlet_proto::{
    Ack, AckProperties, Delivery, PacketIdentifier, PacketType, PubAck, PubAckReasonCode, PubRelReasonCode,
    Publish, QoS, TopicName,
};

/// While the application lags, a message smaller than this is copied out of its read buffer, which it would pin.
const DETACH_BELOW: usize = 4096;
/// The application lags when so many messages of earlier turns wait: fewer pin less than is worth a copy each.
const LAGGING: usize = 64;

/// More of one QoS than there are packet identifiers cannot wait for their acknowledgement.
const MOST: usize = u16::MAX as usize;

#[derive(Debug)]
pub(crate) struct Inbound {
    qos1: Waiting,
    qos2: Waiting,
    /// QoS 2 identifiers between PUBLISH and PUBREL; those of them whose PUBREC has left, and those in doubt.
    received: IdSets,
    /// Most servers make none.
    aliases: Option<Box<Aliases>>,
    /// Messages of QoS 0 that were not taken, and of QoS 1 and 2: the server may send the latter only because we let
    /// it, so they are not made to pay for the former.
    untaken: Untaken,
    /// What this connection's CONNECT allows the server to have unacknowledged.
    receive_maximum: NonZeroU16,
    /// Sequence of QoS 0 tokens.
    qos0: u64,
    /// PUBLISHes of this connection that the server counts against our Receive Maximum.
    unacknowledged: u32,
    /// Messages of earlier turns wait.
    lagging: bool,
    /// Since the last look a message was taken before an earlier one.
    overtaken: bool,
}

#[derive(Debug, Default)]
struct Aliases(Vec<Option<TopicName>>);

#[derive(Debug, Default)]
struct Untaken {
    messages: [u32; 2],
    bytes: [usize; 2],
}

/// Where messages of this QoS are counted.
#[inline]
fn kind(qos: QoS) -> usize {
    usize::from(qos != QoS::AtMostOnce)
}

/// Messages of one QoS whose acknowledgement has not left, in order of arrival on this connection.
#[derive(Debug, Default)]
struct Waiting {
    /// Place of the first entry.
    base: u64,
    entries: VecDeque<Entry>,
    rare: Option<Box<Rare>>,
}

/// What most sessions never have: what came on earlier connections, and what was said about it.
#[derive(Debug, Default)]
struct Rare {
    /// Tokens whose place is not their sequence: first delivered on an earlier connection.
    moved: BTreeMap<u64, u64>,
    /// By token: delivered on an earlier connection and not sent again yet.
    stale: BTreeMap<u64, Stale>,
    /// Those of them that can still be sent again, by packet identifier.
    stale_ids: BTreeMap<PacketIdentifier, u64>,
    /// By token: what to tell the server with the acknowledgement, on this connection.
    details: BTreeMap<u64, Box<Details>>,
    /// The token at the front when somebody last looked, if it held back others.
    holder: Option<u64>,
    /// A stale message was superseded since somebody last asked.
    superseded: bool,
}

#[derive(Debug)]
struct Entry {
    packet_identifier: PacketIdentifier,
    token: u64,
    /// The size of its packet.
    bytes: u32,
    taken: Option<PubAckReasonCode>,
    mark: Mark,
}

/// What is special about an entry. An entry is as small as it can be: there may be one for each packet identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    /// A copy of a message whose PUBREC has left already: it only has its turn.
    Again,
    /// The application will not answer: it is never acknowledged on this connection.
    Abandoned,
    /// There is something to tell with the acknowledgement.
    Explained,
}

#[derive(Debug)]
struct Stale {
    packet_identifier: PacketIdentifier,
    bytes: u32,
    taken: Option<PubAckReasonCode>,
    /// A copy that came later has taken its place. It is not counted any more.
    superseded: bool,
}

/// What to do with a PUBLISH.
pub(crate) enum Arrived {
    Deliver(Message),
    /// Nothing: the application has it already.
    Known,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            qos1: Waiting::default(),
            qos2: Waiting::default(),
            received: IdSets::default(),
            aliases: None,
            untaken: Untaken::default(),
            receive_maximum: NonZeroU16::MAX,
            qos0: 0,
            unacknowledged: 0,
            lagging: false,
            overtaken: false,
        }
    }
}

impl Inbound {
    pub(crate) fn untaken(&self) -> usize {
        (self.untaken.messages[0] + self.untaken.messages[1]) as usize
    }

    fn untaken_bytes(&self) -> usize {
        self.untaken.bytes[0] + self.untaken.bytes[1]
    }

    pub(crate) fn is_above_soft(&self, limits: &InboundLimits) -> bool {
        self.untaken() >= limits.soft_messages || self.untaken_bytes() >= limits.soft_bytes
    }

    /// More bytes have come.
    pub(crate) fn begin_turn(&mut self) {
        self.lagging = self.untaken() >= LAGGING;
    }

    /// One more message of QoS 0 does not fit.
    pub(crate) fn is_full(&self, limits: &InboundLimits) -> bool {
        self.untaken() >= limits.hard_messages || self.untaken_bytes() >= limits.hard_bytes
    }

    /// This message of QoS 1 or 2 does not fit.
    pub(crate) fn is_overrun(&self, limits: &InboundLimits, delivery: Delivery) -> bool {
        if self.knows(delivery) {
            return false;
        }
        let Untaken { messages: [_, mut messages], bytes: [_, mut bytes] } = self.untaken;
        if let (Delivery::AtLeastOnce { packet_identifier, duplicate: true }, Some(rare)) =
            (delivery, &self.qos1.rare)
        {
            // A copy that it takes the place of makes room.
            if let Some(stale) = rare.stale_ids.get(&packet_identifier).and_then(|it| rare.stale.get(it)) {
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
            Delivery::ExactlyOnce { packet_identifier, duplicate } => {
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

    /// The topic that an alias stands for, or learns it.
    pub(crate) fn resolve_alias(
        &mut self,
        publish: &Publish,
        maximum: u16,
    ) -> Result<Option<TopicName>, Misbehaviour> {
        let Some(alias) = publish.properties().topic_alias() else { return Ok(None) };
        if alias.get() > maximum {
            return Err(Misbehaviour::TopicAlias(alias.get()));
        }
        let index = usize::from(alias.get()) - 1;
        if publish.as_ref().topic_bytes().is_empty() {
            let known = self.aliases.as_ref().and_then(|aliases| aliases.0.get(index).cloned().flatten());
            return known.map(Some).ok_or(Misbehaviour::TopicAlias(alias.get()));
        }
        let aliases = &mut self.aliases.get_or_insert_default().0;
        if aliases.len() <= index {
            aliases.resize(index + 1, None);
        }
        // A copy: the topic must not pin the buffer that it arrived in.
        let topic = Bytes::copy_from_slice(publish.as_ref().topic_bytes());
        aliases[index] = TopicName::from_bytes(topic).ok();
        Ok(None)
    }

    /// Takes in a PUBLISH whose topic is known.
    #[inline]
    pub(crate) fn arrive(
        &mut self,
        publish: Publish,
        aliased: Option<TopicName>,
        output: &mut Output,
    ) -> Arrived {
        let sequence = match publish.delivery() {
            Delivery::AtMostOnce => {
                self.qos0 += 1;
                self.qos0
            }
            Delivery::AtLeastOnce { packet_identifier, duplicate } => {
                self.unacknowledged += 1;
                let rare = self.qos1.rare.as_mut();
                let superseded = rare.and_then(|rare| rare.supersede(packet_identifier, duplicate));
                if let Some(bytes) = superseded {
                    self.untaken.leave(QoS::AtLeastOnce, bytes);
                }
                self.qos1.push(packet_identifier, publish.len() as u32)
            }
            Delivery::ExactlyOnce { packet_identifier, .. } => {
                if self.received.contains(packet_identifier, RECEIVED) {
                    if self.knows(publish.delivery()) {
                        self.arrive_again(packet_identifier, output);
                        return Arrived::Known;
                    }
                    self.forget_doubted(packet_identifier, output);
                }
                self.unacknowledged += 1;
                self.received.insert(packet_identifier, RECEIVED);
                self.qos2.push(packet_identifier, publish.len() as u32)
            }
        };
        Arrived::Deliver(self.message(publish, aliased, sequence))
    }

    #[inline]
    fn message(&mut self, mut publish: Publish, aliased: Option<TopicName>, sequence: u64) -> Message {
        if self.lagging && publish.len() < DETACH_BELOW {
            publish.detach();
        }
        let (qos, bytes) = (publish.delivery().qos(), publish.len() as u32);
        let kind = kind(qos);
        self.untaken.messages[kind] += 1;
        self.untaken.bytes[kind] += bytes as usize;
        let token = AckToken { qos, sequence, bytes };
        Message { publish, aliased, token }
    }

    /// A QoS 2 message that is known: its PUBREC was lost, or the application still has it.
    fn arrive_again(&mut self, packet_identifier: PacketIdentifier, output: &mut Output) {
        self.received.remove_from(packet_identifier, DOUBTED);
        if self.received.contains(packet_identifier, RECORDED) {
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
            self.send_pubrecs(output);
        } else if self.qos2.revive(packet_identifier) {
            self.unacknowledged += 1;
            self.overtaken = true;
            self.send_pubrecs(output);
        }
    }

    /// The server may have begun a new session without our knowing: then a QoS 2 message with the identifier of one that
    /// is here already may be another. A server that says the same again sets DUP [MQTT-3.3.1-1]: who does not, says
    /// something new.
    pub(crate) fn doubt(&mut self) {
        self.received.copy(RECEIVED, DOUBTED);
    }

    pub(crate) fn has_doubts(&self) -> bool {
        !self.received.is_empty(DOUBTED)
    }

    /// The server has used the identifier anew: the message that had it was one of a session that is gone.
    fn forget_doubted(&mut self, packet_identifier: PacketIdentifier, output: &mut Output) {
        self.received.remove(packet_identifier);
        if let Some(rare) = &mut self.qos2.rare {
            if let Some(&token) = rare.stale_ids.get(&packet_identifier) {
                rare.forget(token);
            }
        }
        if let Some(journal) = &mut output.journal {
            journal.delete_received(packet_identifier);
        }
    }

    /// Whether a copy of this message that came later has taken its place.
    pub(crate) fn is_superseded(&self, token: &AckToken) -> bool {
        let rare = self.qos1.rare.as_ref().filter(|_| token.qos == QoS::AtLeastOnce);
        let stale = rare.and_then(|rare| rare.stale.get(&token.sequence));
        stale.is_some_and(|stale| stale.superseded)
    }

    /// Whether any message was superseded since this was last asked.
    pub(crate) fn take_superseded(&mut self) -> bool {
        self.qos1.rare.as_mut().is_some_and(|rare| core::mem::take(&mut rare.superseded))
    }

    /// The application has taken the message; `output` is there while there is a connection.
    pub(crate) fn acknowledge(
        &mut self,
        token: &AckToken,
        reason: PubAckReasonCode,
        output: Option<&mut Output>,
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
        if let Some(output) = output {
            match token.qos {
                QoS::AtLeastOnce => self.send_pubacks(output),
                _ => self.send_pubrecs(output),
            }
        }
    }

    /// The message does not wait here any more.
    #[inline]
    fn leave(&mut self, token: &AckToken) {
        if !self.is_superseded(token) {
            self.untaken.leave(token.qos, token.bytes);
        }
    }

    /// What to tell the server besides the reason, when the message is acknowledged on this connection.
    pub(crate) fn explain(&mut self, token: &AckToken, details: Box<Details>) {
        let waiting = match token.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => &mut self.qos1,
            QoS::ExactlyOnce => &mut self.qos2,
        };
        if let Some(entry) = waiting.entry(token.sequence) {
            entry.mark = Mark::Explained;
            waiting.rare.get_or_insert_default().details.insert(token.sequence, details);
        }
    }

    /// The application has dropped the message without an answer: it is not acknowledged. When the server sends it
    /// again, on another connection, it is delivered again.
    pub(crate) fn abandon(&mut self, token: &AckToken) {
        self.leave(token);
        let waiting = match token.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => &mut self.qos1,
            QoS::ExactlyOnce => &mut self.qos2,
        };
        if let Some(entry) = waiting.entry(token.sequence) {
            entry.mark = Mark::Abandoned;
        } else if let Some(packet_identifier) =
            waiting.rare.as_mut().and_then(|rare| rare.forget(token.sequence))
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

    /// Looks which messages hold back the acknowledgements of later ones: tells those that did so already when
    /// somebody last looked. Returns whether there are any, told or not.
    pub(crate) fn look_for_holders(&mut self, mut tell: impl FnMut(DeliveryId, usize)) -> bool {
        let mut any = false;
        for (waiting, qos) in [(&mut self.qos1, QoS::AtLeastOnce), (&mut self.qos2, QoS::ExactlyOnce)] {
            let holder = waiting.holder();
            let before = waiting.rare.as_ref().and_then(|rare| rare.holder);
            if let Some(sequence) = holder.filter(|_| holder == before) {
                let held = waiting.entries.iter().filter(|entry| entry.taken.is_some()).count();
                tell(DeliveryId { qos, sequence }, held);
            }
            if holder != before {
                waiting.rare.get_or_insert_default().holder = holder;
            }
            any |= holder.is_some();
        }
        any
    }

    #[inline]
    fn send_pubacks(&mut self, output: &mut Output) {
        while let Some((entry, reason)) = self.qos1.pop_taken() {
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
            let ack = self.qos1.acknowledgement(&entry, reason);
            output.acknowledge(PacketType::PubAck, ack);
        }
    }

    fn send_pubrecs(&mut self, output: &mut Output) {
        while let Some((entry, reason)) = self.qos2.pop_taken() {
            let packet_identifier = entry.packet_identifier;
            if entry.mark == Mark::Again {
                if !self.received.contains(packet_identifier, RECORDED) {
                    // Its PUBREL came in the meantime.
                    continue;
                }
            } else if reason.is_error() {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                self.received.remove(packet_identifier);
            } else {
                self.received.insert(packet_identifier, RECORDED);
                if let Some(journal) = &mut output.journal {
                    journal.put_received(packet_identifier);
                }
            }
            let ack = self.qos2.acknowledgement(&entry, reason);
            output.answer_when_stored(Answer::Received(ack));
        }
    }

    /// PUBREL: answered in any case, since the server waits for the answer.
    pub(crate) fn handle_pubrel(&mut self, packet_identifier: PacketIdentifier, output: &mut Output) {
        if self.received.contains(packet_identifier, RECORDED) {
            self.received.remove(packet_identifier);
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
            if let Some(journal) = &mut output.journal {
                journal.delete_received(packet_identifier);
            }
            output.answer_when_stored(Answer::Complete(packet_identifier, PubRelReasonCode::Success));
        } else {
            // In 3.x there is no word for it.
            let reason = PubRelReasonCode::PacketIdentifierNotFound;
            output.answer_when_stored(Answer::Complete(packet_identifier, reason));
        }
    }

    /// A new connection: the server counts anew, and topic aliases are forgotten. It is told no more than there is room
    /// for, now that messages of earlier connections may be untaken.
    pub(crate) fn open(&mut self, limits: &InboundLimits) {
        self.unacknowledged = 0;
        self.aliases = None;
        let room = limits.hard_messages.saturating_sub(self.untaken.messages[1] as usize);
        let room = u16::try_from(room).unwrap_or(u16::MAX);
        self.receive_maximum = limits.receive_maximum.min(NonZeroU16::new(room).unwrap_or(NonZeroU16::MIN));
    }

    pub(crate) fn handle_close(&mut self) {
        self.aliases = None;
        self.overtaken = false;
        // A QoS 1 message that was taken will come again and be delivered again; its acknowledgement never left.
        self.qos1.become_stale(|entry| entry.taken.is_none() && entry.mark != Mark::Abandoned);
        let received = &mut self.received;
        self.qos2.become_stale(|entry| {
            if entry.mark == Mark::Abandoned {
                received.remove(entry.packet_identifier);
            }
            !matches!(entry.mark, Mark::Again | Mark::Abandoned)
        });
    }

    /// An earlier process has acknowledged this QoS 2 message.
    pub(crate) fn restore(&mut self, packet_identifier: PacketIdentifier) {
        self.received.insert(packet_identifier, RECEIVED);
        self.received.insert(packet_identifier, RECORDED);
    }

    /// QoS 2 identifiers whose PUBREC has left, or is about to.
    pub(crate) fn recorded(&self) -> impl Iterator<Item = PacketIdentifier> + '_ {
        self.received.iter(RECORDED)
    }

    /// The server has lost the session: identifiers mean nothing any more, tokens do nothing.
    pub(crate) fn lose_session(&mut self) {
        self.received = IdSets::default();
        self.qos1.lose_session();
        self.qos2.lose_session();
    }
}

impl Untaken {
    /// A message does not wait any more.
    #[inline]
    fn leave(&mut self, qos: QoS, bytes: u32) {
        // A token of another session would be a mistake, not a reason to panic.
        let kind = kind(qos);
        self.messages[kind] = self.messages[kind].saturating_sub(1);
        self.bytes[kind] = self.bytes[kind].saturating_sub(bytes as usize);
    }
}

impl Waiting {
    #[inline]
    fn push(&mut self, packet_identifier: PacketIdentifier, bytes: u32) -> u64 {
        let place = self.base + self.entries.len() as u64;
        self.entries.push_back(Entry::new(packet_identifier, place, bytes));
        place
    }

    /// The place and the entry of a message that came on this connection.
    #[inline]
    fn find(&mut self, token: u64) -> Option<(u64, &mut Entry)> {
        let place = self.rare.as_ref().and_then(|rare| rare.moved.get(&token).copied()).unwrap_or(token);
        let entry = place.checked_sub(self.base).and_then(|i| self.entries.get_mut(i as usize))?;
        (entry.token == token).then_some((place, entry))
    }

    fn entry(&mut self, token: u64) -> Option<&mut Entry> {
        self.find(token).map(|(_, entry)| entry)
    }

    /// Returns whether an acknowledgement may have become due, and notes when it is not the oldest that was taken.
    #[inline]
    fn take(&mut self, token: u64, reason: PubAckReasonCode, qos: QoS, overtaken: &mut bool) -> bool {
        let base = self.base;
        if let Some((place, entry)) = self.find(token) {
            entry.taken = Some(reason);
            *overtaken |= place != base;
            return true;
        }
        if let Some(rare) = &mut self.rare {
            rare.take(token, reason, qos);
        }
        false
    }

    /// The token of the message that holds back the acknowledgements of others.
    fn holder(&self) -> Option<u64> {
        let front = self.entries.front().filter(|front| front.taken.is_none())?;
        self.entries.iter().rev().any(|entry| entry.taken.is_some()).then_some(front.token)
    }

    /// A message of QoS 2 that is with the application has come again: it has its place in the order of arrival, and
    /// its token. Returns whether there was one.
    fn revive(&mut self, packet_identifier: PacketIdentifier) -> bool {
        let place = self.base + self.entries.len() as u64;
        let Some(rare) = &mut self.rare else { return false };
        let Some(token) = rare.stale_ids.remove(&packet_identifier) else { return false };
        let Some(Stale { bytes, taken, .. }) = rare.stale.remove(&token) else { return false };
        rare.moved.insert(token, place);
        self.entries.push_back(Entry { taken, ..Entry::new(packet_identifier, token, bytes) });
        true
    }

    #[inline]
    fn pop_taken(&mut self) -> Option<(Entry, PubAckReasonCode)> {
        let reason = self.entries.front()?.taken?;
        let entry = self.entries.pop_front()?;
        self.base += 1;
        if let Some(rare) = &mut self.rare {
            rare.moved.remove(&entry.token);
        }
        Some((entry, reason))
    }

    /// What the server is told of a message that was taken.
    #[inline]
    fn acknowledgement(&mut self, entry: &Entry, reason: PubAckReasonCode) -> PubAck {
        let mut ack = Ack::new(entry.packet_identifier, reason);
        if entry.mark == Mark::Explained {
            let details = self.rare.as_mut().and_then(|rare| rare.details.remove(&entry.token));
            ack.properties = details.map(|details| {
                let Details { reason_string, user_properties } = *details;
                Box::new(AckProperties { reason_string, user_properties })
            });
        }
        ack
    }

    fn become_stale(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        self.base += self.entries.len() as u64;
        if self.entries.is_empty() {
            return;
        }
        let rare = self.rare.get_or_insert_default();
        rare.moved.clear();
        rare.details.clear();
        rare.holder = None;
        for entry in self.entries.drain(..).filter(|entry| keep(entry)) {
            let Entry { packet_identifier, token, bytes, taken, .. } = entry;
            rare.stale.insert(token, Stale { packet_identifier, bytes, taken, superseded: false });
            rare.stale_ids.insert(packet_identifier, token);
        }
    }

    /// Only what is superseded stays so.
    fn lose_session(&mut self) {
        let Some(rare) = self.rare.take() else { return };
        let mut stale = rare.stale;
        stale.retain(|_, stale| stale.superseded);
        if !stale.is_empty() {
            self.rare = Some(Box::new(Rare { stale, superseded: rare.superseded, ..Rare::default() }));
        }
    }
}

impl Entry {
    #[inline]
    fn new(packet_identifier: PacketIdentifier, token: u64, bytes: u32) -> Self {
        Self { packet_identifier, token, bytes, taken: None, mark: Mark::None }
    }
}

impl Rare {
    /// A QoS 1 message has come, again or not. Returns the size of the copy that it replaces, if there is one: what is
    /// said for the first time is another message, of a session that began unnoticed.
    fn supersede(&mut self, packet_identifier: PacketIdentifier, duplicate: bool) -> Option<u32> {
        let token = self.stale_ids.remove(&packet_identifier).filter(|_| duplicate)?;
        let stale = self.stale.get_mut(&token)?;
        stale.superseded = true;
        self.superseded = true;
        Some(stale.bytes)
    }

    fn take(&mut self, token: u64, reason: PubAckReasonCode, qos: QoS) {
        let Some(stale) = self.stale.get_mut(&token) else { return };
        if qos == QoS::ExactlyOnce {
            // When it comes again it is acknowledged, not delivered.
            stale.taken = Some(reason);
            return;
        }
        self.forget(token);
    }

    /// Returns the packet identifier that a stale message had.
    fn forget(&mut self, token: u64) -> Option<PacketIdentifier> {
        let packet_identifier = self.stale.remove(&token)?.packet_identifier;
        if self.stale_ids.get(&packet_identifier) == Some(&token) {
            self.stale_ids.remove(&packet_identifier);
        }
        Some(packet_identifier)
    }
}
