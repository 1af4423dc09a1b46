//! What happens to a client as events and spans of `tracing`, its packets among them.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio", features = ["tracing"] } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! tracing = "0.1"
//! tracing-subscriber = { version = "0.3", default-features = false, features = ["fmt"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.

use martlet_tokio::{Client, QoS};
use std::error::Error;
use tracing::{Instrument, Level, info};
use tracing_subscriber::fmt::format::FmtSpan;

/// One line for each event, and one for each span when it ends; without the time, so that two runs
/// can be compared.
pub(crate) fn install(max_level: Level) {
    tracing_subscriber::fmt()
        .with_max_level(max_level)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .without_time()
        .init();
}

/// Publishes a reading and takes it.
pub(crate) async fn run(uri: &str) -> Result<(), Box<dyn Error>> {
    let builder = Client::builder(uri).client_identifier("meter-7");
    let client = martlet_tokio::connect_with(builder).await?;
    let mut readings = client
        .subscribe("sensors/+/temp")
        .qos(QoS::AtLeastOnce)
        .await?;
    client
        .publish("sensors/1/temp", "21.5")
        .qos(QoS::AtLeastOnce)
        .await?;
    if let Some(reading) = readings.next().await {
        // What is done with a message belongs to its delivery.
        let span = readings.span().clone();
        async { info!(degrees = reading.text(), "stored") }
            .instrument(span)
            .await;
    }
    client.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args()
        .nth(1)
        .ok_or("usage: tracing <uri of the server>")?;
    install(Level::DEBUG);
    run(&uri).await
}
