//! DISCONNECT (MQTT 5 §3.14).

use crate::ground::error::{DecodeError, DecodeErrorKind, EncodeError, Field};
use crate::ground::property_table::{PropertyId, PropertyPlace};
use crate::ground::reason::DisconnectReasonCode;
use crate::ground::text::Utf8String;
use crate::ground::version::Version;
use crate::ground::wire::{PacketReader, Sink};
use crate::properties::reader::Value;
use crate::properties::user_properties::{UserProperties, read_properties};
use crate::properties::writer::write_properties;
use bytes::Bytes;

/// The last packet of a connection (MQTT 5 §3.14). In 3.x it has no fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// The reason for the disconnection.
    pub reason: DisconnectReasonCode,
    /// Seconds that the session outlives the connection from now on; a client's only.
    pub session_expiry_interval: Option<u32>,
    /// A diagnostic text for humans.
    pub reason_string: Option<Utf8String>,
    /// Name-value pairs of the users' own.
    pub user_properties: UserProperties,
    /// Another server to use; a server's only.
    pub server_reference: Option<Utf8String>,
}

impl Disconnect {
    /// With this reason and no properties.
    pub const fn new(reason: DisconnectReasonCode) -> Self {
        Self {
            reason,
            session_expiry_interval: None,
            reason_string: None,
            user_properties: UserProperties::new(),
            server_reference: None,
        }
    }

    pub(crate) fn decode(
        frame: &Bytes,
        mut reader: PacketReader<'_>,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let mut disconnect = Self::new(DisconnectReasonCode::NormalDisconnection);
        if version.has_properties() && reader.remaining() > 0 {
            let code = reader.u8(Field::ReasonCode)?;
            disconnect.reason = DisconnectReasonCode::from_u8(code)
                .ok_or_else(|| reader.error(DecodeErrorKind::ReasonCode(code)))?;
            // The property length may be left out when there are no properties (MQTT 5
            // §3.14.2.2.1).
            if reader.remaining() > 0 {
                let take = |id, value: Value| match id {
                    PropertyId::SessionExpiryInterval => {
                        disconnect.session_expiry_interval = Some(value.number());
                    }
                    PropertyId::ReasonString => disconnect.reason_string = Some(value.text(frame)),
                    _ => disconnect.server_reference = Some(value.text(frame)),
                };
                disconnect.user_properties =
                    read_properties(&mut reader, PropertyPlace::Disconnect, frame, take)?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    fn has_properties(&self) -> bool {
        self.session_expiry_interval.is_some()
            || self.reason_string.is_some()
            || self.server_reference.is_some()
            || !self.user_properties.is_empty()
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        let plain =
            self.reason == DisconnectReasonCode::NormalDisconnection && !self.has_properties();
        if version.has_properties() || plain {
            return Ok(());
        }
        Err(EncodeError::NotInVersion {
            what: "a reason code or property of DISCONNECT",
            version,
        })
    }

    pub(crate) fn write(&self, sink: &mut dyn Sink) {
        if self.has_properties() {
            sink.u8(self.reason.as_u8());
            write_properties(sink, |w| {
                w.u32(
                    PropertyId::SessionExpiryInterval,
                    self.session_expiry_interval,
                );
                w.text(PropertyId::ReasonString, self.reason_string.as_ref());
                w.user(&self.user_properties);
                w.text(PropertyId::ServerReference, self.server_reference.as_ref());
            });
        } else if self.reason != DisconnectReasonCode::NormalDisconnection {
            sink.u8(self.reason.as_u8());
        }
    }
}
