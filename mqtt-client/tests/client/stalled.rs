//! Each handshake that stalls ends at its deadline, and the error says which it was. In simulated
//! time.

use martlet_client::{
    Builder, Client, ConnectError, ConnectionError, Endpoint, Reconnect, Trust,
    session::TransportErrorKind,
};
use martlet_tests::certificates::Certificates;
use martlet_tests::server::{Fault, FaultEnd, Level, Seen, Setup};
use martlet_tokio::runtime::TokioStreams;
use std::io;
use std::time::Duration;
use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;

/// Not the default of anything.
const TIMEOUT: Duration = Duration::from_millis(12_345);

fn builder(uri: &str) -> Builder {
    let trust = Trust::new().ca_pem(&*Certificates::shared().authority.pem);
    let builder = Client::builder(uri).trust(trust);
    builder
        .reconnect(Reconnect::default().enabled(false))
        .handshake_timeout(TIMEOUT)
}

/// How the only attempt ends, and when.
async fn ends(builder: Builder, setup: Setup) -> (ConnectionError, Duration) {
    let open = move |_: Endpoint| {
        let (here, there) = duplex(64 * 1024);
        let setup = setup.clone();
        tokio::spawn(async move {
            let stream = setup.accept(there, &mut Seen::default()).await;
            // Where it got as far as MQTT nobody answers.
            std::future::pending::<()>().await;
            drop(stream);
        });
        async move { io::Result::<DuplexStream>::Ok(here) }
    };
    let start = Instant::now();
    let (client, driver) = builder.build(TokioStreams::new(open)).unwrap();
    let driver = tokio::spawn(driver);
    let reason = match client.connected().await {
        Err(ConnectError::Connection(error)) => error,
        other => panic!("{other:?}"),
    };
    let time = start.elapsed();
    drop(client);
    assert_eq!(driver.await.expect("it ends"), reason);
    (reason, time)
}

/// Asserts that the only attempt ends at the deadline, and that the error names this handshake.
async fn assert_stalls(handshake: &str, uri: &str, proxy: Option<&str>, setup: Setup) {
    let mut builder = builder(uri);
    if let Some(proxy) = proxy {
        builder = builder.proxy(proxy);
    }
    let (error, time) = ends(builder, setup).await;
    match &error {
        ConnectionError::Transport(error)
            if error.kind() == TransportErrorKind::HandshakeTimeout =>
        {
            let name = format!("the {handshake} handshake");
            assert!(error.to_string().contains(&name), "{error}");
        }
        other => panic!("{uri} {proxy:?}: {other:?}"),
    }
    assert_eq!(time, TIMEOUT, "{uri} {proxy:?}");
}

#[tokio::test(start_paused = true)]
async fn each_handshake_has_a_deadline() {
    let silent = |setup: Setup, at| setup.fault(Fault::silent(at));
    let part = |setup: Setup, at, after| {
        setup.fault(Fault::Ends {
            at,
            after,
            end: FaultEnd::Hang,
        })
    };
    let (tcp, tls) = (Setup::tcp, Setup::tls);
    // TCP accepts and is silent; so is the server after the ClientHello, or in the middle of its
    // answer.
    for (uri, setup) in [
        ("mqtts://localhost", silent(tls(), Level::Socket)),
        ("mqtts://localhost", part(tls(), Level::Socket, 100)),
        ("wss://localhost", silent(tls().websocket(), Level::Socket)),
    ] {
        assert_stalls("TLS", uri, None, setup).await;
    }
    // After the request for an upgrade, or in the middle of the answer.
    for (uri, setup) in [
        ("ws://localhost", silent(tcp().websocket(), Level::Stream)),
        ("ws://localhost", part(tcp().websocket(), Level::Stream, 20)),
        ("wss://localhost", silent(tls().websocket(), Level::Stream)),
    ] {
        assert_stalls("WebSocket", uri, None, setup).await;
    }
    for (uri, proxy) in [
        ("mqtt://localhost", "http://proxy:1"),
        ("wss://localhost", "http://proxy:1"),
        ("mqtts://localhost", "socks5://proxy:1"),
    ] {
        assert_stalls("proxy", uri, Some(proxy), silent(tcp(), Level::Socket)).await;
    }
}

/// The deadline of the handshakes is over when they are, and CONNACK has its own.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_says_connack() {
    for (uri, setup) in [
        ("mqtt://localhost", Setup::tcp()),
        ("mqtts://localhost", Setup::tls()),
        ("ws://localhost", Setup::tcp().websocket()),
        ("wss://localhost", Setup::tls().websocket()),
    ] {
        let (error, time) = ends(builder(uri), setup).await;
        assert!(
            matches!(error, ConnectionError::NoConnAck { .. }),
            "{error}"
        );
        assert_ne!(time, TIMEOUT);
    }
}
