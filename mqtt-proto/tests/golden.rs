//! What each packet is in bytes, in each version that has it: one table, used both ways.

#![expect(clippy::unwrap_used, reason = "a table that is wrong fails its test")]

mod notation;

use bytes::{BufMut, BytesMut};
use martlet_proto::Version::{V3_1, V3_1_1, V5};
use martlet_proto::*;
use notation::bytes;

type Row = (Version, Packet, &'static str);

fn id(value: u16) -> PacketIdentifier {
    PacketIdentifier::new(value).unwrap()
}

fn text(text: &'static str) -> Utf8String {
    Utf8String::from_static(text).unwrap()
}

fn data(bytes: &'static [u8]) -> BinaryData {
    BinaryData::new(bytes).unwrap()
}

fn name(text: &'static str) -> TopicName {
    TopicName::from_static(text).unwrap()
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

fn user() -> UserProperties {
    vec![(text("k"), text("v")), (text("k"), text(""))]
}

/// Every property of a message.
fn message_properties() -> PublishProperties {
    PublishProperties::builder()
        .payload_is_utf8(true)
        .message_expiry_interval(60)
        .response_topic(name("r"))
        .correlation_data(data(b"\x00\xff"))
        .content_type(text("t/x"))
        .user_property(text("k"), text("v"))
        .user_property(text("k"), text(""))
        .build()
}

fn connects() -> Vec<Row> {
    let plain = |version| Connect::new(version, text("c"));
    let resumed = |version| Connect { clean_start: false, keep_alive: 0, ..plain(version) };
    let will = |qos, retain| Will { qos, retain, ..Will::new(name("w"), data(b"bye")) };
    let full = |version| Connect {
        will: Some(will(QoS::ExactlyOnce, true)),
        user_name: Some(text("u")),
        password: Some(data(b"p\x00")),
        ..plain(version)
    };
    let rows = [
        (plain(V3_1), "10 0f 0006 'MQIsdp' 03 02 003c 0001 'c'"),
        (plain(V3_1_1), "10 0d 0004 'MQTT' 04 02 003c 0001 'c'"),
        (plain(V5), "10 0e 0004 'MQTT' 05 02 003c 00 0001 'c'"),
        (resumed(V3_1), "10 0f 0006 'MQIsdp' 03 00 0000 0001 'c'"),
        (resumed(V3_1_1), "10 0d 0004 'MQTT' 04 00 0000 0001 'c'"),
        (resumed(V5), "10 0e 0004 'MQTT' 05 00 0000 00 0001 'c'"),
        (Connect::new(V3_1_1, text("")), "10 0c 0004 'MQTT' 04 02 003c 0000"),
        (
            Connect { clean_start: false, ..Connect::new(V5, text("")) },
            "10 0d 0004 'MQTT' 05 00 003c 00 0000",
        ),
        (full(V3_1), "10 1e 0006 'MQIsdp' 03 f6 003c 0001 'c' 0001 'w' 0003 'bye' 0001 'u' 0002 'p' 00"),
        (full(V3_1_1), "10 1c 0004 'MQTT' 04 f6 003c 0001 'c' 0001 'w' 0003 'bye' 0001 'u' 0002 'p' 00"),
        (full(V5), "10 1e 0004 'MQTT' 05 f6 003c 00 0001 'c' 00 0001 'w' 0003 'bye' 0001 'u' 0002 'p' 00"),
        (
            Connect { will: Some(will(QoS::AtMostOnce, false)), ..plain(V3_1_1) },
            "10 15 0004 'MQTT' 04 06 003c 0001 'c' 0001 'w' 0003 'bye'",
        ),
        (
            Connect { will: Some(will(QoS::AtLeastOnce, false)), ..plain(V3_1_1) },
            "10 15 0004 'MQTT' 04 0e 003c 0001 'c' 0001 'w' 0003 'bye'",
        ),
        (
            Connect { user_name: Some(text("")), ..plain(V3_1_1) },
            "10 0f 0004 'MQTT' 04 82 003c 0001 'c' 0000",
        ),
        (
            // A password without a user name is new in MQTT 5.
            Connect { password: Some(data(b"p")), ..plain(V5) },
            "10 11 0004 'MQTT' 05 42 003c 00 0001 'c' 0001 'p'",
        ),
        (
            Connect {
                properties: ConnectProperties {
                    session_expiry_interval: Some(u32::MAX),
                    receive_maximum: Some(id(10)),
                    maximum_packet_size: core::num::NonZeroU32::new(1024),
                    topic_alias_maximum: Some(5),
                    request_response_information: Some(true),
                    request_problem_information: Some(false),
                    authentication_method: Some(text("m")),
                    authentication_data: Some(data(b"\x01")),
                    user_properties: user(),
                },
                ..plain(V5)
            },
            "10 37 0004 'MQTT' 05 02 003c 29 11 ffffffff 27 00000400 21 000a 22 0005 19 01 17 00
             15 0001 'm' 16 0001 01 26 0001 'k' 0001 'v' 26 0001 'k' 0000 0001 'c'",
        ),
        (
            Connect {
                will: Some(Will {
                    delay_interval: Some(7),
                    properties: message_properties(),
                    ..Will::new(name("w"), data(b""))
                }),
                ..plain(V5)
            },
            "10 3c 0004 'MQTT' 05 06 003c 00 0001 'c' 28 18 00000007 01 01 02 0000003c 08 0001 'r'
             09 0002 00ff 03 0003 't/x' 26 0001 'k' 0001 'v' 26 0001 'k' 0000 0001 'w' 0000",
        ),
    ];
    rows.into_iter().map(|(connect, bytes)| (connect.version, connect.into(), bytes)).collect()
}

fn connacks() -> Vec<Row> {
    use ConnectReasonCode::*;
    let plain = |present, reason| ConnAck { session_present: present, ..ConnAck::new(reason) }.into();
    let with =
        |properties| Packet::from(ConnAck { session_present: true, properties, ..ConnAck::new(Success) });
    let none = ConnAckProperties::default;
    vec![
        (V3_1, plain(false, Success), "20 02 00 00"),
        (V3_1, plain(false, NotAuthorized), "20 02 00 05"),
        (V3_1_1, plain(false, Success), "20 02 00 00"),
        (V3_1_1, plain(true, Success), "20 02 01 00"),
        (V3_1_1, plain(false, UnsupportedProtocolVersion), "20 02 00 01"),
        (V3_1_1, plain(false, ClientIdentifierNotValid), "20 02 00 02"),
        (V3_1_1, plain(false, ServerUnavailable), "20 02 00 03"),
        (V3_1_1, plain(false, BadUserNameOrPassword), "20 02 00 04"),
        (V3_1_1, plain(false, NotAuthorized), "20 02 00 05"),
        (V5, plain(false, Success), "20 03 00 00 00"),
        (V5, plain(true, Success), "20 03 01 00 00"),
        (V5, plain(false, NotAuthorized), "20 03 00 87 00"),
        (V5, with(ConnAckProperties { retain_available: Some(false), ..none() }), "20 05 01 00 02 25 00"),
        (
            V5,
            with(ConnAckProperties { maximum_qos: Some(QoS::AtLeastOnce), ..none() }),
            "20 05 01 00 02 24 01",
        ),
        (
            V5,
            with(ConnAckProperties {
                session_expiry_interval: Some(1),
                receive_maximum: Some(id(2)),
                maximum_qos: Some(QoS::AtMostOnce),
                retain_available: Some(true),
                maximum_packet_size: core::num::NonZeroU32::new(3),
                assigned_client_identifier: Some(text("a")),
                topic_alias_maximum: Some(4),
                reason_string: Some(text("s")),
                user_properties: user(),
                wildcard_subscription_available: Some(false),
                subscription_identifier_available: Some(true),
                shared_subscription_available: Some(false),
                server_keep_alive: Some(5),
                response_information: Some(text("i")),
                server_reference: Some(text("h")),
                authentication_method: Some(text("m")),
                authentication_data: Some(data(b"d")),
            }),
            "20 45 01 00 42 11 00000001 21 0002 24 00 25 01 27 00000003 12 0001 'a' 22 0004 1f 0001 's'
             26 0001 'k' 0001 'v' 26 0001 'k' 0000 28 00 29 01 2a 00 13 0005 1a 0001 'i' 1c 0001 'h'
             15 0001 'm' 16 0001 'd'",
        ),
    ]
}

fn publishes() -> Vec<Row> {
    let topic = name("a/b");
    let new = || PublishRef::new(&topic, b"hi");
    let row =
        |version, publish: PublishRef<'_>, bytes| (version, Packet::from(Publish::from(publish)), bytes);
    let once = |duplicate| Delivery::AtLeastOnce { packet_identifier: id(10), duplicate };
    let exactly = |duplicate| Delivery::ExactlyOnce { packet_identifier: id(0xffff), duplicate };
    let identifiers = [1, 127, 128, 268_435_455].map(|n| SubscriptionIdentifier::new(n).unwrap());
    let properties = message_properties();
    let mut rows = Vec::new();
    for version in [V3_1, V3_1_1] {
        rows.extend([
            row(version, new(), "30 07 0003 'a/b' 'hi'"),
            row(version, new().with_retain(true), "31 07 0003 'a/b' 'hi'"),
            row(version, PublishRef::new(&topic, b""), "30 05 0003 'a/b'"),
            row(version, new().with_delivery(once(false)), "32 09 0003 'a/b' 000a 'hi'"),
            row(version, new().with_delivery(once(true)), "3a 09 0003 'a/b' 000a 'hi'"),
            row(version, new().with_delivery(exactly(false)), "34 09 0003 'a/b' ffff 'hi'"),
            row(version, new().with_delivery(exactly(true)).with_retain(true), "3d 09 0003 'a/b' ffff 'hi'"),
            // U+FEFF is a character like any other [MQTT-1.5.4-3].
            row(version, PublishRef::new(&name("\u{feff}é"), b""), "30 07 0005 efbbbf c3a9"),
        ]);
    }
    rows.extend([
        row(V5, new(), "30 08 0003 'a/b' 00 'hi'"),
        row(V5, new().with_retain(true), "31 08 0003 'a/b' 00 'hi'"),
        row(V5, PublishRef::new(&topic, b""), "30 06 0003 'a/b' 00"),
        row(V5, new().with_delivery(once(false)), "32 0a 0003 'a/b' 000a 00 'hi'"),
        row(V5, new().with_delivery(once(true)), "3a 0a 0003 'a/b' 000a 00 'hi'"),
        row(V5, new().with_delivery(exactly(false)), "34 0a 0003 'a/b' ffff 00 'hi'"),
        row(V5, new().with_delivery(exactly(true)).with_retain(true), "3d 0a 0003 'a/b' ffff 00 'hi'"),
        row(V5, new().with_topic_alias(id(7)), "30 0b 0003 'a/b' 03 23 0007 'hi'"),
        row(V5, new().with_topic_alias_only(id(7)), "30 08 0000 03 23 0007 'hi'"),
        row(V5, new().with_message_expiry_interval(1), "30 0d 0003 'a/b' 05 02 00000001 'hi'"),
        row(
            V5,
            new().with_subscription_identifiers(&identifiers),
            "30 14 0003 'a/b' 0c 0b 01 0b 7f 0b 8001 0b ffffff7f 'hi'",
        ),
        row(
            V5,
            new().with_properties(&properties),
            "30 2b 0003 'a/b' 23 01 01 02 0000003c 08 0001 'r' 09 0002 00ff 03 0003 't/x'
             26 0001 'k' 0001 'v' 26 0001 'k' 0000 'hi'",
        ),
        row(
            V5,
            new()
                .with_delivery(once(false))
                .with_properties(&properties)
                .with_message_expiry_interval(2)
                .with_topic_alias(id(0xffff))
                .with_subscription_identifiers(&identifiers[..1]),
            "32 32 0003 'a/b' 000a 28 01 01 02 00000002 23 ffff 08 0001 'r' 09 0002 00ff 03 0003 't/x'
             0b 01 26 0001 'k' 0001 'v' 26 0001 'k' 0000 'hi'",
        ),
        row(
            V5,
            new().with_properties(&PublishProperties::builder().payload_is_utf8(false).build()),
            "30 0a 0003 'a/b' 02 01 00 'hi'",
        ),
    ]);
    rows
}

fn full<R>(reason: R) -> Ack<R> {
    Ack::new(id(1), reason)
        .with_properties(AckProperties { reason_string: Some(text("s")), user_properties: user() })
}

fn acks() -> Vec<Row> {
    use PubAckReasonCode as A;
    use PubRelReasonCode as R;
    let mut rows = Vec::new();
    for version in Version::ALL {
        rows.extend([
            (version, Packet::PubAck(Ack::new(id(1), A::Success)), "40 02 0001"),
            (version, Packet::PubRec(Ack::new(id(0x1234), A::Success)), "50 02 1234"),
            (version, Packet::PubRel(Ack::new(id(0xffff), R::Success)), "62 02 ffff"),
            (version, Packet::PubComp(Ack::new(id(0x100), R::Success)), "70 02 0100"),
        ]);
    }
    rows.extend([
        (V5, Packet::PubAck(Ack::new(id(1), A::NoMatchingSubscribers)), "40 03 0001 10"),
        (V5, Packet::PubRec(Ack::new(id(1), A::QuotaExceeded)), "50 03 0001 97"),
        (V5, Packet::PubRel(Ack::new(id(1), R::PacketIdentifierNotFound)), "62 03 0001 92"),
        (V5, Packet::PubComp(Ack::new(id(1), R::PacketIdentifierNotFound)), "70 03 0001 92"),
        (
            V5,
            Packet::PubAck(full(A::Success)),
            "40 15 0001 00 11 1f 0001 's' 26 0001 'k' 0001 'v' 26 0001 'k' 0000",
        ),
        (
            V5,
            Packet::PubRec(full(A::NotAuthorized)),
            "50 15 0001 87 11 1f 0001 's' 26 0001 'k' 0001 'v' 26 0001 'k' 0000",
        ),
        (
            V5,
            Packet::PubRel(full(R::PacketIdentifierNotFound)),
            "62 15 0001 92 11 1f 0001 's' 26 0001 'k' 0001 'v' 26 0001 'k' 0000",
        ),
        (
            V5,
            Packet::PubComp(
                Ack::new(id(1), R::Success).with_properties(AckProperties {
                    reason_string: Some(text("s")),
                    user_properties: vec![],
                }),
            ),
            "70 08 0001 00 04 1f 0001 's'",
        ),
    ]);
    rows
}

fn subscribes() -> Vec<Row> {
    let two = || {
        vec![
            Subscription::new(filter("a/#"), QoS::AtLeastOnce),
            Subscription::new(filter("+"), QoS::ExactlyOnce),
        ]
    };
    let subscribe = |subscriptions| Subscribe {
        packet_identifier: id(10),
        subscription_identifier: None,
        user_properties: vec![],
        subscriptions,
    };
    let unsubscribe = |user_properties| Unsubscribe {
        packet_identifier: id(10),
        user_properties,
        filters: vec![filter("a/#"), filter("$share/g/+")],
    };
    let mut rows = Vec::new();
    for version in [V3_1, V3_1_1] {
        rows.extend([
            (version, subscribe(two()).into(), "82 0c 000a 0003 'a/#' 01 0001 '+' 02"),
            (
                version,
                subscribe(vec![Subscription::new(filter("a"), QoS::AtMostOnce)]).into(),
                "82 06 000a 0001 'a' 00",
            ),
            (version, unsubscribe(vec![]).into(), "a2 13 000a 0003 'a/#' 000a '$share/g/+'"),
        ]);
    }
    let options = Subscription {
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
        ..Subscription::new(filter("a"), QoS::ExactlyOnce)
    };
    let late = Subscription {
        retain_handling: RetainHandling::DoNotSend,
        ..Subscription::new(filter("$share/g/a"), QoS::AtMostOnce)
    };
    rows.extend([
        (V5, subscribe(two()).into(), "82 0d 000a 00 0003 'a/#' 01 0001 '+' 02"),
        (
            V5,
            Subscribe {
                subscription_identifier: SubscriptionIdentifier::new(128),
                user_properties: user(),
                ..subscribe(vec![options, late])
            }
            .into(),
            "82 24 000a 10 0b 8001 26 0001 'k' 0001 'v' 26 0001 'k' 0000 0001 'a' 1e 000a '$share/g/a' 20",
        ),
        (V5, unsubscribe(vec![]).into(), "a2 14 000a 00 0003 'a/#' 000a '$share/g/+'"),
        (
            V5,
            unsubscribe(user()).into(),
            "a2 21 000a 0d 26 0001 'k' 0001 'v' 26 0001 'k' 0000 0003 'a/#' 000a '$share/g/+'",
        ),
    ]);
    rows
}

fn subscribe_acks() -> Vec<Row> {
    use SubAckReasonCode::*;
    let suback =
        |reasons| SubAck { packet_identifier: id(10), reason_string: None, user_properties: vec![], reasons };
    let unsuback = |reasons| UnsubAck {
        packet_identifier: id(10),
        reason_string: None,
        user_properties: vec![],
        reasons,
    };
    vec![
        (V3_1, suback(vec![GrantedQos0, GrantedQos1, GrantedQos2]).into(), "90 05 000a 00 01 02"),
        (V3_1_1, suback(vec![GrantedQos2, UnspecifiedError]).into(), "90 04 000a 02 80"),
        (V5, suback(vec![GrantedQos0, TopicFilterInvalid]).into(), "90 05 000a 00 00 8f"),
        (
            V5,
            SubAck { reason_string: Some(text("s")), user_properties: user(), ..suback(vec![GrantedQos1]) }
                .into(),
            "90 15 000a 11 1f 0001 's' 26 0001 'k' 0001 'v' 26 0001 'k' 0000 01",
        ),
        (V3_1, unsuback(vec![]).into(), "b0 02 000a"),
        (V3_1_1, unsuback(vec![]).into(), "b0 02 000a"),
        (
            V5,
            unsuback(vec![UnsubAckReasonCode::Success, UnsubAckReasonCode::NoSubscriptionExisted]).into(),
            "b0 05 000a 00 00 11",
        ),
        (
            V5,
            UnsubAck {
                reason_string: Some(text("s")),
                user_properties: user(),
                ..unsuback(vec![UnsubAckReasonCode::NotAuthorized])
            }
            .into(),
            "b0 15 000a 11 1f 0001 's' 26 0001 'k' 0001 'v' 26 0001 'k' 0000 87",
        ),
    ]
}

fn pings_and_farewells() -> Vec<Row> {
    use DisconnectReasonCode::*;
    let mut rows = Vec::new();
    for version in Version::ALL {
        rows.extend([
            (version, Packet::PingReq, "c0 00"),
            (version, Packet::PingResp, "d0 00"),
            (version, Disconnect::new(NormalDisconnection).into(), "e0 00"),
        ]);
    }
    let auth = |reason| Auth { authentication_method: Some(text("m")), ..Auth::new(reason) };
    rows.extend([
        (V5, Disconnect::new(DisconnectWithWillMessage).into(), "e0 01 04"),
        (V5, Disconnect::new(WildcardSubscriptionsNotSupported).into(), "e0 01 a2"),
        (
            V5,
            Disconnect { session_expiry_interval: Some(0), ..Disconnect::new(NormalDisconnection) }.into(),
            "e0 07 00 05 11 00000000",
        ),
        (
            V5,
            Disconnect {
                reason: ServerMoved,
                session_expiry_interval: Some(9),
                reason_string: Some(text("s")),
                user_properties: user(),
                server_reference: Some(text("h:1")),
            }
            .into(),
            "e0 1e 9d 1c 11 00000009 1f 0001 's' 26 0001 'k' 0001 'v' 26 0001 'k' 0000 1c 0003 'h:1'",
        ),
        (V5, Auth::new(AuthReasonCode::Success).into(), "f0 00"),
        (V5, auth(AuthReasonCode::ReAuthenticate).into(), "f0 06 19 04 15 0001 'm'"),
        (
            V5,
            Auth {
                authentication_data: Some(data(b"\x00")),
                reason_string: Some(text("s")),
                user_properties: user(),
                ..auth(AuthReasonCode::ContinueAuthentication)
            }
            .into(),
            "f0 1b 18 19 15 0001 'm' 16 0001 00 1f 0001 's' 26 0001 'k' 0001 'v' 26 0001 'k' 0000",
        ),
    ]);
    rows
}

/// Rows that hold in both directions.
fn table() -> Vec<Row> {
    [connects(), connacks(), publishes(), acks(), subscribes(), subscribe_acks(), pings_and_farewells()]
        .concat()
}

/// Bytes that mean the same as others but are not what is written.
fn decode_only() -> Vec<Row> {
    use PubAckReasonCode::Success;
    let properties = message_properties();
    let topic = name("a");
    let ping = |identifier| Packet::PubRel(Ack::new(id(identifier), PubRelReasonCode::Success));
    vec![
        // Acknowledgements that say what could be left out.
        (V5, Packet::PubAck(Ack::new(id(1), Success)), "40 03 0001 00"),
        (V5, Packet::PubAck(Ack::new(id(1), Success)), "40 04 0001 00 00"),
        (V5, Packet::PubRec(Ack::new(id(1), PubAckReasonCode::NotAuthorized)), "50 04 0001 87 00"),
        (V5, Packet::PubComp(Ack::new(id(1), PubRelReasonCode::Success)), "70 04 0001 00 00"),
        (V5, Disconnect::new(DisconnectReasonCode::NormalDisconnection).into(), "e0 01 00"),
        (V5, Disconnect::new(DisconnectReasonCode::NormalDisconnection).into(), "e0 02 00 00"),
        (V5, Disconnect::new(DisconnectReasonCode::ServerBusy).into(), "e0 02 89 00"),
        (V5, Auth::new(AuthReasonCode::Success).into(), "f0 02 00 00"),
        // Properties in another order; those of a message are put in order by `message_properties` only.
        (
            V5,
            Disconnect {
                reason_string: Some(text("s")),
                user_properties: vec![(text("k"), text("v"))],
                session_expiry_interval: Some(1),
                ..Disconnect::new(DisconnectReasonCode::NormalDisconnection)
            }
            .into(),
            "e0 12 00 10 26 0001 'k' 0001 'v' 1f 0001 's' 11 00000001",
        ),
        // In MQTT 5, a refusal from a server that speaks 3.x only; a reason code without its properties.
        (V5, ConnAck::new(ConnectReasonCode::UnsupportedProtocolVersion).into(), "20 02 00 01"),
        (V5, ConnAck::new(ConnectReasonCode::NotAuthorized).into(), "20 02 00 05"),
        (V5, ConnAck::new(ConnectReasonCode::UnsupportedProtocolVersion).into(), "20 02 00 84"),
        // Session present beside a refusal says nothing: it was once an error that hid why the server refused.
        (V3_1_1, ConnAck::new(ConnectReasonCode::NotAuthorized).into(), "20 02 01 05"),
        (V5, ConnAck::new(ConnectReasonCode::NotAuthorized).into(), "20 03 01 87 00"),
        // 3.1: the first byte of a CONNACK is unused; DUP marks what is sent again; flags give way to the length.
        (V3_1, ConnAck::new(ConnectReasonCode::Success).into(), "20 02 ff 00"),
        (V3_1, ping(1), "6a 02 0001"),
        (
            V3_1,
            Subscribe {
                packet_identifier: id(1),
                subscription_identifier: None,
                user_properties: vec![],
                subscriptions: vec![Subscription::new(filter("a"), QoS::AtLeastOnce)],
            }
            .into(),
            "8a 06 0001 0001 'a' 01",
        ),
        (
            V3_1,
            Unsubscribe { packet_identifier: id(1), user_properties: vec![], filters: vec![filter("a")] }
                .into(),
            "aa 05 0001 0001 'a'",
        ),
        (
            V3_1,
            SubAck {
                packet_identifier: id(1),
                reason_string: None,
                user_properties: vec![],
                reasons: vec![SubAckReasonCode::UnspecifiedError],
            }
            .into(),
            "90 03 0001 80",
        ),
        (V3_1, Connect::new(V3_1, text("c")).into(), "10 0f 0006 'MQIsdp' 03 c3 003c 0001 'c'"),
        (
            // Legal as bytes; it is the server that refuses the identifier.
            V3_1_1,
            Connect { clean_start: false, ..Connect::new(V3_1_1, text("")) }.into(),
            "10 0c 0004 'MQTT' 04 00 003c 0000",
        ),
        (
            // A will's properties in another order are put in order: they leave as properties of a message.
            V5,
            Connect {
                will: Some(Will {
                    delay_interval: Some(7),
                    properties: PublishProperties::builder()
                        .payload_is_utf8(true)
                        .content_type(text("t"))
                        .user_property(text("k"), text("v"))
                        .build(),
                    ..Will::new(name("w"), data(b""))
                }),
                ..Connect::new(V5, text("c"))
            }
            .into(),
            "10 26 0004 'MQTT' 05 06 003c 00 0001 'c' 12 26 0001 'k' 0001 'v' 03 0001 't' 18 00000007 01 01
             0001 'w' 0000",
        ),
        (
            V5,
            Publish::from(PublishRef::new(&topic, b"").with_properties(&properties)).into(),
            "30 27 0001 'a' 23
             01 01 02 0000003c 08 0001 'r' 09 0002 00ff 03 0003 't/x' 26 0001 'k' 0001 'v' 26 0001 'k' 0000",
        ),
    ]
}

/// Bytes as a test prints them.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x} ")).collect()
}

fn decode_one(version: Version, row: &str) -> Packet {
    let wire = bytes(row);
    let mut input = BytesMut::from(&wire[..]);
    input.put_slice(b"\xc0");
    let packet = Packet::decode(&mut input, version, wire.len() as u32)
        .unwrap_or_else(|error| panic!("{version}: {row}: {error}"))
        .unwrap_or_else(|| panic!("{version}: {row}: not all there"));
    assert_eq!(&input[..], b"\xc0", "{version}: {row}: what follows is not touched");
    packet
}

#[test]
fn packets_are_these_bytes() {
    for (version, packet, row) in table() {
        let mut wire = BytesMut::new();
        packet.encode(version, &mut wire).unwrap_or_else(|error| panic!("{version}: {row}: {error}"));
        assert_eq!(hex(&wire), hex(&bytes(row)), "{version}: {packet:?}");
        assert_eq!(packet.encoded_len(version), wire.len(), "{version}: {row}");
    }
}

#[test]
fn these_bytes_are_packets() {
    for (version, packet, row) in table().into_iter().chain(decode_only()) {
        assert_eq!(decode_one(version, row), packet, "{version}: {row}");
    }
}

#[test]
fn every_packet_of_every_version_has_a_row() {
    for version in Version::ALL {
        for packet_type in PacketType::ALL {
            let there =
                table().iter().any(|(v, packet, _)| *v == version && packet.packet_type() == packet_type);
            assert_eq!(there, packet_type != PacketType::Auth || version == V5, "{version}: {packet_type}");
        }
    }
}

/// All prefixes of all rows: more is needed, and nothing was taken.
#[test]
fn a_part_of_a_packet_is_not_an_error() {
    for (version, _, row) in table() {
        let wire = bytes(row);
        for end in 0..wire.len() {
            let mut input = BytesMut::from(&wire[..end]);
            assert_eq!(Packet::decode(&mut input, version, MAX_PACKET_SIZE), Ok(None), "{version}: {row}");
            assert_eq!(input.len(), end);
        }
    }
}

/// Every prefix of what follows the fixed header, with a length that says that this is all.
#[test]
fn a_packet_cut_short_is_an_error_or_another_packet() {
    for (version, _, row) in table() {
        let wire = bytes(row);
        for end in 2..wire.len() {
            let mut input = BytesMut::from(&wire[..end]);
            input[1] = (end - 2) as u8;
            if let Ok(packet) = Packet::decode(&mut input, version, MAX_PACKET_SIZE) {
                assert!(packet.is_some() && input.is_empty(), "{version}: {row} cut at {end}");
            }
        }
    }
}

#[test]
fn published_properties_read_as_they_were_set() {
    let Packet::Publish(publish) = decode_one(
        V5,
        "32 32 0003 'a/b' 000a 28 01 01 02 00000002 23 ffff 08 0001 'r' 09 0002 00ff 03 0003 't/x'
         0b 01 26 0001 'k' 0001 'v' 26 0001 'k' 0000 'hi'",
    ) else {
        panic!("a PUBLISH")
    };
    let properties = publish.properties();
    assert_eq!(properties.payload_is_utf8(), Some(true));
    assert_eq!(properties.message_expiry_interval(), Some(2));
    assert_eq!(properties.topic_alias(), Some(id(0xffff)));
    assert_eq!(properties.response_topic(), Some("r"));
    assert_eq!(properties.correlation_data(), Some(&b"\x00\xff"[..]));
    assert_eq!(properties.content_type(), Some("t/x"));
    assert_eq!(
        properties.subscription_identifiers().map(SubscriptionIdentifier::get).collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(properties.user_properties().collect::<Vec<_>>(), [("k", "v"), ("k", "")]);
    assert_eq!(publish.topic_name(), Some(name("a/b")));
    assert_eq!(publish.payload_bytes(), "hi");
    let mut detached = publish.clone();
    detached.detach();
    assert_eq!(detached, publish);
    // What goes on to other receivers, in order.
    let expected = PublishProperties::builder()
        .payload_is_utf8(true)
        .message_expiry_interval(2)
        .response_topic(name("r"))
        .correlation_data(data(b"\x00\xff"))
        .content_type(text("t/x"))
        .user_property(text("k"), text("v"))
        .user_property(text("k"), text(""))
        .build();
    assert_eq!(publish.message_properties(), expected);
}

#[test]
fn maximum_qos_2_is_spelt_by_leaving_it_out() {
    // MQTT 5 §3.2.2.3.4: the property is 0 or 1.
    let properties = ConnAckProperties { maximum_qos: Some(QoS::ExactlyOnce), ..Default::default() };
    let packet = Packet::from(ConnAck { properties, ..ConnAck::new(ConnectReasonCode::Success) });
    let mut wire = BytesMut::new();
    packet.encode(V5, &mut wire).unwrap();
    assert_eq!(hex(&wire), "20 03 00 00 00 ");
}
