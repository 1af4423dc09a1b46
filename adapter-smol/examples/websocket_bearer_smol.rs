//! WebSocket with a bearer token, on smol: `cargo run --example websocket_bearer_smol` runs
//! `examples/websocket_bearer.rs`.

#[path = "../../examples/websocket_bearer.rs"]
mod websocket_bearer;

use martlet_smol as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(websocket_bearer::run())
}
