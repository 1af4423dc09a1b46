//! Enhanced authentication (MQTT 5 §4.12), with the CONNECT and again on a connection.

use crate::driver::*;
use martlet_proto::{
    Auth, AuthReasonCode, BinaryData, ConnAck, ConnectReasonCode, Disconnect, DisconnectReasonCode,
    Packet, PublishRef, Version,
};
use martlet_session::{
    AuthMessage, Authentication, Awaited, Config, ConnectOptions, ConnectionError, Event, GivenUp,
    Misbehaviour, RequestError,
};
use std::num::NonZeroU32;

const METHOD: &str = "GS2-KRB5";

fn nothing() -> Vec<String> {
    Vec::new()
}

fn data(text: &str) -> Option<BinaryData> {
    Some(BinaryData::try_from(text.as_bytes()).unwrap())
}

fn says(text: &str) -> AuthMessage {
    AuthMessage::default().data(data(text))
}

fn options() -> ConnectOptions {
    let authentication = Authentication::new(words(METHOD)).data(data("first"));
    ConnectOptions::new(Version::V5).authentication(authentication)
}

fn auth(reason: AuthReasonCode, text: &str) -> Auth {
    Auth {
        authentication_method: Some(words(METHOD)),
        authentication_data: data(text),
        ..Auth::new(reason)
    }
}

fn challenge(text: &str) -> Auth {
    auth(AuthReasonCode::ContinueAuthentication, text)
}

fn accepted(text: &str) -> ConnAck {
    let mut connack = connack(false);
    connack.properties.authentication_method = Some(words(METHOD));
    connack.properties.authentication_data = data(text);
    connack
}

/// CONNECT has left.
fn connecting() -> Peer {
    let mut peer = Peer::new(Config::default());
    peer.open_with(Version::V5, options());
    peer.forget();
    peer
}

/// Connected with enhanced authentication.
fn connected() -> Peer {
    let mut peer = connecting();
    peer.send(accepted("last"));
    peer.accept();
    peer.forget();
    peer
}

trait Authenticates {
    fn answer(&mut self, text: &str) -> Result<(), RequestError>;
    fn accept(&mut self);
    fn again(&mut self, text: &str) -> Result<u64, RequestError>;
    fn auths(&mut self) -> Vec<Auth>;
}

impl Authenticates for Peer {
    fn answer(&mut self, text: &str) -> Result<(), RequestError> {
        let answered = self.session.authenticate(self.now, says(text));
        self.drain();
        answered
    }

    fn accept(&mut self) {
        self.session.accept_server().unwrap();
        self.drain();
        self.read_on();
    }

    fn again(&mut self, text: &str) -> Result<u64, RequestError> {
        let operation = self.session.reauthenticate(self.now, says(text));
        self.drain();
        operation.map(martlet_session::OperationId::get)
    }

    fn auths(&mut self) -> Vec<Auth> {
        let auth = |packet| match packet {
            Packet::Auth(auth) => *auth,
            other => panic!("{other:?}"),
        };
        self.packets().into_iter().map(auth).collect()
    }
}

fn misbehaved(peer: &mut Peer, misbehaviour: Misbehaviour) {
    assert_eq!(
        peer.close,
        Some(ConnectionError::PeerMisbehaved(misbehaviour))
    );
    assert_eq!(peer.said(), ["DISCONNECT 0x82"]);
}

