//! What the server of the current connection allows.

use crate::publish::{MAX_HEADERS, OutgoingPublish, reference};
use crate::{PublishError, Unsupported};
use core::num::NonZeroU16;
use martlet_proto::{
    ConnAck, Delivery, MAX_PACKET_SIZE, MAX_REMAINING_LENGTH, PacketIdentifier, QoS,
    SubAckReasonCode, SubscribeFilter, SubscriptionIdentifier, Version,
};

/// What the server of the current connection allows: its CONNACK, with the specification's defaults
/// filled in (MQTT 5 §3.2.2.3). In 3.x there are no others but MQTT's own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How many QoS 1 and 2 messages it takes unacknowledged; in 3.x, where it cannot tell, what
    /// the configuration assumes.
    pub receive_maximum: u16,
    /// The largest packet that it takes, in bytes.
    pub maximum_packet_size: u32,
    /// The highest QoS that it takes.
    pub maximum_qos: QoS,
    /// Whether it keeps retained messages.
    pub retain_available: bool,
    /// The highest topic alias that it takes.
    pub topic_alias_maximum: u16,
    /// Whether wildcards may be subscribed to.
    pub wildcard_subscription_available: bool,
    /// Whether subscription identifiers may be used.
    pub subscription_identifier_available: bool,
    /// Whether shared subscriptions may be used.
    pub shared_subscription_available: bool,
    /// The keep alive in force, in seconds: the server's where it gave one.
    pub keep_alive: u16,
    /// How long the session outlives the connection, in seconds.
    pub session_expiry_interval: u32,
}

impl Limits {
    /// Before a CONNACK: nothing is known, so nothing is rejected.
    pub(crate) const fn unknown() -> Self {
        Self {
            receive_maximum: u16::MAX,
            maximum_packet_size: MAX_PACKET_SIZE,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            topic_alias_maximum: 0,
            wildcard_subscription_available: true,
            subscription_identifier_available: true,
            shared_subscription_available: true,
            keep_alive: 0,
            session_expiry_interval: 0,
        }
    }

    pub(crate) fn new(
        connack: &ConnAck,
        version: Version,
        keep_alive: u16,
        session_expiry_interval: u32,
    ) -> Self {
        let p = &connack.properties;
        Self {
            receive_maximum: p.receive_maximum.map_or(u16::MAX, NonZeroU16::get),
            maximum_packet_size: p
                .maximum_packet_size
                .map_or(MAX_PACKET_SIZE, |n| n.get().min(MAX_PACKET_SIZE)),
            maximum_qos: p.maximum_qos.unwrap_or(QoS::ExactlyOnce),
            retain_available: p.retain_available.unwrap_or(true),
            topic_alias_maximum: p.topic_alias_maximum.unwrap_or(0),
            wildcard_subscription_available: p.wildcard_subscription_available.unwrap_or(true),
            subscription_identifier_available: version.has_properties()
                && p.subscription_identifier_available.unwrap_or(true),
            shared_subscription_available: p.shared_subscription_available.unwrap_or(true),
            keep_alive: p.server_keep_alive.unwrap_or(keep_alive),
            session_expiry_interval: p.session_expiry_interval.unwrap_or(session_expiry_interval),
        }
    }

    /// Whether the server takes this message.
    #[inline]
    pub(crate) fn check(
        &self,
        message: &OutgoingPublish,
        version: Version,
    ) -> Result<(), PublishError> {
        if message.qos > self.maximum_qos {
            return Err(PublishError::QosNotSupported {
                maximum: self.maximum_qos,
            });
        }
        if message.retain && !self.retain_available {
            return Err(PublishError::RetainNotSupported);
        }
        if message.size() + MAX_HEADERS <= self.maximum_packet_size as usize {
            return Ok(());
        }
        self.check_size(message, version)
    }

    #[cold]
    fn check_size(&self, message: &OutgoingPublish, version: Version) -> Result<(), PublishError> {
        let (packet_identifier, duplicate) = (PacketIdentifier::MIN, false);
        let delivery = match message.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce {
                packet_identifier,
                duplicate,
            },
            QoS::ExactlyOnce => Delivery::ExactlyOnce {
                packet_identifier,
                duplicate,
            },
        };
        let size = reference(message, version, delivery, None).encoded_len(version);
        let limit = (self.maximum_packet_size as usize).min(MAX_REMAINING_LENGTH as usize + 5);
        if size <= limit {
            Ok(())
        } else {
            Err(PublishError::PacketTooLarge { size, limit })
        }
    }

    /// Why the server does not take this subscription.
    pub(crate) fn rejection(
        &self,
        subscription: &SubscribeFilter,
    ) -> Option<(SubAckReasonCode, Unsupported)> {
        if !self.wildcard_subscription_available && subscription.filter.has_wildcards() {
            return Some((
                SubAckReasonCode::WildcardSubscriptionsNotSupported,
                Unsupported::WildcardSubscriptions,
            ));
        }
        if !self.shared_subscription_available && subscription.filter.share_name().is_some() {
            return Some((
                SubAckReasonCode::SharedSubscriptionsNotSupported,
                Unsupported::SharedSubscriptions,
            ));
        }
        None
    }

    /// Fits subscriptions that the server takes to it: what it has no word for, and can do without,
    /// is left out. Returns how many things were.
    pub(crate) fn adapt(
        &self,
        subscriptions: &mut [SubscribeFilter],
        identifier: &mut Option<SubscriptionIdentifier>,
        version: Version,
    ) -> u64 {
        let mut left_out = 0;
        if identifier.is_some() && !self.subscription_identifier_available {
            // Messages are then assigned to subscriptions by their topics.
            *identifier = None;
        }
        if version.has_properties() {
            return 0;
        }
        for subscription in subscriptions {
            let plain = SubscribeFilter::new(subscription.filter.clone(), subscription.qos);
            if *subscription != plain {
                *subscription = plain;
                left_out += 1;
            }
        }
        left_out
    }
}
