//! The figures of a client for the recorder of `metrics`, which the process has installed.
//!
//! The recorder is the application's code: it is called without the lock, from the driver, once a
//! second at most, and what it panics with stays here.

use crate::event::{Callback, ClientEvent};
use crate::hub::connection::ConnectionState;
use crate::hub::shared::Shared;
use crate::hub::statistics::Statistics;
use crate::hub::stream_statistics::StreamStatistics;
use crate::hub::wakers::Wakers;
use martlet_proto::{PacketType, TopicFilter};
use martlet_session::{Counters, Instant, PacketCount, RoundTrips};
use metrics::{Key, KeyName, Label, Metadata, Recorder, SharedString, Unit};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How often figures are recorded at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// Of this many streams what waits is recorded by filter: each is a series of its own.
const STREAMS: usize = 100;

const METADATA: Metadata<'static> = Metadata::new("martlet", metrics::Level::INFO, Some("martlet"));

/// A kind of metric.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// All metrics, with their units and what they are.
#[rustfmt::skip]
const TABLE: &[(&str, Kind, Unit, &str)] = &[
    (SENT, Kind::Counter, Unit::Count, "Messages that have left and were acknowledged, or ended by an error."),
    (CONSUMED, Kind::Counter, Unit::Count, "Messages that have come."),
    (DURATION, Kind::Histogram, Unit::Seconds, "How long the server takes to acknowledge messages."),
    (CONNECTED, Kind::Gauge, Unit::Count, "1 while there is a connection, otherwise 0."),
    (CONNECTIONS, Kind::Counter, Unit::Count, "Connections."),
    (FAILURES, Kind::Counter, Unit::Count, "Attempts and connections that have ended by an error."),
    (NETWORK, Kind::Counter, Unit::Bytes, "Bytes of sockets, with TLS and WebSocket."),
    (PACKETS, Kind::Counter, Unit::Count, "Packets, by type."),
    (PACKET_BYTES, Kind::Counter, Unit::Bytes, "Bytes of packets, by type, without TLS and WebSocket."),
    (PUBLISHED, Kind::Counter, Unit::Count, "Messages that were accepted to be published."),
    (QUEUED, Kind::Gauge, Unit::Count, "Messages that wait to be sent."),
    (QUEUED_BYTES, Kind::Gauge, Unit::Bytes, "Bytes of the messages that wait to be sent."),
    (IN_FLIGHT, Kind::Gauge, Unit::Count, "Messages that were sent and not acknowledged."),
    (UNHANDLED, Kind::Gauge, Unit::Count, "Messages that have come and were not acknowledged, or not taken."),
    (UNHANDLED_BYTES, Kind::Gauge, Unit::Bytes, "Bytes of the messages that were not acknowledged, or not taken."),
    (WAITING, Kind::Gauge, Unit::Count, "Messages that wait in a stream."),
    (WAITING_BYTES, Kind::Gauge, Unit::Bytes, "Bytes of the messages that wait in a stream."),
    (DROPPED, Kind::Counter, Unit::Count, "Messages that were dropped because the stream was full."),
    (HELD, Kind::Gauge, Unit::Count, "Acknowledgements that wait for that of an earlier message."),
    (TOLERATED, Kind::Counter, Unit::Count, "What was tolerated or left out, by kind."),
    (PING, Kind::Gauge, Unit::Seconds, "How long the server took to answer the last PINGREQ."),
    (LAG, Kind::Gauge, Unit::Count, "Operations that the store has not committed."),
    (LAG_AGE, Kind::Gauge, Unit::Seconds, "For how long the oldest of them has waited."),
];

/// How many filters name a stream.
const NAMED: usize = 4;

