//! QoS, packet identifier and DUP of one PUBLISH.

use crate::ground::version::QoS;
use crate::ground::wire::PacketIdentifier;

/// How a message is delivered: its QoS and what only that QoS has. QoS 0 has no packet identifier
/// and is never a duplicate [MQTT-2.2.1-2, MQTT-3.3.1-2].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce {
        /// Unique among the packets in flight.
        packet_identifier: PacketIdentifier,
        /// DUP: this packet may have been sent before.
        duplicate: bool,
    },
    /// QoS 2.
    ExactlyOnce {
        /// Unique among the packets in flight.
        packet_identifier: PacketIdentifier,
        /// DUP: this packet may have been sent before.
        duplicate: bool,
    },
}

impl Delivery {
    /// The quality of service.
    pub const fn qos(self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce { .. } => QoS::AtLeastOnce,
            Self::ExactlyOnce { .. } => QoS::ExactlyOnce,
        }
    }

    /// `None` with QoS 0.
    pub const fn packet_identifier(self) -> Option<PacketIdentifier> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce {
                packet_identifier, ..
            }
            | Self::ExactlyOnce {
                packet_identifier, ..
            } => Some(packet_identifier),
        }
    }

    /// The flag DUP.
    pub const fn duplicate(self) -> bool {
        match self {
            Self::AtMostOnce => false,
            Self::AtLeastOnce { duplicate, .. } | Self::ExactlyOnce { duplicate, .. } => duplicate,
        }
    }
}
