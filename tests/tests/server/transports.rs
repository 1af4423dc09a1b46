//! TCP, Unix sockets, TLS and WebSocket carry MQTT to the broker.

use crate::{
    CONNACK, CONNECT, Frames, PINGREQ, PINGRESP, PUBLISH, SUBACK, SUBSCRIBE, binary, exchange,
    exchange_frames, known, large, nobody, rest, socket, tls, upgrade,
};
use martlet_broker::{BrokerConfig, Memory};
use martlet_tests::server::{ServerWebSocket, Setup, TestServer};
use std::io;
use std::net::Ipv6Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn tcp_and_unix_carry_mqtt_and_come_back() {
    for setup in [Setup::tcp(), Setup::unix()] {
        let server = TestServer::start(setup).await;
        for end in ["kill", "cut"] {
            let mut client = socket(&server).await;
            exchange(&mut client, CONNECT, CONNACK).await;
            exchange(&mut client, SUBSCRIBE, SUBACK).await;
            exchange(&mut client, &large(), &large()).await;
            if end == "kill" {
                server.kill(Memory::Lost).await;
                server.revive().await;
            } else {
                server.cut().await;
            }
            assert!(rest(client).await.0.is_empty());
        }
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_killed_server_listens_no_more() {
    for setup in [Setup::tcp(), Setup::unix()] {
        let server = TestServer::start(setup).await;
        server.kill(Memory::Lost).await;
        let rejected = match server.uri().strip_prefix("mqtt+unix://") {
            Some(path) => UnixStream::connect(path).await.map(drop),
            None => TcpStream::connect(server.socket_addr()).await.map(drop),
        };
        assert_eq!(
            rejected.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }
}

#[tokio::test]
async fn tls_carries_mqtt() {
    for (setup, config, certificate) in [
        (Setup::tls(), nobody(), false),
        (Setup::mutual_tls(), known(), true),
    ] {
        let server = TestServer::start(setup).await;
        for name in ["localhost", "127.0.0.1", "::1"] {
            let mut client = tls(socket(&server).await, config.clone(), name)
                .await
                .unwrap();
            exchange(&mut client, CONNECT, CONNACK).await;
            exchange(&mut client, SUBSCRIBE, SUBACK).await;
            exchange(&mut client, &large(), &large()).await;
            // The server takes its leave: an end without an error.
            client.write_all(b"\xe0\x00").await.unwrap();
            assert_eq!(rest(client).await.1.unwrap(), 0);
        }
        let names: Vec<_> = server
            .seen()
            .into_iter()
            .map(|seen| seen.server_name)
            .collect();
        assert_eq!(names, [Some("localhost".to_owned()), None, None]);
        assert!(
            server
                .seen()
                .iter()
                .all(|seen| seen.has_client_certificate == certificate)
        );
    }
    let server = TestServer::start_on(Ipv6Addr::LOCALHOST.into(), Setup::tls()).await;
    assert!(server.uri().starts_with("mqtts://[::1]:"));
    let mut client = tls(socket(&server).await, nobody(), "::1").await.unwrap();
    exchange(&mut client, CONNECT, CONNACK).await;
}

#[tokio::test]
async fn websocket_carries_mqtt() {
    let server = TestServer::start(Setup::tcp().websocket()).await;
    assert!(server.uri().starts_with("ws://127.0.0.1:"));
    let mut client = upgrade(socket(&server).await).await.unwrap();
    exchange_frames(&mut client, CONNECT, CONNACK).await;
    exchange_frames(&mut client, SUBSCRIBE, SUBACK).await;
    exchange_frames(&mut client, &large(), &large()).await;
    // A packet in pieces; the server takes its leave.
    client.say(binary(b"\xe0")).await.unwrap();
    client.say(binary(b"\x00")).await.unwrap();
    assert!(matches!(
        client.hear().await,
        Some(Ok(Message::Close(None)))
    ));
    assert!(client.hear().await.is_none());
    // The client does.
    let mut client = upgrade(socket(&server).await).await.unwrap();
    client.say(Message::Close(None)).await.unwrap();
    assert!(matches!(
        client.hear().await,
        Some(Ok(Message::Close(None)))
    ));
    assert!(client.hear().await.is_none());
    let seen = &server.seen()[0];
    assert_eq!(seen.path.as_deref(), Some("/mqtt?a=b"));
    assert_eq!(seen.header("sec-websocket-protocol"), Some("mqtt"));
}

#[tokio::test]
async fn websocket_over_tls_carries_mqtt() {
    let server = TestServer::start(Setup::mutual_tls().websocket()).await;
    assert!(server.uri_by_name().starts_with("wss://localhost:"));
    let stream = tls(socket(&server).await, known(), "localhost")
        .await
        .unwrap();
    let mut client = upgrade(stream).await.unwrap();
    exchange_frames(&mut client, CONNECT, CONNACK).await;
    exchange_frames(&mut client, PINGREQ, PINGRESP).await;
}

#[tokio::test]
async fn other_subprotocols() {
    for subprotocol in [None, Some("mqttv3.1")] {
        let websocket = Some(ServerWebSocket {
            subprotocol,
            ..ServerWebSocket::default()
        });
        let server = TestServer::start(Setup {
            websocket,
            ..Setup::tcp()
        })
        .await;
        let mut client = socket(&server).await;
        let request = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        let header = head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(header, subprotocol);
    }
    // Frames of few bytes.
    let websocket = Some(ServerWebSocket {
        frame_size: 3,
        ..ServerWebSocket::default()
    });
    let server = TestServer::start(Setup {
        websocket,
        ..Setup::tcp()
    })
    .await;
    let mut client = upgrade(socket(&server).await).await.unwrap();
    client.say(binary(CONNECT)).await.unwrap();
    assert_eq!(client.hear().await.unwrap().unwrap(), binary(&CONNACK[..3]));
    assert_eq!(client.hear().await.unwrap().unwrap(), binary(&CONNACK[3..]));
}

/// The configuration reaches the broker, whatever is in front of it.
#[tokio::test]
async fn the_broker_is_the_one_that_was_asked_for() {
    let config = BrokerConfig::default().record_events(true);
    let server = TestServer::start(Setup::tls().websocket().broker(config)).await;
    let stream = tls(socket(&server).await, nobody(), "localhost")
        .await
        .unwrap();
    let mut client = upgrade(stream).await.unwrap();
    exchange_frames(&mut client, CONNECT, CONNACK).await;
    exchange_frames(&mut client, &[PUBLISH, PINGREQ].concat(), PINGRESP).await;
    assert!(!server.events().await.is_empty());
    assert!(server.events().await.is_empty());
}
