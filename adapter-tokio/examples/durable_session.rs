//! A session that outlives the process: a file keeps the messages that were enqueued, and the server keeps the
//! subscriptions and what comes for them.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio", features = ["redb"] } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtt://localhost session.redb` runs it with your server. Run it twice: first while no server runs,
//! then while one does. The second process delivers what the first one has enqueued.

#![allow(clippy::print_stdout)]

use martlet_tokio::{Client, ClientEvent, QoS, Reconnect, Tokio, store::RedbStore};
use std::path::Path;
use std::time::Duration;

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long this example waits for the server, and for commands.
const WAIT: Duration = Duration::from_secs(1);

pub(crate) async fn run(server: &str, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let store = RedbStore::open(file)?;
    let builder = Client::builder(server)
        .lasting_session("meter-7", WEEK)
        .reconnect(Reconnect::default().retry_first(true)) // there may be no server at first
        .subscriptions([("commands/meter-7", QoS::AtLeastOnce)]);
    let (client, driver) = builder.store(store).build(Tokio)?;
    let mut events = client.events(); // before the driver runs: it first reports what was in the file
    let mut commands = client
        .unmatched()
        .ok_or("the stream of unmatched messages is taken")?;
    tokio::spawn(driver);
    let reports = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                ClientEvent::Restored { unacknowledged, .. } => {
                    println!("{} messages of an earlier process", unacknowledged.len());
                }
                ClientEvent::Published { operation, result } => {
                    println!("of an earlier process: {}: {result:?}", operation.get());
                }
                _ => {}
            }
        }
    });

    for reading in ["21.5", "21.6", "21.7"] {
        let publish = client.publish("meters/7", reading).qos(QoS::AtLeastOnce);
        let _receipt = publish.enqueue().await?; // stored: it survives a crash from here on
    }
    println!("3 messages are stored");

    // With a server: the commands that came for the session while no process ran, and those that come now.
    while let Ok(Some(command)) = commands.next_timeout(WAIT).await {
        println!("command: {:?}", command.text());
    }
    let left = client.disconnect().drain(WAIT).await;
    reports.await?; // the events end when the client has disconnected
    println!(
        "{} messages are for the next process",
        left.queued + left.in_flight
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next();
    let file = arguments.next();
    run(
        server.as_deref().unwrap_or("mqtt://localhost"),
        Path::new(file.as_deref().unwrap_or("session.redb")),
    )
    .await
}
