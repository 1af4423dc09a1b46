//! The enum of the fifteen packets (MQTT 5 §2.1): takes one from bytes, and writes one.

use crate::ground::error::{DecodeError, EncodeError};
use crate::ground::fixed_header::FixedHeader;
use crate::ground::packet_type::{MAX_REMAINING_LENGTH, PacketType};
use crate::ground::reason::{PubAckReasonCode, PubRelReasonCode};
use crate::ground::version::Version;
use crate::ground::wire::{
    Counter, PacketIdentifier, PacketReader, PacketWriter, Sink, variable_integer_len,
};
use crate::packets::ack::{Ack, PubAck, PubComp, PubRec, PubRel};
use crate::packets::auth::Auth;
use crate::packets::connack::ConnAck;
use crate::packets::connect::Connect;
use crate::packets::disconnect::Disconnect;
use crate::packets::publish::Publish;
use crate::packets::subscribe::{SubAck, Subscribe, UnsubAck, Unsubscribe};
use alloc::boxed::Box;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A control packet (MQTT 5 §3). The rare ones are boxed, so that all are as small as a
/// PUBLISH: 40 bytes where words have 64 bits, also as the `Result<Option<Packet>, _>` of a decode.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names are the specification's; each type has its documentation"
)]
pub enum Packet {
    Connect(Box<Connect>),
    ConnAck(Box<ConnAck>),
    Publish(Publish),
    PubAck(PubAck),
    PubRec(PubRec),
    PubRel(PubRel),
    PubComp(PubComp),
    Subscribe(Box<Subscribe>),
    SubAck(Box<SubAck>),
    Unsubscribe(Box<Unsubscribe>),
    UnsubAck(Box<UnsubAck>),
    PingReq,
    PingResp,
    Disconnect(Box<Disconnect>),
    Auth(Box<Auth>),
}

impl Packet {
    /// Takes one packet from the front of `input`. `Ok(None)`: it is not all there yet, and nothing
    /// was consumed. A CONNECT has its own version; `version` is that of all other packets.
    /// `max_size` is the largest packet to take, in bytes, fixed header included; it is checked as
    /// soon as the fixed header is there.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are malformed or the packet is too large: this stream cannot
    /// go on. What is left in `input` is then unspecified, but for these, which are still at its
    /// front: a PUBLISH, a packet that is too large, and a SUBACK or UNSUBACK (servers answer in
    /// the form of another version, and where such an answer ends is known).
    // Always part of its caller, which has it in one place, so that a PUBLISH goes from here to
    // there in registers. The rest is out of line, and is not returned but written to a place of
    // its own: the caller's result would be that place too, a PUBLISH would be written there in
    // pieces, and to move it on would be to wait for them.
    #[inline(always)]
    pub fn decode(
        input: &mut BytesMut,
        version: Version,
        max_size: u32,
    ) -> Result<Option<Self>, DecodeError> {
        if let Some(publish) = Publish::take(input, version, max_size) {
            return Ok(Some(Self::Publish(publish)));
        }
        let mut other = Ok(None);
        match Self::decode_other(input, version, max_size, &mut other) {
            Some((first, id)) => Ok(Some(Self::short_ack(first, id))),
            None => other,
        }
    }

    /// Every packet but a PUBLISH that is all there and as it should be: to `other`, but for the
    /// form that nearly every acknowledgement has, in all versions. Of that it returns the first
    /// byte and the packet identifier.
    #[inline(never)]
    fn decode_other(
        input: &mut BytesMut,
        version: Version,
        max_size: u32,
        other: &mut Result<Option<Self>, DecodeError>,
    ) -> Option<(u8, PacketIdentifier)> {
        if let [first @ (0x40 | 0x50 | 0x62 | 0x70), 2, high, low, ..] = **input {
            let id = PacketIdentifier::new(u16::from_be_bytes([high, low]));
            if let Some(id) = id.filter(|_| max_size >= 4) {
                input.advance(4);
                return Some((first, id));
            }
        }
        *other = Self::decode_any(input, version, max_size);
        None
    }

