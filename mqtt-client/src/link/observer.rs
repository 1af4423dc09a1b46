//! Looking at a connection as it passes: its packets, and what happens to the client.

use crate::event::ClientEvent;
use crate::link::packet_logger::PacketLog;
use bytes::{Buf, BytesMut};
use martlet_proto::{DecodeErrorKind, FixedHeader, MAX_PACKET_SIZE, Packet, Version};
use martlet_session::{Instant, SendBuffer};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Sees every packet that leaves and comes, and every event of the client, in order, from within
/// the driver and outside its lock: a packet that leaves when the socket has taken its last byte,
/// or TLS or WebSocket where there is one; one that comes before it is acted upon. A packet above
/// the largest that the session takes is not shown. Without an observer nothing of this costs
/// anything.
///
/// It is called by the driver itself, so it must not block: hand on what takes long. It cannot
/// change anything. One that panics is dropped, and the connection goes on without it;
/// [`ClientEvent::ObserverPanicked`] tells so.
///
/// ```
/// # use martlet_client::{Client, hooks::Observer, proto::Packet, session::Instant};
/// #[derive(Clone, Default)]
/// struct Count(std::sync::Arc<std::sync::atomic::AtomicU64>);
///
/// impl Observer for Count {
///     fn packet_sent(&mut self, _at: Instant, _packet: &Packet) {
///         self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
///     }
///     fn packet_received(&mut self, _at: Instant, _packet: &Packet) {}
/// }
///
/// let builder = Client::builder("mqtt://broker.example").observer(Count::default());
/// ```
pub trait Observer {
    /// The socket has taken a packet.
    fn packet_sent(&mut self, at: Instant, packet: &Packet);

    /// A packet has arrived.
    fn packet_received(&mut self, at: Instant, packet: &Packet);

    /// Something has happened to the client. By default it is not looked at.
    fn client_event(&mut self, at: Instant, event: &ClientEvent) {
        let _ = (at, event);
    }
}

/// Cuts both directions of a connection into packets.
pub(crate) struct Trace {
    /// `None`: it has panicked, or there was none.
    observer: Option<Box<dyn Observer + Send>>,
    panic_told: bool,
    /// The packets of this connection are logged.
    log: Option<Box<PacketLog>>,
    version: Version,
    largest: u32,
    sent: Direction,
    received: Direction,
}

/// One direction of a connection, as far as it can be followed.
#[derive(Default)]
struct Direction {
    /// The beginning of a packet.
    bytes: BytesMut,
    /// So many bytes belong to a packet that is too large to be shown.
    skipping: usize,
    /// It is no MQTT, or not all was seen: there is nothing more to show until the next connection.
    lost: bool,
}

