//! Latencies: histograms of high dynamic range, and what is printed of them.

use hdrhistogram::{Counter, Histogram};
use serde::Serialize;

/// An hour: what took longer counts as an hour.
const LONGEST: u64 = 3_600_000_000_000;

fn histogram<C: Counter>(digits: u8) -> Histogram<C> {
    Histogram::new_with_bounds(1, LONGEST, digits).expect("the bounds are in order")
}

/// The latencies of a run in nanoseconds, with three digits.
#[derive(Debug)]
pub(super) struct Latency(Histogram<u64>);

impl Latency {
    pub(super) fn new() -> Self {
        Self(histogram(3))
    }

    pub(super) fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    pub(super) fn record_many(&mut self, nanoseconds: u64, count: u64) {
        self.0.saturating_record_n(nanoseconds, count);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("they have the same bounds");
    }

    /// None where nothing was recorded.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let at = |quantile| microseconds(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Percentiles {
            count: self.0.len(),
            min: microseconds(self.0.min()),
            mean: self.0.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: microseconds(self.0.max()),
        })
    }
}

/// Microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
    pub(super) p99_99: f64,
    pub(super) max: f64,
}

/// A time in the unit that suits it.
pub(super) fn time(microseconds: f64) -> String {
    let (value, unit) = match microseconds {
        value if value < 1_000.0 => (value, "µs"),
        value if value < 1_000_000.0 => (value / 1_000.0, "ms"),
        value => (value / 1_000_000.0, "s"),
    };
    match value {
        value if value < 10.0 => format!("{value:.2} {unit}"),
        value if value < 100.0 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

/// The latencies of a short time, with two digits: small enough to keep many of them.
#[derive(Debug, Clone)]
pub(super) struct Interval {
    histogram: Histogram<u32>,
    /// Also those that have no latency.
    pub(super) messages: u64,
    /// How many messages were due and not answered at its end.
    pub(super) outstanding: u64,
}

impl Interval {
    pub(super) fn new() -> Self {
        Self {
            histogram: histogram(2),
            messages: 0,
            outstanding: 0,
        }
    }

    pub(super) fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds);
        self.messages += 1;
    }

    /// Of the same time, or of the time that follows.
    pub(super) fn add(&mut self, other: &Self) {
        let added = self.histogram.add(&other.histogram);
        added.expect("they have the same bounds");
        self.messages += other.messages;
    }

    pub(super) fn clear(&mut self) {
        if self.messages > 0 {
            self.histogram.reset();
        }
        self.messages = 0;
        self.outstanding = 0;
    }

    /// Microseconds; none where nothing has a latency.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let value = self.histogram.value_at_quantile(quantile);
        (!self.histogram.is_empty()).then(|| value as f64 / 1000.0)
    }
}

/// A run in intervals of the same length. When there are too many, two become one.
#[derive(Debug)]
pub(super) struct Timeline {
    /// Nanoseconds.
    length: u64,
    intervals: Vec<Interval>,
    /// How many more of the first length go into the last interval.
    pending: u32,
    /// How many of the first length are in an interval.
    folded: u32,
    /// Nanoseconds that the last one lacks.
    short: u64,
}

/// How many intervals are kept at most.
const MOST_INTERVALS: usize = 400;

impl Timeline {
    pub(super) fn new(length: u64) -> Self {
        Self {
            length,
            intervals: Vec::new(),
            pending: 0,
            folded: 1,
            short: 0,
        }
    }

    /// The last interval, which is shorter.
    pub(super) fn push_last(&mut self, interval: &Interval, length: u64) {
        self.push(interval);
        self.short = self.length.saturating_sub(length);
    }

    /// The interval of the first length that follows.
    pub(super) fn push(&mut self, interval: &Interval) {
        if self.pending > 0 {
            self.pending -= 1;
            if let Some(last) = self.intervals.last_mut() {
                last.add(interval);
                last.outstanding = interval.outstanding;
            }
            return;
        }
        if self.intervals.len() == MOST_INTERVALS {
            self.fold();
        }
        self.intervals.push(interval.clone());
        self.pending = self.folded - 1;
    }

    fn fold(&mut self) {
        let mut folded: Vec<Interval> = Vec::with_capacity(MOST_INTERVALS);
        for pair in self.intervals.chunks(2) {
            let mut sum = pair[0].clone();
            if let Some(second) = pair.get(1) {
                sum.add(second);
                sum.outstanding = second.outstanding;
            }
            folded.push(sum);
        }
        self.intervals = folded;
        self.folded *= 2;
    }

