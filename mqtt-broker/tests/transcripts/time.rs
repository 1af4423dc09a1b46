//! Keep alive, the wait for CONNECT, `$SYS`.

use crate::world::*;
use core::time::Duration;
use martlet_broker::BrokerLimits;
use martlet_proto::{Packet, Version};

#[test]
fn a_connection_without_connect_is_closed() {
    each_version(|world, version| {
        let peer = world.open(version);
        world.say(peer, &[0x10]);
        world.wait(Duration::from_millis(9_999));
        assert!(world.is_open(peer));
        world.wait(Duration::from_millis(1));
        assert_eq!(world.hear(peer), ["closed"]);
        let peer = world.client(version, "a");
        world.wait(seconds(1_000));
        assert!(world.is_open(peer));
        assert_eq!(world.broker.poll_timeout(), None);
    });
}

/// [MQTT-3.1.2-22]; 3.1.1: [MQTT-3.1.2-24].
#[test]
fn silence_of_one_and_a_half_times_keep_alive_ends_the_connection() {
    each_version(|world, version| {
        let mut connect = clean(version, "a");
        connect.keep_alive = 10;
        let peer = world.enter(connect);
        for _ in 0..3 {
            world.wait(Duration::from_millis(14_999));
            world.send(peer, Packet::PingReq);
            assert_eq!(world.hear(peer), ["PINGRESP"]);
        }
        // Part of a packet is no packet.
        world.wait(seconds(14));
        world.say(peer, &[0xc0]);
        world.wait(Duration::from_millis(999));
        assert!(world.is_open(peer));
        world.wait(Duration::from_millis(1));
        let last = world.hear(peer);
        assert_eq!(
            last,
            if version == V5 {
                vec!["DISCONNECT 8d", "closed"]
            } else {
                vec!["closed"]
            }
        );
    });
}

#[test]
fn the_server_s_keep_alive_replaces_the_client_s_in_v5() {
    let limits = BrokerLimits::default().server_keep_alive(2);
    each_way(config().limits(limits), |world| {
        let peers = Version::ALL.map(|version| {
            let mut connect = clean(version, version.protocol_name());
            connect.client_identifier = format!("{version}").try_into().unwrap();
            connect.keep_alive = 100;
            world.enter(connect)
        });
        world.wait(seconds(3));
        assert_eq!(peers.map(|peer| world.is_open(peer)), [true, true, false]);
    });
}

#[test]
fn sys_topics_are_there_at_once_and_come_again() {
    each_way(config().sys_interval(seconds(10)), |world| {
        let peer = world.client(V5, "a");
        // Not for wildcards that stand first [MQTT-4.7.2-1].
        world.subscribe(peer, "#", Q0);
        world.subscribe(peer, "+/broker/uptime", Q0);
        assert!(world.hear(peer).is_empty());
        world.wait(seconds(5));
        world.send(peer, subscribe(1, [subscription("$SYS/broker/#", Q0)]));
        let lines = world.hear(peer);
        assert_eq!(lines[0], "SUBACK #1 00");
        let topics: Vec<_> = lines[1..]
            .iter()
            .map(|line| line.strip_prefix("PUBLISH $SYS/broker/").unwrap())
            .collect();
        assert_eq!(
            topics,
            [
                "clients/connected 1 retain",
                "load/bytes/received/1min 0.00 retain",
                "load/bytes/sent/1min 0.00 retain",
                "load/messages/received/1min 0.00 retain",
                "load/messages/sent/1min 0.00 retain",
                "uptime 0 seconds retain",
            ]
        );
        for i in 0..60 {
            world.publish(peer, "t", "x", Q1, 1 + i);
        }
        assert_eq!(world.hear(peer).len(), 120);
        world.wait(seconds(5));
        let lines = world.hear(peer);
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0], "PUBLISH $SYS/broker/uptime 10 seconds");
        let load = |name: &str| -> f64 {
            let line = lines
                .iter()
                .find_map(|line| line.split(&format!("{name}/1min ")).nth(1));
            line.unwrap().parse().unwrap()
        };
        assert!(
            load("messages/received") > 10.0 && load("messages/sent") > load("messages/received")
        );
        assert!(load("bytes/received") > 100.0 && load("bytes/sent") > load("bytes/received"));
        world.wait(seconds(3600));
        assert_eq!(world.hear(peer).len(), 360 * 6);
    });
}
