//! Which message makes the server hang up: when connections end in a row without an
//! acknowledgement, messages are sent again one at a time.
//!
//! ```text
//!   counting ──limit connections in a row without an acknowledgement──► probing: one message in flight
//!      ▲                                                                 │  │
//!      └───────────── none of the suspects is left ──────────────────────┘  └─ limit connections end at the same one, and
//!                                                                              nothing was acknowledged for the time: it
//!                                                                              is given up, or the application is asked
//! ```
//!
//! The suspects are the messages that were in flight when probing began. The first of them goes
//! first on each connection, so it is with the server before anything else but a PINGREQ, whose
//! answer it waits for: a connection that ends before that does not end because of it, and the count
//! begins anew. One that is alone for long without an answer does not hold up the others any more on
//! that connection.

use super::{Outbound, State};
use crate::outbound::queue::Fate;
use crate::{Awaited, ConnectionError, Instant, OperationId, TransportErrorKind};
use alloc::boxed::Box;
use core::time::Duration;
use martlet_proto::{DisconnectReasonCode, PacketType};

/// A message that was the first in flight on this many times as many connections is suspect
/// although others were acknowledged: a server may acknowledge what follows before it hangs up.
const PATIENCE: u8 = 3;

/// After this many times as many connections a message is given up although each process saw few of
/// them, and for a short time.
const PATIENCE_OVER_PROCESSES: u8 = 4;

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

/// What the server must do at a message before it is given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HangUps {
    /// How many connections in a row it has ended.
    pub(crate) limit: u8,
    /// For how long it has acknowledged nothing.
    pub(crate) time: Duration,
}

/// A message at which the server hangs up again and again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suspect {
    pub(crate) fate: Fate,
    /// How many connections have ended at it.
    pub(crate) connections: u8,
    /// It is time to ask about it, or to say that it stands still.
    pub(crate) is_due: bool,
    /// It has done so for long enough to blame the message and not the network.
    pub(crate) is_certain: bool,
}

/// Whether a connection works without a message or request that is suspected to end connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// Nothing yet.
    #[default]
    Unknown,
    /// A suspect waits for the PINGRESP.
    Asked,
    /// A PINGREQ was answered, or the time for it is over: suspects may be sent.
    Shown,
}

#[derive(Debug)]
pub(super) struct Probe {
    /// Messages up to this one are suspects.
    last: OperationId,
    /// The suspect that was sent last, and how many connections ended at it.
    pub(super) suspect: Option<OperationId>,
    pub(super) ended: u8,
    /// Nothing was acknowledged since then; `None`: the time begins when the next connection ends.
    since: Option<Instant>,
    /// An earlier process began to count.
    is_inherited: bool,
    /// It was alone for long enough on this connection.
    is_wide: bool,
}

impl Probe {
    /// The server has acknowledged a message.
    fn answered(&mut self, now: Instant) {
        self.since = Some(now);
        self.is_inherited = false;
    }
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
    pub(crate) fn probe_sent(&mut self, operation: OperationId, now: Instant) -> bool {
        let Some(probe) = self.probe.as_mut().filter(|probe| !probe.is_wide) else {
            return false;
        };
        if probe.suspect.replace(operation) != Some(operation) {
            probe.ended = 0;
        }
        if core::mem::take(&mut self.answered) {
            probe.answered(now);
        }
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

    /// The connection ends, before its messages are taken for lost. Returns the message at which the
    /// server has ended it, with nothing else in flight. A server that falls silent is probed too, so
    /// that the others get past the message, but none is given up for that.
    pub(crate) fn count_hang_up(
        &mut self,
        ending: ConnectionEnd,
        handed_out: u64,
        HangUps { limit, time }: HangUps,
        now: Instant,
    ) -> Option<Suspect> {
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
            if answered {
                probe.answered(now);
            }
            let since = *probe.since.get_or_insert(now);
            let fate = found.filter(|_| hung_up && !answered)?;
            probe.ended = probe.ended.saturating_add(1);
            let is_long = now.saturating_duration_since(since) >= time;
            let is_often = probe.ended >= limit.saturating_mul(PATIENCE_OVER_PROCESSES);
            let is_certain = probe.ended >= limit && (is_long || probe.is_inherited && is_often);
            return Some(Suspect {
                fate,
                connections: probe.ended,
                is_due: probe.ended % limit == 0,
                is_certain,
            });
        }
        let last = last.filter(|_| counts)?;
        if !answered {
            self.hang_ups_in_a_row = self.hang_ups_in_a_row.saturating_add(1);
        }
        if self.hang_ups_in_a_row >= limit || is_stubborn {
            self.probe_from(last, 0, Some(now));
        }
        None
    }

    /// A connection has ended without the suspect.
    pub(crate) fn clear_suspect(&mut self) {
        if let Some(probe) = &mut self.probe {
            probe.ended = 0;
            (probe.since, probe.is_inherited) = (None, false);
        }
    }

    pub(super) fn probe_from(&mut self, last: OperationId, ended: u8, since: Option<Instant>) {
        self.hang_ups_in_a_row = 0;
        self.probe = Some(Box::new(Probe {
            last,
            suspect: None,
            ended,
            since,
            is_inherited: since.is_none(),
            is_wide: false,
        }));
    }
}
