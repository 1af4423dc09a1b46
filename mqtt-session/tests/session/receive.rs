//! Receiving: delivery, acknowledgements in order, duplicates, aliases, bounds, tokens.

use crate::driver::*;
use martlet_proto::{ConnAck, Packet, PubAckReasonCode, PublishRef, Version};
use martlet_session::CleanStart;
use martlet_session::{Config, ConnectionError, DropQos0, InboundLimits, Misbehaviour, Oversized};
use std::num::{NonZeroU16, NonZeroU32};

pub(crate) fn config() -> Config {
    named().clean_start(CleanStart::Never)
}

pub(crate) fn bounded(limits: InboundLimits) -> Config {
    config().inbound(limits)
}

pub(crate) fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn each_qos_is_acknowledged_when_it_is_taken() {
    for version in Version::ALL {
        for chunking in [Chunking::Whole, Chunking::Bytes] {
            let mut peer = Peer::connected(version, config());
            peer.chunking = chunking;
            peer.send_all(&[
                publish(0, 0, "a", "0"),
                publish(1, 7, "a", "1"),
                publish(2, 7, "a", "2"),
            ]);
            assert_eq!(
                peer.reported(),
                ["message q0 a 0", "message q1 a 1", "message q2 a 2"]
            );
            assert_eq!(peer.said(), nothing(), "nothing was taken");
            assert_eq!(peer.session.unhandled(), 3);
            peer.take(0);
            assert_eq!(peer.said(), nothing());
            peer.take(0);
            assert_eq!(peer.said(), ["PUBACK #7"]);
            peer.take(0);
            assert_eq!(peer.said(), ["PUBREC #7"]);
            peer.send(pubrel(7));
            assert_eq!(peer.said(), ["PUBCOMP #7"]);
            assert_eq!(peer.session.unhandled(), 0);
        }
    }
}

#[test]
fn acknowledgements_leave_in_the_order_of_arrival_whatever_the_order_of_taking() {
    let mut peer = Peer::connected(Version::V5, config());
    for (quality, n) in [(1, 10), (2, 20), (1, 11), (2, 21), (1, 12), (2, 22)] {
        peer.send(publish(quality, n, "a", &n.to_string()));
    }
    peer.reported();
    let take = |peer: &mut Peer, payload: &str| {
        let i = peer
            .messages
            .iter()
            .position(|m| m.publish.payload() == payload.as_bytes());
        peer.take(i.expect("it is there"));
        peer.said()
    };
    assert_eq!(take(&mut peer, "12"), nothing());
    assert_eq!(take(&mut peer, "22"), nothing());
    assert_eq!(take(&mut peer, "11"), nothing());
    assert_eq!(take(&mut peer, "20"), ["PUBREC #20"]);
    assert_eq!(
        take(&mut peer, "10"),
        ["PUBACK #10", "PUBACK #11", "PUBACK #12"]
    );
    assert_eq!(take(&mut peer, "21"), ["PUBREC #21", "PUBREC #22"]);
}

#[test]
fn a_reason_is_told_in_5_and_not_in_3x() {
    for (version, puback, pubrec) in [
        (Version::V5, "PUBACK #1 0x99", "PUBREC #2 0x87"),
        (Version::V3_1_1, "PUBACK #1", "PUBREC #2"),
    ] {
        let mut peer = Peer::connected(version, config());
        peer.send_all(&[publish(1, 1, "a", ""), publish(2, 2, "a", "")]);
        peer.reported();
        peer.take_with(0, PubAckReasonCode::PayloadFormatInvalid);
        peer.take_with(0, PubAckReasonCode::NotAuthorized);
        assert_eq!(peer.said(), [puback, pubrec]);
    }
}

/// PUBREC with an error is the end of the flow: the identifier may come again with another message.
#[test]
fn a_qos2_message_that_was_rejected_is_over() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send(publish(2, 2, "a", "1"));
    peer.reported();
    peer.take_with(0, PubAckReasonCode::NotAuthorized);
    peer.send(publish(2, 2, "a", "2"));
    assert_eq!(peer.reported(), ["message q2 a 2"]);
}

