//! What the trial `run` needs beside the bridge: producers and counters of both sides.
//!
//! * `trial produce MQTT COUNT RATE`: numbered messages of MQTT, QoS 1, with an id;
//! * `trial count COUNT NATS…`: the messages of the stream `PLANT`;
//! * `trial command COUNT RATE NATS…`: numbered messages in the stream `COMMANDS`;
//! * `trial collect MQTT COUNT`: subscribes to what comes of those, until all are there.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use futures_util::{StreamExt as _, stream};
use martlet_tokio::client::OutgoingPublish;
use martlet_tokio::{Client, PublishProperties, QoS, TopicName};
use nats_bridge::cluster::{self, COMMANDS, PLANT};
use nats_bridge::{Error, to_jetstream::ID};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// A producer has this many topics.
const LINES: usize = 8;
/// How often a producer publishes.
const TICK: Duration = Duration::from_millis(50);
/// How many messages are published to JetStream at a time.
const AT_A_TIME: usize = 64;
/// A counter waits so long for a message that is missing.
const QUIET: Duration = Duration::from_secs(45);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["produce", mqtt, count, rate] => produce(mqtt, count.parse()?, rate.parse()?).await,
        ["count", count, nats @ ..] => count_stored(count.parse()?, nats).await,
        ["command", count, rate, nats @ ..] => command(count.parse()?, rate.parse()?, nats).await,
        ["collect", mqtt, count] => collect(mqtt, count.parse()?).await,
        _ => Err("see the first lines of trial.rs".into()),
    }
}

/// The numbers of each tick, as the clock asks for them.
async fn ticks(
    count: usize,
    rate: usize,
    mut next: impl AsyncFnMut(std::ops::Range<usize>) -> Result<(), Error>,
) -> Result<(), Error> {
    let start = Instant::now();
    let mut clock = tokio::time::interval(TICK);
    let mut done = 0;
    while done < count {
        clock.tick().await;
        let due = (start.elapsed().as_secs_f64() * rate as f64) as usize;
        let due = due.min(count);
        next(done..due).await?;
        done = done.max(due);
    }
    Ok(())
}

async fn produce(mqtt: &str, count: usize, rate: usize) -> Result<(), Error> {
    let client =
        martlet_tokio::connect_with(Client::builder(mqtt).client_identifier("producer")).await?;
    let mut receipts = Vec::new();
    ticks(count, rate, async |numbers| {
        let messages: Result<Vec<_>, Error> = numbers.map(reading).collect();
        receipts.push(client.publish_all(messages?).enqueue().await?);
        Ok(())
    })
    .await?;
    for receipt in receipts {
        receipt.await?;
    }
    client.disconnect().await;
    println!("sent {count}");
    Ok(())
}

fn reading(number: usize) -> Result<OutgoingPublish, Error> {
    let topic = TopicName::new(format!("plant/line-{}/reading", number % LINES))?;
    let id = format!("producer-{number}");
    let properties = PublishProperties::builder().try_user_property(ID, &id)?;
    Ok(OutgoingPublish::new(topic, number.to_string())
        .qos(QoS::AtLeastOnce)
        .properties(properties.build()))
}

async fn count_stored(count: usize, nats: &[&str]) -> Result<(), Error> {
    let jetstream = connect(nats).await?;
    let stream = cluster::stream(&jetstream, PLANT).await?;
    let seen = cluster::at_start("counter", async || read(&stream, count).await).await?;
    seen.report("stored", count);
    println!();
    Ok(())
}

/// Reads the stream until it has all, or nothing has come for a while; then what has come twice is there too.
async fn read(stream: &Stream, count: usize) -> Result<Seen, Error> {
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut messages = consumer.messages().await?;
    let mut seen = Seen::default();
    while let Ok(Some(message)) = tokio::time::timeout(seen.wait(count), messages.next()).await {
        seen.add(&message?.payload);
    }
    Ok(seen)
}

async fn command(count: usize, rate: usize, nats: &[&str]) -> Result<(), Error> {
    let jetstream = &connect(nats).await?;
    cluster::stream(jetstream, COMMANDS).await?;
    ticks(count, rate, async |numbers| {
        let stored = numbers.map(async |number| {
            let message = PublishMessage::build()
                .payload(number.to_string().into())
                .message_id(format!("command-{number}"));
            let subject = format!("commands.line-{}", number % LINES);
            cluster::store(jetstream, &subject, &message).await;
        });
        stream::iter(stored)
            .buffered(AT_A_TIME)
            .collect::<()>()
            .await;
        Ok(())
    })
    .await?;
    println!("sent {count}");
    Ok(())
}

async fn collect(mqtt: &str, count: usize) -> Result<(), Error> {
    let builder = Client::builder(mqtt).lasting_session("collector", DAY);
    let client = martlet_tokio::connect_with(builder).await?;
    let mut commands = client.subscribe("commands/#").qos(QoS::AtLeastOnce).await?;
    println!("subscribed");
    let (mut seen, mut ids, mut repeats) = (Seen::default(), HashSet::new(), 0);
    while let Ok(Some(command)) = commands.next_timeout(seen.wait(count)).await {
        // What any receiver does that must not see a message twice.
        let mut properties = command.properties().user_properties();
        let id = properties.find(|(name, _)| *name == ID);
        let (_, id) = id.ok_or("a message without an id")?;
        if ids.insert(id.to_owned()) {
            seen.add(command.payload());
        } else {
            repeats += 1;
        }
    }
    seen.report("arrived", count);
    println!("repeats {repeats}");
    client.disconnect().await;
    Ok(())
}

async fn connect(nats: &[&str]) -> Result<async_nats::jetstream::Context, Error> {
    let nats: Vec<_> = nats.iter().map(|&address| address.to_owned()).collect();
    cluster::connect(&nats).await
}

/// What has come, by payload: the number.
#[derive(Default)]
struct Seen {
    messages: usize,
    numbers: HashSet<Vec<u8>>,
}

impl Seen {
    fn add(&mut self, payload: &[u8]) {
        self.messages += 1;
        self.numbers.insert(payload.to_vec());
    }

    /// How long to wait for another message: when all are there, for what comes twice.
    fn wait(&self, count: usize) -> Duration {
        if self.numbers.len() < count {
            QUIET
        } else {
            QUIET / 3
        }
    }

    fn report(&self, what: &str, count: usize) {
        let distinct = self.numbers.len();
        print!(
            "{what} {} lost {} duplicates {} ",
            self.messages,
            count.saturating_sub(distinct),
            self.messages - distinct
        );
    }
}
