//! What networks, proxies and servers do wrong, and what a client says of it. One body for the adapters that ask for it.

use super::Adapter;
use crate::certificates::{Certificates, Identity};
use crate::server::{
    End, Fault, HttpProxy, Level, Opcode, Proxy, ProxyFault, Setup, SocksProxy, Step, TestServer, WebSocket,
    frame, frame_that_claims,
};
use martlet_broker::{Config, Event};
use martlet_client::{
    Builder, Client, ClientEvent, ConnectError, ConnectionError, QoS, TransportError, TransportErrorKind,
    Trust, Version,
};
use std::time::Duration;

/// Makes a `#[test]` of each of these functions for this [`Adapter`].
#[macro_export]
macro_rules! hostile_tests {
    ($adapter:ty) => {
        $crate::runtime_tests! { $adapter =>
            each_bad_certificate_is_refused_for_what_is_bad
            a_client_certificate_is_refused_after_the_handshake
            what_is_to_be_encrypted_is_never_sent_in_clear
            tls_on_a_plain_port_is_recognised
            no_tls_on_a_tls_port_is_recognised
            an_http_proxy_refuses
            a_socks_proxy_refuses
            proxies_break_off
            an_upgrade_is_refused
            another_subprotocol_is_not_mqtt
            websocket_is_spoken_wrong
            a_close_in_the_middle_of_a_packet_delivers_nothing
            lengths_that_lie
            cuts_are_told_from_ends
            drips_are_as_good_as_floods
        }
    };
}

/// MQTT 5: accepted, with nothing more to say.
const CONNACK: &[u8] = b"\x20\x03\x00\x00\x00";
/// The first bytes of a publish of 100 bytes at QoS 0 to the topic `t`.
const HALF_PUBLISH: &[u8] = b"\x30\x64\x00\x01t\x00half";

/// A client in MQTT 5 that trusts the authority and tries once.
fn builder(uri: &str) -> Builder {
    let trust = Trust::new().ca_pem(&*Certificates::shared().authority.pem);
    let builder = Client::builder(uri).unwrap().trust(&trust).unwrap();
    builder.version(Version::V5).reconnect(|reconnect| reconnect.enabled = false)
}

/// Why it does not get a connection.
async fn failure<A: Adapter>(builder: Builder) -> TransportError {
    match A::connect_with(builder).await {
        Err(ConnectError::Connection(ConnectionError::Transport(error))) => error,
        other => panic!("{other:?}"),
    }
}

/// Why it loses the one that it has got, before any message came whole.
async fn loss<A: Adapter>(builder: Builder) -> ConnectionError {
    let (client, driver) = builder.build(A::Runtime::default());
    let mut events = client.events();
    let mut all = client.catch_all().unwrap();
    let ended = A::spawn(driver);
    let mut connected = false;
    let lost = loop {
        match events.next().await.unwrap() {
            ClientEvent::Connected(_) => connected = true,
            ClientEvent::Disconnected { error, retry_in: None } => break error,
            _ => {}
        }
    };
    assert!(connected, "{lost:?}");
    assert!(all.next().await.is_none(), "nothing came whole");
    assert_eq!(ended.await, lost);
    lost
}

/// Whether a client has got as far as MQTT.
async fn has_served(server: &TestServer) -> bool {
    let events = server.events().await;
    // What the broker publishes itself is of nobody.
    let of_a_client = |event: &Event| {
        matches!(event, Event::Connected { .. } | Event::Accepted { client_identifier: Some(_), .. })
    };
    events.iter().any(of_a_client)
}

