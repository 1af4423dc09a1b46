//! Two tasks of embassy's executor: the embedded broker, and a device with a client and other things to do. Pipes in
//! memory are the network.

use bytes::BytesMut;
use embassy_executor::Spawner;
use embassy_futures::select::{Either, Either3, select, select3};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pipe::Pipe;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Ticker, Timer};
use martlet_broker::{Broker, BrokerConfig};
use martlet_embedded::proto::{QoS, SubscribeFilter};
use martlet_embedded::session::{Config, DisconnectOptions, OutgoingPublish, SubscribeRequest};
use martlet_embedded::{Backoff, Client, EmbassyClock, Network};
use std::error::Error;

type Raw = CriticalSectionRawMutex;

static TO_BROKER: Pipe<Raw, 256> = Pipe::new();
static TO_DEVICE: Pipe<Raw, 256> = Pipe::new();
/// The device has opened a connection, or ended it.
static LINE: Signal<Raw, bool> = Signal::new();

struct Pipes;

impl Network for Pipes {
    type Reader<'a> = &'static Pipe<Raw, 256>;
    type Writer<'a> = &'static Pipe<Raw, 256>;
    type Error = &'static str;

    async fn dial(&mut self) -> Result<(), &'static str> {
        LINE.signal(true);
        Ok(())
    }

    fn split(&mut self) -> (&'static Pipe<Raw, 256>, &'static Pipe<Raw, 256>) {
        (&TO_DEVICE, &TO_BROKER)
    }

    fn hang_up(&mut self) {
        LINE.signal(false);
    }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    spawner.spawn(broker().expect("the only one"));
    match select(device(), Timer::after(Duration::from_secs(30))).await {
        Either::First(Ok(())) => std::process::exit(0),
        Either::First(Err(error)) => eprintln!("{error}"),
        Either::Second(()) => eprintln!("not in time"),
    }
    std::process::exit(1);
}

/// Publishes a reading every 20 ms, and takes what comes meanwhile, until ten have come back.
async fn device() -> Result<(), Box<dyn Error>> {
    let config = Config::small().client_identifier("device".try_into()?);
    let mut client = Client::new(config, Pipes, EmbassyClock, Backoff::new(7));
    let filter = SubscribeFilter::new("readings".try_into()?, QoS::ExactlyOnce);
    client.subscribe(SubscribeRequest::new([filter])).await?;
    let mut ticker = Ticker::every(Duration::from_millis(20));
    let (mut sent, mut received) = (0, 0);
    while received < 10 {
        match select(client.next(), ticker.next()).await {
            Either::First(message) => {
                let message = message?;
                println!(
                    "{}: {}",
                    message.topic.as_str(),
                    String::from_utf8_lossy(message.publish.payload())
                );
                received += 1;
            }
            Either::Second(()) if sent < 10 => {
                let reading =
                    OutgoingPublish::new("readings".try_into()?, format!("reading {sent}"));
                client.publish(reading.qos(QoS::ExactlyOnce)).await?;
                sent += 1;
            }
            Either::Second(()) => {}
        }
    }
    client.disconnect(DisconnectOptions::default()).await;
    println!("disconnected");
    Ok(())
}

#[embassy_executor::task]
async fn broker() {
    let mut broker = Broker::new(BrokerConfig::default());
    let (mut connection, mut input) = (None, BytesMut::new());
    let mut buffer = [0; 64];
    loop {
        let time = || core::time::Duration::from_micros(Instant::now().as_micros());
        let event = select3(
            LINE.wait(),
            TO_BROKER.read(&mut buffer),
            Timer::after(Duration::from_secs(1)),
        )
        .await;
        match event {
            Either3::First(is_open) => {
                if let Some(id) = connection.take() {
                    broker.handle_close(time(), id);
                }
                connection = is_open.then(|| broker.handle_open(time()));
            }
            Either3::Second(n) => input.extend_from_slice(&buffer[..n]),
            Either3::Third(()) => broker.handle_timeout(time()),
        }
        let Some(id) = connection else { continue };
        broker.handle_input(time(), id, &mut input);
        let mut output = BytesMut::new();
        while broker.poll_transmit(time(), id, &mut output) > 0 {}
        TO_DEVICE.write_all(&output).await;
        let _ = broker.poll_close();
    }
}
