//! The embedded broker behind every transport, with the faults that networks and servers have.
//!
//! [`TestServer`] has a thread and a runtime of its own, so that a client is alone on the runtime
//! under test. For simulated time there is [`Setup::accept`], which makes of any stream of tokio's
//! what a broker serves.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]

mod faults;
mod proxy;
mod thread;
mod websocket;

pub use faults::{Fault, FaultEnd, Level};
pub use proxy::{HttpProxy, Proxy, ProxyFault, SocksProxy, Step};
pub use websocket::{Opcode, ServerWebSocket, frame, frame_that_claims};

use crate::certificates::{Certificates, ClientAuthentication, Directory, TestIdentity};
use faults::{Faulty, say, says, speak};
use martlet_broker::tokio::Server;
use martlet_broker::{BrokerConfig, BrokerEvent, Memory};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use thread::Thread;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_tungstenite::tungstenite::handshake::server::Request;

/// A stream of tokio's.
pub trait ServerStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ServerStream for S {}

impl std::fmt::Debug for dyn ServerStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

/// Any of them.
pub type BoxedStream = Box<dyn ServerStream>;

/// How a server is reached, and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// A Unix socket instead of TCP.
    pub unix: bool,
    /// With TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// With WebSocket.
    pub websocket: Option<ServerWebSocket>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// The broker behind all of that.
    pub broker: BrokerConfig,
}

impl Setup {
    /// TCP.
    pub fn tcp() -> Self {
        Self::default()
    }

    /// A Unix socket.
    pub fn unix() -> Self {
        Self {
            unix: true,
            ..Self::default()
        }
    }

    /// TLS with the [shared](Certificates::shared) certificate of a server.
    pub fn tls() -> Self {
        Self::tls_as(&Certificates::shared().server)
    }

    /// TLS with this certificate.
    pub fn tls_as(identity: &TestIdentity) -> Self {
        let tls = Certificates::shared().server_config(identity, ClientAuthentication::None);
        Self {
            tls: Some(tls),
            ..Self::default()
        }
    }

    /// TLS for clients that have a certificate of the shared authority.
    pub fn mutual_tls() -> Self {
        let certificates = Certificates::shared();
        let tls = certificates.server_config(&certificates.server, ClientAuthentication::Required);
        Self {
            tls: Some(tls),
            ..Self::default()
        }
    }

    /// The same with WebSocket.
    #[must_use]
    pub fn websocket(mut self) -> Self {
        self.websocket = Some(ServerWebSocket::default());
        self
    }

    /// The same with this fault too.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// The same with this broker.
    #[must_use]
    pub fn broker(mut self, config: BrokerConfig) -> Self {
        self.broker = config;
        self
    }

    /// The scheme of its URIs.
    pub fn scheme(&self) -> &'static str {
        match (&self.tls, &self.websocket) {
            (None, None) => "mqtt",
            (Some(_), None) => "mqtts",
            (None, Some(_)) => "ws",
            (Some(_), Some(_)) => "wss",
        }
    }

    /// Takes a client's stream through the handshakes: what is left are the bytes of MQTT, for a
    /// broker to serve. `None` when a fault has had the last word.
    ///
    /// # Errors
    /// Those of the handshakes, and of the faults that end them.
    pub async fn accept(
        &self,
        socket: impl ServerStream + 'static,
        seen: &mut Seen,
    ) -> io::Result<Option<BoxedStream>> {
        let (mut stream, valve) = Faulty::boxed(socket);
        valve.set(&self.faults, Level::Socket);
        if let Some(speech) = says(&self.faults, Level::Socket) {
            return say(stream, speech).await.map(|()| None);
        }
        if let Some(tls) = &self.tls {
            let records = TlsAcceptor::from(tls.clone()).accept(stream).await?;
            let session = records.get_ref().1;
            seen.server_name = session.server_name().map(str::to_owned);
            seen.protocol = session.alpn_protocol().map(<[u8]>::to_vec);
            seen.has_client_certificate = session.peer_certificates().is_some();
            valve.set(&self.faults, Level::Records);
            if let Some(speech) = says(&self.faults, Level::Records) {
                let (socket, mut session) = records.into_inner();
                // They may have come with the end of the handshake. Then TLS has them.
                let state = session.process_new_packets().map_err(io::Error::other)?;
                let said = if state.plaintext_bytes_to_read() > 0 {
                    speak(socket, speech).await
                } else {
                    say(socket, speech).await
                };
                return said.map(|()| None);
            }
            stream = Box::new(records);
        }
        let (mut stream, valve) = Faulty::boxed(stream);
        valve.set(&self.faults, Level::Stream);
        if let Some(speech) = says(&self.faults, Level::Stream) {
            return say(stream, speech).await.map(|()| None);
        }
        if let Some(options) = self.websocket {
            let keep = |request: &Request| seen.keep(request);
            let Some(payloads) =
                websocket::accept(stream, options, &self.faults, &valve, keep).await?
            else {
                return Ok(None);
            };
            stream = payloads;
        }
        let (stream, valve) = Faulty::boxed(stream);
        valve.set(&self.faults, Level::Packets);
        if let Some(speech) = says(&self.faults, Level::Packets) {
            return say(stream, speech).await.map(|()| None);
        }
        Ok(Some(stream))
    }
}

/// What a server has seen of a client before MQTT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The name that the client asked for with TLS.
    pub server_name: Option<String>,
    /// The protocol that was agreed upon with TLS.
    pub protocol: Option<Vec<u8>>,
    /// Whether the client has shown a certificate.
    pub has_client_certificate: bool,
    /// The path and query of the request, with WebSocket.
    pub path: Option<String>,
    /// Its headers, with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// What went wrong before there was MQTT.
    pub error: Option<String>,
}

