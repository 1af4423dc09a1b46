//! What each packet is in bytes, in each version that has it: one table, used both ways.

mod rows;

use super::notation::bytes;
use bytes::{BufMut, BytesMut};
use martlet_proto::Version::{V3_1, V3_1_1, V5};
use martlet_proto::*;
use rows::*;

/// Rows that hold in both directions.
fn table() -> Vec<Row> {
    [
        connects(),
        connects_with_will_or_credentials(),
        connects_with_properties(),
        connacks(),
        publishes_in_3(),
        publishes_in_5(),
        acks(),
        subscribes(),
        subscribe_acks(),
        pings_and_farewells(),
    ]
    .concat()
}

/// Bytes that mean the same as others but are not what is written.
fn decode_only() -> Vec<Row> {
    [
        what_could_be_left_out(),
        properties_in_another_order(),
        rejections(),
        what_3_allows(),
    ]
    .concat()
}

/// Reason codes and lengths of properties that could be left out.
fn what_could_be_left_out() -> Vec<Row> {
    use PubAckReasonCode::Success;
    vec![
        (
            V5,
            Packet::PubAck(Ack::new(id(1), Success)),
            "40 03 0001 00",
        ),
        (
            V5,
            Packet::PubAck(Ack::new(id(1), Success)),
            "40 04 0001 00 00",
        ),
        (
            V5,
            Packet::PubRec(Ack::new(id(1), PubAckReasonCode::NotAuthorized)),
            "50 04 0001 87 00",
        ),
        (
            V5,
            Packet::PubComp(Ack::new(id(1), PubRelReasonCode::Success)),
            "70 04 0001 00 00",
        ),
        (
            V5,
            Disconnect::new(DisconnectReasonCode::NormalDisconnection).into(),
            "e0 01 00",
        ),
        (
            V5,
            Disconnect::new(DisconnectReasonCode::NormalDisconnection).into(),
            "e0 02 00 00",
        ),
        (
            V5,
            Disconnect::new(DisconnectReasonCode::ServerBusy).into(),
            "e0 02 89 00",
        ),
        (V5, Auth::new(AuthReasonCode::Success).into(), "f0 02 00 00"),
    ]
}

