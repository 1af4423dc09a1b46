//! What is stored, what waits for it, and what comes back after a crash.

use crate::driver::*;
use martlet_proto::{ConnAck, Packet, Version};
use martlet_session::{DisconnectOptions, Durable, Event, LostSession, QueueLimits, WhenFull};
use std::time::Duration;

pub(crate) fn keys(peer: &Peer) -> Vec<String> {
    peer.store.keys().map(ToString::to_string).collect()
}

pub(crate) fn nothing() -> Vec<String> {
    Vec::new()
}

// ---- what waits, and what does not

#[test]
fn a_session_that_is_not_durable_stores_nothing() {
    let mut peer = Peer::connected(Version::V5, durable().durable(None));
    peer.publish(message(2, "a", "1"));
    peer.send(publish(2, 1, "b", "2"));
    assert!(peer.operations.is_empty());
}

#[test]
fn a_publish_leaves_when_it_and_its_identifier_are_stored() {
    for (version, quality) in [(Version::V5, 1), (Version::V3_1_1, 2)] {
        let mut peer = connected(version, durable());
        peer.publish(message(quality, "a", "1"));
        assert_eq!(peer.operations.len(), 2, "the message, and its identifier");
        assert_eq!(peer.said(), nothing());
        peer.store(1);
        assert_eq!(peer.said(), nothing());
        peer.store(1);
        assert_eq!(peer.said(), [format!("PUBLISH q{quality} #1 a 1")]);
        assert_eq!(keys(&peer), ["identity", "message 1", "flow of message 1"]);
    }
}

#[test]
fn many_are_stored_at_once_and_leave_in_their_order() {
    let mut peer = connected(Version::V5, durable());
    for payload in ["1", "2", "3"] {
        peer.publish(message(1, "a", payload));
    }
    peer.publish(message(2, "a", "4"));
    assert_eq!(peer.operations.len(), 8);
    peer.store(5);
    assert_eq!(peer.said(), ["PUBLISH q1 #1 a 1", "PUBLISH q1 #2 a 2"]);
    let last = peer.operations.back().unwrap().0;
    peer.session.handle_stored(last);
    peer.drain();
    assert_eq!(peer.said(), ["PUBLISH q1 #3 a 3", "PUBLISH q2 #4 a 4"]);
}

#[test]
fn what_needs_no_store_does_not_wait_for_it() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(1, "a", "stored"));
    peer.send(publish(2, 7, "b", "recorded"));
    peer.reported();
    peer.take(0);
    peer.publish(message(0, "a", "now"));
    peer.subscribe("c", 1);
    peer.session.ping().unwrap();
    peer.send(publish(1, 1, "b", "acknowledged"));
    peer.reported();
    peer.take(0);
    assert_eq!(
        peer.said(),
        [
            "PUBLISH q0 a now",
            "SUBSCRIBE #2 c:1",
            "PINGREQ",
            "PUBACK #1"
        ]
    );
    peer.store_all();
    assert_eq!(peer.said(), ["PUBREC #7", "PUBLISH q1 #1 a stored"]);
}

#[test]
fn pubrel_waits_for_released() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(2, "a", "1"));
    peer.store_all();
    peer.forget();
    peer.send(pubrec(1));
    assert_eq!(peer.said(), nothing());
    // Again, before it is stored: still no answer, and later one for each.
    peer.send(pubrec(1));
    assert_eq!(peer.said(), nothing());
    peer.store_all();
    assert_eq!(peer.said(), ["PUBREL #1", "PUBREL #1"]);
    peer.send(pubcomp(1));
    assert_eq!(
        peer.reported(),
        ["published 1: ok"],
        "the end does not wait"
    );
    peer.store_all();
    assert_eq!(keys(&peer), ["identity"]);
}

