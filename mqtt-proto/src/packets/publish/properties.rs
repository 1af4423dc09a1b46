//! The properties of a PUBLISH (MQTT 5 §3.3.2.3): by reference as they arrived, and those that
//! travel with a message.

use crate::ground::error::DecodeError;
use crate::ground::property_table::{PropertyId, PropertyPlace, SubscriptionIdentifier};
use crate::ground::text::{BinaryData, TextError, Utf8String, checked_str};
use crate::ground::topic::TopicName;
use crate::ground::wire::{Counter, PacketWriter, Sink, share_binary, share_name};
use crate::properties::reader::{PropertyReader, Value};
use crate::properties::user_properties::{UserProperties, share_pairs};
use crate::properties::writer::PropertyWriter;
use bytes::{BufMut, Bytes, BytesMut};
use core::num::NonZeroU16;

/// The properties of a PUBLISH by reference: checked already, read on demand. Each getter walks
/// them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublishPropertiesRef<'a>(pub(super) &'a [u8]);

impl<'a> PublishPropertiesRef<'a> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn iter(self) -> impl Iterator<Item = (PropertyId, Value)> + 'a {
        let mut reader = PropertyReader::again(self.0, 0, PropertyPlace::Publish);
        core::iter::from_fn(move || reader.next().expect("checked when it was made"))
    }

    fn find(self, wanted: PropertyId) -> Option<Value> {
        self.iter()
            .find_map(|(id, value)| (id == wanted).then_some(value))
    }

    fn number(self, id: PropertyId) -> Option<u32> {
        self.find(id).map(Value::number)
    }

    fn bytes(self, id: PropertyId) -> Option<&'a [u8]> {
        self.find(id).map(|value| value.span().of(self.0))
    }

    /// Whether the payload is marked as UTF-8 text (MQTT 5 §3.3.2.3.2).
    pub fn payload_is_utf8(self) -> Option<bool> {
        self.number(PropertyId::PayloadFormatIndicator)
            .map(|value| value == 1)
    }

    /// Seconds that the message is worth delivering (MQTT 5 §3.3.2.3.3).
    pub fn message_expiry_interval(self) -> Option<u32> {
        self.number(PropertyId::MessageExpiryInterval)
    }

    /// Stands for the topic name on this connection (MQTT 5 §3.3.2.3.4).
    pub fn topic_alias(self) -> Option<NonZeroU16> {
        self.number(PropertyId::TopicAlias)
            .and_then(|value| NonZeroU16::new(value as u16))
    }

    /// Where a response is expected (MQTT 5 §3.3.2.3.5). An empty response topic, which is not
    /// allowed, counts as none.
    pub fn response_topic(self) -> Option<&'a str> {
        self.bytes(PropertyId::ResponseTopic)
            .filter(|topic| !topic.is_empty())
            .map(checked_str)
    }

    /// Looks for what a receiver has to look at before the message is delivered, in one walk.
    pub fn scan(self) -> PropertyScan {
        let mut scan = PropertyScan::default();
        for (id, value) in self.iter() {
            match id {
                PropertyId::TopicAlias => scan.topic_alias = NonZeroU16::new(value.number() as u16),
                PropertyId::ResponseTopic => scan.has_empty_response_topic = value.span().len == 0,
                _ => {}
            }
        }
        scan
    }

    /// Tells the requester which request a response is for (MQTT 5 §3.3.2.3.6).
    pub fn correlation_data(self) -> Option<&'a [u8]> {
        self.bytes(PropertyId::CorrelationData)
    }

    /// What the payload is, by convention a MIME type (MQTT 5 §3.3.2.3.9).
    pub fn content_type(self) -> Option<&'a str> {
        self.bytes(PropertyId::ContentType).map(checked_str)
    }

    /// The identifiers of the subscriptions that the message was sent for (MQTT 5 §3.3.2.3.8).
    pub fn subscription_identifiers(self) -> impl Iterator<Item = SubscriptionIdentifier> + 'a {
        self.iter()
            .filter(|(id, _)| *id == PropertyId::SubscriptionIdentifier)
            .filter_map(|(_, value)| SubscriptionIdentifier::new(value.number()))
    }

    /// Name-value pairs of the users' own, in their order (MQTT 5 §3.3.2.3.7).
    pub fn user_properties(self) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.iter().filter_map(move |(_, value)| match value {
            Value::Pair(name, value) => {
                Some((checked_str(name.of(self.0)), checked_str(value.of(self.0))))
            }
            Value::Number(_) | Value::Span(_) => None,
        })
    }
}

