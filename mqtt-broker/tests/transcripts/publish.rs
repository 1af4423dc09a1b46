//! PUBLISH and its acknowledgements, both ways; what limits them; topic aliases, properties,
//! expiry.

use crate::world::*;
use core::num::NonZeroU16;
use martlet_broker::{BrokerEvent, BrokerLimits};
use martlet_proto::{
    Ack, Packet, PacketType, PubAckReasonCode, PublishProperties, PublishRef, QoS,
    SubscriptionIdentifier, TopicName, Version,
};

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn alias(alias: u16) -> NonZeroU16 {
    NonZeroU16::new(alias).unwrap()
}

/// The QoS of a message is the lower of those of PUBLISH and of the subscription (MQTT 5 §3.8.4).
#[test]
fn every_qos_to_every_qos() {
    let levels = [Q0, Q1, Q2];
    each_version(|world, version| {
        for published in levels {
            for granted in levels {
                let sender = world.client(version, "s");
                let receiver = world.client(version, "r");
                world.subscribe(receiver, "t", granted);
                world.publish(sender, "t", "x", published, 7);
                let answer: &[&str] = match published {
                    QoS::AtMostOnce => &[],
                    QoS::AtLeastOnce => &["PUBACK #7 00"],
                    QoS::ExactlyOnce => &["PUBREC #7 00"],
                };
                assert_eq!(world.hear(sender), answer);
                if published == Q2 {
                    world.send(sender, pubrel(7));
                    assert_eq!(world.hear(sender), ["PUBCOMP #7 00"]);
                }
                match published.min(granted) {
                    QoS::AtMostOnce => assert_eq!(world.hear(receiver), ["PUBLISH t x"]),
                    QoS::AtLeastOnce => {
                        assert_eq!(world.hear(receiver), ["PUBLISH t x q1#1"]);
                        world.send(receiver, puback(1));
                    }
                    QoS::ExactlyOnce => {
                        assert_eq!(world.hear(receiver), ["PUBLISH t x q2#1"]);
                        world.send(receiver, pubrec(1));
                        assert_eq!(world.hear(receiver), ["PUBREL #1 00"]);
                        // A second PUBREC is answered again.
                        world.send(receiver, pubrec(1));
                        assert_eq!(world.hear(receiver), ["PUBREL #1 00"]);
                        world.send(receiver, pubcomp(1));
                    }
                }
                assert_eq!(world.broker.statistics().pending, 0);
                assert!(
                    !world
                        .events
                        .iter()
                        .any(|event| matches!(event, BrokerEvent::UnexpectedAck { .. }))
                );
                world.leave(sender);
                world.leave(receiver);
            }
        }
    });
}

/// [MQTT-4.3.3-10]
#[test]
fn a_qos_2_message_is_passed_on_once() {
    each_version(|world, version| {
        let peer = world.client(version, "a");
        world.subscribe(peer, "t", Q0);
        let name = topic("t");
        for duplicate in [false, true, true] {
            world.send_publish(
                peer,
                PublishRef::new(&name, b"x").with_delivery(delivery(Q2, 1, duplicate)),
            );
        }
        assert_eq!(
            world.hear(peer),
            [
                "PUBREC #1 00",
                "PUBREC #1 00",
                "PUBREC #1 00",
                "PUBLISH t x"
            ]
        );
        world.send(peer, pubrel(1));
        world.send(peer, pubrel(1));
        let second = if version == V5 {
            "PUBCOMP #1 92"
        } else {
            "PUBCOMP #1 00"
        };
        assert_eq!(world.hear(peer), ["PUBCOMP #1 00", second]);
        world.publish(peer, "t", "new", Q2, 1);
        assert_eq!(world.hear(peer), ["PUBREC #1 00", "PUBLISH t new"]);
    });
}

