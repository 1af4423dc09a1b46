//! A server that breaks the protocol: the connection ends, with the right reason, and the reason is
//! sent.

use crate::driver::*;
use martlet_proto::{
    Auth, AuthReasonCode, Connect, ConnectProperties, ConnectReasonCode, Disconnect,
    DisconnectReasonCode, Packet, SubAck, SubAckReasonCode, Subscribe, SubscribeFilter, UnsubAck,
    UnsubAckReasonCode, Unsubscribe, UserProperties, Version,
};
use martlet_session::{Config, ConnectionError, Misbehaviour, Oversized};

fn nothing() -> Vec<String> {
    Vec::new()
}

fn misbehaved(misbehaviour: Misbehaviour) -> Option<ConnectionError> {
    Some(ConnectionError::PeerMisbehaved(misbehaviour))
}

/// What the session says of it: in 5 a DISCONNECT, in 3.x nothing, there are no words for it.
fn check(peer: &mut Peer, code: &str) {
    let expected = if peer.version.has_properties() {
        vec![format!("DISCONNECT {code}")]
    } else {
        nothing()
    };
    assert_eq!(peer.said(), expected);
    // And nothing after that.
    peer.send(publish(2, 5, "a", ""));
    peer.wait(seconds(100));
    assert_eq!((peer.said(), peer.reported()), (nothing(), nothing()));
    peer.close();
    assert_eq!(peer.reported().len(), 1);
}

fn client_packets(version: Version) -> Vec<Packet> {
    let subscribe = Subscribe {
        packet_identifier: id(1),
        subscription_identifier: None,
        user_properties: UserProperties::new(),
        subscriptions: vec![SubscribeFilter::new(filter("a"), qos(0))],
    };
    let unsubscribe = Unsubscribe {
        packet_identifier: id(1),
        user_properties: UserProperties::new(),
        filters: vec![filter("a")],
    };
    let mut connect = Connect::new(version, words("x"));
    connect.properties = ConnectProperties::default();
    let mut packets: Vec<Packet> = vec![
        connect.into(),
        subscribe.into(),
        unsubscribe.into(),
        Packet::PingReq,
    ];
    if !version.has_properties() {
        packets.push(Disconnect::new(DisconnectReasonCode::NormalDisconnection).into());
    }
    packets
}

#[test]
fn anything_before_connack() {
    for version in Version::ALL {
        let mut packets = client_packets(version);
        packets.extend([
            publish(0, 0, "a", ""),
            publish(1, 1, "a", ""),
            puback(1),
            pubrel(1),
            Packet::PingResp,
        ]);
        for packet in packets {
            for chunking in [Chunking::Whole, Chunking::Bytes] {
                let mut peer = Peer::new(named());
                peer.chunking = chunking;
                peer.open(version);
                peer.said();
                peer.send(packet.clone());
                assert_eq!(
                    peer.close,
                    misbehaved(Misbehaviour::BeforeConnAck(packet.packet_type()))
                );
                check(&mut peer, "0x82");
            }
        }
    }
}

#[test]
fn a_second_connack() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, named());
        peer.send(connack(false));
        assert_eq!(peer.close, misbehaved(Misbehaviour::SecondConnAck));
        check(&mut peer, "0x82");
    }
}

#[test]
fn packets_that_only_a_client_sends() {
    for version in Version::ALL {
        for packet in client_packets(version) {
            let mut peer = Peer::connected(version, named());
            peer.send(packet.clone());
            assert_eq!(
                peer.close,
                misbehaved(Misbehaviour::NotAServerPacket(packet.packet_type()))
            );
            check(&mut peer, "0x82");
        }
    }
}

#[test]
fn auth_that_nobody_asked_for() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    let mut auth = Auth::new(AuthReasonCode::ContinueAuthentication);
    auth.authentication_method = Some(words("x"));
    peer.send(auth);
    assert_eq!(peer.close, misbehaved(Misbehaviour::UnexpectedAuth));
    check(&mut peer, "0x82");
}

