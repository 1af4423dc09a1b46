//! A durable session that another process takes up again, and the loss of the server's session.

use crate::driver::*;
use crate::durable::{keys, nothing};
use martlet_proto::{
    Ack, Packet, PubAckReasonCode, SubAckReasonCode, TopicFilter, Utf8String, Version,
};
use martlet_session::CleanStart;
use martlet_session::{
    Event, LostSession, OperationId, PublishError, RestoreErrorKind, Session, StoreOp,
};

#[test]
fn what_was_stored_is_sent_again_and_its_end_is_told() {
    for version in Version::ALL {
        let mut peer = connected(version, durable());
        for (quality, payload) in [(1, "1"), (2, "2"), (2, "3"), (2, "4")] {
            peer.publish(message(quality, "a", payload));
        }
        peer.store_all();
        peer.send_all(&[pubrec(4), pubrec(2)]);
        peer.store_all();
        peer.cut();
        peer.publish(message(1, "a", "5"));
        peer.store_all();
        peer.publish(message(1, "a", "lost"));
        peer.crash(durable());
        assert_eq!(
            peer.session
                .unacknowledged()
                .map(OperationId::get)
                .collect::<Vec<_>>(),
            [1, 2, 3, 4, 5]
        );
        peer.reconnect(version, version != Version::V3_1);
        peer.store_all();
        assert_eq!(
            peer.said(),
            [
                &format!("CONNECT {} resume id=\"me\"", version.level())[..],
                "PUBREL #4",
                "PUBREL #2",
                "PUBLISH q1 #1 dup a 1",
                "PUBLISH q2 #3 dup a 3",
                "PUBLISH q1 #5 a 5"
            ]
            .map(|line| if version == Version::V5 && line.starts_with('C') {
                format!("{line} expiry=3600")
            } else {
                line.to_owned()
            })
        );
        peer.reported();
        peer.send_all(&[pubcomp(4), pubcomp(2), puback(1), pubrec(3), puback(5)]);
        assert_eq!(
            peer.reported(),
            [
                "published 4: ok",
                "published 2: ok",
                "published 1: ok",
                "published 5: ok"
            ],
            "nobody has asked in this process"
        );
        peer.store_all();
        peer.send(pubcomp(3));
        peer.store_all();
        assert_eq!(keys(&peer), ["identity"]);
        assert!(
            peer.publish(message(1, "a", "6")).get() > 6,
            "operations are not numbered again"
        );
    }
}

#[test]
fn the_end_of_a_message_of_an_earlier_process_names_its_operation() {
    let mut peer = connected(Version::V5, durable());
    let operation = peer.publish(message(1, "a", "1"));
    peer.store_all();
    peer.crash(durable());
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.send(Packet::PubAck(Ack::new(
        id(1),
        PubAckReasonCode::NotAuthorized,
    )));
    match &peer.events()[..] {
        [
            Event::Published {
                operation: reported,
                key: None,
                result: Err(PublishError::Rejected { .. }),
            },
        ] => {
            assert_eq!(*reported, operation);
        }
        other => panic!("{other:?}"),
    }
}

/// What is in the store after any number of operations: the end is the same.
#[test]
fn a_crash_between_any_two_operations_loses_and_repeats_nothing() {
    let mut peer = connected(Version::V5, durable());
    let before = peer.store.clone();
    let mut operations = Vec::new();
    let mut store = |peer: &mut Peer| {
        while let Some((upto, operation)) = peer.operations.pop_front() {
            operations.push(operation);
            peer.session.handle_stored(upto);
            peer.drain();
        }
    };
    peer.publish(message(2, "a", "1"));
    store(&mut peer);
    peer.send(pubrec(1));
    store(&mut peer);
    peer.send(pubcomp(1));
    peer.publish(message(1, "a", "2"));
    peer.send(publish(2, 9, "b", "3"));
    peer.reported();
    peer.take(0);
    store(&mut peer);
    peer.send_all(&[puback(2), pubrel(9)]);
    store(&mut peer);
    assert_eq!(operations.len(), 11);
    for n in 0..=operations.len() {
        let mut peer = Peer::new(durable());
        peer.store.clone_from(&before);
        for operation in &operations[..n] {
            match operation.clone() {
                StoreOp::Put { key, value } => drop(peer.store.insert(key, value)),
                StoreOp::Delete { key } => drop(peer.store.remove(&key)),
            }
        }
        let restored = peer.crash(durable());
        assert_eq!(restored.quarantined, [], "after {n}");
        peer.reconnect(Version::V5, true);
        peer.store_all();
        let said: Vec<_> = peer.said().into_iter().skip(1).collect();
        let expected: &[&str] = match n {
            0 => &[],
            1 => &["PUBLISH q2 #1 a 1"],
            2 => &["PUBLISH q2 #1 dup a 1"],
            3 => &["PUBREL #1"],
            // PUBCOMP has come: a flow without its message is that of a acknowledged one.
            4 | 5 => &[],
            6 => &["PUBLISH q1 #1 a 2"],
            7..9 => &["PUBLISH q1 #2 dup a 2"],
            9.. => &[],
        };
        assert_eq!(said, expected, "after {n}");
        peer.send(duplicate(2, 9, "b", "3"));
        let delivered = peer
            .reported()
            .iter()
            .any(|line| line.starts_with("message"));
        assert_eq!(delivered, !(8..11).contains(&n), "after {n}");
    }
}

