//! Figures of a client, for a dashboard.

use crate::hub::completions::PublishResult;
use crate::hub::connection::ConnectionState;
use crate::hub::shared::State;
use martlet_proto::QoS;
use martlet_session::{ConnectionError, Counters, Instant, PublishError};
use std::time::Duration;

/// What a client has done since it was made, and what waits in it: from
/// [`Client::statistics`](crate::Client::statistics). Counts only grow.
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
    /// Messages that were accepted to be published, by QoS.
    pub published: [u64; 3],
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
    /// What the session has tolerated or left out, such as messages that came and were dropped.
    pub tolerated: Counters,
}

/// What is counted of messages.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
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
    traffic: Option<Box<Traffic>>,
    /// Messages of QoS 0 that did not have to wait.
    pub(crate) sent_at_once: u64,
    /// Bytes of the socket: sent, received.
    pub(crate) wire: [u64; 2],
}

impl Counts {
    #[inline]
    fn traffic(&mut self) -> &mut Traffic {
        self.traffic.get_or_insert_default()
    }

    /// A message is accepted.
    #[inline]
    pub(crate) fn published(&mut self, qos: QoS) {
        self.traffic().published[qos as usize] += 1;
    }

    /// A message has come.
    #[inline]
    pub(crate) fn received(&mut self, qos: QoS) {
        self.traffic().received[qos as usize] += 1;
    }

    /// A message that was accepted has ended.
    #[inline]
    pub(crate) fn ended(&mut self, result: &PublishResult) {
        let traffic = self.traffic();
        let count = match result {
            Ok(_) => &mut traffic.acknowledged,
            Err(PublishError::Rejected { .. }) => &mut traffic.rejected,
            Err(PublishError::Expired) => &mut traffic.expired,
            Err(PublishError::Dropped) => &mut traffic.dropped,
            Err(_) => &mut traffic.failed,
        };
        *count += 1;
    }
}

impl State {
    pub(crate) fn statistics(&self, now: Instant) -> Statistics {
        let (session, connection) = (&self.session, &self.connection);
        let none = Traffic::default();
        let traffic = self.counts.traffic.as_deref().unwrap_or(&none);
        let [bytes_sent, bytes_received] = self.counts.wire;
        let mut published = traffic.published;
        published[0] += self.counts.sent_at_once;
        Statistics {
            state: connection.state(),
            in_state: now.saturating_duration_since(connection.since()),
            connections: connection.made(),
            failures: connection.failures(),
            last_error: connection.last_error().cloned(),
            bytes_sent,
            bytes_received,
            published,
            received: traffic.received,
            acknowledged: traffic.acknowledged,
            rejected: traffic.rejected,
            expired: traffic.expired,
            dropped: traffic.dropped,
            failed: traffic.failed,
            queued: session.queued(),
            queued_bytes: session.queued_bytes(),
            in_flight: session.in_flight(),
            unhandled: session.unhandled(),
            unhandled_bytes: session.unhandled_bytes(),
            tolerated: session.counters(),
        }
    }
}
