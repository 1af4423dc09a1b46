//! The table of properties (MQTT 5 §2.2.2): the type of each, in which packets it is allowed, and
//! how often.

use core::num::NonZeroU32;

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

/// The place of properties: a packet, or the will of a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PropertyPlace {
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
    /// Everything is allowed, once: for what was checked before.
    Any,
}

/// The data types of properties, with their ranges.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PropertyType {
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
        pub(crate) const TABLE: [Option<PropertyRow>; 0x2B] = {
            let mut table = [None; 0x2B];
            $(table[$value] = Some(PropertyRow {
                id: PropertyId::$id,
                kind: PropertyType::$kind,
                places: 1 << PropertyPlace::Any as u8 $(| 1 << PropertyPlace::$place as u8)+,
            });)+
            table
        };
    };
}

/// A row of the table below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PropertyRow {
    pub(crate) id: PropertyId,
    pub(crate) kind: PropertyType,
    /// A bit for each [`PropertyPlace`].
    pub(crate) places: u16,
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

    pub(crate) const fn may_repeat(self, place: PropertyPlace) -> bool {
        match self {
            Self::UserProperty => true,
            Self::SubscriptionIdentifier => {
                matches!(place, PropertyPlace::Publish | PropertyPlace::Any)
            }
            _ => false,
        }
    }
}

impl core::fmt::Display for PropertyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
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