#[test]
fn a_recorded_message_is_not_delivered_again_after_a_crash() {
    let mut peer = connected(Version::V5, durable());
    peer.send_all(&[
        publish(2, 1, "a", "stored"),
        publish(2, 2, "a", "taken"),
        publish(2, 3, "a", "unhandled"),
    ]);
    peer.reported();
    peer.take(0);
    peer.store_all();
    peer.take(0);
    peer.crash(durable());
    peer.reconnect(Version::V5, true);
    peer.store_all();
    peer.forget();
    peer.send_all(&[
        duplicate(2, 1, "a", "stored"),
        duplicate(2, 2, "a", "taken"),
        duplicate(2, 3, "a", "unhandled"),
    ]);
    assert_eq!(
        peer.reported(),
        ["message q2 a taken", "message q2 a unhandled"],
        "the unit is what was stored"
    );
    assert!(peer.messages[0].publish.delivery().duplicate());
    assert_eq!(peer.said(), ["PUBREC #1"]);
    peer.send(pubrel(1));
    peer.store_all();
    assert_eq!(peer.said(), ["PUBCOMP #1"]);
    // The server may use the identifier again.
    peer.send(publish(2, 1, "a", "new"));
    assert_eq!(peer.reported(), ["message q2 a new"]);
}

#[test]
fn a_clean_start_is_made_once() {
    let config = durable().clean_start(CleanStart::First);
    let mut peer = connected(Version::V5, config.clone());
    peer.crash(config.clone());
    peer.open(Version::V5);
    assert!(peer.said()[0].starts_with("CONNECT 5 resume"));
    let mut peer = Peer::new(config.clone());
    peer.store_all();
    peer.crash(config);
    peer.open(Version::V5);
    assert!(
        peer.said()[0].starts_with("CONNECT 5 clean"),
        "none was accepted before"
    );
}

#[test]
fn the_assigned_client_identifier_is_kept() {
    let config = durable().client_identifier(Utf8String::default());
    let mut peer = Peer::new(config.clone());
    peer.open(Version::V5);
    let mut accepted = connack(false);
    accepted.properties.assigned_client_identifier = Some(words("given"));
    peer.send(accepted);
    peer.store_all();
    let restored = peer.crash(config.clone());
    assert_eq!(restored.version, Some(Version::V5));
    assert_eq!(peer.session.client_identifier(), "given");
    let error = Session::restore(durable(), peer.now, peer.store.clone()).unwrap_err();
    let (stored, configured) = (words("given"), words("me"));
    assert_eq!(
        error.kind(),
        &RestoreErrorKind::ClientIdentifier { stored, configured }
    );
    assert_eq!(error.into_records().len(), 1, "they are given back");
}

