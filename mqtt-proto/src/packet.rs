//! The fixed header, and the fifteen packets behind it (MQTT 5 §2.1).

use crate::ack::{Ack, PubAck, PubComp, PubRec, PubRel};
use crate::connack::ConnAck;
use crate::connect::Connect;
use crate::error::{DecodeError, DecodeErrorKind, EncodeError, Fault};
use crate::farewell::{Auth, Disconnect};
use crate::publish::Publish;
use crate::subscribe::{SubAck, Subscribe, UnsubAck, Unsubscribe};
use crate::wire::{Counter, Reader, Sink, Writer, variable_integer, variable_integer_len};
use crate::{PacketIdentifier, PubAckReasonCode, PubRelReasonCode, Version};
use alloc::boxed::Box;
use bytes::{Buf, BufMut, BytesMut};

/// The most bytes that can follow the fixed header (MQTT 5 §2.1.4).
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// The largest packet that MQTT can say, fixed header included, in bytes.
pub const MAX_PACKET_SIZE: u32 = MAX_REMAINING_LENGTH + 5;

/// The kinds of packets, by their number on the wire (MQTT 5 §2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// All types, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::ConnAck,
        Self::Publish,
        Self::PubAck,
        Self::PubRec,
        Self::PubRel,
        Self::PubComp,
        Self::Subscribe,
        Self::SubAck,
        Self::Unsubscribe,
        Self::UnsubAck,
        Self::PingReq,
        Self::PingResp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The type of this number.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1..=15 => Some(Self::ALL[value as usize - 1]),
            _ => None,
        }
    }

    /// The flags that the packet always has; PUBLISH has its own.
    const fn flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

impl core::fmt::Display for PacketType {
    /// The specification's spelling: `PUBLISH`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        })
    }
}

/// What every packet begins with: its type, its flags and how much follows (MQTT 5 §2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedHeader {
    /// The type.
    pub packet_type: PacketType,
    /// The lower four bits of the first byte.
    pub flags: u8,
    /// How many bytes follow the fixed header.
    pub remaining_length: u32,
}

impl FixedHeader {
    /// Looks at the front of `input`; `Ok(None)` when the header is not all there. Type and flags are checked as soon
    /// as the first byte is.
    ///
    /// # Errors
    /// [`DecodeError`] when no packet of `version` begins like this.
    pub fn decode(input: &[u8], version: Version) -> Result<Option<Self>, DecodeError> {
        Self::read(input, version)
    }

    #[inline(always)]
    pub(crate) fn read<F: Fault>(input: &[u8], version: Version) -> Result<Option<Self>, F> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let packet_type = match Self::first_byte(first, version) {
            Ok(packet_type) => packet_type,
            Err((kind, packet_type)) => return Err(F::new(kind, packet_type, 0)),
        };
        match variable_integer(rest) {
            Ok(Some((remaining_length, _))) => {
                Ok(Some(Self { packet_type, flags: first & 0x0f, remaining_length }))
            }
            Ok(None) => Ok(None),
            Err(kind) => Err(F::new(kind, Some(packet_type), 1)),
        }
    }

    #[inline(always)]
    fn first_byte(first: u8, version: Version) -> Result<PacketType, (DecodeErrorKind, Option<PacketType>)> {
        let (number, flags) = (first >> 4, first & 0x0f);
        if number == PacketType::Publish.as_u8() {
            let publish = Some(PacketType::Publish);
            return match flags >> 1 & 3 {
                0 if flags & 8 != 0 => Err((DecodeErrorKind::DuplicateQos0, publish)),
                3 => Err((DecodeErrorKind::Qos(3), publish)),
                _ => Ok(PacketType::Publish),
            };
        }
        let packet_type = match PacketType::from_u8(number) {
            Some(PacketType::Auth) if !version.has_properties() => None,
            known => known,
        };
        let Some(packet_type) = packet_type else {
            return Err((DecodeErrorKind::ReservedPacketType(number), None));
        };
        // In 3.1 the packets with an answer may be sent again, with DUP set (MQTT 3.1 §2.1).
        let expected = packet_type.flags();
        let repeated = version == Version::V3_1 && expected != 0 && flags == expected | 8;
        if flags != expected && !repeated {
            return Err((DecodeErrorKind::FixedHeaderFlags(flags), Some(packet_type)));
        }
        Ok(packet_type)
    }

    /// The size of the fixed header itself, in bytes.
    #[inline]
    pub const fn header_size(&self) -> usize {
        1 + variable_integer_len(self.remaining_length)
    }

    /// The size of the whole packet, in bytes.
    #[inline]
    pub const fn packet_size(&self) -> usize {
        self.header_size() + self.remaining_length as usize
    }

    #[inline(always)]
    pub(crate) fn check_size<F: Fault>(&self, limit: u32) -> Result<(), F> {
        let size = self.packet_size() as u32;
        if size > limit {
            return Err(F::new(DecodeErrorKind::PacketTooLarge { size, limit }, Some(self.packet_type), 1));
        }
        Ok(())
    }
}

