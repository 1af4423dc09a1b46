//! async-std's sockets and names, and the timer beneath its own.

pub use crate::socket::AsyncStdSocket;
use async_io::Async;
use async_std::net::ToSocketAddrs;
use martlet_client::embedded::Target;
pub use martlet_client::runtime::{
    Address, Clock, Dial, EitherStream, Network, Opening, Runtime, SocketOptions, Streams, Timer,
};
use std::future::Future;
use std::io;
#[cfg(not(unix))]
use std::net::TcpStream as UnixStream;
use std::net::{SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// async-std's reactor, which any executor can be used with. It has a thread of its own and needs
/// no set-up.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsyncStd;

impl Runtime for AsyncStd {
    type Socket = EitherStream<AsyncStdSocket<TcpStream>, AsyncStdSocket<UnixStream>>;
    type Dial = Dial<Self>;
    type Timer = AsyncStdSleep;

    fn dial(&self, target: &Target, options: &SocketOptions) -> Dial<Self> {
        Dial::new(*self, target, options)
    }

    fn timer(&self) -> AsyncStdSleep {
        AsyncStdSleep(async_io::Timer::never())
    }
}

impl Network for AsyncStd {
    type Resolve = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
    type Connect = Pin<Box<dyn Future<Output = io::Result<Self::Socket>> + Send>>;

    fn resolve(&self, host: &str, port: u16) -> Self::Resolve {
        let host = host.to_owned();
        Box::pin(async move { Ok((host.as_str(), port).to_socket_addrs().await?.collect()) })
    }

    fn connect(&self, address: &Address, options: &SocketOptions) -> Self::Connect {
        match address {
            Address::Tcp(address) => {
                let socket = options.connect(*address);
                Box::pin(async move {
                    let socket = Async::new_nonblocking(socket?)?;
                    socket.writable().await?;
                    socket
                        .get_ref()
                        .take_error()?
                        .map_or_else(|| Ok(EitherStream::Tcp(AsyncStdSocket(socket))), Err)
                })
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let path = path.clone();
                Box::pin(async move {
                    Ok(EitherStream::Unix(AsyncStdSocket(
                        Async::<UnixStream>::connect(path).await?,
                    )))
                })
            }
        }
    }
}

/// A timer that can be set again, as async-std's cannot: the one that they are made of, on the same
/// reactor.
#[derive(Debug)]
pub struct AsyncStdSleep(async_io::Timer);

impl Timer for AsyncStdSleep {
    fn reset(&mut self, wait: Duration) {
        self.0.set_after(wait);
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(())
    }
}
