//! What a session takes from the application and what it tells it.

use crate::StoreError;
use crate::error::{ConnectionError, Details, PublishError, RequestError};
use crate::limits::Limits;
use crate::publish::OutgoingPublish;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;
use martlet_proto::PubAckReasonCode;
use martlet_proto::{
    BinaryData, ConnAck, DecodeError, Publish as PublishPacket, PublishPropertiesRef, QoS,
    SubAckReasonCode, SubscribeFilter, SubscriptionIdentifier, TopicFilter, TopicName,
    UnsubAckReasonCode, UserProperties, Utf8String, Version,
};

/// Names one publish, subscribe, unsubscribe or ping of a session. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub(crate) u64);

impl OperationId {
    /// The number: larger for later operations.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What became of a message that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// QoS 0, and in the output already: there is nothing to wait for.
    Sent(OperationId),
    /// It is in flight or queued; [`Event::Published`] tells the end.
    Pending(OperationId),
}

impl Accepted {
    /// The operation.
    pub const fn operation(self) -> OperationId {
        match self {
            Self::Sent(operation) | Self::Pending(operation) => operation,
        }
    }
}

/// Topic filters to subscribe to (MQTT 5 §3.8). They have one answer; at most
/// [`Config::max_filters_per_packet`](crate::Config::max_filters_per_packet) of them are sent in
/// one SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeRequest {
    pub(crate) subscriptions: Vec<SubscribeFilter>,
    pub(crate) subscription_identifier: Option<SubscriptionIdentifier>,
    pub(crate) user_properties: UserProperties,
    pub(crate) offline_timeout: Option<Duration>,
}

impl SubscribeRequest {
    /// To these, of which there must be at least one.
    pub fn new(subscriptions: impl IntoIterator<Item = SubscribeFilter>) -> Self {
        Self {
            subscriptions: subscriptions.into_iter().collect(),
            subscription_identifier: None,
            user_properties: UserProperties::new(),
            offline_timeout: None,
        }
    }

    /// Sets what comes back in each message that these subscriptions bring (MQTT 5; left out where
    /// the server has none). Default: none.
    #[must_use]
    pub fn subscription_identifier(
        mut self,
        identifier: impl Into<Option<SubscriptionIdentifier>>,
    ) -> Self {
        self.subscription_identifier = identifier.into();
        self
    }

    /// Sets name-value pairs of the users' own (MQTT 5). Default: none.
    #[must_use]
    pub fn user_properties(mut self, properties: UserProperties) -> Self {
        self.user_properties = properties;
        self
    }

    /// Sets how long it waits to be sent. Default: the session's
    /// [`offline_timeout`](crate::Config::offline_timeout).
    #[must_use]
    pub fn offline_timeout(mut self, timeout: Duration) -> Self {
        self.offline_timeout = Some(timeout);
        self
    }
}

/// Topic filters to unsubscribe from (MQTT 5 §3.10). They have one answer; at most
/// [`Config::max_filters_per_packet`](crate::Config::max_filters_per_packet) of them are sent in
/// one UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubscribeRequest {
    pub(crate) filters: Vec<TopicFilter>,
    pub(crate) user_properties: UserProperties,
    pub(crate) offline_timeout: Option<Duration>,
}

impl UnsubscribeRequest {
    /// From these, of which there must be at least one.
    pub fn new(filters: impl IntoIterator<Item = TopicFilter>) -> Self {
        Self {
            filters: filters.into_iter().collect(),
            user_properties: UserProperties::new(),
            offline_timeout: None,
        }
    }

    /// Sets name-value pairs of the users' own (MQTT 5). Default: none.
    #[must_use]
    pub fn user_properties(mut self, properties: UserProperties) -> Self {
        self.user_properties = properties;
        self
    }

    /// Sets how long it waits to be sent. Default: the session's
    /// [`offline_timeout`](crate::Config::offline_timeout).
    #[must_use]
    pub fn offline_timeout(mut self, timeout: Duration) -> Self {
        self.offline_timeout = Some(timeout);
        self
    }
}

/// A message that arrived.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedPublish {
    /// The PUBLISH, as it was on the wire.
    pub publish: PublishPacket,
    /// The topic that a topic alias stood for.
    pub(crate) aliased: Option<TopicName>,
    /// Give it back with [`Session::acknowledge`](crate::Session::acknowledge) when the application
    /// has taken the message, whatever its QoS.
    pub token: AckToken,
}

