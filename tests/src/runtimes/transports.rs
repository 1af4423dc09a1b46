//! One body of tests over every transport: nothing that MQTT says may depend on what carries it.

use super::adapter::{ALL_QOS, Adapter};
use super::transcript::{Transcript, transcribed};
use crate::certificates::Certificates;
use crate::server::{HttpProxy, Proxy, Setup, SocksProxy, TestServer};
use martlet_client::Reconnect;
use martlet_client::{Builder, Client, QoS, Subscription, Trust};
use std::time::Duration;

/// Makes a `#[test]` for each transport for this [`Adapter`].
#[macro_export]
macro_rules! transport_tests {
    ($adapter:ty) => {
        $crate::transport_tests! { $adapter =>
            over_tcp Tcp
            over_a_unix_socket Unix
            over_tls Tls
            over_mutual_tls MutualTls
            over_websocket WebSocket
            over_websocket_and_tls WebSocketAndTls
            over_tls_through_socks TlsThroughSocks
            over_websocket_and_tls_through_http WebSocketAndTlsThroughHttp
        }
    };
    ($adapter:ty => $($name:ident $transport:ident)*) => {
        $(
            #[test]
            fn $name() {
                let transport = $crate::runtimes::TransportKind::$transport;
                $crate::runtimes::run::<$adapter>($crate::runtimes::everything_over::<$adapter>(transport));
            }
        )*
    };
}

/// What carries MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names tell")]
pub enum TransportKind {
    Tcp,
    Unix,
    Tls,
    MutualTls,
    WebSocket,
    WebSocketAndTls,
    TlsThroughSocks,
    WebSocketAndTlsThroughHttp,
}

/// Who may use the proxies.
const USER: (&str, &str) = ("us:er", "pa/s s");
/// The same in a URI, where a user name has no colon (RFC 7617 §2).
const HTTP_USER: (&str, &str) = ("user", "p:a/s s");

struct Place {
    transport: TransportKind,
    server: TestServer,
    proxy: Option<Proxy>,
}

impl Place {
    async fn start(transport: TransportKind) -> Self {
        let setup = match transport {
            TransportKind::Tcp => Setup::tcp(),
            TransportKind::Unix => Setup::unix(),
            TransportKind::Tls | TransportKind::TlsThroughSocks => Setup::tls(),
            TransportKind::MutualTls => Setup::mutual_tls(),
            TransportKind::WebSocket => Setup::tcp().websocket(),
            TransportKind::WebSocketAndTls => Setup::tls().websocket(),
            TransportKind::WebSocketAndTlsThroughHttp => Setup::mutual_tls().websocket(),
        };
        let server = TestServer::start(setup).await;
        let proxy = match transport {
            TransportKind::TlsThroughSocks => Some(
                Proxy::socks(SocksProxy {
                    user: Some(USER),
                    ..SocksProxy::default()
                })
                .await,
            ),
            TransportKind::WebSocketAndTlsThroughHttp => Some(
                Proxy::http(HttpProxy {
                    user: Some(HTTP_USER),
                    ..HttpProxy::default()
                })
                .await,
            ),
            _ => None,
        };
        Self {
            transport,
            server,
            proxy,
        }
    }

    fn is_tls(&self) -> bool {
        !matches!(
            self.transport,
            TransportKind::Tcp | TransportKind::Unix | TransportKind::WebSocket
        )
    }

    fn has_client_certificate(&self) -> bool {
        matches!(
            self.transport,
            TransportKind::MutualTls | TransportKind::WebSocketAndTlsThroughHttp
        )
    }

    fn is_websocket(&self) -> bool {
        use TransportKind::{WebSocket, WebSocketAndTls, WebSocketAndTlsThroughHttp};
        matches!(
            self.transport,
            WebSocket | WebSocketAndTls | WebSocketAndTlsThroughHttp
        )
    }

    /// A client of the server, on its way there.
    fn builder(&self) -> Builder {
        let certificates = Certificates::shared();
        let uri = match self.transport {
            TransportKind::Unix => self.server.uri(),
            _ if self.is_websocket() => self.server.uri_by_name() + "/mqtt?a=b",
            _ => self.server.uri_by_name(),
        };
        let mut builder = Client::builder(&uri).reconnect(
            Reconnect::default()
                .initial(Duration::from_millis(10))
                .max(Duration::from_millis(50)),
        );
        if self.is_tls() {
            let mut trust = Trust::new().ca_pem(&*certificates.authority.pem);
            if self.has_client_certificate() {
                let client = &certificates.client;
                trust = trust
                    .certificate_pem(&*client.chain_pem)
                    .key_pem(&*client.key_pem);
            }
            builder = builder.trust(trust);
        }
        if let Some(proxy) = &self.proxy {
            let address = proxy.address();
            let uri = match self.transport {
                TransportKind::TlsThroughSocks => format!("socks5://us%3Aer:pa%2Fs%20s@{address}"),
                _ => format!("http://user:p%3Aa%2Fs%20s@{address}"),
            };
            builder = builder.proxy(&uri);
        }
        builder
    }
}

