//! Figures of a client, for a dashboard.

use crate::hub::completions::PublishResult;
use crate::hub::connection::ConnectionState;
use crate::hub::shared::{Shared, State};
use crate::hub::stream_statistics::StreamStatistics;
use martlet_proto::{QoS, TopicName};
use martlet_session::{
    AcknowledgementTimes, ConnectionError, Counters, Instant, PublishError, StoreLag, Traffic,
};
use std::time::Duration;

/// How many streams are looked at for each time that the lock is held.
const STREAMS_AT_ONCE: usize = 1024;

/// What a client has done since it was made, and what waits in it: from
/// [`Client::statistics`](crate::Client::statistics). Counts only grow.
///
/// No clock is read for a message. Times are measured with the time that the driver has read when
/// it was woken, so what happens within one run of it, a few hundred microseconds when much is to be
/// done, takes no time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// The state of the connection.
    pub state: ConnectionState,
    /// For how long it has been so.
    pub in_state: Duration,
    /// How many connections there have been.
    pub connections: u64,
    /// How many attempts and connections have ended by an error.
    pub failures: u64,
    /// The last of these errors.
    pub last_error: Option<ConnectionError>,

    /// Bytes that the socket has taken, with TLS and WebSocket.
    pub bytes_sent: u64,
    /// Bytes that have come from the socket.
    pub bytes_received: u64,
    /// Packets and their bytes in both directions, by type, without TLS and WebSocket.
    pub traffic: Traffic,
    /// Messages that were accepted to be published, by QoS.
    pub published: [u64; 3],
    /// Those of them that were of QoS 0 and left at once.
    pub(crate) sent_at_once: u64,
    /// Messages that have come, by QoS. One that came again counts again.
    pub received: [u64; 3],

    /// Messages that the server has acknowledged; also those of QoS 0 that had to wait and have
    /// left.
    pub acknowledged: u64,
    /// Those that it has rejected.
    pub rejected: u64,
    /// Messages that have expired before they were sent.
    pub expired: u64,
    /// Messages that a full queue has dropped.
    pub dropped: u64,
    /// Messages that were accepted and came to another end: the client has disconnected, say, or
    /// they were withdrawn, or are in doubt.
    pub failed: u64,

    /// Messages that wait for a connection, the window or the socket.
    pub queued: usize,
    /// Bytes of their topics, properties and payloads.
    pub queued_bytes: usize,
    /// Messages of QoS 1 and 2 with a packet identifier: sent, or to be sent again.
    pub in_flight: usize,
    /// Messages that have come and were not acknowledged, or not taken out of their streams.
    pub unhandled: usize,
    /// Bytes of their packets.
    pub unhandled_bytes: usize,
    /// What waits in each stream: first that of unmatched messages, then those of subscriptions.
    /// They are looked at 1,024 at a time, so that the client's lock is not held for long.
    pub streams: Vec<StreamStatistics>,
    /// Messages that hold back the acknowledgements of later ones: at most one of QoS 1 and one of
    /// QoS 2.
    pub held_acknowledgements: Vec<HeldAcknowledgements>,

    /// How long the server has taken to answer the last PINGREQ.
    pub ping_time: Option<Duration>,
    /// How long it takes to acknowledge messages; `None` if none was timed in the last minute.
    pub acknowledgement_times: Option<AcknowledgementTimes>,
    /// What the store has not done yet; `None` without a store.
    pub store_lag: Option<StoreLag>,
    /// What the session has tolerated or left out, such as messages that came and were dropped.
    pub tolerated: Counters,
}

/// A message that was not acknowledged, and acknowledgements that wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldAcknowledgements {
    /// Its quality of service: acknowledgements of the other one do not wait for it.
    pub qos: QoS,
    /// Its topic, unless its stream acknowledges by position.
    pub topic: Option<TopicName>,
    /// Whether the application has received it from its stream.
    pub received: bool,
    /// How many acknowledgements wait for it.
    pub held: usize,
}