#[test]
fn the_sender_learns_that_nobody_listens_in_v5() {
    each_version(|world, version| {
        let peer = world.client(version, "a");
        world.publish(peer, "t", "x", Q1, 1);
        world.publish(peer, "t", "x", Q2, 2);
        let code = if version == V5 { "10" } else { "00" };
        assert_eq!(
            world.hear(peer),
            [format!("PUBACK #1 {code}"), format!("PUBREC #2 {code}")]
        );
        // It is not an error: the exchange goes on.
        world.send(peer, pubrel(2));
        assert_eq!(world.hear(peer), ["PUBCOMP #2 00"]);
    });
}

/// [MQTT-3.3.4-9]; QoS 0 needs no quota and does not wait behind those that do.
#[test]
fn the_client_s_receive_maximum_is_kept_and_order_too() {
    each_way(config(), |world| {
        let mut connect = clean(V5, "r");
        connect.properties.receive_maximum = NonZeroU16::new(2);
        let receiver = world.enter(connect);
        world.subscribe(receiver, "#", Q2);
        let sender = world.client(V5, "s");
        for i in 1..=5 {
            world.publish(
                sender,
                "t",
                &format!("m{i}"),
                if i % 2 == 0 { Q2 } else { Q1 },
                i,
            );
        }
        world.publish(sender, "t", "now", Q0, 0);
        assert_eq!(
            world.hear(receiver),
            ["PUBLISH t m1 q1#1", "PUBLISH t m2 q2#2", "PUBLISH t now"]
        );
        world.send(receiver, pubrec(2));
        assert_eq!(
            world.hear(receiver),
            ["PUBREL #2 00"],
            "PUBREC frees nothing"
        );
        world.send(receiver, puback(1));
        assert_eq!(world.hear(receiver), ["PUBLISH t m3 q1#3"]);
        world.send(receiver, pubcomp(2));
        assert_eq!(world.hear(receiver), ["PUBLISH t m4 q2#4"]);
        // A PUBREC that rejects ends the exchange.
        world.send(
            receiver,
            Packet::PubRec(Ack::new(id(4), PubAckReasonCode::QuotaExceeded)),
        );
        assert_eq!(world.hear(receiver), ["PUBLISH t m5 q1#5"]);
        world.send(receiver, puback(3));
        world.send(receiver, puback(5));
        assert_eq!(world.broker.statistics().pending, 0);
    });
}

#[test]
fn packet_identifiers_wrap_and_skip_those_in_use() {
    let mut world = World::new(config().max_in_flight(NonZeroU16::MAX), usize::MAX);
    let receiver = world.client(V5, "r");
    world.subscribe(receiver, "t", Q1);
    let sender = world.client(V5, "s");
    world.publish(sender, "t", "first", Q1, 1);
    assert_eq!(world.hear(receiver), ["PUBLISH t first q1#1"]);
    for i in 2..=u16::MAX {
        world.publish(sender, "t", "x", Q1, 1);
        assert_eq!(world.hear(receiver), [format!("PUBLISH t x q1#{i}")]);
        world.send(receiver, puback(i));
    }
    world.publish(sender, "t", "x", Q1, 1);
    assert_eq!(world.hear(receiver), ["PUBLISH t x q1#2"]);
}

/// [MQTT-3.3.4-7]
#[test]
fn a_client_that_exceeds_receive_maximum_is_told_so() {
    let limits = BrokerLimits::default().receive_maximum(alias(2));
    each_way(config().limits(limits), |world| {
        let peer = world.client(V5, "a");
        world.subscribe(peer, "none", Q0);
        // Acknowledgements that are still with the broker free nothing; those that were handed out
        // do.
        for _ in 0..3 {
            world.publish(peer, "t", "x", Q1, 1);
            world.publish(peer, "t", "x", Q2, 2);
            assert_eq!(world.hear(peer), ["PUBACK #1 10", "PUBREC #2 10"]);
            world.send(peer, pubrel(2));
            assert_eq!(world.hear(peer), ["PUBCOMP #2 00"]);
        }
        world.publish(peer, "t", "x", Q2, 1);
        world.publish(peer, "t", "x", Q0, 0);
        world.publish(peer, "t", "x", Q2, 2);
        assert_eq!(world.hear(peer), ["PUBREC #1 10", "PUBREC #2 10"]);
        world.publish(peer, "t", "x", Q1, 3);
        assert_eq!(world.hear(peer), ["DISCONNECT 93", "closed"]);
        // 3.x has no field for a maximum.
        let peer = world.client(V3_1_1, "b");
        for i in 1..=9 {
            world.publish(peer, "t", "x", Q2, i);
        }
        assert_eq!(world.hear(peer).len(), 9);
    });
}

