//! The topics under `$SYS/broker`, with the names that mosquitto and amqtt use.

use core::time::Duration;

/// Counts since the broker was made; see [`Broker::statistics`](crate::Broker::statistics).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Open connections, those that have yet to send a CONNECT included.
    pub connections: usize,
    /// Sessions, connected or not.
    pub sessions: usize,
    /// Retained messages.
    pub retained: usize,
    /// Messages that wait or are in flight, of all sessions.
    pub pending: usize,
    /// Bytes that waiting messages and unread answers hold.
    pub held_bytes: usize,
    /// Packets that came.
    pub packets_received: u64,
    /// Packets that were made.
    pub packets_sent: u64,
    /// Bytes that came.
    pub bytes_received: u64,
    /// Bytes that were handed out.
    pub bytes_sent: u64,
    /// Messages that did not reach a client; [`DropReason`](crate::DropReason) has the reasons.
    pub dropped: u64,
}

/// The state of the topics under `$SYS`.
#[derive(Debug, Default)]
pub(crate) struct Sys {
    /// When the broker first saw a connection.
    pub(crate) started: Option<Duration>,
    last: Duration,
    counted: [u64; 4],
    /// Per minute, smoothed.
    loads: [f64; 4],
}

impl Sys {
    /// Topics and payloads as of now.
    pub(crate) fn report(
        &mut self,
        now: Duration,
        statistics: &Statistics,
    ) -> [(&'static str, String); 6] {
        let started = *self.started.get_or_insert(now);
        let counts = [
            statistics.packets_received,
            statistics.packets_sent,
            statistics.bytes_received,
            statistics.bytes_sent,
        ];
        let passed = now.saturating_sub(self.last).as_secs_f64();
        if passed > 0.0 {
            // The moving average that an operating system's load is: what is a minute old weighs
            // 1/e.
            let weight = (-passed / 60.0).exp();
            for ((load, counted), count) in self.loads.iter_mut().zip(self.counted).zip(counts) {
                let per_minute = (count - counted) as f64 * 60.0 / passed;
                *load = *load * weight + per_minute * (1.0 - weight);
            }
            self.counted = counts;
        }
        self.last = now;
        let load = |i: usize| format!("{:.2}", self.loads[i]);
        [
            (
                "$SYS/broker/uptime",
                format!("{} seconds", now.saturating_sub(started).as_secs()),
            ),
            (
                "$SYS/broker/clients/connected",
                statistics.connections.to_string(),
            ),
            ("$SYS/broker/load/messages/received/1min", load(0)),
            ("$SYS/broker/load/messages/sent/1min", load(1)),
            ("$SYS/broker/load/bytes/received/1min", load(2)),
            ("$SYS/broker/load/bytes/sent/1min", load(3)),
        ]
    }
}
