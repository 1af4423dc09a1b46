//! WebSocket servers, well-behaved and not.

use crate::pair::{ACCEPT, HOST, Pair, Server, Stages, WsServer};
use bytes::BytesMut;
use martlet_transport::{Stack, StackError, StackErrorKind, Transport, WebSocketRequest};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

fn request() -> WebSocketRequest {
    WebSocketRequest::ws(HOST, 8080, "/mqtt")
}

fn stack() -> Stack {
    Stack::default().web_socket(Some(request()))
}

/// WebSocket alone and within TLS.
fn both() -> [Stages; 2] {
    [false, true].map(|tls| Stages {
        proxy: None,
        tls,
        web_socket: true,
    })
}

fn open() -> Pair {
    Pair::new(&stack(), Server::new(None, None, Some(WsServer::default()))).open()
}

/// What comes of this answer, whole and byte by byte.
fn error_of(answer: &'static str) -> StackError {
    let run = |size: usize| {
        let mut pair = Pair::new(
            &stack(),
            Server::new(None, None, Some(WsServer::answering(answer))),
        );
        pair.sizes = vec![size];
        pair.drive().unwrap_err()
    };
    let error = run(usize::MAX);
    assert_eq!(run(1), error);
    error
}

fn control(pair: &Pair) -> &[Message] {
    &pair.server.web_socket.as_ref().unwrap().control
}

fn close_code(pair: &Pair) -> Option<CloseCode> {
    control(pair).iter().find_map(|message| match message {
        Message::Close(Some(frame)) => Some(frame.code),
        _ => None,
    })
}

fn fragment(opcode: Data, is_final: bool, payload: &'static [u8]) -> Message {
    let header = FrameHeader {
        opcode: OpCode::Data(opcode),
        is_final,
        ..FrameHeader::default()
    };
    Message::Frame(Frame::from_payload(header, payload.into()))
}

#[test]
fn answers_that_are_not_101_are_shown() {
    let table: &[(&str, bool, &[&str])] = &[
        (
            "HTTP/1.1 404 Not Found\r\nServer: x\r\nSet-Cookie: canary\r\n\r\nnothing here",
            true,
            &["404 Not Found", "\"/mqtt\"", "path right", "Server: x"],
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\n",
            true,
            &["401", "credentials", "WWW-Authenticate: Basic"],
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: wss://b.example/\r\n\r\n",
            true,
            &["301", "Location: wss://b.example/"],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            true,
            &["200 OK", "no WebSocket"],
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            false,
            &["503", "may be down"],
        ),
        ("HTTP/1.1 429 Slow\r\n\r\n", false, &["429"]),
        (
            "HTTP/1.1 418 \x1b[31mred\r\n\r\n",
            true,
            &["418 \\u{1b}[31mred"],
        ),
    ];
    for (answer, permanent, words) in table {
        let error = error_of(answer);
        assert_eq!(
            (error.kind(), error.is_permanent()),
            (StackErrorKind::WebSocketRejected, *permanent),
            "{error}"
        );
        for word in *words {
            assert!(
                error.to_string().contains(word),
                "{word} is not in: {error}"
            );
        }
        assert!(error.to_string().len() < 1500 && !error.to_string().contains("canary"));
    }
}

