//! WebSocket with a bearer token, on tokio: `cargo run --example websocket_bearer` runs
//! `examples/websocket_bearer.rs`.

#[path = "../../examples/websocket_bearer.rs"]
mod websocket_bearer;

use martlet_tokio as martlet;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    websocket_bearer::run().await
}