impl Seen {
    fn keep(&mut self, request: &Request) {
        self.path = Some(request.uri().to_string());
        let headers = request.headers().iter();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        self.headers = headers
            .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
            .collect();
    }

    /// A header of the request.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| &**value)
    }
}

/// A broker behind a [`Setup`], on loopback and a port that the system chooses. It ends when this
/// is dropped.
#[derive(Debug)]
pub struct TestServer {
    address: Address,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    orders: mpsc::UnboundedSender<Order>,
    /// Dropped after `orders`, which end it.
    _thread: Thread,
}

#[derive(Debug, Clone)]
enum Address {
    Tcp(SocketAddr),
    Unix(Arc<Directory>),
}

#[derive(Debug)]
enum Order {
    Kill(Memory, oneshot::Sender<()>),
    Revive(oneshot::Sender<()>),
    Events(oneshot::Sender<Vec<BrokerEvent>>),
}

impl TestServer {
    /// Starts it.
    pub async fn start(setup: Setup) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), setup).await
    }

    /// Starts it on this address, which should be one of loopback.
    pub async fn start_on(host: IpAddr, setup: Setup) -> Self {
        let scheme = setup.scheme();
        let address = if setup.unix {
            Address::Unix(Arc::new(Directory::new()))
        } else {
            Address::Tcp((host, 0).into())
        };
        let (orders, inbox) = mpsc::unbounded_channel();
        let (started, listening) = oneshot::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let serve = serve(setup, address, seen.clone(), started, inbox);
        let thread = Thread::run(serve);
        Self {
            address: listening.await.unwrap(),
            scheme,
            seen,
            orders,
            _thread: thread,
        }
    }

    /// Where it is, by address.
    pub fn uri(&self) -> String {
        match &self.address {
            Address::Tcp(address) => format!("{}://{address}", self.scheme),
            Address::Unix(directory) => format!("mqtt+unix://{}", path(directory).display()),
        }
    }

    /// Where it is, by the name of this machine.
    pub fn uri_by_name(&self) -> String {
        self.uri_as("localhost")
    }

    /// Where it is, under a name that only a proxy knows.
    pub fn uri_as(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.scheme, self.socket_addr().port())
    }

    /// Its address.
    ///
    /// # Panics
    /// When it is a Unix socket.
    pub fn socket_addr(&self) -> SocketAddr {
        match &self.address {
            Address::Tcp(address) => *address,
            Address::Unix(_) => panic!("a Unix socket has a path"),
        }
    }

    /// What it has seen of each client that has come so far, in the order in which their handshakes
    /// ended.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Crashes it: all connections end without a word, and nobody listens.
    pub async fn kill(&self, memory: Memory) {
        self.ask(|done| Order::Kill(memory, done)).await;
    }

    /// Brings it back at the same address.
    pub async fn revive(&self) {
        self.ask(Order::Revive).await;
    }

    /// Cuts all connections. The broker remembers its sessions.
    pub async fn cut(&self) {
        self.kill(Memory::Kept).await;
        self.revive().await;
    }

    /// The broker's events since the last call, if it is configured to record them.
    pub async fn events(&self) -> Vec<BrokerEvent> {
        self.ask(Order::Events).await
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> T {
        let (done, answer) = oneshot::channel();
        self.orders.send(order(done)).unwrap();
        answer.await.unwrap()
    }
}

fn path(directory: &Directory) -> PathBuf {
    directory.path().join("mqtt.sock")
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn bind(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => Self::Tcp(TcpListener::bind(address).await?),
            Address::Unix(directory) => {
                let path = path(directory);
                // Left by the one that was killed.
                let _ = std::fs::remove_file(&path);
                Self::Unix(UnixListener::bind(path)?)
            }
        })
    }

    async fn accept(&self) -> io::Result<BoxedStream> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                Box::new(socket)
            }
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Listens until nobody can give it orders any more.
async fn serve(
    setup: Setup,
    mut address: Address,
    seen: Arc<Mutex<Vec<Seen>>>,
    started: oneshot::Sender<Address>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut server = Server::start(setup.broker.clone()).await.unwrap();
    let mut listener = Some(Listener::bind(&address).await.unwrap());
    if let Some(Listener::Tcp(listener)) = &listener {
        address = Address::Tcp(listener.local_addr().unwrap());
    }
    started.send(address.clone()).unwrap();
    let setup = Arc::new(setup);
    let mut handshakes = JoinSet::new();
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = orders.recv() => match order {
                None => break,
                // The caller waits for it.
                Some(Order::Kill(memory, done)) => {
                    listener = None;
                    handshakes.shutdown().await;
                    server.kill(memory).await;
                    done.send(()).unwrap();
                }
                Some(Order::Revive(done)) => {
                    server.revive().await.unwrap();
                    listener = Some(Listener::bind(&address).await.unwrap());
                    done.send(()).unwrap();
                }
                Some(Order::Events(done)) => done.send(server.events()).unwrap(),
            },
            socket = accepted => {
                let (setup, seen) = (setup.clone(), seen.clone());
                let socket = socket.unwrap();
                handshakes.spawn(async move {
                    let mut client = Seen::default();
                    let accepted = setup.accept(socket, &mut client).await;
                    client.error = accepted.as_ref().err().map(ToString::to_string);
                    seen.lock().unwrap().push(client);
                    accepted.ok().flatten()
                });
            }
            Some(stream) = handshakes.join_next() => {
                if let Some(stream) = stream.unwrap() {
                    server.serve(stream);
                }
            }
        }
    }
}
