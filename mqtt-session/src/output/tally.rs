//! What is counted of packets as they are encoded and read. An idle session holds little for it, and
//! one that was never connected nothing.

use crate::traffic::{PacketCount, RoundTrips, Traffic};
use crate::{Counters, Instant};
use alloc::boxed::Box;
use core::time::Duration;
use martlet_proto::{PacketIdentifier, PacketType};

/// Not more often than this is a message timed: at more messages than that, timing them costs none
/// of them anything.
const TIMED_EVERY: Duration = Duration::from_millis(1);

/// What was counted so far, once there is anything.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counted: Option<Box<Counted>>,
    much: Option<Box<Much>>,
}

/// What every connection counts.
#[derive(Debug)]
struct Counted {
    /// CONNECT and CONNACK: packets, and bytes.
    opened: [[u32; 2]; 2],
    /// PINGREQ and PINGRESP.
    pings: [u32; 2],
    /// When the PINGREQ that is timed was handed out, unless that is the end of time.
    pinged: Instant,
    /// How long the last one took, as a moment after the epoch; the end of time if that is not known.
    ping_time: Instant,
    /// Messages of QoS 0 that went into the output at once.
    sent_at_once: u64,
    /// Bytes of earlier connections.
    bytes: u64,
}

/// What sessions count that have more to do than to be connected.
#[derive(Debug, Default)]
struct Much {
    counters: Counters,
    /// By [`place`]. Bytes of PUBLISHes that are sent are not counted: they are the rest. Of
    /// acknowledgements the bytes are counted that they have more than four.
    sent: [PacketCount; PLACES],
    received: [PacketCount; PLACES],
    timed: Timed,
    times: Option<Box<RoundTrips>>,
    /// Messages of QoS 0 that were dropped and not reported yet.
    dropped: u64,
}

/// The message whose acknowledgement is timed.
#[derive(Debug, Default)]
struct Timed {
    /// Its packet identifier; 0 if there is none.
    id: u16,
    /// When it was handed out.
    sent: Instant,
    /// Not before this is another one timed; the end of time while there is one.
    next: Instant,
}

impl Timed {
    fn end(&mut self) {
        if self.id != 0 {
            self.id = 0;
            self.next = self.sent + TIMED_EVERY;
        }
    }
}

const PUBLISH: usize = 0;
const PLACES: usize = 9;

/// Where a type is counted that is sent, or received.
const fn place(packet_type: PacketType) -> usize {
    match packet_type {
        PacketType::Publish
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp => packet_type.as_u8() as usize - 3,
        PacketType::Subscribe | PacketType::SubAck => 5,
        PacketType::Unsubscribe | PacketType::UnsubAck => 6,
        PacketType::Disconnect => 7,
        PacketType::Auth => 8,
        // These are counted elsewhere.
        PacketType::Connect | PacketType::ConnAck | PacketType::PingReq | PacketType::PingResp => {
            PUBLISH
        }
    }
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            opened: [[0; 2]; 2],
            pings: [0; 2],
            pinged: Instant::MAX,
            ping_time: Instant::MAX,
            sent_at_once: 0,
            bytes: 0,
        }
    }
}

#[cold]
#[inline(never)]
fn new<T: Default>(room: &mut Option<Box<T>>) -> &mut T {
    room.insert(Box::default())
}

impl Tally {
    #[inline]
    fn counted(&mut self) -> &mut Counted {
        match &mut self.counted {
            Some(counted) => counted,
            none => new(none),
        }
    }

    #[inline]
    fn much(&mut self) -> &mut Much {
        match &mut self.much {
            Some(much) => much,
            none => new(none),
        }
    }

    fn known(&self) -> Option<&Much> {
        self.much.as_deref()
    }

    // ---- counters of what is rare

    pub(crate) fn counters(&self) -> Counters {
        self.known().map_or(Counters::NOTHING, |much| much.counters)
    }

