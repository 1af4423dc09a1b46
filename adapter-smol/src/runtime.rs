//! smol's sockets, timer and names.

use martlet_client::embedded::Target;
pub use martlet_client::runtime::{
    Address, Clock, Dial, EitherStream, Network, Opening, Runtime, SocketOptions, Streams, Timer,
};
use smol::Async;
#[cfg(not(unix))]
use smol::net::TcpStream as UnixStream;
#[cfg(unix)]
use smol::net::unix::UnixStream;
use smol::net::{self, TcpStream};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// smol's reactor, which any executor can be used with. It has a thread of its own and needs no
/// set-up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Smol;

impl Runtime for Smol {
    type Socket = EitherStream<TcpStream, UnixStream>;
    type Dial = Dial<Self>;
    type Timer = SmolSleep;

    fn dial(&self, target: &Target, options: &SocketOptions) -> Dial<Self> {
        Dial::new(*self, target, options)
    }

    fn timer(&self) -> SmolSleep {
        SmolSleep(smol::Timer::never())
    }
}

impl Network for Smol {
    type Resolve = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
    type Connect = Pin<Box<dyn Future<Output = io::Result<Self::Socket>> + Send>>;

    fn resolve(&self, host: &str, port: u16) -> Self::Resolve {
        let host = host.to_owned();
        Box::pin(async move { net::resolve((host, port)).await })
    }

    fn connect(&self, address: &Address, options: &SocketOptions) -> Self::Connect {
        match address {
            Address::Tcp(address) => {
                let socket = options.connect(*address);
                Box::pin(async move {
                    let socket = Async::new_nonblocking(socket?)?;
                    socket.writable().await?;
                    // Unlike `Async`, smol's own socket tells the peer when it is closed.
                    socket
                        .get_ref()
                        .take_error()?
                        .map_or_else(|| Ok(EitherStream::Tcp(socket.into())), Err)
                })
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let path = path.clone();
                Box::pin(async move { Ok(EitherStream::Unix(UnixStream::connect(path).await?)) })
            }
        }
    }
}

/// A timer of smol's.
#[derive(Debug)]
pub struct SmolSleep(smol::Timer);

impl Timer for SmolSleep {
    fn reset(&mut self, wait: Duration) {
        self.0.set_after(wait);
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(())
    }
}
