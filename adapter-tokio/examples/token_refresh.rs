//! A fresh token for each connection, on tokio: `cargo run --example token_refresh` runs
//! `examples/token_refresh.rs`.

#[path = "../../examples/token_refresh.rs"]
mod token_refresh;

use martlet_tokio as martlet;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    token_refresh::run().await
}
