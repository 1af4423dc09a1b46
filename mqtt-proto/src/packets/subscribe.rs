//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (MQTT 5 §3.8 to §3.11).

use crate::ground::error::{DecodeError, DecodeErrorKind, EncodeError, Field};
use crate::ground::packet_type::PacketType;
use crate::ground::property_table::{PropertyId, PropertyPlace, SubscriptionIdentifier};
use crate::ground::reason::{SubAckReasonCode, UnsubAckReasonCode};
use crate::ground::text::Utf8String;
use crate::ground::topic::TopicFilter;
use crate::ground::version::{QoS, Version};
use crate::ground::wire::{PacketIdentifier, PacketReader, Sink};
use crate::properties::reader::Value;
use crate::properties::user_properties::{UserProperties, read_properties};
use crate::properties::writer::write_properties;
use alloc::vec::Vec;
use bytes::Bytes;

/// Asks for messages (MQTT 5 §3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Repeated by the SUBACK.
    pub packet_identifier: PacketIdentifier,
    /// Comes back in each message that these subscriptions bring (MQTT 5).
    pub subscription_identifier: Option<SubscriptionIdentifier>,
    /// MQTT 5.
    pub user_properties: UserProperties,
    /// At least one.
    pub subscriptions: Vec<SubscribeFilter>,
}

/// One topic filter of a SUBSCRIBE and its options (MQTT 5 §3.8.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// What is asked for.
    pub filter: TopicFilter,
    /// The highest QoS that messages are to come with.
    pub qos: QoS,
    /// Leave out what this client published itself (MQTT 5; not for shared subscriptions).
    pub no_local: bool,
    /// Keep the RETAIN flag as it was published (MQTT 5).
    pub retain_as_published: bool,
    /// Whether retained messages come when the subscription is made (MQTT 5).
    pub retain_handling: RetainHandling,
}

/// When a new subscription brings retained messages (MQTT 5 §3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Always.
    #[default]
    Send = 0,
    /// Only when the subscription did not exist before.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// The server's answer to a SUBSCRIBE (MQTT 5 §3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// Of the SUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
    /// A diagnostic text for humans (MQTT 5).
    pub reason_string: Option<Utf8String>,
    /// MQTT 5.
    pub user_properties: UserProperties,
    /// One for each filter, in their order.
    pub reasons: Vec<SubAckReasonCode>,
}

/// Ends subscriptions (MQTT 5 §3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Repeated by the UNSUBACK.
    pub packet_identifier: PacketIdentifier,
    /// MQTT 5.
    pub user_properties: UserProperties,
    /// At least one.
    pub filters: Vec<TopicFilter>,
}

/// The server's answer to an UNSUBSCRIBE (MQTT 5 §3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// Of the UNSUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
    /// A diagnostic text for humans (MQTT 5).
    pub reason_string: Option<Utf8String>,
    /// MQTT 5.
    pub user_properties: UserProperties,
    /// One for each filter, in their order; none in 3.x.
    pub reasons: Vec<UnsubAckReasonCode>,
}

impl SubscribeFilter {
    /// With all options at their defaults.
    pub fn new(filter: TopicFilter, qos: QoS) -> Self {
        Self {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::default(),
        }
    }

    fn options(&self) -> u8 {
        self.qos.as_u8()
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }

    fn decode(
        frame: &Bytes,
        reader: &mut PacketReader<'_>,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let filter = reader.filter(frame)?;
        let options = reader.u8(Field::SubscriptionOptions)?;
        let qos = QoS::from_u8(options & 3).ok_or_else(|| reader.error(DecodeErrorKind::Qos(3)))?;
        let retain_handling = match options >> 4 {
            0 => RetainHandling::Send,
            1 if version.has_properties() => RetainHandling::SendIfNew,
            2 if version.has_properties() => RetainHandling::DoNotSend,
            _ => return Err(reader.error(DecodeErrorKind::SubscriptionOptions(options))),
        };
        let (no_local, retain_as_published) = (options & 4 != 0, options & 8 != 0);
        if !version.has_properties() && (no_local || retain_as_published) {
            return Err(reader.error(DecodeErrorKind::SubscriptionOptions(options)));
        }
        if no_local && filter.share_name().is_some() {
            return Err(reader.error(DecodeErrorKind::NoLocalShared));
        }
        Ok(Self {
            filter,
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        })
    }
}

