//! A message there and back, on async-std.
//!
//! ```toml
//! [dependencies]
//! martlet-async-std = "0.1"
//! async-std = "1"
//! ```
//!
//! Run it with the URI of a server: `cargo run -- mqtt://127.0.0.1:1883`. async-std is no
//! longer developed: for a new program take `martlet-smol`.

#![allow(clippy::print_stdout)]

use martlet_async_std::QoS;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args().nth(1);
    async_std::task::block_on(hello(uri.as_deref().unwrap_or("mqtt://127.0.0.1:1883")))
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
