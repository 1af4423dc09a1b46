//! The errors of decoding and encoding.

use crate::ground::packet_type::{MAX_REMAINING_LENGTH, PacketType};
use crate::ground::property_table::PropertyId;
use crate::ground::reason::DisconnectReasonCode;
use crate::ground::text::TextError;
use crate::ground::topic::TopicError;
use crate::ground::version::Version;

/// Bytes that are not a packet of the version in use. The stream cannot go on: close the
/// connection, in MQTT 5 after a DISCONNECT with [`reason`](Self::reason) (MQTT 5 §4.13, 3.1.1
/// §4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {}: {kind} (at byte {at})", PacketName(*.packet))]
pub struct DecodeError {
    kind: DecodeErrorKind,
    packet: Option<PacketType>,
    at: u32,
}

struct PacketName(Option<PacketType>);

impl core::fmt::Display for PacketName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(packet) => packet.fmt(f),
            None => f.write_str("packet"),
        }
    }
}

/// What is wrong, without the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// A packet type that this version does not have.
    #[error("packet type {0} is reserved")]
    ReservedPacketType(u8),
    /// Flags of the fixed header that this packet cannot have [MQTT-2.1.3-1].
    #[error("fixed header flags {0:#06b} are not allowed")]
    FixedHeaderFlags(u8),
    /// A variable byte integer of more than four bytes.
    #[error("a variable byte integer runs past four bytes")]
    IntegerTooLong,
    /// A variable byte integer that does not use the fewest bytes [MQTT-1.5.5-1].
    #[error("a variable byte integer uses more bytes than it needs")]
    IntegerOverlong,
    /// The packet is larger than the receiver allows (MQTT 5 §3.1.2.11.4).
    #[error("{size} bytes is over the limit of {limit}")]
    PacketTooLarge {
        /// The size of the whole packet, in bytes.
        size: u32,
        /// The limit, in bytes.
        limit: u32,
    },
    /// The packet ends before this field does.
    #[error("truncated in {0}")]
    Truncated(Field),
    /// Bytes behind the last field.
    #[error("{0} bytes follow its last field")]
    TrailingBytes(u32),
    /// A string that is not UTF-8 or holds U+0000.
    #[error("{field}: {error}")]
    Text {
        /// Which field.
        field: Field,
        /// What is wrong with it.
        error: TextError,
    },
    /// A topic name that is none.
    #[error("{field}: {error}")]
    TopicName {
        /// Which field.
        field: Field,
        /// What is wrong with it.
        error: TopicError,
    },
    /// A topic filter that is none.
    #[error("topic filter: {0}")]
    TopicFilter(TopicError),
    /// No topic name and no topic alias in a PUBLISH [MQTT-4.7.3-1].
    #[error("neither a topic name nor a topic alias")]
    NoTopic,
    /// Packet identifier 0.
    #[error("packet identifier 0")]
    PacketIdentifierZero,
    /// QoS 3.
    #[error("QoS {0} does not exist")]
    Qos(u8),
    /// DUP set on a message of QoS 0 [MQTT-3.3.1-2].
    #[error("DUP is set on a message of QoS 0")]
    DuplicateQos0,
    /// A property identifier that does not exist.
    #[error("property {0:#04x} does not exist")]
    UnknownProperty(u32),
    /// A property in a packet that it does not belong to.
    #[error("{0} does not belong here")]
    PropertyNotAllowed(PropertyId),
    /// A property that may stand once only.
    #[error("duplicate {0}")]
    DuplicateProperty(PropertyId),
    /// A property value out of its range.
    #[error("{property} cannot be {value}")]
    PropertyValue {
        /// Which property.
        property: PropertyId,
        /// The value it has.
        value: u32,
    },
    /// Authentication data without an authentication method (MQTT 5 §3.1.2.11.10).
    #[error("authentication data without an authentication method")]
    AuthenticationDataAlone,
    /// An AUTH that is not a plain success, without an authentication method (MQTT 5 §3.15.2.2.2).
    #[error("an authentication method is missing")]
    AuthenticationMethodMissing,
    /// A reason code, or return code, that this packet cannot carry.
    #[error("reason code {0:#04x} does not belong here")]
    ReasonCode(u8),
    /// A protocol name that is not MQTT's.
    #[error("the protocol name is not MQTT's")]
    ProtocolName,
    /// A protocol level that this crate does not speak.
    #[error("protocol level {0} is not supported")]
    ProtocolLevel(u8),
    /// CONNECT flags that contradict each other, or the reserved one [MQTT-3.1.2-3].
    #[error("connect flags {0:#010b} are not allowed")]
    ConnectFlags(u8),
    /// CONNACK flags other than session present [MQTT-3.2.2-1].
    #[error("connect acknowledge flags {0:#010b} are not allowed")]
    ConnAckFlags(u8),
    /// A SUBSCRIBE, UNSUBSCRIBE, SUBACK or UNSUBACK without an entry [MQTT-3.8.3-2, MQTT-3.10.3-2].
    #[error("it has no entry")]
    NoEntry,
    /// Subscription options with reserved bits or values [MQTT-3.8.3-5].
    #[error("subscription options {0:#010b} are not allowed")]
    SubscriptionOptions(u8),
    /// No Local on a shared subscription [MQTT-3.8.3-4].
    #[error("no local on a shared subscription")]
    NoLocalShared,
}

