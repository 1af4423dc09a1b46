//! A function of your own that handles messages, tested with messages made by hand: without a server or a client.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo test` runs the tests, and `cargo run -- mqtt://localhost` the program with your server.

#![allow(clippy::print_stdout)]

use martlet_tokio::proto::PubAckReasonCode;
use martlet_tokio::{Message, QoS, Unacknowledged};

/// The temperature of a reading.
fn degrees(message: &Message) -> Option<f64> {
    message.text()?.parse().ok()
}

/// Keeps a reading, or rejects what is none. Without room the message is dropped, so that the server sends it again on
/// the next connection.
fn record(message: Unacknowledged, readings: &mut Vec<f64>, room: usize) {
    match degrees(&message) {
        None => drop(message.reject(PubAckReasonCode::PayloadFormatInvalid)),
        Some(_) if readings.len() == room => drop(message),
        Some(reading) => {
            readings.push(reading);
            message.acknowledge();
        }
    }
}

pub(crate) async fn run(server: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = martlet_tokio::connect(server).await?;
    let messages = client.subscribe("meters/7").qos(QoS::AtLeastOnce).await?;
    let mut messages = messages.acknowledge_manually();
    for reading in ["21.5", "a lot", "22.5"] {
        let publish = client.publish("meters/7", reading);
        publish.qos(QoS::AtLeastOnce).await?;
    }
    let mut readings = Vec::new();
    for _ in 0..3 {
        let message = messages.next().await.ok_or("the client has stopped")?;
        record(message, &mut readings, 2);
    }
    println!("{readings:?}");
    client.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1);
    run(server.as_deref().unwrap_or("mqtt://localhost")).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_tokio::TopicName;

    fn message(payload: &str) -> Message {
        Message::new(&TopicName::new("meters/7").unwrap(), payload)
    }

    /// What becomes of a message: its acknowledgement, or `None` without one.
    fn outcome(payload: &str, readings: &mut Vec<f64>) -> Option<PubAckReasonCode> {
        let (sender, outcome) = std::sync::mpsc::channel();
        let report = move |reason| sender.send(reason).unwrap();
        let message = Unacknowledged::for_test(message(payload), report);
        record(message, readings, 1);
        outcome.recv().unwrap()
    }

    #[test]
    fn a_reading_is_a_number() {
        assert_eq!(degrees(&message("21.5")), Some(21.5));
        assert_eq!(degrees(&message("a lot")), None);
    }

    #[test]
    fn what_is_kept_is_acknowledged() {
        use PubAckReasonCode::{PayloadFormatInvalid, Success};
        let mut readings = Vec::new();
        assert_eq!(outcome("a lot", &mut readings), Some(PayloadFormatInvalid));
        assert_eq!(outcome("21.5", &mut readings), Some(Success));
        assert_eq!(outcome("22.5", &mut readings), None); // there is no room
    }
}
