//! A secret that goes every way that secrets go, and is looked for in all that is logged, at every
//! level, and shown.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]

use log::{LevelFilter, Log, Metadata, Record};
use martlet_broker::{BrokerConfig, ScriptedAuthentication};
use martlet_tests::canary::{CANARY, assert_hidden};
use martlet_tests::certificates::{Certificates, Directory};
use martlet_tests::server::{HttpProxy, Proxy, Setup, TestServer};
use martlet_tokio::settings::WillSettings;
use martlet_tokio::{
    Builder, Client, ConnectError, PacketLogger, QoS, Settings, Tokio,
    hooks::{Attempt, AuthMessage, Authenticator, GivenUp, HookFuture},
    proto::{BinaryData, Utf8String},
};
use std::cell::Cell;
use std::fmt::{Debug, Write};
use std::sync::Mutex;

/// All that was logged or shown.
static SHOWN: Mutex<String> = Mutex::new(String::new());

thread_local! {
    /// The servers of these tests log what they are sent. They have threads of their own, which are
    /// not the client's.
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

fn show(what: &dyn Debug) {
    writeln!(SHOWN.lock().unwrap(), "{what:?}\n{what:#?}").unwrap();
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        IS_CLIENT.get()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let (level, target) = (record.level(), record.target());
            writeln!(SHOWN.lock().unwrap(), "{level} {target} {}", record.args()).unwrap();
        }
    }

    fn flush(&self) {}
}

/// Shows all events, spans and their fields.
#[cfg(feature = "tracing")]
mod events {
    use super::{IS_CLIENT, SHOWN, Write};
    use std::fmt::Debug;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    #[derive(Default)]
    pub(crate) struct Everything(AtomicU64);

    struct Fields;

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            writeln!(SHOWN.lock().unwrap(), "  {field}={value:?}").unwrap();
        }
    }

    fn show(kind: &str, metadata: &Metadata<'_>) {
        let (level, target, name) = (metadata.level(), metadata.target(), metadata.name());
        writeln!(SHOWN.lock().unwrap(), "{kind} {level} {target} {name}").unwrap();
    }

    impl Subscriber for Everything {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            // Servers of these tests may have events, too.
            metadata.target().starts_with("martlet") || IS_CLIENT.get()
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            if IS_CLIENT.get() {
                show("span", span.metadata());
                span.record(&mut Fields);
            }
            Id::from_u64(1 + self.0.fetch_add(1, Ordering::Relaxed))
        }

        fn record(&self, _: &Id, values: &Record<'_>) {
            if IS_CLIENT.get() {
                values.record(&mut Fields);
            }
        }

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            if IS_CLIENT.get() {
                show("event", event.metadata());
                event.record(&mut Fields);
            }
        }

        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
}

/// Shows all names and labels of metrics.
#[cfg(feature = "metrics")]
mod figures {
    use super::show;
    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    pub(crate) struct Names;

    impl Recorder for Names {
        fn describe_counter(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
            show(&(name, text));
        }

        fn describe_gauge(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
            show(&(name, text));
        }

        fn describe_histogram(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
            show(&(name, text));
        }

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            show(key);
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            show(key);
            Gauge::noop()
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            show(key);
            Histogram::noop()
        }
    }
}

/// Connects, does something, and shows what can be shown.
async fn live(builder: Builder, payload: &'static str) {
    show(&builder);
    let observer = PacketLogger::new("it", |line| log::trace!("{line}"));
    let (client, driver) = builder.observer(observer).build(Tokio).unwrap();
    show(&driver);
    let mut events = client.events();
    let driver = tokio::spawn(driver);
    show(&client.connected().await.unwrap());
    let mut messages = client.subscribe("a").qos(QoS::AtLeastOnce).await.unwrap();
    client
        .publish("a", payload)
        .qos(QoS::AtLeastOnce)
        .await
        .unwrap();
    let message = messages.next().await.unwrap();
    assert_eq!(message.text(), Some(payload));
    show(&client);
    show(&client.statistics());
    client.disconnect().await;
    show(&driver.await.unwrap());
    while let Some(event) = events.next().await {
        show(&event);
    }
}

/// The same of what does not get a connection.
async fn fail(settings: &Settings) -> ConnectError {
    let mut settings = settings.clone();
    settings.auto_reconnect = false;
    show(&settings);
    let builder = settings.builder().unwrap();
    let (client, driver) = builder.build(Tokio).unwrap();
    let mut events = client.events();
    tokio::spawn(driver);
    let error = client.connected().await.unwrap_err();
    log::trace!("{error}");
    show(&error);
    while let Some(event) = events.next().await {
        show(&event);
    }
    error
}

/// What it proves itself with is the secret.
#[derive(Clone)]
struct Prover;

impl Authenticator for Prover {
    fn method(&self) -> Utf8String {
        "QUIZ".try_into().unwrap()
    }

    fn begin(&mut self) -> HookFuture<Option<BinaryData>> {
        Box::pin(async { Ok(Some(secret())) })
    }

    fn answer(&mut self, challenge: AuthMessage) -> HookFuture<Option<BinaryData>> {
        show(&challenge);
        Box::pin(async { Ok(Some(secret())) })
    }
}

fn secret() -> BinaryData {
    BinaryData::try_from(CANARY.as_bytes()).unwrap()
}

/// Its will and its credentials are secret: a user name may be a token.
fn settings(uri: &str) -> Settings {
    let mut settings = Settings::default();
    settings.connection.uri = uri.into();
    settings.martlet.user_name = Some(CANARY.into());
    settings.martlet.password = Some(CANARY.into());
    settings.will = Some(WillSettings::new("t", CANARY));
    settings
}

