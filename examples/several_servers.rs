//! Several servers: the first is dead, the second crashes, the third goes on.
//!
//! ```text
//! cargo run --example several_servers                                       # against embedded brokers
//! cargo run --example several_servers -- mqtt://first mqtt://second         # against yours
//! ```
//!
//! `martlet` is the adapter of your runtime: `use martlet_tokio as martlet;`.
#![allow(clippy::print_stdout)]

use crate::martlet::{self, ClientEvent, Settings, hooks::Attempt};
use martlet_broker::Memory;
use martlet_tests::server::{Setup, TestServer};
use std::error::Error;

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let mut uris: Vec<String> = std::env::args().skip(1).collect();
    let mut embedded = Vec::new();
    if uris.is_empty() {
        for _ in 0..3 {
            embedded.push(TestServer::start(Setup::tcp()).await);
        }
        embedded[0].kill(Memory::Lost).await;
        uris = embedded.iter().map(TestServer::uri).collect();
    }
    let mut settings = Settings::default();
    settings.connection.uri = uris.remove(0).into();
    settings.martlet.servers = uris.into_iter().map(Into::into).collect();

    let builder = settings
        .builder()?
        .before_connect(|attempt: Attempt| async move {
            if let Some(error) = attempt.last_error() {
                println!("{:#}", martlet::Error::from(error.clone()));
            }
            println!("attempt at {}", attempt.endpoint());
            Ok(attempt)
        });
    let client = martlet::connect_with(builder).await?;
    println!("connected");
    if let [_, second, _] = embedded.as_slice() {
        let mut events = client.events();
        second.kill(Memory::Lost).await;
        while let Some(event) = events.next().await {
            if let ClientEvent::Connected(_) = event {
                println!("connected again");
                break;
            }
        }
    }
    client.ping().await?;
    client.disconnect().await;
    Ok(())
}
