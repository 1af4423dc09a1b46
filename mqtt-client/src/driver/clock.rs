//! The clock of a runtime that has none of its own.

use martlet_session::Instant;
use std::sync::OnceLock;
use std::time::{Duration, Instant as StdInstant};

/// The monotonic clock of `std`, for runtimes whose timers take a [`std::time::Instant`]. Its epoch
/// is when it was first asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct StdClock;

impl StdClock {
    /// The time; what [`Runtime::now`](crate::runtime::Runtime::now) wants.
    pub fn now() -> Instant {
        let epoch = epoch();
        Instant::from_epoch(StdInstant::now().saturating_duration_since(epoch))
    }

    /// What to set a timer of the runtime to, for [`Timer::reset`](crate::runtime::Timer::reset).
    /// What lies beyond the range of `std`'s clock never comes; the timer then fires in a day,
    /// which is early, as it may.
    pub fn to_std(at: Instant) -> StdInstant {
        epoch()
            .checked_add(at.since_epoch())
            .unwrap_or_else(|| StdInstant::now() + DAY)
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn epoch() -> StdInstant {
    static EPOCH: OnceLock<StdInstant> = OnceLock::new();
    *EPOCH.get_or_init(StdInstant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let now = StdClock::now();
        assert!(StdClock::to_std(now) <= StdInstant::now());
        assert!(StdClock::now() >= now);
        assert!(StdClock::to_std(Instant::from_epoch(Duration::MAX)) > StdInstant::now());
    }
}
