//! The end of a connection: drained, at once, with the will, from either side.

use crate::driver::*;
use martlet_proto::{Disconnect, DisconnectReasonCode, Packet, Version};
use martlet_session::{Config, ConnectionError, DisconnectOptions, Misbehaviour, PublishError};

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn disconnect_is_the_last_packet() {
    for (version, line) in [
        (Version::V3_1, "DISCONNECT 0x00"),
        (Version::V3_1_1, "DISCONNECT 0x00"),
        (Version::V5, "DISCONNECT 0x00 expiry=0"),
    ] {
        let mut peer = Peer::connected(version, named());
        peer.send(publish(1, 1, "a", ""));
        peer.reported();
        peer.disconnect(seconds(0));
        assert_eq!(peer.said(), [line]);
        assert_eq!(peer.close, Some(ConnectionError::ClosedHere));
        // Nothing leaves after it, whatever happens.
        peer.take(0);
        peer.send(publish(2, 2, "a", ""));
        peer.wait(seconds(100));
        assert!(
            peer.session.publish(peer.now, message(0, "a", ""))
                == Err(PublishError::Closed(ConnectionError::ClosedHere))
        );
        peer.drain();
        assert_eq!((peer.said(), peer.reported()), (nothing(), nothing()));
        peer.close();
        assert_eq!(peer.reported(), ["disconnected: disconnected as asked"]);
        assert_eq!(peer.session.poll_timeout(), None);
    }
}

/// In other clients DISCONNECT overtakes what is queued.
#[test]
fn what_was_accepted_is_acknowledged_before_disconnect() {
    let mut peer = Peer::connected(Version::V5, window(1));
    for payload in ["1", "2"] {
        peer.publish(message(2, "a", payload));
    }
    peer.subscribe("b", 0);
    peer.disconnect(seconds(10));
    assert_eq!(
        peer.session.publish(peer.now, message(0, "a", "")),
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
    peer.send_all(&[pubrec(1), pubcomp(1)]);
    peer.send(suback(2, &[martlet_proto::SubAckReasonCode::GrantedQos0]));
    peer.send(pubrec(3));
    // Still listening, and acknowledging.
    peer.send(publish(1, 9, "c", "late"));
    peer.reported();
    peer.take(0);
    assert!(peer.close.is_none());
    peer.send(pubcomp(3));
    assert_eq!(
        peer.said(),
        [
            "PUBLISH q2 #1 a 1",
            "SUBSCRIBE #2 b:0",
            "PUBREL #1",
            "PUBLISH q2 #3 a 2",
            "PUBREL #3",
            "PUBACK #9",
            "DISCONNECT 0x00 expiry=0"
        ]
    );
    assert_eq!(peer.close, Some(ConnectionError::ClosedHere));
}

#[test]
fn a_drain_has_a_deadline() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.publish(message(1, "a", "1"));
    peer.publish(message(2, "a", "2"));
    peer.forget();
    peer.disconnect(seconds(10));
    peer.wait(millis(9_999));
    assert_eq!((peer.said(), peer.reported()), (nothing(), nothing()));
    peer.wait(millis(1));
    assert_eq!(peer.said(), ["DISCONNECT 0x00 expiry=0"]);
    assert_eq!(
        peer.reported(),
        [
            "published 1: the client has stopped: disconnected as asked",
            "published 2: the client has stopped: disconnected as asked",
            "unacknowledged: 2 in flight, 0 queued"
        ]
    );
}

#[test]
fn a_drain_ends_though_the_socket_takes_nothing() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.blocked = true;
    peer.publish(message(0, "a", &"x".repeat(70_000)));
    peer.publish(message(0, "a", "queued"));
    peer.disconnect(seconds(10));
    peer.wait(seconds(10));
    assert_eq!(peer.close, Some(ConnectionError::ClosedHere));
    assert_eq!(
        peer.reported(),
        [
            "published 2: the client has stopped: disconnected as asked",
            "unacknowledged: 0 in flight, 1 queued"
        ]
    );
}

#[test]
fn qos0_in_the_queue_leaves_before_disconnect() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.blocked = true;
    peer.publish(message(0, "a", &"x".repeat(70_000)));
    peer.publish(message(0, "a", "queued"));
    peer.disconnect(seconds(10));
    peer.unblock();
    assert_eq!(
        peer.said(),
        [
            "PUBLISH q0 a 70000 bytes",
            "PUBLISH q0 a queued",
            "DISCONNECT 0x00 expiry=0"
        ]
    );
}

