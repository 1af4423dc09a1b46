//! The servers of the tests do what they say: seen with the client sides of rustls and tungstenite.

#![allow(clippy::unwrap_used)]

use martlet_broker::{Config, Memory};
use martlet_tests::certificates::{Certificates, Directory, Identity};
use martlet_tests::server::{
    BoxedStream, End, Fault, HttpProxy, Level, Opcode, Proxy, ProxyFault, Seen, Setup, SocksProxy, Step,
    TestServer, WebSocket, frame, frame_that_claims,
};
use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

/// MQTT 3.1.1, clean session.
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const PINGREQ: &[u8] = b"\xc0\x00";
const PINGRESP: &[u8] = b"\xd0\x00";
/// QoS 0, topic `t`, payload `x`.
const PUBLISH: &[u8] = b"\x30\x04\x00\x01tx";

async fn socket(server: &TestServer) -> BoxedStream {
    match server.uri().strip_prefix("mqtt+unix://") {
        Some(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        None => Box::new(TcpStream::connect(server.socket_addr()).await.unwrap()),
    }
}

async fn tls<S>(stream: S, config: Arc<ClientConfig>, name: &str) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    TlsConnector::from(config).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

/// With the certificate of the client that the authority knows.
fn known() -> Arc<ClientConfig> {
    let certificates = Certificates::shared();
    certificates.client_config(Some(&certificates.client))
}

/// Without a certificate.
fn nobody() -> Arc<ClientConfig> {
    Certificates::shared().client_config(None)
}

async fn upgrade<S>(stream: S) -> tungstenite::Result<WebSocketStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = "ws://localhost/mqtt?a=b".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
    Ok(client_async(request, stream).await?.0)
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(bytes.to_vec().into())
}

/// Takes `Stream` and `Sink` of a WebSocket for what is needed here.
trait Frames {
    async fn say(&mut self, message: Message) -> tungstenite::Result<()>;
    async fn hear(&mut self) -> Option<tungstenite::Result<Message>>;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames for WebSocketStream<S> {
    async fn say(&mut self, message: Message) -> tungstenite::Result<()> {
        use futures_sink::Sink;
        use std::future::poll_fn;
        use std::pin::Pin;
        poll_fn(|cx| Pin::new(&mut *self).poll_ready(cx)).await?;
        Pin::new(&mut *self).start_send(message)?;
        poll_fn(|cx| Pin::new(&mut *self).poll_flush(cx)).await
    }

    async fn hear(&mut self) -> Option<tungstenite::Result<Message>> {
        use futures_core::Stream;
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut *self).poll_next(cx)).await
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, say: &[u8], hear: &[u8]) {
    stream.write_all(say).await.unwrap();
    stream.flush().await.unwrap();
    let mut heard = vec![0; hear.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert!(heard == hear, "{heard:02x?}");
}

async fn exchange_frames<S>(socket: &mut WebSocketStream<S>, say: &[u8], hear: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket.say(binary(say)).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < hear.len() {
        heard.extend(socket.hear().await.unwrap().unwrap().into_data());
    }
    assert!(heard == hear, "{heard:02x?}");
}

/// Everything until the end of the stream, and how that came.
async fn rest(mut stream: impl AsyncRead + Unpin) -> (Vec<u8>, io::Result<usize>) {
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest).await;
    (rest, end)
}

/// A publish of 300 KB to a topic that this client has subscribed to, and what comes back.
fn large() -> Vec<u8> {
    let mut publish = b"\x30\xe3\xa7\x12\x00\x01t".to_vec();
    publish.resize(publish.len() + 300_000, b'x');
    publish
}

