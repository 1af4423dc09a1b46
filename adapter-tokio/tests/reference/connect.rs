//! 1–3, 10–14, 16: connecting, and why it can fail. (4–9, 18 and 19 need TLS or WebSocket.)

use super::peer::Peer;
use super::{broker, broker_with, connect, events, settings, try_connect};
use martlet_broker::{BrokerConfig, BrokerEvent, Ending};
use martlet_proto::{ConnectReasonCode, DisconnectReasonCode};
use martlet_tokio::{
    Client, ConnectError, ConnectionError,
    session::{Instead, TransportErrorKind},
    transport::UriError,
};
use std::time::Duration;

fn rejection(error: &ConnectError) -> ConnectReasonCode {
    match error {
        ConnectError::Connection(ConnectionError::Rejected(rejection)) => rejection.reason,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn t01_connects_and_disconnects_cleanly() {
    let broker = broker().await;
    let client = connect(&settings(broker.uri() + "/")).await;
    client.disconnect().await;
    let ending = Ending::Client(DisconnectReasonCode::NormalDisconnection);
    let clean = |event: &BrokerEvent| matches!(event, BrokerEvent::Disconnected { ending: how, .. } if *how == ending);
    assert!(events(&broker).iter().any(clean));
}

#[tokio::test]
async fn t02_user_name_and_password_are_percent_decoded() {
    let config = BrokerConfig::default()
        .with_user("c@mpl3x", "p//|\\:$$")
        .unwrap();
    let broker = broker_with(config).await;
    let uri = broker
        .uri()
        .replace("mqtt://", "mqtt://c%40mpl3x:p%2F%2F%7C%5C%3A%24%24@");
    connect(&settings(uri)).await.disconnect().await;
}

#[tokio::test]
async fn t03_a_user_without_a_password() {
    let peer = Peer::start().await;
    let settings = settings(peer.uri().replace("mqtt://", "mqtt://ann@"));
    let server = async {
        let connect = peer.socket().await.connect().await;
        assert_eq!(connect.user_name.unwrap().as_str(), "ann");
        assert_eq!(connect.password, None);
    };
    tokio::select! {
        () = server => {}
        _ = try_connect(&settings) => panic!("nobody answers"),
    }
}

/// A port that nobody listens on.
async fn dead_uri() -> String {
    Peer::start().await.uri()
}

#[tokio::test]
async fn t10_nobody_listens() {
    let mut settings = settings(dead_uri().await);
    settings.auto_reconnect = false;
    let error = try_connect(&settings).await.unwrap_err();
    let ConnectError::Connection(ConnectionError::Transport(error)) = error else {
        panic!("{error}")
    };
    assert_eq!(error.kind(), TransportErrorKind::Connect);
}

#[tokio::test]
async fn t11_a_broken_uri() {
    assert!(matches!(
        Client::builder("\"mqtt://someplace").check(),
        Err(ConnectError::Uri(UriError::NotAUri(_)))
    ));
    let error = try_connect(&settings("\"mqtt://someplace"))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Settings(_)), "{error}");
}

#[tokio::test]
async fn t12_an_unknown_scheme() {
    for uri in ["mq://someplace", "\"mq://someplace"] {
        assert!(
            matches!(Client::builder(uri).check(), Err(ConnectError::Uri(_))),
            "{uri}"
        );
        assert!(settings(uri).builder().is_err(), "{uri}");
    }
}

#[tokio::test]
async fn t13_a_server_that_says_nothing() {
    let peer = Peer::start().await;
    let mut settings = settings(peer.uri());
    settings.auto_reconnect = false;
    settings.connection_timeout = Duration::from_millis(50);
    let error = try_connect(&settings).await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Connection(ConnectionError::NoConnAck {
                instead: Instead::Silence,
                ..
            })
        ),
        "{error}"
    );
}

/// amqtt's inputs: `{"auto_reconnect": False, "connection_timeout": 2}`, and a port that nobody
/// listens on.
#[tokio::test]
async fn t13_a_timeout_of_connecting_and_nobody_listens() {
    let mut settings = settings(dead_uri().await);
    settings.auto_reconnect = false;
    settings.connection_timeout = Duration::from_secs(2);
    assert!(matches!(
        try_connect(&settings).await,
        Err(ConnectError::Connection(ConnectionError::Transport(_)))
    ));
}

/// With the code, although the client would connect again: a password does not become right.
#[tokio::test]
async fn t14_a_wrong_password_is_told_with_its_code() {
    let broker = broker_with(BrokerConfig::default().with_user("ann", "right").unwrap()).await;
    let wrong = settings(broker.uri().replace("mqtt://", "mqtt://ann:wrong@"));
    assert!(wrong.auto_reconnect);
    assert_eq!(
        rejection(&try_connect(&wrong).await.unwrap_err()),
        ConnectReasonCode::BadUserNameOrPassword
    );
    let nobody = settings(broker.uri());
    let rejected = rejection(&try_connect(&nobody).await.unwrap_err());
    assert_eq!(
        (rejected, rejected.return_code()),
        (ConnectReasonCode::NotAuthorized, Some(5))
    );
    let rejected = events(&broker)
        .iter()
        .filter(|event| matches!(event, BrokerEvent::Rejected { .. }))
        .count();
    assert_eq!(rejected, 2, "each is asked once");
}

/// amqtt sends it and raises an error with the server's return code 2. What every server must
/// reject is not sent here: 3.1.1 has no session without a name (3.1.1 §3.1.3.1).
#[tokio::test]
async fn t16_no_client_identifier_without_a_clean_session() {
    let broker = broker().await;
    let mut settings = settings(broker.uri());
    settings.cleansession = false;
    settings.martlet.client_identifier = Some(String::new());
    let error = try_connect(&settings).await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Connection(ConnectionError::CannotConnect { .. })
        ),
        "{error}"
    );
    assert!(!broker.has_session(""));
}
