//! What is done when a timer has run out.

use crate::session::timers::TimerKind;
use crate::{Awaited, ConnectionError, Instant, PublishError, Session};
use core::time::Duration;

impl Session {
    // ---- handlers

    /// The time is `now`; timers that have run out do their work. Early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        // What runs out may be due again at once, as with a keep alive in a long pause.
        while self.poll_timeout().is_some_and(|at| at <= now) {
            for timer in TimerKind::ALL {
                if self.timers.expire(timer, now).is_some() {
                    self.handle_expired(timer, now);
                }
            }
        }
        self.finish_drain();
    }

    /// Reports a pause: the socket was not read until `now`. Silence during a pause does not show that
    /// the connection is lost, so a PINGREQ that became due meanwhile (MQTT 5 §3.1.2.10) leaves now, and
    /// its answer has all of its time. A caller that does not always wait for the socket calls this
    /// first at the end of a pause, then [`handle_input`](Self::handle_input) with what has arrived,
    /// then [`handle_timeout`](Self::handle_timeout). Without a connection it does nothing.
    pub fn handle_pause(&mut self, now: Instant) {
        // One that was sent before the pause has had its time.
        if self.timers.get(TimerKind::PingResponse).is_none() && self.ping_if_due(now).is_some() {
            self.await_ping_response(now);
        }
    }

    fn handle_expired(&mut self, timer: TimerKind, now: Instant) {
        match timer {
            TimerKind::Handshake => {
                let awaited = self.awaited();
                self.fail(ConnectionError::Timeout(awaited));
            }
            TimerKind::PingResponse => self.fail(ConnectionError::Timeout(Awaited::PingResp)),
            TimerKind::KeepAlive => self.keep_alive(now),
            TimerKind::Request => self.expire_requests(now),
            TimerKind::PublishTimeout => self.time_out_publishes(now),
            TimerKind::Expiry => self.drop_expired(now),
            TimerKind::Drain => self.leave(),
            TimerKind::Acknowledgements => self.report_held_acknowledgements(now),
            TimerKind::Probe => self.end_wait_of_suspect(),
        }
    }

    /// Reports the messages whose acknowledgement is late.
    fn time_out_publishes(&mut self, now: Instant) {
        let Some(mut deadlines) = self.publish_deadlines.take() else {
            return;
        };
        while let Some((id, operation)) = deadlines.expire(now) {
            if let Some(fate) = self.outbound.give_up(id, operation) {
                self.report(fate, Err(PublishError::Timeout));
            }
        }
        self.timers.set(TimerKind::PublishTimeout, deadlines.next());
        self.publish_deadlines = Some(deadlines);
    }

    /// Drops the messages of the queue whose expiry interval has run out.
    fn drop_expired(&mut self, now: Instant) {
        for outgoing in self.outbound.take_expired(now) {
            self.forget_queued(&outgoing);
            let fate = outgoing.defer(&mut self.deferred_drops);
            self.report(fate, Err(PublishError::Expired));
        }
        // At most once a second: looking costs as much as the queue is long.
        let earliest = now + Duration::from_secs(1);
        let next = self.outbound.next_expiry().map(|at| at.max(earliest));
        self.timers.set(TimerKind::Expiry, next);
    }

    // ---- keep alive

    fn keep_alive(&mut self, now: Instant) {
        // It counts from when the PINGREQ was due, whether or not the socket takes it. What has
        // arrived since then, while nobody looked at the clock, has answered.
        if let Some(due) = self.ping_if_due(now) {
            self.await_ping_response(due.max(self.last_received));
        }
    }

    /// Sends a PINGREQ, if one is due: what was sent and received since the timer was set has moved
    /// it. Returns when it was due.
    fn ping_if_due(&mut self, now: Instant) -> Option<Instant> {
        self.arm_keep_alive();
        let due = self.timers.expire(TimerKind::KeepAlive, now)?;
        self.send_ping(None);
        Some(due)
    }

    /// The time for an answer counts from then, unless one is waited for already.
    fn await_ping_response(&mut self, from: Instant) {
        if self.timers.get(TimerKind::PingResponse).is_none() {
            self.timers
                .set(TimerKind::PingResponse, from + self.config.ping_timeout);
        }
        self.arm_keep_alive();
    }

    /// The next PINGREQ: a margin before the keep alive has passed without anything sent, or when
    /// it has passed without anything received (MQTT 5 §3.1.2.10). It is set when it may have
    /// become sooner; that it has become later is found out when it runs out.
    pub(super) fn arm_keep_alive(&mut self) {
        if self.limits.keep_alive == 0 || !self.is_online() {
            return self.timers.stop(TimerKind::KeepAlive);
        }
        let keep_alive = Duration::from_secs(self.limits.keep_alive.into());
        // The server may have set a keep alive that is too short for the margin.
        let fits = |margin: &Duration| margin.saturating_add(Duration::from_secs(1)) <= keep_alive;
        let margin = self
            .config
            .keep_alive_margin
            .filter(fits)
            .unwrap_or(keep_alive / 4);
        let nothing_sent =
            (!self.output.ping_queued).then(|| self.last_sent + (keep_alive - margin));
        let asked = self.timers.get(TimerKind::PingResponse).is_some();
        let nothing_received = (!asked).then(|| self.last_received + keep_alive);
        self.timers.set(
            TimerKind::KeepAlive,
            nothing_sent.into_iter().chain(nothing_received).min(),
        );
    }
}
