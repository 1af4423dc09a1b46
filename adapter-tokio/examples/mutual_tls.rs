//! TLS both ways, on tokio: `cargo run --example mutual_tls` runs `examples/mutual_tls.rs`.

#[path = "../../examples/mutual_tls.rs"]
mod mutual_tls;

use martlet_tokio as martlet;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    mutual_tls::run().await
}
