//! The fixed header (MQTT 5 §2.1.1).

use crate::ground::error::{DecodeError, DecodeErrorKind, ReadError};
use crate::ground::packet_type::PacketType;
use crate::ground::version::Version;
use crate::ground::wire::{variable_integer, variable_integer_len};

/// What every packet begins with: its type, its flags and how much follows (MQTT 5 §2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedHeader {
    /// The type.
    pub packet_type: PacketType,
    /// The lower four bits of the first byte.
    pub flags: u8,
    /// How many bytes follow the fixed header.
    pub remaining_length: u32,
}

impl FixedHeader {
    /// Looks at the front of `input`; `Ok(None)` when the header is not all there. Type and flags
    /// are checked as soon as the first byte is.
    ///
    /// # Errors
    /// [`DecodeError`] when no packet of `version` begins like this.
    pub fn decode(input: &[u8], version: Version) -> Result<Option<Self>, DecodeError> {
        Self::read(input, version)
    }

    #[inline(always)]
    pub(crate) fn read<F: ReadError>(input: &[u8], version: Version) -> Result<Option<Self>, F> {
        let Some((&first, rest)) = input.split_first() else {
            return Ok(None);
        };
        let packet_type = match Self::first_byte(first, version) {
            Ok(packet_type) => packet_type,
            Err((kind, packet_type)) => return Err(F::new(kind, packet_type, 0)),
        };
        match variable_integer(rest) {
            Ok(Some((remaining_length, _))) => Ok(Some(Self {
                packet_type,
                flags: first & 0x0f,
                remaining_length,
            })),
            Ok(None) => Ok(None),
            Err(kind) => Err(F::new(kind, Some(packet_type), 1)),
        }
    }

    #[inline(always)]
    fn first_byte(
        first: u8,
        version: Version,
    ) -> Result<PacketType, (DecodeErrorKind, Option<PacketType>)> {
        let (number, flags) = (first >> 4, first & 0x0f);
        if number == PacketType::Publish.as_u8() {
            let publish = Some(PacketType::Publish);
            return match flags >> 1 & 3 {
                0 if flags & 8 != 0 => Err((DecodeErrorKind::DuplicateQos0, publish)),
                3 => Err((DecodeErrorKind::Qos(3), publish)),
                _ => Ok(PacketType::Publish),
            };
        }
        let packet_type = match PacketType::from_u8(number) {
            Some(PacketType::Auth) if !version.has_properties() => None,
            known => known,
        };
        let Some(packet_type) = packet_type else {
            return Err((DecodeErrorKind::ReservedPacketType(number), None));
        };
        // In 3.1 the packets with an answer may be sent again, with DUP set (MQTT 3.1 §2.1).
        let expected = packet_type.flags();
        let repeated = version == Version::V3_1 && expected != 0 && flags == expected | 8;
        if flags != expected && !repeated {
            return Err((DecodeErrorKind::FixedHeaderFlags(flags), Some(packet_type)));
        }
        Ok(packet_type)
    }

    /// The size of the fixed header itself, in bytes.
    #[inline]
    pub const fn header_size(&self) -> usize {
        1 + variable_integer_len(self.remaining_length)
    }

    /// The size of the whole packet, in bytes.
    #[inline]
    pub const fn packet_size(&self) -> usize {
        self.header_size() + self.remaining_length as usize
    }

    #[inline(always)]
    pub(crate) fn check_size<F: ReadError>(&self, limit: u32) -> Result<(), F> {
        let size = self.packet_size() as u32;
        if size > limit {
            return Err(F::new(
                DecodeErrorKind::PacketTooLarge { size, limit },
                Some(self.packet_type),
                1,
            ));
        }
        Ok(())
    }
}
