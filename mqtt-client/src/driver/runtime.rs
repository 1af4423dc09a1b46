//! What an adapter provides.

use crate::clock::Clock;
use crate::driver::socket::{Address, SocketOptions};
use crate::link::target::Target;
use bytes::BytesMut;
use futures_io::{AsyncRead, AsyncWrite};
use martlet_session::TransportError;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// An async runtime, as far as a client needs one: streams to servers, a clock and a timer. One
/// that knows names and addresses is a [`Network`], whose dialling is
/// [`Dial`](crate::runtime::Dial).
///
/// Nothing here is required to be `Send`; a [`Driver`](crate::Driver) is `Send` when its runtime's
/// parts are, so that single-threaded executors and streams that stay on their thread work too.
pub trait Runtime {
    /// A byte stream. Dropping it closes it.
    type Socket: AsyncRead + AsyncWrite + Unpin;
    /// Opens a stream.
    type Dial: Future<Output = Result<Self::Socket, TransportError>>;
    /// Fires once.
    type Timer: Timer;

    /// Opens a stream to `target`. Names are looked up anew for each attempt.
    fn dial(&self, target: &Target, options: &SocketOptions) -> Self::Dial;

    /// A timer that is not set.
    fn timer(&self) -> Self::Timer;

    /// The driver has done as much as it does at a time, and lets others run: it is to be woken when
    /// they have had their turn. Default: it wakes itself at once, which puts it behind those that
    /// an executor has in its queue.
    fn yield_now(&self, cx: &Context<'_>) {
        cx.waker().wake_by_ref();
    }

    /// Reads from the stream and appends to `place` what has arrived: at most `most` bytes, for which
    /// `place` has capacity. Returns the number of bytes; 0 at the end of the stream. While it is
    /// pending, or after an error, `place` is as it was. Default: the stream's `poll_read`, for which
    /// the capacity is filled with zeros first; a runtime that can read without that overrides it.
    ///
    /// # Errors
    /// Those of the stream.
    fn poll_read_into(
        &self,
        socket: &mut Self::Socket,
        cx: &mut Context<'_>,
        place: &mut BytesMut,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let from = place.len();
        place.resize(from + most, 0);
        let read = Pin::new(socket).poll_read(cx, &mut place[from..]);
        let n = match read {
            Poll::Ready(Ok(n)) => n.min(most),
            _ => 0,
        };
        place.truncate(from + n);
        read
    }

    /// A clock for one client, which goes as fast as the timers do. Default: that of `std`.
    fn clock(&self) -> Clock {
        Clock::default()
    }
}

/// A runtime with names, addresses and sockets; dialling with all addresses of a name is made of it
/// by [`Dial`](crate::runtime::Dial).
pub trait Network: Runtime {
    /// Looks a name up.
    type Resolve: Future<Output = io::Result<Vec<SocketAddr>>>;
    /// Opens a socket.
    type Connect: Future<Output = io::Result<Self::Socket>>;

    /// Looks up the addresses of the name `host`.
    fn resolve(&self, host: &str, port: u16) -> Self::Resolve;

    /// Opens a socket to `address`. TCP sockets are made by [`SocketOptions::connect`].
    fn connect(&self, address: &Address, options: &SocketOptions) -> Self::Connect;
}

/// A timer that can be set again and again.
pub trait Timer: Unpin {
    /// Sets it to fire after `wait`, which is a day at most; it forgets what it was set to before.
    fn reset(&mut self, wait: Duration);

    /// Ready after that time or a little later; pending while it is not set.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

pub(crate) type Pinned<F> = Pin<Box<F>>;
