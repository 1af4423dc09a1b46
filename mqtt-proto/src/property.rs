//! Properties (MQTT 5 §2.2.2): one table says of each its type, where it may stand and how often.

use crate::PacketType;
use crate::error::{DecodeError, DecodeErrorKind, Fault, Field};
use crate::text::Utf8String;
use crate::wire::{Reader, Sink, Span, counted, share_text};
use alloc::vec::Vec;
use bytes::Bytes;
use core::num::NonZeroU32;

/// Name-value pairs with a meaning of the users' own; their order is kept, names may repeat (MQTT 5 §3.3.2.3.7).
pub type UserProperties = Vec<(Utf8String, Utf8String)>;

/// Names a subscription in the messages that it brings: 1 to 268,435,455 (MQTT 5 §3.8.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionIdentifier(NonZeroU32);

impl SubscriptionIdentifier {
    /// The largest identifier.
    pub const MAX: u32 = 268_435_455;

    /// `None` for 0 and above [`MAX`](Self::MAX).
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(value) if value.get() <= Self::MAX => Some(Self(value)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// Where properties stand: in a packet, or in the will of a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    Connect,
    Will,
    ConnAck,
    Publish,
    Ack,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
}

/// The data types of properties, with their ranges.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A byte that is 0 or 1.
    Bool,
    U16,
    NonZeroU16,
    U32,
    NonZeroU32,
    /// A variable byte integer that is not 0.
    Variable,
    Text,
    /// A string that is a topic name.
    Name,
    Binary,
    Pair,
}

/// One property as it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    Number(u32),
    Span(Span),
    Pair(Span, Span),
}

macro_rules! properties {
    ($($id:ident = $value:literal, $text:literal, $kind:ident, [$($place:ident)+];)+) => {
        /// A property (MQTT 5 §2.2.2.2).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum PropertyId {
            $(#[doc = concat!("`", stringify!($value), "`: ", $text, ".")] $id = $value,)+
        }

        impl PropertyId {
            /// All properties, in the order of their identifiers.
            pub const ALL: &'static [Self] = &[$(Self::$id,)+];

            /// The property of this identifier.
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$id),)+
                    _ => None,
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$id => $text,)+
                }
            }
        }

        /// What is known of each identifier, at its place.
        const TABLE: [Option<Entry>; 0x2B] = {
            let mut table = [None; 0x2B];
            $(table[$value] = Some(Entry {
                id: PropertyId::$id,
                kind: Kind::$kind,
                places: 0 $(| 1 << Place::$place as u8)+,
            });)+
            table
        };
    };
}

/// A row of the table below.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: PropertyId,
    kind: Kind,
    /// A bit for each [`Place`].
    places: u16,
}

