//! Connections end and begin again: what is sent again, in which order, and what becomes of it when
//! the server has lost the session.

use crate::driver::*;
use martlet_proto::{Ack, ConnAck, Packet, PubAckReasonCode, SubAckReasonCode, Version};
use martlet_session::CleanStart;
use martlet_session::{Config, DisconnectOptions, LostSession};
use std::num::{NonZeroU16, NonZeroU32};

/// In 3.1.1 a clean session would be clean each time.
pub(crate) fn config() -> Config {
    named().clean_start(CleanStart::Never)
}

fn resumed(receive_maximum: u16) -> ConnAck {
    let mut connack = connack(true);
    connack.properties.receive_maximum = NonZeroU16::new(receive_maximum);
    connack
}

/// Another client never sets DUP, and sends m3, m1, m2.
#[test]
fn unacknowledged_publishes_are_sent_again_with_dup_in_their_order() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, config());
        for payload in ["1", "2", "3"] {
            peer.publish(message(1, "a", payload));
        }
        peer.publish(message(2, "a", "4"));
        peer.forget();
        peer.send(puback(2));
        peer.cut();
        peer.publish(message(1, "a", "5"));
        peer.reconnect(version, version != Version::V3_1);
        assert_eq!(
            peer.said()[1..],
            [
                "PUBLISH q1 #1 dup a 1",
                "PUBLISH q1 #3 dup a 3",
                "PUBLISH q2 #4 dup a 4",
                "PUBLISH q1 #5 a 5"
            ]
        );
        peer.reported();
        peer.send_all(&[puback(1), puback(3), pubrec(4), pubcomp(4), puback(5)]);
        assert_eq!(
            peer.reported(),
            [
                "published 1: ok",
                "published 3: ok",
                "published 4: ok",
                "published 5: ok"
            ]
        );
        assert_eq!(peer.session.in_flight(), 0);
    }
}

#[test]
fn pubrel_is_sent_again_before_publishes() {
    let mut peer = Peer::connected(Version::V5, config());
    for payload in ["1", "2", "3"] {
        peer.publish(message(2, "a", payload));
    }
    peer.send_all(&[pubrec(3), pubrec(1)]);
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(
        peer.said()[1..],
        ["PUBREL #3", "PUBREL #1", "PUBLISH q2 #2 dup a 2"]
    );
}

#[test]
fn what_was_never_handed_out_is_not_a_duplicate() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "1"));
    peer.blocked = true;
    peer.publish(message(1, "a", "2"));
    peer.cut();
    peer.blocked = false;
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(
        peer.said()[1..],
        ["PUBLISH q1 #1 dup a 1", "PUBLISH q1 #2 a 2"]
    );
}

/// Another client sends both, and then panics or wraps its counter.
#[test]
fn receive_maximum_1_on_the_new_connection_sends_one_at_a_time() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "1"));
    peer.publish(message(2, "a", "2"));
    peer.cut();
    peer.publish(message(1, "a", "3"));
    peer.forget();
    peer.open(Version::V5);
    peer.send(resumed(1));
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #1 dup a 1"]);
    // New ones wait behind those that are sent again.
    peer.publish(message(1, "a", "4"));
    assert_eq!(peer.said(), Vec::<String>::new());
    peer.send(puback(1));
    assert_eq!(peer.said(), ["PUBLISH q2 #2 dup a 2"]);
    peer.send(pubrec(2));
    assert_eq!(peer.said(), ["PUBREL #2"]);
    peer.send(pubcomp(2));
    assert_eq!(peer.said(), ["PUBLISH q1 #3 a 3"]);
    peer.send(puback(3));
    assert_eq!(peer.said(), ["PUBLISH q1 #4 a 4"]);
    peer.send(puback(4));
    assert_eq!(peer.session.in_flight(), 0);
}

/// The server answers PUBLISHes of the earlier connection before they are sent again.
#[test]
fn acknowledgements_of_what_was_not_sent_again_yet_are_taken() {
    let mut peer = Peer::connected(Version::V5, config());
    for (quality, payload) in [(1, "1"), (1, "2"), (2, "3"), (1, "4")] {
        peer.publish(message(quality, "a", payload));
    }
    peer.cut();
    peer.forget();
    peer.open(Version::V5);
    peer.send(resumed(1));
    peer.forget();
    // #1 is on its way; #2 and #3 are not.
    peer.send_all(&[puback(2), pubrec(3)]);
    assert_eq!(peer.said(), ["PUBREL #3"]);
    assert_eq!(peer.reported(), ["published 2: ok"]);
    peer.send(puback(1));
    assert_eq!(
        peer.said(),
        Vec::<String>::new(),
        "the window is taken by #3"
    );
    peer.send(pubcomp(3));
    assert_eq!(peer.said(), ["PUBLISH q1 #4 dup a 4"]);
    peer.send(puback(4));
    assert_eq!(peer.session.in_flight(), 0);
    peer.publish(message(1, "a", "5"));
    assert_eq!(peer.said().len(), 1, "and the window is open again");
}

