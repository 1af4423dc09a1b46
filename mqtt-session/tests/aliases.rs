//! Topic aliases on what we send (MQTT 5 §3.3.2.3.4).

mod driver;

use driver::*;
use martlet_proto::{ConnAck, MAX_PACKET_SIZE, Packet, Version};
use martlet_session::Config;
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
    while let Some(packet) = Packet::decode(&mut wire, peer.version, MAX_PACKET_SIZE).expect("our own bytes")
    {
        if let Packet::Publish(publish) = packet {
            found.push((publish.topic().to_owned(), publish.properties().topic_alias().map(NonZeroU16::get)));
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
        [(TOPIC.to_owned(), Some(1)), (String::new(), Some(1)), (String::new(), Some(1))]
    );
}

/// [MQTT-3.2.2-18]
#[test]
fn without_a_maximum_there_are_no_aliases() {
    for (config, connack) in [
        (named(), connack(false)),
        (named(), aliases(0)),
        (Config { topic_aliases_out: false, ..named() }, aliases(10)),
    ] {
        let mut peer = connected(config, connack);
        peer.publish(message(0, TOPIC, "21"));
        peer.publish(message(0, TOPIC, "22"));
        assert_eq!(named_by(&peer), [(TOPIC.to_owned(), None), (TOPIC.to_owned(), None)]);
    }
}

/// Aliases live as long as the connection; paho resent a PUBLISH by an alias that the server had never learnt, and
/// reconnected for ever. [MQTT-3.3.2-7]
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

/// mqtt-protocol-core checked the size before it added the alias, and sent 11 bytes under a limit of 10.
/// [MQTT-3.2.2-15]
#[test]
fn an_alias_never_makes_a_packet_too_large() {
    for limit in 20..60 {
        let mut connack = aliases(1);
        connack.properties.maximum_packet_size = NonZeroU32::new(limit);
        let mut peer = connected(named(), connack);
        let before = peer.wire.len();
        for _ in 0..2 {
            let at = peer.wire.len();
            if peer.session.publish(peer.now, message(1, TOPIC, "21")).is_ok() {
                peer.drain();
                assert!(peer.wire.len() - at <= limit as usize, "{limit}");
            }
        }
        assert!(peer.wire.len() > before || limit < 32, "{limit}");
    }
}
