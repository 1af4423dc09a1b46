//! Subscribing: a builder that can be awaited, and the stream of messages that it gives.

use crate::client::Client;
use crate::error::SubscribeError;
use crate::message::Message;
use crate::routes::{CATCH_ALL, RouteKey};
use crate::shared::{Handle, Reply, State, wake};
use futures_core::Stream;
use martlet_proto::{
    QoS, RetainHandling, SubAckReasonCode, Subscription as Options, TopicError, TopicFilter,
};
use martlet_session::{Instant, OperationId, RequestError, Subscribe as Request, Unsubscribe};
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Subscriptions about to be made, from [`Client::subscribe`]; await it. Options apply to all filters given so far.
#[derive(Debug)]
#[must_use = "a subscribe does nothing until it is awaited"]
pub struct Subscribe<'a> {
    client: &'a Client,
    subscriptions: Result<Vec<Options>, TopicError>,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, subscriptions: Ok(Vec::new()) }
    }

    fn each(mut self, set: impl Fn(&mut Options)) -> Self {
        if let Ok(subscriptions) = &mut self.subscriptions {
            subscriptions.iter_mut().for_each(set);
        }
        self
    }

    /// Adds a filter with a QoS of its own to the same stream and the same SUBSCRIBE.
    pub fn and(mut self, filter: impl TryInto<TopicFilter, Error: Into<TopicError>>, qos: QoS) -> Self {
        match (filter.try_into(), &mut self.subscriptions) {
            (Ok(filter), Ok(subscriptions)) => subscriptions.push(Options::new(filter, qos)),
            (Err(error), Ok(_)) => self.subscriptions = Err(error.into()),
            (_, Err(_)) => {}
        }
        self
    }

    /// Sets the highest QoS that messages are to come with. Default: 0.
    pub fn qos(self, qos: QoS) -> Self {
        self.each(|subscription| subscription.qos = qos)
    }

    /// Leaves out what this client publishes itself (MQTT 5). Streams on one filter share its subscription: it holds
    /// while all of them want it. Default: false.
    pub fn no_local(self, yes: bool) -> Self {
        self.each(|subscription| subscription.no_local = yes)
    }

    /// Keeps the RETAIN flag as it was published (MQTT 5), for all streams on this filter. Default: false.
    pub fn retain_as_published(self, yes: bool) -> Self {
        self.each(|subscription| subscription.retain_as_published = yes)
    }

    /// Sets when retained messages come (MQTT 5). Default: always.
    pub fn retain_handling(self, handling: RetainHandling) -> Self {
        self.each(|subscription| subscription.retain_handling = handling)
    }
}

impl<'a> IntoFuture for Subscribe<'a> {
    type Output = Result<Subscription, SubscribeError>;
    type IntoFuture = SubscribeFuture<'a>;

    fn into_future(self) -> SubscribeFuture<'a> {
        SubscribeFuture { client: self.client, step: Step::Start(self.subscriptions) }
    }
}

/// Waits for the SUBACK, through reconnects, but for a connection no longer than the session's `offline_timeout`.
///
/// Cancel safe: dropped before it is ready, the subscription is taken back.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct SubscribeFuture<'a> {
    client: &'a Client,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Start(Result<Vec<Options>, TopicError>),
    Waiting { pending: PendingReply, subscription: Subscription, filters: Vec<TopicFilter> },
    Done,
}

impl SubscribeFuture<'_> {
    fn start(&self, mut subscriptions: Vec<Options>) -> Result<Step, SubscribeError> {
        let handle = self.client.handle();
        handle.shared.act(|state, now| {
            // The route is there before the SUBSCRIBE leaves.
            let (key, identifier) = state.routes.add(&mut subscriptions);
            let filters = subscriptions.iter().map(|subscription| subscription.filter.clone()).collect();
            let request = Request {
                subscriptions,
                subscription_identifier: Some(identifier),
                user_properties: Vec::new(),
            };
            match state.session.subscribe(now, request) {
                Ok(operation) => {
                    state.expect_reply(operation);
                    let pending = PendingReply { handle: Arc::clone(handle), operation: Some(operation) };
                    let subscription = Subscription { handle: Arc::clone(handle), key, reasons: Vec::new() };
                    Ok(Step::Waiting { pending, subscription, filters })
                }
                Err(error) => {
                    state.routes.remove(key);
                    Err(error.into())
                }
            }
        })
    }
}

