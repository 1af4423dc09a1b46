//! WebSocket with a bearer token in a header of its HTTP request.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `TOKEN=... cargo run -- wss://broker.example/mqtt` runs it with your server.

#![allow(clippy::print_stdout)]

use martlet_tokio::{Client, QoS};

pub(crate) async fn run(server: &str, token: &str) -> Result<(), Box<dyn std::error::Error>> {
    // The same header for each attempt. For a token that expires see the example `token_refresh`:
    // its hook sets headers, too.
    let builder = Client::builder(server).header("Authorization", &format!("Bearer {token}"));
    let client = martlet_tokio::connect_with(builder).await?;
    println!("connected to {server}");

    let mut messages = client.subscribe("martlet/hello").await?;
    client
        .publish("martlet/hello", "hello over WebSocket")
        .qos(QoS::AtLeastOnce)
        .await?;
    if let Some(message) = messages.next().await {
        println!("{} => {:?}", message.topic(), message.text());
    }
    client.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1);
    // Not an argument: the arguments of a process can be read by other users of the machine.
    let token = std::env::var("TOKEN").map_err(|error| format!("TOKEN: {error}"))?;
    run(server.as_deref().unwrap_or("ws://localhost/mqtt"), &token).await
}