impl core::fmt::Debug for PublishPropertiesRef<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut map = f.debug_map();
        for (id, value) in self.iter() {
            match value {
                Value::Number(number) => map.entry(&id, &number),
                Value::Span(span) if id == PropertyId::CorrelationData => {
                    map.entry(&id, &span.of(self.0))
                }
                Value::Span(span) => map.entry(&id, &checked_str(span.of(self.0))),
                Value::Pair(name, value) => map.entry(
                    &checked_str(name.of(self.0)),
                    &checked_str(value.of(self.0)),
                ),
            };
        }
        map.finish()
    }
}

/// What [`PublishPropertiesRef::scan`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PropertyScan {
    /// Stands for the topic name on this connection.
    pub topic_alias: Option<NonZeroU16>,
    /// Whether there is a response topic and it is empty, which is not allowed and counts as none.
    pub has_empty_response_topic: bool,
}

/// The properties that travel with a message from the publisher to every receiver (MQTT 5
/// §3.3.2.3), without those of a single sending. Kept encoded, in this order: payload format
/// indicator, message expiry interval, response topic, correlation data, content type, user
/// properties. A clone shares them.
///
/// ```
/// # use martlet_proto::{PublishProperties, TextError};
/// let properties = PublishProperties::builder()
///     .payload_is_utf8(true)
///     .content_type("text/plain".try_into()?)
///     .try_user_property("unit", "celsius")?
///     .build();
/// assert_eq!(properties.as_ref().content_type(), Some("text/plain"));
/// # Ok::<(), TextError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PublishProperties(Bytes);

impl PublishProperties {
    /// None set yet.
    pub fn builder() -> PublishPropertiesBuilder {
        PublishPropertiesBuilder::default()
    }

    /// The same with this message expiry interval, in seconds (MQTT 5 §3.3.2.3.3).
    #[must_use]
    pub fn with_message_expiry_interval(&self, seconds: u32) -> Self {
        const FORMAT: u8 = PropertyId::PayloadFormatIndicator as u8;
        const INTERVAL: u8 = PropertyId::MessageExpiryInterval as u8;
        let (before, rest) = match &self.0[..] {
            [FORMAT, _, ..] => self.0.split_at(2),
            all => (&[][..], all),
        };
        let behind = match rest {
            [INTERVAL, _, _, _, _, behind @ ..] => behind,
            none => none,
        };
        let mut bytes = BytesMut::with_capacity(before.len() + 5 + behind.len());
        bytes.extend_from_slice(before);
        bytes.put_u8(INTERVAL);
        bytes.put_u32(seconds);
        bytes.extend_from_slice(behind);
        Self(bytes.freeze())
    }

    /// Reads properties that were kept as bytes, such as [`as_bytes`](Self::as_bytes) gives.
    ///
    /// # Errors
    /// [`DecodeError`] when they are not properties of a message: also a topic alias and
    /// subscription identifiers, which belong to a single sending, are rejected.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        let properties = PropertyReader::again(bytes, 0, PropertyPlace::Publish);
        let there = properties.check()?;
        for id in [PropertyId::TopicAlias, PropertyId::SubscriptionIdentifier] {
            if there.has(id) {
                return Err(properties.not_allowed(id));
            }
        }
        Self::collect(bytes, properties, |_, _| ())
    }

    /// To change them: a builder that has all of these.
    ///
    /// ```
    /// # use martlet_proto::PublishProperties;
    /// let text = PublishProperties::builder().payload_is_utf8(true).build();
    /// let properties = text.to_builder().try_user_property("unit", "celsius")?.build();
    /// assert_eq!(properties.as_ref().payload_is_utf8(), Some(true));
    /// # Ok::<(), martlet_proto::TextError>(())
    /// ```
    pub fn to_builder(&self) -> PublishPropertiesBuilder {
        let properties = PropertyReader::again(&self.0, 0, PropertyPlace::Publish);
        Self::collect_builder(&self.0, properties, |_, _| ()).expect("checked when they were made")
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As on the wire, without their length.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// To read them.
    pub fn as_ref(&self) -> PublishPropertiesRef<'_> {
        PublishPropertiesRef(&self.0)
    }

    /// Puts properties of any order in order; `other` gets those that are not the message's.
    pub(crate) fn collect(
        frame: &Bytes,
        properties: PropertyReader<'_>,
        other: impl FnMut(PropertyId, Value),
    ) -> Result<Self, DecodeError> {
        Self::collect_builder(frame, properties, other).map(PublishPropertiesBuilder::build)
    }

    fn collect_builder(
        frame: &Bytes,
        mut properties: PropertyReader<'_>,
        mut other: impl FnMut(PropertyId, Value),
    ) -> Result<PublishPropertiesBuilder, DecodeError> {
        let mut builder = PublishPropertiesBuilder::default();
        builder.user_properties = share_pairs(&mut properties, frame, |id, value| match id {
            PropertyId::PayloadFormatIndicator => {
                builder.payload_is_utf8 = Some(value.number() == 1);
            }
            PropertyId::MessageExpiryInterval => {
                builder.message_expiry_interval = Some(value.number());
            }
            // An empty one is none.
            PropertyId::ResponseTopic if value.span().len == 0 => {}
            PropertyId::ResponseTopic => {
                builder.response_topic = Some(share_name(value.span(), frame));
            }
            PropertyId::CorrelationData => {
                builder.correlation_data = Some(share_binary(value.span(), frame));
            }
            PropertyId::ContentType => builder.content_type = Some(value.text(frame)),
            _ => other(id, value),
        })?;
        Ok(builder)
    }
}