#[test]
fn malformed_bytes() {
    for version in Version::ALL {
        for (bytes, code) in [
            (&[0x00, 0x00][..], "0x81"),                     // packet type 0
            (&[0x36, 0x05, 0, 1, b'a', 0, 1], "0x81"),       // QoS 3
            (&[0x38, 0x03, 0, 1, b'a'], "0x81"),             // DUP at QoS 0
            (&[0x32, 0x05, 0, 1, b'a', 0, 0], "0x81"),       // packet identifier 0
            (&[0x41, 0x02, 0, 1], "0x81"),                   // flags of PUBACK
            (&[0x30, 0x80, 0x80, 0x80, 0x80, 1], "0x81"),    // remaining length of five bytes
            (&[0x30, 0x04, 0, 1, b'#', 0], "0x82"),          // a wildcard in a topic name
            (&[0x30, 0x04, 0, 2, 0xc3, 0x28], "0x81"),       // not UTF-8
            (&[0x30, 0x05, 0, 3, 0xed, 0xa0, 0x80], "0x81"), // half a surrogate pair
            (&[0x30, 0x04, 0, 2, b'a', 0], "0x81"),          // U+0000
            (&[0x30, 0x03, 0, 9, b'a'], "0x81"),             // a topic longer than its packet
            (&[0x30, 0xff, 0xff, 0xff, 0x7f], "0x95"),       // 256 MiB
        ] {
            for chunking in [Chunking::Whole, Chunking::Bytes] {
                // Before MQTT 5, 256 MiB would be skipped.
                let config = named().oversized(Oversized::Disconnect);
                let mut peer = Peer::connected(version, config);
                peer.chunking = chunking;
                peer.send_bytes(bytes);
                assert!(
                    matches!(peer.close, Some(ConnectionError::Malformed(_))),
                    "{bytes:x?}: {:?}",
                    peer.close
                );
                check(&mut peer, code);
            }
        }
    }
}

#[test]
fn malformed_mqtt_5() {
    for (bytes, code) in [
        (&[0x30, 0x04, 0, 0, 0, b'x'][..], "0x82"), // neither topic nor alias
        (&[0x30, 0x07, 0, 1, b'a', 3, 0x23, 0, 0], "0x94"), // topic alias 0
        (&[0x30, 0x06, 0, 1, b'a', 2, 0x11, 0], "0x81"), // a property of CONNECT
        (&[0x30, 0x08, 0, 1, b'a', 4, 0x01, 0, 0x01, 0], "0x82"), // a property twice
        (&[0x30, 0x08, 0, 1, b'a', 4, 0x08, 0, 1, b'+'], "0x82"), // a wildcard in a response topic
        (&[0x40, 0x03, 0, 1, 0x55], "0x81"),        // a reason code that PUBACK has not
    ] {
        let mut peer = Peer::connected(Version::V5, Config::default());
        peer.send_bytes(bytes);
        assert!(
            matches!(peer.close, Some(ConnectionError::Malformed(_))),
            "{bytes:x?}: {:?}",
            peer.close
        );
        check(&mut peer, code);
    }
}

/// What came before the fault is delivered; what comes behind it is not looked at.
#[test]
fn messages_before_the_fault_are_delivered() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    let mut bytes = Vec::new();
    publish(0, 0, "a", "before")
        .encode(Version::V5, &mut bytes)
        .expect("a PUBLISH");
    bytes.extend([0xff, 0xff]);
    publish(0, 0, "a", "behind")
        .encode(Version::V5, &mut bytes)
        .expect("a PUBLISH");
    peer.send_bytes(&bytes);
    assert_eq!(peer.reported(), ["message q0 a before"]);
    assert_eq!(peer.unread(), 0);
}

/// What was in flight is not lost with the connection.
#[test]
fn the_session_outlives_a_server_that_misbehaves() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.publish(message(1, "a", "1"));
    peer.send(connack(false));
    peer.close();
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #1 dup a 1"]);
}

/// All first bytes, alone: those that no server may send end the connection, the others wait for
/// more.
// [MQTT-2.1.3-1] [MQTT-2.2.2-2] [MQTT-3.3.1-4] [MQTT-3.6.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
#[test]
fn first_bytes_with_wrong_flags_end_the_connection() {
    for version in Version::ALL {
        for first in 0..=255u8 {
            let (kind, flags) = (first >> 4, first & 15);
            let expected = match kind {
                0 => false,
                15 => version == Version::V5 && flags == 0,
                3 => flags & 6 != 6 && flags & 14 != 8,
                6 | 8 | 10 => flags == 2 || (flags == 10 && version == Version::V3_1),
                _ => flags == 0,
            };
            let mut peer = Peer::connected(version, named());
            peer.send_bytes(&[first]);
            assert_eq!(
                peer.close.is_none(),
                expected,
                "{version}: {first:#04x}: {:?}",
                peer.close
            );
            if !expected {
                check(&mut peer, "0x81");
            }
        }
    }
}