/// Where a PUBREC has no room for the rejection it says that the message was taken: the flow goes
/// on to PUBREL, and until then the message is a known one. It was delivered a second time when the
/// PUBREC was lost.
#[test]
fn a_rejection_that_cannot_be_said_does_not_end_the_flow() {
    let small = || {
        let mut accepted = connack(true);
        accepted.properties.maximum_packet_size = NonZeroU32::new(4);
        accepted
    };
    for version in Version::ALL {
        let accept = |peer: &mut Peer| {
            peer.open(version);
            match version {
                Version::V5 => peer.send(small()),
                Version::V3_1_1 => peer.send(connack(true)),
                Version::V3_1 => peer.send(connack(false)),
            }
            peer.forget();
        };
        let mut peer = Peer::new(config());
        accept(&mut peer);
        peer.send(publish(2, 2, "a", "1"));
        peer.reported();
        peer.take_with(0, PubAckReasonCode::NotAuthorized);
        assert_eq!(peer.said(), ["PUBREC #2"]);
        peer.cut();
        accept(&mut peer);
        peer.send(duplicate(2, 2, "a", "1"));
        assert_eq!(peer.reported(), nothing(), "{version:?}");
        assert_eq!(peer.said(), ["PUBREC #2"]);
        peer.send(pubrel(2));
        assert_eq!(peer.said(), ["PUBCOMP #2"]);
        peer.send(publish(2, 2, "a", "2"));
        assert_eq!(peer.reported(), ["message q2 a 2"]);
    }
}

/// Another client delivers it twice.
#[test]
fn a_duplicate_before_pubrel_is_delivered_once() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send(publish(2, 3, "a", "1"));
    peer.send(duplicate(2, 3, "a", "1"));
    assert_eq!(peer.reported(), ["message q2 a 1"]);
    assert_eq!(peer.said(), nothing(), "not taken");
    peer.take(0);
    peer.send(duplicate(2, 3, "a", "1"));
    assert_eq!(peer.said(), ["PUBREC #3", "PUBREC #3"]);
    assert_eq!(peer.reported(), nothing());
    peer.send(pubrel(3));
    assert_eq!(peer.said(), ["PUBCOMP #3"]);
    // After PUBREL the identifier means another message.
    peer.send(publish(2, 3, "a", "2"));
    assert_eq!(peer.reported(), ["message q2 a 2"]);
}

/// Another client acknowledges it and never delivers it.
#[test]
fn a_message_first_seen_with_dup_is_delivered() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send_all(&[duplicate(2, 3, "a", "2"), duplicate(1, 3, "a", "1")]);
    assert_eq!(peer.reported(), ["message q2 a 2", "message q1 a 1"]);
}

/// Another client disconnects, reconnects, gets it again, in a loop.
#[test]
fn an_unknown_pubrel_is_answered() {
    for (version, answer) in [
        (Version::V5, "PUBCOMP #9 0x92"),
        (Version::V3_1_1, "PUBCOMP #9"),
    ] {
        let mut peer = Peer::connected(version, config());
        peer.send(pubrel(9));
        assert_eq!(peer.said(), [answer]);
        assert!(peer.close.is_none());
    }
}

#[test]
fn pubrel_is_answered_on_the_next_connection() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send(publish(2, 3, "a", "1"));
    peer.reported();
    peer.take(0);
    peer.cut();
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.send(pubrel(3));
    assert_eq!(peer.said(), ["PUBCOMP #3"]);
}

/// The first copy is with the application: its token acknowledges on the new connection.
#[test]
fn a_qos2_message_that_comes_again_is_not_delivered_again() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send_all(&[publish(2, 1, "a", "1"), publish(2, 2, "a", "2")]);
    peer.cut();
    peer.reported();
    // Taken in between: it is acknowledged when it comes again.
    peer.take(1);
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.send_all(&[
        duplicate(2, 1, "a", "1"),
        duplicate(2, 2, "a", "2"),
        publish(2, 3, "a", "3"),
    ]);
    assert_eq!(peer.reported(), ["message q2 a 3"]);
    assert_eq!(peer.said(), nothing());
    peer.take(1);
    peer.take(0);
    assert_eq!(peer.said(), ["PUBREC #1", "PUBREC #2", "PUBREC #3"]);
    assert_eq!(peer.session.unhandled(), 0);
}

