//! What outlives a connection: subscriptions, queues, exchanges in flight; and how long.

use crate::world::*;
use core::num::NonZeroU16;
use martlet_broker::{BrokerEvent, BrokerLimits, Memory};
use martlet_proto::{
    Connect, Disconnect, DisconnectReasonCode, Packet, PublishRef, TopicName, Version,
};

fn expiring(client_identifier: &str, seconds: u32) -> Connect {
    let mut connect = lasting(V5, client_identifier);
    connect.properties.session_expiry_interval = Some(seconds);
    connect
}

fn present(version: Version) -> &'static str {
    if version == V3_1 {
        "CONNACK 00"
    } else {
        "CONNACK present 00"
    }
}

#[test]
fn a_session_queues_while_its_client_is_away() {
    each_version(|world, version| {
        let receiver = world.enter(lasting(version, "r"));
        world.subscribe(receiver, "t", Q2);
        world.leave(receiver);
        let sender = world.client(version, "s");
        world.publish(sender, "t", "one", Q1, 1);
        world.publish(sender, "t", "never", Q0, 0);
        world.publish(sender, "t", "two", Q2, 2);
        assert_eq!(world.hear(sender), ["PUBACK #1 00", "PUBREC #2 00"]);
        assert_eq!(world.dropped(), ["r Offline never"]);
        let receiver = world.dial(lasting(version, "r"));
        assert_eq!(
            world.hear(receiver),
            [present(version), "PUBLISH t one q1#1", "PUBLISH t two q2#2"]
        );
        // The subscription is there too, and new messages come behind.
        world.publish(sender, "t", "three", Q0, 0);
        assert_eq!(world.hear(receiver), ["PUBLISH t three"]);
    });
}

/// [MQTT-4.4.0-1], [MQTT-4.6.0-1] to [MQTT-4.6.0-4]: with DUP, the same identifiers, in the order
/// of before.
#[test]
fn what_was_in_flight_goes_on_after_a_reconnect() {
    each_version(|world, version| {
        let receiver = world.enter(lasting(version, "r"));
        world.subscribe(receiver, "t", Q2);
        let sender = world.client(version, "s");
        for i in 1..=6 {
            world.publish(
                sender,
                "t",
                &format!("m{i}"),
                if i <= 4 { Q2 } else { Q1 },
                i,
            );
        }
        assert_eq!(world.hear(receiver).len(), 6);
        // 2 is released before 1, 4 is complete, 5 is acknowledged; 3 and 6 are still out.
        world.send(receiver, pubrec(2));
        world.send(receiver, pubrec(1));
        world.send(receiver, pubrec(4));
        world.send(receiver, pubcomp(4));
        world.send(receiver, puback(5));
        world.cut(receiver);
        world.publish(sender, "t", "m7", Q1, 7);
        for _ in 0..2 {
            let receiver = world.dial(lasting(version, "r"));
            let expected = [
                present(version),
                "PUBLISH t m3 q2#3 dup",
                "PUBLISH t m6 q1#6 dup",
                "PUBREL #2 00",
                "PUBREL #1 00",
            ];
            assert_eq!(world.hear(receiver)[..5], expected);
            world.cut(receiver);
        }
        let receiver = world.dial(lasting(version, "r"));
        assert_eq!(world.hear(receiver)[5..], ["PUBLISH t m7 q1#7 dup"]);
        for packet in [
            pubcomp(2),
            pubcomp(1),
            pubrec(3),
            pubcomp(3),
            puback(6),
            puback(7),
        ] {
            world.send(receiver, packet);
        }
        assert_eq!(world.hear(receiver), ["PUBREL #3 00"]);
        assert_eq!(world.broker.statistics().pending, 0);
        assert!(
            !world
                .events
                .iter()
                .any(|event| matches!(event, BrokerEvent::UnexpectedAck { .. }))
        );
    });
}

