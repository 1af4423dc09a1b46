//! PUBLISH (MQTT 5 §3.3, 3.1.1 §3.3): the packet that must be fast.
//!
//! [`PublishRef`] is a PUBLISH by reference: what a borrowed decode gives, and what is encoded. [`Publish`] is an owned
//! one: a single [`Bytes`] with the packet as it is on the wire, and eight bytes that say where its parts are.
//! [`PublishProperties`] are the properties that travel with a message from end to end, kept as they are on the wire,
//! so that sending them is a copy and cloning them is free.

use crate::error::{DecodeError, DecodeErrorKind, EncodeError, Fault, Field, Refused};
use crate::packet::{FixedHeader, MAX_REMAINING_LENGTH};
use crate::property::{Place, PropertyId, PropertyReader, PropertyWriter, SubscriptionIdentifier};
use crate::text::checked_str;
use crate::wire::{Counter, Reader, Sink, Span, Writer, share_name, variable_integer_len};
use crate::{PacketIdentifier, PacketType, QoS, TopicName, Version};
use bytes::{BufMut, Bytes, BytesMut};
use core::num::NonZeroU16;

mod properties;
pub use properties::{PublishProperties, PublishPropertiesBuilder, PublishPropertiesRef};

/// How a message is delivered: its QoS and what only that QoS has. QoS 0 has no packet identifier and is never a
/// duplicate [MQTT-2.2.1-2, MQTT-3.3.1-2].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce {
        /// Unique among the packets in flight.
        packet_identifier: PacketIdentifier,
        /// DUP: this packet may have been sent before.
        duplicate: bool,
    },
    /// QoS 2.
    ExactlyOnce {
        /// Unique among the packets in flight.
        packet_identifier: PacketIdentifier,
        /// DUP: this packet may have been sent before.
        duplicate: bool,
    },
}

impl Delivery {
    /// The quality of service.
    pub const fn qos(self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce { .. } => QoS::AtLeastOnce,
            Self::ExactlyOnce { .. } => QoS::ExactlyOnce,
        }
    }

    /// `None` with QoS 0.
    pub const fn packet_identifier(self) -> Option<PacketIdentifier> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce { packet_identifier, .. } | Self::ExactlyOnce { packet_identifier, .. } => {
                Some(packet_identifier)
            }
        }
    }

    /// The flag DUP.
    pub const fn duplicate(self) -> bool {
        match self {
            Self::AtMostOnce => false,
            Self::AtLeastOnce { duplicate, .. } | Self::ExactlyOnce { duplicate, .. } => duplicate,
        }
    }
}

/// A PUBLISH by reference.
///
/// To send, make one with [`new`](Self::new) and [`encode`](Self::encode) it. To look at bytes without owning them,
/// [`decode`](Self::decode) them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishRef<'a> {
    delivery: Delivery,
    retain: bool,
    topic: &'a [u8],
    /// Checked, as on the wire, without their length.
    properties: &'a [u8],
    payload: &'a [u8],
    edits: Edits<'a>,
}

/// Properties that belong to this one sending, not to the message: they replace those in `properties`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Edits<'a> {
    message_expiry_interval: Option<u32>,
    topic_alias: Option<NonZeroU16>,
    subscription_identifiers: &'a [SubscriptionIdentifier],
}

impl Edits<'_> {
    #[inline]
    fn none(&self) -> bool {
        self.message_expiry_interval.is_none()
            && self.topic_alias.is_none()
            && self.subscription_identifiers.is_empty()
    }

    fn replaces(&self, id: PropertyId) -> bool {
        match id {
            PropertyId::MessageExpiryInterval => self.message_expiry_interval.is_some(),
            PropertyId::TopicAlias => self.topic_alias.is_some(),
            PropertyId::SubscriptionIdentifier => !self.subscription_identifiers.is_empty(),
            _ => false,
        }
    }

    /// Writes, and forgets, what stands before `next` in the order of properties: payload format indicator, message
    /// expiry interval, topic alias, response topic, correlation data, content type, subscription identifiers, user
    /// properties.
    fn write_before(&mut self, next: Option<PropertyId>, sink: &mut impl Sink) {
        let mut w = PropertyWriter(sink);
        if next != Some(PropertyId::PayloadFormatIndicator) {
            w.u32(PropertyId::MessageExpiryInterval, self.message_expiry_interval.take());
            if next != Some(PropertyId::MessageExpiryInterval) {
                w.u16(PropertyId::TopicAlias, self.topic_alias.take().map(NonZeroU16::get));
            }
        }
        if matches!(next, None | Some(PropertyId::UserProperty)) {
            for &identifier in core::mem::take(&mut self.subscription_identifiers) {
                w.subscription_identifier(Some(identifier));
            }
        }
    }
}

