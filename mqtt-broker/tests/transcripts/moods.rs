//! What the broker does wrong on purpose.

use crate::world::*;
use martlet_broker::{BrokerConfig, BrokerEvent, Moods};
use martlet_proto::{Connect, ConnectReasonCode, Packet, QoS, TopicFilter};
use std::num::NonZeroU16;

fn with(moods: Moods) -> BrokerConfig {
    config().moods(moods)
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text.to_owned()).unwrap()
}

/// How often it has misbehaved.
fn misbehaved(world: &World) -> usize {
    world
        .events
        .iter()
        .filter(|event| matches!(event, BrokerEvent::Misbehaved { .. }))
        .count()
}

#[test]
fn it_hangs_up_on_a_topic() {
    let moods = Moods::new().hang_up_on_publish(filter("forbidden/#"));
    each_way(with(moods), |world| {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let peer = world.client(V5, "a");
            world.publish(peer, "allowed", "x", Q1, 1);
            assert!(world.is_open(peer));
            world.publish(peer, "forbidden/1", "x", Q0, 0);
            assert!(world.is_open(peer), "QoS 0 is ignored by those who do this");
            world.publish(peer, "forbidden/1", "x", qos, 2);
            assert!(!world.is_open(peer));
            let heard = world.hear(peer);
            assert!(
                heard.iter().all(|line| !line.starts_with("DISCONNECT")),
                "without a word: {heard:?}"
            );
        }
        assert_eq!(misbehaved(world), 2);
    });
}

#[test]
fn it_hangs_up_on_filters_and_on_too_many() {
    let moods = Moods::new()
        .hang_up_on_subscribe(filter("forbidden/+"))
        .hang_up_on_filters(2);
    each_way(with(moods), |world| {
        let subscriptions = ["a", "b", "c"].map(|filter| subscription(filter, Q1));
        let peer = world.client(V3_1_1, "a");
        world.send(peer, subscribe(1, subscriptions[..2].to_vec()));
        assert_eq!(world.hear(peer), ["SUBACK #1 01 01"]);
        world.send(peer, subscribe(2, subscriptions.to_vec()));
        assert!(!world.is_open(peer));
        let peer = world.client(V3_1_1, "a");
        world.send(peer, subscribe(1, [subscription("forbidden/1", Q1)]));
        assert!(!world.is_open(peer));
        assert_eq!(misbehaved(world), 2);
    });
}

#[test]
fn it_sends_more_than_is_taken() {
    each_way(with(Moods::new().overshoot(3)), |world| {
        let mut connect = clean(V5, "a");
        connect.properties.receive_maximum = NonZeroU16::new(2);
        let peer = world.enter(connect);
        world.subscribe(peer, "t", Q1);
        let other = world.client(V5, "b");
        for n in 1..=8 {
            world.publish(other, "t", "x", Q1, n);
        }
        assert_eq!(world.hear(peer).len(), 5);
    });
}

#[test]
fn it_counts_wrong_and_answers_in_the_wrong_flow() {
    let moods = Moods::new()
        .miscount_codes()
        .acknowledge_in_the_wrong_flow();
    each_way(with(moods), |world| {
        let peer = world.client(V5, "a");
        world.send(peer, subscribe(1, [subscription("a", Q1)]));
        world.send(
            peer,
            subscribe(2, ["a", "b", "c"].map(|filter| subscription(filter, Q1))),
        );
        world.send(peer, unsubscribe(3, &["a"]));
        assert_eq!(
            world.hear(peer),
            ["SUBACK #1 01 01", "SUBACK #2 01 01", "UNSUBACK #3 00 00"]
        );
        world.publish(peer, "b", "x", Q2, 4);
        assert_eq!(world.hear(peer), ["PUBACK #4 00"], "and it does not come");
        assert_eq!(misbehaved(world), 4);
    });
}

#[test]
fn it_renames_who_has_a_name() {
    let moods = Moods::new().rename_clients("other".try_into().unwrap());
    each_way(with(moods), |world| {
        let peer = world.dial(Connect::new(V5, "a".try_into().unwrap()));
        let [Packet::ConnAck(answer)] = &world.hear_packets(peer)[..] else {
            panic!("a CONNACK")
        };
        assert_eq!(answer.reason, ConnectReasonCode::Success);
        let assigned = answer
            .properties
            .assigned_client_identifier
            .as_ref()
            .unwrap();
        assert_eq!(assigned.as_str(), "other");
        assert!(world.broker.has_session("a"));
    });
}
