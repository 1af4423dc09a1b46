//! Messages above our own maximum packet size, and malformed ones: one that is retained must not
//! end every connection in turn.

use crate::driver::*;
use martlet_proto::Version;
use martlet_session::{Config, ConnectionError, Event, Oversized};

const OLD: [Version; 2] = [Version::V3_1, Version::V3_1_1];

fn small() -> Config {
    named().maximum_packet_size(100)
}

fn large() -> String {
    "x".repeat(500)
}

/// A retained message above our maximum ended every connection of 3.1.1, where the server cannot
/// know that maximum: the client never came to anything else again.
#[test]
fn a_message_above_our_maximum_is_skipped_acknowledged_and_named() {
    for version in OLD {
        for chunking in [Chunking::Whole, Chunking::Bytes] {
            let mut peer = Peer::connected(version, small());
            peer.forget();
            peer.chunking = chunking;
            peer.send_all(&[
                publish(0, 0, "zero", &large()),
                publish(1, 7, "one", &large()),
                publish(2, 8, "two", &large()),
                publish(1, 9, "a", "small"),
            ]);
            assert_eq!(
                peer.reported(),
                [
                    "skipped q0 zero of 509 bytes",
                    "skipped q1 one of 510 bytes",
                    "skipped q2 two of 510 bytes",
                    "message q1 a small"
                ]
            );
            assert_eq!(peer.said(), ["PUBACK #7", "PUBREC #8"]);
            // The server has not seen the PUBREC: it sends all of it again.
            peer.send(duplicate(2, 8, "two", &large()));
            assert_eq!(peer.said(), ["PUBREC #8"]);
            peer.send(pubrel(8));
            peer.take(0);
            assert_eq!(peer.said(), ["PUBCOMP #8", "PUBACK #9"]);
            assert_eq!(
                (
                    peer.session.counters().oversized_skipped,
                    peer.session.unhandled()
                ),
                (4, 0)
            );
            assert_eq!(peer.close, None);
        }
    }
}

/// Acknowledgements leave in the order in which messages came: a skipped one has its turn.
#[test]
fn a_skipped_message_waits_for_its_turn() {
    let mut peer = Peer::connected(Version::V3_1_1, small());
    peer.forget();
    peer.send_all(&[publish(1, 1, "a", "small"), publish(1, 2, "a", &large())]);
    assert_eq!(
        peer.reported(),
        ["message q1 a small", "skipped q1 a of 508 bytes"]
    );
    assert_eq!(peer.said(), nothing());
    peer.take(0);
    assert_eq!(peer.said(), ["PUBACK #1", "PUBACK #2"]);
}

/// None of its bytes are kept: the input holds its head at most.
#[test]
fn its_bytes_are_not_buffered() {
    let mut peer = Peer::connected(Version::V3_1_1, small());
    peer.reported();
    // 256 MiB are announced.
    peer.send_bytes(b"\x32\xff\xff\xff\x7f\0\x05large\0\x07");
    assert_eq!(peer.session.skipping(), 268_435_455 - 9);
    for _ in 0..100 {
        peer.send_bytes(&[0xff; 10_000]);
        assert_eq!(peer.unread(), 0);
    }
    assert_eq!(peer.session.skipping(), 268_435_455 - 9 - 1_000_000);
    assert_eq!((peer.reported(), peer.said()), (nothing(), nothing()));
    // It ends with the connection, and the next begins with a packet.
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    peer.send(publish(0, 0, "a", "hello"));
    assert!(peer.reported().ends_with(&["message q0 a hello".into()]));
    assert_eq!(peer.session.counters().oversized_skipped, 0);
}

#[test]
fn a_durable_session_stores_that_it_skipped_one_of_qos_2() {
    let mut peer = connected(Version::V3_1_1, durable().maximum_packet_size(100));
    peer.send(publish(2, 8, "two", &large()));
    assert_eq!(peer.said(), nothing());
    peer.store_all();
    assert_eq!(peer.said(), ["PUBREC #8"]);
    peer.send(pubrel(8));
    peer.store_all();
    assert_eq!(peer.said(), ["PUBCOMP #8"]);
}

