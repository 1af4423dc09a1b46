//! Streams of the user's own in place of the runtime's sockets.

use crate::clock::Clock;
use crate::driver::runtime::Runtime;
use crate::driver::socket::SocketOptions;
use crate::link::target::Target;
use futures_io::{AsyncRead, AsyncWrite};
use martlet_session::{TransportError, TransportErrorKind};
use martlet_transport::Endpoint;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Streams that a function opens, on the clock and the timer of a runtime: anything that reads and
/// writes as `futures_io` has it. It need not be `Send`; the driver is then polled where it was
/// made.
///
/// The function gets the server's [`Endpoint`]; what it opens is taken for a connection to it, or
/// to the proxy if one is set. TLS and WebSocket, where the URI's scheme has them, are spoken over
/// the stream. A panic of the function, its future or the stream ends the attempt or the
/// connection, and the client goes on with the next.
///
/// ```
/// # use futures_io::{AsyncRead, AsyncWrite};
/// # use martlet_client::{Client, ConnectError, Endpoint, runtime::{Runtime, Streams}};
/// # fn example<R: Runtime + Unpin, S: AsyncRead + AsyncWrite + Unpin, O: Future<Output = std::io::Result<S>>>(
/// #     runtime: R, open: impl Fn(String) -> O + Unpin) -> Result<(), ConnectError> {
/// let streams = Streams::new(runtime, |endpoint: Endpoint| open(format!("/dev/{}", endpoint.host())));
/// let (client, driver) = Client::builder("mqtt://serial0").build(streams)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Streams<R, F>(R, F);

impl<R, F> Streams<R, F> {
    /// Streams that `open` opens; all else is the runtime's.
    pub fn new(runtime: R, open: F) -> Self {
        Self(runtime, open)
    }
}

impl<R, F, O, S> Runtime for Streams<R, F>
where
    R: Runtime,
    F: Fn(Endpoint) -> O,
    O: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Socket = S;
    type Dial = Opening<O>;
    type Timer = R::Timer;

    fn dial(&self, target: &Target, _options: &SocketOptions) -> Opening<O> {
        Opening::new((self.1)(target.endpoint().clone()))
    }

    fn timer(&self) -> R::Timer {
        self.0.timer()
    }

    fn yield_now(&self, cx: &Context<'_>) {
        self.0.yield_now(cx);
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }
}

/// A stream of [`Streams`] that is being opened.
#[derive(Debug)]
pub struct Opening<O>(Pin<Box<O>>);

impl<O> Opening<O> {
    /// What `open` gives, for runtimes that have streams of their own kind.
    pub fn new(open: O) -> Self {
        Self(Box::pin(open))
    }
}

impl<O: Future<Output = io::Result<S>>, S> Future for Opening<O> {
    type Output = Result<S, TransportError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let failed = |error: io::Error| {
            TransportError::new(
                TransportErrorKind::Connect,
                "the connection's stream cannot be opened",
            )
            .caused_by(error)
        };
        self.0.as_mut().poll(cx).map_err(failed)
    }
}
