//! Messages that end without the server's word: the server hangs up at them, or the application
//! withdraws them.

use crate::outbound::queue::Fate;
use crate::outbound::{ConnectionEnd, HangUps, InFlight, Suspect};
use crate::session::timers::TimerKind;
use crate::{
    ConnectionError, Event, Instant, OperationId, PublishError, Session, WhenServerHangsUp,
};
use core::time::Duration;

/// How far a message had come when it was [withdrawn](Session::withdraw).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Withdrawal {
    /// It was not sent, and will not be.
    Unsent,
    /// It was sent, and may have arrived. It is not sent again. The server may hold its packet
    /// identifier, which is not used until the server answers or has lost the session; that of a
    /// QoS 1 message only as long as the connection lasts.
    InFlight,
    /// It has ended before, or there is no such message.
    Ended,
}

impl Session {
    // ---- commands

    /// Takes a message back: one that has not left is not sent, also if it is stored; one that is
    /// in flight is given up and not sent again. [`Event::Published`] reports its end as
    /// [`PublishError::Withdrawn`].
    ///
    /// A QoS 2 message that the server has answered with PUBREC is the server's: its flow goes on
    /// to PUBCOMP.
    pub fn withdraw(&mut self, operation: OperationId) -> Withdrawal {
        let withdrawn =
            if let Some(fate) = self.outbound.withdraw(operation, &mut self.deferred_drops) {
                self.store_failed(operation, None);
                self.report(fate, Err(PublishError::Withdrawn));
                Withdrawal::Unsent
            } else if let Some(in_flight) = self
                .outbound
                .withdraw_in_flight(operation, &mut self.deferred_drops)
            {
                let fate = match in_flight {
                    InFlight::Released(fate) => fate,
                    InFlight::GivenUp(fate, abandoned) => {
                        self.store_failed(operation, abandoned);
                        fate
                    }
                };
                self.report(fate, Err(PublishError::Withdrawn));
                Withdrawal::InFlight
            } else if let Some(fate) = self
                .outbound
                .withdraw_qos0(operation, &mut self.deferred_drops)
            {
                self.report(fate, Err(PublishError::Withdrawn));
                Withdrawal::Unsent
            } else {
                return Withdrawal::Ended;
            };
        self.finish_drain();
        withdrawn
    }

    /// The connection is gone: identifiers of messages that were given up on it are free, as far as
    /// the server does not hold them over connections.
    pub(crate) fn free_given_up(&mut self) {
        for operation in self.outbound.free_abandoned_of_qos1() {
            self.forget(operation);
        }
        self.bound_given_up();
    }

    /// Not too many identifiers are kept for a server that lets go of none.
    pub(crate) fn bound_given_up(&mut self) {
        while let Some(operation) = self.outbound.free_first_abandoned() {
            self.forget(operation);
        }
    }

    // ---- the server hangs up

    /// The window of this connection, and of what there is to find out on it.
    pub(crate) fn set_window(&mut self) {
        let allowed = self.config.max_in_flight.min(self.limits.receive_maximum);
        self.window = if self.outbound.is_narrow() {
            1
        } else {
            allowed
        };
    }

    /// How many messages may be in flight now. While one is looked for at which the server hangs
    /// up, none beside a request: it could be the one.
    pub(crate) fn window_now(&mut self, now: Instant) -> usize {
        if !self.outbound.is_probing() {
            return self.window();
        }
        self.end_probe();
        // Both at a time: asked for while it waits for a request.
        let waits = (self.outbound.awaits_probe() && !self.may_send_suspect(now))
            || (self.outbound.is_narrow() && self.requests.outstanding() > 0);
        if waits { 0 } else { self.window() }
    }

    /// Whether further requests wait until those without an answer have one, so that a message that
    /// is sent beside none has its turn.
    pub(crate) fn holds_requests(&self) -> bool {
        self.requests.outstanding() > 0 && self.outbound.awaits_probe()
    }

    /// Widens the window if the message is found, or acknowledged, at which the server has hung up.
    pub(crate) fn end_probe(&mut self) {
        if self.outbound.is_probing() && self.outbound.end_probe() {
            self.timers.stop(TimerKind::Probe);
            self.set_window();
        }
    }

    /// A message has left, perhaps alone.
    pub(crate) fn probe_sent(&mut self, operation: OperationId, now: Instant) {
        if self.outbound.is_probing() && self.outbound.probe_sent(operation, now) {
            self.timers
                .set(TimerKind::Probe, now + self.config.request_timeout);
        }
    }

    /// The server has neither answered nor hung up: others need not wait.
    pub(crate) fn widen_probe(&mut self) {
        if !self.outbound.end_probe() {
            self.outbound.widen_probe();
        }
        self.set_window();
    }

    /// The connection ends for this reason, before its messages are taken for lost.
    pub(crate) fn count_hang_up(&mut self, now: Instant, reason: &ConnectionError) {
        let hang_ups = HangUps {
            // A session can be made with a limit of 0, although it cannot connect.
            limit: self.config.hang_up_limit.max(1),
            time: Duration::from_millis(self.config.hang_up_millis.into()),
        };
        let handed_out = self.output.handed_out();
        let ending = if self.outbound.is_probing() && self.requests.outstanding() > 0 {
            // It may be the request.
            ConnectionEnd::Other
        } else {
            ConnectionEnd::of(reason)
        };
        let suspect = self
            .outbound
            .count_hang_up(ending, handed_out, hang_ups, now);
        if let Some(suspect) = suspect {
            self.judge_suspect(suspect);
        }
        self.forget_liveness(ending);
        self.store_identity(None);
    }

    /// The server has hung up at this message again and again.
    fn judge_suspect(&mut self, suspect: Suspect) {
        let Suspect {
            fate,
            connections,
            is_due,
            is_certain,
        } = suspect;
        let connections = connections.into();
        let Fate {
            operation,
            key,
            reported,
            ..
        } = fate;
        let policy = self.config.when_server_hangs_up;
        // Nobody waits for one whose end was reported.
        let given_up = reported && is_due || is_certain && policy == WhenServerHangsUp::Fail;
        if given_up {
            let abandoned = self.outbound.abandon(operation, &mut self.deferred_drops);
            self.store_failed(operation, abandoned);
        }
        if given_up || is_due && policy != WhenServerHangsUp::KeepTrying {
            self.events.push_back(Event::ServerHangsUp {
                operation,
                key,
                connections,
                given_up,
            });
        }
        if given_up {
            self.report(fate, Err(PublishError::ServerHungUp { connections }));
        }
    }
}

impl Session {
    /// An acknowledgement of a message has come.
    #[inline]
    pub(crate) fn note_answer(&mut self) {
        self.outbound.answered = true;
    }
}
