//! Why a conversation with the server did not go on.

use martlet_tokio::proto::{
    ConnectReasonCode, DisconnectReasonCode, PubAckReasonCode, SubAckReasonCode,
};
use std::fmt;

/// Why a conversation with the server did not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No connection: the network, a proxy, TLS or WebSocket.
    Unreachable(String),
    /// The CONNACK has this reason.
    Rejected(ConnectReasonCode),
    /// The server ended the connection after this packet of ours.
    Closed {
        after: &'static str,
        reason: Option<DisconnectReasonCode>,
    },
    /// This did not come in time.
    Silent(&'static str),
    /// The server has sent what is no MQTT, or not what it had to answer.
    Misbehaved(String),
    /// The server does not let this client do it.
    Denied(String),
    /// The server has sent more than this number of bytes.
    Flooded(u64),
    /// Cannot be encoded in this version of MQTT.
    NotEncodable(String),
}

impl Trouble {
    /// Whether the server was reached and did not do what it was asked for, although this client
    /// may ask for it.
    pub(super) fn is_an_answer(&self) -> bool {
        !matches!(self, Self::Unreachable(_) | Self::NotEncodable(_)) && !self.is_denied()
    }

    /// Whether it is about this client's permissions and topics: nothing is known of the server.
    pub(super) fn is_denied(&self) -> bool {
        use DisconnectReasonCode::{NotAuthorized, TopicNameInvalid};
        matches!(
            self,
            Self::Denied(_)
                | Self::Rejected(
                    ConnectReasonCode::NotAuthorized | ConnectReasonCode::TopicNameInvalid
                )
                | Self::Closed {
                    reason: Some(NotAuthorized | TopicNameInvalid),
                    ..
                }
        )
    }

    /// The server rejects a PUBLISH.
    pub(super) fn unpublished(reason: PubAckReasonCode) -> Self {
        let text = format!("the server rejects a PUBLISH: {reason}");
        match reason {
            PubAckReasonCode::NotAuthorized | PubAckReasonCode::TopicNameInvalid => {
                Self::Denied(text)
            }
            _ => Self::Misbehaved(text),
        }
    }

    /// The server rejects a subscription.
    pub(super) fn unsubscribed(reason: SubAckReasonCode, text: String) -> Self {
        match reason {
            SubAckReasonCode::NotAuthorized => Self::Denied(text),
            _ => Self::Misbehaved(text),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "no connection: {why}"),
            Self::Rejected(reason) => write!(f, "the server rejects the CONNECT: {reason}"),
            Self::Closed {
                after,
                reason: Some(reason),
            } => write!(f, "the server disconnects after {after}: {reason}"),
            Self::Closed {
                after,
                reason: None,
            } => write!(f, "the server closes the connection after {after}"),
            Self::Silent(what) => write!(f, "no {what} in time"),
            Self::Misbehaved(why) | Self::Denied(why) => f.write_str(why),
            Self::Flooded(bytes) => write!(
                f,
                "the server has sent more than {bytes} bytes on one connection"
            ),
            Self::NotEncodable(why) => write!(f, "cannot be sent: {why}"),
        }
    }
}
