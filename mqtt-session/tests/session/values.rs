//! What is handed to applications and stores says what it was made from.

use crate::driver::*;
use bytes::Bytes;
use martlet_proto::*;
use martlet_session::{
    Awaited, Config, ConnectionError, GivenUp, Instant, Misbehaviour, RecordKey, StoreError,
    StoreErrorKind, StoreOp, TransportError, TransportErrorKind,
};

#[test]
fn a_transport_error_is_permanent_if_that_was_said() {
    let error = TransportError::new(TransportErrorKind::Certificate, "it has expired");
    assert_eq!(
        (error.kind(), error.is_permanent()),
        (TransportErrorKind::Certificate, false)
    );
    let permanent = error.clone().permanent();
    assert_eq!(
        (permanent.kind(), permanent.is_permanent()),
        (TransportErrorKind::Certificate, true)
    );
    assert_eq!(
        (error.to_string(), permanent.to_string()),
        (permanent.to_string(), "it has expired".to_owned())
    );
    assert_ne!(error, permanent);
}

#[test]
fn who_gives_up_says_for_how_long() {
    let (now, good) = (
        GivenUp::for_now("the token is old"),
        GivenUp::for_good("no such user"),
    );
    assert_eq!(
        (now.is_final(), now.to_string().as_str()),
        (false, "the token is old")
    );
    assert_eq!(
        (good.is_final(), good.to_string().as_str()),
        (true, "no such user")
    );
}

#[test]
fn a_timeout_names_what_was_awaited() {
    let awaited = [
        (Awaited::ConnAck, "CONNACK from the server"),
        (Awaited::PingResp, "PINGRESP from the server"),
        (Awaited::Auth, "AUTH from the server"),
        (
            Awaited::Authenticator,
            "answer to the server's authentication",
        ),
        (Awaited::Preparation, "preparation of the connection"),
    ];
    for (awaited, words) in awaited {
        assert_eq!(awaited.to_string(), words);
        assert!(
            ConnectionError::Timeout(awaited)
                .to_string()
                .contains(words)
        );
    }
}

/// What a DISCONNECT says of each end of a connection.
#[test]
fn the_server_is_told_what_it_should_know() {
    use DisconnectReasonCode as Code;
    let table = [
        (
            ConnectionError::PeerMisbehaved(Misbehaviour::ReceiveMaximumExceeded),
            Some(Code::ReceiveMaximumExceeded),
        ),
        (
            ConnectionError::PeerMisbehaved(Misbehaviour::TopicAlias(9)),
            Some(Code::TopicAliasInvalid),
        ),
        (
            ConnectionError::PeerMisbehaved(Misbehaviour::SecondConnAck),
            Some(Code::ProtocolError),
        ),
        (ConnectionError::InboundOverrun, Some(Code::QuotaExceeded)),
        (
            ConnectionError::Timeout(Awaited::PingResp),
            Some(Code::UnspecifiedError),
        ),
        (
            ConnectionError::GivenUp(GivenUp::for_now("")),
            Some(Code::UnspecifiedError),
        ),
        (ConnectionError::ClosedHere, None),
        (ConnectionError::ClosedByPeer, None),
        (
            ConnectionError::Transport(TransportError::new(TransportErrorKind::Io, "")),
            None,
        ),
    ];
    for (error, reason) in table {
        assert_eq!(error.disconnect_reason(), reason, "{error:?}");
    }
}

#[test]
fn a_token_names_its_delivery() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    for (n, quality) in [(0, 0), (1, 1), (2, 1), (3, 2)] {
        peer.send(publish(quality, n, "a", "x"));
    }
    peer.reported();
    let tokens: Vec<_> = peer.messages.iter().map(|message| &message.token).collect();
    assert_eq!(
        tokens
            .iter()
            .map(|token| token.qos().as_u8())
            .collect::<Vec<_>>(),
        [0, 1, 1, 2]
    );
    for (i, token) in tokens.iter().enumerate() {
        for (j, other) in tokens.iter().enumerate() {
            assert_eq!(token.delivery() == other.delivery(), i == j, "{i} {j}");
        }
    }
}

#[test]
fn a_message_has_its_topic_with_and_without_an_alias() {
    let mut peer = Peer::connected(Version::V5, Config::default().topic_alias_maximum(1));
    let name = topic("a/b");
    peer.send_publish(PublishRef::new(&name, b"").with_topic_alias(id(1)));
    peer.send_publish(PublishRef::new(&name, b"").with_topic_alias_only(id(1)));
    peer.reported();
    for message in &peer.messages {
        assert_eq!(
            (message.topic(), message.topic_name()),
            ("a/b", name.clone())
        );
    }
    assert_eq!(peer.messages.len(), 2);
}

#[test]
fn an_operation_on_the_store_names_its_record() {
    let mut peer = Peer::connected(Version::V5, durable());
    peer.publish(message(1, "a", "x"));
    let keys: Vec<RecordKey> = peer
        .operations
        .iter()
        .map(|(_, operation)| operation.key())
        .collect();
    let key = *keys.last().expect("a message is stored");
    assert!(
        format!("{key:?}").starts_with("RecordKey(flow of message "),
        "{key:?}"
    );
    assert_eq!(
        StoreOp::Put {
            key,
            value: Bytes::new()
        }
        .key(),
        key
    );
    assert_eq!(StoreOp::Delete { key }.key(), key);
    let error = StoreError::new(StoreErrorKind::Full, "the disk is full");
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (StoreErrorKind::Full, "the disk is full")
    );
}

#[test]
fn an_instant_is_a_distance_from_its_epoch() {
    let (early, late) = (
        Instant::from_epoch(seconds(2)),
        Instant::from_epoch(seconds(5)),
    );
    assert_eq!(
        (early.since_epoch(), late.saturating_duration_since(early)),
        (seconds(2), seconds(3))
    );
    assert_eq!(early.saturating_duration_since(late), seconds(0));
    assert_eq!(Instant::EPOCH + seconds(2), early);
}