/// [MQTT-3.2.2-11], MQTT 5 §3.2.2.3.4, §3.2.2.3.5, [MQTT-3.3.4-6]
#[test]
fn what_was_not_allowed_ends_the_connection() {
    let limits = BrokerLimits::default()
        .maximum_qos(Q1)
        .retain_available(false)
        .maximum_packet_size(50);
    each_way(config().limits(limits), |world| {
        let name = topic("t");
        let publish = PublishRef::new(&name, b"x");
        let identifiers = [SubscriptionIdentifier::new(1).unwrap()];
        let large = [0; 50];
        let table = [
            (
                publish.with_delivery(delivery(Q2, 1, false)),
                "DISCONNECT 9b",
            ),
            (publish.with_retain(true), "DISCONNECT 9a"),
            (
                publish.with_subscription_identifiers(&identifiers),
                "DISCONNECT 82",
            ),
            (PublishRef::new(&name, &large), "DISCONNECT 95"),
            (publish.with_topic_alias(alias(17)), "DISCONNECT 94"),
            (publish.with_topic_alias_only(alias(16)), "DISCONNECT 82"),
        ];
        for (publish, reason) in table {
            let peer = world.client(V5, "a");
            world.send_publish(peer, publish);
            assert_eq!(world.hear(peer), [reason, "closed"]);
        }
        // 3.x could not know.
        let peer = world.client(V3_1_1, "b");
        world.subscribe(peer, "t", Q1);
        world.send_publish(
            peer,
            publish
                .with_delivery(delivery(Q2, 1, false))
                .with_retain(true),
        );
        assert_eq!(world.hear(peer), ["PUBREC #1 00", "PUBLISH t x q1#1"]);
        assert_eq!(world.broker.statistics().retained, 0);
    });
}

#[test]
fn malformed_input_ends_the_connection() {
    each_way(config(), |world| {
        let table = [
            ("30 03 00 01 2b", "DISCONNECT 82"), // a topic name with a wildcard
            ("36 06 00 01 74 00 01 00", "DISCONNECT 81"), // QoS 3
            ("32 06 00 01 74 00 00 00", "DISCONNECT 81"), // packet identifier 0
            ("82 03 00 01 00", "DISCONNECT 82"), // no filter
            ("30 ff ff ff ff 01", "DISCONNECT 81"),
            ("00 00", "DISCONNECT 81"),
        ];
        for (bytes, reason) in table {
            let peer = world.client(V5, "a");
            world.say_hex(peer, bytes);
            assert_eq!(world.hear(peer), [reason, "closed"], "{bytes}");
            let peer = world.client(V3_1_1, "a");
            world.say_hex(peer, &bytes.replace(" 00 01 00", " 00 01"));
            // Whatever comes behind is ignored.
            world.say_hex(peer, "c0 00");
            assert_eq!(world.hear(peer), ["closed"], "{bytes}");
        }
    });
}