/// A connection that broke while the client was disconnecting took with it what another could have
/// acknowledged.
#[test]
fn a_drain_goes_on_with_the_next_connection() {
    let mut peer = Peer::connected(Version::V5, window(1));
    peer.publish(message(1, "a", "1"));
    peer.publish(message(2, "a", "2"));
    peer.subscribe("b", 0);
    peer.disconnect(seconds(10));
    peer.forget();
    peer.wait(seconds(3));
    peer.cut();
    assert_eq!(
        peer.reported(),
        [
            "subscribed 3: the client has stopped: disconnected as asked",
            "disconnected: the server closed the connection"
        ]
    );
    assert!(peer.session.wants_connection() && peer.session.is_ended());
    assert_eq!(
        peer.session.publish(peer.now, message(0, "a", "")),
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
    peer.wait(seconds(3));
    peer.reconnect(Version::V5, true);
    assert!(!peer.session.is_connected());
    assert_eq!(
        peer.session.publish(peer.now, message(0, "a", "")),
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #1 dup a 1"]);
    peer.send(puback(1));
    peer.send_all(&[pubrec(3), pubcomp(3)]);
    assert_eq!(
        peer.said(),
        ["PUBLISH q2 #3 a 2", "PUBREL #3", "DISCONNECT 0x00 expiry=0"]
    );
    assert_eq!(
        peer.reported(),
        [
            "connected, session present",
            "published 1: ok",
            "published 2: ok"
        ]
    );
    peer.close();
    assert!(!peer.session.wants_connection());
    assert_eq!(peer.session.poll_timeout(), None);
}

#[test]
fn the_deadline_of_a_drain_holds_without_a_connection_too() {
    for reopened in [false, true] {
        let mut peer = Peer::connected(Version::V5, window(1));
        peer.publish(message(1, "a", "1"));
        peer.publish(message(1, "a", "2"));
        peer.disconnect(seconds(10));
        peer.cut();
        peer.forget();
        peer.wait(seconds(5));
        if reopened {
            peer.open(Version::V5);
            peer.said();
        }
        peer.wait(millis(4_999));
        assert_eq!(peer.reported(), nothing());
        peer.wait(millis(1));
        assert!(!peer.session.wants_connection());
        assert_eq!(
            peer.reported(),
            [
                "published 1: the client has stopped: disconnected as asked",
                "published 2: the client has stopped: disconnected as asked",
                "unacknowledged: 1 in flight, 1 queued"
            ]
        );
        // A server that may have the CONNECT hears goodbye.
        assert_eq!(
            peer.said(),
            if reopened {
                vec!["DISCONNECT 0x00 expiry=0"]
            } else {
                vec![]
            }
        );
        assert_eq!(peer.close.is_some(), reopened);
    }
}

/// Subscriptions whose messages nobody would read are not made.
#[test]
fn a_drain_restores_no_subscriptions() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.subscribe("b", 0);
    peer.send(suback(1, &[martlet_proto::SubAckReasonCode::GrantedQos0]));
    peer.publish(message(1, "a", "1"));
    peer.disconnect(seconds(10));
    peer.cut();
    peer.forget();
    peer.reconnect(Version::V5, false);
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #3 a 1"]);
    peer.send(puback(3));
    assert_eq!(peer.said(), ["DISCONNECT 0x00 expiry=0"]);
    // They are when the session goes on after all.
    peer.close();
    peer.reconnect(Version::V5, false);
    assert_eq!(peer.said()[1..], ["SUBSCRIBE #4 b:0"]);
}

/// What is left of a drain is not waited for when it runs out of messages.
#[test]
fn a_drain_without_a_connection_ends_when_the_last_message_expires() {
    let mut peer = Peer::new(Config::default());
    peer.publish(expiring(1, "a", "1", 3));
    peer.disconnect(seconds(10));
    peer.wait(seconds(3));
    assert_eq!(
        peer.reported(),
        ["published 1: the message expired before it could be sent"]
    );
    assert!(!peer.session.wants_connection());
}

#[test]
fn the_will_is_published_when_that_is_asked_for() {
    let options =
        DisconnectOptions::default().reason(DisconnectReasonCode::DisconnectWithWillMessage);
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.disconnect_with(options.clone());
    assert_eq!(peer.said(), ["DISCONNECT 0x04 expiry=0"]);
    // 3.x has no such DISCONNECT: closing without one does it.
    let mut peer = Peer::connected(Version::V3_1_1, Config::default());
    peer.disconnect_with(options);
    assert_eq!(peer.said(), nothing());
    assert_eq!(peer.close, Some(ConnectionError::ClosedHere));
}

#[test]
fn the_session_expiry_is_said_where_it_changes() {
    for (configured, asked, said) in [
        (None, None, "DISCONNECT 0x00 expiry=0"),
        (None, Some(60), "DISCONNECT 0x00 expiry=60"),
        (Some(60), None, "DISCONNECT 0x00"),
        (Some(60), Some(0), "DISCONNECT 0x00 expiry=0"),
        // Zero cannot become more than zero: a protocol error.
        (Some(0), Some(60), "DISCONNECT 0x00"),
    ] {
        let config = Config::default().session_expiry_interval(configured);
        let mut peer = Peer::connected(Version::V5, config);
        peer.disconnect_with(DisconnectOptions::default().session_expiry_interval(asked));
        assert_eq!(peer.said(), [said]);
    }
}

/// The server may keep the session for another time than the CONNECT asked for: what the
/// application asks for at the end was left out where it was the same as in CONNECT.
#[test]
fn the_session_expiry_is_sent_where_the_server_has_set_another() {
    for (given, asked, said) in [
        (Some(10), Some(60), "DISCONNECT 0x00 expiry=60"),
        // Without one it is that of CONNECT (§3.14.2.2.2).
        (Some(10), Some(10), "DISCONNECT 0x00 expiry=10"),
        (Some(10), None, "DISCONNECT 0x00"),
        (None, Some(60), "DISCONNECT 0x00"),
    ] {
        let mut peer = Peer::new(Config::default().session_expiry_interval(60));
        peer.open(Version::V5);
        let mut accepted = connack(false);
        accepted.properties.session_expiry_interval = given;
        peer.send(accepted);
        peer.forget();
        peer.disconnect_with(DisconnectOptions::default().session_expiry_interval(asked));
        assert_eq!(peer.said(), [said]);
    }
}

#[test]
fn words_that_the_server_does_not_take_are_left_out() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    let mut accepted = connack(false);
    accepted.properties.maximum_packet_size = std::num::NonZeroU32::new(20);
    peer.send(accepted);
    peer.said();
    let reason_string = Some(words("a reason that is too long for this server"));
    peer.disconnect_with(DisconnectOptions::default().reason_string(reason_string));
    assert!(peer.wire.len() > 20);
    assert_eq!(peer.said(), ["DISCONNECT 0x00 expiry=0"]);
    assert!(peer.wire.ends_with(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]));
}

