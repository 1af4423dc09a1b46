//! A client says in the log what happens to it, by `log` or by `tracing`: in a binary of its own,
//! since a process has one logger.
#![allow(clippy::unwrap_used, reason = "a test may")]

use martlet_broker::BrokerConfig;
use martlet_broker::tokio::Server;
use martlet_client::client::{BatchError, OutgoingPublish};
use martlet_client::{Client, QoS, Reconnect, TopicName};
use std::sync::Mutex;
use std::time::Duration;

/// What was written, as `LEVEL target text`.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn written(line: String) {
    LINES.lock().unwrap().push(line);
}

fn lines() -> Vec<String> {
    LINES.lock().unwrap().clone()
}

#[cfg(not(feature = "tracing"))]
mod logger {
    struct Logger;

    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let (level, target) = (record.level(), record.target());
            if target.starts_with("martlet") {
                super::written(format!("{level} {target} {}", record.args()));
            }
        }

        fn flush(&self) {}
    }

    pub(crate) fn install() {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    }
}

#[cfg(feature = "tracing")]
mod logger {
    use std::fmt::{Debug, Write};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    struct Collector;

    #[derive(Default)]
    struct Fields {
        client: String,
        event: String,
        message: String,
    }

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                write!(self.message, "{value:?}").unwrap();
            }
        }

        fn record_str(&mut self, field: &Field, value: &str) {
            match field.name() {
                "client" => self.client = value.to_owned(),
                "event" => self.event = value.to_owned(),
                _ => {}
            }
        }
    }

    /// All fields of a span.
    #[derive(Default)]
    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0, " {}={value:?}", field.name()).unwrap();
        }
    }

    impl Subscriber for Collector {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("martlet")
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut fields = Text::default();
            span.record(&mut fields);
            let (level, name) = (span.metadata().level(), span.metadata().name());
            let target = span.metadata().target();
            super::written(format!("{level} {target} span {name}{}", fields.0));
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, record: &Record<'_>) {
            let mut fields = Text::default();
            record.record(&mut fields);
            super::written(format!("record{}", fields.0));
        }

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let (level, target) = (event.metadata().level(), event.metadata().target());
            let Fields {
                client,
                event,
                message,
            } = fields;
            if target == "martlet::packets" {
                return super::written(format!("{level} {target} {message}"));
            }
            // The name is a word of the text or of what it means; it never is empty.
            assert!(!event.is_empty());
            super::written(format!("{level} {target} {client}: {message}"));
        }

        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    pub(crate) fn install() {
        tracing::subscriber::set_global_default(Collector).unwrap();
    }
}

/// Three messages at once.
async fn publish_all(client: &Client) -> Result<(), BatchError> {
    let topic = TopicName::from_static("b").unwrap();
    let message = || OutgoingPublish::new(topic.clone(), "secret").qos(QoS::AtLeastOnce);
    client.publish_all([message(), message(), message()]).await
}

#[tokio::test]
async fn a_client_whose_server_is_away_is_not_silent() {
    logger::install();
    let mut server = Server::start(BrokerConfig::default()).await.unwrap();
    let uri = server.uri().replace("://", "://someone:secret@");
    let policy = Reconnect::default()
        .retry_first(true)
        .initial(Duration::from_millis(1))
        .max(Duration::from_millis(1));
    let builder = Client::builder(uri.as_str())
        .client_identifier("meter-7")
        .reconnect(policy)
        .dial_timeout(Duration::from_secs(30));
    let client = martlet_tokio::connect_with(builder).await.unwrap();
    let mut messages = client.subscribe("a").await.unwrap();
    client.publish("a", "secret").await.unwrap();
    messages.next().await.unwrap();
    drop(messages);
    publish_all(&client).await.unwrap();
    server.kill(martlet_broker::Memory::Lost).await;
    let mut states = client.state_changes();
    while !matches!(
        states.next().await,
        Some(martlet_client::ConnectionState::Disconnected { .. })
    ) {}
    server.revive().await.unwrap();
    client.connected().await.unwrap();
    client.disconnect().await;
    publish_all(&client).await.unwrap_err();
    let lines = lines();
    let kinds = [
        #[cfg(feature = "tracing")]
        "INFO martlet span connect messaging.system=\"mqtt\" messaging.client.id=\"meter-7\"",
        "DEBUG martlet meter-7: connecting to mqtt://127.0.0.1:",
        "DEBUG martlet::packets meter-7 -out-> CONNECT MQTT 5 id \"meter-7\"",
        "DEBUG martlet::packets meter-7 <-in-- CONNACK success",
        #[cfg(feature = "tracing")]
        "INFO martlet span connection messaging.system=\"mqtt\"",
        "INFO martlet meter-7: connected with MQTT 5",
        #[cfg(feature = "tracing")]
        "DEBUG martlet::messages span publish otel.kind=\"producer\"",
        "DEBUG martlet::packets meter-7 -out-> PUBLISH QoS 0 \"a\" [6 bytes]",
        #[cfg(feature = "tracing")]
        "DEBUG martlet::messages span deliver otel.kind=\"consumer\"",
        #[cfg(feature = "tracing")]
        "DEBUG martlet::messages span publish_all otel.kind=\"producer\"",
        #[cfg(feature = "tracing")]
        "record messaging.batch.message_count=3",
        "INFO martlet meter-7: disconnected, next attempt in ",
        "INFO martlet meter-7: closed",
        #[cfg(feature = "tracing")]
        "DEBUG martlet::messages span publish_all otel.kind=\"producer\"",
        #[cfg(feature = "tracing")]
        "record messaging.batch.message_count=0",
        #[cfg(feature = "tracing")]
        "record mqtt.batch.failed_message=0",
        #[cfg(feature = "tracing")]
        "record error.type=\"closed\"",
    ];
    let mut at = 0;
    for kind in kinds {
        let found = lines[at..].iter().position(|line| line.starts_with(kind));
        at += found.unwrap_or_else(|| panic!("{kind:?} is not in {lines:#?}"));
    }
    // A batch has one span, and so has a single message.
    let spans = |name: &str| lines.iter().filter(|line| line.contains(name)).count();
    let expected = if cfg!(feature = "tracing") {
        (1, 2)
    } else {
        (0, 0)
    };
    assert_eq!(
        (spans("span publish "), spans("span publish_all ")),
        expected
    );
    let all = lines.join("\n");
    assert!(!all.contains("secret") && !all.contains("someone"), "{all}");
}