/// A control packet (MQTT 5 §3). What comes once in a while is boxed, so that all are as small as a PUBLISH: 40 bytes
/// where words have 64 bits, also as the `Result<Option<Packet>, _>` of a decode.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's; each type has its documentation")]
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
    /// Takes one packet from the front of `input`. `Ok(None)`: it is not all there yet, and nothing was consumed. A
    /// CONNECT says its own version; `version` is that of all other packets. `max_size` is the largest packet to
    /// take, in bytes, fixed header included; it is checked as soon as the fixed header is there.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are malformed or the packet is too large: this stream cannot go on. What is
    /// left in `input` is then unspecified.
    // Always part of its caller, which has it in one place, so that a PUBLISH goes from here to there in registers. The
    // rest is out of line, and is not returned but written to a place of its own: the caller's result would be that
    // place too, a PUBLISH would be written there in pieces, and to move it on would be to wait for them.
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

    /// Every packet but a PUBLISH that is all there and as it should be: to `other`, but for the form that nearly every
    /// acknowledgement has, in all versions. Of that it returns the first byte and the packet identifier.
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
        let Some(header) = FixedHeader::decode(input, version)? else { return Ok(None) };
        header.check_size::<DecodeError>(max_size)?;
        if input.len() < header.packet_size() {
            return Ok(None);
        }
        let frame = input.split_to(header.packet_size()).freeze();
        let packet_type = header.packet_type;
        let reader = Reader::new(packet_type, &frame, header.header_size());
        Ok(Some(match packet_type {
            PacketType::Connect => Self::Connect(Box::new(Connect::decode(&frame, reader)?)),
            PacketType::ConnAck => Self::ConnAck(Box::new(ConnAck::decode(&frame, reader, version)?)),
            PacketType::Publish => Self::Publish(Publish::decode(frame.clone(), header, version)?),
            PacketType::PubAck => Self::PubAck(Ack::decode(&frame, reader, version)?),
            PacketType::PubRec => Self::PubRec(Ack::decode(&frame, reader, version)?),
            PacketType::PubRel => Self::PubRel(Ack::decode(&frame, reader, version)?),
            PacketType::PubComp => Self::PubComp(Ack::decode(&frame, reader, version)?),
            PacketType::Subscribe => Self::Subscribe(Box::new(Subscribe::decode(&frame, reader, version)?)),
            PacketType::SubAck => Self::SubAck(Box::new(SubAck::decode(&frame, reader, version)?)),
            PacketType::Unsubscribe => {
                Self::Unsubscribe(Box::new(Unsubscribe::decode(&frame, reader, version)?))
            }
            PacketType::UnsubAck => Self::UnsubAck(Box::new(UnsubAck::decode(&frame, reader, version)?)),
            PacketType::PingReq => {
                reader.finish()?;
                Self::PingReq
            }
            PacketType::PingResp => {
                reader.finish()?;
                Self::PingResp
            }
            PacketType::Disconnect => {
                Self::Disconnect(Box::new(Disconnect::decode(&frame, reader, version)?))
            }
            PacketType::Auth => Self::Auth(Box::new(Auth::decode(&frame, reader)?)),
        }))
    }

    /// Appends the packet. `out` must have room for [`encoded_len`](Self::encoded_len) bytes or grow, as
    /// [`BytesMut`] and `Vec` do.
    ///
    /// # Errors
    /// [`EncodeError`] when `version` has no spelling for the packet, or it is too large for MQTT. Nothing was
    /// written then.
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
        let mut writer = Writer(out);
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
    fn write(&self, version: Version, sink: &mut impl Sink) {
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

// A packet is moved once or twice on its way. What tells the kinds apart, and that it is there at all, takes no room
// beside a PUBLISH; an error is larger than one where words are 32 bits.
const _: () = {
    let publish = size_of::<bytes::Bytes>() + 8;
    let result = if size_of::<usize>() < 8 { publish + 4 } else { publish };
    assert!(size_of::<Packet>() == publish);
    assert!(size_of::<Result<Option<Packet>, DecodeError>>() == result);
};
