//! A client configured by YAML, on async-std: `cargo run --example from_yaml_async_std` runs
//! `examples/from_yaml.rs`.

#[path = "../../examples/from_yaml.rs"]
mod from_yaml;

use martlet_async_std as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(from_yaml::run())
}
