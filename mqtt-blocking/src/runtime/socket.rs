//! Sockets that do not block their thread.

use crate::runtime::reactor::{Reactor, Readiness};
use futures_io::{AsyncRead, AsyncWrite};
use martlet_client::runtime::EitherStream;
use mio::Token;
use mio::event::Source;
use mio::net::TcpStream;
#[cfg(not(unix))]
use mio::net::TcpStream as UnixStream;
#[cfg(unix)]
use mio::net::UnixStream;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A socket of [`Blocking`](crate::runtime::Blocking). It belongs to the thread that has opened it,
/// whose [`block_on`](crate::runtime::block_on) waits for its events.
#[derive(Debug)]
pub struct BlockingSocket(EitherStream<Registered<TcpStream>, Registered<UnixStream>>);

impl BlockingSocket {
    /// The socket, once its connection is made, which has begun.
    pub(super) async fn tcp(socket: TcpStream) -> io::Result<Self> {
        Ok(Self(EitherStream::Tcp(Registered::connect(socket).await?)))
    }

    /// The same of a Unix socket.
    #[cfg(unix)]
    pub(super) async fn unix(socket: UnixStream) -> io::Result<Self> {
        Ok(Self(EitherStream::Unix(Registered::connect(socket).await?)))
    }
}

impl AsyncRead for BlockingSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for BlockingSocket {
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

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// A socket of the system, registered with the loop of a thread.
struct Registered<T: Socket> {
    socket: T,
    token: Token,
    reactor: Arc<Reactor>,
    readiness: Arc<Readiness>,
}

impl<T: Socket> Registered<T> {
    async fn connect(mut socket: T) -> io::Result<Self> {
        let Some(reactor) = Reactor::current() else {
            return Err(io::Error::other(
                "the client is not polled by martlet_blocking::runtime::block_on",
            ));
        };
        let (token, readiness) = reactor.register(&mut socket)?;
        let mut connecting = Self {
            socket,
            token,
            reactor,
            readiness,
        };
        let is_connected = |socket: &mut T| match socket.take_error()? {
            Some(error) => Err(error),
            None if socket.is_connected() => Ok(()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        };
        poll_fn(|cx| connecting.poll_writing(cx, is_connected)).await?;
        Ok(connecting)
    }

    fn poll_writing<O>(
        &mut self,
        cx: &Context<'_>,
        call: impl Fn(&mut T) -> io::Result<O>,
    ) -> Poll<io::Result<O>> {
        let writing = &self.readiness.writing;
        writing.poll_call(cx, || call(&mut self.socket))
    }
}

impl<T: Socket> AsyncRead for Registered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let reading = &this.readiness.reading;
        reading.poll_call(cx, || this.socket.read(buf))
    }
}

impl<T: Socket> AsyncWrite for Registered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |socket| socket.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |socket| socket.write_vectored(slices))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.end())
    }
}

impl<T: Socket> Drop for Registered<T> {
    fn drop(&mut self) {
        self.reactor.deregister(&mut self.socket, self.token);
    }
}

impl<T: Socket> fmt::Debug for Registered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

/// A socket of the system that does not block.
trait Socket: Source + Read + Write + fmt::Debug + Unpin {
    fn take_error(&self) -> io::Result<Option<io::Error>>;
    fn is_connected(&self) -> bool;
    /// Ends the sending side.
    fn end(&self) -> io::Result<()>;
}

macro_rules! socket {
    ($socket:ty) => {
        impl Socket for $socket {
            fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.take_error()
            }

            fn is_connected(&self) -> bool {
                self.peer_addr().is_ok()
            }

            fn end(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Write)
            }
        }
    };
}

socket!(TcpStream);
#[cfg(unix)]
socket!(UnixStream);
