//! Wills: when they are published, and when not (MQTT 5 §3.1.2.5, §3.1.3.2.2).

use crate::world::*;
use martlet_broker::BrokerLimits;
use martlet_proto::{
    Connect, Disconnect, DisconnectReasonCode, Packet, PublishProperties, TopicName, Version, Will,
};

fn mortal(version: Version) -> Connect {
    let mut connect = clean(version, "mortal");
    connect.will = Some(Will {
        qos: Q1,
        ..will("w", "gone")
    });
    connect
}

/// A client of v5 with a session and a will that waits.
fn patient(delay: u32, expiry: u32) -> Connect {
    let mut connect = lasting(V5, "mortal");
    connect.properties.session_expiry_interval = Some(expiry);
    connect.will = Some(Will {
        delay_interval: Some(delay),
        ..will("w", "gone")
    });
    connect
}

fn watch(world: &mut World, version: Version) -> Peer {
    let watcher = world.client(version, "watcher");
    world.subscribe(watcher, "w", Q2);
    watcher
}

const GONE: [&str; 1] = ["PUBLISH w gone q1#1"];
const NOTHING: [&str; 0] = [];

/// A broker that retains nothing rejects a will of MQTT 5 that is to be retained, and takes one of 3.x,
/// whose client cannot know. It was retained.
#[test]
fn it_is_not_retained_where_nothing_is() {
    let limits = BrokerLimits::default().retain_available(false);
    for version in [V3_1, V3_1_1] {
        each_way(config().limits(limits), |world| {
            let peer = world.enter(Connect {
                will: Some(Will {
                    retain: true,
                    ..will("w", "gone")
                }),
                ..clean(version, "mortal")
            });
            world.cut(peer);
            let watcher = watch(world, version);
            assert_eq!(world.hear(watcher), NOTHING);
            assert_eq!(world.broker.statistics().retained, 0);
        });
    }
}

/// [MQTT-3.1.2-8, MQTT-3.1.2-10]
#[test]
fn it_is_published_unless_the_client_says_goodbye() {
    let ends = [
        ("DISCONNECT", false),
        ("cut", true),
        ("silence", true),
        ("malformed", true),
        ("protocol error", true),
        ("dropped", true),
        ("disconnected", true),
    ];
    each_version(|world, version| {
        for (end, published) in ends {
            let watcher = watch(world, version);
            let peer = world.enter(Connect {
                keep_alive: 60,
                ..mortal(version)
            });
            match end {
                "DISCONNECT" => world.leave(peer),
                "cut" => world.cut(peer),
                "silence" => world.wait(seconds(90)),
                "malformed" => world.say(peer, &[0]),
                "protocol error" => world.send(peer, mortal(version)),
                "dropped" => world.broker.drop_connection(world.now, peer),
                _ => world.broker.disconnect(
                    world.now,
                    peer,
                    DisconnectReasonCode::ServerShuttingDown,
                ),
            }
            world.drain();
            let expected: &[&str] = if published { &GONE } else { &NOTHING };
            assert_eq!(world.hear(watcher), expected, "{end}");
            world.cut(peer);
            assert_eq!(world.hear(watcher), NOTHING, "{end}: once only");
            world.leave(watcher);
        }
    });
}

/// MQTT 5 §3.14.2.1: 0x04 asks for it.
#[test]
fn disconnect_with_will_message() {
    each_way(config(), |world| {
        let watcher = watch(world, V5);
        let peer = world.enter(mortal(V5));
        world.send(
            peer,
            Disconnect::new(DisconnectReasonCode::DisconnectWithWillMessage),
        );
        assert_eq!(world.hear(peer), ["closed"]);
        assert_eq!(world.hear(watcher), GONE);
    });
}

