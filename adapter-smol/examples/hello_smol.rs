//! A message there and back, on smol.
//!
//! ```toml
//! [dependencies]
//! martlet-smol = { path = "martlet/adapter-smol" } # a clone of the repository
//! smol = "2"
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.
//!
//! What is different from the examples of `martlet-tokio`, whose code works here, too: the name of the crate, a
//! `block_on` in `main` in place of `#[tokio::main]`, and where they name the runtime, `Smol` and `smol::spawn`. The
//! client works on smol's global executor, whose threads smol starts by itself (`SMOL_THREADS`). For an executor of your
//! own, `Client::builder(uri).build(Smol)` returns the client and its driver, which you spawn there.

#![allow(clippy::print_stdout)]

use martlet_smol::QoS;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args().nth(1);
    smol::block_on(hello(uri.as_deref().unwrap_or("mqtt://localhost")))
}

async fn hello(uri: &str) -> Result<(), Box<dyn Error>> {
    let client = martlet_smol::connect(uri).await?;
    let mut messages = client.subscribe("martlet/hello/smol").await?;
    client
        .publish("martlet/hello/smol", "hello from smol")
        .qos(QoS::AtLeastOnce)
        .await?;
    if let Some(message) = messages.next().await {
        println!("{} => {:?}", message.topic(), message.text());
    }
    client.disconnect().await;
    Ok(())
}
