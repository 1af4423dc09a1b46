//! Every transport that the peers have.

use crate::peers::{Peer, USER, in_time};
use martlet_tests::certificates::Certificates;
use martlet_tokio::Reconnect;
use martlet_tokio::{
    Builder, Client, ConnectError, ConnectionError, QoS, Trust, Version,
    session::{TransportError, TransportErrorKind},
};

/// Larger than what is sent at once.
const LARGE: u32 = 300_000;

/// What mosquitto 2.0 takes over WebSocket in good time: it reads 4 KiB ten times a second.
const LARGE_FOR_SLOW: u32 = 10_000;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Trusts the authority, and shows a certificate to who asks.
fn builder(uri: &str) -> Builder {
    let certificates = Certificates::shared();
    let client = &certificates.client;
    let trust = Trust::new().ca_pem(&*certificates.authority.pem);
    let trust = trust
        .certificate_pem(&*client.chain_pem)
        .key_pem(&*client.key_pem);
    Client::builder(uri).trust(trust)
}

/// Everything once, there and back, and with a payload of `large` bytes.
async fn talks(what: &str, builder: Builder, version: Version, large: u32) {
    talks_at(&QOS, what, builder, version, large).await;
}

/// The same with a server that has less.
async fn talks_at(all_qos: &[QoS], what: &str, builder: Builder, version: Version, large: u32) {
    let everything = async {
        let client = martlet_tokio::connect_with(builder).await;
        let client = client.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(
            client.connection().expect("connected").version,
            version,
            "{what}"
        );
        // No byte of the large one is like the one that belongs elsewhere.
        let large: Vec<u8> = (0..large).map(|n| (n % 251) as u8).collect();
        for &qos in all_qos {
            // At the same QoS: amqtt delivers at that of the subscription.
            let mut messages = client
                .subscribe("a/+")
                .qos(qos)
                .await
                .expect("a subscription");
            for payload in [b"small".to_vec(), large.clone()] {
                client
                    .publish("a/b", payload.clone())
                    .qos(qos)
                    .await
                    .expect("acknowledged");
                let message = messages
                    .next()
                    .await
                    .unwrap_or_else(|| panic!("{what}: no more messages"));
                assert_eq!((message.topic(), message.qos()), ("a/b", qos), "{what}");
                assert!(
                    message.payload() == payload,
                    "{what}: {} bytes",
                    message.payload().len()
                );
            }
            messages.unsubscribe().await.expect("an answer");
        }
        client.ping().await.expect("an answer");
        client.disconnect().await;
    };
    in_time(what, everything).await;
}

/// How large a payload this listener of mosquitto's gets.
fn large(uri: &str) -> u32 {
    if uri.starts_with("ws") {
        LARGE_FOR_SLOW
    } else {
        LARGE
    }
}

