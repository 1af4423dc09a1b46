//! MQTT 3.1.1 without a clean session: the server says that it has no session, and the client goes
//! on with its own.

use crate::driver::*;
use martlet_proto::{SubAckReasonCode, Version};
use martlet_session::CleanStart;
use martlet_session::{Config, LostSession};

fn config() -> Config {
    named().clean_start(CleanStart::Never)
}

const IN_DOUBT: &str = "in doubt: the server lost the session after the message was sent";

/// Brokers whose tests say "no session" to every client, and those that lose sessions and keep what
/// they know of identifiers, saw the message a second time: it came with a new identifier and
/// without DUP.
// [MQTT-4.4.0-1] [MQTT-3.3.1-1]
#[test]
fn qos1_is_sent_again_with_its_identifier_and_dup() {
    let mut peer = Peer::connected(Version::V3_1_1, config());
    for payload in ["1", "2", "3"] {
        peer.publish(message(1, "a", payload));
    }
    peer.send(puback(2));
    peer.blocked = true;
    peer.publish(message(1, "a", "4"));
    peer.cut();
    peer.blocked = false;
    peer.publish(message(1, "a", "5"));
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    assert_eq!(
        peer.said()[1..],
        [
            "PUBLISH q1 #1 dup a 1",
            "PUBLISH q1 #3 dup a 3",
            "PUBLISH q1 #4 a 4",
            "PUBLISH q1 #5 a 5"
        ]
    );
    peer.send_all(&[puback(1), puback(3), puback(4), puback(5)]);
    assert_eq!(peer.session.in_flight(), 0);
    // In MQTT 5 the session of the client ends with that of the server [MQTT-3.2.2-5].
    let mut peer = Peer::connected(Version::V5, config());
    peer.publish(message(1, "a", "1"));
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, false);
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #2 a 1"]);
}

/// By default a QoS 2 message does not arrive twice: what may have arrived fails, and what was
/// never sent is sent.
#[test]
fn qos2_that_may_have_arrived_is_in_doubt_by_default() {
    let mut peer = Peer::connected(Version::V3_1_1, config());
    peer.publish(message(2, "a", "1"));
    peer.publish(message(2, "a", "2"));
    peer.send(pubrec(1));
    peer.blocked = true;
    peer.publish(message(2, "a", "3"));
    peer.publish(message(1, "a", "4"));
    peer.cut();
    peer.blocked = false;
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    assert_eq!(peer.said()[1..], ["PUBLISH q2 #3 a 3", "PUBLISH q1 #4 a 4"]);
    let in_doubt = |n| format!("published {n}: {IN_DOUBT}");
    assert_eq!(
        peer.reported(),
        [in_doubt(1), in_doubt(2), "connected".into()]
    );
}

/// The setting that ends the deviation: PUBLISH with DUP for what was not received, PUBREL for what
/// was.
// [MQTT-4.4.0-1] [MQTT-4.3.3-1]
#[test]
fn qos2_is_sent_again_as_mqtt_has_it_if_so_chosen() {
    let chosen = config().lost_qos2(LostSession::Requeue);
    let mut peer = Peer::connected(Version::V3_1_1, chosen);
    for payload in ["1", "2", "3"] {
        peer.publish(message(2, "a", payload));
    }
    peer.send_all(&[pubrec(3), pubrec(1)]);
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    assert_eq!(
        peer.said()[1..],
        ["PUBREL #3", "PUBREL #1", "PUBLISH q2 #2 dup a 2"]
    );
    peer.send_all(&[pubcomp(3), pubcomp(1), pubrec(2), pubcomp(2)]);
    assert_eq!(
        peer.reported(),
        [
            "connected",
            "published 3: ok",
            "published 1: ok",
            "published 2: ok"
        ]
    );
    assert_eq!(peer.session.in_flight(), 0);
}

#[test]
fn qos1_is_in_doubt_if_so_chosen() {
    let chosen = config().lost_qos1(LostSession::InDoubt);
    let mut peer = Peer::connected(Version::V3_1_1, chosen);
    peer.publish(message(1, "a", "1"));
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    assert_eq!(peer.said().len(), 1);
    assert_eq!(
        peer.reported(),
        [format!("published 1: {IN_DOUBT}"), "connected".into()]
    );
}

