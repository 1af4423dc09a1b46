//! What is refused, as what, and with which reason code: one table.

mod notation;

use DecodeErrorKind::*;
use DisconnectReasonCode::{
    MalformedPacket as Malformed, PacketTooLarge as TooLarge, ProtocolError as Protocol, TopicAliasInvalid,
    TopicNameInvalid,
};
use bytes::BytesMut;
use martlet_proto::Version::{V3_1, V3_1_1, V5};
use martlet_proto::{
    DecodeErrorKind, DisconnectReasonCode, Field, Packet, PacketType, PropertyId, PublishProperties,
    PublishRef, TextError, TopicError, Version,
};
use notation::bytes;

type Row = (Version, &'static str, DecodeErrorKind, DisconnectReasonCode);

/// The limit of all rows.
const LIMIT: u32 = 1000;

const fn text(field: Field, error: TextError) -> DecodeErrorKind {
    Text { field, error }
}

const fn name(field: Field, error: TopicError) -> DecodeErrorKind {
    TopicName { field, error }
}

const fn value(property: PropertyId, value: u32) -> DecodeErrorKind {
    PropertyValue { property, value }
}

const PLUS_AT_0: TopicError = TopicError::Wildcard { wildcard: '+', at: 0 };

const FIXED_HEADER: &[Row] = &[
    (V3_1, "00", ReservedPacketType(0), Malformed),
    (V5, "0f 00", ReservedPacketType(0), Malformed),
    (V3_1, "f0 00", ReservedPacketType(15), Malformed),
    (V3_1_1, "f0", ReservedPacketType(15), Malformed),
    (V5, "11", FixedHeaderFlags(1), Malformed),
    (V5, "28", FixedHeaderFlags(8), Malformed),
    (V5, "42 02 0001", FixedHeaderFlags(2), Malformed),
    (V5, "60 02 0001", FixedHeaderFlags(0), Malformed),
    (V5, "6a 02 0001", FixedHeaderFlags(10), Malformed),
    (V3_1_1, "8a", FixedHeaderFlags(10), Malformed),
    (V3_1_1, "aa", FixedHeaderFlags(10), Malformed),
    (V3_1, "83", FixedHeaderFlags(3), Malformed),
    (V3_1, "4a", FixedHeaderFlags(10), Malformed),
    (V5, "e1", FixedHeaderFlags(1), Malformed),
    (V5, "f1", FixedHeaderFlags(1), Malformed),
    (V5, "36", Qos(3), Malformed),
    (V3_1, "3f", Qos(3), Malformed),
    (V3_1_1, "38", DuplicateQos0, Malformed),
    (V5, "c0 80808080", IntegerTooLong, Malformed),
    (V5, "c0 ffffffff 7f", IntegerTooLong, Malformed),
    (V5, "c0 80808000", IntegerOverlong, Malformed),
    (V3_1_1, "c0 8000", IntegerOverlong, Malformed),
    (V5, "30 ff00", IntegerOverlong, Malformed),
    // The size is known long before the packet is there.
    (V5, "30 ffffff7f", PacketTooLarge { size: 268_435_460, limit: LIMIT }, TooLarge),
    (V5, "30 e607", PacketTooLarge { size: 1001, limit: LIMIT }, TooLarge),
    (V3_1, "c0 01 00", TrailingBytes(1), Malformed),
    (V5, "d0 02 0000", TrailingBytes(2), Malformed),
    (V3_1_1, "e0 01 00", TrailingBytes(1), Malformed),
];

const CONNECT: &[Row] = &[
    (V5, "10 00", Truncated(Field::ProtocolName), Malformed),
    (V5, "10 02 0004", Truncated(Field::ProtocolName), Malformed),
    (V5, "10 06 0004 'MQTT'", Truncated(Field::ProtocolLevel), Malformed),
    (V5, "10 07 0004 'MQTT' 05", Truncated(Field::ConnectFlags), Malformed),
    (V5, "10 08 0004 'MQTT' 05 02", Truncated(Field::KeepAlive), Malformed),
    (V5, "10 0a 0004 'MQTT' 05 02 003c", Truncated(Field::PropertyLength), Malformed),
    (V5, "10 0b 0004 'MQTT' 05 02 003c 00", Truncated(Field::ClientIdentifier), Malformed),
    (V5, "10 0b 0004 'MQTT' 05 02 003c 05", Truncated(Field::Properties), Malformed),
    (V5, "10 0d 0004 'MQTT' 05 06 003c 00 0000", Truncated(Field::PropertyLength), Malformed),
    (V5, "10 0e 0004 'MQTT' 05 06 003c 00 0000 00", Truncated(Field::WillTopic), Malformed),
    (V5, "10 11 0004 'MQTT' 05 06 003c 00 0000 00 0001 'w'", Truncated(Field::WillPayload), Malformed),
    (V5, "10 0d 0004 'MQTT' 05 82 003c 00 0000", Truncated(Field::UserName), Malformed),
    (V5, "10 0d 0004 'MQTT' 05 42 003c 00 0000", Truncated(Field::Password), Malformed),
    (V5, "10 0e 0004 'MQTT' 05 02 003c 00 0000 00", TrailingBytes(1), Malformed),
    (V5, "10 0d 0004 'MQTt' 05 02 003c 00 0000", ProtocolName, Protocol),
    (V5, "10 09 0000 05 02 003c 00 0000", ProtocolName, Protocol),
    (
        V5,
        "10 0d 0004 'MQ' 0000 05 02 003c 00 0000",
        text(Field::ProtocolName, TextError::Null { at: 2 }),
        Malformed,
    ),
    (V5, "10 0d 0004 'MQTT' 06 02 003c 00 0000", ProtocolLevel(6), Protocol),
    (V5, "10 0c 0004 'MQTT' 03 02 003c 0000", ProtocolLevel(3), Protocol),
    (V5, "10 0e 0006 'MQIsdp' 04 02 003c 0000", ProtocolLevel(4), Protocol),
    (V5, "10 0c 0004 'MQTT' 84 02 003c 0000", ProtocolLevel(0x84), Protocol),
    // Reserved flag; QoS 3 of the will; QoS or retain without a will; a password without a user name.
    (V5, "10 0d 0004 'MQTT' 05 03 003c 00 0000", ConnectFlags(0x03), Malformed),
    (V3_1_1, "10 0c 0004 'MQTT' 04 03 003c 0000", ConnectFlags(0x03), Malformed),
    (V5, "10 0d 0004 'MQTT' 05 1e 003c 00 0000", ConnectFlags(0x1e), Malformed),
    (V5, "10 0d 0004 'MQTT' 05 0a 003c 00 0000", ConnectFlags(0x0a), Malformed),
    (V5, "10 0d 0004 'MQTT' 05 22 003c 00 0000", ConnectFlags(0x22), Malformed),
    (V3_1_1, "10 0f 0004 'MQTT' 04 42 003c 0000 0001 'p'", ConnectFlags(0x42), Malformed),
    (V3_1, "10 11 0006 'MQIsdp' 03 42 003c 0000 0001 'p'", ConnectFlags(0x42), Malformed),
    (
        V3_1_1,
        "10 0d 0004 'MQTT' 04 02 003c 0001 ff",
        text(Field::ClientIdentifier, TextError::NotUtf8 { at: 0 }),
        Malformed,
    ),
    (
        V3_1_1,
        "10 10 0004 'MQTT' 04 06 003c 0000 0000 0000",
        name(Field::WillTopic, TopicError::Empty),
        Malformed,
    ),
    (
        V3_1_1,
        "10 11 0004 'MQTT' 04 06 003c 0000 0001 '+' 0000",
        name(Field::WillTopic, PLUS_AT_0),
        TopicNameInvalid,
    ),
    (
        V3_1_1,
        "10 0f 0004 'MQTT' 04 82 003c 0000 0001 00",
        text(Field::UserName, TextError::Null { at: 0 }),
        Malformed,
    ),
    (V5, "10 10 0004 'MQTT' 05 02 003c 03 21 0000 0000", value(PropertyId::ReceiveMaximum, 0), Protocol),
    (
        V5,
        "10 12 0004 'MQTT' 05 02 003c 05 27 00000000 0000",
        value(PropertyId::MaximumPacketSize, 0),
        Protocol,
    ),
    (
        V5,
        "10 0f 0004 'MQTT' 05 02 003c 02 17 02 0000",
        value(PropertyId::RequestProblemInformation, 2),
        Protocol,
    ),
    (V5, "10 11 0004 'MQTT' 05 02 003c 04 16 0001 'd' 0000", AuthenticationDataAlone, Protocol),
    (
        V5,
        "10 12 0004 'MQTT' 05 02 003c 05 18 00000000 0000",
        PropertyNotAllowed(PropertyId::WillDelayInterval),
        Malformed,
    ),
    (
        V5,
        "10 15 0004 'MQTT' 05 06 003c 00 0000 03 23 0001 0001 'w' 0000",
        PropertyNotAllowed(PropertyId::TopicAlias),
        Malformed,
    ),
];

const CONNACK: &[Row] = &[
    (V5, "20 00", Truncated(Field::ConnectAcknowledgeFlags), Malformed),
    (V5, "20 01 00", Truncated(Field::ReasonCode), Malformed),
    (V5, "20 02 00 00", Truncated(Field::PropertyLength), Malformed),
    (V5, "20 02 00 06", ReasonCode(6), Malformed),
    (V5, "20 03 00 01 00", ReasonCode(1), Malformed),
    (V3_1_1, "20 02 00 06", ReasonCode(6), Malformed),
    (V3_1, "20 02 00 80", ReasonCode(0x80), Malformed),
    (V3_1_1, "20 03 00 00 00", TrailingBytes(1), Malformed),
    (V3_1_1, "20 02 02 00", ConnAckFlags(2), Malformed),
    (V5, "20 03 81 00 00", ConnAckFlags(0x81), Malformed),
    (V5, "20 05 00 00 02 24 02", value(PropertyId::MaximumQos, 2), Protocol),
    (V5, "20 06 00 00 03 21 0000", value(PropertyId::ReceiveMaximum, 0), Protocol),
    (V5, "20 07 00 00 04 25 01 25 01", DuplicateProperty(PropertyId::RetainAvailable), Protocol),
    (V5, "20 07 00 00 04 16 0001 'd'", AuthenticationDataAlone, Protocol),
    (V5, "20 06 00 00 03 23 0001", PropertyNotAllowed(PropertyId::TopicAlias), Malformed),
];

const PUBLISH: &[Row] = &[
    (V5, "30 00", Truncated(Field::TopicName), Malformed),
    (V5, "30 01 00", Truncated(Field::TopicName), Malformed),
    (V3_1_1, "30 03 0002 'a'", Truncated(Field::TopicName), Malformed),
    (V3_1_1, "32 03 0001 'a'", Truncated(Field::PacketIdentifier), Malformed),
    (V3_1_1, "34 04 0001 'a' 00", Truncated(Field::PacketIdentifier), Malformed),
    (V5, "30 03 0001 'a'", Truncated(Field::PropertyLength), Malformed),
    (V5, "30 04 0001 'a' 80", Truncated(Field::PropertyLength), Malformed),
    (V5, "30 04 0001 'a' 02", Truncated(Field::Properties), Malformed),
    (V3_1_1, "32 05 0001 'a' 0000", PacketIdentifierZero, Malformed),
    (V5, "34 06 0001 'a' 0000 00", PacketIdentifierZero, Malformed),
    (V3_1, "30 02 0000", NoTopic, Protocol),
    (V3_1_1, "30 02 0000", NoTopic, Protocol),
    (V5, "30 03 0000 00", NoTopic, Protocol),
    (V5, "30 05 0000 02 01 00", NoTopic, Protocol),
    (V5, "30 04 0001 '+' 00", name(Field::TopicName, PLUS_AT_0), TopicNameInvalid),
    (
        V3_1_1,
        "30 05 0003 'a/#'",
        name(Field::TopicName, TopicError::Wildcard { wildcard: '#', at: 2 }),
        TopicNameInvalid,
    ),
    (V3_1_1, "30 04 0002 'a' 00", text(Field::TopicName, TextError::Null { at: 1 }), Malformed),
    (V3_1_1, "30 05 0003 eda080", text(Field::TopicName, TextError::NotUtf8 { at: 0 }), Malformed),
    (V3_1_1, "30 04 0002 c080", text(Field::TopicName, TextError::NotUtf8 { at: 0 }), Malformed),
    (V3_1_1, "30 05 0003 'a' c328", text(Field::TopicName, TextError::NotUtf8 { at: 1 }), Malformed),
    (V3_1_1, "30 06 0004 f4908080", text(Field::TopicName, TextError::NotUtf8 { at: 0 }), Malformed),
    (V5, "30 05 0001 'a' 01 00", UnknownProperty(0), Malformed),
    (V5, "30 05 0001 'a' 01 7f", UnknownProperty(0x7f), Malformed),
    (V5, "30 06 0001 'a' 02 8002", UnknownProperty(256), Malformed),
    (V5, "30 06 0001 'a' 02 8100", IntegerOverlong, Malformed),
    (V5, "30 08 0001 'a' 04 80808080", IntegerTooLong, Malformed),
    (V5, "30 05 0001 'a' 01 80", Truncated(Field::PropertyIdentifier), Malformed),
    (V5, "30 05 0001 'a' 8000", IntegerOverlong, Malformed),
    (V5, "30 08 0001 'a' 80808080 00", IntegerTooLong, Malformed),
    (V5, "30 05 0001 'a' 01 01", Truncated(Field::Property(PropertyId::PayloadFormatIndicator)), Malformed),
    (V5, "30 06 0001 'a' 02 01 02", value(PropertyId::PayloadFormatIndicator, 2), Protocol),
    (
        V5,
        "30 08 0001 'a' 04 02 000000",
        Truncated(Field::Property(PropertyId::MessageExpiryInterval)),
        Malformed,
    ),
    // A property does not reach into the payload.
    (
        V5,
        "30 09 0001 'a' 04 02 000000 00",
        Truncated(Field::Property(PropertyId::MessageExpiryInterval)),
        Malformed,
    ),
    (V5, "30 07 0001 'a' 03 23 0000", value(PropertyId::TopicAlias, 0), TopicAliasInvalid),
    (V5, "30 06 0001 'a' 02 0b 00", value(PropertyId::SubscriptionIdentifier, 0), Protocol),
    (V5, "30 07 0001 'a' 03 0b 8000", IntegerOverlong, Malformed),
    (V5, "30 09 0001 'a' 05 0b 80808080", IntegerTooLong, Malformed),
    (V5, "30 08 0001 'a' 04 01 00 01 00", DuplicateProperty(PropertyId::PayloadFormatIndicator), Protocol),
    (V5, "30 0a 0001 'a' 06 23 0001 23 0001", DuplicateProperty(PropertyId::TopicAlias), Protocol),
    (V5, "30 0a 0001 'a' 06 09 0000 09 0000", DuplicateProperty(PropertyId::CorrelationData), Protocol),
    (V5, "30 0a 0001 'a' 06 03 0000 03 0000", DuplicateProperty(PropertyId::ContentType), Protocol),
    (
        V5,
        "30 07 0001 'a' 03 08 0000",
        name(Field::Property(PropertyId::ResponseTopic), TopicError::Empty),
        Malformed,
    ),
    (
        V5,
        "30 08 0001 'a' 04 08 0001 '+'",
        name(Field::Property(PropertyId::ResponseTopic), PLUS_AT_0),
        TopicNameInvalid,
    ),
    (
        V5,
        "30 08 0001 'a' 04 03 0001 00",
        text(Field::Property(PropertyId::ContentType), TextError::Null { at: 0 }),
        Malformed,
    ),
    (V5, "30 08 0001 'a' 04 09 0002 00", Truncated(Field::Property(PropertyId::CorrelationData)), Malformed),
    (
        V5,
        "30 0a 0001 'a' 06 26 0001 ff 0000",
        text(Field::UserPropertyName, TextError::NotUtf8 { at: 0 }),
        Malformed,
    ),
    (
        V5,
        "30 0a 0001 'a' 06 26 0000 0001 ff",
        text(Field::UserPropertyValue, TextError::NotUtf8 { at: 0 }),
        Malformed,
    ),
    (V5, "30 07 0001 'a' 03 26 0000", Truncated(Field::UserPropertyValue), Malformed),
    (V5, "30 08 0001 'a' 04 1f 0001 's'", PropertyNotAllowed(PropertyId::ReasonString), Malformed),
];

const ACKS: &[Row] = &[
    (V3_1_1, "40 00", Truncated(Field::PacketIdentifier), Malformed),
    (V3_1_1, "50 01 00", Truncated(Field::PacketIdentifier), Malformed),
    (V3_1_1, "40 02 0000", PacketIdentifierZero, Malformed),
    (V5, "70 03 0000 00", PacketIdentifierZero, Malformed),
    (V3_1_1, "40 03 0001 00", TrailingBytes(1), Malformed),
    (V3_1, "62 04 0001 0000", TrailingBytes(2), Malformed),
    (V5, "40 03 0001 01", ReasonCode(1), Malformed),
    (V5, "50 03 0001 92", ReasonCode(0x92), Malformed),
    (V5, "62 03 0001 10", ReasonCode(0x10), Malformed),
    (V5, "70 04 0001 80 00", ReasonCode(0x80), Malformed),
    (V5, "40 05 0001 00 00 00", TrailingBytes(1), Malformed),
    (V5, "40 04 0001 00 01", Truncated(Field::Properties), Malformed),
    (V5, "40 0a 0001 00 06 1f 0000 1f 0000", DuplicateProperty(PropertyId::ReasonString), Protocol),
    (V5, "40 06 0001 00 02 01 00", PropertyNotAllowed(PropertyId::PayloadFormatIndicator), Malformed),
];

const SUBSCRIPTIONS: &[Row] = &[
    (V3_1_1, "82 02 0001", NoEntry, Protocol),
    (V5, "82 03 0001 00", NoEntry, Protocol),
    (V3_1_1, "a2 02 0001", NoEntry, Protocol),
    (V5, "a2 03 0001 00", NoEntry, Protocol),
    (V3_1_1, "90 02 0001", NoEntry, Protocol),
    (V5, "b0 03 0001 00", NoEntry, Protocol),
    (V3_1_1, "82 06 0000 0001 'a' 00", PacketIdentifierZero, Malformed),
    (V3_1_1, "82 05 0001 0001 'a'", Truncated(Field::SubscriptionOptions), Malformed),
    (V3_1_1, "82 04 0001 0001", Truncated(Field::TopicFilter), Malformed),
    (V3_1_1, "82 06 0001 0001 'a' 03", Qos(3), Protocol),
    (V5, "82 07 0001 00 0001 'a' 03", Qos(3), Protocol),
    (V3_1_1, "82 06 0001 0001 'a' 04", SubscriptionOptions(0x04), Malformed),
    (V3_1, "82 06 0001 0001 'a' 10", SubscriptionOptions(0x10), Malformed),
    (V5, "82 07 0001 00 0001 'a' 30", SubscriptionOptions(0x30), Protocol),
    (V5, "82 07 0001 00 0001 'a' 40", SubscriptionOptions(0x40), Malformed),
    (V5, "82 07 0001 00 0001 'a' f0", SubscriptionOptions(0xf0), Malformed),
    (V5, "82 10 0001 00 000a '$share/g/a' 04", NoLocalShared, Protocol),
    (V5, "82 06 0001 00 0000 00", TopicFilter(TopicError::Empty), Malformed),
    (V5, "82 08 0001 00 0002 'a#' 00", TopicFilter(TopicError::MultiLevel { at: 1 }), Malformed),
    (V5, "a2 07 0001 00 0002 '+a'", TopicFilter(TopicError::SingleLevel { at: 0 }), Malformed),
    (V5, "a2 0e 0001 00 0009 '$share//a'", TopicFilter(TopicError::ShareName), Malformed),
    (V5, "a2 0d 0001 00 0008 '$share/g'", TopicFilter(TopicError::ShareFilter), Malformed),
    (V5, "a2 06 0001 00 0001 00", text(Field::TopicFilter, TextError::Null { at: 0 }), Malformed),
    (V5, "82 09 0001 02 0b 00 0001 'a' 00", value(PropertyId::SubscriptionIdentifier, 0), Protocol),
    (
        V5,
        "82 0b 0001 04 0b 01 0b 02 0001 'a' 00",
        DuplicateProperty(PropertyId::SubscriptionIdentifier),
        Protocol,
    ),
    (V5, "a2 08 0001 02 0b 01 0001 'a'", PropertyNotAllowed(PropertyId::SubscriptionIdentifier), Malformed),
    (V3_1_1, "90 03 0001 03", ReasonCode(3), Malformed),
    (V3_1_1, "90 03 0001 87", ReasonCode(0x87), Malformed),
    (V5, "90 04 0001 00 03", ReasonCode(3), Malformed),
    (V5, "b0 04 0001 00 10", ReasonCode(0x10), Malformed),
    (V3_1_1, "b0 03 0001 00", TrailingBytes(1), Malformed),
];

const FAREWELLS: &[Row] = &[
    (V5, "e0 01 01", ReasonCode(1), Malformed),
    (V5, "e0 02 00 01", Truncated(Field::Properties), Malformed),
    (V5, "e0 03 00 00 00", TrailingBytes(1), Malformed),
    (V5, "e0 05 00 03 15 0000", PropertyNotAllowed(PropertyId::AuthenticationMethod), Malformed),
    (V5, "f0 01 18", Truncated(Field::PropertyLength), Malformed),
    (V5, "f0 01 00", Truncated(Field::PropertyLength), Malformed),
    (V5, "f0 02 01 00", ReasonCode(1), Malformed),
    (V5, "f0 06 18 04 16 0001 'd'", AuthenticationDataAlone, Protocol),
    (V5, "f0 02 18 00", AuthenticationMethodMissing, Protocol),
    (V5, "f0 02 19 00", AuthenticationMethodMissing, Protocol),
    (V5, "f0 06 00 04 1f 0001 's'", AuthenticationMethodMissing, Protocol),
    (
        V5,
        "f0 0a 18 08 15 0001 'm' 15 0001 'm'",
        DuplicateProperty(PropertyId::AuthenticationMethod),
        Protocol,
    ),
];

const TABLES: [&[Row]; 7] = [FIXED_HEADER, CONNECT, CONNACK, PUBLISH, ACKS, SUBSCRIPTIONS, FAREWELLS];

#[test]
fn each_fault_has_its_name_its_place_and_its_reason_code() {
    for &(version, row, kind, reason) in TABLES.into_iter().flatten() {
        let wire = bytes(row);
        let mut input = BytesMut::from(&wire[..]);
        let error = match Packet::decode(&mut input, version, LIMIT) {
            Err(error) => error,
            Ok(packet) => panic!("{version}: {row}: {packet:?}"),
        };
        assert_eq!((error.kind(), error.reason()), (kind, reason), "{version}: {row}");
        assert!(error.at() <= wire.len(), "{version}: {row}: at {}", error.at());
        let expected = PacketType::from_u8(wire[0] >> 4).filter(|_| !matches!(kind, ReservedPacketType(_)));
        assert_eq!(error.packet_type(), expected, "{version}: {row}");
        // The borrowed view refuses the same.
        if expected == Some(PacketType::Publish) {
            let borrowed = PublishRef::decode(&wire, version, LIMIT);
            assert_eq!(borrowed.map(|_| ()), Err(error), "{version}: {row}");
        }
    }
}

#[test]
fn every_kind_of_fault_has_a_row() {
    let kinds = "ReservedPacketType FixedHeaderFlags IntegerTooLong IntegerOverlong PacketTooLarge Truncated
        TrailingBytes Text TopicName TopicFilter NoTopic PacketIdentifierZero Qos DuplicateQos0 UnknownProperty
        PropertyNotAllowed DuplicateProperty PropertyValue AuthenticationDataAlone AuthenticationMethodMissing
        ReasonCode ProtocolName ProtocolLevel ConnectFlags ConnAckFlags NoEntry SubscriptionOptions
        NoLocalShared";
    for kind in kinds.split_whitespace() {
        let has_row = TABLES.into_iter().flatten().any(|row| {
            let debug = format!("{:?}", row.2);
            debug.split(['(', ' ']).next() == Some(kind)
        });
        assert!(has_row, "{kind}");
    }
}

#[test]
fn an_error_says_what_and_where() {
    let mut input = BytesMut::from(&bytes("30 08 0001 'a' 04 01 00 01 00")[..]);
    let error = Packet::decode(&mut input, V5, LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "malformed PUBLISH: payload format indicator stands twice (at byte 9)");
    let mut input = BytesMut::from(&b"\x00"[..]);
    let error = Packet::decode(&mut input, V5, LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "malformed packet: packet type 0 is reserved (at byte 0)");
}

/// Properties that were kept as bytes are checked as those that arrive. A topic alias among them was once dropped in
/// silence.
#[test]
fn kept_properties_are_those_of_a_message() {
    let kept = |row| PublishProperties::from_bytes(&bytes(row).into());
    let refused = |row| kept(row).unwrap_err().kind();
    assert_eq!(kept("").unwrap(), PublishProperties::default());
    assert_eq!(kept("03 0001 't' 01 01").unwrap().as_bytes(), bytes("01 01 03 0001 't'"));
    assert_eq!(refused("01 00 23 0001"), PropertyNotAllowed(PropertyId::TopicAlias));
    assert_eq!(refused("0b 01"), PropertyNotAllowed(PropertyId::SubscriptionIdentifier));
    assert_eq!(refused("01 00 01 00"), DuplicateProperty(PropertyId::PayloadFormatIndicator));
    assert_eq!(refused("02 00"), Truncated(Field::Property(PropertyId::MessageExpiryInterval)));
}

/// A limit binds before the bytes are there, and exactly.
#[test]
fn the_limit_is_exact() {
    let wire = bytes("30 08 0003 'a/b' 00 'hi'");
    for limit in 0..=20 {
        let mut input = BytesMut::from(&wire[..2]);
        let result = Packet::decode(&mut input, V5, limit);
        assert_eq!(result.is_ok(), limit >= 10, "{limit}: {result:?}");
        assert_eq!(PublishRef::decode(&wire, V5, limit).is_ok(), limit >= 10);
    }
}
