//! Acknowledging all up to a position.

use crate::api::message::Item;
use crate::api::message::sealed::{Take, Taken};
use crate::hub::message::Message;
use crate::hub::route::{Queued, RouteKey};
pub use crate::hub::routes::PositionError;
use crate::hub::routes::Verdict;
use crate::hub::shared::Shared;
use martlet_proto::QoS;
use std::ops::Deref;
use std::sync::Arc;

/// The place of a message in its stream: later messages have greater positions. It converts to a
/// `u128` and back, for engines that carry such a thing along with a checkpoint. It means something
/// to the client that gave it, while the stream is there; to any other it is
/// [`OtherStream`](PositionError::OtherStream).
///
/// ```
/// # use martlet_client::client::Position;
/// # fn example(position: Position) {
/// let bytes = u128::from(position).to_be_bytes();
/// assert_eq!(Position::from(u128::from_be_bytes(bytes)), position);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    stream: u64,
    number: u64,
}

impl From<Position> for u128 {
    fn from(position: Position) -> Self {
        (Self::from(position.stream) << 64) | Self::from(position.number)
    }
}

impl From<u128> for Position {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half has its own bits"
    )]
    fn from(bits: u128) -> Self {
        Self {
            stream: (bits >> 64) as u64,
            number: bits as u64,
        }
    }
}

/// A message that is acknowledged by its position, from
/// [`Subscription::acknowledge_by_position`](crate::Subscription::acknowledge_by_position). It
/// reads like a [`Message`]. Dropping it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positioned {
    message: Message,
    position: Position,
    earlier: Option<Position>,
}

impl Positioned {
    /// Where it is in its stream.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where it was when it came before: on a connection that was lost before it was acknowledged.
    /// What was done with it then need not be done again, but it has to be acknowledged here. (Of
    /// QoS 1: a message of QoS 2 that has come once does not come again, and keeps its position.)
    ///
    /// `None` when it comes for the first time, and when that is not known: it had been
    /// acknowledged, but the server has not learned of it, or it came to an earlier process. The
    /// server then says that it is a [duplicate](Message::duplicate).
    pub fn earlier_position(&self) -> Option<Position> {
        self.earlier
    }

    /// The message alone.
    pub fn into_message(self) -> Message {
        self.message
    }
}

impl Deref for Positioned {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl Item for Positioned {}

impl Take for Positioned {
    const TAKES_BATCHES: bool = false;

    fn take(taken: Taken<'_>) -> (Self, bool) {
        let Taken {
            queued: Queued { message, ticket },
            key,
            stream,
            state,
            ..
        } = taken;
        let at = |number| Position { stream, number };
        if message.qos() == QoS::AtMostOnce {
            let position = at(state.routes.number(key));
            let look = state.conclude_copy(ticket, Verdict::Acknowledged);
            let earlier = None;
            let this = Self {
                message,
                position,
                earlier,
            };
            return (this, look);
        }
        let (number, earlier) = state.hand_out(key, ticket, message.duplicate());
        let this = Self {
            message,
            position: at(number),
            earlier: earlier.map(at),
        };
        (this, false)
    }

    fn qos0(message: Message, stream: u64) -> Self {
        Self {
            message,
            position: Position { stream, number: 0 },
            earlier: None,
        }
    }

    #[cfg(feature = "tracing")]
    fn message(&self) -> &Message {
        &self.message
    }
}

/// Acknowledges messages of one stream by their position, from any thread. Cheap to clone; it does
/// not keep the stream or the connection.
///
/// ```
/// # use martlet_client::{Client, QoS};
/// # use std::time::Duration;
/// # async fn example(client: Client, checkpoint: impl AsyncFn(&[String]) -> Result<(), std::io::Error>) -> Result<(), Box<dyn std::error::Error>> {
/// let readings = client.subscribe("meters/+").qos(QoS::AtLeastOnce).await?;
/// let mut readings = readings.acknowledge_by_position();
/// let acknowledger = readings.acknowledger();
/// let mut batch = Vec::new();
/// let mut last = None;
/// loop {
///     // Also after a time: a server may send less than a batch until it is acknowledged.
///     let next = readings.next_timeout(Duration::from_secs(1)).await;
///     if let Ok(Some(reading)) = &next {
///         batch.push(reading.text().unwrap_or_default().to_owned());
///         last = Some(reading.position());
///     }
///     if batch.len() == 1000 || !matches!(next, Ok(Some(_))) {
///         checkpoint(&batch).await?; // what is in it will not be asked for again
///         if let Some(last) = last {
///             acknowledger.acknowledge_up_to(last)?;
///         }
///         batch.clear();
///     }
///     if let Ok(None) = next {
///         break; // the stream has ended
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Acknowledger {
    pub(super) shared: Arc<Shared>,
    pub(super) key: RouteKey,
    pub(super) stream: u64,
}

impl Acknowledger {
    /// Acknowledges all messages of the stream up to this position, and the one there. Returns how
    /// many that were: none, if they had been acknowledged before. The acknowledgements leave in
    /// the order that the specification asks for (MQTT 5 §4.6), so what another stream has not
    /// acknowledged may hold them back.
    ///
    /// It never blocks, and takes the client's lock once, however many there are.
    ///
    /// # Errors
    /// [`PositionError`] when the position is not of this stream, or void; nothing has changed
    /// then.
    pub fn acknowledge_up_to(&self, position: Position) -> Result<usize, PositionError> {
        if position.stream != self.stream {
            return Err(PositionError::OtherStream);
        }
        self.shared
            .act(|state, _| state.acknowledge_up_to(self.key, self.stream, position.number))
    }

    /// How many messages the stream has handed out that are not acknowledged. While they are as
    /// many as the [receive maximum](martlet_session::InboundLimits::receive_maximum), 1,024 by
    /// default, the server sends no more of QoS 1 and 2.
    pub fn held(&self) -> usize {
        let mut state = self.shared.lock();
        state.routes.held(self.key, self.stream)
    }
}
