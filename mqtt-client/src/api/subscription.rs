//! The stream of messages of a subscription.

use crate::api::message::sealed::Taken;
use crate::api::message::{Item, Unacknowledged};
use crate::api::place::Place;
use crate::api::position::{Acknowledger, Position, PositionError, Positioned};
#[cfg(feature = "tracing")]
use crate::api::spans;
use crate::api::unsubscribe::UnsubscribeBuilder;
use crate::hub::message::Message;
use crate::hub::route::{ReaderProgress, RouteKey, UNMATCHED};
use crate::hub::shared::{Handle, State};
use crate::hub::sleeper::Sleeper;
use crate::hub::wakers::Caller;
use futures_core::Stream;
use martlet_proto::{SubAckReasonCode, TopicFilter};
use martlet_session::{Answer, Details};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The messages of a subscription, in the order in which they came. Each is acknowledged when it is
/// taken, unless [`acknowledge_manually`](Self::acknowledge_manually) or
/// [`acknowledge_on_arrival`](crate::client::SubscribeBuilder::acknowledge_on_arrival) says
/// otherwise.
///
/// **Which messages.** Those that the server sends for this subscription; where it does not say for
/// which (in 3.x, or without subscription identifiers), all whose topic matches a filter. Each
/// PUBLISH comes once. For overlapping subscriptions a server may send one for each: with
/// subscription identifiers each goes to its own stream, without them all go to every stream that
/// matches.
///
/// **A slow reader.** While its stream is half full and the reader takes messages, the client does
/// not read the socket, and all streams wait; one that takes nothing is waited for as long as its
/// [limits](crate::client::SubscribeBuilder::limits) say, and then QoS 0 is dropped.
/// Acknowledgements leave in the order of arrival, so a message of QoS 1 or 2 that is not taken
/// holds back those of all streams that came later, until the server has sent all that it may
/// unacknowledged: [`ClientEvent::AcknowledgementsHeld`](crate::ClientEvent::AcknowledgementsHeld)
/// reports it.
///
/// **Ends** (`None`) when the client has disconnected or stopped, also where
/// [`Client::reconnect`](crate::Client::reconnect) revives it later, or was unsubscribed from all
/// its filters. Dropping it unsubscribes from the filters that no other stream has, and
/// acknowledges what was not taken, unless [both are left with the server](Self::detach).
///
/// ```
/// # use martlet_client::{Client, QoS, SubscribeError};
/// # async fn example(client: Client) -> Result<(), SubscribeError> {
/// let mut jobs = client.subscribe("jobs/+").qos(QoS::AtLeastOnce).await?;
/// while let Some(job) = jobs.next().await {
///     println!("{}", job.topic());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Subscription<M = Message> {
    place: Place,
    answer: Granted,
    /// Messages of QoS 0 that were taken out together with one before them.
    batch: VecDeque<Message>,
    /// Tells the client that the batch is being taken.
    progress: ReaderProgress,
    item: PhantomData<fn() -> M>,
    /// Of the message that was given out last, until the next is asked for.
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

/// What the server said.
#[derive(Debug, Default)]
struct Granted {
    reasons: Vec<SubAckReasonCode>,
    details: Option<Box<Details>>,
}

impl Subscription {
    pub(crate) fn new(handle: &Arc<Handle>, state: &mut State, key: RouteKey) -> Self {
        let place = Place {
            handle: Arc::clone(handle),
            key,
            stream: 0,
            keep_on_server: false,
        };
        Self {
            place,
            answer: Granted::default(),
            batch: VecDeque::new(),
            progress: state.routes.progress(key),
            item: PhantomData,
            #[cfg(feature = "tracing")]
            span: tracing::Span::none(),
        }
    }

    /// The stream of unmatched messages; `None` if it is taken.
    pub(crate) fn unmatched(handle: &Arc<Handle>) -> Option<Self> {
        let state = &mut *handle.shared.lock();
        let free = state.routes.hold_unmatched();
        free.then(|| Self::new(handle, state, UNMATCHED))
    }

    /// The server has answered the SUBSCRIBE.
    pub(crate) fn answered(&mut self, filters: &[TopicFilter], answer: Answer<SubAckReasonCode>) {
        let rejected = filters
            .iter()
            .zip(&answer.reasons)
            .filter(|(_, reason)| reason.is_error());
        let rejected: Vec<_> = rejected.map(|(filter, _)| filter.clone()).collect();
        self.place.handle.shared.act(|state, now| {
            state.routes.handle_granted(self.place.key);
            state.reject(now, self.place.key, rejected);
            state.routes.claim_waiting(self.place.key, now);
        });
        self.answer = Granted {
            reasons: answer.reasons,
            details: answer.details,
        };
    }

    pub(crate) fn take_answer(&mut self) -> (Vec<SubAckReasonCode>, Option<Box<Details>>) {
        let Granted { reasons, details } = std::mem::take(&mut self.answer);
        (reasons, details)
    }

    pub(crate) fn set_keep_on_server(&mut self, keep: bool) {
        self.place.keep_on_server = keep;
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
        self.giving()
    }

