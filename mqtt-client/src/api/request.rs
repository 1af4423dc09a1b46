//! Request and response (MQTT 5 §4.10): a publish whose answer comes back as a message.
//!
//! All requests of a client share one subscription, to a topic of its own, made with the first.
//! Correlation data tells the responses apart: a number that is found at once, and a tag that only
//! the receivers of the request know. Without the tag, a late response to an earlier process would
//! answer a request of a later one.

use crate::api::publish::PublishBuilder;
use crate::error::{ConnectError, SubscribeError};
use crate::hub::message::Message;
use crate::hub::pending_reply::PendingReply;
use crate::hub::requests::Reply;
use crate::hub::responses::{Inbox, NoResponse, RequestNumber};
use crate::hub::route::RouteKey;
use crate::hub::route::StreamOptions;
use crate::hub::shared::{Handle, Shared, State};
use crate::hub::sleeper::Sleeper;
use crate::hub::wakers::{Caller, Wakers};
use martlet_proto::{
    BinaryData, PubAckReasonCode, PublishProperties, QoS, SubscribeFilter, TopicError, TopicFilter,
    TopicName, Version,
};
use martlet_session::{
    Answer, Connected, OutgoingPublish, PublishError, SubscribeRequest, UnsubscribeRequest,
};
use std::borrow::Cow;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A request about to be made, from [`Client::request`](crate::Client::request); await it for the
/// response.
///
/// ```
/// # use martlet_client::{Client, ResponseError};
/// # use std::time::Duration;
/// # async fn example(client: Client) -> Result<(), ResponseError> {
/// let request = client.request("doors/1/state", "").timeout(Duration::from_secs(2));
/// println!("{:?}", request.await?.text());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct RequestBuilder<'a> {
    handle: &'a Arc<Handle>,
    message: Result<OutgoingPublish, TopicError>,
    properties: PublishProperties,
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
    #[error("no subscription for the responses")]
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
    /// The response was dropped when it came: 16 MiB of other responses waited that their requests
    /// had not been polled for.
    #[error("the response was dropped because too many bytes of other responses waited")]
    Dropped,
    /// No response came in time.
    #[error("no response in time")]
    Timeout,
}

impl<'a> RequestBuilder<'a> {
    pub(crate) fn new(
        handle: &'a Arc<Handle>,
        message: Result<OutgoingPublish, TopicError>,
    ) -> Self {
        let message = message.map(|message| message.qos(QoS::AtLeastOnce));
        let properties = PublishProperties::default();
        Self {
            handle,
            message,
            properties,
            timeout: Duration::from_secs(30),
        }
    }

    /// Sets the quality of service of the request. Default: 1. Responses come with 1 at most.
    pub fn qos(mut self, qos: QoS) -> Self {
        if let Ok(message) = &mut self.message {
            message.qos = qos;
        }
        self
    }

    /// Sets the properties of the request. Its response topic and correlation data are set here,
    /// whatever they were.
    pub fn properties(mut self, properties: impl Into<PublishProperties>) -> Self {
        self.properties = properties.into();
        self
    }

