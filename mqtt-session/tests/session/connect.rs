//! CONNECT and CONNACK.

use crate::driver::*;
use martlet_proto::{
    BinaryData, ConnAck, ConnAckProperties, ConnectProperties, ConnectReasonCode, EncodeError,
    Packet, PublishProperties, Version, Will,
};
use martlet_session::{
    Awaited, CleanStart, Config, ConnectOptions, ConnectionError, Event, InboundLimits, Instant,
    Limits, Misbehaviour, Session,
};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

fn resuming() -> Config {
    named().clean_start(CleanStart::Never)
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn each_version_connects() {
    for (version, connect) in [
        (Version::V3_1, "CONNECT 3 clean id=\"me\""),
        (Version::V3_1_1, "CONNECT 4 clean id=\"me\""),
        (Version::V5, "CONNECT 5 clean id=\"me\" expiry=3600"),
    ] {
        for chunking in [Chunking::Whole, Chunking::Bytes] {
            let mut peer = Peer::new(named());
            peer.chunking = chunking;
            peer.open(version);
            assert_eq!(peer.said(), [connect]);
            assert!(!peer.session.is_connected());
            peer.send(connack(false));
            assert_eq!(peer.reported(), ["connected"]);
            assert!(peer.session.is_connected());
        }
    }
}

#[test]
fn a_clean_start_governs_the_first_connect_in_5_and_each_in_3x() {
    for (version, second) in [
        (Version::V5, "CONNECT 5 resume id=\"me\" expiry=3600"),
        (Version::V3_1_1, "CONNECT 4 clean id=\"me\""),
    ] {
        let mut peer = Peer::new(named());
        peer.open(version);
        peer.cut();
        peer.said();
        // No CONNACK yet: this is still the first.
        peer.open(version);
        assert!(peer.said()[0].contains("clean"));
        peer.send(connack(false));
        peer.cut();
        peer.open(version);
        assert_eq!(peer.said(), [second]);
    }
}

#[test]
fn what_a_connect_says_is_decided_for_each_connection() {
    let mut peer = Peer::new(named());
    let will = Will {
        delay_interval: Some(5),
        properties: PublishProperties::builder()
            .message_expiry_interval(7)
            .build(),
        ..Will::new("gone", "bye").expect("short")
    };
    let options = ConnectOptions::new(Version::V5)
        .user_name(Some(words("u")))
        .password(Some(BinaryData::new("p").expect("short")))
        .will(will)
        .user_properties([(words("k"), words("v"))].into());
    peer.open_with(Version::V5, options.clone());
    let Some(Packet::Connect(connect)) = peer.packets().pop() else {
        panic!("a CONNECT")
    };
    assert_eq!(connect.user_name, Some(words("u")));
    assert_eq!(connect.will.and_then(|will| will.delay_interval), Some(5));
    assert_eq!(connect.properties.user_properties.len(), 1);
    assert_eq!(peer.session.counters().left_out_in_3x, 0);
    assert!(
        !format!("{options:?}").contains("\"p\""),
        "secrets are not for logs"
    );
    peer.cut();
    // What has no spelling in 3.x is left out and counted.
    peer.open_with(Version::V3_1_1, options);
    let Some(Packet::Connect(connect)) = peer.packets().pop() else {
        panic!("a CONNECT")
    };
    assert_eq!(connect.will.and_then(|will| will.delay_interval), None);
    assert_eq!(peer.session.counters().left_out_in_3x, 2);
}

#[test]
fn a_connect_of_mqtt_5_says_what_is_configured() {
    let said = |config| {
        let mut peer = Peer::new(config);
        peer.open(Version::V5);
        let Some(Packet::Connect(connect)) = peer.packets().pop() else {
            panic!("a CONNECT")
        };
        (connect.keep_alive, connect.properties)
    };
    let properties = ConnectProperties {
        receive_maximum: NonZeroU16::new(1024),
        maximum_packet_size: NonZeroU32::new(16 * 1024 * 1024),
        topic_alias_maximum: Some(16),
        ..ConnectProperties::default()
    };
    assert_eq!(
        said(named().session_expiry_interval(Some(0))),
        (60, properties)
    );
    let config = named()
        .keep_alive(9)
        .session_expiry_interval(Some(100))
        .inbound(InboundLimits::default().receive_maximum(1))
        .maximum_packet_size(1000)
        .topic_alias_maximum(0)
        .request_response_information(true);
    let properties = ConnectProperties {
        session_expiry_interval: Some(100),
        receive_maximum: NonZeroU16::new(1),
        maximum_packet_size: NonZeroU32::new(1000),
        request_response_information: Some(true),
        ..ConnectProperties::default()
    };
    assert_eq!(said(config), (9, properties));
}

#[test]
fn what_cannot_be_said_in_the_version_ends_at_once() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V3_1);
    assert!(matches!(
        peer.close,
        Some(ConnectionError::CannotConnect {
            version: Version::V3_1,
            what: EncodeError::ClientIdentifier { .. }
        })
    ));
    assert_eq!(peer.said(), nothing());
    peer.close();
    assert_eq!(peer.reported().len(), 1);
}