#[test]
fn a_lower_receive_maximum_holds_for_what_is_sent_again() {
    each_way(config(), |world| {
        let receiver = world.enter(lasting(V5, "r"));
        world.subscribe(receiver, "t", Q1);
        let sender = world.client(V5, "s");
        for i in 1..=4 {
            world.publish(sender, "t", &format!("m{i}"), Q1, i);
        }
        assert_eq!(world.hear(receiver).len(), 4);
        world.cut(receiver);
        let mut connect = lasting(V5, "r");
        connect.properties.receive_maximum = NonZeroU16::new(2);
        let receiver = world.dial(connect);
        world.publish(sender, "t", "now", Q0, 0);
        assert_eq!(
            world.hear(receiver),
            [
                "CONNACK present 00",
                "PUBLISH t m1 q1#1 dup",
                "PUBLISH t m2 q1#2 dup",
                "PUBLISH t now"
            ]
        );
        world.send(receiver, puback(1));
        assert_eq!(world.hear(receiver), ["PUBLISH t m3 q1#3 dup"]);
        // One that was not sent again yet is acknowledged nevertheless: late news from before.
        world.send(receiver, puback(4));
        world.send(receiver, puback(2));
        world.send(receiver, puback(3));
        assert!(world.hear(receiver).is_empty());
        assert_eq!(world.broker.statistics().pending, 0);
        world.publish(sender, "t", "m5", Q1, 5);
        assert_eq!(world.hear(receiver), ["PUBLISH t m5 q1#5"]);
    });
}

#[test]
fn qos_2_of_the_client_survives_a_reconnect() {
    each_version(|world, version| {
        let watcher = world.client(version, "w");
        world.subscribe(watcher, "t", Q0);
        let sender = world.enter(lasting(version, "s"));
        world.publish(sender, "t", "once", Q2, 1);
        assert_eq!(world.hear(sender), ["PUBREC #1 00"]);
        world.cut(sender);
        let sender = world.dial(lasting(version, "s"));
        assert_eq!(world.hear(sender), [present(version)]);
        let name = TopicName::new("t").unwrap();
        world.send_publish(
            sender,
            PublishRef::new(&name, b"once").with_delivery(delivery(Q2, 1, true)),
        );
        world.send(sender, pubrel(1));
        assert_eq!(world.hear(sender), ["PUBREC #1 00", "PUBCOMP #1 00"]);
        assert_eq!(world.hear(watcher), ["PUBLISH t once"]);
    });
}

/// [MQTT-3.1.2-4], [MQTT-3.2.2-2], [MQTT-3.2.2-3]
#[test]
fn a_clean_start_forgets() {
    each_version(|world, version| {
        let peer = world.enter(lasting(version, "a"));
        world.subscribe(peer, "t", Q1);
        world.publish(peer, "t", "x", Q1, 1);
        world.hear(peer);
        world.cut(peer);
        let peer = world.dial(clean(version, "a"));
        assert_eq!(world.hear(peer), ["CONNACK 00"]);
        world.publish(peer, "t", "x", Q0, 0);
        assert!(world.hear(peer).is_empty());
        // A clean session of 3.x, and one of v5 without an expiry, ends with its connection.
        world.subscribe(peer, "t", Q1);
        world.cut(peer);
        assert!(!world.broker.has_session("a"));
        let peer = world.dial(lasting(version, "a"));
        assert_eq!(world.hear(peer), ["CONNACK 00"]);
    });
}

#[test]
fn a_session_goes_from_version_to_version() {
    each_way(config(), |world| {
        let peer = world.enter(lasting(V3_1_1, "a"));
        world.subscribe(peer, "t", Q1);
        world.leave(peer);
        let sender = world.client(V5, "s");
        world.publish(sender, "t", "x", Q1, 1);
        let peer = world.dial(lasting(V5, "a"));
        assert_eq!(world.hear(peer), ["CONNACK present 00", "PUBLISH t x q1#1"]);
        world.cut(peer);
        let peer = world.dial(lasting(V3_1, "a"));
        assert_eq!(world.hear(peer), ["CONNACK 00", "PUBLISH t x q1#1 dup"]);
    });
}

