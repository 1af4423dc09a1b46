//! Figures of a session: what was counted and timed.

use crate::event::Counters;
use crate::traffic::{AcknowledgementTimes, RoundTrips, Traffic};
use crate::{DeliveryId, Instant, Session};
use core::time::Duration;
use martlet_proto::PacketIdentifier;

impl Session {
    // ---- getters

    /// What was tolerated or left out so far.
    pub fn counters(&self) -> Counters {
        self.output.tally.counters()
    }

    /// What was sent and received so far, by packet type.
    pub fn traffic(&self) -> Traffic {
        self.output.tally.traffic(self.output.position())
    }

    /// How many messages of QoS 0 [`publish_at_once`](Self::publish_at_once) has sent.
    pub fn published_at_once(&self) -> u64 {
        self.output.tally.sent_at_once()
    }

    /// How long the last PINGRESP took, from when its PINGREQ was handed out. While one is under
    /// way, others are not timed.
    pub fn ping_time(&self) -> Option<Duration> {
        self.output.tally.ping_time()
    }

    /// How long the server takes to acknowledge; `None` if no message was timed in the last minute.
    pub fn acknowledgement_times(&self, now: Instant) -> Option<AcknowledgementTimes> {
        self.round_trips()?.times(now)
    }

    /// The same as all that is known of it: clone it, and learn later what was timed since.
    pub fn round_trips(&self) -> Option<&RoundTrips> {
        self.output.tally.times()
    }

    /// The last `n` bytes of the output were handed out: if a message of QoS 1 or 2 is among them,
    /// its acknowledgement is timed.
    pub(crate) fn time_newest(&mut self, n: usize, now: Instant) {
        let from = self.output.handed_out() - n as u64;
        if let Some((id, position)) = self.outbound.newest() {
            if position >= from {
                self.output.tally.begin_timed(id, now);
            }
        }
    }

    /// Acknowledgements were handled: the one that is timed may be among them.
    #[inline]
    pub(crate) fn end_timed(&mut self) {
        if let Some(id) = self.output.tally.timed() {
            self.measure(id, self.last_received);
        }
    }

    #[cold]
    fn measure(&mut self, id: PacketIdentifier, now: Instant) {
        match self.outbound.is_unanswered(id) {
            Some(true) => {}
            Some(false) => self.output.tally.measure(now),
            None => self.output.tally.forget_timed(),
        }
    }

    /// The messages that hold back the acknowledgements of later ones: at most one of QoS 1 and one
    /// of QoS 2, each with how many acknowledgements wait for it. Looking for them takes as long as
    /// there are messages unacknowledged.
    pub fn held_acknowledgements(&self) -> impl Iterator<Item = (DeliveryId, usize)> {
        self.inbound.holders()
    }
}
