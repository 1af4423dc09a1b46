//! A fresh token for each connection, on smol: `cargo run --example token_refresh_smol` runs
//! `examples/token_refresh.rs`.

#[path = "../../examples/token_refresh.rs"]
mod token_refresh;

use martlet_smol as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(token_refresh::run())
}