#[track_caller]
fn assert_says(error: &TransportError, kind: TransportErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn instead(at: Level, bytes: impl Into<Vec<u8>>, end: End) -> Fault {
    Fault::Says { at, bytes: bytes.into(), end }
}

fn ends(at: Level, after: usize, end: End) -> Fault {
    Fault::Ends { at, after, end }
}

// ---- TLS

pub async fn each_bad_certificate_is_refused_for_what_is_bad<A: Adapter>() {
    let certificates = Certificates::shared();
    let table: [(&Identity, &str, bool, &[&str]); 8] = [
        (&certificates.wrong_host, "localhost", true, &["not for \"localhost\"", "elsewhere.example"]),
        (&certificates.expired, "localhost", false, &["expired on 2001-12-31", "today is 20"]),
        (&certificates.not_yet_valid, "localhost", false, &["not valid before 2900-01-01", "clock"]),
        (
            &certificates.unknown_authority,
            "localhost",
            true,
            &["Another test authority", "not a CA that is trusted"],
        ),
        (&certificates.self_signed, "localhost", true, &["self-signed"]),
        (
            &certificates.name_only,
            "127.0.0.1",
            true,
            &["not for \"127.0.0.1\"", "localhost", "connect by name"],
        ),
        (
            &certificates.without_intermediate,
            "localhost",
            true,
            &["Martlet test intermediate", "leaves out an intermediate"],
        ),
        (&certificates.for_clients_only, "localhost", true, &["not one for servers"]),
    ];
    for (identity, host, permanent, words) in table {
        for setup in [Setup::tls_as(identity), Setup::tls_as(identity).websocket()] {
            let server = TestServer::start(setup.broker(recording())).await;
            let error = failure::<A>(builder(&server.uri_as(host))).await;
            assert_says(&error, TransportErrorKind::Certificate, words);
            assert_eq!(error.is_permanent(), permanent, "{error}");
            assert!(!has_served(&server).await);
        }
    }
}

/// In TLS 1.3 the server sees it when the client has long gone on.
pub async fn a_client_certificate_is_refused_after_the_handshake<A: Adapter>() {
    let certificates = Certificates::shared();
    for setup in [Setup::mutual_tls(), Setup::mutual_tls().websocket()] {
        let server = TestServer::start(setup).await;
        let error = failure::<A>(builder(&server.uri())).await;
        assert_says(
            &error,
            TransportErrorKind::ClientCertificate,
            &["wants a client certificate", "none was given"],
        );
        assert!(error.is_permanent());
        let stranger = &certificates.unknown_client;
        let trust = Trust::new().ca_pem(&*certificates.authority.pem);
        let trust = trust.certificate_pem(&*stranger.chain_pem).key_pem(&*stranger.key_pem);
        let error = failure::<A>(builder(&server.uri()).trust(&trust).unwrap()).await;
        assert_says(
            &error,
            TransportErrorKind::ClientCertificate,
            &["does not accept our client certificate", "CA"],
        );
        assert!(error.is_permanent());
    }
}

/// No attempt falls back, whatever the server is.
pub async fn what_is_to_be_encrypted_is_never_sent_in_clear<A: Adapter>() {
    let server = TestServer::start(Setup::tcp().broker(recording())).await;
    for scheme in ["mqtts", "wss"] {
        let uri = format!("{scheme}://{}", server.socket_addr());
        // Without a version, so that it may try two.
        let trust = Trust::new().ca_pem(&*Certificates::shared().authority.pem);
        let builder = Client::builder(&uri).unwrap().trust(&trust).unwrap().reconnect(|reconnect| {
            reconnect.initial = Duration::from_millis(1);
            reconnect.max = Duration::from_millis(1);
            reconnect.retry_first = true;
            reconnect.retries = Some(4);
        });
        let error = failure::<A>(builder.credentials("user", "secret").unwrap()).await;
        assert_says(&error, TransportErrorKind::Tls, &["may not speak TLS"]);
    }
    assert_eq!(server.seen().len(), 10);
    assert!(!has_served(&server).await);
}

pub async fn tls_on_a_plain_port_is_recognised<A: Adapter>() {
    let server = TestServer::start(Setup::tls()).await;
    for (scheme, advice) in [("mqtt", "use mqtts://"), ("ws", "use wss://")] {
        let error = failure::<A>(builder(&format!("{scheme}://{}", server.socket_addr()))).await;
        assert_says(&error, TransportErrorKind::Tls, &["the server speaks TLS", advice]);
    }
}

pub async fn no_tls_on_a_tls_port_is_recognised<A: Adapter>() {
    for (answer, advice) in [
        (CONNACK, "mqtt://"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "looks like HTTP"),
        (b"\x00\x01\x02", "first byte is 0x00"),
    ] {
        let server = TestServer::start(Setup::tls().fault(instead(Level::Socket, answer, End::Hang))).await;
        let error = failure::<A>(builder(&server.uri_by_name())).await;
        assert_says(&error, TransportErrorKind::Tls, &["does not speak TLS on this port", advice]);
    }
}

// ---- proxies

async fn through<A: Adapter>(proxy: &Proxy, scheme: &str, user: &str) -> TransportError {
    let server = TestServer::start(Setup::tls().broker(recording())).await;
    let proxy = format!("{scheme}://{user}{}", proxy.address());
    let error = failure::<A>(builder(&server.uri_by_name()).proxy(&proxy).unwrap()).await;
    assert!(server.seen().is_empty());
    assert!(!error.to_string().contains("secret"));
    error
}

pub async fn an_http_proxy_refuses<A: Adapter>() {
    let user = Some(("user", "right"));
    let proxy = Proxy::http(HttpProxy { user, ..HttpProxy::default() }).await;
    for user in ["", "user:secret@"] {
        let error = through::<A>(&proxy, "http", user).await;
        assert_says(&error, TransportErrorKind::Proxy, &["407", "user name and password"]);
        assert!(error.is_permanent());
    }
    assert!(proxy.targets().is_empty());
    for (answer, word, permanent) in [
        ("HTTP/1.0 401 Unauthorized\r\n\r\n", "user name and password", true),
        ("HTTP/1.1 403 Filtered\r\nContent-Length: 9\r\n\r\nforbidden", "403 Filtered", true),
        ("HTTP/1.0 405 Method Not Allowed\r\n\r\n", "405", true),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "502", false),
        ("HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n", "302", false),
        ("220 mail.example ESMTP\r\n\r\n", "did not answer with HTTP", false),
    ] {
        let fault = Some(ProxyFault { to: Step::Request, says: answer.into(), end: End::Hang });
        let proxy = Proxy::http(HttpProxy { fault, ..HttpProxy::default() }).await;
        let error = through::<A>(&proxy, "http", "").await;
        assert_says(&error, TransportErrorKind::Proxy, &[word]);
        assert_eq!(error.is_permanent(), permanent, "{error}");
    }
    // A SOCKS proxy is no HTTP proxy: it hangs up, as it does not understand.
    let proxy = Proxy::socks(SocksProxy::default()).await;
    let error = through::<A>(&proxy, "http", "").await;
    assert_eq!(error.kind(), TransportErrorKind::Proxy, "{error}");
}