impl ReceivedPublish {
    /// The topic name, a topic alias resolved.
    pub fn topic(&self) -> &str {
        self.aliased
            .as_ref()
            .map_or_else(|| self.publish.topic(), TopicName::as_str)
    }

    /// The topic name's bytes, UTF-8, a topic alias resolved.
    #[inline]
    pub fn topic_bytes(&self) -> &[u8] {
        self.aliased
            .as_ref()
            .map_or_else(|| self.publish.topic_bytes(), TopicName::as_bytes)
    }

    /// The topic name, sharing its memory.
    ///
    /// # Panics
    /// Never: the session delivers no message without a topic.
    pub fn topic_name(&self) -> TopicName {
        self.aliased
            .clone()
            .or_else(|| self.publish.topic_name())
            .expect("a delivered message has a topic")
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.publish.payload()
    }

    /// The properties.
    pub fn properties(&self) -> PublishPropertiesRef<'_> {
        self.publish.properties()
    }
}

/// Stands for one delivery. It belongs to the session, not to the connection, and does nothing once
/// the server has lost the session. Not `Clone`: a delivery is taken once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the server waits for the acknowledgement, and the limits count what was not taken"]
pub struct AckToken {
    pub(crate) qos: QoS,
    pub(crate) sequence: u64,
    /// Bytes that the limits count for it.
    pub(crate) bytes: u32,
}

impl AckToken {
    /// The quality of service of the message.
    pub const fn qos(&self) -> QoS {
        self.qos
    }

    /// Names the delivery.
    pub const fn delivery(&self) -> DeliveryId {
        DeliveryId {
            qos: self.qos,
            sequence: self.sequence,
        }
    }
}

/// Names one delivery of a session, as long as its token is not given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    pub(crate) qos: QoS,
    pub(crate) sequence: u64,
}

impl DeliveryId {
    /// The quality of service of the message.
    pub const fn qos(self) -> QoS {
        self.qos
    }
}