    /// Gives messages that the application acknowledges by their position, all up to one at a time,
    /// from the next one on: as a checkpoint asks for. What is dropped is not given up, and what is
    /// not acknowledged when the stream is dropped comes again on the next connection that resumes
    /// the session.
    ///
    /// Such messages count against the
    /// [receive maximum](martlet_session::InboundLimits::receive_maximum) until they are
    /// acknowledged: set it to more than what comes between two checkpoints. They hold back the
    /// acknowledgements of other streams that came later;
    /// [`ClientEvent::AcknowledgementsHeld`](crate::ClientEvent::AcknowledgementsHeld) does not
    /// report that. [`Acknowledger`] has an example.
    pub fn acknowledge_by_position(mut self) -> Subscription<Positioned> {
        let mut state = self.place.handle.shared.lock();
        self.place.stream = state.routes.keep_positions(self.place.key);
        drop(state);
        self.giving()
    }

    fn giving<M>(self) -> Subscription<M> {
        Subscription {
            place: self.place,
            answer: self.answer,
            batch: self.batch,
            progress: self.progress,
            item: PhantomData,
            #[cfg(feature = "tracing")]
            span: self.span,
        }
    }
}

impl Subscription<Positioned> {
    /// What acknowledges messages of this stream, from any thread.
    pub fn acknowledger(&self) -> Acknowledger {
        Acknowledger {
            shared: Arc::clone(&self.place.handle.shared),
            key: self.place.key,
            stream: self.place.stream,
        }
    }

    /// Acknowledges all messages up to this position: see [`Acknowledger::acknowledge_up_to`].
    ///
    /// # Errors
    /// [`PositionError`] when the position is not of this stream, or void.
    pub fn acknowledge_up_to(&self, position: Position) -> Result<usize, PositionError> {
        self.acknowledger().acknowledge_up_to(position)
    }
}

impl<M: Item> Subscription<M> {
    /// What the server said of each filter, in their order: the QoS that it granted, or why it
    /// rejected (MQTT 5 §3.9.3).
    pub fn reasons(&self) -> &[SubAckReasonCode] {
        &self.answer.reasons
    }

    /// The reason string and user properties of the SUBACK, if it had any (MQTT 5 §3.9.2.1).
    pub fn details(&self) -> Option<&Details> {
        self.answer.details.as_deref()
    }

    /// How many messages the stream has dropped because it was full.
    pub fn dropped(&self) -> u64 {
        self.place
            .handle
            .shared
            .lock()
            .routes
            .dropped_of(self.place.key)
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
        let mut sleeper = Sleeper::new(&self.place.handle.shared, timeout);
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

    /// The span `deliver` of the message that was given out last: it lasts until the stream is
    /// asked for the next one. What is done with the message may be
    /// [in it](https://docs.rs/tracing/latest/tracing/trait.Instrument.html).
    #[cfg(feature = "tracing")]
    pub fn span(&self) -> &tracing::Span {
        &self.span
    }

    #[cfg(feature = "tracing")]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<M>> {
        if !self.span.is_none() {
            self.span = tracing::Span::none();
        }
        let next = self.poll_message(cx);
        if let Poll::Ready(Some(item)) = &next {
            self.span = spans::deliver(item.message());
        }
        next
    }

    #[cfg(not(feature = "tracing"))]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<M>> {
        self.poll_message(cx)
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<M>> {
        if let Some(message) = self.batch.pop_front() {
            self.progress.note();
            return Poll::Ready(Some(M::qos0(message, self.place.stream)));
        }
        let Place {
            handle,
            key,
            stream,
            ..
        } = &self.place;
        handle.shared.poll(Caller::new(cx), |state, caller| {
            let mut look = false;
            let next = match state.poll_message(*key, caller) {
                Poll::Ready(Some(queued)) => {
                    let taken = Taken {
                        queued,
                        key: *key,
                        stream: *stream,
                        state,
                        shared: &handle.shared,
                    };
                    let (item, asks) = M::take(taken);
                    look = asks;
                    if M::TAKES_BATCHES {
                        look |= state.fill_batch(*key, &mut self.batch);
                    }
                    Poll::Ready(Some(item))
                }
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
            look |= state.routes.is_relieved(*key);
            if look {
                caller.wake_later(state.call_driver());
            }
            next
        })
    }

    /// Unsubscribes and waits for the server's answer; await it. Messages that were not taken are
    /// acknowledged and dropped, and filters that other streams have stay.
    pub fn unsubscribe(self) -> UnsubscribeBuilder<'static> {
        UnsubscribeBuilder::stream(self.place)
    }

    /// Drops the stream and leaves the subscription with the server: messages that were not taken
    /// are not acknowledged; some of QoS 0 may go with the stream. With a session that outlives the
    /// connection they come again when a client resumes it, and so do those that come in the
    /// meantime; see [`Client::unmatched`](crate::Client::unmatched).
    ///
    /// Until the client disconnects, what comes for the subscription goes to the stream of
    /// unmatched messages, and so does what was not taken. Take the stream of unmatched messages,
    /// or subscribe to the filter again, if the client goes on: what waits there for longer than
    /// 10 s is acknowledged and dropped
    /// ([`ClientEvent::Discarded`](crate::ClientEvent::Discarded)).
    pub fn detach(mut self) {
        self.place.keep_on_server = true;
    }
}

impl<M: Item> Stream for Subscription<M> {
    type Item = M;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<M>> {
        self.poll(cx)
    }
}

/// No message came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no message came in time")]
pub struct NoMessage;