/// A broker that lets the secret in.
fn broker() -> BrokerConfig {
    let config = BrokerConfig::default().with_user(CANARY, CANARY).unwrap();
    config.with_user("ann", CANARY).unwrap()
}

async fn proxy(password: &'static str) -> Proxy {
    Proxy::http(HttpProxy {
        user: Some(("ann", password)),
        ..HttpProxy::default()
    })
    .await
}

/// In the settings, in the URI's query, in a header, and as the password of a key and of a proxy, all
/// at once.
async fn a_secret_in_each_setting() {
    let (certificates, files) = (Certificates::shared(), Directory::new());
    let server = TestServer::start(Setup::mutual_tls().websocket().broker(broker())).await;
    let open = proxy(CANARY).await;
    let mut everywhere = settings(&format!("{}/mqtt?token={CANARY}", server.uri_by_name()));
    everywhere.martlet.headers = vec![("Authorization".into(), format!("Bearer {CANARY}").into())];
    everywhere.martlet.proxy = Some(format!("http://ann:{CANARY}@{}", open.address()).into());
    everywhere.martlet.key_password = Some(CANARY.into());
    everywhere.connection.cafile = Some(files.write("ca.pem", &certificates.authority.pem));
    everywhere.connection.certfile =
        Some(files.write("client.pem", &certificates.client.chain_pem));
    everywhere.connection.keyfile = Some(files.write("key.pem", &certificates.client.key_pem));
    show(&everywhere);
    log::trace!("{}", everywhere.to_yaml());
    // tungstenite logs what comes, messages among it.
    live(everywhere.builder().unwrap(), "no secret").await;
    assert_eq!(
        server.seen()[0].header("authorization"),
        Some(&*format!("Bearer {CANARY}"))
    );
    assert_eq!(open.targets().len(), 1);

    let locked = proxy("another").await;
    everywhere.martlet.proxy = Some(format!("http://ann:{CANARY}@{}", locked.address()).into());
    fail(&everywhere).await;
}

async fn a_secret_in_the_uri_and_from_a_hook() {
    let server = TestServer::start(Setup::tcp().broker(broker())).await;
    let in_uri = server.uri().replace("://", &format!("://ann:{CANARY}@"));
    live(Client::builder(&in_uri), CANARY).await;
    let hook = |mut attempt: Attempt| async move {
        attempt.set_credentials(CANARY, CANARY)?;
        attempt.set_header("Authorization", CANARY)?;
        show(&attempt);
        Ok(attempt)
    };
    live(Client::builder(server.uri()).before_connect(hook), CANARY).await;

    server.kill(martlet_broker::Memory::Lost).await;
    let mut nobody_there = Settings::default();
    nobody_there.connection.uri = in_uri.into();
    fail(&nobody_there).await;
}

async fn a_secret_that_enhanced_authentication_proves() {
    let secret = bytes::Bytes::from_static(CANARY.as_bytes());
    let steps = vec![(secret.clone(), secret.clone()), (secret.clone(), secret)];
    let authentication = ScriptedAuthentication::default()
        .method("QUIZ".try_into().unwrap())
        .steps(steps)
        .success(self::secret());
    let config = BrokerConfig::default().authentication(authentication);
    let quiz = TestServer::start(Setup::tcp().broker(config)).await;
    live(Client::builder(quiz.uri()).authenticator(Prover), CANARY).await;
}

/// By the broker, and by the hook itself.
async fn a_secret_that_is_rejected() {
    let strict = BrokerConfig::default().with_user("ann", "another").unwrap();
    let rejecting = TestServer::start(Setup::tcp().broker(strict)).await;
    let error = fail(&settings(&rejecting.uri())).await;
    assert!(error.to_string().contains("rejected"), "{error}");
    let no_token = |_: Attempt| async { Err(GivenUp::for_good(std::io::Error::other("no token"))) };
    let builder = Client::builder(rejecting.uri()).before_connect(no_token);
    show(&martlet_tokio::connect_with(builder).await.unwrap_err());
}

#[tokio::test]
async fn no_secret_is_shown() {
    log::set_logger(&Logger).unwrap();
    log::set_max_level(LevelFilter::Trace);
    IS_CLIENT.set(true);
    #[cfg(feature = "tracing")]
    tracing::subscriber::set_global_default(events::Everything::default()).unwrap();
    #[cfg(feature = "metrics")]
    metrics::set_global_recorder(figures::Names).unwrap();
    a_secret_in_each_setting().await;
    a_secret_in_the_uri_and_from_a_hook().await;
    a_secret_that_enhanced_authentication_proves().await;
    a_secret_that_is_rejected().await;

    let shown = SHOWN.lock().unwrap();
    // This is how it would look.
    for seen in [
        #[cfg(feature = "tracing")]
        "span INFO martlet connection",
        #[cfg(feature = "tracing")]
        "span DEBUG martlet::messages publish",
        #[cfg(feature = "tracing")]
        "span DEBUG martlet::messages deliver",
        #[cfg(feature = "tracing")]
        "event DEBUG martlet::packets",
        #[cfg(not(feature = "tracing"))]
        "DEBUG martlet::packets",
        #[cfg(feature = "metrics")]
        "messaging.client.sent.messages",
        "TRACE tungstenite",
        "-out-> CONNECT",
        "<-in-- PUBLISH",
        "no token",
        "***",
    ] {
        assert!(shown.contains(seen), "{seen}: {shown}");
    }
    assert_hidden(&*shown);
}
