//! Several servers: whose turn it is, and where servers refer to.

use crate::scripted::{builder, client, soon, stopped};
use martlet_client::{Client, ConnectionError, Reconnect};
use martlet_proto::{ConnAck, ConnectReasonCode, Disconnect, DisconnectReasonCode};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn servers_are_tried_in_turn() {
    let uris = ["mqtt://10.0.0.1", "mqtt://10.0.0.2", "mqtt://10.0.0.3:9"];
    let build = || {
        let builder = Client::builder(uris[0]).seed(1);
        builder.server(uris[1]).server(uris[2])
    };
    for enabled in [true, false] {
        let (client, _, mut network) =
            client(build().reconnect(Reconnect::default().enabled(enabled)));
        let start = Instant::now();
        for address in [
            "mqtt://10.0.0.1:1883",
            "mqtt://10.0.0.2:1883",
            "mqtt://10.0.0.3:9",
        ] {
            let dial = network.dial().await;
            assert_eq!(dial.endpoint.to_string(), address);
            dial.reject();
        }
        soon(client.connected()).await.unwrap_err();
        assert_eq!(
            start.elapsed(),
            Duration::ZERO,
            "at once, and the first round only"
        );
        assert!(network.try_dial().await.is_none());
    }
    let (client, _, mut network) = client(build());
    network.dial().await.reject();
    let server = network.accept().await;
    soon(client.connected()).await.unwrap();
    drop(server);
    let dial = network.dial().await;
    assert_eq!(
        dial.endpoint.to_string(),
        "mqtt://10.0.0.3:9",
        "the next one, at once"
    );
    dial.reject();
    assert_eq!(
        network.dial().await.endpoint.to_string(),
        "mqtt://10.0.0.1:1883"
    );
}

/// One server's rejection used to end the client, whatever others there were. It is left out for as
/// long as the longest interval.
#[tokio::test(start_paused = true)]
async fn a_server_that_rejects_for_good_is_left_out() {
    let builder = Client::builder("mqtt://one").server("mqtt://two").seed(1);
    let (client, _, mut network) = client(builder);
    network.reject(ConnectReasonCode::NotAuthorized).await;
    for _ in 0..3 {
        let dial = network.dial().await;
        assert_eq!(dial.endpoint.host(), "two");
        let mut server = dial.open();
        server.accept(false).await;
        soon(client.connected()).await.unwrap();
    }
    let dial = network.dial().await;
    assert_eq!(dial.endpoint.host(), "two");
    dial.open().reject(ConnectReasonCode::Banned).await;
    // Both rest, and then there is another attempt.
    let _server = network.accept().await;
    soon(client.connected()).await.unwrap();
}

fn rejection(reason: ConnectReasonCode, reference: &str) -> ConnAck {
    let mut rejection = ConnAck::new(reason);
    rejection.properties.server_reference = Some(reference.try_into().unwrap());
    rejection
}

/// Until somebody allows it, a Server Reference is a rejection.
#[tokio::test(start_paused = true)]
async fn a_server_reference_is_not_followed_unasked() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open();
    server.connect().await;
    server
        .send(rejection(ConnectReasonCode::UseAnotherServer, "other"))
        .await;
    assert!(network.try_dial().await.is_none());
    assert!(matches!(
        stopped(&client).await,
        ConnectionError::Rejected(_)
    ));
}

