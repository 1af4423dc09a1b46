//! A PUBLISH by reference: what a borrowed decode gives, and what is encoded.

use super::delivery::Delivery;
use super::layout::{HeaderSize, Layout};
use super::properties::{PublishProperties, PublishPropertiesRef};
use crate::ground::error::{
    DecodeError, DecodeErrorKind, EmptyError, EncodeError, Field, ReadError,
};
use crate::ground::fixed_header::FixedHeader;
use crate::ground::packet_type::{MAX_REMAINING_LENGTH, PacketType};
use crate::ground::property_table::{PropertyId, PropertyPlace, SubscriptionIdentifier};
use crate::ground::text::checked_str;
use crate::ground::topic::TopicName;
use crate::ground::version::Version;
use crate::ground::wire::{
    Counter, PacketReader, PacketWriter, Sink, variable_integer, variable_integer_len,
};
use crate::properties::reader::PropertyReader;
use crate::properties::writer::PropertyWriter;
use bytes::BufMut;
use core::num::NonZeroU16;

/// A PUBLISH by reference.
///
/// To send, make one with [`new`](Self::new) and [`encode`](Self::encode) it. To look at bytes
/// without owning them, [`decode`](Self::decode) them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishRef<'a> {
    pub(super) delivery: Delivery,
    pub(super) retain: bool,
    pub(super) topic: &'a [u8],
    /// Checked, as on the wire, without their length.
    pub(super) properties: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) edits: Edits<'a>,
}

