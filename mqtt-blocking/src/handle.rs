//! The handle.

use crate::events::{Events, StateChanges};
use crate::park::{after, wait};
use crate::runtime::{Loop, Reactor, Runtime};
use crate::subscription::Subscription;
use crate::wait::{not_connected, not_written};
use bytes::Bytes;
use martlet_client::client::{
    DisconnectBuilder, OutgoingPublish, PublishAll, PublishBuilder, Reconnecting, RequestBuilder,
    SubscribeBuilder, Undelivered, UnsubscribeBuilder,
};
use martlet_client::proto::TopicError;
use martlet_client::session::{
    Connected, Counters, OperationId, TransportError, TransportErrorKind, Withdrawal,
};
use martlet_client::transport::UriError;
use martlet_client::{
    AuthenticateError, Builder, ConnectError, ConnectionError, ConnectionState, Driver, Endpoint,
    QoS, RequestError, TopicFilter, TopicName,
};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A handle of a connection, which a thread of its own drives. Cheap to clone; all clones are the
/// same client, and threads may share one. It is [`martlet_client::Client`] with methods that block.
///
/// What [`publish`](Self::publish), [`subscribe`](Self::subscribe),
/// [`unsubscribe`](Self::unsubscribe), [`request`](Self::request), [`reconnect`](Self::reconnect)
/// and [`disconnect`](Self::disconnect) return does nothing until it is waited for, by
/// [`Wait`](crate::Wait). What happens without a connection, and once the client has stopped, is
/// [as with the asynchronous client](martlet_client::Client#without-a-connection).
///
/// # The end of a program
/// **Dropping the last handle drains the client:** it disconnects as
/// [`disconnect`](Self::disconnect) does, and blocks until its thread has ended. So what was published
/// and enqueued before leaves before `main` returns. That takes the builder's
/// [`drain`](Builder::drain) at most, 5 s by default, and 2 s for the server's end of the
/// connection; with a store also what its last writes take. Subscriptions and events do not keep
/// the client connected: they end after what had come.
///
/// In a callback, on a client's own thread, dropping the last handle does not block: the client
/// disconnects in the background, and its thread ends by itself. A handle that is leaked, such as a
/// clone inside an observer of the same client, keeps the thread until the client is disconnected. One
/// in a `static` is never dropped: disconnect it before `main` returns.
///
/// ```no_run
/// use martlet_blocking::{QoS, Wait};
///
/// # fn main() -> Result<(), martlet_blocking::Error> {
/// let client = martlet_blocking::connect("mqtt://broker.example")?;
/// for n in 0..1000 {
///     client.publish("counter", n.to_string()).qos(QoS::AtLeastOnce).enqueue().wait()?;
/// }
/// drop(client); // all of them have been acknowledged, or 5 s are over
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    driven: Arc<Driven>,
}

/// A client with its thread.
struct Driven {
    client: martlet_client::Client,
    /// `None`: it goes on by itself.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Client {
    /// Sets up a client: [`connect_with`](crate::connect_with) and [`start`](crate::start) make it.
    pub fn builder(server: impl TryInto<Endpoint, Error: Into<UriError>>) -> Builder {
        martlet_client::Client::builder(server)
    }

