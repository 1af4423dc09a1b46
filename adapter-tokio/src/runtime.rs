//! tokio's sockets, timer and names.

use futures_io::{AsyncRead, AsyncWrite};
use martlet_client::{Instant, Runtime, SocketOptions, Timer};
use std::future::{Future, Ready, ready};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time;

/// The tokio runtime that polls the driver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tokio;

/// The moment that the client's time counts from: an hour before it was first asked for, by the real clock. Each paused
/// runtime has a time of its own, none of them is before that.
fn epoch() -> time::Instant {
    static EPOCH: OnceLock<time::Instant> = OnceLock::new();
    *EPOCH.get_or_init(|| {
        let now = std::time::Instant::now();
        time::Instant::from_std(now.checked_sub(Duration::from_secs(3600)).unwrap_or(now))
    })
}

impl Runtime for Tokio {
    type Socket = Socket<TcpStream>;
    type Resolve = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
    type Connect = Pin<Box<dyn Future<Output = io::Result<Self::Socket>> + Send>>;
    type Timer = Sleep;

    fn now() -> Instant {
        let epoch = epoch();
        Instant::from_epoch(time::Instant::now().saturating_duration_since(epoch))
    }

    fn resolve(&self, host: &str, port: u16) -> Self::Resolve {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }

    fn connect(&self, address: SocketAddr, options: &SocketOptions) -> Self::Connect {
        let no_delay = options.no_delay;
        Box::pin(async move {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(no_delay)?;
            Ok(Socket(socket))
        })
    }

    fn timer(&self) -> Sleep {
        Sleep(None)
    }
}

/// A timer that is made when it is first set.
#[derive(Debug)]
pub struct Sleep(Option<Pin<Box<time::Sleep>>>);

impl Timer for Sleep {
    fn reset(&mut self, at: Instant) {
        // What lies beyond the clock's range never comes; a day is long enough to look again.
        let deadline = epoch().checked_add(at.since_epoch()).unwrap_or_else(|| time::Instant::now() + DAY);
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.0 = Some(Box::pin(time::sleep_until(deadline))),
        }
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Streams that a function opens: anything that reads and writes, such as a Unix socket or an end of
/// [`tokio::io::duplex`]. Names are not looked up: the function gets the address that the URI has, or one without a
/// host where the URI has a name.
///
/// A stream of `futures_io` instead of tokio's can be had with [`martlet_client::Streams`].
///
/// ```
/// # async fn example() -> Result<(), martlet_tokio::ConnectError> {
/// use martlet_tokio::{Client, Streams};
///
/// let unix = Streams(|_address| tokio::net::UnixStream::connect("/run/mqtt.sock"));
/// let (client, driver) = Client::builder("mqtt://localhost")?.build(unix);
/// tokio::spawn(driver);
/// client.connected().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Streams<F>(pub F);

impl<F, O, S> Runtime for Streams<F>
where
    F: Fn(SocketAddr) -> O,
    O: Future<Output = io::Result<S>>,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    type Socket = Socket<S>;
    type Resolve = Ready<io::Result<Vec<SocketAddr>>>;
    type Connect = Opening<O>;
    type Timer = Sleep;

    fn now() -> Instant {
        Tokio::now()
    }

    fn resolve(&self, host: &str, port: u16) -> Self::Resolve {
        let host = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        ready(Ok(vec![SocketAddr::new(host, port)]))
    }

    fn connect(&self, address: SocketAddr, _options: &SocketOptions) -> Self::Connect {
        Opening(Box::pin((self.0)(address)))
    }

    fn timer(&self) -> Sleep {
        Tokio.timer()
    }
}

/// A stream of [`Streams`] that is being opened.
#[derive(Debug)]
pub struct Opening<O>(Pin<Box<O>>);

impl<O: Future<Output = io::Result<S>>, S> Future for Opening<O> {
    type Output = io::Result<Socket<S>>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map_ok(Socket)
    }
}

/// Any of tokio's byte streams, as the driver wants it.
#[derive(Debug)]
pub struct Socket<S>(pub S);

impl<S: tokio::io::AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        std::task::ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
