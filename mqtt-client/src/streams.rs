//! Streams of the user's own in place of the runtime's sockets.

use crate::runtime::{Runtime, SocketOptions};
use futures_io::{AsyncRead, AsyncWrite};
use martlet_session::Instant;
use std::future::{Future, Ready, ready};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Streams that a function opens, on the clock and the timer of a runtime: anything that reads and writes as
/// `futures_io` has it, such as a Unix socket. It need not be `Send`; the driver is then polled where it was made.
///
/// Names are not looked up: the function gets the address that the URI has, or one without a host where the URI has a
/// name.
///
/// ```
/// # use futures_io::{AsyncRead, AsyncWrite};
/// # use martlet_client::{Client, ConnectError, Runtime, Streams};
/// # fn example<R: Runtime + Unpin, S: AsyncRead + AsyncWrite + Unpin, O: Future<Output = std::io::Result<S>>>(
/// #     runtime: R, open: impl Fn(&str) -> O + Unpin) -> Result<(), ConnectError> {
/// let streams = Streams(runtime, |_address| open("/run/mqtt.sock"));
/// let (client, driver) = Client::builder("mqtt://localhost")?.build(streams);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Streams<R, F>(pub R, pub F);

impl<R, F, O, S> Runtime for Streams<R, F>
where
    R: Runtime,
    F: Fn(SocketAddr) -> O,
    O: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Socket = S;
    type Resolve = Ready<io::Result<Vec<SocketAddr>>>;
    type Connect = O;
    type Timer = R::Timer;

    fn now() -> Instant {
        R::now()
    }

    fn resolve(&self, host: &str, port: u16) -> Self::Resolve {
        let host = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        ready(Ok(vec![SocketAddr::new(host, port)]))
    }

    fn connect(&self, address: SocketAddr, _options: &SocketOptions) -> O {
        (self.1)(address)
    }

    fn timer(&self) -> R::Timer {
        self.0.timer()
    }
}
