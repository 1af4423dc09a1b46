//! What a server does wrong is what was asked for.

use crate::{
    CONNACK, CONNECT, Frames, PINGREQ, PINGRESP, binary, exchange, exchange_frames, nobody, rest,
    socket, tls, upgrade,
};
use martlet_tests::server::{
    Fault, FaultEnd, Level, Opcode, Seen, Setup, TestServer, frame, frame_that_claims,
};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

#[tokio::test]
async fn drips_arrive_whole() {
    for level in [Level::Socket, Level::Records, Level::Stream] {
        // Without WebSocket: this client takes an answer to its request in drips for an attack.
        let server = TestServer::start(Setup::tls().fault(Fault::Drips(level))).await;
        let mut stream = tls(socket(&server).await, nobody(), "localhost")
            .await
            .unwrap();
        stream.write_all(CONNECT).await.unwrap();
        let mut heard = vec![0; CONNACK.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, CONNACK);
    }
    for level in [Level::Frames, Level::Packets] {
        let server = TestServer::start(Setup::tls().websocket().fault(Fault::Drips(level))).await;
        let stream = tls(socket(&server).await, nobody(), "localhost")
            .await
            .unwrap();
        let mut client = upgrade(stream).await.unwrap();
        client.say(binary(CONNECT)).await.unwrap();
        let first = client.hear().await.unwrap().unwrap().into_data();
        if level == Level::Packets {
            // Each byte has a frame of its own.
            assert_eq!(first, CONNACK[..1]);
            for byte in &CONNACK[1..] {
                assert_eq!(
                    client.hear().await.unwrap().unwrap().into_data(),
                    [*byte][..]
                );
            }
        } else {
            assert_eq!(first, CONNACK);
        }
    }
    // Over a stream that keeps its writes apart from each other they come one by one.
    let setup = Setup::tcp().fault(Fault::Drips(Level::Socket));
    let (mut here, there) = duplex(64);
    let mut accepted = setup
        .accept(there, &mut Seen::default())
        .await
        .unwrap()
        .unwrap();
    for n in 1..4 {
        assert_eq!(accepted.write(CONNACK).await.unwrap(), 1);
        let mut heard = [0; 8];
        assert_eq!(here.read(&mut heard).await.unwrap(), 1, "{n}");
    }
}