/// What is counted of messages.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    published: [u64; 3],
    received: [u64; 3],
    acknowledged: u64,
    rejected: u64,
    expired: u64,
    dropped: u64,
    failed: u64,
}

/// What has been counted so far. An idle client has no message, and no memory for them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    messages: Option<Box<Messages>>,
    /// Bytes of the socket: sent, received.
    wire: [u64; 2],
}

impl Counts {
    #[inline]
    fn messages(&mut self) -> &mut Messages {
        self.messages.get_or_insert_default()
    }

    /// The socket has taken and given this many bytes.
    #[inline]
    pub(crate) fn add_wire(&mut self, [sent, received]: [u32; 2]) {
        self.wire[0] += u64::from(sent);
        self.wire[1] += u64::from(received);
    }

    /// A message is accepted.
    #[inline]
    pub(crate) fn published(&mut self, qos: QoS) {
        self.messages().published[qos as usize] += 1;
    }

    /// A message has come.
    #[inline]
    pub(crate) fn received(&mut self, qos: QoS) {
        self.messages().received[qos as usize] += 1;
    }

    /// A message that was accepted has ended.
    #[inline]
    pub(crate) fn ended(&mut self, result: &PublishResult) {
        let messages = self.messages();
        let count = match result {
            Ok(_) => &mut messages.acknowledged,
            Err(PublishError::Rejected { .. }) => &mut messages.rejected,
            Err(PublishError::Expired) => &mut messages.expired,
            Err(PublishError::Dropped) => &mut messages.dropped,
            Err(_) => &mut messages.failed,
        };
        *count += 1;
    }
}

impl Shared {
    /// The figures of this moment.
    pub(crate) fn statistics(&self) -> Statistics {
        // The clock is the application's code, so without the lock.
        let now = self.now();
        let mut statistics = self.lock().statistics(now);
        let mut from = Some(0);
        while let Some(key) = from {
            let routes = &self.lock().routes;
            from = routes.look_at(key, STREAMS_AT_ONCE, &mut statistics.streams);
        }
        statistics
    }
}

impl State {
    fn held_acknowledgements(&self) -> Vec<HeldAcknowledgements> {
        let held = self.session.held_acknowledgements();
        let held = held.map(|(by, held)| {
            let whereabouts = self.routes.whereabouts(by);
            let received = whereabouts.as_ref().is_none_or(|(_, received)| *received);
            let topic = whereabouts.map(|(mut topic, _)| {
                // What it is a part of may be large.
                topic.detach();
                topic
            });
            HeldAcknowledgements {
                qos: by.qos(),
                topic,
                received,
                held,
            }
        });
        held.collect()
    }

    /// All but what waits in each stream.
    fn statistics(&self, now: Instant) -> Statistics {
        let (session, connection) = (&self.session, &self.connection);
        let none = Messages::default();
        let messages = self.counts.messages.as_deref().unwrap_or(&none);
        let [bytes_sent, bytes_received] = self.counts.wire;
        let mut published = messages.published;
        published[0] += session.published_at_once();
        Statistics {
            state: connection.state(),
            in_state: now.saturating_duration_since(connection.since()),
            connections: connection.made(),
            failures: connection.failures(),
            last_error: connection.last_error().cloned(),
            bytes_sent,
            bytes_received,
            traffic: session.traffic(),
            published,
            sent_at_once: session.published_at_once(),
            received: messages.received,
            acknowledged: messages.acknowledged,
            rejected: messages.rejected,
            expired: messages.expired,
            dropped: messages.dropped,
            failed: messages.failed,
            queued: session.queued(),
            queued_bytes: session.queued_bytes(),
            in_flight: session.in_flight(),
            unhandled: session.unhandled(),
            unhandled_bytes: session.unhandled_bytes(),
            streams: Vec::new(),
            held_acknowledgements: self.held_acknowledgements(),
            ping_time: session.ping_time(),
            acknowledgement_times: session.acknowledgement_times(now),
            store_lag: session.store_lag(now),
            tolerated: session.counters(),
        }
    }
}
