//! What can go wrong, and whose fault it is.

use crate::reported::{GivenUp, StoreError, TransportError};
use alloc::boxed::Box;
use alloc::vec::Vec;
use martlet_proto::{
    ConnectReasonCode, DecodeError, DisconnectReasonCode, PacketType, PubAckReasonCode, QoS,
    UserProperties, Utf8String, Version,
};

/// Why a connection ended. It goes to everyone who waits on the connection, and, where MQTT 5 has a
/// word for it, to the server in a DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// `disconnect()` was called here.
    #[error("disconnected as asked")]
    ClosedHere,
    /// The network connection ended without a word from the server.
    #[error("the server closed the connection")]
    ClosedByPeer,
    /// The network failed.
    #[error(transparent)]
    Transport(TransportError),
    /// The server rejected the CONNECT (MQTT 5 §3.2.2.2).
    #[error("the server rejected the connection: {0}")]
    Rejected(Box<Rejection>),
    /// The server sent a DISCONNECT (MQTT 5 §3.14).
    #[error("the server disconnected: {0}")]
    DisconnectedByPeer(Box<ServerDisconnect>),
    /// The server sent bytes that are not MQTT.
    #[error("the server sent bytes that are not MQTT")]
    Malformed(#[source] DecodeError),
    /// The server sent a packet that it may not send, or not now.
    #[error("the server broke the protocol")]
    PeerMisbehaved(#[source] Misbehaviour),
    /// The server, or the application in its place, did not answer in time.
    #[error("no {0} in time")]
    Timeout(Awaited),
    /// The server did not answer the CONNECT with a CONNACK of its version: perhaps it speaks
    /// another.
    #[error(
        "{instead} to the CONNECT of {version}; if the server speaks another version, set that: \
         `Builder::version`, or `martlet.version` in a configuration"
    )]
    NoConnAck {
        /// The version that was spoken.
        version: Version,
        /// What came instead.
        instead: Instead,
    },
    /// The application wanted another connection in place of this one.
    #[error("another connection takes its place, as asked")]
    Replaced,
    /// The server sent more of QoS 1 and 2 than the limits of what waits here allow; all of it is
    /// resent after a reconnect.
    #[error(
        "more messages than the limits allow wait to be taken; take them faster or raise the limits"
    )]
    InboundOverrun,
    /// The application would not go on: its own code that prepares connections or authenticates
    /// said so.
    #[error(transparent)]
    GivenUp(GivenUp),
    /// No connection can work with the configuration; nothing was sent.
    #[error("the configuration cannot work")]
    Configuration(#[source] crate::ConfigError),
    /// What the CONNECT should say has no spelling in the version of the connection.
    #[error("cannot connect with {version}")]
    CannotConnect {
        /// The version asked for.
        version: Version,
        /// What is in the way.
        #[source]
        what: martlet_proto::EncodeError,
    },
}

/// A CONNACK that rejects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// The reason of the CONNACK.
    pub reason: ConnectReasonCode,
    /// The server's words.
    pub reason_string: Option<Utf8String>,
    /// Another server to use.
    pub server_reference: Option<Utf8String>,
    /// Name-value pairs of the server's own.
    pub user_properties: UserProperties,
}

impl Rejection {
    /// With this reason and nothing else.
    pub fn new(reason: ConnectReasonCode) -> Self {
        Self {
            reason,
            reason_string: None,
            server_reference: None,
            user_properties: UserProperties::new(),
        }
    }
}

impl core::fmt::Display for Rejection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        display(f, &self.reason, self.reason_string.as_ref())
    }
}

/// A DISCONNECT of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerDisconnect {
    /// The reason of the DISCONNECT.
    pub reason: DisconnectReasonCode,
    /// The server's words.
    pub reason_string: Option<Utf8String>,
    /// Another server to use.
    pub server_reference: Option<Utf8String>,
    /// Name-value pairs of the server's own.
    pub user_properties: UserProperties,
}

impl ServerDisconnect {
    /// With this reason and nothing else.
    pub fn new(reason: DisconnectReasonCode) -> Self {
        Self {
            reason,
            reason_string: None,
            server_reference: None,
            user_properties: UserProperties::new(),
        }
    }
}

impl core::fmt::Display for ServerDisconnect {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        display(f, &self.reason, self.reason_string.as_ref())
    }
}

fn display(
    f: &mut core::fmt::Formatter<'_>,
    reason: &dyn core::fmt::Display,
    words: Option<&Utf8String>,
) -> core::fmt::Result {
    match words {
        Some(words) => write!(f, "{reason}: {:?}", words.as_str()),
        None => reason.fmt(f),
    }
}

