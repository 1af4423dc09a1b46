//! Request and response (MQTT 5 §4.10): a publish whose answer comes back as a message.
//!
//! All requests of a client share one subscription, to a topic of its own, made with the first. Correlation data tells
//! the responses apart.

use crate::client::Client;
use crate::error::{ConnectError, SubscribeError};
use crate::message::Message;
use crate::publish::Publish;
use crate::route::StreamOptions;
use crate::routes::RouteKey;
use crate::shared::{Reply, State};
use crate::spent::set_waker;
use crate::subscription::{PendingReply, Sleeper};
use crate::wakers::Wakers;
use martlet_proto::{
    BinaryData, PubAckReasonCode, PublishPropertiesBuilder, QoS, Subscription, TopicError, TopicFilter,
    TopicName, UserProperties, Version,
};
use martlet_session::{
    Answer, Connected, Publish as Outgoing, PublishError, Subscribe as SubscribeRequest, Unsubscribe,
};
use slab::Slab;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How many requests of a client may wait for their responses: more than a program has tasks for them, few enough to
/// bound what responses that nobody fetches take.
const WAITING: usize = 1024;

/// A request about to be made, from [`Client::request`]; await it for the response.
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Request<'a> {
    client: &'a Client,
    message: Result<Outgoing, TopicError>,
    properties: PublishPropertiesBuilder,
    timeout: Duration,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// There is no connection, and there will be none.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The version of the connection has no response topics.
    #[error("requests need MQTT 5; this connection speaks {0}")]
    NotInVersion(Version),
    /// The topic for the responses could not be subscribed to.
    #[error("no subscription for the responses: {0}")]
    Subscribe(#[from] SubscribeError),
    /// The request was not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The server says that nobody subscribes to the topic of the request.
    #[error("nobody subscribes to the topic of the request")]
    NobodyListens,
    /// 1,024 requests wait for their responses.
    #[error("too many requests wait for their responses")]
    TooMany,
    /// No response came in time.
    #[error("no response in time")]
    Timeout,
}

impl<'a> Request<'a> {
    pub(crate) fn new(client: &'a Client, message: Result<Outgoing, TopicError>) -> Self {
        let message = message.map(|message| Outgoing { qos: QoS::AtLeastOnce, ..message });
        let properties = PublishPropertiesBuilder::default();
        Self { client, message, properties, timeout: Duration::from_secs(30) }
    }

    /// Sets the quality of service of the request. Default: 1. Responses come with 1 at most.
    pub fn qos(mut self, qos: QoS) -> Self {
        if let Ok(message) = &mut self.message {
            message.qos = qos;
        }
        self
    }

    /// Sets the properties of the request. Its response topic and correlation data are set here, whatever they were.
    pub fn properties(mut self, properties: PublishPropertiesBuilder) -> Self {
        self.properties = properties;
        self
    }

    /// Sets how long the response may take, counted from the first poll; waiting for a connection and for the subscription
    /// is part of it. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn run(self) -> Result<Message, ResponseError> {
        let Self { client, message, properties, timeout } = self;
        let message = message.map_err(PublishError::Topic)?;
        let mut sleeper = Sleeper::new(client.shared(), timeout);
        let mut exchange = pin!(exchange(client, message, properties));
        poll_fn(|cx| {
            let mut polled = exchange.as_mut().poll(cx);
            if polled.is_pending() && sleeper.poll(cx).is_ready() {
                // It may have ended since it was looked at.
                polled = exchange.as_mut().poll(cx);
                if polled.is_pending() {
                    return Poll::Ready(Err(ResponseError::Timeout));
                }
            }
            polled
        })
        .await
    }
}

