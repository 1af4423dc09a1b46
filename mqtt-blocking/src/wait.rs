//! Waiting for an operation.

use crate::park::{after, wait};
use crate::subscription::Subscription;
use martlet_client::client::{
    BatchError, BatchReceipt, DisconnectBuilder, Enqueue, EnqueueAll, LeftBehind, OutgoingPublish,
    PublishAll, PublishBuilder, Reconnecting, RequestBuilder, SubscribeBuilder, UnsubscribeBuilder,
};
use martlet_client::proto::UnsubAckReasonCode;
use martlet_client::session::{
    Answer, Connected, PublishOutcome, TransportError, TransportErrorKind,
};
use martlet_client::{
    ConnectError, ConnectionError, Message, PublishError, Receipt, RequestError, ResponseError,
    SubscribeError, UnsubscribeError,
};
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Blocks the thread until an operation is done: of what the methods of [`Client`](crate::Client)
/// return, which does nothing until then.
///
/// ```no_run
/// use martlet_blocking::{QoS, Wait};
/// use std::time::{Duration, Instant};
///
/// # fn main() -> Result<(), martlet_blocking::Error> {
/// let client = martlet_blocking::connect("mqtt://broker.example")?;
/// client.publish("a/b", "hi").qos(QoS::AtLeastOnce).wait()?; // acknowledged by the server
/// let receipt = client.publish("a/b", "again").qos(QoS::AtLeastOnce).enqueue().wait()?;
/// let lamps = client.subscribe("lamps/+").wait_timeout(Duration::from_secs(2))?;
/// receipt.wait()?;
/// # Ok(())
/// # }
/// ```
///
/// # When the time is up
/// [`wait_timeout`](Self::wait_timeout) returns the operation's own error. What becomes of the
/// operation is as if its future were dropped, which each documents as *cancel safe*:
///
/// | operation | returns | |
/// |---|---|---|
/// | `publish` | [`PublishError::Timeout`] | it was accepted, and is delivered in the background |
/// | | [`PublishError::QueueFull`], [`LargerThanQueue`](PublishError::LargerThanQueue) | there was no room, and nothing was published |
/// | `publish` … `enqueue` | [`PublishError::QueueFull`] | nothing was published; with a store it may have been, unless the publish has a [`timeout`](PublishBuilder::timeout), which knows |
/// | a [`Receipt`] | [`PublishError::Timeout`] | the message is delivered in the background; `(&mut receipt).wait_timeout(…)` keeps the receipt |
/// | `publish_all` | [`BatchError`] with one of these | it names the first message that was not accepted, of which on nothing was published, or not acknowledged |
/// | `subscribe` | [`RequestError::Timeout`] | it is taken back |
/// | `unsubscribe` | [`RequestError::Timeout`] | it goes on in the background |
/// | `request` | [`ResponseError::Timeout`] | the response is not waited for any more |
/// | `reconnect` | [`TransportErrorKind::ConnectTimeout`] | it goes on in the background |
/// | `disconnect` | `None` | it goes on in the background |
///
/// # On the client's own thread
/// In a callback (an [`Observer`](crate::hooks::Observer), a `before_connect` hook, an
/// authenticator), which a client calls on its own thread, waiting would stop what is waited for. So
/// nothing waits there, for whichever client: the operation begins, and where it is not done at
/// once, the time is up. The same holds inside [`block_on`](crate::runtime::block_on). In a
/// callback, use what never waits, such as
/// [`try_enqueue`](PublishBuilder::try_enqueue).
pub trait Wait: sealed::Operation {
    /// What waiting returns.
    type Output;

    /// Waits until the operation is done.
    fn wait(self) -> Self::Output;

    /// Waits for this time at most. Where a builder has a `timeout` of its own, this takes its
    /// place.
    fn wait_timeout(self, timeout: Duration) -> Self::Output;
}

mod sealed {
    /// What can be waited for.
    pub trait Operation {}
}

