//! Messages and requests on their way to the server: the table of packet identifiers, the window
//! and the queue.
//!
//! ```text
//!              window, room                        PUBACK (1), PUBREC >= 0x80 (2)
//!   queue ───────────────────► Publish(id) ─────────────────────────────────────────► acknowledged
//!     ▲                          │  │ PUBREC (2)                     PUBCOMP
//!     │  session lost: requeue   │  └──────────────► Released(id) ─────────────────────► acknowledged
//!     └──────────────────────────┤                      │
//!                                └───── session lost: in doubt ──────────────────────► failed
//!                                       an answer of another flow
//! ```
//!
//! Packet identifiers index the table; a free one rests while sixteen others are free, so that a
//! late acknowledgement finds nobody. Messages in flight stand in two lists through the table, in
//! the order in which they were sent and released: that is the order of sending again. Every step
//! costs the same with 1 and with 65,535 in flight.

mod abandoned;
mod answers;
mod check;
#[cfg(feature = "durable")]
mod durable;
mod lost;
mod probing;
pub(crate) mod queue;
mod reporting;
mod withdrawing;
#[cfg(feature = "durable")]
pub(crate) use durable::RestoredFlow;
pub(crate) use withdrawing::InFlight;

use self::abandoned::{Abandoned, AbandonedList};
pub(crate) use self::answers::Acked;
pub(crate) use self::probing::{ConnectionEnd, HangUps, Liveness, Suspect};
use crate::ordered::places_in_order;
use crate::outbound::queue::{Fate, Queue, TrackedMessage};
use crate::output::Output;
use crate::output::deferred_drops::DeferredDrops;
use crate::requests::PendingRequest;
use crate::store::context::Context;
use crate::{Instant, OperationId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use martlet_proto::{Delivery, PacketIdentifier, PacketType, QoS};

/// How many identifiers rest before one is used again.
const RESTING: usize = 16;

#[derive(Debug)]
enum State {
    Free,
    /// A PUBLISH without PUBACK or PUBREC.
    Publish(TrackedMessage),
    /// QoS 2 after PUBREC; the message only if the policy may send it again.
    Released {
        fate: Fate,
        kept: Option<Box<TrackedMessage>>,
    },
    /// Given up; the server may hold the identifier.
    Abandoned(Abandoned),
    Request(Box<PendingRequest>),
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// Where its packet begins in the bytes of this connection; `None` when it was not sent on it.
    position: Option<u64>,
    previous: u16,
    next: u16,
}

/// A list through the table; 0 is nobody.
#[derive(Debug, Default, Clone, Copy)]
struct List {
    first: u16,
    last: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// Index: packet identifier - 1.
    slots: Vec<Slot>,
    /// Free slots, the one that has rested longest first; linked through `next`.
    free: List,
    resting: usize,
    /// `Publish` slots in the order of sending.
    publishes: List,
    /// `Released` slots in the order of PUBREC.
    released: List,
    /// The next of `publishes` that this connection has not seen; 0 when there is none.
    resend: u16,
    /// Likewise of `released`.
    resend_released: u16,
    abandoned: AbandonedList,
    /// Messages sent on this connection and not acknowledged.
    in_flight: usize,
    /// Messages in the two lists.
    unacknowledged: usize,
    queue: Queue,
    /// An acknowledgement came on this connection; while probing, since the suspect was sent.
    pub(crate) answered: bool,
    /// Whether suspects may be sent on this connection.
    pub(crate) liveness: Liveness,
    /// Connections in a row that the server has ended without one.
    hang_ups_in_a_row: u8,
    probe: Option<Box<probing::Probe>>,
}

/// What was done about something that this connection had not seen.
pub(crate) enum Resent {
    Again(OperationId),
    /// A message that was never handed out before.
    FirstTime(PacketIdentifier, OperationId),
}

impl Slot {
    /// A free slot gets a message.
    #[inline]
    fn fill(&mut self, outgoing: TrackedMessage) -> &TrackedMessage {
        debug_assert!(matches!(self.state, State::Free), "it was free");
        // There is nothing to drop, and looking for it would cost a second copy of the message.
        core::mem::forget(core::mem::replace(
            &mut self.state,
            State::Publish(outgoing),
        ));
        match &self.state {
            State::Publish(outgoing) => outgoing,
            _ => unreachable!("it was put there"),
        }
    }
}

impl Outbound {
    #[inline]
    fn slot(&mut self, id: u16) -> &mut Slot {
        &mut self.slots[usize::from(id) - 1]
    }

    #[inline]
    fn find(&mut self, id: PacketIdentifier) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id.get()) - 1)
    }

    /// The identifier of a slot that the caller fills.
    #[inline]
    fn allocate(&mut self) -> Option<PacketIdentifier> {
        let id = if self.resting < RESTING && self.slots.len() < usize::from(u16::MAX) {
            self.slots.push(Slot {
                state: State::Free,
                position: None,
                previous: 0,
                next: 0,
            });
            self.slots.len() as u16
        } else if self.free.first != 0 {
            let id = self.free.first;
            self.free.first = self.slot(id).next;
            if self.free.first == 0 {
                self.free.last = 0;
            }
            self.resting -= 1;
            id
        } else {
            return None;
        };
        PacketIdentifier::new(id)
    }

    pub(crate) fn has_identifier(&self) -> bool {
        self.free.first != 0 || self.slots.len() < usize::from(u16::MAX)
    }

    /// The slot is free; the message that it held goes.
    #[inline]
    fn release(&mut self, id: u16, deferred_drops: &mut DeferredDrops) {
        if deferred_drops.is_kept() {
            self.defer_slot(id, deferred_drops);
        }
        self.free(id);
    }

    /// The slot is free; it held no message.
    #[inline]
    fn free(&mut self, id: u16) {
        let slot = self.slot(id);
        slot.state = State::Free;
        slot.next = 0;
        match self.free.last {
            0 => self.free.first = id,
            last => self.slot(last).next = id,
        }
        self.free.last = id;
        self.resting += 1;
    }

    /// The message of a slot is deferred_drops; the caller says what the slot is now.
    #[inline(never)]
    fn defer_slot(&mut self, id: u16, deferred_drops: &mut DeferredDrops) {
        match core::mem::replace(&mut self.slot(id).state, State::Free) {
            State::Publish(outgoing) => deferred_drops.add(outgoing.message),
            State::Released {
                kept: Some(outgoing),
                ..
            } => deferred_drops.add(outgoing.message),
            State::Free | State::Released { .. } | State::Abandoned(_) | State::Request(_) => {}
        }
    }

    /// The slot is free; what it held is given back.
    fn take(&mut self, id: u16) -> State {
        let state = core::mem::replace(&mut self.slot(id).state, State::Free);
        self.free(id);
        state
    }

    #[inline]
    fn append(&mut self, list: fn(&mut Self) -> &mut List, id: u16) {
        self.link(list, id);
        self.unacknowledged += 1;
    }

    #[inline]
    fn link(&mut self, list: fn(&mut Self) -> &mut List, id: u16) {
        let last = list(self).last;
        self.slot(id).previous = last;
        self.slot(id).next = 0;
        match last {
            0 => list(self).first = id,
            last => self.slot(last).next = id,
        }
        list(self).last = id;
    }

    #[inline]
    fn unlink(&mut self, list: fn(&mut Self) -> &mut List, id: u16) {
        let next = self.unlink_from(list, id);
        if self.resend == id {
            self.resend = next;
        }
        if self.resend_released == id {
            self.resend_released = next;
        }
        self.unacknowledged -= 1;
    }

    /// Returns what follows in the list.
    #[inline]
    fn unlink_from(&mut self, list: fn(&mut Self) -> &mut List, id: u16) -> u16 {
        let &mut Slot { previous, next, .. } = self.slot(id);
        match previous {
            0 => list(self).first = next,
            previous => self.slot(previous).next = next,
        }
        match next {
            0 => list(self).last = previous,
            next => self.slot(next).previous = previous,
        }
        next
    }

    fn publishes(&mut self) -> &mut List {
        &mut self.publishes
    }

    fn released(&mut self) -> &mut List {
        &mut self.released
    }

    /// Something of this flow is sent on this connection; returns whether it is the first.
    #[inline]
    fn appeared(&mut self, id: u16, position: u64) -> bool {
        let first = self.slot(id).position.replace(position).is_none();
        self.in_flight += usize::from(first);
        first
    }

    #[inline]
    fn landed(&mut self, id: u16) {
        if self.slot(id).position.take().is_some() {
            self.in_flight -= 1;
        }
    }

    /// Whether this connection has not yet seen all that earlier ones have.
    #[inline]
    fn has_resends(&self) -> bool {
        self.resend != 0 || self.resend_released != 0
    }

    /// Whether anything waits to be encoded.
    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.has_resends() || self.queue.len() > 0
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(crate) fn queue_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Messages sent on this connection and not acknowledged.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Messages with a packet identifier.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    /// Whether the messages before this operation are completed, judged by those that are first in
    /// their lists.
    pub(crate) fn has_completed(&self, before: OperationId) -> bool {
        let first = |list: List| match self
            .slots
            .get(usize::from(list.first).wrapping_sub(1))
            .map(|slot| &slot.state)
        {
            Some(State::Publish(outgoing)) => Some(outgoing.operation),
            Some(State::Released { fate, .. }) => Some(fate.operation),
            _ => None,
        };
        let queued = [self.queue.qos0.front(), self.queue.qos12.front()];
        let queued = queued
            .into_iter()
            .flatten()
            .map(|outgoing| outgoing.operation);
        let in_flight = [first(self.publishes), first(self.released)];
        in_flight
            .into_iter()
            .flatten()
            .chain(queued)
            .all(|operation| operation >= before)
    }

    /// The message that was sent last, if it is not acknowledged, and where in the connection's
    /// bytes it begins.
    pub(crate) fn newest(&self) -> Option<(PacketIdentifier, u64)> {
        let id = PacketIdentifier::new(self.publishes.last)?;
        let position = self.slots[usize::from(id.get()) - 1].position?;
        Some((id, position))
    }

    /// Whether the server still owes the first answer to this message; `None` if it was given up.
    pub(crate) fn is_unanswered(&self, id: PacketIdentifier) -> Option<bool> {
        match self.slots.get(usize::from(id.get()) - 1)?.state {
            State::Publish(_) => Some(true),
            State::Free | State::Released { .. } => Some(false),
            State::Abandoned(_) | State::Request(_) => None,
        }
    }

    /// Whether a new message of this QoS may be sent at once, ahead of nobody.
    #[inline]
    pub(crate) fn may_pass(&self, qos: QoS, window: usize) -> bool {
        match qos {
            QoS::AtMostOnce => self.queue.qos0.is_empty(),
            _ => {
                self.queue.qos12.is_empty()
                    && !self.has_resends()
                    && self.in_flight < window
                    && self.has_identifier()
            }
        }
    }

    /// Sends a message of QoS 1 or 2 for the first time; the caller has checked
    /// [`may_pass`](Self::may_pass).
    #[inline]
    pub(crate) fn send(
        &mut self,
        outgoing: TrackedMessage,
        now: Instant,
        output: &mut Output,
    ) -> PacketIdentifier {
        let id = self.allocate().expect("an identifier was free");
        let position = output.position();
        let slot = self.slot(id.get());
        slot.position = Some(position);
        encode(slot.fill(outgoing), id, now, output);
        self.append(Self::publishes, id.get());
        self.in_flight += 1;
        id
    }

    /// Whether another message may take a packet identifier: within the window, whatever of it was
    /// sent.
    pub(super) fn may_admit(&self, window: usize) -> bool {
        self.unacknowledged < window && self.has_identifier()
    }

    /// The next message from the queue that may go: QoS 1 and 2 only within the window.
    pub(crate) fn pop_queue(&mut self, window: usize, durable: bool) -> Option<TrackedMessage> {
        let with_qos12 = if durable {
            self.may_admit(window)
        } else {
            !self.has_resends() && self.in_flight < window && self.has_identifier()
        };
        let line = self.queue.oldest_line(with_qos12)?;
        self.queue.pop_line(line)
    }

    /// Takes out the next message to be sent again, if it does not fit this connection. Gives back
    /// its identifier too if the server may have it.
    pub(crate) fn fail_resend<E>(
        &mut self,
        fits: impl FnOnce(&TrackedMessage) -> Result<(), E>,
        deferred_drops: &mut DeferredDrops,
    ) -> Option<(Fate, E, Option<PacketIdentifier>)> {
        let id = PacketIdentifier::new(self.resend)?;
        let State::Publish(outgoing) = &self.slot(id.get()).state else {
            unreachable!("the list holds publishes")
        };
        let error = fits(outgoing).err()?;
        let (fate, written) = (outgoing.fate(), outgoing.written);
        self.unlink(Self::publishes, id.get());
        if !written {
            self.release(id.get(), deferred_drops);
            return Some((fate, error, None));
        }
        let abandoned = self.abandon_slot(id, fate, deferred_drops);
        Some((fate, error, abandoned))
    }

    /// Sends again what this connection has not seen: PUBRELs, then PUBLISHes within the window.
    /// `None` when there is nothing to send.
    pub(crate) fn pump_resend(
        &mut self,
        window: usize,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Option<Resent> {
        let is_narrow = self.is_narrow();
        while let Some(id) = PacketIdentifier::new(self.resend_released) {
            if !context.may_release() || (is_narrow && self.in_flight >= window) {
                return None;
            }
            let slot = self.slot(id.get());
            let next = slot.next;
            let State::Released { fate, .. } = slot.state else {
                unreachable!("the list holds released ones")
            };
            self.resend_released = next;
            if self.appeared(id.get(), context.output.position()) {
                context.output.short_ack(PacketType::PubRel, id);
                return Some(Resent::Again(fate.operation));
            }
            // A PUBREC of this connection came first and has had its PUBREL.
        }
        let id = PacketIdentifier::new(self.resend).filter(|_| self.in_flight < window)?;
        let position = Some(context.output.position());
        let slot = self.slot(id.get());
        let next = slot.next;
        let State::Publish(outgoing) = &slot.state else {
            unreachable!("the list holds publishes")
        };
        let (operation, written) = (outgoing.operation, outgoing.written);
        if !context.may_publish(operation) {
            return None;
        }
        encode(outgoing, id, now, context.output);
        slot.position = position;
        self.resend = next;
        self.in_flight += 1;
        Some(if written {
            Resent::Again(operation)
        } else {
            Resent::FirstTime(id, operation)
        })
    }

    /// Whether the application still waits for this one.
    pub(crate) fn is_waiting(&self, id: PacketIdentifier, operation: OperationId) -> bool {
        match self
            .slots
            .get(usize::from(id.get()) - 1)
            .map(|slot| &slot.state)
        {
            Some(State::Publish(outgoing)) => outgoing.operation == operation && !outgoing.reported,
            Some(State::Released { fate, .. }) => fate.operation == operation && !fate.reported,
            _ => false,
        }
    }

    /// The application has waited long enough for this one; the failure is reported once.
    pub(crate) fn give_up(&mut self, id: PacketIdentifier, operation: OperationId) -> Option<Fate> {
        let (fate, reported) = match &mut self.find(id)?.state {
            State::Publish(outgoing) => (outgoing.fate(), &mut outgoing.reported),
            State::Released { fate, .. } => (*fate, &mut fate.reported),
            _ => return None,
        };
        (fate.operation == operation && !core::mem::replace(reported, true)).then_some(fate)
    }

    /// Takes a packet identifier for a request; the caller writes it.
    pub(crate) fn start_request(
        &mut self,
        request: Box<PendingRequest>,
        position: u64,
    ) -> Result<PacketIdentifier, Box<PendingRequest>> {
        if !self.has_identifier() {
            return Err(request);
        }
        let id = self.allocate().expect("an identifier was free");
        let slot = self.slot(id.get());
        slot.state = State::Request(request);
        slot.position = Some(position);
        Ok(id)
    }

    pub(crate) fn request(&mut self, id: PacketIdentifier) -> Option<&mut PendingRequest> {
        match &mut self.find(id)?.state {
            State::Request(request) => Some(request),
            _ => None,
        }
    }

    /// Whether the answer to this request is still worth waiting for.
    pub(crate) fn is_awaited(&self, id: PacketIdentifier, number: u64) -> bool {
        match self
            .slots
            .get(usize::from(id.get()) - 1)
            .map(|slot| &slot.state)
        {
            Some(State::Request(request)) => request.number() == number && request.awaited,
            _ => false,
        }
    }

    /// Ends a request.
    pub(crate) fn finish_request(&mut self, id: PacketIdentifier) -> Option<Box<PendingRequest>> {
        self.request(id)?;
        // The next message of the identifier was not sent.
        self.slot(id.get()).position = None;
        match self.take(id.get()) {
            State::Request(request) => Some(request),
            _ => unreachable!("it was a request"),
        }
    }

    /// The connection is gone: what was handed out may have arrived. Requests are given back in
    /// their order, each with whether any of it was handed out.
    pub(crate) fn handle_close(&mut self, handed_out: u64) -> Vec<(PendingRequest, bool)> {
        self.in_flight = 0;
        let (mut requests, mut positions) = (Vec::new(), Vec::new());
        for i in 0..self.slots.len() {
            let slot = &mut self.slots[i];
            let position = slot.position.take();
            match &mut slot.state {
                State::Publish(outgoing) => {
                    outgoing.written |= position.is_some_and(|at| at < handed_out);
                }
                State::Request(_) => {
                    if let (State::Request(request), Some(at)) = (self.take(i as u16 + 1), position)
                    {
                        requests.push(Some(*request));
                        positions.push(at);
                    }
                }
                State::Free | State::Released { .. } | State::Abandoned(_) => {}
            }
        }
        places_in_order(positions.iter().copied())
            .into_iter()
            .filter_map(|place| Some((requests[place].take()?, positions[place] < handed_out)))
            .collect()
    }

    /// The server has kept the session: everything is to be sent again.
    pub(crate) fn resume(&mut self) {
        self.resend = self.publishes.first;
        self.resend_released = self.released.first;
    }

    /// Takes out what waits in the queue and has expired.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<TrackedMessage> {
        let mut expired = Vec::new();
        self.queue.take_expired(now, &mut expired);
        expired
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.queue.next_expiry()
    }
}

fn encode(
    outgoing: &TrackedMessage,
    packet_identifier: PacketIdentifier,
    now: Instant,
    output: &mut Output,
) {
    let duplicate = outgoing.written;
    let delivery = match outgoing.message.qos {
        QoS::AtMostOnce => unreachable!("QoS 0 has no packet identifier"),
        QoS::AtLeastOnce => Delivery::AtLeastOnce {
            packet_identifier,
            duplicate,
        },
        QoS::ExactlyOnce => Delivery::ExactlyOnce {
            packet_identifier,
            duplicate,
        },
    };
    let expiry = outgoing.expiry_left(now);
    output
        .publish(&outgoing.message, delivery, expiry)
        .expect("checked against the limits before");
    output.tally.add_publish();
}

/// Sends a message of QoS 0.
#[inline]
pub(crate) fn send_qos0(outgoing: &TrackedMessage, now: Instant, output: &mut Output) {
    let expiry = outgoing.expiry_left(now);
    output
        .publish(&outgoing.message, Delivery::AtMostOnce, expiry)
        .expect("checked against the limits before");
    output.tally.add_publish();
}
