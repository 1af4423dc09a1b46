//! A client configured by YAML, on tokio: `cargo run --example from_yaml` runs
//! `examples/from_yaml.rs`.

#[path = "../../examples/from_yaml.rs"]
mod from_yaml;

use martlet_tokio as martlet;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    from_yaml::run().await
}