impl<'a> IntoFuture for Request<'a> {
    type Output = Result<Message, ResponseError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    /// Cancel safe: dropped before the request was accepted, nothing was published; dropped later, the request goes its
    /// way, and its response is dropped when it comes.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

async fn exchange(
    client: &Client,
    mut message: Outgoing,
    properties: PublishPropertiesBuilder,
) -> Result<Message, ResponseError> {
    let topic = inbox(client).await?;
    let mut pending = PendingResponse::new(client)?;
    let correlation = BinaryData::try_from(&pending.number.correlation()[..]).expect("twelve bytes");
    message.properties = properties.response_topic(topic).correlation_data(correlation).build();
    let mut publish = pin!(Publish::of(client, message).into_future());
    let mut published = false;
    poll_fn(|cx| {
        if let Poll::Ready(response) = pending.poll(cx) {
            return Poll::Ready(response);
        }
        if published {
            return Poll::Pending;
        }
        match publish.as_mut().poll(cx) {
            Poll::Ready(Ok(settled)) if settled.reason == PubAckReasonCode::NoMatchingSubscribers => {
                Poll::Ready(Err(ResponseError::NobodyListens))
            }
            Poll::Ready(Ok(_)) => {
                published = true;
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

// ---- where responses come in

/// The topic that responses go to, subscribed to.
async fn inbox(client: &Client) -> Result<TopicName, ResponseError> {
    enum Next {
        Ready(TopicName),
        Subscribe(TopicName),
        Reconnect,
    }
    loop {
        let connected = client.connected().await?;
        if connected.version != Version::V5 {
            return Err(ResponseError::NotInVersion(connected.version));
        }
        let next = client.watch(|state| {
            let Some(connected) = &state.connected else { return Poll::Ready(Next::Reconnect) };
            let topic = response_topic(connected, state.session.client_identifier().as_str());
            match state.routes.responses.inbox() {
                Some(inbox) if inbox.topic == topic && state.routes.has_filters(inbox.route) => {
                    if inbox.subscribed { Poll::Ready(Next::Ready(topic)) } else { Poll::Pending }
                }
                _ => {
                    close_inbox(state);
                    let route = open_route(state, &topic);
                    state.routes.responses.inbox =
                        Some(Inbox { topic: topic.clone(), route, subscribed: false });
                    Poll::Ready(Next::Subscribe(topic))
                }
            }
        });
        match next.await {
            Next::Ready(topic) => return Ok(topic),
            Next::Subscribe(topic) => {
                subscribe(client, &topic).await?;
                return Ok(topic);
            }
            Next::Reconnect => {}
        }
    }
}

/// What the server offers, or a topic named after the client. What a topic name cannot hold is left out.
fn response_topic(connected: &Connected, client_identifier: &str) -> TopicName {
    let offered = connected.connack.properties.response_information.as_ref();
    let topic = match offered {
        Some(prefix) => format!("{}/responses", prefix.as_str().trim_end_matches('/')),
        None => format!("responses/{client_identifier}"),
    };
    let topic: String = topic.chars().filter(|c| !matches!(c, '+' | '#')).collect();
    TopicName::new(topic).unwrap_or_else(|_| TopicName::from_static("responses").expect("a topic name"))
}

fn filter(topic: &TopicName) -> TopicFilter {
    TopicFilter::new(topic.as_str()).expect("a topic name is a filter")
}

fn open_route(state: &mut State, topic: &TopicName) -> RouteKey {
    let options = StreamOptions { responses: true, acknowledge_on_arrival: true, ..StreamOptions::default() };
    state.routes.add(&mut [Subscription::new(filter(topic), QoS::AtLeastOnce)], options).0
}

/// Forgets the inbox, and unsubscribes from what nobody else has.
fn close_inbox(state: &mut State) {
    let Some(inbox) = state.routes.responses.inbox.take() else { return };
    let ended = state.routes.remove(inbox.route, &mut state.spent);
    if !ended.unsubscribe.is_empty() && !state.session.is_ended() {
        let request = Unsubscribe { filters: ended.unsubscribe, user_properties: UserProperties::new() };
        // Nobody waits for the answer.
        let _ = state.session.unsubscribe(state.now, request);
    }
}

/// Subscribes for all requests that wait for it. When this is dropped, or refused, the next of them tries.
async fn subscribe(client: &Client, topic: &TopicName) -> Result<(), SubscribeError> {
    let mut opening = Opening { client, subscribed: false };
    let pending = PendingReply::ask(client.handle(), |state, now| {
        let subscription_identifier =
            state.routes.responses.inbox().and_then(|inbox| state.routes.identifier(inbox.route));
        let subscriptions = vec![Subscription::new(filter(topic), QoS::AtLeastOnce)];
        let user_properties = UserProperties::new();
        let request = SubscribeRequest { subscriptions, subscription_identifier, user_properties };
        state.session.subscribe(now, request)
    });
    let mut pending = pending?;
    match poll_fn(|cx| pending.poll(cx)).await {
        Reply::Subscribed(Ok(answer)) if answer.reasons.iter().any(|reason| reason.is_error()) => {
            let Answer { reasons, details } = answer;
            Err(SubscribeError::Refused { reasons, details })
        }
        Reply::Subscribed(Ok(_)) => {
            opening.subscribed = true;
            Ok(())
        }
        reply => Err(reply.error().into()),
    }
}

struct Opening<'a> {
    client: &'a Client,
    subscribed: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut wakers = Wakers::default();
        self.client.shared().act(|state, _| {
            match &mut state.routes.responses.inbox {
                Some(inbox) if self.subscribed => inbox.subscribed = true,
                _ => close_inbox(state),
            }
            state.notify_watchers(&mut wakers);
        });
        wakers.wake();
    }
}

// ---- who waits for a response

/// Under the client's lock: where responses come in, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    inbox: Option<Inbox>,
    waiting: Slab<Waiting>,
    requests: u64,
    ended: bool,
}

#[derive(Debug)]
struct Inbox {
    topic: TopicName,
    route: RouteKey,
    subscribed: bool,
}

#[derive(Debug)]
struct Waiting {
    request: u64,
    response: Option<Message>,
    waker: Option<Waker>,
}

/// Names a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RequestNumber {
    key: u32,
    /// Never used again, so that a late response finds nobody.
    request: u64,
}

impl RequestNumber {
    fn correlation(self) -> [u8; 12] {
        let mut data = [0; 12];
        data[..4].copy_from_slice(&self.key.to_be_bytes());
        data[4..].copy_from_slice(&self.request.to_be_bytes());
        data
    }

    fn of(data: &[u8]) -> Option<Self> {
        let (key, request) = data.split_first_chunk()?;
        let request = u64::from_be_bytes(request.try_into().ok()?);
        Some(Self { key: u32::from_be_bytes(*key), request })
    }
}

impl Responses {
    fn inbox(&self) -> Option<&Inbox> {
        self.inbox.as_ref()
    }

    fn find(&mut self, number: RequestNumber) -> Option<&mut Waiting> {
        let waiting = self.waiting.get_mut(number.key as usize)?;
        (waiting.request == number.request).then_some(waiting)
    }

    /// A message has come to the inbox. What answers no request that waits is dropped.
    pub(crate) fn deliver(&mut self, message: Message, wakers: &mut Wakers) {
        let number = message.properties().correlation_data().and_then(RequestNumber::of);
        if let Some(waiting) = number.and_then(|number| self.find(number)) {
            if waiting.response.is_none() {
                waiting.response = Some(message);
                wakers.take(&mut waiting.waker);
            }
        }
    }

    /// No response will come any more.
    pub(crate) fn end(&mut self, wakers: &mut Wakers) {
        self.ended = true;
        for (_, waiting) in &mut self.waiting {
            wakers.take(&mut waiting.waker);
        }
    }
}

struct PendingResponse<'a> {
    client: &'a Client,
    number: RequestNumber,
}

impl<'a> PendingResponse<'a> {
    fn new(client: &'a Client) -> Result<Self, ResponseError> {
        let responses = &mut client.shared().lock().routes.responses;
        if responses.waiting.len() >= WAITING {
            return Err(ResponseError::TooMany);
        }
        responses.requests += 1;
        let request = responses.requests;
        let key = responses.waiting.insert(Waiting { request, response: None, waker: None }) as u32;
        Ok(Self { client, number: RequestNumber { key, request } })
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Message, ResponseError>> {
        let state = &mut *self.client.shared().lock();
        let ended = state.routes.responses.ended;
        let waiting = state.routes.responses.find(self.number).expect("it waits until it is dropped");
        match waiting.response.take() {
            Some(response) => Poll::Ready(Ok(response)),
            None if ended => Poll::Ready(Err(PublishError::Closed.into())),
            None => {
                set_waker(&mut waiting.waker, cx, &mut state.spent);
                Poll::Pending
            }
        }
    }
}

impl Drop for PendingResponse<'_> {
    fn drop(&mut self) {
        let state = &mut *self.client.shared().lock();
        let waiting = state.routes.responses.waiting.remove(self.number.key as usize);
        state.spent.extend(waiting.waker);
    }
}