/// MQTT 5 §3.3.2.3.4
#[test]
fn topic_aliases_of_the_client() {
    each_way(config(), |world| {
        let receiver = world.client(V5, "r");
        world.subscribe(receiver, "#", Q0);
        let peer = world.client(V5, "a");
        let (one, two) = (topic("one"), topic("two"));
        let properties = PublishProperties::builder()
            .message_expiry_interval(9)
            .try_user_property("k", "v")
            .unwrap()
            .build();
        world.send_publish(
            peer,
            PublishRef::new(&one, b"1").with_topic_alias(alias(16)),
        );
        world.send_publish(peer, PublishRef::new(&two, b"2").with_topic_alias(alias(1)));
        world.send_publish(
            peer,
            PublishRef::new(&two, b"3")
                .with_properties(&properties)
                .with_topic_alias_only(alias(16)),
        );
        world.send_publish(
            peer,
            PublishRef::new(&two, b"4").with_topic_alias(alias(16)),
        );
        world.send_publish(
            peer,
            PublishRef::new(&one, b"5").with_topic_alias_only(alias(16)),
        );
        let packets = world.hear_packets(receiver);
        let heard: Vec<_> = packets.iter().map(show).collect();
        assert_eq!(
            heard,
            [
                "PUBLISH one 1",
                "PUBLISH two 2",
                "PUBLISH one 3 expiry=9",
                "PUBLISH two 4",
                "PUBLISH two 5"
            ]
        );
        let Packet::Publish(third) = &packets[2] else {
            panic!()
        };
        assert!(third.properties().user_properties().eq([("k", "v")]));
        // An alias is of one connection.
        let peer = world.client(V5, "a");
        world.send_publish(
            peer,
            PublishRef::new(&one, b"5").with_topic_alias_only(alias(16)),
        );
        assert_eq!(world.hear(peer), ["DISCONNECT 82", "closed"]);
    });
}

#[test]
fn topic_aliases_towards_the_client() {
    each_way(config().outbound_topic_aliases(2), |world| {
        let mut connect = lasting(V5, "r");
        connect.properties.topic_alias_maximum = Some(9);
        let receiver = world.enter(connect.clone());
        world.subscribe(receiver, "#", Q1);
        let sender = world.client(V5, "s");
        for name in ["a", "b", "c", "a", "b", "c"] {
            world.publish(sender, name, "x", Q0, 0);
        }
        world.publish(sender, "a", "y", Q1, 1);
        assert_eq!(
            world.hear(receiver),
            [
                "PUBLISH a x alias=1",
                "PUBLISH b x alias=2",
                "PUBLISH c x",
                "PUBLISH  x alias=1",
                "PUBLISH  x alias=2",
                "PUBLISH c x",
                "PUBLISH  y q1#1 alias=1",
            ]
        );
        // What is sent again has its topic.
        world.cut(receiver);
        let receiver = world.dial(connect);
        assert_eq!(
            world.hear(receiver),
            ["CONNACK present 00", "PUBLISH a y q1#1 dup alias=1"]
        );
    });
}

/// [MQTT-3.3.2-4, MQTT-3.3.2-15, MQTT-3.3.2-16, MQTT-3.3.2-17, MQTT-3.3.2-18, MQTT-3.3.2-20]
#[test]
fn properties_are_forwarded_unaltered_and_in_order() {
    each_way(config(), |world| {
        let v5 = world.client(V5, "five");
        let v3 = world.client(V3_1_1, "three");
        world.subscribe(v5, "t", Q1);
        world.subscribe(v3, "t", Q1);
        let sender = world.client(V5, "s");
        let mut builder = PublishProperties::builder()
            .payload_is_utf8(true)
            .response_topic(topic("answer/here"))
            .correlation_data("\u{0}\u{1}".try_into().unwrap())
            .content_type("text/plain".try_into().unwrap());
        for (name, value) in [("b", "1"), ("a", "2"), ("b", "1"), ("", "")] {
            builder = builder.try_user_property(name, value).unwrap();
        }
        let properties = builder.build();
        let name = topic("t");
        world.send_publish(
            sender,
            PublishRef::new(&name, b"x")
                .with_properties(&properties)
                .with_delivery(delivery(Q1, 1, false)),
        );
        let Packet::Publish(publish) = world.hear_packets(v5).remove(0) else {
            panic!()
        };
        assert_eq!(publish.properties(), properties.as_ref());
        assert_eq!(publish.payload(), b"x");
        assert_eq!(world.hear(v3), ["PUBLISH t x q1#1"]);
    });
}

