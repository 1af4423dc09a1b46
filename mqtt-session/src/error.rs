//! What can go wrong, and whose fault it is.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use martlet_proto::{
    ConnectReasonCode, DecodeError, DisconnectReasonCode, PacketType, PubAckReasonCode, QoS, UserProperties,
    Utf8String, Version,
};

/// Why a connection ended. It goes to everyone who waits on the connection, and, where MQTT 5 has a word for it, to
/// the server in a DISCONNECT.
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
    #[error("{0}")]
    Transport(TransportError),
    /// The server refused the CONNECT (MQTT 5 §3.2.2.2).
    #[error("the server refused the connection: {0}")]
    Refused(Box<Refusal>),
    /// The server sent a DISCONNECT (MQTT 5 §3.14).
    #[error("the server disconnected: {0}")]
    DisconnectedByPeer(Box<Farewell>),
    /// The server sent bytes that are not MQTT.
    #[error("the server sent a {0}")]
    Malformed(DecodeError),
    /// The server sent a packet that it may not send, or not now.
    #[error("the server broke the protocol: {0}")]
    PeerMisbehaved(Misbehaviour),
    /// The server, or the application in its place, did not answer in time.
    #[error("no {0} in time")]
    Timeout(Awaited),
    /// The server sent more of QoS 1 and 2 than the limits of what waits here allow; all of it is resent after a
    /// reconnect.
    #[error("more messages than the limits allow wait to be taken; take them faster or raise the limits")]
    InboundOverrun,
    /// The application would not go on: its own code that prepares connections or authenticates said so.
    #[error("{0}")]
    GivenUp(GivenUp),
    /// What the CONNECT should say has no spelling in the version of the connection.
    #[error("cannot connect with {version}: {what}")]
    CannotConnect {
        /// The version asked for.
        version: Version,
        /// What is in the way.
        what: martlet_proto::EncodeError,
    },
}

/// How the network failed, in the words of whoever drives the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct TransportError {
    kind: TransportErrorKind,
    permanent: bool,
    text: Arc<str>,
}

/// Where the network, or what lies between it and MQTT, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The host's name has no address.
    Resolve,
    /// No connection could be made.
    Connect,
    /// Making the connection took too long.
    ConnectTimeout,
    /// Reading or writing failed.
    Io,
    /// The peer took no bytes for too long.
    WriteTimeout,
    /// The socket was open, but not all that lies between it and MQTT in time.
    HandshakeTimeout,
    /// The proxy failed or refused.
    Proxy,
    /// TLS failed, but not over a certificate.
    Tls,
    /// The server's certificate is not accepted here.
    Certificate,
    /// The server does not accept our certificate, or wants one and there is none.
    ClientCertificate,
    /// WebSocket failed, or was refused.
    WebSocket,
    /// What was asked for cannot be done at all.
    Configuration,
}

impl TransportError {
    /// With this text for people: lower case, without a full stop, without secrets.
    pub fn new(kind: TransportErrorKind, text: impl Into<String>) -> Self {
        Self { kind, permanent: false, text: Arc::from(text.into()) }
    }

    /// The same, of an error that stays until somebody changes something: trying again would be for nothing.
    #[must_use]
    pub fn permanent(self) -> Self {
        Self { permanent: true, ..self }
    }

    /// Whether trying again would be for nothing.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// Where it failed.
    pub fn kind(&self) -> TransportErrorKind {
        self.kind
    }
}

/// A socket that failed.
#[cfg(feature = "std")]
impl From<std::io::Error> for TransportError {
    fn from(error: std::io::Error) -> Self {
        Self::new(TransportErrorKind::Io, alloc::format!("{error}"))
    }
}

/// Why the application would not connect, or not stay connected: the words of its own code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct GivenUp {
    text: Arc<str>,
    is_final: bool,
}

impl GivenUp {
    /// This time only: a later attempt may do better. The words come without secrets.
    pub fn for_now(why: impl core::fmt::Display) -> Self {
        Self { text: Arc::from(alloc::format!("{why}")), is_final: false }
    }

    /// For good: trying again would not help. The words come without secrets.
    pub fn for_good(why: impl core::fmt::Display) -> Self {
        Self { text: Arc::from(alloc::format!("{why}")), is_final: true }
    }

    /// Whether trying again would not help.
    pub fn is_final(&self) -> bool {
        self.is_final
    }
}

/// A CONNACK that refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: ConnectReasonCode,
    /// The server's words.
    pub reason_string: Option<Utf8String>,
    /// Another server to use.
    pub server_reference: Option<Utf8String>,
    /// Name-value pairs of the server's own.
    pub user_properties: UserProperties,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        display(f, &self.reason, self.reason_string.as_ref())
    }
}

