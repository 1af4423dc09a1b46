//! The quickstart, on async-std: `cargo run --example quickstart_async_std` runs `examples/quickstart.rs`.

#[path = "../../examples/quickstart.rs"]
mod quickstart;

use martlet_async_std as martlet;
use std::process::ExitCode;

fn main() -> ExitCode {
    async_std::task::block_on(quickstart::run())
}
