//! What is counted and timed: packets by type, pings, acknowledgements, the store.

use crate::driver::*;
use bytes::BytesMut;
use martlet_proto::{
    Ack, AckProperties, ConnAck, Packet, PacketType, PubAckReasonCode, SubAckReasonCode, Version,
};
use martlet_session::{Config, DisconnectOptions, PacketCount};
use std::collections::BTreeMap;

type Counts = BTreeMap<u8, (u64, u64)>;

fn add(counts: &mut Counts, packet: &Packet, version: Version) {
    let mut bytes = BytesMut::new();
    packet.encode(version, &mut bytes).unwrap();
    let count = counts.entry(packet.packet_type().as_u8()).or_default();
    count.0 += 1;
    count.1 += bytes.len() as u64;
}

fn table(of: impl Fn(PacketType) -> PacketCount) -> Counts {
    let counted = PacketType::ALL.into_iter().map(|packet_type| {
        let PacketCount { packets, bytes, .. } = of(packet_type);
        (packet_type.as_u8(), (packets, bytes))
    });
    counted.filter(|(_, count)| count.0 > 0).collect()
}

/// A peer whose packets are counted beside it, as they are on the wire.
struct Counting {
    peer: Peer,
    sent: Counts,
    received: Counts,
}

impl Counting {
    fn new(version: Version, config: Config) -> Self {
        let mut counting = Self {
            peer: Peer::new(config),
            sent: Counts::new(),
            received: Counts::new(),
        };
        counting.peer.open(version);
        counting.send(connack(false));
        counting
    }

    fn send(&mut self, packet: impl Into<Packet>) {
        let packet = packet.into();
        add(&mut self.received, &packet, self.peer.version);
        self.peer.send(packet);
    }

    fn check(&mut self) {
        for packet in self.peer.packets() {
            add(&mut self.sent, &packet, self.peer.version);
        }
        let traffic = self.peer.session.traffic();
        assert_eq!(table(|packet_type| traffic.sent(packet_type)), self.sent);
        let received = table(|packet_type| traffic.received(packet_type));
        assert_eq!(received, self.received);
    }
}

#[test]
fn packets_and_bytes_are_those_of_the_wire() {
    for version in [Version::V3_1_1, Version::V5] {
        let mut world = Counting::new(version, named().keep_alive(60));
        world.check();
        for n in 0..3 {
            let payload = "x".repeat(n * 5000);
            for quality in 0..3 {
                world.peer.publish(message(quality, "a/b", &payload));
            }
            world
                .peer
                .session
                .publish_at_once(&message(0, "at/once", &payload))
                .unwrap();
            world.peer.drain();
            world.send(publish(0, 0, "in", &payload));
        }
        assert_eq!(world.peer.session.published_at_once(), 3);
        world.send(puback(1));
        world.send(pubrec(2));
        world.send(pubcomp(2));
        let rejected = Ack {
            properties: (version == Version::V5).then(|| {
                Box::new(AckProperties {
                    reason_string: Some(words("no")),
                    ..AckProperties::default()
                })
            }),
            ..Ack::new(id(3), PubAckReasonCode::Success)
        };
        world.send(Packet::PubAck(rejected));
        world.send(publish(1, 1, "in", "1"));
        world.send(publish(2, 2, "in", "2"));
        world.peer.reported();
        while !world.peer.messages.is_empty() {
            world.peer.take(0);
        }
        world.send(pubrel(2));
        world.check();
        world.peer.subscribe("x/+", 1);
        world.send(suback(5, &[SubAckReasonCode::GrantedQos1]));
        world.peer.wait(seconds(45));
        world.send(Packet::PingResp);
        world.check();
        // The next connection goes on counting, and what is sent again counts again.
        world.peer.cut();
        world.peer.open(version);
        let resumed = ConnAck {
            session_present: true,
            ..connack(false)
        };
        world.send(resumed);
        world.peer.disconnect_with(DisconnectOptions::default());
        world.check();
        assert!(world.sent.len() >= 8, "{:?}", world.sent);
    }
}

