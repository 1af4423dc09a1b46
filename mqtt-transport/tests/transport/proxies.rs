//! Proxies that reject, and what is no proxy.

use crate::pair::{Pair, Proxy, Stages};
use bytes::BytesMut;
use martlet_transport::{ProxyTunnel, Stack, StackError, StackErrorKind, Transport};

fn stack(proxy: ProxyTunnel) -> Stack {
    Stack::default().proxy(Some(proxy))
}

/// What the client says first.
fn request(proxy: ProxyTunnel) -> Vec<u8> {
    let mut wire = BytesMut::new();
    let _ = Transport::new(&stack(proxy)).unwrap().poll_wire(&mut wire);
    wire.to_vec()
}

/// Hands these answers over, one by one, whole and then byte by byte; the errors are the same.
fn error_of(proxy: &ProxyTunnel, answers: &[&[u8]]) -> StackError {
    let run = |size: usize| {
        let mut transport = Transport::new(&stack(proxy.clone())).unwrap();
        let (mut wire, mut plain) = (BytesMut::new(), BytesMut::new());
        for answer in answers {
            let _ = transport.poll_wire(&mut wire);
            for piece in answer.chunks(size) {
                transport.handle_wire(&mut BytesMut::from(piece), &mut plain)?;
            }
        }
        assert!(plain.is_empty());
        transport.handle_eof()
    };
    let error = run(usize::MAX).unwrap_err();
    assert_eq!(run(1), Err(error.clone()));
    error
}

#[test]
fn a_poll_counts_what_it_appends_and_not_what_waited() {
    let mut transport = Transport::new(&stack(ProxyTunnel::socks5("broker", 1883))).unwrap();
    let mut wire = BytesMut::from("what the socket has not taken yet");
    let before = wire.len();
    assert_eq!(transport.poll_wire(&mut wire), wire.len() - before);
    assert!(wire.len() > before);
    assert_eq!(transport.poll_wire(&mut wire), 0);
}

#[test]
fn http_proxies_that_reject_are_quoted() {
    let table: &[(&str, StackErrorKind, bool, &str)] = &[
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
            StackErrorKind::ProxyRejected,
            true,
            "wants a user name and password",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            StackErrorKind::ProxyRejected,
            true,
            "does not allow this server or port",
        ),
        (
            "HTTP/1.1 405 Method Not Allowed\r\n\r\n",
            StackErrorKind::ProxyRejected,
            true,
            "CONNECT",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nX: y\r\n\r\n<html>",
            StackErrorKind::ProxyRejected,
            false,
            "\"HTTP/1.1 502 Bad Gateway\"",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503\r\n\r\n",
            StackErrorKind::ProxyRejected,
            false,
            "\"HTTP/1.0 503\"",
        ),
        (
            "HTTP/1.1 OK\r\n\r\n",
            StackErrorKind::Proxy,
            false,
            "no status",
        ),
        (
            "SSH-2.0-OpenSSH\r\n",
            StackErrorKind::Proxy,
            false,
            "first byte is 0x53",
        ),
        (
            "HTTQ",
            StackErrorKind::Proxy,
            false,
            "did not answer with HTTP",
        ),
        ("\x05\x00", StackErrorKind::Proxy, false, "SOCKS5"),
        (
            "\x15\x03\x01\x00\x02\x02\x46",
            StackErrorKind::Proxy,
            false,
            "speaks TLS",
        ),
        (
            "HTTP/1.1 200 OK\r\n",
            StackErrorKind::Proxy,
            false,
            "before the way to the server was open",
        ),
        ("", StackErrorKind::Proxy, false, "is it an HTTP proxy?"),
    ];
    for (answer, kind, permanent, words) in table {
        let error = error_of(&ProxyTunnel::http_connect("h", 1), &[answer.as_bytes()]);
        assert_eq!(
            (error.kind(), error.is_permanent()),
            (*kind, *permanent),
            "{answer:?}: {error}"
        );
        assert!(error.to_string().contains(words), "{answer:?}: {error}");
    }
}