    /// A client whose driver runs on a thread of its own.
    pub(crate) fn drive<R>(
        client: martlet_client::Client,
        driver: Driver<R>,
    ) -> Result<Self, ConnectError>
    where
        R: Runtime + Unpin,
        Driver<R>: Send + 'static,
    {
        let begin = || -> io::Result<_> {
            let rounds = Loop::new()?;
            thread::Builder::new()
                .name("martlet".into())
                .spawn(move || {
                    // Where the loop fails, the driver is dropped, which ends the client.
                    let _ = rounds.run(driver);
                })
        };
        let thread = begin().map_err(|error| {
            let text = "the client's thread cannot be started";
            let error = TransportError::new(TransportErrorKind::Connect, text).caused_by(error);
            ConnectionError::Transport(error)
        })?;
        Ok(Self {
            driven: Arc::new(Driven {
                client,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    fn client(&self) -> &martlet_client::Client {
        &self.driven.client
    }

    /// Turns it into the asynchronous handle of the same client, for any executor. The thread goes
    /// on to drive it, and ends when the last handle and subscription is dropped, or the client is
    /// disconnected; nothing blocks until then.
    pub fn into_async(self) -> martlet_client::Client {
        let thread = &self.driven.thread;
        // Dropped, a thread goes on.
        thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.client().clone()
    }

    /// Publishes a message: [`wait`](crate::Wait::wait) for the server's answer, or
    /// [`enqueue`](PublishBuilder::enqueue) it for a receipt. It does nothing until then, but for
    /// [`try_enqueue`](PublishBuilder::try_enqueue), which never waits.
    ///
    /// With QoS 1 and 2 the wait ends when the server has acknowledged the message, through queueing
    /// and reconnects; with QoS 0, when it is in the client's output.
    pub fn publish(
        &self,
        topic: impl TryInto<TopicName, Error: Into<TopicError>>,
        payload: impl Into<Bytes>,
    ) -> PublishBuilder<'_> {
        self.client().publish(topic, payload)
    }

    /// Publishes many messages: [`wait`](crate::Wait::wait) for the server's answer to all of them,
    /// or [`enqueue`](PublishAll::enqueue) them for one receipt, as
    /// [`martlet_client::Client::publish_all`] says.
    pub fn publish_all<I>(&self, messages: I) -> PublishAll<'_, I::IntoIter>
    where
        I: IntoIterator<Item = OutgoingPublish>,
    {
        self.client().publish_all(messages)
    }

    /// The messages that were accepted and that the server has not acknowledged, with their content,
    /// as [`martlet_client::Client::undelivered`] says.
    pub fn undelivered(&self) -> Vec<Undelivered> {
        self.client().undelivered()
    }

    /// Takes back a message, as [`martlet_client::Client::withdraw`] does.
    pub fn withdraw(&self, operation: OperationId) -> Withdrawal {
        self.client().withdraw(operation)
    }

    /// Subscribes at QoS 0, unless the builder says otherwise; [`wait`](crate::Wait::wait) for the
    /// [`Subscription`].
    pub fn subscribe(
        &self,
        filter: impl TryInto<TopicFilter, Error: Into<TopicError>>,
    ) -> SubscribeBuilder<'_> {
        self.client().subscribe(filter)
    }

    /// Subscribes to several filters at once, with one [`Subscription`] and one answer for all.
    pub fn subscribe_all<F>(
        &self,
        filters: impl IntoIterator<Item = (F, QoS)>,
    ) -> SubscribeBuilder<'_>
    where
        F: TryInto<TopicFilter, Error: Into<TopicError>>,
    {
        self.client().subscribe_all(filters)
    }

    /// Publishes a request; [`wait`](crate::Wait::wait) for the response to it (MQTT 5 §4.10).
    pub fn request(
        &self,
        topic: impl TryInto<TopicName, Error: Into<TopicError>>,
        payload: impl Into<Bytes>,
    ) -> RequestBuilder<'_> {
        self.client().request(topic, payload)
    }

    /// Unsubscribes from a filter; subscriptions that have no other filter end.
    /// [`wait`](crate::Wait::wait) for the server's answer.
    pub fn unsubscribe(
        &self,
        filter: impl TryInto<TopicFilter, Error: Into<TopicError>>,
    ) -> UnsubscribeBuilder<'_> {
        self.client().unsubscribe(filter)
    }

    /// Unsubscribes from several filters at once, with one answer for all.
    pub fn unsubscribe_all<F>(&self, filters: impl IntoIterator<Item = F>) -> UnsubscribeBuilder<'_>
    where
        F: TryInto<TopicFilter, Error: Into<TopicError>>,
    {
        self.client().unsubscribe_all(filters)
    }

    /// The messages that match no subscription, as [`martlet_client::Client::unmatched`] says;
    /// `None` while they are taken.
    pub fn unmatched(&self) -> Option<Subscription> {
        self.client().unmatched().map(Subscription::new)
    }

    /// Sends a PINGREQ and blocks for the PINGRESP, for the builder's
    /// [`request_timeout`](Builder::request_timeout) at most after it left.
    ///
    /// # Errors
    /// [`RequestError::NotConnected`] without a connection, [`RequestError::Timeout`] without an
    /// answer, and on a client's own thread.
    pub fn ping(&self) -> Result<(), RequestError> {
        wait(self.client().ping(), None).unwrap_or(Err(RequestError::Timeout))
    }

    /// Blocks until nothing published is left to write: the socket has taken it all. Without a
    /// connection it waits for one, if anything is queued.
    ///
    /// # Errors
    /// The reason when the client has disconnected for good; on a client's own thread the error of
    /// [`flush_timeout`](Self::flush_timeout).
    pub fn flush(&self) -> Result<(), ConnectionError> {
        self.flush_until(None)
    }

    /// The same, for this time at most.
    ///
    /// # Errors
    /// The reason when the client has disconnected for good;
    /// [`TransportErrorKind::WriteTimeout`] when the time is up.
    pub fn flush_timeout(&self, timeout: Duration) -> Result<(), ConnectionError> {
        self.flush_until(after(timeout))
    }

    fn flush_until(&self, deadline: Option<Instant>) -> Result<(), ConnectionError> {
        wait(self.client().flush(), deadline).unwrap_or_else(|| Err(not_written()))
    }

    /// The connection as it is now; `None` while there is none.
    pub fn connection(&self) -> Option<Arc<Connected>> {
        self.client().connection()
    }

    /// Blocks until there is a connection.
    ///
    /// # Errors
    /// The reason when there will be none; on a client's own thread the error of
    /// [`connected_timeout`](Self::connected_timeout).
    pub fn connected(&self) -> Result<Arc<Connected>, ConnectError> {
        self.connected_until(None)
    }

    /// The same, for this time at most. The client goes on to connect.
    ///
    /// # Errors
    /// The reason when there will be none; [`TransportErrorKind::ConnectTimeout`] when the time is
    /// up.
    pub fn connected_timeout(&self, timeout: Duration) -> Result<Arc<Connected>, ConnectError> {
        self.connected_until(after(timeout))
    }

    fn connected_until(&self, deadline: Option<Instant>) -> Result<Arc<Connected>, ConnectError> {
        wait(self.client().connected(), deadline).unwrap_or_else(|| Err(not_connected()))
    }

    /// Connects now; [`wait`](crate::Wait::wait) for the connection. It cuts the wait before the
    /// next attempt short, and revives a client that has stopped, as
    /// [`martlet_client::Client::reconnect`] does.
    pub fn reconnect(&self) -> Reconnecting<'_> {
        self.client().reconnect()
    }