const SENT: &str = "messaging.client.sent.messages";
const CONSUMED: &str = "messaging.client.consumed.messages";
const DURATION: &str = "messaging.client.operation.duration";
const CONNECTED: &str = "mqtt.client.connected";
const CONNECTIONS: &str = "mqtt.client.connections";
const FAILURES: &str = "mqtt.client.connection.failures";
const NETWORK: &str = "mqtt.client.network.io";
const PACKETS: &str = "mqtt.client.packets";
const PACKET_BYTES: &str = "mqtt.client.packet.bytes";
const PUBLISHED: &str = "mqtt.client.published.messages";
const QUEUED: &str = "mqtt.client.queued.messages";
const QUEUED_BYTES: &str = "mqtt.client.queued.bytes";
const IN_FLIGHT: &str = "mqtt.client.in_flight.messages";
const UNHANDLED: &str = "mqtt.client.unhandled.messages";
const UNHANDLED_BYTES: &str = "mqtt.client.unhandled.bytes";
const WAITING: &str = "mqtt.client.stream.waiting.messages";
const WAITING_BYTES: &str = "mqtt.client.stream.waiting.bytes";
const DROPPED: &str = "mqtt.client.stream.dropped.messages";
const HELD: &str = "mqtt.client.acknowledgements.held";
const TOLERATED: &str = "mqtt.client.tolerated";
const PING: &str = "mqtt.client.ping.duration";
const LAG: &str = "mqtt.client.store.lag.operations";
const LAG_AGE: &str = "mqtt.client.store.lag.age";

/// Records the figures of a client, until the recorder has panicked.
pub(crate) struct MetricsPublisher(Option<Publishing>);

struct Publishing {
    /// When figures are recorded next; `None`: nothing has happened since.
    next: Option<Instant>,
    last: Option<Instant>,
    is_described: bool,
    /// The recorder has panicked.
    has_panicked: bool,
    /// The times that were recorded.
    times: Option<Box<RoundTrips>>,
    /// The streams whose gauges were recorded.
    streams: BTreeMap<String, bool>,
    /// The counts that were recorded, by the hashes of their keys, in order.
    counted: Vec<(u64, u64)>,
}

impl Default for MetricsPublisher {
    fn default() -> Self {
        Self(Some(Publishing {
            next: None,
            last: None,
            is_described: false,
            has_panicked: false,
            times: None,
            streams: BTreeMap::new(),
            counted: Vec::new(),
        }))
    }
}

impl MetricsPublisher {
    /// The driver has had a turn: something may have changed. Records the figures if it is time.
    pub(crate) fn handle_turn(&mut self, now: Instant, shared: &Shared) {
        let Some(publishing) = &mut self.0 else {
            return;
        };
        let next = *publishing
            .next
            .get_or_insert_with(|| publishing.last.map_or(now, |last| last + INTERVAL));
        if next > now {
            return;
        }
        publishing.last = Some(now);
        let is_busy = publishing.publish(shared);
        // What is taken out of streams, and the age of what is not stored, changes without a turn.
        publishing.next = is_busy.then_some(now + INTERVAL);
        if publishing.has_panicked {
            self.stop(shared);
        }
    }

    /// The recorder is not called again.
    fn stop(&mut self, shared: &Shared) {
        self.0 = None;
        let event = ClientEvent::HookPanicked(Callback::Metrics);
        let mut wakers = Wakers::default();
        shared.lock().events.push(&event, &mut wakers);
        wakers.wake();
    }