/// What a session tells the application, in order.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The server has accepted the connection.
    Connected(Box<Connected>),
    /// A message arrived.
    Message(ReceivedPublish),
    /// A published message is completed.
    Published {
        /// The operation.
        operation: OperationId,
        /// The key it was given; `None` for a message of an earlier process.
        key: Option<u32>,
        /// Whether the server has taken it.
        result: Result<PublishOutcome, PublishError>,
    },
    /// A subscribe has been answered, or will not be.
    Subscribed {
        /// The operation.
        operation: OperationId,
        /// A code for each filter, in their order: look at each.
        result: Result<Answer<SubAckReasonCode>, RequestError>,
    },
    /// An unsubscribe has been answered, or will not be.
    Unsubscribed {
        /// The operation.
        operation: OperationId,
        /// A code for each filter, in their order; in 3.x all are success.
        result: Result<Answer<UnsubAckReasonCode>, RequestError>,
    },
    /// A ping has been answered, or will not be.
    Pong {
        /// The operation.
        operation: OperationId,
        /// Whether the server answered.
        result: Result<(), RequestError>,
    },
    /// The server asks for the next step of enhanced authentication (MQTT 5 §4.12): answer it with
    /// [`authenticate`](crate::Session::authenticate).
    AuthChallenge(Box<AuthMessage>),
    /// The server accepts the connection after enhanced authentication, with these last words.
    /// Nothing else is sent or read before [`accept_server`](crate::Session::accept_server), or
    /// [`give_up`](crate::Session::give_up) where the server's proof is wrong.
    Authenticated(Box<AuthMessage>),
    /// A re-authentication has ended. When the server's proof is wrong,
    /// [`give_up`](crate::Session::give_up).
    Reauthenticated {
        /// The operation.
        operation: OperationId,
        /// The server's last words. It fails with the connection only.
        result: Result<Box<AuthMessage>, RequestError>,
    },
    /// Subscriptions were made again because the server had lost the session; the codes are the
    /// server's, or follow from what its CONNACK allows. What was not granted is over.
    Resubscribed(Vec<(TopicFilter, SubAckReasonCode)>),
    /// A subscribe or unsubscribe of one filter has failed and is not sent again. It is emitted
    /// where no answer carries the error: for subscriptions that were made again
    /// ([`Resubscribed`](Self::Resubscribed) has a code for them as well), for one filter among
    /// several whose answer has codes, and where no operation waits for an answer.
    RequestFailed {
        /// The filter.
        filter: TopicFilter,
        /// The reason.
        error: RequestError,
    },
    /// So many QoS 0 messages were dropped, since the last such event, because too many wait to be
    /// taken.
    InboundDropped(u64),
    /// The server has more messages of QoS 1 and 2 unacknowledged than this connection's Receive
    /// Maximum allows [MQTT-3.3.4-9]. They are taken within the hard bounds
    /// ([`Excess`](crate::Excess)); reported once for a connection.
    ReceiveMaximumExceeded {
        /// What the CONNECT allowed.
        receive_maximum: u16,
    },
    /// A message above [`maximum_packet_size`](crate::Config::maximum_packet_size) was not taken:
    /// its bytes were skipped, and at QoS 1 and 2 it is acknowledged
    /// ([`Oversized`](crate::Oversized)).
    MessageSkipped {
        /// Its topic.
        topic: TopicName,
        /// The size of its packet, in bytes.
        size: u32,
        /// Its quality of service.
        qos: QoS,
    },
    /// A message that cannot be taken has ended the connection, as others ended those before it:
    /// the third in a row and all that follow are named. It is likely a retained message, or one
    /// that the server sends again.
    MessageRejected(Box<RejectedMessage>),
    /// `disconnect()` is complete, and these messages were not acknowledged; the end of each was
    /// reported as [`Published`](Self::Published). It is only emitted if there are any. In the order
    /// of [`Session::undelivered`](crate::Session::undelivered).
    Undelivered(Vec<Undelivered>),
    /// The store could not take what is to be stored. What waits for it waits until it works again,
    /// or fails.
    StoreFailed(StoreError),
    /// The store has taken what it could not.
    StoreRecovered,
    /// A message of QoS 1 or 2 that was not acknowledged has held back the acknowledgements of
    /// later ones for longer than
    /// [`held_acknowledgements_after`](crate::Config::held_acknowledgements_after); reported again
    /// each such time. When all that [`receive_maximum`](crate::InboundLimits::receive_maximum)
    /// allows is held, the server sends no more.
    AcknowledgementsHeld {
        /// The message.
        by: DeliveryId,
        /// How many acknowledgements wait for it.
        held: usize,
    },
    /// The server has ended one connection after the other when it got this message, with nothing
    /// else in flight: [`when_server_hangs_up`](crate::Config::when_server_hangs_up) says what
    /// becomes of it. It comes each time that
    /// [`hang_up_limit`](crate::Config::hang_up_limit) more have ended, and when it is given up.
    ServerHangsUp {
        /// The operation.
        operation: OperationId,
        /// The key it was given.
        key: Option<u32>,
        /// How many connections in a row have ended so, at most 255.
        connections: u32,
        /// Whether it was given up; [`Published`](Self::Published) follows. Otherwise it is sent
        /// again, until it is given up or [withdrawn](crate::Session::withdraw).
        given_up: bool,
    },
    /// The connection is gone; the session lives on.
    Disconnected(ConnectionError),
}

/// What one side says in a step of enhanced authentication (MQTT 5 §3.15.2.2), besides the method.
/// `Debug` shows the length of the data only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AuthMessage {
    /// Data of the method.
    pub data: Option<BinaryData>,
    /// A diagnostic text for humans.
    pub reason_string: Option<Utf8String>,
    /// Name-value pairs of the users' own.
    pub user_properties: UserProperties,
}

impl AuthMessage {
    /// Sets the data. Default: none.
    #[must_use]
    pub fn data(mut self, data: impl Into<Option<BinaryData>>) -> Self {
        self.data = data.into();
        self
    }

    /// Sets the text. Default: none.
    #[must_use]
    pub fn reason_string(mut self, text: impl Into<Option<Utf8String>>) -> Self {
        self.reason_string = text.into();
        self
    }

    /// Sets the name-value pairs. Default: none.
    #[must_use]
    pub fn user_properties(mut self, properties: UserProperties) -> Self {
        self.user_properties = properties;
        self
    }
}

