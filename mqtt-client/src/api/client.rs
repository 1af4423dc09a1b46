//! The handle.

use crate::api::batch::PublishAll;
use crate::api::events::Events;
use crate::api::publish::PublishBuilder;
use crate::api::request::RequestBuilder;
use crate::api::state_changes::StateChanges;
use crate::api::subscribe::SubscribeBuilder;
use crate::api::subscription::Subscription;
use crate::api::unsubscribe::UnsubscribeBuilder;
use crate::error::{AuthenticateError, ConnectError};
use crate::hub::connection::Wanted;
use crate::hub::connection::{ConnectionState, LeftBehind};
use crate::hub::own::Own;
use crate::hub::pending_reply::PendingReply;
use crate::hub::shared::{Handle, Shared, State};
use crate::hub::statistics::Statistics;
use crate::hub::waiters::Change;
use bytes::Bytes;
use martlet_proto::{
    DisconnectReasonCode, QoS, TopicError, TopicFilter, TopicName, UserProperties, Utf8String,
};
use martlet_session::{
    Connected, ConnectionError, Counters, DisconnectOptions, OperationId, OutgoingPublish,
    RequestError, Undelivered, Withdrawal,
};
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A handle of a connection. Cheap to clone; all clones are the same client. Nothing here blocks a
/// thread: waiting is an `.await`.
///
/// # The end of a program
///
/// **Call [`disconnect`](Self::disconnect) last, and await it** (or [`flush`](Self::flush), if QoS
/// 0 is all that was published). A publish at QoS 0 completes when the message is in the client's
/// output, and one at any QoS that was only [enqueued](PublishBuilder::enqueue) may not have left
/// either: the driver writes it in its next turn. When `main` returns, the runtime drops the driver
/// where it is, and what was not written is lost.
///
/// Dropping the last handle and the last stream disconnects too, and first lets what was published
/// be acknowledged, for as long as the builder's `drain` allows. But `drop` cannot wait: it only
/// asks the driver, which needs a runtime that goes on running. Dropping the driver closes the
/// socket without a DISCONNECT, so that the server publishes the will.
///
/// # Without a connection
///
/// While the client connects, or waits for the next attempt ([`state`](Self::state) says which),
///
/// * [`publish`](Self::publish) queues the message within the bounds. It waits as long as its
///   message expiry interval says, without one for as long as the client tries;
/// * [`subscribe`](Self::subscribe) and [`unsubscribe`](Self::unsubscribe) wait for a connection
///   for the session's `offline_timeout`, 60 s by default, and then fail as
///   [`RequestError::NotConnected`]. Only the last wish for a filter is sent, and one that was
///   taken back leaves nothing; an unsubscribe is answered without being sent when the server has
///   lost the session;
/// * [`ping`](Self::ping) and [`reauthenticate`](Self::reauthenticate) fail as
///   [`RequestError::NotConnected`] at once;
/// * [`connected`](Self::connected) waits, and [`flush`](Self::flush) does if anything is queued,
///   as long as the client tries: the reconnect policy's `retries` and the caller's own timeout
///   bound that;
/// * [`disconnect`](Self::disconnect) waits for its drain time at most, if anything is queued.
///
/// Once the client has stopped (after `disconnect`, or when the reconnect policy says to stop),
/// all of them fail at once, with the reason; streams and events end. One that has stopped by
/// itself keeps what was accepted, its subscriptions and its streams:
/// [`reconnect`](Self::reconnect) revives it, and streams that had ended go on.
///
/// ```
/// # use martlet_client::{Client, Error, QoS};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let mut readings = client.subscribe("sensors/+/temp").qos(QoS::AtLeastOnce).await?;
/// client.publish("sensors/1/temp", "21.5").qos(QoS::AtLeastOnce).await?; // acknowledged
/// while let Some(message) = readings.next().await {
///     println!("{}: {:?}", message.topic(), message.text());
/// }
/// client.disconnect().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            handle: Arc::new(Handle { shared }),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Publishes a message: await it for the server's answer, or `enqueue` it for a receipt.
    ///
    /// It does nothing until it is awaited, and waits for room. With QoS 1 and 2 it completes when
    /// the server has acknowledged the message, through queueing and reconnects; with QoS 0, when
    /// it is in the output ([`flush`](Self::flush) waits for the socket). While there is no
    /// connection messages are queued within the bounds. Before a program ends, await
    /// [`disconnect`](Self::disconnect) or [`flush`](Self::flush): QoS 0 may not have left when
    /// this completes.
    ///
    /// With a [`store`](crate::Builder::store), a message of QoS 1 or 2 leaves for the server when
    /// it is stored: what was acknowledged cannot be lost by a crash, and what has not completed
    /// yet may or may not be stored. [`enqueue`](PublishBuilder::enqueue) waits for the store only.
    ///
    /// Cancel safe: dropped before it was accepted, nothing was published; dropped later, the
    /// message is delivered in the background.
    pub fn publish(
        &self,
        topic: impl TryInto<TopicName, Error: Into<TopicError>>,
        payload: impl Into<Bytes>,
    ) -> PublishBuilder<'_> {
        PublishBuilder::new(
            self.shared(),
            topic.try_into().map_err(Into::into),
            payload.into(),
        )
    }

    /// Publishes many messages: await it for the server's answer to all of them, or
    /// [`enqueue`](PublishAll::enqueue) them for one receipt. That costs less than a receipt each.
    ///
    /// They wait for room, in order, and others may come between them. Each message says everything
    /// about itself: the builder's [`publish_defaults`](crate::Builder::publish_defaults) do not
    /// count.
    ///
    /// ```
    /// # use martlet_client::{Client, QoS, TopicName, client::OutgoingPublish};
    /// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let topic = TopicName::new("meters/7")?;
    /// let readings = ["21.5", "21.6", "21.7"].map(|reading| OutgoingPublish::new(topic.clone(), reading));
    /// client.publish_all(readings.map(|message| message.qos(QoS::AtLeastOnce))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish_all<I>(&self, messages: I) -> PublishAll<'_, I::IntoIter>
    where
        I: IntoIterator<Item = OutgoingPublish>,
    {
        PublishAll::new(self.shared(), messages.into_iter())
    }

    /// Takes back a message that [`ClientEvent::ServerHangsUp`](crate::ClientEvent::ServerHangsUp)
    /// or [`Receipt::operation`](crate::Receipt::operation) has named, as
    /// [`Receipt::withdraw`](crate::Receipt::withdraw) does. Returns how far it had come. The end
    /// of one that had not ended is [`PublishError::Withdrawn`](crate::PublishError::Withdrawn).
    pub fn withdraw(&self, operation: OperationId) -> Withdrawal {
        self.shared()
            .act(|state, _| state.session.withdraw(operation))
    }

    /// Subscribes at QoS 0, unless the builder says otherwise; await it for the stream of messages.
    /// It is a [`SubscribeError`](crate::SubscribeError) when the filter is wrong, the server
    /// rejects all filters, or there is no connection or answer in time.
    pub fn subscribe(
        &self,
        filter: impl TryInto<TopicFilter, Error: Into<TopicError>>,
    ) -> SubscribeBuilder<'_> {
        SubscribeBuilder::new(&self.handle).and(filter, QoS::AtMostOnce)
    }

    /// Subscribes to `$share/{share_name}/{filter}`: the server gives each message that the filter
    /// matches to one of the clients that subscribe with this share name (MQTT 5 §4.8.2). Everything
    /// else is as with [`subscribe`](Self::subscribe). The same filter for
    /// [`unsubscribe`](Self::unsubscribe) is [`TopicFilter::shared`].
    ///
    /// ```
    /// # use martlet_client::{Client, QoS, RequestError, SubscribeError, session::Unsupported};
    /// # async fn example(client: Client) -> Result<(), SubscribeError> {
    /// let jobs = client.subscribe_shared("workers", "jobs/+").qos(QoS::AtLeastOnce);
    /// match jobs.await {
    ///     Ok(mut jobs) => println!("{:?}", jobs.next().await),
    ///     Err(SubscribeError::Request(RequestError::NotSupported(Unsupported::SharedSubscriptions))) => {
    ///         println!("this server cannot share the jobs");
    ///     }
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A share name that is empty or holds `/`, `+` or `#` is a
    /// [`SubscribeError::Filter`](crate::SubscribeError::Filter) when it is awaited. A server of MQTT
    /// 5 that has announced that it has no shared subscriptions is not asked: that is
    /// [`RequestError::NotSupported`] with
    /// [`Unsupported::SharedSubscriptions`](martlet_session::Unsupported::SharedSubscriptions). One
    /// that has not announced it may reject the filter:
    /// [`SubscribeError::Rejected`](crate::SubscribeError::Rejected).
    ///
    /// MQTT 3.x has no shared subscriptions and nothing to announce them with. The filter is sent as
    /// it is: many servers know it in 3.1.1 too. One that does not may reject it, or grant it as a
    /// filter that no topic matches, and then nothing arrives.
    pub fn subscribe_shared(
        &self,
        share_name: impl AsRef<str>,
        filter: impl TryInto<TopicFilter, Error: Into<TopicError>>,
    ) -> SubscribeBuilder<'_> {
        let filter = TopicFilter::shared(share_name, filter);
        SubscribeBuilder::new(&self.handle).add(filter, QoS::AtMostOnce)
    }

    /// Subscribes to several filters at once, with one stream and one answer for all. They travel
    /// in SUBSCRIBEs of at most
    /// [`max_filters_per_packet`](martlet_session::Config::max_filters_per_packet), 8 by default.
    pub fn subscribe_all<F>(
        &self,
        filters: impl IntoIterator<Item = (F, QoS)>,
    ) -> SubscribeBuilder<'_>
    where
        F: TryInto<TopicFilter, Error: Into<TopicError>>,
    {
        filters.into_iter().fold(
            SubscribeBuilder::new(&self.handle),
            |subscribe, (filter, qos)| subscribe.and(filter, qos),
        )
    }

    /// Publishes a request, and waits for the response to it (MQTT 5 §4.10); await it. The request
    /// has a response topic and correlation data; who answers publishes to that topic with that
    /// data.
    ///
    /// The response topic is the client's own, subscribed to with the first request: below what the
    /// server offers, when the session's `request_response_information` asks for it, otherwise
    /// `responses/` and the client identifier.
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
    ) -> RequestBuilder<'_> {
        let payload = payload.into();
        RequestBuilder::new(
            &self.handle,
            topic
                .try_into()
                .map(|topic| OutgoingPublish::new(topic, payload))
                .map_err(Into::into),
        )
    }

    /// Unsubscribes from a filter; streams that have no other filter end. Await it for the server's
    /// answer.
    pub fn unsubscribe(
        &self,
        filter: impl TryInto<TopicFilter, Error: Into<TopicError>>,
    ) -> UnsubscribeBuilder<'_> {
        UnsubscribeBuilder::new(&self.handle).and(filter)
    }

    /// Unsubscribes from several filters at once; streams that have no other filter end. Await it
    /// for the server's answer, a code for each.
    pub fn unsubscribe_all<F>(&self, filters: impl IntoIterator<Item = F>) -> UnsubscribeBuilder<'_>
    where
        F: TryInto<TopicFilter, Error: Into<TopicError>>,
    {
        filters.into_iter().fold(
            UnsubscribeBuilder::new(&self.handle),
            UnsubscribeBuilder::and,
        )
    }

    /// Returns the stream of messages that match no subscription, such as those of a resumed
    /// session, and of those for the builder's [`subscriptions`](crate::Builder::subscriptions);
    /// `None` while it is taken. It exists before the first CONNECT is sent, so that no message
    /// is lost while nothing listens.
    ///
    /// Until it is taken, a new subscription gets those of its messages that match. Those for the
    /// builder's subscriptions wait for up to 10 s; so do all where the server has resumed a session
    /// ([`CleanStart::Never`](martlet_session::CleanStart::Never), as set by
    /// [`lasting_session`](crate::Builder::lasting_session)), or a subscription was
    /// [detached](Subscription::detach). Acknowledgements of later messages wait too. After that,
    /// messages without a stream are acknowledged, dropped and reported
    /// ([`ClientEvent::Discarded`](crate::ClientEvent::Discarded)) until the connection ends, the
    /// application takes the stream, or it leaves another subscription with the server. A program that may need longer takes
    /// the stream before it polls the driver: nothing is dropped then.
    pub fn unmatched(&self) -> Option<Subscription> {
        Subscription::unmatched(&self.handle)
    }

    /// Sends a PINGREQ and waits for the PINGRESP, for the builder's
    /// [`request_timeout`](crate::Builder::request_timeout) after it left.
    ///
    /// Cancel safe: dropped while it waits, only the answer is not reported.
    ///
    /// # Errors
    /// [`RequestError::NotConnected`] without a connection, [`RequestError::Timeout`] without an
    /// answer.
    pub async fn ping(&self) -> Result<(), RequestError> {
        let mut pending = PendingReply::ask(&self.handle, |state, _| state.session.ping())?;
        poll_fn(|cx| pending.poll(cx)).await.into_pong()
    }

    /// Waits until nothing published is left to write: the socket has taken it all. Without a
    /// connection it waits for one, if anything is queued. It does not wait for acknowledgements,
    /// nor for QoS 0 that a broken connection took with it.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The reason when the client has disconnected for good.
    pub async fn flush(&self) -> Result<(), ConnectionError> {
        self.shared()
            .watch_for(Change::Flushed, |state| {
                if let Some(error) = state.connection.stopped() {
                    return Poll::Ready(Err(error.clone()));
                }
                if state.is_flushed() {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            })
            .await
    }

    /// The connection as it is now; `None` while there is none.
    pub fn connection(&self) -> Option<Arc<Connected>> {
        self.shared().lock().connection.connected().cloned()
    }

    /// Waits for a connection.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The reason when there will be none.
    pub async fn connected(&self) -> Result<Arc<Connected>, ConnectError> {
        self.shared().connected().await
    }

    /// Connects now, and waits for a connection; await it. It cuts the wait before the next attempt
    /// short, if there is one, and revives a client that has stopped, with its queue, subscriptions
    /// and streams. On a connection it does nothing, unless it is to
    /// [`replace`](Reconnecting::replace) it.
    ///
    /// # Errors
    /// The reason when the client stops, or has [disconnected](Self::disconnect).
    pub fn reconnect(&self) -> Reconnecting<'_> {
        Reconnecting {
            client: self,
            wanted: Wanted::Connection,
        }
    }

    /// The state of the connection as it is now.
    pub fn state(&self) -> ConnectionState {
        self.shared().lock().connection.state()
    }

    /// The state as it is now, and then each change. [`events`](Self::events) tells more, but
    /// nothing of the past.
    pub fn state_changes(&self) -> StateChanges {
        StateChanges::new(Arc::clone(self.shared()))
    }

    /// Authenticates again on the connection that there is (MQTT 5 §4.12.1), with the builder's
    /// [`Authenticator`](crate::hooks::Authenticator), as when a token is about to expire.
    /// Everything else goes on meanwhile.
    ///
    /// It never waits for a connection. Each step has a deadline,
    /// [`connect_timeout`](martlet_session::Config::connect_timeout).
    ///
    /// Cancel safe: dropped while it waits, the authentication continues in the background.
    ///
    /// # Errors
    /// [`AuthenticateError::GivenUp`] when the authenticator failed, and
    /// [`AuthenticateError::Request`] with [`RequestError::NotConnected`] without a connection, or
    /// when it ended: a server that rejects ends it; [`RequestError::NotSupported`] without an
    /// authenticator; [`RequestError::TooMany`] while another is under way.
    pub async fn reauthenticate(&self) -> Result<(), AuthenticateError> {
        let run = self.shared().act(|state, _| {
            let authenticating = &mut state.connection.authenticating;
            authenticating.begin(&state.session, &mut state.waiters)
        })?;
        self.shared()
            .watch(|state| state.connection.authenticating.poll(run))
            .await
    }

    /// What happens to the client from now on; [`state_changes`](Self::state_changes) begins with
    /// what is.
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

    /// The messages that were accepted and that the server has not acknowledged, with their content:
    /// first those that it has (of QoS 2), then those in flight, then those that wait, each in
    /// their order. None once the client has disconnected: what it left behind then is what
    /// [`disconnect`](Self::disconnect) gives.
    ///
    /// It copies no content, but takes the client's lock for a time that grows with their number.
    pub fn undelivered(&self) -> Vec<Undelivered> {
        self.shared().lock().session.undelivered().collect()
    }

    /// What the client has done so far and what waits in it, at this moment: cheap enough for each
    /// second. It takes the client's lock for a time that grows with the messages that wait for
    /// their acknowledgement, and once more for each 1,024 streams; counting costs a message a few
    /// instructions.
    ///
    /// ```
    /// # use martlet_client::Client;
    /// # fn example(client: &Client) {
    /// let now = client.statistics();
    /// println!("{}, for {:?}", now.state, now.in_state);
    /// println!("{} messages in {} bytes wait", now.queued, now.queued_bytes);
    /// # }
    /// ```
    pub fn statistics(&self) -> Statistics {
        self.shared().statistics()
    }

    /// What the session has tolerated or left out so far, such as messages that were dropped.
    pub fn counters(&self) -> Counters {
        self.shared().lock().session.counters()
    }

    /// Disconnects for good: lets what was published be acknowledged within the builder's `drain`,
    /// sends a DISCONNECT and waits for the end: that takes the drain and 2 s for the server's end
    /// of the connection at most, and with a [`store`](crate::Builder::store) 2 s for its last
    /// commits. Await it; it gives back how many messages were not acknowledged, and whether all is
    /// stored.
    ///
    /// Nothing is accepted from then on. It wins over any reconnecting, except that what was
    /// published before may wait for a connection within the drain:
    /// [`at_once`](DisconnectBuilder::at_once) does not wait for anything.
    pub fn disconnect(&self) -> DisconnectBuilder<'_> {
        let drain = self.shared().drain;
        DisconnectBuilder {
            client: self,
            options: DisconnectOptions::default().drain(drain),
        }
    }
}

