//! What a server says in CONNACK and DISCONNECT is held against what it was asked, and what it says
//! beside that is bounded.

use crate::driver::*;
use martlet_proto::*;
use martlet_session::{Config, ConnectionError, Event};

fn connected_with(
    config: Config,
    change: impl FnOnce(&mut ConnAckProperties),
) -> (Peer, ConnAckProperties) {
    let mut peer = Peer::new(config);
    peer.open(Version::V5);
    peer.forget();
    let mut accepted = connack(false);
    change(&mut accepted.properties);
    peer.send(accepted);
    let connack = peer.events().into_iter().find_map(|event| match event {
        Event::Connected(connected) => Some(connected.connack),
        _ => None,
    });
    let properties = connack.expect("it is connected").properties;
    (peer, properties)
}

/// An Assigned Client Identifier for a CONNECT that had one renamed the client, on every server,
/// and its store was then that of another client for ever.
#[test]
fn nobody_renames_a_client_that_has_a_name() {
    let (mut peer, properties) = connected_with(durable(), |properties| {
        properties.assigned_client_identifier = Some(words("another"));
    });
    assert_eq!(properties.assigned_client_identifier, None);
    assert_eq!(peer.session.client_identifier().as_str(), "me");
    assert_eq!(peer.session.counters().unasked_answers, 1);
    peer.store_all();
    let restored = peer.crash(durable());
    assert!(restored.quarantined.is_empty());
    peer.open(Version::V5);
    assert!(peer.said()[0].contains("id=\"me\""));
}

/// The first one is an answer. With it the client has a name, which the next server does not change
/// either.
#[test]
fn an_identifier_is_assigned_once() {
    let assign = |identifier: &'static str| {
        let mut accepted = connack(false);
        accepted.properties.assigned_client_identifier = Some(words(identifier));
        accepted
    };
    let mut peer = Peer::new(Config::default());
    for (identifier, name, unasked) in [
        ("", "", 1),
        ("one", "one", 1),
        ("two", "one", 2),
        ("", "one", 3),
    ] {
        peer.open(Version::V5);
        peer.send(assign(identifier));
        assert_eq!(peer.session.client_identifier().as_str(), name);
        assert_eq!(peer.session.counters().unasked_answers, unasked);
        peer.cut();
    }
    // Nor does one in a rejection.
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    peer.send(ConnAck {
        reason: ConnectReasonCode::ServerBusy,
        ..assign("three")
    });
    assert_eq!(peer.session.client_identifier().as_str(), "");
}

// [MQTT-3.1.2-28]
#[test]
fn response_information_counts_where_it_was_asked_for() {
    for asked in [false, true] {
        let config = named().request_response_information(asked);
        let (peer, properties) = connected_with(config, |properties| {
            properties.response_information = Some(words("responses"));
        });
        assert_eq!(properties.response_information.is_some(), asked);
        assert_eq!(peer.session.counters().unasked_answers, u64::from(!asked));
    }
}

/// A server reference belongs to the reason codes that send the client elsewhere (MQTT 5 §4.11).
#[test]
fn a_server_reference_counts_with_the_reasons_that_send_elsewhere() {
    let reference = || Some(words("evil.example"));
    let (peer, properties) = connected_with(named(), |properties| {
        properties.server_reference = reference();
    });
    assert_eq!(
        (
            properties.server_reference,
            peer.session.counters().unasked_answers
        ),
        (None, 1)
    );

    use ConnectReasonCode as Rejected;
    for (reason, counts) in [
        (Rejected::ServerBusy, false),
        (Rejected::UseAnotherServer, true),
        (Rejected::ServerMoved, true),
    ] {
        let mut peer = Peer::new(named());
        peer.open(Version::V5);
        let mut rejected = ConnAck::new(reason);
        rejected.properties.server_reference = reference();
        peer.send(rejected);
        assert!(
            matches!(peer.close, Some(ConnectionError::Rejected(_))),
            "{:?}",
            peer.close
        );
        assert_eq!(peer.session.counters().unasked_answers, u64::from(!counts));
    }
    use DisconnectReasonCode as Gone;
    for (reason, counts) in [
        (Gone::ServerShuttingDown, false),
        (Gone::UseAnotherServer, true),
        (Gone::ServerMoved, true),
    ] {
        let mut peer = Peer::connected(Version::V5, named());
        peer.send(Disconnect {
            server_reference: reference(),
            ..Disconnect::new(reason)
        });
        assert!(
            matches!(peer.close, Some(ConnectionError::DisconnectedByPeer(_))),
            "{:?}",
            peer.close
        );
        assert_eq!(peer.session.counters().unasked_answers, u64::from(!counts));
    }
}

