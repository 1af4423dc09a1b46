//! Receiving: delivery, acknowledgements in order, duplicates, aliases, bounds, tokens.

mod driver;

use driver::*;
use martlet_proto::{ConnAck, Packet, PubAckReasonCode, PublishRef, Version};
use martlet_session::{Config, ConnectionError, DropQos0, InboundLimits, Misbehaviour};
use std::num::NonZeroU16;

fn config() -> Config {
    Config { clean_start: false, ..named() }
}

fn bounded(limits: InboundLimits) -> Config {
    Config { inbound: limits, ..config() }
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn each_qos_is_acknowledged_when_it_is_taken() {
    for version in Version::ALL {
        for chunking in [Chunking::Whole, Chunking::Bytes] {
            let mut peer = Peer::connected(version, config());
            peer.chunking = chunking;
            peer.send_all(&[publish(0, 0, "a", "0"), publish(1, 7, "a", "1"), publish(2, 7, "a", "2")]);
            assert_eq!(peer.told(), ["message q0 a 0", "message q1 a 1", "message q2 a 2"]);
            assert_eq!(peer.said(), nothing(), "nothing was taken");
            assert_eq!(peer.session.untaken(), 3);
            peer.take(0);
            assert_eq!(peer.said(), nothing());
            peer.take(0);
            assert_eq!(peer.said(), ["PUBACK #7"]);
            peer.take(0);
            assert_eq!(peer.said(), ["PUBREC #7"]);
            peer.send(pubrel(7));
            assert_eq!(peer.said(), ["PUBCOMP #7"]);
            assert_eq!(peer.session.untaken(), 0);
        }
    }
}

#[test]
fn acknowledgements_leave_in_the_order_of_arrival_whatever_the_order_of_taking() {
    let mut peer = Peer::connected(Version::V5, config());
    for (quality, n) in [(1, 10), (2, 20), (1, 11), (2, 21), (1, 12), (2, 22)] {
        peer.send(publish(quality, n, "a", &n.to_string()));
    }
    peer.told();
    let take = |peer: &mut Peer, payload: &str| {
        let i = peer.messages.iter().position(|m| m.publish.payload() == payload.as_bytes());
        peer.take(i.expect("it is there"));
        peer.said()
    };
    assert_eq!(take(&mut peer, "12"), nothing());
    assert_eq!(take(&mut peer, "22"), nothing());
    assert_eq!(take(&mut peer, "11"), nothing());
    assert_eq!(take(&mut peer, "20"), ["PUBREC #20"]);
    assert_eq!(take(&mut peer, "10"), ["PUBACK #10", "PUBACK #11", "PUBACK #12"]);
    assert_eq!(take(&mut peer, "21"), ["PUBREC #21", "PUBREC #22"]);
}

#[test]
fn a_reason_is_told_in_5_and_not_in_3x() {
    for (version, puback, pubrec) in
        [(Version::V5, "PUBACK #1 0x99", "PUBREC #2 0x87"), (Version::V3_1_1, "PUBACK #1", "PUBREC #2")]
    {
        let mut peer = Peer::connected(version, config());
        peer.send_all(&[publish(1, 1, "a", ""), publish(2, 2, "a", "")]);
        peer.told();
        peer.take_with(0, PubAckReasonCode::PayloadFormatInvalid);
        peer.take_with(0, PubAckReasonCode::NotAuthorized);
        assert_eq!(peer.said(), [puback, pubrec]);
    }
}

/// PUBREC with an error is the end of the flow: the identifier may come again with another message.
#[test]
fn a_qos2_message_that_was_refused_is_over() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send(publish(2, 2, "a", "1"));
    peer.told();
    peer.take_with(0, PubAckReasonCode::NotAuthorized);
    peer.send(publish(2, 2, "a", "2"));
    assert_eq!(peer.told(), ["message q2 a 2"]);
}

/// Another client delivers it twice.
#[test]
fn a_duplicate_before_pubrel_is_delivered_once() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send(publish(2, 3, "a", "1"));
    peer.send(duplicate(2, 3, "a", "1"));
    assert_eq!(peer.told(), ["message q2 a 1"]);
    assert_eq!(peer.said(), nothing(), "not taken");
    peer.take(0);
    peer.send(duplicate(2, 3, "a", "1"));
    assert_eq!(peer.said(), ["PUBREC #3", "PUBREC #3"]);
    assert_eq!(peer.told(), nothing());
    peer.send(pubrel(3));
    assert_eq!(peer.said(), ["PUBCOMP #3"]);
    // After PUBREL the identifier means another message.
    peer.send(publish(2, 3, "a", "2"));
    assert_eq!(peer.told(), ["message q2 a 2"]);
}

