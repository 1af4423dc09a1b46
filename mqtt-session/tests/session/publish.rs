//! Publishing: the flows of QoS 0, 1 and 2, the window, the identifiers, the queue.

use crate::driver::*;
use martlet_proto::{Ack, ConnAck, Packet, PubAckReasonCode, PubRelReasonCode, Version};
use martlet_session::{Accepted, Config, PublishError};
use std::num::{NonZeroU16, NonZeroU32};

fn receive_maximum(n: u16) -> ConnAck {
    let mut connack = connack(false);
    connack.properties.receive_maximum = NonZeroU16::new(n);
    connack
}

#[test]
fn qos0_is_acknowledged_when_it_is_in_the_output() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, named());
        let accepted = peer
            .session
            .publish(peer.now, message(0, "a", "hi"))
            .unwrap();
        assert!(matches!(accepted, Accepted::Sent(_)));
        peer.drain();
        assert_eq!(peer.said(), ["PUBLISH q0 a hi"]);
        assert!(peer.reported().is_empty());
    }
}

#[test]
fn qos1_is_acknowledged_by_puback() {
    for version in Version::ALL {
        for chunking in [Chunking::Whole, Chunking::Bytes] {
            let mut peer = Peer::connected(version, named());
            peer.chunking = chunking;
            peer.publish(message(1, "a", "hi"));
            assert_eq!(peer.said(), ["PUBLISH q1 #1 a hi"]);
            assert_eq!(peer.session.in_flight(), 1);
            peer.send(puback(1));
            assert_eq!(peer.reported(), ["published 1: ok"]);
            assert_eq!(peer.session.in_flight(), 0);
        }
    }
}

#[test]
fn qos2_is_acknowledged_by_pubcomp() {
    for version in Version::ALL {
        for chunking in [Chunking::Whole, Chunking::Bytes] {
            let mut peer = Peer::connected(version, named());
            peer.chunking = chunking;
            peer.publish(message(2, "a", "hi"));
            assert_eq!(peer.said(), ["PUBLISH q2 #1 a hi"]);
            peer.send(pubrec(1));
            assert_eq!(peer.said(), ["PUBREL #1"]);
            assert!(
                peer.reported().is_empty(),
                "the message is the server's, the identifier is not free yet"
            );
            peer.send(pubcomp(1));
            assert_eq!(peer.reported(), ["published 1: ok"]);
            assert_eq!(peer.session.in_flight(), 0);
        }
    }
}

#[test]
fn success_is_told_to_those_who_asked_and_failure_to_all() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.publish(message(1, "a", "1").key(None));
    peer.publish(message(1, "a", "2").key(None));
    peer.send(puback(1));
    assert!(peer.reported().is_empty());
    peer.send(Packet::PubAck(Ack::new(
        id(2),
        PubAckReasonCode::QuotaExceeded,
    )));
    assert_eq!(
        peer.reported(),
        ["published 2: the server rejected the message: quota exceeded (0x97)"]
    );
}

/// Another client took 0x10 for a failure and freed the identifier: it is a success.
#[test]
fn pubrec_no_matching_subscribers_is_success_and_pubrel_follows() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.publish(message(2, "a", "hi"));
    peer.said();
    peer.send(Packet::PubRec(Ack::new(
        id(1),
        PubAckReasonCode::NoMatchingSubscribers,
    )));
    assert_eq!(peer.said(), ["PUBREL #1"]);
    peer.send(pubcomp(1));
    // PUBCOMP does not repeat it: the application got a plain success.
    assert_eq!(
        peer.reported(),
        ["published 1: no matching subscribers (0x10)"]
    );
}

/// Other clients leak the slot and the identifier, or answer with a PUBREL.
#[test]
fn pubrec_of_0x80_and_above_ends_the_flow() {
    let mut peer = Peer::connected(Version::V5, window(1));
    for n in 1..=40 {
        peer.publish(message(2, "a", "hi"));
        let Some(Packet::Publish(publish)) = peer.packets().pop() else {
            panic!("the window is open again")
        };
        let id = publish.delivery().packet_identifier().unwrap();
        peer.send(Packet::PubRec(Ack::new(
            id,
            PubAckReasonCode::NotAuthorized,
        )));
        assert_eq!(
            peer.said(),
            Vec::<String>::new(),
            "no PUBREL [MQTT-4.3.3-4]"
        );
        assert_eq!(
            peer.reported(),
            [format!(
                "published {n}: the server rejected the message: not authorized (0x87)"
            )]
        );
        assert_eq!(peer.session.in_flight(), 0);
    }
}