/// Why it does not get a connection.
async fn failure(what: &str, builder: Builder) -> TransportError {
    let builder = builder.reconnect(Reconnect::default().enabled(false));
    match in_time(what, martlet_tokio::connect_with(builder)).await {
        Err(ConnectError::Connection(ConnectionError::Transport(error))) => error,
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn mosquitto_over_every_transport() {
    let broker = Peer::mosquitto().await;
    let schemes = ["mqtt", "mqtts", "mqtts", "ws", "wss"];
    let mut uris: Vec<_> = schemes
        .iter()
        .zip(&broker.ports)
        .map(|(scheme, port)| format!("{scheme}://localhost:{port}"))
        .collect();
    uris.push(format!("mqtt+unix://{}", broker.unix_path().display()));
    for uri in uris {
        for version in [Version::V3_1_1, Version::V5] {
            let what = format!("mosquitto, {version}, {uri}");
            talks(&what, builder(&uri).version(version), version, large(&uri)).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn mosquitto_on_the_wrong_port() {
    let broker = Peer::mosquitto().await;
    let [tcp, tls, mutual_tls, websocket, _] = broker.ports[..] else {
        unreachable!()
    };
    let nobody = Trust::new().ca_pem(&*Certificates::shared().authority.pem);
    let builder_of_nobody = |uri: &str| Client::builder(uri).trust(nobody);
    for (what, builder, kind) in [
        (
            "no client certificate",
            builder_of_nobody(&format!("mqtts://localhost:{mutual_tls}")),
            TransportErrorKind::ClientCertificate,
        ),
        (
            "TLS on a plain port",
            builder(&format!("mqtts://localhost:{tcp}")),
            TransportErrorKind::Tls,
        ),
        (
            "TLS on a WebSocket port",
            builder(&format!("wss://localhost:{tcp}")),
            TransportErrorKind::Tls,
        ),
        // It hangs up without an alert.
        (
            "WebSocket on a TLS port",
            builder(&format!("ws://localhost:{tls}")),
            TransportErrorKind::WebSocket,
        ),
        (
            "WebSocket on MQTT's port",
            builder(&format!("ws://localhost:{tcp}")),
            TransportErrorKind::WebSocket,
        ),
    ] {
        let error = failure(what, builder).await;
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
    let strangers = Trust::new().ca_pem(&*Certificates::shared().other_authority.pem);
    let uri = format!("mqtts://localhost:{tls}");
    let builder = Client::builder(&uri).trust(strangers);
    assert_eq!(
        failure("another authority", builder).await.kind(),
        TransportErrorKind::Certificate
    );
    // The path does not matter to it.
    let uri = format!("ws://localhost:{websocket}/some/where?a=b");
    talks(
        "mosquitto, a path",
        self::builder(&uri),
        Version::V5,
        LARGE_FOR_SLOW,
    )
    .await;
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn aedes_over_every_transport() {
    let broker = Peer::aedes().await;
    for (scheme, port) in ["mqtt", "mqtts", "ws", "wss"]
        .into_iter()
        .zip(&broker.ports)
    {
        let uri = format!("{scheme}://localhost:{port}");
        talks(
            &format!("aedes, fixed, {uri}"),
            builder(&uri).version(Version::V3_1_1),
            Version::V3_1_1,
            LARGE,
        )
        .await;
        // It does not know MQTT 5.
        talks(
            &format!("aedes, negotiated, {uri}"),
            builder(&uri),
            Version::V3_1_1,
            LARGE,
        )
        .await;
    }
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn amqtt_over_every_transport() {
    let broker = Peer::amqtt().await;
    for (scheme, port) in ["mqtt", "mqtts", "ws", "wss"]
        .into_iter()
        .zip(&broker.ports)
    {
        let uri = format!("{scheme}://localhost:{port}");
        let builder = builder(&uri)
            .version(Version::V3_1_1)
            .credentials("martlet", "any");
        talks(&format!("amqtt, {uri}"), builder, Version::V3_1_1, LARGE).await;
    }
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn iotcore_over_every_transport() {
    let broker = Peer::iotcore().await;
    for (version, scheme, port) in [
        (Version::V3_1_1, "mqtt", 0),
        (Version::V5, "mqtt", 1),
        (Version::V3_1_1, "mqtts", 2),
        (Version::V3_1_1, "ws", 3),
    ] {
        let uri = format!("{scheme}://localhost:{}", broker.ports[port]);
        talks(
            &format!("iotcore, {version}, {uri}"),
            builder(&uri).version(version),
            version,
            LARGE,
        )
        .await;
    }
}

#[tokio::test]
#[ignore = "needs brokers that are heavy: see .ci/run"]
async fn ejabberd_over_every_transport() {
    let broker = Peer::ejabberd().await;
    for (scheme, port) in ["mqtt", "mqtts", "ws", "wss"]
        .into_iter()
        .zip(&broker.ports)
    {
        for version in [Version::V3_1_1, Version::V5] {
            let path = if scheme.starts_with("ws") {
                "/mqtt"
            } else {
                ""
            };
            let uri = format!("{scheme}://localhost:{port}{path}");
            let builder = builder(&uri)
                .version(version)
                .credentials("martlet@localhost", "any");
            talks(
                &format!("ejabberd, {version}, {uri}"),
                builder,
                version,
                LARGE,
            )
            .await;
        }
    }
}

#[tokio::test]
#[ignore = "needs brokers that are heavy: see .ci/run"]
async fn rabbitmq_over_every_transport() {
    let broker = Peer::rabbitmq().await;
    for (scheme, port) in ["mqtt", "mqtts", "ws", "wss"]
        .into_iter()
        .zip(&broker.ports)
    {
        let path = if scheme.starts_with("ws") { "/ws" } else { "" };
        let uri = format!("{scheme}://localhost:{port}{path}");
        let builder = builder(&uri).version(Version::V3_1_1);
        // It has no QoS 2.
        talks_at(
            &QOS[..2],
            &format!("rabbitmq, {uri}"),
            builder,
            Version::V3_1_1,
            LARGE,
        )
        .await;
    }
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn through_an_http_proxy() {
    let (broker, proxy) = (Peer::mosquitto().await, Peer::tinyproxy().await);
    let proxy = |user: &str| format!("http://{user}127.0.0.1:{}", proxy.ports[0]);
    for (scheme, port) in ["mqtt", "mqtts", "mqtts", "ws", "wss"]
        .into_iter()
        .zip(&broker.ports)
    {
        let uri = format!("{scheme}://localhost:{port}");
        let builder = builder(&uri).proxy(&proxy(&format!("{USER}@")));
        talks(
            &format!("tinyproxy, {uri}"),
            builder,
            Version::V5,
            large(&uri),
        )
        .await;
    }
    let uri = format!("mqtts://localhost:{}", broker.ports[1]);
    for user in ["", "user:wrong@"] {
        let error = failure("tinyproxy", builder(&uri).proxy(&proxy(user))).await;
        assert_eq!(error.kind(), TransportErrorKind::Proxy, "{error}");
        assert!(error.is_permanent(), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn through_a_socks_proxy() {
    let broker = Peer::mosquitto().await;
    let uris: Vec<_> = ["mqtt", "mqtts", "mqtts", "ws", "wss"]
        .into_iter()
        .zip(&broker.ports)
        .map(|(scheme, port)| format!("{scheme}://localhost:{port}"))
        .collect();
    let open = Peer::microsocks(false).await;
    let locked = Peer::microsocks(true).await;
    let proxy = |peer: &Peer, user: &str| format!("socks5://{user}127.0.0.1:{}", peer.ports[0]);
    for uri in &uris {
        for proxy in [proxy(&open, ""), proxy(&locked, &format!("{USER}@"))] {
            let builder = builder(uri).proxy(&proxy);
            talks(
                &format!("microsocks, {uri}"),
                builder,
                Version::V5,
                large(uri),
            )
            .await;
        }
    }
    for user in ["", "user:wrong@"] {
        let error = failure("microsocks", builder(&uris[1]).proxy(&proxy(&locked, user))).await;
        assert_eq!(error.kind(), TransportErrorKind::Proxy, "{error}");
    }
    // Nobody listens there any more.
    drop(broker);
    let error = failure("microsocks", builder(&uris[0]).proxy(&proxy(&open, ""))).await;
    assert_eq!(error.kind(), TransportErrorKind::Proxy, "{error}");
}
