//! What is rejected, as what, and with which reason code: one table.

mod connect;
mod publish;

use super::notation::bytes;
use DecodeErrorKind::*;
use DisconnectReasonCode::{
    MalformedPacket as Malformed, PacketTooLarge as TooLarge, ProtocolError as Protocol,
    TopicAliasInvalid,
};
use bytes::BytesMut;
use martlet_proto::Version::{V3_1, V3_1_1, V5};
use martlet_proto::{
    DecodeErrorKind, DisconnectReasonCode, Field, Packet, PacketType, PropertyId,
    PublishProperties, PublishRef, TextError, TopicError, Version,
};

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

const PLUS_AT_0: TopicError = TopicError::Wildcard {
    wildcard: '+',
    at: 0,
};

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
    (
        V5,
        "30 ffffff7f",
        PacketTooLarge {
            size: 268_435_460,
            limit: LIMIT,
        },
        TooLarge,
    ),
    (
        V5,
        "30 e607",
        PacketTooLarge {
            size: 1001,
            limit: LIMIT,
        },
        TooLarge,
    ),
    (V3_1, "c0 01 00", TrailingBytes(1), Malformed),
    (V5, "d0 02 0000", TrailingBytes(2), Malformed),
    (V3_1_1, "e0 01 00", TrailingBytes(1), Malformed),
];

const ACKS: &[Row] = &[
    (
        V3_1_1,
        "40 00",
        Truncated(Field::PacketIdentifier),
        Malformed,
    ),
    (
        V3_1_1,
        "50 01 00",
        Truncated(Field::PacketIdentifier),
        Malformed,
    ),
    (V3_1_1, "40 02 0000", PacketIdentifierZero, Malformed),
    (V5, "70 03 0000 00", PacketIdentifierZero, Malformed),
    (V3_1_1, "40 03 0001 00", TrailingBytes(1), Malformed),
    (V3_1, "62 04 0001 0000", TrailingBytes(2), Malformed),
    (V5, "40 03 0001 01", ReasonCode(1), Malformed),
    (V5, "50 03 0001 92", ReasonCode(0x92), Malformed),
    (V5, "62 03 0001 10", ReasonCode(0x10), Malformed),
    (V5, "70 04 0001 80 00", ReasonCode(0x80), Malformed),
    (V5, "40 05 0001 00 00 00", TrailingBytes(1), Malformed),
    (
        V5,
        "40 04 0001 00 01",
        Truncated(Field::Properties),
        Malformed,
    ),
    (
        V5,
        "40 0a 0001 00 06 1f 0000 1f 0000",
        DuplicateProperty(PropertyId::ReasonString),
        Protocol,
    ),
    (
        V5,
        "40 06 0001 00 02 01 00",
        PropertyNotAllowed(PropertyId::PayloadFormatIndicator),
        Malformed,
    ),
];

