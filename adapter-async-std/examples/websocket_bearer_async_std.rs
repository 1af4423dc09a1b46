//! WebSocket with a bearer token, on async-std: `cargo run --example websocket_bearer_async_std`
//! runs `examples/websocket_bearer.rs`.

#[path = "../../examples/websocket_bearer.rs"]
mod websocket_bearer;

use martlet_async_std as martlet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(websocket_bearer::run())
}
