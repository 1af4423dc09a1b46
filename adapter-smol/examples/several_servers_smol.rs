//! Several servers, on smol: `cargo run --example several_servers_smol` runs
//! `examples/several_servers.rs`.

#[path = "../../examples/several_servers.rs"]
mod several_servers;

use martlet_smol as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(several_servers::run())
}
