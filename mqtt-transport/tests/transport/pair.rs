//! A client's [`Transport`], a server with the same stages, and the bytes between them.

use bytes::BytesMut;
use martlet_transport::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use martlet_transport::rustls::server::WebPkiClientVerifier;
use martlet_transport::rustls::{self, RootCertStore, ServerConfig, ServerConnection};
use martlet_transport::{
    ProxyTunnel, Stack, StackError, TlsClient, Transport, Trust, WebSocketRequest,
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};
use tungstenite::Message;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

pub(crate) const HOST: &str = "broker.example";

/// A CA, and what it signs.
pub(crate) struct Ca {
    pub(crate) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, and what comes with it.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) chain_pem: String,
    pub(crate) key: Vec<u8>,
    pub(crate) key_pem: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(name);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// One below this one.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    pub(crate) fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::new(&certificate, &key)
    }

    pub(crate) fn server(&self, names: &[&str]) -> Identity {
        self.sign(&leaf(names))
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }
}

impl Identity {
    pub(crate) fn new(certificate: &Certificate, key: &KeyPair) -> Self {
        Self {
            chain: vec![certificate.der().to_vec()],
            chain_pem: certificate.pem(),
            key: key.serialize_der(),
            key_pem: key.serialize_pem(),
        }
    }

    pub(crate) fn with(mut self, intermediate: &Ca) -> Self {
        self.chain.push(intermediate.certificate.der().to_vec());
        self.chain_pem.push_str(&intermediate.pem());
        self
    }
}

pub(crate) fn leaf(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>(),
    )
    .unwrap();
    params.distinguished_name.push(
        DnType::CommonName,
        names.first().copied().unwrap_or("nobody"),
    );
    params
}

/// What most tests have: a CA, a server's certificate and a client's from it.
pub(crate) struct World {
    pub(crate) ca: Ca,
    pub(crate) server: Identity,
    pub(crate) client: Identity,
}

pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let ca = Ca::new("Plant CA");
        let server = ca.server(&[HOST, "127.0.0.1"]);
        let client = ca.server(&["client.example"]);
        World { ca, server, client }
    })
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientCertificates {
    NotAsked,
    Required,
}

pub(crate) fn server_config(identity: &Identity, clients: ClientCertificates) -> ServerConfig {
    let versions = &[&rustls::version::TLS12, &rustls::version::TLS13];
    server_config_with(identity, clients, versions)
}

pub(crate) fn server_config_with(
    identity: &Identity,
    clients: ClientCertificates,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        ClientCertificates::NotAsked => builder.with_no_client_auth(),
        ClientCertificates::Required => {
            let mut roots = RootCertStore::empty();
            roots.add(world().ca.certificate.der().clone()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                    .build()
                    .unwrap(),
            )
        }
    };
    let chain = identity
        .chain
        .iter()
        .map(|der| der.clone().into())
        .collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone()));
    builder.with_single_cert(chain, key).unwrap()
}

/// Which stages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stages {
    pub(crate) proxy: Option<Proxy>,
    pub(crate) tls: bool,
    pub(crate) web_socket: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Http,
    HttpCredentials,
    Socks,
    SocksCredentials,
}

