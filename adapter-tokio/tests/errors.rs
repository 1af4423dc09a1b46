//! What a caller sees who only reports an error, as `anyhow` prints it: every cause once, down to the
//! operating system's error and rustls'.

use martlet_broker::BrokerConfig;
use martlet_tests::server::{Setup, TestServer};
use martlet_tokio::transport::rustls;
use martlet_tokio::{
    Client, ConnectError, ConnectionError, Trust, proto::ConnectReasonCode, transport::UriError,
};
use std::io;
use std::net::TcpListener;

/// The error of connecting.
async fn error(builder: martlet_tokio::Builder) -> anyhow::Error {
    let connected = martlet_tokio::connect_with(builder).await;
    connected.expect_err("an error").into()
}

/// The texts of the chain, which `{:#}` joins; none is said in another.
fn texts(error: &anyhow::Error) -> Vec<String> {
    let texts: Vec<_> = error.chain().map(ToString::to_string).collect();
    assert_eq!(format!("{error:#}"), texts.join(": "));
    for (n, text) in texts.iter().enumerate() {
        for (m, other) in texts.iter().enumerate() {
            assert!(n == m || !other.contains(text.as_str()), "twice: {error:#}");
        }
    }
    texts
}

fn find<E: std::error::Error + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

#[tokio::test]
async fn a_socket_that_is_rejected() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error = error(Client::builder(format!("mqtt://{address}"))).await;
    let texts = texts(&error);
    assert_eq!(texts[0], format!("cannot connect to {address}"));
    let cause = find::<io::Error>(&error).expect("the operating system's");
    assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(texts[1..], [cause.to_string()]);
}

#[tokio::test]
async fn a_wrong_uri() {
    let error = error(Client::builder("mqqt://localhost")).await;
    assert_eq!(
        texts(&error),
        [
            "the URI is wrong",
            "the scheme \"mqqt\" is not supported; use mqtt, mqtts, ws, wss or mqtt+unix"
        ]
    );
    assert!(matches!(find(&error), Some(UriError::Scheme(_))));
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted() {
    let server = TestServer::start(Setup::tls()).await;
    let builder = Client::builder(server.uri_by_name()).trust(Trust::new());
    let error = error(builder).await;
    let texts = texts(&error);
    assert!(
        texts[0].contains("is not a CA that is trusted here"),
        "{texts:?}"
    );
    assert!(matches!(
        find(&error),
        Some(rustls::Error::InvalidCertificate(_))
    ));
    assert_eq!(texts.len(), 2);
}

#[tokio::test]
async fn a_connect_that_is_rejected() {
    let config = BrokerConfig::default().reject(ConnectReasonCode::NotAuthorized);
    let server = TestServer::start(Setup::tcp().broker(config)).await;
    let error = error(Client::builder(server.uri())).await;
    assert_eq!(
        texts(&error),
        ["the server rejected the connection: not authorized (0x87)"]
    );
    // What the caller handles, it matches.
    let Some(ConnectError::Connection(ConnectionError::Rejected(rejected))) = error.downcast_ref()
    else {
        panic!("{error:#}")
    };
    assert_eq!(rejected.reason, ConnectReasonCode::NotAuthorized);
}

/// Martlet's own `Error` prints what `anyhow` does.
#[tokio::test]
async fn the_error_for_all_shows_the_same() {
    let error = martlet_tokio::connect("mqqt://localhost")
        .await
        .unwrap_err();
    let ours = martlet_tokio::Error::from(error.clone());
    let theirs = anyhow::Error::from(error);
    assert_eq!(format!("{ours:#}"), format!("{theirs:#}"));
    assert_eq!(ours.to_string(), theirs.to_string());
    assert_eq!(
        format!("{ours:?}"),
        format!("{ours:#}"),
        "what `main` shows"
    );
    assert_eq!(ours.find::<UriError>(), find::<UriError>(&theirs));
}
