//! Messages that wait in the queue: for a connection, for the window, and for the socket.

use crate::driver::*;
use martlet_proto::Version;
use martlet_session::{Config, PublishError, QueueLimits, WhenFull};

#[test]
fn a_full_queue_follows_its_policy() {
    let config = |when_full| {
        Config::default().queue(
            QueueLimits::default()
                .messages(2)
                .bytes(100)
                .when_full(when_full)
                .qos0_offline(true),
        )
    };
    let mut peer = Peer::new(config(WhenFull::Reject));
    peer.publish(message(1, "a", "1"));
    peer.publish(message(0, "a", "2"));
    assert!(!peer.session.has_room(1));
    assert_eq!(
        peer.session.publish(peer.now, message(1, "a", "3")),
        Err(PublishError::QueueFull)
    );
    assert_eq!((peer.session.queued(), peer.session.queued_bytes()), (2, 4));

    let mut peer = Peer::new(config(WhenFull::DropOldest));
    for payload in ["1", "2", "3"] {
        peer.publish(message(1, "a", payload));
    }
    assert_eq!(
        peer.reported(),
        ["published 1: dropped from the full queue"]
    );
    peer.publish(message(1, "a", &"x".repeat(98)));
    assert_eq!(
        peer.reported(),
        [
            "published 2: dropped from the full queue",
            "published 3: dropped from the full queue"
        ]
    );

    let mut peer = Peer::new(config(WhenFull::DropNewest));
    for payload in ["1", "2", "3"] {
        peer.publish(message(1, "a", payload));
    }
    assert_eq!(
        peer.reported(),
        ["published 3: dropped from the full queue"]
    );
}

/// A message larger than the whole queue used to drop all others first, and then itself.
#[test]
fn a_message_that_never_fits_drops_nobody_else() {
    let queue = QueueLimits::default()
        .messages(10)
        .bytes(10)
        .when_full(WhenFull::DropOldest)
        .qos0_offline(true);
    let mut peer = Peer::new(Config::default().queue(queue));
    peer.publish(message(1, "a", "1"));
    peer.publish(message(1, "a", "0123456789"));
    assert_eq!(
        peer.reported(),
        ["published 2: dropped from the full queue"]
    );
    assert_eq!(peer.session.queued(), 1);
}

#[test]
fn qos0_without_a_connection_is_queued_or_rejected() {
    let mut peer = Peer::new(Config::default());
    peer.publish(message(0, "a", "1"));
    peer.reconnect(Version::V5, false);
    assert_eq!(peer.said()[1..], ["PUBLISH q0 a 1"]);
    assert_eq!(peer.reported(), ["connected", "published 1: ok"]);

    let queue = QueueLimits::default().qos0_offline(false);
    let mut peer = Peer::new(Config::default().queue(queue));
    assert_eq!(
        peer.session.publish(peer.now, message(0, "a", "1")),
        Err(PublishError::NotConnected)
    );
    peer.publish(message(1, "a", "2"));
}

#[test]
fn a_blocked_socket_stops_publishes_not_events() {
    let mut peer = Peer::connected(Version::V5, window(10));
    peer.blocked = true;
    let large = "x".repeat(40_000);
    for _ in 0..4 {
        peer.publish(message(1, "a", &large));
    }
    assert_eq!(
        (peer.session.in_flight(), peer.session.queued()),
        (2, 2),
        "64 KiB and one packet"
    );
    peer.send(publish(0, 0, "b", "still here"));
    assert_eq!(peer.reported(), ["message q0 b still here"]);
    peer.unblock();
    assert_eq!(peer.said().len(), 4);
}

#[test]
fn message_expiry_is_counted_in_the_queue() {
    let mut peer = Peer::new(Config::default());
    peer.publish(expiring(1, "a", "old", 5));
    peer.publish(expiring(1, "a", "new", 100));
    peer.publish(expiring(0, "a", "zero", 0));
    peer.wait(seconds(10));
    assert_eq!(
        peer.reported(),
        [
            "published 3: the message expired before it could be sent",
            "published 1: the message expired before it could be sent"
        ]
    );
    peer.reconnect(Version::V5, false);
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #1 a new expiry=90"]);
}

/// CONNACK used to encode what was queued, with what was left of its interval then, although the
/// socket took it later.
#[test]
fn what_is_left_of_the_expiry_is_counted_until_the_socket_takes_it() {
    let mut peer = Peer::new(Config::default().keep_alive(0));
    peer.publish(expiring(1, "a", "1", 5));
    peer.publish(expiring(1, "a", "2", 100));
    peer.open(Version::V5);
    peer.said();
    peer.blocked = true;
    peer.send(connack(false));
    peer.publish(expiring(0, "a", "3", 50));
    peer.wait(seconds(10));
    peer.unblock();
    assert_eq!(
        peer.said(),
        ["PUBLISH q1 #1 a 2 expiry=90", "PUBLISH q0 a 3 expiry=40"]
    );
    assert_eq!(
        peer.reported(),
        [
            "connected",
            "published 1: the message expired before it could be sent",
            "published 3: ok"
        ]
    );
}