/// [MQTT-3.1.2-24, MQTT-3.1.2-25]
#[test]
fn what_is_larger_than_the_client_takes_is_treated_as_sent() {
    each_way(config(), |world| {
        let mut connect = lasting(V5, "r");
        connect.properties.maximum_packet_size = core::num::NonZeroU32::new(20);
        let receiver = world.enter(connect.clone());
        world.subscribe(receiver, "#", Q1);
        let sender = world.client(V5, "s");
        // 2 + 2 + 1 + 2 + 1 bytes and the payload.
        world.publish(sender, "t", &"x".repeat(12), Q1, 1);
        world.publish(sender, "t", &"y".repeat(13), Q1, 2);
        world.publish(sender, "t", "z", Q1, 3);
        assert_eq!(
            world.hear(receiver),
            ["PUBLISH t xxxxxxxxxxxx q1#1", "PUBLISH t z q1#2"]
        );
        assert_eq!(world.dropped(), ["r TooLarge yyyyyyyyyyyyy"]);
        assert_eq!(
            world.hear(sender),
            ["PUBACK #1 00", "PUBACK #2 00", "PUBACK #3 00"]
        );
        // The next connection takes less; what is in flight is looked at again.
        world.cut(receiver);
        connect.properties.maximum_packet_size = core::num::NonZeroU32::new(19);
        let receiver = world.dial(connect);
        assert_eq!(
            world.hear(receiver),
            ["CONNACK present 00", "PUBLISH t z q1#2 dup"]
        );
        assert_eq!(world.dropped(), ["r TooLarge xxxxxxxxxxxx"]);
        world.send(receiver, puback(2));
        assert_eq!(world.broker.statistics().pending, 0);
        // An answer that is too large cannot be left out.
        world.send(
            receiver,
            subscribe(1, (0..20).map(|i| subscription(&format!("{i}"), Q0))),
        );
        assert_eq!(world.hear(receiver), ["closed"]);
    });
}

/// A message was dropped because of the topic alias that the broker added to it.
// [MQTT-3.1.2-24]
#[test]
fn a_topic_alias_does_not_make_a_message_too_large() {
    each_way(config().outbound_topic_aliases(1), |world| {
        let mut connect = lasting(V5, "r");
        connect.properties.maximum_packet_size = core::num::NonZeroU32::new(20);
        connect.properties.topic_alias_maximum = Some(1);
        let receiver = world.enter(connect);
        world.subscribe(receiver, "#", Q1);
        let sender = world.client(V5, "s");
        // Without room for the alias beside the name, with room for it, and without room for the
        // alias in place of the name.
        for (payload, n) in [(12, 1), (9, 2), (12, 3), (8, 4)] {
            world.publish(sender, "t", &"x".repeat(payload), Q1, n);
        }
        let payload = |n| "x".repeat(n);
        assert_eq!(
            world.hear(receiver),
            [
                format!("PUBLISH t {} q1#1", payload(12)),
                format!("PUBLISH t {} q1#2 alias=1", payload(9)),
                format!("PUBLISH t {} q1#3", payload(12)),
                format!("PUBLISH  {} q1#4 alias=1", payload(8)),
            ]
        );
        assert!(world.dropped().is_empty());
    });
}

