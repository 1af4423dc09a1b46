//! What a version cannot express is rejected before a byte is written.

use DisconnectReasonCode::{NormalDisconnection, ServerBusy};
use bytes::{BufMut, BytesMut};
use martlet_proto::Version::{V3_1, V3_1_1, V5};
use martlet_proto::*;

fn id(value: u16) -> PacketIdentifier {
    PacketIdentifier::new(value).unwrap()
}

fn text(text: &'static str) -> Utf8String {
    Utf8String::from_static(text).unwrap()
}

fn user() -> UserProperties {
    UserProperties::from([(text("k"), text("v"))])
}

/// A packet that cannot be written in this version, and why.
type Row = (Version, Packet, EncodeError);

fn not(what: &'static str, version: Version) -> EncodeError {
    EncodeError::NotInVersion { what, version }
}

fn empty() -> Option<BinaryData> {
    Some(BinaryData::default())
}

fn table() -> Vec<Row> {
    [
        connects(),
        client_identifiers(),
        connacks(),
        publishes_and_acks(),
        subscribes(),
        subscribe_acks(),
        disconnects_and_auths(),
    ]
    .concat()
}

fn connects() -> Vec<Row> {
    let connect = |version| Connect::new(version, text("c"));
    let topic = TopicName::from_static("t").unwrap();
    let will = Will::new(topic, BinaryData::default()).expect("short");
    let willing = |will| {
        Packet::from(Connect {
            will: Some(will),
            ..connect(V3_1_1)
        })
    };
    let properties = PublishProperties::builder().payload_is_utf8(true).build();
    vec![
        (
            V3_1_1,
            connect(V5).into(),
            EncodeError::VersionMismatch {
                connect: V5,
                version: V3_1_1,
            },
        ),
        (
            V3_1_1,
            Connect {
                properties: ConnectProperties {
                    receive_maximum: Some(id(1)),
                    ..Default::default()
                },
                ..connect(V3_1_1)
            }
            .into(),
            not("a property", V3_1_1),
        ),
        (
            V5,
            Connect {
                properties: ConnectProperties {
                    authentication_data: empty(),
                    ..Default::default()
                },
                ..connect(V5)
            }
            .into(),
            EncodeError::AuthenticationDataAlone,
        ),
        (
            V3_1_1,
            willing(Will {
                delay_interval: Some(1),
                ..will.clone()
            }),
            not("a property of the will", V3_1_1),
        ),
        (
            V3_1_1,
            willing(Will {
                properties: properties.clone(),
                ..will
            }),
            not("a property of the will", V3_1_1),
        ),
        (
            V3_1_1,
            Connect {
                password: empty(),
                ..connect(V3_1_1)
            }
            .into(),
            EncodeError::PasswordAlone { version: V3_1_1 },
        ),
    ]
}

/// Without clean start, a session needs a name.
fn client_identifiers() -> Vec<Row> {
    let with_id = |version, id| {
        Packet::from(Connect {
            clean_start: false,
            ..Connect::new(version, id)
        })
    };
    let identifier = |version, characters| EncodeError::ClientIdentifier {
        version,
        characters,
    };
    vec![
        (V3_1_1, with_id(V3_1_1, text("")), identifier(V3_1_1, 0)),
        (V3_1, with_id(V3_1, text("")), identifier(V3_1, 0)),
        (
            V3_1,
            with_id(V3_1, text("abcdefghijklmnopqrstuvwx")),
            identifier(V3_1, 24),
        ),
    ]
}

fn connacks() -> Vec<Row> {
    let connack = |present, reason| {
        Packet::from(ConnAck {
            session_present: present,
            ..ConnAck::new(reason)
        })
    };
    vec![
        (
            V3_1,
            connack(true, ConnectReasonCode::Success),
            not("session present", V3_1),
        ),
        (
            V3_1_1,
            connack(false, ConnectReasonCode::Banned),
            not("this reason code", V3_1_1),
        ),
        (
            V3_1_1,
            connack(true, ConnectReasonCode::NotAuthorized),
            EncodeError::SessionPresent,
        ),
        (
            V5,
            connack(true, ConnectReasonCode::NotAuthorized),
            EncodeError::SessionPresent,
        ),
        (
            V3_1_1,
            ConnAck {
                properties: ConnAckProperties {
                    maximum_qos: Some(QoS::ExactlyOnce),
                    ..Default::default()
                },
                ..ConnAck::new(ConnectReasonCode::Success)
            }
            .into(),
            not("a property", V3_1_1),
        ),
        (
            V5,
            ConnAck {
                properties: ConnAckProperties {
                    authentication_data: empty(),
                    ..Default::default()
                },
                ..ConnAck::new(ConnectReasonCode::Success)
            }
            .into(),
            EncodeError::AuthenticationDataAlone,
        ),
    ]
}

fn publishes_and_acks() -> Vec<Row> {
    let topic = TopicName::from_static("t").unwrap();
    let properties = PublishProperties::builder().payload_is_utf8(true).build();
    let publish = PublishRef::new(&topic, b"");
    vec![
        (
            V3_1_1,
            Publish::from(publish.with_properties(&properties)).into(),
            not("a property", V3_1_1),
        ),
        (
            V3_1,
            Publish::from(publish.with_topic_alias(id(1))).into(),
            not("a property", V3_1),
        ),
        (
            V3_1_1,
            Packet::PubAck(Ack::new(id(1), PubAckReasonCode::NotAuthorized)),
            not("a reason code", V3_1_1),
        ),
        (
            V3_1,
            Packet::PubRel(Ack::new(id(1), PubRelReasonCode::Success).with_properties(
                AckProperties {
                    user_properties: user(),
                    ..Default::default()
                },
            )),
            not("a property", V3_1),
        ),
    ]
}

