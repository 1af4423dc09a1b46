//! Messages that the application takes back.

use crate::driver::*;
use martlet_proto::{Packet, PacketIdentifier, Version};
use martlet_session::CleanStart;
use martlet_session::{Config, OperationId, RecordKey, Withdrawal};

fn config() -> Config {
    named().clean_start(CleanStart::Never)
}

const WITHDRAWN: &str = "published 1: the message was withdrawn";

fn withdraw(peer: &mut Peer, operation: OperationId) -> Withdrawal {
    let withdrawn = peer.session.withdraw(operation);
    peer.drain();
    withdrawn
}

/// The packet identifiers of this number of messages, each of which is answered at once.
fn identifiers(peer: &mut Peer, n: usize) -> Vec<u16> {
    let mut used = Vec::new();
    for n in 0..n {
        peer.publish(message(1, "a", &n.to_string()));
        peer.store_all();
        let Some(Packet::Publish(publish)) = peer.packets().pop() else {
            panic!("the window is open")
        };
        let id = publish.delivery().packet_identifier().unwrap().get();
        used.push(id);
        peer.send(puback(id));
    }
    used
}

/// There was no way to take back what waited for a connection, or to stop what was sent again and
/// again.
#[test]
fn what_has_not_left_is_not_sent() {
    for quality in [0, 1, 2] {
        let mut peer = Peer::new(config());
        let operation = peer.publish(message(quality, "a", "1"));
        peer.publish(message(quality, "a", "2"));
        assert_eq!(withdraw(&mut peer, operation), Withdrawal::Unsent);
        assert_eq!(peer.reported(), [WITHDRAWN]);
        assert_eq!((peer.session.queued(), peer.session.queued_bytes()), (1, 2));
        peer.reconnect(Version::V5, false);
        assert!(peer.said()[1].ends_with("a 2"), "{quality}");
        assert_eq!(withdraw(&mut peer, operation), Withdrawal::Ended);
    }
}

#[test]
fn what_is_stored_leaves_the_store() {
    for is_admitted in [false, true] {
        let mut peer = Peer::new(durable());
        if is_admitted {
            peer = connected(Version::V5, durable());
        }
        peer.store_all();
        let messages = |peer: &Peer| {
            peer.store
                .keys()
                .filter(|key| key.operation().is_some())
                .count()
        };
        let operation = peer.publish(message(1, "a", "1"));
        if !is_admitted {
            peer.store_all();
            assert_eq!(messages(&peer), 1);
        }
        assert_eq!(withdraw(&mut peer, operation), Withdrawal::Unsent);
        peer.store_all();
        assert_eq!(
            (messages(&peer), peer.said().len()),
            (0, 0),
            "{is_admitted}"
        );
        peer.crash(durable());
        assert_eq!(peer.session.unacknowledged().count(), 0);
    }
}

/// In flight, it is given up; the server may hold its identifier, which rests until the server
/// answers or the connection ends. Until then it counts against what the server takes.
#[test]
fn what_is_in_flight_is_not_sent_again_and_its_identifier_rests() {
    for (quality, answers) in [(1, vec![puback(1)]), (2, vec![pubrec(1), pubcomp(1)])] {
        let mut peer = Peer::new(config().max_in_flight(2));
        peer.reconnect(Version::V5, false);
        peer.forget();
        let operation = peer.publish(message(quality, "a", "1"));
        peer.publish(message(1, "a", "2"));
        peer.publish(message(1, "a", "3"));
        assert_eq!(peer.said().len(), 2);
        assert_eq!(withdraw(&mut peer, operation), Withdrawal::InFlight);
        assert_eq!(peer.reported(), [WITHDRAWN]);
        assert!(peer.said().is_empty(), "the server still counts it");
        peer.send_all(&answers);
        let said = peer.said();
        assert_eq!(said.last().unwrap(), "PUBLISH q1 #3 a 3");
        assert_eq!(said.len(), answers.len());
        assert!(peer.reported().is_empty(), "its end was reported");
        assert_eq!(withdraw(&mut peer, operation), Withdrawal::Ended);
    }
}

// [MQTT-2.2.1-3] [MQTT-2.3.1-2]
#[test]
fn what_was_withdrawn_is_not_sent_on_the_next_connection() {
    for session_present in [true, false] {
        for version in [Version::V3_1_1, Version::V5] {
            let mut peer = Peer::connected(version, config());
            let first = peer.publish(message(1, "a", "1"));
            let second = peer.publish(message(2, "a", "2"));
            peer.publish(message(1, "a", "3"));
            assert_eq!(withdraw(&mut peer, first), Withdrawal::InFlight);
            peer.cut();
            assert_eq!(
                withdraw(&mut peer, second),
                Withdrawal::InFlight,
                "it may have arrived"
            );
            peer.forget();
            peer.reconnect(version, session_present);
            let said = peer.said();
            let publishes = |packets: &[String]| {
                packets
                    .iter()
                    .filter(|line| line.starts_with("PUBLISH"))
                    .count()
            };
            assert_eq!(publishes(&said), 1, "{version}: {said:?}");
            // That of QoS 2 is free again only after the answer, or after the session.
            let used = identifiers(&mut peer, 40);
            assert!(used.contains(&1), "{version}: {used:?}");
            assert_eq!(used.contains(&2), !session_present, "{version}: {used:?}");
        }
    }
}

