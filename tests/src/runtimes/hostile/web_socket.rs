//! WebSocket: upgrades that are rejected, and frames that are wrong.

use super::{
    CONNACK, HALF_PUBLISH, assert_says, builder, failure, has_served, instead, loss, recording,
};
use crate::runtimes::adapter::Adapter;
use crate::server::{FaultEnd, Level, Opcode, ServerWebSocket, Setup, TestServer, frame};
use martlet_client::{ConnectionError, session::TransportErrorKind};

pub async fn an_upgrade_is_rejected<A: Adapter>() {
    for (answer, words) in [
        (
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
            &["401 Unauthorized", "credentials"][..],
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nContent-Length: 0\r\n\r\n",
            &["302", "https://login.example/"],
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nno such \x1bwa",
            &["404 Not Found", "path", "/mqtt"],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            &["200 OK", "no WebSocket"],
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            &["503", "broker"],
        ),
        ("\x20\x02\x00\x00", &["does this port serve WebSocket"]),
    ] {
        for setup in [Setup::tcp(), Setup::tls()] {
            let fault = instead(Level::Stream, answer, FaultEnd::Close);
            let server = TestServer::start(setup.websocket().fault(fault)).await;
            let error = failure::<A>(builder(&format!("{}/mqtt", server.uri_by_name()))).await;
            assert_says(&error, TransportErrorKind::WebSocket, words);
            assert!(!error.to_string().contains('\x1b'), "{error}");
        }
    }
    for (said, words) in [
        ("", "without an answer"),
        ("HTTP/1.1 101 Swi", "in the middle of its answer"),
    ] {
        let fault = instead(Level::Stream, said, FaultEnd::Cut);
        let server = TestServer::start(Setup::tcp().websocket().fault(fault)).await;
        let error = failure::<A>(builder(&server.uri())).await;
        assert_says(&error, TransportErrorKind::WebSocket, &[words]);
    }
}

pub async fn another_subprotocol_is_not_mqtt<A: Adapter>() {
    for (subprotocol, words) in [
        (None, &["left out the subprotocol"][..]),
        (Some("wamp"), &["\"wamp\"", "not mqtt"]),
    ] {
        let websocket = Some(ServerWebSocket {
            subprotocol,
            ..ServerWebSocket::default()
        });
        let server = TestServer::start(
            Setup {
                websocket,
                ..Setup::tcp()
            }
            .broker(recording()),
        )
        .await;
        let error = failure::<A>(builder(&server.uri())).await;
        assert_says(&error, TransportErrorKind::WebSocket, words);
        assert!(!has_served(&server).await);
    }
}

/// A server that upgrades, and then says this instead of frames of MQTT.
pub(super) async fn frames(bytes: Vec<u8>, end: FaultEnd) -> TestServer {
    TestServer::start(
        Setup::tls()
            .websocket()
            .fault(instead(Level::Frames, bytes, end)),
    )
    .await
}

pub async fn websocket_is_spoken_wrong<A: Adapter>() {
    // Instead of CONNACK.
    for (bytes, word) in [
        (frame(Opcode::Text, b"text"), "text frame"),
        // Masked, with an unknown kind, and with a reserved bit.
        (
            b"\x82\x85\0\0\0\0\x20\x03\0\0\0".to_vec(),
            "broke the WebSocket protocol",
        ),
        (b"\x83\x00".to_vec(), "broke the WebSocket protocol"),
        (b"\xc2\x00".to_vec(), "broke the WebSocket protocol"),
    ] {
        let server = frames(bytes, FaultEnd::Hang).await;
        let error = failure::<A>(builder(&server.uri())).await;
        assert_says(&error, TransportErrorKind::WebSocket, &[word]);
    }
    // After it.
    let bytes = [
        frame(Opcode::Binary, CONNACK),
        frame(Opcode::Text, HALF_PUBLISH),
    ]
    .concat();
    let server = frames(bytes, FaultEnd::Hang).await;
    match loss::<A>(builder(&server.uri())).await {
        ConnectionError::Transport(error) => {
            assert_says(&error, TransportErrorKind::WebSocket, &["text frame"]);
        }
        other => panic!("{other:?}"),
    }
}

pub async fn a_close_in_the_middle_of_a_packet_delivers_nothing<A: Adapter>() {
    let half = [
        frame(Opcode::Binary, CONNACK),
        frame(Opcode::Binary, HALF_PUBLISH),
    ]
    .concat();
    // In good order, and without a word.
    let close = [&half[..], &frame(Opcode::Close, b"\x03\xe8bye")].concat();
    let server = frames(close, FaultEnd::Close).await;
    let lost = loss::<A>(builder(&server.uri())).await;
    assert_eq!(lost, ConnectionError::ClosedByPeer);
    let server = frames(half, FaultEnd::Cut).await;
    let lost = loss::<A>(builder(&server.uri())).await;
    assert!(
        matches!(&lost, ConnectionError::Transport(error) if error.kind() == TransportErrorKind::Io),
        "{lost:?}"
    );
}
