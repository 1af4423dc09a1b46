//! AUTH (MQTT 5 §3.15).

use crate::ground::error::{DecodeError, DecodeErrorKind, EncodeError, Field};
use crate::ground::property_table::{PropertyId, PropertyPlace};
use crate::ground::reason::AuthReasonCode;
use crate::ground::text::{BinaryData, Utf8String};
use crate::ground::version::Version;
use crate::ground::wire::{PacketReader, Sink, share_binary};
use crate::properties::reader::Value;
use crate::properties::user_properties::{UserProperties, read_properties};
use crate::properties::writer::write_properties;
use bytes::Bytes;

/// A step of enhanced authentication (MQTT 5 §3.15, §4.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// The step.
    pub reason: AuthReasonCode,
    /// The method; may be left out of a plain [`AuthReasonCode::Success`] only.
    pub authentication_method: Option<Utf8String>,
    /// Data of that method.
    pub authentication_data: Option<BinaryData>,
    /// A diagnostic text for humans.
    pub reason_string: Option<Utf8String>,
    /// Name-value pairs of the users' own.
    pub user_properties: UserProperties,
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

    pub(crate) fn decode(frame: &Bytes, mut reader: PacketReader<'_>) -> Result<Self, DecodeError> {
        let mut auth = Self::new(AuthReasonCode::Success);
        if reader.remaining() > 0 {
            let code = reader.u8(Field::ReasonCode)?;
            auth.reason = AuthReasonCode::from_u8(code)
                .ok_or_else(|| reader.error(DecodeErrorKind::ReasonCode(code)))?;
            let take = |id, value: Value| match id {
                PropertyId::AuthenticationMethod => {
                    auth.authentication_method = Some(value.text(frame));
                }
                PropertyId::AuthenticationData => {
                    auth.authentication_data = Some(share_binary(value.span(), frame));
                }
                _ => auth.reason_string = Some(value.text(frame)),
            };
            auth.user_properties = read_properties(&mut reader, PropertyPlace::Auth, frame, take)?;
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
            return Err(EncodeError::NotInVersion {
                what: "AUTH",
                version,
            });
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(EncodeError::AuthenticationDataAlone);
        }
        if self.authentication_method.is_none() && !self.is_plain() {
            return Err(EncodeError::AuthenticationMethodMissing);
        }
        Ok(())
    }

    pub(crate) fn write(&self, sink: &mut dyn Sink) {
        if self.is_plain() {
            return;
        }
        sink.u8(self.reason.as_u8());
        write_properties(sink, |w| {
            w.authentication(
                self.authentication_method.as_ref(),
                self.authentication_data.as_ref(),
            );
            w.text(PropertyId::ReasonString, self.reason_string.as_ref());
            w.user(&self.user_properties);
        });
    }
}
