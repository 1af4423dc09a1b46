//! 4–9, 18, 19: TLS and WebSocket, as the configuration has them.

use super::{PATIENCE, connect, message, next, settings, try_connect};
use martlet_broker::BrokerConfig;
use martlet_tests::certificates::{Certificates, Directory};
use martlet_tests::server::{Fault, FaultEnd, Level, Setup, TestServer};
use martlet_tokio::settings::Secret;
use martlet_tokio::{
    Client, ClientEvent, ConnectError, ConnectionError, Endpoint, Events, QoS, Settings,
    client::NoMessage,
    connect_with,
    hooks::{Attempt, GivenUp},
    proto::SubAckReasonCode,
};
use std::future::{Ready, ready};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Trusts who signed the server's certificate.
fn trusting(uri: String, directory: &Directory) -> Settings {
    let mut settings = settings(uri);
    let authority = directory.write("ca.pem", &Certificates::shared().authority.pem);
    settings.connection.cafile = Some(authority);
    settings
}

/// Publishes to itself.
async fn works(client: &Client) {
    let mut messages = client.subscribe("a").qos(QoS::ExactlyOnce).await.unwrap();
    client
        .publish("a", "b")
        .qos(QoS::ExactlyOnce)
        .await
        .unwrap();
    assert_eq!(next(&mut messages).await, message("a", "b", 2));
}

async fn reconnected(events: &mut Events) {
    while !matches!(
        events.next().await.expect("the client goes on"),
        ClientEvent::Connected(_)
    ) {}
}

/// The certificate that amqtt's `conftest` makes, and the file of authorities that its tests give
/// is that certificate.
fn trusting_itself(uri: String, directory: &Directory) -> Settings {
    let mut settings = settings(uri);
    let certificate = directory.write("cert.pem", &Certificates::shared().by_tutorial.chain_pem);
    settings.connection.cafile = Some(certificate);
    settings
}

/// `MQTTClient(config={"check_hostname": False}).connect("mqtts://…", cafile=certificate)`.
#[tokio::test]
async fn t04_tls_with_the_servers_own_certificate_as_the_file_of_authorities() {
    let directory = Directory::new();
    let server = TestServer::start(Setup::tls_as(&Certificates::shared().by_tutorial)).await;
    let settings = trusting_itself(server.uri_by_name() + "/", &directory);
    works(
        &connect(&{
            let mut settings = settings;
            settings.check_hostname = false;
            settings
        })
        .await,
    )
    .await;
}

#[tokio::test]
async fn tls_with_a_file_of_authorities_and_another_host() {
    let directory = Directory::new();
    let server = TestServer::start(Setup::tls_as(&Certificates::shared().wrong_host)).await;
    let wrong_host = trusting(server.uri_by_name(), &directory);
    assert!(
        try_connect(&{
            let mut settings = wrong_host.clone();
            settings.auto_reconnect = false;
            settings
        })
        .await
        .is_err()
    );
    works(
        &connect(&{
            let mut settings = wrong_host;
            settings.check_hostname = false;
            settings
        })
        .await,
    )
    .await;
}

#[tokio::test]
async fn t05_tls_with_anybody() {
    let server = TestServer::start(Setup::tls_as(&Certificates::shared().by_tutorial)).await;
    let mut anybody = settings(server.uri_by_name());
    anybody.check_hostname = false;
    anybody.verify_cert = false;
    works(&connect(&anybody).await).await;
}

#[tokio::test]
async fn t06_websocket() {
    let server = TestServer::start(Setup::tcp().websocket()).await;
    works(&connect(&settings(server.uri() + "/")).await).await;
}

#[tokio::test]
async fn websocket_over_tls() {
    let directory = Directory::new();
    let server = TestServer::start(Setup::tls().websocket()).await;
    works(&connect(&trusting(server.uri_by_name() + "/", &directory)).await).await;
}

/// As amqtt's `connect("wss://localhost:8081/", cafile=certificate)`: the host name is asked of the
/// certificate.
#[tokio::test]
async fn t07_websocket_over_tls_with_the_servers_own_certificate() {
    let directory = Directory::new();
    let server =
        TestServer::start(Setup::tls_as(&Certificates::shared().by_tutorial).websocket()).await;
    works(&connect(&trusting_itself(server.uri_by_name() + "/", &directory)).await).await;
}

