//! The rows that hold in both directions.

use martlet_proto::Version::{V3_1, V3_1_1, V5};
use martlet_proto::*;

pub(super) type Row = (Version, Packet, &'static str);

pub(super) fn id(value: u16) -> PacketIdentifier {
    PacketIdentifier::new(value).unwrap()
}

pub(super) fn text(text: &'static str) -> Utf8String {
    Utf8String::from_static(text).unwrap()
}

pub(super) fn data(bytes: &'static [u8]) -> BinaryData {
    BinaryData::new(bytes).unwrap()
}

pub(super) fn name(text: &'static str) -> TopicName {
    TopicName::from_static(text).unwrap()
}

pub(super) fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

pub(super) fn user() -> UserProperties {
    UserProperties::from([(text("k"), text("v")), (text("k"), text(""))])
}

/// Every property of a message.
pub(super) fn message_properties() -> PublishProperties {
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

/// A CONNECT with nothing but the identifier `c`.
fn plain(version: Version) -> Connect {
    Connect::new(version, text("c"))
}

/// The version of each row is that of its CONNECT.
fn connect_rows<const N: usize>(rows: [(Connect, &'static str); N]) -> Vec<Row> {
    rows.into_iter()
        .map(|(connect, bytes)| (connect.version, connect.into(), bytes))
        .collect()
}

pub(super) fn connects() -> Vec<Row> {
    let resumed = |version| Connect {
        clean_start: false,
        keep_alive: 0,
        ..plain(version)
    };
    connect_rows([
        (plain(V3_1), "10 0f 0006 'MQIsdp' 03 02 003c 0001 'c'"),
        (plain(V3_1_1), "10 0d 0004 'MQTT' 04 02 003c 0001 'c'"),
        (plain(V5), "10 0e 0004 'MQTT' 05 02 003c 00 0001 'c'"),
        (resumed(V3_1), "10 0f 0006 'MQIsdp' 03 00 0000 0001 'c'"),
        (resumed(V3_1_1), "10 0d 0004 'MQTT' 04 00 0000 0001 'c'"),
        (resumed(V5), "10 0e 0004 'MQTT' 05 00 0000 00 0001 'c'"),
        (
            Connect::new(V3_1_1, text("")),
            "10 0c 0004 'MQTT' 04 02 003c 0000",
        ),
        (
            Connect {
                clean_start: false,
                ..Connect::new(V5, text(""))
            },
            "10 0d 0004 'MQTT' 05 00 003c 00 0000",
        ),
    ])
}

pub(super) fn connects_with_will_or_credentials() -> Vec<Row> {
    let will = |qos, retain| Will {
        qos,
        retain,
        ..Will::new("w", "bye").expect("short")
    };
    let full = |version| Connect {
        will: Some(will(QoS::ExactlyOnce, true)),
        user_name: Some(text("u")),
        password: Some(data(b"p\x00")),
        ..plain(version)
    };
    connect_rows([
        (
            full(V3_1),
            "10 1e 0006 'MQIsdp' 03 f6 003c 0001 'c' 0001 'w' 0003 'bye' 0001 'u' 0002 'p' 00",
        ),
        (
            full(V3_1_1),
            "10 1c 0004 'MQTT' 04 f6 003c 0001 'c' 0001 'w' 0003 'bye' 0001 'u' 0002 'p' 00",
        ),
        (
            full(V5),
            "10 1e 0004 'MQTT' 05 f6 003c 00 0001 'c' 00 0001 'w' 0003 'bye' 0001 'u' 0002 'p' 00",
        ),
        (
            Connect {
                will: Some(will(QoS::AtMostOnce, false)),
                ..plain(V3_1_1)
            },
            "10 15 0004 'MQTT' 04 06 003c 0001 'c' 0001 'w' 0003 'bye'",
        ),
        (
            Connect {
                will: Some(will(QoS::AtMostOnce, true)),
                ..plain(V3_1_1)
            },
            "10 15 0004 'MQTT' 04 26 003c 0001 'c' 0001 'w' 0003 'bye'",
        ),
        (
            Connect {
                will: Some(will(QoS::AtLeastOnce, false)),
                ..plain(V3_1_1)
            },
            "10 15 0004 'MQTT' 04 0e 003c 0001 'c' 0001 'w' 0003 'bye'",
        ),
        (
            Connect {
                will: Some(will(QoS::AtLeastOnce, true)),
                ..plain(V3_1_1)
            },
            "10 15 0004 'MQTT' 04 2e 003c 0001 'c' 0001 'w' 0003 'bye'",
        ),
        (
            Connect {
                will: Some(will(QoS::ExactlyOnce, false)),
                ..plain(V3_1_1)
            },
            "10 15 0004 'MQTT' 04 16 003c 0001 'c' 0001 'w' 0003 'bye'",
        ),
        (
            Connect {
                user_name: Some(text("")),
                ..plain(V3_1_1)
            },
            "10 0f 0004 'MQTT' 04 82 003c 0001 'c' 0000",
        ),
        (
            // A password without a user name is new in MQTT 5.
            Connect {
                password: Some(data(b"p")),
                ..plain(V5)
            },
            "10 11 0004 'MQTT' 05 42 003c 00 0001 'c' 0001 'p'",
        ),
    ])
}

pub(super) fn connects_with_properties() -> Vec<Row> {
    connect_rows([
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
                    ..Will::new("w", "").expect("short")
                }),
                ..plain(V5)
            },
            "10 3c 0004 'MQTT' 05 06 003c 00 0001 'c' 28 18 00000007 01 01 02 0000003c 08 0001 'r'
             09 0002 00ff 03 0003 't/x' 26 0001 'k' 0001 'v' 26 0001 'k' 0000 0001 'w' 0000",
        ),
    ])
}

