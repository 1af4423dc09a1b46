//! Several servers: the client tries one after the other, and goes on with the next one when a connection is lost.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtt://one.example mqtt://two.example` runs it with your servers. Stop the one that it is connected
//! to: it ends when it has connected to another one.

#![allow(clippy::print_stdout)]

use martlet_tokio::{Client, ConnectionState, Error, QoS, hooks::Attempt};

pub(crate) async fn run(server: &str, others: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Client::builder(server);
    for other in others {
        builder = builder.server(other);
    }
    // The hook is here to show what is tried.
    let builder = builder.before_connect(|attempt: Attempt| async move {
        println!("attempt at {}", attempt.endpoint());
        Ok(attempt)
    });
    let client = martlet_tokio::connect_with(builder).await?;

    let mut states = client.state_changes();
    let mut connections = 0;
    while connections < 2 {
        match states.next().await {
            Some(ConnectionState::Connected(_)) => {
                connections += 1;
                println!("connected");
                // At QoS 1 and 2 it arrives, whichever server that takes.
                let publish = client.publish("devices/7/state", "on");
                publish.qos(QoS::AtLeastOnce).await?;
            }
            Some(ConnectionState::Disconnected { reason, retry_in }) => {
                println!("{:#}; again in {retry_in:?}", Error::from(reason));
            }
            Some(_) => {}
            None => break, // the client has stopped
        }
    }
    client.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut servers = std::env::args().skip(1);
    let server = servers.next();
    let others: Vec<String> = servers.collect();
    run(server.as_deref().unwrap_or("mqtt://localhost"), &others).await
}
