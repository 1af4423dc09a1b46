//! A socket that can be closed.

use async_io::Async;
use futures_io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice};
use std::net::{self, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A socket on async-std's reactor. Closing it tells the peer that nothing more comes, which
/// closing async-std's own does not.
#[derive(Debug)]
pub struct AsyncStdSocket<T>(pub(crate) Async<T>);

impl<T> AsyncRead for AsyncStdSocket<T>
where
    Async<T>: AsyncRead + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: sealed::Shutdown> AsyncWrite for AsyncStdSocket<T>
where
    Async<T>: AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
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

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.get_ref().shutdown())
    }
}

mod sealed {
    /// What ends the sending side.
    pub trait Shutdown {
        fn shutdown(&self) -> std::io::Result<()>;
    }
}

impl sealed::Shutdown for TcpStream {
    fn shutdown(&self) -> io::Result<()> {
        self.shutdown(net::Shutdown::Write)
    }
}

#[cfg(unix)]
impl sealed::Shutdown for UnixStream {
    fn shutdown(&self) -> io::Result<()> {
        self.shutdown(net::Shutdown::Write)
    }
}
