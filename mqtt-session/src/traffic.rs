//! Figures of a session: packets by type, and how long the server takes to answer.

use crate::Instant;
use core::time::Duration;
use martlet_proto::PacketType;

/// Packets of one type, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PacketCount {
    /// How many packets.
    pub packets: u64,
    /// Their bytes, without TLS and WebSocket.
    pub bytes: u64,
}

/// What a session has sent and received so far, on all its connections, by packet type: from
/// [`Session::traffic`](crate::Session::traffic). A packet counts as sent when it is encoded, so one
/// that a lost connection did not take is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    pub(crate) sent: [PacketCount; 15],
    pub(crate) received: [PacketCount; 15],
}

impl Traffic {
    /// What was sent of this type.
    pub fn sent(&self, packet_type: PacketType) -> PacketCount {
        self.sent[usize::from(packet_type.as_u8()) - 1]
    }

    /// What was received of this type. A message whose bytes were skipped because it was too large
    /// is not counted.
    pub fn received(&self, packet_type: PacketType) -> PacketCount {
        self.received[usize::from(packet_type.as_u8()) - 1]
    }
}

/// How long each half of the window is.
const HALF: Duration = Duration::from_secs(30);

/// The parts of an octave; a bucket is at most a quarter as wide as what it holds.
const PARTS: u64 = 4;

/// From a microsecond, of 1,024 ns, to 33 s: longer ones count as that, but not for the mean.
const BUCKETS: usize = 92;

/// How long the server has taken to acknowledge messages of QoS 1 and 2, over the last 30 to 60
/// seconds: from [`Session::acknowledgement_times`](crate::Session::acknowledgement_times).
///
/// It is a sample: one message at a time is timed, at most one each millisecond, from when its
/// PUBLISH was handed to the socket to when its PUBACK or PUBREC was read. The times are those that
/// the caller has given, so they are as exact as its `now` is; less than that counts as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcknowledgementTimes {
    /// How many messages were timed.
    pub count: u64,
    /// The shortest time.
    pub min: Duration,
    /// The mean.
    pub mean: Duration,
    /// The longest time.
    pub max: Duration,
    /// The time that 99 of 100 did not exceed, to a quarter.
    pub p99: Duration,
}

/// Times of acknowledgements, in two halves of a window: see [`AcknowledgementTimes`]. Its size does
/// not grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundTrips {
    /// The half that is filled, and the one before it.
    halves: [Half; 2],
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Half {
    began: Instant,
    buckets: [u32; BUCKETS],
    count: u64,
    sum: Duration,
    min: Duration,
    max: Duration,
}

impl Half {
    fn new(began: Instant) -> Self {
        Self {
            began,
            buckets: [0; BUCKETS],
            count: 0,
            sum: Duration::ZERO,
            min: Duration::MAX,
            max: Duration::ZERO,
        }
    }
}

/// The bucket of a time.
fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) >> 10;
    if micros < PARTS {
        return micros as usize;
    }
    let octave = 63 - u64::from(micros.leading_zeros());
    let part = (micros >> (octave - 2)) % PARTS;
    (((octave - 1) * PARTS + part) as usize).min(BUCKETS - 1)
}

/// Where a bucket begins.
fn begin(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    let micros = if bucket < PARTS {
        bucket
    } else {
        (PARTS + bucket % PARTS) << (bucket / PARTS - 1)
    };
    Duration::from_nanos(micros << 10)
}