pub(super) fn connacks() -> Vec<Row> {
    use ConnectReasonCode::*;
    let plain = |present, reason| {
        ConnAck {
            session_present: present,
            ..ConnAck::new(reason)
        }
        .into()
    };
    let with = |properties| {
        Packet::from(ConnAck {
            session_present: true,
            properties,
            ..ConnAck::new(Success)
        })
    };
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

/// `hi` on `a/b`.
fn publish(topic: &TopicName) -> PublishRef<'_> {
    PublishRef::new(topic, b"hi")
}

fn publish_row(version: Version, publish: PublishRef<'_>, bytes: &'static str) -> Row {
    (version, Packet::from(Publish::from(publish)), bytes)
}

fn once(duplicate: bool) -> Delivery {
    Delivery::AtLeastOnce {
        packet_identifier: id(10),
        duplicate,
    }
}

fn exactly(duplicate: bool) -> Delivery {
    Delivery::ExactlyOnce {
        packet_identifier: id(0xffff),
        duplicate,
    }
}

pub(super) fn publishes_in_3() -> Vec<Row> {
    let topic = name("a/b");
    let new = || publish(&topic);
    let mut rows = Vec::new();
    for version in [V3_1, V3_1_1] {
        rows.extend([
            publish_row(version, new(), "30 07 0003 'a/b' 'hi'"),
            publish_row(version, new().with_retain(true), "31 07 0003 'a/b' 'hi'"),
            publish_row(version, PublishRef::new(&topic, b""), "30 05 0003 'a/b'"),
            publish_row(
                version,
                new().with_delivery(once(false)),
                "32 09 0003 'a/b' 000a 'hi'",
            ),
            publish_row(
                version,
                new().with_delivery(once(true)),
                "3a 09 0003 'a/b' 000a 'hi'",
            ),
            publish_row(
                version,
                new().with_delivery(exactly(false)),
                "34 09 0003 'a/b' ffff 'hi'",
            ),
            publish_row(
                version,
                new().with_delivery(exactly(true)).with_retain(true),
                "3d 09 0003 'a/b' ffff 'hi'",
            ),
            // U+FEFF is a character like any other [MQTT-1.5.4-3].
            publish_row(
                version,
                PublishRef::new(&name("\u{feff}é"), b""),
                "30 07 0005 efbbbf c3a9",
            ),
        ]);
    }
    rows
}