#[test]
fn without_a_connection_and_without_a_drain_everything_ends_at_once() {
    let mut peer = Peer::new(Config::default());
    peer.publish(message(1, "a", "1"));
    peer.subscribe("a", 0);
    peer.disconnect(seconds(0));
    assert_eq!(
        peer.reported(),
        [
            "subscribed 2: the client has stopped: disconnected as asked",
            "published 1: the client has stopped: disconnected as asked",
            "unacknowledged: 0 in flight, 1 queued"
        ]
    );
    assert_eq!(peer.session.queued(), 0);
}

/// Closing without a word after CONNECT had left made the server publish the will.
#[test]
fn a_disconnect_while_connecting_says_goodbye_if_the_server_may_have_the_connect() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    peer.said();
    peer.disconnect(seconds(10));
    assert_eq!(peer.said(), ["DISCONNECT 0x00 expiry=0"]);
    assert_eq!(peer.close, Some(ConnectionError::ClosedHere));

    let mut peer = Peer::new(Config::default());
    peer.blocked = true;
    peer.open(Version::V5);
    peer.disconnect(seconds(10));
    peer.unblock();
    assert_eq!(peer.said(), nothing(), "not even CONNECT");
    assert_eq!(peer.close, Some(ConnectionError::ClosedHere));
}