/// A copy of a message whose PUBREC had left was answered at once, ahead of messages that had come
/// before it [MQTT-4.6.0-3].
#[test]
fn a_repeated_pubrec_waits_for_its_turn() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send_all(&[publish(2, 1, "a", "1"), publish(2, 2, "a", "2")]);
    peer.reported();
    // The server never sees these.
    peer.take_with(0, PubAckReasonCode::NotAuthorized);
    peer.take(0);
    peer.cut();
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.send_all(&[duplicate(2, 1, "a", "1"), duplicate(2, 2, "a", "2")]);
    assert_eq!(peer.reported(), ["message q2 a 1"]);
    assert_eq!(peer.said(), nothing());
    peer.take(0);
    assert_eq!(peer.said(), ["PUBREC #1", "PUBREC #2"]);
    peer.send_all(&[pubrel(1), pubrel(2)]);
    assert_eq!(peer.said(), ["PUBCOMP #1", "PUBCOMP #2"]);
}

#[test]
fn a_qos1_copy_that_comes_again_replaces_the_untaken_one() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send_all(&[publish(1, 1, "a", "1"), publish(1, 2, "a", "2")]);
    peer.reported();
    peer.take(0);
    peer.cut();
    peer.reconnect(Version::V5, true);
    peer.forget();
    assert!(!peer.session.is_superseded(&peer.messages[0].token));
    peer.send(duplicate(1, 2, "a", "2"));
    assert_eq!(peer.reported(), ["message q1 a 2"]);
    assert!(peer.session.is_superseded(&peer.messages[0].token));
    assert!(!peer.session.is_superseded(&peer.messages[1].token));
    peer.take(0);
    assert_eq!(peer.said(), nothing(), "its token says nothing any more");
    peer.take(0);
    assert_eq!(peer.said(), ["PUBACK #2"]);
    assert_eq!(peer.session.unhandled(), 0);
}

/// Another client acknowledges it and drops it: a silent loss.
#[test]
fn after_a_lost_session_the_same_identifier_is_another_message() {
    for version in [Version::V3_1_1, Version::V5] {
        let mut peer = Peer::connected(version, config());
        peer.send_all(&[
            publish(2, 1, "a", "old"),
            publish(2, 2, "a", "old taken"),
            publish(1, 1, "a", "old"),
        ]);
        peer.reported();
        peer.take(1);
        peer.cut();
        peer.reconnect(version, false);
        peer.forget();
        peer.send_all(&[
            publish(2, 1, "a", "new"),
            publish(2, 2, "a", "new"),
            publish(1, 1, "a", "new"),
        ]);
        assert_eq!(
            peer.reported(),
            ["message q2 a new", "message q2 a new", "message q1 a new"]
        );
        // Tokens of the lost session are inert.
        peer.take(0);
        peer.take(0);
        assert_eq!(peer.said(), nothing());
        assert_eq!(peer.session.unhandled(), 3);
        peer.take(0);
        assert_eq!(peer.said(), ["PUBREC #1"]);
    }
}

#[test]
fn what_is_taken_without_a_connection_is_sent_again_by_the_server_at_qos1() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send(publish(1, 1, "a", "1"));
    peer.reported();
    peer.cut();
    peer.take(0);
    peer.reconnect(Version::V5, true);
    assert!(peer.said()[1..].is_empty());
    peer.reported();
    peer.send(duplicate(1, 1, "a", "1"));
    assert_eq!(peer.reported(), ["message q1 a 1"], "at least once");
}

// ---- topic aliases

fn with_alias(alias: u16, name: Option<&str>) -> Vec<u8> {
    let name = name.map(topic);
    let known = topic("x");
    let publish = PublishRef::new(name.as_ref().unwrap_or(&known), b"!");
    let alias = NonZeroU16::new(alias).expect("not zero");
    let publish = if name.is_some() {
        publish.with_topic_alias(alias)
    } else {
        publish.with_topic_alias_only(alias)
    };
    let mut bytes = Vec::new();
    publish.encode(Version::V5, &mut bytes).expect("an alias");
    bytes
}

/// Another client shows an empty topic.
#[test]
fn a_known_topic_alias_is_resolved() {
    for chunking in [Chunking::Whole, Chunking::Bytes] {
        let mut peer = Peer::connected(Version::V5, config());
        peer.chunking = chunking;
        peer.send_bytes(&with_alias(1, Some("one")));
        peer.send_bytes(&with_alias(16, Some("two")));
        peer.send_bytes(&with_alias(1, None));
        peer.send_bytes(&with_alias(1, Some("three")));
        peer.send_bytes(&with_alias(1, None));
        peer.send_bytes(&with_alias(16, None));
        assert_eq!(
            peer.reported(),
            ["one", "two", "one", "three", "three", "two"]
                .map(|topic| format!("message q0 {topic} !"))
        );
        assert_eq!(peer.messages[2].topic_name(), topic("one"));
    }
}

