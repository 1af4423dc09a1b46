//! Figures of one stream.

use martlet_proto::TopicFilter;

/// What waits in one stream. A stream takes some messages of QoS 0 out together: those are not
/// counted here any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStatistics {
    /// The filters that it is subscribed to; none for the stream of unmatched messages.
    pub filters: Vec<TopicFilter>,
    /// Messages that wait to be taken.
    pub waiting: usize,
    /// Bytes of their packets.
    pub waiting_bytes: usize,
    /// Messages that were dropped because the stream was full.
    pub dropped: u64,
}
