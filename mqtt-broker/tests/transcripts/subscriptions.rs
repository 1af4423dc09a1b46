//! SUBSCRIBE and UNSUBSCRIBE, and what the options of a subscription do.

use crate::world::*;
use martlet_broker::BrokerLimits;
use martlet_proto::{PublishRef, QoS, RetainHandling, SubscribeFilter, TopicName};

#[test]
fn the_bytes_of_each_version() {
    each_way(config(), |world| {
        let peer = world.client(V3_1_1, "a");
        world.say_hex(
            peer,
            "82 06 00 0a 00 01 61 01 a2 05 00 0b 00 01 61 a2 05 00 0c 00 01 61",
        );
        assert_eq!(
            world.hear_hex(peer),
            "90 03 00 0a 01 b0 02 00 0b b0 02 00 0c"
        );
        let peer = world.client(V5, "b");
        world.say_hex(
            peer,
            "82 07 00 0a 00 00 01 61 01 a2 06 00 0b 00 00 01 61 a2 06 00 0c 00 00 01 61",
        );
        assert_eq!(
            world.hear_hex(peer),
            "90 04 00 0a 00 01 b0 04 00 0b 00 00 b0 04 00 0c 00 11"
        );
    });
}

#[test]
fn wildcards() {
    each_version(|world, version| {
        let peer = world.client(version, "a");
        world.send(
            peer,
            subscribe(
                1,
                [
                    subscription("+/b", Q0),
                    subscription("a/#", Q0),
                    subscription("/", Q0),
                ],
            ),
        );
        assert_eq!(world.hear(peer), ["SUBACK #1 00 00 00"]);
        for topic in ["a", "a/b", "c/b", "c", "/", "$SYS/b", "a/b/c"] {
            world.publish(peer, topic, "x", Q0, 0);
        }
        let heard = [
            "PUBLISH a x",
            "PUBLISH a/b x",
            "PUBLISH c/b x",
            "PUBLISH / x",
            "PUBLISH a/b/c x",
        ];
        assert_eq!(world.hear(peer), heard);
        world.send(peer, unsubscribe(2, &["a/#", "x"]));
        assert_eq!(
            world.hear(peer),
            [if version == V5 {
                "UNSUBACK #2 00 11"
            } else {
                "UNSUBACK #2"
            }]
        );
        world.publish(peer, "a/b/c", "x", Q0, 0);
        world.publish(peer, "a/b", "x", Q0, 0);
        assert_eq!(world.hear(peer), ["PUBLISH a/b x"]);
    });
}

/// [MQTT-3.3.4-2] to [MQTT-3.3.4-4]: one copy, the highest QoS, all identifiers.
#[test]
fn overlapping_subscriptions_bring_one_copy() {
    each_version(|world, version| {
        let peer = world.client(version, "a");
        let is_v5 = version == V5;
        for (i, (filter, qos)) in [("t", Q0), ("+", Q2), ("#", Q1)].into_iter().enumerate() {
            let subscribe = subscribe(1, [subscription(filter, qos)]);
            world.send(
                peer,
                if is_v5 {
                    identified(i as u32 + 10, subscribe)
                } else {
                    subscribe
                },
            );
        }
        assert_eq!(world.hear(peer).len(), 3);
        world.publish(peer, "t", "x", Q2, 1);
        let copy = if is_v5 {
            "PUBLISH t x q2#1 for=11 for=10 for=12"
        } else {
            "PUBLISH t x q2#1"
        };
        let mut heard = world.hear(peer);
        if is_v5 {
            // In whatever order.
            let mut words: Vec<&str> = heard[1].split(' ').collect();
            words[4..].sort_unstable();
            heard[1] = words.join(" ");
        }
        assert_eq!(
            heard,
            [
                "PUBREC #1 00".to_owned(),
                copy.replace("for=11 for=10", "for=10 for=11")
            ]
        );
    });
}