    /// Sets how long the response may take, counted from the first poll; waiting for a connection
    /// and for the subscription is part of it. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn run(self) -> Result<Message, ResponseError> {
        let Self {
            handle,
            message,
            properties,
            timeout,
        } = self;
        let message = message.map_err(PublishError::Topic)?;
        let mut sleeper = Sleeper::new(&handle.shared, timeout);
        let mut exchange = pin!(exchange(handle, message, properties));
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

impl<'a> IntoFuture for RequestBuilder<'a> {
    type Output = Result<Message, ResponseError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    /// Cancel safe: dropped before the request was accepted, nothing was published; dropped later,
    /// the request continues in the background, and its response is dropped when it comes.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

async fn exchange(
    handle: &Arc<Handle>,
    mut message: OutgoingPublish,
    properties: PublishProperties,
) -> Result<Message, ResponseError> {
    let topic = inbox(handle).await?;
    let mut pending = PendingResponse::new(&handle.shared)?;
    let correlation =
        BinaryData::try_from(&pending.number.correlation()[..]).expect("twenty bytes");
    message.properties = properties
        .to_builder()
        .response_topic(topic)
        .correlation_data(correlation)
        .build();
    let mut publish = pin!(PublishBuilder::of(&handle.shared, message).into_future());
    let mut published = false;
    poll_fn(|cx| {
        if let Poll::Ready(response) = pending.poll(cx) {
            return Poll::Ready(response);
        }
        if published {
            return Poll::Pending;
        }
        let reason = match publish.as_mut().poll(cx) {
            Poll::Ready(Ok(acknowledged)) => acknowledged.reason,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            Poll::Pending => return Poll::Pending,
        };
        published = true;
        if reason == PubAckReasonCode::NoMatchingSubscribers {
            return Poll::Ready(Err(ResponseError::NobodyListens));
        }
        Poll::Pending
    })
    .await
}

// ---- where responses come in

/// What comes next on the way to a topic for responses.
enum InboxStep {
    /// It is subscribed to.
    Ready(TopicName),
    /// This request subscribes to it; others wait.
    Subscribe(TopicName),
    /// The connection is gone.
    Reconnect,
}

/// The topic that responses go to, subscribed to.
async fn inbox(handle: &Arc<Handle>) -> Result<TopicName, ResponseError> {
    loop {
        let connected = handle.shared.connected().await?;
        if connected.version != Version::V5 {
            return Err(ResponseError::NotInVersion(connected.version));
        }
        match handle.shared.watch(poll_inbox).await? {
            InboxStep::Ready(topic) => return Ok(topic),
            InboxStep::Subscribe(topic) => {
                subscribe(handle, &topic).await?;
                return Ok(topic);
            }
            InboxStep::Reconnect => {}
        }
    }
}

/// Waits while another request subscribes.
fn poll_inbox(state: &mut State) -> Poll<Result<InboxStep, ResponseError>> {
    let Some(connected) = state.connection.connected() else {
        return Poll::Ready(Ok(InboxStep::Reconnect));
    };
    let topic = match response_topic(connected, state.session.client_identifier().as_str()) {
        Ok(topic) => topic,
        Err(error) => return Poll::Ready(Err(PublishError::Topic(error).into())),
    };
    if let Some(inbox) = state.routes.responses.inbox() {
        if inbox.topic == topic && state.routes.has_filters(inbox.route) {
            if inbox.subscribed {
                return Poll::Ready(Ok(InboxStep::Ready(topic)));
            }
            return Poll::Pending;
        }
    }
    close_inbox(state);
    let route = open_route(state, &topic);
    state.routes.responses.inbox = Some(Inbox {
        topic: topic.clone(),
        route,
        subscribed: false,
    });
    Poll::Ready(Ok(InboxStep::Subscribe(topic)))
}

/// Below what the server offers to this client alone, or a topic named after the client identifier.
/// Wildcards are escaped, so that no two identifiers have the same topic; a topic that is too long
/// is an error.
fn response_topic(connected: &Connected, client_identifier: &str) -> Result<TopicName, TopicError> {
    let offered = connected.connack.properties.response_information.as_ref();
    TopicName::new(match offered {
        Some(prefix) => format!(
            "{}/responses",
            escape(prefix.as_str().trim_end_matches('/'))
        ),
        None => format!("responses/{}", escape(client_identifier)),
    })
}

/// Replaces what a topic name cannot hold by `%` and its code.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '#', '%']) {
        return text.into();
    }
    text.replace('%', "%25")
        .replace('+', "%2B")
        .replace('#', "%23")
        .into()
}

fn filter(topic: &TopicName) -> TopicFilter {
    TopicFilter::new(topic.as_str()).expect("a topic name is a filter")
}