/// Those of a message are put in order by `message_properties` only.
fn properties_in_another_order() -> Vec<Row> {
    let properties = message_properties();
    let topic = name("a");
    vec![
        (
            V5,
            Disconnect {
                reason_string: Some(text("s")),
                user_properties: UserProperties::from([(text("k"), text("v"))]),
                session_expiry_interval: Some(1),
                ..Disconnect::new(DisconnectReasonCode::NormalDisconnection)
            }
            .into(),
            "e0 12 00 10 26 0001 'k' 0001 'v' 1f 0001 's' 11 00000001",
        ),
        (
            // A will's properties in another order are put in order: they leave as properties of a
            // message.
            V5,
            Connect {
                will: Some(Will {
                    delay_interval: Some(7),
                    properties: PublishProperties::builder()
                        .payload_is_utf8(true)
                        .content_type(text("t"))
                        .user_property(text("k"), text("v"))
                        .build(),
                    ..Will::new("w", "").expect("short")
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

fn rejections() -> Vec<Row> {
    vec![
        // In MQTT 5, a rejection from a server that speaks 3.x only; a reason code without its
        // properties.
        (
            V5,
            ConnAck::new(ConnectReasonCode::UnsupportedProtocolVersion).into(),
            "20 02 00 01",
        ),
        (
            V5,
            ConnAck::new(ConnectReasonCode::NotAuthorized).into(),
            "20 02 00 05",
        ),
        (
            V5,
            ConnAck::new(ConnectReasonCode::UnsupportedProtocolVersion).into(),
            "20 02 00 84",
        ),
        // Session present beside a rejection says nothing: it was once an error that hid why the
        // server rejected.
        (
            V3_1_1,
            ConnAck::new(ConnectReasonCode::NotAuthorized).into(),
            "20 02 01 05",
        ),
        (
            V5,
            ConnAck::new(ConnectReasonCode::NotAuthorized).into(),
            "20 03 01 87 00",
        ),
    ]
}

/// What is legal in 3.1 or 3.1.1 and never written.
fn what_3_allows() -> Vec<Row> {
    let release = |identifier| Packet::PubRel(Ack::new(id(identifier), PubRelReasonCode::Success));
    vec![
        // 3.1: the first byte of a CONNACK is unused; DUP marks what is sent again; flags give way
        // to the length.
        (
            V3_1,
            ConnAck::new(ConnectReasonCode::Success).into(),
            "20 02 ff 00",
        ),
        (V3_1, release(1), "6a 02 0001"),
        (
            V3_1,
            Subscribe {
                packet_identifier: id(1),
                subscription_identifier: None,
                user_properties: UserProperties::new(),
                subscriptions: vec![SubscribeFilter::new(filter("a"), QoS::AtLeastOnce)],
            }
            .into(),
            "8a 06 0001 0001 'a' 01",
        ),
        (
            V3_1,
            Unsubscribe {
                packet_identifier: id(1),
                user_properties: UserProperties::new(),
                filters: vec![filter("a")],
            }
            .into(),
            "aa 05 0001 0001 'a'",
        ),
        (
            V3_1,
            SubAck {
                packet_identifier: id(1),
                reason_string: None,
                user_properties: UserProperties::new(),
                reasons: vec![SubAckReasonCode::UnspecifiedError],
            }
            .into(),
            "90 03 0001 80",
        ),
        (
            V3_1,
            Connect::new(V3_1, text("c")).into(),
            "10 0f 0006 'MQIsdp' 03 c3 003c 0001 'c'",
        ),
        (
            // Legal as bytes; it is the server that rejects the identifier.
            V3_1_1,
            Connect {
                clean_start: false,
                ..Connect::new(V3_1_1, text(""))
            }
            .into(),
            "10 0c 0004 'MQTT' 04 00 003c 0000",
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
    assert_eq!(
        &input[..],
        b"\xc0",
        "{version}: {row}: what follows is not touched"
    );
    packet
}

#[test]
fn packets_are_these_bytes() {
    for (version, packet, row) in table() {
        let mut wire = BytesMut::new();
        packet
            .encode(version, &mut wire)
            .unwrap_or_else(|error| panic!("{version}: {row}: {error}"));
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
#[cfg_attr(miri, ignore = "too slow: all packets")]
fn every_packet_of_every_version_has_a_row() {
    for version in Version::ALL {
        for packet_type in PacketType::ALL {
            let there = table()
                .iter()
                .any(|(v, packet, _)| *v == version && packet.packet_type() == packet_type);
            assert_eq!(
                there,
                packet_type != PacketType::Auth || version == V5,
                "{version}: {packet_type}"
            );
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
            assert_eq!(
                Packet::decode(&mut input, version, MAX_PACKET_SIZE),
                Ok(None),
                "{version}: {row}"
            );
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
                assert!(
                    packet.is_some() && input.is_empty(),
                    "{version}: {row} cut at {end}"
                );
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
        properties
            .subscription_identifiers()
            .map(SubscriptionIdentifier::get)
            .collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(
        properties.user_properties().collect::<Vec<_>>(),
        [("k", "v"), ("k", "")]
    );
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
    let properties = ConnAckProperties {
        maximum_qos: Some(QoS::ExactlyOnce),
        ..Default::default()
    };
    let packet = Packet::from(ConnAck {
        properties,
        ..ConnAck::new(ConnectReasonCode::Success)
    });
    let mut wire = BytesMut::new();
    packet.encode(V5, &mut wire).unwrap();
    assert_eq!(hex(&wire), "20 03 00 00 00 ");
}
