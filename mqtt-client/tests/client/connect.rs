//! Making the first connection, and all the ways in which that fails.

use crate::scripted::{builder, client, connected, is_pending, network, settle, soon, stopped};
use martlet_broker::BrokerConfig;
use martlet_broker::tokio::Server;
use martlet_client::Reconnect;
use martlet_client::session::CleanStart;
use martlet_client::{
    Client, ConnectError, ConnectionError, Version, proto::Packet, runtime::SocketOptions,
    session::TransportErrorKind,
};
use martlet_proto::{ConnAck, ConnectReasonCode, DisconnectReasonCode};
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

fn transport(error: &ConnectError) -> Option<TransportErrorKind> {
    match error {
        ConnectError::Connection(ConnectionError::Transport(error)) => Some(error.kind()),
        _ => None,
    }
}

fn rejected(error: &ConnectError) -> Option<ConnectReasonCode> {
    match error {
        ConnectError::Connection(ConnectionError::Rejected(rejection)) => Some(rejection.reason),
        _ => None,
    }
}

#[tokio::test]
async fn nothing_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("mqtt://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = soon(martlet_tokio::connect(&uri)).await.unwrap_err();
    assert_eq!(
        transport(&error),
        Some(TransportErrorKind::Connect),
        "{error}"
    );
}