#[test]
fn pubcomp_with_a_reason_settles_too() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.publish(message(2, "a", "hi"));
    peer.send(pubrec(1));
    peer.send(Packet::PubComp(Ack::new(
        id(1),
        PubRelReasonCode::PacketIdentifierNotFound,
    )));
    assert_eq!(peer.reported(), ["published 1: ok"]);
}

/// Many clients disconnect here, some did for years.
#[test]
fn late_unknown_and_repeated_acknowledgements_are_counted_and_ignored() {
    for version in [Version::V3_1_1, Version::V5] {
        let mut peer = Peer::connected(version, Config::default());
        peer.publish(message(1, "a", "1"));
        peer.publish(message(2, "a", "2"));
        peer.forget();
        peer.send_all(&[
            puback(1),
            puback(1),
            puback(7),
            puback(65_535),
            pubcomp(1),
            pubcomp(9),
        ]);
        assert_eq!(peer.reported(), ["published 1: ok"]);
        assert_eq!(peer.session.counters().unexpected_acknowledgements, 5);
        // The flow of QoS 2 took no harm. A repeated PUBREC gets its PUBREL again.
        peer.send_all(&[pubrec(2), pubrec(2)]);
        assert_eq!(peer.said(), ["PUBREL #2", "PUBREL #2"]);
        assert_eq!(peer.session.in_flight(), 1);
        peer.send_all(&[pubcomp(2), pubcomp(2)]);
        assert_eq!(peer.reported(), ["published 2: ok"]);
        assert_eq!(peer.session.in_flight(), 0);
        assert!(peer.close.is_none());
    }
}

#[test]
fn an_unknown_pubrec_is_answered_because_the_server_waits() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.send(pubrec(5));
    assert_eq!(peer.said(), ["PUBREL #5 0x92"]);
    let mut peer = Peer::connected(Version::V3_1_1, Config::default());
    peer.send(pubrec(5));
    assert_eq!(peer.said(), ["PUBREL #5"]);
}

#[test]
fn the_window_is_the_smaller_of_ours_and_the_server_s() {
    for (ours, theirs) in [(2, 100), (100, 2)] {
        let mut peer = Peer::new(window(ours));
        peer.open(Version::V5);
        peer.send(receive_maximum(theirs));
        peer.forget();
        for payload in ["1", "2", "3", "4"] {
            peer.publish(message(2, "a", payload));
        }
        assert_eq!(peer.said(), ["PUBLISH q2 #1 a 1", "PUBLISH q2 #2 a 2"]);
        // PUBREC does not open it [MQTT-4.9.0-2].
        peer.send(pubrec(1));
        assert_eq!(peer.said(), ["PUBREL #1"]);
        peer.send(pubcomp(1));
        assert_eq!(peer.said(), ["PUBLISH q2 #3 a 3"]);
        assert_eq!((peer.session.in_flight(), peer.session.queued()), (2, 1));
        // QoS 0 needs no window.
        peer.publish(message(0, "b", "0"));
        assert_eq!(peer.said(), ["PUBLISH q0 b 0"]);
    }
}

/// Another client uses the range of identifiers as its window, and livelocks when acknowledgements
/// come out of order.
#[test]
fn acknowledgements_out_of_order_open_the_window() {
    let mut peer = Peer::connected(Version::V5, window(3));
    for n in 0..100 {
        peer.publish(message(1, "a", &n.to_string()));
    }
    let mut acknowledged = 0;
    loop {
        let sent: Vec<u16> = peer
            .packets()
            .iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => publish.delivery().packet_identifier().unwrap().get(),
                other => panic!("{other:?}"),
            })
            .collect();
        if sent.is_empty() {
            break;
        }
        assert!(peer.session.in_flight() <= 3);
        acknowledged += sent.len();
        for &n in sent.iter().rev() {
            peer.send(puback(n));
        }
    }
    assert_eq!(acknowledged, 100);
}