#[test]
fn an_http_proxys_head_is_bounded() {
    let mut transport = Transport::new(&stack(ProxyTunnel::http_connect("h", 1))).unwrap();
    let (mut plain, mut given) = (BytesMut::new(), 0);
    transport
        .handle_wire(&mut BytesMut::from("HTTP/1.1 200 OK\r\n"), &mut plain)
        .unwrap();
    let error = loop {
        given += 1000;
        assert!(given < 20_000);
        if let Err(error) =
            transport.handle_wire(&mut BytesMut::from(&[b'a'; 1000][..]), &mut plain)
        {
            break error;
        }
    };
    assert!(given > 16_000);
    assert!(error.to_string().contains("16384"), "{error}");
}

/// Asserts the error after these answers of a SOCKS5 proxy.
#[track_caller]
fn assert_socks(
    proxy: &ProxyTunnel,
    answers: &[&[u8]],
    (kind, permanent): (StackErrorKind, bool),
    words: &str,
) {
    let error = error_of(proxy, answers);
    assert_eq!(
        (error.kind(), error.is_permanent()),
        (kind, permanent),
        "{answers:?}: {error}"
    );
    assert!(error.to_string().contains(words), "{answers:?}: {error}");
    assert!(!format!("{error:?}").contains("p@ss"));
}

#[test]
fn socks_proxies_that_do_not_accept_credentials_are_named() {
    let rejected = (StackErrorKind::ProxyRejected, true);
    let plain = ProxyTunnel::socks5("h", 1);
    let named = plain.clone().credentials("ann", "p@ss");
    assert_socks(&plain, &[&[5, 0xff]], rejected, "wants authentication");
    assert_socks(&named, &[&[5, 0xff]], rejected, "takes neither");
    let wrong: &[&[u8]] = &[&[5, 2], &[1, 1]];
    assert_socks(&named, wrong, rejected, "does not accept the user name");
}

#[test]
fn the_reply_codes_of_socks_proxies_are_named() {
    let table = [
        (1, false, "general failure (code 1)"),
        (2, true, "rules do not allow"),
        (3, false, "network is unreachable"),
        (4, false, "cannot resolve"),
        (5, false, "refused the connection"),
        (6, false, "time to live"),
        (7, false, "CONNECT"),
        (8, false, "type of address"),
        (200, false, "(code 200)"),
    ];
    for (code, permanent, words) in table {
        let rejected = (StackErrorKind::ProxyRejected, permanent);
        // Whole, with an address of no type, and cut off: why it was rejected was not reported then.
        let forms: [&[u8]; 3] = [&[0, 1, 0, 0, 0, 0, 0, 0], &[0, 0, 0, 0], &[]];
        for form in forms {
            let reply = [&[5, code][..], form].concat();
            let answers: &[&[u8]] = &[&[5, 0], &reply];
            assert_socks(&ProxyTunnel::socks5("h", 1), answers, rejected, words);
        }
    }
}

#[test]
fn what_is_no_socks_proxy_is_named() {
    let table: &[(&[&[u8]], &str)] = &[
        (&[&[5, 2]], "was not offered"),
        (&[&[5, 0], &[5, 0, 0, 2, 0]], "address type 2"),
        (
            &[b"HTTP/1.1 400 Bad Request\r\n\r\n"],
            "is it an HTTP proxy?",
        ),
        (&[&[0x15, 3, 1]], "speaks TLS"),
        (&[&[4, 0]], "0x04"),
        (&[], "is it a SOCKS5 proxy?"),
        (&[&[5, 0], &[5, 0, 0]], "before the way"),
    ];
    for (answers, words) in table {
        let plain = ProxyTunnel::socks5("h", 1);
        assert_socks(&plain, answers, (StackErrorKind::Proxy, false), words);
    }
}

