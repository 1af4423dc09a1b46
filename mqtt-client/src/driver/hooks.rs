//! Code of the application that the driver awaits: before each CONNECT, and while it authenticates.
//! It runs outside the lock, and each step has a deadline.

use crate::driver::authenticator::Authenticator;
use crate::driver::guard::{HookFuture, Panics};
use crate::error::AuthenticateError;
use crate::event::{Callback, ClientEvent};
use crate::hub::authenticating::Task;
use crate::hub::own::Own;
use crate::hub::shared::State;
use crate::hub::wakers::Wakers;
use crate::link::Link;
use crate::link::attempt::Attempt;
use martlet_proto::BinaryData;
use martlet_session::{AuthMessage, Authentication, GivenUp, Instant, RequestError};
use std::future::ready;
use std::task::{Context, Poll};

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
    panics: Panics,
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
        Some(Box::new(Self {
            before_connect,
            authenticator,
            task: None,
            work: None,
            deadline: None,
            done: None,
            panics: Panics::default(),
        }))
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
            let (panics, callback) = (&self.panics, Callback::Authenticator);
            self.work = Some(match task {
                Task::Begin => Work::Begin(panics.guard(callback, || authenticator.begin())),
                Task::Answer(message) => {
                    Work::Answer(panics.guard(callback, || authenticator.answer(*message)))
                }
                Task::Accept(message) => {
                    Work::Accept(panics.guard(callback, || authenticator.accept(*message)))
                }
                Task::AcceptAgain(message) => {
                    Work::AcceptAgain(panics.guard(callback, || authenticator.accept(*message)))
                }
            });
        }
        let Some(work) = &mut self.work else {
            return false;
        };
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
            Work::Prepare(future) => future.as_mut().poll(cx).map(|prepared| {
                link.handle_prepared(prepared);
                None
            }),
            Work::Begin(future) => future
                .as_mut()
                .poll(cx)
                .map(|result| Some(Done::Begun(result.map(owned)))),
            Work::Answer(future) => future
                .as_mut()
                .poll(cx)
                .map(|result| Some(Done::Answered(result.map(owned)))),
            Work::Accept(future) => future
                .as_mut()
                .poll(cx)
                .map(|result| Some(Done::Accepted(result))),
            Work::AcceptAgain(future) => future
                .as_mut()
                .poll(cx)
                .map(|result| Some(Done::AcceptedAgain(result))),
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
            Some(hook) => self.panics.guard(Callback::BeforeConnect, || hook(attempt)),
            None => Box::pin(ready(Ok(attempt))),
        };
        let Some(authenticator) = &mut self.authenticator else {
            return changed;
        };
        let callback = Callback::Authenticator;
        let method = self.panics.catch(callback, || authenticator.method());
        let data = self.panics.guard(callback, || authenticator.begin());
        Box::pin(async move {
            let mut attempt = changed.await?;
            let (mut method, mut data) = (method?, data.await?);
            method.own();
            data.own();
            attempt.set_authentication(Authentication::new(method).data(data));
            Ok(attempt)
        })
    }

    /// Tells the session what has come out, and learns what it asks for. Returns whether anything
    /// happened.
    pub(crate) fn exchange(
        &mut self,
        now: Instant,
        state: &mut State,
        wakers: &mut Wakers,
    ) -> bool {
        let done = self.done.take();
        let mut any = done.is_some();
        for callback in self.panics.take() {
            any = true;
            state
                .events
                .push(&ClientEvent::HookPanicked(callback), wakers);
        }
        match done {
            None => {}
            Some(Done::Begun(Ok(data))) => {
                if let Err(error) = state.session.reauthenticate(now, says(data)) {
                    finish(state, Err(error.into()), wakers);
                }
            }
            Some(Done::Begun(Err(why))) => finish(state, Err(why.into()), wakers),
            Some(Done::Answered(answer)) => {
                let rejected = match answer {
                    Ok(data) => match state.session.authenticate(now, says(data)) {
                        // Without a challenge the connection has gone meanwhile.
                        Ok(()) | Err(RequestError::NoChallenge) => None,
                        Err(error) => Some(GivenUp::for_now(error)),
                    },
                    Err(why) => Some(why),
                };
                if let Some(why) = rejected {
                    state.give_up(why, wakers);
                }
            }
            Some(Done::Accepted(Ok(()))) => {
                // Nothing to accept: the connection has gone meanwhile.
                let _ = state.session.accept_server();
            }
            Some(Done::AcceptedAgain(Ok(()))) => finish(state, Ok(()), wakers),
            Some(Done::Accepted(Err(why)) | Done::AcceptedAgain(Err(why))) => {
                state.give_up(why, wakers);
            }
        }
        if let Some(task) = state.connection.authenticating.take_task() {
            any = true;
            // The session has a deadline for the others.
            let is_ours = matches!(task, Task::Begin | Task::AcceptAgain(_));
            self.deadline = is_ours.then(|| now + state.session.connect_timeout());
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
    AuthMessage::default().data(data)
}

/// The re-authentication has ended.
fn finish(state: &mut State, result: Result<(), AuthenticateError>, wakers: &mut Wakers) {
    let authenticating = &mut state.connection.authenticating;
    authenticating.finish(result, &mut state.waiters, wakers);
}