// [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.1.2-30]
#[test]
fn every_step_names_the_method_and_nothing_else_leaves_before_connack() {
    for chunking in [Chunking::Whole, Chunking::Bytes] {
        let mut peer = Peer::new(Config::default());
        peer.chunking = chunking;
        peer.publish(message(1, "a", "queued"));
        peer.subscribe("b", 0);
        peer.open_with(Version::V5, options());
        let [Packet::Connect(connect)] = &peer.packets()[..] else {
            panic!("CONNECT comes alone")
        };
        assert_eq!(
            connect.properties.authentication_method,
            Some(words(METHOD))
        );
        assert_eq!(connect.properties.authentication_data, data("first"));
        for step in ["one", "two", "three"] {
            peer.send(challenge(step));
            let events = peer.events();
            assert_eq!(events, [Event::AuthChallenge(Box::new(says(step)))]);
            peer.publish(message(0, "a", "queued too"));
            peer.wait(seconds(9));
            assert_eq!(peer.said(), nothing(), "it is the application's turn");
            peer.answer(step).unwrap();
            peer.wait(seconds(9));
            assert_eq!(peer.auths(), [challenge(step)]);
        }
        peer.send(accepted("last"));
        assert_eq!(
            peer.events(),
            [Event::Authenticated(Box::new(says("last")))]
        );
        assert_eq!(peer.said(), nothing(), "the server has not been accepted");
        peer.accept();
        assert_eq!(peer.reported()[0], "connected");
        assert_eq!(peer.said().len(), 5, "SUBSCRIBE, and four messages");
    }
}

/// What the server sends behind its CONNACK is not delivered before the application has accepted
/// the server.
#[test]
fn nothing_is_read_before_the_server_is_accepted() {
    let mut peer = connecting();
    peer.send_all(&[
        accepted("last").into(),
        publish(0, 0, "a", "1"),
        publish(1, 1, "a", "2"),
    ]);
    assert_eq!(peer.reported().len(), 1);
    assert!(!peer.session.wants_input() && !peer.session.is_connected());
    assert!(peer.unread() > 0);
    peer.accept();
    assert_eq!(
        peer.reported(),
        ["connected", "message q0 a 1", "message q1 a 2"]
    );
    assert_eq!(peer.session.accept_server(), Err(RequestError::NoChallenge));
}

#[test]
fn a_server_that_is_not_what_it_should_be_is_left() {
    let mut peer = Peer::new(Config::default());
    peer.publish(message(1, "a", "secret"));
    peer.open_with(Version::V5, options());
    peer.forget();
    peer.send(accepted("forged"));
    peer.session
        .give_up(GivenUp::for_good("the server's signature is wrong"));
    peer.drain();
    assert_eq!(
        peer.end(),
        (
            "the server's signature is wrong".to_owned(),
            vec!["DISCONNECT 0x80".to_owned()]
        )
    );
    peer.close();
    assert_eq!(
        peer.reported().last().unwrap(),
        "disconnected: the server's signature is wrong"
    );
    // The next connection is a first connection.
    peer.open_with(Version::V5, options());
    assert!(peer.said()[0].starts_with("CONNECT 5 clean"));
}

// [MQTT-4.12.0-5]
#[test]
fn another_method_ends_the_connection() {
    let another = |auth: Auth| Auth {
        authentication_method: Some(words("PLAIN")),
        ..auth
    };
    let mut peer = connecting();
    peer.send(another(challenge("x")));
    misbehaved(&mut peer, Misbehaviour::AuthenticationMethod);

    for method in [Some(words("PLAIN")), None] {
        let mut peer = connecting();
        let mut connack = connack(false);
        connack.properties.authentication_method = method;
        peer.send(connack);
        misbehaved(&mut peer, Misbehaviour::AuthenticationMethod);
        assert!(!peer.session.is_connected());
    }

    let mut peer = connected();
    peer.again("x").unwrap();
    peer.forget();
    peer.send(another(auth(AuthReasonCode::Success, "x")));
    misbehaved(&mut peer, Misbehaviour::AuthenticationMethod);
}

// [MQTT-4.12.0-6]
#[test]
fn a_method_in_connack_that_nobody_named() {
    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    peer.said();
    peer.send(accepted("x"));
    misbehaved(&mut peer, Misbehaviour::AuthenticationMethod);

    let mut peer = Peer::new(Config::default());
    peer.open(Version::V5);
    peer.said();
    peer.send(challenge("x"));
    misbehaved(&mut peer, Misbehaviour::UnexpectedAuth);
}

