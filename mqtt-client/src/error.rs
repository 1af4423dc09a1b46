//! Errors of the client as a whole. Those of one operation are the session's.

use martlet_proto::{SubAckReasonCode, TextError, TopicError};
use martlet_session::{ConnectionError, Details, GivenUp, RequestError, SharedError};
use martlet_transport::UriError;
use std::fmt;

/// Why there is no connection.
///
/// ```
/// # use martlet_client::{Client, ConnectError, ConnectionError, Error};
/// # async fn example(client: Client) {
/// match client.connected().await {
///     Ok(connected) => println!("session present: {}", connected.session_present),
///     Err(ConnectError::Connection(ConnectionError::Rejected(rejection))) => {
///         println!("the server says {}", rejection.reason);
///     }
///     Err(error) => println!("{:#}", Error::from(error)), // with its causes
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URI is wrong.
    #[error("the URI is wrong")]
    Uri(#[from] UriError),
    /// What TLS was to trust cannot be used.
    #[cfg(feature = "tls")]
    #[error("what TLS is to trust, or to show, cannot be used")]
    Trust(#[from] martlet_transport::TrustError),
    /// What was to stand between the socket and MQTT cannot be spoken.
    #[error(transparent)]
    Stack(#[from] martlet_transport::StackError),
    /// A setting that MQTT cannot carry.
    #[error("{what}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// What is wrong with it.
        #[source]
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
    #[error(transparent)]
    Settings(SharedError),
    /// The connection could not be made, or the server rejected it.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl ConnectError {
    /// Wraps the error of a configuration, for code that makes a [`Builder`](crate::Builder) of
    /// one. `martlet-config` does so with its `SettingsError`.
    pub fn settings(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Settings(SharedError::new(
            Box::<dyn std::error::Error + Send + Sync>::from(error),
        ))
    }
}

/// An error with its cause, the cause of that, and so on, in one line.
pub(crate) struct WithCauses<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl<'a> WithCauses<'a> {
    /// The error and its causes.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
        std::iter::successors(Some(self.0), |error| error.source())
    }
}

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut causes = self.all().skip(1);
        causes.try_for_each(|cause| write!(f, ": {cause}"))
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
///
/// ```
/// # use martlet_client::{Client, SubscribeError};
/// # async fn example(client: Client) {
/// if let Err(SubscribeError::Rejected { reasons, .. }) = client.subscribe("secrets/#").await {
///     println!("the server grants none of the filters: {reasons:?}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The topic filter is wrong.
    #[error("the topic filter is wrong")]
    Filter(#[from] TopicError),
    /// It was not asked, or not answered.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The server rejected every filter.
    #[error("the server rejected the subscription: {}", .reasons.first().map_or_else(String::new, ToString::to_string))]
    Rejected {
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
    #[error("the topic filter is wrong")]
    Filter(#[from] TopicError),
    /// It was not asked, or not answered.
    #[error(transparent)]
    Request(#[from] RequestError),
}