/// `connect("ws://fred:password@…/")`, `disconnect()`, `reconnect()`: the credentials are still
/// there. Here a new client of the same settings takes the place of the last.
#[tokio::test]
async fn t08_the_user_comes_again_after_disconnecting() {
    let config = BrokerConfig::default()
        .with_user("fred", "password")
        .unwrap();
    let server = TestServer::start(Setup::tcp().websocket().broker(config)).await;
    let settings = settings(server.uri().replace("ws://", "ws://fred:password@") + "/");
    for _ in 0..2 {
        let client = connect(&settings).await;
        works(&client).await;
        client.disconnect().await;
    }
}

/// The user name is for the MQTT server: it is in each CONNECT, and never in the request of
/// WebSocket.
#[tokio::test]
async fn the_user_comes_again_when_the_connection_was_cut() {
    let config = BrokerConfig::default().with_user("ann", "secret").unwrap();
    let server = TestServer::start(Setup::tcp().websocket().broker(config)).await;
    let mut settings = settings(server.uri().replace("ws://", "ws://ann:secret@"));
    settings.reconnect_retries = -1;
    settings.reconnect_max_interval = Duration::from_millis(1);
    let client = connect(&settings).await;
    let mut events = client.events();
    server.cut().await;
    reconnected(&mut events).await;
    works(&client).await;
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

#[tokio::test]
async fn t09_websocket_with_a_path_and_headers() {
    let server = TestServer::start(Setup::tcp().websocket()).await;
    let yaml = format!(
        "connection: {{uri: '{}/mqtt?a=b'}}\nmartlet: {{headers: {{Authorization: Bearer it, X-Device: seven}}}}",
        server.uri()
    );
    works(&connect(&Settings::from_yaml(&yaml).unwrap()).await).await;
    let seen = &server.seen()[0];
    assert_eq!(seen.path.as_deref(), Some("/mqtt?a=b"));
    assert_eq!(seen.header("authorization"), Some("Bearer it"));
    assert_eq!(seen.header("x-device"), Some("seven"));
}

#[tokio::test]
async fn t18_a_certificate_of_our_own() {
    let directory = Directory::new();
    let server = TestServer::start(Setup::mutual_tls()).await;
    let identity = &Certificates::shared().client;
    let mut settings = trusting(server.uri_by_name(), &directory);
    settings.connection.certfile = Some(directory.write("client.pem", &identity.chain_pem));
    settings.connection.keyfile = Some(directory.write("client.key", &identity.key_pem));
    works(&connect(&settings).await).await;
    assert!(server.seen()[0].has_client_certificate);
}

#[tokio::test]
async fn t19_an_authority_that_did_not_sign() {
    let directory = Directory::new();
    let server = TestServer::start(Setup::tls()).await;
    let mut settings = settings(server.uri_by_name());
    settings.auto_reconnect = false;
    let other = directory.write("other.pem", &Certificates::shared().other_authority.pem);
    settings.connection.cafile = Some(other);
    let error = try_connect(&settings).await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Connection(ConnectionError::Transport(_))
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// Fault 1: `capath` and `cadata` do nothing there.
#[tokio::test]
async fn f01_authorities_in_a_folder_and_in_the_configuration() {
    let directory = Directory::new();
    directory.write("ca.pem", &Certificates::shared().authority.pem);
    let server = TestServer::start(Setup::tls()).await;
    let mut in_folder = settings(server.uri_by_name());
    in_folder.connection.capath = Some(directory.path().to_owned());
    works(&connect(&in_folder).await).await;
    let mut inside = settings(server.uri_by_name());
    inside.connection.cadata = Some(Certificates::shared().authority.pem.clone());
    works(&connect(&inside).await).await;
}

/// A missing file is reported before anything is sent, by the key that names it: a value of the
/// wrong line may be a secret.
#[tokio::test]
async fn an_authority_that_is_not_there() {
    let mut settings = settings("mqtts://localhost");
    settings.connection.cafile = Some("/no/such/file.pem".into());
    let error = settings.builder().unwrap_err();
    assert!(matches!(error, ConnectError::Settings(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("connection.cafile"), "{text}");
    assert!(!text.contains("/no/such/file.pem"), "{text}");
    // Without TLS nobody looks for it.
    settings.connection.uri = "mqtt://localhost".into();
    assert!(settings.builder().is_ok());
}

/// Fault 18: `ws://[::1]` loses its brackets there.
#[tokio::test]
async fn f18_websocket_to_an_address_of_ipv6() {
    let setup = Setup::tcp().websocket();
    let server = TestServer::start_on(Ipv6Addr::LOCALHOST.into(), setup).await;
    assert!(server.uri().starts_with("ws://[::1]:"), "{}", server.uri());
    works(&connect(&settings(server.uri())).await).await;
}

/// Fault 17: a WebSocket that is closed in the middle of a message delivers a message that nobody
/// sent.
#[tokio::test]
async fn f17_half_a_message_is_no_message() {
    // CONNACK (4 bytes) and SUBACK (5) go through, and ten bytes of the message.
    let fault = Fault::Ends {
        at: Level::Packets,
        after: 4 + 5 + 10,
        end: FaultEnd::Close,
    };
    let server = TestServer::start(Setup::tcp().websocket().fault(fault)).await;
    let mut settings = settings(server.uri());
    settings.auto_reconnect = false;
    let client = connect(&settings).await;
    let mut messages = client.subscribe("a").await.unwrap();
    assert_eq!(messages.reasons(), [SubAckReasonCode::GrantedQos0]);
    client
        .publish("a", "0123456789abcdef".repeat(10))
        .await
        .unwrap();
    assert_eq!(
        messages.next_timeout(PATIENCE).await,
        Ok::<_, NoMessage>(None)
    );
}

/// Goes elsewhere than the settings say.
fn elsewhere(
    uri: &str,
) -> impl FnMut(Attempt) -> Ready<Result<Attempt, GivenUp>> + Clone + Send + Sync + use<> {
    let endpoint = Endpoint::parse(uri).unwrap();
    move |mut attempt: Attempt| {
        attempt.set_endpoint(endpoint.clone());
        ready(Ok(attempt))
    }
}

/// Settings with plain servers only: what they say of TLS was not looked at, and a server that the
/// hook chose was judged by the operating system's authorities.
#[tokio::test]
async fn the_settings_trust_holds_wherever_a_hook_goes() {
    let server = TestServer::start(Setup::tcp()).await;
    let mut settings = settings(server.uri());
    settings.auto_reconnect = false;
    settings.connection.cafile = Some("/no/such/file".into());
    let secure = server.uri().replace("mqtt://", "mqtts://");
    let builder = settings
        .builder()
        .unwrap()
        .before_connect(elsewhere(&secure));
    let error = connect_with(builder).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/file"), "{error}");
    // Where no TLS is spoken nobody looks for it.
    connect(&settings).await;
}

/// The password of a client's key was looked up although no server was spoken to over TLS. What is
/// wrong with it is reported when the hook chooses one that is.
#[tokio::test]
async fn the_password_of_a_key_is_looked_up_where_tls_is_spoken() {
    let server = TestServer::start(Setup::tcp()).await;
    let mut settings = settings(server.uri());
    settings.auto_reconnect = false;
    settings.connection.certfile = Some("cert.pem".into());
    settings.connection.keyfile = Some("key.pem".into());
    settings.martlet.key_password = Some(Secret::Env("MARTLET_NOT_SET".into()));
    connect(&settings).await;
    let secure = server.uri().replace("mqtt://", "mqtts://");
    let builder = settings
        .builder()
        .unwrap()
        .before_connect(elsewhere(&secure));
    let error = connect_with(builder).await.unwrap_err().to_string();
    assert!(
        error.contains("martlet.key_password") && !error.contains("MARTLET_NOT_SET"),
        "{error}"
    );
    settings.connection.uri = secure.into();
    let error = settings.builder().unwrap_err().to_string();
    assert!(error.contains("martlet.key_password"), "{error}");
}
