//! Time as an argument.

use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A moment: time since an epoch of the caller's choosing, to the nanosecond, for 584 years. It
/// works without `std`, and a test can write any moment down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The epoch.
    pub const EPOCH: Self = Self(0);

    /// The end of time: nothing happens then.
    pub(crate) const MAX: Self = Self(u64::MAX);

    /// This long after the epoch; saturates after 584 years.
    pub const fn from_epoch(since: Duration) -> Self {
        let nanos = since.as_nanos();
        Self(if nanos > u64::MAX as u128 {
            u64::MAX
        } else {
            nanos as u64
        })
    }

    /// Time since the epoch.
    pub const fn since_epoch(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// Since the epoch, in units of 2²⁰ ns, about milliseconds; begins anew after 52 days.
    pub(crate) const fn about_millis(self) -> u32 {
        (self.0 >> 20) as u32
    }

    /// Time since `earlier`; zero when that is later.
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    /// Saturates.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(Self::from_epoch(duration).0))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    /// Saturates at the epoch.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(Self::from_epoch(duration).0))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}
