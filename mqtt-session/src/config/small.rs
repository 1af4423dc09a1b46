//! A configuration for devices with little memory.

use super::{Config, InboundLimits, QueueLimits, TopicAliases};

impl Config {
    /// Bounds for a device that has 16 KiB for the client in all, whatever the server sends: packets
    /// of 512 bytes at most, four messages in flight and four more, or 1 KiB of them, that wait to be
    /// sent; as many that have arrived and wait to be taken. Everything else is as by default, and
    /// each bound can be set as usual.
    #[must_use]
    pub fn small() -> Self {
        let queue = QueueLimits::default().messages(4).bytes(1024);
        let inbound = InboundLimits::default()
            .receive_maximum(2)
            .soft_messages(2)
            .soft_bytes(512)
            .hard_messages(4)
            .hard_bytes(1024);
        Self::default()
            .max_in_flight(4)
            .max_in_flight_3x(4)
            .max_filters_per_packet(4)
            .queue(queue)
            .inbound(inbound)
            .maximum_packet_size(512)
            .diagnostics(256)
            .topic_alias_maximum(0)
            .topic_aliases_out(TopicAliases::Off)
    }
}
