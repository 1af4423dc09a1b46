//! Publishing: a builder, and the futures that it makes.

use crate::api::receipt::Receipt;
use crate::api::sending::{Sending, send_now};
use crate::hub::completions::PublishResult;
use crate::hub::shared::Shared;
use bytes::Bytes;
use martlet_proto::{PublishProperties, QoS, TopicError, TopicName};
use martlet_session::{Connected, OutgoingPublish, PublishError};
use std::future::{Future, IntoFuture};
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A message about to be published, from [`Client::publish`](crate::Client::publish). Await it for
/// the server's answer, or [`enqueue`](Self::enqueue) it for a [`Receipt`].
///
/// ```
/// # use martlet_client::{Client, PublishError, QoS};
/// # use std::time::Duration;
/// # async fn example(client: Client) -> Result<(), PublishError> {
/// let publish = client.publish("lamps/1/set", "on").qos(QoS::ExactlyOnce);
/// publish.expires_after(Duration::from_secs(60)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a publish does nothing until it is awaited"]
pub struct PublishBuilder<'a> {
    shared: &'a Arc<Shared>,
    message: Result<OutgoingPublish, TopicError>,
    timeout: Option<Duration>,
    /// Seconds.
    expiry: Option<u32>,
    /// The only connection that may take it.
    connection: Option<&'a Arc<Connected>>,
}