impl RoundTrips {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            halves: [Half::new(now), Half::new(Instant::EPOCH)],
        }
    }

    pub(crate) fn add(&mut self, time: Duration, now: Instant) {
        if now.saturating_duration_since(self.halves[0].began) >= HALF {
            self.halves.swap(0, 1);
            self.halves[0] = Half::new(now);
        }
        let half = &mut self.halves[0];
        let count = &mut half.buckets[bucket(time)];
        *count = count.saturating_add(1);
        half.count += 1;
        half.sum = half.sum.saturating_add(time);
        half.min = half.min.min(time);
        half.max = half.max.max(time);
    }

    /// The halves that are not too old.
    fn valid(&self, now: Instant) -> impl Iterator<Item = &Half> {
        let is_valid = move |half: &&Half| {
            half.count > 0 && now.saturating_duration_since(half.began) < 2 * HALF
        };
        self.halves.iter().filter(is_valid)
    }

    /// The figures of the window; `None` if nothing was timed in it.
    pub fn times(&self, now: Instant) -> Option<AcknowledgementTimes> {
        let count: u64 = self.valid(now).map(|half| half.count).sum();
        let min = self.valid(now).map(|half| half.min).min()?;
        let max = self.valid(now).map(|half| half.max).max()?;
        let sum: Duration = self.valid(now).map(|half| half.sum).sum();
        let mean = Duration::from_nanos((sum.as_nanos() / u128::from(count)) as u64);
        let mut left = (count * 99).div_ceil(100);
        let mut p99 = max;
        for bucket in 0..BUCKETS - 1 {
            let here = self.valid(now).map(|half| u64::from(half.buckets[bucket]));
            left = left.saturating_sub(here.sum());
            if left == 0 {
                p99 = begin(bucket + 1).clamp(min, max);
                break;
            }
        }
        Some(AcknowledgementTimes {
            count,
            min,
            mean,
            max,
            p99,
        })
    }

    /// What was timed since `earlier` was cloned of this, if that was less than half a minute ago:
    /// times, to a quarter, and how often there was each.
    pub fn since(&self, earlier: Option<&Self>) -> impl Iterator<Item = (Duration, u32)> {
        self.halves.iter().flat_map(move |half| {
            let mut known = earlier.into_iter().flat_map(|earlier| &earlier.halves);
            let known = known.find(|known| known.began == half.began && known.count > 0);
            (0..BUCKETS).filter_map(move |bucket| {
                let before = known.map_or(0, |known| known.buckets[bucket]);
                let new = half.buckets[bucket].saturating_sub(before);
                let middle = (begin(bucket) + begin(bucket + 1)) / 2;
                (new > 0).then_some((middle, new))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn at(millis: u64) -> Instant {
        Instant::from_epoch(Duration::from_millis(millis))
    }

    #[test]
    fn buckets_cover_all_times_without_gaps() {
        for n in 0..BUCKETS {
            assert_eq!(bucket(begin(n)), n);
            if n > 0 {
                assert_eq!(bucket(begin(n) - Duration::from_nanos(1)), n - 1);
            }
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        for n in 4..BUCKETS - 1 {
            let width = begin(n + 1) - begin(n);
            assert!(width * 4 <= begin(n), "{n}");
        }
        assert!(begin(BUCKETS - 1) > Duration::from_secs(14));
    }

    #[test]
    fn a_window_forgets_what_is_old() {
        let mut trips = RoundTrips::new(at(0));
        assert_eq!(trips.times(at(0)), None);
        for n in 1..=100 {
            trips.add(Duration::from_millis(n), at(n * 10));
        }
        let times = trips.times(at(1000)).unwrap();
        assert_eq!(
            (times.count, times.min, times.max),
            (100, Duration::from_millis(1), Duration::from_millis(100))
        );
        assert_eq!(times.mean, Duration::from_micros(50_500));
        let p99 = times.p99.as_millis();
        assert!((99..=124).contains(&p99), "{p99}");
        // The next half: both are seen.
        trips.add(Duration::from_secs(2), at(31_000));
        assert_eq!(trips.times(at(32_000)).unwrap().count, 101);
        assert_eq!(trips.times(at(59_000)).unwrap().count, 101);
        assert_eq!(trips.times(at(61_000)).unwrap().count, 1);
        trips.add(Duration::from_secs(1), at(62_000));
        let times = trips.times(at(62_000)).unwrap();
        assert_eq!((times.count, times.min), (2, Duration::from_secs(1)));
        assert_eq!(trips.times(at(200_000)), None);
    }

    #[test]
    fn what_was_timed_since_a_copy_is_found_once() {
        let mut trips = RoundTrips::new(at(0));
        let counts = |trips: &RoundTrips, earlier: Option<&RoundTrips>| {
            trips.since(earlier).map(|(_, n)| n).collect::<Vec<_>>()
        };
        trips.add(Duration::from_millis(1), at(1));
        trips.add(Duration::from_millis(1), at(2));
        assert_eq!(counts(&trips, None), [2]);
        let copy = trips.clone();
        assert!(counts(&trips, Some(&copy)).is_empty());
        trips.add(Duration::from_millis(1), at(3));
        trips.add(Duration::from_millis(50), at(30_500));
        assert_eq!(counts(&trips, Some(&copy)), [1, 1]);
        let (time, _) = trips.since(Some(&copy)).next().unwrap();
        assert!(time > Duration::from_millis(37) && time < Duration::from_millis(63));
    }
}
