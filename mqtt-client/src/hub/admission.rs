//! Whether a message gets into the session: decided under one lock.

use crate::hub::batches::{BatchKey, message_key};
use crate::hub::room::Need;
use crate::hub::shared::State;
use crate::hub::wakers::{Caller, KeptWaker};
use martlet_proto::QoS;
use martlet_session::{Accepted, Connected, Instant, OperationId, OutgoingPublish, PublishError};
use std::sync::Arc;
use std::task::Poll;

/// What becomes of a message that was offered.
pub(crate) enum Offered {
    /// QoS 0: it is in the output.
    Sent,
    /// There is room for it.
    Room,
    /// It has to wait for this.
    Wait(Need),
}

/// A message that the session has accepted, until it is completed.
#[derive(Debug)]
pub(crate) struct AcceptedMessage {
    /// Its place among the completions.
    pub(crate) key: u32,
    pub(crate) operation: OperationId,
    /// A store gets it.
    pub(crate) is_stored: bool,
}

impl State {
    /// Sends a message of QoS 0 that can leave at once, and says of others whether there is room.
    /// `connection`: the only one that may take it. `place`: the number under which it waits for
    /// room already.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        message: &OutgoingPublish,
        connection: Option<&Arc<Connected>>,
        place: Option<u64>,
    ) -> Result<Offered, PublishError> {
        if self.send_at_once(message, connection)? {
            return Ok(Offered::Sent);
        }
        let room = &self.publishers.room;
        match room.need(&self.session, message, place)? {
            Some(need) => Ok(Offered::Wait(need)),
            None => Ok(Offered::Room),
        }
    }

    /// Sends a message of QoS 0 that can leave at once. Returns whether it has left. `connection`:
    /// the only one that may take it.
    #[inline]
    pub(crate) fn send_at_once(
        &mut self,
        message: &OutgoingPublish,
        connection: Option<&Arc<Connected>>,
    ) -> Result<bool, PublishError> {
        match connection {
            Some(connection) if !self.connection.is(connection) => {
                Err(PublishError::ConnectionEnded)
            }
            _ => self.session.publish_at_once(message),
        }
    }

    /// Publishes a message. `now` is from a clock if the message may expire. `waker` is woken when the
    /// message is completed. `None`: it was of QoS 0 and is in the output.
    pub(crate) fn accept(
        &mut self,
        mut message: OutgoingPublish,
        now: Option<Instant>,
        waker: Option<KeptWaker>,
    ) -> Result<Option<AcceptedMessage>, PublishError> {
        let completions = &mut self.publishers.completions;
        let key = completions.reserve(waker);
        message.key = Some(key);
        let qos = message.qos;
        let is_stored = message.qos != QoS::AtMostOnce && self.session.is_durable();
        let accepted = self.session.publish(now.unwrap_or(self.now), message);
        let Ok(Accepted::Pending(operation)) = accepted else {
            completions.release(key, &mut self.deferred);
            if accepted.is_ok() {
                self.counts.published(qos);
            }
            return accepted.map(|_| None);
        };
        self.counts.published(qos);
        Ok(Some(AcceptedMessage {
            key,
            operation,
            is_stored,
        }))
    }

    /// Publishes the next message of a batch. `None`: it was of QoS 0 and is in the output.
    pub(crate) fn accept_of_batch(
        &mut self,
        batch: BatchKey,
        mut message: OutgoingPublish,
        now: Instant,
    ) -> Result<Option<OperationId>, PublishError> {
        message.key = Some(message_key(batch));
        let qos = message.qos;
        let operation = match self.session.publish(now, message)? {
            Accepted::Pending(operation) => Some(operation),
            Accepted::Sent(_) => None,
        };
        self.counts.published(qos);
        self.publishers.batches.accept(batch, operation);
        Ok(operation)
    }

    /// Waits until the store, if there is one, has the messages of a batch up to the newest that it
    /// gets. Fails with the first failure of the batch.
    pub(crate) fn poll_stored_batch(
        &mut self,
        batch: BatchKey,
        newest: Option<OperationId>,
        caller: &mut Caller<'_>,
    ) -> Poll<Result<(), (usize, PublishError)>> {
        let Some(newest) = newest.filter(|_| self.session.is_durable()) else {
            return Poll::Ready(Ok(()));
        };
        self.publishers.poll_stored_batch(batch, newest, caller)
    }
}
