//! What networks, proxies and servers do wrong, and what a client says of it. One body for the
//! adapters that ask for it.

mod lengths;
mod proxies;
mod tls;
mod web_socket;

pub use lengths::*;
pub use proxies::*;
pub use tls::*;
pub use web_socket::*;

use crate::certificates::Certificates;
use crate::runtimes::adapter::Adapter;
use crate::server::{Fault, FaultEnd, Level, TestServer};
use martlet_broker::{BrokerConfig, BrokerEvent};
use martlet_client::Reconnect;
use martlet_client::{
    Builder, Client, ClientEvent, ConnectError, ConnectionError, Trust, Version,
    session::{TransportError, TransportErrorKind},
};

/// Makes a `#[test]` of each of these functions for this [`Adapter`].
#[macro_export]
macro_rules! hostile_tests {
    ($adapter:ty) => {
        $crate::runtime_tests! { $adapter =>
            each_bad_certificate_is_rejected_for_what_is_bad
            a_client_certificate_is_rejected_after_the_handshake
            what_is_to_be_encrypted_is_never_sent_in_clear
            tls_on_a_plain_port_is_recognised
            no_tls_on_a_tls_port_is_recognised
            an_http_proxy_rejects
            a_socks_proxy_rejects
            proxies_break_off
            an_upgrade_is_rejected
            another_subprotocol_is_not_mqtt
            websocket_is_spoken_wrong
            a_close_in_the_middle_of_a_packet_delivers_nothing
            lengths_that_lie
            a_message_above_the_maximum_is_skipped_over_websocket
            cuts_are_told_from_ends
            drips_are_as_good_as_floods
        }
    };
}

/// MQTT 5: accepted, with nothing more to say.
const CONNACK: &[u8] = b"\x20\x03\x00\x00\x00";
/// The first bytes of a publish of 100 bytes at QoS 0 to the topic `t`.
const HALF_PUBLISH: &[u8] = b"\x30\x64\x00\x01t\x00half";

/// A client in MQTT 5 that trusts the authority and tries once.
fn builder(uri: &str) -> Builder {
    let trust = Trust::new().ca_pem(&*Certificates::shared().authority.pem);
    let builder = Client::builder(uri).trust(trust);
    builder
        .version(Version::V5)
        .reconnect(Reconnect::default().enabled(false))
}

/// Why it does not get a connection.
async fn failure<A: Adapter>(builder: Builder) -> TransportError {
    match A::connect_with(builder).await {
        Err(ConnectError::Connection(ConnectionError::Transport(error))) => error,
        other => panic!("{other:?}"),
    }
}

/// Why it loses the one that it has got, before any message came whole.
async fn loss<A: Adapter>(builder: Builder) -> ConnectionError {
    let (client, driver) = builder.build(A::Runtime::default()).unwrap();
    let mut events = client.events();
    let mut all = client.unmatched().unwrap();
    let ended = A::spawn(driver);
    let mut connected = false;
    let lost = loop {
        match events.next().await.unwrap() {
            ClientEvent::Connected(_) => connected = true,
            ClientEvent::Disconnected {
                reason: error,
                retry_in: None,
            } => break error,
            _ => {}
        }
    };
    assert!(connected, "{lost:?}");
    assert!(all.next().await.is_none(), "nothing came whole");
    // As long as somebody could revive the client, its driver stays.
    drop((client, events, all));
    assert_eq!(ended.await, lost);
    lost
}

/// Whether a client has got as far as MQTT.
async fn has_served(server: &TestServer) -> bool {
    let events = server.events().await;
    // What the broker publishes itself is of nobody.
    let of_a_client = |event: &BrokerEvent| {
        matches!(
            event,
            BrokerEvent::Connected { .. }
                | BrokerEvent::Accepted {
                    client_identifier: Some(_),
                    ..
                }
        )
    };
    events.iter().any(of_a_client)
}

#[track_caller]
fn assert_says(error: &TransportError, kind: TransportErrorKind, words: &[&str]) {
    let text = format!(
        "{:#}",
        martlet_client::Error::from(ConnectionError::Transport(error.clone()))
    );
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn instead(at: Level, bytes: impl Into<Vec<u8>>, end: FaultEnd) -> Fault {
    Fault::Says {
        at,
        bytes: bytes.into(),
        end,
    }
}

fn ends(at: Level, after: usize, end: FaultEnd) -> Fault {
    Fault::Ends { at, after, end }
}

fn recording() -> BrokerConfig {
    BrokerConfig::default().record_events(true)
}
