//! A client configured by a YAML file: `docs/martlet.yaml`, or the one that is named.
//!
//! ```text
//! cargo run --example from_yaml                          # against the embedded broker
//! cargo run --example from_yaml -- path/to/client.yaml   # against the broker that the file names
//! ```
#![allow(clippy::print_stdout)]

use martlet_tokio::{Settings, Tokio};
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/martlet.yaml");
    let file = std::env::args().nth(1);
    let mut settings = Settings::load(file.as_deref().unwrap_or(sample))?;
    let broker = match file {
        Some(_) => None,
        None => Some(martlet_broker::tokio::Server::start(martlet_broker::Config::default()).await?),
    };
    if let Some(broker) = &broker {
        settings.connection.uri = broker.uri().into();
    }
    println!("the configuration, without its secrets:\n{}", settings.to_yaml());

    let (client, driver) = settings.builder()?.build(Tokio);
    let mut messages = client.catch_all().ok_or("nobody else has it")?;
    tokio::spawn(driver);
    client.connected().await?;
    // QoS and retain are those that the file has for this topic.
    let settled = client.publish("sensors/1/temp", "21.5").await?;
    println!("published: {}", settled.reason);
    if broker.is_some() {
        // The file subscribes to this.
        client.publish("commands/sensor-1/led", "on").await?;
        if let Some(message) = messages.next().await {
            println!("received: {} => {}", message.topic(), message.text().unwrap_or("(binary)"));
        }
    }
    client.disconnect().await;
    println!("disconnected");
    Ok(())
}
