//! What arrived, by the sequence numbers of one publisher: losses, duplicates and messages that
//! came out of order.

use std::collections::BTreeMap;
use std::ops::Range;

/// How a message stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    InOrder,
    /// A later one of the same publisher came before it.
    OutOfOrder,
    /// It has come before.
    Duplicate,
}

/// The messages of one publisher. Memory grows with the gaps, not with the messages.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// The lowest that came; none below it is missed.
    first: Option<u64>,
    /// One above the highest that came.
    next: u64,
    /// What has not come, from the first to the number before the second.
    gaps: BTreeMap<u64, u64>,
    /// Messages in gaps that were given up because there were too many gaps.
    forgotten: u64,
    pub(super) distinct: u64,
    pub(super) duplicates: u64,
    pub(super) out_of_order: u64,
}

/// More gaps than this are not remembered: the oldest are lost for good then.
const MOST_GAPS: usize = 256;

impl Sequence {
    /// For a subscriber that knows that the first message is number 0.
    pub(super) fn from_zero() -> Self {
        Self {
            first: Some(0),
            ..Self::default()
        }
    }

    pub(super) fn arrived(&mut self, number: u64) -> Arrival {
        let first = *self.first.get_or_insert_with(|| {
            self.next = number;
            number
        });
        let arrival = if number >= self.next {
            if number > self.next {
                self.open_gap(self.next, number);
            }
            self.next = number.saturating_add(1);
            Arrival::InOrder
        } else if number < first {
            // It was on its way before the subscriber had seen anything.
            self.first = Some(number);
            if number + 1 < first {
                self.open_gap(number + 1, first);
            }
            Arrival::OutOfOrder
        } else if self.fill(number) {
            Arrival::OutOfOrder
        } else {
            Arrival::Duplicate
        };
        match arrival {
            Arrival::InOrder => self.distinct += 1,
            Arrival::OutOfOrder => {
                self.distinct += 1;
                self.out_of_order += 1;
            }
            Arrival::Duplicate => self.duplicates += 1,
        }
        arrival
    }

    fn open_gap(&mut self, begin: u64, end: u64) {
        self.gaps.insert(begin, end);
        if self.gaps.len() > MOST_GAPS {
            if let Some((begin, end)) = self.gaps.pop_first() {
                self.forgotten += end - begin;
            }
        }
    }

    /// Whether this number was missing; it no longer is.
    fn fill(&mut self, number: u64) -> bool {
        let Some((&begin, &end)) = self.gaps.range(..=number).next_back() else {
            return false;
        };
        if number >= end {
            return false;
        }
        self.gaps.remove(&begin);
        if begin < number {
            self.gaps.insert(begin, number);
        }
        if number + 1 < end {
            self.open_gap(number + 1, end);
        }
        true
    }

    /// What has not come of this many messages, from the first to the number before the second; and
    /// how many more, all of them older.
    pub(super) fn absent(&self, sent: u64) -> (impl Iterator<Item = Range<u64>>, u64) {
        let gaps = self.gaps.iter().map(|(begin, end)| *begin..*end);
        (
            gaps.chain(std::iter::once(self.next..sent.max(self.next))),
            self.forgotten,
        )
    }

    /// Messages between those that came which did not come.
    pub(super) fn missing(&self) -> u64 {
        let gaps: u64 = self.gaps.iter().map(|(begin, end)| end - begin).sum();
        gaps + self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(numbers: &[u64]) -> Sequence {
        let mut sequence = Sequence::default();
        for number in numbers {
            sequence.arrived(*number);
        }
        sequence
    }

    fn counts(sequence: &Sequence) -> [u64; 4] {
        [
            sequence.distinct,
            sequence.missing(),
            sequence.duplicates,
            sequence.out_of_order,
        ]
    }

    #[test]
    fn each_message_is_counted_as_what_it_is() {
        for (numbers, expected) in [
            (&[0, 1, 2, 3][..], [4, 0, 0, 0]),
            (&[5, 6, 7], [3, 0, 0, 0]),
            (&[0, 1, 4, 5], [4, 2, 0, 0]),
            (&[0, 1, 1, 2, 0], [3, 0, 2, 0]),
            (&[0, 3, 1, 2], [4, 0, 0, 2]),
            (&[0, 3, 1, 1, 3], [3, 1, 2, 1]),
            (&[0, 9, 5, 5, 4, 6, 9], [5, 5, 2, 3]),
            // A subscriber that began in the middle, where the first came out of order.
            (&[7, 4, 8], [3, 2, 0, 1]),
            (&[u64::MAX, u64::MAX - 1, u64::MAX - 1], [2, 0, 1, 1]),
        ] {
            assert_eq!(counts(&after(numbers)), expected, "{numbers:?}");
        }
        let mut sequence = after(&[0, 3, 5]);
        assert!(sequence.absent(9).0.eq([1..3, 4..5, 6..9]));
        assert!(sequence.absent(0).0.flatten().eq([1, 2, 4]));
        sequence = Sequence::from_zero();
        assert_eq!(sequence.arrived(2), Arrival::InOrder);
        assert_eq!(sequence.arrived(0), Arrival::OutOfOrder);
        assert_eq!(sequence.arrived(0), Arrival::Duplicate);
        assert_eq!(counts(&sequence), [2, 1, 1, 1]);
    }

    /// Against a set of all numbers.
    #[test]
    fn random_orders_are_counted_exactly() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for _ in 0..300 {
            let mut seen = std::collections::BTreeSet::new();
            let mut sequence = Sequence::from_zero();
            let (mut duplicates, mut out_of_order) = (0, 0);
            for step in 0..200 {
                let number = (step + next(20)).saturating_sub(10);
                let highest = seen.last().copied();
                if !seen.insert(number) {
                    duplicates += 1;
                } else if highest.is_some_and(|highest| number < highest) {
                    out_of_order += 1;
                }
                sequence.arrived(number);
            }
            let all = seen.last().unwrap() + 1;
            let missing = all - seen.len() as u64;
            let expected = [seen.len() as u64, missing, duplicates, out_of_order];
            assert_eq!(counts(&sequence), expected);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut sequence = Sequence::from_zero();
        for number in 0..10_000 {
            sequence.arrived(2 * number);
        }
        assert_eq!(sequence.gaps.len(), MOST_GAPS);
        assert_eq!(counts(&sequence), [10_000, 9_999, 0, 0]);
        assert_eq!(sequence.arrived(19_997), Arrival::OutOfOrder);
    }
}