/// MQTT 5 §3.1.2.11.2
#[test]
fn session_expiry() {
    each_way(config(), |world| {
        let peer = world.enter(expiring("a", 10));
        world.wait(seconds(100));
        world.cut(peer);
        world.wait(seconds(9));
        let peer = world.dial(expiring("a", 10));
        assert_eq!(world.hear(peer), ["CONNACK present 00"]);
        world.leave(peer);
        world.wait(seconds(10));
        assert!(!world.broker.has_session("a"));
        assert!(world.events.contains(&BrokerEvent::SessionEnded {
            client_identifier: "a".try_into().unwrap()
        }));
        let peer = world.enter(lasting(V5, "a"));
        world.cut(peer);
        assert_eq!(world.broker.poll_timeout(), None);
        let peer = world.dial(expiring("a", 0));
        assert_eq!(world.hear(peer), ["CONNACK present 00"]);
        world.cut(peer);
        assert!(!world.broker.has_session("a"));
    });
}

#[test]
fn the_server_may_shorten_a_session() {
    let limits = BrokerLimits::default().maximum_session_expiry(5);
    each_way(config().limits(limits), |world| {
        for (connect, granted) in [(expiring("a", 4), None), (expiring("b", 60), Some(5))] {
            let peer = world.dial(connect);
            let Packet::ConnAck(ack) = world.hear_packets(peer).remove(0) else {
                panic!()
            };
            assert_eq!(ack.properties.session_expiry_interval, granted);
            world.cut(peer);
        }
        let peer = world.enter(lasting(V3_1_1, "c"));
        world.cut(peer);
        world.wait(seconds(4));
        assert_eq!(
            ["a", "b", "c"].map(|id| world.broker.has_session(id)),
            [false, true, true]
        );
        world.wait(seconds(1));
        assert_eq!(world.broker.statistics().sessions, 0);
    });
}

/// MQTT 5 §3.14.2.2.2
#[test]
fn disconnect_changes_the_session_expiry() {
    let goodbye = |seconds| Disconnect {
        session_expiry_interval: Some(seconds),
        ..Disconnect::new(DisconnectReasonCode::NormalDisconnection)
    };
    each_way(config(), |world| {
        let peer = world.enter(expiring("a", 10));
        world.send(peer, goodbye(20));
        assert_eq!(world.hear(peer), ["closed"]);
        world.wait(seconds(19));
        assert!(world.broker.has_session("a"));
        let peer = world.enter(expiring("b", 10));
        world.send(peer, goodbye(0));
        assert_eq!(world.hear(peer), ["closed"]);
        assert!(!world.broker.has_session("b"));
        let peer = world.enter(expiring("c", 0));
        world.send(peer, goodbye(0));
        assert_eq!(world.hear(peer), ["closed"]);
        let peer = world.enter(expiring("c", 0));
        world.send(peer, goodbye(1));
        assert_eq!(world.hear(peer), ["DISCONNECT 82", "closed"]);
    });
}

#[test]
fn queues_are_bounded() {
    let fill = |config, expected: usize| {
        each_way(config, |world| {
            let receiver = world.enter(lasting(V5, "r"));
            world.subscribe(receiver, "t", Q1);
            world.cut(receiver);
            let sender = world.client(V5, "s");
            for i in 0..20 {
                world.publish(sender, "t", &format!("{i:02}{}", "x".repeat(1000)), Q1, 1);
            }
            assert_eq!(world.dropped().len(), 20 - expected);
            assert!(world.broker.statistics().held_bytes < 10_000 || expected == 20);
            let receiver = world.dial(lasting(V5, "r"));
            let heard = world.hear(receiver);
            assert_eq!(heard.len(), 1 + expected);
            // The oldest are kept.
            assert!(heard[1].starts_with("PUBLISH t 00"));
            assert_eq!(world.broker.statistics().held_bytes, 0);
        });
    };
    fill(config().max_queued(5), 5);
    fill(config().max_queued_bytes(8_000), 7);
    fill(config().max_queued(0).max_queued_bytes(0), 20);
}

