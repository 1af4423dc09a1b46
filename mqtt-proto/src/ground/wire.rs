//! Reading fields from a packet and writing them: integers, strings, and the sink that counts or
//! writes.

use crate::ground::error::{DecodeError, DecodeErrorKind, Field, ReadError};
use crate::ground::packet_type::PacketType;
use crate::ground::text::{BinaryData, Utf8String, check_text};
use crate::ground::topic::{TopicError, TopicFilter, TopicName, check_filter, check_name};
use bytes::{BufMut, Bytes};
use core::marker::PhantomData;

/// A packet identifier: never 0, and unique among the packets in flight in one direction
/// (MQTT 5 §2.2.1, 3.1.1 §2.3.1).
pub type PacketIdentifier = core::num::NonZeroU16;

/// A piece of the packet: where it starts, how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u16,
}

impl Span {
    pub(crate) fn of<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        &packet[self.start as usize..][..usize::from(self.len)]
    }

    fn share(&self, packet: &Bytes) -> Bytes {
        let start = self.start as usize;
        packet.slice(start..start + usize::from(self.len))
    }
}

/// Walks one whole packet from front to back. Every failure names the field and the place.
#[derive(Clone, Copy)]
pub(crate) struct PacketReader<'a, F = DecodeError> {
    packet_type: PacketType,
    packet: &'a [u8],
    /// The part of `packet` that is still to be read.
    rest: &'a [u8],
    fault: PhantomData<F>,
}

impl<'a, F: ReadError> PacketReader<'a, F> {
    #[inline]
    pub(crate) fn new(packet_type: PacketType, packet: &'a [u8], at: usize) -> Self {
        Self {
            packet_type,
            packet,
            rest: &packet[at..],
            fault: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.packet.len() - self.rest.len()
    }

    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// A reader of the next `len` bytes; this one then stands behind them.
    #[inline]
    pub(crate) fn part(&mut self, len: usize, field: Field) -> Result<Self, F> {
        let Some((part, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.truncated(field));
        };
        self.rest = rest;
        let end = self.at();
        Ok(Self {
            packet: &self.packet[..end],
            rest: part,
            ..*self
        })
    }

    #[inline(always)]
    pub(crate) fn error(&self, kind: DecodeErrorKind) -> F {
        F::new(kind, Some(self.packet_type), self.at())
    }

    #[inline(always)]
    fn truncated(&self, field: Field) -> F {
        self.error(DecodeErrorKind::Truncated(field))
    }

    /// The next byte, without taking it.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    fn take<const N: usize>(&mut self, field: Field) -> Result<[u8; N], F> {
        match self.rest.split_first_chunk::<N>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => Err(self.truncated(field)),
        }
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: Field) -> Result<u8, F> {
        self.take::<1>(field).map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: Field) -> Result<u16, F> {
        self.take(field).map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self, field: Field) -> Result<u32, F> {
        self.take(field).map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn packet_identifier(&mut self) -> Result<PacketIdentifier, F> {
        let value = self.u16(Field::PacketIdentifier)?;
        PacketIdentifier::new(value)
            .ok_or_else(|| self.error(DecodeErrorKind::PacketIdentifierZero))
    }

    #[inline]
    pub(crate) fn variable_integer(&mut self, field: Field) -> Result<u32, F> {
        match variable_integer(self.rest) {
            Ok(Some((value, len))) => {
                self.rest = &self.rest[len..];
                Ok(value)
            }
            Ok(None) => Err(self.truncated(field)),
            Err(kind) => Err(self.error(kind)),
        }
    }

    /// Two bytes of length and what they announce.
    #[inline]
    pub(crate) fn span(&mut self, field: Field) -> Result<Span, F> {
        self.announced(field).map(|(span, _)| span)
    }

    #[inline]
    fn announced(&mut self, field: Field) -> Result<(Span, &'a [u8]), F> {
        let len = self.u16(field)?;
        // A packet is at most 256 MiB, so an index fits 32 bits.
        let start = self.at() as u32;
        let Some((bytes, rest)) = self.rest.split_at_checked(usize::from(len)) else {
            return Err(self.truncated(field));
        };
        self.rest = rest;
        Ok((Span { start, len }, bytes))
    }

    #[inline]
    pub(crate) fn text_span(&mut self, field: Field) -> Result<Span, F> {
        let (span, bytes) = self.announced(field)?;
        match check_text(bytes) {
            Ok(()) => Ok(span),
            Err(error) => Err(self.error(DecodeErrorKind::Text { field, error })),
        }
    }

    /// A topic name that may not be empty.
    pub(crate) fn name_span(&mut self, field: Field) -> Result<Span, F> {
        let span = self.name_or_nothing(field)?;
        if span.len == 0 {
            return Err(self.error(DecodeErrorKind::TopicName {
                field,
                error: TopicError::Empty,
            }));
        }
        Ok(span)
    }

    #[inline]
    pub(crate) fn name_or_nothing(&mut self, field: Field) -> Result<Span, F> {
        let (span, bytes) = self.announced(field)?;
        match check_name(bytes) {
            Ok(()) => Ok(span),
            Err(TopicError::Text(error)) => Err(self.error(DecodeErrorKind::Text { field, error })),
            Err(error) => Err(self.error(DecodeErrorKind::TopicName { field, error })),
        }
    }
}

