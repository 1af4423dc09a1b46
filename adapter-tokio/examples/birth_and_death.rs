//! A node that announces itself, as Sparkplug asks: a will for each connection, a birth before everything else on it,
//! and readings that never leave on another connection than the one whose birth came before them.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.

#![allow(clippy::print_stdout)]

use martlet_tokio::hooks::{Attempt, GivenUp};
use martlet_tokio::proto::WillError;
use martlet_tokio::session::{CleanStart, Connected, QueueLimits};
use martlet_tokio::{Client, ConnectionState, Error, PublishError, QoS, Will};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const BIRTH: &str = "spBv1.0/plant/NBIRTH/node-7";
const DATA: &str = "spBv1.0/plant/NDATA/node-7";
const DEATH: &str = "spBv1.0/plant/NDEATH/node-7";
const COMMANDS: &str = "spBv1.0/plant/NCMD/node-7/#";
const READINGS: usize = 1000;

/// The will of a connection: its number tells the host which birth it ends.
fn death(number: u32) -> Result<Will, WillError> {
    Ok(Will::new(DEATH, number.to_string())?.qos(QoS::AtLeastOnce))
}

pub(crate) async fn run(server: &str) -> Result<(), Box<dyn std::error::Error>> {
    let numbers = Arc::new(AtomicU32::new(0));
    let next = Arc::clone(&numbers);
    let builder = Client::builder(server)
        .client_identifier("node-7")
        .clean_start(CleanStart::Every)
        .resubscribe(false)
        // Nothing that waits belongs to a connection that is still to come.
        .queue(QueueLimits::default().qos0_offline(false))
        .before_connect(move |mut attempt: Attempt| {
            let number = next.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                attempt.set_will(death(number).map_err(GivenUp::for_good)?);
                Ok(attempt)
            }
        });
    let client = martlet_tokio::start(builder)?;
    let mut states = client.state_changes();
    let mut readings = 0..READINGS;
    while !readings.is_empty() {
        match states.next().await {
            Some(ConnectionState::Connected(connection)) => {
                // The hook counts on only when this connection has ended; nothing is published then.
                let number = numbers.load(Ordering::Relaxed);
                match live(&client, &connection, number, &mut readings).await {
                    Err(Error::Publish(PublishError::ConnectionEnded)) => {
                        println!("{number} has ended");
                    }
                    result => result?,
                }
            }
            Some(ConnectionState::Stopped { reason }) => return Err(reason.into()),
            Some(_) => {}
            None => break,
        }
    }
    // The server publishes no will after a DISCONNECT: the node does it.
    let number = numbers.load(Ordering::Relaxed).to_string();
    client.publish(DEATH, number).qos(QoS::AtLeastOnce).await?;
    client.disconnect().await;
    Ok(())
}

/// What a node does on one connection.
async fn live(
    client: &Client,
    connection: &Arc<Connected>,
    number: u32,
    readings: &mut std::ops::Range<usize>,
) -> Result<(), Error> {
    let commands = client.subscribe(COMMANDS).qos(QoS::AtLeastOnce).await?;
    let birth = client.publish(BIRTH, number.to_string());
    birth.only_on(connection).await?;
    println!("connection {number}: {:?}", commands.reasons());
    while let Some(reading) = readings.clone().next() {
        let data = client.publish(DATA, reading.to_string());
        data.only_on(connection).await?;
        client.flush().await?; // the socket has it
        readings.next();
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1);
    run(server.as_deref().unwrap_or("mqtt://localhost")).await
}
