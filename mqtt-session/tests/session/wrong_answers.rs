//! A server answers a message with a packet of another flow: the message ends, and neither it nor
//! its place in the window waits for an answer that will not come.

use crate::driver::*;
use martlet_proto::{Ack, Packet, PubAckReasonCode, PubRelReasonCode, Version};
use martlet_session::CleanStart;

fn rejecting(packet: fn(Ack<PubAckReasonCode>) -> Packet, n: u16) -> Packet {
    packet(Ack::new(id(n), PubAckReasonCode::NotAuthorized))
}

/// RabbitMQ 3 takes QoS 2 as QoS 1 and answers with PUBACK: the message waited for ever, then its
/// window was full of such messages, and no QoS 1 message left any more either.
// [MQTT-3.3.4-1]
#[test]
fn a_puback_for_a_message_of_qos2_ends_it() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, window(2).client_identifier(words("me")));
        for payload in ["1", "2", "3"] {
            peer.publish(message(2, "a", payload));
        }
        peer.publish(message(1, "a", "4"));
        assert_eq!(peer.said(), ["PUBLISH q2 #1 a 1", "PUBLISH q2 #2 a 2"]);
        peer.send_all(&[puback(1), puback(2)]);
        let error = "the server answered with PUBACK where PUBREC was due: the message may have arrived; \
                     this server may not support its QoS";
        assert_eq!(
            peer.reported(),
            [
                format!("published 1: {error}"),
                format!("published 2: {error}")
            ]
        );
        assert_eq!(peer.said(), ["PUBLISH q2 #3 a 3", "PUBLISH q1 #4 a 4"]);
        peer.send_all(&[puback(3), puback(4)]);
        assert_eq!(
            peer.reported(),
            [
                format!("published 3: {error}"),
                "published 4: ok".to_owned()
            ]
        );
        assert_eq!(peer.session.in_flight(), 0);
        // It is not sent again either.
        peer.cut();
        peer.forget();
        peer.reconnect(version, version != Version::V3_1);
        assert_eq!(peer.said().len(), 1);
    }
}

/// Answers that end a flow, to message 1 that waits for another answer: the name of the case, the
/// QoS, whether the message was released, and the answer.
fn answers_of_another_flow() -> [(&'static str, u8, bool, Packet); 9] {
    let release = Packet::PubComp(Ack::new(id(1), PubRelReasonCode::PacketIdentifierNotFound));
    [
        ("PUBREC to QoS 1", 1, false, pubrec(1)),
        ("PUBCOMP to QoS 1", 1, false, pubcomp(1)),
        ("PUBACK to QoS 2", 2, false, puback(1)),
        ("PUBCOMP before PUBREC", 2, false, pubcomp(1)),
        ("PUBACK to PUBREL", 2, true, puback(1)),
        ("an unknown PUBCOMP to QoS 1", 1, false, release),
        (
            "a rejecting PUBREC to QoS 1",
            1,
            false,
            rejecting(Packet::PubRec, 1),
        ),
        (
            "a rejecting PUBACK to QoS 2",
            2,
            false,
            rejecting(Packet::PubAck, 1),
        ),
        (
            "a rejecting PUBREC to PUBREL",
            2,
            true,
            rejecting(Packet::PubRec, 1),
        ),
    ]
}

/// The relatives of the above: each answer that ends a flow, to each message that waits for another
/// answer.
#[test]
fn no_answer_of_another_flow_leaves_a_message_waiting() {
    for (name, quality, released, answer) in &answers_of_another_flow() {
        let rejects =
            matches!(answer, Packet::PubAck(ack) | Packet::PubRec(ack) if ack.reason.is_error());
        let has_reason =
            rejects || matches!(answer, Packet::PubComp(ack) if ack.reason.as_u8() > 0);
        for version in Version::ALL {
            if has_reason && !version.has_properties() {
                continue;
            }
            let mut peer = Peer::connected(version, window(1).client_identifier(words("me")));
            peer.publish(message(*quality, "a", "1"));
            if *released {
                peer.send(pubrec(1));
            }
            peer.publish(message(1, "a", "2"));
            peer.forget();
            peer.send(answer.clone());
            let reported = peer.reported();
            let expected = if rejects {
                "the server rejected the message"
            } else {
                "where PUB"
            };
            assert!(
                reported.len() == 1 && reported[0].contains(expected),
                "{version}, {name}: {reported:?}"
            );
            let said = peer.said();
            assert_eq!(
                said.last().unwrap(),
                "PUBLISH q1 #2 a 2",
                "{version}, {name}"
            );
            // A server that has sent PUBREC waits for PUBREL.
            let answered = said[0].starts_with("PUBREL #1");
            assert_eq!(
                answered,
                matches!(answer, Packet::PubRec(ack) if !ack.reason.is_error()),
                "{name}"
            );
            peer.send(puback(2));
            assert_eq!(
                (peer.reported(), peer.session.in_flight()),
                (vec!["published 2: ok".into()], 0),
                "{name}"
            );
            assert!(peer.close.is_none(), "{version}, {name}");
        }
    }
}

#[test]
fn a_message_with_the_wrong_answer_leaves_the_store() {
    let mut peer = connected(Version::V3_1_1, durable());
    peer.publish(message(2, "a", "1"));
    peer.store_all();
    let before = peer.store.len();
    peer.send(puback(1));
    peer.store_all();
    // The server may hold the identifier on: the flow stays until it lets go.
    assert_eq!(before - peer.store.len(), 1, "the message");
    peer.send(pubcomp(1));
    peer.store_all();
    assert_eq!(before - peer.store.len(), 2, "and its flow");
}

/// Found by the simulated world: a server that had answered QoS 2 with PUBACK held the identifier
/// all the same, took the next message with it for a copy, and the message was lost although it was
/// acknowledged.
#[test]
fn the_identifier_of_a_message_with_the_wrong_answer_rests() {
    let mut peer = Peer::connected(Version::V5, window(1));
    peer.publish(message(2, "a", "bad"));
    peer.send(puback(1));
    peer.forget();
    for n in 0..40 {
        peer.publish(message(1, "a", &n.to_string()));
        let Some(Packet::Publish(publish)) = peer.packets().pop() else {
            panic!("the window is open")
        };
        let id = publish.delivery().packet_identifier().unwrap().get();
        assert_ne!(id, 1);
        peer.send(puback(id));
    }
    assert_eq!(peer.session.in_flight(), 0);
}

/// What was never sent has no answer: a late one of another message does not end it.
#[test]
fn what_was_never_sent_has_no_wrong_answer() {
    let mut peer = Peer::connected(Version::V5, named().clean_start(CleanStart::Never));
    peer.blocked = true;
    peer.publish(message(2, "a", "1"));
    peer.cut();
    peer.blocked = false;
    peer.open(Version::V5);
    peer.blocked = true;
    peer.forget();
    peer.send_all(&[connack(true).into(), puback(1), pubcomp(1)]);
    assert_eq!(peer.reported(), ["connected, session present"]);
    peer.unblock();
    assert_eq!(peer.said(), ["PUBLISH q2 #1 a 1"]);
}