/// Another client goes on in silence.
#[test]
fn an_unknown_topic_alias_ends_the_connection_with_0x94() {
    for bytes in [
        with_alias(1, None),
        with_alias(17, Some("too high")),
        with_alias(65_535, None),
    ] {
        let mut peer = Peer::connected(Version::V5, config());
        peer.send_bytes(&bytes);
        assert!(matches!(
            peer.close,
            Some(ConnectionError::PeerMisbehaved(Misbehaviour::TopicAlias(_)))
        ));
        assert_eq!(peer.said(), ["DISCONNECT 0x94"]);
        assert_eq!(peer.reported(), nothing());
    }
}

#[test]
fn topic_aliases_do_not_outlive_the_connection() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send_bytes(&with_alias(1, Some("one")));
    peer.cut();
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.send_bytes(&with_alias(1, None));
    assert_eq!(peer.said(), ["DISCONNECT 0x94"]);
}

/// The alias counts even when its message was dropped.
#[test]
fn a_dropped_message_teaches_its_alias() {
    let limits = InboundLimits::default()
        .soft_messages(100)
        .hard_messages(1)
        .qos0_when_full(DropQos0::Newest);
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    peer.send(publish(0, 0, "a", ""));
    peer.send_bytes(&with_alias(1, Some("one")));
    assert_eq!(peer.reported(), ["message q0 a ", "dropped 1"]);
    peer.take(0);
    peer.send_bytes(&with_alias(1, None));
    assert_eq!(peer.reported(), ["message q0 one !"]);
}

// ---- bounds

#[test]
fn tokens_of_another_session_do_no_harm() {
    let mut one = Peer::connected(Version::V5, config());
    let mut other = Peer::connected(Version::V5, config());
    one.send_all(&[
        publish(1, 1, "a", ""),
        publish(2, 1, "a", ""),
        publish(0, 0, "a", ""),
    ]);
    one.reported();
    for message in one.messages.drain(..) {
        other.acknowledge(message.token, PubAckReasonCode::Success);
    }
    assert_eq!(other.said(), nothing());
    assert_eq!(other.session.unhandled(), 0);
}

#[test]
fn a_resumed_session_without_memory_here_is_taken_as_it_is() {
    let mut peer = Peer::new(config());
    peer.open(Version::V5);
    let accepted: ConnAck = connack(true);
    peer.send_all(&[
        accepted.into(),
        duplicate(2, 5, "a", "2"),
        pubrel(6),
        pubrec(7),
    ]);
    assert_eq!(
        peer.reported(),
        ["connected, session present", "message q2 a 2"]
    );
    assert_eq!(peer.said()[1..], ["PUBCOMP #6 0x92", "PUBREL #7 0x92"]);
}

/// What the server says of its own sending (DUP, the alias, the subscription identifier) is not
/// said of ours.
// [MQTT-3.3.1-3] [MQTT-3.3.4-6] [MQTT-3.3.2-7]
#[test]
fn a_message_that_is_published_again_is_a_message_of_our_own() {
    let mut peer = Peer::connected(Version::V5, config());
    let identifiers = [martlet_proto::SubscriptionIdentifier::new(7).expect("not 0")];
    let name = topic("a/b");
    let alias = NonZeroU16::MIN;
    for (quality, first) in [(1, true), (2, false)] {
        let received = PublishRef::new(&name, b"!").with_subscription_identifiers(&identifiers);
        let received = received.with_delivery(delivery(quality, 5, true));
        let received = if first {
            received.with_topic_alias(alias)
        } else {
            received.with_topic_alias_only(alias)
        };
        peer.send_publish(received);
        peer.forget();
        let message = peer.messages.pop().expect("one has come");
        let echo = martlet_session::OutgoingPublish::new(message.topic_name(), "!")
            .qos(qos(quality))
            .properties(message.publish.message_properties());
        peer.publish(echo);
        let Some(Packet::Publish(sent)) = peer.packets().pop() else {
            panic!("the message")
        };
        assert!(!sent.delivery().duplicate());
        assert_eq!(sent.topic(), "a/b");
        assert_eq!(sent.properties().topic_alias(), None);
        assert_eq!(sent.properties().subscription_identifiers().next(), None);
    }
}