/// [MQTT-3.8.4-3]
#[test]
fn a_subscription_can_be_replaced() {
    each_version(|world, version| {
        let peer = world.client(version, "a");
        world.subscribe(peer, "t", Q2);
        world.subscribe(peer, "t", Q0);
        world.publish(peer, "t", "x", Q1, 1);
        assert_eq!(world.hear(peer), ["PUBACK #1 00", "PUBLISH t x"]);
    });
}

/// [MQTT-3.8.3-3]
#[test]
fn no_local() {
    each_way(config(), |world| {
        let (here, there) = (world.client(V5, "here"), world.client(V5, "there"));
        world.send(
            here,
            subscribe(
                1,
                [SubscribeFilter {
                    no_local: true,
                    ..subscription("t", Q0)
                }],
            ),
        );
        world.hear(here);
        world.publish(here, "t", "mine", Q0, 0);
        world.publish(there, "t", "yours", Q0, 0);
        assert_eq!(world.hear(here), ["PUBLISH t yours"]);
        // The other subscription that matches has no such option.
        world.subscribe(here, "+", Q0);
        world.publish(here, "t", "mine", Q0, 0);
        assert_eq!(world.hear(here), ["PUBLISH t mine"]);
    });
}

/// [MQTT-3.3.1-12, MQTT-3.3.1-13]
#[test]
fn retain_as_published() {
    each_way(config(), |world| {
        let peer = world.client(V5, "a");
        let kept = SubscribeFilter {
            retain_as_published: true,
            ..subscription("kept/+", Q0)
        };
        world.send(peer, subscribe(1, [kept, subscription("plain/+", Q0)]));
        world.hear(peer);
        for topic in ["kept/a", "plain/a"] {
            world.retain(peer, topic, "x");
            world.publish(peer, topic, "y", Q0, 0);
        }
        assert_eq!(
            world.hear(peer),
            [
                "PUBLISH kept/a x retain",
                "PUBLISH kept/a y",
                "PUBLISH plain/a x",
                "PUBLISH plain/a y"
            ]
        );
    });
}

/// [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
#[test]
fn retain_handling() {
    each_way(config(), |world| {
        let peer = world.client(V5, "a");
        world.retain(peer, "t", "x");
        let with = |retain_handling| SubscribeFilter {
            retain_handling,
            ..subscription("t", Q0)
        };
        let table = [
            (RetainHandling::DoNotSend, false),
            (RetainHandling::SendIfNew, false),
            (RetainHandling::Send, true),
            (RetainHandling::Send, true),
        ];
        for (handling, sent) in table {
            world.send(peer, subscribe(1, [with(handling)]));
            assert_eq!(
                world.hear(peer).len(),
                1 + usize::from(sent),
                "{handling:?}"
            );
        }
        world.send(peer, unsubscribe(1, &["t"]));
        world.hear(peer);
        world.send(peer, subscribe(1, [with(RetainHandling::SendIfNew)]));
        assert_eq!(world.hear(peer), ["SUBACK #1 00", "PUBLISH t x retain"]);
    });
}