#[test]
fn auth_out_of_turn() {
    // A success before CONNACK, and what only a client says.
    for reason in [AuthReasonCode::Success, AuthReasonCode::ReAuthenticate] {
        let mut peer = connecting();
        peer.send(auth(reason, "x"));
        misbehaved(&mut peer, Misbehaviour::UnexpectedAuth);
    }
    // Two challenges at a time.
    let mut peer = connecting();
    peer.send_all(&[challenge("1").into(), challenge("2").into()]);
    misbehaved(&mut peer, Misbehaviour::UnexpectedAuth);
    // The server begins.
    for reason in [
        AuthReasonCode::Success,
        AuthReasonCode::ContinueAuthentication,
        AuthReasonCode::ReAuthenticate,
    ] {
        let mut peer = connected();
        peer.send(auth(reason, "x"));
        misbehaved(&mut peer, Misbehaviour::UnexpectedAuth);
    }
    // The server does not wait for the answer.
    let mut peer = connecting();
    peer.send_all(&[challenge("1").into(), accepted("x").into()]);
    misbehaved(&mut peer, Misbehaviour::ConnAckBeforeAnswer);
}

#[test]
fn a_rejection_may_come_at_any_time() {
    for answered in [false, true] {
        let mut peer = connecting();
        peer.send(challenge("1"));
        if answered {
            peer.answer("1").unwrap();
        }
        peer.forget();
        peer.send(ConnAck::new(ConnectReasonCode::BadAuthenticationMethod));
        let Some(ConnectionError::Rejected(rejection)) = &peer.close else {
            panic!("{:?}", peer.close)
        };
        assert_eq!(rejection.reason, ConnectReasonCode::BadAuthenticationMethod);
        assert_eq!(peer.said(), nothing());
    }
}

/// Nothing may be left out in silence: a server of 3.1.1 would accept any client.
#[test]
fn versions_without_it_do_not_connect() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut peer = Peer::new(named());
        peer.open_with(version, options());
        assert!(
            matches!(peer.close, Some(ConnectionError::CannotConnect { .. })),
            "{:?}",
            peer.close
        );
        assert_eq!(peer.said(), nothing());
    }
}

#[test]
fn every_step_has_a_deadline() {
    // The server's.
    let mut peer = connecting();
    peer.wait(seconds(9));
    peer.send(challenge("1"));
    peer.wait(seconds(9));
    peer.answer("1").unwrap();
    peer.said();
    peer.wait(millis(9_999));
    assert_eq!(peer.close, None);
    peer.wait(millis(1));
    assert_eq!(peer.close, Some(ConnectionError::Timeout(Awaited::ConnAck)));
    assert_eq!(peer.said(), ["DISCONNECT 0x80"]);
    // The application's.
    for packet in [Packet::from(challenge("1")), accepted("last").into()] {
        let mut peer = connecting();
        peer.send(packet);
        peer.wait(millis(9_999));
        assert_eq!(peer.close, None);
        peer.wait(millis(1));
        assert_eq!(
            peer.close,
            Some(ConnectionError::Timeout(Awaited::Authenticator))
        );
        assert_eq!(peer.said(), ["DISCONNECT 0x80"]);
        // A late answer connected a session that had said goodbye: what was queued followed the
        // DISCONNECT.
        assert_eq!(peer.answer("late"), Err(RequestError::NoChallenge));
        assert_eq!(peer.session.accept_server(), Err(RequestError::NoChallenge));
        peer.close();
        peer.forget();
        assert_eq!(peer.answer("late"), Err(RequestError::NoChallenge));
        assert_eq!(peer.session.accept_server(), Err(RequestError::NoChallenge));
    }
    // Authenticating again.
    let mut peer = connected();
    peer.again("x").unwrap();
    peer.said();
    peer.wait(seconds(10));
    assert_eq!(peer.close, Some(ConnectionError::Timeout(Awaited::Auth)));
    peer.close();
    assert_eq!(
        peer.reported(),
        [
            "reauthenticated 1: not connected",
            "disconnected: no AUTH from the server in time"
        ]
    );
}

