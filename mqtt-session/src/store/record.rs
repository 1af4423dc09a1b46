//! What a store holds, byte by byte. The format is stable: what one release has stored, later ones
//! read.
//!
//! A store is a map from keys to values. All numbers are big-endian.
//!
//! **Key**, 9 bytes: a kind (1), a number (8). So keys in the order of their bytes are in the order
//! of their numbers.
//!
//! | kind | record | number |
//! |---|---|---|
//! | 1 | identity | 0 |
//! | 2 | message: what is published with QoS 1 or 2 | its operation |
//! | 3 | flow: how far a message has come | the operation of its message |
//! | 4 | received: a QoS 2 message that was received and not released | its packet identifier |
//! | 5 | subscription | any |
//!
//! **Value**: format (1, now 1), a body, CRC-32 (4; that of ISO-HDLC, as in Ethernet) of key,
//! format and body. A later format begins with another first byte and ends with the same checksum,
//! so that it can be distinguished from a torn record.
//!
//! | body | bytes |
//! |---|---|
//! | identity | flags (1; bit 0: a server has accepted a connection, bit 1: the last CONNECT was not answered, or what followed it was not made good; bits 4–7: connections that the server has ended in a row, first without an acknowledgement, then at the first message in order, 15 at most), protocol level spoken last (1; 0: none), session expiry interval (4), incarnation (8), next operation (8), client identifier (the rest) |
//! | message | flags (1; bits 0–1 QoS, 2 retain, 3 expires after, 4 expires at), expiry in milliseconds (8; after the record was made, or since the Unix epoch; else 0), length of the topic (2), topic, length of the properties (4), properties as in MQTT 5 without their length, payload (the rest) |
//! | flow | incarnation (8), packet identifier (2), phase (1; 1 published, 2 released, 3 abandoned), flags (1; bit 0: its end was reported), place among the released (8) |
//! | received | incarnation (8) |
//! | subscription | order (8), subscription identifier (4; 0: none), options as in SUBSCRIBE (1), topic filter (the rest) |
//!
//! The **incarnation** counts the server's sessions. A flow or received record of an earlier one
//! tells of a session that is gone: storing one identity record forgets them all at once.

use crate::{Instant, OperationId, OutgoingPublish};
use alloc::vec::Vec;
use bytes::{BufMut, Bytes};
use core::time::Duration;
use martlet_proto::{
    PacketIdentifier, PublishProperties, QoS, RetainHandling, SubscribeFilter,
    SubscriptionIdentifier, TopicFilter, TopicName, Utf8String, Version,
};

/// The format that is written.
const FORMAT: u8 = 1;
const CHECKSUM_LEN: usize = 4;

/// Names a record in the store. Its bytes are what a store sorts by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey([u8; Self::LEN]);

impl RecordKey {
    /// The size of a key, in bytes.
    pub const LEN: usize = 9;

    /// A key as a store gives it back. Any bytes are one; what it is a key of may be unknown.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        self.0
    }

    /// Whose message, or its flow, the record is; `None` for other records.
    pub fn operation(self) -> Option<OperationId> {
        matches!(self.0[0], MESSAGE | FLOW).then(|| OperationId(self.number()))
    }

    const fn new(kind: u8, number: u64) -> Self {
        let n = number.to_be_bytes();
        Self([kind, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]])
    }

    pub(crate) const IDENTITY: Self = Self::new(IDENTITY, 0);

    pub(crate) const fn message(operation: OperationId) -> Self {
        Self::new(MESSAGE, operation.0)
    }

    pub(crate) const fn flow(operation: OperationId) -> Self {
        Self::new(FLOW, operation.0)
    }

    pub(crate) const fn received(id: PacketIdentifier) -> Self {
        Self::new(RECEIVED, id.get() as u64)
    }

    pub(crate) const fn subscription(number: u64) -> Self {
        Self::new(SUBSCRIPTION, number)
    }

    pub(crate) fn number(self) -> u64 {
        let [_, number @ ..] = self.0;
        u64::from_be_bytes(number)
    }
}

const IDENTITY: u8 = 1;
const MESSAGE: u8 = 2;
const FLOW: u8 = 3;
const RECEIVED: u8 = 4;
const SUBSCRIPTION: u8 = 5;

