//! Sockets of the operating system: their addresses, and how they are set up, the same for every runtime.

use futures_io::{AsyncRead, AsyncWrite};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpStream};
#[cfg(unix)]
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// What a socket is opened to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            #[cfg(unix)]
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// How a TCP socket is set up. Unix sockets and [`Streams`](crate::Streams) have none of this.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Send small packets at once (`TCP_NODELAY`). Default: true.
    pub no_delay: bool,
    /// After how long without a byte the system begins to probe whether the peer is there (`SO_KEEPALIVE`), in whole
    /// seconds. Default: `None`, it does not; MQTT's own keep alive does.
    pub keep_alive: Option<Duration>,
    /// The size of the system's send buffer, in bytes (`SO_SNDBUF`). Default: the system's.
    pub send_buffer: Option<usize>,
    /// The size of the system's receive buffer, in bytes (`SO_RCVBUF`). Default: the system's.
    pub receive_buffer: Option<usize>,
    /// The address of ours to connect from; servers' addresses of the other family are left out. Default: the
    /// system's choice.
    pub local_address: Option<IpAddr>,
    /// The network interface to connect through, by name (`SO_BINDTODEVICE`). On Linux and Android; elsewhere it makes
    /// connecting fail. Default: the system's choice.
    pub device: Option<String>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            no_delay: true,
            keep_alive: None,
            send_buffer: None,
            receive_buffer: None,
            local_address: None,
            device: None,
        }
    }
}

impl SocketOptions {
    /// A non-blocking TCP socket, set up, whose connection to `address` has begun: it is made when the socket becomes
    /// writable, unless [`take_error`](TcpStream::take_error) then has an error.
    ///
    /// # Errors
    /// The system's, with the option that it refused.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        option("no_delay", socket.set_tcp_nodelay(self.no_delay))?;
        if let Some(time) = self.keep_alive {
            option("keep_alive", socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time)))?;
        }
        if let Some(size) = self.send_buffer {
            option("send_buffer", socket.set_send_buffer_size(size))?;
        }
        if let Some(size) = self.receive_buffer {
            option("receive_buffer", socket.set_recv_buffer_size(size))?;
        }
        if let Some(device) = &self.device {
            option("device", bind_device(&socket, device))?;
        }
        if let Some(local) = self.local_address {
            option("local_address", socket.bind(&SocketAddr::new(local, 0).into()))?;
        }
        match socket.connect(&address.into()) {
            Err(error) if !is_under_way(&error) => Err(error),
            _ => Ok(socket.into()),
        }
    }
}

fn option(name: &str, result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| io::Error::new(error.kind(), format!("socket option {name}: {error}")))
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn bind_device(socket: &Socket, device: &str) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn bind_device(_socket: &Socket, _device: &str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "not supported on this system"))
}

fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::EINPROGRESS) {
        return true;
    }
    error.kind() == io::ErrorKind::WouldBlock
}

/// A socket of either kind, as the runtime has them.
#[derive(Debug)]
pub enum Stream<T, U> {
    /// TCP.
    Tcp(T),
    /// A Unix socket.
    Unix(U),
}

/// Calls the same method of either.
macro_rules! either {
    ($self:ident, $method:ident ( $($argument:expr),* )) => {
        match &mut *$self {
            Stream::Tcp(socket) => Pin::new(socket).$method($($argument),*),
            Stream::Unix(socket) => Pin::new(socket).$method($($argument),*),
        }
    };
}

impl<T: AsyncRead + Unpin, U: AsyncRead + Unpin> AsyncRead for Stream<T, U> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        either!(self, poll_read(cx, buf))
    }
}

impl<T: AsyncWrite + Unpin, U: AsyncWrite + Unpin> AsyncWrite for Stream<T, U> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored(cx, slices))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_close(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::net::{Ipv4Addr, TcpListener};

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn sets_what_is_asked_for() {
        let (listener, address) = listener();
        let options = SocketOptions {
            no_delay: false,
            keep_alive: Some(Duration::from_secs(77)),
            send_buffer: Some(16 * 1024),
            receive_buffer: Some(24 * 1024),
            local_address: Some(Ipv4Addr::LOCALHOST.into()),
            ..SocketOptions::default()
        };
        let socket = options.connect(address).unwrap();
        listener.accept().unwrap();
        let set = SockRef::from(&socket);
        assert!(!set.tcp_nodelay().unwrap() && set.keepalive().unwrap());
        assert!((16 * 1024..64 * 1024).contains(&set.send_buffer_size().unwrap()));
        assert!((24 * 1024..64 * 1024).contains(&set.recv_buffer_size().unwrap()));
        let socket = SocketOptions::default().connect(address).unwrap();
        listener.accept().unwrap();
        let set = SockRef::from(&socket);
        assert!(set.tcp_nodelay().unwrap() && !set.keepalive().unwrap());
    }

    #[test]
    fn says_which_option_was_refused() {
        let (_listener, address) = listener();
        let foreign = Some(IpAddr::from([192, 0, 2, 1]));
        let options = SocketOptions { local_address: foreign, ..SocketOptions::default() };
        let error = options.connect(address).unwrap_err();
        assert!(error.to_string().starts_with("socket option local_address: "), "{error}");
        let options = SocketOptions { device: Some("no such device".into()), ..SocketOptions::default() };
        let error = options.connect(address).unwrap_err();
        assert!(error.to_string().starts_with("socket option device: "), "{error}");
    }
}