impl Future for SubscribeFuture<'_> {
    type Output = Result<Subscription, SubscribeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.step, Step::Done) {
                Step::Start(Err(error)) => return Poll::Ready(Err(error.into())),
                Step::Start(Ok(subscriptions)) => self.step = self.start(subscriptions)?,
                Step::Waiting { mut pending, mut subscription, filters } => match pending.poll(cx) {
                    Poll::Pending => {
                        self.step = Step::Waiting { pending, subscription, filters };
                        return Poll::Pending;
                    }
                    Poll::Ready(Reply::Subscribed(Ok(answer))) => {
                        subscription.granted(&filters, answer.reasons);
                        let refused = subscription.reasons.iter().all(|reason| reason.is_error());
                        return Poll::Ready(if refused {
                            Err(SubscribeError::Refused(std::mem::take(&mut subscription.reasons)))
                        } else {
                            Ok(subscription)
                        });
                    }
                    Poll::Ready(reply) => return Poll::Ready(Err(reply.error().into())),
                },
                Step::Done => panic!("polled after it was ready"),
            }
        }
    }
}

/// The messages of a subscription, in the order in which they came. Each is acknowledged when it is taken.
///
/// Ends (`None`) when the client has disconnected for good, or was unsubscribed from all its filters. Dropping it
/// unsubscribes from the filters that no other stream has, and acknowledges what was not taken.
#[derive(Debug)]
pub struct Subscription {
    handle: Arc<Handle>,
    key: RouteKey,
    reasons: Vec<SubAckReasonCode>,
}

impl Subscription {
    /// The catch-all, if nobody has it.
    pub(crate) fn catch_all(handle: &Arc<Handle>) -> Option<Self> {
        let free = handle.shared.lock().routes.hold_catch_all();
        free.then(|| Self { handle: Arc::clone(handle), key: CATCH_ALL, reasons: Vec::new() })
    }

    fn granted(&mut self, filters: &[TopicFilter], reasons: Vec<SubAckReasonCode>) {
        let mut state = self.handle.shared.lock();
        for (filter, _) in filters.iter().zip(&reasons).filter(|(_, reason)| reason.is_error()) {
            state.routes.leave_filter(self.key, filter);
        }
        drop(state);
        self.reasons = reasons;
    }

    /// What the server said of each filter, in their order (MQTT 5 §3.9.3).
    pub fn reasons(&self) -> &[SubAckReasonCode] {
        &self.reasons
    }

    /// The next message; `None` at the end.
    ///
    /// Cancel safe: a message is taken only when this is ready.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The next message, or `Err` when there was none for so long.
    ///
    /// Cancel safe: a message is taken only when this is ready.
    ///
    /// # Errors
    /// [`NoMessage`] after `timeout`.
    pub async fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, NoMessage> {
        let at = (self.handle.shared.clock)() + timeout;
        let mut sleeper = Sleeper { handle: Arc::clone(&self.handle), at, id: None };
        poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(message) => Poll::Ready(Ok(message)),
            Poll::Pending => sleeper.poll(cx).map(|()| Err(NoMessage)),
        })
        .await
    }

    /// A message that has come already.
    pub fn try_next(&mut self) -> Option<Message> {
        match self.poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(message) => message,
            Poll::Pending => None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut state = self.handle.shared.lock();
        let mut driver = None;
        let next = loop {
            let (message, token) = match state.routes.poll_next(self.key, cx) {
                Poll::Ready(Some(next)) => next,
                Poll::Ready(None) => break Poll::Ready(None),
                Poll::Pending => break Poll::Pending,
            };
            // Superseded: the server has sent it again, and the copy that came later is in the queue.
            let superseded = token.as_ref().is_some_and(|token| state.session.is_superseded(token));
            if token.is_some_and(|token| state.acknowledge(token)) {
                driver = driver.or(state.call_driver());
            }
            if !superseded {
                break Poll::Ready(Some(message));
            }
        };
        drop(state);
        wake(driver);
        next
    }

    /// Unsubscribes and waits for the server's answer. Messages that were not taken are acknowledged and dropped.
    ///
    /// Cancel safe: dropped while it waits, the UNSUBSCRIBE goes its way.
    ///
    /// # Errors
    /// [`RequestError`] when it could not be asked, or was not answered.
    pub async fn unsubscribe(self) -> Result<(), RequestError> {
        let mut any = false;
        let pending = PendingReply::ask(&self.handle, |state, now| {
            // Unsubscribed from here on, so dropping the stream does not do it again.
            let filters = state.routes.leave(self.key);
            any = !filters.is_empty();
            state.session.unsubscribe(now, Unsubscribe { filters, user_properties: Vec::new() })
        });
        drop(self);
        if !any {
            return Ok(());
        }
        let mut pending = pending?;
        poll_fn(|cx| pending.poll(cx)).await.into_unsubscribed()
    }
}

