//! Spans of attempts to connect and of connections, with the feature `tracing`. They are made where
//! the log is written: by the driver, without the lock.

use crate::event::ClientEvent;
use martlet_session::ConnectionError;
use tracing::Span;
use tracing::field::Empty;

/// The spans that a client's connection is in.
#[derive(Default)]
pub(crate) struct Spans {
    /// The attempt or connection that is under way.
    current: Option<Span>,
}

impl Spans {
    /// Something has happened to the client. `write` is called within the span that it is in: the
    /// one that begins with it, or the one that ends.
    pub(crate) fn handle_event(&mut self, client: &str, event: &ClientEvent, write: impl FnOnce()) {
        match event {
            ClientEvent::Connecting(endpoint) => {
                self.current = Some(tracing::info_span!(
                    target: "martlet",
                    parent: None,
                    "connect",
                    messaging.system = "mqtt",
                    messaging.client.id = client,
                    server.address = endpoint.host(),
                    server.port = endpoint.port(),
                    "error.type" = Empty,
                ));
            }
            ClientEvent::Connected(connected) => {
                // The attempt has succeeded.
                self.current = Some(tracing::info_span!(
                    target: "martlet",
                    parent: None,
                    "connection",
                    messaging.system = "mqtt",
                    messaging.client.id = client,
                    mqtt.version = %connected.version,
                    mqtt.session_present = connected.session_present,
                    "error.type" = Empty,
                ));
            }
            ClientEvent::Disconnected { reason, .. } => {
                if let Some(span) = &self.current {
                    span.record("error.type", name_of(reason));
                }
            }
            _ => {}
        }
        match &self.current {
            Some(span) => span.in_scope(write),
            None => write(),
        }
        let is_end = matches!(
            event,
            ClientEvent::Disconnected { .. } | ClientEvent::Closed
        );
        if is_end {
            self.current = None;
        }
    }
}

/// A name for an error that stays the same, and has no text of others.
fn name_of(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::ClosedByPeer => "closed_by_peer",
        ConnectionError::Transport(_) => "transport",
        ConnectionError::Rejected(_) => "rejected",
        ConnectionError::DisconnectedByPeer(_) => "disconnected_by_peer",
        ConnectionError::Malformed(_) => "malformed",
        ConnectionError::PeerMisbehaved(_) => "peer_misbehaved",
        ConnectionError::Timeout(_) => "timeout",
        ConnectionError::NoConnAck { .. } => "no_connack",
        ConnectionError::Replaced => "replaced",
        ConnectionError::InboundOverrun => "inbound_overrun",
        ConnectionError::GivenUp(_) => "given_up",
        _ => "_OTHER",
    }
}
