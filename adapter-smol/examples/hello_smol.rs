//! A message there and back, on smol.
//!
//! ```toml
//! [dependencies]
//! martlet-smol = "0.1"
//! smol = "2"
//! ```
//!
//! Run it with the URI of a server: `cargo run -- mqtt://127.0.0.1:1883`. What differs from tokio:
//! the client works on smol's global executor, whose threads smol starts by itself
//! (`SMOL_THREADS`). On an executor of your own, `Client::builder(uri).build(Smol)` gives the
//! client and its driver, which you spawn there.

#![allow(clippy::print_stdout)]

use martlet_smol::QoS;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args().nth(1);
    smol::block_on(hello(uri.as_deref().unwrap_or("mqtt://127.0.0.1:1883")))
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
