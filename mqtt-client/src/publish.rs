//! Publishing: a builder that can be awaited, and a receipt.

use crate::client::Client;
use crate::completions::PublishResult;
use crate::shared::{Need, Shared, wake};
use crate::subscription::Sleeper;
use crate::wakers::Wakers;
use bytes::Bytes;
use martlet_proto::{PubAckReasonCode, PublishProperties, QoS, TopicError, TopicName};
use martlet_session::{Accepted, Instant, Publish as Outgoing, PublishError, Settled, WhenFull};
use std::future::{Future, IntoFuture};
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A message about to be published, from [`Client::publish`]. Await it for the server's answer, or
/// [`enqueue`](Self::enqueue) it for a [`Receipt`].
#[derive(Debug)]
#[must_use = "a publish does nothing until it is awaited"]
pub struct Publish<'a> {
    client: &'a Client,
    message: Result<Outgoing, TopicError>,
    timeout: Option<Duration>,
}

impl<'a> Publish<'a> {
    #[inline]
    pub(crate) fn new(client: &'a Client, topic: Result<TopicName, TopicError>, payload: Bytes) -> Self {
        let mut message = topic.map(|topic| Outgoing::new(topic, payload));
        if let (Some(defaults), Ok(message)) = (&client.shared().publish_defaults, &mut message) {
            defaults.apply(message);
        }
        Self { client, message, timeout: None }
    }

    /// With everything that it has.
    pub(crate) fn of(client: &'a Client, message: Outgoing) -> Self {
        Self { client, message: Ok(message), timeout: None }
    }

    #[inline]
    fn with(mut self, set: impl FnOnce(&mut Outgoing)) -> Self {
        if let Ok(message) = &mut self.message {
            set(message);
        }
        self
    }

    /// Sets the quality of service. Default: that of the builder's [`publish_defaults`](crate::Builder::publish_defaults),
    /// 0 if there are none.
    #[inline]
    pub fn qos(self, qos: QoS) -> Self {
        self.with(|message| message.qos = qos)
    }

    /// Sets whether the server keeps it as the retained message of its topic. Default: that of the builder's
    /// [`publish_defaults`](crate::Builder::publish_defaults), false if there are none.
    pub fn retain(self, retain: bool) -> Self {
        self.with(|message| message.retain = retain)
    }

    /// Sets the properties that travel with it (MQTT 5). Default: none.
    pub fn properties(self, properties: PublishProperties) -> Self {
        self.with(|message| message.properties = properties)
    }

    /// Sets the topic alias that stands for the topic on this connection from now on (MQTT 5 §3.3.2.3.4). It counts where
    /// the session's configuration leaves aliases to the application. Default: none.
    pub fn topic_alias(self, alias: NonZeroU16) -> Self {
        self.with(|message| message.topic_alias = Some(alias))
    }

    /// Sets how long to wait, counted from the first poll: for room, for a connection, for the acknowledgement, and with
    /// [`enqueue`](Self::enqueue) for the receipt. Default: for ever, but for
    /// [`Config::publish_timeout`](martlet_session::Config::publish_timeout), which counts from when the message left.
    ///
    /// When it runs out, the error says what becomes of the message: [`Timeout`](PublishError::Timeout), it was accepted
    /// and goes its way; [`QueueFull`](PublishError::QueueFull), there was no room and nothing was published.
    #[inline]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits for room only, and gives a receipt for the rest.
    ///
    /// Cancel safe: dropped before it is ready, nothing was published.
    #[inline]
    pub fn enqueue(self) -> Enqueue<'a> {
        let Self { client, message, timeout } = self;
        Enqueue { client, message: Some(message), waiting: None, timeout, sleeper: None }
    }
}

impl<'a> IntoFuture for Publish<'a> {
    type Output = PublishResult;
    type IntoFuture = PublishFuture<'a>;

    #[inline]
    fn into_future(self) -> PublishFuture<'a> {
        PublishFuture { step: Step::Enqueue(self.enqueue()) }
    }
}

