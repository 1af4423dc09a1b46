//! The main job in one file: subscribe and print, publish at QoS 0, 1 and 2, in sequence and then concurrently.
//!
//! ```text
//! cargo run --example quickstart                            # against the embedded broker
//! cargo run --example quickstart -- mqtt://127.0.0.1:1883   # against yours; mqtts, ws, wss and mqtt+unix work too
//! ```
//!
//! `martlet` is the adapter of your runtime: `use martlet_tokio as martlet;`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use crate::martlet::{self, Client, Endpoint, PacketLogger, QoS};
use martlet_tests::server::{Setup, TestServer};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// How many messages of the server's statistics to print.
const STATISTICS: usize = 5;
/// How long to wait for each.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is published.
const MESSAGES: [(&str, QoS); 3] = [
    ("TEST MESSAGE WITH QOS_0", QoS::AtMostOnce),
    ("TEST MESSAGE WITH QOS_1", QoS::AtLeastOnce),
    ("TEST MESSAGE WITH QOS_2", QoS::ExactlyOnce),
];

pub(crate) async fn run() -> ExitCode {
    match quickstart().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // An error says all that led to it.
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn quickstart() -> Result<(), Box<dyn Error>> {
    let (uri, broker) = match std::env::args().nth(1) {
        Some(uri) => (uri, None),
        None => {
            let config = martlet_broker::Config {
                sys_interval: Duration::from_secs(1),
                ..martlet_broker::Config::default()
            };
            let broker = TestServer::start(Setup::tcp().broker(config)).await;
            (broker.uri(), Some(broker))
        }
    };
    // Not the argument, which may hold a password.
    let endpoint: Endpoint = uri.parse()?;
    println!("broker: {endpoint}{}", if broker.is_some() { ", embedded" } else { "" });
    subscribe(&uri).await?;
    publish(&uri).await
}

/// Prints what the server tells about itself.
async fn subscribe(uri: &str) -> Result<(), Box<dyn Error>> {
    println!("\n== subscriber: $SYS/broker/uptime at QoS 1, $SYS/broker/load/# at QoS 2");
    let client = martlet::connect(uri).await?;
    let filters = [("$SYS/broker/uptime", QoS::AtLeastOnce), ("$SYS/broker/load/#", QoS::ExactlyOnce)];
    let mut statistics = client.subscribe_all(filters).await?;
    println!("granted: {}, {}", statistics.reasons()[0], statistics.reasons()[1]);
    for n in 1..=STATISTICS {
        match statistics.next_timeout(PATIENCE).await {
            Ok(Some(message)) => {
                let text = message.text().unwrap_or("(binary)");
                println!("{n}: {} => {text} ({})", message.topic(), message.qos());
            }
            Ok(None) => break,
            Err(none) => {
                println!("{none}: this broker has no $SYS topics, or tells them seldom; going on");
                break;
            }
        }
    }
    statistics.unsubscribe().await?;
    client.disconnect().await;
    Ok(())
}

/// Publishes, and prints each packet that leaves and comes.
async fn publish(uri: &str) -> Result<(), Box<dyn Error>> {
    println!("\n== publisher: a/b at QoS 0, 1 and 2, one after the other");
    let packets = PacketLogger::new("publisher", |line| println!("{line}"));
    let client = martlet::connect_with(Client::builder(uri)?.observer(packets)).await?;
    for (payload, qos) in MESSAGES {
        // Ready when the server has settled it.
        client.publish("a/b", payload).qos(qos).await?;
    }
    client.flush().await?;

    println!("\n== publisher: the same, concurrently");
    let mut receipts = Vec::new();
    for (payload, qos) in MESSAGES {
        // Ready when there is room for it; the receipt is for the rest.
        receipts.push(client.publish("a/b", payload).qos(qos).enqueue().await?);
    }
    for receipt in receipts {
        println!("settled: {}", receipt.await?.reason);
    }
    client.disconnect().await;
    Ok(())
}
