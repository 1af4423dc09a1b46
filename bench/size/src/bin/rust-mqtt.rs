//! The same with rust-mqtt, which leaves pings and messages that are sent again to the program.
#![no_std]
#![no_main]

extern crate alloc;

use core::num::{NonZeroU16, NonZeroU32};
use martlet_size::{Modem, block_on, now, start, until};
use rust_mqtt::buffer::AllocBuffer;
use rust_mqtt::client::Client;
use rust_mqtt::client::event::Event;
use rust_mqtt::client::options::{
    ConnectOptions, PublicationOptions, SubscriptionOptions, TopicReference,
};
use rust_mqtt::config::{KeepAlive, SessionExpiryInterval};
use rust_mqtt::types::{MqttString, PacketIdentifier, TopicFilter, TopicName};

#[global_allocator]
static HEAP: embedded_alloc::LlffHeap = embedded_alloc::LlffHeap::empty();

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

const PING_AFTER: u64 = 45_000;

type Probe<'c> = Client<'static, 'c, Modem, AllocBuffer, 1, 8, 8, 1, 0, 0, 0>;

async fn run() -> Option<()> {
    let mut buffer = AllocBuffer;
    let mut client: Probe<'_> = Client::new(&mut buffer);
    let mut in_flight = None;
    let mut payload = Some("hello");
    let mut is_subscribed = false;
    loop {
        let mut modem = Modem::new();
        modem.dial();
        let options = ConnectOptions::new()
            .keep_alive(KeepAlive::Seconds(NonZeroU16::new(60)?))
            .session_expiry_interval(SessionExpiryInterval::Seconds(NonZeroU32::new(3600)?));
        let name = MqttString::from_str("probe").ok()?;
        if let Ok(connected) = client.connect(modem, &options, Some(name)).await {
            is_subscribed &= connected.session_present;
            connection(
                &mut client,
                &mut in_flight,
                &mut payload,
                &mut is_subscribed,
            )
            .await;
        }
        if let Ok(mut modem) = client.abort().await {
            modem.hang_up();
        }
        let again = now() + 1000;
        while now() < again {}
    }
}

async fn connection(
    client: &mut Probe<'_>,
    in_flight: &mut Option<(PacketIdentifier, &'static str)>,
    payload: &mut Option<&'static str>,
    is_subscribed: &mut bool,
) -> Option<()> {
    let topic = TopicName::new(MqttString::from_str("probe/out").ok()?)?;
    let publication = PublicationOptions::new(TopicReference::Name(topic)).at_least_once();
    if let Some((id, payload)) = *in_flight {
        client
            .republish(id, &publication, payload.into())
            .await
            .ok()?;
    }
    if !*is_subscribed {
        let filter = TopicFilter::new(MqttString::from_str("probe/in").ok()?)?;
        client
            .subscribe(filter, &SubscriptionOptions::new().at_least_once())
            .await
            .ok()?;
    }
    loop {
        if in_flight.is_none() {
            if let Some(payload) = payload.take() {
                let id = client.publish(&publication, payload.into()).await.ok()??;
                *in_flight = Some((id, payload));
            }
        }
        let Some(header) = until(now() + PING_AFTER, client.poll_header()).await else {
            client.ping().await.ok()?;
            continue;
        };
        match client.poll_body(header.ok()?).await.ok()? {
            Event::Publish(_) => *payload = Some("received"),
            Event::PublishAcknowledged(_) => *in_flight = None,
            Event::Suback(_) => *is_subscribed = true,
            _ => {}
        }
    }
}
