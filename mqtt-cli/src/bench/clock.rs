//! The time of a run: nanoseconds since its clock was made, and what they are as time of day.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that only goes forward. The time of day is read once, so that a step of it during a run
/// changes no latency.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    origin: Instant,
    /// The time of day at the origin, in nanoseconds since 1970.
    unix: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            origin: Instant::now(),
            unix: nanoseconds(unix.unwrap_or_default()),
        }
    }

    pub(super) fn now(&self) -> u64 {
        nanoseconds(self.origin.elapsed())
    }

    /// The time of day at this time of the run, in nanoseconds since 1970.
    pub(super) fn unix(&self, time: u64) -> u64 {
        self.unix.saturating_add(time)
    }

    /// The time of the run as tokio's timers take it.
    pub(super) fn instant(&self, time: u64) -> tokio::time::Instant {
        (self.origin + Duration::from_nanos(time)).into()
    }
}

/// 584 years fit.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}
