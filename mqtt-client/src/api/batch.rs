//! Publishing many messages with one receipt.

#[cfg(feature = "tracing")]
use crate::api::spans;
use crate::hub::admission::Offered;
use crate::hub::batches::BatchKey;
use crate::hub::shared::{Shared, State};
use crate::hub::wakers::{Caller, Wakers};
use martlet_proto::QoS;
use martlet_session::{OperationId, OutgoingPublish, PublishError, Withdrawal};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// How many messages are published under one lock.
const AT_ONCE: usize = 128;

/// A message of a batch that was not delivered, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message {index} of the batch was not delivered")]
#[non_exhaustive]
pub struct BatchError {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// What became of it.
    #[source]
    pub error: PublishError,
}

impl BatchError {
    /// The message at this place has failed, for code that waits in a way of its own.
    pub fn new(index: usize, error: PublishError) -> Self {
        Self { index, error }
    }
}

/// Messages about to be published, from [`Client::publish_all`](crate::Client::publish_all). Await
/// it for the server's answer to all of them, or [`enqueue`](Self::enqueue) them for a
/// [`BatchReceipt`].
#[must_use = "a batch does nothing until it is awaited"]
pub struct PublishAll<'a, I> {
    shared: &'a Arc<Shared>,
    messages: I,
}

impl<'a, I: Iterator<Item = OutgoingPublish>> PublishAll<'a, I> {
    pub(crate) fn new(shared: &'a Arc<Shared>, messages: I) -> Self {
        Self { shared, messages }
    }

    /// Waits until all messages are accepted, and gives one receipt for the server's answers. With a
    /// [`store`](crate::Builder::store) they are accepted when they are stored, as with
    /// [`enqueue`](crate::client::PublishBuilder::enqueue).
    ///
    /// Cancel safe: dropped while it waits, what was accepted is delivered in the background, and
    /// nothing else is published.
    ///
    /// # Errors
    /// [`BatchError`] names the first message that was not accepted, and that nothing was published
    /// of from there on; or one before it that has failed meanwhile. What was accepted goes on.
    pub fn enqueue(self) -> EnqueueAll<'a, I> {
        EnqueueAll {
            shared: self.shared,
            messages: self.messages,
            next: VecDeque::new(),
            place: None,
            batch: None,
            newest: None,
            #[cfg(feature = "tracing")]
            span: spans::publish_all(),
        }
    }
}

impl<'a, I: Iterator<Item = OutgoingPublish>> IntoFuture for PublishAll<'a, I> {
    type Output = Result<(), BatchError>;
    type IntoFuture = PublishAllFuture<'a, I>;

    fn into_future(self) -> PublishAllFuture<'a, I> {
        let enqueueing = self.enqueue();
        PublishAllFuture {
            #[cfg(feature = "tracing")]
            span: enqueueing.span.clone(),
            step: Step::Enqueueing(enqueueing),
        }
    }
}

impl<I> fmt::Debug for PublishAll<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishAll").finish_non_exhaustive()
    }
}

/// Waits for room, publishes, and with a store waits until all is stored. Made by
/// [`PublishAll::enqueue`].
#[must_use = "futures do nothing unless polled"]
pub struct EnqueueAll<'a, I> {
    shared: &'a Arc<Shared>,
    messages: I,
    /// Messages that the application has given and that are not accepted.
    next: VecDeque<OutgoingPublish>,
    /// The number under which the first of them waits for room.
    place: Option<u64>,
    batch: Option<BatchReceipt>,
    /// The newest message that a store gets.
    newest: Option<OperationId>,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

// Nothing in it is pinned.
impl<I> Unpin for EnqueueAll<'_, I> {}