pub async fn a_socks_proxy_refuses<A: Adapter>() {
    let user = Some(("user", "right"));
    let proxy = Proxy::socks(SocksProxy { user, ..SocksProxy::default() }).await;
    let error = through::<A>(&proxy, "socks5", "").await;
    assert_says(&error, TransportErrorKind::Proxy, &["no user name was given"]);
    let error = through::<A>(&proxy, "socks5", "user:secret@").await;
    assert_says(&error, TransportErrorKind::Proxy, &["does not accept the user name and password"]);
    assert!(error.is_permanent());
    assert!(proxy.targets().is_empty());
    for (code, word) in [
        (1, "general failure"),
        (2, "rules"),
        (3, "network is unreachable"),
        (4, "server is unreachable"),
        (5, "refused the connection"),
        (6, "time to live"),
        (7, "CONNECT"),
        (8, "type of address"),
        (9, "code 9"),
    ] {
        let says = vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        let fault = Some(ProxyFault { to: Step::Request, says, end: End::Hang });
        let proxy = Proxy::socks(SocksProxy { fault, ..SocksProxy::default() }).await;
        assert_says(&through::<A>(&proxy, "socks5", "").await, TransportErrorKind::Proxy, &[word]);
    }
    for (says, word) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x0a", "TLS"),
        (b"\x04\x00", "0x04"),
        (b"\x05\x01", "method 1"),
    ] {
        let fault = Some(ProxyFault { to: Step::Greeting, says: says.to_vec(), end: End::Hang });
        let proxy = Proxy::socks(SocksProxy { fault, ..SocksProxy::default() }).await;
        assert_says(&through::<A>(&proxy, "socks5", "").await, TransportErrorKind::Proxy, &[word]);
    }
}

pub async fn proxies_break_off<A: Adapter>() {
    for (says, words) in [
        (&b""[..], "without an answer"),
        (b"HTTP/1.1 200", "before the way to the server was open"),
        (b"HTTP/1.1 200 OK\r\nVia: x\r\n", "before the way to the server was open"),
    ] {
        let fault = Some(ProxyFault { to: Step::Request, says: says.to_vec(), end: End::Cut });
        let proxy = Proxy::http(HttpProxy { fault, ..HttpProxy::default() }).await;
        assert_says(&through::<A>(&proxy, "http", "").await, TransportErrorKind::Proxy, &[words]);
    }
    for (to, says, words) in [
        (Step::Greeting, &b""[..], "without an answer"),
        (Step::Greeting, b"\x05", "before the way to the server was open"),
        (Step::Request, b"", "before the way to the server was open"),
        (Step::Request, b"\x05\x00\x00\x01\x7f", "before the way to the server was open"),
    ] {
        let fault = Some(ProxyFault { to, says: says.to_vec(), end: End::Cut });
        let proxy = Proxy::socks(SocksProxy { fault, ..SocksProxy::default() }).await;
        assert_says(&through::<A>(&proxy, "socks5", "").await, TransportErrorKind::Proxy, &[words]);
    }
}

