//! The handle.

use crate::error::ConnectError;
use crate::events::Events;
use crate::own::Own;
use crate::publish::{Publish, Receipt, expiry_clock, publish};
use crate::request::Request;
use crate::shared::{Handle, Shared, State, wake};
use crate::subscription::{PendingReply, Subscribe, Subscription, Unsubscribe};
use bytes::Bytes;
use martlet_proto::{
    DisconnectReasonCode, QoS, TopicError, TopicFilter, TopicName, UserProperties, Utf8String,
};
use martlet_session::{
    Connected, ConnectionError, DisconnectOptions, Publish as Outgoing, PublishError, RequestError,
    StoreError,
};
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A handle of a connection. Cheap to clone; all clones are the same client. Nothing here blocks a thread: waiting is
/// an `.await`.
///
/// When the last handle and the last stream are dropped, the client disconnects, but first lets what was published be
/// settled, for as long as the builder's `drain` allows.
///
/// # Without a connection
///
/// While the client connects, or waits for the next attempt ([`state`](Self::state) says which),
///
/// * [`publish`](Self::publish) and [`try_publish`](Self::try_publish) queue the message within the bounds. It waits as
///   long as its message expiry interval says, without one for as long as the client tries;
/// * [`subscribe`](Self::subscribe) and [`unsubscribe`](Self::unsubscribe) wait for a connection for the session's
///   `offline_timeout`, 60 s by default, and then fail as [`RequestError::NotConnected`];
/// * [`ping`](Self::ping) and [`reauthenticate`](Self::reauthenticate) fail as [`RequestError::NotConnected`] at once;
/// * [`connected`](Self::connected) waits, and [`flush`](Self::flush) does if anything is queued, as long as the client
///   tries: the reconnect policy's `retries` and the caller's own timeout bound that;
/// * [`disconnect`](Self::disconnect) waits for its drain time at most, if anything is queued.
///
/// Once the client has given up, all of them fail at once.
#[derive(Debug, Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Arc::new(Handle { shared }) }
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Publishes a message: await it for the server's answer, or `enqueue` it for a receipt.
    ///
    /// It does nothing until it is awaited, and waits for room. With QoS 1 and 2 it completes when the server has
    /// settled the message, through queueing and reconnects; with QoS 0, when it is in the output
    /// ([`flush`](Self::flush) waits for the socket). While there is no connection messages are queued within the
    /// bounds.
    ///
    /// Cancel safe: dropped before it was accepted, nothing was published; dropped later, the message goes its way.
    pub fn publish(
        &self,
        topic: impl TryInto<TopicName, Error: Into<TopicError>>,
        payload: impl Into<Bytes>,
    ) -> Publish<'_> {
        Publish::new(self, topic.try_into().map_err(Into::into), payload.into())
    }

    /// Publishes a message now, or refuses it.
    ///
    /// # Errors
    /// [`PublishError`], [`QueueFull`](PublishError::QueueFull) among them; nothing has changed then.
    pub fn try_publish(&self, message: Outgoing) -> Result<Receipt, PublishError> {
        let shared = self.shared();
        let now = expiry_clock(shared, &message);
        let mut state = shared.lock();
        let result = publish(shared, &mut state, message, now);
        let driver = state.call_driver();
        drop(state);
        wake(driver);
        result
    }

    /// Subscribes at QoS 0, unless the builder says otherwise; await it for the stream of messages.
    pub fn subscribe(&self, filter: impl TryInto<TopicFilter, Error: Into<TopicError>>) -> Subscribe<'_> {
        Subscribe::new(self).and(filter, QoS::AtMostOnce)
    }

    /// Subscribes to several filters in one SUBSCRIBE, with one stream for all.
    pub fn subscribe_all<F>(&self, filters: impl IntoIterator<Item = (F, QoS)>) -> Subscribe<'_>
    where
        F: TryInto<TopicFilter, Error: Into<TopicError>>,
    {
        filters.into_iter().fold(Subscribe::new(self), |subscribe, (filter, qos)| subscribe.and(filter, qos))
    }

    /// Publishes a request, and waits for the response to it (MQTT 5 §4.10); await it. The request has a response topic and
    /// correlation data; who answers publishes to that topic with that data.
    ///
    /// The response topic is the client's own, subscribed to with the first request: below what the server offers, when
    /// the session's `request_response_information` asks for it, otherwise `responses/` and the client identifier.
    ///
    /// ```
    /// # async fn example(client: martlet_client::Client) -> Result<(), martlet_client::ResponseError> {
    /// let response = client.request("lamps/1/get", "brightness").await?;
    /// println!("{:?}", response.text());
    /// # Ok(())
    /// # }
    /// ```
    pub fn request(
        &self,
        topic: impl TryInto<TopicName, Error: Into<TopicError>>,
        payload: impl Into<Bytes>,
    ) -> Request<'_> {
        let payload = payload.into();
        Request::new(self, topic.try_into().map(|topic| Outgoing::new(topic, payload)).map_err(Into::into))
    }

    /// Unsubscribes from a filter; streams that have no other filter end. Await it for the server's answer.
    pub fn unsubscribe(&self, filter: impl TryInto<TopicFilter, Error: Into<TopicError>>) -> Unsubscribe<'_> {
        Unsubscribe::new(self, filter.try_into().map_err(Into::into))
    }

    /// The stream of all messages that no subscription explains, such as those of a resumed session, and of those for the
    /// builder's [`subscriptions`](crate::Builder::subscriptions). It exists before the first CONNECT is sent, so that none
    /// is lost for want of a listener: take it before the driver is first polled, or later. `None` while somebody has it.
    ///
    /// While nobody has it, its messages wait for somebody if the client was built without
    /// [`clean_start`](crate::Builder::clean_start) and the server has resumed a session, or if a subscription was
    /// [detached](Subscription::detach); for 10 s at most, and not so long that they would hold up others. All else is
    /// acknowledged and reported ([`ClientEvent::Discarded`](crate::ClientEvent::Discarded)): also what comes after those
    /// 10 s on the same connection, until somebody has taken it, or left another subscription with the server.
    pub fn catch_all(&self) -> Option<Subscription> {
        Subscription::catch_all(&self.handle)
    }

    /// Asks the server for a sign of life.
    ///
    /// Cancel safe: dropped while it waits, only the answer is not told.
    ///
    /// # Errors
    /// [`RequestError::NotConnected`] without a connection, [`RequestError::Timeout`] without an answer.
    pub async fn ping(&self) -> Result<(), RequestError> {
        let mut pending = PendingReply::ask(&self.handle, |state, _| state.session.ping())?;
        poll_fn(|cx| pending.poll(cx)).await.into_pong()
    }

    /// Waits until nothing published is left to write: the socket has taken it all. Without a connection it waits for
    /// one, if anything is queued. It does not wait for acknowledgements, nor for QoS 0 that a broken connection took
    /// with it.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The reason when the client has disconnected for good.
    pub async fn flush(&self) -> Result<(), ConnectionError> {
        self.watch(|state| {
            if let Some(error) = &state.terminated {
                return Poll::Ready(Err(error.clone()));
            }
            if state.is_flushed() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// The connection as it is now; `None` while there is none.
    pub fn connection(&self) -> Option<Arc<Connected>> {
        self.shared().lock().connected.clone()
    }

    /// Waits for a connection.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The reason when there will be none.
    pub async fn connected(&self) -> Result<Arc<Connected>, ConnectError> {
        self.watch(|state| match (&state.connected, &state.terminated) {
            (Some(connected), _) => Poll::Ready(Ok(Arc::clone(connected))),
            (None, Some(error)) => Poll::Ready(Err(error.clone().into())),
            (None, None) => Poll::Pending,
        })
        .await
    }

    /// Connects now: cuts the wait before the next attempt short, if there is one, and waits for a connection. On a
    /// connection it does nothing.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The reason when there will be no connection, as after [`disconnect`](Self::disconnect).
    pub async fn reconnect(&self) -> Result<Arc<Connected>, ConnectError> {
        self.shared().act(|state, _| state.retry_now = true);
        self.connected().await
    }

    /// What happens to the client from now on; [`state_changes`](Self::state_changes) begins with what is.
    pub fn events(&self) -> Events {
        Events::new(Arc::clone(self.shared()))
    }

    /// Messages of QoS 1 and 2 with a packet identifier: sent, or to be sent again.
    pub fn in_flight(&self) -> usize {
        self.shared().lock().session.in_flight()
    }

    /// Messages that wait for a connection, the window or the socket.
    pub fn queued(&self) -> usize {
        self.shared().lock().session.queued()
    }

    /// Disconnects for good: lets what was published be settled within the builder's `drain`, sends a DISCONNECT and
    /// waits for the end: that takes the drain and 2 s for the server's end of the connection at most, and with a
    /// [`store`](crate::Builder::store) 2 s for its last commits. Await it; it gives back how many messages were not
    /// settled, and whether all is stored.
    ///
    /// Nothing is accepted from then on. It wins over any reconnecting, except that what was published before may wait
    /// for a connection within the drain: [`at_once`](Disconnect::at_once) does not wait for anything.
    pub fn disconnect(&self) -> Disconnect<'_> {
        let drain = self.shared().lock().drain;
        Disconnect { client: self, options: DisconnectOptions { drain, ..DisconnectOptions::default() } }
    }

    pub(crate) async fn watch<T>(&self, mut look: impl FnMut(&mut State) -> Poll<T>) -> T {
        let mut watch = Watch { shared: self.shared(), id: None };
        poll_fn(|cx| {
            let mut state = watch.shared.lock();
            let found = look(&mut state);
            if found.is_pending() {
                state.watch(&mut watch.id, cx);
                let driver = state.call_driver();
                drop(state);
                wake(driver);
            }
            found
        })
        .await
    }
}

struct Watch<'a> {
    shared: &'a Arc<Shared>,
    id: Option<u64>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.lock().unwatch(id);
        }
    }
}