/// The window would be closed for ever.
// [MQTT-4.9.0-1]
#[test]
fn a_receive_maximum_of_zero_ends_the_connection() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    peer.said();
    peer.send_bytes(&[0x20, 6, 0, 0, 3, 0x21, 0, 0]);
    assert!(
        matches!(peer.close, Some(ConnectionError::Malformed(_))),
        "{:?}",
        peer.close
    );
    check(&mut peer, "0x82");
}

/// An identifier that waits for our acknowledgement is used for another message: at QoS 1 both are
/// delivered and acknowledged; at QoS 2 the second is the first, sent again.
// [MQTT-2.2.1-4] [MQTT-2.3.1-4]
#[test]
fn an_identifier_that_is_in_use_is_used_again() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, named());
        peer.send_all(&[publish(1, 1, "a", "one"), publish(1, 1, "a", "two")]);
        peer.send_all(&[publish(2, 2, "a", "three"), publish(2, 2, "a", "four")]);
        assert_eq!(
            peer.reported(),
            ["message q1 a one", "message q1 a two", "message q2 a three"]
        );
        for _ in 0..3 {
            peer.take(0);
        }
        assert_eq!(peer.said(), ["PUBACK #1", "PUBACK #1", "PUBREC #2"]);
        assert_eq!(peer.close, None);
    }
}

// [MQTT-3.1.2-27]
#[test]
fn a_topic_alias_where_none_is_allowed() {
    let mut peer = Peer::connected(Version::V5, Config::default().topic_alias_maximum(0));
    peer.send_bytes(&[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 1]);
    assert_eq!(peer.close, misbehaved(Misbehaviour::TopicAlias(1)));
    check(&mut peer, "0x94");
}

/// What nobody asked for, and what is missing without harm, is tolerated.
// [MQTT-3.1.2-28] [MQTT-3.1.3-7] [MQTT-3.12.4-1]
#[test]
fn harmless_breaches_are_tolerated() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    let mut accepted = connack(false);
    // Nor was an identifier assigned.
    accepted.properties.response_information = Some(words("responses"));
    peer.send(accepted);
    peer.send_all(&[Packet::PingResp, Packet::PingResp]);
    assert_eq!(
        (peer.reported(), peer.close.take()),
        (vec!["connected".to_owned()], None)
    );
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.reported(), ["connected, session present"]);
    assert!(peer.said()[0].starts_with("CONNECT 5 resume id=\"\""));
}

/// It is the rejection that counts.
// [MQTT-3.2.2-4] [MQTT-3.2.2-6]
#[test]
fn session_present_beside_a_rejection_says_nothing() {
    for (version, bytes) in [
        (Version::V5, &[0x20, 3, 1, 0x87, 0][..]),
        (Version::V3_1_1, &[0x20, 2, 1, 5]),
    ] {
        let mut peer = Peer::new(named());
        peer.open(version);
        peer.said();
        peer.send_bytes(bytes);
        let Some(ConnectionError::Rejected(rejection)) = &peer.close else {
            panic!("{:?}", peer.close)
        };
        assert_eq!(rejection.reason, ConnectReasonCode::NotAuthorized);
        assert_eq!(peer.said(), nothing());
    }
}

// [MQTT-3.2.2-1]
#[test]
fn reserved_flags_of_connack() {
    for (version, bytes) in [
        (Version::V5, &[0x20, 3, 2, 0, 0][..]),
        (Version::V3_1_1, &[0x20, 2, 2, 0]),
    ] {
        let mut peer = Peer::new(named());
        peer.open(version);
        peer.said();
        peer.send_bytes(bytes);
        assert!(
            matches!(peer.close, Some(ConnectionError::Malformed(_))),
            "{:?}",
            peer.close
        );
        check(&mut peer, "0x81");
    }
}