    pub(crate) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.much().counters
    }

    /// A message of QoS 0 that has come was dropped.
    #[cold]
    pub(crate) fn add_dropped(&mut self) {
        let much = self.much();
        much.counters.inbound_dropped += 1;
        much.dropped += 1;
    }

    /// Those that were dropped since the last call.
    #[inline]
    pub(crate) fn take_dropped(&mut self) -> u64 {
        match &mut self.much {
            Some(much) if much.dropped > 0 => core::mem::take(&mut much.dropped),
            _ => 0,
        }
    }

    // ---- packets

    /// A message of QoS 0 went into the output at once.
    #[inline]
    pub(crate) fn add_at_once(&mut self) {
        self.counted().sent_at_once += 1;
    }

    /// Another PUBLISH was encoded.
    #[inline]
    pub(crate) fn add_publish(&mut self) {
        self.much().sent[PUBLISH].packets += 1;
    }

    /// Acknowledgements of the short form were encoded.
    #[inline]
    pub(crate) fn add_short_acks(&mut self, packet_type: PacketType, n: usize) {
        self.much().sent[place(packet_type)].packets += n as u64;
    }

    /// An acknowledgement of the short form has come.
    #[inline]
    pub(crate) fn add_received_ack(&mut self, packet_type: PacketType) {
        self.much().received[place(packet_type)].packets += 1;
    }

    /// PUBLISHes have come.
    #[inline]
    pub(crate) fn add_received(&mut self, packets: u32, bytes: usize) {
        if packets > 0 {
            let count = &mut self.much().received[PUBLISH];
            count.packets += u64::from(packets);
            count.bytes += bytes as u64;
        }
    }

    /// Another packet was encoded.
    pub(crate) fn add_sent_packet(&mut self, packet_type: PacketType, bytes: usize) {
        match packet_type {
            PacketType::Connect => self.add_opened(0, bytes),
            PacketType::PingReq => self.add_ping(0),
            other => add(&mut self.much().sent, other, bytes),
        }
    }

    /// Another packet has come.
    pub(crate) fn add_received_packet(&mut self, packet_type: PacketType, bytes: usize) {
        match packet_type {
            PacketType::ConnAck => self.add_opened(1, bytes),
            PacketType::PingResp => self.add_ping(1),
            // What no server sends ends the connection.
            PacketType::Connect | PacketType::PingReq => {}
            other => add(&mut self.much().received, other, bytes),
        }
    }

    fn add_opened(&mut self, direction: usize, bytes: usize) {
        let [packets, sum] = &mut self.counted().opened[direction];
        *packets = packets.saturating_add(1);
        *sum = sum.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    fn add_ping(&mut self, direction: usize) {
        let pings = &mut self.counted().pings[direction];
        *pings = pings.saturating_add(1);
    }

    /// A connection has had this many bytes, and another one follows.
    pub(crate) fn end_connection(&mut self, bytes: u64) {
        if let Some(counted) = &mut self.counted {
            counted.bytes += bytes;
            counted.pinged = Instant::MAX;
        }
        if let Some(much) = &mut self.much {
            much.timed.end();
        }
    }

    // ---- times

    /// Whether a message that is handed out now is to be timed.
    #[inline]
    pub(crate) fn wants_time(&self, now: Instant) -> bool {
        self.known().is_some_and(|much| much.timed.next <= now)
    }

    /// A message of QoS 1 or 2 is handed out: its acknowledgement is timed.
    #[cold]
    pub(crate) fn begin_timed(&mut self, id: PacketIdentifier, now: Instant) {
        self.much().timed = Timed {
            id: id.get(),
            sent: now,
            next: Instant::MAX,
        };
    }

    /// The packet identifier of the message that is timed.
    #[inline]
    pub(crate) fn timed(&self) -> Option<PacketIdentifier> {
        PacketIdentifier::new(self.known()?.timed.id)
    }

    /// The message that is timed was given up.
    pub(crate) fn forget_timed(&mut self) {
        self.much().timed.end();
    }

    /// The acknowledgement that is timed has come.
    pub(crate) fn measure(&mut self, now: Instant) {
        let much = self.much();
        much.timed.end();
        let time = now.saturating_duration_since(much.timed.sent);
        let times = &mut much.times;
        let times = times.get_or_insert_with(|| Box::new(RoundTrips::new(now)));
        times.add(time, now);
    }

    /// A PINGREQ is handed out.
    pub(crate) fn hand_out_ping(&mut self, now: Instant) {
        let counted = self.counted();
        if counted.pinged == Instant::MAX {
            counted.pinged = now;
        }
        // A session that does little more than ping needs no room for times.
        if let Some(much) = &mut self.much {
            much.times.take_if(|times| times.times(now).is_none());
        }
    }

    /// A PINGRESP has come.
    pub(crate) fn end_ping(&mut self, now: Instant) {
        let counted = self.counted();
        if counted.pinged < Instant::MAX {
            let time = now.saturating_duration_since(counted.pinged);
            counted.ping_time = Instant::from_epoch(time);
            counted.pinged = Instant::MAX;
        }
    }

    // ---- getters

    pub(crate) fn sent_at_once(&self) -> u64 {
        self.counted
            .as_ref()
            .map_or(0, |counted| counted.sent_at_once)
    }

    pub(crate) fn ping_time(&self) -> Option<Duration> {
        let time = self.counted.as_ref()?.ping_time;
        (time < Instant::MAX).then(|| time.since_epoch())
    }

    pub(crate) fn times(&self) -> Option<&RoundTrips> {
        self.known()?.times.as_deref()
    }

    /// All that was counted; `bytes`: of this connection so far.
    pub(crate) fn traffic(&self, bytes: u64) -> Traffic {
        let mut traffic = Traffic::default();
        let Some(counted) = &self.counted else {
            return traffic;
        };
        let none = Much::default();
        let much = self.much.as_deref().unwrap_or(&none);
        let opened = counted.opened.map(|[packets, bytes]| PacketCount {
            packets: packets.into(),
            bytes: bytes.into(),
        });
        let pings = counted.pings.map(|n| PacketCount {
            packets: n.into(),
            bytes: 2 * u64::from(n),
        });
        for packet_type in PacketType::ALL {
            let (sent, received) = match packet_type {
                PacketType::Connect => (opened[0], PacketCount::default()),
                PacketType::ConnAck => (PacketCount::default(), opened[1]),
                PacketType::PingReq => (pings[0], PacketCount::default()),
                PacketType::PingResp => (PacketCount::default(), pings[1]),
                PacketType::Subscribe | PacketType::Unsubscribe => {
                    (much.sent[place(packet_type)], PacketCount::default())
                }
                PacketType::SubAck | PacketType::UnsubAck => {
                    (PacketCount::default(), much.received[place(packet_type)])
                }
                other => (much.sent[place(other)], much.received[place(other)]),
            };
            let place = usize::from(packet_type.as_u8()) - 1;
            traffic.sent[place] = whole(packet_type, sent);
            traffic.received[place] = whole(packet_type, received);
        }
        let others: u64 = traffic.sent.iter().map(|count| count.bytes).sum();
        let publish = &mut traffic.sent[usize::from(PacketType::Publish.as_u8()) - 1];
        publish.packets += counted.sent_at_once;
        publish.bytes = (counted.bytes + bytes).saturating_sub(others);
        traffic
    }
}

/// Whether a type has four bytes at least, which are not counted.
fn is_ack(packet_type: PacketType) -> bool {
    use PacketType::{PubAck, PubComp, PubRec, PubRel};
    matches!(packet_type, PubAck | PubRec | PubRel | PubComp)
}

fn add(counts: &mut [PacketCount; PLACES], packet_type: PacketType, bytes: usize) {
    let count = &mut counts[place(packet_type)];
    count.packets += 1;
    count.bytes += bytes as u64;
    if is_ack(packet_type) {
        count.bytes -= 4;
    }
}

fn whole(packet_type: PacketType, mut count: PacketCount) -> PacketCount {
    if is_ack(packet_type) {
        count.bytes += 4 * count.packets;
    }
    count
}