fn open_route(state: &mut State, topic: &TopicName) -> RouteKey {
    let options = StreamOptions {
        responses: true,
        acknowledge_on_arrival: true,
        ..StreamOptions::default()
    };
    let mut subscriptions = [SubscribeFilter::new(filter(topic), QoS::AtLeastOnce)];
    let (route, _) = state.routes.add(&mut subscriptions, Vec::new(), options);
    route
}

/// Forgets the inbox, and unsubscribes from what nobody else has.
fn close_inbox(state: &mut State) {
    let Some(inbox) = state.routes.responses.inbox.take() else {
        return;
    };
    let filters = state.routes.remove(inbox.route, &mut state.deferred);
    let request = UnsubscribeRequest::new(filters.clone());
    // The answer is of no use.
    if state.session.unsubscribe(state.now, request).is_err() {
        state.withdraw_subscriptions(state.now, filters);
    }
}

/// Subscribes for all requests that wait for it. When this is dropped, or rejected, the next of
/// them tries.
async fn subscribe(handle: &Arc<Handle>, topic: &TopicName) -> Result<(), SubscribeError> {
    let mut opening = Opening {
        handle,
        subscribed: false,
    };
    let pending = PendingReply::ask(handle, |state, now| {
        let subscription_identifier = match state.routes.responses.inbox() {
            Some(inbox) => state.routes.identifier(inbox.route),
            None => None,
        };
        let request =
            SubscribeRequest::new([SubscribeFilter::new(filter(topic), QoS::AtLeastOnce)])
                .subscription_identifier(subscription_identifier);
        state.session.subscribe(now, request)
    });
    let mut pending = pending?;
    match poll_fn(|cx| pending.poll(cx)).await {
        Reply::Subscribed(Ok(answer)) if answer.reasons.iter().any(|reason| reason.is_error()) => {
            let Answer {
                reasons, details, ..
            } = answer;
            Err(SubscribeError::Rejected { reasons, details })
        }
        Reply::Subscribed(Ok(_)) => {
            opening.subscribed = true;
            Ok(())
        }
        reply => Err(reply.error().into()),
    }
}

struct Opening<'a> {
    handle: &'a Arc<Handle>,
    subscribed: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut wakers = Wakers::default();
        self.handle.shared.act(|state, _| {
            match &mut state.routes.responses.inbox {
                Some(inbox) if self.subscribed => inbox.subscribed = true,
                _ => close_inbox(state),
            }
            state.waiters.notify(&mut wakers);
        });
        wakers.wake();
    }
}

// ---- waiting for the response

struct PendingResponse<'a> {
    shared: &'a Shared,
    number: RequestNumber,
}

impl<'a> PendingResponse<'a> {
    fn new(shared: &'a Shared) -> Result<Self, ResponseError> {
        let number = shared.lock().routes.responses.add();
        let number = number.ok_or(ResponseError::TooMany)?;
        Ok(Self { shared, number })
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Message, ResponseError>> {
        self.shared.poll(Caller::new(cx), |state, caller| {
            let responses = &mut state.routes.responses;
            responses
                .poll(self.number, caller)
                .map_err(|none| match none {
                    NoResponse::Dropped => ResponseError::Dropped,
                    NoResponse::Stopped => {
                        PublishError::Closed(state.connection.why_stopped()).into()
                    }
                })
        })
    }
}

impl Drop for PendingResponse<'_> {
    fn drop(&mut self) {
        let state = &mut *self.shared.lock();
        let waker = state.routes.responses.remove(self.number);
        state.deferred.extend(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a topic name cannot hold was left out: `a+b` and `ab` had the same topic for their
    /// responses.
    #[test]
    fn no_two_identifiers_have_the_same_topic() {
        let identifiers = [
            "ab", "a+b", "a#b", "a%b", "a%2Bb", "a%252Bb", "a/b", "+", "#", "%", "%25", "%23", "",
        ];
        let topics: std::collections::BTreeSet<_> = identifiers
            .iter()
            .map(|id| TopicName::new(format!("responses/{}", escape(id))).unwrap())
            .collect();
        assert_eq!(topics.len(), identifiers.len(), "{topics:?}");
    }
}
