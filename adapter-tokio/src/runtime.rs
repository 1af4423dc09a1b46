//! tokio's sockets, timer and names.

use futures_io::{AsyncRead, AsyncWrite};
use martlet_client::{Instant, Runtime, SocketOptions, Timer};
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time;

/// The tokio runtime that polls the driver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tokio;

/// The moment that the client's time counts from. tokio's clock, so that pausing it works.
fn epoch() -> time::Instant {
    static EPOCH: OnceLock<time::Instant> = OnceLock::new();
    *EPOCH.get_or_init(time::Instant::now)
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
        let deadline = epoch() + at.since_epoch();
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

/// Any of tokio's byte streams, as the driver wants it.
#[derive(Debug)]
pub struct Socket<S>(pub S);

impl<S: tokio::io::AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
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