/// Another client acknowledges it and never delivers it.
#[test]
fn a_message_first_seen_with_dup_is_delivered() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send_all(&[duplicate(2, 3, "a", "2"), duplicate(1, 3, "a", "1")]);
    assert_eq!(peer.told(), ["message q2 a 2", "message q1 a 1"]);
}

/// Another client disconnects, reconnects, gets it again, in a loop.
#[test]
fn an_unknown_pubrel_is_answered() {
    for (version, answer) in [(Version::V5, "PUBCOMP #9 0x92"), (Version::V3_1_1, "PUBCOMP #9")] {
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
    peer.told();
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
    peer.told();
    // Taken in between: it is acknowledged when it comes again.
    peer.take(1);
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.send_all(&[duplicate(2, 1, "a", "1"), duplicate(2, 2, "a", "2"), publish(2, 3, "a", "3")]);
    assert_eq!(peer.told(), ["message q2 a 3"]);
    assert_eq!(peer.said(), nothing());
    peer.take(1);
    peer.take(0);
    assert_eq!(peer.said(), ["PUBREC #1", "PUBREC #2", "PUBREC #3"]);
    assert_eq!(peer.session.untaken(), 0);
}

/// A copy of a message whose PUBREC had left was answered at once, ahead of messages that had come before it
/// [MQTT-4.6.0-3].
#[test]
fn a_repeated_pubrec_waits_for_its_turn() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send_all(&[publish(2, 1, "a", "1"), publish(2, 2, "a", "2")]);
    peer.told();
    // The server never sees these.
    peer.take_with(0, PubAckReasonCode::NotAuthorized);
    peer.take(0);
    peer.cut();
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.send_all(&[duplicate(2, 1, "a", "1"), duplicate(2, 2, "a", "2")]);
    assert_eq!(peer.told(), ["message q2 a 1"]);
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
    peer.told();
    peer.take(0);
    peer.cut();
    peer.reconnect(Version::V5, true);
    peer.forget();
    assert!(!peer.session.is_superseded(&peer.messages[0].token));
    peer.send(duplicate(1, 2, "a", "2"));
    assert_eq!(peer.told(), ["message q1 a 2"]);
    assert!(peer.session.is_superseded(&peer.messages[0].token));
    assert!(!peer.session.is_superseded(&peer.messages[1].token));
    peer.take(0);
    assert_eq!(peer.said(), nothing(), "its token says nothing any more");
    peer.take(0);
    assert_eq!(peer.said(), ["PUBACK #2"]);
    assert_eq!(peer.session.untaken(), 0);
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
        peer.told();
        peer.take(1);
        peer.cut();
        peer.reconnect(version, false);
        peer.forget();
        peer.send_all(&[publish(2, 1, "a", "new"), publish(2, 2, "a", "new"), publish(1, 1, "a", "new")]);
        assert_eq!(peer.told(), ["message q2 a new", "message q2 a new", "message q1 a new"]);
        // Tokens of the lost session are inert.
        peer.take(0);
        peer.take(0);
        assert_eq!(peer.said(), nothing());
        assert_eq!(peer.session.untaken(), 3);
        peer.take(0);
        assert_eq!(peer.said(), ["PUBREC #1"]);
    }
}

#[test]
fn what_is_taken_without_a_connection_is_sent_again_by_the_server_at_qos1() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.send(publish(1, 1, "a", "1"));
    peer.told();
    peer.cut();
    peer.take(0);
    peer.reconnect(Version::V5, true);
    assert!(peer.said()[1..].is_empty());
    peer.told();
    peer.send(duplicate(1, 1, "a", "1"));
    assert_eq!(peer.told(), ["message q1 a 1"], "at least once");
}

// ---- topic aliases

fn with_alias(alias: u16, name: Option<&str>) -> Vec<u8> {
    let name = name.map(topic);
    let known = topic("x");
    let publish = PublishRef::new(name.as_ref().unwrap_or(&known), b"!");
    let alias = NonZeroU16::new(alias).expect("not zero");
    let publish =
        if name.is_some() { publish.with_topic_alias(alias) } else { publish.with_topic_alias_only(alias) };
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
            peer.told(),
            ["one", "two", "one", "three", "three", "two"].map(|topic| format!("message q0 {topic} !"))
        );
        assert_eq!(peer.messages[2].topic_name(), topic("one"));
    }
}

