//! TLS both ways, on async-std: `cargo run --example mutual_tls_async_std` runs
//! `examples/mutual_tls.rs`.

#[path = "../../examples/mutual_tls.rs"]
mod mutual_tls;

use martlet_async_std as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(mutual_tls::run())
}