properties! {
    PayloadFormatIndicator = 0x01, "payload format indicator", Bool, [Publish Will];
    MessageExpiryInterval = 0x02, "message expiry interval", U32, [Publish Will];
    ContentType = 0x03, "content type", Text, [Publish Will];
    ResponseTopic = 0x08, "response topic", Name, [Publish Will];
    CorrelationData = 0x09, "correlation data", Binary, [Publish Will];
    SubscriptionIdentifier = 0x0B, "subscription identifier", Variable, [Publish Subscribe];
    SessionExpiryInterval = 0x11, "session expiry interval", U32, [Connect ConnAck Disconnect];
    AssignedClientIdentifier = 0x12, "assigned client identifier", Text, [ConnAck];
    ServerKeepAlive = 0x13, "server keep alive", U16, [ConnAck];
    AuthenticationMethod = 0x15, "authentication method", Text, [Connect ConnAck Auth];
    AuthenticationData = 0x16, "authentication data", Binary, [Connect ConnAck Auth];
    RequestProblemInformation = 0x17, "request problem information", Bool, [Connect];
    WillDelayInterval = 0x18, "will delay interval", U32, [Will];
    RequestResponseInformation = 0x19, "request response information", Bool, [Connect];
    ResponseInformation = 0x1A, "response information", Text, [ConnAck];
    ServerReference = 0x1C, "server reference", Text, [ConnAck Disconnect];
    ReasonString = 0x1F, "reason string", Text, [ConnAck Ack SubAck UnsubAck Disconnect Auth];
    ReceiveMaximum = 0x21, "receive maximum", NonZeroU16, [Connect ConnAck];
    TopicAliasMaximum = 0x22, "topic alias maximum", U16, [Connect ConnAck];
    TopicAlias = 0x23, "topic alias", NonZeroU16, [Publish];
    MaximumQos = 0x24, "maximum QoS", Bool, [ConnAck];
    RetainAvailable = 0x25, "retain available", Bool, [ConnAck];
    UserProperty = 0x26, "user property", Pair,
        [Connect Will ConnAck Publish Ack Subscribe SubAck Unsubscribe UnsubAck Disconnect Auth];
    MaximumPacketSize = 0x27, "maximum packet size", NonZeroU32, [Connect ConnAck];
    WildcardSubscriptionAvailable = 0x28, "wildcard subscription available", Bool, [ConnAck];
    SubscriptionIdentifierAvailable = 0x29, "subscription identifier available", Bool, [ConnAck];
    SharedSubscriptionAvailable = 0x2A, "shared subscription available", Bool, [ConnAck];
}

impl PropertyId {
    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    const fn may_repeat(self, place: Place) -> bool {
        match self {
            Self::UserProperty => true,
            Self::SubscriptionIdentifier => matches!(place, Place::Publish),
            _ => false,
        }
    }
}

impl core::fmt::Display for PropertyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

/// Reads the properties of one place one by one, checking each against the table.
#[derive(Clone, Copy)]
pub(crate) struct PropertyReader<'a, F = DecodeError> {
    reader: Reader<'a, F>,
    place: Place,
    seen: u64,
}

