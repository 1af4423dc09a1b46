//! What the programs here share: the board, which has the clock and the network, and a loop in place of an executor.
#![no_std]

pub use board::{Modem, now, send, start};

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use cortex_m as _;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Runs a future by polling it all the time.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// What comes first: the end of the future, or this moment.
pub async fn until<F: Future>(moment: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if now() >= moment => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// A clock for `embassy-time`. Futures are polled all the time, so it wakes nobody.
struct TimeDriver;

impl embassy_time_driver::Driver for TimeDriver {
    fn now(&self) -> u64 {
        now()
    }

    fn schedule_wake(&self, _: u64, _: &Waker) {}
}

embassy_time_driver::time_driver_impl!(static DRIVER: TimeDriver = TimeDriver);
