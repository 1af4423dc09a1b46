//! One connection between a client and the broker, with its faults. It does no I/O.

use super::fault::LineFaults;
use super::transcript::{Conversation, Direction};
use crate::ConnectionId;
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use martlet_proto::{FixedHeader, MAX_PACKET_SIZE, Packet, Version};
use std::collections::VecDeque;

/// How much is written at once.
const WRITE: usize = 64 * 1024;

/// How many bytes may wait for the client before the broker is asked for more.
const QUEUE: usize = 256 * 1024;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// At once; what was not sent is lost.
    Cut,
    /// When everything is sent.
    Close,
}

/// What came from the client: one packet, or bytes that are none.
pub(super) struct Input {
    pub(super) packet: Option<Packet>,
    pub(super) bytes: BytesMut,
}

/// What the connection's writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Writes this, and asks again.
    Write(Bytes),
    /// Waits until there is something new, or until then.
    Wait(Option<Duration>),
    /// Cuts the connection.
    Cut,
    /// Closes the connection.
    Close,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) faults: LineFaults,
    /// The broker's name for it, while the broker has it.
    pub(super) id: Option<ConnectionId>,
    pub(super) end: Option<LineEnd>,
    pub(super) version: Version,
    /// A CONNECT has come.
    pub(super) has_connected: bool,
    /// Whole packets that the broker has not taken; usually none.
    pub(super) to_broker: BytesMut,
    /// The beginning of a packet.
    input: BytesMut,
    /// Packets for the client, and when the broker sent them.
    queue: VecDeque<(Duration, Bytes)>,
    queued: usize,
    /// How much of the first one is written.
    written: usize,
    /// The first one is to be cut short, after which nothing is sent.
    shortens: bool,
    is_mute: bool,
    /// When the next byte of a dripping connection may be written.
    next_drip: Duration,
}

impl Line {
    pub(super) fn new(id: ConnectionId, faults: LineFaults) -> Self {
        Self {
            faults,
            id: Some(id),
            end: None,
            // A CONNECT has its own.
            version: Version::V5,
            has_connected: false,
            to_broker: BytesMut::new(),
            input: BytesMut::new(),
            queue: VecDeque::new(),
            queued: 0,
            written: 0,
            shortens: false,
            is_mute: false,
            next_drip: Duration::ZERO,
        }
    }

    /// Takes bytes of the client, as many as may come.
    pub(super) fn receive(&mut self, mut bytes: &[u8]) {
        if let Some(left) = &mut self.faults.from_client {
            bytes = &bytes[..bytes.len().min(*left)];
            *left -= bytes.len();
        }
        self.input.extend_from_slice(bytes);
    }

    /// The next whole packet that has come; or everything, where no packet that the broker takes
    /// begins like that.
    pub(super) fn next_input(&mut self, maximum_packet_size: u32) -> Option<Input> {
        let header = match FixedHeader::decode(&self.input, self.version) {
            Ok(header) => header?,
            Err(_) => return Some(self.no_packet()),
        };
        let size = header.packet_size();
        if size > maximum_packet_size as usize {
            return Some(self.no_packet());
        }
        if self.input.len() < size {
            return None;
        }
        let bytes = self.input.split_to(size);
        Some(Input {
            packet: decode(&bytes, self.version),
            bytes,
        })
    }

    fn no_packet(&mut self) -> Input {
        Input {
            packet: None,
            bytes: self.input.split(),
        }
    }

    /// Whether the broker may be asked for more to send.
    pub(super) fn has_room(&self) -> bool {
        self.queued < QUEUE
    }

    /// Takes whole packets that the broker sends.
    pub(super) fn send(&mut self, now: Duration, mut packets: BytesMut) {
        while let Ok(Some(header)) = FixedHeader::decode(&packets, self.version) {
            let packet = packets.split_to(header.packet_size().min(packets.len()));
            self.queued += packet.len();
            self.queue.push_back((now, packet.freeze()));
        }
        debug_assert!(packets.is_empty(), "the broker sends whole packets");
    }

    /// What to do next; the packets of which the last byte is to be written are recorded.
    pub(super) fn next_output(&mut self, now: Duration, record: &mut Conversation) -> Output {
        if self.end == Some(LineEnd::Cut) || self.faults.cuts_now() {
            return Output::Cut;
        }
        let mut out = BytesMut::new();
        let mut wake = None;
        while out.len() < WRITE {
            let Some((at, packet)) = self.queue.front().cloned() else {
                break;
            };
            let due = at.saturating_add(self.faults.delay);
            let due = match self.faults.drip {
                Some(_) => due.max(self.next_drip),
                None => due,
            };
            if due > now {
                wake = Some(due);
                break;
            }
            if self.written == 0 && !self.is_mute && !self.begin(&packet) {
                if out.is_empty() {
                    return Output::Cut;
                }
                break;
            }
            self.advance(now, &packet, &mut out, record);
            if self.faults.drip.is_some() || self.faults.cuts_now() {
                break;
            }
        }
        if !out.is_empty() {
            return Output::Write(out.freeze());
        }
        match self.end {
            Some(LineEnd::Close) if self.queue.is_empty() => Output::Close,
            _ => Output::Wait(wake),
        }
    }

    /// Whether a packet may be sent; `false`: the connection is cut instead.
    fn begin(&mut self, packet: &Bytes) -> bool {
        let Ok(Some(header)) = FixedHeader::decode(packet, self.version) else {
            return true;
        };
        let packet_type = header.packet_type;
        self.shortens = self.faults.answer_short.contains(&packet_type);
        !self.faults.hang_up_instead_of.contains(&packet_type)
    }

    /// Moves bytes of the first packet to `out`, as many as may be sent now.
    fn advance(
        &mut self,
        now: Duration,
        packet: &Bytes,
        out: &mut BytesMut,
        record: &mut Conversation,
    ) {
        let end = packet.len() - usize::from(self.shortens);
        if !self.is_mute {
            let mut part = &packet[self.written..end];
            if let Some(pause) = self.faults.drip {
                part = &part[..part.len().min(1)];
                self.next_drip = now.saturating_add(pause);
            }
            if let Some(left) = &mut self.faults.to_client {
                part = &part[..part.len().min(*left)];
                *left -= part.len();
            }
            out.extend_from_slice(part);
            self.written += part.len();
            if self.written < end {
                return;
            }
            if self.shortens {
                self.is_mute = true;
            } else if let Some(packet) = decode(packet, self.version)
                // In this form a version is rejected.
                .or_else(|| decode(packet, Version::V3_1_1))
            {
                record.record(Direction::ToClient, Some(packet));
            }
        }
        self.written = 0;
        self.queued -= packet.len();
        self.queue.pop_front();
    }
}

/// A copy of a packet, decoded.
fn decode(bytes: &[u8], version: Version) -> Option<Packet> {
    let mut bytes = BytesMut::from(bytes);
    Packet::decode(&mut bytes, version, MAX_PACKET_SIZE)
        .ok()
        .flatten()
}
