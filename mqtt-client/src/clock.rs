//! The clocks of clients.

use martlet_session::Instant;
use std::fmt;
use std::time::Instant as StdInstant;

/// The time of one client: from an epoch of its own, and it never goes back. The driver and the
/// client's handles read it, on whatever threads they are.
///
/// The default is the monotonic clock of `std`, from now on.
///
/// ```
/// use martlet_client::{runtime::Clock, session::Instant};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
/// use std::time::Duration;
///
/// // One that a test owns.
/// let seconds = Arc::new(AtomicU64::new(0));
/// let clock = Clock::new({
///     let seconds = Arc::clone(&seconds);
///     move || Instant::from_epoch(Duration::from_secs(seconds.load(Ordering::Relaxed)))
/// });
/// seconds.store(60, Ordering::Relaxed);
/// assert_eq!(clock.now(), Instant::EPOCH + Duration::from_secs(60));
/// ```
pub struct Clock(Box<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    /// One that this function reads.
    pub fn new(now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Box::new(now))
    }

    /// The time.
    #[inline]
    pub fn now(&self) -> Instant {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        let epoch = StdInstant::now();
        Self::new(move || Instant::from_epoch(epoch.elapsed()))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