/// What the server did that it may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// Something else than CONNACK came first [MQTT-3.2.0-1].
    #[error("{0} came before CONNACK")]
    BeforeConnAck(PacketType),
    /// A second CONNACK [MQTT-3.2.0-2].
    #[error("a second CONNACK")]
    SecondConnAck,
    /// A packet that only a client sends, or that this version's server does not send.
    #[error("{0} is not a packet that a server may send here")]
    NotAServerPacket(PacketType),
    /// Session present after a clean start [MQTT-3.2.2-2].
    #[error("session present after a clean start")]
    SessionPresentAfterCleanStart,
    /// Session present although there is no session here, with the strict option [MQTT-3.2.2-4].
    #[error("session present, but there is no session here")]
    SessionUnknown,
    /// More unacknowledged messages than our Receive Maximum [MQTT-3.3.4-9].
    #[error("more unacknowledged messages than the receive maximum")]
    ReceiveMaximumExceeded,
    /// A topic alias above our maximum, or one that was never set [MQTT-3.1.2-26].
    #[error("topic alias {0} is not known")]
    TopicAlias(u16),
    /// A SUBACK or UNSUBACK with another number of reason codes than filters [MQTT-3.8.4-6].
    #[error("an answer with {given} reason codes for {asked} filters")]
    ReasonCodes {
        /// How many filters were asked for.
        asked: usize,
        /// How many codes came.
        given: usize,
    },
    /// A session expiry interval in the server's DISCONNECT [MQTT-3.14.2-2].
    #[error("a session expiry interval in a server's DISCONNECT")]
    SessionExpiryInDisconnect,
    /// AUTH without an authentication method in the CONNECT [MQTT-4.12.0-6], or when it was not the
    /// server's turn.
    #[error("AUTH out of turn, or without enhanced authentication")]
    UnexpectedAuth,
    /// AUTH or CONNACK with another authentication method than the CONNECT, or CONNACK without it
    /// [MQTT-4.12.0-5] [MQTT-4.12.0-6].
    #[error("the authentication method is not that of the CONNECT")]
    AuthenticationMethod,
    /// A CONNACK of success while the server's own challenge waits for its answer.
    #[error("CONNACK before the challenge was answered")]
    ConnAckBeforeAnswer,
}

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// CONNACK.
    ConnAck,
    /// Any byte after a PINGREQ.
    PingResp,
    /// The server's next step when authenticating again.
    Auth,
    /// The application's step: its answer to a challenge, or whether it accepts the server.
    Authenticator,
    /// What the application does before an attempt to connect.
    Preparation,
}

/// What came instead of a CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Instead {
    /// Nothing, in the time that there was.
    #[error("no answer in time")]
    Silence,
    /// The end of the connection.
    #[error("the server closed the connection without an answer")]
    Close,
    /// A CONNACK that cannot be read in this version.
    #[error("an answer that cannot be read ({0})")]
    Unreadable(DecodeError),
}

impl core::fmt::Display for Awaited {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::ConnAck => "CONNACK from the server",
            Self::PingResp => "PINGRESP from the server",
            Self::Auth => "AUTH from the server",
            Self::Authenticator => "answer to the server's authentication",
            Self::Preparation => "preparation of the connection",
        })
    }
}

impl ConnectionError {
    /// What a DISCONNECT of MQTT 5 tells the server about it; `None` when there is nothing to tell
    /// or nobody to tell it to.
    pub fn disconnect_reason(&self) -> Option<DisconnectReasonCode> {
        use DisconnectReasonCode as Code;
        match self {
            Self::Malformed(error) => Some(error.reason()),
            Self::PeerMisbehaved(Misbehaviour::ReceiveMaximumExceeded) => {
                Some(Code::ReceiveMaximumExceeded)
            }
            Self::PeerMisbehaved(Misbehaviour::TopicAlias(_)) => Some(Code::TopicAliasInvalid),
            Self::PeerMisbehaved(_) => Some(Code::ProtocolError),
            Self::InboundOverrun => Some(Code::QuotaExceeded),
            Self::Timeout(_) | Self::GivenUp(_) => Some(Code::UnspecifiedError),
            Self::ClosedHere
            | Self::ClosedByPeer
            | Self::Transport(_)
            | Self::Rejected(_)
            | Self::DisconnectedByPeer(_)
            | Self::Configuration(_)
            | Self::NoConnAck { .. }
            | Self::Replaced
            | Self::CannotConnect { .. } => None,
        }
    }
}

/// The server's words about one operation (MQTT 5); there are none in most acknowledgements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Details {
    /// A diagnostic text for humans.
    pub reason_string: Option<Utf8String>,
    /// Name-value pairs of the server's own.
    pub user_properties: UserProperties,
}

