//! When to try again.

use core::time::Duration;

/// When a lost connection is made again: attempt *n* waits a random time between 0 and
/// `min(max, initial × 2ⁿ)`. The waits begin anew after a connection that lasted for 10 s from when the server
/// accepted the client.
#[derive(Debug, Clone)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    attempts: u32,
    random: u32,
}

impl Backoff {
    /// The waits of 1 s to 60 s, at random from this seed: a number that differs from device to device,
    /// such as a serial number, so that those that lost their server together do not come back
    /// together.
    pub fn new(seed: u32) -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
            attempts: 0,
            random: seed,
        }
    }

    /// Sets the longest wait before the first retry. Default: 1 s.
    #[must_use]
    pub fn initial(self, initial: Duration) -> Self {
        Self { initial, ..self }
    }

    /// Sets the longest wait of all. Default: 60 s.
    #[must_use]
    pub fn max(self, max: Duration) -> Self {
        Self { max, ..self }
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How long to wait now. With `slow`, between half of the longest wait and all of it.
    pub(crate) fn next(&mut self, slow: bool) -> Duration {
        self.random = self
            .random
            .wrapping_mul(0x2c92_77b5)
            .wrapping_add(0xac56_4b05);
        let factor = 1 << self.attempts.min(16);
        self.attempts += 1;
        let most = if slow {
            self.max / 2
        } else {
            self.max.min(self.initial.saturating_mul(factor))
        };
        let share = most / 0xffff * (self.random >> 16);
        if slow { most + share } else { share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest and the longest wait of many devices, each after this number of failures.
    fn waits(failures: u32, slow: bool) -> (f64, f64) {
        let waits = (0..2000).map(|seed| {
            let mut backoff = Backoff::new(seed);
            for _ in 0..failures {
                let _ = backoff.next(false);
            }
            backoff.next(slow).as_secs_f64()
        });
        waits.fold((f64::MAX, 0.0), |(least, most), wait| {
            (wait.min(least), wait.max(most))
        })
    }

    #[test]
    fn waits_double_up_to_the_longest_and_differ_from_device_to_device() {
        for (failures, expected) in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
            .into_iter()
            .enumerate()
        {
            let (least, most) = waits(failures as u32, false);
            assert!(least < expected * 0.01, "{failures}: {least}");
            assert!(
                most <= expected && most > expected * 0.99,
                "{failures}: {most}"
            );
            let (least, most) = waits(failures as u32, true);
            assert!((30.0..30.3).contains(&least), "{failures}: {least}");
            assert!(most <= 60.0 && most > 59.7, "{failures}: {most}");
        }
    }

    #[test]
    fn one_device_waits_for_another_time_each_time() {
        let mut backoff = Backoff::new(7);
        let mut waits: alloc::vec::Vec<_> = (0..20).map(|_| backoff.next(true)).collect();
        waits.sort();
        waits.dedup();
        assert_eq!(waits.len(), 20);
        backoff.reset();
        assert!(backoff.next(false) <= Duration::from_secs(1));
    }

    #[test]
    fn no_wait_is_too_long_to_calculate() {
        let mut backoff = Backoff::new(7).initial(Duration::MAX).max(Duration::MAX);
        for slow in [false, true] {
            for _ in 0..40 {
                assert!(backoff.next(slow) <= Duration::MAX);
            }
        }
        let mut usual = Backoff::new(7);
        assert!((0..40).all(|_| usual.next(false) <= Duration::from_secs(60)));
    }
}
