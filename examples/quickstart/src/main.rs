//! Your own message, there and back: at QoS 0, 1 and 2, one after the other and all at once, with
//! every packet that is sent and received.
//!
//! ```text
//! cargo run -p quickstart                                     # against a broker of its own
//! cargo run -p quickstart -- mqtt://127.0.0.1:1883            # against yours
//! cargo run -p quickstart -- mqtt://127.0.0.1:1883 "my text"
//! ```
//!
//! `mqtts` and `wss` need `--features tls,websocket` before the `--`.

#![allow(clippy::print_stdout)]

use martlet_tokio::{Client, Endpoint, PacketLogger, QoS};
use std::error::Error;
use std::time::Duration;

/// How long a message may take to come back.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments.next();
    let text = arguments.next().unwrap_or_else(|| "hello, martlet".into());

    let (uri, broker) = match uri {
        Some(uri) => (uri, None),
        None => {
            let broker =
                martlet_broker::tokio::Server::start(martlet_broker::BrokerConfig::default())
                    .await?;
            (broker.uri(), Some(broker))
        }
    };
    // Not the argument, which may hold a password.
    let endpoint: Endpoint = uri.parse()?;
    let whose = if broker.is_some() {
        ", a broker of its own"
    } else {
        ""
    };
    println!("server: {endpoint}{whose}");

    let packets = PacketLogger::new("client", |line| println!("  {line}"));
    let client = martlet_tokio::connect_with(Client::builder(&uri).observer(packets)).await?;

    // A topic that nobody else uses: there may be other programs on your broker.
    let topic = format!("quickstart/{}", std::process::id());
    let mut messages = client.subscribe(&topic).qos(QoS::ExactlyOnce).await?;
    println!("subscribed to {topic}: {}", messages.reasons()[0]);

    println!("\n== one after the other");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        // Ready when the server has acknowledged it.
        client.publish(&topic, text.clone()).qos(qos).await?;
    }
    println!("\n== all at once");
    let mut receipts = Vec::new();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        // Ready when there is room for it; the receipt is for the rest.
        receipts.push(
            client
                .publish(&topic, text.clone())
                .qos(qos)
                .enqueue()
                .await?,
        );
    }
    for receipt in receipts {
        println!("acknowledged: {}", receipt.await?.reason);
    }

    println!("\n== and back");
    for n in 1..=6 {
        let Some(message) = messages.next_timeout(PATIENCE).await? else {
            break;
        };
        let text = message.text().unwrap_or("(binary)");
        println!("{n}: {} => {text} ({})", message.topic(), message.qos());
    }
    // Last: what was published leaves before the program ends.
    client.disconnect().await;
    Ok(())
}
