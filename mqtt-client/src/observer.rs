//! Looking at the packets of a connection as they pass.

use bytes::{Buf, BytesMut};
use martlet_proto::{MAX_PACKET_SIZE, Packet, Version};
use martlet_session::{Instant, SendBuffer};

/// Sees every packet that leaves and comes, in order, from within the driver and outside its lock: one that leaves when
/// the socket has taken its last byte, or TLS or WebSocket where there is one; one that comes before it is acted upon.
/// It must not block. Without an observer nothing of this costs anything.
pub trait Observer {
    /// The socket has taken a packet.
    fn packet_sent(&mut self, at: Instant, packet: &Packet);

    /// A packet has arrived.
    fn packet_received(&mut self, at: Instant, packet: &Packet);
}

/// Cuts both directions of a connection into packets.
pub(crate) struct Trace {
    observer: Box<dyn Observer + Send>,
    version: Version,
    sent: BytesMut,
    received: BytesMut,
}

impl Trace {
    pub(crate) fn new(observer: Box<dyn Observer + Send>) -> Self {
        Self { observer, version: Version::V5, sent: BytesMut::new(), received: BytesMut::new() }
    }

    pub(crate) fn open(&mut self, version: Version) {
        self.version = version;
        self.sent.clear();
        self.received.clear();
    }

    /// The first `n` bytes of `output` are about to be consumed.
    pub(crate) fn sent(&mut self, at: Instant, output: &SendBuffer, n: usize) {
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let used = output.chunks_vectored(&mut slices);
        let mut left = n;
        for slice in &slices[..used] {
            let part = slice.len().min(left);
            self.sent.extend_from_slice(&slice[..part]);
            left -= part;
        }
        while let Ok(Some(packet)) = Packet::decode(&mut self.sent, self.version, MAX_PACKET_SIZE) {
            self.observer.packet_sent(at, &packet);
        }
    }

    pub(crate) fn received(&mut self, at: Instant, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Ok(Some(packet)) = Packet::decode(&mut self.received, self.version, MAX_PACKET_SIZE) {
            self.observer.packet_received(at, &packet);
        }
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trace")
    }
}
