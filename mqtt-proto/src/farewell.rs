//! DISCONNECT and AUTH (MQTT 5 §3.14, §3.15): a reason code, all of which may be left out.

use crate::error::{DecodeError, DecodeErrorKind, EncodeError, Field};
use crate::property::{Place, PropertyId, PropertyReader, UserProperties, write_properties};
use crate::wire::{Reader, Sink, share_binary};
use crate::{AuthReasonCode, BinaryData, DisconnectReasonCode, Utf8String, Version};
use bytes::Bytes;

/// The last packet of a connection (MQTT 5 §3.14). In 3.x it says nothing but that it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason: DisconnectReasonCode,
    /// Seconds that the session outlives the connection from now on; a client's only.
    pub session_expiry_interval: Option<u32>,
    /// For people.
    pub reason_string: Option<Utf8String>,
    /// Name-value pairs of the users' own.
    pub user_properties: UserProperties,
    /// Another server to use; a server's only.
    pub server_reference: Option<Utf8String>,
}

/// A step of enhanced authentication (MQTT 5 §3.15, §4.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Which step.
    pub reason: AuthReasonCode,
    /// The method; may be left out of a plain [`AuthReasonCode::Success`] only.
    pub authentication_method: Option<Utf8String>,
    /// Data of that method.
    pub authentication_data: Option<BinaryData>,
    /// For people.
    pub reason_string: Option<Utf8String>,
    /// Name-value pairs of the users' own.
    pub user_properties: UserProperties,
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
        mut reader: Reader<'_>,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let mut disconnect = Self::new(DisconnectReasonCode::NormalDisconnection);
        if version.has_properties() && reader.remaining() > 0 {
            let code = reader.u8(Field::ReasonCode)?;
            disconnect.reason = DisconnectReasonCode::from_u8(code)
                .ok_or_else(|| reader.error(DecodeErrorKind::ReasonCode(code)))?;
            // The property length may be left out when there are no properties (MQTT 5 §3.14.2.2.1).
            if reader.remaining() > 0 {
                let mut properties = PropertyReader::new(&mut reader, Place::Disconnect)?;
                while let Some((id, value)) = properties.next()? {
                    match id {
                        PropertyId::SessionExpiryInterval => {
                            disconnect.session_expiry_interval = Some(value.number());
                        }
                        PropertyId::ReasonString => disconnect.reason_string = Some(value.text(frame)),
                        PropertyId::ServerReference => disconnect.server_reference = Some(value.text(frame)),
                        _ => disconnect.user_properties.push(value.pair(frame)),
                    }
                }
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
        let plain = self.reason == DisconnectReasonCode::NormalDisconnection && !self.has_properties();
        if version.has_properties() || plain {
            return Ok(());
        }
        Err(EncodeError::NotInVersion { what: "a reason code or property of DISCONNECT", version })
    }

    pub(crate) fn write(&self, sink: &mut impl Sink) {
        if self.has_properties() {
            sink.u8(self.reason.as_u8());
            write_properties(sink, |w| {
                w.u32(PropertyId::SessionExpiryInterval, self.session_expiry_interval);
                w.text(PropertyId::ReasonString, self.reason_string.as_ref());
                w.user(&self.user_properties);
                w.text(PropertyId::ServerReference, self.server_reference.as_ref());
            });
        } else if self.reason != DisconnectReasonCode::NormalDisconnection {
            sink.u8(self.reason.as_u8());
        }
    }
}

impl Auth {
    /// With this reason and no properties.
    pub const fn new(reason: AuthReasonCode) -> Self {
        Self {
            reason,
            authentication_method: None,
            authentication_data: None,
            reason_string: None,
            user_properties: UserProperties::new(),
        }
    }

    pub(crate) fn decode(frame: &Bytes, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let mut auth = Self::new(AuthReasonCode::Success);
        if reader.remaining() > 0 {
            let code = reader.u8(Field::ReasonCode)?;
            auth.reason = AuthReasonCode::from_u8(code)
                .ok_or_else(|| reader.error(DecodeErrorKind::ReasonCode(code)))?;
            let mut properties = PropertyReader::new(&mut reader, Place::Auth)?;
            while let Some((id, value)) = properties.next()? {
                match id {
                    PropertyId::AuthenticationMethod => auth.authentication_method = Some(value.text(frame)),
                    PropertyId::AuthenticationData => {
                        auth.authentication_data = Some(share_binary(value.span(), frame));
                    }
                    PropertyId::ReasonString => auth.reason_string = Some(value.text(frame)),
                    _ => auth.user_properties.push(value.pair(frame)),
                }
            }
        }
        if auth.authentication_data.is_some() && auth.authentication_method.is_none() {
            return Err(reader.error(DecodeErrorKind::AuthenticationDataAlone));
        }
        if auth.authentication_method.is_none() && !auth.is_plain() {
            return Err(reader.error(DecodeErrorKind::AuthenticationMethodMissing));
        }
        reader.finish()?;
        Ok(auth)
    }

    /// Success and nothing else: all of it may be left out (MQTT 5 §3.15.2.1).
    fn is_plain(&self) -> bool {
        self.reason == AuthReasonCode::Success && !self.has_properties()
    }

    fn has_properties(&self) -> bool {
        self.authentication_method.is_some()
            || self.authentication_data.is_some()
            || self.reason_string.is_some()
            || !self.user_properties.is_empty()
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        if !version.has_properties() {
            return Err(EncodeError::NotInVersion { what: "AUTH", version });
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(EncodeError::AuthenticationDataAlone);
        }
        if self.authentication_method.is_none() && !self.is_plain() {
            return Err(EncodeError::AuthenticationMethodMissing);
        }
        Ok(())
    }

    pub(crate) fn write(&self, sink: &mut impl Sink) {
        if self.is_plain() {
            return;
        }
        sink.u8(self.reason.as_u8());
        write_properties(sink, |w| {
            w.text(PropertyId::AuthenticationMethod, self.authentication_method.as_ref());
            w.bytes(
                PropertyId::AuthenticationData,
                self.authentication_data.as_ref().map(BinaryData::as_bytes),
            );
            w.text(PropertyId::ReasonString, self.reason_string.as_ref());
            w.user(&self.user_properties);
        });
    }
}
