//! Subscriptions that are made again, because the server has lost the session.

use crate::driver::*;
use crate::requests::{config, limited, nothing, one};
use martlet_proto::{
    Packet, SubAckReasonCode as Code, SubscribeFilter, SubscriptionIdentifier, TopicFilter, Version,
};
use std::num::NonZeroU32;

/// Most clients do not restore.
#[test]
fn subscriptions_are_restored_when_the_server_lost_the_session_and_only_then() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 1);
    peer.subscribe("b", 2);
    let with_identifier = one("c").subscription_identifier(SubscriptionIdentifier::new(5));
    peer.session
        .subscribe(peer.now, with_identifier)
        .expect("connected");
    peer.drain();
    for n in 1..=3 {
        peer.send(suback(n, &[Code::GrantedQos0]));
    }
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], nothing());
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, false);
    assert_eq!(
        peer.said()[1..],
        ["SUBSCRIBE #4 a:1 b:2", "SUBSCRIBE #5 c:0 identifier=5"]
    );
    peer.send_all(&[
        suback(4, &[Code::GrantedQos1, Code::NotAuthorized]),
        suback(5, &[Code::GrantedQos0]),
    ]);
    assert_eq!(
        peer.reported(),
        [
            "connected",
            "resubscribed a:0x01 b:0x87",
            "resubscribed c:0x00"
        ]
    );
    assert_eq!(peer.session.subscriptions().count(), 2);
}

#[test]
fn restoring_is_done_before_what_waits_and_again_if_the_connection_ends() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 1);
    peer.send(suback(1, &[Code::GrantedQos1]));
    peer.cut();
    peer.subscribe("b", 0);
    peer.forget();
    peer.reconnect(Version::V5, false);
    assert_eq!(peer.said()[1..], ["SUBSCRIBE #2 a:1", "SUBSCRIBE #3 b:0"]);
    peer.cut();
    // Whether it arrived nobody knows, though the server has the session now.
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["SUBSCRIBE #4 a:1"]);
    peer.send(suback(4, &[Code::GrantedQos1]));
    assert_eq!(peer.said(), ["SUBSCRIBE #5 b:0"]);
}

/// Never more than the server takes, and no more round trips than that asks for.
#[test]
fn restoring_is_split_by_what_the_server_takes() {
    let name = |n: u64| format!("topic/{n:05}");
    // Each filter takes 11 bytes, their length 2 and the options 1; 16 bytes are for all else.
    let largest = |filters: u32| 14 * filters + 16;
    for (largest, expected) in [
        (largest(6), vec![6, 6]),
        (largest(6) - 1, vec![5, 5, 2]),
        (largest(12), vec![12]),
        (largest(12) - 1, vec![11, 1]),
        (largest(1) + 1, vec![1; 12]),
    ] {
        let mut peer = Peer::connected(Version::V5, config().max_filters_per_packet(100));
        peer.subscribe_to(
            (0..12)
                .map(|n| SubscribeFilter::new(filter(&name(n)), qos(0)))
                .collect(),
        );
        peer.send(suback(1, &[Code::GrantedQos0; 12]));
        peer.cut();
        peer.forget();
        peer.open(Version::V5);
        peer.said();
        peer.send(limited(|connack| {
            connack.properties.maximum_packet_size = NonZeroU32::new(largest);
        }));
        let packets = peer.packets();
        assert!(
            packets
                .iter()
                .all(|packet| packet.encoded_len(Version::V5) <= largest as usize)
        );
        let filters: Vec<usize> = packets
            .iter()
            .map(|packet| match packet {
                Packet::Subscribe(subscribe) => subscribe.subscriptions.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(filters, expected, "{largest}");
    }
}

/// One wildcard, on a server that has none, used to take all others of its SUBSCRIBE along, in
/// silence.
#[test]
fn what_cannot_be_restored_is_told_and_the_rest_is_restored() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe_to(
        ["#", "$share/g/a", "a", "a-very-long-topic-filter"]
            .map(|name| SubscribeFilter::new(filter(name), qos(0)))
            .to_vec(),
    );
    peer.send(suback(1, &[Code::GrantedQos0; 4]));
    peer.cut();
    peer.forget();
    peer.open(Version::V5);
    peer.said();
    peer.send(limited(|connack| {
        connack.properties.wildcard_subscription_available = Some(false);
        connack.properties.shared_subscription_available = Some(false);
        connack.properties.maximum_packet_size = NonZeroU32::new(20);
    }));
    assert_eq!(peer.said(), ["SUBSCRIBE #2 a:0"]);
    assert_eq!(
        peer.reported(),
        [
            "connected",
            "resubscribed #:0xa2 $share/g/a:0x9e",
            "resubscribed a-very-long-topic-filter:0x97"
        ]
    );
    assert_eq!(
        peer.session
            .subscriptions()
            .map(TopicFilter::as_str)
            .collect::<Vec<_>>(),
        ["a"]
    );
}

/// A restoring SUBSCRIBE without an answer was waited for for ever.
#[test]
fn restoring_has_a_deadline_too() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.subscribe("a", 1);
    peer.send(suback(1, &[Code::GrantedQos1]));
    peer.cut();
    peer.reconnect(Version::V5, false);
    peer.wait(seconds(10));
    peer.forget();
    peer.disconnect(seconds(1000));
    assert_eq!(peer.said(), ["DISCONNECT 0x00 expiry=0"]);
}