#[test]
fn a_ping_is_timed_from_when_it_left() {
    let mut peer = Peer::connected(Version::V5, Config::default().keep_alive(60));
    assert_eq!(peer.session.ping_time(), None);
    peer.wait(seconds(45));
    peer.wait(millis(7));
    peer.send(Packet::PingResp);
    assert_eq!(peer.session.ping_time(), Some(millis(7)));
    // One that a connection has lost is not timed on the next.
    peer.wait(seconds(45));
    peer.cut();
    peer.reconnect(Version::V5, false);
    peer.wait(seconds(45));
    peer.wait(millis(3));
    peer.send(Packet::PingResp);
    assert_eq!(peer.session.ping_time(), Some(millis(3)));
}

#[test]
fn acknowledgements_are_timed_one_message_at_a_time() {
    for (quality, answer) in [(1, puback as fn(u16) -> Packet), (2, pubrec)] {
        let mut peer = Peer::connected(Version::V5, named());
        peer.publish(message(0, "a", "0"));
        assert_eq!(peer.session.acknowledgement_times(peer.now), None);
        for (n, rtt) in [(1, 10), (2, 30)] {
            peer.publish(message(quality, "a", "1"));
            peer.wait(millis(rtt));
            peer.send(answer(n));
        }
        let times = peer.session.acknowledgement_times(peer.now).unwrap();
        assert_eq!(
            (times.count, times.min, times.max),
            (2, millis(10), millis(30))
        );
        assert_eq!(times.mean, millis(20));
        // It is timed again only after a millisecond.
        peer.publish(message(quality, "a", "1"));
        peer.send(answer(3));
        peer.publish(message(quality, "a", "1"));
        peer.send(answer(4));
        let times = peer.session.acknowledgement_times(peer.now).unwrap();
        assert_eq!(times.count, 3);
    }
}

#[test]
fn what_was_given_up_or_lost_is_not_timed() {
    let mut peer = Peer::connected(Version::V5, named());
    let withdrawn = peer.publish(message(1, "a", "1"));
    peer.wait(seconds(5));
    peer.session.withdraw(withdrawn);
    peer.publish(message(1, "a", "2"));
    peer.send(puback(2));
    peer.send(puback(1));
    assert_eq!(peer.session.acknowledgement_times(peer.now), None);
    peer.publish(message(1, "a", "3"));
    peer.cut();
    peer.wait(seconds(5));
    peer.reconnect(Version::V5, true);
    peer.wait(millis(4));
    peer.send(puback(3));
    let times = peer.session.acknowledgement_times(peer.now).unwrap();
    assert_eq!((times.count, times.max), (1, millis(4)));
}

/// The window is given back where a session only pings.
#[test]
fn a_session_that_only_pings_keeps_no_times() {
    let mut peer = Peer::connected(Version::V5, Config::default().keep_alive(60));
    peer.publish(message(1, "a", "1"));
    peer.send(puback(1));
    assert!(peer.session.round_trips().is_some());
    peer.wait(seconds(45));
    peer.send(Packet::PingResp);
    assert!(
        peer.session.round_trips().is_some(),
        "it may still be asked for"
    );
    peer.wait(seconds(45));
    assert!(peer.session.round_trips().is_none());
}

#[test]
fn what_holds_acknowledgements_is_found_by_asking() {
    let mut peer = Peer::connected(Version::V5, named());
    for n in 1..=4 {
        peer.send(publish(1, n, "a", "1"));
    }
    assert_eq!(peer.session.held_acknowledgements().count(), 0);
    peer.reported();
    let first = peer.messages[0].token.delivery();
    peer.take(2);
    peer.take(1);
    let held: Vec<_> = peer.session.held_acknowledgements().collect();
    assert_eq!(held, [(first, 2)]);
    peer.take(0);
    assert_eq!(peer.session.held_acknowledgements().count(), 0);
}

#[test]
fn a_store_is_behind_by_what_it_has_not_committed() {
    let peer = Peer::connected(Version::V5, named());
    assert_eq!(peer.session.store_lag(peer.now), None);
    let mut peer = connected(Version::V5, durable());
    let lag = |peer: &Peer| {
        let lag = peer.session.store_lag(peer.now).unwrap();
        (lag.operations, lag.oldest)
    };
    assert_eq!(lag(&peer), (0, seconds(0)));
    peer.publish(message(1, "a", "1"));
    peer.wait(seconds(3));
    peer.publish(message(1, "a", "2"));
    peer.wait(seconds(1));
    assert_eq!(lag(&peer), (4, seconds(4)));
    peer.store(2);
    assert_eq!(lag(&peer), (2, seconds(1)));
    peer.store_all();
    assert_eq!(lag(&peer), (0, seconds(0)));
}
