//! A message to publish, and the packet that it becomes.

use bytes::Bytes;
use core::num::NonZeroU16;
use martlet_proto::{Delivery, PublishProperties, PublishRef, QoS, TopicName, Version};

/// What a PUBLISH has at most besides topic, properties and payload: fixed header 5, topic length
/// 2, packet identifier 2, property length 4.
pub(crate) const MAX_HEADERS: usize = 13;

/// A message to publish: `OutgoingPublish::new(topic, payload).qos(QoS::AtLeastOnce)`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutgoingPublish {
    /// The topic to publish to.
    pub topic: TopicName,
    /// The payload.
    pub payload: Bytes,
    /// Quality of service. Default: 0.
    pub qos: QoS,
    /// Whether the server keeps it as the retained message of its topic. Default: false.
    pub retain: bool,
    /// The properties that travel with it (MQTT 5). Default: none.
    pub properties: PublishProperties,
    /// The topic alias that stands for its topic on this connection from now on, in place of an
    /// earlier one (MQTT 5 §3.3.2.3.4). It counts where the configuration leaves aliases to the
    /// application ([`TopicAliases::Manual`](crate::TopicAliases::Manual)); one that the server
    /// does not take, above its Topic Alias Maximum, is left out. Default: `None`.
    pub topic_alias: Option<NonZeroU16>,
    /// When set, [`Event::Published`](crate::Event::Published) reports success too, with this key;
    /// failures of accepted messages are always reported. It lets the caller find the waiting task
    /// without a search. Default: `None`.
    pub key: Option<u32>,
}

impl OutgoingPublish {
    /// A message of QoS 0, not retained, without properties.
    pub fn new(topic: TopicName, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: PublishProperties::default(),
            topic_alias: None,
            key: None,
        }
    }

    /// Sets the quality of service.
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Sets whether the server keeps it as the retained message of its topic.
    #[must_use]
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets the properties that travel with it (MQTT 5).
    #[must_use]
    pub fn properties(mut self, properties: PublishProperties) -> Self {
        self.properties = properties;
        self
    }

    /// Sets the topic alias: see [`topic_alias`](Self#structfield.topic_alias).
    #[must_use]
    pub fn topic_alias(mut self, alias: impl Into<Option<NonZeroU16>>) -> Self {
        self.topic_alias = alias.into();
        self
    }

    /// Sets the key: see [`key`](Self#structfield.key).
    #[must_use]
    pub fn key(mut self, key: impl Into<Option<u32>>) -> Self {
        self.key = key.into();
        self
    }

    /// The bytes of its topic, properties and payload: what it takes of
    /// [`QueueLimits::bytes`](crate::QueueLimits::bytes).
    pub fn size(&self) -> usize {
        self.topic.as_bytes().len() + self.payload.len() + self.properties.as_bytes().len()
    }
}

/// The packet of a message.
#[inline]
pub(crate) fn reference(
    message: &OutgoingPublish,
    version: Version,
    delivery: Delivery,
    expiry: Option<u32>,
) -> PublishRef<'_> {
    let publish = PublishRef::new(&message.topic, &message.payload)
        .with_retain(message.retain)
        .with_delivery(delivery);
    if !version.has_properties() || message.properties.is_empty() {
        return publish;
    }
    let publish = publish.with_properties(&message.properties);
    match expiry {
        Some(seconds) => publish.with_message_expiry_interval(seconds),
        None => publish,
    }
}
