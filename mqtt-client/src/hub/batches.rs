//! Messages that were published together: one completion for all of them.

use crate::hub::completions::PublishResult;
use crate::hub::wakers::{Caller, KeptWaker, Wakers};
use martlet_session::{ConnectionError, OperationId, PublishError};
use slab::Slab;
use std::collections::VecDeque;
use std::task::Poll;

/// In the key of a message: it is of a batch, whose number the other bits are.
const OF_BATCH: u32 = 1 << 31;

/// The number of a batch.
pub(crate) type BatchKey = u32;

/// Most clients have none.
#[derive(Debug, Default)]
pub(crate) struct Batches(Option<Box<Slab<Batch>>>);

#[derive(Debug)]
struct Batch {
    /// Messages whose end was not known when they were accepted, in order; those at the front that
    /// have ended are removed.
    outstanding: VecDeque<Outstanding>,
    /// How many of them have not ended.
    left: usize,
    accepted: usize,
    /// No more messages will come.
    is_complete: bool,
    /// The messages that failed, by time.
    failures: Vec<(usize, PublishError)>,
    /// The first one in the batch that failed.
    first_failed: usize,
    waker: Option<KeptWaker>,
    /// The receipt is gone.
    is_abandoned: bool,
}

#[derive(Debug)]
struct Outstanding {
    operation: OperationId,
    index: usize,
    has_ended: bool,
}

/// The batch of a message with this key, if it is of one.
#[inline]
pub(crate) fn batch_of(key: u32) -> Option<BatchKey> {
    (key & OF_BATCH != 0).then_some(key & !OF_BATCH)
}

/// The key of a message of this batch.
pub(crate) fn message_key(batch: BatchKey) -> u32 {
    batch | OF_BATCH
}

impl Batches {
    /// They are there once there has been one.
    fn slots(&mut self) -> &mut Slab<Batch> {
        self.0.get_or_insert_default()
    }

    fn batch_mut(&mut self, key: BatchKey) -> &mut Batch {
        &mut self.slots()[key as usize]
    }

    fn batch(&self, key: BatchKey) -> &Batch {
        let slots = self
            .0
            .as_ref()
            .expect("a key is of a batch that was opened");
        &slots[key as usize]
    }

    pub(crate) fn open(&mut self) -> BatchKey {
        self.slots().insert(Batch {
            outstanding: VecDeque::new(),
            left: 0,
            accepted: 0,
            is_complete: false,
            failures: Vec::new(),
            first_failed: usize::MAX,
            waker: None,
            is_abandoned: false,
        }) as u32
    }

    /// The session has accepted the next message of a batch; `None`: it is of QoS 0 and in the
    /// output.
    pub(crate) fn accept(&mut self, batch: BatchKey, operation: Option<OperationId>) {
        let batch = self.batch_mut(batch);
        if let Some(operation) = operation {
            batch.outstanding.push_back(Outstanding {
                operation,
                index: batch.accepted,
                has_ended: false,
            });
            batch.left += 1;
        }
        batch.accepted += 1;
    }

    /// All messages of a batch are accepted.
    pub(crate) fn complete_batch(&mut self, batch: BatchKey) {
        self.batch_mut(batch).is_complete = true;
    }

    /// A message of a batch has ended.
    #[inline]
    pub(crate) fn complete(
        &mut self,
        key: BatchKey,
        operation: OperationId,
        result: PublishResult,
        wakers: &mut Wakers,
    ) {
        let Some(slots) = &mut self.0 else { return };
        let Some(batch) = slots.get_mut(key as usize) else {
            return;
        };
        let outstanding = &mut batch.outstanding;
        let index = match outstanding.front() {
            Some(front) if front.operation == operation => outstanding.pop_front().map(|o| o.index),
            _ => mark(outstanding, operation),
        };
        let Some(index) = index else { return };
        while outstanding.front().is_some_and(|front| front.has_ended) {
            outstanding.pop_front();
        }
        batch.left -= 1;
        if let Err(error) = result {
            batch.fail(index, error, wakers);
        }
        if batch.has_ended() {
            wakers.take(&mut batch.waker);
            if batch.is_abandoned {
                slots.remove(key as usize);
            }
        }
    }

