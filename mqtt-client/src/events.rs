//! What happens to the client as a whole, as a stream.

use crate::shared::Shared;
use crate::spent::set_waker;
use crate::wakers::Wakers;
use futures_core::Stream;
use martlet_proto::{SubAckReasonCode, TopicFilter, TopicName};
use martlet_session::{
    Connected, ConnectionError, OperationId, PublishError, Quarantined, RequestError, Settled, StoreError,
};
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
    /// The server has answered what the [builder](crate::Builder::subscriptions) subscribed to, or will not: a code for
    /// each filter.
    Subscribed(Result<Vec<(TopicFilter, SubAckReasonCode)>, RequestError>),
    /// Subscriptions were made again because the server had lost the session. What was refused is no longer
    /// subscribed to.
    Resubscribed(Vec<(TopicFilter, SubAckReasonCode)>),
    /// So many messages were dropped because too many waited to be taken: of QoS 0, or of a stream that acknowledges on
    /// arrival. [`Subscription::dropped`](crate::Subscription::dropped) tells which stream was too slow.
    InboundDropped(u64),
    /// So many messages were acknowledged and dropped although nobody had taken them: no stream explains them, and nobody
    /// held the catch-all, or for too long; or their stream was dropped.
    Discarded(u64),
    /// A message of QoS 1 or 2 that was not acknowledged has held back the acknowledgements of later ones for longer
    /// than [`Config::held_acknowledgements_after`](martlet_session::Config::held_acknowledgements_after); told again
    /// each such time. When it holds back as many as the server may have unacknowledged, no more messages of QoS 1 and
    /// 2 come, for any stream.
    AcknowledgementsHeld {
        /// Its topic.
        topic: TopicName,
        /// Whether the application has taken it. If not, it waits in its stream.
        taken: bool,
        /// How many acknowledgements wait for it.
        held: usize,
    },
    /// The observer has panicked: it was dropped, and the connection goes on without it.
    ObserverPanicked,
    /// A message whose receipt nobody holds was not settled.
    PublishFailed(PublishError),
    /// What was found in the store; told once, before anything else.
    Restored {
        /// Messages of earlier clients that are still to be settled.
        unsettled: Vec<OperationId>,
        /// Records that cannot be used; they stay in the store, and are told again the next time.
        quarantined: Vec<Quarantined>,
    },
    /// A message of an earlier client has come to its end.
    Published {
        /// Which, of those that were [`Restored`](Self::Restored).
        operation: OperationId,
        /// How.
        result: Result<Settled, PublishError>,
    },
    /// The store could not take what is to be stored. It is tried again, with pauses of up to 10 s.
    StoreFailed(StoreError),
    /// The store has taken what it could not.
    StoreRecovered,
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
        let state = &mut *self.shared.lock();
        state.events.poll(self.key, cx, &mut state.spent)
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
        let state = &mut *self.shared.lock();
        state.spent.extend(state.events.remove(self.key));
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

    fn remove(&mut self, key: usize) -> Option<Waker> {
        self.readers.remove(key).waker
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

    fn poll(&mut self, key: usize, cx: &Context<'_>, spent: &mut Vec<Waker>) -> Poll<Option<ClientEvent>> {
        let reader = &mut self.readers[key];
        match reader.queue.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if self.ended => Poll::Ready(None),
            None => {
                set_waker(&mut reader.waker, cx, spent);
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
