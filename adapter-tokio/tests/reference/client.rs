//! A client, as the tests need it.

use martlet_tokio::{Client, ConnectError, Settings, Subscription, connect_with};
use std::time::Duration;

/// Long enough for anything that should happen, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The file that amqtt comes with (`amqtt/scripts/default_client.yaml`), unchanged. It says nothing
/// of a version.
const FILE: &str = "---
keep_alive: 10
ping_delay: 1
default_qos: 0
default_retain: false
auto_reconnect: true
cleansession: true
reconnect_max_interval: 10
reconnect_retries: 2
connection:
  uri: \"mqtt://127.0.0.1\"
plugins:
  amqtt.plugins.logging_amqtt.PacketLoggerPlugin:
";

/// The settings of that file, for a client that connects to this server, as amqtt's `connect(uri)`
/// does.
pub(crate) fn settings(uri: impl Into<String>) -> Settings {
    let mut settings = Settings::from_yaml(FILE).unwrap();
    settings.connection.uri = uri.into().into();
    settings
}

pub(crate) async fn try_connect(settings: &Settings) -> Result<Client, ConnectError> {
    connect_with(settings.builder()?).await
}

pub(crate) async fn connect(settings: &Settings) -> Client {
    try_connect(settings).await.unwrap()
}

/// The topic, the text and the QoS of the next message.
pub(crate) async fn next(messages: &mut Subscription) -> (String, String, u8) {
    let message = messages
        .next_timeout(PATIENCE)
        .await
        .expect("a message")
        .expect("the client goes on");
    (
        message.topic().to_owned(),
        message.text().unwrap().to_owned(),
        message.qos().as_u8(),
    )
}

pub(crate) fn message(topic: &str, text: &str, qos: u8) -> (String, String, u8) {
    (topic.to_owned(), text.to_owned(), qos)
}

/// Those of a client that keeps its session, and tries again at once.
pub(crate) fn lasting(uri: impl Into<String>) -> Settings {
    let mut settings = settings(uri);
    settings.cleansession = false;
    settings.reconnect_max_interval = Duration::from_millis(1);
    settings.martlet.client_identifier = Some("lasting".to_owned());
    settings
}