/// MQTT 5 §4.8.2
#[test]
fn shared_subscriptions_take_turns() {
    each_version(|world, version| {
        let sender = world.client(version, "s");
        let first = world.client(version, "first");
        let second = world.enter(lasting(version, "second"));
        for peer in [first, second] {
            world.subscribe(peer, "$share/g/t/+", Q1);
        }
        // Another group, an ordinary subscription, and retained messages, which are not shared
        // [MQTT-3.8.4-4].
        world.subscribe(sender, "$share/h/t/#", Q0);
        world.subscribe(second, "t/own", Q0);
        for i in 1..=4 {
            world.publish(sender, "t/x", &format!("{i}"), Q1, 1);
        }
        assert_eq!(
            world.hear(first),
            ["PUBLISH t/x 1 q1#1", "PUBLISH t/x 3 q1#2"]
        );
        assert_eq!(
            world.hear(second),
            ["PUBLISH t/x 2 q1#1", "PUBLISH t/x 4 q1#2"]
        );
        assert_eq!(
            world
                .hear(sender)
                .iter()
                .filter(|line| line.starts_with("PUBLISH"))
                .count(),
            4
        );
        world.publish(sender, "t/own", "a", Q0, 0);
        world.publish(sender, "t/own", "b", Q0, 0);
        assert_eq!(world.hear(first), ["PUBLISH t/own a"]);
        assert_eq!(
            world.hear(second),
            ["PUBLISH t/own a", "PUBLISH t/own b", "PUBLISH t/own b"]
        );

        // A session without a connection gets no turn while another one is connected. If none is,
        // all take turns.
        world.cut(second);
        world.publish(sender, "t/x", "5", Q1, 1);
        world.publish(sender, "t/x", "6", Q1, 1);
        assert_eq!(world.hear(first).len(), 2);
        world.cut(first);
        world.publish(sender, "t/x", "7", Q1, 1);
        let second = world.dial(lasting(version, "second"));
        assert_eq!(world.hear(second).last().unwrap(), "PUBLISH t/x 7 q1#3");
        world.send(second, unsubscribe(1, &["$share/g/t/+"]));
        world.hear(second);
        world.publish(sender, "t/x", "8", Q1, 1);
        assert!(world.hear(second).is_empty());
        world.retain(sender, "t/r", "r");
        world.send(second, subscribe(1, [subscription("$share/g/t/r", Q1)]));
        assert_eq!(world.hear(second), ["SUBACK #1 01"]);
    });
}

/// MQTT 5 §3.2.2.3.11 to §3.2.2.3.13
#[test]
fn what_is_not_available_is_rejected() {
    let limits = BrokerLimits::default()
        .wildcard_subscription_available(false)
        .shared_subscription_available(false)
        .subscription_identifier_available(false);
    each_way(config().limits(limits), |world| {
        for (filter, v5) in [("a/+", "DISCONNECT a2"), ("$share/g/a", "DISCONNECT 9e")] {
            let peer = world.client(V5, "a");
            world.send(peer, subscribe(1, [subscription(filter, Q0)]));
            assert_eq!(world.hear(peer), [v5, "closed"]);
            let peer = world.client(V3_1_1, "a");
            world.send(
                peer,
                subscribe(1, [subscription("a", Q0), subscription(filter, Q0)]),
            );
            assert_eq!(world.hear(peer), ["SUBACK #1 00 80"]);
            // 3.1 cannot say no.
            let peer = world.client(V3_1, "a");
            world.send(peer, subscribe(1, [subscription(filter, Q0)]));
            assert_eq!(world.hear(peer), ["closed"]);
        }
        let peer = world.client(V5, "a");
        world.send(peer, identified(1, subscribe(1, [subscription("a", Q0)])));
        assert_eq!(world.hear(peer), ["DISCONNECT a1", "closed"]);
    });
}

#[test]
fn what_is_too_much_is_rejected() {
    let limits = BrokerLimits::default().maximum_qos(QoS::AtLeastOnce);
    each_way(config().limits(limits).max_subscriptions(2), |world| {
        let many = ["a", "b", "a", "c"].map(|filter| subscription(filter, Q2));
        let deep = vec!["x"; 129].join("/");
        for (version, too_many, too_deep) in [(V5, "97", "8f"), (V3_1_1, "80", "80")] {
            let peer = world.client(version, "a");
            world.send(peer, subscribe(1, many.clone()));
            assert_eq!(world.hear(peer), [format!("SUBACK #1 01 01 01 {too_many}")]);
            world.send(peer, subscribe(2, [subscription(&deep, Q0)]));
            assert_eq!(world.hear(peer), [format!("SUBACK #2 {too_deep}")]);
        }
    });
}

#[test]
fn the_end_of_a_session_ends_its_subscriptions() {
    each_version(|world, version| {
        let name = TopicName::new("t").unwrap();
        let anybody = |world: &mut World| {
            world
                .broker
                .publish(world.now, PublishRef::new(&name, b"x"))
        };
        let peer = world.client(version, "a");
        for filter in ["t", "#", "+", "$share/g/t"] {
            world.subscribe(peer, filter, Q0);
        }
        assert!(anybody(world));
        world.cut(peer);
        assert!(!anybody(world));
    });
}
