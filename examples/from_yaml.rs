//! A client configured by a YAML file: `docs/martlet.yaml`, or the one that is named.
//!
//! ```text
//! cargo run --example from_yaml                          # against the embedded broker
//! cargo run --example from_yaml -- path/to/client.yaml   # against the broker that the file names
//! ```
//!
//! `martlet` is the adapter of your runtime: `use martlet_tokio as martlet;`.
#![allow(clippy::print_stdout)]

use crate::martlet::{self, Settings};
use martlet_tests::server::{Setup, TestServer};
use std::error::Error;

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/martlet.yaml");
    let file = std::env::args().nth(1);
    let mut settings = Settings::load(file.as_deref().unwrap_or(sample))?;
    let mut broker = None;
    if file.is_none() {
        let embedded = TestServer::start(Setup::tcp()).await;
        settings.connection.uri = embedded.uri().into();
        broker = Some(embedded);
    }
    println!(
        "the configuration, without its secrets:\n{}",
        settings.to_yaml()
    );

    let client = martlet::connect_with(settings.builder()?).await?;
    // QoS and retain are those that the file has for this topic.
    let settled = client.publish("sensors/1/temp", "21.5").await?;
    println!("published: {}", settled.reason);
    if broker.is_some() {
        // The file subscribes to this.
        let mut messages = client.catch_all().ok_or("nobody else has it")?;
        client.publish("commands/sensor-1/led", "on").await?;
        if let Some(message) = messages.next().await {
            println!(
                "received: {} => {}",
                message.topic(),
                message.text().unwrap_or("(binary)")
            );
        }
    }
    client.disconnect().await;
    println!("disconnected");
    Ok(())
}
