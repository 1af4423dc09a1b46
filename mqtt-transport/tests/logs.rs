//! tungstenite writes what passes it to the log at trace level. Nothing of ours that may be a
//! secret passes it.

#![allow(clippy::unwrap_used, reason = "a test may")]

use bytes::BytesMut;
use log::{LevelFilter, Log, Metadata, Record};
use martlet_transport::{Stack, Transport, WebSocketRequest};
use std::fmt::Write;
use std::sync::Mutex;
use tungstenite::handshake::derive_accept_key;

static LOGGED: Mutex<String> = Mutex::new(String::new());

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        writeln!(LOGGED.lock().unwrap(), "{}", record.args()).unwrap();
    }

    fn flush(&self) {}
}

#[test]
fn neither_headers_nor_what_is_sent_is_logged() {
    log::set_logger(&Logger).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let request = WebSocketRequest::ws("h", 80, "/?token=canary").header("Authorization", "canary");
    let stack = Stack::default().web_socket(Some(request));
    let mut transport = Transport::new(&stack).unwrap();
    let (mut wire, mut plain) = (BytesMut::new(), BytesMut::new());
    let _ = transport.poll_wire(&mut wire);
    let request = String::from_utf8(wire.split().to_vec()).unwrap();
    assert!(request.contains("canary"));
    let key = request
        .split_once("Sec-WebSocket-Key: ")
        .unwrap()
        .1
        .lines()
        .next()
        .unwrap();
    let answer = format!(
        "HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n\u{2}",
        derive_accept_key(key.as_bytes())
    );
    transport
        .handle_wire(&mut BytesMut::from(answer.as_bytes()), &mut plain)
        .unwrap();
    transport.write(&mut &b"\x10\x1bMQTT canary"[..]).unwrap();
    // The rest of a frame, and a ping.
    transport
        .handle_wire(
            &mut BytesMut::from(&b"\x01x\x89\x04ping\x80\x01y"[..]),
            &mut plain,
        )
        .unwrap();
    let _ = transport.poll_wire(&mut wire);
    transport.close();
    let _ = transport.poll_wire(&mut wire);
    assert_eq!(plain, &b"xy"[..]);

    let logged = LOGGED.lock().unwrap();
    let hex: String = b"canary".iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(
        logged.contains("70696e67"),
        "this is how it would look: {logged}"
    );
    assert!(
        !logged.contains("canary") && !logged.contains(&hex),
        "{logged}"
    );
}
