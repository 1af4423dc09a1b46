//! Copies: messages that a server sends again before the application has taken them.

use crate::driver::*;
use crate::resume::config;
use martlet_proto::Version;
use martlet_session::CleanStart;
use martlet_session::InboundLimits;

/// A review found: a new message with the packet identifier of one that was not taken yet, of a
/// session that had ended unnoticed, took its place, and no server had that any more.
#[test]
fn only_a_copy_takes_the_place_of_a_message() {
    let mut peer = Peer::connected(Version::V5, named().clean_start(CleanStart::Never));
    peer.send_all(&[publish(1, 1, "a", "one"), publish(1, 2, "a", "two")]);
    peer.reported();
    peer.cut();
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.send_all(&[publish(1, 1, "b", "new"), duplicate(1, 2, "a", "two")]);
    assert_eq!(peer.reported(), ["message q1 b new", "message q1 a two"]);
    let superseded: Vec<_> = peer
        .messages
        .iter()
        .map(|message| peer.session.is_superseded(&message.token))
        .collect();
    assert_eq!(superseded, [false, true, false, false]);
    assert_eq!(peer.session.unhandled(), 3);
    (0..4).for_each(|_| peer.take(0));
    assert_eq!(peer.said(), ["PUBACK #1", "PUBACK #2"]);
    assert_eq!(peer.session.unhandled(), 0);
}

/// A review found: copies were let in whatever their size.
#[test]
fn copies_that_are_larger_do_not_pass_the_bounds() {
    let inbound = InboundLimits::default().hard_bytes(1000);
    let mut peer = Peer::connected(
        Version::V3_1_1,
        named().clean_start(CleanStart::Never).inbound(inbound),
    );
    for id in 1..=3 {
        peer.send(publish(1, id, "a", "small"));
    }
    peer.cut();
    peer.reconnect(Version::V3_1_1, true);
    peer.forget();
    let large = "x".repeat(2000);
    peer.send(duplicate(1, 1, "a", &large));
    assert_eq!(peer.reported().len(), 1);
    peer.send(duplicate(1, 2, "a", &large));
    assert!(peer.reported().is_empty());
    assert_eq!(
        peer.end().0,
        martlet_session::ConnectionError::InboundOverrun.to_string()
    );
}

/// Copies that had been replaced counted on: a server that sent again what nobody had taken yet
/// passed the bound with it, and was cut off on each connection anew.
#[test]
fn a_copy_that_comes_again_counts_once() {
    let inbound = InboundLimits::default().hard_messages(10).hard_bytes(1000);
    for version in Version::ALL {
        let mut peer = Peer::connected(version, config().inbound(inbound));
        let payload = "x".repeat(80);
        // 3.x knows no Receive Maximum; in MQTT 5, with all the room taken, it is 1.
        let at_a_time = if version == Version::V5 { 1 } else { 10 };
        for n in 1..=10 {
            peer.send(publish(1, n, "a", &payload));
        }
        for connection in 0..5 {
            assert_eq!(
                (peer.close.take(), peer.session.unhandled()),
                (None, 10),
                "{version} {connection}"
            );
            assert_eq!(peer.session.poll_superseded(), connection > 0);
            peer.cut();
            peer.reconnect(version, version != Version::V3_1);
            for n in 1..=at_a_time {
                peer.send(duplicate(1, n, "a", &payload));
            }
        }
        // What is superseded is not counted a second time when it goes, not even after the session.
        peer.cut();
        peer.reconnect(version, false);
        peer.forget();
        let all = peer.messages.len();
        assert_eq!(all, 10 + 5 * usize::from(at_a_time));
        let superseded: Vec<_> = (0..all)
            .rev()
            .filter(|&i| peer.session.is_superseded(&peer.messages[i].token))
            .collect();
        assert_eq!(superseded.len(), all - 10);
        superseded.into_iter().for_each(|i| peer.take(i));
        assert_eq!(peer.session.unhandled(), 10);
        while !peer.messages.is_empty() {
            peer.take(0);
        }
        assert_eq!(peer.session.unhandled(), 0);
    }
}

/// A caller with a copy in its own queue learns that it was replaced, also when the session is lost
/// before it asks.
#[test]
fn that_a_copy_was_replaced_is_told_once() {
    for lost in [false, true] {
        let mut peer = Peer::connected(Version::V5, config());
        peer.send(publish(1, 1, "a", "1"));
        peer.reported();
        peer.cut();
        peer.reconnect(Version::V5, true);
        assert!(!peer.session.poll_superseded(), "nothing has come again");
        peer.send(duplicate(1, 1, "a", "1"));
        peer.reported();
        if lost {
            peer.cut();
            peer.reconnect(Version::V5, false);
        }
        assert!(peer.session.poll_superseded(), "lost: {lost}");
        assert!(!peer.session.poll_superseded(), "lost: {lost}");
        assert!(peer.session.is_superseded(&peer.messages[0].token));
    }
}
