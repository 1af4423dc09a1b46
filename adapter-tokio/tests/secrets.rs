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
    a_secret_in_each_setting().await;
    a_secret_in_the_uri_and_from_a_hook().await;
    a_secret_that_enhanced_authentication_proves().await;
    a_secret_that_is_rejected().await;

    let shown = SHOWN.lock().unwrap();
    // This is how it would look.
    for seen in [
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
