//! Bytes of MQTT that have come and the session has not taken.

use bytes::BytesMut;
use martlet_proto::{FixedHeader, Version};
use martlet_session::{Instant, Session};
use std::io;
use std::task::Poll;

/// From this size on a packet is worth the care: below it, moving it costs less than looking.
const LARGE: usize = 4096;

/// How much room is made at most for what a header promises. Larger packets find theirs as they
/// grow: a few hostile bytes must not take more.
const ROOM: usize = 128 * 1024;

/// From this size on a packet is worth reads of its own, into its place.
const IN_PLACE: usize = 16 * 1024;

/// Such a read has room for so much of what comes behind.
const NEXT: usize = 4096;

/// After this number of packets in one read the next will not be large either.
const LOOKED_AT: usize = 16;

/// Packet types (MQTT 5 §2.1.2).
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBCOMP: u8 = 7;

/// What has come, in order. A large packet of which a part has come has room for the rest, so that
/// it is not moved again before the application has it.
pub(crate) struct Intake {
    /// For the session; it begins with a packet.
    front: BytesMut,
    /// What came behind the large packet at the end of `front`, whose block it has filled.
    behind: BytesMut,
    /// So many bytes of the last packet are still to come, if it is large.
    missing: usize,
    /// The size of the last large packet, unless many small ones have come since: the next may be as
    /// large.
    recent: usize,
    /// The application is to take messages first: nothing is read, and the session gets nothing.
    pub(crate) is_held: bool,
    /// How many bytes the session gets at a time.
    pub(crate) most: usize,
    /// The session skips a message: what comes next is its bytes, not a packet.
    skipping: bool,
}

impl Intake {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            front: BytesMut::new(),
            behind: BytesMut::new(),
            missing: 0,
            recent: 0,
            is_held: false,
            most,
            skipping: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.front.len() + self.behind.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where TLS and WebSocket put what they open.
    pub(crate) fn opened(&mut self) -> &mut BytesMut {
        &mut self.front
    }

    /// Copies what came from a plain socket. No packet is to have more than `largest` bytes.
    pub(crate) fn extend(&mut self, bytes: &[u8], version: Version, largest: u32) {
        let (rest, bytes) = bytes.split_at(self.missing.min(bytes.len()));
        self.last().extend_from_slice(rest);
        self.missing -= rest.len();
        if bytes.is_empty() {
            return;
        }
        self.begin(bytes, !rest.is_empty(), version, largest);
    }

    /// Whether there is a place to read into: that of a large packet's rest, or one for a packet as
    /// large as the last.
    pub(crate) fn reads_in_place(&self) -> bool {
        let begins = self.front.is_empty() && !self.skipping;
        self.recent >= IN_PLACE && self.behind.is_empty() && (self.missing > 0 || begins)
    }

    /// Lets `read` append to that place, up to the number of bytes that it gets: they are not copied
    /// again. The same as [`extend`](Self::extend) with what it has read.
    pub(crate) fn read_in_place(
        &mut self,
        read: impl FnOnce(&mut BytesMut, usize) -> Poll<io::Result<usize>>,
        version: Version,
        largest: u32,
    ) -> Poll<io::Result<usize>> {
        let mut block = std::mem::take(&mut self.front);
        let from = block.len();
        let rest = match self.missing {
            0 => self.recent.min(ROOM),
            missing => missing.min(ROOM),
        };
        let most = match block.capacity() - from {
            spare if spare >= rest => spare.min(rest + NEXT),
            _ => rest + NEXT,
        };
        block.reserve(most);
        let result = read(&mut block, most);
        let n = match result {
            Poll::Ready(Ok(n)) => n.min(block.len().saturating_sub(from)),
            _ => 0,
        };
        block.truncate(from + n);
        if block.is_empty() {
            // Nothing has come, and perhaps nothing does for long: the room is not kept.
            return result;
        }
        let end = if self.missing > 0 {
            let rest = n.min(self.missing);
            self.missing -= rest;
            from + rest
        } else {
            let last = Last::of(&block, version, largest);
            if block.capacity() - block.len() >= last.missing {
                self.expect(&last);
                block.len()
            } else {
                // It is a small part: the rest needs a block of its own.
                last.begin
            }
        };
        if end < block.len() {
            self.begin(&block[end..], true, version, largest);
            block.truncate(end);
        }
        self.front = block;
        result
    }

