//! Subscribes, publishes at QoS 1, receives and disconnects, on smol.
//!
//! ```text
//! cargo run --example hello_smol                            # against the embedded broker
//! cargo run --example hello_smol -- mqtt://127.0.0.1:1883   # against yours; mqtts, ws, wss and mqtt+unix work too
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr)]

use martlet_smol::{Endpoint, QoS};
use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc;

fn main() -> ExitCode {
    let uri = std::env::args().nth(1).map_or_else(|| Ok(embedded_broker()?), Ok);
    match uri.and_then(|uri| smol::block_on(hello(&uri))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // An error says all that led to it.
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn hello(uri: &str) -> Result<(), Box<dyn Error>> {
    let client = martlet_smol::connect(uri).await?;
    // Not the argument, which may hold a password.
    println!("connected to {}", uri.parse::<Endpoint>()?);
    let mut messages = client.subscribe("martlet/hello").qos(QoS::AtLeastOnce).await?;
    let settled = client.publish("martlet/hello", "hello from smol").qos(QoS::AtLeastOnce).await?;
    println!("published: {}", settled.reason);
    if let Some(message) = messages.next().await {
        println!("received: {} => {}", message.topic(), message.text().unwrap_or("(binary)"));
    }
    client.disconnect().await;
    println!("disconnected");
    Ok(())
}

/// Starts the embedded broker, whose sockets are tokio's, on a thread of its own. It ends with the process.
fn embedded_broker() -> Result<String, mpsc::RecvError> {
    let (started, uri) = mpsc::channel();
    std::thread::spawn(move || -> std::io::Result<()> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let broker = martlet_broker::tokio::Server::start(martlet_broker::Config::default()).await?;
            let _ = started.send(broker.uri());
            std::future::pending().await
        })
    });
    uri.recv()
}