#[test]
fn servers_are_named_to_the_proxy_as_they_are() {
    let http =
        |host: &str| String::from_utf8(request(ProxyTunnel::http_connect(host, 443))).unwrap();
    assert_eq!(
        http("a.example"),
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
    );
    assert_eq!(
        http("::1"),
        "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"
    );

    let socks = |host: &str| {
        let mut transport = Transport::new(&stack(ProxyTunnel::socks5(host, 0x1234))).unwrap();
        let (mut wire, mut plain) = (BytesMut::new(), BytesMut::new());
        let _ = transport.poll_wire(&mut wire);
        assert_eq!(wire.split(), &[5, 1, 0][..]);
        transport
            .handle_wire(&mut BytesMut::from(&[5, 0][..]), &mut plain)
            .unwrap();
        let _ = transport.poll_wire(&mut wire);
        wire.to_vec()
    };
    assert_eq!(socks("a.b"), b"\x05\x01\x00\x03\x03a.b\x12\x34");
    assert_eq!(socks("127.0.0.1"), b"\x05\x01\x00\x01\x7f\0\0\x01\x12\x34");
    assert_eq!(
        socks("::1"),
        [&b"\x05\x01\x00\x04"[..], &[0; 15], b"\x01\x12\x34"].concat()
    );
}

/// A proxy that needs no authentication although it was offered a user name.
#[test]
fn socks_credentials_are_not_sent_unasked() {
    let proxy = ProxyTunnel::socks5("h", 1).credentials("ann", "secret");
    let mut transport = Transport::new(&stack(proxy)).unwrap();
    let (mut wire, mut plain) = (BytesMut::new(), BytesMut::new());
    let _ = transport.poll_wire(&mut wire);
    transport
        .handle_wire(&mut BytesMut::from(&[5, 0][..]), &mut plain)
        .unwrap();
    let _ = transport.poll_wire(&mut wire);
    assert_eq!(&wire[..], b"\x05\x02\x00\x02\x05\x01\x00\x03\x01h\0\x01");
    transport
        .handle_wire(
            &mut BytesMut::from(&b"\x05\0\0\x01\0\0\0\0\0\0\x20\x02\0\0"[..]),
            &mut plain,
        )
        .unwrap();
    assert!(transport.is_open());
    assert_eq!(
        plain,
        &b"\x20\x02\0\0"[..],
        "what lies behind the reply is the server's"
    );
}

#[test]
fn what_cannot_be_said_to_a_proxy_is_rejected_before() {
    let long = "a".repeat(256);
    let wrong = [
        ProxyTunnel::http_connect("", 1),
        ProxyTunnel::http_connect("a b", 1),
        ProxyTunnel::http_connect("a\r\nX: y", 1),
        ProxyTunnel::http_connect("a/b", 1),
        ProxyTunnel::http_connect("[::1]", 1),
        ProxyTunnel::socks5(long.clone(), 1),
        ProxyTunnel::socks5("h", 1).credentials("", "p"),
        ProxyTunnel::socks5("h", 1).credentials(long.clone(), "canary"),
        ProxyTunnel::socks5("h", 1).credentials("u", long),
        ProxyTunnel::http_connect("h", 1).credentials("a:b", "canary"),
        ProxyTunnel::http_connect("h", 1).credentials("a", "canary\n"),
    ];
    for proxy in wrong {
        let error = Transport::new(&stack(proxy.clone())).unwrap_err();
        assert_eq!(error.kind(), StackErrorKind::Configuration, "{proxy:?}");
        assert!(error.is_permanent());
        assert!(!format!("{proxy:?} {error} {error:?}").contains("canary"));
    }
}

/// A proxy opened the way, and then the server behind it is gone.
#[test]
fn behind_a_proxy_the_server_is_to_blame() {
    let stages = Stages {
        proxy: Some(Proxy::Http),
        tls: true,
        web_socket: false,
    };
    let mut pair: Pair = stages.pair();
    let _ = pair.client.poll_wire(&mut BytesMut::new());
    let mut answer = BytesMut::from("HTTP/1.1 200 OK\r\n\r\n");
    pair.client
        .handle_wire(&mut answer, &mut pair.received)
        .unwrap();
    let mut hello = BytesMut::new();
    let _ = pair.client.poll_wire(&mut hello);
    assert_eq!(hello[0], 0x16, "TLS begins");
    assert_eq!(
        pair.client.handle_eof().unwrap_err().kind(),
        StackErrorKind::NotTls
    );
}