pub(super) fn publishes_in_5() -> Vec<Row> {
    let topic = name("a/b");
    let new = || publish(&topic);
    let row = |publish, bytes| publish_row(V5, publish, bytes);
    let identifiers = [1, 127, 128, 268_435_455].map(|n| SubscriptionIdentifier::new(n).unwrap());
    let properties = message_properties();
    vec![
        row(new(), "30 08 0003 'a/b' 00 'hi'"),
        row(new().with_retain(true), "31 08 0003 'a/b' 00 'hi'"),
        row(PublishRef::new(&topic, b""), "30 06 0003 'a/b' 00"),
        row(new().with_delivery(once(false)), "32 0a 0003 'a/b' 000a 00 'hi'"),
        row(new().with_delivery(once(true)), "3a 0a 0003 'a/b' 000a 00 'hi'"),
        row(new().with_delivery(exactly(false)), "34 0a 0003 'a/b' ffff 00 'hi'"),
        row(new().with_delivery(exactly(true)).with_retain(true), "3d 0a 0003 'a/b' ffff 00 'hi'"),
        row(new().with_topic_alias(id(7)), "30 0b 0003 'a/b' 03 23 0007 'hi'"),
        row(new().with_topic_alias_only(id(7)), "30 08 0000 03 23 0007 'hi'"),
        row(new().with_message_expiry_interval(1), "30 0d 0003 'a/b' 05 02 00000001 'hi'"),
        row(new().with_subscription_identifiers(&identifiers),
            "30 14 0003 'a/b' 0c 0b 01 0b 7f 0b 8001 0b ffffff7f 'hi'",
        ),
        row(new().with_properties(&properties),
            "30 2b 0003 'a/b' 23 01 01 02 0000003c 08 0001 'r' 09 0002 00ff 03 0003 't/x'
             26 0001 'k' 0001 'v' 26 0001 'k' 0000 'hi'",
        ),
        row(new()
                .with_delivery(once(false))
                .with_properties(&properties)
                .with_message_expiry_interval(2)
                .with_topic_alias(id(0xffff))
                .with_subscription_identifiers(&identifiers[..1]),
            "32 32 0003 'a/b' 000a 28 01 01 02 00000002 23 ffff 08 0001 'r' 09 0002 00ff 03 0003 't/x'
             0b 01 26 0001 'k' 0001 'v' 26 0001 'k' 0000 'hi'",
        ),
        row(new().with_properties(&PublishProperties::builder().payload_is_utf8(false).build()),
            "30 0a 0003 'a/b' 02 01 00 'hi'",
        ),
    ]
}

pub(super) fn full<R>(reason: R) -> Ack<R> {
    Ack::new(id(1), reason).with_properties(AckProperties {
        reason_string: Some(text("s")),
        user_properties: user(),
    })
}

pub(super) fn acks() -> Vec<Row> {
    use PubAckReasonCode as A;
    use PubRelReasonCode as R;
    let mut rows = Vec::new();
    for version in Version::ALL {
        rows.extend([
            (
                version,
                Packet::PubAck(Ack::new(id(1), A::Success)),
                "40 02 0001",
            ),
            (
                version,
                Packet::PubRec(Ack::new(id(0x1234), A::Success)),
                "50 02 1234",
            ),
            (
                version,
                Packet::PubRel(Ack::new(id(0xffff), R::Success)),
                "62 02 ffff",
            ),
            (
                version,
                Packet::PubComp(Ack::new(id(0x100), R::Success)),
                "70 02 0100",
            ),
        ]);
    }
    rows.extend([
        (
            V5,
            Packet::PubAck(Ack::new(id(1), A::NoMatchingSubscribers)),
            "40 03 0001 10",
        ),
        (
            V5,
            Packet::PubRec(Ack::new(id(1), A::QuotaExceeded)),
            "50 03 0001 97",
        ),
        (
            V5,
            Packet::PubRel(Ack::new(id(1), R::PacketIdentifierNotFound)),
            "62 03 0001 92",
        ),
        (
            V5,
            Packet::PubComp(Ack::new(id(1), R::PacketIdentifierNotFound)),
            "70 03 0001 92",
        ),
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
            Packet::PubComp(Ack::new(id(1), R::Success).with_properties(AckProperties {
                reason_string: Some(text("s")),
                user_properties: UserProperties::new(),
            })),
            "70 08 0001 00 04 1f 0001 's'",
        ),
    ]);
    rows
}

