//! Enhanced authentication, at the beginning and again.

use crate::scripted::{builder, client, connected, is_pending, settle, soon};
use bytes::Bytes;
use martlet_broker::tokio::Server;
use martlet_broker::{BrokerConfig, ScriptedAuthentication};
use martlet_client::Reconnect;
use martlet_client::{
    AuthenticateError, Client, ClientEvent, ConnectError, ConnectionError, QoS, RequestError,
    Version,
    client::Callback,
    hooks::{AuthMessage, Authenticator, GivenUp, HookFuture},
    proto::{BinaryData, ConnectReasonCode, Packet, Utf8String},
    session::Awaited,
};
use martlet_proto::{Auth, AuthReasonCode, ConnAck, Disconnect, DisconnectReasonCode};
use std::future::pending;
use std::sync::{Arc, Mutex};

/// Answers from a list; what it is asked is written down.
#[derive(Clone, Default)]
struct Pupil {
    answers: &'static [(&'static str, &'static str)],
    proof: &'static str,
    /// Never answers.
    asleep: bool,
    log: Arc<Mutex<Vec<String>>>,
}

impl Pupil {
    fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }

    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

fn data(text: &str) -> Option<BinaryData> {
    Some(BinaryData::try_from(text.as_bytes()).unwrap())
}

fn text(data: Option<&BinaryData>) -> String {
    data.map_or_else(String::new, |data| {
        String::from_utf8_lossy(data.as_bytes()).into_owned()
    })
}

impl Authenticator for Pupil {
    fn method(&self) -> Utf8String {
        "QUIZ".try_into().unwrap()
    }

    fn begin(&mut self) -> HookFuture<Option<BinaryData>> {
        self.note("begin".into());
        Box::pin(async { Ok(data("I know it all")) })
    }

    fn answer(&mut self, challenge: AuthMessage) -> HookFuture<Option<BinaryData>> {
        let this = self.clone();
        Box::pin(async move {
            let question = text(challenge.data.as_ref());
            this.note(question.clone());
            if this.asleep {
                pending::<()>().await;
            }
            // Another task has its turn first.
            tokio::task::yield_now().await;
            let answer = this.answers.iter().find(|(asked, _)| *asked == question);
            let (_, answer) =
                answer.ok_or_else(|| GivenUp::for_good("a question out of the book"))?;
            Ok(data(answer))
        })
    }

    fn accept(&mut self, last: AuthMessage) -> HookFuture<()> {
        let this = self.clone();
        Box::pin(async move {
            let proof = text(last.data.as_ref());
            this.note(format!("accept {proof}"));
            if proof != this.proof {
                return Err(GivenUp::for_good("the server is not the server"));
            }
            Ok(())
        })
    }
}

const ANSWERS: &[(&str, &str)] = &[("1 + 1?", "2"), ("2 + 2?", "4")];

fn pupil() -> Pupil {
    Pupil {
        answers: ANSWERS,
        proof: "well done",
        ..Pupil::default()
    }
}

async fn quizmaster() -> Server {
    let steps = ANSWERS
        .iter()
        .map(|(asked, answer)| (Bytes::from(*asked), Bytes::from(*answer)));
    let authentication = ScriptedAuthentication::default()
        .method("QUIZ".try_into().unwrap())
        .steps(steps)
        .success(data("well done"));
    let config = BrokerConfig::default().authentication(authentication);
    Server::start(config).await.unwrap()
}

async fn attempt(server: &Server, pupil: &Pupil) -> Result<Client, ConnectError> {
    let builder = Client::builder(server.uri()).authenticator(pupil.clone());
    soon(martlet_tokio::connect_with(builder)).await
}

/// Two questions at the beginning and two again, with messages in between.
#[tokio::test]
async fn several_steps_with_a_broker() {
    let (server, pupil) = (quizmaster().await, pupil());
    let client = attempt(&server, &pupil).await.unwrap();
    assert_eq!(
        pupil.notes(),
        ["begin", "1 + 1?", "2 + 2?", "accept well done"]
    );
    let connection = client.connection().unwrap();
    assert_eq!(
        connection.connack.properties.authentication_data,
        data("well done")
    );
    for _ in 0..2 {
        let again = client.reauthenticate();
        let published = client.publish("a", "b").qos(QoS::ExactlyOnce);
        let (again, published) = tokio::join!(soon(again), soon(published));
        again.unwrap();
        published.unwrap();
        assert_eq!(
            pupil.notes(),
            ["begin", "1 + 1?", "2 + 2?", "accept well done"]
        );
    }
    // The connection lives.
    soon(client.ping()).await.unwrap();
    soon(client.disconnect()).await;
    assert_eq!(
        soon(client.reauthenticate()).await,
        Err(RequestError::Closed(ConnectionError::ClosedHere).into())
    );
}