    /// Each interval with when it ended, in seconds; the last may be shorter.
    pub(super) fn points(&self) -> Vec<Point> {
        let count = self.intervals.len();
        let mut points = Vec::with_capacity(count);
        let mut end = 0;
        for (number, interval) in self.intervals.iter().enumerate() {
            let (missing, short) = match number + 1 == count {
                true => (self.pending, self.short),
                false => (0, 0),
            };
            let length = self.length * u64::from(self.folded - missing) - short;
            end += length;
            let seconds = length as f64 / 1e9;
            points.push(Point {
                seconds: end as f64 / 1e9,
                messages: interval.messages,
                rate: interval.messages as f64 / seconds,
                outstanding: interval.outstanding,
                p50: interval.quantile(0.5),
                p99: interval.quantile(0.99),
                max: interval.quantile(1.0),
            });
        }
        points
    }
}

/// One interval, as it is printed. Latencies are microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Point {
    /// From the begin of the measured time to the end of the interval.
    pub(super) seconds: f64,
    pub(super) messages: u64,
    pub(super) rate: f64,
    pub(super) outstanding: u64,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) max: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within the thousandth that three digits leave.
    fn is_near(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected / 1000.0
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut latency = Latency::new();
        assert_eq!(latency.percentiles(), None);
        // 1 µs to 100,000 µs.
        for microseconds in 1..=100_000 {
            latency.record(microseconds * 1000);
        }
        let found = latency.percentiles().unwrap();
        for (value, expected) in [
            (found.min, 1.0),
            (found.mean, 50_000.5),
            (found.p50, 50_000.0),
            (found.p90, 90_000.0),
            (found.p99, 99_000.0),
            (found.p99_9, 99_900.0),
            (found.p99_99, 99_990.0),
            (found.max, 100_000.0),
        ] {
            assert!(is_near(value, expected), "{value} {expected}");
        }
        assert_eq!(found.count, 100_000);
        let mut sum = Latency::new();
        sum.add(&latency);
        sum.record(u64::MAX);
        assert!(is_near(sum.percentiles().unwrap().max, 3.6e9));
    }

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (microseconds, expected) in [
            (0.4, "0.40 µs"),
            (12.34, "12.3 µs"),
            (999.4, "999 µs"),
            (1_234.0, "1.23 ms"),
            (1_000_000.0, "1.00 s"),
            (3.6e9, "3600 s"),
        ] {
            assert_eq!(time(microseconds), expected);
        }
    }

    /// One message a millisecond, and a server that stops for a second: a tool that waits for each
    /// answer would record one slow message; by due times a thousand waited.
    #[test]
    fn a_stall_is_in_the_percentiles() {
        let mut latency = Latency::new();
        let ms = |number: u64| number * 1_000_000;
        for number in 0..10_000 {
            let answered = if (4_000..5_000).contains(&number) {
                ms(5_000)
            } else {
                ms(number) + 100_000
            };
            latency.record(answered - ms(number));
        }
        let found = latency.percentiles().unwrap();
        assert!(is_near(found.p50, 100.0));
        // The 100 slowest of 10,000 waited for 901 ms and more.
        assert!(is_near(found.p99, 900_000.0), "{found:?}");
        assert!(is_near(found.max, 1_000_000.0));
    }

    #[test]
    fn a_timeline_folds_and_loses_nothing() {
        let mut timeline = Timeline::new(100_000_000);
        for number in 0..1001_u64 {
            let mut interval = Interval::new();
            for _ in 0..3 {
                interval.record(number * 1000);
            }
            interval.outstanding = number;
            timeline.push(&interval);
        }
        let points = timeline.points();
        // Folded twice: each has four of the first length, the last one.
        assert_eq!(points.len(), 251);
        assert_eq!(points.iter().map(|point| point.messages).sum::<u64>(), 3003);
        assert_eq!((points[0].seconds, points[0].messages), (0.4, 12));
        assert_eq!((points[0].rate, points[0].outstanding), (30.0, 3));
        let last = points.last().unwrap();
        assert_eq!((last.messages, last.outstanding), (3, 1000));
        assert!((last.seconds - 100.1).abs() < 1e-9 && (last.rate - 30.0).abs() < 1e-9);
        assert!((last.max.unwrap() - 1000.0).abs() < 10.0);
        let mut interval = Interval::new();
        interval.record(1);
        timeline.push_last(&interval, 50_000_000);
        let last = timeline.points().pop().unwrap();
        assert_eq!(last.messages, 4);
        assert!((last.seconds - 100.15).abs() < 1e-9 && (last.rate - 4.0 / 0.15).abs() < 1e-9);
    }
}
