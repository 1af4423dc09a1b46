//! smol's sockets, timer and names.

use martlet_client::{Instant, Runtime, SocketOptions, StdClock, Timer};
use smol::net::{self, TcpStream};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// smol's reactor, which any executor can be used with. It has a thread of its own and needs no set-up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Smol;

impl Runtime for Smol {
    type Socket = TcpStream;
    type Resolve = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
    type Connect = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;
    type Timer = Sleep;

    fn now() -> Instant {
        StdClock::now()
    }

    fn resolve(&self, host: &str, port: u16) -> Self::Resolve {
        let host = host.to_owned();
        Box::pin(async move { net::resolve((host, port)).await })
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
        Sleep(smol::Timer::never())
    }
}

/// A timer of smol's.
#[derive(Debug)]
pub struct Sleep(smol::Timer);

impl Timer for Sleep {
    fn reset(&mut self, at: Instant) {
        self.0.set_at(StdClock::to_std(at));
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(())
    }
}