impl<'a> PublishBuilder<'a> {
    #[inline]
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        topic: Result<TopicName, TopicError>,
        payload: Bytes,
    ) -> Self {
        let mut message = topic.map(|topic| OutgoingPublish::new(topic, payload));
        if let (Some(defaults), Ok(message)) = (&shared.publish_defaults, &mut message) {
            defaults.apply(message);
        }
        Self {
            shared,
            message,
            timeout: None,
            expiry: None,
            connection: None,
        }
    }

    /// With everything that it has.
    pub(crate) fn of(shared: &'a Arc<Shared>, message: OutgoingPublish) -> Self {
        Self {
            shared,
            message: Ok(message),
            timeout: None,
            expiry: None,
            connection: None,
        }
    }

    #[inline]
    fn with(mut self, set: impl FnOnce(&mut OutgoingPublish)) -> Self {
        if let Ok(message) = &mut self.message {
            set(message);
        }
        self
    }

    /// Sets the quality of service. Default: that of the builder's
    /// [`publish_defaults`](crate::Builder::publish_defaults), 0 if there are none.
    ///
    /// A message of QoS 0 that waits, for a connection or for room, leaves on whatever connection
    /// is there then, unless [`only_on`](Self::only_on) names one.
    #[inline]
    pub fn qos(self, qos: QoS) -> Self {
        self.with(|message| message.qos = qos)
    }

    /// Sets whether the server keeps it as the retained message of its topic. Default: that of the
    /// builder's [`publish_defaults`](crate::Builder::publish_defaults), false if there are none.
    pub fn retain(self, retain: bool) -> Self {
        self.with(|message| message.retain = retain)
    }

    /// Sets the properties that travel with it (MQTT 5). Default: none.
    ///
    /// ```
    /// # use martlet_client::{Client, PublishProperties};
    /// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let properties = PublishProperties::builder().try_user_property("unit", "celsius")?;
    /// client.publish("sensors/1/temp", "21.5").properties(properties).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn properties(self, properties: impl Into<PublishProperties>) -> Self {
        self.with(|message| message.properties = properties.into())
    }

    /// Sets the topic alias that stands for the topic on this connection from now on (MQTT 5
    /// §3.3.2.3.4). It counts where the session's configuration leaves aliases to the application.
    /// Default: none.
    pub fn topic_alias(self, alias: NonZeroU16) -> Self {
        self.with(|message| message.topic_alias = Some(alias))
    }

    /// Lets the message expire: what has not been sent by then is not sent any more, and fails as
    /// [`Expired`](PublishError::Expired); in MQTT 5 the server does not deliver it any more either
    /// (MQTT 5 §3.3.2.3.3). The time counts from when the message is accepted, in whole seconds,
    /// rounded up. It takes the place of an interval among the
    /// [`properties`](Self::properties). Default: never.
    ///
    /// ```
    /// # use martlet_client::{Client, PublishError, QoS};
    /// # use std::time::Duration;
    /// # async fn example(client: Client) -> Result<(), PublishError> {
    /// let publish = client.publish("door/open", "now").qos(QoS::AtLeastOnce);
    /// publish.expires_after(Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn expires_after(mut self, time: Duration) -> Self {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        self.expiry = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        self
    }

    /// Lets the message be accepted on this connection only, which
    /// [`ClientEvent::Connected`](crate::ClientEvent::Connected) or
    /// [`Client::connection`](crate::Client::connection) has named: for what is of no use on the
    /// next one, such as readings that a birth certificate has to come before. Once that connection
    /// has ended, the publish fails as [`ConnectionEnded`](PublishError::ConnectionEnded), and
    /// nothing was published. Default: on any.
    ///
    /// At QoS 0 the message leaves on this connection or not at all, unless it has a message expiry
    /// interval: then it is queued until the driver's next turn. What is queued, and what was
    /// accepted at QoS 1 and 2, is delivered like every other message, on a later connection if
    /// need be. While the output is full, [`try_enqueue`](Self::try_enqueue) fails as
    /// [`QueueFull`](PublishError::QueueFull) at QoS 0.
    ///
    /// ```
    /// # use martlet_client::{Client, ClientEvent, PublishError};
    /// # async fn example(client: Client) -> Result<(), PublishError> {
    /// let mut events = client.events();
    /// while let Some(event) = events.next().await {
    ///     let ClientEvent::Connected(connection) = event else { continue };
    ///     match client.publish("node/1/birth", "on").only_on(&connection).await {
    ///         Err(PublishError::ConnectionEnded) => {} // the next event says what came after it
    ///         published => drop(published?),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn only_on(mut self, connection: &'a Arc<Connected>) -> Self {
        self.connection = Some(connection);
        self
    }

    /// The message, or what is wrong with its topic.
    #[inline]
    fn into_message(self) -> Result<OutgoingPublish, TopicError> {
        match (self.message, self.expiry) {
            (Ok(mut message), Some(seconds)) => {
                message.properties = message.properties.with_message_expiry_interval(seconds);
                Ok(message)
            }
            (message, _) => message,
        }
    }

    /// Sets how long to wait, counted from the first poll: for room, for a connection, for the
    /// acknowledgement, and with [`enqueue`](Self::enqueue) for the receipt. Default: for ever, but
    /// for [`Config::publish_timeout`](martlet_session::Config::publish_timeout), which counts from
    /// when the message left. To let the message itself be worthless after a time, see
    /// [`expires_after`](Self::expires_after).
    ///
    /// When it runs out, the error says what becomes of the message:
    /// [`Timeout`](PublishError::Timeout), it was accepted and is delivered in the background;
    /// [`QueueFull`](PublishError::QueueFull), there was no room and nothing was published, nor
    /// with [`LargerThanQueue`](PublishError::LargerThanQueue): a message that is larger than the
    /// queue waits for a connection that takes it at once.
    #[inline]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits until the message is accepted, and gives a [`Receipt`] for the server's answer.
    ///
    /// Without a store, and at QoS 0, accepted means: there was room for it in this process's
    /// memory. With a [`store`](crate::Builder::store), a message of QoS 1 or 2 is accepted when it
    /// is **stored**: it survives a crash of the process or the machine from then on, and is
    /// delivered. That takes a write to the disk, which messages that are enqueued at the same time
    /// share: enqueue many concurrently, or use [`try_enqueue`](Self::try_enqueue) and
    /// [`Receipt::stored`], where one write for each is too slow. The driver must run.
    ///
    /// Cancel safe: dropped while it waits for room, nothing was published; dropped while it waits
    /// for the store, the message is delivered in the background. A [`timeout`](Self::timeout) that
    /// runs out says which of both it was.
    ///
    /// # Errors
    /// [`PublishError::Store`] when the store failed and, by the policy
    /// [`WhenStoreFails::Fail`](crate::store::WhenStoreFails::Fail), the message was given up;
    /// otherwise why it was not accepted.
    #[inline]
    pub fn enqueue(self) -> Enqueue<'a> {
        Enqueue {
            sending: self.into_sending(),
        }
    }

    /// Publishes the message now, or rejects it: never waits. It is accepted into this process's
    /// memory: with a [`store`](crate::Builder::store), [`Receipt::stored`] waits until it survives
    /// a crash. The [`timeout`](Self::timeout) has nothing to bound.
    ///
    /// ```
    /// # use martlet_client::{Client, PublishError, QoS};
    /// # fn example(client: Client) -> Result<(), PublishError> {
    /// match client.publish("a/b", "21.5").qos(QoS::AtLeastOnce).try_enqueue() {
    ///     Ok(_receipt) => {} // it is delivered, whether or not the receipt is kept
    ///     Err(PublishError::QueueFull) => println!("later"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PublishError`], [`QueueFull`](PublishError::QueueFull) among them; nothing has changed
    /// then.
    pub fn try_enqueue(self) -> Result<Receipt, PublishError> {
        let (shared, connection) = (self.shared, self.connection);
        let message = self.into_message().map_err(PublishError::Topic)?;
        send_now(shared, message, connection)
    }

    #[inline]
    fn into_sending(self) -> Sending<'a> {
        let (shared, timeout, connection) = (self.shared, self.timeout, self.connection);
        Sending::new(shared, self.into_message(), timeout, connection)
    }
}

impl<'a> IntoFuture for PublishBuilder<'a> {
    type Output = PublishResult;
    type IntoFuture = PublishFuture<'a>;

    #[inline]
    fn into_future(self) -> PublishFuture<'a> {
        PublishFuture {
            sending: self.into_sending(),
        }
    }
}

/// Waits until the server has acknowledged the message, through queueing and reconnects; with QoS
/// 0, until it is in the session's output.
///
/// Cancel safe: dropped before the message was accepted, nothing was published; dropped later, the
/// message is delivered in the background and only its end is not reported.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct PublishFuture<'a> {
    sending: Sending<'a>,
}

impl Future for PublishFuture<'_> {
    type Output = PublishResult;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PublishResult> {
        // What leaves is stored before: its end says more than that.
        self.sending.poll_end(cx)
    }
}

/// Waits for room, publishes, and with a store waits until the message is stored. Made by
/// [`PublishBuilder::enqueue`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Enqueue<'a> {
    sending: Sending<'a>,
}

impl Future for Enqueue<'_> {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.sending.poll_receipt(cx)
    }
}