fn subscribes() -> Vec<Row> {
    let subscribe = |subscriptions| {
        Packet::from(Subscribe {
            packet_identifier: id(1),
            subscription_identifier: None,
            user_properties: UserProperties::new(),
            subscriptions,
        })
    };
    let subscription =
        |filter| SubscribeFilter::new(TopicFilter::new(filter).unwrap(), QoS::AtMostOnce);
    let unsubscribe = |user_properties, filters| {
        Packet::from(Unsubscribe {
            packet_identifier: id(1),
            user_properties,
            filters,
        })
    };
    vec![
        (
            V5,
            subscribe(vec![]),
            EncodeError::NoEntry(PacketType::Subscribe),
        ),
        (
            V3_1_1,
            subscribe(vec![SubscribeFilter {
                retain_as_published: true,
                ..subscription("a")
            }]),
            not("a subscription option", V3_1_1),
        ),
        (
            V5,
            subscribe(vec![SubscribeFilter {
                no_local: true,
                ..subscription("$share/g/a")
            }]),
            EncodeError::NoLocalShared,
        ),
        (
            V5,
            unsubscribe(UserProperties::new(), vec![]),
            EncodeError::NoEntry(PacketType::Unsubscribe),
        ),
        (
            V3_1,
            unsubscribe(user(), vec![TopicFilter::new("a").unwrap()]),
            not("a property", V3_1),
        ),
    ]
}

fn subscribe_acks() -> Vec<Row> {
    let suback = |reasons| {
        Packet::from(SubAck {
            packet_identifier: id(1),
            reason_string: None,
            user_properties: UserProperties::new(),
            reasons,
        })
    };
    let unsuback = |reasons| {
        Packet::from(UnsubAck {
            packet_identifier: id(1),
            reason_string: None,
            user_properties: UserProperties::new(),
            reasons,
        })
    };
    vec![
        (V5, suback(vec![]), EncodeError::NoEntry(PacketType::SubAck)),
        (
            V3_1_1,
            suback(vec![SubAckReasonCode::NotAuthorized]),
            not("this reason code", V3_1_1),
        ),
        (
            V3_1,
            suback(vec![SubAckReasonCode::UnspecifiedError]),
            not("this reason code", V3_1),
        ),
        (
            V5,
            unsuback(vec![]),
            EncodeError::NoEntry(PacketType::UnsubAck),
        ),
        (
            V3_1_1,
            unsuback(vec![UnsubAckReasonCode::Success]),
            not("a reason code", V3_1_1),
        ),
    ]
}

fn disconnects_and_auths() -> Vec<Row> {
    vec![
        (
            V3_1_1,
            Disconnect::new(ServerBusy).into(),
            not("a reason code or property of DISCONNECT", V3_1_1),
        ),
        (
            V3_1,
            Disconnect {
                session_expiry_interval: Some(0),
                ..Disconnect::new(NormalDisconnection)
            }
            .into(),
            not("a reason code or property of DISCONNECT", V3_1),
        ),
        (
            V3_1_1,
            Auth::new(AuthReasonCode::Success).into(),
            not("AUTH", V3_1_1),
        ),
        (
            V5,
            Auth {
                authentication_data: empty(),
                ..Auth::new(AuthReasonCode::Success)
            }
            .into(),
            EncodeError::AuthenticationDataAlone,
        ),
        (
            V5,
            Auth::new(AuthReasonCode::ContinueAuthentication).into(),
            EncodeError::AuthenticationMethodMissing,
        ),
    ]
}

/// `encoded_len` once panicked on a CONNACK whose reason code has no return code in 3.x: it does
/// not check, and what it shares with `encode` counted on a check.
#[test]
fn nothing_is_written_and_nothing_panics() {
    for (version, packet, error) in table() {
        let mut out = BytesMut::from(&b"before"[..]);
        assert_eq!(
            packet.encode(version, &mut out),
            Err(error),
            "{version}: {packet:?}"
        );
        assert_eq!(&out[..], b"before");
        for version in Version::ALL {
            let _ = packet.encoded_len(version);
        }
    }
}

#[test]
fn an_alias_needs_its_property() {
    // An alias alone, whose properties are then replaced by others: no topic is left.
    let wire = b"\x30\x06\x00\x00\x03\x23\x00\x07";
    let (publish, _) = PublishRef::decode(wire, V5, 100).unwrap().unwrap();
    let none = PublishProperties::default();
    let mut out = BytesMut::new();
    assert_eq!(
        publish.with_properties(&none).encode(V5, &mut out),
        Err(EncodeError::NoTopic)
    );
    assert!(out.is_empty());
    assert_eq!(publish.encode(V5, &mut out), Ok(()));
    assert_eq!(&out[..], wire);
}

#[test]
#[cfg_attr(miri, ignore = "too slow: a payload of 256 MiB")]
fn a_packet_is_at_most_256_mib() {
    let topic = TopicName::from_static("t").unwrap();
    let largest = vec![0; MAX_REMAINING_LENGTH as usize - 4];
    let mut head = BytesMut::new();
    assert_eq!(
        PublishRef::new(&topic, &largest).encode_head(V5, &mut head),
        Ok(())
    );
    assert_eq!(&head[..], b"\x30\xff\xff\xff\x7f\x00\x01t\x00");
    assert_eq!(
        PublishRef::new(&topic, &largest).encoded_len(V5),
        MAX_PACKET_SIZE as usize
    );
    let mut larger = largest;
    larger.put_u8(0);
    head.clear();
    let size = MAX_REMAINING_LENGTH as usize + 1;
    assert_eq!(
        PublishRef::new(&topic, &larger).encode_head(V5, &mut head),
        Err(EncodeError::PacketTooLarge { size })
    );
    assert!(head.is_empty());
}
