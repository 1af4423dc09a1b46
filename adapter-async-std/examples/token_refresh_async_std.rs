//! A fresh token for each connection, on async-std: `cargo run --example token_refresh_async_std`
//! runs `examples/token_refresh.rs`.

#[path = "../../examples/token_refresh.rs"]
mod token_refresh;

use martlet_async_std as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(token_refresh::run())
}
