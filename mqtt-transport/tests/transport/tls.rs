//! TLS: its ends, its failures, and servers that speak something else.

use crate::pair::{
    ClientCertificates, HOST, Pair, Server, Stages, WsServer, provider, server_config,
    server_config_with, world,
};
use bytes::BytesMut;
use martlet_transport::rustls::{self, ServerConfig, ServerConnection, SupportedProtocolVersion};
use martlet_transport::{
    Stack, StackError, StackErrorKind, TlsClient, TlsConfig, Transport, Trust, WebSocketRequest,
};
use std::error::Error;
use std::sync::Arc;

const TLS: Stages = Stages {
    proxy: None,
    tls: true,
    web_socket: false,
};

fn trust() -> Trust {
    Trust::new().ca_pem(world().ca.pem())
}

fn client(trust: &Trust) -> TlsClient {
    TlsClient::new(&trust.build().unwrap(), HOST).unwrap()
}

fn stack(trust: &Trust) -> Stack {
    Stack::default().tls(Some(client(trust)))
}

fn pair(trust: &Trust, config: ServerConfig) -> Pair {
    Pair::over_tls(client(trust), config)
}

/// What a server that is nothing but these bytes makes of a handshake, at once and byte by byte.
fn error_of(answer: &[u8]) -> StackError {
    let run = |size: usize| {
        let mut transport = Transport::new(&stack(&trust())).unwrap();
        let mut plain = BytesMut::new();
        for piece in answer.chunks(size) {
            transport.handle_wire(&mut BytesMut::from(piece), &mut plain)?;
        }
        transport.handle_eof()
    };
    let error = run(usize::MAX).unwrap_err();
    assert_eq!(run(1), Err(error.clone()));
    error
}