/// A withdrawn message that a process has stored as given up stays so in the next.
#[test]
fn what_was_withdrawn_stays_withdrawn() {
    let mut peer = connected(Version::V5, durable());
    let operation = peer.publish(message(1, "a", "1"));
    peer.store_all();
    assert_eq!(peer.said(), ["PUBLISH q1 #1 a 1"]);
    assert_eq!(withdraw(&mut peer, operation), Withdrawal::InFlight);
    peer.store_all();
    peer.crash(durable());
    peer.reconnect(Version::V5, true);
    peer.store_all();
    assert_eq!(peer.said().len(), 1, "nothing is sent again");
    peer.send(puback(1));
    peer.store_all();
    assert!(
        peer.reported()
            .iter()
            .all(|line| !line.starts_with("published"))
    );
}

/// The server has it: the flow goes to its end, and the application is not asked again.
#[test]
fn after_pubrec_the_flow_goes_on() {
    let mut peer = Peer::connected(Version::V5, config());
    let operation = peer.publish(message(2, "a", "1"));
    peer.send(pubrec(1));
    peer.forget();
    assert_eq!(withdraw(&mut peer, operation), Withdrawal::InFlight);
    assert_eq!(peer.reported(), [WITHDRAWN]);
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["PUBREL #1"]);
    peer.send(pubcomp(1));
    assert_eq!(
        (peer.reported(), peer.session.in_flight()),
        (vec!["connected, session present".into()], 0)
    );
}

/// What the application waits for when it disconnects is not waited for once it is withdrawn.
#[test]
fn a_disconnect_does_not_wait_for_what_was_withdrawn() {
    let mut peer = Peer::connected(Version::V5, config());
    let operation = peer.publish(message(1, "a", "1"));
    peer.disconnect(seconds(5));
    assert!(peer.close.is_none());
    withdraw(&mut peer, operation);
    assert!(peer.close.is_some());
}

/// Each message that was given up in flight took its packet identifier with it until the server's
/// session was lost: after 65,535 of them nothing could be sent any more.
#[test]
fn messages_that_are_given_up_do_not_use_up_the_identifiers() {
    const EACH: u16 = 1000;
    for quality in [1, 2] {
        let mut peer = Peer::connected(Version::V5, config().max_in_flight(EACH));
        let mut last = Vec::new();
        for _ in 0..70 {
            let now = peer.now;
            let publish = |_| {
                let accepted = peer.session.publish(now, message(quality, "a", "1"));
                accepted.unwrap().operation()
            };
            let operations: Vec<_> = (0..EACH).map(publish).collect();
            peer.drain();
            last = peer.packets();
            assert!(last.len() >= EACH.into(), "{} were sent", last.len());
            for operation in operations {
                assert_eq!(peer.session.withdraw(operation), Withdrawal::InFlight);
            }
            peer.drain();
            peer.cut();
            peer.forget();
            peer.reconnect(Version::V5, true);
        }
        peer.forget();
        peer.session.check_invariants().unwrap();
        let given_up = |packet: &Packet| match packet {
            Packet::Publish(publish) => publish.delivery().packet_identifier(),
            _ => None,
        };
        let last: Vec<u16> = last
            .iter()
            .filter_map(given_up)
            .map(PacketIdentifier::get)
            .collect();
        let used = identifiers(&mut peer, 100);
        // Those of QoS 2 that a server may hold are not used, as long as there are others.
        assert!(quality == 1 || used.iter().all(|id| !last.contains(id)));
    }
}

/// What is stored of it goes with its identifier: when the connection ends, or at once if the
/// message was not sent on this one.
#[test]
fn nothing_is_stored_of_a_message_whose_identifier_is_free() {
    let flows = |peer: &Peer| {
        let of_messages = |key: &&RecordKey| key.operation().is_some();
        peer.store.keys().filter(of_messages).count()
    };
    for is_online in [true, false] {
        let mut peer = connected(Version::V5, durable());
        let operation = peer.publish(message(1, "a", "1"));
        peer.store_all();
        if is_online {
            withdraw(&mut peer, operation);
            peer.store_all();
            assert_eq!(flows(&peer), 1, "the server may answer");
        }
        peer.cut();
        if !is_online {
            assert_eq!(withdraw(&mut peer, operation), Withdrawal::InFlight);
        }
        peer.store_all();
        assert_eq!(flows(&peer), 0, "{is_online}");
        peer.crash(durable());
        peer.reconnect(Version::V5, true);
        peer.store_all();
        peer.forget();
        assert_eq!(identifiers(&mut peer, 1), [1], "{is_online}");
    }
}