impl<'a, F: Fault> PropertyReader<'a, F> {
    /// Reads the property length; what it announces must be there. `reader` then stands behind the properties.
    #[inline]
    pub(crate) fn new(reader: &mut Reader<'a, F>, place: Place) -> Result<Self, F> {
        let len = reader.variable_integer(Field::PropertyLength)? as usize;
        Ok(Self { reader: reader.part(len, Field::Properties)?, place, seen: 0 })
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

    /// Checks all and tells which there are. Apart from its caller, whose path without properties stays short.
    #[inline(never)]
    pub(crate) fn check(mut self) -> Result<PropertySet, F> {
        while self.next()?.is_some() {}
        Ok(PropertySet(self.seen))
    }

    /// The next property; `None` behind the last.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(PropertyId, Value)>, F> {
        let Some(number) = self.reader.peek() else { return Ok(None) };
        let Some(&Some(Entry { id, kind, places })) = TABLE.get(usize::from(number)) else {
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
    fn value(&mut self, id: PropertyId, kind: Kind) -> Result<Value, F> {
        let reader = &mut self.reader;
        let field = Field::Property(id);
        let (value, max, nonzero) = match kind {
            Kind::Bool => (u32::from(reader.u8(field)?), 1, false),
            Kind::U16 => (u32::from(reader.u16(field)?), u32::MAX, false),
            Kind::NonZeroU16 => (u32::from(reader.u16(field)?), u32::MAX, true),
            Kind::U32 => (reader.u32(field)?, u32::MAX, false),
            Kind::NonZeroU32 => (reader.u32(field)?, u32::MAX, true),
            Kind::Variable => (reader.variable_integer(field)?, u32::MAX, true),
            Kind::Text => return reader.text_span(field).map(Value::Span),
            Kind::Name => return reader.name_span(field).map(Value::Span),
            Kind::Binary => return reader.span(field).map(Value::Span),
            Kind::Pair => {
                return Ok(Value::Pair(
                    reader.text_span(Field::UserPropertyName)?,
                    reader.text_span(Field::UserPropertyValue)?,
                ));
            }
        };
        if value > max || (nonzero && value == 0) {
            return Err(reader.error(DecodeErrorKind::PropertyValue { property: id, value }));
        }
        Ok(Value::Number(value))
    }
}

/// An identifier is a variable byte integer on paper; every one that exists takes one byte.
#[cold]
fn unknown<F: Fault>(mut reader: Reader<'_, F>) -> F {
    match reader.variable_integer(Field::PropertyIdentifier) {
        Ok(number) => reader.error(DecodeErrorKind::UnknownProperty(number)),
        Err(error) => error,
    }
}

impl<'a> PropertyReader<'a> {
    /// Over properties that were checked before: `bytes` from `start` on.
    pub(crate) fn again(bytes: &'a [u8], start: usize) -> Self {
        Self { reader: Reader::new(PacketType::Publish, bytes, start), place: Place::Publish, seen: 0 }
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

impl Value {
    /// The number of a numeric property.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Number(value) => value,
            Self::Span(_) | Self::Pair(..) => unreachable!("the table gives numbers to numeric properties"),
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

    pub(crate) fn pair(self, frame: &Bytes) -> (Utf8String, Utf8String) {
        match self {
            Self::Pair(name, value) => (share_text(name, frame), share_text(value, frame)),
            Self::Number(_) | Self::Span(_) => unreachable!("the table gives pairs to user properties"),
        }
    }
}

/// Writes properties that are set; each method is a no-op for what is not.
pub(crate) struct PropertyWriter<'a>(pub(crate) &'a mut dyn Sink);

impl PropertyWriter<'_> {
    pub(crate) fn u8(&mut self, id: PropertyId, value: Option<u8>) {
        if let Some(value) = value {
            self.0.u8(id.as_u8());
            self.0.u8(value);
        }
    }

    pub(crate) fn bool(&mut self, id: PropertyId, value: Option<bool>) {
        self.u8(id, value.map(u8::from));
    }

    pub(crate) fn u16(&mut self, id: PropertyId, value: Option<u16>) {
        if let Some(value) = value {
            self.0.u8(id.as_u8());
            self.0.u16(value);
        }
    }

    pub(crate) fn u32(&mut self, id: PropertyId, value: Option<u32>) {
        if let Some(value) = value {
            self.0.u8(id.as_u8());
            self.0.u32(value);
        }
    }

    pub(crate) fn subscription_identifier(&mut self, value: Option<SubscriptionIdentifier>) {
        if let Some(value) = value {
            self.0.u8(PropertyId::SubscriptionIdentifier.as_u8());
            self.0.variable_integer(value.get());
        }
    }

    pub(crate) fn bytes(&mut self, id: PropertyId, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.0.u8(id.as_u8());
            self.0.prefixed(value);
        }
    }

    pub(crate) fn text(&mut self, id: PropertyId, value: Option<&Utf8String>) {
        self.bytes(id, value.map(Utf8String::as_bytes));
    }

    pub(crate) fn user(&mut self, pairs: &UserProperties) {
        for (name, value) in pairs {
            self.0.u8(PropertyId::UserProperty.as_u8());
            self.0.prefixed(name.as_bytes());
            self.0.prefixed(value.as_bytes());
        }
    }
}

/// The property length and the properties.
pub(crate) fn write_properties(sink: &mut impl Sink, write: impl Fn(&mut PropertyWriter<'_>)) {
    counted(sink, |sink| write(&mut PropertyWriter(sink)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_specification_s() {
        assert_eq!(PropertyId::ALL.len(), 27);
        for id in 0..=255u8 {
            if let Some(property) = PropertyId::from_u8(id) {
                assert_eq!(property.as_u8(), id);
            }
        }
        assert_eq!(SubscriptionIdentifier::new(0), None);
        assert_eq!(SubscriptionIdentifier::new(268_435_456), None);
        assert_eq!(
            SubscriptionIdentifier::new(268_435_455).map(SubscriptionIdentifier::get),
            Some(268_435_455)
        );
    }
}