// ---- WebSocket

pub async fn an_upgrade_is_refused<A: Adapter>() {
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
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", &["200 OK", "no WebSocket"]),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", &["503", "broker"]),
        ("\x20\x02\x00\x00", &["is there WebSocket on this port"]),
    ] {
        for setup in [Setup::tcp(), Setup::tls()] {
            let fault = instead(Level::Stream, answer, End::Close);
            let server = TestServer::start(setup.websocket().fault(fault)).await;
            let error = failure::<A>(builder(&format!("{}/mqtt", server.uri_by_name()))).await;
            assert_says(&error, TransportErrorKind::WebSocket, words);
            assert!(!error.to_string().contains('\x1b'), "{error}");
        }
    }
    for (said, words) in [("", "without an answer"), ("HTTP/1.1 101 Swi", "in the middle of its answer")] {
        let fault = instead(Level::Stream, said, End::Cut);
        let server = TestServer::start(Setup::tcp().websocket().fault(fault)).await;
        let error = failure::<A>(builder(&server.uri())).await;
        assert_says(&error, TransportErrorKind::WebSocket, &[words]);
    }
}

pub async fn another_subprotocol_is_not_mqtt<A: Adapter>() {
    for (subprotocol, words) in
        [(None, &["left out the subprotocol"][..]), (Some("wamp"), &["\"wamp\"", "not mqtt"])]
    {
        let websocket = Some(WebSocket { subprotocol, ..WebSocket::default() });
        let server = TestServer::start(Setup { websocket, ..Setup::tcp() }.broker(recording())).await;
        let error = failure::<A>(builder(&server.uri())).await;
        assert_says(&error, TransportErrorKind::WebSocket, words);
        assert!(!has_served(&server).await);
    }
}

/// A server that upgrades, and then says this instead of frames of MQTT.
async fn frames(bytes: Vec<u8>, end: End) -> TestServer {
    TestServer::start(Setup::tls().websocket().fault(instead(Level::Frames, bytes, end))).await
}

pub async fn websocket_is_spoken_wrong<A: Adapter>() {
    // Instead of CONNACK.
    for (bytes, word) in [
        (frame(Opcode::Text, b"text"), "text frame"),
        // Masked, with an unknown kind, and with a reserved bit.
        (b"\x82\x85\0\0\0\0\x20\x03\0\0\0".to_vec(), "broke the WebSocket protocol"),
        (b"\x83\x00".to_vec(), "broke the WebSocket protocol"),
        (b"\xc2\x00".to_vec(), "broke the WebSocket protocol"),
    ] {
        let server = frames(bytes, End::Hang).await;
        let error = failure::<A>(builder(&server.uri())).await;
        assert_says(&error, TransportErrorKind::WebSocket, &[word]);
    }
    // After it.
    let bytes = [frame(Opcode::Binary, CONNACK), frame(Opcode::Text, HALF_PUBLISH)].concat();
    let server = frames(bytes, End::Hang).await;
    match loss::<A>(builder(&server.uri())).await {
        ConnectionError::Transport(error) => {
            assert_says(&error, TransportErrorKind::WebSocket, &["text frame"]);
        }
        other => panic!("{other:?}"),
    }
}

pub async fn a_close_in_the_middle_of_a_packet_delivers_nothing<A: Adapter>() {
    let half = [frame(Opcode::Binary, CONNACK), frame(Opcode::Binary, HALF_PUBLISH)].concat();
    // In good order, and without a word.
    let close = [&half[..], &frame(Opcode::Close, b"\x03\xe8bye")].concat();
    let server = frames(close, End::Close).await;
    let lost = loss::<A>(builder(&server.uri())).await;
    assert_eq!(lost, ConnectionError::ClosedByPeer);
    let server = frames(half, End::Cut).await;
    let lost = loss::<A>(builder(&server.uri())).await;
    assert!(
        matches!(&lost, ConnectionError::Transport(error) if error.kind() == TransportErrorKind::Io),
        "{lost:?}"
    );
}

// ---- lengths and ends

