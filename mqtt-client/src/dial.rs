//! Opening a socket to a name: every address of it, IPv6 and IPv4 in turn, each a little after the one before it, and
//! the first that answers is taken (RFC 8305, without its asynchronous look-up).

use crate::runtime::{Network, Pinned, Timer};
use crate::socket::{Address, SocketOptions};
use martlet_session::{TransportError, TransportErrorKind};
use martlet_transport::{Endpoint, Scheme};
use std::collections::VecDeque;
use std::fmt::Write;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long one address has for itself before the next is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// How many failures an error tells of; a name may have hundreds of addresses.
const TOLD: usize = 8;

/// What to open a stream to: a server, or the proxy on the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    endpoint: Endpoint,
    proxy: Option<(String, u16)>,
}

impl Target {
    /// The server, or with a `proxy` that one's host and port.
    pub(crate) fn new(endpoint: Endpoint, proxy: Option<(String, u16)>) -> Self {
        Self { endpoint, proxy }
    }

    /// The server that the stream is for in the end.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The host to connect to, the proxy's if there is one: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        self.proxy.as_ref().map_or(self.endpoint.host(), |(host, _)| host)
    }

    /// The port to connect to, the proxy's if there is one.
    pub fn port(&self) -> u16 {
        self.proxy.as_ref().map_or(self.endpoint.port(), |(_, port)| *port)
    }

    /// The path of the Unix socket to connect to, if it is one.
    pub fn unix_path(&self) -> Option<&str> {
        Some(self.endpoint.path()).filter(|_| self.endpoint.scheme() == Scheme::Unix)
    }
}

/// A socket that is being opened: the [`Runtime::dial`](crate::Runtime::dial) of every [`Network`]. All addresses of the
/// name are tried, the families in turn; the next begins 250 ms after the last, or at once when that has failed. The
/// first to connect wins; the others are dropped.
#[must_use = "nothing is dialled unless it is polled"]
pub struct Dial<N: Network> {
    network: N,
    options: SocketOptions,
    host: String,
    resolve: Option<Pinned<N::Resolve>>,
    left: VecDeque<Address>,
    attempts: Vec<Attempt<N>>,
    /// Set to when the next attempt may begin.
    head_start: N::Timer,
    failures: usize,
    /// The first of them, in words.
    told: String,
}

struct Attempt<N: Network> {
    address: Address,
    connect: Pinned<N::Connect>,
}

impl<N: Network> Dial<N> {
    /// Opens a socket to `target`.
    pub fn new(network: N, target: &Target, options: &SocketOptions) -> Self {
        let (host, port) = (target.host(), target.port());
        let head_start = network.timer();
        let mut dial = Self {
            network,
            options: options.clone(),
            host: host.to_owned(),
            resolve: None,
            left: VecDeque::new(),
            attempts: Vec::new(),
            head_start,
            failures: 0,
            told: String::new(),
        };
        if let Some(path) = target.unix_path() {
            #[cfg(unix)]
            dial.left.push_back(Address::Unix(path.into()));
            #[cfg(not(unix))]
            dial.fail(&path, &"there are no Unix sockets on this system");
        } else if let Ok(address) = host.parse::<IpAddr>() {
            dial.left.push_back(Address::Tcp(SocketAddr::new(address, port)));
        } else {
            dial.resolve = Some(Box::pin(dial.network.resolve(host, port)));
        }
        dial
    }

    fn fail(&mut self, whom: &dyn std::fmt::Display, why: &dyn std::fmt::Display) {
        self.failures += 1;
        if self.failures <= TOLD {
            let between = if self.told.is_empty() { "" } else { "; " };
            // Writing to a string does not fail.
            let _ = write!(self.told, "{between}{whom}: {why}");
        }
    }

    fn resolved(&mut self, addresses: Vec<SocketAddr>) -> Result<(), TransportError> {
        let local = self.options.local_address;
        let ours = |address: &SocketAddr| local.is_none_or(|local| local.is_ipv4() == address.is_ipv4());
        self.left = in_turn(addresses.into_iter().filter(ours)).map(Address::Tcp).collect();
        if self.left.is_empty() {
            let family = match local {
                None => "",
                Some(IpAddr::V4(_)) => " of IPv4, which the local address is of",
                Some(IpAddr::V6(_)) => " of IPv6, which the local address is of",
            };
            let text = format!("{}: the name has no address{family}", self.host);
            return Err(TransportError::new(TransportErrorKind::Resolve, text));
        }
        Ok(())
    }

    fn begin_next(&mut self) {
        let Some(address) = self.left.pop_front() else { return };
        let connect = Box::pin(self.network.connect(&address, &self.options));
        self.attempts.push(Attempt { address, connect });
        if !self.left.is_empty() {
            self.head_start.reset(N::now() + HEAD_START);
        }
    }
}

impl<N: Network + Unpin> Future for Dial<N> {
    type Output = Result<N::Socket, TransportError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(resolve) = &mut this.resolve {
            let resolved = std::task::ready!(resolve.as_mut().poll(cx));
            this.resolve = None;
            match resolved {
                Ok(addresses) => this.resolved(addresses)?,
                Err(error) => {
                    let text = format!("{}: {error}", this.host);
                    return Poll::Ready(Err(TransportError::new(TransportErrorKind::Resolve, text)));
                }
            }
        }
        // Each round begins an attempt, so there are as many as addresses.
        loop {
            let mut is_free = this.attempts.is_empty();
            let mut n = 0;
            while let Some(attempt) = this.attempts.get_mut(n) {
                match attempt.connect.as_mut().poll(cx) {
                    Poll::Ready(Ok(socket)) => return Poll::Ready(Ok(socket)),
                    Poll::Ready(Err(error)) => {
                        let Attempt { address, .. } = this.attempts.remove(n);
                        this.fail(&address, &error);
                        is_free = true;
                    }
                    Poll::Pending => n += 1,
                }
            }
            if this.left.is_empty() {
                if !this.attempts.is_empty() {
                    return Poll::Pending;
                }
                let more = match this.failures.saturating_sub(TOLD) {
                    0 => String::new(),
                    more => format!("; and {more} more"),
                };
                let text = format!("{}{more}", this.told);
                return Poll::Ready(Err(TransportError::new(TransportErrorKind::Connect, text)));
            }
            if !is_free {
                std::task::ready!(this.head_start.poll_expired(cx));
            }
            this.begin_next();
        }
    }
}

impl<N: Network> std::fmt::Debug for Dial<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial").field("host", &self.host).field("left", &self.left).finish_non_exhaustive()
    }
}

/// The families in turn, beginning with that of the first, each in the resolver's order; nothing twice.
fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let mut first = VecDeque::new();
    let mut second = VecDeque::new();
    for address in addresses {
        let is_first = first.front().is_none_or(|first: &SocketAddr| first.is_ipv4() == address.is_ipv4());
        let family = if is_first { &mut first } else { &mut second };
        if !family.contains(&address) {
            family.push_back(address);
        }
    }
    std::iter::from_fn(move || {
        let next = first.pop_front();
        if !second.is_empty() {
            std::mem::swap(&mut first, &mut second);
        }
        next
    })
}