#[tokio::test]
async fn wrong_answers_are_rejected_and_none_gives_up() {
    let server = quizmaster().await;
    let wrong = Pupil {
        answers: &[("1 + 1?", "3")],
        ..pupil()
    };
    let Err(ConnectError::Connection(ConnectionError::Rejected(rejection))) =
        attempt(&server, &wrong).await
    else {
        panic!("rejected")
    };
    assert_eq!(rejection.reason, ConnectReasonCode::NotAuthorized);
    let lost = Pupil {
        answers: &ANSWERS[..1],
        ..pupil()
    };
    let given_up = |why| ConnectError::Connection(ConnectionError::GivenUp(GivenUp::for_good(why)));
    assert_eq!(
        attempt(&server, &lost).await.unwrap_err(),
        given_up("a question out of the book")
    );
    let wary = Pupil {
        proof: "very well done",
        ..pupil()
    };
    assert_eq!(
        attempt(&server, &wary).await.unwrap_err(),
        given_up("the server is not the server")
    );
}

/// 3.1.1 has no enhanced authentication: there is nothing to fall back to.
#[tokio::test]
async fn a_server_without_mqtt_5_is_not_connected_to() {
    let config = BrokerConfig::default().versions(vec![Version::V3_1_1]);
    let server = Server::start(config).await.unwrap();
    let error = attempt(&server, &pupil()).await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Connection(ConnectionError::CannotConnect { .. })
        ),
        "{error}"
    );
}

fn challenge(question: &str) -> Auth {
    Auth {
        authentication_method: Some("QUIZ".try_into().unwrap()),
        authentication_data: data(question),
        ..Auth::new(AuthReasonCode::ContinueAuthentication)
    }
}

fn success() -> ConnAck {
    let mut connack = ConnAck::new(ConnectReasonCode::Success);
    connack.properties.authentication_method = Some("QUIZ".try_into().unwrap());
    connack.properties.authentication_data = data("well done");
    connack
}

