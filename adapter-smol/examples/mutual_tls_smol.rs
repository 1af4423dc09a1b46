//! TLS both ways, on smol: `cargo run --example mutual_tls_smol` runs `examples/mutual_tls.rs`.

#[path = "../../examples/mutual_tls.rs"]
mod mutual_tls;

use martlet_smol as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(mutual_tls::run())
}