impl core::fmt::Display for RecordKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let n = self.number();
        match self.0[0] {
            IDENTITY => f.write_str("identity"),
            MESSAGE => write!(f, "message {n}"),
            FLOW => write!(f, "flow of message {n}"),
            RECEIVED => write!(f, "received identifier {n}"),
            SUBSCRIPTION => write!(f, "subscription {n}"),
            kind => write!(f, "record {n} of kind {kind}"),
        }
    }
}

impl core::fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "RecordKey({self})")
    }
}

/// Why a record cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRecord {
    /// Torn or changed: it is too short, or its checksum is wrong.
    #[error("torn or corrupt")]
    Corrupt,
    /// Written by a later release.
    #[error("its format {0} is of a later release")]
    LaterFormat(u8),
    /// A kind of record that this release does not know.
    #[error("a record of a kind that is not known")]
    UnknownKind,
    /// Its checksum is right, and what it holds is not.
    #[error("its {0} is wrong")]
    Contents(&'static str),
    /// It contradicts another record.
    #[error("it contradicts another record")]
    Contradicts,
}

/// Whose session the records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionIdentity {
    pub(crate) established: bool,
    /// The last CONNECT was not answered.
    pub(crate) connecting: bool,
    pub(crate) version: Option<Version>,
    pub(crate) session_expiry_interval: u32,
    pub(crate) incarnation: u64,
    pub(crate) next_operation: u64,
    /// At most [`MOST_HANG_UPS`](Self::MOST_HANG_UPS).
    pub(crate) hang_ups: u8,
    pub(crate) client_identifier: Utf8String,
}

/// A message, and when it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredMessage {
    pub(crate) message: OutgoingPublish,
    pub(crate) expiry: Expiry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    Never,
    /// So long after the record was made: time between processes does not count.
    After(Duration),
    /// Since the Unix epoch.
    At(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlowPhase {
    /// It may have been written.
    Published,
    /// PUBREC has come; the place is that in the order of PUBRECs.
    Released { place: u64, reported: bool },
    /// It may not be sent any more, and the server may hold its packet identifier.
    Abandoned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) incarnation: u64,
    pub(crate) packet_identifier: PacketIdentifier,
    pub(crate) phase: FlowPhase,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSubscription {
    pub(crate) order: u64,
    pub(crate) identifier: Option<SubscriptionIdentifier>,
    pub(crate) subscription: SubscribeFilter,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Identity(SessionIdentity),
    Message(StoredMessage),
    Flow(Flow),
    Received {
        id: PacketIdentifier,
        incarnation: u64,
    },
    Subscription(StoredSubscription),
}

// ---- writing

/// Writes a value: format, what `body` writes, checksum.
fn seal(key: RecordKey, body_len: usize, body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut value = Vec::with_capacity(1 + body_len + CHECKSUM_LEN);
    value.push(FORMAT);
    body(&mut value);
    debug_assert_eq!(value.len(), 1 + body_len);
    value.put_u32(checksum(key, &value));
    Bytes::from(value)
}

fn checksum(key: RecordKey, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.0);
    hasher.update(value);
    hasher.finalize()
}

impl SessionIdentity {
    /// What four bits hold.
    pub(crate) const MOST_HANG_UPS: u8 = 15;

    pub(crate) fn encode(&self) -> Bytes {
        let name = self.client_identifier.as_bytes();
        seal(RecordKey::IDENTITY, 22 + name.len(), |out| {
            out.put_u8(
                u8::from(self.established) | u8::from(self.connecting) << 1 | self.hang_ups << 4,
            );
            out.put_u8(self.version.map_or(0, Version::level));
            out.put_u32(self.session_expiry_interval);
            out.put_u64(self.incarnation);
            out.put_u64(self.next_operation);
            out.put_slice(name);
        })
    }
}

/// The record of a message; its payload is copied here, once. `epoch` is what the session's epoch
/// is in Unix time.
pub(crate) fn encode_message(
    operation: OperationId,
    message: &OutgoingPublish,
    expires_at: Option<Instant>,
    now: Instant,
    epoch: Option<Duration>,
) -> Bytes {
    let (topic, properties) = (message.topic.as_bytes(), message.properties.as_bytes());
    let (expiry_flag, expiry) = match (expires_at, epoch) {
        (None, _) => (0, Duration::ZERO),
        (Some(at), None) => (EXPIRES_AFTER, at.saturating_duration_since(now)),
        (Some(at), Some(epoch)) => (EXPIRES_AT, epoch.saturating_add(at.since_epoch())),
    };
    let flags = message.qos.as_u8() | if message.retain { RETAIN } else { 0 } | expiry_flag;
    let len = 15 + topic.len() + properties.len() + message.payload.len();
    seal(RecordKey::message(operation), len, |out| {
        out.put_u8(flags);
        out.put_u64(u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX));
        out.put_u16(topic.len() as u16);
        out.put_slice(topic);
        out.put_u32(properties.len() as u32);
        out.put_slice(properties);
        out.put_slice(&message.payload);
    })
}

