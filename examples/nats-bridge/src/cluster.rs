//! The NATS cluster: its streams, and storing a message in one.

use crate::Error;
use async_nats::ConnectOptions;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{Context, ContextBuilder};
use std::time::Duration;

/// The stream of what comes from MQTT.
pub const PLANT: &str = "PLANT";
/// The stream of what goes to MQTT.
pub const COMMANDS: &str = "COMMANDS";

/// How many nodes have each message: one of three may be away.
const REPLICAS: usize = 3;
/// How long JetStream drops a message whose id it has seen. A bridge that is away for longer than this may store
/// again what it had stored before.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(60 * 60);
/// How long JetStream has to confirm a message before it is published again.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the bridge waits before it tries again, while the cluster has no leader.
pub(crate) const RETRY: Duration = Duration::from_millis(200);
/// How often it tries at the start.
const START_ATTEMPTS: usize = 150;

/// Connects to any of the nodes, and to another one when that is lost.
///
/// # Errors
/// When an address is wrong.
pub async fn connect(addresses: &[String]) -> Result<Context, Error> {
    let client = ConnectOptions::new()
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(|_| RETRY)
        .connect(addresses)
        .await?;
    Ok(ContextBuilder::new()
        .ack_timeout(CONFIRMATION_TIMEOUT)
        .timeout(CONFIRMATION_TIMEOUT)
        .build(client))
}

/// Tries what needs a leader of the cluster until it works: after the death of a node there is none for a while.
///
/// # Errors
/// The last one, after 30 s or more.
pub async fn at_start<T>(
    what: &str,
    attempt: impl AsyncFn() -> Result<T, Error>,
) -> Result<T, Error> {
    for _ in 1..START_ATTEMPTS {
        match attempt().await {
            Ok(result) => return Ok(result),
            Err(error) => eprintln!("{what}: {error}; again in {RETRY:?}"),
        }
        tokio::time::sleep(RETRY).await;
    }
    attempt().await
}

/// The stream of this name, with all subjects of the same name in small letters; made if it is not there.
///
/// # Errors
/// When the cluster does not make it.
pub async fn stream(jetstream: &Context, name: &str) -> Result<Stream, Error> {
    let config = Config {
        name: name.to_owned(),
        subjects: vec![format!("{}.>", name.to_lowercase())],
        num_replicas: REPLICAS,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    };
    at_start(name, async || {
        Ok(jetstream.get_or_create_stream(config.clone()).await?)
    })
    .await
}

/// Publishes until JetStream confirms that the message is stored. The message needs an id: a confirmation can get lost,
/// and the message is in the stream all the same.
pub async fn store(jetstream: &Context, subject: &str, message: &PublishMessage) -> PublishAck {
    let mut is_first = true;
    loop {
        let published = jetstream.send_publish(subject.to_owned(), message.clone());
        let confirmed = match published.await {
            Ok(confirmation) => confirmation.await,
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(confirmed) => return confirmed,
            Err(error) if is_first => eprintln!("{subject}: {error}; again every {RETRY:?}"),
            Err(_) => {}
        }
        is_first = false;
        tokio::time::sleep(RETRY).await;
    }
}