/// A disconnect about to be made, from [`Client::disconnect`]; await it.
///
/// ```
/// # use martlet_client::Client;
/// # use std::time::Duration;
/// # async fn example(client: Client) {
/// let left = client.disconnect().drain(Duration::from_secs(2)).await;
/// println!("{} messages in flight, {} queued", left.in_flight, left.queued);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a disconnect does nothing until it is awaited"]
pub struct DisconnectBuilder<'a> {
    client: &'a Client,
    options: DisconnectOptions,
}

impl DisconnectBuilder<'_> {
    /// How long what was published may take to be acknowledged. Zero: at once.
    pub fn drain(mut self, time: Duration) -> Self {
        self.options = self.options.drain(time);
        self
    }

    /// Without letting anything be acknowledged first.
    pub fn at_once(self) -> Self {
        self.drain(Duration::ZERO)
    }

    /// So that the server publishes the will: with reason code 0x04, in 3.x by closing without a
    /// DISCONNECT (MQTT 5 §3.14.2.1).
    pub fn with_will(self) -> Self {
        self.reason(DisconnectReasonCode::DisconnectWithWillMessage)
    }

    /// The reason to send. 3.x has only a normal disconnection; with any other reason the
    /// connection is closed without a DISCONNECT.
    pub fn reason(mut self, reason: DisconnectReasonCode) -> Self {
        self.options = self.options.reason(reason);
        self
    }

    /// What to tell people who read the server's log (MQTT 5 §3.14.2.2.3).
    pub fn reason_string(mut self, mut text: Utf8String) -> Self {
        text.own();
        self.options = self.options.reason_string(text);
        self
    }

    /// Sends these name-value pairs with the DISCONNECT (MQTT 5 §3.14.2.2.4).
    pub fn user_properties(mut self, mut properties: UserProperties) -> Self {
        properties.own();
        self.options = self.options.user_properties(properties);
        self
    }

    /// Sets how many seconds the session outlives the connection (MQTT 5 §3.14.2.2.2); `u32::MAX`:
    /// for ever. Where CONNECT has said 0 it stays 0. Default: what the builder's
    /// [`session_expiry_interval`](crate::Builder::session_expiry_interval) says, without one 0, so
    /// that the session ends here; with a store 3,600.
    pub fn session_expiry_interval(mut self, seconds: u32) -> Self {
        self.options = self.options.session_expiry_interval(seconds);
        self
    }
}

