//! Acknowledging when the work is done, on smol: `cargo run --example manual_acknowledgement_smol`
//! runs `examples/manual_acknowledgement.rs`.

#[path = "../../examples/manual_acknowledgement.rs"]
mod manual_acknowledgement;

use martlet_smol as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(manual_acknowledgement::run())
}