/// Another client goes on in silence.
#[test]
fn an_unknown_topic_alias_ends_the_connection_with_0x94() {
    for bytes in [with_alias(1, None), with_alias(17, Some("too high")), with_alias(65_535, None)] {
        let mut peer = Peer::connected(Version::V5, config());
        peer.send_bytes(&bytes);
        assert!(matches!(peer.close, Some(ConnectionError::PeerMisbehaved(Misbehaviour::TopicAlias(_)))));
        assert_eq!(peer.said(), ["DISCONNECT 0x94"]);
        assert_eq!(peer.told(), nothing());
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
    let limits = InboundLimits {
        soft_messages: 100,
        hard_messages: 1,
        qos0_when_full: DropQos0::Newest,
        ..InboundLimits::default()
    };
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    peer.send(publish(0, 0, "a", ""));
    peer.send_bytes(&with_alias(1, Some("one")));
    assert_eq!(peer.told(), ["message q0 a ", "dropped 1"]);
    peer.take(0);
    peer.send_bytes(&with_alias(1, None));
    assert_eq!(peer.told(), ["message q0 one !"]);
}

// ---- bounds

#[test]
fn more_than_our_receive_maximum_ends_the_connection_with_0x93() {
    let limits =
        InboundLimits { receive_maximum: NonZeroU16::MIN.saturating_add(1), ..InboundLimits::default() };
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    peer.send_all(&[publish(1, 1, "a", ""), publish(2, 2, "a", "")]);
    peer.told();
    // PUBREC does not make room, PUBCOMP does.
    peer.take(1);
    peer.said();
    peer.send(pubrel(2));
    peer.send(publish(1, 3, "a", ""));
    assert_eq!(peer.told().len(), 1);
    peer.said();
    peer.send(publish(1, 4, "a", "one too many"));
    assert_eq!(peer.said(), ["DISCONNECT 0x93"]);
    assert_eq!(peer.told(), nothing());
    assert_eq!(peer.close, Some(ConnectionError::PeerMisbehaved(Misbehaviour::ReceiveMaximumExceeded)));
}

#[test]
fn the_receive_maximum_is_never_more_than_there_is_room_for() {
    let limits = InboundLimits { hard_messages: 10, ..InboundLimits::default() };
    let mut peer = Peer::new(bounded(limits));
    peer.open(Version::V5);
    let Some(Packet::Connect(connect)) = peer.packets().pop() else { panic!("a CONNECT") };
    assert_eq!(connect.properties.receive_maximum, NonZeroU16::new(10));
}

/// Messages of an earlier connection were with the application still when the server was allowed as many again: it kept
/// to that, and lost the connection for it.
#[test]
fn what_is_untaken_is_no_room_for_the_next_connection() {
    let limits = InboundLimits { hard_messages: 3, ..InboundLimits::default() };
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    peer.send_all(&[publish(1, 1, "a", "first"), publish(1, 2, "a", "second")]);
    peer.cut();
    peer.open(Version::V5);
    let Some(Packet::Connect(connect)) = peer.packets().pop() else { panic!("a CONNECT") };
    assert_eq!(connect.properties.receive_maximum, NonZeroU16::new(1));
    peer.send(Packet::from(connack(true)));
    peer.send(duplicate(1, 1, "a", "first"));
    assert!(peer.close.is_none());
    peer.send(duplicate(1, 2, "a", "second"));
    assert_eq!(peer.close, Some(ConnectionError::PeerMisbehaved(Misbehaviour::ReceiveMaximumExceeded)));
    // However little room there is, a Receive Maximum of 0 is none.
    peer.cut();
    peer.open(Version::V5);
    let Some(Packet::Connect(connect)) = peer.packets().pop() else { panic!("a CONNECT") };
    assert_eq!(connect.properties.receive_maximum, NonZeroU16::new(1));
}

#[test]
fn a_3x_server_that_sends_too_much_loses_the_connection() {
    let limits = InboundLimits { hard_messages: 2, ..InboundLimits::default() };
    let mut peer = Peer::connected(Version::V3_1_1, bounded(limits));
    // QoS 0 has bounds of its own: it does not count against QoS 1 and 2.
    peer.send_all(&[
        publish(0, 0, "a", ""),
        publish(0, 0, "a", ""),
        publish(1, 1, "a", ""),
        publish(2, 2, "a", ""),
    ]);
    assert!(peer.close.is_none());
    // A copy of what is here takes no room.
    peer.send(duplicate(2, 2, "a", ""));
    assert!(peer.close.is_none());
    peer.send(publish(1, 3, "a", ""));
    assert_eq!(peer.close, Some(ConnectionError::InboundOverrun));
    assert_eq!(peer.said(), nothing(), "3.x has no words for it");
}

/// Only messages were counted: 1,024 of 16 MiB each would have been taken.
#[test]
fn bytes_of_qos1_are_bounded_in_mqtt_5_too() {
    let limits = InboundLimits { hard_bytes: 1000, ..InboundLimits::default() };
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    let large = "x".repeat(600);
    peer.send_all(&[publish(1, 1, "a", &large), publish(1, 2, "a", &large)]);
    assert!(peer.close.is_none());
    peer.send(publish(1, 3, "a", &large));
    assert_eq!(peer.close, Some(ConnectionError::InboundOverrun));
    assert_eq!(peer.said(), ["DISCONNECT 0x97"]);
}

fn soft(soft_messages: usize, hard_messages: usize) -> InboundLimits {
    InboundLimits { soft_messages, hard_messages, ..InboundLimits::default() }
}

#[test]
fn above_the_soft_bound_nothing_is_read_while_the_server_owes_us_nothing() {
    let mut peer = Peer::connected(Version::V5, bounded(soft(2, 100)));
    peer.send_all(&[publish(0, 0, "a", "1"), publish(0, 0, "a", "2"), publish(0, 0, "a", "3")]);
    assert_eq!(peer.told(), ["message q0 a 1", "message q0 a 2"]);
    assert!(!peer.session.wants_input());
    assert!(peer.unread() > 0);
    peer.take(0);
    assert!(peer.session.wants_input());
    peer.read_on();
    assert_eq!(peer.told(), ["message q0 a 3"]);
}

/// A receiver that awaits its own publish while it is flooded never wedges.
#[test]
fn reading_goes_on_while_the_server_owes_us_anything() {
    let flood: Vec<Packet> = (0..50).map(|n| publish(0, 0, "a", &n.to_string())).collect();
    type Owed = fn(&mut Peer);
    let owed: [(Owed, Packet, &str); 4] = [
        (|peer| _ = peer.publish(message(1, "b", "")), puback(1), "published 1: ok"),
        (
            |peer| _ = peer.subscribe("b", 0),
            suback(1, &[martlet_proto::SubAckReasonCode::GrantedQos0]),
            "subscribed 1: [0]",
        ),
        (
            |peer| _ = peer.unsubscribe("b"),
            unsuback(1, &[martlet_proto::UnsubAckReasonCode::Success]),
            "unsubscribed 1: [0]",
        ),
        (
            |peer| {
                peer.session.ping().expect("connected");
                peer.drain();
            },
            Packet::PingResp,
            "pong 1: ok",
        ),
    ];
    for (ask, answer, told) in owed {
        let mut peer = Peer::connected(Version::V5, bounded(soft(2, 10)));
        peer.send_all(&flood[..2]);
        assert!(!peer.session.wants_input());
        ask(&mut peer);
        assert!(peer.session.wants_input());
        let mut bytes = flood.clone();
        bytes.push(answer);
        peer.send_all(&bytes);
        let lines = peer.told();
        assert!(lines.iter().any(|line| line == told), "{lines:?}");
        assert!(!peer.session.wants_input());
    }
}

#[test]
fn at_the_hard_bound_qos0_is_dropped_by_policy_counted_and_told() {
    for (qos0_when_full, kept) in [(DropQos0::Oldest, ["3", "4"]), (DropQos0::Newest, ["1", "2"])] {
        let limits = InboundLimits { qos0_when_full, ..soft(100, 2) };
        let mut peer = Peer::connected(Version::V5, bounded(limits));
        peer.send_all(&["1", "2", "3", "4"].map(|payload| publish(0, 0, "a", payload)));
        let told = peer.told();
        assert_eq!(told[..2], kept.map(|payload| format!("message q0 a {payload}")));
        assert_eq!(told[2..], ["dropped 2"]);
        assert_eq!(peer.session.counters().inbound_dropped, 2);
        assert_eq!(peer.session.untaken(), 2);
    }
}

/// One small message went for each large one, so that memory had no bound.
#[test]
fn a_large_qos0_message_takes_the_place_of_several_small_ones() {
    let limits = InboundLimits { hard_bytes: 1000, soft_bytes: 1 << 20, ..soft(1 << 20, 100) };
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    let mut packets: Vec<Packet> = (0..100).map(|_| publish(0, 0, "a", "12")).collect();
    packets.extend((0..20).map(|_| publish(0, 0, "a", &"x".repeat(900))));
    peer.send_all(&packets);
    let told = peer.told();
    assert!(peer.messages.iter().map(|m| m.publish.len()).sum::<usize>() < 2000, "{}", told.len());
    assert_eq!(peer.session.counters().inbound_dropped, 120 - peer.messages.len() as u64);
}

#[test]
fn qos1_and_2_are_never_dropped_for_qos0() {
    let limits = InboundLimits { ..soft(100, 2) };
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    peer.send_all(&[
        publish(1, 1, "a", "1"),
        publish(2, 2, "a", "2"),
        publish(0, 0, "a", "0"),
        publish(0, 0, "a", "0"),
    ]);
    assert_eq!(peer.told(), ["message q1 a 1", "message q2 a 2", "dropped 2"]);
}

#[test]
fn a_packet_over_our_maximum_ends_the_connection_before_it_is_buffered() {
    let mut peer = Peer::connected(Version::V5, Config { maximum_packet_size: 100, ..config() });
    // The five bytes of the fixed header only: 256 MiB are announced.
    peer.send_bytes(&[0x30, 0xff, 0xff, 0xff, 0x7f]);
    assert!(matches!(peer.close, Some(ConnectionError::Malformed(_))));
    assert_eq!(peer.said(), ["DISCONNECT 0x95"]);
}

/// While a large message of ours was on its way nothing was read: a server that also waits for us would wait for ever.
#[test]
fn a_large_message_on_its_way_does_not_stop_reading() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.blocked = true;
    peer.publish(message(0, "a", &"x".repeat(3 << 20)));
    assert!(peer.session.wants_input());
    peer.send(publish(0, 0, "a", "hello"));
    assert_eq!(peer.told(), ["message q0 a hello"]);
}

