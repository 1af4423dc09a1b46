//! Topic aliases on what we send (MQTT 5 §3.3.2.3.4).

use crate::driver::*;
use martlet_proto::{ConnAck, MAX_PACKET_SIZE, Packet, PublishProperties, Version};
use martlet_session::{Config, TopicAliases};
use std::num::{NonZeroU16, NonZeroU32};

fn aliases(maximum: u16) -> ConnAck {
    let mut connack = connack(false);
    connack.properties.topic_alias_maximum = Some(maximum);
    connack
}

fn connected(config: Config, connack: ConnAck) -> Peer {
    let mut peer = Peer::new(config);
    peer.open(Version::V5);
    peer.send(connack);
    peer.forget();
    peer
}

/// Topic and alias of each PUBLISH of this connection.
fn named_by(peer: &Peer) -> Vec<(String, Option<u16>)> {
    let mut wire = bytes::BytesMut::from(&peer.wire[..]);
    let mut found = Vec::new();
    while let Some(packet) =
        Packet::decode(&mut wire, peer.version, MAX_PACKET_SIZE).expect("our own bytes")
    {
        if let Packet::Publish(publish) = packet {
            found.push((
                publish.topic().to_owned(),
                publish.properties().topic_alias().map(NonZeroU16::get),
            ));
        }
    }
    found
}

const TOPIC: &str = "sensors/1/temperature";

/// [MQTT-3.2.2-17] [MQTT-3.3.2-9]
#[test]
fn a_topic_that_comes_again_goes_by_its_alias() {
    let mut peer = connected(named(), aliases(1));
    for qos in [0, 1, 2] {
        peer.publish(message(qos, TOPIC, "21"));
    }
    assert_eq!(
        named_by(&peer),
        [
            (TOPIC.to_owned(), Some(1)),
            (String::new(), Some(1)),
            (String::new(), Some(1))
        ]
    );
}

/// [MQTT-3.2.2-18]
#[test]
fn without_a_maximum_there_are_no_aliases() {
    for (config, connack) in [
        (named(), connack(false)),
        (named(), aliases(0)),
        (named().topic_aliases_out(TopicAliases::Off), aliases(10)),
    ] {
        let mut peer = connected(config, connack);
        peer.publish(message(0, TOPIC, "21"));
        peer.publish(message(0, TOPIC, "22"));
        assert_eq!(
            named_by(&peer),
            [(TOPIC.to_owned(), None), (TOPIC.to_owned(), None)]
        );
    }
}

/// Aliases live as long as the connection; paho resent a PUBLISH by an alias that the server had
/// never learnt, and reconnected for ever. [MQTT-3.3.2-7]
#[test]
fn what_is_sent_again_has_its_full_topic() {
    let mut peer = connected(named(), aliases(1));
    peer.publish(message(1, TOPIC, "21"));
    peer.publish(message(1, TOPIC, "22"));
    peer.cut();
    let mut resumed = aliases(1);
    resumed.session_present = true;
    peer.open(Version::V5);
    peer.send(resumed);
    peer.publish(message(1, TOPIC, "23"));
    let full = (TOPIC.to_owned(), None);
    assert_eq!(
        named_by(&peer),
        [full.clone(), full, (TOPIC.to_owned(), Some(1))],
        "and the alias is learnt anew"
    );
}

/// mqtt-protocol-core checked the size before it added the alias, and sent 11 bytes under a limit
/// of 10. [MQTT-3.2.2-15]
#[test]
fn an_alias_never_makes_a_packet_too_large() {
    for limit in 20..60 {
        let mut connack = aliases(1);
        connack.properties.maximum_packet_size = NonZeroU32::new(limit);
        let mut peer = connected(named(), connack);
        let before = peer.wire.len();
        for _ in 0..2 {
            let at = peer.wire.len();
            if peer
                .session
                .publish(peer.now, message(1, TOPIC, "21"))
                .is_ok()
            {
                peer.drain();
                assert!(peer.wire.len() - at <= limit as usize, "{limit}");
            }
        }
        assert!(peer.wire.len() > before || limit < 32, "{limit}");
    }
}