    /// Copies what came behind all that was known; `after_large`: right behind a large packet.
    fn begin(&mut self, bytes: &[u8], after_large: bool, version: Version, largest: u32) {
        // Where a packet begins is known after a large one, and where nothing is left of others.
        let known = after_large || (self.is_empty() && !self.skipping);
        self.missing = 0;
        let mut room = 0;
        if known {
            let last = Last::of(bytes, version, largest);
            self.expect(&last);
            room = last.room();
        }
        let block = if after_large {
            &mut self.behind
        } else {
            self.last()
        };
        if room > 0 {
            block.reserve(bytes.len() + room);
        }
        block.extend_from_slice(bytes);
    }

    /// This is the last packet of all that has come.
    fn expect(&mut self, last: &Last) {
        self.missing = last.missing;
        self.recent = last.size.unwrap_or(self.recent);
    }

    /// Whether a whole message or acknowledgement is among it.
    pub(crate) fn has_delivery(&self, version: Version) -> bool {
        let mut rest = &self.front[..];
        while let Ok(Some(header)) = FixedHeader::decode(rest, version) {
            let first = rest[0] >> 4;
            let Some(next) = rest.get(header.packet_size()..) else {
                break;
            };
            if matches!(first, PUBLISH | PUBACK | PUBREC | PUBCOMP) {
                return true;
            }
            rest = next;
        }
        false
    }

    fn last(&mut self) -> &mut BytesMut {
        if self.behind.is_empty() {
            &mut self.front
        } else {
            &mut self.behind
        }
    }

    /// Gives the session what it takes at a time; `at_end`: nothing comes behind it, so it is not
    /// held. Returns whether the session may take more of it.
    pub(crate) fn give(&mut self, now: Instant, session: &mut Session, at_end: bool) -> bool {
        if self.is_held && !at_end {
            return false;
        }
        let most = self.most;
        let (all, before) = (self.len(), self.front.len());
        session.handle_input_upto(now, &mut self.front, most);
        if self.front.is_empty() && !self.behind.is_empty() && before < most {
            std::mem::swap(&mut self.front, &mut self.behind);
            session.handle_input_upto(now, &mut self.front, most - before);
        }
        self.skipping = session.skipping() > 0;
        !self.is_empty() && all - self.len() >= most
    }
}

/// The last packet of some bytes which begin with one.
#[derive(Default)]
struct Last {
    begin: usize,
    /// The size of the last large packet among them; 0 if there are many packets and none is large,
    /// `None` if there are few.
    size: Option<usize>,
    /// How much of it is still to come; 0 if it is small.
    missing: usize,
}

impl Last {
    fn of(bytes: &[u8], version: Version, largest: u32) -> Self {
        let (mut last, mut next) = (Self::default(), 0);
        for _ in 0..LOOKED_AT {
            let Ok(Some(header)) = FixedHeader::decode(&bytes[next..], version) else {
                return last;
            };
            let size = header.packet_size();
            let is_large = (LARGE..=largest as usize).contains(&size);
            if is_large {
                last.size = Some(size);
            }
            last.begin = next;
            next += size;
            if next >= bytes.len() {
                last.missing = if is_large { next - bytes.len() } else { 0 };
                return last;
            }
        }
        Self {
            size: Some(last.size.unwrap_or(0)),
            ..Self::default()
        }
    }