impl<'a> IntoFuture for DisconnectBuilder<'a> {
    type Output = LeftBehind;
    type IntoFuture = Pin<Box<dyn Future<Output = LeftBehind> + Send + 'a>>;

    /// Cancel safe: once polled, the client disconnects whether or not this is waited for.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.client
                .shared()
                .act(|state, now| state.session.disconnect(now, self.options));
            self.client
                .shared()
                .watch(|state| state.left_behind().map_or(Poll::Pending, Poll::Ready))
                .await
        })
    }
}

/// A connection about to be made now, from [`Client::reconnect`]; await it.
#[derive(Debug)]
#[must_use = "nothing is connected until it is awaited"]
pub struct Reconnecting<'a> {
    client: &'a Client,
    wanted: Wanted,
}

impl Reconnecting<'_> {
    /// Ends the connection that there is, if any, in good order, and makes another: with a new
    /// token or a new certificate, say. The server keeps the session where it would for a
    /// connection that was lost, and publishes no will. An attempt that is under way begins anew.
    pub fn replace(mut self) -> Self {
        self.wanted = Wanted::Another;
        self
    }
}

impl<'a> IntoFuture for Reconnecting<'a> {
    type Output = Result<Arc<Connected>, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    /// Cancel safe: once polled, the client connects whether or not this is waited for.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let made = self.client.shared().act(|state, _| {
                state.revive();
                state.connection.want(self.wanted);
                state.connection.made()
            });
            let look = |state: &mut State| {
                let connection = &state.connection;
                let is_other = self.wanted == Wanted::Connection || connection.made() > made;
                match (connection.connected(), connection.stopped()) {
                    (Some(connected), _) if is_other => Poll::Ready(Ok(Arc::clone(connected))),
                    (_, Some(error)) => Poll::Ready(Err(error.clone().into())),
                    _ => Poll::Pending,
                }
            };
            self.client.shared().watch(look).await
        })
    }
}

#[expect(dead_code, reason = "says at compile time what a handle must be")]
fn handles_can_be_sent_and_shared() {
    fn is<T: Send + Sync + 'static>() {}
    is::<Client>();
    is::<Subscription>();
    is::<crate::Receipt>();
}