/// Waits for each of these, and makes its result of what came of it until the deadline.
macro_rules! operations {
    ($($(#[$attribute:meta])* $operation:ty => $output:ty, $result:expr;)*) => {$(
        impl sealed::Operation for $operation {}

        $(#[$attribute])*
        impl Wait for $operation {
            type Output = $output;

            fn wait(self) -> $output {
                $result(wait(self, None))
            }

            fn wait_timeout(self, timeout: Duration) -> $output {
                $result(wait(self, after(timeout)))
            }
        }
    )*};
}

operations! {
    /// Returns when there was room for the message; with a store, when it is stored.
    Enqueue<'_> => Result<Receipt, PublishError>,
        |accepted: Option<_>| accepted.unwrap_or(Err(PublishError::QueueFull));
    /// Returns the server's answer.
    Receipt => Result<PublishOutcome, PublishError>,
        |end: Option<_>| end.unwrap_or(Err(PublishError::Timeout));
    /// Returns the server's answer, and keeps the receipt when the time is up.
    &mut Receipt => Result<PublishOutcome, PublishError>,
        |end: Option<_>| end.unwrap_or(Err(PublishError::Timeout));
    /// Returns the messages, once the server has answered.
    SubscribeBuilder<'_> => Result<Subscription, SubscribeError>,
        |answer: Option<_>| answer.map_or(Err(RequestError::Timeout.into()), |answer: Result<_, _>| answer.map(Subscription::new));
    /// Returns the server's answer.
    UnsubscribeBuilder<'_> => Result<Answer<UnsubAckReasonCode>, UnsubscribeError>,
        |answer: Option<_>| answer.unwrap_or(Err(RequestError::Timeout.into()));
    /// Returns the connection.
    Reconnecting<'_> => Result<Arc<Connected>, ConnectError>,
        |connected: Option<_>| connected.unwrap_or_else(|| Err(not_connected()));
    /// Returns what was not acknowledged; `None` only when the time was up.
    DisconnectBuilder<'_> => Option<LeftBehind>, |left| left;
}

/// Those whose builders know what became of the message when the time is up.
macro_rules! timed_operations {
    ($($operation:ty => $output:ty, $late:expr;)*) => {$(
        impl sealed::Operation for $operation {}

        /// Returns the server's answer.
        impl Wait for $operation {
            type Output = $output;

            fn wait(self) -> $output {
                if crate::runtime::Reactor::is_current() {
                    return self.wait_timeout(Duration::ZERO);
                }
                wait(self, None).unwrap_or(Err($late))
            }

            fn wait_timeout(self, timeout: Duration) -> $output {
                wait(self.timeout(timeout), None).unwrap_or(Err($late))
            }
        }
    )*};
}

timed_operations! {
    PublishBuilder<'_> => Result<PublishOutcome, PublishError>, PublishError::Timeout;
    RequestBuilder<'_> => Result<Message, ResponseError>, ResponseError::Timeout;
}

/// Those of many messages: what is late is the first that was not accepted, or not acknowledged.
macro_rules! batch_operations {
    ($($(#[$attribute:meta])* [$($parameter:tt)*] $operation:ty => $output:ty, $until:expr;)*) => {$(
        impl<$($parameter)*> sealed::Operation for $operation {}

        $(#[$attribute])*
        impl<$($parameter)*> Wait for $operation {
            type Output = Result<$output, BatchError>;

            fn wait(self) -> Self::Output {
                $until(self, None)
            }

            fn wait_timeout(self, timeout: Duration) -> Self::Output {
                $until(self, after(timeout))
            }
        }
    )*};
}

batch_operations! {
    /// Returns when the server has acknowledged all messages.
    [I: Iterator<Item = OutgoingPublish>] PublishAll<'_, I> => (),
        |all: Self, deadline| acknowledged(&mut accepted(all.enqueue(), deadline)?, deadline);
    /// Returns when there was room for all messages; with a store, when they are stored.
    [I: Iterator<Item = OutgoingPublish>] EnqueueAll<'_, I> => BatchReceipt, accepted;
    /// Returns when the server has acknowledged all messages.
    [] BatchReceipt => (), |mut receipt: Self, deadline| acknowledged(&mut receipt, deadline);
    /// Returns when the server has acknowledged all messages, and keeps the receipt.
    [] &mut BatchReceipt => (), acknowledged;
}

fn accepted<I: Iterator<Item = OutgoingPublish>>(
    mut all: EnqueueAll<'_, I>,
    deadline: Option<Instant>,
) -> Result<BatchReceipt, BatchError> {
    match wait(&mut all, deadline) {
        Some(receipt) => receipt,
        None => Err(BatchError::new(all.accepted(), PublishError::QueueFull)),
    }
}

fn acknowledged(receipt: &mut BatchReceipt, deadline: Option<Instant>) -> Result<(), BatchError> {
    match wait(&mut *receipt, deadline) {
        Some(end) => end,
        None => Err(BatchError::new(
            receipt.acknowledged(),
            PublishError::Timeout,
        )),
    }
}

/// Blocks the thread until a future of the client is ready, one that [`Wait`] does not have, such
/// as [`Receipt::stored`] and [`BatchReceipt::failures`]. `None` on a client's own thread, when it is not ready at once
/// ([why](Wait#on-the-clients-own-thread)).
///
/// ```no_run
/// # use martlet_blocking::{Client, Error, QoS, wait_for};
/// # fn example(client: &Client) -> Result<(), Error> {
/// let mut receipt = client.publish("a/b", "hi").qos(QoS::AtLeastOnce).try_enqueue()?;
/// if let Some(stored) = wait_for(receipt.stored()) {
///     stored?; // it survives a crash from now on
/// }
/// # Ok(())
/// # }
/// ```
pub fn wait_for<F: IntoFuture>(future: F) -> Option<F::Output> {
    wait(future, None)
}

/// There was no connection in time.
pub(crate) fn not_connected() -> ConnectError {
    late(
        TransportErrorKind::ConnectTimeout,
        "no connection in the time that was waited for one",
    )
    .into()
}

/// Not all was written in time.
pub(crate) fn not_written() -> ConnectionError {
    late(
        TransportErrorKind::WriteTimeout,
        "not all was written in the time that was waited for it",
    )
}

fn late(kind: TransportErrorKind, text: &'static str) -> ConnectionError {
    ConnectionError::Transport(TransportError::new(kind, text))
}
