//! Packet identifiers go from one packet to the next, and nothing else does.

use crate::driver::*;
use martlet_proto::{Packet, SubAckReasonCode, Version};
use martlet_session::Config;

/// An identifier of an answered SUBSCRIBE kept the place of that packet in the bytes of the
/// connection, and the message that took it next counted as sent: cut off before it left, it was
/// sent with DUP.
#[test]
fn a_message_that_takes_the_identifier_of_a_request_was_not_sent_yet() {
    let mut peer = connected(Version::V5, durable());
    for id in 1..=16 {
        peer.subscribe("a", 1);
        peer.send(suback(id, &[SubAckReasonCode::GrantedQos1]));
        peer.store_all();
    }
    peer.said();
    // Its identifier is not stored when the connection ends.
    peer.publish(message(1, "a", "1"));
    assert_eq!(peer.said(), Vec::<String>::new());
    peer.cut();
    peer.store_all();
    peer.reconnect(Version::V5, true);
    assert!(
        peer.said().contains(&"PUBLISH q1 #1 a 1".to_owned()),
        "without DUP"
    );
}

/// Another client gives a SUBSCRIBE the identifier of a live PUBLISH.
#[test]
fn one_allocator_for_publish_subscribe_and_unsubscribe() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.publish(message(1, "a", "1"));
    peer.subscribe("a", 1);
    peer.publish(message(2, "a", "2"));
    peer.unsubscribe("a");
    assert_eq!(
        peer.said(),
        [
            "PUBLISH q1 #1 a 1",
            "SUBSCRIBE #2 a:1",
            "PUBLISH q2 #3 a 2",
            "UNSUBSCRIBE #4 a"
        ]
    );
}

#[test]
fn an_identifier_rests_before_it_is_used_again() {
    let mut peer = Peer::connected(Version::V5, window(1));
    let mut last = Vec::new();
    for _ in 0..200 {
        peer.publish(message(1, "a", ""));
        let Some(Packet::Publish(publish)) = peer.packets().pop() else {
            panic!()
        };
        let id = publish.delivery().packet_identifier().unwrap().get();
        assert!(
            !last.iter().rev().take(15).any(|&it| it == id),
            "used a moment ago"
        );
        last.push(id);
        peer.send(puback(id));
    }
    assert!(
        last.iter().all(|&id| id <= 16),
        "the table grows with the window"
    );
}

#[test]
fn all_identifiers_can_be_in_flight_and_none_is_used_twice() {
    let mut peer = Peer::connected(Version::V3_1_1, window(65_535));
    peer.publish(message(1, "a", ""));
    peer.subscribe("a", 0);
    for _ in 0..65_534 {
        peer.publish(message(1, "a", "").key(None));
    }
    let mut seen = vec![false; 65_536];
    for packet in peer.packets() {
        let id = match packet {
            Packet::Publish(publish) => publish.delivery().packet_identifier().unwrap(),
            Packet::Subscribe(subscribe) => subscribe.packet_identifier,
            other => panic!("{other:?}"),
        };
        assert!(
            !std::mem::replace(&mut seen[usize::from(id.get())], true),
            "{id} twice"
        );
    }
    assert_eq!(seen.iter().filter(|&&seen| seen).count(), 65_535);
    assert_eq!(
        (peer.session.in_flight(), peer.session.queued()),
        (65_534, 1)
    );
    assert!(
        peer.session.subscribe(peer.now, subscribe("b")).is_err(),
        "no identifier is left"
    );
    peer.send(puback(3));
    let Some(Packet::Publish(publish)) = peer.packets().pop() else {
        panic!("the last message")
    };
    assert_eq!(publish.delivery().packet_identifier(), Some(id(3)));
}

fn subscribe(name: &str) -> martlet_session::SubscribeRequest {
    martlet_session::SubscribeRequest::new([martlet_proto::SubscribeFilter::new(
        filter(name),
        qos(0),
    )])
}