#[test]
fn a_second_disconnect_does_nothing() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.disconnect(seconds(0));
    peer.disconnect(seconds(0));
    assert_eq!(peer.said(), ["DISCONNECT 0x00 expiry=0"]);
    peer.close();
    peer.disconnect(seconds(0));
    assert_eq!(peer.reported(), ["disconnected: disconnected as asked"]);
}

/// What the server still has in flight belongs to the session, not to who waited for it.
#[test]
fn a_session_can_be_opened_again_after_its_end() {
    let mut peer = Peer::connected(
        Version::V5,
        Config::default().session_expiry_interval(Some(60)),
    );
    peer.publish(message(2, "a", "1"));
    peer.disconnect(seconds(0));
    peer.close();
    peer.forget();
    peer.reconnect(Version::V5, true);
    assert_eq!(peer.said()[1..], ["PUBLISH q2 #1 dup a 1"]);
    peer.send_all(&[pubrec(1), pubcomp(1)]);
    peer.publish(message(1, "a", "2"));
    peer.send(puback(2));
    assert_eq!(
        peer.reported(),
        ["connected, session present", "published 2: ok"]
    );
}

#[test]
fn the_server_s_disconnect_is_told() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    let mut disconnect = Disconnect::new(DisconnectReasonCode::ServerMoved);
    disconnect.server_reference = Some(words("there"));
    disconnect.reason_string = Some(words("moved"));
    peer.send(disconnect);
    let Some(ConnectionError::DisconnectedByPeer(disconnect)) = &peer.close else {
        panic!("{:?}", peer.close)
    };
    assert_eq!(disconnect.server_reference, Some(words("there")));
    assert_eq!(peer.said(), nothing());
    peer.close();
    assert_eq!(
        peer.reported(),
        ["disconnected: the server disconnected: server moved (0x9D): \"moved\""]
    );
}

#[test]
fn a_session_expiry_in_the_server_s_disconnect_is_a_protocol_error() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    let mut disconnect = Disconnect::new(DisconnectReasonCode::ServerShuttingDown);
    disconnect.session_expiry_interval = Some(1);
    peer.send(Packet::from(disconnect));
    assert_eq!(
        peer.close,
        Some(ConnectionError::PeerMisbehaved(
            Misbehaviour::SessionExpiryInDisconnect
        ))
    );
    assert_eq!(peer.said(), ["DISCONNECT 0x82"]);
}

#[test]
fn the_session_s_own_reason_is_told_not_that_of_the_socket() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.send_bytes(&[0x00, 0x00]);
    peer.cut();
    let reported = peer.reported();
    assert!(
        reported[0]
            .starts_with("disconnected: the server sent bytes that are not MQTT: malformed packet"),
        "{reported:?}"
    );
}

/// A second `disconnect()` in more of a hurry used to wait as long as the first had allowed.
#[test]
fn a_second_disconnect_can_shorten_the_drain() {
    let mut peer = Peer::connected(Version::V5, named());
    peer.publish(message(1, "a", "never acknowledged"));
    peer.disconnect(seconds(60));
    assert!(peer.close.is_none());
    peer.disconnect(seconds(90));
    peer.wait(seconds(1));
    assert!(peer.close.is_none());
    peer.disconnect(seconds(0));
    assert_eq!(peer.close, Some(ConnectionError::ClosedHere));
}

/// Even the expiry is left out where the server takes only the shortest packets.
// [MQTT-3.2.2-15] [MQTT-3.14.2-3] [MQTT-3.14.2-4]
#[test]
fn a_disconnect_is_never_larger_than_the_server_takes() {
    for (limit, by_name) in (2..40).flat_map(|limit| [(limit, false), (limit, true)]) {
        let mut peer = Peer::new(Config::default());
        peer.open(Version::V5);
        let mut accepted = connack(false);
        accepted.properties.maximum_packet_size = std::num::NonZeroU32::new(limit);
        peer.send(accepted);
        peer.said();
        peer.disconnect_with(
            DisconnectOptions::default()
                .reason(DisconnectReasonCode::DisconnectWithWillMessage)
                .reason_string(by_name.then(|| words("disconnect")))
                .user_properties([(words("name"), words("value"))].into()),
        );
        let packets = peer.packets();
        assert!(
            packets
                .iter()
                .all(|p| p.encoded_len(Version::V5) <= limit as usize),
            "{limit}: {packets:?}"
        );
        assert_eq!(peer.close, Some(ConnectionError::ClosedHere));
    }
}