/// Waits until the server has settled the message, through queueing and reconnects; with QoS 0, until it is in the
/// session's output.
///
/// Cancel safe: dropped before the message was accepted, nothing was published; dropped later, the message goes its way
/// and only its end is not told.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct PublishFuture<'a> {
    step: Step<'a>,
}

#[derive(Debug)]
enum Step<'a> {
    Enqueue(Enqueue<'a>),
    Receipt(Receipt),
}

impl Future for PublishFuture<'_> {
    type Output = PublishResult;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PublishResult> {
        loop {
            match &mut self.step {
                Step::Enqueue(enqueue) => match Pin::new(enqueue).poll(cx) {
                    Poll::Ready(Ok(receipt)) => self.step = Step::Receipt(receipt),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
                Step::Receipt(receipt) => return Pin::new(receipt).poll(cx),
            }
        }
    }
}

/// Waits for room, then publishes. Made by [`Publish::enqueue`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Enqueue<'a> {
    client: &'a Client,
    message: Option<Result<Outgoing, TopicError>>,
    waiting: Option<u64>,
    /// Until the first poll.
    timeout: Option<Duration>,
    sleeper: Option<Box<Sleeper>>,
}

impl Future for Enqueue<'_> {
    type Output = Result<Receipt, PublishError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(timeout) = this.timeout.take() {
            this.sleeper = Some(Box::new(Sleeper::new(this.client.shared(), timeout)));
        }
        let mut polled = this.poll_room(cx);
        if polled.is_pending() && is_over(&mut this.sleeper, cx) {
            // There may be room since it was looked for.
            polled = this.poll_room(cx);
            if polled.is_pending() {
                // It does not keep its place before those who go on to wait.
                this.message = None;
                this.leave_room();
                return Poll::Ready(Err(PublishError::QueueFull));
            }
        }
        if let Poll::Ready(Ok(receipt)) = &mut polled {
            receipt.sleeper = this.sleeper.take();
        }
        polled
    }
}

/// Whether the time has run out, if there is a limit.
#[inline]
fn is_over(sleeper: &mut Option<Box<Sleeper>>, cx: &Context<'_>) -> bool {
    sleeper.as_mut().is_some_and(|sleeper| sleeper.poll(cx).is_ready())
}

impl Enqueue<'_> {
    /// It does not wait any more.
    fn leave_room(&mut self) {
        if let Some(id) = self.waiting.take() {
            let mut wakers = Wakers::default();
            self.client.shared().lock().leave_room(id, &mut wakers);
            wakers.wake();
        }
    }

    fn poll_room(&mut self, cx: &Context<'_>) -> Poll<Result<Receipt, PublishError>> {
        if let Some(Ok(message)) = self.message.as_ref().filter(|message| is_qos0(message)) {
            let mut state = self.client.shared().lock();
            let done = state.session.publish_at_once(message);
            let driver = if matches!(done, Ok(true)) { state.call_driver() } else { None };
            drop(state);
            wake(driver);
            match done {
                Ok(true) => {
                    if let Some(id) = self.waiting.take() {
                        self.client.shared().lock().forget_room(id);
                    }
                    return Poll::Ready(Ok(Receipt::new(ReceiptState::Settled)));
                }
                Ok(false) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let message = match self.message.take() {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Poll::Ready(Err(PublishError::Topic(error))),
            None => panic!("polled after it was ready"),
        };
        let shared = self.client.shared();
        let now = expiry_clock(shared, &message);
        let mut state = shared.lock();
        let session = &state.session;
        let size =
            message.topic.as_bytes().len() + message.payload.len() + message.properties.as_bytes().len();
        let full = session.config().queue.when_full == WhenFull::Refuse && !session.has_room(size);
        // A QoS 0 message on a connection is done once it is in the output: it waits for that, not in the queue.
        let must_wait = if message.qos == QoS::AtMostOnce && session.is_connected() {
            !session.has_output_room()
        } else {
            full && !session.is_ended() && !session.never_fits(size)
        };
        if must_wait {
            // Room comes from the driver, which whoever took the room has called.
            let on_connection = message.qos == QoS::AtMostOnce && session.is_connected();
            let need = if on_connection { Need::Output } else { Need::Queue(size) };
            state.await_room(&mut self.waiting, need, cx);
            drop(state);
            self.message = Some(Ok(message));
            return Poll::Pending;
        }
        if let Some(id) = self.waiting.take() {
            state.forget_room(id);
        }
        let result = publish(shared, &mut state, message, now);
        let driver = state.call_driver();
        drop(state);
        wake(driver);
        Poll::Ready(result)
    }
}

fn is_qos0(message: &Result<Outgoing, TopicError>) -> bool {
    matches!(message, Ok(message) if message.qos == QoS::AtMostOnce)
}

impl Drop for Enqueue<'_> {
    fn drop(&mut self) {
        self.leave_room();
    }
}