// [MQTT-4.12.1-1]
#[test]
fn authenticating_again() {
    let mut peer = connected();
    assert_eq!(peer.again("fresh"), Ok(1));
    assert_eq!(
        peer.auths(),
        [auth(AuthReasonCode::ReAuthenticate, "fresh")]
    );
    assert_eq!(peer.again("more"), Err(RequestError::TooMany));
    // Everything else goes on.
    peer.send_all(&[publish(1, 1, "a", "in"), challenge("1").into()]);
    assert_eq!(peer.reported(), ["message q1 a in", "challenge 1"]);
    peer.take(0);
    peer.publish(message(1, "a", "out"));
    assert_eq!(peer.said(), ["PUBACK #1", "PUBLISH q1 #1 a out"]);
    assert_eq!(peer.again("more"), Err(RequestError::TooMany));
    peer.answer("1").unwrap();
    assert_eq!(peer.auths(), [challenge("1")]);
    assert_eq!(peer.answer("1"), Err(RequestError::NoChallenge));
    peer.send(puback(1));
    peer.send(auth(AuthReasonCode::Success, "done"));
    assert_eq!(
        peer.reported(),
        ["published 2: ok", "reauthenticated 1: done"]
    );
    peer.wait(seconds(10));
    assert_eq!(peer.close, None);
    // And once more, to a server that answers in the shortest form.
    assert_eq!(peer.again("fresh"), Ok(3));
    peer.forget();
    peer.send_bytes(&[0xf0, 0]);
    assert_eq!(peer.reported(), ["reauthenticated 3: nothing"]);
}

// [MQTT-4.12.1-2]
#[test]
fn a_reauthentication_that_fails_ends_the_connection() {
    let mut peer = connected();
    peer.again("x").unwrap();
    peer.forget();
    peer.send(Disconnect::new(DisconnectReasonCode::NotAuthorized));
    peer.close();
    assert_eq!(
        peer.reported(),
        [
            "reauthenticated 1: not connected",
            "disconnected: the server disconnected: not authorized (0x87)"
        ]
    );

    // Ours to say, when the server's proof is wrong.
    let mut peer = connected();
    peer.again("x").unwrap();
    peer.send(auth(AuthReasonCode::Success, "forged"));
    peer.forget();
    peer.session
        .give_up(GivenUp::for_now("the server's signature is wrong"));
    peer.drain();
    assert_eq!(peer.said(), ["DISCONNECT 0x80"]);
}

#[test]
fn a_reauthentication_ends_with_its_connection() {
    let mut peer = connected();
    peer.again("x").unwrap();
    peer.forget();
    peer.cut();
    assert_eq!(
        peer.reported(),
        [
            "reauthenticated 1: not connected",
            "disconnected: the server closed the connection"
        ]
    );
    assert_eq!(peer.again("x"), Err(RequestError::NotConnected));

    let mut peer = connected();
    peer.again("x").unwrap();
    peer.disconnect(seconds(0));
    assert_eq!(
        peer.reported(),
        ["reauthenticated 1: the client has stopped: disconnected as asked"]
    );
    assert_eq!(
        peer.again("x"),
        Err(RequestError::Closed(ConnectionError::ClosedHere))
    );
}

// [MQTT-4.12.0-7]
#[test]
fn there_is_no_reauthentication_without_a_method() {
    let mut peer = Peer::connected(Version::V5, Config::default());
    let error = peer.again("x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "authenticating again is not supported on this connection"
    );
    assert_eq!(peer.said(), nothing());
    assert_eq!(peer.answer("x"), Err(RequestError::NoChallenge));
}

