//! A client configured by YAML, on smol: `cargo run --example from_yaml_smol` runs
//! `examples/from_yaml.rs`.

#[path = "../../examples/from_yaml.rs"]
mod from_yaml;

use martlet_smol as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(from_yaml::run())
}