/// The answer to a PUBREC that nobody waits for does not pass by the PUBREL of an earlier one,
/// which waits for the store: PUBRELs go out in the order of the PUBRECs [MQTT-4.6.0-4].
#[test]
fn pubrels_keep_the_order_of_the_pubrecs() {
    for (version, unasked) in [
        (Version::V3_1_1, "PUBREL #9"),
        (Version::V5, "PUBREL #9 0x92"),
    ] {
        let mut peer = connected(version, durable());
        peer.publish(message(2, "a", "1"));
        peer.store_all();
        peer.forget();
        peer.send(pubrec(1));
        peer.send(pubrec(9));
        assert_eq!(peer.said(), nothing(), "{version}");
        peer.store_all();
        assert_eq!(peer.said(), ["PUBREL #1", unasked], "{version}");
    }
}

#[test]
fn pubrec_and_pubcomp_wait_for_their_record() {
    let mut peer = connected(Version::V5, durable());
    peer.send(publish(2, 9, "a", "1"));
    peer.reported();
    assert!(
        peer.operations.is_empty(),
        "what was not taken comes again by itself"
    );
    peer.take(0);
    assert_eq!(peer.said(), nothing());
    peer.store_all();
    assert_eq!(peer.said(), ["PUBREC #9"]);
    assert_eq!(keys(&peer), ["identity", "received identifier 9"]);
    peer.send(pubrel(9));
    assert_eq!(peer.said(), nothing());
    peer.store_all();
    assert_eq!(peer.said(), ["PUBCOMP #9"]);
    assert_eq!(keys(&peer), ["identity"]);
}

/// A message without an identifier, because the window is full, waits with the store done already.
#[test]
fn the_window_bounds_the_identifiers() {
    let config = durable().max_in_flight(1);
    let mut peer = connected(Version::V5, config);
    peer.publish(message(1, "a", "1"));
    peer.publish(message(1, "a", "2"));
    peer.store_all();
    assert_eq!(peer.said(), ["PUBLISH q1 #1 a 1"]);
    assert_eq!(
        keys(&peer),
        ["identity", "message 1", "message 2", "flow of message 1"]
    );
    peer.send(puback(1));
    peer.store_all();
    assert_eq!(peer.said(), ["PUBLISH q1 #2 a 2"]);
}

/// What waited for the store when the connection broke is said on the next one, once.
#[test]
fn a_connection_that_breaks_takes_its_answers_along() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(2, "a", "1"));
    peer.store_all();
    peer.send(pubrec(1));
    peer.send(publish(2, 9, "b", "2"));
    peer.reported();
    peer.take(0);
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said().len(), 1, "CONNECT; nothing of it is stored yet");
    peer.store_all();
    assert_eq!(peer.said(), ["PUBREL #1"]);
    peer.send(duplicate(2, 9, "b", "2"));
    assert_eq!(peer.said(), ["PUBREC #9"]);
}

// ---- disconnecting

#[test]
fn disconnect_keeps_what_is_not_acknowledged() {
    for offline in [false, true] {
        let mut peer = connected(Version::V5, durable());
        peer.publish(message(1, "a", "1"));
        peer.store_all();
        peer.forget();
        if offline {
            peer.cut();
        }
        peer.publish(message(2, "a", "2"));
        peer.publish(message(0, "a", "3"));
        peer.reported();
        peer.disconnect(Duration::ZERO);
        let kept = "not acknowledged yet, and kept in the store";
        let mut expected = vec![
            format!("published 1: {kept}"),
            format!("published 2: {kept}"),
        ];
        if offline {
            expected.insert(
                0,
                "published 3: the client has stopped: disconnected as asked".to_owned(),
            );
            expected.push("unacknowledged: 1 in flight, 2 queued".to_owned());
        } else {
            assert_eq!(
                peer.said(),
                ["PUBLISH q0 a 3", "DISCONNECT 0x00"],
                "and the server keeps the session"
            );
            peer.close();
            expected.push("unacknowledged: 2 in flight, 0 queued".to_owned());
            expected.push("disconnected: disconnected as asked".to_owned());
        }
        assert_eq!(peer.reported(), expected);
        peer.store_all();
        // The same session may go on, or another process.
        if offline {
            peer.crash(durable());
        }
        peer.reconnect(Version::V5, true);
        peer.store_all();
        assert_eq!(
            peer.said()[1..],
            ["PUBLISH q1 #1 dup a 1", "PUBLISH q2 #2 a 2"]
        );
        peer.reported();
        peer.send(puback(1));
        assert_eq!(peer.reported(), ["published 1: ok"]);
    }
}