#[tokio::test]
async fn cut_in_the_middle() {
    let cut = |at, after| Fault::Ends {
        at,
        after,
        end: FaultEnd::Cut,
    };
    // Of a packet.
    let server = TestServer::start(Setup::tcp().fault(cut(Level::Socket, 5))).await;
    let mut client = socket(&server).await;
    exchange(&mut client, CONNECT, CONNACK).await;
    client.write_all(PINGREQ).await.unwrap();
    assert_eq!(rest(client).await.0, PINGRESP[..1]);
    // Of the handshake.
    let server = TestServer::start(Setup::tls().fault(cut(Level::Socket, 100))).await;
    let error = tls(socket(&server).await, nobody(), "localhost")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    // Of a record: the handshake is over, and no record comes whole.
    let server = TestServer::start(Setup::tls().fault(cut(Level::Records, 7))).await;
    let mut client = tls(socket(&server).await, nobody(), "localhost")
        .await
        .unwrap();
    client.write_all(CONNECT).await.unwrap();
    assert_eq!(
        client.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );
    // Between two packets, whole records, without a close_notify.
    let server = TestServer::start(Setup::tls().fault(cut(Level::Packets, CONNACK.len()))).await;
    let mut client = tls(socket(&server).await, nobody(), "localhost")
        .await
        .unwrap();
    exchange(&mut client, CONNECT, CONNACK).await;
    assert_eq!(
        client.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );
    // The same with it.
    let close = Fault::Ends {
        at: Level::Packets,
        after: CONNACK.len(),
        end: FaultEnd::Close,
    };
    let server = TestServer::start(Setup::tls().fault(close.clone())).await;
    let mut client = tls(socket(&server).await, nobody(), "localhost")
        .await
        .unwrap();
    exchange(&mut client, CONNECT, CONNACK).await;
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    // Of a frame.
    let server = TestServer::start(Setup::tcp().websocket().fault(cut(Level::Frames, 3))).await;
    let mut client = upgrade(socket(&server).await).await.unwrap();
    client.say(binary(CONNECT)).await.unwrap();
    let error = client.hear().await.unwrap().unwrap_err();
    let reset = tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake);
    assert_eq!(error.to_string(), reset.to_string());
    // Between two frames, with a close frame.
    let server = TestServer::start(Setup::tcp().websocket().fault(close)).await;
    let mut client = upgrade(socket(&server).await).await.unwrap();
    exchange_frames(&mut client, CONNECT, CONNACK).await;
    assert!(matches!(
        client.hear().await,
        Some(Ok(Message::Close(None)))
    ));
    // Of the answer to the upgrade.
    let server = TestServer::start(Setup::tcp().websocket().fault(cut(Level::Stream, 20))).await;
    let error = upgrade(socket(&server).await).await.unwrap_err();
    assert!(
        matches!(
            error,
            tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete)
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_is_said_instead() {
    let says = |at, bytes: &[u8], end| Fault::Says {
        at,
        bytes: bytes.to_vec(),
        end,
    };
    // An alert where there is no TLS, and no TLS where an alert would be in place.
    for setup in [Setup::tcp(), Setup::tls()] {
        let alert = b"\x15\x03\x03\x00\x02\x02\x0a";
        let server =
            TestServer::start(setup.fault(says(Level::Socket, alert, FaultEnd::Close))).await;
        let mut client = socket(&server).await;
        client.write_all(CONNECT).await.unwrap();
        assert_eq!(rest(client).await.0, alert);
    }
    // After the TLS handshake, outside of it.
    let server =
        TestServer::start(Setup::tls().fault(says(Level::Records, PINGRESP, FaultEnd::Cut))).await;
    let mut client = tls(socket(&server).await, nobody(), "localhost")
        .await
        .unwrap();
    client.write_all(CONNECT).await.unwrap();
    assert_eq!(
        client.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
    // HTTP that is no upgrade, in TLS.
    let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nmqtt";
    let server = TestServer::start(Setup::tls().websocket().fault(says(
        Level::Stream,
        answer,
        FaultEnd::Close,
    )))
    .await;
    let stream = tls(socket(&server).await, nobody(), "localhost")
        .await
        .unwrap();
    match upgrade(stream).await {
        Err(tungstenite::Error::Http(response)) => {
            assert_eq!(response.status(), 404);
            assert_eq!(response.body().as_deref(), Some(&b"mqtt"[..]));
        }
        other => panic!("{other:?}"),
    }
    // Text, a ping, a frame that lies, and the end.
    let mut bytes = frame(Opcode::Text, b"text");
    bytes.extend(frame(Opcode::Ping, b"?"));
    bytes.extend(frame(Opcode::Binary, &[b'x'; 126]));
    bytes.extend(frame(Opcode::Binary, &[b'x'; 65536]));
    bytes.extend(frame_that_claims(5, Opcode::Binary, b"4444"));
    let setup = Setup::tcp()
        .websocket()
        .fault(says(Level::Frames, &bytes, FaultEnd::Cut));
    let server = TestServer::start(setup).await;
    let mut client = upgrade(socket(&server).await).await.unwrap();
    client.say(binary(CONNECT)).await.unwrap();
    let mut heard = async || client.hear().await.unwrap();
    assert_eq!(
        heard().await.unwrap(),
        Message::Text(Utf8Bytes::from_static("text"))
    );
    assert_eq!(heard().await.unwrap(), Message::Ping(b"?".to_vec().into()));
    assert_eq!(heard().await.unwrap(), binary(&[b'x'; 126]));
    assert_eq!(heard().await.unwrap(), binary(&[b'x'; 65536]));
    heard().await.unwrap_err();
    // MQTT that lies, in a frame.
    let setup = Setup::tcp().websocket().fault(says(
        Level::Packets,
        b"\x20\x02\x00\x00\x30\x7f\x00",
        FaultEnd::Close,
    ));
    let server = TestServer::start(setup).await;
    let mut client = upgrade(socket(&server).await).await.unwrap();
    exchange_frames(&mut client, CONNECT, b"\x20\x02\x00\x00\x30\x7f\x00").await;
    assert!(matches!(
        client.hear().await,
        Some(Ok(Message::Close(None)))
    ));
}

/// A client of TLS 1.3 may say something in the same breath as the end of its handshake, and what
/// answers that below TLS has to see it. On a busy machine it came so by chance, and the server
/// waited for ever.
#[tokio::test]
async fn what_is_said_below_tls_answers_what_came_with_the_handshake() {
    let says = Fault::Says {
        at: Level::Records,
        bytes: PINGRESP.to_vec(),
        end: FaultEnd::Close,
    };
    let server = TestServer::start(Setup::tls().fault(says)).await;
    let mut socket = socket(&server).await;
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(nobody(), name).unwrap();
    let mut flight = Vec::new();
    client.write_tls(&mut flight).unwrap();
    socket.write_all(&flight).await.unwrap();
    while client.is_handshaking() {
        let mut records = vec![0; 4096];
        let n = socket.read(&mut records).await.unwrap();
        assert!(n > 0, "the server hangs up");
        let mut records = &records[..n];
        while !records.is_empty() {
            client.read_tls(&mut records).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    io::Write::write_all(&mut client.writer(), CONNECT).unwrap();
    flight.clear();
    while client.wants_write() {
        client.write_tls(&mut flight).unwrap();
    }
    socket.write_all(&flight).await.unwrap();
    // Tickets of TLS come before it.
    assert!(rest(socket).await.0.ends_with(PINGRESP));
}
