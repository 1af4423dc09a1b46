//! async-std's sockets and names, and the timer beneath its own.

use async_std::net::{TcpStream, ToSocketAddrs};
use martlet_client::{Instant, Runtime, SocketOptions, StdClock, Timer};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// async-std's reactor, which any executor can be used with. It has a thread of its own and needs no set-up.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsyncStd;

impl Runtime for AsyncStd {
    type Socket = TcpStream;
    type Resolve = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
    type Connect = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;
    type Timer = Sleep;

    fn now() -> Instant {
        StdClock::now()
    }

    fn resolve(&self, host: &str, port: u16) -> Self::Resolve {
        let host = host.to_owned();
        Box::pin(async move { Ok((host.as_str(), port).to_socket_addrs().await?.collect()) })
    }

    fn connect(&self, address: SocketAddr, options: &SocketOptions) -> Self::Connect {
        let no_delay = options.no_delay;
        Box::pin(async move {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(no_delay)?;
            Ok(socket)
        })
    }

    fn timer(&self) -> Sleep {
        Sleep(async_io::Timer::never())
    }
}

/// A timer that can be set again, as async-std's cannot: the one that they are made of, on the same reactor.
#[derive(Debug)]
pub struct Sleep(async_io::Timer);

impl Timer for Sleep {
    fn reset(&mut self, at: Instant) {
        self.0.set_at(StdClock::to_std(at));
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(())
    }
}