impl Stream for Subscription {
    type Item = Message;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let key = self.key;
        self.handle.shared.act(|state: &mut State, now| {
            let (filters, tokens) = if key == CATCH_ALL {
                (Vec::new(), state.routes.release_catch_all())
            } else {
                state.routes.remove(key)
            };
            for token in tokens {
                state.acknowledge(token);
            }
            if !filters.is_empty() && !state.session.is_ended() {
                // Nobody waits for the answer; if it cannot be asked, there is nothing to take back.
                let _ = state.session.unsubscribe(now, Unsubscribe { filters, user_properties: Vec::new() });
            }
        });
    }
}

/// No message came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no message came in time")]
pub struct NoMessage;

/// The answer to a request, until somebody asks for it.
#[derive(Debug)]
pub(crate) struct PendingReply {
    pub(crate) handle: Arc<Handle>,
    pub(crate) operation: Option<OperationId>,
}

impl PendingReply {
    /// Makes a request, and changes what goes with it in the same step: nobody comes in between.
    pub(crate) fn ask(
        handle: &Arc<Handle>,
        ask: impl FnOnce(&mut State, Instant) -> Result<OperationId, RequestError>,
    ) -> Result<Self, RequestError> {
        handle.shared.act(|state, now| {
            let operation = ask(state, now)?;
            state.expect_reply(operation);
            Ok(Self { handle: Arc::clone(handle), operation: Some(operation) })
        })
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Reply> {
        let operation = self.operation.expect("polled after it was ready");
        let reply = self.handle.shared.lock().poll_reply(operation, cx);
        if reply.is_ready() {
            self.operation = None;
        }
        reply
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if let Some(operation) = self.operation {
            self.handle.shared.lock().forget_reply(operation);
        }
    }
}

impl Reply {
    pub(crate) fn error(self) -> RequestError {
        match self {
            Self::Subscribed(Err(error)) | Self::Unsubscribed(Err(error)) | Self::Pong(Err(error)) => error,
            Self::Subscribed(Ok(_)) | Self::Unsubscribed(Ok(_)) | Self::Pong(Ok(())) => RequestError::Closed,
        }
    }

    pub(crate) fn into_unsubscribed(self) -> Result<(), RequestError> {
        match self {
            Self::Unsubscribed(Ok(_)) => Ok(()),
            other => Err(other.error()),
        }
    }

    pub(crate) fn into_pong(self) -> Result<(), RequestError> {
        match self {
            Self::Pong(Ok(())) => Ok(()),
            other => Err(other.error()),
        }
    }
}

/// Waits for a moment; the driver's timer does the waiting.
struct Sleeper {
    handle: Arc<Handle>,
    at: Instant,
    id: Option<u64>,
}

impl Sleeper {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let shared = &self.handle.shared;
        if (shared.clock)() >= self.at {
            return Poll::Ready(());
        }
        let mut state = shared.lock();
        if state.terminated.is_some() {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| state.new_id());
        state.sleep(self.at, id, cx);
        let driver = state.call_driver();
        drop(state);
        wake(driver);
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.handle.shared.lock().unsleep(self.at, id);
        }
    }
}
