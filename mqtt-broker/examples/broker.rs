//! Runs the broker until Ctrl-C:
//! `cargo run -p martlet-broker --features tokio --example broker -- 127.0.0.1:1883`. Without an
//! address it takes a free port of 127.0.0.1.
#![allow(clippy::print_stdout)]

use martlet_broker::BrokerConfig;
use martlet_broker::tokio::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".into());
    let server = Server::bind(address.parse()?, BrokerConfig::default()).await?;
    println!("{}", server.uri());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
