//! CONNECT (MQTT 5 §3.1, 3.1.1 §3.1).

use crate::ground::error::{DecodeError, DecodeErrorKind, EncodeError, Field};
use crate::ground::property_table::{PropertyId, PropertyPlace};
use crate::ground::text::{BinaryData, TextError, Utf8String};
use crate::ground::topic::{TopicError, TopicName};
use crate::ground::version::{QoS, Version};
use crate::ground::wire::{PacketReader, Sink, share_binary, share_name};
use crate::packets::publish::PublishProperties;
use crate::properties::reader::PropertyReader;
use crate::properties::user_properties::{UserProperties, read_properties};
use crate::properties::writer::write_properties;
use bytes::Bytes;
use core::num::{NonZeroU16, NonZeroU32};

/// The first packet of a connection (MQTT 5 §3.1). `Debug` shows how long user name and password
/// are: either may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version of the connection.
    pub version: Version,
    /// Start a new session and forget an old one; in 3.x this is the flag Clean Session (MQTT 5
    /// §3.1.2.4).
    pub clean_start: bool,
    /// The longest time in seconds between two packets of the client; 0 turns keep alive off (MQTT
    /// 5 §3.1.2.10).
    pub keep_alive: u16,
    /// Names the session to the server. When empty the server may assign one (MQTT 5 §3.1.3.1).
    pub client_identifier: Utf8String,
    /// What the server publishes when the connection ends without a normal DISCONNECT (MQTT 5
    /// §3.1.2.5).
    pub will: Option<Will>,
    /// MQTT 5 §3.1.3.5.
    pub user_name: Option<Utf8String>,
    /// MQTT 5 §3.1.3.6. 3.x allows it only together with a user name.
    pub password: Option<BinaryData>,
    /// MQTT 5.
    pub properties: ConnectProperties,
}

/// Properties of a CONNECT (MQTT 5 §3.1.2.11). `None` leaves a property out; the specification's
/// default then holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectProperties {
    /// Seconds that the session outlives the connection; `u32::MAX` for ever. Default: 0.
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 messages the client takes unacknowledged. Default: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The largest packet that the client takes, in bytes. Default: no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The highest topic alias that the client takes. Default: 0.
    pub topic_alias_maximum: Option<u16>,
    /// Asks for response information in the CONNACK. Default: false.
    pub request_response_information: Option<bool>,
    /// Lets the server send reason strings and user properties everywhere. Default: true.
    pub request_problem_information: Option<bool>,
    /// The method of enhanced authentication.
    pub authentication_method: Option<Utf8String>,
    /// The first data of that method.
    pub authentication_data: Option<BinaryData>,
    /// Name-value pairs of the users' own.
    pub user_properties: UserProperties,
}

/// A message that the server publishes for a client that is gone (MQTT 5 §3.1.2.5, §3.1.3.2).
///
/// ```
/// # use martlet_proto::{QoS, Will};
/// let will = Will::new("meters/7/state", "gone")?.qos(QoS::AtLeastOnce).retain(true);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where it is published to.
    pub topic: TopicName,
    /// At most 65,535 bytes.
    pub payload: BinaryData,
    /// The quality of service of the message.
    pub qos: QoS,
    /// Whether the server keeps it as the retained message of its topic.
    pub retain: bool,
    /// Seconds that the server waits before it publishes it (MQTT 5). Default: 0.
    pub delay_interval: Option<u32>,
    /// The properties that the message will have (MQTT 5).
    pub properties: PublishProperties,
}

impl core::fmt::Debug for Connect {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let user_name = self
            .user_name
            .as_ref()
            .and_then(|name| BinaryData::try_from(name.as_bytes()).ok());
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("client_identifier", &self.client_identifier)
            .field("will", &self.will)
            .field("user_name", &user_name)
            .field("password", &self.password)
            .field("properties", &self.properties)
            .finish()
    }
}