/// A head that is malformed, or packets of other kinds, end the connection as before.
#[test]
fn only_whole_messages_are_skipped() {
    let wildcard = publish(0, 0, "x/y", &large());
    let mut bytes = Vec::new();
    wildcard
        .encode(Version::V3_1_1, &mut bytes)
        .expect("a PUBLISH");
    bytes[6] = b'+';
    let mut suback = vec![0x90, 200, 1, 0, 1];
    suback.resize(203, 0);
    let mut no_identifier = vec![0x32, 200, 1, 0, 1, b'a', 0, 0];
    no_identifier.resize(203, 0);
    for bytes in [bytes, suback, no_identifier] {
        let mut peer = Peer::connected(Version::V3_1_1, small());
        peer.send_bytes(&bytes);
        assert!(
            matches!(peer.close, Some(ConnectionError::Malformed(_))),
            "{:?}",
            peer.close
        );
    }
}

#[test]
fn the_connection_is_closed_where_that_is_asked_for_or_the_server_knows() {
    for (version, oversized) in [
        (Version::V5, Oversized::Skip),
        (Version::V3_1, Oversized::Disconnect),
        (Version::V3_1_1, Oversized::Disconnect),
    ] {
        let mut peer = Peer::connected(version, small().oversized(oversized));
        peer.forget();
        peer.send(publish(1, 1, "a", &large()));
        assert!(
            matches!(peer.close, Some(ConnectionError::Malformed(_))),
            "{:?}",
            peer.close
        );
        let said = if version == Version::V5 {
            vec!["DISCONNECT 0x95".to_owned()]
        } else {
            nothing()
        };
        assert_eq!(peer.said(), said);
    }
}

/// One malformed message, retained, ended connection after connection, and nothing said which it
/// was.
#[test]
fn a_message_that_ends_connection_after_connection_is_named() {
    let wild: &[u8] = &[0x32, 8, 0, 3, b'a', b'/', b'#', 0, 1, b'x'];
    let unreadable: &[u8] = &[0x30, 4, 0, 2, 0xc3, 0x28];
    let names_of = |peer: &mut Peer| -> Vec<String> {
        peer.reported()
            .into_iter()
            .filter(|line| line.starts_with("a message"))
            .collect()
    };
    for (bytes, name) in [
        (wild, "a message of QoS 1 on \"a/#\" (10 bytes)"),
        (unreadable, "a message of QoS 0 (6 bytes)"),
    ] {
        for version in Version::ALL {
            let mut peer = Peer::new(named());
            for n in 1..=4 {
                peer.reconnect(version, false);
                peer.send_bytes(bytes);
                assert!(matches!(
                    peer.close.take(),
                    Some(ConnectionError::Malformed(_))
                ));
                let names = names_of(&mut peer);
                if n < 3 {
                    assert_eq!(names, nothing());
                } else {
                    let start =
                        format!("{name} ended {n} connections in a row: malformed PUBLISH: ");
                    assert!(
                        names.len() == 1 && names[0].starts_with(&start),
                        "{names:?}"
                    );
                }
                // Attempts that are rejected change nothing.
                peer.cut();
                peer.open(version);
                peer.cut();
            }
            // A connection that is cut for another reason does.
            peer.reconnect(version, false);
            peer.cut();
            peer.reconnect(version, false);
            peer.send_bytes(bytes);
            assert_eq!(names_of(&mut peer), nothing());
        }
    }
}

/// So is one that is too large in MQTT 5, where CONNECT announced the maximum.
#[test]
fn a_message_that_the_server_should_not_have_sent_is_named() {
    let mut peer = Peer::new(small());
    let mut named = Vec::new();
    for _ in 0..3 {
        peer.reconnect(Version::V5, false);
        peer.send(publish(1, 1, "a/b", &large()));
        named.extend(peer.events().into_iter().filter_map(|event| match event {
            Event::MessageRejected(message) => Some(message),
            _ => None,
        }));
        peer.cut();
    }
    let [message] = &named[..] else {
        panic!("{named:?}")
    };
    assert_eq!(
        message
            .topic
            .as_ref()
            .map(martlet_proto::Utf8String::as_str),
        Some("a/b")
    );
    assert_eq!(
        (message.qos, message.size, message.connections),
        (Some(qos(1)), 511, 3)
    );
}

fn nothing() -> Vec<String> {
    Vec::new()
}
