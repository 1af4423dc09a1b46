//! Reads properties and checks them against the table.

use crate::ground::error::{DecodeError, DecodeErrorKind, Field, ReadError};
use crate::ground::packet_type::PacketType;
use crate::ground::property_table::{PropertyId, PropertyPlace, PropertyRow, PropertyType, TABLE};
use crate::ground::text::Utf8String;
use crate::ground::wire::{PacketReader, Span, share_text};
use bytes::Bytes;

/// One property as it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    Number(u32),
    Span(Span),
    Pair(Span, Span),
}

impl Value {
    /// The number of a numeric property.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Number(value) => value,
            Self::Span(_) | Self::Pair(..) => {
                unreachable!("the table gives numbers to numeric properties")
            }
        }
    }

    /// The place of a string or binary property.
    pub(crate) fn span(self) -> Span {
        match self {
            Self::Span(span) => span,
            Self::Number(_) | Self::Pair(..) => {
                unreachable!("the table gives spans to strings and binary data")
            }
        }
    }

    pub(crate) fn text(self, frame: &Bytes) -> Utf8String {
        share_text(self.span(), frame)
    }
}

/// Reads the properties of one place one by one, checking each against the table.
#[derive(Clone, Copy)]
pub(crate) struct PropertyReader<'a, F = DecodeError> {
    reader: PacketReader<'a, F>,
    place: PropertyPlace,
    seen: u64,
}

impl<'a, F: ReadError> PropertyReader<'a, F> {
    /// Reads the property length; what it announces must be there. `reader` then stands behind the
    /// properties.
    #[inline]
    pub(crate) fn new(reader: &mut PacketReader<'a, F>, place: PropertyPlace) -> Result<Self, F> {
        let len = reader.variable_integer(Field::PropertyLength)? as usize;
        Ok(Self {
            reader: reader.part(len, Field::Properties)?,
            place,
            seen: 0,
        })
    }

    /// Where the next property starts.
    pub(crate) fn at(&self) -> usize {
        self.reader.at()
    }

    /// Whether none is left.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.reader.remaining() == 0
    }

    /// Checks all and returns which there are. Apart from its caller, whose path without properties
    /// stays short.
    #[inline(never)]
    pub(crate) fn check(mut self) -> Result<PropertySet, F> {
        while self.next()?.is_some() {}
        Ok(PropertySet(self.seen))
    }

    /// The next property; `None` behind the last.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(PropertyId, Value)>, F> {
        let Some(number) = self.reader.peek() else {
            return Ok(None);
        };
        let Some(&Some(PropertyRow { id, kind, places })) = TABLE.get(usize::from(number)) else {
            return Err(unknown(self.reader));
        };
        self.reader.u8(Field::PropertyIdentifier)?;
        if places & (1 << self.place as u8) == 0 {
            return Err(self.not_allowed(id));
        }
        let bit = 1 << id.as_u8();
        if self.seen & bit != 0 && !id.may_repeat(self.place) {
            return Err(self.reader.error(DecodeErrorKind::DuplicateProperty(id)));
        }
        self.seen |= bit;
        let value = self.value(id, kind)?;
        Ok(Some((id, value)))
    }

    #[inline(always)]
    pub(crate) fn not_allowed(&self, id: PropertyId) -> F {
        self.reader.error(DecodeErrorKind::PropertyNotAllowed(id))
    }

    #[inline]
    fn value(&mut self, id: PropertyId, kind: PropertyType) -> Result<Value, F> {
        let reader = &mut self.reader;
        let field = Field::Property(id);
        let (value, max, nonzero) = match kind {
            PropertyType::Bool => (u32::from(reader.u8(field)?), 1, false),
            PropertyType::U16 => (u32::from(reader.u16(field)?), u32::MAX, false),
            PropertyType::NonZeroU16 => (u32::from(reader.u16(field)?), u32::MAX, true),
            PropertyType::U32 => (reader.u32(field)?, u32::MAX, false),
            PropertyType::NonZeroU32 => (reader.u32(field)?, u32::MAX, true),
            PropertyType::Variable => (reader.variable_integer(field)?, u32::MAX, true),
            PropertyType::Text => return reader.text_span(field).map(Value::Span),
            // An empty response topic is none: nobody but its publisher is to blame for it.
            PropertyType::Name if self.place == PropertyPlace::Publish => {
                return reader.name_or_nothing(field).map(Value::Span);
            }
            PropertyType::Name => return reader.name_span(field).map(Value::Span),
            PropertyType::Binary => return reader.span(field).map(Value::Span),
            PropertyType::Pair => {
                return Ok(Value::Pair(
                    reader.text_span(Field::UserPropertyName)?,
                    reader.text_span(Field::UserPropertyValue)?,
                ));
            }
        };
        if value > max || (nonzero && value == 0) {
            return Err(reader.error(DecodeErrorKind::PropertyValue {
                property: id,
                value,
            }));
        }
        Ok(Value::Number(value))
    }
}

/// An identifier is a variable byte integer on paper; every one that exists takes one byte.
#[cold]
fn unknown<F: ReadError>(mut reader: PacketReader<'_, F>) -> F {
    match reader.variable_integer(Field::PropertyIdentifier) {
        Ok(number) => reader.error(DecodeErrorKind::UnknownProperty(number)),
        Err(error) => error,
    }
}

impl<'a> PropertyReader<'a> {
    /// Over properties that were checked before: `bytes` from `start` on.
    pub(crate) fn again(bytes: &'a [u8], start: usize, place: PropertyPlace) -> Self {
        Self {
            reader: PacketReader::new(PacketType::Publish, bytes, start),
            place,
            seen: 0,
        }
    }
}

/// Which properties there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PropertySet(u64);

impl PropertySet {
    pub(crate) fn has(self, id: PropertyId) -> bool {
        self.0 & (1 << id.as_u8()) != 0
    }
}