const QOS: u8 = 0b11;
const RETAIN: u8 = 1 << 2;
const EXPIRES_AFTER: u8 = 1 << 3;
const EXPIRES_AT: u8 = 1 << 4;

impl Flow {
    pub(crate) fn encode(&self, operation: OperationId) -> Bytes {
        let (phase, place, reported) = match self.phase {
            FlowPhase::Published => (1, 0, false),
            FlowPhase::Released { place, reported } => (2, place, reported),
            FlowPhase::Abandoned => (3, 0, true),
        };
        seal(RecordKey::flow(operation), 20, |out| {
            out.put_u64(self.incarnation);
            out.put_u16(self.packet_identifier.get());
            out.put_u8(phase);
            out.put_u8(u8::from(reported));
            out.put_u64(place);
        })
    }
}

pub(crate) fn encode_received(id: PacketIdentifier, incarnation: u64) -> Bytes {
    seal(RecordKey::received(id), 8, |out| out.put_u64(incarnation))
}

impl StoredSubscription {
    pub(crate) fn encode(&self, number: u64) -> Bytes {
        let SubscribeFilter {
            filter,
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        } = &self.subscription;
        let options = qos.as_u8()
            | u8::from(*no_local) << 2
            | u8::from(*retain_as_published) << 3
            | (*retain_handling as u8) << 4;
        seal(
            RecordKey::subscription(number),
            13 + filter.as_bytes().len(),
            |out| {
                out.put_u64(self.order);
                out.put_u32(self.identifier.map_or(0, SubscriptionIdentifier::get));
                out.put_u8(options);
                out.put_slice(filter.as_bytes());
            },
        )
    }
}

// ---- reading

impl Record {
    /// Reads a record; what it holds shares the value's memory.
    pub(crate) fn decode(key: RecordKey, value: &Bytes) -> Result<Self, BadRecord> {
        if value.len() < 1 + CHECKSUM_LEN {
            return Err(BadRecord::Corrupt);
        }
        let (sealed, sum) = value.split_at(value.len() - CHECKSUM_LEN);
        if checksum(key, sealed).to_be_bytes() != sum {
            return Err(BadRecord::Corrupt);
        }
        if sealed[0] != FORMAT {
            return Err(BadRecord::LaterFormat(sealed[0]));
        }
        let mut body = Body(value.slice(1..value.len() - CHECKSUM_LEN));
        let number = count(key.number())?;
        match key.0[0] {
            IDENTITY if number == 0 => body.identity().map(Self::Identity),
            MESSAGE => body.message().map(Self::Message),
            FLOW => body.flow().map(Self::Flow),
            RECEIVED => {
                let id = u16::try_from(number).ok().and_then(PacketIdentifier::new);
                let id = id.ok_or(BadRecord::Contents("packet identifier"))?;
                let incarnation = body.count()?;
                body.end()?;
                Ok(Self::Received { id, incarnation })
            }
            SUBSCRIPTION => body.subscription().map(Self::Subscription),
            _ => Err(BadRecord::UnknownKind),
        }
    }
}

fn count(n: u64) -> Result<u64, BadRecord> {
    if n < 1 << 63 {
        Ok(n)
    } else {
        Err(BadRecord::Contents("count"))
    }
}

struct Body(Bytes);

impl Body {
    fn take(&mut self, n: usize) -> Result<Bytes, BadRecord> {
        if self.0.len() < n {
            return Err(BadRecord::Contents("length"));
        }
        Ok(self.0.split_to(n))
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        let bytes = self.take(N)?;
        Ok(bytes[..].try_into().expect("as many as were asked for"))
    }

