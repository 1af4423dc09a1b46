//! Which message makes the server hang up: when connections end in a row without an
//! acknowledgement, messages are sent again one at a time.
//!
//! ```text
//!   counting ──limit connections in a row without an acknowledgement──► probing: one message in flight
//!      ▲                                                                 │  │
//!      └───────────── none of the suspects is left ──────────────────────┘  └─ limit connections end at the same one: it
//!                                                                              is given up, or the application is asked
//! ```
//!
//! The suspects are the messages that were in flight when probing began. The first of them goes
//! first on each connection, so it is with the server before anything else. One that is alone for
//! long without an answer does not hold up the others any more on that connection.

use super::{Outbound, State};
use crate::outbound::queue::Fate;
use crate::{Awaited, ConnectionError, OperationId, TransportErrorKind};
use alloc::boxed::Box;
use martlet_proto::{DisconnectReasonCode, PacketType};

/// A message that was the first in flight on this many times as many connections is suspect
/// although others were acknowledged: a server may acknowledge what follows before it hangs up.
const PATIENCE: u8 = 3;

/// How a connection ended, seen from what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionEnd {
    /// As it does when the server does not like what it was sent. The network may have ended it
    /// just as well.
    HungUp,
    /// The server does not answer any more, or takes nothing. It may be busy with what it was sent,
    /// or the network may lose that, and nothing else.
    Silent,
    /// For another reason: one that the server gave, what it sent, or because we wanted it.
    Other,
}

impl ConnectionEnd {
    pub(crate) fn of(reason: &ConnectionError) -> Self {
        use DisconnectReasonCode as Code;
        match reason {
            ConnectionError::ClosedByPeer => Self::HungUp,
            ConnectionError::Transport(error) => match error.kind() {
                TransportErrorKind::Io
                | TransportErrorKind::Tls
                | TransportErrorKind::WebSocket => Self::HungUp,
                TransportErrorKind::WriteTimeout => Self::Silent,
                _ => Self::Other,
            },
            ConnectionError::DisconnectedByPeer(disconnect) => match disconnect.reason {
                Code::KeepAliveTimeout => Self::Silent,
                Code::ServerBusy
                | Code::ServerShuttingDown
                | Code::SessionTakenOver
                | Code::UseAnotherServer
                | Code::ServerMoved
                | Code::ConnectionRateExceeded
                | Code::MaximumConnectTime => Self::Other,
                _ => Self::HungUp,
            },
            // An acknowledgement that cannot be read comes again with the message.
            ConnectionError::Malformed(error) => match error.packet_type() {
                Some(PacketType::PubAck | PacketType::PubRec | PacketType::PubComp) => Self::HungUp,
                _ => Self::Other,
            },
            ConnectionError::Timeout(Awaited::PingResp) => Self::Silent,
            ConnectionError::ClosedHere
            | ConnectionError::Rejected(_)
            | ConnectionError::PeerMisbehaved(_)
            | ConnectionError::Timeout(_)
            | ConnectionError::NoConnAck { .. }
            | ConnectionError::Replaced
            | ConnectionError::InboundOverrun
            | ConnectionError::GivenUp(_)
            | ConnectionError::Configuration(_)
            | ConnectionError::CannotConnect { .. } => Self::Other,
        }
    }
}

#[derive(Debug)]
pub(super) struct Probe {
    /// Messages up to this one are suspects.
    last: OperationId,
    /// The suspect that was sent last, and how many connections ended at it.
    pub(super) suspect: Option<OperationId>,
    pub(super) ended: u8,
    /// It was alone for long enough on this connection.
    is_wide: bool,
}