/// For the time being: the next connection is to the server that we know.
#[tokio::test(start_paused = true)]
async fn another_server_is_used_once() {
    let uri = "mqtt://user:secret@test";
    let builder = Client::builder(uri)
        .seed(1)
        .reconnect(Reconnect::default().server_references(1));
    let (client, _, mut network) = client(builder);
    let start = Instant::now();
    let mut server = network.dial().await.open();
    assert_eq!(server.connect().await.user_name.unwrap().as_str(), "user");
    server
        .send(rejection(
            ConnectReasonCode::UseAnotherServer,
            "other.example:99 third",
        ))
        .await;
    let dial = network.dial().await;
    assert_eq!(
        (dial.endpoint.to_string(), start.elapsed()),
        ("mqtt://other.example:99".into(), Duration::ZERO)
    );
    let mut server = dial.open();
    let connect = server.accept(false).await;
    assert_eq!(
        (connect.user_name, connect.password),
        (None, None),
        "another host gets no credentials"
    );
    soon(client.connected()).await.unwrap();
    drop(server);
    assert_eq!(
        network.dial().await.endpoint.to_string(),
        "mqtt://test:1883"
    );
}

/// It takes the place of the one that has moved; on the same host, or when allowed, it gets the
/// credentials.
#[tokio::test(start_paused = true)]
async fn a_server_that_has_moved_is_found_again() {
    for (reference, elsewhere, is_told) in [
        ("test:99", false, true),
        ("other:99", false, false),
        ("other:99", true, true),
    ] {
        let builder = Client::builder("mqtt://user:secret@test")
            .seed(1)
            .reconnect(
                Reconnect::default()
                    .server_references(1)
                    .credentials_elsewhere(elsewhere),
            );
        let (client, _, mut network) = client(builder);
        let mut server = network.accept().await;
        soon(client.connected()).await.unwrap();
        let mut moved = Disconnect::new(DisconnectReasonCode::ServerMoved);
        moved.server_reference = Some(reference.try_into().unwrap());
        server.send(moved).await;
        for _ in 0..2 {
            let dial = network.dial().await;
            assert_eq!(dial.endpoint.to_string(), format!("mqtt://{reference}"));
            let connect = dial.open().accept(false).await;
            assert_eq!(
                (connect.user_name.is_some(), connect.password.is_some()),
                (is_told, is_told)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn servers_that_refer_to_each_other_are_not_followed_for_ever() {
    let (_client, _, mut network) =
        client(builder().reconnect(Reconnect::default().server_references(5)));
    let start = Instant::now();
    for dials in 0..24 {
        let mut server = network.dial().await.open();
        server.accept(false).await;
        let mut away = Disconnect::new(DisconnectReasonCode::UseAnotherServer);
        away.server_reference = Some(["one", "two"][dials % 2].try_into().unwrap());
        server.send(away).await;
    }
    // After each row of six there is a wait.
    assert!(start.elapsed() > Duration::ZERO);
}

/// Following references is bounded for each wait, not for ever.
#[tokio::test(start_paused = true)]
async fn references_are_followed_again_after_each_wait() {
    let policy = Reconnect::default().retry_first(true).server_references(1);
    let (_client, _, mut network) = client(builder().reconnect(policy));
    for _ in 0..3 {
        let mut server = network.dial().await.open();
        server.connect().await;
        let away = ConnectReasonCode::UseAnotherServer;
        server.send(rejection(away, "other.example")).await;
        let dial = network.dial().await;
        assert_eq!(dial.endpoint.to_string(), "mqtt://other.example:1883");
        dial.reject();
    }
}

/// What cannot be said in 3.x is found out when that is asked for, and not asked again.
#[tokio::test(start_paused = true)]
async fn a_password_alone_needs_mqtt_5() {
    let (client, _, mut network) = client(Client::builder("mqtt://:secret@test"));
    let mut server = network.dial().await.open();
    let connect = server.connect().await;
    assert_eq!(
        (connect.user_name, connect.password.unwrap().as_bytes()),
        (None, &b"secret"[..])
    );
    server.send_bytes(&[0x20, 2, 0, 1]).await;
    let _second = network.dial().await.open();
    let error = soon(client.connected()).await.unwrap_err();
    let error = format!("{:#}", martlet_client::Error::from(error));
    assert!(error.contains("password"), "{error}");
    assert!(matches!(
        stopped(&client).await,
        ConnectionError::CannotConnect { .. }
    ));
    assert!(network.try_dial().await.is_none());
}
