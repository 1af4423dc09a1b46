//! Acknowledging when the work is done, on async-std:
//! `cargo run --example manual_acknowledgement_async_std` runs
//! `examples/manual_acknowledgement.rs`.

#[path = "../../examples/manual_acknowledgement.rs"]
mod manual_acknowledgement;

use martlet_async_std as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(manual_acknowledgement::run())
}
