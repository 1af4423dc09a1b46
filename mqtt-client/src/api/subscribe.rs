//! Subscribing: a builder that can be awaited.

use crate::api::subscription::Subscription;
use crate::error::SubscribeError;
use crate::hub::own::Own;
use crate::hub::pending_reply::PendingReply;
use crate::hub::requests::Reply;
use crate::hub::route::{StreamLimits, StreamOptions};
use crate::hub::shared::Handle;
use martlet_proto::{
    QoS, RetainHandling, SubscribeFilter as Options, TopicError, TopicFilter, UserProperties,
};
use martlet_session::SubscribeRequest;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Subscriptions about to be made, from [`Client::subscribe`](crate::Client::subscribe); await it.
/// Options of a subscription apply to all filters given so far, those of the stream to all of it.
///
/// ```
/// # use martlet_client::{Client, QoS, SubscribeError};
/// # async fn example(client: Client) -> Result<(), SubscribeError> {
/// let subscribe = client.subscribe("lamps/+/set").qos(QoS::AtLeastOnce).no_local();
/// let stream = subscribe.and("lamps/all", QoS::AtMostOnce).await?; // one stream for both
/// println!("{:?}", stream.reasons());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a subscribe does nothing until it is awaited"]
pub struct SubscribeBuilder<'a> {
    handle: &'a Arc<Handle>,
    subscriptions: Result<Vec<Options>, TopicError>,
    options: StreamOptions,
    also: Vec<TopicFilter>,
    user_properties: UserProperties,
    offline_timeout: Option<Duration>,
}

impl<'a> SubscribeBuilder<'a> {
    pub(crate) fn new(handle: &'a Arc<Handle>) -> Self {
        Self {
            handle,
            subscriptions: Ok(Vec::new()),
            options: StreamOptions {
                keep_on_server: handle.shared.keep_on_server,
                ..StreamOptions::default()
            },
            also: Vec::new(),
            user_properties: UserProperties::new(),
            offline_timeout: None,
        }
    }

    fn each(mut self, set: impl Fn(&mut Options)) -> Self {
        if let Ok(subscriptions) = &mut self.subscriptions {
            subscriptions.iter_mut().for_each(set);
        }
        self
    }

    /// Adds a filter with a QoS of its own to the same stream. The filters travel in SUBSCRIBEs of
    /// at most [`max_filters_per_packet`](martlet_session::Config::max_filters_per_packet), and are
    /// answered together. Where filters of one stream overlap, a server may send a message once for
    /// each (MQTT 5 §3.3.4).
    pub fn and(self, filter: impl TryInto<TopicFilter, Error: Into<TopicError>>, qos: QoS) -> Self {
        self.add(filter.try_into().map_err(Into::into), qos)
    }

    /// Adds a filter, or the error that it is when this is awaited.
    pub(crate) fn add(mut self, filter: Result<TopicFilter, TopicError>, qos: QoS) -> Self {
        match (filter, &mut self.subscriptions) {
            (Ok(mut filter), Ok(subscriptions)) => {
                filter.own();
                subscriptions.push(Options::new(filter, qos));
            }
            (Err(error), Ok(_)) => self.subscriptions = Err(error),
            (_, Err(_)) => {}
        }
        self
    }

    /// Sets the highest QoS that messages are to come with. Default: 0.
    pub fn qos(self, qos: QoS) -> Self {
        self.each(|subscription| subscription.qos = qos)
    }

    /// Leaves out what this client publishes itself (MQTT 5). Streams on one filter share its
    /// subscription: it holds while all of them want it.
    pub fn no_local(self) -> Self {
        self.each(|subscription| subscription.no_local = true)
    }