impl Details {
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

    /// The number of bytes of the reason string and of the user properties.
    pub fn size(&self) -> usize {
        self.reason_string.as_ref().map_or(0, Utf8String::len) + self.user_properties.size()
    }

    pub(crate) fn new(
        reason_string: Option<Utf8String>,
        user_properties: UserProperties,
    ) -> Option<Box<Self>> {
        if reason_string.is_none() && user_properties.is_empty() {
            return None;
        }
        Some(Box::new(Self {
            reason_string,
            user_properties,
        }))
    }
}

/// Why a message was not accepted, or why an accepted one was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic name is wrong.
    #[error("the topic name is wrong")]
    Topic(#[source] martlet_proto::TopicError),
    /// The queue is full. Wait for completions, or choose a policy that drops.
    #[error("the queue of unsent messages is full")]
    QueueFull,
    /// Larger than the whole queue, which it would have to pass: there is no connection that takes
    /// it at once, or it is stored. Raise [`QueueLimits::bytes`](crate::QueueLimits::bytes), or, if
    /// it is not stored, publish it on a connection with nothing before it.
    #[error("the message has {size} bytes, and the queue of unsent messages takes {limit} in all")]
    LargerThanQueue {
        /// Its topic, properties and payload, in bytes.
        size: usize,
        /// The bound of the queue.
        limit: usize,
    },
    /// There is no connection, and the configuration says to reject then.
    #[error("not connected")]
    NotConnected,
    /// The connection has ended on which alone the message was to be accepted: nothing was
    /// published.
    #[error("the connection that the message was for has ended")]
    ConnectionEnded,
    /// The client has stopped or is disconnecting, for this reason: the message was not accepted,
    /// or will not be sent any more.
    #[error("the client has stopped")]
    Closed(#[source] ConnectionError),
    /// The client has stopped for this reason before the message was acknowledged. It keeps the
    /// message, and sends it once it is revived; disconnecting drops it.
    #[error("the client has stopped; it keeps the message until it is revived")]
    OnHold(#[source] ConnectionError),
    /// Larger than the server's Maximum Packet Size, or than MQTT allows [MQTT-3.2.2-15].
    #[error("the packet has {size} bytes; the limit is {limit}")]
    PacketTooLarge {
        /// The size it would have, in bytes.
        size: usize,
        /// What the server, or MQTT, allows.
        limit: usize,
    },
    /// The server does not take messages of this QoS [MQTT-3.2.2-11].
    #[error("the server takes {maximum} at most")]
    QosNotSupported {
        /// What it takes.
        maximum: QoS,
    },
    /// The server keeps no retained messages [MQTT-3.2.2-14].
    #[error("the server does not support retained messages")]
    RetainNotSupported,
    /// The message has properties, the connection's version has none, and the configuration says to
    /// reject then.
    #[error("the message has properties, which {0} cannot carry")]
    NotInVersion(Version),
    /// The server rejected the message (MQTT 5 §3.4.2.1).
    #[error("the server rejected the message: {reason}")]
    Rejected {
        /// The reason.
        reason: PubAckReasonCode,
        /// The server's words.
        details: Option<Box<Details>>,
    },
    /// The server answered with a packet of another flow, such as a PUBACK for a message of QoS 2:
    /// it has the message or not, and the right answer will not come. Publish to this server with
    /// another QoS.
    #[error(
        "the server answered with {received} where {expected} was due: the message may have arrived; this server may not support its QoS"
    )]
    WrongAcknowledgement {
        /// The answer that was due.
        expected: PacketType,
        /// The answer that came.
        received: PacketType,
    },
    /// The server ended the connection each time it got this message, with nothing else in flight.
    /// It may be too large for the server, or the client may not publish to its topic: the server's
    /// log says. It may have arrived.
    #[error(
        "the server ended {connections} connections in a row when it got this message: it may forbid its topic, size or QoS"
    )]
    ServerHungUp {
        /// How many.
        connections: u32,
    },
    /// The application has withdrawn it.
    #[error("the message was withdrawn")]
    Withdrawn,
    /// The server lost the session after the message was written: it may have arrived or not.
    #[error("in doubt: the server lost the session after the message was sent")]
    InDoubt,
    /// Its message expiry interval ran out before it was sent.
    #[error("the message expired before it could be sent")]
    Expired,
    /// The queue's policy dropped it for another.
    #[error("dropped from the full queue")]
    Dropped,
    /// The store could not take it, and it was not sent. No message above QoS 0 is accepted until
    /// the store works again.
    #[error("the message could not be stored")]
    Store(#[source] StoreError),
    /// The client has disconnected before it was acknowledged, and the store keeps it: its end is
    /// reported by the next session on that store.
    #[error("not acknowledged yet, and kept in the store")]
    Kept,
    /// Nothing stores the message: it has QoS 0, or the client has no store.
    #[error("not stored: the message has QoS 0, or the client has no store")]
    NotStored,
    /// No acknowledgement within the time set for it. The message stays queued or in flight: it may
    /// have arrived, and goes on to be sent again where MQTT asks for it.
    #[error("no acknowledgement in time; the message is not given up")]
    Timeout,
}

