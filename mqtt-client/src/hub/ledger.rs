//! What a stream has handed out and is to be acknowledged by position.

use martlet_session::DeliveryId;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// What a stream has handed out, each with a ticket by which it is acknowledged. Numbers count from
/// 1.
#[derive(Debug)]
pub(crate) struct Ledger<T> {
    /// Names the stream, in this process and beyond.
    pub(crate) stream: u64,
    /// The message that was handed out last.
    pub(crate) last: u64,
    /// All up to this one are acknowledged.
    pub(crate) acknowledged: u64,
    /// Those after the first and up to the second are of a session that the server has lost.
    pub(crate) void: (u64, u64),
    /// Where what may come again, in the session that the server has resumed, was before.
    pub(crate) earlier: BTreeMap<DeliveryId, u64>,
    /// What is to be acknowledged, in order.
    held: VecDeque<Held<T>>,
    /// How many of those have come again since.
    replaced: usize,
}

#[derive(Debug)]
struct Held<T> {
    number: u64,
    /// `None`: it has come again.
    ticket: Option<T>,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self {
            stream: RandomState::new().hash_one(()),
            last: 0,
            acknowledged: 0,
            void: (0, 0),
            earlier: BTreeMap::new(),
            held: VecDeque::new(),
            replaced: 0,
        }
    }
}

impl<T> Ledger<T> {
    /// How many messages are to be acknowledged.
    pub(crate) fn held(&self) -> usize {
        self.held.len() - self.replaced
    }

    /// A message is handed out, and to be acknowledged. Returns its number.
    pub(crate) fn hold(&mut self, ticket: T) -> u64 {
        self.last += 1;
        self.held.push_back(Held {
            number: self.last,
            ticket: Some(ticket),
        });
        self.last
    }

    /// A message is handed out that is acknowledged already. Returns its number.
    pub(crate) fn pass(&mut self) -> u64 {
        self.last += 1;
        if self.held.is_empty() {
            self.acknowledged = self.last;
        }
        self.last
    }

    /// A message that has come again is acknowledged where it is now. Returns the ticket that it
    /// had.
    pub(crate) fn replace(&mut self, number: u64) -> Option<T> {
        let number_of = |held: &Held<T>| held.number;
        let index = self.held.binary_search_by_key(&number, number_of).ok()?;
        let ticket = self.held[index].ticket.take()?;
        self.replaced += 1;
        if self.replaced > self.held.len() / 2 {
            self.held.retain(|held| held.ticket.is_some());
            self.replaced = 0;
        }
        Some(ticket)
    }

    /// The tickets up to a message, which are not held any more.
    pub(crate) fn release(&mut self, number: u64) -> impl Iterator<Item = T> + '_ {
        let end = self.held.partition_point(|held| held.number <= number);
        let replaced = &mut self.replaced;
        self.held.drain(..end).filter_map(move |held| {
            *replaced -= usize::from(held.ticket.is_none());
            held.ticket
        })
    }

    /// What is held may come again, as these deliveries.
    pub(crate) fn expect_again(&mut self, delivery: impl Fn(&T) -> Option<DeliveryId>) {
        let again = self.held.iter().filter_map(|held| {
            let delivery = delivery(held.ticket.as_ref()?)?;
            Some((delivery, held.number))
        });
        self.earlier.extend(again);
    }

    /// The server has lost the session: the positions so far are void. Returns what was held.
    pub(crate) fn lose_session(&mut self) -> Vec<T> {
        if !self.held.is_empty() {
            if self.acknowledged > self.void.1 {
                self.void.0 = self.acknowledged;
            }
            self.void.1 = self.last;
        }
        self.release(u64::MAX).collect()
    }
}