    /// The client has ended: the last figures.
    pub(crate) fn handle_end(&mut self, shared: &Shared) {
        if let Some(mut publishing) = self.0.take() {
            if !std::thread::panicking() {
                publishing.publish(shared);
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.0.as_ref()?.next
    }
}

impl Publishing {
    /// Records the figures of this moment. Returns whether they may change without a turn.
    fn publish(&mut self, shared: &Shared) -> bool {
        let statistics = shared.statistics();
        let (id, times) = {
            let state = shared.lock();
            let id = state.session.client_identifier().clone();
            let times = state.session.round_trips().cloned();
            (id, times.map(Box::new))
        };
        let client = [
            Label::from_static_parts("messaging.system", "mqtt"),
            Label::new("messaging.client.id", id.as_str().to_owned()),
        ];
        let recorded = catch_unwind(AssertUnwindSafe(|| {
            metrics::with_recorder(|recorder| {
                if !std::mem::replace(&mut self.is_described, true) {
                    describe(recorder);
                }
                let mut sink = Sink {
                    recorder,
                    client: &client,
                    counted: &mut self.counted,
                };
                sink.connection(&statistics);
                sink.messages(&statistics);
                sink.waiting(&statistics);
                sink.streams(&statistics.streams, &mut self.streams);
                if let Some(times) = &times {
                    sink.times(times, self.times.as_deref());
                }
            });
        }));
        self.has_panicked = recorded.is_err();
        self.times = times;
        let behind = statistics.store_lag.is_some_and(|lag| lag.operations > 0);
        behind || statistics.unhandled + statistics.queued + statistics.in_flight > 0
    }
}

fn describe(recorder: &dyn Recorder) {
    for (name, kind, unit, text) in TABLE {
        let (name, unit) = (KeyName::from_const_str(name), Some(*unit));
        let text = SharedString::const_str(text);
        match kind {
            Kind::Counter => recorder.describe_counter(name, unit, text),
            Kind::Gauge => recorder.describe_gauge(name, unit, text),
            Kind::Histogram => recorder.describe_histogram(name, unit, text),
        }
    }
}

/// What a stream is called: its first filters, and how many more it has.
fn name_of(filters: &[TopicFilter]) -> String {
    let (first, rest) = filters.split_at(filters.len().min(NAMED));
    let names: Vec<_> = first.iter().map(TopicFilter::as_str).collect();
    match rest.len() {
        0 => names.join(" "),
        more => format!("{} and {more} more", names.join(" ")),
    }
}

/// Where figures go, with the labels of all of them.
struct Sink<'a> {
    recorder: &'a dyn Recorder,
    client: &'a [Label; 2],
    counted: &'a mut Vec<(u64, u64)>,
}

impl Sink<'_> {
    fn key(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Key {
        let own = labels
            .iter()
            .map(|(name, value)| Label::new(*name, (*value).to_owned()));
        let all = self.client.iter().cloned().chain(own);
        Key::from_parts(name, all.collect::<Vec<_>>())
    }

    /// Adds what was counted since the last time: other clients of the process may count under the
    /// same labels. A count that is less than before has begun anew.
    fn counter(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: u64) {
        let key = self.key(name, labels);
        let counter = self.recorder.register_counter(&key, &METADATA);
        let hash = key.get_hash();
        let before = match self.counted.binary_search_by_key(&hash, |(hash, _)| *hash) {
            Ok(place) => std::mem::replace(&mut self.counted[place].1, value),
            Err(place) => {
                if value > 0 {
                    self.counted.insert(place, (hash, value));
                }
                0
            }
        };
        counter.increment(value.checked_sub(before).unwrap_or(value));
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge need not count more than 2⁵³ messages exactly"
    )]
    fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)], value: usize) {
        self.seconds(name, labels, value as f64);
    }

    fn seconds(&self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let key = self.key(name, labels);
        self.recorder.register_gauge(&key, &METADATA).set(value);
    }

    fn connection(&mut self, now: &Statistics) {
        let is_connected = matches!(now.state, ConnectionState::Connected(_));
        self.gauge(CONNECTED, &[], is_connected.into());
        self.counter(CONNECTIONS, &[], now.connections);
        self.counter(FAILURES, &[], now.failures);
        let direction = |direction| [("network.io.direction", direction)];
        self.counter(NETWORK, &direction("transmit"), now.bytes_sent);
        self.counter(NETWORK, &direction("receive"), now.bytes_received);
        for packet_type in PacketType::ALL {
            let (sent, received) = (
                now.traffic.sent(packet_type),
                now.traffic.received(packet_type),
            );
            self.packets(packet_type, "transmit", sent);
            self.packets(packet_type, "receive", received);
        }
        if let Some(time) = now.ping_time {
            self.seconds(PING, &[], time.as_secs_f64());
        }
        if let Some(lag) = now.store_lag {
            self.gauge(LAG, &[], lag.operations);
            self.seconds(LAG_AGE, &[], lag.oldest.as_secs_f64());
        }
    }

    /// A type that has not come or left yet is no series.
    fn packets(&mut self, packet_type: PacketType, direction: &str, count: PacketCount) {
        if count.packets > 0 {
            let packet_type = packet_type.to_string();
            let labels = [
                ("mqtt.packet.type", &*packet_type),
                ("network.io.direction", direction),
            ];
            self.counter(PACKETS, &labels, count.packets);
            self.counter(PACKET_BYTES, &labels, count.bytes);
        }
    }

    fn messages(&mut self, now: &Statistics) {
        let publish = ("messaging.operation.name", "publish");
        let sent = now.acknowledged + now.sent_at_once;
        self.counter(SENT, &[publish], sent);
        let failures = [
            ("rejected", now.rejected),
            ("expired", now.expired),
            ("dropped", now.dropped),
            ("_OTHER", now.failed),
        ];
        for (error, count) in failures {
            if count > 0 {
                self.counter(SENT, &[publish, ("error.type", error)], count);
            }
        }
        for (qos, (published, received)) in now.published.iter().zip(now.received).enumerate() {
            let qos = ("mqtt.qos", ["0", "1", "2"][qos]);
            self.counter(PUBLISHED, &[qos], *published);
            let receive = ("messaging.operation.name", "receive");
            self.counter(CONSUMED, &[receive, qos], received);
        }
        self.tolerated(&now.tolerated);
    }

    fn tolerated(&mut self, counters: &Counters) {
        let all = [
            (
                "unexpected_acknowledgements",
                counters.unexpected_acknowledgements,
            ),
            ("left_out_in_3x", counters.left_out_in_3x),
            ("inbound_dropped", counters.inbound_dropped),
            ("diagnostics_left_out", counters.diagnostics_left_out),
            ("unasked_answers", counters.unasked_answers),
            (
                "receive_maximum_exceeded",
                counters.receive_maximum_exceeded,
            ),
            ("empty_response_topics", counters.empty_response_topics),
            ("oversized_skipped", counters.oversized_skipped),
        ];
        for (kind, count) in all {
            if count > 0 {
                self.counter(TOLERATED, &[("mqtt.kind", kind)], count);
            }
        }
    }

    fn waiting(&self, now: &Statistics) {
        self.gauge(QUEUED, &[], now.queued);
        self.gauge(QUEUED_BYTES, &[], now.queued_bytes);
        self.gauge(IN_FLIGHT, &[], now.in_flight);
        self.gauge(UNHANDLED, &[], now.unhandled);
        self.gauge(UNHANDLED_BYTES, &[], now.unhandled_bytes);
        let held = now.held_acknowledgements.iter().map(|held| held.held).sum();
        self.gauge(HELD, &[], held);
    }

    /// `known`: the streams that were recorded before. Those that are gone wait for nothing.
    fn streams(&mut self, streams: &[StreamStatistics], known: &mut BTreeMap<String, bool>) {
        known.values_mut().for_each(|is_there| *is_there = false);
        // Streams of the same filters count together.
        let mut sums: BTreeMap<String, (usize, usize, u64)> = BTreeMap::new();
        for stream in streams.iter().filter(|stream| !stream.filters.is_empty()) {
            let (waiting, bytes, dropped) = sums.entry(name_of(&stream.filters)).or_default();
            *waiting += stream.waiting;
            *bytes += stream.waiting_bytes;
            *dropped += stream.dropped;
        }
        for (name, (waiting, bytes, dropped)) in sums {
            if known.len() >= STREAMS && !known.contains_key(&name) {
                continue;
            }
            let labels = [("messaging.destination.subscription.name", &*name)];
            self.gauge(WAITING, &labels, waiting);
            self.gauge(WAITING_BYTES, &labels, bytes);
            self.counter(DROPPED, &labels, dropped);
            known.insert(name, true);
        }
        known.retain(|name, is_there| {
            if !*is_there {
                let labels = [("messaging.destination.subscription.name", &**name)];
                self.gauge(WAITING, &labels, 0);
                self.gauge(WAITING_BYTES, &labels, 0);
            }
            *is_there
        });
    }

    fn times(&self, times: &RoundTrips, recorded: Option<&RoundTrips>) {
        let publish = [
            ("messaging.operation.name", "publish"),
            ("messaging.operation.type", "send"),
        ];
        let key = self.key(DURATION, &publish);
        let histogram = self.recorder.register_histogram(&key, &METADATA);
        for (time, count) in times.since(recorded) {
            histogram.record_many(time.as_secs_f64(), count as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page is what an operator sees: it has all metrics, and no others.
    #[test]
    fn the_page_has_all_metrics_with_their_units() {
        let page = include_str!("../../../docs/monitoring.md");
        let rows = page.lines().filter_map(|line| {
            let name = line.strip_prefix("| `")?.split_once('`')?;
            let (first, _) = name.0.split_once('.')?;
            matches!(first, "mqtt" | "messaging").then_some((name.0, name.1))
        });
        let rows: BTreeMap<_, _> = rows.collect();
        for (name, kind, unit, _) in TABLE {
            let row = rows.get(name).unwrap_or_else(|| panic!("{name}"));
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            assert!(row.contains(kind), "{name}: {row}");
            let unit = match unit {
                Unit::Seconds => "| s |",
                Unit::Bytes => "| By |",
                _ => "| {",
            };
            assert!(row.contains(unit) || row.contains("| 1 |"), "{name}: {row}");
        }
        assert_eq!(rows.len(), TABLE.len());
    }
}