const SUBSCRIPTIONS: &[Row] = &[
    (V3_1_1, "82 02 0001", NoEntry, Protocol),
    (V5, "82 03 0001 00", NoEntry, Protocol),
    (V3_1_1, "a2 02 0001", NoEntry, Protocol),
    (V5, "a2 03 0001 00", NoEntry, Protocol),
    (V3_1_1, "90 02 0001", NoEntry, Protocol),
    (V5, "b0 03 0001 00", NoEntry, Protocol),
    (
        V3_1_1,
        "82 06 0000 0001 'a' 00",
        PacketIdentifierZero,
        Malformed,
    ),
    (
        V3_1_1,
        "82 05 0001 0001 'a'",
        Truncated(Field::SubscriptionOptions),
        Malformed,
    ),
    (
        V3_1_1,
        "82 04 0001 0001",
        Truncated(Field::TopicFilter),
        Malformed,
    ),
    (V3_1_1, "82 06 0001 0001 'a' 03", Qos(3), Protocol),
    (V5, "82 07 0001 00 0001 'a' 03", Qos(3), Protocol),
    (
        V3_1_1,
        "82 06 0001 0001 'a' 04",
        SubscriptionOptions(0x04),
        Malformed,
    ),
    (
        V3_1,
        "82 06 0001 0001 'a' 10",
        SubscriptionOptions(0x10),
        Malformed,
    ),
    (
        V5,
        "82 07 0001 00 0001 'a' 30",
        SubscriptionOptions(0x30),
        Protocol,
    ),
    (
        V5,
        "82 07 0001 00 0001 'a' 40",
        SubscriptionOptions(0x40),
        Malformed,
    ),
    (
        V5,
        "82 07 0001 00 0001 'a' f0",
        SubscriptionOptions(0xf0),
        Malformed,
    ),
    (
        V5,
        "82 10 0001 00 000a '$share/g/a' 04",
        NoLocalShared,
        Protocol,
    ),
    (
        V5,
        "82 06 0001 00 0000 00",
        TopicFilter(TopicError::Empty),
        Malformed,
    ),
    (
        V5,
        "82 08 0001 00 0002 'a#' 00",
        TopicFilter(TopicError::MultiLevel { at: 1 }),
        Malformed,
    ),
    (
        V5,
        "a2 07 0001 00 0002 '+a'",
        TopicFilter(TopicError::SingleLevel { at: 0 }),
        Malformed,
    ),
    (
        V5,
        "a2 0e 0001 00 0009 '$share//a'",
        TopicFilter(TopicError::ShareName),
        Malformed,
    ),
    (
        V5,
        "a2 0d 0001 00 0008 '$share/g'",
        TopicFilter(TopicError::ShareFilter),
        Malformed,
    ),
    (
        V5,
        "a2 06 0001 00 0001 00",
        text(Field::TopicFilter, TextError::Null { at: 0 }),
        Malformed,
    ),
    (
        V3_1_1,
        "82 06 0001 0001 ff 00",
        text(Field::TopicFilter, TextError::NotUtf8 { at: 0 }),
        Malformed,
    ),
    (
        V5,
        "82 07 0001 00 0001 ff 00",
        text(Field::TopicFilter, TextError::NotUtf8 { at: 0 }),
        Malformed,
    ),
    (
        V3_1_1,
        "a2 05 0001 0001 ff",
        text(Field::TopicFilter, TextError::NotUtf8 { at: 0 }),
        Malformed,
    ),
    (
        V5,
        "a2 06 0001 00 0001 ff",
        text(Field::TopicFilter, TextError::NotUtf8 { at: 0 }),
        Malformed,
    ),
    (
        V5,
        "82 09 0001 02 0b 00 0001 'a' 00",
        value(PropertyId::SubscriptionIdentifier, 0),
        Protocol,
    ),
    (
        V5,
        "82 0b 0001 04 0b 01 0b 02 0001 'a' 00",
        DuplicateProperty(PropertyId::SubscriptionIdentifier),
        Protocol,
    ),
    (
        V5,
        "a2 08 0001 02 0b 01 0001 'a'",
        PropertyNotAllowed(PropertyId::SubscriptionIdentifier),
        Malformed,
    ),
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
    (
        V5,
        "e0 05 00 03 15 0000",
        PropertyNotAllowed(PropertyId::AuthenticationMethod),
        Malformed,
    ),
    (V5, "f0 01 18", Truncated(Field::PropertyLength), Malformed),
    (V5, "f0 01 00", Truncated(Field::PropertyLength), Malformed),
    (V5, "f0 02 01 00", ReasonCode(1), Malformed),
    (
        V5,
        "f0 06 18 04 16 0001 'd'",
        AuthenticationDataAlone,
        Protocol,
    ),
    (V5, "f0 02 18 00", AuthenticationMethodMissing, Protocol),
    (V5, "f0 02 19 00", AuthenticationMethodMissing, Protocol),
    (
        V5,
        "f0 06 00 04 1f 0001 's'",
        AuthenticationMethodMissing,
        Protocol,
    ),
    (
        V5,
        "f0 0a 18 08 15 0001 'm' 15 0001 'm'",
        DuplicateProperty(PropertyId::AuthenticationMethod),
        Protocol,
    ),
];

const TABLES: [&[Row]; 7] = [
    FIXED_HEADER,
    connect::CONNECT,
    connect::CONNACK,
    publish::PUBLISH,
    ACKS,
    SUBSCRIPTIONS,
    FAREWELLS,
];

#[test]
fn each_fault_has_its_name_its_place_and_its_reason_code() {
    for &(version, row, kind, reason) in TABLES.into_iter().flatten() {
        let wire = bytes(row);
        let mut input = BytesMut::from(&wire[..]);
        let error = match Packet::decode(&mut input, version, LIMIT) {
            Err(error) => error,
            Ok(packet) => panic!("{version}: {row}: {packet:?}"),
        };
        assert_eq!(
            (error.kind(), error.reason()),
            (kind, reason),
            "{version}: {row}"
        );
        assert!(
            error.at() <= wire.len(),
            "{version}: {row}: at {}",
            error.at()
        );
        let expected =
            PacketType::from_u8(wire[0] >> 4).filter(|_| !matches!(kind, ReservedPacketType(_)));
        assert_eq!(error.packet_type(), expected, "{version}: {row}");
        // The borrowed view rejects the same.
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
    assert_eq!(
        error.to_string(),
        "malformed PUBLISH: duplicate payload format indicator (at byte 9)"
    );
    let mut input = BytesMut::from(&b"\x00"[..]);
    let error = Packet::decode(&mut input, V5, LIMIT).unwrap_err();
    assert_eq!(
        error.to_string(),
        "malformed packet: packet type 0 is reserved (at byte 0)"
    );
}

/// Properties that were kept as bytes are checked as those that arrive. A topic alias among them
/// was once dropped in silence.
#[test]
fn kept_properties_are_those_of_a_message() {
    let kept = |row| PublishProperties::from_bytes(&bytes(row).into());
    let rejected = |row| kept(row).unwrap_err().kind();
    assert_eq!(kept("").unwrap(), PublishProperties::default());
    assert_eq!(
        kept("03 0001 't' 01 01").unwrap().as_bytes(),
        bytes("01 01 03 0001 't'")
    );
    assert_eq!(
        rejected("01 00 23 0001"),
        PropertyNotAllowed(PropertyId::TopicAlias)
    );
    assert_eq!(
        rejected("0b 01"),
        PropertyNotAllowed(PropertyId::SubscriptionIdentifier)
    );
    assert_eq!(
        rejected("01 00 01 00"),
        DuplicateProperty(PropertyId::PayloadFormatIndicator)
    );
    assert_eq!(
        rejected("02 00"),
        Truncated(Field::Property(PropertyId::MessageExpiryInterval))
    );
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
