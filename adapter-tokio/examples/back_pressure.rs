//! A producer that is faster than the server: what waits, what fails and what is dropped when the queue is full.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.

#![allow(clippy::print_stdout)]

use martlet_tokio::session::{QueueLimits, WhenFull};
use martlet_tokio::{Client, PublishError, QoS};

const READINGS: usize = 1000;

pub(crate) async fn run(server: &str) -> Result<(), Box<dyn std::error::Error>> {
    // By default 10,000 messages wait; here few do, to show what happens.
    let few = QueueLimits::default().messages(20);
    let builder = Client::builder(server).queue(few).max_in_flight(10);
    let client = martlet_tokio::connect_with(builder).await?;

    // Awaited: one message at a time, each for a round trip.
    for n in 0..10 {
        let reading = client.publish("meters/7", n.to_string());
        reading.qos(QoS::AtLeastOnce).await?;
    }
    println!("await: 10 acknowledged, one in flight at a time");

    // Enqueued: a full queue makes the producer wait, so that it becomes as slow as the server.
    let (mut receipts, mut most) = (Vec::new(), 0);
    for n in 0..READINGS {
        let reading = client.publish("meters/7", n.to_string());
        receipts.push(reading.qos(QoS::AtLeastOnce).enqueue().await?);
        most = most.max(client.queued() + client.in_flight());
    }
    for receipt in receipts {
        receipt.await?; // the server's acknowledgement
    }
    println!("enqueue: {READINGS} acknowledged, at most {most} queued or in flight");

    // Tried: a full queue is an error, for a producer that must not wait.
    let (mut accepted, mut failed) = (0, 0);
    for n in 0..READINGS {
        let reading = client.publish("meters/7", n.to_string());
        match reading.qos(QoS::AtLeastOnce).try_enqueue() {
            Ok(_receipt) => accepted += 1, // dropped: it is delivered in the background
            Err(PublishError::QueueFull) => failed += 1,
            Err(error) => return Err(error.into()),
        }
    }
    println!("try_enqueue: {accepted} accepted, {failed} failed because the queue was full");
    client.disconnect().await;

    // Where only the latest messages count, a full queue drops the oldest.
    let latest = few.when_full(WhenFull::DropOldest);
    let builder = Client::builder(server).queue(latest).max_in_flight(10);
    let client = martlet_tokio::connect_with(builder).await?;
    let mut receipts = Vec::new();
    for n in 0..READINGS {
        let reading = client.publish("meters/7", n.to_string());
        receipts.push(reading.qos(QoS::AtLeastOnce).try_enqueue()?);
    }
    let (mut delivered, mut dropped) = (0, 0);
    for receipt in receipts {
        match receipt.await {
            Ok(_) => delivered += 1,
            Err(PublishError::Dropped) => dropped += 1,
            Err(error) => return Err(error.into()),
        }
    }
    println!("drop the oldest: {delivered} delivered, {dropped} dropped");
    client.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1);
    run(server.as_deref().unwrap_or("mqtt://localhost")).await
}