#[test]
fn a_rejection_is_told_with_its_code() {
    for &reason in ConnectReasonCode::ALL
        .iter()
        .filter(|reason| reason.is_error())
    {
        let mut peer = Peer::new(Config::default());
        peer.open(Version::V5);
        peer.said();
        let mut connack = ConnAck::new(reason);
        connack.properties.reason_string = Some(words("no"));
        connack.properties.server_reference = Some(words("elsewhere"));
        peer.send(connack);
        let Some(ConnectionError::Rejected(rejection)) = &peer.close else {
            panic!("{:?}", peer.close)
        };
        assert_eq!(rejection.reason, reason);
        assert_eq!(rejection.server_reference, Some(words("elsewhere")));
        assert_eq!(peer.said(), nothing(), "there is nothing to say");
        peer.close();
        assert_eq!(
            peer.reported(),
            [format!(
                "disconnected: the server rejected the connection: {reason}: \"no\""
            )]
        );
    }
}

#[test]
fn return_codes_of_3x_are_told_as_reasons() {
    for (code, reason) in [
        (1, ConnectReasonCode::UnsupportedProtocolVersion),
        (2, ConnectReasonCode::ClientIdentifierNotValid),
        (3, ConnectReasonCode::ServerUnavailable),
        (4, ConnectReasonCode::BadUserNameOrPassword),
        (5, ConnectReasonCode::NotAuthorized),
    ] {
        // A server that does not speak 5 rejects in the form of 3.1.1.
        for version in Version::ALL {
            let mut peer = Peer::new(named());
            peer.open(version);
            peer.send_bytes(&[0x20, 2, 0, code]);
            let Some(ConnectionError::Rejected(rejection)) = &peer.close else {
                panic!("{:?}", peer.close)
            };
            assert_eq!(rejection.reason, reason);
        }
    }
}

#[test]
fn success_in_the_form_of_3_1_1_is_not_success_in_5() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    peer.said();
    peer.send_bytes(&[0x20, 2, 0, 0]);
    assert!(matches!(peer.close, Some(ConnectionError::Malformed(_))));
    assert_eq!(peer.said(), ["DISCONNECT 0x81"]);
}

#[test]
fn a_missing_connack_times_out_though_the_socket_takes_nothing() {
    for blocked in [false, true] {
        let mut peer = Peer::new(Config::default());
        peer.blocked = blocked;
        peer.open(Version::V5);
        peer.wait(millis(9_999));
        assert!(peer.close.is_none());
        peer.wait(millis(1));
        assert_eq!(peer.close, Some(ConnectionError::Timeout(Awaited::ConnAck)));
    }
}

#[test]
fn bytes_do_not_postpone_the_connack_deadline() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    peer.wait(seconds(9));
    peer.send_bytes(&[0x20]);
    peer.wait(seconds(1));
    assert_eq!(peer.close, Some(ConnectionError::Timeout(Awaited::ConnAck)));
}

#[test]
fn session_present_after_a_clean_start_is_a_protocol_error() {
    for (version, last) in [
        (Version::V5, &["DISCONNECT 0x82"][..]),
        (Version::V3_1_1, &[]),
    ] {
        let mut peer = Peer::new(named().clean_start(CleanStart::First));
        peer.open(version);
        peer.said();
        peer.send(connack(true));
        assert_eq!(
            peer.close,
            Some(ConnectionError::PeerMisbehaved(
                Misbehaviour::SessionPresentAfterCleanStart
            ))
        );
        assert_eq!(peer.said(), last);
    }
}

#[test]
fn a_session_that_is_not_known_here_is_accepted_or_strictly_not() {
    for version in [Version::V3_1_1, Version::V5] {
        let mut peer = Peer::new(resuming());
        peer.reconnect(version, true);
        assert_eq!(peer.reported(), ["connected, session present"]);
        let mut peer = Peer::new(resuming().strict_session_present(true));
        peer.reconnect(version, true);
        assert_eq!(
            peer.close,
            Some(ConnectionError::PeerMisbehaved(
                Misbehaviour::SessionUnknown
            ))
        );
    }
}

