//! Writes properties.

use crate::ground::property_table::{PropertyId, SubscriptionIdentifier};
use crate::ground::text::{BinaryData, Utf8String};
use crate::ground::wire::{Sink, counted};

/// Writes properties that are set; each method is a no-op for what is not.
pub(crate) struct PropertyWriter<'a>(pub(crate) &'a mut dyn Sink);

impl PropertyWriter<'_> {
    pub(crate) fn u8(&mut self, id: PropertyId, value: Option<u8>) {
        if let Some(value) = value {
            self.0.u8(id.as_u8());
            self.0.u8(value);
        }
    }

    pub(crate) fn bool(&mut self, id: PropertyId, value: Option<bool>) {
        self.u8(id, value.map(u8::from));
    }

    pub(crate) fn u16(&mut self, id: PropertyId, value: Option<u16>) {
        if let Some(value) = value {
            self.0.u8(id.as_u8());
            self.0.u16(value);
        }
    }

    pub(crate) fn u32(&mut self, id: PropertyId, value: Option<u32>) {
        if let Some(value) = value {
            self.0.u8(id.as_u8());
            self.0.u32(value);
        }
    }

    pub(crate) fn subscription_identifier(&mut self, value: Option<SubscriptionIdentifier>) {
        if let Some(value) = value {
            self.0.u8(PropertyId::SubscriptionIdentifier.as_u8());
            self.0.variable_integer(value.get());
        }
    }

    pub(crate) fn bytes(&mut self, id: PropertyId, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.0.u8(id.as_u8());
            self.0.prefixed(value);
        }
    }

    pub(crate) fn text(&mut self, id: PropertyId, value: Option<&Utf8String>) {
        self.bytes(id, value.map(Utf8String::as_bytes));
    }

    /// The method and the data of an enhanced authentication.
    pub(crate) fn authentication(
        &mut self,
        method: Option<&Utf8String>,
        data: Option<&BinaryData>,
    ) {
        self.text(PropertyId::AuthenticationMethod, method);
        let data = data.map(BinaryData::as_bytes);
        self.bytes(PropertyId::AuthenticationData, data);
    }

    pub(crate) fn pair(&mut self, name: &[u8], value: &[u8]) {
        self.0.u8(PropertyId::UserProperty.as_u8());
        self.0.prefixed(name);
        self.0.prefixed(value);
    }
}

/// The property length and the properties.
pub(crate) fn write_properties(sink: &mut dyn Sink, write: impl Fn(&mut PropertyWriter<'_>)) {
    counted(sink, |sink| write(&mut PropertyWriter(sink)));
}
