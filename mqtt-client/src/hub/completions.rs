//! Pending completions of publishes: a slab slot and a waker each.

use crate::hub::unread::Unread;
use crate::hub::wakers::Wakers;
use martlet_session::{ConnectionError, PublishError, PublishOutcome};
use slab::Slab;
use std::task::{Context, Poll, Waker};

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
    /// Nobody has asked yet.
    Pending,
    Waiting(Waker),
    Done(PublishResult),
    /// Nobody will ask; the slot is free when the message is completed.
    Abandoned,
}

impl Completions {
    /// A slot for a message about to be published; its key goes with it.
    #[inline]
    pub(crate) fn reserve(&mut self) -> u32 {
        self.slots.insert(Completion::Pending) as u32
    }

    /// The message was not accepted, or needs no waiting.
    #[inline]
    pub(crate) fn release(&mut self, key: u32) {
        self.slots.remove(key as usize);
    }

    #[inline]
    pub(crate) fn complete(&mut self, key: u32, mut result: PublishResult, wakers: &mut Wakers) {
        let Some(slot) = self.slots.get_mut(key as usize) else {
            return;
        };
        if matches!(slot, Completion::Abandoned) {
            return self.release(key);
        }
        self.unread.admit_result(&mut result);
        match std::mem::replace(slot, Completion::Done(result)) {
            Completion::Waiting(waker) => wakers.push(waker),
            Completion::Done(earlier) => self.unread.release_result(&earlier),
            Completion::Pending | Completion::Abandoned => {}
        }
    }

    /// Somebody waits for a message that is not completed.
    #[inline]
    pub(crate) fn wait(&mut self, key: u32, cx: &Context<'_>) {
        self.slots[key as usize] = Completion::Waiting(cx.waker().clone());
    }

    pub(crate) fn poll(
        &mut self,
        key: u32,
        cx: &mut Context<'_>,
        deferred: &mut Vec<Waker>,
    ) -> Poll<PublishResult> {
        match &mut self.slots[key as usize] {
            Completion::Done(_) => match self.slots.remove(key as usize) {
                Completion::Done(result) => {
                    self.unread.release_result(&result);
                    Poll::Ready(result)
                }
                _ => unreachable!("looked at a moment ago"),
            },
            Completion::Waiting(waker) => {
                if !waker.will_wake(cx.waker()) {
                    deferred.push(std::mem::replace(waker, cx.waker().clone()));
                }
                Poll::Pending
            }
            slot => {
                *slot = Completion::Waiting(cx.waker().clone());
                Poll::Pending
            }
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
    pub(crate) fn abandon(&mut self, key: u32, deferred: &mut Vec<Waker>) {
        match self.slots.get_mut(key as usize) {
            Some(Completion::Done(result)) => {
                self.unread.release_result(result);
                self.release(key);
            }
            Some(slot) => {
                if let Completion::Waiting(waker) = std::mem::replace(slot, Completion::Abandoned) {
                    deferred.push(waker);
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
