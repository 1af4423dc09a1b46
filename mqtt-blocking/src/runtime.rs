//! Sockets, a timer and names without an async runtime, and the loop that waits for them.

mod off_thread;
mod place;
mod reactor;
mod socket;
#[cfg(test)]
mod tests;

pub use martlet_client::runtime::{
    Address, Clock, Dial, EitherStream, Network, Opening, Runtime, SocketOptions, Streams, Timer,
};
pub use off_thread::{OffThread, off_thread};
pub(crate) use reactor::{Loop, Reactor};
pub use socket::BlockingSocket;

use martlet_client::embedded::Target;
use mio::net::TcpStream;
#[cfg(unix)]
use mio::net::UnixStream;
use place::Place;
use reactor::TimerKey;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The sockets and timers of a thread that runs [`block_on`], such as that of a
/// [`Client`](crate::Client).
///
/// A client that is built with it can be driven anywhere: [`drive`](crate::drive) gives it a thread,
/// and [`block_on`] drives it on this one.
///
/// ```no_run
/// use martlet_blocking::{ConnectionError, proto::QoS, runtime::{Blocking, block_on}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (client, driver) = martlet_blocking::Client::builder("mqtt://broker.example").build(Blocking)?;
/// // Other threads may use the client meanwhile.
/// let _ = client.publish("a/b", "hi").qos(QoS::AtLeastOnce).try_enqueue()?;
/// let reason: ConnectionError = block_on(driver)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Blocking;

impl Runtime for Blocking {
    type Socket = BlockingSocket;
    type Dial = Dial<Self>;
    type Timer = BlockingTimer;

    fn dial(&self, target: &Target, options: &SocketOptions) -> Dial<Self> {
        Dial::new(*self, target, options)
    }

    fn timer(&self) -> BlockingTimer {
        BlockingTimer {
            at: None,
            set: None,
        }
    }
}

impl Network for Blocking {
    type Resolve = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
    type Connect = Pin<Box<dyn Future<Output = io::Result<Self::Socket>> + Send>>;

    fn resolve(&self, host: &str, port: u16) -> Self::Resolve {
        let host = host.to_owned();
        // The system's resolver blocks.
        let found = off_thread(move || Ok((host.as_str(), port).to_socket_addrs()?.collect()));
        Box::pin(async { found.await? })
    }

    fn connect(&self, address: &Address, options: &SocketOptions) -> Self::Connect {
        match address {
            Address::Tcp(address) => {
                let socket = options.connect(*address);
                Box::pin(async { BlockingSocket::tcp(TcpStream::from_std(socket?)).await })
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let socket = UnixStream::connect(path);
                Box::pin(async { BlockingSocket::unix(socket?).await })
            }
        }
    }
}

/// A timer of the thread that polls it.
#[derive(Debug)]
pub struct BlockingTimer {
    at: Option<Instant>,
    set: Option<Set>,
}

/// A timer that is set.
#[derive(Debug)]
struct Set {
    reactor: Arc<Reactor>,
    key: TimerKey,
    waiting: Arc<Place>,
}

impl BlockingTimer {
    fn unset(&mut self) {
        if let Some(set) = self.set.take() {
            set.reactor.unset_timer(set.key);
        }
    }
}

impl Timer for BlockingTimer {
    fn reset(&mut self, wait: Duration) {
        self.unset();
        self.at = Some(Instant::now() + wait);
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        if at <= Instant::now() {
            self.unset();
            self.at = None;
            return Poll::Ready(());
        }
        let Some(current) = Reactor::current() else {
            // Nothing waits for the time here. It can be looked at again and again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        if !matches!(&self.set, Some(set) if Arc::ptr_eq(&set.reactor, &current)) {
            self.unset();
        }
        let set = self.set.get_or_insert_with(|| {
            let (key, waiting) = current.set_timer(at);
            Set {
                reactor: current,
                key,
                waiting,
            }
        });
        // The loop is on this thread: it looks at the time afterwards.
        set.waiting.keep(cx.waker());
        Poll::Pending
    }
}

impl Drop for BlockingTimer {
    fn drop(&mut self) {
        self.unset();
    }
}

/// Polls a future on this thread until it is ready: a [`Driver`](crate::Driver), alone or with
/// other futures beside it. While nothing is to be done, the thread sleeps.
///
/// Inside it no operation can be waited for with [`Wait`](crate::Wait), because that would stop the
/// loop: see [there](crate::Wait#on-the-clients-own-thread).
///
/// # Errors
/// The system's, when it has no file descriptor left for the loop, for instance.
pub fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    Loop::new()?.run(future)
}
