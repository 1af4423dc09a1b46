//! The quickstart, on tokio: `cargo run --example quickstart` runs `examples/quickstart.rs`.

#[path = "../../examples/quickstart.rs"]
mod quickstart;

use martlet_tokio as martlet;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    quickstart::run().await
}