    /// The state of the connection as it is now.
    pub fn state(&self) -> ConnectionState {
        self.client().state()
    }

    /// The state as it is now, and then each change.
    pub fn state_changes(&self) -> StateChanges {
        StateChanges::new(self.client().state_changes())
    }

    /// Authenticates again on the connection that there is (MQTT 5 §4.12.1), and blocks until that
    /// is done; each step has a deadline.
    ///
    /// # Errors
    /// As [`martlet_client::Client::reauthenticate`]; [`RequestError::Timeout`] on a client's own
    /// thread.
    pub fn reauthenticate(&self) -> Result<(), AuthenticateError> {
        let late = Err(RequestError::Timeout.into());
        wait(self.client().reauthenticate(), None).unwrap_or(late)
    }

    /// What happens to the client from now on.
    pub fn events(&self) -> Events {
        Events::new(self.client().events())
    }

    /// Messages of QoS 1 and 2 with a packet identifier: sent, or to be sent again.
    pub fn in_flight(&self) -> usize {
        self.client().in_flight()
    }

    /// Messages that wait for a connection, the window or the socket.
    pub fn queued(&self) -> usize {
        self.client().queued()
    }

    /// What the client has done so far and what waits in it, at this moment.
    pub fn statistics(&self) -> martlet_client::client::Statistics {
        self.client().statistics()
    }

    /// What the session has tolerated or left out so far, such as messages that were dropped.
    pub fn counters(&self) -> Counters {
        self.client().counters()
    }

    /// Disconnects for good; [`wait`](crate::Wait::wait) until that is done. It lets what was
    /// published be acknowledged within the builder's [`drain`](Builder::drain), as
    /// [`martlet_client::Client::disconnect`] says, and returns what was not. Nothing is accepted
    /// from then on, and the client's thread ends.
    pub fn disconnect(&self) -> DisconnectBuilder<'_> {
        self.client().disconnect()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(self.client()).finish()
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.take() else { return };
        // Once polled, it goes on by itself; the end of the thread is waited for.
        let _ = wait(self.client.disconnect(), Some(Instant::now()));
        if !Reactor::is_current() {
            // A thread that panicked has shown why.
            let _ = thread.join();
        }
    }
}