#[tokio::test]
async fn wrong_uris_are_rejected_before_anything_is_dialled() {
    for uri in [
        "mq://x",
        "mq://x\"",
        "localhost",
        "",
        "mqtt://",
        "mqtt://x:0",
        "mqtt://x:99999",
    ] {
        let error = martlet_tokio::connect(uri).await.unwrap_err();
        assert!(matches!(error, ConnectError::Uri(_)), "{uri}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_rejection_is_told_with_its_code_and_not_repeated() {
    for &reason in ConnectReasonCode::ALL {
        if !reason.is_error() || reason == ConnectReasonCode::UnsupportedProtocolVersion {
            continue;
        }
        let (client, _, mut network) = client(builder());
        let mut server = network.dial().await.open();
        server.reject(reason).await;
        let error = soon(client.connected()).await.unwrap_err();
        assert_eq!(rejected(&error), Some(reason), "{error}");
        assert_eq!(
            server.rest().await,
            [],
            "nothing is sent to a server that rejected"
        );
        stopped(&client).await;
        assert!(network.try_dial().await.is_none(), "{reason}");
    }
    for (code, reason) in [
        (2, ConnectReasonCode::ClientIdentifierNotValid),
        (3, ConnectReasonCode::ServerUnavailable),
        (4, ConnectReasonCode::BadUserNameOrPassword),
        (5, ConnectReasonCode::NotAuthorized),
    ] {
        let (client, _, mut network) = client(builder().version(Version::V3_1_1));
        let mut server = network.dial().await.open();
        server.connect().await;
        // EOF together with the last bytes.
        server.send_bytes(&[0x20, 2, 0, code]).await;
        drop(server);
        assert_eq!(
            rejected(&soon(client.connected()).await.unwrap_err()),
            Some(reason)
        );
    }
}

#[tokio::test]
async fn the_brokers_rejection_over_tcp() {
    let config = BrokerConfig::default().with_user("me", "secret").unwrap();
    let server = Server::start(config).await.unwrap();
    let address = server.local_addr();
    for uri in [
        format!("mqtt://me:wrong@{address}"),
        format!("mqtt://you:secret@{address}"),
    ] {
        let error = soon(martlet_tokio::connect(&uri)).await.unwrap_err();
        assert_eq!(
            rejected(&error),
            Some(ConnectReasonCode::BadUserNameOrPassword)
        );
        assert!(!format!("{error:?}").contains("wrong"));
    }
    let client = soon(martlet_tokio::connect(format!(
        "mqtt://me:secret@{address}"
    )))
    .await
    .unwrap();
    assert_eq!(client.connection().unwrap().version, Version::V5);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_not_mqtt_end_the_attempt_with_a_reason() {
    let first_publish = [0x30, 4, 0, 1, b'a', 0];
    for (bytes, reason) in [
        (
            [0x20, 0xff, 0xff, 0xff, 0xff, 0xff],
            DisconnectReasonCode::MalformedPacket,
        ),
        (first_publish, DisconnectReasonCode::ProtocolError),
    ] {
        let (client, _, mut network) = client(builder().version(Version::V5));
        let mut server = network.dial().await.open();
        server.connect().await;
        server.send_bytes(&bytes).await;
        let error = soon(client.connected()).await.unwrap_err();
        assert!(
            matches!(
                error,
                ConnectError::Connection(
                    ConnectionError::Malformed(_)
                        | ConnectionError::PeerMisbehaved(_)
                        | ConnectionError::NoConnAck { .. }
                )
            ),
            "{error}"
        );
        let said = server.rest().await;
        match &said[..] {
            [Packet::Disconnect(disconnect)] => assert_eq!(disconnect.reason, reason),
            other => panic!("{other:?}"),
        }
    }
}

/// A web server, or a portal of the network, answered MQTT: "malformed packet" was what was said of
/// it. It says where and what to try, and it passes: the next network may have no portal.
#[tokio::test(start_paused = true)]
async fn an_answer_of_http_is_told_with_what_to_try() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    match soon(client.connected()).await {
        Err(ConnectError::Connection(ConnectionError::Transport(error))) => {
            let text = error.to_string();
            assert!(
                text.contains("answered with HTTP") && text.contains("try ws://test:1883"),
                "{text}"
            );
            assert!(!error.is_permanent());
        }
        other => panic!("{other:?}"),
    }
}

/// Servers of TLS hang up on MQTT without a word: "closed by the server" at port 8883 did not help.
#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_at_the_port_for_tls_may_want_it() {
    let (client, _, mut network) = client(Client::builder("mqtt://test:8883"));
    let mut server = network.dial().await.open();
    server.connect().await;
    drop(server);
    let error = soon(client.connected()).await.unwrap_err().to_string();
    assert!(error.contains("try mqtts://test:8883"), "{error}");
}

/// An SSH server has the first word. It used to be overheard when it came before the CONNECT, and a
/// CONNACK waited for.
#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_first_is_heard() {
    let (client, _, mut network) = client(builder());
    let start = tokio::time::Instant::now();
    let mut server = network.dial().await.open();
    server.send_bytes(b"SSH-2.0-OpenSSH_9.6\r\n").await;
    let connected = soon(client.connected()).await;
    assert!(
        matches!(
            connected,
            Err(ConnectError::Connection(ConnectionError::Malformed(_)))
        ),
        "{connected:?}"
    );
    drop(server);
    assert!(
        start.elapsed() <= Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

/// A port that accepts and closes at once, such as a balancer without servers, has said nothing
/// about versions.
#[tokio::test(start_paused = true)]
async fn an_end_before_the_connect_is_no_answer_to_it() {
    let (_client, _, mut network) =
        client(builder().reconnect(Reconnect::default().retry_first(true)));
    for _ in 0..4 {
        drop(network.dial().await.open());
    }
    assert_eq!(
        network.dial().await.open().connect().await.version,
        Version::V5
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers() {
    // It reads, or it does not even do that.
    for stream in [64 * 1024, 1] {
        let (client, _, mut network) = client(builder().version(Version::V5));
        let start = tokio::time::Instant::now();
        let server = network.dial().await.open_with(stream);
        let error = soon(client.connected()).await.unwrap_err().to_string();
        let expected = "no answer in time to the CONNECT of MQTT 5; if the server speaks another version, set that: \
                        `Builder::version`, or `martlet.version` in a configuration";
        assert_eq!(error, expected);
        assert!(
            (10..=12).contains(&start.elapsed().as_secs()),
            "{:?}",
            start.elapsed()
        );
        drop(server);
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_connack_is_none() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open();
    server.connect().await;
    server.send_bytes(&[0x20, 3, 0]).await;
    let error = soon(client.connected()).await.unwrap_err();
    assert_eq!(error.to_string(), "no CONNACK from the server in time");
}

#[tokio::test(start_paused = true)]
async fn a_connack_may_come_byte_by_byte() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open();
    server.connect().await;
    for byte in [0x20, 3, 0, 0, 0] {
        server.send_bytes(&[byte]).await;
        settle().await;
    }
    soon(client.connected()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dial_has_a_deadline_and_is_given_up_then() {
    let (client, _, mut network) = client(builder().dial_timeout(Duration::from_secs(3)));
    let start = tokio::time::Instant::now();
    let mut dial = network.dial().await;
    let error = soon(client.connected()).await.unwrap_err();
    assert_eq!(
        transport(&error),
        Some(TransportErrorKind::ConnectTimeout),
        "{error}"
    );
    assert_eq!(start.elapsed().as_secs(), 3);
    soon(dial.given_up()).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_nobody_waits_for_any_more_ends() {
    let (client, driver, mut network) = client(builder());
    let mut dial = network.dial().await;
    drop(client);
    soon(dial.given_up()).await;
    assert_eq!(soon(driver).await.unwrap(), ConnectionError::ClosedHere);
}

/// The server knows 3.1.1 only, and says so as 3.1.1 does, or as MQTT 5 does. Once known it is
/// remembered.
#[tokio::test(start_paused = true)]
async fn a_rejected_level_falls_back_to_3_1_1_at_once() {
    for answer in [&[0x20, 2, 0, 1][..], &[0x20, 3, 0, 0x84, 0]] {
        let (client, _, mut network) = client(builder());
        let start = tokio::time::Instant::now();
        let mut server = network.dial().await.open();
        assert_eq!(server.connect().await.version, Version::V5);
        server.send_bytes(answer).await;
        let mut server = network.dial().await.open();
        assert_eq!(server.accept(false).await.version, Version::V3_1_1);
        assert_eq!(
            soon(client.connected()).await.unwrap().version,
            Version::V3_1_1
        );
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(server);
        assert_eq!(
            network.dial().await.open().connect().await.version,
            Version::V3_1_1
        );
    }
}

/// It closes after CONNECT without a byte: once may be chance, twice is an answer.
#[tokio::test(start_paused = true)]
async fn two_silent_ends_fall_back_too() {
    let (client, _, mut network) = client(builder());
    for version in [Version::V5, Version::V5, Version::V3_1_1] {
        let mut server = network.dial().await.open();
        assert_eq!(server.connect().await.version, version);
        drop(server);
    }
    let error = soon(client.connected()).await.unwrap_err();
    assert_eq!(
        error,
        ConnectError::Connection(ConnectionError::ClosedByPeer)
    );
}

/// Only a CONNACK of success makes the older version stick.
#[tokio::test(start_paused = true)]
async fn an_older_version_that_did_not_work_is_not_remembered() {
    let (_client, _driver, mut network) =
        client(builder().reconnect(Reconnect::default().retry_first(true)));
    let mut server = network.dial().await.open();
    server
        .reject(ConnectReasonCode::UnsupportedProtocolVersion)
        .await;
    let mut server = network.dial().await.open();
    assert_eq!(server.connect().await.version, Version::V3_1_1);
    server.send_bytes(&[0x20, 2, 0, 3]).await;
    assert_eq!(
        network.dial().await.open().connect().await.version,
        Version::V5
    );
}

#[tokio::test(start_paused = true)]
async fn a_fixed_version_stays() {
    for version in Version::ALL {
        let (client, _, mut network) = client(builder().version(version));
        let mut server = network.dial().await.open();
        assert_eq!(server.connect().await.version, version);
        drop(server);
        soon(client.connected()).await.unwrap_err();
        assert!(network.try_dial().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn who_we_are_is_said_in_the_connect() {
    let uri = "mqtt://c%40mpl3x:p%2F%2F%7C%5C%3A%24%24@test";
    let (runtime, mut network) = network();
    let builder = Client::builder(uri).credentials("overruled", "as well");
    assert!(!format!("{builder:?}").contains("p//|"), "{builder:?}");
    let (client, driver) = builder
        .keep_alive(7)
        .clean_start(CleanStart::Never)
        .build(runtime)
        .unwrap();
    tokio::spawn(driver);
    let mut server = network.dial().await.open();
    let connect = server.accept(true).await;
    assert_eq!(connect.user_name.unwrap().as_str(), "c@mpl3x");
    assert_eq!(connect.password.unwrap().as_bytes(), b"p//|\\:$$");
    assert_eq!((connect.keep_alive, connect.clean_start), (7, false));
    let name = connect.client_identifier.as_str();
    assert!(name.starts_with("martlet") && name.len() == 23, "{name}");
    assert!(soon(client.connected()).await.unwrap().session_present);
}

/// A server on TCP that says nothing but bytes of its own, and sees ours to the end.
#[tokio::test]
async fn the_last_bytes_reach_the_server_before_the_socket_goes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("mqtt://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = [0; 8];
        socket.read_exact(&mut head).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, &[0xff; 16])
            .await
            .unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        rest
    });
    let error = soon(martlet_tokio::connect(&uri)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Connection(ConnectionError::Malformed(_))
        ),
        "{error}"
    );
    assert!(
        soon(server).await.unwrap().ends_with(&[0xe0, 1, 0x81]),
        "DISCONNECT with malformed packet"
    );
}

/// Dropping the future leaves the client as it was.
#[tokio::test(start_paused = true)]
async fn waiting_for_a_connection_can_be_given_up_at_any_time() {
    let (client, _, mut network) = client(builder());
    for _ in 0..3 {
        assert!(is_pending(&mut pin!(client.connected())));
    }
    let mut server = network.dial().await.open();
    server.connect().await;
    assert!(is_pending(&mut pin!(client.connected())));
    server.send(ConnAck::new(ConnectReasonCode::Success)).await;
    soon(client.connected()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connected_client_tells_what_the_server_said() {
    let (client, _server, _network) = connected(builder()).await;
    let connection = client.connection().unwrap();
    assert!(!connection.session_present);
    assert_eq!(connection.version, Version::V5);
}

/// A server that rejects and holds on to the connection, against the rules.
// [MQTT-3.2.2-5] [MQTT-3.2.2-7]
#[tokio::test(start_paused = true)]
async fn after_a_rejection_the_client_closes() {
    for version in [Version::V3_1_1, Version::V5] {
        let (client, _, mut network) = client(builder().version(version));
        let mut server = network.dial().await.open();
        server.reject(ConnectReasonCode::NotAuthorized).await;
        assert_eq!(soon(server.rest()).await, []);
        assert!(soon(client.connected()).await.is_err());
    }
}

/// An error that the system has at once is not taken for a connection that is under way.
#[test]
fn a_socket_that_cannot_connect_says_so_at_once() {
    let nowhere = "255.255.255.255:1883".parse().unwrap();
    assert!(SocketOptions::default().connect(nowhere).is_err());
}
