//! Waiting until the broker has seen something, with a time limit.

use super::state::{Shared, State};
use super::transcript::Conversation;
use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use martlet_proto::{Publish, TopicError};
use std::error::Error;
use std::sync::Arc;
use std::task::Wake;
use std::thread::Thread;
use std::time::Instant;

/// How long a [`Wait`] takes at most, unless it has a time limit of its own.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A wait until the broker has seen something: a future for any runtime, or
/// [`blocking`](Self::blocking).
///
/// It takes at most 10 seconds of real time, counted from its first poll, or what
/// [`timeout`](Self::timeout) says. Cancel safe.
#[must_use = "it waits when it is awaited, or by `blocking`"]
pub struct Wait<T> {
    shared: Arc<Shared>,
    /// What is waited for, as in "waiting for …".
    what: String,
    find: Find<T>,
    timeout: Duration,
    /// Since its first poll.
    until: Option<Instant>,
    key: Option<u64>,
}

type Find<T> = Result<Box<dyn Fn(&State) -> Option<T> + Send>, TopicError>;

/// Why a [`Wait`] has failed. Its message says what the broker has seen instead.
///
/// `{:?}` prints the message too, so that the output of a failed test can be read.
#[derive(Clone, PartialEq, Eq)]
pub struct WaitError {
    kind: WaitErrorKind,
    what: String,
    seen: String,
}

/// The kinds of [`WaitError`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitErrorKind {
    /// It did not happen in this time.
    TimedOut(Duration),
    /// The broker has stopped.
    Stopped,
    /// What should be a topic filter is none; the cause is the error's `source()`.
    Filter(TopicError),
}

impl<T> Wait<T> {
    pub(super) fn new(
        shared: &Arc<Shared>,
        what: String,
        find: Result<impl Fn(&State) -> Option<T> + Send + 'static, TopicError>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            what,
            find: find.map(|find| Box::new(find) as _),
            timeout: TIMEOUT,
            until: None,
            key: None,
        }
    }

    /// Sets the time limit. Default: 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Blocks this thread until then. Do not call it in a task: the runtime's other tasks on this
    /// thread would wait as well.
    ///
    /// # Errors
    /// [`WaitError`] when the time limit is reached or the broker stops.
    pub fn blocking(self) -> Result<T, WaitError> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        let mut wait = pin!(self);
        loop {
            match wait.as_mut().poll(&mut cx) {
                Poll::Ready(result) => return result,
                // A wake-up before it is not lost.
                Poll::Pending => std::thread::park(),
            }
        }
    }

    fn fail(&self, kind: WaitErrorKind, state: &State) -> WaitError {
        WaitError {
            kind,
            what: self.what.clone(),
            seen: describe(state),
        }
    }
}

impl<T> Future for Wait<T> {
    type Output = Result<T, WaitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let now = Instant::now();
        // What does not fit into the clock is for ever.
        let for_ever = || now + Duration::from_secs(u32::MAX.into());
        let until = *this
            .until
            .get_or_insert_with(|| now.checked_add(this.timeout).unwrap_or_else(for_ever));
        let shared = Arc::clone(&this.shared);
        let mut state = shared.lock();
        let find = match &this.find {
            Ok(find) => find,
            Err(error) => {
                let kind = WaitErrorKind::Filter(*error);
                return Poll::Ready(Err(this.fail(kind, &state)));
            }
        };
        if let Some(found) = find(&state) {
            return Poll::Ready(Ok(found));
        }
        if state.stopped {
            return Poll::Ready(Err(this.fail(WaitErrorKind::Stopped, &state)));
        }
        if now >= until {
            let kind = WaitErrorKind::TimedOut(this.timeout);
            return Poll::Ready(Err(this.fail(kind, &state)));
        }
        this.key = Some(state.register(this.key, until, cx.waker().clone()));
        Poll::Pending
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        let waker = self.key.and_then(|key| self.shared.lock().deregister(key));
        // Outside the lock: it may be the application's own code.
        drop(waker);
    }
}

impl<T> fmt::Debug for Wait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("what", &self.what)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl WaitError {
    /// The kind of it.
    pub fn kind(&self) -> &WaitErrorKind {
        &self.kind
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, what, seen } = self;
        match kind {
            WaitErrorKind::TimedOut(timeout) => {
                write!(f, "timed out after {timeout:?} waiting for {what}; {seen}")
            }
            WaitErrorKind::Stopped => {
                write!(f, "the broker stopped while waiting for {what}; {seen}")
            }
            WaitErrorKind::Filter(_) => write!(f, "cannot wait for {what}: not a topic filter"),
        }
    }
}

impl fmt::Debug for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for WaitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            WaitErrorKind::Filter(error) => Some(error),
            WaitErrorKind::TimedOut(_) | WaitErrorKind::Stopped => None,
        }
    }
}

/// How many connections, and how many topics, an error names at most.
const SHOWN: usize = 10;

/// What has been seen.
fn describe(state: &State) -> String {
    let conversations = &state.conversations;
    if conversations.is_empty() {
        return "no client has connected".to_owned();
    }
    let last = |len: usize| len.saturating_sub(SHOWN);
    let messages = &state.messages;
    let mut text = match messages.len() {
        0 => "seen instead: no message".to_owned(),
        1 => "seen instead: 1 message".to_owned(),
        len => format!("seen instead: {len} messages"),
    };
    let mut topics: Vec<&str> = messages[last(messages.len())..]
        .iter()
        .map(Publish::topic)
        .collect();
    topics.dedup();
    if !topics.is_empty() {
        text += &format!(" (to `{}`)", topics.join("`, `"));
    }
    let shown = conversations[last(conversations.len())..].iter();
    for line in shown.map(Conversation::to_string) {
        text += "; ";
        text += &line;
    }
    text
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
