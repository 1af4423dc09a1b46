//! Acknowledging when the work is done, on tokio: `cargo run --example manual_acknowledgement` runs
//! `examples/manual_acknowledgement.rs`.

#[path = "../../examples/manual_acknowledgement.rs"]
mod manual_acknowledgement;

use martlet_tokio as martlet;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    manual_acknowledgement::run().await
}