fn manual(alias: u16, name: &str) -> martlet_session::OutgoingPublish {
    message(1, name, "21").topic_alias(NonZeroU16::new(alias))
}

/// [MQTT-3.2.2-17] [MQTT-3.3.2-9]
#[test]
fn the_application_may_choose() {
    let config = named().topic_aliases_out(TopicAliases::Manual);
    let mut peer = connected(config, aliases(300));
    // Given, used, given to another topic, above the maximum, and none.
    for (alias, name) in [
        (300, "a"),
        (300, "a"),
        (300, "b"),
        (300, "a"),
        (301, "a"),
        (0, "a"),
        (2, TOPIC),
        (2, TOPIC),
    ] {
        peer.publish(manual(alias, name));
    }
    let expected = [
        ("a", 300),
        ("", 300),
        ("b", 300),
        ("a", 300),
        ("a", 0),
        ("a", 0),
        (TOPIC, 2),
        ("", 2),
    ];
    let expected =
        expected.map(|(name, alias)| (name.to_owned(), Some(alias).filter(|&alias| alias > 0)));
    assert_eq!(named_by(&peer), expected);
    // What is sent again has its name, and a new connection knows none.
    peer.cut();
    peer.publish(manual(300, "a"));
    peer.open(Version::V5);
    let mut accepted = aliases(300);
    accepted.session_present = true;
    peer.send(accepted);
    let names = named_by(&peer);
    assert_eq!(
        names[..8],
        ["a", "a", "b", "a", "a", "a", TOPIC, TOPIC].map(|name| (name.to_owned(), None))
    );
    assert_eq!(names[8], ("a".to_owned(), Some(300)));
}

/// Without that setting nobody minds the application's alias, and a server without aliases gets
/// none.
// [MQTT-3.2.2-18]
#[test]
fn the_application_s_choice_counts_only_where_it_may() {
    for (choice, maximum) in [(TopicAliases::Off, 10), (TopicAliases::Manual, 0)] {
        let mut peer = connected(named().topic_aliases_out(choice), aliases(maximum));
        peer.publish(manual(1, TOPIC));
        peer.publish(manual(1, TOPIC));
        assert_eq!(
            named_by(&peer),
            [(TOPIC.to_owned(), None), (TOPIC.to_owned(), None)]
        );
    }
}

/// The alias must not make the packet too large.
// [MQTT-3.2.2-15]
#[test]
fn an_alias_of_the_application_s_is_left_out_where_it_does_not_fit() {
    for limit in 30..45 {
        let mut accepted = aliases(1);
        accepted.properties.maximum_packet_size = NonZeroU32::new(limit);
        let mut peer = connected(named().topic_aliases_out(TopicAliases::Manual), accepted);
        let before = peer.wire.len();
        peer.publish(manual(1, TOPIC));
        assert!(peer.wire.len() - before <= limit as usize);
    }
}

/// An alias in place of a name of one byte made the packet two bytes larger than the server takes.
#[test]
fn an_alias_in_place_of_a_short_name_does_not_make_the_packet_too_large() {
    for name in ["a", "ab", "abc", "abcd", "abcde"] {
        // Properties of 125 bytes: with an alias beside them their length takes two bytes.
        for value in [0, 118, 119, 120] {
            let properties = PublishProperties::builder()
                .try_user_property("k", &"v".repeat(value))
                .unwrap()
                .build();
            let with = |payload: &str| {
                message(0, name, payload)
                    .topic_alias(NonZeroU16::new(1))
                    .properties(properties.clone())
            };
            let mut accepted = aliases(1);
            accepted.properties.maximum_packet_size = NonZeroU32::new(200);
            let mut peer = connected(named().topic_aliases_out(TopicAliases::Manual), accepted);
            peer.publish(with(""));
            peer.said();
            for length in 0..200 {
                let at = peer.wire.len();
                let payload = "x".repeat(length);
                if peer.session.publish(peer.now, with(&payload)).is_err() {
                    break;
                }
                peer.drain();
                let size = peer.wire.len() - at;
                assert!((1..=200).contains(&size), "{name} {value} {length}: {size}");
            }
        }
    }
}