    #[inline(always)]
    fn short_ack(first: u8, id: PacketIdentifier) -> Self {
        match first {
            0x40 => Self::PubAck(Ack::new(id, PubAckReasonCode::Success)),
            0x50 => Self::PubRec(Ack::new(id, PubAckReasonCode::Success)),
            0x62 => Self::PubRel(Ack::new(id, PubRelReasonCode::Success)),
            _ => Self::PubComp(Ack::new(id, PubRelReasonCode::Success)),
        }
    }

    fn decode_any(
        input: &mut BytesMut,
        version: Version,
        max_size: u32,
    ) -> Result<Option<Self>, DecodeError> {
        let Some(header) = FixedHeader::decode(input, version)? else {
            return Ok(None);
        };
        header.check_size::<DecodeError>(max_size)?;
        if input.len() < header.packet_size() {
            return Ok(None);
        }
        if header.packet_type == PacketType::Publish {
            // It was rejected already. Its bytes stay where they are, for reports.
            Publish::check(&input[..header.packet_size()], header, version)?;
        }
        let frame = input.split_to(header.packet_size()).freeze();
        let decoded = Self::decode_frame(&frame, header, version);
        if decoded.is_err()
            && matches!(
                header.packet_type,
                PacketType::SubAck | PacketType::UnsubAck
            )
        {
            let rest = core::mem::replace(input, BytesMut::from(&frame[..]));
            input.unsplit(rest);
        }
        decoded.map(Some)
    }

    fn decode_frame(
        frame: &Bytes,
        header: FixedHeader,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let packet_type = header.packet_type;
        let reader = PacketReader::new(packet_type, frame, header.header_size());
        Ok(match packet_type {
            PacketType::Connect => Self::Connect(Box::new(Connect::decode(frame, reader)?)),
            PacketType::ConnAck => {
                Self::ConnAck(Box::new(ConnAck::decode(frame, reader, version)?))
            }
            PacketType::Publish => Self::Publish(Publish::decode(frame.clone(), header, version)?),
            PacketType::PubAck => Self::PubAck(Ack::decode(frame, reader, version)?),
            PacketType::PubRec => Self::PubRec(Ack::decode(frame, reader, version)?),
            PacketType::PubRel => Self::PubRel(Ack::decode(frame, reader, version)?),
            PacketType::PubComp => Self::PubComp(Ack::decode(frame, reader, version)?),
            PacketType::Subscribe => {
                Self::Subscribe(Box::new(Subscribe::decode(frame, reader, version)?))
            }
            PacketType::SubAck => Self::SubAck(Box::new(SubAck::decode(frame, reader, version)?)),
            PacketType::Unsubscribe => {
                Self::Unsubscribe(Box::new(Unsubscribe::decode(frame, reader, version)?))
            }
            PacketType::UnsubAck => {
                Self::UnsubAck(Box::new(UnsubAck::decode(frame, reader, version)?))
            }
            PacketType::PingReq => {
                reader.finish()?;
                Self::PingReq
            }
            PacketType::PingResp => {
                reader.finish()?;
                Self::PingResp
            }
            PacketType::Disconnect => {
                Self::Disconnect(Box::new(Disconnect::decode(frame, reader, version)?))
            }
            PacketType::Auth => Self::Auth(Box::new(Auth::decode(frame, reader)?)),
        })
    }