/// The time, for a message whose expiry counts from now; everything else can do with that of the driver's last turn.
pub(crate) fn expiry_clock(shared: &Shared, message: &Outgoing) -> Option<Instant> {
    (!message.properties.is_empty()).then(|| (shared.clock)())
}

/// Publishes or refuses, under the lock; `now` is from [`expiry_clock`].
pub(crate) fn publish(
    shared: &Arc<Shared>,
    state: &mut crate::shared::State,
    mut message: Outgoing,
    now: Option<Instant>,
) -> Result<Receipt, PublishError> {
    let now = now.unwrap_or(state.now);
    let at_once =
        message.qos == QoS::AtMostOnce && message.properties.is_empty() && state.session.has_output_room();
    let key = (!at_once).then(|| state.completions.reserve());
    message.key = key;
    let result = state.session.publish(now, message);
    match (result, key) {
        (Ok(Accepted::Pending(_)), Some(key)) => {
            Ok(Receipt::new(ReceiptState::Pending { shared: Arc::clone(shared), key }))
        }
        (result, key) => {
            if let Some(key) = key {
                state.completions.release(key);
            }
            result.map(|_| Receipt::new(ReceiptState::Settled))
        }
    }
}

/// Stands for a message that was accepted. Await it for the server's answer, or drop it: the message goes its way.
#[derive(Debug)]
#[must_use = "await it for the server's answer, or drop it"]
pub struct Receipt {
    state: ReceiptState,
    sleeper: Option<Box<Sleeper>>,
}

#[derive(Debug)]
enum ReceiptState {
    /// QoS 0, and in the output.
    Settled,
    Pending {
        shared: Arc<Shared>,
        key: u32,
    },
    Told,
}

impl Receipt {
    #[inline]
    fn new(state: ReceiptState) -> Self {
        Self { state, sleeper: None }
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<PublishResult> {
        match &self.state {
            ReceiptState::Settled => {
                Poll::Ready(Ok(Settled { reason: PubAckReasonCode::Success, details: None }))
            }
            ReceiptState::Pending { shared, key } => {
                let state = &mut *shared.lock();
                state.completions.poll(*key, cx, &mut state.spent)
            }
            ReceiptState::Told => panic!("polled after it was ready"),
        }
    }

    /// Nobody waits any more for what has not come to its end.
    fn abandon(&mut self) {
        if let ReceiptState::Pending { shared, key } = &self.state {
            let state = &mut *shared.lock();
            state.completions.abandon(*key, &mut state.spent);
        }
        self.state = ReceiptState::Told;
    }
}

impl Future for Receipt {
    type Output = PublishResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PublishResult> {
        let mut polled = self.poll_end(cx);
        if polled.is_pending() && is_over(&mut self.sleeper, cx) {
            // It may have ended since it was looked at.
            polled = self.poll_end(cx);
            if polled.is_pending() {
                self.abandon();
                return Poll::Ready(Err(PublishError::Timeout));
            }
        }
        if polled.is_ready() {
            self.state = ReceiptState::Told;
        }
        polled
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.abandon();
    }
}