/// The key is the application's: it may give it to another message once it was reported that this
/// one is kept.
#[test]
fn a_kept_message_has_no_key_any_more() {
    let config = durable().lost_qos2(LostSession::Requeue);
    let mut peer = connected(Version::V5, config);
    for payload in ["1", "2"] {
        peer.publish(message(2, "a", payload));
    }
    peer.store_all();
    peer.send(pubrec(1));
    peer.store_all();
    peer.disconnect(Duration::ZERO);
    peer.close();
    peer.forget();
    peer.reconnect(Version::V5, false);
    peer.store_all();
    assert_eq!(peer.said()[1..], ["PUBLISH q2 #3 a 1", "PUBLISH q2 #4 a 2"]);
    peer.events();
    peer.send_all(&[pubrec(3), pubrec(4)]);
    peer.store_all();
    peer.send_all(&[pubcomp(3), pubcomp(4)]);
    let events = peer.events();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| matches!(
        event,
        Event::Published {
            key: None,
            result: Ok(_),
            ..
        }
    )));
}

/// The server's session ends with the connection if the application says so.
#[test]
fn disconnect_may_still_end_the_session() {
    let mut peer = connected(Version::V5, durable());
    let options = DisconnectOptions::default().session_expiry_interval(Some(0));
    peer.disconnect_with(options);
    assert_eq!(peer.said(), ["DISCONNECT 0x00 expiry=0"]);
}

#[test]
fn draining_waits_for_the_store() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(1, "a", "1"));
    peer.disconnect(seconds(5));
    assert_eq!(peer.said(), nothing());
    peer.store_all();
    assert_eq!(peer.said(), ["PUBLISH q1 #1 a 1"]);
    peer.send(puback(1));
    assert_eq!(peer.said(), ["DISCONNECT 0x00"]);
    peer.store_all();
    assert_eq!(keys(&peer), ["identity"]);
}

// ---- limits and time

/// The server has the session, and takes packets of 50 bytes at most.
fn small_packets_only() -> ConnAck {
    let mut connack = connack(true);
    connack.properties.maximum_packet_size = 50.try_into().ok();
    connack
}

#[test]
fn what_may_not_be_sent_keeps_its_identifier_over_a_crash() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(2, "a", &"x".repeat(100)));
    peer.store_all();
    peer.cut();
    peer.open(Version::V5);
    peer.forget();
    peer.send(small_packets_only());
    assert_eq!(
        peer.reported()[1..],
        ["published 1: the packet has 108 bytes; the limit is 50"]
    );
    peer.store_all();
    assert_eq!(keys(&peer), ["identity", "flow of message 1"]);
    peer.crash(durable());
    assert_eq!(peer.session.unacknowledged().count(), 0);
    peer.reconnect(Version::V5, true);
    peer.publish(message(2, "a", "2"));
    peer.store_all();
    assert_eq!(
        peer.said()[1..],
        ["PUBLISH q2 #2 a 2"],
        "the server may hold #1"
    );
    peer.send(pubrec(1));
    peer.store_all();
    peer.send(pubcomp(1));
    peer.store_all();
    assert!(
        !keys(&peer).contains(&"flow of message 1".to_owned()),
        "and has let go of it"
    );
}

/// Found by the simulated world: a message was too large for one connection and failed, those
/// behind it were sent, and the process died before it had stored the failure. On the next
/// connection, which takes large ones, the message followed those that were published after it.
#[test]
fn nothing_overtakes_a_message_whose_failure_is_not_stored() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(1, "a", &"x".repeat(100)));
    peer.publish(message(1, "a", "2"));
    peer.store_all();
    peer.cut();
    peer.open(Version::V5);
    peer.store_all();
    peer.forget();
    peer.send(small_packets_only());
    assert_eq!(
        peer.reported()[1..],
        ["published 1: the packet has 108 bytes; the limit is 50"]
    );
    assert_eq!(peer.said(), nothing());
    peer.store_all();
    assert_eq!(peer.said(), ["PUBLISH q1 #2 dup a 2"]);
}

