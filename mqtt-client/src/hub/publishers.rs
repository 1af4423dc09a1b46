//! Publishers: who waits for room, for the end of a message, and for the store.

use crate::hub::batches::{BatchKey, Batches, batch_of, message_key};
use crate::hub::completions::{Completions, PublishResult};
use crate::hub::room::Room;
use crate::hub::storing::Storing;
use crate::hub::wakers::{Caller, Wakers};
use martlet_session::{ConnectionError, OperationId, PublishError, StoreError};
use std::task::Poll;

#[derive(Debug, Default)]
pub(crate) struct Publishers {
    pub(crate) completions: Completions,
    pub(crate) batches: Batches,
    pub(crate) room: Room,
    pub(crate) storing: Storing,
}

impl Publishers {
    /// A message with a key is completed.
    #[inline]
    pub(crate) fn complete(
        &mut self,
        key: u32,
        operation: OperationId,
        result: PublishResult,
        wakers: &mut Wakers,
    ) {
        let is_kept = matches!(result, Err(PublishError::Kept));
        if is_kept && self.storing.outcome().is_none() {
            // Whether the store gets it shows only when that has finished.
            return self.storing.keep(key, operation);
        }
        self.end(key, operation, result, wakers);
    }

    #[inline]
    fn end(
        &mut self,
        key: u32,
        operation: OperationId,
        result: PublishResult,
        wakers: &mut Wakers,
    ) {
        match batch_of(key) {
            Some(batch) => self.batches.complete(batch, operation, result, wakers),
            None => self.completions.complete(key, result, wakers),
        }
    }

    /// There will be no answers any more.
    pub(crate) fn fail_all(&mut self, reason: &ConnectionError, wakers: &mut Wakers) {
        self.completions.fail_all(reason, wakers);
        self.batches.fail_all(reason, wakers);
    }

    /// Waits until the store has this message. Fails with its end, if it comes to that without
    /// having been stored, or is not to be sent any more.
    pub(crate) fn poll_stored(
        &mut self,
        key: u32,
        operation: OperationId,
        caller: &mut Caller<'_>,
    ) -> Poll<Result<(), PublishError>> {
        let is_stored = self.storing.has(operation);
        match self.completions.peek(key) {
            // What is newer may be stored although this message was given up.
            Some(Err(error)) if !is_stored || is_given_up(error) => {
                return Poll::Ready(Err(error.clone()));
            }
            Some(_) => return Poll::Ready(Ok(())),
            None if is_stored => return Poll::Ready(Ok(())),
            None => {}
        }
        self.storing.wait(operation, key);
        // It is not done, so this only remembers who waits.
        let end = self.completions.poll(key, caller);
        end.map(|end| end.map(drop))
    }

    /// Waits until the store has the messages of a batch up to this one. Fails with the first
    /// failure of the batch.
    pub(crate) fn poll_stored_batch(
        &mut self,
        batch: BatchKey,
        newest: OperationId,
        caller: &mut Caller<'_>,
    ) -> Poll<Result<(), (usize, PublishError)>> {
        if self.storing.has(newest) {
            return Poll::Ready(Ok(()));
        }
        self.storing.wait(newest, message_key(batch));
        self.batches.poll(batch, caller)
    }

    /// The store has the messages up to this one, if there were any among what it has got.
    pub(crate) fn set_stored(&mut self, newest: Option<OperationId>, wakers: &mut Wakers) {
        self.storing.set_newest(newest);
        while let Some(key) = self.storing.poll_stored() {
            match batch_of(key) {
                Some(batch) => self.batches.call(batch, wakers),
                None => self.completions.call(key, wakers),
            }
        }
    }

    /// The store has all that it ever will, and the client has stopped because of `why`. Returns
    /// whether that is new.
    pub(crate) fn finish_storing(
        &mut self,
        outcome: Result<(), StoreError>,
        why: &ConnectionError,
        wakers: &mut Wakers,
    ) -> bool {
        if self.storing.outcome().is_some() {
            return false;
        }
        for (key, operation, end) in self.storing.finish(outcome) {
            self.end(key, operation, Err(end), wakers);
        }
        self.fail_all(why, wakers);
        true
    }
}

/// Whether it is the end of a message that the store does not keep, and that was not sent.
fn is_given_up(error: &PublishError) -> bool {
    matches!(
        error,
        PublishError::Store(_)
            | PublishError::Withdrawn
            | PublishError::Dropped
            | PublishError::Expired
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_proto::TopicName;
    use martlet_session::{Accepted, Config, Instant, OutgoingPublish, Session};
    use std::task::{Context, Waker};

    /// How a message has ended, and whether the store has it, are two questions.
    #[test]
    fn what_ends_without_the_store_was_not_stored() {
        let mut session = Session::new(Config::default());
        let topic = TopicName::new("a").expect("a name");
        let message = OutgoingPublish::new(topic, "");
        let Ok(Accepted::Pending(operation)) = session.publish(Instant::EPOCH, message) else {
            unreachable!("it waits for a connection")
        };
        let closed = PublishError::Closed(ConnectionError::ClosedByPeer);
        let stored = |end: PublishError, newest| {
            let mut publishers = Publishers::default();
            let mut wakers = Wakers::default();
            let key = publishers.completions.reserve(None);
            publishers.storing.begin();
            publishers.storing.set_newest(newest);
            publishers.complete(key, operation, Err(end), &mut wakers);
            let mut caller = Caller::new(&Context::from_waker(Waker::noop()));
            publishers.poll_stored(key, operation, &mut caller)
        };
        assert_eq!(
            stored(closed.clone(), None),
            Poll::Ready(Err(closed.clone()))
        );
        assert_eq!(stored(closed, Some(operation)), Poll::Ready(Ok(())));
        let given_up = PublishError::Withdrawn;
        assert_eq!(
            stored(given_up.clone(), Some(operation)),
            Poll::Ready(Err(given_up))
        );
    }
}
