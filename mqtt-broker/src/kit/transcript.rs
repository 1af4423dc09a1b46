//! What the broker has seen, connection by connection.

use core::fmt;
use martlet_proto::{Packet, PacketType};

/// Who sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The client sent it.
    FromClient,
    /// The broker sent it.
    ToClient,
}

/// One connection and its packets, in the order in which they came and went:
/// [`TestBroker::transcript`](crate::TestBroker::transcript).
///
/// A packet of which only a part was sent is not in it. Printed with `{}` it is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    number: usize,
    client_identifier: String,
    packets: Vec<(Direction, Packet)>,
    is_open: bool,
    is_malformed: bool,
}

impl Conversation {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            client_identifier: String::new(),
            packets: Vec::new(),
            is_open: true,
            is_malformed: false,
        }
    }

    /// Its place among all connections, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The client identifier of the CONNECT, or the one that CONNACK assigned. Empty before.
    pub fn client_identifier(&self) -> &str {
        &self.client_identifier
    }

    /// All packets, in their order.
    pub fn packets(&self) -> &[(Direction, Packet)] {
        &self.packets
    }

    /// The packets that the client sent.
    pub fn received(&self) -> impl Iterator<Item = &Packet> {
        self.directed(Direction::FromClient)
    }

    /// The packets that the broker sent.
    pub fn sent(&self) -> impl Iterator<Item = &Packet> {
        self.directed(Direction::ToClient)
    }

    /// The types of the packets that the client sent.
    pub fn received_types(&self) -> Vec<PacketType> {
        self.received().map(Packet::packet_type).collect()
    }

    /// The types of the packets that the broker sent.
    pub fn sent_types(&self) -> Vec<PacketType> {
        self.sent().map(Packet::packet_type).collect()
    }

    /// Whether the connection is open.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the client sent bytes that are no packet.
    pub fn is_malformed(&self) -> bool {
        self.is_malformed
    }

    pub(super) fn directed(&self, wanted: Direction) -> impl Iterator<Item = &Packet> {
        let packets = self.packets.iter();
        packets.filter_map(move |(direction, packet)| (*direction == wanted).then_some(packet))
    }

    /// Adds a packet; `None` stands for bytes that are none.
    pub(super) fn record(&mut self, direction: Direction, packet: Option<Packet>) {
        let Some(packet) = packet else {
            self.is_malformed = true;
            return;
        };
        match &packet {
            Packet::Connect(connect) => {
                self.client_identifier = connect.client_identifier.as_str().to_owned();
            }
            Packet::ConnAck(answer) => {
                if let Some(assigned) = &answer.properties.assigned_client_identifier {
                    self.client_identifier = assigned.as_str().to_owned();
                }
            }
            _ => {}
        }
        self.packets.push((direction, packet));
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
    }
}

/// How many packets a line has at most.
const SHOWN: usize = 30;

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_open { "open" } else { "closed" };
        write!(
            f,
            "connection {}, client `{}`, {state}:",
            self.number, self.client_identifier
        )?;
        let hidden = self.packets.len().saturating_sub(SHOWN);
        if hidden > 0 {
            write!(f, " … {hidden} packets …")?;
        }
        for (direction, packet) in &self.packets[hidden..] {
            let arrow = match direction {
                Direction::FromClient => '>',
                Direction::ToClient => '<',
            };
            write!(f, " {arrow} {}", packet.packet_type())?;
            if let Packet::Publish(publish) = packet {
                write!(f, " `{}`", publish.topic())?;
            }
        }
        if self.packets.is_empty() {
            f.write_str(" no packet")?;
        }
        if self.is_malformed {
            f.write_str(" > bytes that are not MQTT")?;
        }
        Ok(())
    }
}