#[test]
fn what_the_server_does_not_take_is_rejected_or_fails_and_nothing_else() {
    let mut connack = connack(false);
    connack.properties.maximum_qos = Some(qos(1));
    connack.properties.retain_available = Some(false);
    connack.properties.maximum_packet_size = NonZeroU32::new(20);
    let mut peer = Peer::new(Config::default());
    // Queued before anything is known of the server.
    peer.publish(message(2, "a", "queued"));
    peer.publish(message(1, "a", "ok"));
    peer.open(Version::V5);
    peer.send(connack);
    assert_eq!(
        peer.reported(),
        ["connected", "published 1: the server takes QoS 1 at most"]
    );
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #1 a ok"]);
    let error = peer.session.publish(peer.now, message(2, "a", "hi"));
    assert_eq!(
        error,
        Err(PublishError::QosNotSupported { maximum: qos(1) })
    );
    let error = peer
        .session
        .publish(peer.now, message(0, "a", "hi").retain(true));
    assert_eq!(error, Err(PublishError::RetainNotSupported));
    // Header 2, topic 3, properties 1.
    peer.publish(message(0, "a", "12345678901234"));
    assert_eq!(peer.said(), ["PUBLISH q0 a 12345678901234"]);
    let error = peer
        .session
        .publish(peer.now, message(0, "a", "123456789012345"));
    assert_eq!(
        error,
        Err(PublishError::PacketTooLarge {
            size: 21,
            limit: 20
        })
    );
    assert!(peer.close.is_none());
}

#[test]
fn properties_are_left_out_in_3x_and_counted_or_rejected() {
    let mut peer = Peer::connected(Version::V3_1_1, Config::default());
    peer.publish(expiring(1, "a", "1", 60));
    assert_eq!(peer.said(), ["PUBLISH q1 #1 a 1"]);
    peer.publish(message(1, "a", "nothing to leave out"));
    assert_eq!(peer.session.counters().left_out_in_3x, 1);
    let mut in_5 = Peer::connected(Version::V5, Config::default());
    in_5.publish(expiring(1, "a", "1", 60));
    assert_eq!(in_5.session.counters().left_out_in_3x, 0);

    let mut peer = Peer::new(Config::default().reject_properties_in_3x(true));
    peer.publish(expiring(1, "a", "1", 60));
    peer.reconnect(Version::V3_1_1, false);
    assert_eq!(
        peer.reported(),
        [
            "connected",
            "published 1: the message has properties, which MQTT 3.1.1 cannot carry"
        ]
    );
    let rejected = peer.session.publish(peer.now, expiring(1, "a", "1", 60));
    assert_eq!(rejected, Err(PublishError::NotInVersion(Version::V3_1_1)));
}

#[test]
fn a_publish_timeout_is_told_once_and_the_message_stays_in_flight() {
    let mut peer = Peer::connected(
        Version::V5,
        Config::default().publish_timeout(Some(seconds(5))),
    );
    peer.publish(message(1, "a", "1"));
    peer.publish(message(2, "a", "2"));
    peer.wait(seconds(4));
    peer.send(pubrec(2));
    assert!(peer.reported().is_empty());
    peer.wait(seconds(2));
    assert_eq!(
        peer.reported(),
        [1, 2].map(|key| format!(
            "published {key}: no acknowledgement in time; the message is not given up"
        ))
    );
    assert_eq!(peer.session.in_flight(), 2);
    peer.send_all(&[puback(1), pubcomp(2)]);
    assert!(peer.reported().is_empty());
    assert_eq!(peer.session.in_flight(), 0);
}

/// The deadline used to be forgotten with the connection: after a reconnect the handle waited for
/// ever.
#[test]
fn a_publish_timeout_survives_the_connection() {
    let mut peer = Peer::connected(
        Version::V5,
        Config::default().publish_timeout(Some(seconds(5))),
    );
    peer.publish(message(1, "a", "1"));
    peer.cut();
    peer.wait(seconds(3));
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.wait(seconds(3));
    assert_eq!(
        peer.reported(),
        ["published 1: no acknowledgement in time; the message is not given up"]
    );
}

