//! What the session asks of the application's authenticator, and who waits for a re-authentication.

use crate::error::AuthenticateError;
use crate::hub::waiters::Waiters;
use crate::hub::wakers::Wakers;
use martlet_session::{AuthMessage, RequestError, Session, Unsupported};
use std::task::Poll;

#[derive(Debug, Default)]
pub(crate) struct Authenticating {
    /// There is an authenticator.
    pub(crate) available: bool,
    /// One at a time: the session asks again only when it was answered.
    task: Option<Task>,
    /// The last re-authentication, and how it ended.
    again: Option<(u64, Option<Result<(), AuthenticateError>>)>,
    /// How the one before that ended, until its caller has looked.
    before: Option<Box<(u64, Result<(), AuthenticateError>)>>,
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

    /// Begins to authenticate again. Returns the number to [`poll`](Self::poll) it by.
    pub(crate) fn begin(
        &mut self,
        session: &Session,
        waiters: &mut Waiters,
    ) -> Result<u64, AuthenticateError> {
        if !session.is_connected() {
            return Err(session.not_connected().into());
        }
        if !self.available {
            return Err(RequestError::NotSupported(Unsupported::Reauthentication).into());
        }
        if matches!(self.again, Some((_, None))) {
            return Err(RequestError::TooMany.into());
        }
        let run = waiters.new_id();
        if let Some((before, Some(result))) = self.again.replace((run, None)) {
            self.before = Some(Box::new((before, result)));
        }
        self.ask(Task::Begin);
        Ok(run)
    }

    pub(crate) fn poll(&mut self, run: u64) -> Poll<Result<(), AuthenticateError>> {
        match self.again.take() {
            Some((of, Some(result))) if of == run => Poll::Ready(result),
            Some((of, None)) if of == run => {
                self.again = Some((of, None));
                Poll::Pending
            }
            next => {
                self.again = next;
                // The next one began before the caller of this one looked how it had ended.
                let ended = self.before.take_if(|ended| ended.0 == run);
                Poll::Ready(match ended {
                    Some(ended) => ended.1,
                    // That is so long ago that others have come and gone since.
                    None => Err(RequestError::NotConnected.into()),
                })
            }
        }
    }

    /// The re-authentication has ended, if one is under way.
    pub(crate) fn finish(
        &mut self,
        result: Result<(), AuthenticateError>,
        waiters: &mut Waiters,
        wakers: &mut Wakers,
    ) {
        if let Some((_, unfinished @ None)) = &mut self.again {
            *unfinished = Some(result);
            waiters.notify(wakers);
        }
    }

    /// The connection is gone, and with it all that was asked on it.
    pub(crate) fn forget(
        &mut self,
        error: RequestError,
        waiters: &mut Waiters,
        wakers: &mut Wakers,
    ) {
        self.task = None;
        self.finish(Err(error.into()), waiters, wakers);
    }
}