/// The acknowledgement side. A server that says "no session" and sends a QoS 2 message again, with
/// DUP, meant the same message: it was delivered twice. Without DUP the identifier stands for
/// another message.
// [MQTT-4.4.0-1] [MQTT-4.3.3-2]
#[test]
fn a_copy_with_dup_is_known_and_what_is_new_is_delivered() {
    let mut peer = Peer::connected(Version::V3_1_1, config());
    for n in 1..=3 {
        peer.send(publish(2, n, "a", &n.to_string()));
    }
    peer.send(publish(2, 4, "a", "not taken"));
    peer.reported();
    (0..3).for_each(|_| peer.take(0));
    assert_eq!(peer.said(), ["PUBREC #1", "PUBREC #2", "PUBREC #3"]);
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    // Nothing is acknowledged that this connection was not sent.
    assert_eq!(peer.said().len(), 1);
    peer.reported();
    peer.send_all(&[
        duplicate(2, 1, "a", "1"),
        publish(2, 2, "a", "new"),
        pubrel(3),
    ]);
    assert_eq!(peer.reported(), ["message q2 a new"]);
    assert_eq!(peer.said(), ["PUBREC #1", "PUBCOMP #3"]);
    peer.send(pubrel(1));
    assert_eq!(peer.said(), ["PUBCOMP #1"]);
    // The one that was not taken, too: its own copy acknowledges it.
    peer.send(duplicate(2, 4, "a", "not taken"));
    assert!(peer.reported().is_empty());
    peer.take(0);
    peer.take(0);
    // In the order in which this connection brought them.
    assert_eq!(peer.said(), ["PUBREC #2", "PUBREC #4"]);
}

/// The new session of the server sends a message whose first copy is lost with the connection: with
/// DUP it comes on the next one, under an identifier that an older session has used. It is not
/// taken for a copy.
#[test]
fn doubts_end_with_the_connection() {
    let mut peer = Peer::connected(Version::V3_1_1, config());
    peer.send_all(&[
        publish(2, 1, "a", "old"),
        publish(1, 1, "a", "older"),
        publish(2, 2, "a", "known"),
    ]);
    peer.reported();
    peer.take(0);
    peer.cut();
    peer.reconnect(Version::V3_1_1, false);
    peer.send(duplicate(2, 2, "a", "known"));
    peer.cut();
    peer.reconnect(Version::V3_1_1, true);
    peer.forget();
    let again = [
        duplicate(2, 1, "a", "new"),
        duplicate(1, 1, "a", "newer"),
        duplicate(2, 2, "a", "known"),
    ];
    peer.send_all(&again);
    assert_eq!(peer.reported(), ["message q2 a new", "message q1 a newer"]);
    assert!(
        !peer.session.poll_superseded(),
        "the older message is still to be taken"
    );
}

/// The same through a store: flows belong to the server's new session, whenever the process dies.
#[test]
fn a_stored_session_goes_on_without_the_server_s() {
    let mut is_lost = false;
    for stored in 0..12 {
        let mut peer = connected(Version::V3_1_1, durable());
        peer.publish(message(1, "a", "1"));
        peer.publish(message(2, "a", "2"));
        peer.publish(message(1, "a", "3"));
        peer.store_all();
        peer.cut();
        peer.store_all();
        peer.forget();
        peer.reconnect(Version::V3_1_1, false);
        peer.store(stored);
        if stored == 11 {
            peer.store_all();
            assert_eq!(
                peer.said()[1..],
                ["PUBLISH q1 #1 dup a 1", "PUBLISH q1 #3 dup a 3"]
            );
        }
        peer.crash(durable());
        peer.reconnect(Version::V3_1_1, true);
        peer.store_all();
        let said = peer.said();
        let payloads: Vec<_> = said
            .iter()
            .filter(|line| line.starts_with("PUBLISH"))
            .filter_map(|line| line.rsplit(' ').next())
            .collect();
        // Before the loss is stored all go on; from then on, the one in doubt does not.
        is_lost |= payloads == ["1", "3"];
        assert!(is_lost || payloads == ["1", "2", "3"], "{stored}: {said:?}");
        assert!(!is_lost || payloads == ["1", "3"], "{stored}: {said:?}");
    }
    assert!(is_lost, "the loss is stored in the end");
}

/// Subscriptions are made again, as after each loss.
#[test]
fn subscriptions_are_made_again() {
    let mut peer = Peer::connected(Version::V3_1_1, config());
    peer.subscribe("b", 1);
    peer.send(suback(1, &[SubAckReasonCode::GrantedQos1]));
    peer.publish(message(1, "a", "1"));
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V3_1_1, false);
    let said = peer.said();
    assert!(
        said[1].starts_with("SUBSCRIBE") && said[2] == "PUBLISH q1 #2 dup a 1",
        "{said:?}"
    );
}
