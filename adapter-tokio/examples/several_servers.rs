//! Several servers: the first is dead, the second crashes, the third goes on.
//!
//! ```text
//! cargo run --example several_servers                                       # against embedded brokers
//! cargo run --example several_servers -- mqtt://first mqtt://second         # against yours
//! ```
#![allow(clippy::print_stdout)]

use martlet_broker::{Config, Memory};
use martlet_tokio::{ClientEvent, Settings};
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut uris: Vec<String> = std::env::args().skip(1).collect();
    let mut second = None;
    let mut third = None;
    if uris.is_empty() {
        let dead = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (a, b) = (broker().await?, broker().await?);
        uris = vec![format!("mqtt://{dead}"), a.uri(), b.uri()];
        (second, third) = (Some(a), Some(b));
    }
    let mut settings = Settings::default();
    settings.connection.uri = uris.remove(0).into();
    settings.martlet.servers = uris.into_iter().map(Into::into).collect();

    let (client, driver) = settings.builder()?.build(martlet_tokio::Tokio);
    let mut events = client.events();
    tokio::spawn(driver);
    let mut connections = 0;
    while let Some(event) = events.next().await {
        match event {
            ClientEvent::Connecting(server) => println!("connecting to {server}"),
            ClientEvent::Disconnected { error, .. } => println!("no connection: {error}"),
            ClientEvent::Connected(_) => {
                println!("connected");
                connections += 1;
                match &mut second {
                    Some(second) if connections == 1 => second.kill(Memory::Lost).await,
                    _ => break,
                }
            }
            _ => {}
        }
    }
    client.ping().await?;
    client.disconnect().await;
    drop(third);
    Ok(())
}

async fn broker() -> std::io::Result<martlet_broker::tokio::Server> {
    martlet_broker::tokio::Server::start(Config::default()).await
}