/// A message encoded but never handed out has its time from when it leaves on the next connection.
#[test]
fn a_publish_timeout_begins_when_the_bytes_leave() {
    let mut peer = Peer::connected(
        Version::V5,
        Config::default()
            .publish_timeout(Some(seconds(5)))
            .keep_alive(0),
    );
    peer.blocked = true;
    peer.publish(message(1, "a", "1"));
    peer.wait(seconds(20));
    peer.cut();
    peer.blocked = false;
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.wait(seconds(4));
    assert!(peer.reported().is_empty());
    peer.wait(seconds(2));
    assert_eq!(
        peer.reported(),
        ["published 1: no acknowledgement in time; the message is not given up"]
    );
}

/// Nothing but the packets of this conversation, byte for byte.
#[test]
fn transcript_of_mqtt_5() {
    let mut peer = Peer::new(named());
    peer.open(Version::V5);
    peer.send_bytes(&[0x20, 3, 0, 0, 0]);
    peer.publish(message(0, "t", "0"));
    peer.publish(expiring(1, "t", "1", 7));
    peer.publish(message(2, "t", "2"));
    peer.send_bytes(&[0x40, 2, 0, 1, 0x50, 2, 0, 2]);
    peer.send_bytes(&[0x70, 2, 0, 2]);
    peer.disconnect(seconds(1));
    #[rustfmt::skip]
    let expected: &[u8] = &[
        // CONNECT: clean start, 60 s; expiry 3600, 16 MiB, receive maximum 1024, alias maximum 16;
        // "me"
        0x10, 31, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60,
        16, 0x11, 0, 0, 14, 16, 0x27, 1, 0, 0, 0, 0x21, 4, 0, 0x22, 0, 16, 0, 2, b'm', b'e',
        // Without an expiry a message is encoded at once, with one when it is handed out.
        0x30, 5, 0, 1, b't', 0, b'0',
        0x32, 12, 0, 1, b't', 0, 1, 5, 0x02, 0, 0, 0, 7, b'1',
        0x34, 7, 0, 1, b't', 0, 2, 0, b'2',
        0x62, 2, 0, 2,
        // Session expiry 0: we do not come back.
        0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0,
    ];
    assert_eq!(peer.wire, expected);
}

#[test]
fn transcript_of_mqtt_3_1_1() {
    let mut peer = Peer::new(named());
    peer.open(Version::V3_1_1);
    peer.send_bytes(&[0x20, 2, 0, 0]);
    peer.publish(message(1, "t", "1"));
    peer.publish(message(2, "t", "2"));
    peer.send_bytes(&[0x50, 2, 0, 2, 0x40, 2, 0, 1]);
    peer.send_bytes(&[0x70, 2, 0, 2]);
    peer.send_bytes(&[0x34, 6, 0, 1, b'i', 0, 9, b'!']);
    peer.reported();
    peer.take(0);
    peer.send_bytes(&[0x62, 2, 0, 9]);
    peer.disconnect(seconds(1));
    #[rustfmt::skip]
    let expected: &[u8] = &[
        0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 2, b'm', b'e',
        0x32, 6, 0, 1, b't', 0, 1, b'1',
        0x34, 6, 0, 1, b't', 0, 2, b'2',
        0x62, 2, 0, 2,
        0x50, 2, 0, 9,
        0x70, 2, 0, 9,
        0xe0, 0,
    ];
    assert_eq!(peer.wire, expected);
}

/// A 3.x server cannot tell how many it takes; mosquitto ended the connection of a client that sent
/// 100.
#[test]
fn a_3x_server_gets_no_more_than_most_take() {
    for (version, window) in [
        (Version::V3_1, 20),
        (Version::V3_1_1, 20),
        (Version::V5, 100),
    ] {
        let mut peer = Peer::connected(version, named());
        for _ in 0..200 {
            peer.publish(message(2, "a", "hi"));
        }
        assert_eq!(peer.session.in_flight(), window, "{version}");
    }
}
// [MQTT-3.3.4-8] [MQTT-4.9.0-3]
#[test]
fn only_publishes_wait_for_the_window() {
    let mut peer = Peer::connected(Version::V5, window(1));
    peer.send_all(&[publish(1, 8, "b", ""), publish(2, 9, "b", "")]);
    peer.publish(message(2, "a", "1"));
    peer.publish(message(1, "a", "waits"));
    assert_eq!(peer.said(), ["PUBLISH q2 #1 a 1"]);
    peer.reported();
    peer.send(pubrec(1));
    peer.subscribe("c", 0);
    peer.unsubscribe("c");
    peer.session.ping().unwrap();
    peer.drain();
    peer.take(0);
    peer.take(0);
    peer.send(pubrel(9));
    peer.publish(message(0, "a", "0"));
    assert_eq!(
        peer.said(),
        [
            "PUBREL #1",
            "SUBSCRIBE #2 c:0",
            "UNSUBSCRIBE #3 c",
            "PINGREQ",
            "PUBACK #8",
            "PUBREC #9",
            "PUBCOMP #9",
            "PUBLISH q0 a 0"
        ]
    );
    peer.disconnect(seconds(0));
    assert_eq!(peer.said(), ["DISCONNECT 0x00 expiry=0"]);
}

