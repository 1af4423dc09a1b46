//! One error for all that this crate has.

use crate::api::request::ResponseError;
use crate::builder::durable::OpenError;
use crate::error::{AuthenticateError, ConnectError, SubscribeError, UnsubscribeError};
use martlet_session::{ConnectionError, PublishError, RequestError};

/// Any error of this crate, for callers who only report it: each of the others becomes one by `?`.
///
/// ```
/// # use martlet_client::{Client, Error};
/// async fn hello(client: &Client) -> Result<(), Error> {
///     let _greetings = client.subscribe("greetings").await?;
///     client.publish("greetings", "hello").await?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection, or a setting is wrong.
    Connect(#[from] ConnectError),
    /// The connection has ended.
    Connection(#[from] ConnectionError),
    /// A client cannot go on with its store.
    Open(#[from] OpenError),
    /// A message was not accepted, or not settled.
    Publish(#[from] PublishError),
    /// There is no subscription.
    Subscribe(#[from] SubscribeError),
    /// An unsubscribe failed.
    Unsubscribe(#[from] UnsubscribeError),
    /// The server was not asked, or did not answer.
    Request(#[from] RequestError),
    /// There is no response.
    Response(#[from] ResponseError),
    /// The client did not authenticate again.
    Authenticate(#[from] AuthenticateError),
}