impl Stages {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for proxy in [
            None,
            Some(Proxy::Http),
            Some(Proxy::HttpCredentials),
            Some(Proxy::Socks),
            Some(Proxy::SocksCredentials),
        ] {
            for (tls, web_socket) in [(false, false), (true, false), (false, true), (true, true)] {
                all.push(Self {
                    proxy,
                    tls,
                    web_socket,
                });
            }
        }
        all
    }

    pub(crate) fn stack(self) -> Stack {
        let trust = Trust::new().ca_pem(world().ca.pem());
        Stack::default()
            .proxy(self.proxy.map(|proxy| match proxy {
                Proxy::Http => ProxyTunnel::http_connect(HOST, 8883),
                Proxy::HttpCredentials => {
                    ProxyTunnel::http_connect(HOST, 8883).credentials("ann", "p@ss:word")
                }
                Proxy::Socks => ProxyTunnel::socks5(HOST, 8883),
                Proxy::SocksCredentials => {
                    ProxyTunnel::socks5(HOST, 8883).credentials("ann", "p@ss:word")
                }
            }))
            .tls(
                self.tls
                    .then(|| TlsClient::new(&trust.build().unwrap(), HOST).unwrap()),
            )
            .web_socket(self.web_socket.then(|| {
                WebSocketRequest::wss(HOST, 8883, "/mqtt?token=%20a")
                    .header("Authorization", "Bearer abc")
            }))
    }

    pub(crate) fn pair(self) -> Pair {
        Pair {
            client: Transport::new(&self.stack()).unwrap(),
            server: self.server(),
            received: BytesMut::new(),
            sizes: vec![usize::MAX],
            next: 0,
        }
    }

    pub(crate) fn server(self) -> Server {
        let config = || Arc::new(server_config(&world().server, ClientCertificates::NotAsked));
        Server::new(
            self.proxy,
            self.tls.then(|| ServerConnection::new(config()).unwrap()),
            self.web_socket.then(WsServer::default),
        )
    }
}

/// The other end of everything.
pub(crate) struct Server {
    proxy: Option<ProxyServer>,
    pub(crate) tls: Option<ServerConnection>,
    pub(crate) web_socket: Option<WsServer>,
    pub(crate) received: Vec<u8>,
    /// For the client's socket.
    pub(crate) output: Vec<u8>,
    pub(crate) tls_error: Option<rustls::Error>,
}

#[derive(Default)]
struct ProxyServer {
    kind: Option<Proxy>,
    input: Vec<u8>,
    step: usize,
}

/// A WebSocket server; its answer is `answer`, with the accept key put in.
pub(crate) struct WsServer {
    input: Vec<u8>,
    pub(crate) request: String,
    pub(crate) answer: &'static str,
    pub(crate) context: Option<WebSocketContext>,
    pub(crate) output: Vec<u8>,
    /// Everything but data.
    pub(crate) control: Vec<Message>,
}

pub(crate) const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: keep-alive, upgrade\r\n\
    upgrade: WebSocket\r\nsec-websocket-accept: KEY\r\nsec-websocket-protocol: mqtt\r\n\r\n";

impl Default for WsServer {
    fn default() -> Self {
        Self {
            input: Vec::new(),
            request: String::new(),
            answer: ACCEPT,
            context: None,
            output: Vec::new(),
            control: Vec::new(),
        }
    }
}

struct Memory<'a> {
    input: &'a mut Vec<u8>,
    output: &'a mut Vec<u8>,
}

impl Read for Memory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = buffer.len().min(self.input.len());
        buffer[..length].copy_from_slice(&self.input[..length]);
        self.input.drain(..length);
        Ok(length)
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WsServer {
    pub(crate) fn answering(answer: &'static str) -> Self {
        Self {
            answer,
            ..Self::default()
        }
    }

    fn handle(&mut self, input: &[u8], plain: &mut Vec<u8>) {
        self.input.extend_from_slice(input);
        if self.request.is_empty() {
            let Some(end) = self
                .input
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            else {
                return;
            };
            self.request = String::from_utf8(self.input.drain(..end + 4).collect()).unwrap();
            let key = header(&self.request, "Sec-WebSocket-Key").unwrap();
            self.output.extend_from_slice(
                self.answer
                    .replace("KEY", &derive_accept_key(key.as_bytes()))
                    .as_bytes(),
            );
            let config = WebSocketConfig::default()
                .max_frame_size(None)
                .max_message_size(None);
            self.context = Some(WebSocketContext::new(Role::Server, Some(config)));
        }
        let context = self.context.as_mut().unwrap();
        let mut memory = Memory {
            input: &mut self.input,
            output: &mut self.output,
        };
        loop {
            match context.read(&mut memory) {
                Ok(Message::Binary(data)) => plain.extend_from_slice(&data),
                Ok(other) => self.control.push(other),
                Err(_) => return,
            }
        }
    }

    pub(crate) fn send(&mut self, message: Message) {
        let mut memory = Memory {
            input: &mut self.input,
            output: &mut self.output,
        };
        let context = self.context.as_mut().expect("the handshake is over");
        context.write(&mut memory, message).unwrap();
        context.flush(&mut memory).unwrap();
    }
}

