//! Bytes of the current connection that were not handed out yet.

pub(crate) mod aliases;
mod buffer;
pub(crate) mod deferred_drops;
pub(crate) mod tally;
pub use buffer::SendBuffer;

use self::aliases::{Aliases, Choice};
use self::deferred_drops::DeferredDrops;
use self::tally::Tally;
use crate::publish::{MAX_HEADERS, OutgoingPublish, reference};
use alloc::boxed::Box;
use bytes::BufMut;
use martlet_proto::{
    Ack, Delivery, EncodeError, Packet, PacketIdentifier, PacketType, PubAck, PubAckReasonCode,
    PubRec, PubRelReasonCode, Version,
};

/// Past this the session makes no more PUBLISHes until the driver has taken what there is: one
/// large write's worth.
const ENOUGH: usize = 64 * 1024;

/// Past this many bytes of them not even acknowledgements are made: a server that does not read
/// gets no more memory of ours.
const TOO_MUCH: u32 = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Output {
    buffer: SendBuffer,
    pub(crate) version: Version,
    /// The server takes acknowledgements with a reason code: the version has them, and they are not
    /// too large.
    pub(crate) takes_reasons: bool,
    /// A PINGREQ is in the buffer and was not handed out.
    pub(crate) ping_queued: bool,
    /// How many bytes of this connection were handed out.
    handed_out: u64,
    /// How many of the bytes here answer what the server has sent.
    answers: u32,
    /// What the server has learnt on this connection.
    pub(crate) aliases: Option<Box<Aliases>>,
    /// What was counted, on all connections.
    pub(crate) tally: Tally,
}

