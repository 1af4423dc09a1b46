//! What waits in a stream, in the order in which it came.

use crate::hub::route::{Queued, Ticket};
use martlet_proto::QoS;
use std::collections::VecDeque;

/// Messages that may be dropped.
const DROPPABLE: usize = 0;

/// A queue in three lanes, by what may become of a message: those that may be dropped, and those of
/// QoS 1 and 2. The oldest of each is found without a search. A number says which of two lanes'
/// first came first.
#[derive(Debug, Default)]
pub(crate) struct RouteQueue {
    lanes: [VecDeque<(u64, Queued)>; 3],
    /// How many have come.
    arrived: u64,
    bytes: usize,
}

#[inline]
fn lane_of(queued: &Queued) -> usize {
    if queued.is_droppable() {
        DROPPABLE
    } else {
        lane(queued.message.qos())
    }
}

#[inline]
fn lane(qos: QoS) -> usize {
    match qos {
        QoS::AtMostOnce => DROPPABLE,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}

impl RouteQueue {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    /// Bytes of the packets that wait.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub(crate) fn push(&mut self, queued: Queued) {
        self.bytes += queued.message.size();
        self.arrived += 1;
        self.lanes[lane_of(&queued)].push_back((self.arrived, queued));
    }

    /// The lane of the oldest message.
    #[inline]
    fn first(&self) -> Option<usize> {
        let numbers = self
            .lanes
            .iter()
            .map(|lane| lane.front().map_or(u64::MAX, |(number, _)| *number));
        let (lane, number) = numbers.enumerate().min_by_key(|(_, number)| *number)?;
        (number != u64::MAX).then_some(lane)
    }

    #[inline]
    fn pop_from(&mut self, lane: usize) -> Option<Queued> {
        let (_, queued) = self.lanes[lane].pop_front()?;
        self.bytes -= queued.message.size();
        Some(queued)
    }

    /// The oldest message.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        self.pop_from(self.first()?)
    }

    /// The oldest message, if it is of QoS 0.
    #[inline]
    pub(crate) fn pop_qos0(&mut self) -> Option<Queued> {
        let lane = self.first().filter(|lane| *lane == DROPPABLE)?;
        let (_, queued) = self.lanes[lane].front()?;
        if queued.message.qos() == QoS::AtMostOnce {
            self.pop_from(lane)
        } else {
            None
        }
    }

    /// The oldest message that may be dropped.
    #[inline]
    pub(crate) fn pop_droppable(&mut self) -> Option<Queued> {
        self.pop_from(DROPPABLE)
    }

    /// What waits for its acknowledgement at this QoS, the oldest first.
    pub(crate) fn unacknowledged(&self, qos: QoS) -> impl Iterator<Item = &Queued> {
        self.lanes[lane(qos)].iter().map(|(_, queued)| queued)
    }

    /// Removes what waits for its acknowledgement at QoS 1 and is `gone`.
    pub(crate) fn take_if(&mut self, gone: impl Fn(&Ticket) -> bool) -> Vec<Queued> {
        let lane = &mut self.lanes[lane(QoS::AtLeastOnce)];
        let mut taken = Vec::new();
        if !lane.iter().any(|(_, queued)| gone(&queued.ticket)) {
            return taken;
        }
        for (number, queued) in std::mem::take(lane) {
            if gone(&queued.ticket) {
                self.bytes -= queued.message.size();
                taken.push(queued);
            } else {
                lane.push_back((number, queued));
            }
        }
        taken
    }

    /// Everything that waits, in order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Queued> + use<> {
        let mut all = std::mem::take(self);
        std::iter::from_fn(move || all.pop())
    }
}