/// Connects, publishes and receives at each QoS, small and large; the connections are cut, made
/// again, and it goes on. The packets are the same over every transport, which is the one that was
/// asked for.
pub async fn everything_over<A: Adapter>(transport: TransportKind) {
    let place = Place::start(transport).await;
    let (subscriber, mut receives) = transcribed::<A>(place.builder()).await;
    let (publisher, mut sends) = transcribed::<A>(place.builder()).await;
    let mut messages = subscriber
        .subscribe_all([("a", QoS::ExactlyOnce)])
        .await
        .unwrap();
    for payload in [b"b".to_vec(), large()] {
        exchange(&publisher, &mut messages, &mut receives, payload).await;
    }
    // What was acknowledged has arrived when what came after it is answered.
    subscriber.ping().await.unwrap();
    sends.until("in PUBCOMP 4").await;
    place.server.cut().await;
    receives.until("in CONNACK").await;
    sends.until("in CONNACK").await;
    exchange(&publisher, &mut messages, &mut receives, b"c".to_vec()).await;
    messages.unsubscribe().await.unwrap();
    for client in [&publisher, &subscriber] {
        client.ping().await.unwrap();
        client.disconnect().await;
    }
    assert_eq!(sends.all(), SENT, "{transport:?}");
    assert_eq!(receives.all(), RECEIVED, "{transport:?}");

    // Two clients, twice each.
    let seen = place.server.seen();
    assert_eq!(seen.len(), 4);
    for seen in seen {
        assert_eq!(seen.error, None);
        assert_eq!(
            seen.server_name.as_deref(),
            place.is_tls().then_some("localhost")
        );
        assert_eq!(seen.has_client_certificate, place.has_client_certificate());
        assert_eq!(
            seen.path.as_deref(),
            place.is_websocket().then_some("/mqtt?a=b")
        );
        assert_eq!(
            seen.header("sec-websocket-protocol"),
            place.is_websocket().then_some("mqtt")
        );
    }
    if let Some(proxy) = &place.proxy {
        // It is the proxy that looks the name up.
        let target = format!("localhost:{}", place.server.socket_addr().port());
        let targets = proxy.targets();
        // An attempt may have come while nobody listened.
        assert!(
            targets.len() >= 4 && targets.iter().all(|asked| *asked == target),
            "{targets:?}"
        );
    }
}

/// One message at each QoS, each of them acknowledged on both sides before the next.
async fn exchange(
    publisher: &Client,
    messages: &mut Subscription,
    receives: &mut Transcript,
    payload: Vec<u8>,
) {
    for qos in ALL_QOS {
        publisher
            .publish("a", payload.clone())
            .qos(qos)
            .await
            .unwrap();
        let message = messages.next().await.unwrap();
        assert_eq!((message.qos(), message.topic()), (qos, "a"));
        // Not `assert_eq!`, which would print it.
        assert!(
            message.payload() == payload,
            "{} bytes",
            message.payload().len()
        );
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => receives.until("out PUBACK").await,
            QoS::ExactlyOnce => receives.until("out PUBCOMP").await,
        }
    }
}

/// Larger than a TLS record, a frame, and the buffers on the way; no byte is like the one that
/// belongs elsewhere.
fn large() -> Vec<u8> {
    (0..300_000u32).map(|n| (n % 251) as u8).collect()
}

/// What the publisher sends and gets.
const SENT: &[&str] = &[
    "out CONNECT",
    "in CONNACK",
    "out PUBLISH",
    "out PUBLISH 1",
    "in PUBACK 1",
    "out PUBLISH 2",
    "in PUBREC 2",
    "out PUBREL 2",
    "in PUBCOMP 2",
    // Large.
    "out PUBLISH",
    "out PUBLISH 3",
    "in PUBACK 3",
    "out PUBLISH 4",
    "in PUBREC 4",
    "out PUBREL 4",
    "in PUBCOMP 4",
    // Cut.
    "out CONNECT",
    "in CONNACK",
    "out PUBLISH",
    "out PUBLISH 5",
    "in PUBACK 5",
    "out PUBLISH 6",
    "in PUBREC 6",
    "out PUBREL 6",
    "in PUBCOMP 6",
    "out PINGREQ",
    "in PINGRESP",
    "out DISCONNECT",
];

/// What the subscriber sends and gets.
const RECEIVED: &[&str] = &[
    "out CONNECT",
    "in CONNACK",
    "out SUBSCRIBE 1",
    "in SUBACK 1",
    "in PUBLISH",
    "in PUBLISH 1",
    "out PUBACK 1",
    "in PUBLISH 2",
    "out PUBREC 2",
    "in PUBREL 2",
    "out PUBCOMP 2",
    // Large.
    "in PUBLISH",
    "in PUBLISH 3",
    "out PUBACK 3",
    "in PUBLISH 4",
    "out PUBREC 4",
    "in PUBREL 4",
    "out PUBCOMP 4",
    "out PINGREQ",
    "in PINGRESP",
    // Cut.
    "out CONNECT",
    "in CONNACK",
    "in PUBLISH",
    "in PUBLISH 5",
    "out PUBACK 5",
    "in PUBLISH 6",
    "out PUBREC 6",
    "in PUBREL 6",
    "out PUBCOMP 6",
    "out UNSUBSCRIBE 2",
    "in UNSUBACK 2",
    "out PINGREQ",
    "in PINGRESP",
    "out DISCONNECT",
];
