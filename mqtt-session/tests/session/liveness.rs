//! What ends every connection is held against no message and no subscription: a PINGREQ goes before
//! a suspect.

use crate::driver::*;
use crate::hang_ups::{HUNG_UP, Server, config, ends};
use crate::wishes::{nothing, reports_of, serve};
use martlet_proto::{Packet, Version};

/// A server that was restarting, or a proxy without one behind it, accepted each connection and
/// closed it. After six of them a message failed as if the server had forbidden it, after three more
/// the next one, and so on: every message that was accepted was lost.
#[test]
fn a_server_that_closes_every_connection_is_held_against_no_message() {
    for version in Version::ALL {
        for quality in [1, 2] {
            let mut peer = Peer::connected(version, config());
            peer.publish(message(quality, "a", "1"));
            peer.publish(message(quality, "a", "2"));
            for _ in 0..50 {
                peer.cut();
                peer.open(version);
                peer.send(connack(version != Version::V3_1));
            }
            assert_eq!(ends(&mut peer), [""; 0], "{version}");
            let mut server = Server::new(version, true);
            assert!(!server.answer(&mut peer));
            assert_eq!(ends(&mut peer).len(), 2, "{version}");
        }
    }
}

/// On a bad network some connections ended at the message, and some with nothing in flight; only the
/// former counted, however many of the latter were between them.
#[test]
fn a_connection_that_ends_without_the_message_begins_the_count_anew() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "1"));
    for _ in 0..3 {
        peer.cut();
        peer.reconnect(Version::V5, true);
    }
    for accepted in [true, false].repeat(5) {
        peer.cut();
        peer.reconnect(Version::V5, true);
        peer.cut();
        peer.open(Version::V5);
        if accepted {
            peer.send(connack(true));
        }
        peer.cut();
        peer.reconnect(Version::V5, true);
    }
    assert_eq!(ends(&mut peer), [""; 0]);
    for _ in 0..2 {
        peer.cut();
        peer.reconnect(Version::V5, true);
    }
    assert_eq!(ends(&mut peer), [""; 0]);
    peer.cut();
    assert_eq!(ends(&mut peer), [format!("published 1: {HUNG_UP}")]);
}

/// A PINGREQ that nobody answers does not hold up the message for ever.
#[test]
fn a_suspect_is_sent_without_a_pingresp_after_a_while() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "1"));
    for _ in 0..3 {
        peer.cut();
        peer.forget();
        peer.open(Version::V5);
        peer.send(connack(true));
    }
    assert_eq!(peer.said()[1..], ["PINGREQ"]);
    assert!(peer.session.awaits_answer());
    assert_eq!(peer.session.reply_deadline(), Some(peer.now + seconds(10)));
    peer.wait(millis(9_999));
    assert!(peer.said().is_empty());
    peer.wait(millis(1));
    assert_eq!(peer.said(), ["PUBLISH q1 #1 dup a 1"]);
    peer.send(Packet::PingResp);
    peer.send(puback(1));
    assert_eq!(ends(&mut peer), ["published 1: ok"]);
}

/// A server that accepted connections and closed each, as one does that is restarting, ended streams
/// after three of them, for good: a service that had subscribed long ago heard nothing any more.
#[test]
fn a_restored_subscription_outlives_a_server_that_closes_every_connection() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, config());
        peer.subscribe("a", 0);
        peer.subscribe("b", 0);
        serve(&mut peer, |_| false);
        peer.cut();
        peer.reported();
        for _ in 0..50 {
            peer.open(version);
            peer.send(connack(false));
            peer.cut();
        }
        assert_eq!(reports_of(&mut peer, "resubscribed"), nothing());
        peer.reconnect(version, false);
        serve(&mut peer, |_| false);
        assert_eq!(
            reports_of(&mut peer, "resubscribed"),
            ["resubscribed a:0x00", "resubscribed b:0x00"],
            "{version}"
        );
    }
}
