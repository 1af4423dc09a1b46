//! Enhanced authentication: what an application implements, and authenticating again.

use crate::client::Client;
use crate::error::AuthenticateError;
use crate::hooks::HookFuture;
use crate::shared::State;
use crate::wakers::Wakers;
use martlet_proto::{BinaryData, Utf8String};
use martlet_session::{AuthMessage, GivenUp, RequestError};
use std::future::ready;
use std::task::Poll;

/// A method of enhanced authentication (MQTT 5 §4.12), such as SCRAM or Kerberos. The driver calls it before each
/// CONNECT, for each challenge of the server, and when the client authenticates again.
///
/// Each method gives back a future that the driver awaits outside its lock, so it may ask others, but must not block;
/// [`connect_timeout`](martlet_session::Config::connect_timeout) bounds it. State that a future changes is shared with
/// it, in an `Arc` say. One run is at work at a time: [`begin`](Self::begin) starts the next, and forgets one whose
/// connection was lost.
///
/// ```
/// use martlet_client::{AuthMessage, Authenticator, BinaryData, GivenUp, HookFuture, Utf8String};
/// use std::future::ready;
///
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

    /// Begins a run: the data for CONNECT, or for the AUTH that authenticates again, if the client speaks first.
    ///
    /// # Errors
    /// [`GivenUp`] ends the attempt to connect, or to authenticate again; a connection that there is goes on.
    fn begin(&mut self) -> HookFuture<Option<BinaryData>>;

    /// Answers a challenge.
    ///
    /// # Errors
    /// [`GivenUp`] ends the connection.
    fn answer(&mut self, challenge: AuthMessage) -> HookFuture<Option<BinaryData>>;

    /// The server is content: checks its proof, in methods where it has one. Before a connection is accepted here
    /// nothing else is sent or read on it. By default whatever it says is accepted.
    ///
    /// # Errors
    /// [`GivenUp`] ends the connection.
    fn accept(&mut self, last: AuthMessage) -> HookFuture<()> {
        drop(last);
        Box::pin(ready(Ok(())))
    }
}

impl Client {
    /// Authenticates again on the connection that there is (MQTT 5 §4.12.1), with the builder's [`Authenticator`], as
    /// when a token is about to expire. Everything else goes on meanwhile.
    ///
    /// It never waits for a connection. Each step has a deadline,
    /// [`connect_timeout`](martlet_session::Config::connect_timeout).
    ///
    /// Cancel safe: dropped while it waits, the authentication goes its way.
    ///
    /// # Errors
    /// [`AuthenticateError::GivenUp`] when the authenticator failed, and [`AuthenticateError::Request`] with
    /// [`RequestError::NotConnected`] without a connection, or when it ended: a server that refuses ends it;
    /// [`RequestError::NotSupported`] without an authenticator; [`RequestError::TooMany`] while another is under way.
    pub async fn reauthenticate(&self) -> Result<(), AuthenticateError> {
        let run = self.shared().act(|state, _| state.ask_reauthentication())?;
        self.watch(|state| state.poll_reauthentication(run)).await
    }
}

/// What the session asks of the authenticator, and who waits for a re-authentication.
#[derive(Debug, Default)]
pub(crate) struct Authenticating {
    /// There is an authenticator.
    pub(crate) available: bool,
    /// One at a time: the session asks again only when it was answered.
    task: Option<Task>,
    /// The last re-authentication, and how it ended.
    again: Option<(u64, Option<Result<(), AuthenticateError>>)>,
}

#[derive(Debug)]
pub(crate) enum Task {
    /// Authenticate again.
    Begin,
    Answer(Box<AuthMessage>),
    Accept(Box<AuthMessage>),
    AcceptAgain(Box<AuthMessage>),
}

impl Authenticating {
    pub(crate) fn ask(&mut self, task: Task) {
        self.task = Some(task);
    }

    pub(crate) fn take_task(&mut self) -> Option<Task> {
        self.task.take()
    }
}

impl State {
    fn ask_reauthentication(&mut self) -> Result<u64, AuthenticateError> {
        if !self.session.is_connected() {
            let ended = self.session.is_ended();
            return Err(if ended { RequestError::Closed } else { RequestError::NotConnected }.into());
        }
        if !self.authenticating.available {
            return Err(RequestError::NotSupported("authenticating again is").into());
        }
        if matches!(self.authenticating.again, Some((_, None))) {
            return Err(RequestError::TooMany.into());
        }
        let run = self.new_id();
        self.authenticating.again = Some((run, None));
        self.authenticating.ask(Task::Begin);
        Ok(run)
    }

    fn poll_reauthentication(&mut self, run: u64) -> Poll<Result<(), AuthenticateError>> {
        match &self.authenticating.again {
            Some((of, None)) if *of == run => return Poll::Pending,
            Some((of, Some(_))) if *of == run => {}
            // The next one began before anybody looked how this one had ended.
            _ => return Poll::Ready(Err(RequestError::NotConnected.into())),
        }
        let result = self.authenticating.again.take().and_then(|(_, result)| result);
        Poll::Ready(result.expect("looked at a moment ago"))
    }

    /// It has ended, if one is under way.
    pub(crate) fn finish_reauthentication(
        &mut self,
        result: Result<(), AuthenticateError>,
        wakers: &mut Wakers,
    ) {
        if let Some((_, unfinished @ None)) = &mut self.authenticating.again {
            *unfinished = Some(result);
            self.notify_watchers(wakers);
        }
    }

    /// The connection is gone, and with it all that was asked on it.
    pub(crate) fn forget_authentication(&mut self, error: RequestError, wakers: &mut Wakers) {
        self.authenticating.task = None;
        self.finish_reauthentication(Err(error.into()), wakers);
    }

    /// The application will not go on with the connection, or not authenticate again.
    pub(crate) fn give_up(&mut self, why: GivenUp, wakers: &mut Wakers) {
        self.finish_reauthentication(Err(why.clone().into()), wakers);
        self.session.give_up(why);
    }
}
