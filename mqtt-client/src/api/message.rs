//! Messages that the application acknowledges itself.

use crate::hub::message::Message;
use crate::hub::own::Own;
use crate::hub::route::RouteKey;
use crate::hub::route::{Queued, Ticket};
use crate::hub::routes::Verdict;
use crate::hub::shared::{Shared, State};
use martlet_proto::{PubAckReasonCode, QoS};
use martlet_session::Details;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A message that waits for its acknowledgement, from [`Subscription::acknowledge_manually`]. It
/// reads like a [`Message`].
///
/// The token that it holds belongs to the session: after a reconnect it acknowledges on the new
/// connection, and it does nothing once the server has lost the session. Acknowledgements leave in
/// the order that the specification asks for (MQTT 5 §4.6), so one that is missing holds back those
/// of later messages with the same QoS, until the server has sent all that it may without them;
/// [`ClientEvent::AcknowledgementsHeld`](crate::ClientEvent::AcknowledgementsHeld) reports it.
///
/// **Dropped**, it stays unacknowledged: a task that fails or panics has not done its work. The
/// server sends the message again when it resumes the session, and it is delivered again, at QoS 2
/// too: on the next connection in MQTT 5; in 3.x only with a
/// [lasting session](crate::Builder::lasting_session), since there every connection begins a new
/// one by default.
///
/// [`Subscription::acknowledge_manually`]: crate::Subscription::acknowledge_manually
///
/// ```
/// # use martlet_client::{Client, QoS, SubscribeError};
/// # async fn example(client: Client, save: impl Fn(&[u8]) -> bool) -> Result<(), SubscribeError> {
/// let jobs = client.subscribe("jobs/+").qos(QoS::AtLeastOnce).await?;
/// let mut jobs = jobs.acknowledge_manually();
/// while let Some(job) = jobs.next().await {
///     if save(job.payload()) {
///         job.acknowledge();
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "dropped, it is never acknowledged on this connection"]
pub struct Unacknowledged {
    message: Message,
    /// `None` when there is nothing to acknowledge, or not any more.
    pending: Option<Pending>,
}

enum Pending {
    Delivered {
        ticket: Ticket,
        key: RouteKey,
        shared: Arc<Shared>,
    },
    Test(Box<dyn FnOnce(Option<PubAckReasonCode>) + Send + Sync>),
}

impl Unacknowledged {
    /// A message that no server has sent, for tests of your own code: `outcome` gets the reason
    /// code that it is acknowledged with, or `None` when it is dropped.
    ///
    /// ```
    /// use martlet_client::{Message, TopicName, Unacknowledged, proto::PubAckReasonCode};
    /// use std::sync::mpsc;
    ///
    /// fn work(job: Unacknowledged) {
    ///     match job.text() {
    ///         Some(_) => job.acknowledge(),
    ///         None => job.reject(PubAckReasonCode::PayloadFormatInvalid),
    ///     };
    /// }
    /// let (sender, outcome) = mpsc::channel();
    /// let job = Message::new(&TopicName::new("jobs/1")?, [0xff]);
    /// work(Unacknowledged::for_test(job, move |reason| sender.send(reason).unwrap()));
    /// assert_eq!(outcome.recv()?, Some(PubAckReasonCode::PayloadFormatInvalid));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_test(
        message: Message,
        outcome: impl FnOnce(Option<PubAckReasonCode>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            message,
            pending: Some(Pending::Test(Box::new(outcome))),
        }
    }

    /// Acknowledges the message, when all streams that it went to have. With QoS 0, or after
    /// [`acknowledge_on_arrival`](crate::client::SubscribeBuilder::acknowledge_on_arrival), it does
    /// nothing more.
    pub fn acknowledge(mut self) -> Message {
        self.conclude(Verdict::Acknowledged);
        self.message.clone()
    }

    /// Tells the server that the message was not taken, and why; it does not send it again (MQTT 5
    /// §3.4.2.1). A reason below 0x80 acknowledges. In 3.x, which cannot reject, it is
    /// acknowledged. Where it went to several streams, the first reason of any is sent.
    pub fn reject(self, reason: PubAckReasonCode) -> Message {
        self.acknowledge_with(reason, Details::default())
    }

    /// Acknowledges or rejects with a reason string and user properties (MQTT 5 §3.4.2.2). They are
    /// left out in 3.x, for a server that does not take as large a packet, and when the connection
    /// ends before the acknowledgement leaves.
    pub fn acknowledge_with(mut self, reason: PubAckReasonCode, mut details: Details) -> Message {
        details.own();
        self.conclude(Verdict::Answered(reason, details));
        self.message.clone()
    }

    fn conclude(&mut self, verdict: Verdict) {
        match self.pending.take() {
            Some(Pending::Delivered {
                ticket,
                key,
                shared,
            }) => shared.act(|state, _| {
                state.routes.tickets.take_back(key, &ticket);
                state.conclude_copy(ticket, verdict);
            }),
            Some(Pending::Test(outcome)) => outcome(match verdict {
                Verdict::Acknowledged => Some(PubAckReasonCode::Success),
                Verdict::Answered(reason, _) => Some(reason),
                Verdict::Abandoned => None,
            }),
            None => {}
        }
    }
}

