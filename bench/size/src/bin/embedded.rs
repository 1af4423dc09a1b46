//! `martlet-embedded`: the session with all that drives it.
#![no_std]
#![no_main]

extern crate alloc;

use core::future::pending;
use core::time::Duration;
use martlet_embedded::proto::{QoS, SubscribeFilter, TopicFilter, TopicName, Utf8String};
use martlet_embedded::session::{Config, Instant, OutgoingPublish, SubscribeRequest};
use martlet_embedded::{Backoff, Client, Clock, Network};
use martlet_size::{Modem, block_on, start, until};

#[global_allocator]
static HEAP: embedded_alloc::LlffHeap = embedded_alloc::LlffHeap::empty();

struct Link(Modem);

impl Network for Link {
    type Reader<'a> = &'a mut Modem;
    type Writer<'a> = board::ModemWriter;
    type Error = &'static str;

    async fn dial(&mut self) -> Result<(), &'static str> {
        self.0.dial();
        Ok(())
    }

    fn split(&mut self) -> (&mut Modem, board::ModemWriter) {
        self.0.split()
    }

    fn hang_up(&mut self) {
        self.0.hang_up();
    }
}

struct Ticks;

impl Clock for Ticks {
    fn now(&self) -> Instant {
        Instant::from_epoch(Duration::from_millis(martlet_size::now()))
    }

    async fn sleep_until(&mut self, moment: Instant) {
        let millis = moment.since_epoch().as_millis() as u64 + 1;
        let _ = until(millis, pending::<()>()).await;
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    start();
    // SAFETY: once, before anything is allocated.
    unsafe {
        embedded_alloc::init!(HEAP, 32 * 1024);
    }
    block_on(run());
    loop {}
}

async fn run() -> Option<()> {
    let config = Config::default().client_identifier(Utf8String::new("probe").ok()?);
    let mut client = Client::new(config, Link(Modem::new()), Ticks, Backoff::new(1));
    let filter = SubscribeFilter::new(TopicFilter::new("probe/in").ok()?, QoS::AtLeastOnce);
    client
        .subscribe(SubscribeRequest::new([filter]))
        .await
        .ok()?;
    let mut payload = "hello";
    loop {
        let topic = TopicName::new("probe/out").ok()?;
        let message = OutgoingPublish::new(topic, payload).qos(QoS::AtLeastOnce);
        client.publish(message).await.ok()?;
        client.next().await.ok()?;
        payload = "received";
    }
}