/// A message that cannot be taken, and that ended the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedMessage {
    /// What is wrong with it.
    pub error: DecodeError,
    /// Its topic, as far as it can be read. It may hold wildcards.
    pub topic: Option<Utf8String>,
    /// Its quality of service, as far as it can be read.
    pub qos: Option<QoS>,
    /// The size of its packet, in bytes; 0 when that cannot be read.
    pub size: u32,
    /// How many connections in a row have ended like this.
    pub connections: u32,
}

impl core::fmt::Display for RejectedMessage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a message")?;
        if let Some(qos) = self.qos {
            write!(f, " of {qos}")?;
        }
        if let Some(topic) = &self.topic {
            write!(f, " on {:?}", topic.as_str())?;
        }
        let Self {
            error,
            size,
            connections,
            ..
        } = self;
        write!(
            f,
            " ({size} bytes) ended {connections} connections in a row: {error}"
        )
    }
}

/// A message that was accepted, and that the server has not acknowledged to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undelivered {
    /// The operation that published it.
    pub operation: OperationId,
    /// How far it has come.
    pub stage: DeliveryStage,
    /// The message itself. `None` once the server has it, unless the policy for a
    /// [lost session](crate::Config::lost_qos2) may send it again.
    pub message: Option<OutgoingPublish>,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryStage {
    /// It was not sent, or is to be sent again after the server had lost the session.
    Queued,
    /// It is in flight: it may have arrived.
    InFlight,
    /// Of QoS 2: the server has it, and has not confirmed that it forgets it (MQTT 5 §4.3.3).
    Received,
}

/// How a message was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishOutcome {
    /// Success, or that nobody subscribes to it (MQTT 5).
    pub reason: PubAckReasonCode,
    /// The server's words.
    pub details: Option<Box<Details>>,
}

impl PublishOutcome {
    /// Success, without words.
    pub const SUCCESS: Self = Self {
        reason: PubAckReasonCode::Success,
        details: None,
    };
}

/// The answer to a subscribe or unsubscribe.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer<C> {
    /// One for each filter, in their order.
    pub reasons: Vec<C>,
    /// The server's words.
    pub details: Option<Box<Details>>,
}

impl<C> Answer<C> {
    /// With these codes, and without words.
    pub fn new(reasons: Vec<C>) -> Self {
        Self {
            reasons,
            details: None,
        }
    }
}

/// A connection that the server has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// The version it speaks.
    pub version: Version,
    /// Whether the server still had the session. In 3.1, which cannot say, whether it should have.
    pub session_present: bool,
    /// What the server allows.
    pub limits: Limits,
    /// The server's CONNACK.
    pub connack: ConnAck,
}

/// Things that were tolerated or left out, since the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Acknowledgements that were not expected: late, repeated or foreign.
    pub unexpected_acknowledgements: u64,
    /// Properties and options that the version of the connection had no spelling for.
    pub left_out_in_3x: u64,
    /// QoS 0 messages dropped because too many waited to be taken.
    pub inbound_dropped: u64,
    /// Reason strings and sets of user properties for which there was no room
    /// ([`Config::diagnostics`](crate::Config::diagnostics)).
    pub diagnostics_left_out: u64,
    /// Properties of a CONNACK or DISCONNECT that answer nothing that the CONNECT asked, or do not
    /// belong to the reason code: an assigned client identifier, response information, a server
    /// reference. They are ignored; errors still report a server reference.
    pub unasked_answers: u64,
    /// Messages of QoS 1 and 2 that came although the server had as many unacknowledged as our
    /// Receive Maximum allows.
    pub receive_maximum_exceeded: u64,
    /// Messages with an empty response topic, which is not allowed and counts as none.
    pub empty_response_topics: u64,
    /// Messages above our maximum packet size whose bytes were skipped.
    pub oversized_skipped: u64,
}

impl Counters {
    /// Nothing was counted.
    pub(crate) const NOTHING: Self = Self {
        unexpected_acknowledgements: 0,
        left_out_in_3x: 0,
        inbound_dropped: 0,
        diagnostics_left_out: 0,
        unasked_answers: 0,
        receive_maximum_exceeded: 0,
        empty_response_topics: 0,
        oversized_skipped: 0,
    };
}
