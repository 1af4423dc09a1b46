//! Fresh credentials for each connection: a hook asks for a token before each CONNECT.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with a server that accepts any password.

#![allow(clippy::print_stdout)]

use martlet_tokio::hooks::{Attempt, GivenUp};
use martlet_tokio::{Client, Error, QoS};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Stands for the service that issues tokens, somewhere on the network.
#[derive(Debug, Clone, Default)]
struct TokenService(Arc<AtomicU32>);

impl TokenService {
    async fn issue(&self) -> Result<String, io::Error> {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(format!("token-{number}"))
    }
}

pub(crate) async fn run(server: &str) -> Result<(), Box<dyn std::error::Error>> {
    let tokens = TokenService::default();
    let service = tokens.clone();
    let builder = Client::builder(server).before_connect(move |mut attempt: Attempt| {
        let service = service.clone();
        async move {
            if let Some(error) = attempt.last_error() {
                println!("before: {:#}", Error::from(error.clone()));
            }
            // Without a token this attempt fails, and the next one may get one. `for_good` would
            // stop the client instead.
            let token = service.issue().await.map_err(GivenUp::for_now)?;
            println!("attempt {} with {token}", attempt.number());
            attempt.set_credentials("device-7", token)?;
            Ok(attempt)
        }
    });
    let client = martlet_tokio::connect_with(builder).await?;
    client
        .publish("devices/7", "hello")
        .qos(QoS::AtLeastOnce)
        .await?;

    // A connection that is lost is made again with the next token, by itself. This makes another one
    // now, as a program does whose token is about to expire.
    client.reconnect().replace().await?;
    client
        .publish("devices/7", "back again")
        .qos(QoS::AtLeastOnce)
        .await?;
    client.disconnect().await;
    println!("{} tokens were issued", tokens.0.load(Ordering::Relaxed));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1);
    run(server.as_deref().unwrap_or("mqtt://localhost")).await
}
