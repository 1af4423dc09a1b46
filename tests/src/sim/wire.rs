//! Cuts a stream into packets, for those that look into it or change it.

use bytes::{Bytes, BytesMut};
use martlet_proto::{MAX_PACKET_SIZE, Packet, Version};

/// A packet, and its bytes.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) packet: Packet,
    pub(crate) bytes: Bytes,
}

/// Cuts a stream into packets.
#[derive(Debug, Default)]
pub(crate) struct WireFrames {
    buffer: BytesMut,
}

impl WireFrames {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
    }

    /// The next whole packet.
    pub(crate) fn next(&mut self, version: Version) -> Result<Option<Frame>, String> {
        let Some(len) = frame_len(&self.buffer) else {
            return Ok(None);
        };
        let bytes = self.buffer.split_to(len).freeze();
        let mut copy = BytesMut::from(&bytes[..]);
        match Packet::decode(&mut copy, version, MAX_PACKET_SIZE) {
            Ok(Some(packet)) if copy.is_empty() => Ok(Some(Frame { packet, bytes })),
            other => Err(format!(
                "not a packet: {other:?}, {:02x?}",
                &bytes[..bytes.len().min(32)]
            )),
        }
    }
}

/// How long the packet at the front is, if it is all there.
pub(crate) fn frame_len(input: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (i, &byte) in input.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(len + i + 2).filter(|&all| all <= input.len());
        }
    }
    None
}

/// The number of a message, which its payload begins with.
pub(crate) fn number(payload: &[u8]) -> u64 {
    let bytes = payload.first_chunk().copied().unwrap_or([0xff; 8]);
    u64::from_be_bytes(bytes)
}
