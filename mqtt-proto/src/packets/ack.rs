//! PUBACK, PUBREC, PUBREL and PUBCOMP: one shape (MQTT 5 §3.4 to §3.7).

use crate::ground::error::{DecodeError, DecodeErrorKind, EncodeError, Field};
use crate::ground::property_table::{PropertyId, PropertyPlace};
use crate::ground::reason::{PubAckReasonCode, PubRelReasonCode};
use crate::ground::text::Utf8String;
use crate::ground::version::Version;
use crate::ground::wire::{PacketIdentifier, PacketReader, Sink};
use crate::properties::user_properties::{UserProperties, read_properties};
use crate::properties::writer::write_properties;
use alloc::boxed::Box;
use bytes::Bytes;

/// A packet of the acknowledgement of a PUBLISH, with the reason codes `R`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack<R> {
    /// The packet identifier of the PUBLISH that is acknowledged.
    pub packet_identifier: PacketIdentifier,
    /// Always success in 3.x.
    pub reason: R,
    /// MQTT 5. Behind a pointer because few have any; [`with_properties`](Self::with_properties)
    /// sets them. What is decoded has `Some` only of properties that are there.
    pub properties: Option<Box<AckProperties>>,
}

/// Properties of a PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5 §3.4.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckProperties {
    /// A diagnostic text for humans.
    pub reason_string: Option<Utf8String>,
    /// Name-value pairs of the users' own.
    pub user_properties: UserProperties,
}

impl AckProperties {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user_properties.is_empty()
    }
}

/// PUBACK: the answer to a PUBLISH of QoS 1 (MQTT 5 §3.4).
pub type PubAck = Ack<PubAckReasonCode>;
/// PUBREC: the first answer to a PUBLISH of QoS 2 (MQTT 5 §3.5).
pub type PubRec = Ack<PubAckReasonCode>;
/// PUBREL: the answer to a PUBREC (MQTT 5 §3.6).
pub type PubRel = Ack<PubRelReasonCode>;
/// PUBCOMP: the answer to a PUBREL (MQTT 5 §3.7).
pub type PubComp = Ack<PubRelReasonCode>;

/// What [`Ack`] needs of its reason codes.
pub(crate) trait AckReason: Copy + PartialEq {
    const SUCCESS: Self;
    fn decode(value: u8) -> Option<Self>;
    fn encode(self) -> u8;
}

impl AckReason for PubAckReasonCode {
    const SUCCESS: Self = Self::Success;
    fn decode(value: u8) -> Option<Self> {
        Self::from_u8(value)
    }
    fn encode(self) -> u8 {
        self.as_u8()
    }
}

impl AckReason for PubRelReasonCode {
    const SUCCESS: Self = Self::Success;
    fn decode(value: u8) -> Option<Self> {
        Self::from_u8(value)
    }
    fn encode(self) -> u8 {
        self.as_u8()
    }
}

impl<R> Ack<R> {
    /// With this reason and no properties.
    pub const fn new(packet_identifier: PacketIdentifier, reason: R) -> Self {
        Self {
            packet_identifier,
            reason,
            properties: None,
        }
    }

    /// Sets the properties (MQTT 5); empty ones are none.
    #[must_use]
    pub fn with_properties(mut self, properties: AckProperties) -> Self {
        self.properties = (!properties.is_empty()).then(|| Box::new(properties));
        self
    }
}

#[expect(
    private_bounds,
    reason = "the two sets of reason codes are all there are"
)]
impl<R: AckReason> Ack<R> {
    pub(crate) fn decode(
        frame: &Bytes,
        mut reader: PacketReader<'_>,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let mut ack = Self::new(reader.packet_identifier()?, R::SUCCESS);
        if version.has_properties() && reader.remaining() > 0 {
            let code = reader.u8(Field::ReasonCode)?;
            ack.reason =
                R::decode(code).ok_or_else(|| reader.error(DecodeErrorKind::ReasonCode(code)))?;
            // The property length may be left out when there are no properties (MQTT 5 §3.4.2.2.1).
            if reader.remaining() > 0 {
                let mut reason_string = None;
                let user_properties =
                    read_properties(&mut reader, PropertyPlace::Ack, frame, |_, value| {
                        reason_string = Some(value.text(frame));
                    })?;
                ack = ack.with_properties(AckProperties {
                    reason_string,
                    user_properties,
                });
            }
        }
        reader.finish()?;
        Ok(ack)
    }

    /// What follows the fixed header of the form that nearly every acknowledgement has.
    #[inline]
    pub(crate) fn short(&self) -> Option<[u8; 2]> {
        let short = self.reason == R::SUCCESS && self.set_properties().is_none();
        short.then(|| self.packet_identifier.get().to_be_bytes())
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        if version.has_properties() {
            return Ok(());
        }
        let what = if self.reason != R::SUCCESS {
            "a reason code"
        } else if self.set_properties().is_some() {
            "a property"
        } else {
            return Ok(());
        };
        Err(EncodeError::NotInVersion { what, version })
    }

    /// The properties if there is anything in them.
    #[inline]
    fn set_properties(&self) -> Option<&AckProperties> {
        self.properties
            .as_deref()
            .filter(|properties| !properties.is_empty())
    }

    #[inline]
    pub(crate) fn write(&self, sink: &mut dyn Sink) {
        sink.u16(self.packet_identifier.get());
        if let Some(properties) = self.set_properties() {
            sink.u8(self.reason.encode());
            write_properties(sink, |w| {
                w.text(PropertyId::ReasonString, properties.reason_string.as_ref());
                w.user(&properties.user_properties);
            });
        } else if self.reason != R::SUCCESS {
            sink.u8(self.reason.encode());
        }
    }
}
