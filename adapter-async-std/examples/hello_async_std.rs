//! A message there and back, on async-std.
//!
//! ```toml
//! [dependencies]
//! martlet-async-std = { path = "martlet/adapter-async-std" } # a clone of the repository
//! async-std = "1"
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.
//!
//! What is different from the examples of `martlet-tokio`, whose code works here, too: the name of the crate, a
//! `block_on` in `main` in place of `#[tokio::main]`, and where they name the runtime, `AsyncStd` and
//! `async_std::task::spawn`. The client works on async-std's global executor. async-std is no longer developed: for a
//! new program take `martlet-smol`.

#![allow(clippy::print_stdout)]

use martlet_async_std::QoS;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args().nth(1);
    async_std::task::block_on(hello(uri.as_deref().unwrap_or("mqtt://localhost")))
}

async fn hello(uri: &str) -> Result<(), Box<dyn Error>> {
    let client = martlet_async_std::connect(uri).await?;
    let mut messages = client.subscribe("martlet/hello/async-std").await?;
    client
        .publish("martlet/hello/async-std", "hello from async-std")
        .qos(QoS::AtLeastOnce)
        .await?;
    if let Some(message) = messages.next().await {
        println!("{} => {:?}", message.topic(), message.text());
    }
    client.disconnect().await;
    Ok(())
}