pub async fn lengths_that_lie<A: Adapter>() {
    // A frame that claims more than comes.
    let claims = frame_that_claims(1000, Opcode::Binary, HALF_PUBLISH);
    let server = frames([frame(Opcode::Binary, CONNACK), claims].concat(), End::Cut).await;
    let lost = loss::<A>(builder(&server.uri())).await;
    assert!(matches!(lost, ConnectionError::Transport(_)), "{lost:?}");
    // One that claims more than there is memory for, and one that claims too much for MQTT.
    for len in [1 << 60, 300_000_000] {
        let claims = frame_that_claims(len, Opcode::Binary, b"");
        let server = frames([frame(Opcode::Binary, CONNACK), claims].concat(), End::Hang).await;
        match loss::<A>(builder(&server.uri()).session(|config| config.maximum_packet_size = 1_000_000)).await
        {
            ConnectionError::Transport(error) => {
                assert_says(&error, TransportErrorKind::WebSocket, &["allowed"]);
            }
            other => panic!("{other:?}"),
        }
    }
    // Packets: one that comes in part, one that is larger than allowed, and a length that is none.
    for setup in [Setup::tcp(), Setup::tls(), Setup::tcp().websocket()] {
        let says =
            |bytes: &[u8], end| setup.clone().fault(instead(Level::Packets, [CONNACK, bytes].concat(), end));
        let server = TestServer::start(says(HALF_PUBLISH, End::Close)).await;
        assert_eq!(loss::<A>(builder(&server.uri())).await, ConnectionError::ClosedByPeer);
        for bytes in [&b"\x30\xff\xff\xff\x7f\x00\x01t"[..], b"\x30\xff\xff\xff\xff\x01"] {
            let server = TestServer::start(says(bytes, End::Hang)).await;
            let builder = builder(&server.uri()).session(|config| config.maximum_packet_size = 1_000_000);
            let lost = loss::<A>(builder).await;
            assert!(
                !matches!(lost, ConnectionError::Transport(_) | ConnectionError::ClosedByPeer),
                "{lost:?}"
            );
        }
    }
}

pub async fn cuts_are_told_from_ends<A: Adapter>() {
    // In the middle of the TLS handshake.
    let server = TestServer::start(Setup::tls().fault(ends(Level::Socket, 100, End::Cut))).await;
    let error = failure::<A>(builder(&server.uri())).await;
    assert_says(&error, TransportErrorKind::Tls, &["in the middle of the TLS handshake"]);
    // Before MQTT has its answer: in the middle of a record, of a frame, of the answer itself.
    for (setup, fault) in [
        (Setup::tls(), ends(Level::Records, 7, End::Cut)),
        (Setup::tcp().websocket(), ends(Level::Frames, 3, End::Cut)),
        (Setup::tls().websocket(), ends(Level::Packets, 2, End::Cut)),
    ] {
        let server = TestServer::start(setup.fault(fault)).await;
        let error = failure::<A>(builder(&server.uri())).await;
        assert_says(&error, TransportErrorKind::Io, &["ended without"]);
    }
    // After its answer, between two packets: with a word it is an end like that of TCP, without it is a cut.
    for setup in [Setup::tls(), Setup::tcp().websocket(), Setup::tls().websocket()] {
        for end in [End::Close, End::Cut] {
            let setup = setup.clone().fault(instead(Level::Packets, CONNACK, end));
            let server = TestServer::start(setup).await;
            let lost = loss::<A>(builder(&server.uri())).await;
            match end {
                End::Close => assert_eq!(lost, ConnectionError::ClosedByPeer),
                _ => assert!(
                    matches!(&lost, ConnectionError::Transport(error) if error.to_string().contains("ended without")),
                    "{lost:?}"
                ),
            }
        }
    }
}

pub async fn drips_are_as_good_as_floods<A: Adapter>() {
    for level in [Level::Socket, Level::Records, Level::Stream, Level::Frames, Level::Packets] {
        let server = TestServer::start(Setup::tls().websocket().fault(Fault::Drips(level))).await;
        let http = Proxy::http(HttpProxy { drips: true, ..HttpProxy::default() }).await;
        let socks = Proxy::socks(SocksProxy { drips: true, ..SocksProxy::default() }).await;
        for proxy in [format!("http://{}", http.address()), format!("socks5://{}", socks.address())] {
            let client = A::connect_with(builder(&server.uri()).proxy(&proxy).unwrap()).await.unwrap();
            let mut messages = client.subscribe("a").qos(QoS::ExactlyOnce).await.unwrap();
            client.publish("a", "drip").qos(QoS::ExactlyOnce).await.unwrap();
            assert_eq!(messages.next().await.unwrap().text(), Some("drip"));
            client.disconnect().await;
        }
    }
}

fn recording() -> Config {
    Config { record_events: true, ..Config::default() }
}