/// A message that had never left waited with its identifier for the window; a stray acknowledgement
/// acknowledged it.
#[test]
fn what_was_never_sent_cannot_be_acknowledged() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "1"));
    peer.blocked = true;
    peer.publish(message(1, "a", "2"));
    peer.publish(message(2, "a", "3"));
    peer.cut();
    peer.blocked = false;
    peer.open(Version::V5);
    peer.send(resumed(1));
    peer.forget();
    peer.send_all(&[puback(2), pubrec(3)]);
    assert_eq!(peer.said(), ["PUBREL #3 0x92"]);
    assert_eq!(peer.reported(), Vec::<String>::new());
    peer.send(puback(1));
    assert_eq!(peer.said(), ["PUBLISH q1 #2 a 2"]);
    peer.send(puback(2));
    assert_eq!(peer.said(), ["PUBLISH q2 #3 a 3"]);
}

/// A PUBREC that came while PUBRELs waited to be sent again counted its flow twice, sent PUBREL
/// twice, and took a place in the window for good.
#[test]
fn a_pubrec_while_pubrels_wait_counts_once() {
    let config = config().max_in_flight(2);
    let mut peer = Peer::connected(Version::V5, config);
    peer.publish(message(2, "a", "1"));
    peer.publish(message(2, "a", "2"));
    peer.send(pubrec(1));
    peer.cut();
    peer.forget();
    peer.open(Version::V5);
    peer.said();
    peer.blocked = true;
    // For #1 again, and for #2, which was not sent again: both before the PUBREL of #1 was made.
    peer.send_all(&[connack(true).into(), pubrec(2), pubrec(1)]);
    peer.unblock();
    assert_eq!(peer.said(), ["PUBREL #2", "PUBREL #1"]);
    peer.send_all(&[pubcomp(1), pubcomp(2)]);
    assert_eq!(peer.session.in_flight(), 0);
    peer.publish(message(1, "a", "3"));
    peer.publish(message(1, "a", "4"));
    assert_eq!(
        peer.said(),
        ["PUBLISH q1 #3 a 3", "PUBLISH q1 #4 a 4"],
        "the whole window"
    );
}

/// Other clients drop never-sent and unacknowledged messages in silence.
#[test]
fn session_lost_requeues_qos1_and_puts_written_qos2_in_doubt() {
    for version in [Version::V3_1_1, Version::V5] {
        let mut peer = Peer::connected(version, config());
        peer.publish(message(1, "a", "1"));
        peer.publish(message(2, "a", "2"));
        peer.publish(message(2, "a", "3"));
        peer.send(pubrec(3));
        peer.blocked = true;
        peer.publish(message(2, "a", "4"));
        peer.cut();
        peer.blocked = false;
        peer.publish(message(1, "a", "5"));
        peer.forget();
        peer.reconnect(version, false);
        let said = peer.said();
        if version == Version::V5 {
            assert_eq!(
                said[1..],
                [
                    "PUBLISH q1 #1 a 1",
                    "PUBLISH q2 #2 a 4",
                    "PUBLISH q1 #3 a 5"
                ]
                .map(renumber(&peer))
            );
        } else {
            // 3.1.1 goes on with the session of the client.
            assert_eq!(
                said[1..],
                [
                    "PUBLISH q1 #1 dup a 1",
                    "PUBLISH q2 #4 a 4",
                    "PUBLISH q1 #5 a 5"
                ]
            );
        }
        assert_eq!(
            peer.reported(),
            [
                "published 3: in doubt: the server lost the session after the message was sent",
                "published 2: in doubt: the server lost the session after the message was sent",
                "connected"
            ]
        );
        assert_eq!(peer.session.in_flight(), 3);
    }
}

/// Identifiers are given out anew after the session was lost; which ones does not matter here.
fn renumber(_: &Peer) -> impl Fn(&str) -> String {
    |line| {
        line.replace("#1", "#5")
            .replace("#2", "#6")
            .replace("#3", "#7")
    }
}