impl<I: Iterator<Item = OutgoingPublish>> EnqueueAll<'_, I> {
    fn poll_receipt(&mut self, cx: &Context<'_>) -> Poll<Result<BatchReceipt, BatchError>> {
        let polled = self.poll_accepted(cx);
        #[cfg(feature = "tracing")]
        if let Poll::Ready(end) = &polled {
            let accepted = || match end {
                Ok(receipt) => receipt.len(),
                Err(_) => self.accepted(),
            };
            spans::record_accepted(&self.span, accepted);
            if let Err(BatchError { index, error }) = end {
                spans::record_failed(&self.span, *index, error);
            }
        }
        polled
    }

    fn poll_accepted(&mut self, cx: &Context<'_>) -> Poll<Result<BatchReceipt, BatchError>> {
        loop {
            if self.next.is_empty() {
                // The application's code, so without the lock.
                self.next.extend(self.messages.by_ref().take(AT_ONCE));
            }
            let shared = self.shared;
            let batch = self.batch.get_or_insert_with(|| BatchReceipt {
                shared: Arc::clone(shared),
                key: shared.lock().publishers.batches.open(),
            });
            let key = batch.key;
            if self.next.is_empty() {
                let stored = shared.poll(Caller::new(cx), |state, caller| {
                    let stored = state.poll_stored_batch(key, self.newest, caller);
                    if stored.is_ready() {
                        state.publishers.batches.complete_batch(key);
                    }
                    stored
                });
                if stored.is_pending() {
                    return Poll::Pending;
                }
                return stored.map(|stored| match stored {
                    Ok(()) => Ok(self.batch.take().expect("it was opened above")),
                    Err((index, error)) => Err(BatchError::new(index, error)),
                });
            }
            let mut index = 0;
            let published = shared.poll(Caller::new(cx), |state, caller| {
                let published = self.poll_publish(state, key, caller);
                index = state.publishers.batches.accepted(key);
                caller.wake_later(state.call_driver());
                published
            });
            match published {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.leave_room();
                    return Poll::Ready(Err(BatchError { index, error }));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Publishes what the application has given, as far as there is room.
    fn poll_publish(
        &mut self,
        state: &mut State,
        batch: BatchKey,
        caller: &mut Caller<'_>,
    ) -> Poll<Result<(), PublishError>> {
        let now = self.shared.now();
        while let Some(message) = self.next.front() {
            match state.admit(message, None, self.place)? {
                Offered::Wait(need) => {
                    state.await_room(&mut self.place, need, caller);
                    return Poll::Pending;
                }
                Offered::Sent => {
                    self.next.pop_front();
                    state.publishers.batches.accept(batch, None);
                }
                Offered::Room => {
                    let Some(message) = self.next.pop_front() else {
                        break;
                    };
                    let is_stored = message.qos != QoS::AtMostOnce;
                    let operation = state.accept_of_batch(batch, message, now)?;
                    if is_stored {
                        self.newest = operation;
                    }
                }
            }
            if let Some(place) = self.place.take() {
                state.forget_room(place);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I> EnqueueAll<'_, I> {
    /// How many messages, from the first one on, have been accepted so far: for a
    /// caller that has polled it by reference, and stops waiting.
    pub fn accepted(&self) -> usize {
        self.batch.as_ref().map_or(0, BatchReceipt::len)
    }

    fn leave_room(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let mut wakers = Wakers::default();
        self.shared.lock().leave_room(place, &mut wakers);
        wakers.wake();
    }
}

impl<I: Iterator<Item = OutgoingPublish>> Future for EnqueueAll<'_, I> {
    type Output = Result<BatchReceipt, BatchError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_receipt(cx)
    }
}

impl<I> Drop for EnqueueAll<'_, I> {
    fn drop(&mut self) {
        self.leave_room();
        // It may wait for the store.
        if let (Some(newest), Some(_)) = (self.newest, &self.batch) {
            let state = &mut *self.shared.lock();
            let storing = &mut state.publishers.storing;
            storing.forget(newest);
        }
    }
}

impl<I> fmt::Debug for EnqueueAll<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnqueueAll")
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

/// Waits until the server has acknowledged all messages of a batch. Made by awaiting a
/// [`PublishAll`].
///
/// Cancel safe: dropped, what was accepted is delivered in the background, and nothing else is
/// published.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct PublishAllFuture<'a, I> {
    step: Step<'a, I>,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

#[derive(Debug)]
enum Step<'a, I> {
    Enqueueing(EnqueueAll<'a, I>),
    Enqueued(BatchReceipt),
}

impl<I: Iterator<Item = OutgoingPublish>> Future for PublishAllFuture<'_, I> {
    type Output = Result<(), BatchError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.step {
                Step::Enqueued(receipt) => {
                    let end = ready!(receipt.poll_end(cx));
                    #[cfg(feature = "tracing")]
                    if let Err(BatchError { index, error }) = &end {
                        spans::record_failed(&self.span, *index, error);
                    }
                    return Poll::Ready(end);
                }
                Step::Enqueueing(enqueueing) => match enqueueing.poll_receipt(cx) {
                    Poll::Ready(Ok(receipt)) => self.step = Step::Enqueued(receipt),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

/// Stands for the messages of a batch that were accepted. Await it for the server's answer to all
/// of them, or drop it: they are delivered in the background.
///
/// `Ok(())` when all are acknowledged. It fails with the first message that does, at once; the others go on, unless they are
/// [withdrawn](Self::withdraw): await it by reference (`(&mut receipt).await`) to keep it. It may
/// be awaited again, and returns the same. [`failures`](Self::failures) waits for all of them. Cancel safe.
///
/// ```
/// # use martlet_client::{Client, QoS, TopicName, client::{BatchError, OutgoingPublish}};
/// # async fn example(client: Client, topic: TopicName) -> Result<(), BatchError> {
/// let readings = (0..10_000).map(|n| OutgoingPublish::new(topic.clone(), n.to_string()).qos(QoS::AtLeastOnce));
/// let mut receipt = client.publish_all(readings).enqueue().await?;
/// println!("{} of {} are acknowledged", receipt.acknowledged(), receipt.len());
/// if let Err(error) = (&mut receipt).await {
///     println!("{error}");
///     receipt.withdraw(); // the rest is not sent either
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BatchReceipt {
    shared: Arc<Shared>,
    key: BatchKey,
}

/// How many messages of a batch were [withdrawn](BatchReceipt::withdraw).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchWithdrawn {
    /// They were not sent, and will not be.
    pub unsent: usize,
    /// They were sent, and may have arrived; they are not sent again.
    pub in_flight: usize,
}

impl BatchReceipt {
    /// How many messages, from the first one on, the server has acknowledged: all before this one.
    /// (Of QoS 0: those that are in the client's output.)
    pub fn acknowledged(&self) -> usize {
        self.shared.lock().publishers.batches.acknowledged(self.key)
    }

    /// How many messages the batch has.
    pub fn len(&self) -> usize {
        self.shared.lock().publishers.batches.accepted(self.key)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until each message has been acknowledged or has failed, and returns all failures, in the order of
    /// the batch: none, when all were acknowledged. It may be called again, and returns the same.
    ///
    /// Cancel safe.
    ///
    /// ```
    /// # use martlet_client::{Client, client::{BatchError, OutgoingPublish}};
    /// # async fn example(client: Client, readings: Vec<OutgoingPublish>) -> Result<(), BatchError> {
    /// let mut receipt = client.publish_all(readings.clone()).enqueue().await?;
    /// for failure in receipt.failures().await {
    ///     println!("{:?}: {}", readings[failure.index], failure.error);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn failures(&mut self) -> Vec<BatchError> {
        let failures = poll_fn(|cx| {
            self.shared.poll(Caller::new(cx), |state, caller| {
                state.publishers.batches.poll_failures(self.key, caller)
            })
        });
        let failures = failures.await.into_iter();
        failures
            .map(|(index, error)| BatchError { index, error })
            .collect()
    }

    /// Takes back what the server has not acknowledged, as [`Receipt::withdraw`] does for one
    /// message.
    ///
    /// [`Receipt::withdraw`]: crate::Receipt::withdraw
    pub fn withdraw(self) -> BatchWithdrawn {
        let mut withdrawn = BatchWithdrawn {
            unsent: 0,
            in_flight: 0,
        };
        self.shared.act(|state, _| {
            for operation in state.publishers.batches.outstanding(self.key) {
                match state.session.withdraw(operation) {
                    Withdrawal::Unsent => withdrawn.unsent += 1,
                    Withdrawal::InFlight => withdrawn.in_flight += 1,
                    _ => {}
                }
            }
        });
        withdrawn
    }

    fn poll_end(&mut self, cx: &Context<'_>) -> Poll<Result<(), BatchError>> {
        let end = self.shared.poll(Caller::new(cx), |state, caller| {
            state.publishers.batches.poll(self.key, caller)
        });
        end.map_err(|(index, error)| BatchError::new(index, error))
    }
}

impl Future for BatchReceipt {
    type Output = Result<(), BatchError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_end(cx)
    }
}

impl Drop for BatchReceipt {
    fn drop(&mut self) {
        let state = &mut *self.shared.lock();
        let batches = &mut state.publishers.batches;
        batches.abandon(self.key, &mut state.deferred);
    }
}
