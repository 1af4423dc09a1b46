//! Sockets of the operating system: their addresses, and how they are set up, the same for every
//! runtime.

use futures_io::{AsyncRead, AsyncWrite};
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
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

/// How a TCP socket is set up. Unix sockets and [`Streams`](crate::runtime::Streams) have none of
/// this.
///
/// ```
/// # use martlet_client::{Client, runtime::SocketOptions};
/// # use std::time::Duration;
/// let options = SocketOptions::default().tcp_keep_alive(Duration::from_secs(60));
/// let builder = Client::builder("mqtt://broker.example").socket(options);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    pub(crate) no_delay: bool,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) local_address: Option<IpAddr>,
    pub(crate) device: Option<String>,
}

impl SocketOptions {
    /// Sets whether small packets are sent at once (`TCP_NODELAY`). Default: true.
    #[must_use]
    pub fn no_delay(mut self, no_delay: bool) -> Self {
        self.no_delay = no_delay;
        self
    }

    /// Sets after how long without a byte the system begins to probe whether the peer is there
    /// (`SO_KEEPALIVE`), in whole seconds. Default: `None`, it does not; MQTT's own keep alive
    /// does.
    #[must_use]
    pub fn tcp_keep_alive(mut self, keep_alive: impl Into<Option<Duration>>) -> Self {
        self.keep_alive = keep_alive.into();
        self
    }

    /// Sets the size of the system's send buffer, in bytes (`SO_SNDBUF`). Default: the system's.
    #[must_use]
    pub fn send_buffer(mut self, send_buffer: impl Into<Option<usize>>) -> Self {
        self.send_buffer = send_buffer.into();
        self
    }

    /// Sets the size of the system's receive buffer, in bytes (`SO_RCVBUF`). Default: the system's.
    #[must_use]
    pub fn receive_buffer(mut self, receive_buffer: impl Into<Option<usize>>) -> Self {
        self.receive_buffer = receive_buffer.into();
        self
    }

    /// Sets the address of ours to connect from; servers' addresses of the other family are left
    /// out. Default: the system's choice.
    #[must_use]
    pub fn local_address(mut self, local_address: impl Into<Option<IpAddr>>) -> Self {
        self.local_address = local_address.into();
        self
    }

    /// Sets the network interface to connect through, by name (`SO_BINDTODEVICE`). On Linux and
    /// Android; elsewhere it makes connecting fail. Default: the system's choice.
    #[must_use]
    pub fn device(mut self, device: impl Into<Option<String>>) -> Self {
        self.device = device.into();
        self
    }
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

/// A socket of either kind, as the runtime has them.
#[derive(Debug)]
pub enum EitherStream<T, U> {
    /// TCP.
    Tcp(T),
    /// A Unix socket.
    Unix(U),
}

/// Calls the same method of either.
macro_rules! either {
    ($self:ident, $method:ident ( $($argument:expr),* )) => {
        match &mut *$self {
            EitherStream::Tcp(socket) => Pin::new(socket).$method($($argument),*),
            EitherStream::Unix(socket) => Pin::new(socket).$method($($argument),*),
        }
    };
}

impl<T: AsyncRead + Unpin, U: AsyncRead + Unpin> AsyncRead for EitherStream<T, U> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_read(cx, buf))
    }
}

impl<T: AsyncWrite + Unpin, U: AsyncWrite + Unpin> AsyncWrite for EitherStream<T, U> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
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
