//! What a test may want to know of a broker besides the bytes.

use crate::ids::ConnectionId;
use martlet_proto::{
    ConnectReasonCode, DisconnectReasonCode, PacketIdentifier, PacketType, Publish, Utf8String,
    Version,
};

/// Something that happened in the broker; recorded when
/// [`BrokerConfig::record_events`](crate::BrokerConfig::record_events) is set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerEvent {
    /// A client was let in.
    Connected {
        /// Its connection.
        connection: ConnectionId,
        /// Its client identifier, the assigned one included.
        client_identifier: Utf8String,
        /// Its version.
        version: Version,
        /// Whether it found its session.
        session_present: bool,
    },
    /// A CONNECT was rejected.
    Rejected {
        /// Its connection.
        connection: ConnectionId,
        /// The reason; a client of 3.x may have got a less precise one.
        reason: ConnectReasonCode,
    },
    /// A client that had been let in is gone.
    Disconnected {
        /// Its connection.
        connection: ConnectionId,
        /// Its client identifier.
        client_identifier: Utf8String,
        /// How it ended.
        ending: Ending,
    },
    /// A session has ended, and its state is discarded.
    SessionEnded {
        /// Whose it was.
        client_identifier: Utf8String,
    },
    /// A message was accepted: each once, however often its client sent it.
    Accepted {
        /// Who sent it; `None` for the broker's own.
        client_identifier: Option<Utf8String>,
        /// The message, with its full topic.
        publish: Publish,
    },
    /// A message will not reach a client that subscribed to it.
    Dropped {
        /// The client.
        client_identifier: Utf8String,
        /// The reason.
        reason: DropReason,
        /// The message.
        publish: Publish,
    },
    /// The broker did something wrong, as one of its [`Moods`](crate::Moods) demands.
    Misbehaved {
        /// The connection of the client that was affected.
        connection: ConnectionId,
        /// The packet that it was about.
        at: PacketType,
        /// The message, if there is one.
        publish: Option<Publish>,
    },
    /// A client acknowledged what was not there to be acknowledged.
    UnexpectedAck {
        /// The client.
        client_identifier: Utf8String,
        /// What it sent.
        packet_type: PacketType,
        /// The packet identifier that is unknown, or in another state.
        packet_identifier: PacketIdentifier,
    },
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The client sent DISCONNECT with this reason.
    Client(DisconnectReasonCode),
    /// The broker ended it for this reason; a client of MQTT 5 was sent it.
    Broker(DisconnectReasonCode),
    /// The broker ended it without a word.
    Dropped,
    /// The network connection was gone.
    NetworkGone,
}

/// Why a message does not reach a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// It is QoS 0, and the client is not connected.
    Offline,
    /// Too many messages wait for the client already.
    QueueFull,
    /// Its message expiry interval has passed.
    Expired,
    /// It is larger than the client's Maximum Packet Size.
    TooLarge,
}