/// A review found: the message of such a flow is gone from the store, and so the flow was taken for
/// a acknowledged one. The server, which had sent its PUBREC all the same, kept the identifier and
/// swallowed the next message with it.
#[test]
fn what_failed_and_was_received_all_the_same_is_released_after_a_crash() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(2, "a", &"x".repeat(100)));
    peer.store_all();
    peer.cut();
    peer.open(Version::V5);
    peer.send(small_packets_only());
    peer.store_all();
    peer.send(pubrec(1));
    peer.store_all();
    peer.crash(durable());
    peer.reconnect(Version::V5, true);
    peer.publish(message(2, "a", "2"));
    peer.store_all();
    assert_eq!(peer.said()[1..], ["PUBREL #1", "PUBLISH q2 #2 a 2"]);
    assert_eq!(peer.session.unacknowledged().count(), 1);
    peer.send(pubcomp(1));
    peer.store_all();
    assert!(!keys(&peer).contains(&"flow of message 1".to_owned()));
}

#[test]
fn a_message_dropped_from_the_queue_leaves_the_store() {
    let queue = QueueLimits::default()
        .messages(1)
        .when_full(WhenFull::DropOldest);
    let mut peer = Peer::new(durable().queue(queue));
    peer.publish(message(1, "a", "1"));
    peer.store_all();
    peer.publish(message(1, "a", "2"));
    peer.store_all();
    assert_eq!(keys(&peer), ["identity", "message 2"]);
}

#[test]
fn a_message_expires_while_no_process_runs_if_the_time_is_known() {
    let with_epoch = |epoch| {
        let epoch = Some(seconds(epoch));
        durable().durable(Durable::default().epoch(epoch))
    };
    // Down for 100 s. The clock of the process begins at 1,000 s each time.
    for (first, second, left) in [
        (with_epoch(5000), with_epoch(5100), None),
        (with_epoch(5000), with_epoch(5030), Some(30)),
        // A clock that was set back, or is not there, gives no more than the message's own
        // interval.
        (with_epoch(5000), with_epoch(4000), Some(60)),
        (with_epoch(5000), durable(), Some(60)),
        (durable(), durable(), Some(60)),
        (durable(), with_epoch(9999), Some(60)),
    ] {
        let mut peer = Peer::new(first);
        peer.publish(expiring(1, "a", "1", 60));
        peer.store_all();
        peer.crash(second);
        peer.wait(Duration::ZERO);
        peer.store_all();
        peer.reconnect(Version::V5, false);
        peer.store_all();
        match left {
            None => {
                assert_eq!(
                    peer.reported()[0],
                    "published 1: the message expired before it could be sent"
                );
                assert_eq!(keys(&peer), ["identity"]);
            }
            Some(left) => assert_eq!(
                peer.said()[1..],
                [format!("PUBLISH q1 #1 a 1 expiry={left}")]
            ),
        }
    }
}

/// Found by the simulated world: a message was encoded when the store was asked what to do, and
/// left when the socket took bytes again; what it said to be left of its expiry interval was too
/// much by then.
#[test]
fn what_is_left_of_an_expiry_interval_is_right_when_the_bytes_leave() {
    let mut peer = connected(Version::V5, durable());
    peer.blocked = true;
    peer.publish(expiring(1, "a", "1", 20));
    peer.publish(expiring(0, "a", "2", 20));
    peer.store_all();
    peer.wait(seconds(5));
    peer.unblock();
    peer.store_all();
    let left = peer.packets().into_iter().map(|packet| match packet {
        Packet::Publish(publish) => publish.properties().message_expiry_interval(),
        _ => None,
    });
    assert_eq!(left.collect::<Vec<_>>(), [Some(15), Some(15)]);
}
