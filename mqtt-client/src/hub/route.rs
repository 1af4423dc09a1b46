//! One subscription stream: its bounds, its filters and what waits in it.

use crate::hub::ledger::Ledger;
use crate::hub::message::Message;
use crate::hub::route_queue::RouteQueue;
use crate::hub::stream_statistics::StreamStatistics;
use crate::hub::wakers::{KeptWaker, Wakers};
use crate::sync::AtomicBool;
use martlet_proto::{QoS, SubscriptionIdentifier, TopicFilter};
use martlet_session::{AckToken, DropQos0, Instant};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Names a route.
pub(crate) type RouteKey = usize;

/// The key of the stream of unmatched messages.
pub(crate) const UNMATCHED: RouteKey = usize::MAX;

/// Once this many messages wait in a stream, the next are copied out of the buffers that they came
/// in: fewer pin less memory than a copy of each is worth.
const LAGGING: usize = 64;

/// Bounds of the messages that wait in one stream, and what happens there.
///
/// TCP is the queue. When a stream is half full, the client stops reading the socket until the
/// reader has caught up, so that nothing is dropped while the reader is alive, which means that it
/// takes a message at least every `reader_timeout`, or [every 100 ms](#never-a-deadlock) while the
/// server owes an answer; other streams wait with it. What is not read fills the buffers of the
/// operating system and then stops the server.
///
/// | | default | what it bounds or decides |
/// |---|---|---|
/// | `messages`, `bytes` | 8,192, 16 MiB | **bound**: at half of either the socket is left unread; at either, messages are dropped if they may be |
/// | `reader_timeout` | 5 s | **policy**: a reader that takes nothing for this long counts as gone until it comes back, and is not waited for |
/// | `when_full` | oldest | **policy**: which message is dropped |
/// | [`drop_when_full`](crate::client::SubscribeBuilder::drop_when_full) | off | **policy**: do not wait for this stream's reader at all |
/// | [`acknowledge_on_arrival`](crate::client::SubscribeBuilder::acknowledge_on_arrival) | off | **policy**: the same, and QoS 1 and 2 may be dropped too |
/// | [`InboundLimits::soft_messages`](martlet_session::InboundLimits::soft_messages), `soft_bytes` | 32,768, 64 MiB | **bound** of all streams together: the socket is left unread |
/// | [`InboundLimits::hard_messages`](martlet_session::InboundLimits::hard_messages), `hard_bytes` | 65,536, 128 MiB | **bound** of all streams together: QoS 0 is dropped |
/// | [`InboundLimits::receive_maximum`](martlet_session::InboundLimits::receive_maximum) | 1,024 | **bound** of QoS 1 and 2, which are never dropped otherwise |
///
/// # Never a deadlock
///
/// The server's answers come behind its messages. While it owes one that the application may be
/// waiting for, to a publish, subscribe, unsubscribe or ping, or while a response to a
/// [request](crate::Client::request) is outstanding, or while the server does not read what we
/// send, a reader is waited for 100 ms at a time only. If it takes nothing in that time, it may
/// itself be waiting for the answer: reading goes on, and a full stream drops, until it comes back.
/// A reader that needs longer than that for each message, beside a task that always awaits an
/// answer, needs larger limits or QoS 1. Within 5 s of a deadline the answer is read in any case. A
/// keep alive's PINGRESP is nobody's to wait for; a little of what is in the socket is read in time
/// for the connection not to time out.
///
/// ```
/// # use martlet_client::{Client, StreamLimits, SubscribeError};
/// # async fn example(client: Client) -> Result<(), SubscribeError> {
/// let few = StreamLimits::default().messages(100).bytes(64 * 1024);
/// let positions = client.subscribe("cars/+/position").limits(few).drop_when_full().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) when_full: DropQos0,
    pub(crate) reader_timeout: Duration,
}

impl StreamLimits {
    /// Sets how many messages wait at most. Default: 8,192.
    #[must_use]
    pub fn messages(mut self, messages: usize) -> Self {
        self.messages = messages;
        self
    }