/// [MQTT-3.1.3-9]
#[test]
fn it_waits_for_its_delay() {
    each_way(config(), |world| {
        let watcher = watch(world, V5);
        let peer = world.enter(patient(10, 100));
        world.cut(peer);
        world.wait(seconds(9));
        assert_eq!(world.hear(watcher), NOTHING);
        world.wait(seconds(1));
        assert_eq!(world.hear(watcher), ["PUBLISH w gone"]);
        // The session goes on without it.
        world.wait(seconds(80));
        let peer = world.dial(lasting(V5, "mortal"));
        assert_eq!(world.hear(peer), ["CONNACK present 00"]);
        world.cut(peer);
        world.wait(seconds(1000));
        assert_eq!(world.hear(watcher), NOTHING);

        // The will of a client that reconnects in time is not published.
        let peer = world.dial(patient(10, 100));
        world.cut(peer);
        world.wait(seconds(9));
        let peer = world.dial(patient(10, 100));
        world.wait(seconds(100));
        assert_eq!(world.hear(watcher), NOTHING);
        // A take-over that goes on with the session is a return too.
        let next = world.dial(patient(10, 100));
        assert_eq!(
            world.hear(peer),
            ["CONNACK present 00", "DISCONNECT 8e", "closed"]
        );
        world.wait(seconds(100));
        assert_eq!(world.hear(watcher), NOTHING);
        // One that starts anew ends the session, and the will does not wait any longer.
        world.dial(clean(V5, "mortal"));
        assert_eq!(world.hear(watcher), ["PUBLISH w gone"]);
        assert!(!world.is_open(next));
    });
}

/// [MQTT-3.1.3-9]: the end of the session is the latest moment.
#[test]
fn it_does_not_outlive_the_session() {
    each_way(config(), |world| {
        let watcher = watch(world, V5);
        let peer = world.enter(patient(100, 10));
        world.cut(peer);
        world.wait(seconds(9));
        assert_eq!(world.hear(watcher), NOTHING);
        world.wait(seconds(1));
        assert_eq!(world.hear(watcher), ["PUBLISH w gone"]);
        let peer = world.enter(patient(100, 0));
        world.cut(peer);
        assert_eq!(world.hear(watcher), ["PUBLISH w gone"]);
        let peer = world.enter(patient(100, 200));
        world.cut(peer);
        world.broker.forget_sessions(world.now);
        assert_eq!(world.hear(watcher), ["PUBLISH w gone"]);
        world.wait(seconds(1000));
        assert_eq!(world.hear(watcher), NOTHING);
    });
}

/// MQTT 5 §3.1.4: a will without a delay is published when its connection is taken over.
#[test]
fn a_take_over_ends_the_connection() {
    each_version(|world, version| {
        let watcher = watch(world, version);
        world.enter(mortal(version));
        world.enter(mortal(version));
        assert_eq!(world.hear(watcher), GONE);
    });
}

#[test]
fn it_has_properties_and_may_be_retained() {
    each_way(config(), |world| {
        let properties = PublishProperties::builder()
            .message_expiry_interval(5)
            .content_type("text/plain".try_into().unwrap())
            .response_topic(TopicName::new("r").unwrap())
            .try_user_property("k", "v")
            .unwrap()
            .build();
        let mut connect = clean(V5, "mortal");
        connect.will = Some(Will {
            retain: true,
            qos: Q2,
            properties: properties.clone(),
            ..will("w", "gone")
        });
        let peer = world.enter(connect);
        world.cut(peer);
        let watcher = world.client(V5, "watcher");
        world.send(watcher, subscribe(1, [subscription("w", Q2)]));
        let packets = world.hear_packets(watcher);
        assert_eq!(
            packets.iter().map(show).collect::<Vec<_>>(),
            ["SUBACK #1 02", "PUBLISH w gone q2#1 retain expiry=5"]
        );
        let Packet::Publish(publish) = &packets[1] else {
            panic!()
        };
        assert_eq!(publish.properties(), properties.as_ref());
    });
}

/// A connection that never was let in has no will.
#[test]
fn a_rejected_client_leaves_none() {
    each_way(config().with_user("ann", "secret").unwrap(), |world| {
        let peer = world.dial(mortal(V5));
        assert_eq!(world.hear(peer), ["CONNACK 87", "closed"]);
        let mut connect = clean(V5, "watcher");
        connect.user_name = Some("ann".try_into().unwrap());
        connect.password = Some("secret".try_into().unwrap());
        let watcher = world.enter(connect);
        world.send(watcher, subscribe(1, [subscription("w", Q0)]));
        assert_eq!(world.hear(watcher), ["SUBACK #1 00"]);
    });
}
