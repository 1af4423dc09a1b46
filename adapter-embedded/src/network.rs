//! What the client needs of the board: connections, and time.

use alloc::boxed::Box;
use core::error::Error;
use core::future::Future;
use embedded_io_async::{Read, Write};
use martlet_session::Instant;

/// Makes connections to one server, one at a time, and keeps the one that there is.
///
/// A future of these methods, and of the halves, is dropped when something else is ready first.
/// Reading and writing must be cancel safe: when the future is dropped before it is ready, no byte
/// was taken from the network, or from the caller. The sockets of `embassy-net` and the buffered
/// UARTs of embassy's HALs are; a driver that moves bytes by DMA into the caller's buffer may not
/// be, and needs a pipe in between.
pub trait Network {
    /// The half that reads, borrowed from the connection.
    type Reader<'a>: Read
    where
        Self: 'a;
    /// The half that writes.
    type Writer<'a>: Write
    where
        Self: 'a;
    /// The error of a failed [`dial`](Self::dial): one of the network stack, or a text.
    /// [`last_error`](crate::Client::last_error) returns it.
    type Error: Into<Box<dyn Error + Send + Sync>>;

    /// Makes a connection in place of the one that there is. Dropped before it is ready, it is
    /// called again, and begins anew.
    fn dial(&mut self) -> impl Future<Output = Result<(), Self::Error>>;

    /// The halves of the connection: for each step anew.
    fn split(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>);

    /// Ends the connection. What was written and flushed has left, or is lost.
    fn hang_up(&mut self);
}

/// A clock with a timer.
pub trait Clock {
    /// The time since any moment; it only goes forward.
    fn now(&self) -> Instant;

    /// Waits for this moment. Dropped before, it leaves nothing behind.
    fn sleep_until(&mut self, moment: Instant) -> impl Future<Output = ()>;
}

/// The clock of `embassy-time`.
#[cfg(feature = "embassy-time")]
#[derive(Debug, Clone, Copy, Default)]
pub struct EmbassyClock;

#[cfg(feature = "embassy-time")]
impl Clock for EmbassyClock {
    fn now(&self) -> Instant {
        let micros = embassy_time::Instant::now().as_micros();
        Instant::from_epoch(core::time::Duration::from_micros(micros))
    }

    fn sleep_until(&mut self, moment: Instant) -> impl Future<Output = ()> {
        let micros = moment.since_epoch().as_micros();
        // Not a moment too early: the clock decides.
        let micros = u64::try_from(micros + 1).unwrap_or(u64::MAX);
        embassy_time::Timer::at(embassy_time::Instant::from_micros(micros))
    }
}
