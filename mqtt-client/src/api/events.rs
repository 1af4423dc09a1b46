//! What happens to the client as a whole, as a stream.

use crate::event::ClientEvent;
use crate::hub::shared::Shared;
use crate::hub::wakers::Caller;
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The events of a client, from when it was made. Ends when the client has disconnected or stopped;
/// [`Client::events`](crate::Client::events) has new ones for a client that was revived. It does
/// not keep the client connected, as clients and subscriptions do.
///
/// **A slow reader** finds counts ([`InboundDropped`](ClientEvent::InboundDropped),
/// [`Discarded`](ClientEvent::Discarded)) added up in one event each. Of events about single
/// messages, and of all others, such as those of the connection, 256 each wait for it, up to 1 MiB
/// of texts in all; then the oldest of that kind is dropped, and [`Missed`](ClientEvent::Missed)
/// reports how many were. So messages, however many, never push out what happened to the
/// connection.
///
/// ```
/// # use martlet_client::{Client, ClientEvent};
/// # async fn example(client: Client) {
/// let mut events = client.events();
/// while let Some(event) = events.next().await {
///     println!("{event}");
/// }
/// # }
/// ```
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
        self.shared.poll(Caller::new(cx), |state, caller| {
            state.events.poll(self.key, caller)
        })
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
        state.deferred.extend(state.events.remove(self.key));
    }
}