/// A server that sends and does not read gets no unbounded memory of ours for answers.
#[test]
fn answers_that_nobody_reads_are_bounded() {
    let mut peer = Peer::connected(Version::V3_1_1, config());
    peer.blocked = true;
    let many: Vec<u8> = std::iter::repeat_n([0x62, 2, 0, 1], 300_000).flatten().collect();
    peer.send_bytes(&many);
    assert!(!peer.session.wants_input());
    assert!(peer.unread() > 0);
    peer.unblock();
    assert!(peer.wire.len() < (1 << 20) + 100);
    peer.read_on();
    assert_eq!(peer.unread(), 0);
}

#[test]
fn tokens_of_another_session_do_no_harm() {
    let mut one = Peer::connected(Version::V5, config());
    let mut other = Peer::connected(Version::V5, config());
    one.send_all(&[publish(1, 1, "a", ""), publish(2, 1, "a", ""), publish(0, 0, "a", "")]);
    one.told();
    for message in one.messages.drain(..) {
        other.acknowledge(message.token, PubAckReasonCode::Success);
    }
    assert_eq!(other.said(), nothing());
    assert_eq!(other.session.untaken(), 0);
}

#[test]
fn a_resumed_session_without_memory_here_is_taken_as_it_is() {
    let mut peer = Peer::new(config());
    peer.open(Version::V5);
    let accepted: ConnAck = connack(true);
    peer.send_all(&[accepted.into(), duplicate(2, 5, "a", "2"), pubrel(6), pubrec(7)]);
    assert_eq!(peer.told(), ["connected, session present", "message q2 a 2"]);
    assert_eq!(peer.said()[1..], ["PUBCOMP #6 0x92", "PUBREL #7 0x92"]);
}