#[test]
fn servers_that_do_not_speak_tls_are_recognised() {
    let table: &[(&[u8], bool, &str)] = &[
        (b"\x20\x02\x00\x01", true, "mqtt://"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", true, "HTTP"),
        (b"SSH-2.0-OpenSSH_9\r\n", false, "0x53"),
        (b"", false, "without an answer"),
        (b"\x16\xff\xff\xff\xff\xff\xff", false, "does not speak TLS"),
    ];
    for (answer, permanent, words) in table {
        let error = error_of(answer);
        assert_eq!(
            (error.kind(), error.is_permanent()),
            (StackErrorKind::NotTls, *permanent),
            "{error}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_tls_server_on_a_plain_port_is_recognised() {
    let mut transport_of_tls = TLS.pair();
    // What a TLS server answers to an MQTT CONNECT.
    let connect = b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0";
    let tls = transport_of_tls.server.tls.as_mut().unwrap();
    tls.read_tls(&mut &connect[..]).unwrap();
    assert!(tls.process_new_packets().is_err());
    transport_of_tls.server.flush();
    let answer = transport_of_tls.server.output;
    let error = StackError::of_plain_answer(answer[0]).unwrap();
    assert_eq!(error.kind(), StackErrorKind::UnexpectedTls);
    assert!(
        error.is_permanent() && error.to_string().contains("mqtts://"),
        "{error}"
    );
    // A CONNACK, and anything else of MQTT, is not one.
    for first in (0..=255).filter(|&first| first != answer[0]) {
        assert_eq!(StackError::of_plain_answer(first), None);
    }
}

/// "malformed packet" was what was said of a web server, and "mqtts://, or another port" of one
/// with TLS: the text names host, port and what to try.
#[test]
fn a_wrong_protocol_on_a_plain_connection_is_told_with_host_port_and_scheme() {
    let plain: &[(&str, &[u8], &str)] = &[
        (
            "mqtt://h",
            b"HTTP/1.1 400 Bad Request\r\nServer: x",
            "at h:1883; if it has WebSocket, try ws://h:1883",
        ),
        ("mqtt://h", b"HT", "ws://h:1883"),
        ("mqtt://h:80", b"<html>\r\n<head>", "ws://h:80"),
        (
            "mqtt://[::1]",
            b"\x15\x03\x03\0\x02\x02\x46",
            "at [::1]:1883; try mqtts://[::1]:1883",
        ),
        ("mqtt://h:5672", b"AMQP\0\0\x09\x01", "AMQP"),
    ];
    for (uri, answer, words) in plain {
        let error = StackError::of_plain_bytes(answer)
            .unwrap()
            .at(&uri.parse().unwrap());
        assert!(error.to_string().contains(words), "{error}");
    }
    // What begins like MQTT is the session's: CONNACK, AUTH, and packets that come too early.
    for answer in [
        &b"\x20\x02\0\0"[..],
        b"\x20",
        b"\xf0\x02\x18\0",
        b"2\x09\0\x03abc",
        b"\xd0\0",
        b"",
    ] {
        assert_eq!(StackError::of_plain_bytes(answer), None, "{answer:?}");
    }
}

#[test]
fn a_wrong_protocol_under_tls_is_told_with_host_port_and_scheme() {
    let tls: &[(&str, &[u8], &str)] = &[
        (
            "mqtts://h",
            b"\x20\x02\x00\x01",
            "at h:8883; try mqtt://h:8883",
        ),
        (
            "mqtts://h:80",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "try ws://h:80",
        ),
        // As mosquitto does on its plain port.
        (
            "mqtts://h:1883",
            b"",
            "at h:1883; if it is plain, try mqtt://h:1883",
        ),
        ("wss://h", b"", "try ws://h:443"),
    ];
    for (uri, answer, words) in tls {
        let error = error_of(answer).at(&uri.parse().unwrap());
        assert!(error.to_string().contains(words), "{error}");
    }
    // Other errors stay as they are.
    let error = error_of(&[0x15, 3, 3, 0, 2, 2, 80]);
    assert_eq!(error.clone().at(&"mqtts://h".parse().unwrap()), error);
}

#[test]
fn a_wrong_protocol_under_websocket_is_told_with_host_port_and_scheme() {
    let web_socket: &[(&str, &[u8], &str)] = &[
        ("ws://h", b"\x15\x03\x01\0\x02\x02\x46", "try wss://h:80"),
        (
            "ws://h:443",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "if it wants TLS, try wss://h:443",
        ),
        ("ws://h:1883", b"\x20\x02\0\0", "try mqtt://h:1883"),
        ("ws://h:1883", b"", "mqtt://h:1883"),
    ];
    for (uri, answer, words) in web_socket {
        let stack = Stack::default().web_socket(Some(WebSocketRequest::ws("h", 80, "/")));
        let mut transport = Transport::new(&stack).unwrap();
        let taken = transport.handle_wire(&mut BytesMut::from(*answer), &mut BytesMut::new());
        let error = taken
            .and_then(|()| transport.handle_eof())
            .unwrap_err()
            .at(&uri.parse().unwrap());
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// A server of TLS hangs up on MQTT without a word (OpenSSL sends no alert): "closed by the server"
/// did not help.
#[test]
fn a_plain_connection_that_ends_at_a_port_for_tls_is_told_so() {
    let end = |uri: &str| StackError::of_plain_end(&uri.parse().unwrap());
    let error = end("mqtt://h:8883").unwrap();
    assert_eq!(
        (error.kind(), error.is_permanent()),
        (StackErrorKind::UnexpectedTls, false)
    );
    assert!(
        error
            .to_string()
            .contains("at h:8883; if it wants TLS, try mqtts://h:8883"),
        "{error}"
    );
    assert!(
        end("ws://h:443")
            .unwrap()
            .to_string()
            .contains("wss://h:443")
    );
    assert_eq!(
        [end("mqtt://h"), end("mqtts://h"), end("mqtt://h:1884")],
        [None, None, None]
    );
}

#[test]
fn a_close_in_the_middle_of_the_handshake_says_so() {
    let mut pair = TLS.pair();
    let mut wire = BytesMut::new();
    let _ = pair.client.poll_wire(&mut wire);
    pair.server.handle(&wire);
    let half = pair.server.output.len() / 2;
    pair.client
        .handle_wire(
            &mut BytesMut::from(&pair.server.output[..half]),
            &mut pair.received,
        )
        .unwrap();
    let error = pair.client.handle_eof().unwrap_err();
    assert_eq!(error.kind(), StackErrorKind::Tls);
    assert!(
        error
            .to_string()
            .contains("in the middle of the TLS handshake"),
        "{error}"
    );
}

#[test]
fn an_end_with_close_notify_is_in_good_order() {
    for stages in [
        TLS,
        Stages {
            web_socket: true,
            ..TLS
        },
    ] {
        let mut pair = stages.pair().open();
        pair.server.send(b"last words");
        pair.server.close_notify();
        // What follows is nobody's.
        pair.server.output.extend_from_slice(b"\x17\x03\x03junk");
        let error = pair.drive().unwrap_err();
        assert_eq!(error.kind(), StackErrorKind::Closed, "{error}");
        assert_eq!(pair.received, &b"last words"[..], "{stages:?}");
        assert_eq!(pair.client.handle_eof(), Err(error));
    }
}

#[test]
fn an_end_without_close_notify_is_a_cut() {
    for stages in [
        TLS,
        Stages {
            web_socket: true,
            ..TLS
        },
    ] {
        let mut pair = stages.pair().open();
        pair.server.send(b"whole");
        pair.drive().unwrap();
        pair.server.send(b"a record that is cut");
        let wire = std::mem::take(&mut pair.server.output);
        pair.client
            .handle_wire(
                &mut BytesMut::from(&wire[..wire.len() - 1]),
                &mut pair.received,
            )
            .unwrap();
        let error = pair.client.handle_eof().unwrap_err();
        assert_eq!(error.kind(), StackErrorKind::Truncated);
        assert!(
            !error.is_permanent() && error.to_string().contains("close_notify"),
            "{error}"
        );
        assert_eq!(pair.received, &b"whole"[..], "nothing of the record");
    }
}

#[test]
fn a_record_that_was_changed_is_rejected_and_the_server_told() {
    let mut pair = TLS.pair().open();
    pair.server.send(b"good");
    let good = pair.server.output.len();
    pair.server.send(b"changed");
    *pair.server.output.last_mut().unwrap() ^= 1;
    assert!(good > 0);
    let error = pair.drive().unwrap_err();
    assert_eq!(error.kind(), StackErrorKind::Tls);
    assert!(error.to_string().contains("changed on its way"), "{error}");
    assert_eq!(pair.received, &b"good"[..]);
    let alert = pair.server.tls_error.clone();
    assert_eq!(
        alert,
        Some(rustls::Error::AlertReceived(
            rustls::AlertDescription::BadRecordMac
        ))
    );
}

/// In TLS 1.3 the client is done before the server has seen its certificate: the rejection comes on
/// an open connection.
#[test]
fn a_client_certificate_that_is_rejected_is_told_as_that() {
    let other = crate::pair::Ca::new("Other CA").server(&["client.example"]);
    let mut expired = crate::pair::leaf(&["client.example"]);
    expired.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let expired = world().ca.sign(&expired);
    let versions: [&[&'static SupportedProtocolVersion]; 2] =
        [&[&rustls::version::TLS13], &[&rustls::version::TLS12]];
    for versions in versions {
        let config = || server_config_with(&world().server, ClientCertificates::Required, versions);

        let error = pair(&trust(), config()).drive().unwrap_err();
        assert_eq!(error.kind(), StackErrorKind::ClientCertificate, "{error}");
        assert!(error.is_permanent());
        assert!(
            error
                .to_string()
                .contains("wants a client certificate, and none was given"),
            "{error}"
        );

        for (identity, words) in [(&other, "UnknownCA"), (&expired, "it has expired")] {
            let trust = trust()
                .certificate_pem(identity.chain_pem.clone())
                .key_pem(identity.key_pem.clone());
            let error = pair(&trust, config()).drive().unwrap_err();
            assert_eq!(error.kind(), StackErrorKind::ClientCertificate, "{error}");
            assert!(whole(&error).contains(words), "{error}");
        }

        let client = &world().client;
        let trust = trust()
            .certificate_pem(client.chain_pem.clone())
            .key_pem(client.key_pem.clone());
        let pair = pair(&trust, config()).open();
        let shown = pair
            .server
            .tls
            .as_ref()
            .unwrap()
            .peer_certificates()
            .unwrap();
        assert_eq!(shown[0].as_ref(), client.chain[0]);
    }
}

/// A rejection that comes while the WebSocket handshake waits is not taken for one of WebSocket.
#[test]
fn a_client_certificate_is_rejected_under_websocket() {
    let config = server_config(&world().server, ClientCertificates::Required);
    let stack = stack(&trust()).web_socket(Some(WebSocketRequest::wss(HOST, 443, "/")));
    let tls = ServerConnection::new(Arc::new(config)).unwrap();
    let mut pair = Pair::new(
        &stack,
        Server::new(None, Some(tls), Some(WsServer::default())),
    );
    assert_eq!(
        pair.drive().unwrap_err().kind(),
        StackErrorKind::ClientCertificate
    );
}

#[test]
fn tls_that_ends_before_websocket_has_answered_is_told_as_that() {
    let mut pair = Stages {
        web_socket: true,
        ..TLS
    }
    .pair();
    let mut wire = BytesMut::new();
    while pair.client.handshake() == Some(martlet_transport::Handshake::Tls) {
        let _ = pair.client.poll_wire(&mut wire);
        pair.server.handle(&wire.split());
        let answer = std::mem::take(&mut pair.server.output);
        pair.client
            .handle_wire(&mut BytesMut::from(&answer[..]), &mut pair.received)
            .unwrap();
    }
    pair.server.close_notify();
    let answer = std::mem::take(&mut pair.server.output);
    let error = pair
        .client
        .handle_wire(&mut BytesMut::from(&answer[..]), &mut pair.received)
        .unwrap_err();
    assert_eq!(error.kind(), StackErrorKind::WebSocket);
    assert!(
        error
            .to_string()
            .contains("without an answer to the WebSocket request"),
        "{error}"
    );
}

/// What it means, and what rustls says.
fn whole(error: &StackError) -> String {
    let cause = error.source().expect("an error of rustls");
    assert!(cause.is::<rustls::Error>());
    format!("{error}: {cause}")
}

#[test]
fn alerts_are_told_in_words() {
    let alert = |code: u8| [0x15, 3, 3, 0, 2, 2, code];
    let table: &[(u8, StackErrorKind, bool, &str)] = &[
        (
            40,
            StackErrorKind::Tls,
            false,
            "no cipher or parameter in common",
        ),
        (70, StackErrorKind::Tls, true, "neither TLS 1.2 nor TLS 1.3"),
        (112, StackErrorKind::Tls, true, "is the host name right?"),
        (120, StackErrorKind::Tls, true, "ALPN"),
        (80, StackErrorKind::Tls, false, "InternalError"),
        (
            116,
            StackErrorKind::ClientCertificate,
            true,
            "wants a client certificate",
        ),
        (49, StackErrorKind::ClientCertificate, true, "AccessDenied"),
    ];
    for (code, kind, permanent, words) in table {
        let error = error_of(&alert(*code));
        assert_eq!(
            (error.kind(), error.is_permanent()),
            (*kind, *permanent),
            "{error}"
        );
        assert!(whole(&error).contains(words), "{error}");
    }
}

/// Without a client certificate the lack of one may be why a handshake failed; with one, that
/// certificate may be why.
#[test]
fn a_failed_handshake_says_what_it_can_be_with_and_without_our_certificate() {
    let client = &world().client;
    let with = trust()
        .certificate_pem(client.chain_pem.clone())
        .key_pem(client.key_pem.clone());
    for (trust, words) in [
        (
            trust(),
            "wants a client certificate, of which there is none",
        ),
        (with, "does not accept our"),
    ] {
        let mut transport = Transport::new(&stack(&trust)).unwrap();
        let mut alert = BytesMut::from(&[0x15, 3, 3, 0, 2, 2, 40][..]);
        let error = transport
            .handle_wire(&mut alert, &mut BytesMut::new())
            .unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn alpn_is_offered_and_a_server_without_it_rejects() {
    let mut config = server_config(&world().server, ClientCertificates::NotAsked);
    config.alpn_protocols = vec![b"mqtt".to_vec()];
    let open = pair(&trust().alpn(["x-other", "mqtt"]), config.clone()).open();
    assert_eq!(
        open.server.tls.as_ref().unwrap().alpn_protocol(),
        Some(&b"mqtt"[..])
    );
    let error = pair(&trust().alpn(["h2"]), config).drive().unwrap_err();
    assert!(error.to_string().contains("ALPN"), "{error}");
}

#[test]
fn the_server_name_can_be_another_than_the_host() {
    let config = server_config(&world().server, ClientCertificates::NotAsked);
    let trust = trust().server_name(HOST);
    let client = TlsClient::new(&trust.build().unwrap(), "203.0.113.7").unwrap();
    let pair = Pair::over_tls(client, config).open();
    assert_eq!(pair.server.tls.as_ref().unwrap().server_name(), Some(HOST));

    let error = TlsClient::new(
        &Trust::new().ca_pem(world().ca.pem()).build().unwrap(),
        "no host",
    )
    .unwrap_err();
    assert_eq!(error.kind(), StackErrorKind::Configuration);
}

#[test]
fn a_configuration_of_ones_own_is_used_as_it_is() {
    /// A clock that stands in 1999, before every certificate here.
    #[derive(Debug)]
    struct Past;
    impl rustls::time_provider::TimeProvider for Past {
        fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
            Some(rustls::pki_types::UnixTime::since_unix_epoch(
                std::time::Duration::from_secs(946_684_799),
            ))
        }
    }
    let own = |past: bool| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(world().ca.certificate.der().clone()).unwrap();
        let builder = if past {
            rustls::ClientConfig::builder_with_details(provider(), Arc::new(Past))
        } else {
            rustls::ClientConfig::builder_with_provider(provider())
        };
        let mut early = crate::pair::leaf(&[HOST]);
        early.not_before = rcgen::date_time_ymd(2000, 6, 1);
        let config = builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = TlsClient::new(&TlsConfig::from_rustls(config), HOST).unwrap();
        let config = server_config(&world().ca.sign(&early), ClientCertificates::NotAsked);
        Pair::over_tls(client, config)
    };
    let _ = own(false).open();
    let error = own(true).drive().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not valid before 2000-06-01; today is 1999-12-31"),
        "{error}"
    );
}

/// Handshake records in several pieces, several messages in a record, and a flight of over 4 KiB:
/// what `read_tls` takes at once is less.
#[test]
fn a_long_chain_passes() {
    let ca = crate::pair::Ca::new("Root");
    let mut identity = ca.server(&[HOST]);
    for number in 0..12 {
        identity = identity.with(&ca.intermediate(&format!("Intermediate {number}")));
    }
    assert!(identity.chain.iter().map(Vec::len).sum::<usize>() > 4096);
    for size in [usize::MAX, 1, 4096, 5000] {
        let config = server_config(&identity, ClientCertificates::NotAsked);
        let mut pair = pair(&Trust::new().ca_pem(ca.pem()), config);
        pair.sizes = vec![size];
        let mut pair = pair.open();
        pair.server.send(&[7; 40_000]);
        pair.drive().unwrap();
        assert_eq!(pair.received, vec![7; 40_000]);
    }
}

#[test]
fn a_second_connection_resumes_the_first() {
    let config = Arc::new(server_config(&world().server, ClientCertificates::NotAsked));
    let client = client(&trust());
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let pair = Pair::over_tls(client.clone(), config.clone()).open();
        kinds.push(pair.server.tls.as_ref().unwrap().handshake_kind().unwrap());
    }
    assert_eq!(
        kinds,
        [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]
    );
}

/// The keys are changed by either side in the middle.
#[test]
fn key_updates_pass() {
    let mut pair = TLS.pair().open();
    pair.server.send(b"one");
    pair.server
        .tls
        .as_mut()
        .unwrap()
        .refresh_traffic_keys()
        .unwrap();
    pair.server.send(b"two");
    pair.drive().unwrap();
    pair.write(b"three");
    assert_eq!(pair.received, &b"onetwo"[..]);
    assert_eq!(pair.server.received, b"three");
}
