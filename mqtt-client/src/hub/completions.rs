//! Pending completions of publishes: a slab slot and a waker each.

use crate::hub::unread::Unread;
use crate::hub::wakers::{Caller, KeptWaker, Wakers};
use martlet_session::{ConnectionError, PublishError, PublishOutcome};
use slab::Slab;
use std::task::Poll;

/// The end of a message.
pub(crate) type PublishResult = Result<PublishOutcome, PublishError>;

/// The end of a message of QoS 0 that is in the output.
pub(crate) const SENT: PublishOutcome = PublishOutcome::SUCCESS;

#[derive(Debug, Default)]
pub(crate) struct Completions {
    slots: Slab<Completion>,
    unread: Unread,
}

#[derive(Debug)]
enum Completion {
    /// `None`: no task has polled it yet.
    Waiting(Option<KeptWaker>),
    Done(PublishResult),
    /// Nobody will ask; the slot is free when the message is completed.
    Abandoned,
}

impl Completions {
    /// A slot for a message about to be published; its key goes with it. `waker`: of the task that waits
    /// for its end.
    #[inline]
    pub(crate) fn reserve(&mut self, waker: Option<KeptWaker>) -> u32 {
        self.slots.insert(Completion::Waiting(waker)) as u32
    }

    /// The message was not accepted, or needs no waiting.
    #[inline]
    pub(crate) fn release(&mut self, key: u32, deferred: &mut Vec<KeptWaker>) {
        if let Completion::Waiting(waker) = self.slots.remove(key as usize) {
            deferred.extend(waker);
        }
    }

    #[inline]
    pub(crate) fn complete(&mut self, key: u32, mut result: PublishResult, wakers: &mut Wakers) {
        let Some(slot) = self.slots.get_mut(key as usize) else {
            return;
        };
        if matches!(slot, Completion::Abandoned) {
            self.slots.remove(key as usize);
            return;
        }
        self.unread.admit_result(&mut result);
        match std::mem::replace(slot, Completion::Done(result)) {
            Completion::Waiting(Some(waker)) => wakers.push(waker),
            Completion::Done(earlier) => self.unread.release_result(&earlier),
            Completion::Waiting(None) | Completion::Abandoned => {}
        }
    }

    /// Wakes the task that waits for a message: the store has it.
    pub(crate) fn call(&mut self, key: u32, wakers: &mut Wakers) {
        if let Some(Completion::Waiting(waker)) = self.slots.get_mut(key as usize) {
            wakers.take(waker);
        }
    }

    pub(crate) fn poll(&mut self, key: u32, caller: &mut Caller<'_>) -> Poll<PublishResult> {
        match &mut self.slots[key as usize] {
            Completion::Done(_) => match self.slots.remove(key as usize) {
                Completion::Done(result) => {
                    self.unread.release_result(&result);
                    Poll::Ready(result)
                }
                _ => unreachable!("looked at a moment ago"),
            },
            Completion::Waiting(waker) => {
                caller.wait_in(waker);
                Poll::Pending
            }
            Completion::Abandoned => unreachable!("who polls has not abandoned it"),
        }
    }

    /// The end of the message, if it is known; it stays there.
    pub(crate) fn peek(&self, key: u32) -> Option<&PublishResult> {
        match self.slots.get(key as usize)? {
            Completion::Done(result) => Some(result),
            _ => None,
        }
    }

    /// Nobody waits any more.
    pub(crate) fn abandon(&mut self, key: u32, deferred: &mut Vec<KeptWaker>) {
        match self.slots.get_mut(key as usize) {
            Some(Completion::Done(result)) => {
                self.unread.release_result(result);
                self.slots.remove(key as usize);
            }
            Some(slot) => {
                if let Completion::Waiting(waker) = std::mem::replace(slot, Completion::Abandoned) {
                    deferred.extend(waker);
                }
            }
            None => {}
        }
    }

    /// There will be no answers any more.
    pub(crate) fn fail_all(&mut self, reason: &ConnectionError, wakers: &mut Wakers) {
        let keys: Vec<u32> = self.slots.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            if !matches!(self.slots[key as usize], Completion::Done(_)) {
                self.complete(key, Err(PublishError::Closed(reason.clone())), wakers);
            }
        }
    }
}