#[test]
fn session_lost_as_chosen() {
    let config = config()
        .lost_qos1(LostSession::InDoubt)
        .lost_qos2(LostSession::Requeue);
    let mut peer = Peer::connected(Version::V5, config);
    peer.publish(message(1, "a", "1"));
    peer.publish(message(2, "a", "2"));
    peer.publish(message(2, "a", "3"));
    peer.send(pubrec(3));
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, false);
    assert_eq!(
        peer.said()[1..],
        ["PUBLISH q2 #4 a 2", "PUBLISH q2 #5 a 3"],
        "new messages: no DUP"
    );
    assert_eq!(
        peer.reported(),
        [
            "published 1: in doubt: the server lost the session after the message was sent",
            "connected"
        ]
    );
}

#[test]
fn a_clean_session_of_3_1_1_is_clean_each_time() {
    let mut peer = Peer::connected(Version::V3_1_1, Config::default());
    peer.publish(message(1, "a", "1"));
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    assert_eq!(
        peer.said(),
        ["CONNECT 4 clean id=\"\"", "PUBLISH q1 #2 a 1"]
    );
}

/// Requeued messages had no timer any more: an expired one was reported only when its turn came.
#[test]
fn a_requeued_message_expires_in_the_queue() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(expiring(1, "a", "1", 10));
    peer.cut();
    peer.forget();
    peer.open(Version::V5);
    peer.said();
    peer.blocked = true;
    peer.send(connack(false));
    peer.wait(seconds(11));
    assert_eq!(
        peer.reported(),
        [
            "connected",
            "published 1: the message expired before it could be sent"
        ]
    );
}

/// What was handed out before may be with the server: it goes again. What was not, and has expired,
/// does not.
#[test]
fn a_written_message_is_sent_again_though_it_has_expired() {
    let mut peer = Peer::connected(Version::V5, config().keep_alive(0));
    peer.publish(expiring(1, "a", "1", 10));
    peer.cut();
    peer.wait(seconds(20));
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #1 dup a 1 expiry=1"]);
}

#[test]
fn a_resent_message_is_checked_against_the_new_server() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "0123456789"));
    peer.publish(message(2, "a", "0123456789"));
    peer.publish(message(1, "a", "1"));
    peer.cut();
    peer.forget();
    let small = |session_present| {
        let mut connack = connack(session_present);
        connack.properties.maximum_packet_size = NonZeroU32::new(12);
        connack
    };
    peer.open(Version::V5);
    peer.send(small(true));
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #3 dup a 1"]);
    assert_eq!(
        peer.reported(),
        [
            "connected, session present",
            "published 1: the packet has 18 bytes; the limit is 12",
            "published 2: the packet has 18 bytes; the limit is 12"
        ]
    );
    // The server has them from before: the flows are completed, and the identifiers are free
    // after that.
    peer.send_all(&[puback(1), pubrec(2)]);
    assert_eq!(peer.said(), ["PUBREL #2"]);
    peer.send_all(&[pubcomp(2), puback(3)]);
    assert_eq!(peer.reported(), ["published 3: ok"]);
    assert_eq!(peer.session.in_flight(), 0);
}

#[test]
fn a_message_is_told_its_end_once_through_any_number_of_connections() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "1"));
    for _ in 0..5 {
        peer.cut();
        peer.reconnect(Version::V5, true);
        assert_eq!(peer.said()[1..], ["PUBLISH q1 #1 dup a 1"]);
    }
    peer.send(puback(1));
    let reported = peer.reported();
    assert_eq!(
        reported
            .iter()
            .filter(|line| line.starts_with("published"))
            .collect::<Vec<_>>(),
        ["published 1: ok"]
    );
}

#[test]
fn a_rejection_that_arrives_after_the_resend_is_told() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(2, "a", "1"));
    peer.cut();
    peer.reconnect(Version::V5, true);
    peer.forget();
    peer.send(Packet::PubRec(Ack::new(
        id(1),
        PubAckReasonCode::QuotaExceeded,
    )));
    assert_eq!(
        peer.reported(),
        ["published 1: the server rejected the message: quota exceeded (0x97)"]
    );
    assert_eq!(peer.said(), Vec::<String>::new());
}

/// Another server, or the same with other settings.
// [MQTT-3.2.2-11] [MQTT-3.2.2-14]
#[test]
fn a_resent_message_obeys_the_new_maximum_qos_and_retain() {
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(2, "a", "1"));
    peer.publish(message(1, "a", "2").retain(true));
    peer.publish(message(1, "a", "3"));
    peer.cut();
    peer.forget();
    peer.open(Version::V5);
    peer.said();
    let mut accepted = connack(true);
    accepted.properties.maximum_qos = Some(qos(1));
    accepted.properties.retain_available = Some(false);
    peer.send(accepted);
    assert_eq!(peer.said(), ["PUBLISH q1 #3 dup a 3"]);
    let reported = peer.reported();
    assert_eq!(reported.len(), 3, "{reported:?}");
    assert_eq!(reported[1], "published 1: the server takes QoS 1 at most");
    assert!(reported[2].starts_with("published 2: "), "{reported:?}");
}

