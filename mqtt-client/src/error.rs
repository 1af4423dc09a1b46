//! Errors of the client as a whole. Those of one operation are the session's.

use martlet_proto::{SubAckReasonCode, TextError, TopicError};
use martlet_session::{ConnectionError, Details, GivenUp, RequestError};
use martlet_transport::UriError;
use std::fmt;
use std::sync::Arc;

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
        /// The setting.
        what: &'static str,
        /// What is wrong with it.
        error: TextError,
    },
    /// A topic name or topic filter among the settings is none.
    #[error("{what}")]
    Topic {
        /// The setting.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        error: TopicError,
    },
    /// The configuration that the builder was to be made of is wrong; see
    /// [`settings`](Self::settings).
    #[error("configuration: {0}")]
    Settings(SharedError),
    /// The connection could not be made, or the server refused it.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl ConnectError {
    /// Wraps the error of a configuration, for code that makes a [`Builder`](crate::Builder) of
    /// one. `martlet-config` does so with its `SettingsError`.
    pub fn settings(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Settings(SharedError(Arc::new(error)))
    }
}

/// An error of any type that can be cloned.
///
/// `Debug` and `Display` are those of the error inside. Two are equal if they are clones of one
/// error, or have the same text.
#[derive(Clone)]
pub struct SharedError(Arc<dyn std::error::Error + Send + Sync>);

impl SharedError {
    /// Returns the error inside.
    pub fn get(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }

    /// Returns the error inside if it has this type.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl PartialEq for SharedError {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.to_string() == other.to_string()
    }
}

impl Eq for SharedError {}

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A hook that cannot set what it wants gives up for now: the next token may be another.
impl From<ConnectError> for GivenUp {
    fn from(error: ConnectError) -> Self {
        Self::for_now(error)
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