macro_rules! fields {
    ($($name:ident = $text:literal;)+) => {
        /// A field of a packet, by the specification's name. It takes one byte.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Field {
            $(#[doc = concat!("The ", $text, ".")] $name,)+
            /// The value of this property.
            Property(PropertyId),
        }

        impl core::fmt::Display for Field {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)+
                    Self::Property(id) => id.fmt(f),
                }
            }
        }
    };
}

fields! {
    ProtocolName = "protocol name";
    ProtocolLevel = "protocol level";
    ConnectFlags = "connect flags";
    KeepAlive = "keep alive";
    ClientIdentifier = "client identifier";
    WillTopic = "will topic";
    WillPayload = "will payload";
    UserName = "user name";
    Password = "password";
    ConnectAcknowledgeFlags = "connect acknowledge flags";
    ReasonCode = "reason code";
    PacketIdentifier = "packet identifier";
    TopicName = "topic name";
    TopicFilter = "topic filter";
    SubscriptionOptions = "subscription options";
    PropertyLength = "property length";
    Properties = "properties";
    PropertyIdentifier = "property identifier";
    UserPropertyName = "user property name";
    UserPropertyValue = "user property value";
}

// Small, so that a packet that may be an error is no larger than a packet.
const _: () = assert!(size_of::<Field>() == 1 && size_of::<DecodeError>() <= 24);

/// The error type of a reader: complete, or without any content.
///
/// A PUBLISH is first read with an empty error, so that the fields stay in registers. Malformed
/// bytes are read a second time, by the same code, to get the complete error.
pub(crate) trait ReadError: Copy {
    fn new(kind: DecodeErrorKind, packet: Option<PacketType>, at: usize) -> Self;
}

impl ReadError for DecodeError {
    #[cold]
    fn new(kind: DecodeErrorKind, packet: Option<PacketType>, at: usize) -> Self {
        Self {
            kind,
            packet,
            at: u32::try_from(at).unwrap_or(u32::MAX),
        }
    }
}

/// The error without content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EmptyError;

impl ReadError for EmptyError {
    #[inline(always)]
    fn new(_: DecodeErrorKind, _: Option<PacketType>, _: usize) -> Self {
        Self
    }
}

impl DecodeError {
    /// What is wrong.
    pub fn kind(&self) -> DecodeErrorKind {
        self.kind
    }

    /// The packet it is wrong in, once its type is known.
    pub fn packet_type(&self) -> Option<PacketType> {
        self.packet
    }

    /// The position of the fault: a byte index from the start of the packet, at or just behind it.
    pub fn at(&self) -> usize {
        self.at as usize
    }

