//! What is bounded of what comes: messages and bytes that wait to be taken, packets, and answers.

use crate::driver::*;
use crate::receive::{bounded, config, nothing};
use bytes::BytesMut;
use martlet_proto::{Packet, PubAckReasonCode, Version};
use martlet_session::{ConnectionError, DropQos0, Event, Excess, InboundLimits, Misbehaviour};
use std::num::NonZeroU16;
use std::time::Duration;

#[test]
fn more_than_our_receive_maximum_ends_the_connection_with_0x93() {
    let limits = InboundLimits::default()
        .receive_maximum(2)
        .excess(Excess::Disconnect);
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    peer.send_all(&[publish(1, 1, "a", ""), publish(2, 2, "a", "")]);
    peer.reported();
    // PUBREC does not make room, PUBCOMP does.
    peer.take(1);
    peer.said();
    peer.send(pubrel(2));
    peer.send(publish(1, 3, "a", ""));
    assert_eq!(peer.reported().len(), 1);
    peer.said();
    peer.send(publish(1, 4, "a", "one too many"));
    assert_eq!(peer.said(), ["DISCONNECT 0x93"]);
    assert_eq!(peer.reported(), nothing());
    assert_eq!(
        peer.close,
        Some(ConnectionError::PeerMisbehaved(
            Misbehaviour::ReceiveMaximumExceeded
        ))
    );
}

/// A server that sends more than our Receive Maximum without any fault of the network, as mosquitto
/// 2.0.11 does, was thrown off with 0x93, sent the same again on the next connection, and so on:
/// 2,849 of 3,000 messages were missing.
#[test]
fn a_server_beyond_our_receive_maximum_is_tolerated_and_reported_once() {
    let limits = InboundLimits::default().receive_maximum(1);
    for quality in [1, 2] {
        let mut peer = Peer::connected(Version::V5, bounded(limits));
        for round in 1..=2 {
            for n in 1..=100 {
                peer.send(publish(quality, n, "a", ""));
            }
            let reported = peer.reported();
            let reports = reported
                .iter()
                .filter(|line| *line == "receive maximum of 1 exceeded")
                .count();
            assert_eq!(
                (reported.len(), reports, peer.close.take()),
                (101, 1, None),
                "{reported:?}"
            );
            assert_eq!(peer.session.counters().receive_maximum_exceeded, round * 99);
            // All are acknowledged, in order, and the window is whole again.
            for _ in 0..100 {
                peer.take(0);
            }
            let said = peer.said();
            assert_eq!(
                (said.len(), said[99].split_once(' ').unwrap().1),
                (100, "#100")
            );
            if quality == 2 {
                (1..=100).for_each(|n| peer.send(pubrel(n)));
            }
            peer.send(publish(quality, 101, "a", "within"));
            assert_eq!(peer.session.counters().receive_maximum_exceeded, round * 99);
            peer.cut();
            peer.reconnect(Version::V5, false);
            peer.forget();
            peer.messages.clear();
        }
    }
}

/// The hard bounds hold as they do for a 3.x server, which knows no Receive Maximum.
#[test]
fn the_excess_is_bounded() {
    let limits = InboundLimits::default()
        .receive_maximum(2)
        .hard_messages(10);
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    for n in 1..=10 {
        peer.send(publish(1, n, "a", ""));
    }
    assert_eq!((peer.reported().len(), peer.close.take()), (11, None));
    peer.send(publish(1, 11, "a", "one too many"));
    assert_eq!(peer.close, Some(ConnectionError::InboundOverrun));
    assert_eq!(peer.said(), ["DISCONNECT 0x97"]);
}

#[test]
fn the_receive_maximum_is_never_more_than_there_is_room_for() {
    let limits = InboundLimits::default().hard_messages(10);
    let mut peer = Peer::new(bounded(limits));
    peer.open(Version::V5);
    let Some(Packet::Connect(connect)) = peer.packets().pop() else {
        panic!("a CONNECT")
    };
    assert_eq!(connect.properties.receive_maximum, NonZeroU16::new(10));
}

/// Messages of an earlier connection were with the application still when the server was allowed as
/// many again: it kept to that, and lost the connection for it.
#[test]
fn what_is_untaken_is_no_room_for_the_next_connection() {
    let limits = InboundLimits::default()
        .hard_messages(3)
        .excess(Excess::Disconnect);
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    peer.send_all(&[publish(1, 1, "a", "first"), publish(1, 2, "a", "second")]);
    peer.cut();
    peer.open(Version::V5);
    let Some(Packet::Connect(connect)) = peer.packets().pop() else {
        panic!("a CONNECT")
    };
    assert_eq!(connect.properties.receive_maximum, NonZeroU16::new(1));
    peer.send(Packet::from(connack(true)));
    peer.send(duplicate(1, 1, "a", "first"));
    assert!(peer.close.is_none());
    peer.send(duplicate(1, 2, "a", "second"));
    assert_eq!(
        peer.close,
        Some(ConnectionError::PeerMisbehaved(
            Misbehaviour::ReceiveMaximumExceeded
        ))
    );
    // However little room there is, a Receive Maximum of 0 is none.
    peer.cut();
    peer.open(Version::V5);
    let Some(Packet::Connect(connect)) = peer.packets().pop() else {
        panic!("a CONNECT")
    };
    assert_eq!(connect.properties.receive_maximum, NonZeroU16::new(1));
}