#[test]
fn sessions_can_be_forgotten() {
    each_version(|world, version| {
        let away = world.enter(lasting(version, "away"));
        world.cut(away);
        let here = world.enter(lasting(version, "here"));
        world.broker.forget_sessions(world.now);
        assert_eq!(
            ["away", "here"].map(|id| world.broker.has_session(id)),
            [false, true]
        );
        assert!(world.is_open(here));
        world.cut(here);
        assert!(!world.broker.has_session("here"));
        let here = world.dial(lasting(version, "here"));
        assert_eq!(world.hear(here), ["CONNACK 00"]);
        world.cut(here);
        assert!(world.broker.has_session("here"));
    });
}

#[test]
fn a_restart_with_and_without_memory() {
    each_version(|world, version| {
        let peer = world.enter(lasting(version, "a"));
        world.subscribe(peer, "t", Q1);
        world.retain(peer, "kept", "x");
        world.publish(peer, "t", "x", Q1, 1);
        // Nothing of this was written before the crash.
        world.broker.restart(world.now, Memory::Kept);
        assert_eq!(world.hear(peer), ["closed"]);
        let peer = world.dial(lasting(version, "a"));
        assert_eq!(world.hear(peer), [present(version), "PUBLISH t x q1#1"]);
        assert_eq!(world.broker.statistics().retained, 1);

        world.publish(peer, "t", "x", Q1, 2);
        world.broker.restart(world.now, Memory::Lost);
        assert_eq!(world.hear(peer), ["closed"]);
        assert_eq!(world.broker.statistics().retained, 0);
        let next = world.dial(lasting(version, "a"));
        assert!(next > peer, "identifiers of connections are not used again");
        assert_eq!(world.hear(next), ["CONNACK 00"]);
        // Nothing that is late from before touches it.
        world.cut(peer);
        world.broker.drop_connection(world.now, peer);
        assert!(world.is_open(next));
    });
}

#[test]
fn the_broker_ends_connections() {
    each_version(|world, version| {
        let end = |code: &str| {
            if version == V5 {
                vec![format!("DISCONNECT {code}"), "closed".into()]
            } else {
                vec!["closed".into()]
            }
        };
        let first = world.enter(lasting(version, "a"));
        world
            .broker
            .disconnect(world.now, first, DisconnectReasonCode::UseAnotherServer);
        world.drain();
        assert_eq!(world.hear(first), end("9c"));
        let second = world.enter(lasting(version, "b"));
        world.send(second, Packet::PingReq);
        world.broker.drop_connection(world.now, second);
        world.drain();
        assert_eq!(world.hear(second), ["closed"]);
        let (third, fourth) = (world.enter(lasting(version, "c")), world.open(version));
        world.broker.shutdown(world.now);
        world.drain();
        assert_eq!(world.hear(third), end("8b"));
        assert_eq!(world.hear(fourth), ["closed"]);
        assert_eq!(world.broker.statistics().connections, 0);
        assert_eq!(world.broker.statistics().sessions, 3);
    });
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let mut world = World::new(config().max_output_bytes(1000), usize::MAX);
    let peer = world.client(V3_1_1, "a");
    let mut pings = bytes::BytesMut::from(&[0xc0, 0x00].repeat(10_000)[..]);
    world.broker.handle_input(world.now, peer, &mut pings);
    assert!(pings.is_empty());
    assert!(world.broker.statistics().held_bytes < 1100);
    assert_eq!(world.broker.poll_close(), Some(peer));
}