/// The value of a header, by its exact name.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

impl ProxyServer {
    /// What remains is for the server behind it.
    fn handle(&mut self, output: &mut Vec<u8>) -> bool {
        let kind = self.kind.unwrap();
        if matches!(kind, Proxy::Http | Proxy::HttpCredentials) {
            let Some(end) = self
                .input
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            else {
                return false;
            };
            let head = String::from_utf8(self.input.drain(..end + 4).collect()).unwrap();
            let mut expected = format!("CONNECT {HOST}:8883 HTTP/1.1\r\nHost: {HOST}:8883\r\n");
            if kind == Proxy::HttpCredentials {
                expected.push_str("Proxy-Authorization: Basic YW5uOnBAc3M6d29yZA==\r\n");
            }
            assert_eq!(head, expected + "\r\n");
            output.extend_from_slice(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n");
            return true;
        }
        let mut request = vec![5, 1, 0, 3, u8::try_from(HOST.len()).unwrap()];
        request.extend_from_slice(HOST.as_bytes());
        request.extend_from_slice(&8883u16.to_be_bytes());
        let answer = [5, 0, 0, 3, 4, b'h', b'o', b's', b't', 1, 2].to_vec();
        let steps: Vec<(Vec<u8>, Vec<u8>)> = if kind == Proxy::Socks {
            vec![(vec![5, 1, 0], vec![5, 0]), (request, answer)]
        } else {
            vec![
                (vec![5, 2, 0, 2], vec![5, 2]),
                (b"\x01\x03ann\x09p@ss:word".to_vec(), vec![1, 0]),
                (request, answer),
            ]
        };
        while let Some((expected, answer)) = steps.get(self.step) {
            if self.input.len() < expected.len() {
                return false;
            }
            assert_eq!(
                self.input.drain(..expected.len()).collect::<Vec<_>>(),
                *expected
            );
            output.extend_from_slice(answer);
            self.step += 1;
        }
        true
    }
}

impl Server {
    pub(crate) fn new(
        proxy: Option<Proxy>,
        mut tls: Option<ServerConnection>,
        web_socket: Option<WsServer>,
    ) -> Self {
        if let Some(tls) = &mut tls {
            tls.set_buffer_limit(None);
        }
        Self {
            proxy: proxy.map(|kind| ProxyServer {
                kind: Some(kind),
                ..ProxyServer::default()
            }),
            tls,
            web_socket,
            received: Vec::new(),
            output: Vec::new(),
            tls_error: None,
        }
    }

    /// It has answered every handshake.
    pub(crate) fn is_open(&self) -> bool {
        self.proxy.is_none()
            && self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
            && self
                .web_socket
                .as_ref()
                .is_none_or(|web_socket| web_socket.context.is_some())
    }

    pub(crate) fn handle(&mut self, wire: &[u8]) {
        let mut wire = wire.to_vec();
        if let Some(proxy) = &mut self.proxy {
            proxy.input.append(&mut wire);
            if !proxy.handle(&mut self.output) {
                return;
            }
            wire = std::mem::take(&mut proxy.input);
            self.proxy = None;
        }
        let mut within = Vec::new();
        match &mut self.tls {
            None => within = wire,
            Some(tls) => {
                let mut wire = &wire[..];
                while !wire.is_empty() && self.tls_error.is_none() {
                    if tls.read_tls(&mut wire).unwrap() == 0 {
                        break;
                    }
                    self.tls_error = tls.process_new_packets().err();
                    let _ = tls.reader().read_to_end(&mut within);
                }
            }
        }
        match &mut self.web_socket {
            None => self.received.append(&mut within),
            Some(web_socket) => web_socket.handle(&within, &mut self.received),
        }
        self.flush();
    }

