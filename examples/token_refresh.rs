//! Fresh credentials for each connection: a hook asks for a token before each CONNECT. The embedded
//! broker is killed and started again in the middle, and the client comes back with the next token.
//!
//! ```text
//! cargo run --example token_refresh
//! ```
//!
//! `martlet` is the adapter of your runtime: `use martlet_tokio as martlet;`.
#![allow(clippy::print_stdout)]

use crate::martlet::{
    self, Client, QoS,
    hooks::{Attempt, GivenUp},
};
use martlet_tests::server::{Setup, TestServer};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Stands for the service that issues tokens, somewhere on the network.
#[derive(Debug, Clone, Default)]
struct Tokens(Arc<AtomicU32>);

impl Tokens {
    async fn issue(&self) -> Result<String, std::io::Error> {
        Ok(format!(
            "token-{}",
            1 + self.0.fetch_add(1, Ordering::Relaxed)
        ))
    }
}

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let broker = TestServer::start(Setup::tcp()).await;
    let tokens = Tokens::default();

    let service = tokens.clone();
    let builder = Client::builder(broker.uri()).before_connect(move |mut attempt: Attempt| {
        let service = service.clone();
        async move {
            // No token this time: another attempt may get one. `for_good` would end the client
            // instead.
            let token = service.issue().await.map_err(GivenUp::for_now)?;
            let why = attempt
                .last_error()
                .map_or_else(|| "the first".to_owned(), ToString::to_string);
            println!("attempt {} with {token} ({why})", attempt.number());
            attempt.set_credentials("device-7", token)?;
            Ok(attempt)
        }
    });
    let client = martlet::connect_with(builder).await?;
    client
        .publish("devices/7", "hello")
        .qos(QoS::AtLeastOnce)
        .await?;

    broker.cut().await;
    // Waits for the server's answer, through the reconnect.
    client
        .publish("devices/7", "back again")
        .qos(QoS::AtLeastOnce)
        .await?;
    client.disconnect().await;
    println!("{} tokens were issued", tokens.0.load(Ordering::Relaxed));
    Ok(())
}