// [MQTT-4.4.0-2]
#[test]
fn what_was_rejected_is_acknowledged_and_not_sent_again() {
    let mut peer = Peer::connected(Version::V5, config());
    for (quality, payload) in [(1, "1"), (2, "2"), (1, "3")] {
        peer.publish(message(quality, "a", payload));
    }
    peer.send_all(&[
        Packet::PubAck(Ack::new(id(1), PubAckReasonCode::QuotaExceeded)),
        Packet::PubRec(Ack::new(
            id(2),
            PubAckReasonCode::ImplementationSpecificError,
        )),
    ]);
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #3 dup a 3"]);
}

// [MQTT-4.3.3-6]
#[test]
fn after_pubrel_there_is_no_publish_however_often_the_connection_breaks() {
    for version in Version::ALL {
        let mut peer = Peer::connected(version, config());
        peer.publish(message(2, "a", "1"));
        peer.send(pubrec(1));
        assert_eq!(peer.said(), ["PUBLISH q2 #1 a 1", "PUBREL #1"]);
        for _ in 0..5 {
            peer.cut();
            peer.reconnect(version, version != Version::V3_1);
            assert_eq!(peer.said()[1..], ["PUBREL #1"]);
        }
        peer.send(pubcomp(1));
        assert_eq!(peer.session.in_flight(), 0);
        peer.cut();
        peer.reconnect(version, version != Version::V3_1);
        assert_eq!(peer.said().len(), 1);
    }
}

/// A clean session begins with nothing: neither what was received nor what was sent in the one
/// before.
// [MQTT-3.1.2-6]
#[test]
fn a_clean_session_knows_nothing_of_the_one_before() {
    let mut peer = Peer::connected(Version::V3_1_1, Config::default());
    peer.send(publish(2, 1, "a", "old"));
    peer.reported();
    peer.take(0);
    assert_eq!(peer.said(), ["PUBREC #1"]);
    peer.publish(message(2, "a", "1"));
    peer.send(pubrec(1));
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    assert_eq!(peer.said(), ["CONNECT 4 clean id=\"\""], "no PUBREL");
    peer.reported();
    peer.send(publish(2, 1, "a", "new"));
    assert_eq!(peer.reported(), ["message q2 a new"]);
}

// [MQTT-4.3.3-7]
#[test]
fn a_written_qos2_message_is_not_given_up_because_it_has_expired() {
    let mut peer = Peer::connected(Version::V5, config().keep_alive(0));
    peer.publish(expiring(2, "a", "1", 10));
    peer.wait(seconds(20));
    assert_eq!(peer.reported(), Vec::<String>::new());
    peer.cut();
    peer.wait(seconds(20));
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["PUBLISH q2 #1 dup a 1 expiry=1"]);
    peer.send(pubrec(1));
    peer.wait(seconds(20));
    peer.send(pubcomp(1));
    assert_eq!(peer.said(), ["PUBREL #1"]);
    assert_eq!(
        peer.reported(),
        ["connected, session present", "published 1: ok"]
    );
}

/// Found by the simulated world: the server had lost the session, the CONNACK that said so was lost
/// with its connection, and the next one said that the session was present: the one that the
/// unanswered CONNECT had begun, without subscriptions. Nothing would ever have come again.
#[test]
fn a_session_that_may_have_begun_unnoticed_gets_its_subscriptions_again() {
    for version in [Version::V3_1_1, Version::V5] {
        let config = named().clean_start(CleanStart::Never);
        let mut peer = Peer::connected(version, config);
        peer.subscribe("a", 1);
        peer.send(suback(1, &[SubAckReasonCode::GrantedQos1]));
        peer.cut();
        // No answer to this CONNECT.
        peer.open(version);
        peer.cut();
        peer.forget();
        peer.reconnect(version, true);
        let identifier = |packet: Packet| match packet {
            Packet::Subscribe(packet) => Some(packet.packet_identifier.get()),
            _ => None,
        };
        let again = peer
            .packets()
            .into_iter()
            .find_map(identifier)
            .expect("subscribes again");
        peer.send(suback(again, &[SubAckReasonCode::GrantedQos1]));
        // That CONNECT was answered: the next connection resumes as usual.
        peer.cut();
        peer.forget();
        peer.reconnect(version, true);
        assert_eq!(
            peer.packets().into_iter().find_map(identifier),
            None,
            "{version}"
        );
    }
}