    /// The reason code of MQTT 5 to answer with (MQTT 5 §4.13).
    pub fn reason(&self) -> DisconnectReasonCode {
        use DecodeErrorKind as Kind;
        match self.kind {
            Kind::PacketTooLarge { .. } => DisconnectReasonCode::PacketTooLarge,
            Kind::PropertyValue {
                property: PropertyId::TopicAlias,
                ..
            } => DisconnectReasonCode::TopicAliasInvalid,
            // Topic Name Invalid (0x90) is for names that are well formed but not accepted. A
            // wildcard in a name is data that the protocol does not allow [MQTT-3.3.2-2,
            // MQTT-3.3.2-14].
            Kind::TopicName {
                error: TopicError::Wildcard { .. },
                ..
            }
            | Kind::DuplicateProperty(_)
            | Kind::PropertyValue { .. }
            | Kind::AuthenticationDataAlone
            | Kind::AuthenticationMethodMissing
            | Kind::NoTopic
            | Kind::NoEntry
            | Kind::NoLocalShared
            | Kind::ProtocolName
            | Kind::ProtocolLevel(_) => DisconnectReasonCode::ProtocolError,
            // Of subscription options, reserved bits are malformed, values out of range are not
            // (MQTT 5 §3.8.3.1).
            Kind::Qos(_) if self.packet == Some(PacketType::Subscribe) => {
                DisconnectReasonCode::ProtocolError
            }
            Kind::SubscriptionOptions(options) if options >> 4 == 3 => {
                DisconnectReasonCode::ProtocolError
            }
            _ => DisconnectReasonCode::MalformedPacket,
        }
    }
}

/// A packet that cannot be written in the version asked for. Nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// More than MQTT allows (MQTT 5 §2.1.4).
    #[error("{size} bytes is over the {max} that an MQTT packet can have after its fixed header", max = MAX_REMAINING_LENGTH)]
    PacketTooLarge {
        /// Bytes after the fixed header.
        size: usize,
    },
    /// Something that this version cannot encode.
    #[error("{what} cannot be encoded in {version}")]
    NotInVersion {
        /// What was set.
        what: &'static str,
        /// The version asked for.
        version: Version,
    },
    /// A CONNECT is written in the version that it names.
    #[error("cannot encode a CONNECT for {connect} as {version}")]
    VersionMismatch {
        /// The version that the CONNECT names.
        connect: Version,
        /// The version asked for.
        version: Version,
    },
    /// A client identifier that 3.1 or 3.1.1 does not allow: 1 to 23 characters in 3.1; not empty
    /// unless clean start is set in 3.1.1 [MQTT-3.1.3-7].
    #[error("{version} does not allow a client identifier of {characters} characters here")]
    ClientIdentifier {
        /// The version asked for.
        version: Version,
        /// Its length in characters.
        characters: usize,
    },
    /// A password without a user name, which only MQTT 5 allows [MQTT-3.1.2-22].
    #[error("{version} does not allow a password without a user name")]
    PasswordAlone {
        /// The version asked for.
        version: Version,
    },
    /// A SUBSCRIBE, UNSUBSCRIBE or acknowledgement of one without an entry [MQTT-3.8.3-2].
    #[error("{0} needs at least one entry")]
    NoEntry(PacketType),
    /// No Local on a shared subscription [MQTT-3.8.3-4].
    #[error("no local cannot be set on a shared subscription")]
    NoLocalShared,
    /// Authentication data without an authentication method.
    #[error("authentication data needs an authentication method")]
    AuthenticationDataAlone,
    /// An AUTH without an authentication method that is not a plain success.
    #[error("AUTH needs an authentication method")]
    AuthenticationMethodMissing,
    /// Session present beside a failure [MQTT-3.2.2-6].
    #[error("session present cannot be set in a rejection")]
    SessionPresent,
    /// A PUBLISH without a topic name and without a topic alias.
    #[error("a PUBLISH needs a topic name or a topic alias")]
    NoTopic,
}
