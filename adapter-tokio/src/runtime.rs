//! tokio's sockets, timer and names.

use bytes::{BufMut, BytesMut};
use futures_io::{AsyncRead, AsyncWrite};
pub use martlet_client::runtime::{
    Address, Clock, Dial, EitherStream, Network, Runtime, SocketOptions, Timer,
};
use martlet_client::{
    Endpoint,
    embedded::Target,
    session::{Instant, TransportError},
};
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;
#[cfg(not(unix))]
use tokio::net::TcpStream as UnixStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time;

/// The tokio runtime that polls the driver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tokio;

impl Runtime for Tokio {
    type Socket = EitherStream<TokioSocket<TcpStream>, TokioSocket<UnixStream>>;
    type Dial = Dial<Self>;
    type Timer = TokioSleep;

    fn dial(&self, target: &Target, options: &SocketOptions) -> Dial<Self> {
        Dial::new(*self, target, options)
    }

    fn timer(&self) -> TokioSleep {
        TokioSleep(None)
    }

    /// Behind the future that the runtime was made to block on, too: it has a turn for every 61 of
    /// tasks that wake themselves, and what it is to read would pile up.
    fn yield_now(&self, cx: &Context<'_>) {
        // Within a runtime this wakes the task when all others have had their turn.
        let mut cx = Context::from_waker(cx.waker());
        let _ = pin!(tokio::task::yield_now()).poll(&mut cx);
    }

    /// Without filling the capacity with zeros first.
    fn poll_read_into(
        &self,
        socket: &mut Self::Socket,
        cx: &mut Context<'_>,
        place: &mut BytesMut,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let mut place = place.limit(most);
        match socket {
            EitherStream::Tcp(socket) => pin!(socket.0.read_buf(&mut place)).poll(cx),
            EitherStream::Unix(socket) => pin!(socket.0.read_buf(&mut place)).poll(cx),
        }
    }

    /// `tokio::time` where there is a runtime now, so that a paused one can be advanced.
    fn clock(&self) -> Clock {
        // The driver may be polled in a paused runtime, whose time is behind that of this place.
        let now = time::Instant::now();
        let epoch = now.checked_sub(Duration::from_secs(3600)).unwrap_or(now);
        Clock::new(move || Instant::from_epoch(epoch.elapsed()))
    }
}

impl Network for Tokio {
    type Resolve = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
    type Connect = Pin<Box<dyn Future<Output = io::Result<Self::Socket>> + Send>>;

    fn resolve(&self, host: &str, port: u16) -> Self::Resolve {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }

    fn connect(&self, address: &Address, options: &SocketOptions) -> Self::Connect {
        match address {
            Address::Tcp(address) => {
                let socket = options.connect(*address);
                Box::pin(async move {
                    let socket = TcpStream::from_std(socket?)?;
                    socket.writable().await?;
                    socket
                        .take_error()?
                        .map_or(Ok(EitherStream::Tcp(TokioSocket(socket))), Err)
                })
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let socket = UnixStream::connect(path.clone());
                Box::pin(async move { Ok(EitherStream::Unix(TokioSocket(socket.await?))) })
            }
        }
    }
}

/// A timer that is made when it is first set.
#[derive(Debug)]
pub struct TokioSleep(Option<Pin<Box<time::Sleep>>>);

impl Timer for TokioSleep {
    fn reset(&mut self, wait: Duration) {
        let deadline = time::Instant::now() + wait;
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

/// Streams that a function opens: anything that reads and writes, such as an end of
/// `tokio::io::duplex`. It need not be `Send`; the driver is then polled where it was made.
///
/// The function gets the server's [`Endpoint`]; what it opens is taken for a connection to it, or
/// to the proxy if one is set. TLS and WebSocket, where the URI's scheme has them, are spoken over
/// the stream.
///
/// ```
/// # async fn example() -> Result<(), martlet_tokio::ConnectError> {
/// use martlet_tokio::{Client, Endpoint, Tokio, runtime::TokioStreams};
/// use tokio::net::TcpStream;
///
/// let tunnel = TokioStreams::new(|endpoint: Endpoint| TcpStream::connect(("127.0.0.1", endpoint.port())));
/// let (client, driver) = Client::builder("mqtt://broker.example").build(tunnel)?;
/// tokio::spawn(driver);
/// client.connected().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TokioStreams<F>(Tokio, F);

impl<F> TokioStreams<F> {
    /// Streams that `open` opens.
    pub fn new(open: F) -> Self {
        Self(Tokio, open)
    }
}

impl<F, O, S> Runtime for TokioStreams<F>
where
    F: Fn(Endpoint) -> O,
    O: Future<Output = io::Result<S>>,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    type Socket = TokioSocket<S>;
    type Dial = TokioOpening<O>;
    type Timer = TokioSleep;

    fn dial(&self, target: &Target, _options: &SocketOptions) -> TokioOpening<O> {
        TokioOpening(martlet_client::runtime::Opening::new((self.1)(
            target.endpoint().clone(),
        )))
    }

    fn timer(&self) -> TokioSleep {
        self.0.timer()
    }

    fn yield_now(&self, cx: &Context<'_>) {
        self.0.yield_now(cx);
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }
}

/// A stream of [`TokioStreams`] that is being opened.
#[derive(Debug)]
pub struct TokioOpening<O>(martlet_client::runtime::Opening<O>);

impl<O: Future<Output = io::Result<S>>, S> Future for TokioOpening<O> {
    type Output = Result<TokioSocket<S>, TransportError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_ok(TokioSocket)
    }
}

/// Any of tokio's byte streams, as the driver wants it.
#[derive(Debug)]
pub struct TokioSocket<S>(pub S);

impl<S: tokio::io::AsyncRead + Unpin> AsyncRead for TokioSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        std::task::ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> AsyncWrite for TokioSocket<S> {
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
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
