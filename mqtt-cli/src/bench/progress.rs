//! One line on a terminal, with the rates of this moment.

use super::latency::{Interval, time};
use crate::report::{Report, to_standard_error};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

/// The line; nothing is printed where there is no terminal.
pub(super) struct ProgressLine {
    is_shown: bool,
    is_there: bool,
    /// What is shown next.
    sum: Interval,
    time: Duration,
}

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(500);

impl ProgressLine {
    pub(super) fn new(report: Report) -> Self {
        Self {
            is_shown: !report.is_quiet() && std::io::stderr().is_terminal(),
            is_there: false,
            sum: Interval::new(),
            time: Duration::ZERO,
        }
    }

    /// Adds an interval of this length; `elapsed`: nanoseconds of the run.
    pub(super) fn show(&mut self, interval: &Interval, length: Duration, elapsed: u64) {
        if !self.is_shown {
            return;
        }
        self.sum.add(interval);
        self.sum.outstanding = interval.outstanding;
        self.time += length;
        if self.time < EVERY {
            return;
        }
        let text = line(&self.sum, self.time, Duration::from_nanos(elapsed));
        self.sum.clear();
        self.time = Duration::ZERO;
        self.is_there = true;
        to_standard_error(&format!("\r\x1b[K{text}"));
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_there) {
            to_standard_error("\r\x1b[K");
        }
    }
}

/// It fits into 80 columns.
fn line(interval: &Interval, length: Duration, elapsed: Duration) -> String {
    let rate = interval.messages as f64 / length.as_secs_f64();
    let mut text = format!("{:>5} s {rate:>10.0}/s", elapsed.as_secs());
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        if let Some(microseconds) = interval.quantile(quantile) {
            // Writing to a string does not fail.
            let _ = write!(text, "  {name} {}", time(microseconds));
        }
    }
    if interval.outstanding > 0 {
        let _ = write!(text, "  {} outstanding", interval.outstanding);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_rates_of_its_interval() {
        let mut interval = Interval::new();
        for _ in 0..50 {
            interval.record(2_000_000);
        }
        interval.outstanding = 7;
        let length = Duration::from_millis(500);
        let text = line(&interval, length, Duration::from_secs(12));
        assert!(text.starts_with("   12 s        100/s  p50 2.0"), "{text}");
        assert!(text.ends_with(" ms  7 outstanding"), "{text}");
        interval.record(3_599_000_000_000);
        interval.outstanding = u64::from(u32::MAX);
        assert!(line(&interval, length, Duration::from_secs(99_999)).len() < 80);
    }
}
