//! Publishers: who waits for room, for the end of a message, and for the store.

use crate::hub::completions::{Completions, PublishResult};
use crate::hub::room::Room;
use crate::hub::storing::Storing;
use crate::hub::wakers::Wakers;
use martlet_session::{ConnectionError, OperationId, PublishError, StoreError};
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
pub(crate) struct Publishers {
    pub(crate) completions: Completions,
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
        self.completions.complete(key, result, wakers);
    }

    /// Waits until the store has this message. Fails with its end, if it comes to that without
    /// having been stored, or is not to be sent any more.
    pub(crate) fn poll_stored(
        &mut self,
        key: u32,
        operation: OperationId,
        cx: &mut Context<'_>,
        deferred: &mut Vec<Waker>,
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
        self.storing.wait(operation, cx, deferred);
        // It is not done, so this only remembers who waits.
        let end = self.completions.poll(key, cx, deferred);
        end.map(|end| end.map(drop))
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
        for (key, end) in self.storing.finish(outcome) {
            self.completions.complete(key, Err(end), wakers);
        }
        self.completions.fail_all(why, wakers);
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