    /// Sets how many bytes of packets wait at most. Default: 16 MiB.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets which message is dropped when one more comes: the oldest that may be, or the one that
    /// came. It is counted and reported. Default: the oldest.
    #[must_use]
    pub fn when_full(mut self, when_full: DropQos0) -> Self {
        self.when_full = when_full;
        self
    }

    /// Sets how long a stream that is half full is waited for while its reader takes nothing. A
    /// reader counts as gone after that, until it comes back. Default: 5 s.
    #[must_use]
    pub fn reader_timeout(mut self, reader_timeout: Duration) -> Self {
        self.reader_timeout = reader_timeout;
        self
    }
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            messages: 8192,
            bytes: 16 * 1024 * 1024,
            when_full: DropQos0::Oldest,
            reader_timeout: Duration::from_secs(5),
        }
    }
}

/// What a stream was made with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamOptions {
    pub(crate) limits: StreamLimits,
    /// Acknowledge what comes before anybody takes it.
    pub(crate) acknowledge_on_arrival: bool,
    /// Drop at the limits instead of leaving the socket unread.
    pub(crate) drop_when_full: bool,
    /// When it is dropped, leave the subscription with the server.
    pub(crate) keep_on_server: bool,
    /// What comes answers requests; nobody reads it as a stream.
    pub(crate) responses: bool,
    /// Its SUBSCRIBE has no identifier.
    pub(crate) anonymous: bool,
}

#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) queue: RouteQueue,
    /// How many messages were dropped.
    pub(crate) dropped: u64,
    pub(crate) waker: Option<KeptWaker>,
    pub(crate) filters: BTreeSet<TopicFilter>,
    /// Filters that its messages come under besides.
    pub(crate) also: Vec<TopicFilter>,
    /// The identifier of its SUBSCRIBE.
    pub(crate) identifier: Option<SubscriptionIdentifier>,
    pub(crate) options: StreamOptions,
    /// The last message that it was found for.
    pub(crate) found_for: u64,
    pub(crate) reader: StreamReader,
    /// Its messages are acknowledged by position.
    pub(crate) ledger: Option<Box<Ledger<Ticket>>>,
}

/// What is known of a stream's reader.
#[derive(Debug)]
pub(crate) struct StreamReader {
    pub(crate) state: ReaderState,
    /// Its SUBACK has not come yet: nobody can read.
    pub(crate) is_pending: bool,
    /// The stream is among those that are watched because they fill.
    pub(crate) is_watched: bool,
    /// It has come since the driver last looked.
    pub(crate) came: bool,
    /// When the driver last saw that it had come.
    pub(crate) seen: Instant,
    /// What it does without the lock.
    pub(crate) progress: ReaderProgress,
}

/// Shared by a stream and its route: the application has taken a message out of the stream's own
/// batch. It shows that the reader is alive while it does not come for the lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReaderProgress(Arc<AtomicBool>);

impl ReaderProgress {
    /// The application has taken a message.
    #[inline]
    pub(crate) fn note(&self) {
        // A load leaves the cache line where it is.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it has, since this was last asked.
    #[inline]
    fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReaderState {
    /// It is waited for.
    Alive,
    /// It may itself be waiting, for an answer of the server: reading goes on.
    Blocked,
    /// It has not come in time.
    Gone,
    /// It is never waited for.
    Ignored,
}

#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: Message,
    pub(crate) ticket: Ticket,
}

/// A stream's share in the acknowledgement of a message.
#[derive(Debug)]
pub(crate) enum Ticket {
    Own(AckToken),
    /// A key of the deliveries to several streams.
    Shared(usize),
    /// It is acknowledged already.
    Acknowledged,
}

impl Queued {
    #[inline]
    pub(crate) fn is_droppable(&self) -> bool {
        self.message.qos() == QoS::AtMostOnce || matches!(self.ticket, Ticket::Acknowledged)
    }
}

impl Default for StreamReader {
    fn default() -> Self {
        Self {
            state: ReaderState::Alive,
            is_pending: false,
            is_watched: false,
            came: false,
            seen: Instant::EPOCH,
            progress: ReaderProgress::default(),
        }
    }
}

impl Route {
    /// A stream whose reader counts if its options let it.
    pub(crate) fn new(options: StreamOptions) -> Self {
        let ignored = options.acknowledge_on_arrival || options.drop_when_full;
        let state = if ignored {
            ReaderState::Ignored
        } else {
            ReaderState::Alive
        };
        Self {
            queue: RouteQueue::default(),
            dropped: 0,
            waker: None,
            filters: BTreeSet::new(),
            also: Vec::new(),
            identifier: None,
            options,
            found_for: 0,
            ledger: None,
            reader: StreamReader {
                state,
                ..StreamReader::default()
            },
        }
    }