/// 3.1 cannot say whether the session is there: with the strict option its first connection always
/// failed.
#[test]
fn the_strict_option_does_not_shut_out_3_1() {
    let mut peer = Peer::new(resuming().strict_session_present(true));
    peer.reconnect(Version::V3_1, false);
    assert!(peer.close.is_none());
    peer.cut();
    peer.reconnect(Version::V3_1, false);
    assert!(peer.close.is_none());
}

#[test]
fn an_assigned_client_identifier_is_used_from_then_on() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    let mut accepted = connack(false);
    accepted.properties.assigned_client_identifier = Some(words("auto-1"));
    peer.send(accepted);
    assert_eq!(peer.session.client_identifier().as_str(), "auto-1");
    peer.cut();
    peer.open(Version::V5);
    assert_eq!(peer.said(), ["CONNECT 5 resume id=\"auto-1\" expiry=3600"]);
}

#[test]
fn limits_are_the_server_s_of_this_connection() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    let before = peer.session.limits().clone();
    let mut accepted = connack(false);
    let p = &mut accepted.properties;
    p.receive_maximum = NonZeroU16::new(7);
    p.maximum_packet_size = NonZeroU32::new(1000);
    p.maximum_qos = Some(qos(1));
    p.retain_available = Some(false);
    p.topic_alias_maximum = Some(5);
    p.wildcard_subscription_available = Some(false);
    p.subscription_identifier_available = Some(false);
    p.shared_subscription_available = Some(false);
    p.server_keep_alive = Some(30);
    p.session_expiry_interval = Some(60);
    peer.send(accepted.clone());
    let Limits {
        receive_maximum,
        maximum_packet_size,
        maximum_qos,
        retain_available,
        ..
    } = peer.session.limits().clone();
    assert_eq!(
        (receive_maximum, maximum_packet_size, maximum_qos),
        (7, 1000, qos(1))
    );
    assert!(!retain_available);
    let limits = peer.session.limits();
    assert_eq!(
        (
            limits.topic_alias_maximum,
            limits.keep_alive,
            limits.session_expiry_interval
        ),
        (5, 30, 60)
    );
    assert!(!limits.wildcard_subscription_available && !limits.shared_subscription_available);
    let reported = peer.events();
    let [Event::Connected(connected)] = &reported[..] else {
        panic!("{reported:?}")
    };
    assert_eq!(connected.connack, accepted);
    // They say nothing of our own limits, nor of the next server.
    peer.cut();
    assert_eq!(*peer.session.limits(), before);
}

/// While a connection was closing, messages for the next were still rejected by the limits of this
/// one.
#[test]
fn limits_end_when_the_connection_is_to_close() {
    let mut peer = Peer::new(resuming());
    peer.open(Version::V5);
    let mut accepted = connack(false);
    accepted.properties.maximum_packet_size = NonZeroU32::new(20);
    peer.send(accepted);
    peer.send_bytes(&[0xff, 0xff]);
    assert!(peer.close.is_some());
    peer.publish(message(1, "a", "a message of more than twenty bytes"));
    assert_eq!(peer.session.queued(), 1);
}

#[test]
fn opening_without_closing_closes_first() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    peer.publish(message(1, "a", "1"));
    peer.forget();
    peer.open(Version::V5);
    assert_eq!(
        peer.reported(),
        ["disconnected: the server closed the connection"]
    );
    peer.send(connack(true));
    assert_eq!(peer.said()[1..], ["PUBLISH q1 #1 dup a 1"]);
}

#[test]
fn spurious_calls_do_nothing() {
    let mut peer = Peer::new(Config::default());
    peer.cut();
    peer.send_bytes(&[1, 2, 3]);
    peer.wait(seconds(1_000));
    assert_eq!((peer.said(), peer.reported()), (nothing(), nothing()));
    assert_eq!(peer.session.poll_timeout(), None);
}

// [MQTT-3.1.3-7]
#[test]
fn an_empty_client_identifier_in_3_1_1_needs_a_clean_session() {
    for (clean_start, good) in [(CleanStart::First, true), (CleanStart::Never, false)] {
        let mut peer = Peer::new(Config::default().clean_start(clean_start));
        peer.open(Version::V3_1_1);
        assert_eq!(peer.said().len(), usize::from(good));
        assert_eq!(
            matches!(peer.close, Some(ConnectionError::CannotConnect { .. })),
            !good
        );
    }
}