#[test]
fn a_3x_server_that_sends_too_much_loses_the_connection() {
    let limits = InboundLimits::default().hard_messages(2);
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
    let limits = InboundLimits::default().hard_bytes(1000);
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    let large = "x".repeat(600);
    peer.send_all(&[publish(1, 1, "a", &large), publish(1, 2, "a", &large)]);
    assert!(peer.close.is_none());
    peer.send(publish(1, 3, "a", &large));
    assert_eq!(peer.close, Some(ConnectionError::InboundOverrun));
    assert_eq!(peer.said(), ["DISCONNECT 0x97"]);
}

fn soft(soft_messages: usize, hard_messages: usize) -> InboundLimits {
    InboundLimits::default()
        .soft_messages(soft_messages)
        .hard_messages(hard_messages)
}

#[test]
fn above_the_soft_bound_nothing_is_read_while_the_server_owes_us_nothing() {
    let mut peer = Peer::connected(Version::V5, bounded(soft(2, 100)));
    peer.send_all(&[
        publish(0, 0, "a", "1"),
        publish(0, 0, "a", "2"),
        publish(0, 0, "a", "3"),
    ]);
    assert_eq!(peer.reported(), ["message q0 a 1", "message q0 a 2"]);
    assert!(!peer.session.wants_input());
    assert!(peer.unread() > 0);
    peer.take(0);
    assert!(peer.session.wants_input());
    peer.read_on();
    assert_eq!(peer.reported(), ["message q0 a 3"]);
}

/// A receiver that awaits its own publish while it is flooded never wedges.
#[test]
fn reading_goes_on_while_the_server_owes_us_anything() {
    let flood: Vec<Packet> = (0..50)
        .map(|n| publish(0, 0, "a", &n.to_string()))
        .collect();
    type Owed = fn(&mut Peer);
    let owed: [(Owed, Packet, &str); 4] = [
        (
            |peer| _ = peer.publish(message(1, "b", "")),
            puback(1),
            "published 1: ok",
        ),
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
    for (ask, answer, reported) in owed {
        let mut peer = Peer::connected(Version::V5, bounded(soft(2, 10)));
        peer.send_all(&flood[..2]);
        assert!(!peer.session.wants_input());
        ask(&mut peer);
        assert!(peer.session.wants_input());
        let mut bytes = flood.clone();
        bytes.push(answer);
        peer.send_all(&bytes);
        let lines = peer.reported();
        assert!(lines.iter().any(|line| line == reported), "{lines:?}");
        assert!(!peer.session.wants_input());
    }
}

#[test]
fn at_the_hard_bound_qos0_is_dropped_by_policy_counted_and_told() {
    for (qos0_when_full, kept) in [
        (DropQos0::Oldest, ["3", "4"]),
        (DropQos0::Newest, ["1", "2"]),
    ] {
        let limits = soft(100, 2).qos0_when_full(qos0_when_full);
        let mut peer = Peer::connected(Version::V5, bounded(limits));
        peer.send_all(&["1", "2", "3", "4"].map(|payload| publish(0, 0, "a", payload)));
        let reported = peer.reported();
        assert_eq!(
            reported[..2],
            kept.map(|payload| format!("message q0 a {payload}"))
        );
        assert_eq!(reported[2..], ["dropped 2"]);
        assert_eq!(peer.session.counters().inbound_dropped, 2);
        assert_eq!(peer.session.unhandled(), 2);
    }
}

/// One small message went for each large one, so that memory had no bound.
#[test]
fn a_large_qos0_message_takes_the_place_of_several_small_ones() {
    let limits = soft(1 << 20, 100).hard_bytes(1000).soft_bytes(1 << 20);
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    let mut packets: Vec<Packet> = (0..100).map(|_| publish(0, 0, "a", "12")).collect();
    packets.extend((0..20).map(|_| publish(0, 0, "a", &"x".repeat(900))));
    peer.send_all(&packets);
    let reported = peer.reported();
    assert!(
        peer.messages.iter().map(|m| m.publish.len()).sum::<usize>() < 2000,
        "{}",
        reported.len()
    );
    assert_eq!(
        peer.session.counters().inbound_dropped,
        120 - peer.messages.len() as u64
    );
}

/// Each QoS 0 message that made room was searched for behind the unhandled QoS 1 ones, and those
/// were moved: 17 MiB behind 1,024 of them took 13 s. The order of what is left is that of arrival.
#[test]
fn the_oldest_qos0_message_is_dropped_wherever_it_is() {
    let limits = soft(1 << 20, 6);
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    let mut packets = vec![publish(0, 0, "a", "0"), publish(1, 1, "a", "1")];
    packets.extend((2..100_000).map(|n| publish(0, 0, "a", &n.to_string())));
    packets.insert(50_000, publish(2, 2, "a", "in between"));
    packets.push(publish(1, 3, "a", "last"));
    peer.send_all(&packets);
    let reported = peer.reported();
    let expected = [
        "q1 a 1",
        "q2 a in between",
        "q0 a 99996",
        "q0 a 99997",
        "q0 a 99998",
        "q0 a 99999",
        "q1 a last",
    ];
    assert_eq!(
        reported[..7],
        expected.map(|message| format!("message {message}"))
    );
    assert_eq!(reported[7..], ["dropped 99995"]);
}

/// A caller that holds a lock gives a little at a time, and loses nothing.
#[test]
fn input_can_be_handled_a_little_at_a_time() {
    let mut peer = Peer::connected(Version::V5, config());
    let mut input = BytesMut::new();
    for n in 0..100 {
        publish(0, 0, "a", &format!("{n:03}"))
            .encode(Version::V5, &mut input)
            .unwrap();
    }
    let one = input.len() / 100;
    for (bytes, packets) in [
        (1, 1),
        (one, 1),
        (one + 1, 2),
        (10 * one, 10),
        (usize::MAX, 86),
    ] {
        peer.session.handle_input_upto(peer.now, &mut input, bytes);
        let reported = std::iter::from_fn(|| peer.session.poll_event()).count();
        assert_eq!(reported, packets, "{bytes}");
    }
    assert!(input.is_empty());
}

#[test]
fn qos1_and_2_are_never_dropped_for_qos0() {
    let limits = soft(100, 2);
    let mut peer = Peer::connected(Version::V5, bounded(limits));
    peer.send_all(&[
        publish(1, 1, "a", "1"),
        publish(2, 2, "a", "2"),
        publish(0, 0, "a", "0"),
        publish(0, 0, "a", "0"),
    ]);
    assert_eq!(
        peer.reported(),
        ["message q1 a 1", "message q2 a 2", "dropped 2"]
    );
}

#[test]
fn a_packet_over_our_maximum_ends_the_connection_before_it_is_buffered() {
    let mut peer = Peer::connected(Version::V5, config().maximum_packet_size(100));
    // The five bytes of the fixed header only: 256 MiB are announced.
    peer.send_bytes(&[0x30, 0xff, 0xff, 0xff, 0x7f]);
    assert!(matches!(peer.close, Some(ConnectionError::Malformed(_))));
    assert_eq!(peer.said(), ["DISCONNECT 0x95"]);
}

/// While a large message of ours was on its way nothing was read: a server that also waits for us
/// would wait for ever.
#[test]
fn a_large_message_on_its_way_does_not_stop_reading() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.blocked = true;
    peer.publish(message(0, "a", &"x".repeat(3 << 20)));
    assert!(peer.session.wants_input());
    peer.send(publish(0, 0, "a", "hello"));
    assert_eq!(peer.reported(), ["message q0 a hello"]);
}

