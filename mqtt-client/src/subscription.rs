//! Subscribing: a builder that can be awaited, and the stream of messages that it gives.

use crate::client::Client;
use crate::error::{SubscribeError, UnsubscribeError};
use crate::message::sealed::Taken;
use crate::message::{Item, Message, Unacknowledged};
use crate::own::Own;
use crate::route::{StreamLimits, StreamOptions};
use crate::routes::{CATCH_ALL, RouteKey, Verdict};
use crate::shared::{Handle, Reply, Shared, State, wake};
use crate::wakers::Wakers;
use futures_core::Stream;
use martlet_proto::{
    QoS, RetainHandling, SubAckReasonCode, Subscription as Options, TopicError, TopicFilter,
    UnsubAckReasonCode, UserProperties,
};
use martlet_session::{
    AckToken, Answer, Details, Instant, OperationId, RequestError, Subscribe as SubscribeRequest,
    Unsubscribe as UnsubscribeRequest,
};
use std::collections::VecDeque;
use std::future::{Future, IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Subscriptions about to be made, from [`Client::subscribe`]; await it. Options of a subscription apply to all filters
/// given so far, those of the stream to all of it.
#[derive(Debug)]
#[must_use = "a subscribe does nothing until it is awaited"]
pub struct Subscribe<'a> {
    client: &'a Client,
    subscriptions: Result<Vec<Options>, TopicError>,
    options: StreamOptions,
    user_properties: UserProperties,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self {
            client,
            subscriptions: Ok(Vec::new()),
            options: StreamOptions::default(),
            user_properties: UserProperties::new(),
        }
    }

    fn each(mut self, set: impl Fn(&mut Options)) -> Self {
        if let Ok(subscriptions) = &mut self.subscriptions {
            subscriptions.iter_mut().for_each(set);
        }
        self
    }

    /// Adds a filter with a QoS of its own to the same stream and the same SUBSCRIBE. Where filters of one stream overlap,
    /// a server may send a message once for each (MQTT 5 §3.3.4).
    pub fn and(mut self, filter: impl TryInto<TopicFilter, Error: Into<TopicError>>, qos: QoS) -> Self {
        match (filter.try_into(), &mut self.subscriptions) {
            (Ok(mut filter), Ok(subscriptions)) => {
                filter.own();
                subscriptions.push(Options::new(filter, qos));
            }
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

    /// Sends these name-value pairs with the SUBSCRIBE (MQTT 5 §3.8.2.1.3). Default: none.
    pub fn user_properties(mut self, mut properties: UserProperties) -> Self {
        properties.own();
        self.user_properties = properties;
        self
    }

    /// Sets how much waits in the stream while nobody takes it.
    pub fn limits(mut self, limits: StreamLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Acknowledges each message when it arrives, not when it is taken: however slow the stream is, it holds back neither
    /// the server nor the acknowledgements of other streams. In exchange its messages of QoS 1 and 2 may be dropped at
    /// the stream's [limits](Self::limits), and are lost with the process.
    pub fn acknowledge_on_arrival(mut self) -> Self {
        self.options.acknowledge_on_arrival = true;
        self
    }

    /// Leaves the subscription with the server when the stream is dropped, as [`Subscription::detach`] does.
    pub fn keep_on_server(mut self) -> Self {
        self.options.keep_on_server = true;
        self
    }
}

impl<'a> IntoFuture for Subscribe<'a> {
    type Output = Result<Subscription, SubscribeError>;
    type IntoFuture = SubscribeFuture<'a>;

    fn into_future(self) -> SubscribeFuture<'a> {
        let Self { client, subscriptions, options, user_properties } = self;
        let start = subscriptions.map(|subscriptions| (subscriptions, options, user_properties));
        SubscribeFuture { client, step: Step::Start(start) }
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
    Start(Result<(Vec<Options>, StreamOptions, UserProperties), TopicError>),
    Waiting { pending: PendingReply, subscription: Subscription, filters: Vec<TopicFilter>, keep: bool },
    Done,
}

impl SubscribeFuture<'_> {
    fn start(
        &self,
        mut subscriptions: Vec<Options>,
        options: StreamOptions,
        user_properties: UserProperties,
    ) -> Result<Step, SubscribeError> {
        let handle = self.client.handle();
        handle.shared.act(|state, now| {
            // The route is there before the SUBSCRIBE leaves.
            let (key, identifier) = state.routes.add(&mut subscriptions, options);
            let filters = subscriptions.iter().map(|subscription| subscription.filter.clone()).collect();
            let subscription_identifier = Some(identifier);
            let request = SubscribeRequest { subscriptions, subscription_identifier, user_properties };
            match state.session.subscribe(now, request) {
                Ok(operation) => {
                    let pending = PendingReply::new(handle, state, operation);
                    let subscription = Subscription::new(handle, key);
                    Ok(Step::Waiting { pending, subscription, filters, keep: options.keep_on_server })
                }
                Err(error) => {
                    state.routes.remove(key, &mut state.spent);
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
                Step::Start(Ok((subscriptions, options, user_properties))) => {
                    self.step = self.start(subscriptions, options, user_properties)?;
                }
                Step::Waiting { mut pending, mut subscription, filters, keep } => match pending.poll(cx) {
                    Poll::Pending => {
                        self.step = Step::Waiting { pending, subscription, filters, keep };
                        return Poll::Pending;
                    }
                    Poll::Ready(Reply::Subscribed(Ok(answer))) => {
                        subscription.answered(&filters, answer);
                        subscription.route.keep_on_server = keep;
                        let refused = subscription.reasons().iter().all(|reason| reason.is_error());
                        return Poll::Ready(if refused {
                            let Answer { reasons, details } = subscription.answer.take();
                            Err(SubscribeError::Refused { reasons, details })
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

/// How many messages of QoS 0 are taken under one lock: enough for its cost not to matter, few enough to be no queue of
/// their own.
const BATCH: usize = 64;

/// The messages of a subscription, in the order in which they came. Each is acknowledged when it is taken, unless
/// [`acknowledge_manually`](Self::acknowledge_manually) or
/// [`acknowledge_on_arrival`](Subscribe::acknowledge_on_arrival) says otherwise.
///
/// **Which messages.** Those that the server sends for this subscription; where it does not say for which (in 3.x, or
/// without subscription identifiers), all whose topic matches a filter. Each PUBLISH comes once. For overlapping
/// subscriptions a server may send one for each: with subscription identifiers each goes to its own stream, without them
/// all go to every stream that matches.
///
/// **A slow reader** holds up nobody but itself, within its [limits](Subscribe::limits), where QoS 0 is dropped. With one
/// exception that MQTT makes: acknowledgements leave in the order of arrival, so a message of QoS 1 or 2 that is not
/// taken holds back those of all streams that came later, until the server has sent all that it may unacknowledged.
/// [`ClientEvent::AcknowledgementsHeld`](crate::ClientEvent::AcknowledgementsHeld) tells.
///
/// **Ends** (`None`) when the client has disconnected for good, or was unsubscribed from all its filters. Dropping it
/// unsubscribes from the filters that no other stream has, and acknowledges what was not taken, unless it was told to
/// [leave both with the server](Self::detach).
#[derive(Debug)]
pub struct Subscription<M = Message> {
    route: Route,
    answer: Granted,
    /// Messages of QoS 0 that were taken out together with one before them.
    batch: VecDeque<Message>,
    item: PhantomData<fn() -> M>,
}

/// What the server said.
#[derive(Debug, Default)]
struct Granted {
    reasons: Vec<SubAckReasonCode>,
    details: Option<Box<Details>>,
}

impl Granted {
    fn take(&mut self) -> Answer<SubAckReasonCode> {
        let Self { reasons, details } = std::mem::take(self);
        Answer { reasons, details }
    }
}

/// A stream's place among the routes.
#[derive(Debug)]
struct Route {
    handle: Arc<Handle>,
    key: RouteKey,
    keep_on_server: bool,
}

impl Subscription {
    fn new(handle: &Arc<Handle>, key: RouteKey) -> Self {
        let route = Route { handle: Arc::clone(handle), key, keep_on_server: false };
        Self { route, answer: Granted::default(), batch: VecDeque::new(), item: PhantomData }
    }

    /// The catch-all, if nobody has it.
    pub(crate) fn catch_all(handle: &Arc<Handle>) -> Option<Self> {
        let free = handle.shared.lock().routes.hold_catch_all();
        free.then(|| Self::new(handle, CATCH_ALL))
    }

    fn answered(&mut self, filters: &[TopicFilter], answer: Answer<SubAckReasonCode>) {
        let mut state = self.route.handle.shared.lock();
        for (filter, _) in filters.iter().zip(&answer.reasons).filter(|(_, reason)| reason.is_error()) {
            state.routes.refuse_filter(self.route.key, filter);
        }
        drop(state);
        self.answer = Granted { reasons: answer.reasons, details: answer.details };
    }

    /// Gives messages that the application acknowledges itself, from the next one on.
    ///
    /// ```
    /// # use martlet_client::{Client, QoS};
    /// # async fn example(client: Client, store: impl Fn(&[u8]) -> bool) -> Result<(), Box<dyn std::error::Error>> {
    /// let orders = client.subscribe("orders/#").qos(QoS::AtLeastOnce).await?;
    /// let mut orders = orders.acknowledge_manually();
    /// while let Some(order) = orders.next().await {
    ///     if store(order.payload()) {
    ///         order.acknowledge();
    ///     } // dropped, it comes again on the next connection
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn acknowledge_manually(self) -> Subscription<Unacknowledged> {
        Subscription { route: self.route, answer: self.answer, batch: self.batch, item: PhantomData }
    }
}

impl<M: Item> Subscription<M> {
    /// What the server said of each filter, in their order: the QoS that it granted, or why it refused (MQTT 5 §3.9.3).
    pub fn reasons(&self) -> &[SubAckReasonCode] {
        &self.answer.reasons
    }

    /// The reason string and user properties of the SUBACK, if it had any (MQTT 5 §3.9.2.1).
    pub fn details(&self) -> Option<&Details> {
        self.answer.details.as_deref()
    }

    /// How many messages the stream has dropped because it was full.
    pub fn dropped(&self) -> u64 {
        self.route.handle.shared.lock().routes.dropped_of(self.route.key)
    }

    /// The next message; `None` at the end.
    ///
    /// Cancel safe: a message is taken only when this is ready.
    pub async fn next(&mut self) -> Option<M> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The next message, or `Err` when there was none for so long.
    ///
    /// Cancel safe: a message is taken only when this is ready.
    ///
    /// # Errors
    /// [`NoMessage`] after `timeout`.
    pub async fn next_timeout(&mut self, timeout: Duration) -> Result<Option<M>, NoMessage> {
        let mut sleeper = Sleeper::new(&self.route.handle.shared, timeout);
        poll_fn(|cx| {
            let mut next = self.poll(cx);
            if next.is_pending() && sleeper.poll(cx).is_ready() {
                // There may be one, or the end, since it was looked for.
                next = self.poll(cx);
                if next.is_pending() {
                    return Poll::Ready(Err(NoMessage));
                }
            }
            next.map(Ok)
        })
        .await
    }

    /// A message that has come already.
    pub fn try_next(&mut self) -> Option<M> {
        match self.poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(message) => message,
            Poll::Pending => None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<M>> {
        let Route { handle, key, .. } = &self.route;
        if let Some(message) = self.batch.pop_front() {
            return Poll::Ready(Some(M::qos0(message)));
        }
        let mut state = handle.shared.lock();
        let mut look = false;
        let next = {
            let state: &mut State = &mut state;
            let session = &state.session;
            let is_superseded = |token: &AckToken| session.is_superseded(token);
            let next = state.routes.poll_next(*key, is_superseded, cx, &mut state.spent);
            state.conclude_dropped();
            next.map(|queued| {
                let taken = Taken { queued: queued?, key: *key, state: &mut *state, shared: &handle.shared };
                let (item, asks) = M::take(taken);
                look |= asks;
                while self.batch.len() < BATCH {
                    let Some(queued) = state.routes.pop_qos0(*key) else { break };
                    let concluded = state.routes.conclude(queued.ticket, Verdict::Acknowledged);
                    look |= concluded.is_some_and(|(token, verdict)| state.conclude(token, verdict));
                    self.batch.push_back(queued.message);
                }
                Some(item)
            })
        };
        let driver = if look { state.call_driver() } else { None };
        drop(state);
        wake(driver);
        next
    }

    /// Unsubscribes and waits for the server's answer; await it. Messages that were not taken are acknowledged and
    /// dropped, and filters that other streams have stay.
    pub fn unsubscribe(self) -> Unsubscribe<'static> {
        Unsubscribe { target: Target::Stream(self.route), user_properties: UserProperties::new() }
    }

    /// Drops the stream and leaves the subscription with the server: messages that were not taken are not acknowledged;
    /// some of QoS 0 may go with the stream.
    /// With a session that outlives the connection they come again when a client resumes it, and so do those that come
    /// in the meantime; see [`Client::catch_all`].
    ///
    /// Until the client disconnects, what comes for the subscription goes to the catch-all, and so does what was not
    /// taken. Somebody should take it if the client goes on: what would hold up other messages there, or waits for longer
    /// than 10 s, is acknowledged and dropped ([`ClientEvent::Discarded`](crate::ClientEvent::Discarded)).
    pub fn detach(mut self) {
        self.route.keep_on_server = true;
    }
}

impl<M: Item> Stream for Subscription<M> {
    type Item = M;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<M>> {
        self.poll(cx)
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        let mut wakers = Wakers::default();
        self.handle.shared.act(|state: &mut State, now| {
            state.drop_superseded();
            if self.keep_on_server {
                return state.routes.detach(self.key, now, &mut wakers, &mut state.spent);
            }
            let ended = state.routes.remove(self.key, &mut state.spent);
            state.discard(ended.untaken);
            let filters = ended.unsubscribe;
            if !filters.is_empty() && !state.session.is_ended() {
                let request = UnsubscribeRequest { filters, user_properties: UserProperties::new() };
                // Nobody waits for the answer; if it cannot be asked, there is nothing to take back.
                let _ = state.session.unsubscribe(now, request);
            }
        });
        wakers.wake();
    }
}

/// An unsubscribe about to be made, from [`Client::unsubscribe`] or [`Subscription::unsubscribe`]; await it for the
/// server's answer (MQTT 5 §3.11), a code for each filter; there is none for a stream all of whose filters other streams
/// have.
///
/// # Errors
/// [`UnsubscribeError`] when it could not be asked, or was not answered.
#[derive(Debug)]
#[must_use = "an unsubscribe does nothing until it is awaited"]
pub struct Unsubscribe<'a> {
    target: Target<'a>,
    user_properties: UserProperties,
}

#[derive(Debug)]
enum Target<'a> {
    Filter(&'a Client, Result<TopicFilter, TopicError>),
    Stream(Route),
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn new(client: &'a Client, mut filter: Result<TopicFilter, TopicError>) -> Self {
        if let Ok(filter) = &mut filter {
            filter.own();
        }
        Self { target: Target::Filter(client, filter), user_properties: UserProperties::new() }
    }

    /// Sends these name-value pairs with the UNSUBSCRIBE (MQTT 5 §3.10.2.1.2). Default: none.
    pub fn user_properties(mut self, mut properties: UserProperties) -> Self {
        properties.own();
        self.user_properties = properties;
        self
    }

    fn start(self) -> Result<Option<PendingReply>, UnsubscribeError> {
        let Self { target, user_properties } = self;
        match target {
            Target::Filter(client, filter) => {
                let filter = filter?;
                let mut wakers = Wakers::default();
                let pending = PendingReply::ask(client.handle(), |state, now| {
                    let request = UnsubscribeRequest { filters: vec![filter.clone()], user_properties };
                    let operation = state.session.unsubscribe(now, request)?;
                    state.routes.remove_filter(&filter, &mut wakers);
                    Ok(operation)
                });
                wakers.wake();
                Ok(Some(pending?))
            }
            Target::Stream(mut route) => {
                // Who unsubscribes does not leave it with the server.
                route.keep_on_server = false;
                route.handle.shared.act(|state, now| {
                    let filters = state.routes.filters_of_only(route.key);
                    let request = UnsubscribeRequest { filters, user_properties };
                    let operation = match request.filters[..] {
                        [] => None,
                        _ => Some(state.session.unsubscribe(now, request)?),
                    };
                    // Unsubscribed from here on, so dropping the stream does not do it again.
                    state.routes.leave(route.key);
                    Ok(operation.map(|operation| PendingReply::new(&route.handle, state, operation)))
                })
            }
        }
    }
}

impl<'a> IntoFuture for Unsubscribe<'a> {
    type Output = Result<Answer<UnsubAckReasonCode>, UnsubscribeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    /// Cancel safe: dropped while it waits, the UNSUBSCRIBE goes its way.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Some(mut pending) = self.start()? else {
                return Ok(Answer { reasons: Vec::new(), details: None });
            };
            Ok(poll_fn(|cx| pending.poll(cx)).await.into_unsubscribed()?)
        })
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
            Ok(Self::new(handle, state, operation))
        })
    }

    /// For a request that was made.
    fn new(handle: &Arc<Handle>, state: &mut State, operation: OperationId) -> Self {
        state.expect_reply(operation);
        Self { handle: Arc::clone(handle), operation: Some(operation) }
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

    pub(crate) fn into_unsubscribed(self) -> Result<Answer<UnsubAckReasonCode>, RequestError> {
        match self {
            Self::Unsubscribed(Ok(answer)) => Ok(answer),
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
#[derive(Debug)]
pub(crate) struct Sleeper {
    shared: Arc<Shared>,
    at: Instant,
    id: Option<u64>,
}

impl Sleeper {
    pub(crate) fn new(shared: &Arc<Shared>, timeout: Duration) -> Self {
        Self { shared: Arc::clone(shared), at: (shared.clock)() + timeout, id: None }
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let shared = &self.shared;
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
            self.shared.lock().unsleep(self.at, id);
        }
    }
}
