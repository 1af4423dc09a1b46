//! Code of the application that the driver awaits: before each CONNECT, and while it authenticates. It runs outside the
//! lock, and each step has a deadline.

use crate::authenticator::{Authenticator, Task};
use crate::error::ConnectError;
use crate::link::Link;
use crate::own::Own;
use crate::shared::State;
use crate::stage::check_header;
use crate::wakers::Wakers;
use martlet_proto::{BinaryData, Utf8String};
use martlet_session::{
    AuthMessage, Authentication, ConnectOptions, ConnectionError, GivenUp, Instant, RequestError,
};
use martlet_transport::Endpoint;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a hook of the application gives back: a future that the driver polls. It may await what it likes, but must not
/// block, and it is dropped when its deadline or the connection is over.
pub type HookFuture<T> = Pin<Box<dyn Future<Output = Result<T, GivenUp>> + Send>>;

/// An attempt to connect that is about to begin. A hook may change where it goes and what its CONNECT says; the next
/// attempt begins with the builder's settings again. `Debug` shows no secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    last_error: Option<ConnectionError>,
    endpoint: Endpoint,
    connect: ConnectOptions,
    headers: Vec<(String, String)>,
}

impl Attempt {
    pub(crate) fn new(
        number: u32,
        last_error: Option<ConnectionError>,
        endpoint: Endpoint,
        connect: ConnectOptions,
        headers: Vec<(String, String)>,
    ) -> Self {
        Self { number, last_error, endpoint, connect, headers }
    }

    /// 1 for the first attempt of a client, and for the first after a connection; one more for each that fails.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Why the last attempt or connection ended; `None` at the very first.
    pub fn last_error(&self) -> Option<&ConnectionError> {
        self.last_error.as_ref()
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Goes to another server, with the credentials of its URI if it has any.
    pub fn set_endpoint(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
        self.take_credentials();
    }

    /// What the CONNECT says: credentials, the will, user properties. The version is not decided here, nor, with an
    /// [`Authenticator`], the enhanced authentication.
    pub fn connect(&mut self) -> &mut ConnectOptions {
        &mut self.connect
    }

    /// Sets who we are.
    ///
    /// # Errors
    /// [`ConnectError::Setting`] when one is too long or the name holds U+0000.
    pub fn set_credentials(
        &mut self,
        user_name: &str,
        password: impl AsRef<[u8]>,
    ) -> Result<(), ConnectError> {
        let setting = |what| move |error| ConnectError::Setting { what, error };
        let user_name = Utf8String::try_from(user_name).map_err(setting("user name"))?;
        let password = BinaryData::try_from(password.as_ref()).map_err(setting("password"))?;
        self.connect.user_name = Some(user_name);
        self.connect.password = Some(password);
        Ok(())
    }

    /// Sets a header of the request that begins a WebSocket connection, such as `Authorization`, in place of one with
    /// the same name. Other connections have no use for it.
    ///
    /// # Errors
    /// [`ConnectError::Stack`] when it is none, or one that the handshake sets itself.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), ConnectError> {
        check_header(name, value)?;
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.connect
    }

    fn take_credentials(&mut self) {
        let endpoint = &self.endpoint;
        if endpoint.user_name().is_some() || endpoint.password().is_some() {
            // Checked by `Endpoint::parse`.
            self.connect.user_name = endpoint.user_name().and_then(|name| name.try_into().ok());
            self.connect.password = endpoint.password().and_then(|password| password.try_into().ok());
        }
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number)
            .field("last_error", &self.last_error)
            .field("endpoint", &self.endpoint)
            .field("connect", &self.connect)
            .finish_non_exhaustive()
    }
}

pub(crate) type BeforeConnect = Box<dyn FnMut(Attempt) -> HookFuture<Attempt> + Send>;

/// The hooks of a client, and the one that is at work.
pub(crate) struct Hooks {
    before_connect: Option<BeforeConnect>,
    authenticator: Option<Box<dyn Authenticator>>,
    /// What the session has asked for.
    task: Option<Task>,
    work: Option<Work>,
    /// When `work` must have ended, where neither the link nor the session sees to that.
    deadline: Option<Instant>,
    done: Option<Done>,
}

/// The future that is polled.
enum Work {
    Prepare(HookFuture<Attempt>),
    /// The first data when authenticating again.
    Begin(HookFuture<Option<BinaryData>>),
    Answer(HookFuture<Option<BinaryData>>),
    Accept(HookFuture<()>),
    AcceptAgain(HookFuture<()>),
}

/// What it has come to, for the session.
enum Done {
    Begun(Result<Option<BinaryData>, GivenUp>),
    Answered(Result<Option<BinaryData>, GivenUp>),
    Accepted(Result<(), GivenUp>),
    AcceptedAgain(Result<(), GivenUp>),
}

impl Hooks {
    pub(crate) fn new(
        before_connect: Option<BeforeConnect>,
        authenticator: Option<Box<dyn Authenticator>>,
    ) -> Option<Box<Self>> {
        if before_connect.is_none() && authenticator.is_none() {
            return None;
        }
        let (task, work, deadline, done) = (None, None, None, None);
        Some(Box::new(Self { before_connect, authenticator, task, work, deadline, done }))
    }