/// [MQTT-6.0.0-4]
#[test]
fn answers_that_are_no_handshake_are_rejected() {
    let good = |from: &str, to: &str| -> &'static str { ACCEPT.replace(from, to).leak() };
    let table = [
        (
            good("sec-websocket-protocol: mqtt\r\n", ""),
            StackErrorKind::WebSocketRejected,
            "left out the subprotocol",
        ),
        (
            good(": mqtt", ": mqttv3.1"),
            StackErrorKind::WebSocketRejected,
            "\"mqttv3.1\"",
        ),
        (
            good(": mqtt", ": mqtt, other"),
            StackErrorKind::WebSocketRejected,
            "\"mqtt, other\"",
        ),
        (
            good("upgrade: WebSocket\r\n", ""),
            StackErrorKind::WebSocket,
            "Upgrade: websocket",
        ),
        (
            good("connection: keep-alive, upgrade", "connection: close"),
            StackErrorKind::WebSocket,
            "Connection: Upgrade",
        ),
        (
            good("KEY", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            StackErrorKind::WebSocket,
            "not the one to our key",
        ),
        (
            good(
                "upgrade: WebSocket",
                "upgrade: websocket\r\nsec-websocket-extensions: permessage-deflate",
            ),
            StackErrorKind::WebSocket,
            "names an extension",
        ),
        (
            good("HTTP/1.1", "HTTP/1.0"),
            StackErrorKind::WebSocket,
            "cannot be read",
        ),
        (
            "HTTP/1.1 1x1\r\n\r\n",
            StackErrorKind::WebSocket,
            "cannot be read",
        ),
        ("\x20\x02\0\0", StackErrorKind::WebSocket, "CONNACK"),
        (
            "\x15\x03\x01\0\x02\x02\x46",
            StackErrorKind::UnexpectedTls,
            "wss://",
        ),
        ("220 smtp ready\r\n", StackErrorKind::WebSocket, "0x32"),
    ];
    for (answer, kind, words) in table {
        let error = error_of(answer);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(
        error_of(good(": mqtt", ": other")).is_permanent(),
        "it will not learn MQTT"
    );
}

/// A gateway that sent 103 Early Hints before it switched was taken for one that rejects, for good.
#[test]
fn interim_answers_are_passed_over() {
    let answer = format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n{ACCEPT}"
    );
    for size in [1, 7, usize::MAX] {
        let server = WsServer::answering(answer.clone().leak());
        let mut pair = Pair::new(&stack(), Server::new(None, None, Some(server)));
        pair.sizes = vec![size];
        pair.drive().unwrap();
        assert!(pair.client.is_open(), "{size}");
    }
    let error = error_of("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 Later\r\n\r\n");
    assert!(error.to_string().contains("503"), "{error}");
}

/// A redirect from HTTP to HTTPS repeats the query, in which tokens travel: it stood in the error,
/// and so in logs, behind a path whose query was left out.
#[test]
fn secrets_that_come_back_are_not_shown() {
    let table: &[(&str, &str)] = &[
        (
            "Location: https://h/mqtt?access_token=canary",
            "Location: https://h/mqtt…",
        ),
        (
            "Location: https://login/?next=%2Fmqtt%3Faccess_token%3Dcanary",
            "Location: https://login/…",
        ),
        (
            "location: https://login/mqtt%3ftoken%3Dcanary",
            "location: https://login/mqtt…",
        ),
        (
            "Refresh: 0; url=https://h/?canary",
            "Refresh: 0; url=https://h/…",
        ),
        ("Link: <https://h/?canary>; rel=next", "Link: <https://h/…"),
        (
            "WWW-Authenticate:  Bearer error_description=\"canary\"",
            "WWW-Authenticate:  Bearer…",
        ),
        (
            "proxy-authenticate: Digest nonce=\"canary\"",
            "proxy-authenticate: Digest…",
        ),
        ("SET-COOKIE: id=canary", "Server: x"),
        ("Authenticate", "Authenticate"),
        ("WWW-Authenticate:", "WWW-Authenticate:"),
    ];
    for (line, words) in table {
        let answer = format!("HTTP/1.1 301 Moved\r\n{line}\r\nServer: x\r\n\r\n");
        let error = error_of(answer.leak()).to_string();
        assert!(
            error.contains(words) && !error.contains("canary"),
            "{error}"
        );
        assert!(error.contains("Server: x"), "{error}");
    }
}

#[test]
fn a_head_of_the_answer_is_bounded() {
    let answer = format!("HTTP/1.1 101 OK\r\nA: {}\r\n\r\n", "a".repeat(17_000)).leak();
    assert!(error_of(answer).to_string().contains("16384"));
}

#[test]
fn the_connection_ends_in_the_middle_of_the_answer() {
    let mut transport = Transport::new(&stack()).unwrap();
    transport
        .handle_wire(&mut BytesMut::from("HTTP/1.1 101 S"), &mut BytesMut::new())
        .unwrap();
    let error = transport.handle_eof().unwrap_err();
    assert_eq!(error.kind(), StackErrorKind::WebSocket);
    assert!(
        error.to_string().contains("in the middle of its answer"),
        "{error}"
    );
}

#[test]
fn hosts_and_paths_are_written_as_they_should_be() {
    let written = |request: WebSocketRequest| {
        let mut wire = BytesMut::new();
        let stack = Stack::default().web_socket(Some(request));
        let _ = Transport::new(&stack).unwrap().poll_wire(&mut wire);
        let head = String::from_utf8(wire.to_vec()).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        (path, crate::pair::header(&head, "Host").unwrap().to_owned())
    };
    let pair = |path: &str, host: &str| (path.to_owned(), host.to_owned());
    assert_eq!(
        written(WebSocketRequest::ws("::1", 9001, "")),
        pair("/", "[::1]:9001")
    );
    assert_eq!(
        written(WebSocketRequest::ws("[::1]", 80, "/a")),
        pair("/a", "[::1]")
    );
    assert_eq!(
        written(WebSocketRequest::ws("h", 443, "a?b=c&d=%2F")),
        pair("/a?b=c&d=%2F", "h:443")
    );
    assert_eq!(
        written(WebSocketRequest::wss("h", 443, "/?x")),
        pair("/?x", "h")
    );
    assert_eq!(
        written(WebSocketRequest::wss("h", 80, "?x")),
        pair("/?x", "h:80")
    );
}

#[test]
fn a_request_that_cannot_be_sent_is_rejected_before() {
    let wrong = [
        WebSocketRequest::ws("h", 1, "/a b"),
        WebSocketRequest::ws("h", 1, "/a\r\nX: y"),
        WebSocketRequest::ws("h", 1, "/a#b"),
        WebSocketRequest::ws("h", 1, "/ü"),
        WebSocketRequest::ws("", 1, "/"),
        WebSocketRequest::ws("h\r\nX: y", 1, "/"),
        request().header("Host", "canary"),
        request().header("sec-websocket-PROTOCOL", "canary"),
        request().header("a b", "canary"),
        request().header("", "canary"),
        request().header("A", "canary\r\nB: c"),
    ];
    for request in wrong {
        let stack = Stack::default().web_socket(Some(request));
        let error = Transport::new(&stack).unwrap_err();
        assert!(
            error.kind() == StackErrorKind::Configuration && error.is_permanent(),
            "{stack:?}: {error}"
        );
        assert!(!format!("{stack:?} {error}").contains("canary"));
    }
}

#[test]
fn pings_are_answered() {
    for stages in both() {
        let mut pair = stages.pair().open();
        let server = pair.server.web_socket.as_mut().unwrap();
        server.send(Message::Ping("one".into()));
        server.send(Message::binary(&b"data"[..]));
        server.send(Message::Ping("two".into()));
        pair.server.flush();
        pair.drive().unwrap();
        assert_eq!(
            control(&pair),
            [Message::Pong("one".into()), Message::Pong("two".into())]
        );
        assert_eq!(pair.received, &b"data"[..]);
    }
}

/// The client of a server that has sent 10,000 pings, and whose socket takes nothing.
fn flooded_with_pings(stages: Stages) -> Pair {
    let mut pair = stages.pair().open();
    for number in 0..10_000u32 {
        let ping = Message::Ping(number.to_be_bytes().to_vec().into());
        pair.server.web_socket.as_mut().unwrap().send(ping);
        pair.server.flush();
        let mut wire = BytesMut::from(&std::mem::take(&mut pair.server.output)[..]);
        pair.client
            .handle_wire(&mut wire, &mut pair.received)
            .unwrap();
    }
    pair
}

#[test]
fn answers_to_pings_are_bounded_and_the_last_one_is_sent() {
    for stages in both() {
        let mut pair = flooded_with_pings(stages);
        // Room for data of its own is used up too.
        assert!(pair.client.write(&mut &[0; 100_000][..]).unwrap() <= 64 * 1024);
        let mut wire = BytesMut::new();
        let polled = pair.client.poll_wire(&mut wire);
        assert!(polled < 300_000, "{polled}");
        pair.server.handle(&wire);
        // All of it comes with the first poll.
        let pongs = control(&pair);
        assert!(pongs.len() < 10_000, "not each of them");
        assert_eq!(
            pongs.last(),
            Some(&Message::Pong(9_999u32.to_be_bytes().to_vec().into()))
        );
        pair.write(b"goes on");
        assert!(pair.server.received.ends_with(b"goes on"));
    }
}

/// There is no room for the close frame, and it is still sent, as the last thing.
#[test]
fn a_close_is_said_after_a_flood_of_pings() {
    for stages in both() {
        let mut pair = flooded_with_pings(stages);
        pair.client.close();
        let mut wire = BytesMut::new();
        let _ = pair.client.poll_wire(&mut wire);
        pair.server.handle(&wire);
        assert_eq!(close_code(&pair), Some(CloseCode::Normal), "{stages:?}");
    }
}

#[test]
fn fragments_are_joined_and_pings_may_be_among_them() {
    for size in [usize::MAX, 1, 3] {
        let mut pair = open();
        pair.sizes = vec![size];
        let server = pair.server.web_socket.as_mut().unwrap();
        server.send(fragment(Data::Binary, false, b"a"));
        server.send(Message::Ping("p".into()));
        server.send(fragment(Data::Continue, false, b""));
        server.send(fragment(Data::Continue, true, b"bc"));
        pair.server.flush();
        pair.drive().unwrap();
        assert_eq!(pair.received, &b"abc"[..]);
        assert_eq!(control(&pair), [Message::Pong("p".into())]);
    }
}

/// [MQTT-6.0.0-1]
#[test]
fn text_closes_the_connection_with_1003() {
    for stages in both() {
        for text in [Message::text("hi"), fragment(Data::Text, true, b"\xff")] {
            let mut pair = stages.pair().open();
            pair.server.send(b"before");
            pair.server.web_socket.as_mut().unwrap().send(text);
            pair.server
                .web_socket
                .as_mut()
                .unwrap()
                .send(Message::binary(&b"after"[..]));
            pair.server.flush();
            let error = pair.drive().unwrap_err();
            assert_eq!(error.kind(), StackErrorKind::WebSocket);
            assert!(error.to_string().contains("text frame"), "{error}");
            assert_eq!(
                pair.received,
                &b"before"[..],
                "what came before counts, what comes after does not"
            );
            assert_eq!(close_code(&pair), Some(CloseCode::Unsupported));
        }
    }
}

/// A packet above the client's maximum is for MQTT to skip: over TCP the session does, over
/// WebSocket it never saw it, because a message had a largest size. The same message ended every
/// connection anew.
#[test]
fn messages_have_no_largest_size() {
    const LENGTH: usize = 20 << 20;
    static PART: [u8; LENGTH / 20] = [7; LENGTH / 20];
    for stages in both() {
        let mut pair = stages.pair().open();
        pair.sizes = vec![64 << 10];
        pair.server.send(&vec![7; LENGTH]);
        pair.drive().unwrap();
        let server = pair.server.web_socket.as_mut().unwrap();
        server.send(fragment(Data::Binary, false, b""));
        for _ in 0..20 {
            server.send(fragment(Data::Continue, false, &PART));
        }
        server.send(fragment(Data::Continue, true, b"end"));
        pair.server.flush();
        pair.drive().unwrap();
        assert_eq!(pair.received.len(), 2 * LENGTH + 3);
        assert!(pair.received.ends_with(b"\x07end"));
        pair.write(b"goes on");
        assert_eq!(pair.server.received, b"goes on");
    }
}

#[test]
fn broken_frames_close_the_connection_with_1002() {
    let frames: &[&[u8]] = &[
        b"\x82\x81\0\0\0\0x",    // masked
        b"\xc2\x01x",            // a reserved bit
        b"\x80\x01x",            // nothing to continue
        b"\x09\x00",             // a ping in fragments
        b"\x89\x7e\0\x7e",       // a ping too large
        b"\x83\x00",             // an unknown opcode
        b"\x88\x01x",            // a close with half a code
        b"\x88\x03\x03\xe8\xff", // a close whose reason is not UTF-8
        b"\x02\x01x\x82\x01y",   // a message within a message
    ];
    for frame in frames {
        let mut pair = open();
        pair.server.output = frame.to_vec();
        pair.server.output.extend_from_slice(&[0; 200]);
        let error = pair.drive().unwrap_err();
        assert_eq!(error.kind(), StackErrorKind::WebSocket, "{error}");
        assert!(
            error.to_string().contains("broke the WebSocket protocol"),
            "{error}"
        );
        assert_eq!(close_code(&pair), Some(CloseCode::Protocol), "{frame:?}");
    }
}

#[test]
fn a_close_of_the_server_is_told_with_its_code_and_answered() {
    let frame = |code, reason: &'static str| {
        Some(CloseFrame {
            code,
            reason: reason.into(),
        })
    };
    let table = [
        (None, "without a code"),
        (frame(CloseCode::Normal, ""), "with 1000 (normal)"),
        (
            frame(CloseCode::Away, "bye \u{7}"),
            "with 1001 (going away): bye \\u{7}",
        ),
        (frame(CloseCode::Policy, "no"), "with 1008 (policy): no"),
        (frame(CloseCode::Library(4711), ""), "with 4711"),
    ];
    for stages in both() {
        for (close, words) in table.clone() {
            let mut pair = stages.pair().open();
            pair.server.send(b"last words");
            pair.server
                .web_socket
                .as_mut()
                .unwrap()
                .send(Message::Close(close.clone()));
            pair.server.flush();
            let error = pair.drive().unwrap_err();
            assert_eq!(error.kind(), StackErrorKind::Closed);
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(pair.received, &b"last words"[..]);
            assert_eq!(
                control(&pair).last(),
                Some(&Message::Close(close)),
                "it is answered"
            );
        }
    }
}

#[test]
fn an_end_without_a_close_is_a_cut() {
    let mut pair = open();
    pair.server.send(b"whole");
    pair.drive().unwrap();
    // The beginning of a frame. What it is the beginning of in MQTT, the session knows.
    pair.client
        .handle_wire(&mut BytesMut::from(&b"\x82\x05cut"[..]), &mut pair.received)
        .unwrap();
    let error = pair.client.handle_eof().unwrap_err();
    assert_eq!(error.kind(), StackErrorKind::Truncated);
    assert_eq!(pair.received, &b"wholecut"[..]);
}

/// [MQTT-6.0.0-2]
#[test]
fn packets_straddle_frames_and_frames_hold_several() {
    let mut pair = open();
    for frame in [&b"\x40\x02\0"[..], b"\x01\x40\x02\0\x02\xd0", b"\0"] {
        pair.server.send(frame);
    }
    pair.drive().unwrap();
    assert_eq!(pair.received, &b"\x40\x02\0\x01\x40\x02\0\x02\xd0\0"[..]);
}