// [MQTT-4.6.0-4]
#[test]
fn pubrels_leave_in_the_order_of_pubrecs() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, named());
        for payload in ["1", "2", "3"] {
            peer.publish(message(2, "a", payload));
        }
        peer.said();
        peer.blocked = true;
        peer.send_all(&[pubrec(2), pubrec(3), pubrec(1)]);
        peer.unblock();
        assert_eq!(peer.said(), ["PUBREL #2", "PUBREL #3", "PUBREL #1"]);
    }
}

/// There is no retry timer: a server that is slow gets everything once. What it had is sent again
/// by the next connection only.
// [MQTT-4.4.0-1]
#[test]
#[cfg_attr(miri, ignore = "too slow: 30,000 steps")]
fn nothing_is_sent_again_on_the_same_connection() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, named());
        peer.publish(message(1, "a", "1"));
        peer.publish(message(2, "a", "2"));
        peer.publish(message(2, "a", "3"));
        peer.send(pubrec(3));
        peer.said();
        for _ in 0..10_000 {
            peer.wait(seconds(3));
            peer.send(Packet::PingResp);
        }
        assert!(peer.close.is_none());
        assert!(peer.said().iter().all(|line| line == "PINGREQ"));
        assert_eq!(peer.session.in_flight(), 3);
    }
}

/// Before the first CONNACK nothing is known of the server.
// [MQTT-3.2.2-11] [MQTT-3.2.2-14] [MQTT-3.2.2-15]
#[test]
fn what_was_queued_is_checked_against_the_server_that_answers() {
    let mut peer = Peer::new(Config::default());
    peer.publish(message(0, "a", "1").retain(true));
    peer.publish(message(1, "a", "2").retain(true));
    peer.publish(message(2, "a", "3"));
    peer.publish(message(1, "a", &"x".repeat(20)));
    peer.publish(message(1, "a", "4"));
    peer.open(Version::V5);
    peer.said();
    let mut accepted = connack(false);
    accepted.properties.retain_available = Some(false);
    accepted.properties.maximum_qos = Some(qos(1));
    accepted.properties.maximum_packet_size = NonZeroU32::new(20);
    peer.send(accepted);
    assert_eq!(peer.said(), ["PUBLISH q1 #1 a 4"]);
    assert_eq!(
        peer.reported().len(),
        5,
        "and the application knows of each"
    );
}

/// A server that says nothing of topic aliases, or 0, gets none.
// [MQTT-3.2.2-18]
#[test]
fn without_leave_no_topic_alias_is_used() {
    for maximum in [None, Some(0)] {
        let mut peer = Peer::new(Config::default());
        // The server before this one took some.
        peer.open(Version::V5);
        let mut accepted = connack(false);
        accepted.properties.topic_alias_maximum = Some(10);
        peer.send(accepted);
        peer.publish(message(1, "a/long/topic", "1"));
        peer.publish(message(1, "a/long/topic", "2"));
        peer.cut();
        peer.open(Version::V5);
        peer.forget();
        let mut accepted = connack(true);
        accepted.properties.topic_alias_maximum = maximum;
        peer.send(accepted);
        for quality in [0, 1, 2, 0, 1, 2] {
            peer.publish(message(quality, "a/long/topic", ""));
        }
        let packets = peer.packets();
        assert_eq!(packets.len(), 8);
        for packet in packets {
            let Packet::Publish(publish) = packet else {
                panic!("{packet:?}")
            };
            assert_eq!(
                (publish.topic(), publish.properties().topic_alias()),
                ("a/long/topic", None)
            );
        }
    }
}