/// Properties that belong to this one sending, not to the message: they replace those in
/// `properties`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Edits<'a> {
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

    /// Writes, and removes, the edits that precede `next` in the order of properties: payload
    /// format indicator, message expiry interval, topic alias, response topic, correlation data,
    /// content type, subscription identifiers, user properties.
    fn write_before(&mut self, next: Option<PropertyId>, sink: &mut impl Sink) {
        let mut w = PropertyWriter(sink);
        if next != Some(PropertyId::PayloadFormatIndicator) {
            w.u32(
                PropertyId::MessageExpiryInterval,
                self.message_expiry_interval.take(),
            );
            if next != Some(PropertyId::MessageExpiryInterval) {
                w.u16(
                    PropertyId::TopicAlias,
                    self.topic_alias.take().map(NonZeroU16::get),
                );
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

    /// Sets a topic alias in place of the topic name: the receiver has learnt it on this
    /// connection.
    #[inline]
    #[must_use]
    pub fn with_topic_alias_only(mut self, alias: NonZeroU16) -> Self {
        self.topic = &[];
        self.with_topic_alias(alias)
    }

    /// Sets the identifiers of the subscriptions that it is sent for; a server's only (MQTT 5
    /// §3.3.2.3.8).
    #[must_use]
    pub fn with_subscription_identifiers(
        mut self,
        identifiers: &'a [SubscriptionIdentifier],
    ) -> Self {
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

    /// The properties as they were decoded, or as given to
    /// [`with_properties`](Self::with_properties).
    pub fn properties(&self) -> PublishPropertiesRef<'a> {
        PublishPropertiesRef(self.properties)
    }

    /// Looks at a PUBLISH at the front of `input`: the packet and its size in bytes. `Ok(None)`
    /// when it is not all there, or is another packet. Everything is checked as
    /// [`Packet::decode`](crate::Packet::decode) checks it.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are malformed, or the packet is larger than `max_size` bytes.
    #[inline]
    pub fn decode(
        input: &'a [u8],
        version: Version,
        max_size: u32,
    ) -> Result<Option<(Self, usize)>, DecodeError> {
        let found = match Self::find::<EmptyError>(input, version, max_size) {
            Ok(found) => found,
            Err(EmptyError) => Self::find_with_words(input, version, max_size)?,
        };
        Ok(found.map(|(publish, _, size)| (publish, size)))
    }

    /// The topic of a PUBLISH at the front of `input` that may be malformed, as far as it can be
    /// read; it may hold wildcards. For reports of what was rejected.
    pub fn readable_topic(packet: &[u8]) -> Option<&str> {
        let (_, len) = variable_integer(packet.get(1..)?).ok().flatten()?;
        let (topic_len, rest) = packet.get(1 + len..)?.split_first_chunk::<2>()?;
        let topic = rest.get(..usize::from(u16::from_be_bytes(*topic_len)))?;
        core::str::from_utf8(topic)
            .ok()
            .filter(|topic| !topic.is_empty())
    }

    /// Appends the packet. `out` must have room for [`encoded_len`](Self::encoded_len) bytes or
    /// grow, as [`BytesMut`](bytes::BytesMut) and `Vec` do.
    ///
    /// # Errors
    /// [`EncodeError`] when the packet is too large for MQTT, or has properties and `version` has
    /// none. Nothing was written then.
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

    /// A length over MQTT's limit is written as that limit.
    #[inline]
    pub(super) fn write_head(&self, property_len: Option<usize>, out: &mut impl BufMut) {
        let mut fixed = [0; 8];
        let (qos, duplicate) = (self.delivery.qos().as_u8(), self.delivery.duplicate());
        fixed[0] = PacketType::Publish.as_u8() << 4
            | u8::from(duplicate) << 3
            | qos << 1
            | u8::from(self.retain);
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
                self.write_properties(&mut PacketWriter(out));
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
            return Err(EncodeError::NotInVersion {
                what: "a property",
                version,
            });
        };
        if self.topic.is_empty()
            && self.edits.topic_alias.is_none()
            && self.properties().topic_alias().is_none()
        {
            return Err(EncodeError::NoTopic);
        }
        match self.remaining_length(property_len) {
            size if size > MAX_REMAINING_LENGTH as usize => {
                Err(EncodeError::PacketTooLarge { size })
            }
            _ => Ok(property_len),
        }
    }

    #[inline]
    pub(super) fn remaining_length(&self, property_len: Option<usize>) -> usize {
        let identifier = if self.delivery == Delivery::AtMostOnce {
            0
        } else {
            2
        };
        let properties = property_len.map_or(0, |len| variable_integer_len(clamped(len)) + len);
        2 + self.topic.len() + identifier + properties + self.payload.len()
    }

    #[inline]
    pub(super) fn property_len(&self) -> usize {
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
        let mut reader = PropertyReader::again(self.properties, 0, PropertyPlace::Publish);
        loop {
            let start = reader.at();
            let next = reader
                .next()
                .expect("checked when it was made")
                .map(|(id, _)| id);
            pending.write_before(next, sink);
            let Some(id) = next else { return };
            if !self.edits.replaces(id) {
                sink.slice(&self.properties[start..reader.at()]);
            }
        }
    }
}

impl<'a> PublishRef<'a> {
    /// The PUBLISH at the front of `input` and its size; `Ok(None)` when it is not all there, or is
    /// another packet.
    #[inline(always)]
    pub(super) fn find<F: ReadError>(
        input: &'a [u8],
        version: Version,
        max_size: u32,
    ) -> Result<Option<(Self, Layout, usize)>, F> {
        let Some(header) = FixedHeader::read::<F>(input, version)? else {
            return Ok(None);
        };
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
    pub(super) fn read<F: ReadError>(
        packet: &'a [u8],
        header: FixedHeader,
        version: Version,
    ) -> Result<(Self, Layout), F> {
        let mut reader = PacketReader::<F>::new(PacketType::Publish, packet, header.header_size());
        let topic = reader.name_or_nothing(Field::TopicName)?;
        let duplicate = header.flags & 8 != 0;
        let delivery = match header.flags >> 1 & 3 {
            0 => Delivery::AtMostOnce,
            1 => Delivery::AtLeastOnce {
                packet_identifier: reader.packet_identifier()?,
                duplicate,
            },
            _ => Delivery::ExactlyOnce {
                packet_identifier: reader.packet_identifier()?,
                duplicate,
            },
        };
        let before = reader.at();
        let mut start = before;
        let mut has_alias = false;
        if version.has_properties() {
            let properties = PropertyReader::new(&mut reader, PropertyPlace::Publish)?;
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

/// A length, but not more than MQTT allows.
#[inline]
pub(super) fn clamped(len: usize) -> u32 {
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