#[tokio::test]
async fn tcp_and_unix_carry_mqtt_and_come_back() {
    for setup in [Setup::tcp(), Setup::unix()] {
        let server = TestServer::start(setup).await;
        for end in ["kill", "cut"] {
            let mut client = socket(&server).await;
            exchange(&mut client, CONNECT, CONNACK).await;
            exchange(&mut client, b"\x82\x06\x00\x01\x00\x01t\x00", b"\x90\x03\x00\x01\x00").await;
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
        let refused = match server.uri().strip_prefix("mqtt+unix://") {
            Some(path) => UnixStream::connect(path).await.map(drop),
            None => TcpStream::connect(server.socket_addr()).await.map(drop),
        };
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn tls_carries_mqtt() {
    for (setup, config, certificate) in
        [(Setup::tls(), nobody(), false), (Setup::mutual_tls(), known(), true)]
    {
        let server = TestServer::start(setup).await;
        for name in ["localhost", "127.0.0.1", "::1"] {
            let mut client = tls(socket(&server).await, config.clone(), name).await.unwrap();
            exchange(&mut client, CONNECT, CONNACK).await;
            exchange(&mut client, b"\x82\x06\x00\x01\x00\x01t\x00", b"\x90\x03\x00\x01\x00").await;
            exchange(&mut client, &large(), &large()).await;
            // The server takes its leave: an end without an error.
            client.write_all(b"\xe0\x00").await.unwrap();
            assert_eq!(rest(client).await.1.unwrap(), 0);
        }
        let names: Vec<_> = server.seen().into_iter().map(|seen| seen.server_name).collect();
        assert_eq!(names, [Some("localhost".to_owned()), None, None]);
        assert!(server.seen().iter().all(|seen| seen.has_client_certificate == certificate));
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
    exchange_frames(&mut client, b"\x82\x06\x00\x01\x00\x01t\x00", b"\x90\x03\x00\x01\x00").await;
    exchange_frames(&mut client, &large(), &large()).await;
    // A packet in pieces; the server takes its leave.
    client.say(binary(b"\xe0")).await.unwrap();
    client.say(binary(b"\x00")).await.unwrap();
    assert!(matches!(client.hear().await, Some(Ok(Message::Close(None)))));
    assert!(client.hear().await.is_none());
    // The client does.
    let mut client = upgrade(socket(&server).await).await.unwrap();
    client.say(Message::Close(None)).await.unwrap();
    assert!(matches!(client.hear().await, Some(Ok(Message::Close(None)))));
    assert!(client.hear().await.is_none());
    let seen = &server.seen()[0];
    assert_eq!(seen.path.as_deref(), Some("/mqtt?a=b"));
    assert_eq!(seen.header("sec-websocket-protocol"), Some("mqtt"));
}

#[tokio::test]
async fn websocket_over_tls_carries_mqtt() {
    let server = TestServer::start(Setup::mutual_tls().websocket()).await;
    assert!(server.uri_by_name().starts_with("wss://localhost:"));
    let stream = tls(socket(&server).await, known(), "localhost").await.unwrap();
    let mut client = upgrade(stream).await.unwrap();
    exchange_frames(&mut client, CONNECT, CONNACK).await;
    exchange_frames(&mut client, PINGREQ, PINGRESP).await;
}

#[tokio::test]
async fn each_bad_certificate_is_refused_for_what_is_bad() {
    let certificates = Certificates::shared();
    type Is = fn(&CertificateError) -> bool;
    let table: [(&str, &Identity, &str, Is); 8] = [
        ("wrong host", &certificates.wrong_host, "localhost", |error| {
            matches!(error, CertificateError::NotValidForNameContext { .. })
        }),
        ("expired", &certificates.expired, "localhost", |error| {
            matches!(error, CertificateError::ExpiredContext { .. })
        }),
        ("not yet valid", &certificates.not_yet_valid, "localhost", |error| {
            matches!(error, CertificateError::NotValidYetContext { .. })
        }),
        ("unknown authority", &certificates.unknown_authority, "localhost", |error| {
            matches!(error, CertificateError::UnknownIssuer)
        }),
        ("self-signed", &certificates.self_signed, "localhost", |error| {
            matches!(error, CertificateError::UnknownIssuer)
        }),
        ("name only", &certificates.name_only, "127.0.0.1", |error| {
            matches!(error, CertificateError::NotValidForNameContext { .. })
        }),
        ("without intermediate", &certificates.without_intermediate, "localhost", |error| {
            matches!(error, CertificateError::UnknownIssuer)
        }),
        ("for clients only", &certificates.for_clients_only, "localhost", |error| {
            matches!(error, CertificateError::InvalidPurposeContext { .. })
        }),
    ];
    for (what, identity, name, is) in table {
        let server = TestServer::start(Setup::tls_as(identity)).await;
        let error = tls(socket(&server).await, nobody(), name).await.unwrap_err();
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(error)) if is(error) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    // What is wrong with it is the address only.
    let server = TestServer::start(Setup::tls_as(&certificates.name_only)).await;
    tls(socket(&server).await, nobody(), "localhost").await.unwrap();
}

/// In TLS 1.3 the client's handshake is over before the server has seen its certificate.
#[tokio::test]
async fn a_client_that_is_not_known_is_told_after_the_handshake() {
    let certificates = Certificates::shared();
    let unknown = certificates.client_config(Some(&certificates.unknown_client));
    for (config, alert) in
        [(nobody(), AlertDescription::CertificateRequired), (unknown, AlertDescription::UnknownCA)]
    {
        let server = TestServer::start(Setup::mutual_tls()).await;
        let mut client = tls(socket(&server).await, config, "localhost").await.unwrap();
        let error = client.read_u8().await.unwrap_err();
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::AlertReceived(received)) => assert_eq!(*received, alert),
            other => panic!("{other:?}"),
        }
    }
}

/// The files say the same as the bytes.
#[test]
fn certificates_can_be_files() {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let certificates = Certificates::new();
    let directory = Directory::new();
    let authority = directory.write("authority.pem", &certificates.authority.pem);
    let chain = directory.write("chain.pem", &certificates.server.chain_pem);
    let key = directory.write("key.pem", &certificates.server.key_pem);
    let read = |path| CertificateDer::pem_file_iter(path).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert!(read(&authority).iter().eq([&certificates.authority.certificate]));
    assert_eq!(read(&chain), certificates.server.chain);
    assert_eq!(PrivateKeyDer::from_pem_file(&key).unwrap(), certificates.server.key);
    assert_eq!(certificates.server.chain.len(), 2);
    let path = directory.path().to_owned();
    drop(directory);
    assert!(!path.exists());
}

#[tokio::test]
async fn drips_arrive_whole() {
    for level in [Level::Socket, Level::Records, Level::Stream] {
        // Without WebSocket: this client takes an answer to its request in drips for an attack.
        let server = TestServer::start(Setup::tls().fault(Fault::Drips(level))).await;
        let mut stream = tls(socket(&server).await, nobody(), "localhost").await.unwrap();
        stream.write_all(CONNECT).await.unwrap();
        let mut heard = vec![0; CONNACK.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, CONNACK);
    }
    for level in [Level::Frames, Level::Packets] {
        let server = TestServer::start(Setup::tls().websocket().fault(Fault::Drips(level))).await;
        let stream = tls(socket(&server).await, nobody(), "localhost").await.unwrap();
        let mut client = upgrade(stream).await.unwrap();
        client.say(binary(CONNECT)).await.unwrap();
        let first = client.hear().await.unwrap().unwrap().into_data();
        if level == Level::Packets {
            // Each byte has a frame of its own.
            assert_eq!(first, CONNACK[..1]);
            for byte in &CONNACK[1..] {
                assert_eq!(client.hear().await.unwrap().unwrap().into_data(), [*byte][..]);
            }
        } else {
            assert_eq!(first, CONNACK);
        }
    }
    // Over a stream that keeps its writes apart from each other they come one by one.
    let setup = Setup::tcp().fault(Fault::Drips(Level::Socket));
    let (mut here, there) = duplex(64);
    let mut accepted = setup.accept(there, &mut Seen::default()).await.unwrap().unwrap();
    for n in 1..4 {
        assert_eq!(accepted.write(CONNACK).await.unwrap(), 1);
        let mut heard = [0; 8];
        assert_eq!(here.read(&mut heard).await.unwrap(), 1, "{n}");
    }
}

#[tokio::test]
async fn cut_in_the_middle() {
    let cut = |at, after| Fault::Ends { at, after, end: End::Cut };
    // Of a packet.
    let server = TestServer::start(Setup::tcp().fault(cut(Level::Socket, 5))).await;
    let mut client = socket(&server).await;
    exchange(&mut client, CONNECT, CONNACK).await;
    client.write_all(PINGREQ).await.unwrap();
    assert_eq!(rest(client).await.0, PINGRESP[..1]);
    // Of the handshake.
    let server = TestServer::start(Setup::tls().fault(cut(Level::Socket, 100))).await;
    let error = tls(socket(&server).await, nobody(), "localhost").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    // Of a record: the handshake is over, and no record comes whole.
    let server = TestServer::start(Setup::tls().fault(cut(Level::Records, 7))).await;
    let mut client = tls(socket(&server).await, nobody(), "localhost").await.unwrap();
    client.write_all(CONNECT).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    // Between two packets, whole records, without a close_notify.
    let server = TestServer::start(Setup::tls().fault(cut(Level::Packets, CONNACK.len()))).await;
    let mut client = tls(socket(&server).await, nobody(), "localhost").await.unwrap();
    exchange(&mut client, CONNECT, CONNACK).await;
    assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    // The same with it.
    let close = Fault::Ends { at: Level::Packets, after: CONNACK.len(), end: End::Close };
    let server = TestServer::start(Setup::tls().fault(close.clone())).await;
    let mut client = tls(socket(&server).await, nobody(), "localhost").await.unwrap();
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
    assert!(matches!(client.hear().await, Some(Ok(Message::Close(None)))));
    // Of the answer to the upgrade.
    let server = TestServer::start(Setup::tcp().websocket().fault(cut(Level::Stream, 20))).await;
    let error = upgrade(socket(&server).await).await.unwrap_err();
    assert!(matches!(error, tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete)), "{error:?}");
}

#[tokio::test]
async fn what_is_said_instead() {
    let says = |at, bytes: &[u8], end| Fault::Says { at, bytes: bytes.to_vec(), end };
    // An alert where there is no TLS, and no TLS where an alert would be in place.
    for setup in [Setup::tcp(), Setup::tls()] {
        let alert = b"\x15\x03\x03\x00\x02\x02\x0a";
        let server = TestServer::start(setup.fault(says(Level::Socket, alert, End::Close))).await;
        let mut client = socket(&server).await;
        client.write_all(CONNECT).await.unwrap();
        assert_eq!(rest(client).await.0, alert);
    }
    // After the TLS handshake, outside of it.
    let server = TestServer::start(Setup::tls().fault(says(Level::Records, PINGRESP, End::Cut))).await;
    let mut client = tls(socket(&server).await, nobody(), "localhost").await.unwrap();
    client.write_all(CONNECT).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    // HTTP that is no upgrade, in TLS.
    let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nmqtt";
    let server =
        TestServer::start(Setup::tls().websocket().fault(says(Level::Stream, answer, End::Close))).await;
    let stream = tls(socket(&server).await, nobody(), "localhost").await.unwrap();
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
    let setup = Setup::tcp().websocket().fault(says(Level::Frames, &bytes, End::Cut));
    let server = TestServer::start(setup).await;
    let mut client = upgrade(socket(&server).await).await.unwrap();
    client.say(binary(CONNECT)).await.unwrap();
    let mut heard = async || client.hear().await.unwrap();
    assert_eq!(heard().await.unwrap(), Message::Text(Utf8Bytes::from_static("text")));
    assert_eq!(heard().await.unwrap(), Message::Ping(b"?".to_vec().into()));
    assert_eq!(heard().await.unwrap(), binary(&[b'x'; 126]));
    assert_eq!(heard().await.unwrap(), binary(&[b'x'; 65536]));
    heard().await.unwrap_err();
    // MQTT that lies, in a frame.
    let setup =
        Setup::tcp().websocket().fault(says(Level::Packets, b"\x20\x02\x00\x00\x30\x7f\x00", End::Close));
    let server = TestServer::start(setup).await;
    let mut client = upgrade(socket(&server).await).await.unwrap();
    exchange_frames(&mut client, CONNECT, b"\x20\x02\x00\x00\x30\x7f\x00").await;
    assert!(matches!(client.hear().await, Some(Ok(Message::Close(None)))));
}

/// A client of TLS 1.3 may say something in the same breath as the end of its handshake, and what answers that below TLS
/// has to see it. On a busy machine it came so by chance, and the server waited for ever.
#[tokio::test]
async fn what_is_said_below_tls_answers_what_came_with_the_handshake() {
    let says = Fault::Says { at: Level::Records, bytes: PINGRESP.to_vec(), end: End::Close };
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

#[tokio::test]
async fn other_subprotocols() {
    for subprotocol in [None, Some("mqttv3.1")] {
        let websocket = Some(WebSocket { subprotocol, ..WebSocket::default() });
        let server = TestServer::start(Setup { websocket, ..Setup::tcp() }).await;
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
        let header = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(header, subprotocol);
    }
    // Frames of few bytes.
    let websocket = Some(WebSocket { frame_size: 3, ..WebSocket::default() });
    let server = TestServer::start(Setup { websocket, ..Setup::tcp() }).await;
    let mut client = upgrade(socket(&server).await).await.unwrap();
    client.say(binary(CONNECT)).await.unwrap();
    assert_eq!(client.hear().await.unwrap().unwrap(), binary(&CONNACK[..3]));
    assert_eq!(client.hear().await.unwrap().unwrap(), binary(&CONNACK[3..]));
}

/// In simulated time: an hour passes, and nothing has come.
#[tokio::test(start_paused = true)]
async fn silence() {
    const HOUR: Duration = Duration::from_secs(3600);
    let start = |setup: Setup| {
        let (here, there) = duplex(64 * 1024);
        tokio::spawn(async move {
            let accepted = setup.accept(there, &mut Seen::default()).await;
            if let Ok(Some(mut stream)) = accepted {
                stream.write_all(CONNACK).await.unwrap();
                stream.flush().await.unwrap();
                std::future::pending::<()>().await;
            }
        });
        here
    };
    let silent = |setup: Setup, at| start(setup.fault(Fault::silent(at)));

    timeout(HOUR, silent(Setup::tcp(), Level::Socket).read_u8()).await.unwrap_err();
    let client = tls(silent(Setup::tls(), Level::Socket), nobody(), "localhost");
    timeout(HOUR, client).await.unwrap_err();
    let mut client = tls(silent(Setup::tls(), Level::Records), nobody(), "localhost").await.unwrap();
    timeout(HOUR, client.read_u8()).await.unwrap_err();
    let mut client = tls(silent(Setup::tls(), Level::Packets), nobody(), "localhost").await.unwrap();
    timeout(HOUR, client.read_u8()).await.unwrap_err();
    let client = upgrade(silent(Setup::tcp().websocket(), Level::Stream));
    timeout(HOUR, client).await.unwrap_err();
    let mut client = upgrade(silent(Setup::tcp().websocket(), Level::Frames)).await.unwrap();
    timeout(HOUR, client.hear()).await.unwrap_err();
    // After a part of the answer.
    let part = Fault::Ends { at: Level::Stream, after: 20, end: End::Hang };
    let mut client = start(Setup::tcp().fault(Fault::Ends { at: Level::Packets, after: 3, end: End::Hang }));
    exchange(&mut client, CONNECT, &CONNACK[..3]).await;
    timeout(HOUR, client.read_u8()).await.unwrap_err();
    timeout(HOUR, upgrade(start(Setup::tcp().websocket().fault(part)))).await.unwrap_err();
    // Without the fault it is not silent.
    let mut client = tls(start(Setup::tls()), nobody(), "localhost").await.unwrap();
    exchange(&mut client, CONNECT, CONNACK).await;
}

/// Through a proxy that lets in one user.
const USER: Option<(&str, &str)> = Some(("user", "pass"));

fn connect(server: &TestServer, headers: &str) -> Vec<u8> {
    let port = server.socket_addr().port();
    format!("CONNECT broker.example:{port} HTTP/1.1\r\nHost: broker.example:{port}\r\n{headers}\r\n").into()
}

/// The head of an answer, its status in front.
async fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn an_http_proxy() {
    let server = TestServer::start(Setup::tcp()).await;
    for drips in [false, true] {
        let proxy = Proxy::http(HttpProxy { user: USER, drips, ..HttpProxy::default() }).await;
        // user:pass
        let right = connect(&server, "proxy-authorization: Basic dXNlcjpwYXNz\r\n");
        let wrong = connect(&server, "proxy-authorization: Basic dXNlcjpwYXNX\r\n");
        for (request, status) in [(right, "200"), (wrong, "407"), (connect(&server, ""), "407")] {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            client.write_all(&request).await.unwrap();
            assert_eq!(head(&mut client).await.split(' ').nth(1), Some(status));
            if status == "200" {
                exchange(&mut client, CONNECT, CONNACK).await;
            } else {
                assert!(rest(client).await.0.is_empty());
            }
        }
        assert_eq!(proxy.targets(), [format!("broker.example:{}", server.socket_addr().port())]);
    }
    let proxy = Proxy::http(HttpProxy::default()).await;
    let port = server.socket_addr().port();
    for (request, status) in [
        (format!("CONNECT [::1]:{port} HTTP/1.1\r\n\r\n"), "502"),
        (format!("CONNECT 192.0.2.1:{port} HTTP/1.1\r\n\r\n"), "502"),
        (format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n"), "200"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "405"),
    ] {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(head(&mut client).await.split(' ').nth(1), Some(status), "{request}");
    }
    let says = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let fault = ProxyFault { to: Step::Request, says: says.to_vec(), end: End::Cut };
    let proxy = Proxy::http(HttpProxy { fault: Some(fault), ..HttpProxy::default() }).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(&connect(&server, "")).await.unwrap();
    assert_eq!(rest(client).await.0, says);
}

#[tokio::test]
async fn a_socks_proxy() {
    let server = TestServer::start(Setup::tcp()).await;
    let port = server.socket_addr().port().to_be_bytes();
    let by_name = [b"\x05\x01\x00\x03\x0ebroker.example", &port[..]].concat();
    let by_address = [b"\x05\x01\x00\x01\x7f\x00\x00\x01", &port[..]].concat();
    let ok: &[u8] = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";
    for drips in [false, true] {
        let proxy = Proxy::socks(SocksProxy { drips, ..SocksProxy::default() }).await;
        for request in [&by_name, &by_address] {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            exchange(&mut client, b"\x05\x02\x02\x00", b"\x05\x00").await;
            exchange(&mut client, request, ok).await;
            exchange(&mut client, CONNECT, CONNACK).await;
        }
        let port = server.socket_addr().port();
        assert_eq!(proxy.targets(), [format!("broker.example:{port}"), format!("127.0.0.1:{port}")]);
    }
    let proxy = Proxy::socks(SocksProxy { user: USER, ..SocksProxy::default() }).await;
    let open = async || TcpStream::connect(proxy.address()).await.unwrap();
    let mut client = open().await;
    exchange(&mut client, b"\x05\x02\x00\x02", b"\x05\x02").await;
    exchange(&mut client, b"\x01\x04user\x04pass", b"\x01\x00").await;
    exchange(&mut client, &by_name, ok).await;
    exchange(&mut client, CONNECT, CONNACK).await;
    let mut client = open().await;
    exchange(&mut client, b"\x05\x01\x02", b"\x05\x02").await;
    exchange(&mut client, b"\x01\x04user\x04pasX", b"\x01\x01").await;
    assert!(rest(client).await.0.is_empty());
    let mut client = open().await;
    exchange(&mut client, b"\x05\x01\x00", b"\x05\xff").await;
    assert!(rest(client).await.0.is_empty());
    // Elsewhere, another command, and what it is told to answer.
    let proxy = Proxy::socks(SocksProxy::default()).await;
    for (request, code) in [
        (&b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x01"[..], 5),
        (b"\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x01", 7),
        (b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x00", 5),
    ] {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        exchange(&mut client, b"\x05\x01\x00", b"\x05\x00").await;
        exchange(&mut client, request, &[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    }
    for (to, heard) in
        [(Step::Greeting, &b"x"[..]), (Step::Password, b"\x05\x02x"), (Step::Request, b"\x05\x02\x01\x00x")]
    {
        let fault = Some(ProxyFault { to, says: b"x".to_vec(), end: End::Close });
        let proxy = Proxy::socks(SocksProxy { user: USER, fault, ..SocksProxy::default() }).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_all(b"\x05\x01\x02\x01\x04user\x04pass").await.unwrap();
        client.write_all(&by_name).await.unwrap();
        let mut all = vec![0; heard.len()];
        client.read_exact(&mut all).await.unwrap();
        assert_eq!(all, heard, "{to:?}");
    }
}

/// A server is told what it is to be told, whatever is in front of it.
#[tokio::test]
async fn the_broker_is_the_one_that_was_asked_for() {
    let config = Config { record_events: true, ..Config::default() };
    let server = TestServer::start(Setup::tls().websocket().broker(config)).await;
    let stream = tls(socket(&server).await, nobody(), "localhost").await.unwrap();
    let mut client = upgrade(stream).await.unwrap();
    exchange_frames(&mut client, CONNECT, CONNACK).await;
    exchange_frames(&mut client, &[PUBLISH, PINGREQ].concat(), PINGRESP).await;
    assert!(!server.events().await.is_empty());
    assert!(server.events().await.is_empty());
}
