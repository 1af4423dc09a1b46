//! A client configured by YAML, on async-std.
//!
//! ```text
//! cargo run --example from_yaml_async_std                          # against the embedded broker
//! cargo run --example from_yaml_async_std -- path/to/client.yaml   # against the broker that the file names
//! ```
#![allow(clippy::print_stdout)]

use martlet_async_std::Settings;
use std::error::Error;
use std::sync::mpsc;

fn main() -> Result<(), Box<dyn Error>> {
    let settings = match std::env::args().nth(1) {
        Some(file) => Settings::load(file)?,
        None => Settings::from_yaml(&format!(
            "connection: {{uri: '{}'}}\ntopics: {{martlet/hello: {{qos: 2}}}}",
            embedded_broker()?
        ))?,
    };
    async_std::task::block_on(hello(&settings))
}

async fn hello(settings: &Settings) -> Result<(), Box<dyn Error>> {
    let client = martlet_async_std::connect_with(settings.builder()?).await?;
    println!("connected to {}", settings.connection.uri);
    let mut messages = client.subscribe("martlet/hello").qos(martlet_async_std::QoS::ExactlyOnce).await?;
    // QoS and retain are those that the configuration has for this topic.
    client.publish("martlet/hello", "hello from async-std").await?;
    if let Some(message) = messages.next().await {
        println!(
            "received: {} => {} ({})",
            message.topic(),
            message.text().unwrap_or("(binary)"),
            message.qos()
        );
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
