//! An owned PUBLISH: the packet's bytes and where its parts are.

use super::delivery::Delivery;
use super::layout::{HeaderSize, Layout};
use super::properties::{PublishProperties, PublishPropertiesRef};
use super::reference::{Edits, PublishRef, clamped};
use crate::ground::error::{DecodeError, EmptyError};
use crate::ground::fixed_header::FixedHeader;
use crate::ground::property_table::PropertyPlace;
use crate::ground::text::checked_str;
use crate::ground::topic::TopicName;
use crate::ground::version::Version;
use crate::ground::wire::{share_name, variable_integer_len};
use crate::properties::reader::PropertyReader;
use bytes::{BufMut, Bytes, BytesMut};

/// An owned PUBLISH: one [`Bytes`], the packet as it is on the wire, and where its parts are. A
/// clone shares the bytes.
#[derive(Clone)]
pub struct Publish {
    bytes: Bytes,
    layout: Layout,
}

impl Publish {
    /// Takes a PUBLISH from the front of `input` if it is all there and as it should be.
    #[inline(always)]
    pub(crate) fn take(input: &mut BytesMut, version: Version, max_size: u32) -> Option<Self> {
        match PublishRef::find::<EmptyError>(input, version, max_size) {
            Ok(Some((_, layout, size))) => Some(Self {
                bytes: input.split_to(size).freeze(),
                layout,
            }),
            _ => None,
        }
    }

    /// Returns the error of a whole packet that is malformed.
    #[cold]
    pub(crate) fn check(
        packet: &[u8],
        header: FixedHeader,
        version: Version,
    ) -> Result<(), DecodeError> {
        PublishRef::read::<DecodeError>(packet, header, version).map(|_| ())
    }

    /// Decodes a whole packet.
    #[cold]
    pub(crate) fn decode(
        packet: Bytes,
        header: FixedHeader,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let (_, layout) = PublishRef::read::<DecodeError>(&packet, header, version)?;
        Ok(Self {
            bytes: packet,
            layout,
        })
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

    /// The topic name's bytes, UTF-8.
    #[inline]
    pub fn topic_bytes(&self) -> &[u8] {
        self.layout.topic(&self.bytes)
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

    /// The properties that travel with the message to its receivers, sharing the packet's memory
    /// where they can: those of the one sending (topic alias, subscription identifiers) are left
    /// out.
    pub fn message_properties(&self) -> PublishProperties {
        let (start, end) = self.layout.properties(&self.bytes);
        if start == end {
            return PublishProperties::default();
        }
        let properties = PropertyReader::again(&self.bytes[..end], start, PropertyPlace::Publish);
        PublishProperties::collect(&self.bytes, properties, |_, _| ())
            .expect("checked when it was made")
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

    /// Copies the bytes out of the buffer that they arrived in, so that a small message that waits
    /// does not pin a large buffer.
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
        Self {
            bytes: bytes.freeze(),
            layout,
        }
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