/// What a server, or the version of a connection, may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// Topic filters with `+` or `#` (MQTT 5 §3.2.2.3.11).
    #[error("wildcard subscriptions are")]
    WildcardSubscriptions,
    /// Topic filters that begin with `$share/` (MQTT 5 §3.2.2.3.13).
    #[error("shared subscriptions are")]
    SharedSubscriptions,
    /// Authenticating again: the connection was made without enhanced authentication, or there is
    /// no authenticator (MQTT 5 §4.12.1).
    #[error("authenticating again is")]
    Reauthentication,
}

/// Why a subscribe, unsubscribe, ping or re-authentication failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No filter at all [MQTT-3.8.3-2].
    #[error("at least one topic filter is needed")]
    NoFilter,
    /// No Local on a shared subscription [MQTT-3.8.3-4].
    #[error("no local cannot be set on a shared subscription")]
    NoLocalShared,
    /// The client has stopped or is disconnecting, for this reason.
    #[error("the client has stopped")]
    Closed(#[source] ConnectionError),
    /// There is no connection to ask on, none came in time, or it ended before the answer.
    #[error("not connected")]
    NotConnected,
    /// All packet identifiers, or all room for requests, are in use.
    #[error("too many requests are under way")]
    TooMany,
    /// Larger than the server's Maximum Packet Size, or than MQTT allows.
    #[error("the packet has {size} bytes; the limit is {limit}")]
    PacketTooLarge {
        /// The size it would have, in bytes.
        size: usize,
        /// What the server, or MQTT, allows.
        limit: usize,
    },
    /// The server, or the version of the connection, does not have this.
    #[error("{0} not supported on this connection")]
    NotSupported(Unsupported),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection was lost between the packet and its answer, so often that it is not sent
    /// again ([`max_request_losses`](crate::Config::max_request_losses)). Some servers close the
    /// connection instead of rejecting: look whether the client may use this filter.
    #[error(
        "{connections} connections were lost before the answer; the server may close them because of this request, \
         which is not sent again"
    )]
    ConnectionsLost {
        /// How many.
        connections: u32,
    },
    /// The server's answers do not fit the request, twice in a row. It is not sent again.
    #[error("the server's answer does not fit the request: {0}")]
    InvalidAnswer(Box<InvalidAnswer>),
    /// It was not sent, and a later request for the same filter, of the opposite kind, has taken
    /// its place.
    #[error("a later request for the same filter has taken its place")]
    Superseded,
    /// There is no challenge of the server to answer; the connection may be gone.
    #[error("there is no challenge to answer")]
    NoChallenge,
}

/// A SUBACK or UNSUBACK that does not fit its request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; it sent {}", Hex(.bytes))]
pub struct InvalidAnswer {
    problem: AnswerProblem,
    bytes: Vec<u8>,
}

/// What is wrong with a SUBACK or UNSUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerProblem {
    /// Another number of reason codes than filters [MQTT-3.8.4-6].
    #[error("{given} reason codes for {asked} filters")]
    ReasonCodes {
        /// How many filters were asked for.
        asked: usize,
        /// How many codes came.
        given: usize,
    },
    /// It is not a packet of this version; perhaps it is one of another.
    #[error("{0}")]
    Malformed(DecodeError),
}

impl InvalidAnswer {
    /// How much of an answer is kept.
    const MOST: usize = 64;

    pub(crate) fn new(problem: AnswerProblem, answer: &[u8]) -> Self {
        Self {
            problem,
            bytes: answer[..answer.len().min(Self::MOST)].to_vec(),
        }
    }

    /// What is wrong with it.
    pub fn problem(&self) -> AnswerProblem {
        self.problem
    }

    /// The packet as it came, from its first byte; no more than 64 bytes of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes as two digits each.
struct Hex<'a>(&'a [u8]);

impl core::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { "" } else { " " })?;
        }
        if self.0.len() == InvalidAnswer::MOST {
            f.write_str(" …")
        } else {
            Ok(())
        }
    }
}