/// The properties that SUBACK, UNSUBACK and UNSUBSCRIBE share.
fn decode_properties(
    place: PropertyPlace,
    frame: &Bytes,
    reader: &mut PacketReader<'_>,
    version: Version,
) -> Result<(Option<Utf8String>, UserProperties), DecodeError> {
    let mut reason_string = None;
    let mut user_properties = UserProperties::new();
    if version.has_properties() {
        let take = |_, value: Value| reason_string = Some(value.text(frame));
        user_properties = read_properties(reader, place, frame, take)?;
    }
    Ok((reason_string, user_properties))
}

fn check_properties(present: bool, version: Version) -> Result<(), EncodeError> {
    if present && !version.has_properties() {
        return Err(EncodeError::NotInVersion {
            what: "a property",
            version,
        });
    }
    Ok(())
}

impl Subscribe {
    pub(crate) fn decode(
        frame: &Bytes,
        mut reader: PacketReader<'_>,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let packet_identifier = reader.packet_identifier()?;
        let mut subscription_identifier = None;
        let mut user_properties = UserProperties::new();
        if version.has_properties() {
            let take = |_, value: Value| {
                subscription_identifier = SubscriptionIdentifier::new(value.number());
            };
            user_properties = read_properties(&mut reader, PropertyPlace::Subscribe, frame, take)?;
        }
        let mut subscriptions = Vec::new();
        while reader.remaining() > 0 {
            subscriptions.push(SubscribeFilter::decode(frame, &mut reader, version)?);
        }
        if subscriptions.is_empty() {
            return Err(reader.error(DecodeErrorKind::NoEntry));
        }
        Ok(Self {
            packet_identifier,
            subscription_identifier,
            user_properties,
            subscriptions,
        })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        if self.subscriptions.is_empty() {
            return Err(EncodeError::NoEntry(PacketType::Subscribe));
        }
        check_properties(
            self.subscription_identifier.is_some() || !self.user_properties.is_empty(),
            version,
        )?;
        for subscription in &self.subscriptions {
            if !version.has_properties() && subscription.options() > 2 {
                return Err(EncodeError::NotInVersion {
                    what: "a subscription option",
                    version,
                });
            }
            if subscription.no_local && subscription.filter.share_name().is_some() {
                return Err(EncodeError::NoLocalShared);
            }
        }
        Ok(())
    }

    pub(crate) fn write(&self, version: Version, sink: &mut dyn Sink) {
        sink.u16(self.packet_identifier.get());
        if version.has_properties() {
            write_properties(sink, |w| {
                w.subscription_identifier(self.subscription_identifier);
                w.user(&self.user_properties);
            });
        }
        for subscription in &self.subscriptions {
            sink.prefixed(subscription.filter.as_bytes());
            sink.u8(subscription.options());
        }
    }
}

impl SubAck {
    pub(crate) fn decode(
        frame: &Bytes,
        mut reader: PacketReader<'_>,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let packet_identifier = reader.packet_identifier()?;
        let (reason_string, user_properties) =
            decode_properties(PropertyPlace::SubAck, frame, &mut reader, version)?;
        let mut reasons = Vec::with_capacity(reader.remaining());
        while reader.remaining() > 0 {
            let code = reader.u8(Field::ReasonCode)?;
            // 3.1 has no failure, but 0x80 from a server that speaks to a 3.1 client can mean
            // nothing else.
            let reason = SubAckReasonCode::from_u8(code)
                .filter(|_| version.has_properties() || code <= 2 || code == 0x80);
            reasons.push(reason.ok_or_else(|| reader.error(DecodeErrorKind::ReasonCode(code)))?);
        }
        if reasons.is_empty() {
            return Err(reader.error(DecodeErrorKind::NoEntry));
        }
        Ok(Self {
            packet_identifier,
            reason_string,
            user_properties,
            reasons,
        })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        if self.reasons.is_empty() {
            return Err(EncodeError::NoEntry(PacketType::SubAck));
        }
        check_properties(
            self.reason_string.is_some() || !self.user_properties.is_empty(),
            version,
        )?;
        let highest = match version {
            Version::V5 => 0xff,
            Version::V3_1_1 => 0x80,
            Version::V3_1 => 2,
        };
        match self.reasons.iter().all(|reason| reason.as_u8() <= highest) {
            true => Ok(()),
            false => Err(EncodeError::NotInVersion {
                what: "this reason code",
                version,
            }),
        }
    }

