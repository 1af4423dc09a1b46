//! One stream: what has come for it and was not taken, within its bounds.

use crate::message::Message;
use crate::wakers::Wakers;
use martlet_proto::{QoS, SubscriptionIdentifier, TopicFilter};
use martlet_session::{AckToken, DropQos0};
use std::collections::VecDeque;
use std::task::Waker;

/// When so many messages wait in a stream, the next are copied out of the buffers that they came in: fewer pin less
/// than is worth a copy each.
const LAGGING: usize = 64;

/// Bounds of the messages that wait in one stream. They are for messages that may be dropped: of QoS 0, and all of a
/// stream that acknowledges on arrival. Others are never dropped, and come in beyond the bounds: the server sends no
/// more of them than it was told it may have unacknowledged
/// ([`InboundLimits::receive_maximum`](martlet_session::InboundLimits::receive_maximum)).
///
/// A stream larger than [`InboundLimits::soft_messages`](martlet_session::InboundLimits::soft_messages) or
/// `soft_bytes` drops nothing as long as the server owes us no answer: the socket is not read instead, and the other
/// streams wait with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// At most so many messages. Default: 8,192.
    pub messages: usize,
    /// At most so many bytes of packets. Default: 16 MiB.
    pub bytes: usize,
    /// What is dropped when one more comes: the oldest that may be, or the one that came. It is counted and reported.
    /// Default: the oldest.
    pub when_full: DropQos0,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { messages: 8192, bytes: 16 * 1024 * 1024, when_full: DropQos0::Oldest }
    }
}

/// What a stream was made with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamOptions {
    pub(crate) limits: StreamLimits,
    /// Acknowledge what comes before anybody takes it.
    pub(crate) acknowledge_on_arrival: bool,
    /// When it is dropped, leave the subscription with the server.
    pub(crate) keep_on_server: bool,
    /// What comes answers requests; nobody reads it as a stream.
    pub(crate) responses: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) queue: VecDeque<Queued>,
    /// In the queue.
    bytes: usize,
    /// How many of the queue may be dropped.
    droppable: usize,
    /// How many were dropped.
    pub(crate) dropped: u64,
    pub(crate) waker: Option<Waker>,
    /// Its reader was woken and has not come yet.
    called: bool,
    pub(crate) filters: Vec<TopicFilter>,
    /// What its SUBSCRIBE had.
    pub(crate) identifier: Option<SubscriptionIdentifier>,
    pub(crate) options: StreamOptions,
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
    fn is_droppable(&self) -> bool {
        self.message.qos() == QoS::AtMostOnce || matches!(self.ticket, Ticket::Acknowledged)
    }
}

impl Route {
    pub(crate) fn new(
        filters: Vec<TopicFilter>,
        identifier: SubscriptionIdentifier,
        options: StreamOptions,
    ) -> Self {
        Self { filters, identifier: Some(identifier), options, ..Self::default() }
    }

    /// The message waits in the queue. What had to go for it is given to `dropped`; that may be itself.
    #[inline]
    pub(crate) fn push(&mut self, mut queued: Queued, mut dropped: impl FnMut(Ticket)) {
        let size = queued.message.size();
        let droppable = queued.is_droppable();
        while self.is_full(size) {
            let goes = if droppable && self.options.limits.when_full == DropQos0::Newest {
                None
            } else {
                self.pop_droppable()
            };
            match goes {
                Some(oldest) => dropped(oldest.ticket),
                None if droppable => {
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
        self.bytes += size;
        self.droppable += usize::from(droppable);
        self.queue.push_back(queued);
    }

    /// The reader is to be woken.
    #[inline]
    pub(crate) fn call(&mut self, wakers: &mut Wakers) {
        self.called |= self.waker.is_some();
        wakers.take(&mut self.waker);
    }

    /// Whether half of the room is taken, and the reader was woken and has not come yet.
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        let limits = &self.options.limits;
        self.called && (self.queue.len() >= limits.messages / 2 || self.bytes >= limits.bytes / 2)
    }

    fn is_full(&self, size: usize) -> bool {
        let limits = &self.options.limits;
        self.queue.len() >= limits.messages || self.bytes + size > limits.bytes
    }

    fn pop_droppable(&mut self) -> Option<Queued> {
        if self.droppable == 0 {
            return None;
        }
        let oldest = self.queue.iter().position(Queued::is_droppable)?;
        let queued = self.queue.remove(oldest)?;
        self.bytes -= queued.message.size();
        self.droppable -= 1;
        Some(queued)
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        self.called = false;
        let queued = self.queue.pop_front()?;
        self.bytes -= queued.message.size();
        self.droppable -= usize::from(queued.is_droppable());
        Some(queued)
    }

    /// What waits and is `gone`.
    pub(crate) fn take_if(&mut self, gone: impl Fn(&Ticket) -> bool) -> VecDeque<Queued> {
        let (taken, left): (VecDeque<_>, _) =
            self.take_queue().into_iter().partition(|queued| gone(&queued.ticket));
        self.bytes = left.iter().map(|queued: &Queued| queued.message.size()).sum();
        self.droppable = left.iter().filter(|queued| queued.is_droppable()).count();
        self.queue = left;
        taken
    }

    /// Everything that waits.
    pub(crate) fn take_queue(&mut self) -> VecDeque<Queued> {
        self.bytes = 0;
        self.droppable = 0;
        std::mem::take(&mut self.queue)
    }
}
