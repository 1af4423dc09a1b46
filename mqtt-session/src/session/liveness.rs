//! Whether the connection works without a message or request that is suspected to end connections.
//!
//! A suspected message, and a suspected request that fails with the next loss, is sent after the
//! server has answered a PINGREQ. A connection that ends before that would have ended without it
//! too, as with a server that accepts connections and closes each, or a network that carries
//! nothing: it is not counted.

use crate::outbound::{ConnectionEnd, Liveness};
use crate::session::timers::TimerKind;
use crate::{Instant, Session};

impl Session {
    /// Whether a suspect may be sent; if not, asks for what it waits for.
    pub(crate) fn may_send_suspect(&mut self, now: Instant) -> bool {
        if self.outbound.liveness == Liveness::Unknown {
            self.send_ping(None);
            self.outbound.liveness = Liveness::Asked;
            // A server that answers no PINGREQ does not hold up suspects for ever.
            self.timers
                .set(TimerKind::Probe, now + self.config.request_timeout);
        }
        self.outbound.liveness == Liveness::Shown
    }

    /// A PINGRESP has come.
    pub(crate) fn show_liveness(&mut self) {
        if self.outbound.liveness == Liveness::Asked {
            self.timers.stop(TimerKind::Probe);
        }
        self.outbound.liveness = Liveness::Shown;
    }

    /// The time of a suspect, or of the PINGRESP that it waits for, is over.
    pub(crate) fn end_wait_of_suspect(&mut self) {
        match self.outbound.liveness {
            Liveness::Asked => self.outbound.liveness = Liveness::Shown,
            Liveness::Unknown | Liveness::Shown => self.widen_probe(),
        }
    }

    /// The connection has ended. Where it did before a suspect could be sent, and nothing else was
    /// unanswered that it may have ended for, those before it may have done so without the message,
    /// too: they are not counted any more.
    pub(crate) fn forget_liveness(&mut self, ending: ConnectionEnd) {
        let liveness = core::mem::take(&mut self.outbound.liveness);
        let is_idle = self.requests.outstanding() == 0 && self.outbound.in_flight() == 0;
        if liveness != Liveness::Shown && is_idle && ending == ConnectionEnd::HungUp {
            self.outbound.clear_suspect();
        }
    }
}
