//! The quickstart, on smol: `cargo run --example quickstart_smol` runs `examples/quickstart.rs`.

#[path = "../../examples/quickstart.rs"]
mod quickstart;

use martlet_smol as martlet;
use std::process::ExitCode;

fn main() -> ExitCode {
    smol::block_on(quickstart::run())
}