    /// Keeps the RETAIN flag as it was published (MQTT 5), for all streams on this filter.
    pub fn retain_as_published(self) -> Self {
        self.each(|subscription| subscription.retain_as_published = true)
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

    /// Sets how long the subscribe waits to be sent: for a connection, and for its answer on one
    /// after the other. Default: the session's
    /// [`offline_timeout`](martlet_session::Config::offline_timeout), 60 s.
    pub fn offline_timeout(mut self, timeout: Duration) -> Self {
        self.offline_timeout = Some(timeout);
        self
    }

    /// Leaves the Subscription Identifier out of the SUBSCRIBE (MQTT 5 §3.8.2.1.2). The stream gets
    /// what its filters match, as in 3.x: where filters of several streams overlap and the server
    /// sends a copy for each, it may get a message more than once. Default: each SUBSCRIBE has one,
    /// where the server takes it.
    pub fn without_identifier(mut self) -> Self {
        self.options.anonymous = true;
        self
    }

    /// Sets how much waits in the stream while nobody takes it.
    pub fn limits(mut self, limits: StreamLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Acknowledges each message when it arrives, not when it is taken: however slow the stream is,
    /// it holds back neither the server nor the acknowledgements of other streams. In exchange its
    /// messages of QoS 1 and 2 may be dropped at the stream's [limits](Self::limits), and are lost
    /// with the process.
    pub fn acknowledge_on_arrival(mut self) -> Self {
        self.options.acknowledge_on_arrival = true;
        self
    }

    /// Drops messages at the stream's [limits](Self::limits) even while its reader is alive.
    /// Without it, the socket is left unread when the stream is half full, and the other streams
    /// wait with it. For a stream where only the latest messages count, use it with small limits.
    pub fn drop_when_full(mut self) -> Self {
        self.options.drop_when_full = true;
        self
    }

    /// Also routes messages to this stream whose topic matches `filter`, without subscribing to it:
    /// where the server delivers the messages of a subscription under other topics, as with topic
    /// rewriting and mount points. A leading `$name/` in a filter, such as `$queue/` or
    /// `$exclusive/`, needs no such help.
    pub fn also_matches(
        mut self,
        filter: impl TryInto<TopicFilter, Error: Into<TopicError>>,
    ) -> Self {
        // A share name has no meaning for a topic.
        match filter
            .try_into()
            .map_err(Into::into)
            .and_then(|filter| TopicFilter::new(filter.pattern()))
        {
            Ok(filter) => self.also.push(filter),
            Err(error) if self.subscriptions.is_ok() => self.subscriptions = Err(error),
            Err(_) => {}
        }
        self
    }

    /// Leaves the subscription with the server when the stream is dropped, as
    /// [`Subscription::detach`] does.
    pub fn keep_on_server(mut self) -> Self {
        self.options.keep_on_server = true;
        self
    }
}

impl<'a> IntoFuture for SubscribeBuilder<'a> {
    type Output = Result<Subscription, SubscribeError>;
    type IntoFuture = SubscribeFuture<'a>;

    fn into_future(self) -> SubscribeFuture<'a> {
        let Self {
            handle,
            subscriptions,
            options,
            also,
            user_properties,
            offline_timeout,
        } = self;
        let start = subscriptions.map(|subscriptions| Start {
            subscriptions,
            options,
            also,
            user_properties,
            offline_timeout,
        });
        SubscribeFuture {
            handle,
            step: Step::Start(start),
        }
    }
}

/// Waits for the SUBACK, through reconnects, but to be sent no longer than
/// [`offline_timeout`](SubscribeBuilder::offline_timeout) in all. A SUBSCRIBE that ends one
/// connection after the other fails
/// ([`max_request_losses`](martlet_session::Config::max_request_losses)).
///
/// Cancel safe: dropped before it is ready, the subscription is taken back. One that was not sent
/// leaves nothing.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct SubscribeFuture<'a> {
    handle: &'a Arc<Handle>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Start(Result<Start, TopicError>),
    Waiting {
        pending: PendingReply,
        subscription: Subscription,
        filters: Vec<TopicFilter>,
        keep: bool,
    },
    Done,
}

/// What is asked for.
#[derive(Debug)]
struct Start {
    subscriptions: Vec<Options>,
    options: StreamOptions,
    also: Vec<TopicFilter>,
    user_properties: UserProperties,
    offline_timeout: Option<Duration>,
}

impl SubscribeFuture<'_> {
    fn start(&self, start: Start) -> Result<Step, SubscribeError> {
        let Start {
            mut subscriptions,
            options,
            also,
            user_properties,
            offline_timeout,
        } = start;
        let handle = self.handle;
        handle.shared.act(|state, now| {
            // The route is there before the SUBSCRIBE leaves.
            let (key, identifier) = state.routes.add(&mut subscriptions, also, options);
            let filters = subscriptions
                .iter()
                .map(|subscription| subscription.filter.clone())
                .collect();
            let subscription_identifier = (!options.anonymous).then_some(identifier);
            let mut request = SubscribeRequest::new(subscriptions)
                .subscription_identifier(subscription_identifier)
                .user_properties(user_properties);
            if let Some(timeout) = offline_timeout {
                request = request.offline_timeout(timeout);
            }
            match state.session.subscribe(now, request) {
                Ok(operation) => {
                    let pending = PendingReply::new(handle, state, operation);
                    let subscription = Subscription::new(handle, state, key);
                    Ok(Step::Waiting {
                        pending,
                        subscription,
                        filters,
                        keep: options.keep_on_server,
                    })
                }
                Err(error) => {
                    state.routes.remove(key, &mut state.deferred);
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
                Step::Start(Ok(start)) => self.step = self.start(start)?,
                Step::Waiting {
                    mut pending,
                    mut subscription,
                    filters,
                    keep,
                } => match pending.poll(cx) {
                    Poll::Pending => {
                        self.step = Step::Waiting {
                            pending,
                            subscription,
                            filters,
                            keep,
                        };
                        return Poll::Pending;
                    }
                    Poll::Ready(Reply::Subscribed(Ok(answer))) => {
                        subscription.answered(&filters, answer);
                        subscription.set_keep_on_server(keep);
                        let rejected = subscription
                            .reasons()
                            .iter()
                            .all(|reason| reason.is_error());
                        return Poll::Ready(if rejected {
                            let (reasons, details) = subscription.take_answer();
                            Err(SubscribeError::Rejected { reasons, details })
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
