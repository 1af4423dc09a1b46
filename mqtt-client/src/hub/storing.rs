//! How far the store is, and who waits for it.

use martlet_session::{OperationId, PublishError, StoreError};
use std::collections::BTreeMap;

/// Empty without a store: then there is nothing to wait for.
#[derive(Debug, Default)]
pub(crate) struct Storing(Option<Box<Progress>>);

#[derive(Debug, Default)]
struct Progress {
    /// Whether the store has all that the session wants stored; `None`: it is at work, or will be.
    outcome: Option<Result<(), StoreError>>,
    /// The newest message that the store has.
    newest: Option<OperationId>,
    /// Those who wait until the store has a message: the keys with which they wait for its end.
    waiting: BTreeMap<OperationId, u32>,
    /// Messages, by their keys, that were not acknowledged: the store keeps them if it gets them in
    /// the end.
    kept: Vec<(u32, OperationId)>,
}

/// How a store that is none has ended.
static NOTHING_TO_STORE: Result<(), StoreError> = Ok(());

impl Storing {
    /// Whether the store has all that it ever will, and how that ended.
    pub(crate) fn outcome(&self) -> Option<&Result<(), StoreError>> {
        match &self.0 {
            Some(progress) => progress.outcome.as_ref(),
            None => Some(&NOTHING_TO_STORE),
        }
    }

    /// The session has a store, and it is at work.
    pub(crate) fn begin(&mut self) {
        self.0 = Some(Box::default());
    }

    /// The store has all that it ever will. Returns how the messages have ended that were to be
    /// [kept](Self::keep).
    pub(crate) fn finish(
        &mut self,
        outcome: Result<(), StoreError>,
    ) -> Vec<(u32, OperationId, PublishError)> {
        let Some(progress) = &mut self.0 else {
            return Vec::new();
        };
        let kept = std::mem::take(&mut progress.kept).into_iter();
        let newest = progress.newest;
        let ends = kept.map(|(key, operation)| match &outcome {
            Err(error) if newest.is_none_or(|newest| newest < operation) => {
                (key, operation, PublishError::Store(error.clone()))
            }
            _ => (key, operation, PublishError::Kept),
        });
        let ends = ends.collect();
        progress.outcome = Some(outcome);
        ends
    }

    /// This message was not acknowledged: its end is known when the store has finished.
    pub(crate) fn keep(&mut self, key: u32, operation: OperationId) {
        if let Some(progress) = &mut self.0 {
            progress.kept.push((key, operation));
        }
    }

    /// The store has the messages up to this one, if there were any among what it has got.
    pub(crate) fn set_newest(&mut self, newest: Option<OperationId>) {
        if let Some(progress) = &mut self.0 {
            progress.newest = progress.newest.max(newest);
        }
    }

    /// The key of the next one who waits for a message that the store has.
    pub(crate) fn poll_stored(&mut self) -> Option<u32> {
        let progress = self.0.as_mut()?;
        let first = progress.waiting.first_entry()?;
        (Some(*first.key()) <= progress.newest).then(|| first.remove())
    }

    pub(crate) fn has(&self, operation: OperationId) -> bool {
        let newest = self.0.as_ref().and_then(|progress| progress.newest);
        Some(operation) <= newest
    }

    /// The one that waits with this key waits for the store as well.
    pub(crate) fn wait(&mut self, operation: OperationId, key: u32) {
        if let Some(progress) = &mut self.0 {
            progress.waiting.insert(operation, key);
        }
    }

    pub(crate) fn forget(&mut self, operation: OperationId) {
        if let Some(progress) = &mut self.0 {
            progress.waiting.remove(&operation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_proto::TopicName;
    use martlet_session::{Accepted, Config, Instant, OutgoingPublish, Session, StoreErrorKind};

    /// When the store fails in the end, what it has is kept all the same.
    #[test]
    fn what_the_store_has_is_kept_whatever_comes_later() {
        let mut session = Session::new(Config::default());
        let mut operation = || {
            let topic = TopicName::new("a").expect("a name");
            let message = OutgoingPublish::new(topic, "");
            match session.publish(Instant::EPOCH, message) {
                Ok(Accepted::Pending(operation)) => operation,
                other => panic!("it waits for a connection: {other:?}"),
            }
        };
        let (stored, newest, lost) = (operation(), operation(), operation());
        let mut storing = Storing::default();
        storing.begin();
        storing.set_newest(Some(newest));
        for (key, operation) in [(0, stored), (1, newest), (2, lost)] {
            storing.keep(key, operation);
        }
        let full = StoreError::new(StoreErrorKind::Full, "the disk is full");
        let ends = storing.finish(Err(full.clone()));
        assert_eq!(
            ends,
            [
                (0, stored, PublishError::Kept),
                (1, newest, PublishError::Kept),
                (2, lost, PublishError::Store(full))
            ]
        );
    }
}