impl Outbound {
    #[inline]
    pub(crate) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether only one message may be in flight.
    pub(crate) fn is_narrow(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| !probe.is_wide)
    }

    /// Whether a message waits to be sent alone.
    pub(crate) fn awaits_probe(&self) -> bool {
        let is_waiting = self.has_resends() || !self.queue.qos12.is_empty();
        self.is_narrow() && self.in_flight == 0 && is_waiting
    }

    /// A message leaves while the session probes. Returns whether it is alone.
    pub(crate) fn probe_sent(&mut self, operation: OperationId) -> bool {
        let Some(probe) = self.probe.as_mut().filter(|probe| !probe.is_wide) else {
            return false;
        };
        if probe.suspect.replace(operation) != Some(operation) {
            probe.ended = 0;
        }
        self.answered = false;
        true
    }

    /// The suspect has been alone for long enough.
    pub(crate) fn widen_probe(&mut self) {
        if let Some(probe) = self.probe.as_mut().filter(|_| self.in_flight > 0) {
            probe.is_wide = true;
        }
    }

    /// Ends probing once no suspect is left. Returns whether it did.
    pub(crate) fn end_probe(&mut self) -> bool {
        let Some(probe) = &self.probe else {
            return false;
        };
        let is_suspect = |operation: OperationId| operation <= probe.last;
        // Messages stand in the order of their operations; those released are few while there is a
        // probe.
        let suspects = self.released.first != 0
            || self.message(self.publishes.first).is_some_and(is_suspect)
            || self
                .queue
                .qos12
                .front()
                .is_some_and(|outgoing| is_suspect(outgoing.operation));
        if !suspects {
            self.probe = None;
        }
        !suspects
    }

    /// Whose message this identifier, or nobody's, stands for.
    pub(super) fn message(&self, id: u16) -> Option<OperationId> {
        match &self.slots.get(usize::from(id).checked_sub(1)?)?.state {
            State::Publish(outgoing) => Some(outgoing.operation),
            State::Released { fate, .. } => Some(fate.operation),
            State::Free | State::Abandoned(_) | State::Request(_) => None,
        }
    }

    /// The connection ends, before its messages are taken for lost. Returns the message at which it
    /// was the last of `limit` connections that the server ended, with nothing else in flight. A
    /// server that falls silent is probed too, so that the others get past the message, but none is
    /// given up for that.
    pub(crate) fn count_hang_up(
        &mut self,
        ending: ConnectionEnd,
        handed_out: u64,
        limit: u8,
    ) -> Option<Fate> {
        let (hung_up, counts) = (
            ending == ConnectionEnd::HungUp,
            ending != ConnectionEnd::Other,
        );
        let answered = core::mem::take(&mut self.answered);
        if answered {
            self.hang_ups_in_a_row = 0;
        }
        let suspect = self.probe.as_ref().and_then(|probe| probe.suspect);
        let (mut last, mut found, mut is_stubborn) = (None, None, false);
        for first in [self.released.first, self.publishes.first] {
            let mut next = first;
            while next != 0 {
                let (id, slot) = (next, self.slot(next));
                next = slot.next;
                if slot.position.is_none_or(|at| at >= handed_out) {
                    continue;
                }
                let fate = match &mut slot.state {
                    State::Publish(outgoing) => {
                        let is_first = id == first;
                        outgoing.hang_ups = outgoing
                            .hang_ups
                            .saturating_add(u8::from(counts && is_first));
                        is_stubborn |= outgoing.hang_ups >= limit.saturating_mul(PATIENCE);
                        outgoing.fate()
                    }
                    State::Released { fate, .. } => *fate,
                    State::Free | State::Abandoned(_) | State::Request(_) => {
                        unreachable!("the lists hold messages")
                    }
                };
                last = last.max(Some(fate.operation));
                if suspect == Some(fate.operation) {
                    found = Some(fate);
                }
            }
        }
        if let Some(probe) = &mut self.probe {
            probe.is_wide = false;
            let fate = found.filter(|_| hung_up && !answered)?;
            probe.ended = probe.ended.saturating_add(1);
            if probe.ended < limit {
                return None;
            }
            probe.ended = 0;
            return Some(fate);
        }
        let last = last.filter(|_| counts)?;
        if !answered {
            self.hang_ups_in_a_row = self.hang_ups_in_a_row.saturating_add(1);
        }
        if self.hang_ups_in_a_row >= limit || is_stubborn {
            self.probe_from(last, 0);
        }
        None
    }

    pub(super) fn probe_from(&mut self, last: OperationId, ended: u8) {
        self.hang_ups_in_a_row = 0;
        self.probe = Some(Box::new(Probe {
            last,
            suspect: None,
            ended,
            is_wide: false,
        }));
    }
}