    /// Whether messages are dropped at the limits now. Before the SUBACK nobody can read, so what
    /// comes is kept, within the bounds of all streams together. They do not count what is
    /// acknowledged on arrival, so that is dropped all the same.
    #[inline]
    fn may_drop(&self) -> bool {
        let is_kept = self.reader.is_pending && !self.options.acknowledge_on_arrival;
        self.reader.state != ReaderState::Alive && !is_kept
    }

    /// The message waits in the queue. What had to go for it is given to `dropped`; that may be
    /// itself.
    #[inline]
    pub(crate) fn push(&mut self, mut queued: Queued, mut dropped: impl FnMut(Ticket)) {
        let size = queued.message.size();
        if self.reader.state != ReaderState::Alive {
            self.look_for_progress();
        }
        let (messages, bytes) = self.bounds();
        while self.may_drop() && (self.queue.len() >= messages || self.queue.bytes() + size > bytes)
        {
            let newest = queued.is_droppable() && self.options.limits.when_full == DropQos0::Newest;
            match if newest {
                None
            } else {
                self.queue.pop_droppable()
            } {
                Some(oldest) => dropped(oldest.ticket),
                None if queued.is_droppable() => {
                    self.dropped += 1;
                    return dropped(queued.ticket);
                }
                None => break,
            }
            self.dropped += 1;
        }
        if matches!(queued.ticket, Ticket::Acknowledged) && self.queue.len() >= LAGGING {
            // The session does not know that it waits.
            queued.message.detach();
        }
        self.queue.push(queued);
    }

    /// The reader is to be woken.
    #[inline]
    pub(crate) fn call(&mut self, wakers: &mut Wakers) {
        wakers.take(&mut self.waker);
    }

    /// Whether half of the room is taken.
    #[inline]
    pub(crate) fn is_half_full(&self) -> bool {
        let limits = &self.options.limits;
        self.queue.len() > limits.messages / 2 || self.queue.bytes() > limits.bytes / 2
    }

    /// What waits in it.
    pub(crate) fn statistics(&self) -> StreamStatistics {
        StreamStatistics {
            filters: self.filters.iter().cloned().collect(),
            waiting: self.queue.len(),
            waiting_bytes: self.queue.bytes(),
            dropped: self.dropped,
        }
    }

    /// Drops the oldest message that may be dropped.
    pub(crate) fn drop_oldest(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_droppable()?;
        self.dropped += 1;
        Some(queued)
    }

    /// How much may wait. What came while the reader was waited for is kept for it while it is
    /// blocked.
    #[inline]
    fn bounds(&self) -> (usize, usize) {
        let StreamLimits {
            messages, bytes, ..
        } = self.options.limits;
        match self.reader.state {
            ReaderState::Blocked => (
                messages.max(self.queue.len()),
                bytes.max(self.queue.bytes()),
            ),
            _ => (messages, bytes),
        }
    }

    /// The reader has come if it has taken from its batch.
    #[inline]
    pub(crate) fn look_for_progress(&mut self) {
        if self.reader.progress.take() {
            self.come();
        }
    }

    /// The reader has come, perhaps for nothing.
    #[inline]
    pub(crate) fn come(&mut self) {
        let reader = &mut self.reader;
        reader.came = true;
        if matches!(reader.state, ReaderState::Blocked | ReaderState::Gone) {
            reader.state = ReaderState::Alive;
        }
    }
}