pub(super) fn subscribes() -> Vec<Row> {
    let two = || {
        vec![
            SubscribeFilter::new(filter("a/#"), QoS::AtLeastOnce),
            SubscribeFilter::new(filter("+"), QoS::ExactlyOnce),
        ]
    };
    let subscribe = |subscriptions| Subscribe {
        packet_identifier: id(10),
        subscription_identifier: None,
        user_properties: UserProperties::new(),
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
            (
                version,
                subscribe(two()).into(),
                "82 0c 000a 0003 'a/#' 01 0001 '+' 02",
            ),
            (
                version,
                subscribe(vec![SubscribeFilter::new(filter("a"), QoS::AtMostOnce)]).into(),
                "82 06 000a 0001 'a' 00",
            ),
            (
                version,
                unsubscribe(UserProperties::new()).into(),
                "a2 13 000a 0003 'a/#' 000a '$share/g/+'",
            ),
        ]);
    }
    let options = SubscribeFilter {
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
        ..SubscribeFilter::new(filter("a"), QoS::ExactlyOnce)
    };
    let late = SubscribeFilter {
        retain_handling: RetainHandling::DoNotSend,
        ..SubscribeFilter::new(filter("$share/g/a"), QoS::AtMostOnce)
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
        (V5, unsubscribe(UserProperties::new()).into(), "a2 14 000a 00 0003 'a/#' 000a '$share/g/+'"),
        (
            V5,
            unsubscribe(user()).into(),
            "a2 21 000a 0d 26 0001 'k' 0001 'v' 26 0001 'k' 0000 0003 'a/#' 000a '$share/g/+'",
        ),
    ]);
    rows
}

pub(super) fn subscribe_acks() -> Vec<Row> {
    use SubAckReasonCode::*;
    let suback = |reasons| SubAck {
        packet_identifier: id(10),
        reason_string: None,
        user_properties: UserProperties::new(),
        reasons,
    };
    let unsuback = |reasons| UnsubAck {
        packet_identifier: id(10),
        reason_string: None,
        user_properties: UserProperties::new(),
        reasons,
    };
    vec![
        (
            V3_1,
            suback(vec![GrantedQos0, GrantedQos1, GrantedQos2]).into(),
            "90 05 000a 00 01 02",
        ),
        (
            V3_1_1,
            suback(vec![GrantedQos2, UnspecifiedError]).into(),
            "90 04 000a 02 80",
        ),
        (
            V5,
            suback(vec![GrantedQos0, TopicFilterInvalid]).into(),
            "90 05 000a 00 00 8f",
        ),
        (
            V5,
            SubAck {
                reason_string: Some(text("s")),
                user_properties: user(),
                ..suback(vec![GrantedQos1])
            }
            .into(),
            "90 15 000a 11 1f 0001 's' 26 0001 'k' 0001 'v' 26 0001 'k' 0000 01",
        ),
        (V3_1, unsuback(vec![]).into(), "b0 02 000a"),
        (V3_1_1, unsuback(vec![]).into(), "b0 02 000a"),
        (
            V5,
            unsuback(vec![
                UnsubAckReasonCode::Success,
                UnsubAckReasonCode::NoSubscriptionExisted,
            ])
            .into(),
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

pub(super) fn pings_and_farewells() -> Vec<Row> {
    use DisconnectReasonCode::*;
    let mut rows = Vec::new();
    for version in Version::ALL {
        rows.extend([
            (version, Packet::PingReq, "c0 00"),
            (version, Packet::PingResp, "d0 00"),
            (
                version,
                Disconnect::new(NormalDisconnection).into(),
                "e0 00",
            ),
        ]);
    }
    let auth = |reason| Auth {
        authentication_method: Some(text("m")),
        ..Auth::new(reason)
    };
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