impl Connect {
    /// A clean start with this client identifier, a keep alive of 60 seconds and nothing else.
    pub fn new(version: Version, client_identifier: Utf8String) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive: 60,
            client_identifier,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        }
    }

    pub(crate) fn decode(frame: &Bytes, mut reader: PacketReader<'_>) -> Result<Self, DecodeError> {
        let name = reader.text_span(Field::ProtocolName)?;
        let name = name.of(frame);
        if name != b"MQTT" && name != b"MQIsdp" {
            return Err(reader.error(DecodeErrorKind::ProtocolName));
        }
        // The high bit marks a bridge to some servers; no version of MQTT has such a level.
        let level = reader.u8(Field::ProtocolLevel)?;
        let version = match (name, level) {
            (b"MQIsdp", 3) => Version::V3_1,
            (b"MQTT", 4) => Version::V3_1_1,
            (b"MQTT", 5) => Version::V5,
            _ => return Err(reader.error(DecodeErrorKind::ProtocolLevel(level))),
        };
        let flags = reader.u8(Field::ConnectFlags)?;
        let keep_alive = reader.u16(Field::KeepAlive)?;
        let bad_flags =
            |reader: &PacketReader<'_>| reader.error(DecodeErrorKind::ConnectFlags(flags));
        let [
            _,
            clean_start,
            has_will,
            _,
            _,
            will_retain,
            has_password,
            has_user_name,
        ] = core::array::from_fn(|bit| flags >> bit & 1 == 1);
        let will_qos = QoS::from_u8(flags >> 3 & 3).ok_or_else(|| bad_flags(&reader))?;
        if (flags & 1 != 0 && version != Version::V3_1)
            || (!has_will && (will_retain || will_qos != QoS::AtMostOnce))
            || (has_password && !has_user_name && version != Version::V5)
        {
            return Err(bad_flags(&reader));
        }
        let properties = if version.has_properties() {
            decode_properties(frame, &mut reader)?
        } else {
            ConnectProperties::default()
        };
        let client_identifier = reader.text(frame, Field::ClientIdentifier)?;
        let will = if has_will {
            Some(Will::decode(
                frame,
                &mut reader,
                version,
                will_qos,
                will_retain,
            )?)
        } else {
            None
        };
        // 3.1: the remaining length takes precedence over the flags (MQTT 3.1 §3.1).
        let there = |reader: &PacketReader<'_>| version != Version::V3_1 || reader.remaining() > 0;
        let user_name = if has_user_name && there(&reader) {
            Some(reader.text(frame, Field::UserName)?)
        } else {
            None
        };
        let password = if has_password && there(&reader) {
            Some(reader.binary(frame, Field::Password)?)
        } else {
            None
        };
        reader.finish()?;
        Ok(Self {
            version,
            clean_start,
            keep_alive,
            client_identifier,
            will,
            user_name,
            password,
            properties,
        })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        if self.version != version {
            return Err(EncodeError::VersionMismatch {
                connect: self.version,
                version,
            });
        }
        if version.has_properties() {
            if self.properties.authentication_data.is_some()
                && self.properties.authentication_method.is_none()
            {
                return Err(EncodeError::AuthenticationDataAlone);
            }
            return Ok(());
        }
        if self.properties != ConnectProperties::default() {
            return Err(EncodeError::NotInVersion {
                what: "a property",
                version,
            });
        }
        if self
            .will
            .as_ref()
            .is_some_and(|will| will.delay_interval.is_some() || !will.properties.is_empty())
        {
            return Err(EncodeError::NotInVersion {
                what: "a property of the will",
                version,
            });
        }
        if self.password.is_some() && self.user_name.is_none() {
            return Err(EncodeError::PasswordAlone { version });
        }
        let characters = self.client_identifier.as_str().chars().count();
        let allowed = match version {
            Version::V3_1 => (1..=23).contains(&characters),
            _ => characters > 0 || self.clean_start,
        };
        if allowed {
            Ok(())
        } else {
            Err(EncodeError::ClientIdentifier {
                version,
                characters,
            })
        }
    }

    pub(crate) fn write(&self, version: Version, sink: &mut dyn Sink) {
        sink.prefixed(version.protocol_name().as_bytes());
        sink.u8(version.level());
        let mut flags = u8::from(self.clean_start) << 1
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.user_name.is_some()) << 7;
        if let Some(will) = &self.will {
            flags |= 1 << 2 | will.qos.as_u8() << 3 | u8::from(will.retain) << 5;
        }
        sink.u8(flags);
        sink.u16(self.keep_alive);
        if version.has_properties() {
            let properties = &self.properties;
            write_properties(sink, |w| {
                w.u32(
                    PropertyId::SessionExpiryInterval,
                    properties.session_expiry_interval,
                );
                w.u32(
                    PropertyId::MaximumPacketSize,
                    properties.maximum_packet_size.map(NonZeroU32::get),
                );
                w.u16(
                    PropertyId::ReceiveMaximum,
                    properties.receive_maximum.map(NonZeroU16::get),
                );
                w.u16(
                    PropertyId::TopicAliasMaximum,
                    properties.topic_alias_maximum,
                );
                w.bool(
                    PropertyId::RequestResponseInformation,
                    properties.request_response_information,
                );
                w.bool(
                    PropertyId::RequestProblemInformation,
                    properties.request_problem_information,
                );
                w.authentication(
                    properties.authentication_method.as_ref(),
                    properties.authentication_data.as_ref(),
                );
                w.user(&properties.user_properties);
            });
        }
        sink.prefixed(self.client_identifier.as_bytes());
        if let Some(will) = &self.will {
            will.write(version, sink);
        }
        if let Some(user_name) = &self.user_name {
            sink.prefixed(user_name.as_bytes());
        }
        if let Some(password) = &self.password {
            sink.prefixed(password.as_bytes());
        }
    }
}