    pub(crate) fn write(&self, version: Version, sink: &mut dyn Sink) {
        sink.u16(self.packet_identifier.get());
        if version.has_properties() {
            write_properties(sink, |w| {
                w.text(PropertyId::ReasonString, self.reason_string.as_ref());
                w.user(&self.user_properties);
            });
        }
        for reason in &self.reasons {
            sink.u8(reason.as_u8());
        }
    }
}

impl Unsubscribe {
    pub(crate) fn decode(
        frame: &Bytes,
        mut reader: PacketReader<'_>,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let packet_identifier = reader.packet_identifier()?;
        let (_, user_properties) =
            decode_properties(PropertyPlace::Unsubscribe, frame, &mut reader, version)?;
        let mut filters = Vec::new();
        while reader.remaining() > 0 {
            filters.push(reader.filter(frame)?);
        }
        if filters.is_empty() {
            return Err(reader.error(DecodeErrorKind::NoEntry));
        }
        Ok(Self {
            packet_identifier,
            user_properties,
            filters,
        })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        if self.filters.is_empty() {
            return Err(EncodeError::NoEntry(PacketType::Unsubscribe));
        }
        check_properties(!self.user_properties.is_empty(), version)
    }

    pub(crate) fn write(&self, version: Version, sink: &mut dyn Sink) {
        sink.u16(self.packet_identifier.get());
        if version.has_properties() {
            write_properties(sink, |w| w.user(&self.user_properties));
        }
        for filter in &self.filters {
            sink.prefixed(filter.as_bytes());
        }
    }
}

impl UnsubAck {
    pub(crate) fn decode(
        frame: &Bytes,
        mut reader: PacketReader<'_>,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let packet_identifier = reader.packet_identifier()?;
        let (reason_string, user_properties) =
            decode_properties(PropertyPlace::UnsubAck, frame, &mut reader, version)?;
        let mut reasons = Vec::with_capacity(reader.remaining());
        if version.has_properties() {
            while reader.remaining() > 0 {
                let code = reader.u8(Field::ReasonCode)?;
                reasons.push(
                    UnsubAckReasonCode::from_u8(code)
                        .ok_or_else(|| reader.error(DecodeErrorKind::ReasonCode(code)))?,
                );
            }
            if reasons.is_empty() {
                return Err(reader.error(DecodeErrorKind::NoEntry));
            }
        }
        reader.finish()?;
        Ok(Self {
            packet_identifier,
            reason_string,
            user_properties,
            reasons,
        })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        check_properties(
            self.reason_string.is_some() || !self.user_properties.is_empty(),
            version,
        )?;
        match (version.has_properties(), self.reasons.is_empty()) {
            (true, true) => Err(EncodeError::NoEntry(PacketType::UnsubAck)),
            (false, false) => Err(EncodeError::NotInVersion {
                what: "a reason code",
                version,
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn write(&self, version: Version, sink: &mut dyn Sink) {
        sink.u16(self.packet_identifier.get());
        if version.has_properties() {
            write_properties(sink, |w| {
                w.text(PropertyId::ReasonString, self.reason_string.as_ref());
                w.user(&self.user_properties);
            });
            for reason in &self.reasons {
                sink.u8(reason.as_u8());
            }
        }
    }
}