/// A DISCONNECT of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    /// Why.
    pub reason: DisconnectReasonCode,
    /// The server's words.
    pub reason_string: Option<Utf8String>,
    /// Another server to use.
    pub server_reference: Option<Utf8String>,
    /// Name-value pairs of the server's own.
    pub user_properties: UserProperties,
}

impl core::fmt::Display for Farewell {
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
    /// AUTH without an authentication method in the CONNECT [MQTT-4.12.0-6], or when it was not the server's turn.
    #[error("AUTH out of turn, or without enhanced authentication")]
    UnexpectedAuth,
    /// AUTH or CONNACK with another authentication method than the CONNECT, or CONNACK without it [MQTT-4.12.0-5]
    /// [MQTT-4.12.0-6].
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
    /// What a DISCONNECT of MQTT 5 tells the server about it; `None` when there is nothing to tell or nobody to tell
    /// it to.
    pub fn disconnect_reason(&self) -> Option<DisconnectReasonCode> {
        use DisconnectReasonCode as Code;
        match self {
            Self::Malformed(error) => Some(error.reason()),
            Self::PeerMisbehaved(Misbehaviour::ReceiveMaximumExceeded) => Some(Code::ReceiveMaximumExceeded),
            Self::PeerMisbehaved(Misbehaviour::TopicAlias(_)) => Some(Code::TopicAliasInvalid),
            Self::PeerMisbehaved(_) => Some(Code::ProtocolError),
            Self::InboundOverrun => Some(Code::QuotaExceeded),
            Self::Timeout(_) | Self::GivenUp(_) => Some(Code::UnspecifiedError),
            Self::ClosedHere
            | Self::ClosedByPeer
            | Self::Transport(_)
            | Self::Refused(_)
            | Self::DisconnectedByPeer(_)
            | Self::CannotConnect { .. } => None,
        }
    }
}

/// The server's words about one operation (MQTT 5); there are none in most acknowledgements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// For people.
    pub reason_string: Option<Utf8String>,
    /// Name-value pairs of the server's own.
    pub user_properties: UserProperties,
}

impl Details {
    pub(crate) fn new(
        reason_string: Option<Utf8String>,
        user_properties: UserProperties,
    ) -> Option<Box<Self>> {
        if reason_string.is_none() && user_properties.is_empty() {
            return None;
        }
        Some(Box::new(Self { reason_string, user_properties }))
    }
}

/// Why a message was not accepted, or why an accepted one was not settled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic name is wrong.
    #[error("topic name: {0}")]
    Topic(martlet_proto::TopicError),
    /// The queue is full. Wait for completions, or choose a policy that drops.
    #[error("the queue of unsent messages is full")]
    QueueFull,
    /// There is no connection, and the configuration says to refuse then.
    #[error("not connected")]
    NotConnected,
    /// The client is disconnecting or has disconnected.
    #[error("the client has disconnected")]
    Closed,
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
    /// The message has properties, the connection's version has none, and the configuration says to refuse then.
    #[error("the message has properties, which {0} cannot carry")]
    NotInVersion(Version),
    /// The server refused the message (MQTT 5 §3.4.2.1).
    #[error("the server refused the message: {reason}")]
    Refused {
        /// Why.
        reason: PubAckReasonCode,
        /// The server's words.
        details: Option<Box<Details>>,
    },
    /// The server lost the session after the message was written: it may have arrived or not.
    #[error("in doubt: the server lost the session after the message was sent")]
    InDoubt,
    /// Its message expiry interval ran out before it was sent.
    #[error("the message expired before it could be sent")]
    Expired,
    /// The queue's policy dropped it for another.
    #[error("dropped from the full queue")]
    Dropped,
    /// The store could not take it, and it was not sent. No message above QoS 0 is accepted until the store works again.
    #[error("the message could not be stored: {0}")]
    Store(crate::StoreError),
    /// The client has disconnected before it was settled, and the store keeps it: its end is told by the session that
    /// goes on with the store.
    #[error("not settled yet, and kept in the store")]
    Kept,
    /// No acknowledgement within the time set for it. The message stays queued or in flight: it may have arrived, and
    /// goes on to be sent again where MQTT asks for it.
    #[error("no acknowledgement in time; the message is not given up")]
    Timeout,
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
    /// The client is disconnecting or has disconnected.
    #[error("the client has disconnected")]
    Closed,
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
    NotSupported(&'static str),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// There is no challenge of the server to answer; the connection may be gone.
    #[error("there is no challenge to answer")]
    NoChallenge,
}