impl Deref for Unacknowledged {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl Drop for Unacknowledged {
    fn drop(&mut self) {
        self.conclude(Verdict::Abandoned);
    }
}

impl fmt::Debug for Unacknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unacknowledged")
            .field(&self.message)
            .finish()
    }
}

/// What a stream gives: a [`Message`], acknowledged when it is taken, an [`Unacknowledged`] one, or
/// a [`Positioned`](crate::client::Positioned) one.
pub trait Item: sealed::Take {}

impl Item for Message {}
impl Item for Unacknowledged {}

pub(crate) mod sealed {
    use super::*;

    /// A message out of a stream's queue, under the lock.
    pub struct Taken<'a> {
        pub(crate) queued: Queued,
        pub(crate) key: RouteKey,
        pub(crate) stream: u64,
        pub(crate) state: &'a mut State,
        pub(crate) shared: &'a Arc<Shared>,
    }

    pub trait Take: Sized {
        /// Messages of QoS 0 may be taken together with one before them.
        const TAKES_BATCHES: bool = true;

        /// Takes it. Returns whether the driver should look, too.
        fn take(taken: Taken<'_>) -> (Self, bool);

        /// A message of QoS 0 that was taken before, of this stream.
        fn qos0(message: Message, stream: u64) -> Self;

        #[cfg(feature = "tracing")]
        fn message(&self) -> &Message;
    }

    impl Take for Message {
        #[inline]
        fn take(
            Taken {
                queued: Queued { message, ticket },
                state,
                ..
            }: Taken<'_>,
        ) -> (Self, bool) {
            (message, state.conclude_copy(ticket, Verdict::Acknowledged))
        }

        #[inline]
        fn qos0(message: Message, _: u64) -> Self {
            message
        }

        #[cfg(feature = "tracing")]
        fn message(&self) -> &Message {
            self
        }
    }

    impl Take for Unacknowledged {
        fn take(
            Taken {
                queued: Queued { message, ticket },
                key,
                stream,
                state,
                shared,
            }: Taken<'_>,
        ) -> (Self, bool) {
            if message.qos() == QoS::AtMostOnce {
                let look = state.conclude_copy(ticket, Verdict::Acknowledged);
                return (Self::qos0(message, stream), look);
            }
            state.routes.tickets.hand_out(key, &ticket, &message);
            let pending = Some(Pending::Delivered {
                ticket,
                key,
                shared: Arc::clone(shared),
            });
            (Self { message, pending }, false)
        }

        fn qos0(message: Message, _: u64) -> Self {
            Self {
                message,
                pending: None,
            }
        }

        #[cfg(feature = "tracing")]
        fn message(&self) -> &Message {
            &self.message
        }
    }
}