/// Whatever is asked of a session: a connection begins with CONNECT, and there is no second.
// [MQTT-3.1.0-1] [MQTT-3.1.0-2]
#[test]
fn connect_is_the_first_packet_and_the_only_one_of_its_kind() {
    for version in Version::ALL {
        let mut peer = Peer::new(resuming());
        for round in 0..3 {
            peer.publish(message(2, "a", "before"));
            peer.subscribe("a", 1);
            peer.open(version);
            peer.publish(message(0, "a", "while connecting"));
            peer.unsubscribe("a");
            assert_eq!(
                peer.said().len(),
                1,
                "nothing but the CONNECT before CONNACK"
            );
            peer.send(connack(round > 0 && version != Version::V3_1));
            peer.publish(message(1, "a", "after"));
            peer.wait(seconds(5));
            let said = peer.said();
            assert!(
                !said.is_empty() && !said.iter().any(|line| line.starts_with("CONNECT")),
                "{said:?}"
            );
            peer.cut();
        }
    }
}

/// Asserts that no session begins with this configuration, and that each way to begin one has this
/// error.
fn assert_rejected(config: &Config, text: &str) {
    assert_eq!(
        Session::try_new(config.clone())
            .expect_err(text)
            .to_string(),
        text
    );
    let restored = Session::restore(config.clone(), Instant::EPOCH, []);
    assert!(matches!(
        restored.expect_err(text).kind(),
        martlet_session::RestoreErrorKind::Configuration(error) if error.to_string() == text
    ));
    // Otherwise it is an error of the first connection; nothing is sent.
    let mut peer = Peer::new(config.clone());
    peer.open(Version::V5);
    assert!(
        matches!(peer.close, Some(ConnectionError::Configuration(error)) if error.to_string() == text)
    );
    assert_eq!(peer.said(), nothing());
}

/// A maximum packet size below what a CONNACK needs ended every connection as the server's fault, a
/// hard bound of 0 every connection with the first message.
#[test]
fn a_configuration_that_cannot_work_is_rejected() {
    type Change = fn(Config) -> Config;
    let cannot_work: [(Change, &str); 12] = [
        (
            |config| config.maximum_packet_size(0),
            "maximum_packet_size is 0 bytes; a CONNACK may need 60",
        ),
        (
            |config| config.maximum_packet_size(4),
            "maximum_packet_size is 4 bytes; a CONNACK may need 60",
        ),
        (
            |config| config.maximum_packet_size(59),
            "maximum_packet_size is 59 bytes; a CONNACK may need 60",
        ),
        (
            |config| config.inbound(InboundLimits::default().hard_messages(0)),
            "inbound.hard_messages is 0; it must be more",
        ),
        (
            |config| config.inbound(InboundLimits::default().hard_bytes(0)),
            "inbound.hard_bytes is 0; it must be more",
        ),
        (
            |config| config.inbound(InboundLimits::default().soft_messages(0)),
            "inbound.soft_messages is 0; it must be more",
        ),
        (
            |config| config.inbound(InboundLimits::default().soft_bytes(0)),
            "inbound.soft_bytes is 0; it must be more",
        ),
        (
            |config| config.connect_timeout(Duration::ZERO),
            "connect_timeout is 0; it must be more",
        ),
        (
            |config| config.ping_timeout(Duration::ZERO),
            "ping_timeout is 0; it must be more",
        ),
        (
            |config| config.request_timeout(Duration::ZERO),
            "request_timeout is 0; it must be more",
        ),
        (
            |config| config.publish_timeout(Some(Duration::ZERO)),
            "publish_timeout is 0; it must be more",
        ),
        (
            |config| config.hang_up_limit(0),
            "hang_up_limit is 0; it must be more",
        ),
    ];
    for (change, text) in cannot_work {
        assert_rejected(&change(durable()), text);
    }
    let least = named().maximum_packet_size(60);
    assert!(Session::try_new(least).is_ok());
    let no_keep_alive = named().keep_alive(0).ping_timeout(Duration::ZERO);
    assert_eq!(no_keep_alive.check(), Ok(()));
}

/// The least maximum has room for a CONNACK with all that has a fixed size, and an identifier of 23
/// characters.
#[test]
fn the_least_maximum_packet_size_has_room_for_a_connack() {
    let mut accepted = connack(false);
    accepted.properties = ConnAckProperties {
        session_expiry_interval: Some(1),
        receive_maximum: NonZeroU16::new(1),
        maximum_qos: Some(qos(1)),
        retain_available: Some(true),
        maximum_packet_size: NonZeroU32::new(1000),
        assigned_client_identifier: Some(words("abcdefghijklmnopqrstuvw")),
        topic_alias_maximum: Some(1),
        wildcard_subscription_available: Some(true),
        subscription_identifier_available: Some(true),
        shared_subscription_available: Some(true),
        server_keep_alive: Some(1),
        ..ConnAckProperties::default()
    };
    assert_eq!(Packet::from(accepted).encoded_len(Version::V5), 60);
}