    /// MQTT bytes for the client, in one piece.
    pub(crate) fn send(&mut self, plain: &[u8]) {
        match &mut self.web_socket {
            Some(web_socket) => web_socket.send(Message::binary(plain.to_vec())),
            None => self.send_below(plain),
        }
        self.flush();
    }

    /// Bytes for the client, past WebSocket.
    pub(crate) fn send_below(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes).unwrap(),
            None => self.output.extend_from_slice(bytes),
        }
        self.flush();
    }

    pub(crate) fn close_notify(&mut self) {
        self.tls.as_mut().unwrap().send_close_notify();
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        if let Some(web_socket) = &mut self.web_socket {
            let frames = std::mem::take(&mut web_socket.output);
            match &mut self.tls {
                Some(tls) => tls.writer().write_all(&frames).unwrap_or(()),
                None => self.output.extend_from_slice(&frames),
            }
        }
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.output).unwrap();
            }
        }
    }
}

pub(crate) struct Pair {
    pub(crate) client: Transport,
    pub(crate) server: Server,
    /// What MQTT gets at the client.
    pub(crate) received: BytesMut,
    /// How many bytes arrive at once, either way; over and over.
    pub(crate) sizes: Vec<usize>,
    next: usize,
}

impl Pair {
    /// Over TLS and nothing else.
    pub(crate) fn over_tls(client: TlsClient, server: impl Into<Arc<ServerConfig>>) -> Self {
        let stack = Stack::default().tls(Some(client));
        let tls = ServerConnection::new(server.into()).unwrap();
        Self::new(&stack, Server::new(None, Some(tls), None))
    }

    pub(crate) fn new(stack: &Stack, server: Server) -> Self {
        Self {
            client: Transport::new(stack).unwrap(),
            server,
            received: BytesMut::new(),
            sizes: vec![usize::MAX],
            next: 0,
        }
    }

    /// Moves bytes until none are left. Also after an error, so that the server learns of it.
    pub(crate) fn drive(&mut self) -> Result<(), StackError> {
        let mut result = Ok(());
        let mut wire = BytesMut::new();
        loop {
            let polled = self.client.poll_wire(&mut wire);
            assert_eq!(polled, wire.len());
            for chunk in self.cut(&wire) {
                self.server.handle(&chunk);
            }
            wire.clear();
            let from_server = std::mem::take(&mut self.server.output);
            if from_server.is_empty() && polled == 0 {
                return result;
            }
            for mut chunk in self.cut(&from_server) {
                if let Err(error) = self.client.handle_wire(&mut chunk, &mut self.received) {
                    // It stays the same.
                    assert!(
                        result.is_ok() || result == Err(error.clone()),
                        "{result:?}, then {error:?}"
                    );
                    result = Err(error);
                }
                assert!(chunk.is_empty(), "all of it is taken");
            }
        }
    }

    /// The parts of a stream as they arrive.
    pub(crate) fn cut(&mut self, mut bytes: &[u8]) -> Vec<BytesMut> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(self.sizes[self.next].clamp(1, bytes.len()));
            self.next = (self.next + 1) % self.sizes.len();
            pieces.push(BytesMut::from(piece));
            bytes = rest;
        }
        pieces
    }

    /// Writes all of it, polling when the transport is full.
    pub(crate) fn write(&mut self, plain: &[u8]) {
        let mut left = plain;
        while !left.is_empty() {
            let before = left.len();
            let taken = self.client.write(&mut left).unwrap();
            assert_eq!(before - left.len(), taken);
            self.drive().unwrap();
        }
    }

    pub(crate) fn open(mut self) -> Self {
        self.drive().unwrap();
        assert!(self.client.is_open());
        self
    }
}
