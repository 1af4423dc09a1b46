//! Errors of the client as a whole. Those of one operation are the session's.

use crate::settings::SettingsError;
use martlet_proto::{SubAckReasonCode, TextError, TopicError};
use martlet_session::{ConnectionError, Details, GivenUp, RequestError};
use martlet_transport::UriError;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URI is wrong.
    #[error("wrong URI: {0}")]
    Uri(#[from] UriError),
    /// What TLS was to trust cannot be used.
    #[cfg(feature = "tls")]
    #[error("TLS: {0}")]
    Trust(#[from] martlet_transport::TrustError),
    /// What was to stand between the socket and MQTT cannot be spoken.
    #[error(transparent)]
    Stack(#[from] martlet_transport::Error),
    /// A setting that MQTT cannot carry.
    #[error("{what}: {error}")]
    Setting {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        error: TextError,
    },
    /// A setting of the configuration.
    #[error("configuration: {0}")]
    Settings(Box<SettingsError>),
    /// The connection could not be made, or the server refused it.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl From<SettingsError> for ConnectError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(Box::new(error))
    }
}

/// A hook that cannot set what it wants gives up.
impl From<ConnectError> for GivenUp {
    fn from(error: ConnectError) -> Self {
        Self::for_good(error)
    }
}

/// Why the client did not authenticate again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticateError {
    /// The authenticator failed.
    #[error(transparent)]
    GivenUp(#[from] GivenUp),
    /// It was not asked, or the connection ended before the answer.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Why there is no subscription.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The topic filter is wrong.
    #[error("topic filter: {0}")]
    Filter(#[from] TopicError),
    /// It was not asked, or not answered.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The server refused every filter.
    #[error("the server refused the subscription: {}", .reasons.first().map_or_else(String::new, ToString::to_string))]
    Refused {
        /// Why, for each filter in their order.
        reasons: Vec<SubAckReasonCode>,
        /// The server's words.
        details: Option<Box<Details>>,
    },
}

/// Why an unsubscribe failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsubscribeError {
    /// The topic filter is wrong.
    #[error("topic filter: {0}")]
    Filter(#[from] TopicError),
    /// It was not asked, or not answered.
    #[error(transparent)]
    Request(#[from] RequestError),
}
