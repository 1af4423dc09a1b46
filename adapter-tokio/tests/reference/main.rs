//! What the tests of the Python client amqtt hold, held here: each is named by what it says and numbered as in
//! `docs/migrating-from-amqtt.md`. What its client does wrong has a test of what is right, in `faults`.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing, its parts too")]

mod connect;
mod deliver;
mod faults;
mod flows;
mod peer;
mod publish;
mod settings;
mod subscribe;
mod transports;
mod will;

use martlet_broker::tokio::Server;
use martlet_broker::{Config, Event};
use martlet_tokio::{Client, ConnectError, Settings, Subscription, Version, connect_with};
use std::time::Duration;

/// Long enough for anything that should happen, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker that tells what happens to it.
async fn broker() -> Server {
    broker_with(Config::default()).await
}

async fn broker_with(config: Config) -> Server {
    Server::start(Config { record_events: true, ..config }).await.unwrap()
}

fn events(broker: &Server) -> Vec<Event> {
    broker.with_broker(|broker, _| std::iter::from_fn(|| broker.poll_event()).collect())
}

/// The settings of a client that speaks the reference's version.
fn settings(uri: impl Into<String>) -> Settings {
    let mut settings = Settings::default();
    settings.connection.uri = uri.into().into();
    settings.martlet.protocol_version = Some(Version::V3_1_1);
    settings
}

async fn try_connect(settings: &Settings) -> Result<Client, ConnectError> {
    connect_with(settings.builder()?).await
}

async fn connect(settings: &Settings) -> Client {
    try_connect(settings).await.unwrap()
}

/// The topic, the text and the QoS of the next message.
async fn next(messages: &mut Subscription) -> (String, String, u8) {
    let message = messages.next_timeout(PATIENCE).await.expect("a message").expect("the client goes on");
    (message.topic().to_owned(), message.text().unwrap().to_owned(), message.qos().as_u8())
}

fn message(topic: &str, text: &str, qos: u8) -> (String, String, u8) {
    (topic.to_owned(), text.to_owned(), qos)
}
