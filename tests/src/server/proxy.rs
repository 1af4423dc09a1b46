//! Proxies on loopback: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928, RFC 1929).

use super::faults::{Fault, Faulty};
use super::thread::Thread;
use super::{BoxedStream, FaultEnd, Level};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The most bytes of a request.
const MAX_HEAD: usize = 16 * 1024;

/// A proxy on loopback and a port that the system chooses. Every name is this machine to it, and it
/// reaches nothing else. It ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<String>>>,
    _thread: Thread,
}

/// How an HTTP proxy is set up.
#[derive(Debug, Clone, Default)]
pub struct HttpProxy {
    /// Whom it lets in, with Basic authentication. `None`: everybody.
    pub user: Option<(&'static str, &'static str)>,
    /// What is wrong with it.
    pub fault: Option<ProxyFault>,
    /// Whether it writes one byte at a time.
    pub drips: bool,
}

/// How a SOCKS proxy is set up.
#[derive(Debug, Clone, Default)]
pub struct SocksProxy {
    /// Whom it lets in. `None`: everybody.
    pub user: Option<(&'static str, &'static str)>,
    /// What is wrong with it.
    pub fault: Option<ProxyFault>,
    /// Whether it writes one byte at a time.
    pub drips: bool,
}

/// What a proxy says instead of an answer.
#[derive(Debug, Clone)]
pub struct ProxyFault {
    /// The answer to what; an HTTP proxy answers requests only.
    pub to: Step,
    /// What it says. Nothing and [`FaultEnd::Hang`]: it is silent.
    pub says: Vec<u8>,
    /// How it ends.
    pub end: FaultEnd,
}

/// What a proxy answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The methods that a client of SOCKS offers.
    Greeting,
    /// User name and password of a client of SOCKS.
    Password,
    /// Where the client wants to go.
    Request,
}

impl Proxy {
    /// Starts an HTTP proxy.
    pub async fn http(setup: HttpProxy) -> Self {
        let setup = Arc::new(setup);
        Self::start(move |client, targets| {
            let setup = setup.clone();
            async move { http(client, &setup, &targets).await }
        })
        .await
    }

    /// Starts a SOCKS5 proxy.
    pub async fn socks(setup: SocksProxy) -> Self {
        let setup = Arc::new(setup);
        Self::start(move |client, targets| {
            let setup = setup.clone();
            async move { socks(client, &setup, &targets).await }
        })
        .await
    }

    async fn start<F>(
        serve: impl Fn(TcpStream, Arc<Mutex<Vec<String>>>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let targets = Arc::new(Mutex::new(Vec::new()));
        let (started, address) = oneshot::channel();
        let asked = targets.clone();
        let thread = Thread::run(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            started.send(listener.local_addr().unwrap()).unwrap();
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                client.set_nodelay(true).unwrap();
                // How a connection ends is between the client and the server.
                connections.spawn(serve(client, asked.clone()));
            }
        });
        Self {
            address: address.await.unwrap(),
            targets,
            _thread: thread,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients wanted to go, as `host:port`, in the words of the clients.
    pub fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }
}

async fn http(
    client: TcpStream,
    setup: &HttpProxy,
    targets: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut client = dripping(client, setup.drips);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut lines = head.split("\r\n");
    let request = lines.next().unwrap_or_default();
    if let Some(fault) = &setup.fault {
        return fault.happen(client).await;
    }
    let target = request
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let Some(target) = target else {
        return reject(client, "405 Method Not Allowed\r\nAllow: CONNECT").await;
    };
    if let Some((name, password)) = setup.user {
        let credentials = data_encoding::BASE64.encode(format!("{name}:{password}").as_bytes());
        let is_it = |line: &str| {
            line.split_once(": ").is_some_and(|(header, value)| {
                header.eq_ignore_ascii_case("Proxy-Authorization")
                    && value == format!("Basic {credentials}")
            })
        };
        if !lines.any(is_it) {
            let status =
                "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"tests\"";
            return reject(client, status).await;
        }
    }
    targets.lock().unwrap().push(target.to_owned());
    let Some(mut server) = open(target).await else {
        return reject(client, "502 Bad Gateway").await;
    };
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\nVia: tests\r\n\r\n")
        .await?;
    copy_bidirectional(&mut client, &mut server)
        .await
        .map(|_| ())
}

async fn reject(mut client: BoxedStream, status: &str) -> io::Result<()> {
    client
        .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
        .await?;
    client.shutdown().await
}

async fn socks(
    client: TcpStream,
    setup: &SocksProxy,
    targets: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut client = dripping(client, setup.drips);
    let fault = |step| setup.fault.as_ref().filter(|fault| fault.to == step);

    if client.read_u8().await? != 5 {
        return client.shutdown().await;
    }
    let offered = short(&mut client).await?;
    let method = if setup.user.is_some() { 2 } else { 0 };
    if let Some(fault) = fault(Step::Greeting) {
        return fault.happen(client).await;
    }
    if !offered.contains(&method) {
        client.write_all(&[5, 0xFF]).await?;
        return client.shutdown().await;
    }
    client.write_all(&[5, method]).await?;

    if let Some((name, password)) = setup.user {
        let version = client.read_u8().await?;
        let (their_name, their_password) = (short(&mut client).await?, short(&mut client).await?);
        if let Some(fault) = fault(Step::Password) {
            return fault.happen(client).await;
        }
        let right =
            version == 1 && their_name == name.as_bytes() && their_password == password.as_bytes();
        client.write_all(&[1, u8::from(!right)]).await?;
        if !right {
            return client.shutdown().await;
        }
    }

    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => Ipv4Addr::from(client.read_u32().await?).to_string(),
        4 => format!("[{}]", Ipv6Addr::from(client.read_u128().await?)),
        _ => String::from_utf8_lossy(&short(&mut client).await?).into_owned(),
    };
    let target = format!("{host}:{}", client.read_u16().await?);
    targets.lock().unwrap().push(target.clone());
    if let Some(fault) = fault(Step::Request) {
        return fault.happen(client).await;
    }
    let answer = |code| [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    if request[..3] != [5, 1, 0] {
        client.write_all(&answer(7)).await?;
        return client.shutdown().await;
    }
    let Some(mut server) = open(&target).await else {
        client.write_all(&answer(5)).await?;
        return client.shutdown().await;
    };
    client.write_all(&answer(0)).await?;
    copy_bidirectional(&mut client, &mut server)
        .await
        .map(|_| ())
}

impl ProxyFault {
    async fn happen(&self, mut client: BoxedStream) -> io::Result<()> {
        client.write_all(&self.says).await?;
        match self.end {
            FaultEnd::Cut => return Ok(()),
            FaultEnd::Close => client.shutdown().await?,
            FaultEnd::Hang => {}
        }
        let mut input = [0; 1024];
        while client.read(&mut input).await? > 0 {}
        Ok(())
    }
}

fn dripping(client: TcpStream, drips: bool) -> BoxedStream {
    let (client, valve) = Faulty::boxed(client);
    if drips {
        valve.set(&[Fault::Drips(Level::Socket)], Level::Socket);
    }
    client
}

/// Bytes after their number.
async fn short(client: &mut BoxedStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Opens a socket to this machine, whatever the name.
async fn open(target: &str) -> Option<TcpStream> {
    let (host, port) = target.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    if !address.is_loopback() {
        return None;
    }
    let server = TcpStream::connect((address, port.parse().ok()?))
        .await
        .ok()?;
    server.set_nodelay(true).ok()?;
    Some(server)
}
