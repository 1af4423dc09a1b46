//! CONNACK (MQTT 5 §3.2, 3.1.1 §3.2).

use crate::ground::error::{DecodeError, DecodeErrorKind, EncodeError, Field};
use crate::ground::property_table::{PropertyId, PropertyPlace};
use crate::ground::reason::ConnectReasonCode;
use crate::ground::text::{BinaryData, Utf8String};
use crate::ground::version::{QoS, Version};
use crate::ground::wire::{PacketReader, Sink, share_binary};
use crate::properties::user_properties::{UserProperties, read_properties};
use crate::properties::writer::write_properties;
use bytes::Bytes;
use core::num::{NonZeroU16, NonZeroU32};

/// The server's answer to a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server has a session of this client identifier. Always false in 3.1, which
    /// cannot say it, and in a rejection, also one that says otherwise.
    pub session_present: bool,
    /// Success, or why not. The return codes of 3.x appear as the reason codes that mean the same.
    pub reason: ConnectReasonCode,
    /// MQTT 5.
    pub properties: ConnAckProperties,
}

/// Properties of a CONNACK (MQTT 5 §3.2.2.3): what the server allows. `None` means the
/// specification's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnAckProperties {
    /// Seconds that the server keeps the session; absent: what the CONNECT asked for.
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 messages the server takes unacknowledged. Default: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest QoS that the server takes. Default: 2.
    pub maximum_qos: Option<QoS>,
    /// Whether the server keeps retained messages. Default: true.
    pub retain_available: Option<bool>,
    /// The largest packet that the server takes, in bytes. Default: no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The client identifier that the server gave to a client that had none.
    pub assigned_client_identifier: Option<Utf8String>,
    /// The highest topic alias that the server takes. Default: 0.
    pub topic_alias_maximum: Option<u16>,
    /// A diagnostic text for humans.
    pub reason_string: Option<Utf8String>,
    /// Name-value pairs of the users' own.
    pub user_properties: UserProperties,
    /// Whether wildcards may be subscribed to. Default: true.
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscription identifiers may be used. Default: true.
    pub subscription_identifier_available: Option<bool>,
    /// Whether shared subscriptions may be used. Default: true.
    pub shared_subscription_available: Option<bool>,
    /// Seconds; replaces the keep alive of the CONNECT [MQTT-3.2.2-21].
    pub server_keep_alive: Option<u16>,
    /// A base for response topics.
    pub response_information: Option<Utf8String>,
    /// Another server to use.
    pub server_reference: Option<Utf8String>,
    /// The method of enhanced authentication.
    pub authentication_method: Option<Utf8String>,
    /// The last data of that method.
    pub authentication_data: Option<BinaryData>,
}

impl ConnAck {
    /// Without a session and without properties.
    pub fn new(reason: ConnectReasonCode) -> Self {
        Self {
            session_present: false,
            reason,
            properties: ConnAckProperties::default(),
        }
    }

    pub(crate) fn decode(
        frame: &Bytes,
        mut reader: PacketReader<'_>,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let flags = reader.u8(Field::ConnectAcknowledgeFlags)?;
        // In 3.1 the whole byte is reserved and unused.
        if flags > 1 && version != Version::V3_1 {
            return Err(reader.error(DecodeErrorKind::ConnAckFlags(flags)));
        }
        let code = reader.u8(Field::ReasonCode)?;
        // A server that does not speak MQTT 5 rejects in the form of 3.1.1. It is the rejection
        // that counts.
        let short = reader.remaining() == 0;
        let reason = match version {
            Version::V5 if short => {
                ConnectReasonCode::from_return_code(code).or(ConnectReasonCode::from_u8(code))
            }
            Version::V5 => ConnectReasonCode::from_u8(code),
            _ => ConnectReasonCode::from_return_code(code),
        };
        let reason = reason.ok_or_else(|| reader.error(DecodeErrorKind::ReasonCode(code)))?;
        // Session present beside a rejection says nothing; it is the rejection that counts (MQTT 5
        // §3.2.2.1.1).
        let session_present = flags & 1 == 1 && version != Version::V3_1 && !reason.is_error();
        let rejected_in_short = short && reason.is_error();
        let properties = if version.has_properties() && !rejected_in_short {
            decode_properties(frame, &mut reader)?
        } else {
            ConnAckProperties::default()
        };
        reader.finish()?;
        Ok(Self {
            session_present,
            reason,
            properties,
        })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        let p = &self.properties;
        let not = |what| Err(EncodeError::NotInVersion { what, version });
        match version {
            _ if self.session_present && self.reason.is_error() => Err(EncodeError::SessionPresent),
            Version::V5 if p.authentication_data.is_some() && p.authentication_method.is_none() => {
                Err(EncodeError::AuthenticationDataAlone)
            }
            Version::V5 => Ok(()),
            _ if *p != ConnAckProperties::default() => not("a property"),
            _ if self.reason.return_code().is_none() => not("this reason code"),
            Version::V3_1 if self.session_present => not("session present"),
            _ => Ok(()),
        }
    }