/// The same: the new session uses the packet identifiers of the old one.
#[test]
fn a_message_of_a_session_that_began_unnoticed_is_delivered() {
    for version in [Version::V3_1_1, Version::V5] {
        let config = named().clean_start(CleanStart::Never);
        let mut peer = Peer::connected(version, config);
        peer.send_all(&[
            publish(2, 1, "a", "taken"),
            publish(2, 2, "a", "unhandled"),
            publish(2, 3, "a", "known"),
        ]);
        peer.reported();
        peer.take(0);
        peer.cut();
        // No answer to this CONNECT.
        peer.open(version);
        peer.cut();
        peer.reconnect(version, true);
        peer.forget();
        peer.send_all(&[
            publish(2, 1, "a", "new"),
            publish(2, 2, "a", "newer"),
            duplicate(2, 3, "a", "known"),
        ]);
        assert_eq!(peer.reported(), ["message q2 a new", "message q2 a newer"]);
        // The token of the message that had its identifier is inert, that of the one that came
        // again is not.
        peer.take(0);
        assert!(peer.said().is_empty());
        peer.take(0);
        peer.take(0);
        peer.take(0);
        assert_eq!(peer.said(), ["PUBREC #1", "PUBREC #2", "PUBREC #3"]);
        assert_eq!(peer.session.unhandled(), 0);
    }
}

/// A review found: 3.1 cannot say that the session is another one, and such a message was swallowed
/// there.
#[test]
fn a_message_of_a_new_session_is_delivered_in_3_1() {
    let mut peer = Peer::connected(Version::V3_1, named().clean_start(CleanStart::Never));
    peer.send_all(&[publish(2, 1, "a", "old"), publish(2, 2, "a", "known")]);
    peer.reported();
    peer.take(0);
    peer.take(0);
    peer.cut();
    peer.reconnect(Version::V3_1, false);
    peer.forget();
    peer.send_all(&[publish(2, 1, "a", "new"), duplicate(2, 2, "a", "known")]);
    assert_eq!(peer.reported(), ["message q2 a new"]);
}

/// Found by the simulated world: the application disconnected before the server had answered to the
/// subscriptions that were made again; the session stayed, and they were forgotten.
#[test]
fn subscriptions_that_are_being_made_again_outlive_a_disconnect() {
    for version in [Version::V3_1_1, Version::V5] {
        let config = named()
            .clean_start(CleanStart::Never)
            .session_expiry_interval(Some(100));
        let mut peer = Peer::connected(version, config);
        peer.subscribe("a", 1);
        peer.send(suback(1, &[SubAckReasonCode::GrantedQos1]));
        peer.cut();
        // The session is lost; the SUBSCRIBE that follows is lost with the connection.
        peer.reconnect(version, false);
        peer.session
            .disconnect(peer.now, DisconnectOptions::default());
        peer.cut();
        peer.forget();
        peer.reconnect(version, true);
        let again = peer
            .packets()
            .iter()
            .any(|packet| matches!(packet, Packet::Subscribe(_)));
        assert!(again, "{version}");
    }
}

/// A node that builds up its state anew with each connection had to begin clean by hand.
#[test]
fn every_connection_may_begin_a_new_session() {
    let mut peer = Peer::connected(Version::V5, named().clean_start(CleanStart::Every));
    peer.publish(message(1, "a", "in flight"));
    peer.forget();
    peer.cut();
    peer.open(Version::V5);
    let said = peer.packets();
    assert!(matches!(&said[..], [Packet::Connect(connect)] if connect.clean_start));
    // What was in flight goes on as a new message.
    peer.send(connack(false));
    assert_eq!(peer.said(), ["PUBLISH q1 #2 a in flight"]);
}

#[test]
fn subscriptions_may_be_left_to_the_application() {
    for resubscribe in [true, false] {
        let mut peer = Peer::connected(Version::V5, config().resubscribe(resubscribe));
        peer.subscribe("a", 1);
        peer.send(suback(1, &[SubAckReasonCode::GrantedQos1]));
        peer.forget();
        peer.cut();
        peer.reconnect(Version::V5, false);
        let again = peer.said().iter().any(|line| line.starts_with("SUBSCRIBE"));
        assert_eq!(again, resubscribe);
        // The application's own is sent either way.
        peer.subscribe("b", 1);
        assert!(peer.said().iter().any(|line| line.starts_with("SUBSCRIBE")));
    }
}