impl From<PublishPropertiesBuilder> for PublishProperties {
    fn from(builder: PublishPropertiesBuilder) -> Self {
        builder.build()
    }
}

impl core::fmt::Debug for PublishProperties {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// Makes [`PublishProperties`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishPropertiesBuilder {
    payload_is_utf8: Option<bool>,
    message_expiry_interval: Option<u32>,
    response_topic: Option<TopicName>,
    correlation_data: Option<BinaryData>,
    content_type: Option<Utf8String>,
    user_properties: UserProperties,
}

impl PublishPropertiesBuilder {
    /// Sets whether the payload is UTF-8 text (payload format indicator 1 or 0, MQTT 5 §3.3.2.3.2).
    #[must_use]
    pub fn payload_is_utf8(mut self, yes: bool) -> Self {
        self.payload_is_utf8 = Some(yes);
        self
    }

    /// Seconds that the message is worth delivering, counted from when it was handed over (MQTT 5
    /// §3.3.2.3.3).
    #[must_use]
    pub fn message_expiry_interval(mut self, seconds: u32) -> Self {
        self.message_expiry_interval = Some(seconds);
        self
    }

    /// Where a response is expected (MQTT 5 §3.3.2.3.5).
    #[must_use]
    pub fn response_topic(mut self, topic: TopicName) -> Self {
        self.response_topic = Some(topic);
        self
    }

    /// Lets the requester tell which request a response is for (MQTT 5 §3.3.2.3.6).
    #[must_use]
    pub fn correlation_data(mut self, data: BinaryData) -> Self {
        self.correlation_data = Some(data);
        self
    }

    /// What the payload is, by convention a MIME type (MQTT 5 §3.3.2.3.9).
    #[must_use]
    pub fn content_type(mut self, content_type: Utf8String) -> Self {
        self.content_type = Some(content_type);
        self
    }

    /// Adds a name-value pair; their order is kept (MQTT 5 §3.3.2.3.7).
    #[must_use]
    pub fn user_property(mut self, name: Utf8String, value: Utf8String) -> Self {
        self.user_properties.push(name, value);
        self
    }

    /// Adds these pairs.
    pub fn user_properties(mut self, pairs: &UserProperties) -> Self {
        self.user_properties.append(pairs);
        self
    }

    /// Adds a name-value pair from text.
    ///
    /// # Errors
    /// [`TextError`] when the name or the value is too long or holds U+0000.
    pub fn try_user_property(self, name: &str, value: &str) -> Result<Self, TextError> {
        Ok(self.user_property(name.try_into()?, value.try_into()?))
    }

    /// Encodes them; one allocation, none when nothing is set.
    pub fn build(self) -> PublishProperties {
        if self == Self::default() {
            return PublishProperties::default();
        }
        let mut counter = Counter::default();
        self.write(&mut counter);
        let mut bytes = BytesMut::with_capacity(counter.0);
        self.write(&mut PacketWriter(&mut bytes));
        PublishProperties(bytes.freeze())
    }

    fn write(&self, sink: &mut dyn Sink) {
        let mut w = PropertyWriter(sink);
        w.bool(PropertyId::PayloadFormatIndicator, self.payload_is_utf8);
        w.u32(
            PropertyId::MessageExpiryInterval,
            self.message_expiry_interval,
        );
        w.bytes(
            PropertyId::ResponseTopic,
            self.response_topic.as_ref().map(TopicName::as_bytes),
        );
        w.bytes(
            PropertyId::CorrelationData,
            self.correlation_data.as_ref().map(BinaryData::as_bytes),
        );
        w.text(PropertyId::ContentType, self.content_type.as_ref());
        w.user(&self.user_properties);
    }
}