/// What a client leaves behind when it disconnects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftBehind {
    /// Messages of QoS 1 and 2 that were in flight: they may have arrived.
    pub in_flight: usize,
    /// Messages that were queued: they were not sent, or were to be sent again after the server had lost the session.
    pub queued: usize,
    /// Whether the store has it all; `Ok` without a store. Otherwise why not: the store fails until time is up, or is still
    /// at it. A later client may then find an earlier state in it, send again what is settled, and not find the messages
    /// that were told as [`PublishError::Store`].
    pub stored: Result<(), StoreError>,
}

/// A disconnect about to be made, from [`Client::disconnect`]; await it.
#[derive(Debug)]
#[must_use = "a disconnect does nothing until it is awaited"]
pub struct Disconnect<'a> {
    client: &'a Client,
    options: DisconnectOptions,
}

impl Disconnect<'_> {
    /// How long what was published may take to be settled. Zero: at once.
    pub fn drain(mut self, time: Duration) -> Self {
        self.options.drain = time;
        self
    }

    /// Without letting anything be settled first.
    pub fn at_once(self) -> Self {
        self.drain(Duration::ZERO)
    }

    /// So that the server publishes the will: with reason code 0x04, in 3.x by closing without a DISCONNECT (MQTT 5
    /// §3.14.2.1).
    pub fn with_will(self) -> Self {
        self.reason(DisconnectReasonCode::DisconnectWithWillMessage)
    }

    /// What to tell the server. In 3.x only a normal disconnection can be told; with any other reason the connection is
    /// closed without a word.
    pub fn reason(mut self, reason: DisconnectReasonCode) -> Self {
        self.options.reason = reason;
        self
    }

    /// What to tell people who read the server's log (MQTT 5 §3.14.2.2.3).
    pub fn reason_string(mut self, mut text: Utf8String) -> Self {
        text.own();
        self.options.reason_string = Some(text);
        self
    }

    /// Sends these name-value pairs with the DISCONNECT (MQTT 5 §3.14.2.2.4).
    pub fn user_properties(mut self, mut properties: UserProperties) -> Self {
        properties.own();
        self.options.user_properties = properties;
        self
    }

    /// Seconds that the session is to outlive the connection (MQTT 5).
    pub fn session_expiry_interval(mut self, seconds: u32) -> Self {
        self.options.session_expiry_interval = Some(seconds);
        self
    }
}

impl<'a> IntoFuture for Disconnect<'a> {
    type Output = LeftBehind;
    type IntoFuture = Pin<Box<dyn Future<Output = LeftBehind> + Send + 'a>>;

    /// Cancel safe: once polled, the client disconnects whether or not this is waited for.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.client.shared().act(|state, now| state.session.disconnect(now, self.options));
            self.client.watch(|state| state.left_behind().map_or(Poll::Pending, Poll::Ready)).await
        })
    }
}

#[expect(dead_code, reason = "says at compile time what a handle must be")]
fn handles_can_be_sent_and_shared() {
    fn is<T: Send + Sync + 'static>() {}
    is::<Client>();
    is::<Subscription>();
    is::<Receipt>();
}
