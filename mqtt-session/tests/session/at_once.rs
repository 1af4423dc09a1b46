//! What goes out at once and what waits: the session says so before, and keeps to it.

use crate::driver::*;
use martlet_proto::{PublishProperties, Version};
use martlet_session::{Admission, OutgoingPublish, PublishError, QueueLimits, WhenFull};

fn qos0(payload: &str) -> OutgoingPublish {
    message(0, "a", payload)
}

/// Whether it has left at once.
fn at_once(peer: &mut Peer, message: &OutgoingPublish) -> bool {
    let gone = peer
        .session
        .publish_at_once(message)
        .expect("it can be accepted");
    peer.drain();
    gone
}

#[test]
fn a_message_of_qos0_leaves_at_once_on_a_connection_with_room() {
    let mut peer = connected(Version::V5, named());
    let first = peer.publish(qos0("1"));
    assert!(peer.session.has_output_room());
    assert!(at_once(&mut peer, &qos0("2")));
    let third = peer.publish(qos0("3"));
    assert_eq!(
        peer.said(),
        ["PUBLISH q0 a 1", "PUBLISH q0 a 2", "PUBLISH q0 a 3"]
    );
    // It has a number, although nothing was reported.
    assert_eq!(third.get(), first.get() + 2);
    assert_eq!(peer.session.queued(), 0);
}

#[test]
fn what_needs_more_than_the_output_is_left_to_publish() {
    let mut peer = Peer::new(named());
    assert!(!peer.session.has_output_room());
    assert!(!at_once(&mut peer, &qos0("offline")));
    peer.reconnect(Version::V5, false);
    peer.forget();
    assert!(!at_once(&mut peer, &message(1, "a", "acknowledged")));
    let properties = PublishProperties::builder().payload_is_utf8(true).build();
    assert!(!at_once(&mut peer, &qos0("text").properties(properties)));
    assert_eq!((peer.said(), peer.session.queued()), (vec![], 0));
}

#[test]
fn nothing_overtakes_at_once() {
    let mut peer = connected(Version::V5, named());
    peer.blocked = true;
    while at_once(&mut peer, &qos0(&"x".repeat(1000))) {}
    assert!(peer.session.has_output() && !peer.session.has_output_room());
    peer.publish(qos0("queued"));
    assert!(!at_once(&mut peer, &qos0("next")));
    peer.unblock();
    assert!(!peer.session.has_output() && peer.session.has_output_room());
    assert_eq!(
        peer.said().last().map(String::as_str),
        Some("PUBLISH q0 a queued")
    );
    assert!(at_once(&mut peer, &qos0("next")));
}

#[test]
fn what_the_server_does_not_take_is_rejected_at_once() {
    let mut peer = Peer::new(named());
    peer.open(Version::V5);
    let mut accepted = connack(false);
    accepted.properties.maximum_packet_size = std::num::NonZeroU32::new(20);
    peer.send(accepted);
    peer.forget();
    assert!(matches!(
        peer.session
            .publish_at_once(&qos0("more than twenty bytes")),
        Err(PublishError::PacketTooLarge { .. })
    ));
    peer.drain();
    assert_eq!(peer.said(), Vec::<String>::new());
}

/// A message of 100 bytes beside its topic of one.
#[test]
fn there_is_room_for_what_publish_accepts() {
    let limits = QueueLimits::default()
        .messages(2)
        .bytes(300)
        .when_full(WhenFull::Reject);
    let mut peer = Peer::new(named().queue(limits));
    let hundred = || message(1, "a", &"x".repeat(99));
    assert!(peer.session.has_room(300) && !peer.session.has_room(301));
    let of = |size: usize| message(1, "a", &"x".repeat(size - 1));
    let admission = |peer: &Peer, size| peer.session.admission(&of(size), false);
    assert_eq!(admission(&peer, 300), Ok(Admission::Now));
    assert_eq!(admission(&peer, 301), Ok(Admission::Connection));
    assert_eq!(
        peer.session.admission(&of(300), true),
        Ok(Admission::Queue(300))
    );
    peer.publish(hundred());
    assert_eq!(
        (peer.session.queued(), peer.session.queued_bytes()),
        (1, 100)
    );
    assert!(peer.session.has_room(200) && !peer.session.has_room(201));
    assert_eq!(admission(&peer, 300), Ok(Admission::Queue(300)));
    peer.publish(hundred());
    assert_eq!(
        (peer.session.queued(), peer.session.queued_bytes()),
        (2, 200)
    );
    // Not for the bytes but for the number.
    assert!(!peer.session.has_room(1));
    assert_eq!(
        peer.session.publish(peer.now, message(1, "a", "x")),
        Err(PublishError::QueueFull)
    );
    peer.reconnect(Version::V5, false);
    assert_eq!((peer.session.queued(), peer.session.queued_bytes()), (0, 0));

    let none = QueueLimits::default().messages(0);
    let peer = Peer::new(named().queue(none));
    assert_eq!(admission(&peer, 1), Ok(Admission::Connection));
}