/// What the authenticator was thinking about when the connection broke is not said on the next one.
#[tokio::test(start_paused = true)]
async fn a_lost_connection_forgets_the_question() {
    let pupil = Pupil {
        asleep: true,
        ..pupil()
    };
    let builder = builder()
        .authenticator(pupil.clone())
        .reconnect(Reconnect::default().retry_first(true));
    let (client, _, mut network) = client(builder);
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send(challenge("1 + 1?")).await;
    settle().await;
    drop(server);
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send(success()).await;
    soon(client.connected()).await.unwrap();
    assert_eq!(
        pupil.notes(),
        ["begin", "1 + 1?", "begin", "accept well done"]
    );
    drop(client);
    let last = server.rest().await;
    assert!(matches!(last[..], [Packet::Disconnect(_)]), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_that_does_not_answer_has_a_deadline() {
    let pupil = Pupil {
        asleep: true,
        ..pupil()
    };
    let (client, _, mut network) = client(builder().authenticator(pupil));
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send(challenge("1 + 1?")).await;
    let server = tokio::spawn(server.rest());
    let error = soon(client.connected()).await.unwrap_err();
    assert_eq!(
        error,
        ConnectionError::Timeout(Awaited::Authenticator).into()
    );
    assert!(matches!(
        soon(server).await.unwrap()[..],
        [Packet::Disconnect(_)]
    ));
}

#[tokio::test(start_paused = true)]
async fn reauthenticating_says_how_it_ended() {
    let request = |error| Err(AuthenticateError::Request(error));
    // Without an authenticator, or a connection.
    let (bare, _server, _network) = connected(builder()).await;
    let error = soon(bare.reauthenticate()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "authenticating again is not supported on this connection"
    );
    let (client, _, mut network) = client(builder().authenticator(pupil()));
    assert_eq!(
        soon(client.reauthenticate()).await,
        request(RequestError::NotConnected)
    );
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send(success()).await;
    soon(client.connected()).await.unwrap();
    // One at a time.
    let again = tokio::spawn({
        let client = client.clone();
        async move { client.reauthenticate().await }
    });
    assert!(
        matches!(server.packet().await, Packet::Auth(auth) if auth.reason == AuthReasonCode::ReAuthenticate)
    );
    assert_eq!(
        soon(client.reauthenticate()).await,
        request(RequestError::TooMany)
    );
    // Rejected: the connection ends.
    server
        .send(Disconnect::new(DisconnectReasonCode::UnspecifiedError))
        .await;
    assert_eq!(
        soon(again).await.unwrap(),
        request(RequestError::NotConnected)
    );
    // A question that it cannot answer: so it does, too.
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send(success()).await;
    soon(client.connected()).await.unwrap();
    let (again, packets) = tokio::join!(soon(client.reauthenticate()), async {
        server.packet().await;
        server.send(challenge("why?")).await;
        server.rest().await
    });
    assert_eq!(
        again,
        Err(GivenUp::for_good("a question out of the book").into())
    );
    assert!(
        matches!(packets[..], [Packet::Disconnect(_)]),
        "{packets:?}"
    );
}

/// The server accepts a re-authentication.
fn well_done() -> Auth {
    Auth {
        authentication_method: Some("QUIZ".try_into().unwrap()),
        authentication_data: data("well done"),
        ..Auth::new(AuthReasonCode::Success)
    }
}

/// If its future is dropped it continues, and another can follow.
#[tokio::test(start_paused = true)]
async fn a_reauthentication_that_nobody_waits_for() {
    let pupil = pupil();
    let (client, _, mut network) = client(builder().authenticator(pupil.clone()));
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send(success()).await;
    soon(client.connected()).await.unwrap();
    let done = well_done();
    {
        let mut again = Box::pin(client.reauthenticate());
        assert!(is_pending(&mut again.as_mut()));
    }
    server.packet().await;
    server.send(done.clone()).await;
    settle().await;
    let (again, ()) = tokio::join!(soon(client.reauthenticate()), async {
        server.packet().await;
        server.send(done).await;
    });
    again.unwrap();
}

/// Where another task began the next one before this one's caller had looked, a success was reported as
/// *not connected*.
#[tokio::test(start_paused = true)]
async fn each_caller_learns_how_its_own_reauthentication_ended() {
    let (client, _, mut network) = client(builder().authenticator(pupil()));
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send(success()).await;
    soon(client.connected()).await.unwrap();
    let done = well_done();
    let mut first = Box::pin(client.reauthenticate());
    assert!(is_pending(&mut first.as_mut()));
    server.packet().await;
    server.send(done.clone()).await;
    settle().await;
    let mut second = Box::pin(client.reauthenticate());
    assert!(is_pending(&mut second.as_mut()));
    assert_eq!(soon(first).await, Ok(()));
    server.packet().await;
    server.send(done).await;
    assert_eq!(soon(second).await, Ok(()));
}

/// Does as it should once, and is asleep from then on, or panics.
#[derive(Clone)]
struct Once {
    begun: bool,
    accepted: bool,
    accepts_again: bool,
    panics: bool,
}

impl Once {
    fn sleep<T: Send + 'static>(&self) -> HookFuture<T> {
        assert!(!self.panics, "the authenticator panics");
        Box::pin(pending())
    }
}

impl Authenticator for Once {
    fn method(&self) -> Utf8String {
        "QUIZ".try_into().unwrap()
    }

    fn begin(&mut self) -> HookFuture<Option<BinaryData>> {
        if std::mem::replace(&mut self.begun, true) && !self.accepts_again {
            return self.sleep();
        }
        Box::pin(async { Ok(None) })
    }

    fn answer(&mut self, _: AuthMessage) -> HookFuture<Option<BinaryData>> {
        self.sleep()
    }

    fn accept(&mut self, _: AuthMessage) -> HookFuture<()> {
        if std::mem::replace(&mut self.accepted, true) {
            return self.sleep();
        }
        Box::pin(async { Ok(()) })
    }
}

async fn once(accepts_again: bool, panics: bool) -> (Client, crate::scripted::Script) {
    let authenticator = Once {
        begun: false,
        accepted: false,
        accepts_again,
        panics,
    };
    let (client, _, mut network) = client(builder().authenticator(authenticator));
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send(success()).await;
    soon(client.connected()).await.unwrap();
    (client, server)
}

/// The session has no deadline for the authenticator's steps when it authenticates again: without
/// one of the driver's the call waited for ever.
#[tokio::test(start_paused = true)]
async fn authenticating_again_has_a_deadline_for_the_authenticator() {
    for accepts_again in [false, true] {
        let (client, mut server) = once(accepts_again, false).await;
        let start = tokio::time::Instant::now();
        let done = Auth {
            authentication_method: Some("QUIZ".try_into().unwrap()),
            ..Auth::new(AuthReasonCode::Success)
        };
        let (again, ()) = tokio::join!(soon(client.reauthenticate()), async {
            if accepts_again {
                server.packet().await;
                server.send(done).await;
            }
        });
        let late = GivenUp::for_now("the authenticator gave no answer in time");
        assert_eq!(again, Err(late.into()));
        assert_eq!(start.elapsed(), std::time::Duration::from_secs(10));
    }
}

/// An authenticator that panicked ended the driver, and every waiter got "disconnected as asked".
#[tokio::test(start_paused = true)]
async fn a_panic_of_an_authenticator_is_caught_and_reported() {
    let (client, server) = once(false, true).await;
    let mut events = client.events();
    let again = soon(client.reauthenticate()).await;
    assert!(
        matches!(&again, Err(AuthenticateError::GivenUp(why)) if why.to_string().contains("panicked"))
    );
    assert_eq!(
        soon(events.next()).await,
        Some(ClientEvent::HookPanicked(Callback::Authenticator))
    );
    assert!(
        client.connection().is_some(),
        "the connection that there is goes on"
    );
    drop(server);

    let (client, _, mut network) = {
        let authenticator = Once {
            begun: false,
            accepted: false,
            accepts_again: false,
            panics: true,
        };
        crate::scripted::client(builder().authenticator(authenticator))
    };
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send(challenge("1 + 1?")).await;
    let server = tokio::spawn(server.rest());
    let error = soon(client.connected()).await.unwrap_err();
    assert!(
        error.to_string().contains("the authenticator panicked"),
        "{error}"
    );
    assert!(matches!(
        soon(server).await.unwrap()[..],
        [Packet::Disconnect(_)]
    ));
}
