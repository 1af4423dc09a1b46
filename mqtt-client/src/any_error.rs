//! One error for all that this crate has.

use crate::api::request::ResponseError;
use crate::api::subscription::NoMessage;
use crate::builder::durable::OpenError;
use crate::error::{AuthenticateError, ConnectError, SubscribeError, UnsubscribeError, WithCauses};
use martlet_proto::{TextError, TopicError};
use martlet_session::{ConnectionError, PublishError, RequestError, SharedError, StoreError};
use martlet_transport::UriError;
use std::fmt;

/// Any error of this crate, for callers who only report it: each of the others becomes one by `?`.
///
/// `{error}` says what failed, and `source()` why. `{error:#}` says it with all of its causes, such
/// as `cannot connect to 127.0.0.1:1883: Connection refused (os error 111)`; so does `{error:?}`,
/// since that is what a `main` that returns it shows.
///
/// ```
/// # use martlet_client::{Client, Error};
/// async fn hello(client: &Client) -> Result<(), Error> {
///     let _greetings = client.subscribe("greetings").await?;
///     client.publish("greetings", "hello").await?;
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection, or a setting is wrong.
    Connect(ConnectError),
    /// The connection has ended.
    Connection(ConnectionError),
    /// A client cannot go on with its store.
    Open(OpenError),
    /// A message was not accepted, or not acknowledged.
    Publish(PublishError),
    /// There is no subscription.
    Subscribe(SubscribeError),
    /// An unsubscribe failed.
    Unsubscribe(UnsubscribeError),
    /// The server was not asked, or did not answer.
    Request(RequestError),
    /// There is no response.
    Response(ResponseError),
    /// The client did not authenticate again.
    Authenticate(AuthenticateError),
    /// A topic name or topic filter is none.
    Topic(TopicError),
    /// A text or binary data that MQTT cannot carry.
    Text(TextError),
    /// A URI is wrong.
    Uri(UriError),
    /// A store cannot be read or written.
    Store(StoreError),
    /// No message has come in time.
    NoMessage(NoMessage),
    /// Another error, of a crate that is built on this one: made by [`Error::other`].
    Other(SharedError),
    /// What TLS is to trust, or to show, cannot be used.
    #[cfg(feature = "tls")]
    Trust(martlet_transport::TrustError),
}

impl Error {
    /// Wraps an error that has no variant of its own.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(SharedError::new(error))
    }

    /// The error, or the first error of its causes, that has this type: such as
    /// [`std::io::Error`].
    ///
    /// ```
    /// # use martlet_client::{Error, session::{ConnectionError, TransportError}};
    /// let lost = ConnectionError::Transport(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
    /// let kind = Error::from(lost).find::<std::io::Error>().map(std::io::Error::kind);
    /// assert_eq!(kind, Some(std::io::ErrorKind::ConnectionReset));
    /// ```
    pub fn find<E: std::error::Error + 'static>(&self) -> Option<&E> {
        WithCauses(self.inner())
            .all()
            .find_map(|error| error.downcast_ref())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            WithCauses(self.inner()).fmt(f)
        } else {
            write!(f, "{}", self.inner())
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner().source()
    }
}

/// All variants: each is made of the error that it holds.
macro_rules! made_of {
    ($($(#[$attribute:meta])* $variant:ident($error:ty),)*) => {
        impl Error {
            fn inner(&self) -> &(dyn std::error::Error + 'static) {
                match self {
                    $($(#[$attribute])* Self::$variant(error) => error,)*
                }
            }
        }

        $($(#[$attribute])* impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

made_of! {
    Connect(ConnectError),
    Connection(ConnectionError),
    Open(OpenError),
    Publish(PublishError),
    Subscribe(SubscribeError),
    Unsubscribe(UnsubscribeError),
    Request(RequestError),
    Response(ResponseError),
    Authenticate(AuthenticateError),
    Topic(TopicError),
    Text(TextError),
    Uri(UriError),
    Store(StoreError),
    NoMessage(NoMessage),
    Other(SharedError),
    #[cfg(feature = "tls")]
    Trust(martlet_transport::TrustError),
}