    fn u8(&mut self) -> Result<u8, BadRecord> {
        self.number::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, BadRecord> {
        self.number().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, BadRecord> {
        self.number().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, BadRecord> {
        self.number().map(u64::from_be_bytes)
    }

    /// What counts from 0 on does not come as far as half of what there is.
    fn count(&mut self) -> Result<u64, BadRecord> {
        self.u64().and_then(count)
    }

    fn rest(&mut self) -> Bytes {
        core::mem::take(&mut self.0)
    }

    fn end(&self) -> Result<(), BadRecord> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(BadRecord::Contents("length"))
        }
    }

    fn identity(&mut self) -> Result<SessionIdentity, BadRecord> {
        let flags = self.u8()?;
        if flags & 0b1100 != 0 {
            return Err(BadRecord::Contents("flags"));
        }
        let level = self.u8()?;
        let version = Version::ALL
            .into_iter()
            .find(|version| version.level() == level);
        if version.is_none() && level != 0 {
            return Err(BadRecord::Contents("version"));
        }
        let session_expiry_interval = self.u32()?;
        let (incarnation, next_operation) = (self.count()?, self.count()?);
        let client_identifier = Utf8String::from_bytes(self.rest())
            .map_err(|_| BadRecord::Contents("client identifier"))?;
        let (established, connecting, hang_ups) = (flags & 1 != 0, flags & 2 != 0, flags >> 4);
        Ok(SessionIdentity {
            established,
            connecting,
            version,
            session_expiry_interval,
            incarnation,
            next_operation,
            hang_ups,
            client_identifier,
        })
    }

    fn message(&mut self) -> Result<StoredMessage, BadRecord> {
        let flags = self.u8()?;
        let qos = QoS::from_u8(flags & QOS).filter(|&qos| qos != QoS::AtMostOnce);
        let qos = qos.ok_or(BadRecord::Contents("QoS"))?;
        let millis = Duration::from_millis(self.u64()?);
        let expiry = match flags & !(QOS | RETAIN) {
            0 => Expiry::Never,
            EXPIRES_AFTER => Expiry::After(millis),
            EXPIRES_AT => Expiry::At(millis),
            _ => return Err(BadRecord::Contents("flags")),
        };
        let len = usize::from(self.u16()?);
        let topic =
            TopicName::from_bytes(self.take(len)?).map_err(|_| BadRecord::Contents("topic"))?;
        let len = self.u32()? as usize;
        let properties = PublishProperties::from_bytes(&self.take(len)?)
            .map_err(|_| BadRecord::Contents("properties"))?;
        let (payload, retain) = (self.rest(), flags & RETAIN != 0);
        let message = OutgoingPublish {
            topic,
            payload,
            qos,
            retain,
            properties,
            key: None,
            topic_alias: None,
        };
        Ok(StoredMessage { message, expiry })
    }

    fn flow(&mut self) -> Result<Flow, BadRecord> {
        let incarnation = self.count()?;
        let packet_identifier =
            PacketIdentifier::new(self.u16()?).ok_or(BadRecord::Contents("packet identifier"))?;
        let (phase, reported, place) = (self.u8()?, self.u8()?, self.count()?);
        self.end()?;
        let phase = match (phase, reported) {
            (1, 0) => FlowPhase::Published,
            (2, 0 | 1) => FlowPhase::Released {
                place,
                reported: reported == 1,
            },
            (3, 1) => FlowPhase::Abandoned,
            _ => return Err(BadRecord::Contents("phase")),
        };
        Ok(Flow {
            incarnation,
            packet_identifier,
            phase,
        })
    }

    fn subscription(&mut self) -> Result<StoredSubscription, BadRecord> {
        let order = self.count()?;
        let identifier = match self.u32()? {
            0 => None,
            n => Some(
                SubscriptionIdentifier::new(n)
                    .ok_or(BadRecord::Contents("subscription identifier"))?,
            ),
        };
        let options = self.u8()?;
        let retain_handling = match options >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(BadRecord::Contents("options")),
        };
        let qos = QoS::from_u8(options & QOS).ok_or(BadRecord::Contents("options"))?;
        let filter = TopicFilter::from_bytes(self.rest())
            .map_err(|_| BadRecord::Contents("topic filter"))?;
        let (no_local, retain_as_published) = (options & 4 != 0, options & 8 != 0);
        if no_local && filter.share_name().is_some() {
            return Err(BadRecord::Contents("options"));
        }
        let subscription = SubscribeFilter {
            filter,
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        };
        Ok(StoredSubscription {
            order,
            identifier,
            subscription,
        })
    }
}