// [MQTT-3.3.2-10]
#[test]
#[cfg_attr(miri, ignore = "too slow: 130,000 messages")]
fn every_topic_alias_up_to_our_maximum_is_taken() {
    for maximum in [1, 16, u16::MAX] {
        let mut peer = Peer::new(config().topic_alias_maximum(maximum));
        peer.open(Version::V5);
        let Some(Packet::Connect(connect)) = peer.packets().pop() else {
            panic!("a CONNECT")
        };
        assert_eq!(connect.properties.topic_alias_maximum, Some(maximum));
        peer.send(connack(false));
        peer.reported();
        for name in ["a", "b"] {
            for alias in 1..=maximum {
                peer.send_bytes(&with_alias(alias, Some(&format!("{name}/{alias}"))));
                assert_eq!(peer.reported(), [format!("message q0 {name}/{alias} !")]);
                peer.take(0);
            }
        }
        for alias in 1..=maximum {
            peer.send_bytes(&with_alias(alias, None));
            assert_eq!(peer.reported(), [format!("message q0 b/{alias} !")]);
            peer.take(0);
        }
    }
}

// [MQTT-4.3.3-13]
#[test]
fn an_expired_qos2_message_goes_its_way_to_the_end() {
    let mut peer = Peer::connected(Version::V5, config().keep_alive(0));
    let name = topic("a");
    let expiring = PublishRef::new(&name, b"!").with_message_expiry_interval(1);
    peer.send_publish(expiring.with_delivery(delivery(2, 4, false)));
    peer.reported();
    peer.wait(seconds(100));
    peer.send_publish(expiring.with_delivery(delivery(2, 4, true)));
    assert_eq!(peer.reported(), nothing(), "once");
    peer.take(0);
    assert_eq!(
        peer.said(),
        ["PUBREC #4", "PUBREC #4"].map(str::to_owned)[..1]
    );
    peer.wait(seconds(100));
    peer.send(pubrel(4));
    assert_eq!(peer.said(), ["PUBCOMP #4"]);
}

/// Ownership was taken, the PUBACK has left: the identifier means another message from then on, DUP
/// or not.
// [MQTT-4.3.2-5]
#[test]
fn after_puback_the_same_identifier_is_another_message() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, config());
        for packet in [
            publish(1, 1, "a", "1"),
            publish(1, 1, "a", "2"),
            duplicate(1, 1, "a", "3"),
        ] {
            peer.send(packet);
            assert_eq!(peer.reported().len(), 1);
            peer.take(0);
            assert_eq!(peer.said(), ["PUBACK #1"]);
        }
    }
}

/// Another client takes 10 KiB, and surprises its users.
#[test]
fn the_default_inbound_limit_is_generous_and_its_error_says_both_numbers() {
    for version in Version::ALL {
        // Before MQTT 5, it would be skipped.
        let config = config().oversized(Oversized::Disconnect);
        let mut peer = Peer::connected(version, config);
        peer.send(publish(0, 0, "a", &"x".repeat(15 << 20)));
        assert_eq!(peer.reported(), ["message q0 a 15728640 bytes"]);
        peer.send(publish(0, 0, "a", &"x".repeat(16 << 20)));
        let error = whole(peer.close.as_ref().expect("too large"));
        assert!(
            error.contains("16777216") && error.contains("limit"),
            "{error}"
        );
    }
}

/// Five bytes of acknowledgement left to servers that take four: the reason stays away then.
// [MQTT-3.2.2-15]
#[test]
fn an_acknowledgement_is_never_larger_than_the_server_takes() {
    for (limit, reason) in [(4, ""), (5, " 0x87")] {
        let mut peer = Peer::new(Config::default());
        peer.open(Version::V5);
        let mut accepted = connack(false);
        accepted.properties.maximum_packet_size = NonZeroU32::new(limit);
        peer.send(accepted);
        peer.forget();
        peer.send_all(&[publish(1, 1, "a", ""), publish(2, 2, "a", "")]);
        peer.reported();
        peer.take_with(0, PubAckReasonCode::NotAuthorized);
        peer.take_with(0, PubAckReasonCode::NotAuthorized);
        assert_eq!(
            peer.said(),
            [format!("PUBACK #1{reason}"), format!("PUBREC #2{reason}")]
        );
        // Answers to what nobody knows.
        peer.send_all(&[pubrel(2), pubrel(7), pubrec(9)]);
        let reason = if limit > 4 { " 0x92" } else { "" };
        let expected =
            ["PUBCOMP #2", "PUBCOMP #7", "PUBREL #9"].map(|line| format!("{line}{reason}"));
        assert_eq!(peer.said(), expected);
    }
}
