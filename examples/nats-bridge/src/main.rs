//! One bridge process: `nats-bridge IDENTIFIER MQTT NATS…`, such as
//! `nats-bridge bridge-1 mqtt://localhost nats://one:4222 nats://two:4222 nats://three:4222`.

use martlet_tokio::{Client, Reconnect};
use nats_bridge::{Error, cluster, to_jetstream, to_mqtt};
use std::time::Duration;

/// How long the MQTT server keeps what comes while this process is away.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What fits into a message of NATS, 1 MiB by default, with its headers.
const LARGEST: u32 = 1_000_000;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [identifier, mqtt, nats @ ..] = arguments.as_slice() else {
        return Err("usage: nats-bridge IDENTIFIER MQTT NATS…".into());
    };
    let jetstream = cluster::connect(nats).await?;
    // Before the MQTT connection, since it may take a while: what the server sends with the connection waits 10 s for
    // its subscription.
    cluster::stream(&jetstream, cluster::PLANT).await?;
    let commands = to_mqtt::consumer(&jetstream).await?;
    // The same identifier after a restart: the MQTT server goes on with the session, and sends again what is not
    // acknowledged in it.
    let builder = Client::builder(mqtt.as_str())
        .lasting_session(identifier.as_str(), DAY)
        .maximum_packet_size(LARGEST)
        .reconnect(
            Reconnect::default()
                .retry_first(true)
                .max(Duration::from_secs(5)),
        );
    let client = martlet_tokio::connect_with(builder).await?;
    tokio::select! {
        result = to_jetstream::run(&client, &jetstream) => result?,
        () = to_mqtt::run(&client, &commands) => {},
        asked = tokio::signal::ctrl_c() => asked?,
    }
    client.disconnect().await;
    Ok(())
}
