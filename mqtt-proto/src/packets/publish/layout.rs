//! Where the parts of an encoded PUBLISH are.

use super::delivery::Delivery;
use crate::ground::wire::{PacketIdentifier, Span};

/// What a fixed header takes. An enum for the values that it does not have: they tell the other
/// packets from a PUBLISH in an enum of packets, which is then no larger.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum HeaderSize {
    Two = 2,
    Three = 3,
    Four = 4,
    Five = 5,
}

/// Where the parts of a PUBLISH are in its bytes; what is not here is read from them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) payload: u32,
    pub(super) topic_len: u16,
    /// How many bytes the property length takes; 0 in 3.x.
    pub(super) property_prefix: u8,
    pub(super) header: HeaderSize,
}

impl HeaderSize {
    #[inline]
    pub(super) const fn new(size: usize) -> Self {
        match size {
            2 => Self::Two,
            3 => Self::Three,
            4 => Self::Four,
            _ => Self::Five,
        }
    }
}

impl Layout {
    #[inline]
    pub(super) fn topic(self, packet: &[u8]) -> &[u8] {
        self.topic_span().of(packet)
    }

    #[inline]
    pub(super) fn topic_span(self) -> Span {
        Span {
            start: self.header as u32 + 2,
            len: self.topic_len,
        }
    }

    /// Where the packet identifier is, if there is one.
    #[inline]
    fn behind_topic(self) -> usize {
        self.header as usize + 2 + usize::from(self.topic_len)
    }

    #[inline]
    pub(super) fn delivery(self, packet: &[u8]) -> Delivery {
        let qos = packet[0] >> 1 & 3;
        if qos == 0 {
            return Delivery::AtMostOnce;
        }
        let at = self.behind_topic();
        let packet_identifier =
            PacketIdentifier::new(u16::from_be_bytes([packet[at], packet[at + 1]]))
                .expect("checked when it was made");
        let duplicate = packet[0] & 8 != 0;
        if qos == 1 {
            Delivery::AtLeastOnce {
                packet_identifier,
                duplicate,
            }
        } else {
            Delivery::ExactlyOnce {
                packet_identifier,
                duplicate,
            }
        }
    }

    /// From where to where the properties are.
    #[inline]
    pub(super) fn properties(self, packet: &[u8]) -> (usize, usize) {
        let identifier = if packet[0] & 6 == 0 { 0 } else { 2 };
        (
            self.behind_topic() + identifier + usize::from(self.property_prefix),
            self.payload as usize,
        )
    }
}