    pub(crate) fn write(&self, version: Version, sink: &mut dyn Sink) {
        sink.u8(u8::from(self.session_present));
        if !version.has_properties() {
            // A length is wanted also of what no one can write: `check` rejects a code without a
            // return code.
            sink.u8(self.reason.return_code().unwrap_or(self.reason.as_u8()));
            return;
        }
        sink.u8(self.reason.as_u8());
        let p = &self.properties;
        write_properties(sink, |w| {
            w.u32(PropertyId::SessionExpiryInterval, p.session_expiry_interval);
            w.u16(
                PropertyId::ReceiveMaximum,
                p.receive_maximum.map(NonZeroU16::get),
            );
            // Maximum QoS 2 is expressed by its absence (MQTT 5 §3.2.2.3.4).
            w.u8(
                PropertyId::MaximumQos,
                p.maximum_qos
                    .filter(|&qos| qos != QoS::ExactlyOnce)
                    .map(QoS::as_u8),
            );
            w.bool(PropertyId::RetainAvailable, p.retain_available);
            w.u32(
                PropertyId::MaximumPacketSize,
                p.maximum_packet_size.map(NonZeroU32::get),
            );
            w.text(
                PropertyId::AssignedClientIdentifier,
                p.assigned_client_identifier.as_ref(),
            );
            w.u16(PropertyId::TopicAliasMaximum, p.topic_alias_maximum);
            w.text(PropertyId::ReasonString, p.reason_string.as_ref());
            w.user(&p.user_properties);
            w.bool(
                PropertyId::WildcardSubscriptionAvailable,
                p.wildcard_subscription_available,
            );
            w.bool(
                PropertyId::SubscriptionIdentifierAvailable,
                p.subscription_identifier_available,
            );
            w.bool(
                PropertyId::SharedSubscriptionAvailable,
                p.shared_subscription_available,
            );
            w.u16(PropertyId::ServerKeepAlive, p.server_keep_alive);
            w.text(
                PropertyId::ResponseInformation,
                p.response_information.as_ref(),
            );
            w.text(PropertyId::ServerReference, p.server_reference.as_ref());
            w.authentication(
                p.authentication_method.as_ref(),
                p.authentication_data.as_ref(),
            );
        });
    }
}

fn decode_properties(
    frame: &Bytes,
    reader: &mut PacketReader<'_>,
) -> Result<ConnAckProperties, DecodeError> {
    let mut p = ConnAckProperties::default();
    p.user_properties = read_properties(
        reader,
        PropertyPlace::ConnAck,
        frame,
        |id, value| match id {
            PropertyId::SessionExpiryInterval => p.session_expiry_interval = Some(value.number()),
            PropertyId::ReceiveMaximum => {
                p.receive_maximum = NonZeroU16::new(value.number() as u16);
            }
            PropertyId::MaximumQos => p.maximum_qos = QoS::from_u8(value.number() as u8),
            PropertyId::RetainAvailable => p.retain_available = Some(value.number() == 1),
            PropertyId::MaximumPacketSize => {
                p.maximum_packet_size = NonZeroU32::new(value.number());
            }
            PropertyId::AssignedClientIdentifier => {
                p.assigned_client_identifier = Some(value.text(frame));
            }
            PropertyId::TopicAliasMaximum => p.topic_alias_maximum = Some(value.number() as u16),
            PropertyId::ReasonString => p.reason_string = Some(value.text(frame)),
            PropertyId::WildcardSubscriptionAvailable => {
                p.wildcard_subscription_available = Some(value.number() == 1);
            }
            PropertyId::SubscriptionIdentifierAvailable => {
                p.subscription_identifier_available = Some(value.number() == 1);
            }
            PropertyId::SharedSubscriptionAvailable => {
                p.shared_subscription_available = Some(value.number() == 1);
            }
            PropertyId::ServerKeepAlive => p.server_keep_alive = Some(value.number() as u16),
            PropertyId::ResponseInformation => p.response_information = Some(value.text(frame)),
            PropertyId::ServerReference => p.server_reference = Some(value.text(frame)),
            PropertyId::AuthenticationMethod => p.authentication_method = Some(value.text(frame)),
            PropertyId::AuthenticationData => {
                p.authentication_data = Some(share_binary(value.span(), frame));
            }
            _ => unreachable!("the table has no other property here"),
        },
    )?;
    if p.authentication_data.is_some() && p.authentication_method.is_none() {
        return Err(reader.error(DecodeErrorKind::AuthenticationDataAlone));
    }
    Ok(p)
}
