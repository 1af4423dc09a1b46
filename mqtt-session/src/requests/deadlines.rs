//! Deadlines of packets that wait for their answers.

use crate::Instant;
use alloc::collections::VecDeque;

/// Deadlines of things that leave in order and wait equally long: they begin when the bytes are
/// handed out.
#[derive(Debug)]
pub(crate) struct Deadlines<T> {
    /// In the order of leaving: first those that wait for an answer, then those that have not left.
    queue: VecDeque<(Until, T)>,
    waiting: usize,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    /// The deadline.
    Answered(Instant),
    /// Where the packet ends in the connection's bytes.
    HandedOut(u64),
}

impl<T> Default for Deadlines<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            waiting: 0,
        }
    }
}

impl<T: Copy> Deadlines<T> {
    pub(crate) fn expect(&mut self, packet_end: u64, what: T) {
        self.queue.push_back((Until::HandedOut(packet_end), what));
    }

    /// Whether everything has left.
    #[inline]
    pub(crate) fn is_departing_empty(&self) -> bool {
        self.queue.len() == self.waiting
    }

    /// Bytes up to `upto` have left. Returns whether deadlines were added.
    pub(crate) fn handed_out(&mut self, upto: u64, deadline: Instant) -> bool {
        let before = self.waiting;
        while let Some((until, _)) = self.queue.get_mut(self.waiting) {
            if !matches!(until, Until::HandedOut(end) if *end <= upto) {
                break;
            }
            *until = Until::Answered(deadline);
            self.waiting += 1;
        }
        self.waiting > before
    }

    /// The next whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<T> {
        self.next().filter(|&deadline| deadline <= now)?;
        self.waiting -= 1;
        self.queue.pop_front().map(|(_, what)| what)
    }

    /// The deadline of what has left last.
    pub(crate) fn last(&self) -> Option<Instant> {
        match self.queue.get(self.waiting.checked_sub(1)?) {
            Some((Until::Answered(deadline), _)) => Some(*deadline),
            _ => None,
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        match self.queue.front() {
            Some((Until::Answered(deadline), _)) => Some(*deadline),
            _ => None,
        }
    }

    /// Forgets what is over, once there is much of it.
    pub(crate) fn tidy(&mut self, live: usize, mut is_live: impl FnMut(&T) -> bool) {
        if self.waiting > 2 * live + 64 {
            self.queue
                .retain(|(until, what)| matches!(until, Until::HandedOut(_)) || is_live(what));
            let is_waiting = |(until, _): &&(Until, T)| matches!(until, Until::Answered(_));
            self.waiting = self.queue.iter().take_while(is_waiting).count();
        }
    }

    /// The connection is gone: what has not left does not leave.
    pub(crate) fn forget_departing(&mut self) {
        self.queue.truncate(self.waiting);
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.waiting = 0;
    }
}
