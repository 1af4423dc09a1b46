//! Several servers, on async-std: `cargo run --example several_servers_async_std` runs
//! `examples/several_servers.rs`.

#[path = "../../examples/several_servers.rs"]
mod several_servers;

use martlet_async_std as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(several_servers::run())
}
