//! What an adapter provides.

use futures_io::{AsyncRead, AsyncWrite};
use martlet_session::Instant;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

/// An async runtime, as far as a client needs one: names to addresses, addresses to sockets, a clock and a timer.
///
/// Nothing here is required to be `Send`; a [`Driver`](crate::Driver) is `Send` when its runtime's parts are, so that
/// single-threaded executors and streams that stay on their thread work too.
pub trait Runtime {
    /// A byte stream. Dropping it closes it.
    type Socket: AsyncRead + AsyncWrite + Unpin;
    /// Looks a name up.
    type Resolve: Future<Output = io::Result<Vec<SocketAddr>>>;
    /// Opens a socket.
    type Connect: Future<Output = io::Result<Self::Socket>>;
    /// Fires once.
    type Timer: Timer;

    /// The time, from an epoch that stays the same for the life of the process. It never goes back.
    fn now() -> Instant
    where
        Self: Sized;

    /// Looks up the addresses of `host`, which is a name or an address without brackets. Asked anew for each attempt.
    fn resolve(&self, host: &str, port: u16) -> Self::Resolve;

    /// Opens a socket to `address`.
    fn connect(&self, address: SocketAddr, options: &SocketOptions) -> Self::Connect;

    /// A timer that is not set.
    fn timer(&self) -> Self::Timer;
}

/// A timer that can be set again and again.
pub trait Timer: Unpin {
    /// Sets it to `at`; it forgets what it was set to before.
    fn reset(&mut self, at: Instant);

    /// Ready at `at` or a little later; pending while it is not set.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// How a socket is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Send small packets at once (`TCP_NODELAY`). Default: true.
    pub no_delay: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { no_delay: true }
    }
}

pub(crate) type Pinned<F> = Pin<Box<F>>;