/// What the server says of its own sending (DUP, the alias, the subscription identifier) is not said of ours.
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
        let received =
            if first { received.with_topic_alias(alias) } else { received.with_topic_alias_only(alias) };
        peer.send_publish(received);
        peer.forget();
        let message = peer.messages.pop().expect("one has come");
        let echo = martlet_session::Publish {
            qos: qos(quality),
            properties: message.publish.message_properties(),
            ..martlet_session::Publish::new(message.topic_name(), "!")
        };
        peer.publish(echo);
        let Some(Packet::Publish(sent)) = peer.packets().pop() else { panic!("the message") };
        assert!(!sent.delivery().duplicate());
        assert_eq!(sent.topic(), "a/b");
        assert_eq!(sent.properties().topic_alias(), None);
        assert_eq!(sent.properties().subscription_identifiers().next(), None);
    }
}

// [MQTT-3.3.2-10]
#[test]
fn every_topic_alias_up_to_our_maximum_is_taken() {
    for maximum in [1, 16, u16::MAX] {
        let mut peer = Peer::new(Config { topic_alias_maximum: maximum, ..config() });
        peer.open(Version::V5);
        let Some(Packet::Connect(connect)) = peer.packets().pop() else { panic!("a CONNECT") };
        assert_eq!(connect.properties.topic_alias_maximum, Some(maximum));
        peer.send(connack(false));
        peer.told();
        for name in ["a", "b"] {
            for alias in 1..=maximum {
                peer.send_bytes(&with_alias(alias, Some(&format!("{name}/{alias}"))));
                assert_eq!(peer.told(), [format!("message q0 {name}/{alias} !")]);
                peer.take(0);
            }
        }
        for alias in 1..=maximum {
            peer.send_bytes(&with_alias(alias, None));
            assert_eq!(peer.told(), [format!("message q0 b/{alias} !")]);
            peer.take(0);
        }
    }
}

