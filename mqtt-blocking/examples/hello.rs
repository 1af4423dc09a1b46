//! A message there and back, without an async runtime.
//!
//! ```toml
//! [dependencies]
//! martlet-blocking = { path = "martlet/mqtt-blocking" } # a clone of the repository
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.
//!
//! What is different from the examples of `martlet-tokio`: `.wait()` in place of `.await`, `recv` or a `for` loop in
//! place of `next().await`, and the client disconnects when it is dropped. A thread of its own drives it, so that
//! reconnecting and keep alive go on while this one does something else.

#![allow(clippy::print_stdout)]

use martlet_blocking::{QoS, Wait};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args().nth(1);
    hello(uri.as_deref().unwrap_or("mqtt://localhost"))
}

pub(crate) fn hello(uri: &str) -> Result<(), Box<dyn Error>> {
    let client = martlet_blocking::connect(uri)?;
    let messages = client.subscribe("martlet/hello/blocking").wait()?;
    client
        .publish("martlet/hello/blocking", "hello from a thread")
        .qos(QoS::AtLeastOnce)
        .wait()?;
    for message in messages.take(1) {
        println!("{} => {:?}", message.topic(), message.text());
    }
    Ok(())
}
