//! Several servers, on tokio: `cargo run --example several_servers` runs
//! `examples/several_servers.rs`.

#[path = "../../examples/several_servers.rs"]
mod several_servers;

use martlet_tokio as martlet;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    several_servers::run().await
}