impl<'a> PublishRef<'a> {
    /// A message of QoS 0, not retained, without properties.
    #[inline]
    pub fn new(topic: &'a TopicName, payload: &'a [u8]) -> Self {
        Self {
            delivery: Delivery::AtMostOnce,
            retain: false,
            topic: topic.as_bytes(),
            properties: &[],
            payload,
            edits: Edits::default(),
        }
    }

    /// Sets how it is delivered.
    #[inline]
    #[must_use]
    pub fn with_delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Sets the flag RETAIN.
    #[inline]
    #[must_use]
    pub fn with_retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets the properties of the message (MQTT 5).
    #[inline]
    #[must_use]
    pub fn with_properties(mut self, properties: &'a PublishProperties) -> Self {
        self.properties = properties.as_bytes();
        self
    }

    /// Sets the message expiry interval to what is left of it, in seconds (MQTT 5 §3.3.2.3.3).
    #[inline]
    #[must_use]
    pub fn with_message_expiry_interval(mut self, seconds: u32) -> Self {
        self.edits.message_expiry_interval = Some(seconds);
        self
    }

    /// Sets a topic alias beside the topic name (MQTT 5 §3.3.2.3.4).
    #[inline]
    #[must_use]
    pub fn with_topic_alias(mut self, alias: NonZeroU16) -> Self {
        self.edits.topic_alias = Some(alias);
        self
    }

    /// Sets a topic alias in place of the topic name: the receiver has learnt it on this connection.
    #[inline]
    #[must_use]
    pub fn with_topic_alias_only(mut self, alias: NonZeroU16) -> Self {
        self.topic = &[];
        self.with_topic_alias(alias)
    }

    /// Sets the identifiers of the subscriptions that it is sent for; a server's only (MQTT 5 §3.3.2.3.8).
    #[must_use]
    pub fn with_subscription_identifiers(mut self, identifiers: &'a [SubscriptionIdentifier]) -> Self {
        self.edits.subscription_identifiers = identifiers;
        self
    }