/// Whatever makes it too large, reason strings and user properties as well: nothing of it is waited
/// for.
// [MQTT-3.1.2-24] [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1]
// [MQTT-3.11.2-2]
#[test]
fn answers_larger_than_our_maximum() {
    let config = Config::default().maximum_packet_size(100);
    let long = words(&"x".repeat(100));
    for (reason_string, user_properties) in [
        (Some(long.clone()), UserProperties::new()),
        (None, UserProperties::from([(words("name"), long.clone())])),
    ] {
        let mut peer = Peer::new(config.clone());
        peer.open(Version::V5);
        peer.said();
        let mut accepted = connack(false);
        accepted.properties.reason_string = reason_string.clone();
        accepted.properties.user_properties = user_properties.clone();
        peer.send(accepted);
        assert!(
            matches!(peer.close, Some(ConnectionError::Malformed(_))),
            "{:?}",
            peer.close
        );
        check(&mut peer, "0x95");

        let packet_identifier = id(1);
        let suback = SubAck {
            packet_identifier,
            reason_string: reason_string.clone(),
            user_properties: user_properties.clone(),
            reasons: vec![SubAckReasonCode::GrantedQos0],
        };
        let unsuback = UnsubAck {
            packet_identifier,
            reason_string,
            user_properties,
            reasons: vec![UnsubAckReasonCode::Success],
        };
        for packet in [Packet::from(suback), unsuback.into()] {
            let mut peer = Peer::connected(Version::V5, config.clone());
            peer.send(packet);
            assert!(
                matches!(peer.close, Some(ConnectionError::Malformed(_))),
                "{:?}",
                peer.close
            );
            check(&mut peer, "0x95");
        }
    }
}

// [MQTT-3.2.2-8] [MQTT-3.9.3-2] [MQTT-3.11.3-2]
#[test]
fn codes_that_do_not_exist() {
    for (version, connecting, bytes) in [
        (Version::V5, true, &[0x20, 3, 0, 0x10, 0][..]), // CONNACK
        (Version::V3_1_1, true, &[0x20, 2, 0, 6]),       // CONNACK
        (Version::V5, false, &[0x90, 4, 0, 1, 0, 3]),    // SUBACK
        (Version::V3_1_1, false, &[0x90, 3, 0, 1, 0x8f]), // SUBACK
        (Version::V5, false, &[0xb0, 4, 0, 1, 0, 1]),    // UNSUBACK
    ] {
        let mut peer = Peer::new(named());
        peer.open(version);
        if !connecting {
            peer.send(connack(false));
            peer.subscribe("a", 0);
        }
        peer.forget();
        peer.send_bytes(bytes);
        assert!(
            matches!(peer.close, Some(ConnectionError::Malformed(_))),
            "{bytes:x?}: {:?}",
            peer.close
        );
        let said = peer.said();
        assert_eq!(
            said,
            if version == Version::V5 {
                vec!["DISCONNECT 0x81"]
            } else {
                vec![]
            }
        );
    }
}

/// Its reason is reported all the same: it is more precise than the breach.
// [MQTT-3.14.0-1]
#[test]
fn disconnect_in_place_of_connack() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    peer.said();
    peer.send(Disconnect::new(DisconnectReasonCode::ServerBusy));
    let Some(ConnectionError::DisconnectedByPeer(disconnect)) = &peer.close else {
        panic!("{:?}", peer.close)
    };
    assert_eq!(disconnect.reason, DisconnectReasonCode::ServerBusy);
    assert_eq!(peer.said(), nothing());
}

/// The server goes on sending, or finishes what it had begun: both are messages like all others.
// [MQTT-3.10.4-2] [MQTT-3.10.4-3]
#[test]
fn messages_after_an_unsubscribe() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, named());
        peer.send(publish(2, 7, "a", "begun"));
        peer.reported();
        peer.unsubscribe("a");
        peer.said();
        let codes = [UnsubAckReasonCode::Success];
        peer.send(unsuback(1, &codes[..usize::from(version.has_properties())]));
        peer.send(publish(1, 8, "a", "late"));
        assert_eq!(
            peer.reported(),
            ["unsubscribed 1: [0]", "message q1 a late"]
        );
        peer.take(0);
        peer.take(0);
        assert_eq!(peer.said(), ["PUBREC #7", "PUBACK #8"]);
        peer.send(pubrel(7));
        assert_eq!(
            (peer.said(), peer.close),
            (vec!["PUBCOMP #7".to_owned()], None)
        );
    }
}