#[test]
fn subscriptions_are_made_again_after_a_crash_when_the_server_lost_them() {
    let mut peer = connected(Version::V5, durable());
    for name in ["a", "b", "c"] {
        peer.subscribe(name, 1);
    }
    let granted = [SubAckReasonCode::GrantedQos1];
    peer.send_all(&[
        suback(1, &granted),
        suback(2, &granted),
        suback(3, &granted),
    ]);
    peer.unsubscribe("b");
    peer.store_all();
    peer.crash(durable());
    peer.reconnect(Version::V5, false);
    assert_eq!(peer.said()[1..], ["SUBSCRIBE #1 a:1 c:1"]);
    peer.send(suback(
        1,
        &[
            SubAckReasonCode::GrantedQos1,
            SubAckReasonCode::NotAuthorized,
        ],
    ));
    peer.store_all();
    peer.crash(durable());
    assert_eq!(
        peer.session
            .subscriptions()
            .map(TopicFilter::as_str)
            .collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(peer.store.len(), 2);
}

/// The last CONNECT of the process may have begun a session that the next one finds empty.
#[test]
fn subscriptions_are_made_again_after_a_crash_when_the_last_connect_was_not_answered() {
    for unanswered in [false, true] {
        let mut peer = connected(Version::V5, durable());
        peer.subscribe("a", 1);
        peer.send(suback(1, &[SubAckReasonCode::GrantedQos1]));
        if unanswered {
            peer.cut();
            peer.open(Version::V5);
        }
        peer.store_all();
        peer.crash(durable());
        peer.reconnect(Version::V5, true);
        assert_eq!(peer.said().len(), if unanswered { 2 } else { 1 });
    }
}

/// Found by the simulated world: the server had begun a new session, and the process died before it
/// had stored that. The server then used the packet identifier of a message of the old session for
/// a new one, which was taken for known.
#[test]
fn a_message_of_a_session_that_began_unnoticed_is_delivered_after_a_crash() {
    let mut peer = connected(Version::V5, durable());
    peer.send_all(&[publish(2, 1, "a", "old"), publish(2, 2, "a", "known")]);
    peer.reported();
    peer.take(0);
    peer.take(0);
    peer.store_all();
    peer.cut();
    peer.open(Version::V5);
    peer.store_all();
    peer.send(connack(false));
    peer.crash(durable());
    peer.reconnect(Version::V5, true);
    peer.store_all();
    // Nor does a second death make it known.
    peer.crash(durable());
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.send(publish(2, 1, "a", "new"));
    assert_eq!(peer.reported(), ["message q2 a new"]);
    peer.send(duplicate(2, 2, "a", "known"));
    assert_eq!(
        peer.reported(),
        nothing(),
        "it says itself that it was sent before"
    );
    peer.take(0);
    peer.store_all();
    assert_eq!(peer.said(), ["PUBREC #1", "PUBREC #2"]);
    peer.send_all(&[duplicate(2, 1, "a", "new"), pubrel(1)]);
    peer.store_all();
    assert_eq!(peer.reported(), nothing());
    assert_eq!(peer.said(), ["PUBREC #1", "PUBCOMP #1"]);
}

/// A review found: a process died while it made the subscriptions again that the server had lost.
/// The next one found the session present, the empty one, and subscribed to nothing.
#[test]
fn subscriptions_that_were_being_made_again_are_made_again_after_a_crash() {
    let mut peer = connected(Version::V5, durable());
    peer.subscribe("a", 1);
    peer.send(suback(1, &[SubAckReasonCode::GrantedQos1]));
    peer.store_all();
    peer.cut();
    peer.reconnect(Version::V5, false);
    peer.store_all();
    peer.crash(durable());
    for again in [true, false] {
        peer.forget();
        peer.reconnect(Version::V5, true);
        let subscribes = peer
            .packets()
            .into_iter()
            .filter_map(|packet| match packet {
                Packet::Subscribe(packet) => Some(packet.packet_identifier.get()),
                _ => None,
            });
        let subscribes: Vec<_> = subscribes.collect();
        assert_eq!(subscribes.len(), usize::from(again));
        for id in subscribes {
            peer.send(suback(id, &[SubAckReasonCode::GrantedQos1]));
        }
        peer.store_all();
        peer.crash(durable());
    }
}

#[test]
fn the_loss_of_the_session_is_stored_as_one() {
    for (policy, crash) in [
        (LostSession::InDoubt, 0),
        (LostSession::Requeue, 0),
        (LostSession::InDoubt, 1),
    ] {
        let config = durable().lost_qos2(policy);
        let mut peer = connected(Version::V5, config.clone());
        peer.publish(message(1, "a", "1"));
        peer.publish(message(2, "a", "2"));
        peer.publish(message(2, "a", "3"));
        peer.send(publish(2, 9, "b", "4"));
        peer.reported();
        peer.take(0);
        peer.store_all();
        peer.send(pubrec(3));
        peer.store_all();
        peer.cut();
        peer.open(Version::V5);
        peer.forget();
        peer.send(connack(false));
        let mut reported = peer.reported();
        if crash > 0 {
            // Only that the session is another one was stored, and none of what follows from it.
            peer.store(2);
            peer.crash(config.clone());
            reported = peer.reported();
            peer.reconnect(Version::V5, true);
            peer.forget();
        }
        reported.retain(|line| line.starts_with("published"));
        reported.sort();
        peer.store_all();
        let doubt = |n: u32| {
            format!(
                "published {n}: in doubt: the server lost the session after the message was sent"
            )
        };
        if policy == LostSession::InDoubt {
            assert_eq!(reported, [doubt(2), doubt(3)], "{crash}");
            assert_eq!(keys(&peer), ["identity", "message 1", "flow of message 1"]);
        } else {
            assert_eq!(reported, nothing());
            assert_eq!(peer.store.len(), 1 + 3 + 3);
        }
        // A new message of the server has an identifier that the old session had in use.
        peer.forget();
        peer.send(publish(2, 9, "b", "new"));
        assert_eq!(peer.reported(), ["message q2 b new"]);
    }
}
