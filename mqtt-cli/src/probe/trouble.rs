//! Why a conversation with the server did not go on.

use martlet_tokio::proto::{ConnectReasonCode, DisconnectReasonCode};
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
    /// The server has sent more than this number of bytes.
    Flooded(u64),
    /// This cannot be said in MQTT, or in this version of it.
    Unsayable(String),
}

impl Trouble {
    /// Whether the server was reached and did not do what it was asked for.
    pub(super) fn is_an_answer(&self) -> bool {
        !matches!(self, Self::Unreachable(_) | Self::Unsayable(_))
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
            Self::Misbehaved(why) => f.write_str(why),
            Self::Flooded(bytes) => write!(
                f,
                "the server has sent more than {bytes} bytes on one connection"
            ),
            Self::Unsayable(why) => write!(f, "cannot be sent: {why}"),
        }
    }
}