/// Disconnecting in the middle says goodbye: the server has the CONNECT, and the will.
// [MQTT-3.1.2-30]
#[test]
fn disconnecting_while_authenticating() {
    for packet in [
        None,
        Some(Packet::from(challenge("1"))),
        Some(accepted("last").into()),
    ] {
        let mut peer = connecting();
        if let Some(packet) = packet {
            peer.send(packet);
        }
        peer.publish(message(1, "a", "b"));
        peer.disconnect(seconds(0));
        assert_eq!(peer.said(), ["DISCONNECT 0x00 expiry=0"]);
        assert_eq!(peer.close, Some(ConnectionError::ClosedHere));
    }
}

// [MQTT-3.15.2-2] [MQTT-3.15.2-3]
#[test]
fn words_that_do_not_fit_are_left_out_and_data_that_does_not_is_rejected() {
    for limit in 10..80 {
        let mut peer = connecting();
        let mut connack = accepted("last");
        connack.properties.maximum_packet_size = NonZeroU32::new(limit);
        peer.send(connack);
        peer.accept();
        peer.forget();
        let message = says("token")
            .reason_string(words("some words"))
            .user_properties([(words("name"), words("value"))].into());
        let whole = Packet::from(Auth {
            reason_string: message.reason_string.clone(),
            user_properties: message.user_properties.clone(),
            ..auth(AuthReasonCode::ReAuthenticate, "token")
        });
        let least = Packet::from(auth(AuthReasonCode::ReAuthenticate, "token"));
        let [whole_size, least_size] =
            [&whole, &least].map(|packet| packet.encoded_len(Version::V5));
        let result = peer.session.reauthenticate(peer.now, message);
        peer.drain();
        let (size, limit) = (least_size, limit as usize);
        if limit < size {
            assert_eq!(result, Err(RequestError::PacketTooLarge { size, limit }));
            assert_eq!(peer.packets(), []);
            assert_ne!(
                peer.again("").err(),
                Some(RequestError::TooMany),
                "nothing has changed"
            );
        } else {
            assert!(result.is_ok());
            assert_eq!(
                peer.packets(),
                [if limit < whole_size { least } else { whole }]
            );
        }
    }
}

/// A topic alias and everything else of a connection come to life with the CONNACK that was held
/// back.
#[test]
fn the_connack_that_was_held_back_counts() {
    let mut peer = connecting();
    let mut connack = accepted("last");
    connack.properties.receive_maximum = std::num::NonZeroU16::new(1);
    connack.properties.server_keep_alive = Some(20);
    peer.send(connack);
    peer.accept();
    peer.forget();
    peer.publish(message(1, "a", "1"));
    peer.publish(message(1, "a", "2"));
    assert_eq!(peer.said(), ["PUBLISH q1 #1 a 1"]);
    peer.wait(seconds(15));
    assert_eq!(peer.said(), ["PINGREQ"]);
    let name = topic("a");
    peer.send_publish(PublishRef::new(&name, b"x").with_topic_alias(std::num::NonZeroU16::MIN));
    assert_eq!(peer.reported(), ["message q0 a x"]);
}

/// The bytes of a CONNECT that the socket had not taken were shown, password and all.
#[test]
fn secrets_are_not_in_debug() {
    let authentication = Authentication::new(words(METHOD)).data(data("hunter2"));
    let options = options()
        .password(data("hunter2"))
        .authentication(authentication);
    let mut peer = Peer::new(Config::default());
    peer.blocked = true;
    peer.open_with(Version::V5, options.clone());
    let blocked = format!("{:?}", peer.session);
    peer.unblock();
    peer.send(challenge("hunter2"));
    peer.answer("hunter2").unwrap();
    peer.send(accepted("hunter2"));
    let events = peer.events();
    let shown = format!(
        "{blocked} {options:?} {:?} {:?} {events:?}",
        says("hunter2"),
        peer.session
    );
    assert!(
        shown.contains(METHOD) && !shown.contains("hunter2"),
        "{shown}"
    );
}