    /// QoS, packet identifier and DUP.
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// The flag RETAIN.
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// The topic name; empty when there is only a topic alias.
    pub fn topic(&self) -> &'a str {
        checked_str(self.topic)
    }

    /// The topic name's bytes.
    pub fn topic_bytes(&self) -> &'a [u8] {
        self.topic
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The properties as they were decoded, or as given to [`with_properties`](Self::with_properties).
    pub fn properties(&self) -> PublishPropertiesRef<'a> {
        PublishPropertiesRef(self.properties)
    }

    /// Looks at a PUBLISH at the front of `input`: the packet and its size in bytes. `Ok(None)` when it is not all
    /// there, or is another packet. Everything is checked as [`Packet::decode`](crate::Packet::decode) checks it.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are malformed, or the packet is larger than `max_size` bytes.
    #[inline]
    pub fn decode(
        input: &'a [u8],
        version: Version,
        max_size: u32,
    ) -> Result<Option<(Self, usize)>, DecodeError> {
        let found = match Self::find::<Refused>(input, version, max_size) {
            Ok(found) => found,
            Err(Refused) => Self::find_with_words(input, version, max_size)?,
        };
        Ok(found.map(|(publish, _, size)| (publish, size)))
    }

    /// Appends the packet. `out` must have room for [`encoded_len`](Self::encoded_len) bytes or grow, as
    /// [`BytesMut`] and `Vec` do.
    ///
    /// # Errors
    /// [`EncodeError`] when the packet is too large for MQTT, or has properties and `version` has none. Nothing was
    /// written then.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut impl BufMut) -> Result<(), EncodeError> {
        self.encode_head(version, out)?;
        out.put_slice(self.payload);
        Ok(())
    }

    /// Appends the packet but for its payload, so that a large payload can follow by reference.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    #[inline]
    pub fn encode_head(&self, version: Version, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let property_len = self.check(version)?;
        self.write_head(property_len, out);
        Ok(())
    }

    /// A length that MQTT cannot say is written as the largest that it can.
    #[inline]
    fn write_head(&self, property_len: Option<usize>, out: &mut impl BufMut) {
        let mut fixed = [0; 8];
        let (qos, duplicate) = (self.delivery.qos().as_u8(), self.delivery.duplicate());
        fixed[0] =
            PacketType::Publish.as_u8() << 4 | u8::from(duplicate) << 3 | qos << 1 | u8::from(self.retain);
        let at = put_variable_integer(&mut fixed, 1, clamped(self.remaining_length(property_len)));
        fixed[at..at + 2].copy_from_slice(&(self.topic.len() as u16).to_be_bytes());
        out.put_slice(&fixed[..at + 2]);
        out.put_slice(self.topic);
        if let Some(packet_identifier) = self.delivery.packet_identifier() {
            out.put_slice(&packet_identifier.get().to_be_bytes());
        }
        if let Some(len) = property_len {
            let mut prefix = [0; 4];
            let at = put_variable_integer(&mut prefix, 0, clamped(len));
            out.put_slice(&prefix[..at]);
            if len > 0 {
                self.write_properties(&mut Writer(out));
            }
        }
    }

    /// The size of the whole packet in bytes; in 3.x without its properties.
    pub fn encoded_len(&self, version: Version) -> usize {
        let property_len = version.has_properties().then(|| self.property_len());
        let remaining = self.remaining_length(property_len);
        1 + variable_integer_len(clamped(remaining)) + remaining
    }

    /// The property length, where the version has one.
    #[inline]
    fn check(&self, version: Version) -> Result<Option<usize>, EncodeError> {
        let property_len = if version.has_properties() {
            Some(self.property_len())
        } else if self.properties.is_empty() && self.edits.none() {
            None
        } else {
            return Err(EncodeError::NotInVersion { what: "a property", version });
        };
        if self.topic.is_empty()
            && self.edits.topic_alias.is_none()
            && self.properties().topic_alias().is_none()
        {
            return Err(EncodeError::NoTopic);
        }
        match self.remaining_length(property_len) {
            size if size > MAX_REMAINING_LENGTH as usize => Err(EncodeError::PacketTooLarge { size }),
            _ => Ok(property_len),
        }
    }

    #[inline]
    fn remaining_length(&self, property_len: Option<usize>) -> usize {
        let identifier = if self.delivery == Delivery::AtMostOnce { 0 } else { 2 };
        let properties = property_len.map_or(0, |len| variable_integer_len(clamped(len)) + len);
        2 + self.topic.len() + identifier + properties + self.payload.len()
    }

    #[inline]
    fn property_len(&self) -> usize {
        if self.edits.none() {
            return self.properties.len();
        }
        let mut counter = Counter::default();
        self.write_properties(&mut counter);
        counter.0
    }

    fn write_properties(&self, sink: &mut impl Sink) {
        if self.edits.none() {
            sink.slice(self.properties);
            return;
        }
        let mut pending = self.edits;
        let mut reader = PropertyReader::again(self.properties, 0);
        loop {
            let start = reader.at();
            let next = reader.next().expect("checked when it was made").map(|(id, _)| id);
            pending.write_before(next, sink);
            let Some(id) = next else { return };
            if !self.edits.replaces(id) {
                sink.slice(&self.properties[start..reader.at()]);
            }
        }
    }
}

/// A length as far as MQTT can say it.
#[inline]
fn clamped(len: usize) -> u32 {
    len.min(MAX_REMAINING_LENGTH as usize) as u32
}

