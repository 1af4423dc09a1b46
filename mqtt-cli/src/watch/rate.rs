//! Messages a second, from counts of whole seconds: the same messages give the same figures.

use std::time::Duration;

/// How many whole seconds a rate looks back on.
const WINDOW: u32 = 5;

/// Those seconds, and the one that is not over yet.
const SECONDS: usize = WINDOW as usize + 1;

/// Counts of the last seconds. Times count from the start of the command.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rate {
    /// The second of the last message.
    last: u32,
    /// The count of second `n` is at `n % SECONDS`.
    counts: [u32; SECONDS],
}

impl Rate {
    pub(super) fn add(&mut self, now: Duration) {
        let now = second(now);
        self.advance(now);
        if let Some(count) = self.count_mut(now) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds the messages that another rate has counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.advance(other.last);
        for at in other.last.saturating_sub(WINDOW)..=other.last {
            let messages = other.count(at);
            if let Some(count) = self.count_mut(at) {
                *count = count.saturating_add(messages);
            }
        }
    }

    /// Messages a second over the last whole seconds; `None` before the first is over.
    pub(super) fn at(&self, now: Duration) -> Option<f64> {
        let now = second(now);
        let seconds = now.min(WINDOW);
        if seconds == 0 {
            return None;
        }
        let messages: u64 = (now - seconds..now)
            .map(|at| u64::from(self.count(at)))
            .sum();
        Some(messages as f64 / f64::from(seconds))
    }

    /// Forgets the seconds that are too long ago.
    fn advance(&mut self, now: u32) {
        let passed = now.saturating_sub(self.last);
        for ahead in 1..=passed.min(SECONDS as u32) {
            self.counts[(self.last + ahead) as usize % SECONDS] = 0;
        }
        self.last = self.last.max(now);
    }

    fn count(&self, at: u32) -> u32 {
        match at <= self.last && self.last - at <= WINDOW {
            true => self.counts[at as usize % SECONDS],
            false => 0,
        }
    }

    fn count_mut(&mut self, at: u32) -> Option<&mut u32> {
        let is_there = at <= self.last && self.last - at <= WINDOW;
        is_there.then(|| &mut self.counts[at as usize % SECONDS])
    }
}

fn second(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(times: &[u64]) -> Rate {
        let mut rate = Rate::default();
        for time in times {
            rate.add(Duration::from_millis(*time));
        }
        rate
    }

    #[test]
    fn a_rate_is_of_the_last_whole_seconds() {
        let at = |rate: &Rate, seconds| rate.at(Duration::from_secs(seconds));
        let three = rate(&[100, 200, 300]);
        assert_eq!(at(&three, 0), None, "no second is over");
        assert_eq!(at(&three, 1), Some(3.0));
        assert_eq!(at(&three, 2), Some(1.5));
        assert_eq!(at(&three, 5), Some(0.6));
        assert_eq!(at(&three, 6), Some(0.0), "they are too long ago");
        let later = rate(&[100, 7_000, 7_999, 8_000, 1_000_000]);
        assert_eq!(at(&later, 1_001), Some(0.2));
        assert_eq!(at(&rate(&[7_000, 7_999, 8_000]), 8), Some(0.4));
    }

    #[test]
    fn two_rates_add_up() {
        let (first, second) = (
            [0, 900, 5_000, 6_100],
            [900, 4_000, 6_200, 6_900, 7_000, 9_000],
        );
        let all: Vec<u64> = {
            let mut all = [&first[..], &second].concat();
            all.sort_unstable();
            all
        };
        for (one, other) in [(&first[..], &second[..]), (&second, &first)] {
            let mut merged = rate(one);
            merged.merge(&rate(other));
            for seconds in 9..16 {
                let now = Duration::from_secs(seconds);
                assert_eq!(merged.at(now), rate(&all).at(now), "{seconds}");
            }
        }
    }
}
