//! The messages of a subscription, one after the other.

use crate::park::{after, wait};
use martlet_client::client::{
    Acknowledger, Item, NoMessage, Position, PositionError, Positioned, UnsubscribeBuilder,
};
use martlet_client::proto::SubAckReasonCode;
use martlet_client::session::Details;
use martlet_client::{Message, Unacknowledged};
use std::time::Duration;

/// The messages of a subscription, in the order in which they came. As an iterator it blocks for
/// the next one, and ends when the client has disconnected or stopped, or was unsubscribed from all
/// its filters.
///
/// Each message is acknowledged when it is taken, unless
/// [`acknowledge_manually`](Self::acknowledge_manually) or
/// [`acknowledge_on_arrival`](crate::client::SubscribeBuilder::acknowledge_on_arrival) says
/// otherwise. A slow reader makes the client stop reading the socket, within limits: see
/// [`martlet_client::Subscription`], which this is, with methods that block.
///
/// It does not keep the client connected: when the last [`Client`](crate::Client) is dropped, the
/// iteration ends after the messages that had come. Dropping the subscription unsubscribes, and
/// acknowledges what was not taken, unless [both are left with the server](Self::detach).
///
/// ```no_run
/// use martlet_blocking::{QoS, Wait};
///
/// # fn main() -> Result<(), martlet_blocking::Error> {
/// let client = martlet_blocking::connect("mqtt://broker.example")?;
/// let jobs = client.subscribe("jobs/+").qos(QoS::AtLeastOnce).wait()?;
/// for job in jobs {
///     println!("{}", job.topic());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropped, it unsubscribes"]
pub struct Subscription<M = Message> {
    stream: martlet_client::Subscription<M>,
}

impl Subscription {
    pub(crate) fn new(stream: martlet_client::Subscription) -> Self {
        Self { stream }
    }

    /// Gives messages that the application acknowledges itself, from the next one on.
    ///
    /// ```no_run
    /// # use martlet_blocking::{QoS, Wait};
    /// # fn example(client: &martlet_blocking::Client, store: impl Fn(&[u8]) -> bool) -> Result<(), martlet_blocking::Error> {
    /// let orders = client.subscribe("orders/#").qos(QoS::AtLeastOnce).wait()?;
    /// for order in orders.acknowledge_manually() {
    ///     if store(order.payload()) {
    ///         order.acknowledge();
    ///     } // dropped, it comes again on the next connection
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn acknowledge_manually(self) -> Subscription<Unacknowledged> {
        Subscription {
            stream: self.stream.acknowledge_manually(),
        }
    }

    /// Gives messages that the application acknowledges by their position, all up to one at a time,
    /// as [`martlet_client::Subscription::acknowledge_by_position`] says.
    pub fn acknowledge_by_position(self) -> Subscription<Positioned> {
        Subscription {
            stream: self.stream.acknowledge_by_position(),
        }
    }
}

impl Subscription<Positioned> {
    /// What acknowledges messages of this stream, from any thread.
    pub fn acknowledger(&self) -> Acknowledger {
        self.stream.acknowledger()
    }

    /// Acknowledges all messages up to this position: see [`Acknowledger::acknowledge_up_to`].
    ///
    /// # Errors
    /// [`PositionError`] when the position is not of this stream, or void.
    pub fn acknowledge_up_to(&self, position: Position) -> Result<usize, PositionError> {
        self.stream.acknowledge_up_to(position)
    }
}

impl<M: Item> Subscription<M> {
    /// Blocks for the next message; `None` at the end, and on a client's own thread when none has
    /// come ([why](crate::Wait#on-the-clients-own-thread)).
    pub fn recv(&mut self) -> Option<M> {
        match self.stream.try_next() {
            None => wait(self.stream.next(), None).flatten(),
            message => message,
        }
    }

    /// Blocks for the next message for this time at most; `Ok(None)` at the end.
    ///
    /// # Errors
    /// [`NoMessage`] after `timeout`, and on a client's own thread at once.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<M>, NoMessage> {
        wait(self.stream.next(), after(timeout)).ok_or(NoMessage)
    }

    /// A message that has come already; does not block.
    pub fn try_recv(&mut self) -> Option<M> {
        self.stream.try_next()
    }

    /// What the server said of each filter, in their order: the QoS that it granted, or why it
    /// rejected (MQTT 5 §3.9.3).
    pub fn reasons(&self) -> &[SubAckReasonCode] {
        self.stream.reasons()
    }

    /// The reason string and user properties of the SUBACK, if it had any (MQTT 5 §3.9.2.1).
    pub fn details(&self) -> Option<&Details> {
        self.stream.details()
    }

    /// How many messages the stream has dropped because it was full.
    pub fn dropped(&self) -> u64 {
        self.stream.dropped()
    }

    /// Unsubscribes; [`wait`](crate::Wait::wait) for the server's answer. Messages that were not
    /// taken are acknowledged and dropped, and filters that other streams have stay.
    pub fn unsubscribe(self) -> UnsubscribeBuilder<'static> {
        self.stream.unsubscribe()
    }

    /// Drops the stream and leaves the subscription with the server, as
    /// [`martlet_client::Subscription::detach`] does.
    pub fn detach(self) {
        self.stream.detach();
    }
}

/// [`recv`](Subscription::recv), again and again.
impl<M: Item> Iterator for Subscription<M> {
    type Item = M;

    fn next(&mut self) -> Option<M> {
        self.recv()
    }
}