/// One publisher's empty Response Topic cut off all subscribers that a server passed it on to.
#[test]
fn an_empty_response_topic_is_counted_and_taken_as_none() {
    let mut peer = Peer::connected(Version::V5, named());
    peer.reported();
    peer.send_bytes(b"\x30\x09\0\x01a\x03\x08\0\0hi");
    assert_eq!(
        (peer.reported(), peer.close.take()),
        (vec!["message q0 a hi".to_owned()], None)
    );
    let [message] = &peer.messages[..] else {
        panic!("a message")
    };
    assert_eq!(
        (
            message.properties().response_topic(),
            message.publish.payload()
        ),
        (None, &b"hi"[..])
    );
    assert_eq!(peer.session.counters().empty_response_topics, 1);
}

fn many() -> UserProperties {
    (0..300).map(|_| (words("name"), words("value"))).collect()
}

/// What a server explains is kept up to a bound, in all that waits to be read. What does not fit is
/// left out and counted; what is read makes room.
#[test]
#[cfg_attr(miri, ignore = "too slow: hundreds of properties in each packet")]
fn diagnostics_are_bounded() {
    let size = many().size();
    let config = named().diagnostics(u32::try_from(2 * size).expect("small"));
    let mut peer = Peer::connected(Version::V5, config);
    peer.reported();
    for round in 1..=2 {
        peer.forget();
        for _ in 0..4 {
            peer.publish(message(1, "a", ""));
        }
        for packet in peer.packets() {
            let Packet::Publish(publish) = packet else {
                panic!("{packet:?}")
            };
            let id = publish.delivery().packet_identifier().expect("QoS 1");
            let properties = AckProperties {
                reason_string: None,
                user_properties: many(),
            };
            let ack = Ack::new(id, PubAckReasonCode::QuotaExceeded).with_properties(properties);
            let mut wire = bytes::BytesMut::new();
            Packet::PubAck(ack)
                .encode(Version::V5, &mut wire)
                .expect("a PUBACK");
            // Nobody reads the events.
            peer.session.handle_input(peer.now, &mut wire);
        }
        let mut sizes = Vec::new();
        while let Some(event) = peer.session.poll_event() {
            if let Event::Published {
                result: Err(error), ..
            } = event
            {
                let martlet_session::PublishError::Rejected {
                    details: Some(details),
                    ..
                } = error
                else {
                    panic!("{error}")
                };
                sizes.push(details.size());
            }
        }
        assert_eq!(sizes, [size, size, 0, 0]);
        assert_eq!(peer.session.counters().diagnostics_left_out, round * 2);
    }
}

/// The reason string comes first: it says most in the fewest bytes.
#[test]
fn one_answer_alone_does_not_exceed_the_bound() {
    let config = named().diagnostics(100);
    let mut peer = Peer::connected(Version::V5, config.clone());
    let mut disconnect = Disconnect::new(DisconnectReasonCode::ServerBusy);
    disconnect.reason_string = Some(words("busy"));
    disconnect.user_properties = many();
    peer.send(disconnect);
    let Some(ConnectionError::DisconnectedByPeer(disconnect)) = &peer.close else {
        panic!("{:?}", peer.close)
    };
    assert_eq!(disconnect.reason_string, Some(words("busy")));
    assert!(disconnect.user_properties.is_empty());
    assert_eq!(peer.session.counters().diagnostics_left_out, 1);
    let (peer, properties) = connected_with(config, |properties| {
        properties.reason_string = Some(words(&"x".repeat(101)));
        properties.user_properties = [(words("a"), words("b"))].into();
    });
    assert_eq!(
        (properties.reason_string, properties.user_properties.len()),
        (None, 1)
    );
    assert_eq!(peer.session.counters().diagnostics_left_out, 1);
}