/// A server that sends and does not read gets no unbounded memory of ours for answers.
#[test]
fn answers_that_nobody_reads_are_bounded() {
    let mut peer = Peer::connected(Version::V3_1_1, config());
    peer.blocked = true;
    let many: Vec<u8> = std::iter::repeat_n([0x62, 2, 0, 1], 300_000)
        .flatten()
        .collect();
    peer.send_bytes(&many);
    assert!(!peer.session.wants_input());
    assert!(peer.unread() > 0);
    peer.unblock();
    assert!(peer.wire.len() < (1 << 20) + 100);
    peer.read_on();
    assert_eq!(peer.unread(), 0);
}

/// A small message pins the block that it came in, so what lags is copied out. But a reader that
/// was only waiting for its turn, while a burst came in several reads, had each of them copied.
#[test]
fn a_burst_is_not_copied_and_what_lags_is() {
    let mut peer = Peer::connected(Version::V3_1_1, config());
    let mut kept = Vec::new();
    let start = peer.now;
    // Whether the last message that comes at this time is where it was read.
    let mut stays = |milliseconds, messages| {
        let mut input = BytesMut::from(&b"\x30\x04\0\x01ab"[..].repeat(messages)[..]);
        let block = input.as_ptr_range();
        let now = start + Duration::from_millis(milliseconds);
        peer.session.handle_input(now, &mut input);
        while let Some(Event::Message(message)) = peer.session.poll_event() {
            kept.push(message);
        }
        let last = kept.last().expect("a message has come");
        block.contains(&last.publish.payload().as_ptr())
    };
    assert!(stays(0, 100) && stays(1, 100) && stays(19, 100));
    assert!(!stays(30, 1), "100 messages have waited for 30 ms");
    for message in kept.drain(..) {
        peer.session
            .acknowledge(message.token, PubAckReasonCode::Success);
    }
    let mut input = BytesMut::from(&b"\x30\x04\0\x01ab"[..]);
    let block = input.as_ptr_range();
    peer.session
        .handle_input(start + Duration::from_millis(31), &mut input);
    let Some(Event::Message(message)) = peer.session.poll_event() else {
        panic!("a message has come")
    };
    assert!(block.contains(&message.publish.payload().as_ptr()));
}