impl PacketReader<'_> {
    pub(crate) fn text(&mut self, frame: &Bytes, field: Field) -> Result<Utf8String, DecodeError> {
        Ok(share_text(self.text_span(field)?, frame))
    }

    pub(crate) fn binary(
        &mut self,
        frame: &Bytes,
        field: Field,
    ) -> Result<BinaryData, DecodeError> {
        Ok(share_binary(self.span(field)?, frame))
    }

    pub(crate) fn filter(&mut self, frame: &Bytes) -> Result<TopicFilter, DecodeError> {
        let (span, bytes) = self.announced(Field::TopicFilter)?;
        match check_filter(bytes) {
            Ok(()) => Ok(TopicFilter::from_checked(span.share(frame))),
            Err(TopicError::Text(error)) => Err(self.error(DecodeErrorKind::Text {
                field: Field::TopicFilter,
                error,
            })),
            Err(error) => Err(self.error(DecodeErrorKind::TopicFilter(error))),
        }
    }

    /// Everything must have been read.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(self.error(DecodeErrorKind::TrailingBytes(n as u32))),
        }
    }
}

pub(crate) fn share_text(span: Span, frame: &Bytes) -> Utf8String {
    Utf8String::from_checked(span.share(frame))
}

pub(crate) fn share_binary(span: Span, frame: &Bytes) -> BinaryData {
    BinaryData::from_checked(span.share(frame))
}

pub(crate) fn share_name(span: Span, frame: &Bytes) -> TopicName {
    TopicName::from_checked(span.share(frame))
}

/// The value and its length in bytes; `None` when it is not all there (MQTT 5 §1.5.5).
#[inline]
pub(crate) fn variable_integer(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeErrorKind> {
    match bytes.first() {
        Some(&byte) if byte & 0x80 == 0 => Ok(Some((u32::from(byte), 1))),
        _ => longer_integer(bytes),
    }
}

#[inline(never)]
fn longer_integer(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeErrorKind> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            if byte == 0 && i > 0 {
                return Err(DecodeErrorKind::IntegerOverlong);
            }
            return Ok(Some((value, i + 1)));
        }
    }
    if bytes.len() >= 4 {
        Err(DecodeErrorKind::IntegerTooLong)
    } else {
        Ok(None)
    }
}

/// How many bytes the variable byte integer takes.
pub(crate) const fn variable_integer_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Where a packet's fields go: counted, or written. One description of a packet serves both.
pub(crate) trait Sink {
    fn slice(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.slice(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.slice(&value.to_be_bytes());
    }

    fn variable_integer(&mut self, mut value: u32) {
        while value > 0x7f {
            self.u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8);
    }

    /// Two bytes of length, then the bytes; callers hold types that are at most 65,535 bytes long.
    fn prefixed(&mut self, bytes: &[u8]) {
        self.u16(bytes.len() as u16);
        self.slice(bytes);
    }
}

/// Counts.
#[derive(Default)]
pub(crate) struct Counter(pub(crate) usize);

impl Sink for Counter {
    fn slice(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Writes.
pub(crate) struct PacketWriter<'a, B>(pub(crate) &'a mut B);

impl<B: BufMut> Sink for PacketWriter<'_, B> {
    #[inline]
    fn slice(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }
}

/// Runs `write` against a counter first, then writes the count as a variable byte integer and the
/// bytes behind it.
pub(crate) fn counted(sink: &mut dyn Sink, write: impl Fn(&mut dyn Sink)) {
    let mut counter = Counter::default();
    write(&mut counter);
    sink.variable_integer(counter.0 as u32);
    write(sink);
}
