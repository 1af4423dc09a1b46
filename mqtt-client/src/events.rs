//! What happens to the client as a whole, as a stream.

use crate::shared::Shared;
use crate::wakers::Wakers;
use futures_core::Stream;
use martlet_proto::{SubAckReasonCode, TopicFilter};
use martlet_session::{Connected, ConnectionError, PublishError};
use martlet_transport::Endpoint;
use slab::Slab;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How many events wait for a slow reader before the oldest are dropped.
const WAITING: usize = 256;

/// What happens to the client as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// An attempt to connect begins.
    Connecting(Endpoint),
    /// The server has accepted the connection.
    Connected(Arc<Connected>),
    /// An attempt or a connection has ended.
    Disconnected {
        /// Why.
        error: ConnectionError,
        /// When the next attempt begins; `None`: there will be none.
        retry_in: Option<Duration>,
    },
    /// Subscriptions were made again because the server had lost the session. What was refused is no longer
    /// subscribed to.
    Resubscribed(Vec<(TopicFilter, SubAckReasonCode)>),
    /// So many QoS 0 messages were dropped because too many waited to be taken.
    InboundDropped(u64),
    /// A message came that no stream explains, and nobody holds the catch-all, or took it for too long; it was
    /// acknowledged and dropped.
    Unrouted,
    /// The observer has panicked: it was dropped, and the connection goes on without it.
    ObserverPanicked,
    /// A message whose receipt nobody holds was not settled.
    PublishFailed(PublishError),
}

/// The events of a client, from when it was made. A reader that falls 256 behind loses the oldest. Ends when the
/// client has disconnected for good. It does not keep the client connected, as clients and subscriptions do.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    key: usize,
}

impl Events {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let key = shared.lock().events.add();
        Self { shared, key }
    }

    /// The next event; `None` at the end. Cancel safe: an event is lost only with the stream.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<ClientEvent>> {
        self.shared.lock().events.poll(self.key, cx)
    }
}

impl Stream for Events {
    type Item = ClientEvent;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        self.poll(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.lock().events.remove(self.key);
    }
}

/// Everyone who reads events.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    readers: Slab<Reader>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Reader {
    queue: VecDeque<ClientEvent>,
    waker: Option<Waker>,
}

impl Subscribers {
    pub(crate) fn add(&mut self) -> usize {
        self.readers.insert(Reader::default())
    }

    fn remove(&mut self, key: usize) {
        self.readers.remove(key);
    }

    pub(crate) fn push(&mut self, event: &ClientEvent, wakers: &mut Wakers) {
        for (_, reader) in &mut self.readers {
            if reader.queue.len() == WAITING {
                reader.queue.pop_front();
            }
            reader.queue.push_back(event.clone());
            wakers.take(&mut reader.waker);
        }
    }

    /// All that waits for this reader.
    pub(crate) fn drain(&mut self, key: usize) -> VecDeque<ClientEvent> {
        std::mem::take(&mut self.readers[key].queue)
    }

    fn poll(&mut self, key: usize, cx: &Context<'_>) -> Poll<Option<ClientEvent>> {
        let reader = &mut self.readers[key];
        match reader.queue.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if self.ended => Poll::Ready(None),
            None => {
                reader.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn end(&mut self, wakers: &mut Wakers) {
        self.ended = true;
        for (_, reader) in &mut self.readers {
            wakers.take(&mut reader.waker);
        }
    }
}