    /// Appends the packet. `out` must have room for [`encoded_len`](Self::encoded_len) bytes or
    /// grow, as [`BytesMut`] and `Vec` do.
    ///
    /// # Errors
    /// [`EncodeError`] when `version` cannot express the packet, or it is too large for MQTT.
    /// Nothing was written then.
    pub fn encode(&self, version: Version, out: &mut impl BufMut) -> Result<(), EncodeError> {
        if let Self::Publish(publish) = self {
            return publish.as_ref().encode(version, out);
        }
        let packet_type = self.packet_type();
        let first = packet_type.as_u8() << 4 | packet_type.flags();
        let short = match self {
            Self::PubAck(ack) | Self::PubRec(ack) => ack.short(),
            Self::PubRel(ack) | Self::PubComp(ack) => ack.short(),
            _ => None,
        };
        if let Some([high, low]) = short {
            out.put_slice(&[first, 2, high, low]);
            return Ok(());
        }
        self.check(version)?;
        let mut counter = Counter::default();
        self.write(version, &mut counter);
        let size = counter.0;
        if size > MAX_REMAINING_LENGTH as usize {
            return Err(EncodeError::PacketTooLarge { size });
        }
        let mut writer = PacketWriter(out);
        writer.u8(first);
        writer.variable_integer(size as u32);
        self.write(version, &mut writer);
        Ok(())
    }

    /// The size of the whole packet in bytes, fixed header included.
    pub fn encoded_len(&self, version: Version) -> usize {
        if let Self::Publish(publish) = self {
            return publish.as_ref().encoded_len(version);
        }
        let mut counter = Counter::default();
        self.write(version, &mut counter);
        1 + variable_integer_len(u32::try_from(counter.0).unwrap_or(u32::MAX)) + counter.0
    }

    /// The type.
    pub fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.check(version),
            Self::ConnAck(packet) => packet.check(version),
            Self::PubAck(packet) | Self::PubRec(packet) => packet.check(version),
            Self::PubRel(packet) | Self::PubComp(packet) => packet.check(version),
            Self::Subscribe(packet) => packet.check(version),
            Self::SubAck(packet) => packet.check(version),
            Self::Unsubscribe(packet) => packet.check(version),
            Self::UnsubAck(packet) => packet.check(version),
            Self::Disconnect(packet) => packet.check(version),
            Self::Auth(packet) => packet.check(version),
            Self::Publish(_) | Self::PingReq | Self::PingResp => Ok(()),
        }
    }

    /// What follows the fixed header.
    fn write(&self, version: Version, sink: &mut dyn Sink) {
        match self {
            Self::Connect(packet) => packet.write(version, sink),
            Self::ConnAck(packet) => packet.write(version, sink),
            Self::PubAck(packet) | Self::PubRec(packet) => packet.write(sink),
            Self::PubRel(packet) | Self::PubComp(packet) => packet.write(sink),
            Self::Subscribe(packet) => packet.write(version, sink),
            Self::SubAck(packet) => packet.write(version, sink),
            Self::Unsubscribe(packet) => packet.write(version, sink),
            Self::UnsubAck(packet) => packet.write(version, sink),
            Self::Disconnect(packet) => packet.write(sink),
            Self::Auth(packet) => packet.write(sink),
            Self::Publish(_) | Self::PingReq | Self::PingResp => {}
        }
    }
}

macro_rules! from_boxed {
    ($($name:ident)+) => {
        $(impl From<$name> for Packet {
            fn from(packet: $name) -> Self {
                Self::$name(Box::new(packet))
            }
        })+
    };
}
from_boxed!(Connect ConnAck Subscribe SubAck Unsubscribe UnsubAck Disconnect Auth);

impl From<Publish> for Packet {
    fn from(publish: Publish) -> Self {
        Self::Publish(publish)
    }
}

// A packet is moved once or twice. The discriminants of `Packet`, `Option` and `Result` take no
// room beside a PUBLISH; an error is larger than one where words are 32 bits.
const _: () = {
    let publish = size_of::<Bytes>() + 8;
    let result = if size_of::<usize>() < 8 {
        publish + 4
    } else {
        publish
    };
    assert!(size_of::<Packet>() == publish);
    assert!(size_of::<Result<Option<Packet>, DecodeError>>() == result);
};
