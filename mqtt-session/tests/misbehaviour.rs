//! A server that breaks the protocol: the connection ends, with the right reason, and the reason is sent.

mod driver;

use driver::*;
use martlet_proto::{
    Auth, AuthReasonCode, Connect, ConnectProperties, Disconnect, DisconnectReasonCode, Packet, Subscribe,
    Subscription, Unsubscribe, UserProperties, Version,
};
use martlet_session::{Config, ConnectionError, Misbehaviour};

fn nothing() -> Vec<String> {
    Vec::new()
}

fn misbehaved(misbehaviour: Misbehaviour) -> Option<ConnectionError> {
    Some(ConnectionError::PeerMisbehaved(misbehaviour))
}

/// What the session says of it: in 5 a DISCONNECT, in 3.x nothing, there are no words for it.
fn check(peer: &mut Peer, code: &str) {
    let expected = if peer.version.has_properties() { vec![format!("DISCONNECT {code}")] } else { nothing() };
    assert_eq!(peer.said(), expected);
    // And nothing after that.
    peer.send(publish(2, 5, "a", ""));
    peer.wait(seconds(100));
    assert_eq!((peer.said(), peer.told()), (nothing(), nothing()));
    peer.close();
    assert_eq!(peer.told().len(), 1);
}

fn client_packets(version: Version) -> Vec<Packet> {
    let subscribe = Subscribe {
        packet_identifier: id(1),
        subscription_identifier: None,
        user_properties: UserProperties::new(),
        subscriptions: vec![Subscription::new(filter("a"), qos(0))],
    };
    let unsubscribe = Unsubscribe {
        packet_identifier: id(1),
        user_properties: UserProperties::new(),
        filters: vec![filter("a")],
    };
    let mut connect = Connect::new(version, words("x"));
    connect.properties = ConnectProperties::default();
    let mut packets: Vec<Packet> =
        vec![connect.into(), subscribe.into(), unsubscribe.into(), Packet::PingReq];
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
                assert_eq!(peer.close, misbehaved(Misbehaviour::BeforeConnAck(packet.packet_type())));
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
            assert_eq!(peer.close, misbehaved(Misbehaviour::NotAServerPacket(packet.packet_type())));
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
            (&[0x30, 0x04, 0, 1, b'#', 0], "0x90"),          // a wildcard in a topic name
            (&[0x30, 0x04, 0, 2, 0xc3, 0x28], "0x81"),       // not UTF-8
            (&[0x30, 0x05, 0, 3, 0xed, 0xa0, 0x80], "0x81"), // half a surrogate pair
            (&[0x30, 0x04, 0, 2, b'a', 0], "0x81"),          // U+0000
            (&[0x30, 0x03, 0, 9, b'a'], "0x81"),             // a topic longer than its packet
            (&[0x30, 0xff, 0xff, 0xff, 0x7f], "0x95"),       // 256 MiB
        ] {
            for chunking in [Chunking::Whole, Chunking::Bytes] {
                let mut peer = Peer::connected(version, named());
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
        (&[0x40, 0x03, 0, 1, 0x55], "0x81"),        // a reason code that PUBACK has not
    ] {
        let mut peer = Peer::connected(Version::V5, Config::default());
        peer.send_bytes(bytes);
        assert!(matches!(peer.close, Some(ConnectionError::Malformed(_))), "{bytes:x?}: {:?}", peer.close);
        check(&mut peer, code);
    }
}

/// What came before the fault is delivered; what comes behind it is not looked at.
#[test]
fn messages_before_the_fault_are_delivered() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    let mut bytes = Vec::new();
    publish(0, 0, "a", "before").encode(Version::V5, &mut bytes).expect("a PUBLISH");
    bytes.extend([0xff, 0xff]);
    publish(0, 0, "a", "behind").encode(Version::V5, &mut bytes).expect("a PUBLISH");
    peer.send_bytes(&bytes);
    assert_eq!(peer.told(), ["message q0 a before"]);
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

/// All first bytes, alone: those that no server may send end the connection, the others wait for more.
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
            assert_eq!(peer.close.is_none(), expected, "{version}: {first:#04x}: {:?}", peer.close);
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
    assert!(matches!(peer.close, Some(ConnectionError::Malformed(_))), "{:?}", peer.close);
    check(&mut peer, "0x82");
}
