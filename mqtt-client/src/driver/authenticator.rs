//! Enhanced authentication: what an application implements.

use crate::driver::guard::HookFuture;
use martlet_proto::{BinaryData, Utf8String};
use martlet_session::AuthMessage;
use std::future::ready;

/// A method of enhanced authentication (MQTT 5 §4.12), such as SCRAM or Kerberos. The driver calls
/// it before each CONNECT, for each challenge of the server, and when the client authenticates
/// again.
///
/// Each method gives back a future that the driver awaits outside its lock, so it may ask others,
/// but must not block. [`hook_timeout`](crate::Builder::hook_timeout) bounds `begin` before a
/// CONNECT; [`connect_timeout`](martlet_session::Config::connect_timeout) bounds every other step.
/// State that a future changes is shared with it, in an `Arc` say. One run is at work at a time:
/// [`begin`](Self::begin) starts the next, and forgets one whose connection was lost. One that
/// panics fails the connection, as [`GivenUp::for_now`](martlet_session::GivenUp::for_now) does.
///
/// ```
/// use martlet_client::{hooks::{AuthMessage, Authenticator, GivenUp, HookFuture}, proto::{BinaryData, Utf8String}};
/// use std::future::ready;
///
/// #[derive(Clone)]
/// struct Pin(&'static str);
///
/// impl Authenticator for Pin {
///     fn method(&self) -> Utf8String {
///         "PIN".try_into().expect("a short name")
///     }
///
///     fn begin(&mut self) -> HookFuture<Option<BinaryData>> {
///         Box::pin(ready(Ok(None)))
///     }
///
///     fn answer(&mut self, challenge: AuthMessage) -> HookFuture<Option<BinaryData>> {
///         let pin = self.0;
///         Box::pin(async move {
///             if challenge.data.is_none_or(|data| data.as_bytes() != b"PIN?") {
///                 return Err(GivenUp::for_good("a question that nobody expects"));
///             }
///             BinaryData::try_from(pin).map(Some).map_err(GivenUp::for_good)
///         })
///     }
/// }
/// ```
pub trait Authenticator: Send {
    /// The name of the method. It stays the same.
    fn method(&self) -> Utf8String;

    /// Begins a run: the data for CONNECT, or for the AUTH that authenticates again, if the client
    /// speaks first.
    ///
    /// # Errors
    /// [`GivenUp`](martlet_session::GivenUp) ends the attempt to connect, or to authenticate again;
    /// a connection that there is goes on.
    fn begin(&mut self) -> HookFuture<Option<BinaryData>>;

    /// Answers a challenge.
    ///
    /// # Errors
    /// [`GivenUp`](martlet_session::GivenUp) ends the connection.
    fn answer(&mut self, challenge: AuthMessage) -> HookFuture<Option<BinaryData>>;

    /// The server has accepted the authentication: checks its proof, in methods where it has one.
    /// Nothing else is sent or read on a connection before it is accepted here. The default accepts
    /// every proof.
    ///
    /// # Errors
    /// [`GivenUp`](martlet_session::GivenUp) ends the connection.
    fn accept(&mut self, last: AuthMessage) -> HookFuture<()> {
        drop(last);
        Box::pin(ready(Ok(())))
    }
}
