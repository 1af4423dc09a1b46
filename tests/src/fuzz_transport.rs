//! The body of the fuzz target `transport`: a server that sends any bytes, to each stack.

use bytes::BytesMut;
use martlet_transport::{
    Handshake, ProxyTunnel, Stack, StackError, StackErrorKind, TlsClient, TlsConfig, Transport,
    Trust, WebSocketRequest,
};
use std::sync::OnceLock;
use tungstenite::handshake::derive_accept_key;

/// More than a client of this says in any handshake or holds back.
const MAX_OUTPUT: usize = 100 * 1024;

/// Any bytes of a server are data, a part of something, or an error: nothing panics, what is held
/// is bounded, and how the bytes are cut makes no difference. The first byte chooses the stack, the
/// second how the bytes come.
pub fn transport(data: &[u8]) {
    let [choice, cut, wire @ ..] = data else {
        return;
    };
    let stack = stack(*choice);
    // What a real server says first, where the fuzzer cannot: the answer to a random key.
    let is_answered = choice & 0x20 != 0;
    let size = [1, 2, 7, 100][usize::from(cut % 4)];
    let whole = conversation(&stack, is_answered, &[wire]);
    let pieces: Vec<&[u8]> = wire.chunks(size).collect();
    assert_eq!(whole, conversation(&stack, is_answered, &pieces));
}

fn stack(choice: u8) -> Stack {
    static CONFIG: OnceLock<TlsConfig> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let trust = Trust::new()
            .danger_skip_certificate_check()
            .danger_skip_host_name_check();
        trust.build().expect("there is nothing to read")
    });
    Stack::default()
        .proxy(match choice % 4 {
            0 => None,
            1 => Some(ProxyTunnel::http_connect("h", 1)),
            2 => Some(ProxyTunnel::socks5("h", 1)),
            _ => Some(ProxyTunnel::socks5("::1", 1).credentials("u", "p")),
        })
        .tls((choice & 8 != 0).then(|| TlsClient::new(config, "h").expect("a name")))
        .web_socket((choice & 16 != 0).then(|| WebSocketRequest::ws("h", 1, "/")))
}

/// What MQTT gets of it, and how it ends.
fn conversation(
    stack: &Stack,
    is_answered: bool,
    pieces: &[&[u8]],
) -> (BytesMut, Result<(), StackError>) {
    let mut transport = Transport::new(stack).expect("it can be said");
    let (mut plain, mut given, mut unsent) = (BytesMut::new(), 0, 0);
    let mut result = Ok(());
    if is_answered && transport.handshake() == Some(Handshake::WebSocket) {
        let mut answer = answer(&mut transport);
        result = transport.handle_wire(&mut answer, &mut plain);
        assert_eq!(result, Ok(()));
        assert!(transport.is_open());
    }
    for piece in pieces {
        let before = plain.len();
        let mut wire = BytesMut::from(*piece);
        given += wire.len();
        let now = transport.handle_wire(&mut wire, &mut plain);
        assert!(wire.is_empty(), "all of it is taken");
        assert!(plain.len() <= given, "there is no more in it than came");
        if let Err(error) = &result {
            assert_eq!(
                (Err(error), plain.len()),
                (now.as_ref(), before),
                "the first error is the last word"
            );
        }
        result = now;
        unsent += 1;
        // A socket that now and then takes something.
        if unsent % 8 == 0 {
            assert!(poll(&mut transport) <= MAX_OUTPUT);
        }
    }
    let end = transport.handle_eof();
    assert!(result.is_ok() || result == end);
    match transport.write(&mut &[0; 2 * MAX_OUTPUT][..]) {
        Ok(taken) => assert!(taken <= MAX_OUTPUT && (taken == 0 || transport.is_open())),
        Err(error) => assert_eq!(end, Err(error)),
    }
    transport.close();
    assert!(poll(&mut transport) <= MAX_OUTPUT);
    if let Err(error) = &end {
        assert!(!error.to_string().is_empty() && error.to_string().len() < 4000);
        assert_ne!(
            error.kind(),
            StackErrorKind::Configuration,
            "that is known before"
        );
    }
    (plain, end)
}

fn poll(transport: &mut Transport) -> usize {
    let mut wire = BytesMut::new();
    let polled = transport.poll_wire(&mut wire);
    assert_eq!(polled, wire.len());
    polled
}

/// The answer of a WebSocket server to this client.
fn answer(transport: &mut Transport) -> BytesMut {
    let mut request = BytesMut::new();
    let _ = transport.poll_wire(&mut request);
    let request = std::str::from_utf8(&request).expect("a head");
    let key = request
        .split_once("Sec-WebSocket-Key: ")
        .and_then(|(_, rest)| rest.lines().next())
        .expect("a key");
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    BytesMut::from(head.as_bytes())
}