fn decode_properties(
    frame: &Bytes,
    reader: &mut PacketReader<'_>,
) -> Result<ConnectProperties, DecodeError> {
    let mut p = ConnectProperties::default();
    p.user_properties = read_properties(
        reader,
        PropertyPlace::Connect,
        frame,
        |id, value| match id {
            PropertyId::SessionExpiryInterval => p.session_expiry_interval = Some(value.number()),
            PropertyId::ReceiveMaximum => {
                p.receive_maximum = NonZeroU16::new(value.number() as u16);
            }
            PropertyId::MaximumPacketSize => {
                p.maximum_packet_size = NonZeroU32::new(value.number());
            }
            PropertyId::TopicAliasMaximum => p.topic_alias_maximum = Some(value.number() as u16),
            PropertyId::RequestResponseInformation => {
                p.request_response_information = Some(value.number() == 1);
            }
            PropertyId::RequestProblemInformation => {
                p.request_problem_information = Some(value.number() == 1);
            }
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

/// Why a will cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WillError {
    /// Its topic is not one that can be published to.
    #[error("the will topic is wrong")]
    Topic(#[source] TopicError),
    /// Its payload is more than MQTT can carry: at most 65,535 bytes.
    #[error("the will payload is too long")]
    Payload(#[source] TextError),
}

impl Will {
    /// A message of QoS 0, not retained, without properties.
    ///
    /// # Errors
    /// [`WillError`] when the topic is none, or the payload has more than 65,535 bytes.
    pub fn new(
        topic: impl TryInto<TopicName, Error: Into<TopicError>>,
        payload: impl TryInto<BinaryData, Error: Into<TextError>>,
    ) -> Result<Self, WillError> {
        let topic = topic.try_into().map_err(|e| WillError::Topic(e.into()))?;
        let payload = payload.try_into();
        Ok(Self {
            topic,
            payload: payload.map_err(|e| WillError::Payload(e.into()))?,
            qos: QoS::AtMostOnce,
            retain: false,
            delay_interval: None,
            properties: PublishProperties::default(),
        })
    }

    /// Sets [`qos`](Self#structfield.qos). Default: 0.
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Sets [`retain`](Self#structfield.retain). Default: false.
    #[must_use]
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets [`delay_interval`](Self#structfield.delay_interval), in seconds (MQTT 5 §3.1.3.2.2).
    /// Default: 0.
    #[must_use]
    pub fn delay_interval(mut self, seconds: u32) -> Self {
        self.delay_interval = Some(seconds);
        self
    }

    /// Sets [`properties`](Self#structfield.properties) (MQTT 5 §3.1.3.2). Default: none.
    #[must_use]
    pub fn properties(mut self, properties: impl Into<PublishProperties>) -> Self {
        self.properties = properties.into();
        self
    }

    fn decode(
        frame: &Bytes,
        reader: &mut PacketReader<'_>,
        version: Version,
        qos: QoS,
        retain: bool,
    ) -> Result<Self, DecodeError> {
        let mut delay_interval = None;
        let properties = if version.has_properties() {
            let properties = PropertyReader::new(reader, PropertyPlace::Will)?;
            PublishProperties::collect(frame, properties, |id, value| {
                if id == PropertyId::WillDelayInterval {
                    delay_interval = Some(value.number());
                }
            })?
        } else {
            PublishProperties::default()
        };
        let topic = share_name(reader.name_span(Field::WillTopic)?, frame);
        let payload = reader.binary(frame, Field::WillPayload)?;
        Ok(Self {
            topic,
            payload,
            qos,
            retain,
            delay_interval,
            properties,
        })
    }

    fn write(&self, version: Version, sink: &mut dyn Sink) {
        if version.has_properties() {
            write_properties(sink, |w| {
                w.u32(PropertyId::WillDelayInterval, self.delay_interval);
                w.0.slice(self.properties.as_bytes());
            });
        }
        sink.prefixed(self.topic.as_bytes());
        sink.prefixed(self.payload.as_bytes());
    }
}