#[inline]
fn put_variable_integer(out: &mut [u8], mut at: usize, mut value: u32) -> usize {
    while value > 0x7f {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

/// What a fixed header takes. An enum for the values that it does not have: they tell the other packets from a PUBLISH
/// in an enum of packets, which is then no larger.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum HeaderSize {
    Two = 2,
    Three = 3,
    Four = 4,
    Five = 5,
}

/// Where the parts of a PUBLISH are in its bytes; what is not here is read from them.
#[derive(Debug, Clone, Copy)]
struct Layout {
    payload: u32,
    topic_len: u16,
    /// How many bytes the property length takes; 0 in 3.x.
    property_prefix: u8,
    header: HeaderSize,
}

impl HeaderSize {
    #[inline]
    const fn new(size: usize) -> Self {
        match size {
            2 => Self::Two,
            3 => Self::Three,
            4 => Self::Four,
            _ => Self::Five,
        }
    }
}

impl Layout {
    #[inline]
    fn topic(self, packet: &[u8]) -> &[u8] {
        self.topic_span().of(packet)
    }

    #[inline]
    fn topic_span(self) -> Span {
        Span { start: self.header as u32 + 2, len: self.topic_len }
    }

    /// Where the packet identifier is, if there is one.
    #[inline]
    fn behind_topic(self) -> usize {
        self.header as usize + 2 + usize::from(self.topic_len)
    }

    #[inline]
    fn delivery(self, packet: &[u8]) -> Delivery {
        let qos = packet[0] >> 1 & 3;
        if qos == 0 {
            return Delivery::AtMostOnce;
        }
        let at = self.behind_topic();
        let packet_identifier = PacketIdentifier::new(u16::from_be_bytes([packet[at], packet[at + 1]]))
            .expect("checked when it was made");
        let duplicate = packet[0] & 8 != 0;
        if qos == 1 {
            Delivery::AtLeastOnce { packet_identifier, duplicate }
        } else {
            Delivery::ExactlyOnce { packet_identifier, duplicate }
        }
    }

    /// From where to where the properties are.
    #[inline]
    fn properties(self, packet: &[u8]) -> (usize, usize) {
        let identifier = if packet[0] & 6 == 0 { 0 } else { 2 };
        (self.behind_topic() + identifier + usize::from(self.property_prefix), self.payload as usize)
    }
}

impl<'a> PublishRef<'a> {
    /// The PUBLISH at the front of `input` and its size; `Ok(None)` when it is not all there, or is another packet.
    #[inline(always)]
    fn find<F: Fault>(
        input: &'a [u8],
        version: Version,
        max_size: u32,
    ) -> Result<Option<(Self, Layout, usize)>, F> {
        let Some(header) = FixedHeader::read::<F>(input, version)? else { return Ok(None) };
        header.check_size::<F>(max_size)?;
        let size = header.packet_size();
        if header.packet_type != PacketType::Publish || input.len() < size {
            return Ok(None);
        }
        let (publish, layout) = Self::read::<F>(&input[..size], header, version)?;
        Ok(Some((publish, layout, size)))
    }

    #[cold]
    fn find_with_words(
        input: &'a [u8],
        version: Version,
        max_size: u32,
    ) -> Result<Option<(Self, Layout, usize)>, DecodeError> {
        Self::find(input, version, max_size)
    }

    #[inline(always)]
    fn read<F: Fault>(packet: &'a [u8], header: FixedHeader, version: Version) -> Result<(Self, Layout), F> {
        let mut reader = Reader::<F>::new(PacketType::Publish, packet, header.header_size());
        let topic = reader.name_or_nothing(Field::TopicName)?;
        let duplicate = header.flags & 8 != 0;
        let delivery = match header.flags >> 1 & 3 {
            0 => Delivery::AtMostOnce,
            1 => Delivery::AtLeastOnce { packet_identifier: reader.packet_identifier()?, duplicate },
            _ => Delivery::ExactlyOnce { packet_identifier: reader.packet_identifier()?, duplicate },
        };
        let before = reader.at();
        let mut start = before;
        let mut has_alias = false;
        if version.has_properties() {
            let properties = PropertyReader::new(&mut reader, Place::Publish)?;
            start = properties.at();
            if !properties.is_empty() {
                has_alias = properties.check()?.has(PropertyId::TopicAlias);
            }
        }
        if topic.len == 0 && !has_alias {
            return Err(reader.error(DecodeErrorKind::NoTopic));
        }
        let end = reader.at();
        let layout = Layout {
            payload: end as u32,
            topic_len: topic.len,
            property_prefix: (start - before) as u8,
            header: HeaderSize::new(header.header_size()),
        };
        let publish = Self {
            delivery,
            retain: header.flags & 1 != 0,
            topic: topic.of(packet),
            properties: &packet[start..end],
            payload: &packet[end..],
            edits: Edits::default(),
        };
        Ok((publish, layout))
    }
}

/// An owned PUBLISH: one [`Bytes`], the packet as it is on the wire, and where its parts are. A clone shares the bytes.
#[derive(Clone)]
pub struct Publish {
    bytes: Bytes,
    layout: Layout,
}

impl Publish {
    /// Takes a PUBLISH from the front of `input` if it is all there and as it should be.
    #[inline(always)]
    pub(crate) fn take(input: &mut BytesMut, version: Version, max_size: u32) -> Option<Self> {
        match PublishRef::find::<Refused>(input, version, max_size) {
            Ok(Some((_, layout, size))) => Some(Self { bytes: input.split_to(size).freeze(), layout }),
            _ => None,
        }
    }

    /// Takes a whole packet, or says why not.
    #[cold]
    pub(crate) fn decode(packet: Bytes, header: FixedHeader, version: Version) -> Result<Self, DecodeError> {
        let (_, layout) = PublishRef::read::<DecodeError>(&packet, header, version)?;
        Ok(Self { bytes: packet, layout })
    }

    /// The packet by reference.
    #[inline]
    pub fn as_ref(&self) -> PublishRef<'_> {
        let (start, end) = self.layout.properties(&self.bytes);
        PublishRef {
            delivery: self.delivery(),
            retain: self.retain(),
            topic: self.layout.topic(&self.bytes),
            properties: &self.bytes[start..end],
            payload: self.payload(),
            edits: Edits::default(),
        }
    }

    /// QoS, packet identifier and DUP.
    #[inline]
    pub fn delivery(&self) -> Delivery {
        self.layout.delivery(&self.bytes)
    }

    /// The flag RETAIN.
    #[inline]
    pub fn retain(&self) -> bool {
        self.bytes[0] & 1 != 0
    }

    /// The topic name; empty when there is only a topic alias.
    pub fn topic(&self) -> &str {
        checked_str(self.layout.topic(&self.bytes))
    }

    /// The topic name, sharing the packet's memory; `None` when there is only a topic alias.
    pub fn topic_name(&self) -> Option<TopicName> {
        (self.layout.topic_len > 0).then(|| share_name(self.layout.topic_span(), &self.bytes))
    }

    /// The payload.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.layout.payload as usize..]
    }

    /// The payload, sharing the packet's memory.
    #[inline]
    pub fn payload_bytes(&self) -> Bytes {
        self.bytes.slice(self.layout.payload as usize..)
    }

    /// The properties, read on demand.
    #[inline]
    pub fn properties(&self) -> PublishPropertiesRef<'_> {
        let (start, end) = self.layout.properties(&self.bytes);
        PublishPropertiesRef(&self.bytes[start..end])
    }

    /// The properties that travel with the message to its receivers, sharing the packet's memory where they can:
    /// those of the one sending (topic alias, subscription identifiers) are left out.
    pub fn message_properties(&self) -> PublishProperties {
        let (start, end) = self.layout.properties(&self.bytes);
        if start == end {
            return PublishProperties::default();
        }
        let properties = PropertyReader::again(&self.bytes[..end], start);
        PublishProperties::collect(&self.bytes, properties, |_, _| ()).expect("checked when it was made")
    }

    /// How many bytes the whole packet has, headers included; as MQTT 5, when it was not decoded.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a PUBLISH has at least its headers.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Copies the bytes out of the buffer that they arrived in, so that a small message that waits does not pin a
    /// large buffer.
    pub fn detach(&mut self) {
        self.bytes = Bytes::copy_from_slice(&self.bytes);
    }
}

/// Copies everything into one allocation, as a packet of MQTT 5.
impl From<PublishRef<'_>> for Publish {
    fn from(publish: PublishRef<'_>) -> Self {
        let property_len = publish.property_len();
        let mut bytes = BytesMut::with_capacity(publish.encoded_len(Version::V5));
        publish.write_head(Some(property_len), &mut bytes);
        let payload = bytes.len();
        bytes.put_slice(publish.payload);
        let remaining = publish.remaining_length(Some(property_len));
        let layout = Layout {
            payload: u32::try_from(payload).expect("properties take less than 4 GiB"),
            topic_len: publish.topic.len() as u16,
            property_prefix: variable_integer_len(clamped(property_len)) as u8,
            header: HeaderSize::new(1 + variable_integer_len(clamped(remaining))),
        };
        Self { bytes: bytes.freeze(), layout }
    }
}

impl PartialEq for Publish {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Publish {}

impl core::fmt::Debug for Publish {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Publish")
            .field("delivery", &self.delivery())
            .field("retain", &self.retain())
            .field("topic", &self.topic())
            .field("properties", &self.properties())
            .field("payload", &self.payload_bytes())
            .finish()
    }
}
