//! A device with 24 KiB of RAM that talks to a broker through a modem. It says what happens by semihosting.
#![no_std]
#![no_main]

extern crate alloc;

use board::{Modem, ModemWriter};
use core::time::Duration;
use cortex_m as _;
use cortex_m_semihosting::{debug, hprintln};
use martlet_embedded::proto::{QoS, SubscribeFilter, TopicFilter, TopicName, Utf8String};
use martlet_embedded::session::{
    Config, DisconnectOptions, Instant, OutgoingPublish, SubscribeRequest,
};
use martlet_embedded::{Backoff, Client, Clock, Network};

#[global_allocator]
static HEAP: embedded_alloc::LlffHeap = embedded_alloc::LlffHeap::empty();

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("a panic");
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}

/// The way to the broker.
struct Link(Modem);

impl Network for Link {
    type Reader<'a> = &'a mut Modem;
    type Writer<'a> = ModemWriter;
    type Error = &'static str;

    async fn dial(&mut self) -> Result<(), &'static str> {
        hprintln!("dials");
        self.0.dial();
        Ok(())
    }

    fn split(&mut self) -> (&mut Modem, ModemWriter) {
        self.0.split()
    }

    fn hang_up(&mut self) {
        hprintln!("hangs up");
        self.0.hang_up();
    }
}

/// The time. The executor polls all the time, so nobody needs to be woken.
struct Ticks;

impl Clock for Ticks {
    fn now(&self) -> Instant {
        Instant::from_epoch(Duration::from_millis(board::now()))
    }

    async fn sleep_until(&mut self, moment: Instant) {
        while self.now() < moment {
            embassy_futures::yield_now().await;
        }
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    board::start();
    // SAFETY: once, before anything is allocated.
    unsafe {
        embedded_alloc::init!(HEAP, 12 * 1024);
    }
    let status = match embassy_futures::block_on(run()) {
        Some(()) => debug::EXIT_SUCCESS,
        None => debug::EXIT_FAILURE,
    };
    debug::exit(status);
    loop {}
}

async fn run() -> Option<()> {
    let config = Config::small().client_identifier(Utf8String::new("device").ok()?);
    let backoff = Backoff::new(1)
        .initial(Duration::from_millis(50))
        .max(Duration::from_secs(1));
    let mut client = Client::new(config, Link(Modem::new()), Ticks, backoff);

    let filter = SubscribeFilter::new(TopicFilter::new("device/in").ok()?, QoS::ExactlyOnce);
    let answer = client
        .subscribe(SubscribeRequest::new([filter]))
        .await
        .ok()?;
    hprintln!("subscribed, code {}", answer.reasons.first()?.as_u8());

    let hello =
        OutgoingPublish::new(TopicName::new("device/out").ok()?, "hello").qos(QoS::AtLeastOnce);
    client.publish(hello).await.ok()?;
    hprintln!("said hello");

    loop {
        let message = client.next().await.ok()?;
        let payload = message.publish.payload();
        hprintln!("received {}", core::str::from_utf8(payload).ok()?);
        if payload == b"stop" {
            break;
        }
        let echo = OutgoingPublish::new(TopicName::new("device/out").ok()?, payload.to_vec())
            .qos(QoS::ExactlyOnce);
        client.publish(echo).await.ok()?;
        hprintln!("sent it back");
    }
    client.disconnect(DisconnectOptions::default()).await;
    hprintln!("disconnected");
    Some(())
}