impl Direction {
    fn add(&mut self, bytes: &[u8]) {
        if !self.lost {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn next(&mut self, version: Version, largest: u32) -> Option<Packet> {
        let skipped = self.skipping.min(self.bytes.len());
        self.bytes.advance(skipped);
        self.skipping -= skipped;
        match Packet::decode(&mut self.bytes, version, largest) {
            Ok(packet) => packet,
            Err(error) => match (error.kind(), FixedHeader::decode(&self.bytes, version)) {
                // It is not kept here if it is not kept by the session.
                (DecodeErrorKind::PacketTooLarge { .. }, Ok(Some(header))) => {
                    self.skipping = header.packet_size();
                    self.next(version, largest)
                }
                _ => {
                    self.lose();
                    None
                }
            },
        }
    }

    fn lose(&mut self) {
        *self = Self {
            lost: true,
            ..Self::default()
        };
    }
}

impl Trace {
    /// Packets that come are shown up to `largest` bytes.
    pub(crate) fn new(observer: Box<dyn Observer + Send>, largest: u32) -> Self {
        Self {
            observer: Some(observer),
            ..Self::without_observer(largest)
        }
    }

    /// Only logs.
    fn without_observer(largest: u32) -> Self {
        let (sent, received) = (Direction::default(), Direction::default());
        Self {
            observer: None,
            panic_told: false,
            log: None,
            version: Version::V5,
            largest,
            sent,
            received,
        }
    }

    /// A socket is open: its packets are logged if anybody reads that. The caller holds no lock,
    /// since the logger is asked.
    pub(crate) fn ask_log(trace: &mut Option<Self>, largest: u32) {
        let is_on = catch_unwind(PacketLog::is_on).unwrap_or(false);
        if is_on {
            let trace = trace.get_or_insert_with(|| Self {
                panic_told: true,
                ..Self::without_observer(largest)
            });
            trace.log = Some(Box::new(PacketLog::of_process()));
        } else if let Some(trace) = trace {
            trace.log = None;
        }
    }

    /// Whether somebody looks at packets.
    pub(crate) fn is_watched(&self) -> bool {
        self.observer.is_some() || self.log.is_some()
    }

    pub(crate) fn has_observer(&self) -> bool {
        self.observer.is_some()
    }

    /// The connection of this client begins.
    pub(crate) fn open(&mut self, version: Version, client: &str) {
        if let Some(log) = &mut self.log {
            log.set_name(client);
        }
        self.version = version;
        self.sent = Direction::default();
        self.received = Direction::default();
    }

    /// The first `n` bytes of `output` are about to be consumed.
    pub(crate) fn sent(&mut self, at: Instant, output: &SendBuffer, n: usize) {
        if !self.is_watched() {
            return;
        }
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let used = output.chunks_vectored(&mut slices);
        let mut left = n;
        for slice in &slices[..used] {
            let part = slice.len().min(left);
            self.sent.add(&slice[..part]);
            left -= part;
        }
        if left > 0 {
            self.sent.lose();
        }
        while let Some(packet) = self.sent.next(self.version, MAX_PACKET_SIZE) {
            self.log(|log| log.packet_sent(at, &packet));
            self.show(|observer| observer.packet_sent(at, &packet));
        }
    }

    pub(crate) fn received(&mut self, at: Instant, bytes: &[u8]) {
        if !self.is_watched() {
            return;
        }
        self.received.add(bytes);
        while let Some(packet) = self.received.next(self.version, self.largest) {
            self.log(|log| log.packet_received(at, &packet));
            self.show(|observer| observer.packet_received(at, &packet));
        }
    }

    pub(crate) fn event(&mut self, at: Instant, event: &ClientEvent) {
        self.show(|observer| observer.client_event(at, event));
    }

    /// Whether the observer has panicked since the last question.
    pub(crate) fn has_panicked(&mut self) -> bool {
        self.observer.is_none() && !std::mem::replace(&mut self.panic_told, true)
    }

    /// A logger that panics has no more lines of this connection.
    fn log(&mut self, write: impl FnOnce(&mut PacketLog)) {
        if let Some(mut log) = self.log.take() {
            let written = catch_unwind(AssertUnwindSafe(move || {
                write(&mut log);
                log
            }));
            self.log = written.ok();
        }
    }

    fn show(&mut self, show: impl FnOnce(&mut dyn Observer)) {
        let Some(mut observer) = self.observer.take() else {
            return;
        };
        // Whatever state the panic left it in, nobody looks at it again: it is dropped with the
        // closure.
        let looked = catch_unwind(AssertUnwindSafe(move || {
            show(&mut *observer);
            observer
        }));
        self.observer = looked.ok();
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trace")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Count(Arc<AtomicUsize>);

    impl Observer for Count {
        fn packet_sent(&mut self, _: Instant, _: &Packet) {}

        fn packet_received(&mut self, _: Instant, _: &Packet) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From the first bytes on that were no packet, all that followed were kept for ever.
    #[test]
    fn what_cannot_be_followed_is_not_kept() {
        const PINGRESP: &[u8] = &[0xd0, 0];
        let packets = Arc::new(AtomicUsize::new(0));
        let mut trace = Trace::new(Box::new(Count(Arc::clone(&packets))), 100);
        let at = Instant::from_epoch(std::time::Duration::ZERO);
        trace.received(at, PINGRESP);
        for _ in 0..10 {
            trace.received(at, &[0; 1000]);
            assert_eq!(trace.received.bytes.capacity(), 0);
        }
        trace.received(at, PINGRESP);
        assert_eq!(
            packets.load(Ordering::Relaxed),
            1,
            "nobody knows what that was"
        );
        trace.open(Version::V5, "");
        trace.received(at, PINGRESP);
        assert_eq!(packets.load(Ordering::Relaxed), 2);
    }

    /// With an observer, a packet that the session skips was kept whole in order to be shown.
    #[test]
    fn what_is_too_large_is_not_kept_in_order_to_be_shown() {
        let packets = Arc::new(AtomicUsize::new(0));
        let mut trace = Trace::new(Box::new(Count(Arc::clone(&packets))), 100);
        let at = Instant::from_epoch(std::time::Duration::ZERO);
        trace.open(Version::V3_1_1, "");
        let mut stream = b"\x30\x80\x80\x40\0\x01a".to_vec();
        stream.resize(4 + (1 << 20), 0xd0);
        for _ in 0..2 {
            for bytes in stream.chunks(1000) {
                trace.received(at, bytes);
                assert!(trace.received.bytes.capacity() < 10_000);
            }
            trace.received(at, &[0xd0, 0]);
        }
        assert_eq!(packets.load(Ordering::Relaxed), 2);
    }
}
