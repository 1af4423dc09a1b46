//! Retained messages.

use crate::world::*;
use martlet_proto::{PublishProperties, PublishRef, TopicName};

/// [MQTT-3.3.1-5] to [MQTT-3.3.1-8]
#[test]
fn the_last_message_of_a_topic_is_kept() {
    each_version(|world, version| {
        let peer = world.client(version, "a");
        world.retain(peer, "t", "one");
        world.retain(peer, "t", "two");
        world.publish(peer, "t", "passing", Q0, 0);
        world.retain(peer, "gone", "x");
        world.subscribe(peer, "other", Q0);
        world.send(
            peer,
            subscribe(1, [subscription("t", Q0), subscription("#", Q0)]),
        );
        assert_eq!(
            world.hear(peer),
            [
                "SUBACK #1 00 00",
                "PUBLISH t two retain",
                "PUBLISH gone x retain",
                "PUBLISH t two retain"
            ]
        );
        // An empty payload removes it, and is passed on.
        world.retain(peer, "gone", "");
        assert_eq!(world.hear(peer), ["PUBLISH gone "]);
        world.send(peer, subscribe(2, [subscription("gone", Q0)]));
        assert_eq!(world.hear(peer), ["SUBACK #2 00"]);
        // It outlives its sender.
        world.leave(peer);
        let peer = world.client(version, "b");
        world.send(peer, subscribe(1, [subscription("t", Q1)]));
        assert_eq!(world.hear(peer), ["SUBACK #1 01", "PUBLISH t two retain"]);
    });
}

#[test]
fn they_have_their_qos_and_properties() {
    each_way(config(), |world| {
        let peer = world.client(V5, "a");
        let name = TopicName::new("t").unwrap();
        let properties = PublishProperties::builder()
            .message_expiry_interval(10)
            .build();
        let publish = PublishRef::new(&name, b"x")
            .with_properties(&properties)
            .with_retain(true)
            .with_delivery(delivery(Q2, 1, false));
        world.send_publish(peer, publish);
        world.send(peer, pubrel(1));
        assert_eq!(world.hear(peer), ["PUBREC #1 10", "PUBCOMP #1 00"]);
        world.wait(seconds(4));
        world.send(peer, identified(7, subscribe(1, [subscription("t", Q1)])));
        assert_eq!(
            world.hear(peer),
            ["SUBACK #1 01", "PUBLISH t x q1#1 retain expiry=6 for=7"]
        );
        world.wait(seconds(6));
        assert_eq!(world.broker.statistics().retained, 1);
        world.send(peer, subscribe(1, [subscription("t", Q1)]));
        assert_eq!(world.hear(peer), ["SUBACK #1 01"]);
        assert_eq!(world.broker.statistics().retained, 0);
    });
}

#[test]
fn filters_find_what_they_match() {
    each_way(config(), |world| {
        let peer = world.client(V3_1_1, "a");
        let topics = ["a", "a/b", "a/b/c", "a/c", "a0", "b/b", "/", "$SYS/x", "a/"];
        for topic in topics {
            world.retain(peer, topic, "x");
        }
        for filter in [
            "#", "a/#", "a/+", "+/b", "a/b", "a/+/c", "+", "/+", "$SYS/#", "a/b/#", "none/#",
        ] {
            world.send(peer, subscribe(1, [subscription(filter, Q0)]));
            let mut found: Vec<String> = world.hear(peer);
            found.remove(0);
            found.sort();
            let filter = subscription(filter, Q0).filter;
            let mut expected: Vec<String> = topics
                .iter()
                .filter(|topic| filter.matches(topic))
                .map(|topic| format!("PUBLISH {topic} x retain"))
                .collect();
            expected.sort();
            assert_eq!(found, expected, "{filter}");
        }
    });
}

#[test]
fn there_is_room_for_so_many() {
    each_way(config().max_retained(2), |world| {
        let peer = world.client(V5, "a");
        world.retain(peer, "a", "x");
        world.retain(peer, "b", "x");
        let name = TopicName::new("c").unwrap();
        for qos in [Q1, Q2] {
            let publish = PublishRef::new(&name, b"x")
                .with_retain(true)
                .with_delivery(delivery(qos, 1, false));
            world.send_publish(peer, publish);
        }
        assert_eq!(world.hear(peer), ["PUBACK #1 97", "PUBREC #1 97"]);
        // The identifier is free again after a PUBREC that rejects.
        world.send(peer, pubrel(1));
        assert_eq!(world.hear(peer), ["PUBCOMP #1 92"]);
        world.retain(peer, "a", "y");
        world.retain(peer, "b", "");
        world.retain(peer, "c", "z");
        world.send(peer, subscribe(1, [subscription("#", Q0)]));
        assert_eq!(
            world.hear(peer),
            ["SUBACK #1 00", "PUBLISH a y retain", "PUBLISH c z retain"]
        );
    });
}

/// Those that had expired, and that nobody had asked for since, took the room of others for ever.
#[test]
fn what_has_expired_takes_no_room() {
    each_way(config().max_retained(2), |world| {
        let peer = world.client(V5, "a");
        let properties = PublishProperties::builder()
            .message_expiry_interval(10)
            .build();
        for topic in ["a", "b"] {
            let topic = TopicName::new(topic).unwrap();
            let publish = PublishRef::new(&topic, b"x").with_properties(&properties);
            world.send_publish(peer, publish.with_retain(true));
        }
        for (seconds_later, expected) in [(9, 0x97), (1, 0x10)] {
            world.wait(seconds(seconds_later));
            let topic = TopicName::new("c").unwrap();
            let publish = PublishRef::new(&topic, b"x").with_retain(true);
            world.send_publish(peer, publish.with_delivery(delivery(Q1, 1, false)));
            assert_eq!(world.hear(peer), [format!("PUBACK #1 {expected:02x}")]);
        }
        assert_eq!(world.broker.statistics().retained, 1);
    });
}