/// An answer to the server that may have to wait for the store.
#[derive(Debug)]
pub(crate) enum DelayedAnswer {
    /// PUBREC.
    Received(PubRec),
    /// PUBREL.
    Release(PacketIdentifier, PubRelReasonCode),
    /// PUBCOMP.
    Complete(PacketIdentifier, PubRelReasonCode),
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            buffer: SendBuffer::new(),
            version: Version::V5,
            takes_reasons: true,
            ping_queued: false,
            handed_out: 0,
            answers: 0,
            aliases: None,
            tally: Tally::default(),
        }
    }

    /// A new connection; nothing of an old one is left.
    pub(crate) fn open(&mut self, version: Version, deferred_drops: &mut DeferredDrops) {
        self.tally.end_connection(self.position());
        deferred_drops.clear(&mut self.buffer);
        self.version = version;
        self.takes_reasons = version.has_properties();
        self.handed_out = 0;
        self.answers = 0;
        self.aliases = None;
    }

    /// Where in the connection's bytes the next packet begins.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.handed_out + self.buffer.len() as u64
    }

    /// How many of the connection's bytes were handed out.
    pub(crate) fn handed_out(&self) -> u64 {
        self.handed_out
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.buffer.len() < ENOUGH
    }

    /// Whether what the server sends makes more answers than it takes. Messages of ours do not
    /// count: while a large one is on its way the server must be listened to.
    pub(crate) fn is_stuck(&self) -> bool {
        self.answers > TOO_MUCH
    }

    /// Moves everything to `out`.
    #[inline]
    pub(crate) fn hand_out(&mut self, out: &mut SendBuffer) -> usize {
        let n = self.buffer.len();
        if n == 0 {
            return 0;
        }
        out.append(&mut self.buffer);
        self.handed_out += n as u64;
        self.answers = 0;
        n
    }

    /// The PUBLISH of a message; `expiry` is what is left of its interval, in seconds. Its
    /// properties go only where the version has them. A topic alias is chosen here and nowhere
    /// before: what is queued, and what is sent again, has its full topic.
    #[inline]
    pub(crate) fn publish(
        &mut self,
        message: &OutgoingPublish,
        delivery: Delivery,
        expiry: Option<u32>,
    ) -> Result<(), EncodeError> {
        let mut publish = reference(message, self.version, delivery, expiry);
        if let Some(aliases) = self.aliases.as_mut().filter(|_| !delivery.duplicate()) {
            publish = match aliases.choose(message, message.size() + MAX_HEADERS) {
                Choice::Name => publish,
                Choice::Learn(alias) => publish.with_topic_alias(alias),
                Choice::Alias(alias) => publish.with_topic_alias_only(alias),
            };
        }
        publish.encode_head(self.version, self.buffer.block())?;
        self.buffer.put_payload(&message.payload);
        Ok(())
    }

    /// An acknowledgement of the usual, short form.
    #[inline]
    pub(crate) fn short_ack(
        &mut self,
        packet_type: PacketType,
        packet_identifier: PacketIdentifier,
    ) {
        let [high, low] = packet_identifier.get().to_be_bytes();
        let flags = if matches!(packet_type, PacketType::PubRel) {
            2
        } else {
            0
        };
        self.buffer
            .block()
            .put_slice(&[packet_type.as_u8() << 4 | flags, 2, high, low]);
        self.answers += 4;
        self.tally.add_short_acks(packet_type, 1);
    }

    /// Short acknowledgements, whole.
    fn short_acks(&mut self, packet_type: PacketType, acks: &[u8]) {
        if acks.is_empty() {
            return;
        }
        self.tally.add_short_acks(packet_type, acks.len() / 4);
        self.buffer.block().put_slice(acks);
        self.answers += acks.len() as u32;
    }

    /// A PUBACK or PUBREC, in its short form where that says it all.
    #[inline]
    pub(crate) fn acknowledge(&mut self, packet_type: PacketType, ack: PubAck) {
        let is_plain = ack.reason == PubAckReasonCode::Success && ack.properties.is_none();
        if is_plain || !self.takes_reasons {
            return self.short_ack(packet_type, ack.packet_identifier);
        }
        let packet = match packet_type {
            PacketType::PubAck => Packet::PubAck(ack),
            _ => Packet::PubRec(ack),
        };
        self.answer(&packet).expect("an acknowledgement of MQTT 5");
    }

    #[inline]
    pub(crate) fn write_answer(&mut self, answer: DelayedAnswer) {
        let has_reasons = self.takes_reasons;
        let packet = match answer {
            DelayedAnswer::Release(id, reason)
                if reason == PubRelReasonCode::Success || !has_reasons =>
            {
                return self.short_ack(PacketType::PubRel, id);
            }
            DelayedAnswer::Release(id, reason) => Packet::PubRel(Ack::new(id, reason)),
            DelayedAnswer::Received(ack) => return self.acknowledge(PacketType::PubRec, ack),
            DelayedAnswer::Complete(id, reason)
                if reason == PubRelReasonCode::Success || !has_reasons =>
            {
                return self.short_ack(PacketType::PubComp, id);
            }
            DelayedAnswer::Complete(id, reason) => Packet::PubComp(Ack::new(id, reason)),
        };
        self.answer(&packet)
            .expect("an acknowledgement with a reason code");
    }

    pub(crate) fn answer(&mut self, packet: &Packet) -> Result<(), EncodeError> {
        let before = self.buffer.len();
        self.packet(packet)?;
        self.answers += (self.buffer.len() - before) as u32;
        Ok(())
    }

    pub(crate) fn packet(&mut self, packet: &Packet) -> Result<(), EncodeError> {
        let before = self.buffer.len();
        packet.encode(self.version, self.buffer.block())?;
        let bytes = self.buffer.len() - before;
        self.tally.add_sent_packet(packet.packet_type(), bytes);
        Ok(())
    }
}

/// Acknowledgements of one kind in their short form, on their way to the output: written a few at a
/// time, each costs less.
pub(crate) struct ShortAcks {
    packet_type: PacketType,
    bytes: [u8; 256],
    len: usize,
}

impl ShortAcks {
    pub(crate) fn new(packet_type: PacketType) -> Self {
        Self {
            packet_type,
            bytes: [0; 256],
            len: 0,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, packet_identifier: PacketIdentifier, output: &mut Output) {
        let [high, low] = packet_identifier.get().to_be_bytes();
        let ack = [self.packet_type.as_u8() << 4, 2, high, low];
        self.bytes[self.len..][..ack.len()].copy_from_slice(&ack);
        self.len += ack.len();
        if self.len == self.bytes.len() {
            self.write(output);
        }
    }

    pub(crate) fn write(&mut self, output: &mut Output) {
        output.short_acks(self.packet_type, &self.bytes[..self.len]);
        self.len = 0;
    }
}
