//! TLS: bad certificates, and ports that speak something else.

use super::{CONNACK, assert_says, builder, failure, has_served, instead, recording};
use crate::certificates::{Certificates, TestIdentity};
use crate::runtimes::adapter::Adapter;
use crate::server::{FaultEnd, Level, Setup, TestServer};
use martlet_client::Reconnect;
use martlet_client::{Client, Trust, session::TransportErrorKind};
use std::time::Duration;

pub async fn each_bad_certificate_is_rejected_for_what_is_bad<A: Adapter>() {
    let certificates = Certificates::shared();
    let table: [(&TestIdentity, &str, bool, &[&str]); 8] = [
        (
            &certificates.wrong_host,
            "localhost",
            true,
            &["not for \"localhost\"", "elsewhere.example"],
        ),
        (
            &certificates.expired,
            "localhost",
            false,
            &["expired on 2001-12-31", "today is 20"],
        ),
        (
            &certificates.not_yet_valid,
            "localhost",
            false,
            &["not valid before 2900-01-01", "clock"],
        ),
        (
            &certificates.unknown_authority,
            "localhost",
            true,
            &["Another test authority", "not a CA that is trusted"],
        ),
        (
            &certificates.self_signed,
            "localhost",
            true,
            &["self-signed"],
        ),
        (
            &certificates.name_only,
            "127.0.0.1",
            true,
            &["not for \"127.0.0.1\"", "localhost", "connect by name"],
        ),
        (
            &certificates.without_intermediate,
            "localhost",
            true,
            &["Martlet test intermediate", "leaves out an intermediate"],
        ),
        (
            &certificates.for_clients_only,
            "localhost",
            true,
            &["not one for servers"],
        ),
    ];
    for (identity, host, permanent, words) in table {
        for setup in [Setup::tls_as(identity), Setup::tls_as(identity).websocket()] {
            let server = TestServer::start(setup.broker(recording())).await;
            let error = failure::<A>(builder(&server.uri_as(host))).await;
            assert_says(&error, TransportErrorKind::Certificate, words);
            assert_eq!(error.is_permanent(), permanent, "{error}");
            assert!(!has_served(&server).await);
        }
    }
}

/// In TLS 1.3 the server sees it when the client has long gone on.
pub async fn a_client_certificate_is_rejected_after_the_handshake<A: Adapter>() {
    let certificates = Certificates::shared();
    for setup in [Setup::mutual_tls(), Setup::mutual_tls().websocket()] {
        let server = TestServer::start(setup).await;
        let error = failure::<A>(builder(&server.uri())).await;
        assert_says(
            &error,
            TransportErrorKind::ClientCertificate,
            &["wants a client certificate", "none was given"],
        );
        assert!(error.is_permanent());
        let stranger = &certificates.unknown_client;
        let trust = Trust::new().ca_pem(&*certificates.authority.pem);
        let trust = trust
            .certificate_pem(&*stranger.chain_pem)
            .key_pem(&*stranger.key_pem);
        let error = failure::<A>(builder(&server.uri()).trust(trust)).await;
        assert_says(
            &error,
            TransportErrorKind::ClientCertificate,
            &["does not accept our client certificate", "CA"],
        );
        assert!(error.is_permanent());
    }
}

/// No attempt falls back, whatever the server is.
pub async fn what_is_to_be_encrypted_is_never_sent_in_clear<A: Adapter>() {
    let server = TestServer::start(Setup::tcp().broker(recording())).await;
    for scheme in ["mqtts", "wss"] {
        let uri = format!("{scheme}://{}", server.socket_addr());
        // Without a version, so that it may try two.
        let trust = Trust::new().ca_pem(&*Certificates::shared().authority.pem);
        let builder = Client::builder(&uri).trust(trust).reconnect(
            Reconnect::default()
                .initial(Duration::from_millis(1))
                .max(Duration::from_millis(1))
                .retry_first(true)
                .retries(4),
        );
        let error = failure::<A>(builder.credentials("user", "secret")).await;
        assert_says(&error, TransportErrorKind::Tls, &["may not speak TLS"]);
    }
    assert_eq!(server.seen().len(), 10);
    assert!(!has_served(&server).await);
}

pub async fn tls_on_a_plain_port_is_recognised<A: Adapter>() {
    let server = TestServer::start(Setup::tls()).await;
    for (scheme, advice) in [("mqtt", "use mqtts://"), ("ws", "use wss://")] {
        let error = failure::<A>(builder(&format!("{scheme}://{}", server.socket_addr()))).await;
        assert_says(
            &error,
            TransportErrorKind::Tls,
            &["the server speaks TLS", advice],
        );
    }
}

pub async fn no_tls_on_a_tls_port_is_recognised<A: Adapter>() {
    for (answer, advice) in [
        (CONNACK, "mqtt://"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "looks like HTTP"),
        (b"\x00\x01\x02", "first byte is 0x00"),
    ] {
        let server =
            TestServer::start(Setup::tls().fault(instead(Level::Socket, answer, FaultEnd::Hang)))
                .await;
        let error = failure::<A>(builder(&server.uri_by_name())).await;
        assert_says(
            &error,
            TransportErrorKind::Tls,
            &["does not speak TLS on this port", advice],
        );
    }
}