/// MQTT 5 §3.3.2.3.3: [MQTT-3.3.2-5, MQTT-3.3.2-6]
#[test]
fn messages_expire_and_what_is_left_of_the_interval_is_forwarded() {
    each_way(config(), |world| {
        let receiver = world.enter(lasting(V5, "r"));
        world.subscribe(receiver, "t", Q1);
        let sender = world.client(V5, "s");
        let name = topic("t");
        let publish = |world: &mut World, payload: &str, expiry| {
            let properties = PublishProperties::builder()
                .message_expiry_interval(expiry)
                .build();
            let publish = PublishRef::new(&name, payload.as_bytes())
                .with_properties(&properties)
                .with_delivery(delivery(Q1, 1, false));
            world.send_publish(sender, publish);
        };
        publish(world, "at once", 0);
        publish(world, "connected", 5);
        assert_eq!(
            world.hear(receiver),
            [
                "PUBLISH t at once q1#1 expiry=0",
                "PUBLISH t connected q1#2 expiry=5"
            ]
        );
        world.send(receiver, puback(1));
        world.cut(receiver);
        publish(world, "short", 10);
        publish(world, "long", 11);
        world.publish(sender, "t", "for ever", Q1, 1);
        world.wait(seconds(10));
        let receiver = world.dial(lasting(V5, "r"));
        assert_eq!(
            world.hear(receiver),
            [
                "CONNACK present 00",
                // Its delivery has started, so it goes on.
                "PUBLISH t connected q1#2 dup expiry=0",
                "PUBLISH t long q1#3 expiry=1",
                "PUBLISH t for ever q1#4",
            ]
        );
        assert_eq!(world.dropped(), ["r Expired short"]);
    });
}

#[test]
fn an_acknowledgement_of_nothing_is_survived_and_reported() {
    each_version(|world, version| {
        let peer = world.client(version, "a");
        world.subscribe(peer, "t", Q2);
        world.publish(peer, "t", "x", Q2, 1);
        assert_eq!(world.hear(peer), ["PUBREC #1 00", "PUBLISH t x q2#1"]);
        for packet in [puback(1), pubcomp(1), puback(9), pubcomp(9)] {
            world.send(peer, packet);
            assert!(world.hear(peer).is_empty());
        }
        world.send(peer, pubrec(9));
        let code = if version == V5 { "92" } else { "00" };
        assert_eq!(world.hear(peer), [format!("PUBREL #9 {code}")]);
        let unexpected: Vec<_> = world
            .events
            .iter()
            .filter_map(|event| match event {
                BrokerEvent::UnexpectedAck {
                    packet_type,
                    packet_identifier,
                    ..
                } => Some((*packet_type, packet_identifier.get())),
                _ => None,
            })
            .collect();
        use PacketType::{PubAck, PubComp, PubRec};
        assert_eq!(
            unexpected,
            [
                (PubAck, 1),
                (PubComp, 1),
                (PubAck, 9),
                (PubComp, 9),
                (PubRec, 9)
            ]
        );
        world.send(peer, pubrec(1));
        assert_eq!(world.hear(peer), ["PUBREL #1 00"]);
    });
}

#[test]
fn the_broker_publishes_too() {
    each_version(|world, version| {
        let peer = world.client(version, "a");
        world.subscribe(peer, "t", Q1);
        let name = topic("t");
        let publish = PublishRef::new(&name, b"x")
            .with_delivery(delivery(Q2, 1, false))
            .with_retain(true);
        assert!(world.broker.publish(world.now, publish));
        assert_eq!(world.hear(peer), ["PUBLISH t x q1#1"]);
        assert!(
            !world
                .broker
                .publish(world.now, PublishRef::new(&topic("u"), b"x"))
        );
        assert_eq!(world.broker.statistics().retained, 1);
    });
}

#[test]
fn a_blocked_socket_makes_messages_wait_in_order_and_loses_only_what_is_too_much() {
    for version in Version::ALL {
        let mut world = World::new(config().max_queued(1000), usize::MAX);
        let receiver = world.client(version, "r");
        world.subscribe(receiver, "t", Q1);
        let sender = world.client(version, "s");
        let mut wire = bytes::BytesMut::new();
        for i in 0..1500u32 {
            let qos = [Q0, Q1][i as usize % 2];
            let name = topic("t");
            PublishRef::new(&name, format!("{i}").as_bytes())
                .with_delivery(delivery(qos, 1, false))
                .encode(version, &mut wire)
                .unwrap();
        }
        world.say(sender, &wire);
        let numbers: Vec<u32> = world
            .hear(receiver)
            .iter()
            .map(|line| line.split(' ').nth(2).unwrap().parse().unwrap())
            .collect();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
        world.drain();
        assert_eq!(world.dropped().len(), 500);
    }
}