// [MQTT-4.3.3-13]
#[test]
fn an_expired_qos2_message_goes_its_way_to_the_end() {
    let mut peer = Peer::connected(Version::V5, Config { keep_alive: 0, ..config() });
    let name = topic("a");
    let expiring = PublishRef::new(&name, b"!").with_message_expiry_interval(1);
    peer.send_publish(expiring.with_delivery(delivery(2, 4, false)));
    peer.told();
    peer.wait(seconds(100));
    peer.send_publish(expiring.with_delivery(delivery(2, 4, true)));
    assert_eq!(peer.told(), nothing(), "once");
    peer.take(0);
    assert_eq!(peer.said(), ["PUBREC #4", "PUBREC #4"].map(str::to_owned)[..1]);
    peer.wait(seconds(100));
    peer.send(pubrel(4));
    assert_eq!(peer.said(), ["PUBCOMP #4"]);
}

/// Ownership was taken, the PUBACK has left: the identifier means another message from then on, DUP or not.
// [MQTT-4.3.2-5]
#[test]
fn after_puback_the_same_identifier_is_another_message() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, config());
        for packet in [publish(1, 1, "a", "1"), publish(1, 1, "a", "2"), duplicate(1, 1, "a", "3")] {
            peer.send(packet);
            assert_eq!(peer.told().len(), 1);
            peer.take(0);
            assert_eq!(peer.said(), ["PUBACK #1"]);
        }
    }
}

/// Another client takes 10 KiB, and surprises its users.
#[test]
fn the_default_inbound_limit_is_generous_and_its_error_says_both_numbers() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, config());
        peer.send(publish(0, 0, "a", &"x".repeat(15 << 20)));
        assert_eq!(peer.told(), ["message q0 a 15728640 bytes"]);
        peer.send(publish(0, 0, "a", &"x".repeat(16 << 20)));
        let error = peer.close.as_ref().expect("too large").to_string();
        assert!(error.contains("16777216") && error.contains("limit"), "{error}");
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
        accepted.properties.maximum_packet_size = std::num::NonZeroU32::new(limit);
        peer.send(accepted);
        peer.forget();
        peer.send_all(&[publish(1, 1, "a", ""), publish(2, 2, "a", "")]);
        peer.told();
        peer.take_with(0, PubAckReasonCode::NotAuthorized);
        peer.take_with(0, PubAckReasonCode::NotAuthorized);
        assert_eq!(peer.said(), [format!("PUBACK #1{reason}"), format!("PUBREC #2{reason}")]);
        // Answers to what nobody knows.
        peer.send_all(&[pubrel(2), pubrel(7), pubrec(9)]);
        let reason = if limit > 4 { " 0x92" } else { "" };
        let expected = ["PUBCOMP #2", "PUBCOMP #7", "PUBREL #9"].map(|line| format!("{line}{reason}"));
        assert_eq!(peer.said(), expected);
    }
}