    /// Whether all have been acknowledged, or the first failure.
    pub(crate) fn poll(
        &mut self,
        key: BatchKey,
        caller: &mut Caller<'_>,
    ) -> Poll<Result<(), (usize, PublishError)>> {
        let batch = self.batch_mut(key);
        if let Some(failure) = batch.failures.first() {
            return Poll::Ready(Err(failure.clone()));
        }
        if batch.has_ended() {
            return Poll::Ready(Ok(()));
        }
        caller.wait_in(&mut batch.waker);
        Poll::Pending
    }

    /// All failures, in the order of their places, once each message has ended.
    pub(crate) fn poll_failures(
        &mut self,
        key: BatchKey,
        caller: &mut Caller<'_>,
    ) -> Poll<Vec<(usize, PublishError)>> {
        let batch = self.batch_mut(key);
        if !batch.has_ended() {
            caller.wait_in(&mut batch.waker);
            return Poll::Pending;
        }
        let mut failures = batch.failures.clone();
        failures.sort_unstable_by_key(|&(index, _)| index);
        Poll::Ready(failures)
    }

    /// Wakes the task that waits for a batch: the store has its messages.
    pub(crate) fn call(&mut self, key: BatchKey, wakers: &mut Wakers) {
        let slots = self.0.as_mut();
        if let Some(batch) = slots.and_then(|slots| slots.get_mut(key as usize)) {
            wakers.take(&mut batch.waker);
        }
    }

    /// How many messages are acknowledged before the first that is not.
    pub(crate) fn acknowledged(&self, key: BatchKey) -> usize {
        let batch = self.batch(key);
        let first = batch.outstanding.front();
        let ended = first.map_or(batch.accepted, |first| first.index);
        ended.min(batch.first_failed)
    }

    pub(crate) fn accepted(&self, key: BatchKey) -> usize {
        self.batch(key).accepted
    }

    /// The messages that have not ended.
    pub(crate) fn outstanding(&self, key: BatchKey) -> Vec<OperationId> {
        let outstanding = self.batch(key).outstanding.iter();
        outstanding
            .filter(|outstanding| !outstanding.has_ended)
            .map(|outstanding| outstanding.operation)
            .collect()
    }

    /// The receipt is gone, and no more messages will come.
    pub(crate) fn abandon(&mut self, key: BatchKey, deferred: &mut Vec<KeptWaker>) {
        let batch = self.batch_mut(key);
        deferred.extend(batch.waker.take());
        batch.is_abandoned = true;
        batch.is_complete = true;
        if batch.left == 0 {
            self.slots().remove(key as usize);
        }
    }

    /// There will be no answers any more.
    pub(crate) fn fail_all(&mut self, reason: &ConnectionError, wakers: &mut Wakers) {
        let Some(slots) = &mut self.0 else { return };
        slots.retain(|_, batch| {
            for message in std::mem::take(&mut batch.outstanding) {
                if !message.has_ended {
                    let error = PublishError::Closed(reason.clone());
                    batch.fail(message.index, error, wakers);
                }
            }
            wakers.take(&mut batch.waker);
            batch.left = 0;
            !batch.is_abandoned
        });
    }
}

impl Batch {
    fn has_ended(&self) -> bool {
        self.left == 0 && self.is_complete
    }

    fn fail(&mut self, index: usize, error: PublishError, wakers: &mut Wakers) {
        self.first_failed = self.first_failed.min(index);
        if self.is_abandoned {
            return;
        }
        if self.failures.is_empty() {
            wakers.take(&mut self.waker);
        }
        self.failures.push((index, error));
    }
}

/// One that others are before has ended. Returns its place in the batch.
#[cold]
fn mark(outstanding: &mut VecDeque<Outstanding>, operation: OperationId) -> Option<usize> {
    let place = outstanding
        .binary_search_by_key(&operation, |outstanding| outstanding.operation)
        .ok()?;
    let found = &mut outstanding[place];
    (!std::mem::replace(&mut found.has_ended, true)).then_some(found.index)
}