    /// How much room is made for what is missing, and for what comes behind.
    fn room(&self) -> usize {
        match self.missing {
            0 => 0,
            missing => missing.min(ROOM) + NEXT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_proto::{ConnAck, ConnectReasonCode, Packet, PublishRef};
    use martlet_session::{Config, ConnectOptions, Event, SendBuffer};

    const NOW: Instant = Instant::EPOCH;

    fn connected() -> Session {
        let mut session = Session::new(Config::default());
        session.handle_open(NOW, ConnectOptions::new(Version::V5));
        let _ = session.poll_transmit(NOW, &mut SendBuffer::new());
        let mut connack = BytesMut::new();
        let packet = Packet::from(ConnAck::new(ConnectReasonCode::Success));
        packet.encode(Version::V5, &mut connack).unwrap();
        session.handle_input(NOW, &mut connack);
        assert!(matches!(session.poll_event(), Some(Event::Connected(_))));
        session
    }

    /// A PUBLISH with QoS 0 whose payload is all `n`.
    fn publish(n: u8, size: usize, out: &mut BytesMut) {
        let topic = martlet_proto::TopicName::new("a/b").unwrap();
        let payload = vec![n; size];
        PublishRef::new(&topic, &payload)
            .encode(Version::V5, out)
            .unwrap();
    }

    /// Every byte of every message stays where the one copy has put it.
    #[test]
    fn large_messages_are_copied_once_however_they_are_cut() {
        for size in [64 * 1024, 5000, 100_000] {
            let mut stream = BytesMut::new();
            (0..8).for_each(|n| publish(n, size, &mut stream));
            let header = FixedHeader::decode(&stream, Version::V5)
                .unwrap()
                .unwrap()
                .packet_size();
            for read in [64 * 1024, 16 * 1024, 1500, size + 1, header] {
                let (mut intake, mut session) = (Intake::new(usize::MAX), connected());
                let mut begins = Vec::new();
                let mut messages = Vec::new();
                let mut come = 0;
                for bytes in stream.chunks(read) {
                    intake.extend(bytes, Version::V5, u32::MAX);
                    // Where the packets lie that have begun with these bytes.
                    for begin in (0..8)
                        .map(|n| n * header)
                        .filter(|at| (come..come + bytes.len()).contains(at))
                    {
                        let from_end = come + bytes.len() - begin;
                        let last = if intake.behind.is_empty() {
                            &intake.front
                        } else {
                            &intake.behind
                        };
                        begins.push(last[last.len() - from_end..].as_ptr());
                    }
                    come += bytes.len();
                    intake.give(NOW, &mut session, false);
                    while let Some(Event::Message(message)) = session.poll_event() {
                        messages.push(message);
                    }
                }
                assert!(intake.is_empty());
                assert_eq!(messages.len(), 8, "{size} in {read}");
                for (n, (message, begin)) in messages.iter().zip(begins).enumerate() {
                    let payload = message.publish.payload();
                    assert!(
                        payload.len() == size && payload.iter().all(|&byte| usize::from(byte) == n)
                    );
                    let moved = payload.as_ptr() as usize - begin as usize;
                    assert_eq!(
                        moved,
                        header - size,
                        "message {n} of {size} bytes in reads of {read} was moved"
                    );
                }
            }
        }
    }

    #[test]
    fn small_and_large_ones_come_in_order() {
        let mut stream = BytesMut::new();
        let sizes = [10, 70_000, 0, 5000, 4000, 300_000, 3, 3, 3];
        for (n, size) in sizes.into_iter().enumerate() {
            publish(n as u8, size, &mut stream);
        }
        for read in [1, 2, 3, 7, 100, 4096, 65_536, stream.len()] {
            let (mut intake, mut session) = (Intake::new(usize::MAX), connected());
            let mut seen = Vec::new();
            for bytes in stream.chunks(read) {
                intake.extend(bytes, Version::V5, 1 << 20);
                intake.give(NOW, &mut session, false);
                while let Some(Event::Message(message)) = session.poll_event() {
                    seen.push(message.publish.payload().len());
                    session.acknowledge(message.token, martlet_proto::PubAckReasonCode::Success);
                }
            }
            assert_eq!(seen, sizes, "in reads of {read}");
        }
    }

    /// However much each read brings, and whichever way it comes, the messages are the same.
    #[test]
    fn what_is_read_in_place_is_the_same() {
        let mut stream = BytesMut::new();
        let sizes = [
            10, 70_000, 65_536, 100_000, 4000, 300_000, 3, 40_000, 20_000, 3,
        ];
        for (n, size) in sizes.into_iter().enumerate() {
            publish(n as u8, size, &mut stream);
        }
        for read in [1000, 4097, 16_384, 65_536, 70_000, stream.len()] {
            let (mut intake, mut session) = (Intake::new(usize::MAX), connected());
            let (mut seen, mut left, mut in_place) = (Vec::new(), &stream[..], 0);
            while !left.is_empty() {
                if intake.reads_in_place() {
                    let pending = |_: &mut BytesMut, _| Poll::Pending;
                    assert!(
                        intake
                            .read_in_place(pending, Version::V5, 1 << 20)
                            .is_pending()
                    );
                    let before = left.len();
                    let fill = |place: &mut BytesMut, most: usize| {
                        let n = read.min(most).min(left.len());
                        place.extend_from_slice(&left[..n]);
                        left = &left[n..];
                        Poll::Ready(Ok(n))
                    };
                    assert!(intake.read_in_place(fill, Version::V5, 1 << 20).is_ready());
                    in_place += before - left.len();
                } else {
                    let (bytes, rest) = left.split_at(read.min(left.len()));
                    intake.extend(bytes, Version::V5, 1 << 20);
                    left = rest;
                }
                intake.give(NOW, &mut session, false);
                while let Some(Event::Message(message)) = session.poll_event() {
                    let payload = message.publish.payload();
                    assert!(payload.iter().all(|&byte| usize::from(byte) == seen.len()));
                    seen.push(payload.len());
                    session.acknowledge(message.token, martlet_proto::PubAckReasonCode::Success);
                }
            }
            assert_eq!(seen, sizes, "in reads of {read}");
            assert!(
                in_place > 0 || read > 100_000,
                "{in_place} in reads of {read}"
            );
        }
    }

    /// All but the first are. A message was copied where the one before it had ended a read, and where
    /// a small packet had come before it.
    #[test]
    fn large_messages_are_read_to_where_they_stay() {
        const SIZE: usize = 65_536;
        for (has_small_ones, in_step) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let (mut stream, mut ends) = (BytesMut::new(), Vec::new());
            for n in 0..8 {
                publish(n, SIZE, &mut stream);
                if has_small_ones {
                    publish(n, 3, &mut stream);
                }
                ends.push(stream.len());
            }
            let (mut intake, mut session) = (Intake::new(usize::MAX), connected());
            let (mut at, mut seen, mut places) = (0, 0, Vec::new());
            while at < stream.len() {
                let end = if in_step {
                    *ends.iter().find(|&&end| end > at).unwrap()
                } else {
                    stream.len()
                };
                let left = &stream[at..end];
                if intake.reads_in_place() {
                    let fill = |place: &mut BytesMut, most: usize| {
                        let (from, n) = (place.len(), most.min(left.len()));
                        place.extend_from_slice(&left[..n]);
                        places.push(place[from..].as_ptr_range());
                        at += n;
                        Poll::Ready(Ok(n))
                    };
                    assert!(intake.read_in_place(fill, Version::V5, 1 << 20).is_ready());
                } else {
                    assert_eq!(seen, 0, "{has_small_ones} {in_step}");
                    let n = left.len().min(SIZE);
                    intake.extend(&left[..n], Version::V5, 1 << 20);
                    at += n;
                }
                intake.give(NOW, &mut session, false);
                while let Some(Event::Message(message)) = session.poll_event() {
                    let payload = message.publish.payload();
                    if payload.len() == SIZE {
                        let middle = &raw const payload[SIZE / 2];
                        let stayed = places.iter().any(|place| place.contains(&middle));
                        assert!(stayed || seen == 0, "{has_small_ones} {in_step}: {seen}");
                        seen += 1;
                    }
                    session.acknowledge(message.token, martlet_proto::PubAckReasonCode::Success);
                }
            }
            assert_eq!(seen, 8);
        }
    }

    /// A header promises as much as it likes.
    #[test]
    fn a_promise_takes_little_memory() {
        for header in [
            &[0x30, 0xff, 0xff, 0xff, 0x7f][..],
            &[0x30, 0xff, 0xff, 0xff, 0x07],
        ] {
            let mut intake = Intake::new(usize::MAX);
            intake.extend(header, Version::V5, 16 << 20);
            assert!(intake.front.capacity() <= 2 * ROOM);
        }
    }
}
