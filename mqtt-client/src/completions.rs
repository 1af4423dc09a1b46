//! Who waits for the end of a message: a slab slot and a waker each.

use crate::wakers::Wakers;
use martlet_session::{PublishError, Settled};
use slab::Slab;
use std::task::{Context, Poll, Waker};

/// The end of a message.
pub(crate) type PublishResult = Result<Settled, PublishError>;

#[derive(Debug, Default)]
pub(crate) struct Completions(Slab<Completion>);

#[derive(Debug)]
enum Completion {
    /// Nobody has asked yet.
    Pending,
    Waiting(Waker),
    Done(PublishResult),
    /// Nobody will ask; the slot is free when the message has come to its end.
    Abandoned,
}

impl Completions {
    /// A slot for a message about to be published; its key goes with it.
    #[inline]
    pub(crate) fn reserve(&mut self) -> u32 {
        self.0.insert(Completion::Pending) as u32
    }

    /// The message was not accepted, or needs no waiting.
    #[inline]
    pub(crate) fn release(&mut self, key: u32) {
        self.0.remove(key as usize);
    }

    #[inline]
    pub(crate) fn complete(&mut self, key: u32, result: PublishResult, wakers: &mut Wakers) {
        let Some(slot) = self.0.get_mut(key as usize) else { return };
        match std::mem::replace(slot, Completion::Done(result)) {
            Completion::Abandoned => self.release(key),
            Completion::Waiting(waker) => wakers.push(waker),
            Completion::Pending | Completion::Done(_) => {}
        }
    }

    pub(crate) fn poll(
        &mut self,
        key: u32,
        cx: &mut Context<'_>,
        spent: &mut Vec<Waker>,
    ) -> Poll<PublishResult> {
        match &mut self.0[key as usize] {
            Completion::Done(_) => match self.0.remove(key as usize) {
                Completion::Done(result) => Poll::Ready(result),
                _ => unreachable!("looked at a moment ago"),
            },
            Completion::Waiting(waker) => {
                if !waker.will_wake(cx.waker()) {
                    spent.push(std::mem::replace(waker, cx.waker().clone()));
                }
                Poll::Pending
            }
            slot => {
                *slot = Completion::Waiting(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Nobody waits any more.
    pub(crate) fn abandon(&mut self, key: u32, spent: &mut Vec<Waker>) {
        match self.0.get_mut(key as usize) {
            Some(Completion::Done(_)) => self.release(key),
            Some(slot) => {
                if let Completion::Waiting(waker) = std::mem::replace(slot, Completion::Abandoned) {
                    spent.push(waker);
                }
            }
            None => {}
        }
    }

    /// There will be no answers any more.
    pub(crate) fn fail_all(&mut self, wakers: &mut Wakers) {
        let keys: Vec<u32> = self.0.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            if !matches!(self.0[key as usize], Completion::Done(_)) {
                self.complete(key, Err(PublishError::Closed), wakers);
            }
        }
    }
}