    pub(crate) fn can_authenticate(&self) -> bool {
        self.authenticator.is_some()
    }

    /// Polls what is at work, outside the lock. Returns whether anything happened.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, now: Instant, link: &mut Link) -> bool {
        if let Some(attempt) = link.poll_prepare(now) {
            self.work = Some(Work::Prepare(self.prepare(attempt)));
            self.deadline = None;
        }
        if let (Some(task), Some(authenticator)) = (self.task.take(), &mut self.authenticator) {
            self.work = Some(match task {
                Task::Begin => Work::Begin(authenticator.begin()),
                Task::Answer(message) => Work::Answer(authenticator.answer(*message)),
                Task::Accept(message) => Work::Accept(authenticator.accept(*message)),
                Task::AcceptAgain(message) => Work::AcceptAgain(authenticator.accept(*message)),
            });
        }
        let Some(work) = &mut self.work else { return false };
        let is_wanted = match work {
            Work::Prepare(_) => link.is_preparing(),
            _ => link.has_socket(),
        };
        if !is_wanted {
            self.work = None;
            self.deadline = None;
            return false;
        }
        let done = match work {
            Work::Prepare(future) => future.as_mut().poll(cx).map(|mut prepared| {
                if let Ok(attempt) = &mut prepared {
                    attempt.connect.own();
                }
                link.handle_prepared(prepared);
                None
            }),
            Work::Begin(future) => future.as_mut().poll(cx).map(|it| Some(Done::Begun(it.map(owned)))),
            Work::Answer(future) => future.as_mut().poll(cx).map(|it| Some(Done::Answered(it.map(owned)))),
            Work::Accept(future) => future.as_mut().poll(cx).map(|it| Some(Done::Accepted(it))),
            Work::AcceptAgain(future) => future.as_mut().poll(cx).map(|it| Some(Done::AcceptedAgain(it))),
        };
        match done {
            Poll::Ready(done) => self.done = done,
            Poll::Pending if self.deadline.is_some_and(|at| at <= now) => {
                let late = GivenUp::for_now("the authenticator gave no answer in time");
                self.done = Some(match work {
                    Work::Begin(_) => Done::Begun(Err(late)),
                    _ => Done::AcceptedAgain(Err(late)),
                });
            }
            Poll::Pending => return false,
        }
        self.work = None;
        self.deadline = None;
        true
    }

    /// What both hooks make of an attempt, one after the other.
    fn prepare(&mut self, attempt: Attempt) -> HookFuture<Attempt> {
        let changed = match &mut self.before_connect {
            Some(hook) => hook(attempt),
            None => Box::pin(ready(Ok(attempt))),
        };
        let Some(authenticator) = &mut self.authenticator else { return changed };
        let (method, data) = (authenticator.method(), authenticator.begin());
        Box::pin(async move {
            let mut attempt = changed.await?;
            let data = data.await?;
            attempt.connect.authentication = Some(Box::new(Authentication { method, data }));
            Ok(attempt)
        })
    }

    /// Tells the session what has come out, and learns what it asks for. Returns whether anything happened.
    pub(crate) fn exchange(&mut self, now: Instant, state: &mut State, wakers: &mut Wakers) -> bool {
        let done = self.done.take();
        let mut any = done.is_some();
        match done {
            None => {}
            Some(Done::Begun(Ok(data))) => {
                if let Err(error) = state.session.reauthenticate(now, says(data)) {
                    state.finish_reauthentication(Err(error.into()), wakers);
                }
            }
            Some(Done::Begun(Err(why))) => state.finish_reauthentication(Err(why.into()), wakers),
            Some(Done::Answered(answer)) => {
                let refused = match answer {
                    Ok(data) => match state.session.authenticate(now, says(data)) {
                        // Without a challenge the connection has gone meanwhile.
                        Ok(()) | Err(RequestError::NoChallenge) => None,
                        Err(error) => Some(GivenUp::for_good(error)),
                    },
                    Err(why) => Some(why),
                };
                if let Some(why) = refused {
                    state.give_up(why, wakers);
                }
            }
            Some(Done::Accepted(Ok(()))) => {
                // Nothing to accept: the connection has gone meanwhile.
                let _ = state.session.accept_server();
            }
            Some(Done::AcceptedAgain(Ok(()))) => state.finish_reauthentication(Ok(()), wakers),
            Some(Done::Accepted(Err(why)) | Done::AcceptedAgain(Err(why))) => state.give_up(why, wakers),
        }
        if let Some(task) = state.authenticating.take_task() {
            any = true;
            // The session has a deadline for the others.
            let is_ours = matches!(task, Task::Begin | Task::AcceptAgain(_));
            self.deadline = is_ours.then(|| now + state.session.config().connect_timeout);
            self.task = Some(task);
        }
        any
    }

    /// When time is up for what is at work.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }
}

fn owned(mut data: Option<BinaryData>) -> Option<BinaryData> {
    data.own();
    data
}

fn says(data: Option<BinaryData>) -> AuthMessage {
    AuthMessage { data, ..AuthMessage::default() }
}
