//! The application has done with the session: what was accepted is drained, the server gets a
//! DISCONNECT, and everyone who waits gets an answer.

use crate::session::lifecycle::Draining;
use crate::session::timers::TimerKind;
use crate::session::{Intent, Phase};
use crate::{
    ConnectionError, DisconnectOptions, Event, Instant, PublishError, RequestError, Session,
};
use alloc::boxed::Box;
use alloc::vec::Vec;
use martlet_proto::{Disconnect, DisconnectReasonCode, Packet};

impl Session {
    /// Accepts nothing more, and goes on until what was accepted is acknowledged.
    pub(super) fn drain(
        &mut self,
        now: Instant,
        goodbye: DisconnectOptions,
        reason: Option<Box<ConnectionError>>,
    ) {
        self.timers.set(TimerKind::Drain, now + goodbye.drain);
        self.set_intent(Intent::Draining(Box::new(Draining { goodbye, reason })));
        self.fail_pending();
        self.handle_timeout(now);
    }

    /// Nothing is left to wait for: goodbye.
    #[inline]
    pub(crate) fn finish_drain(&mut self) {
        if matches!(self.intent, Intent::Draining(_))
            && self.outbound.unacknowledged() == 0
            && self.outbound.queue().len() == 0
            && self.requests.outstanding() == 0
        {
            self.leave();
        }
    }

    /// The drain is over.
    pub(crate) fn leave(&mut self) {
        match self.phase {
            Phase::Closed | Phase::Closing(_) => self.end(),
            Phase::Connecting if self.output.handed_out() == 0 => {
                self.open_output(self.output.version);
                self.end();
                self.close_with(ConnectionError::ClosedHere);
            }
            // A server that has the CONNECT would publish the will if it got no DISCONNECT.
            Phase::Connecting | Phase::Accepting | Phase::Connected => self.say_goodbye(),
        }
    }

    fn say_goodbye(&mut self) {
        let options = match &mut self.intent {
            Intent::Draining(drain) => core::mem::take(&mut drain.goodbye),
            Intent::Active | Intent::OnHold(_) | Intent::Ended(_) => DisconnectOptions::default(),
        };
        let mut packet = Disconnect::new(options.reason);
        let version = self.output.version;
        if version.has_properties() {
            // Zero cannot become more than zero [MQTT-3.14.2]; what stays as it is goes without
            // saying. What is stored is to go on; otherwise nobody will ask for the session again.
            let unasked = if self.is_durable() {
                self.session_expiry()
            } else {
                0
            };
            let default = self.config.session_expiry_interval.unwrap_or(unasked);
            let asked = self.session_expiry();
            let wanted = options.session_expiry_interval.unwrap_or(default);
            // Without one it is that of CONNECT again (§3.14.2.2.2), unless the server goes on with the
            // one that it has set. An application that names one gets it either way.
            let is_named = options.session_expiry_interval.is_some();
            let is_overridden =
                is_named && self.is_online() && self.limits.session_expiry_interval != wanted;
            packet.session_expiry_interval =
                (asked != 0 && (wanted != asked || is_overridden)).then_some(wanted);
            packet.reason_string = options.reason_string;
            packet.user_properties = options.user_properties;
            if !self.fits(&packet) {
                packet.reason_string = None;
                packet.user_properties.clear();
            }
            if !self.fits(&packet) {
                packet.session_expiry_interval = None;
            }
        }
        // In 3.x there is no DISCONNECT with another reason: closing without one says that
        // something was wrong.
        let has_words = match version.has_properties() {
            true => self.fits(&packet),
            false => packet.reason == DisconnectReasonCode::NormalDisconnection,
        };
        if has_words {
            self.output
                .packet(&packet.into())
                .expect("a DISCONNECT of this version");
        }
        self.end();
        self.close_with(ConnectionError::ClosedHere);
    }

    /// Whether the server takes a DISCONNECT as large as this [MQTT-3.2.2-15].
    pub(crate) fn fits(&self, packet: &Disconnect) -> bool {
        let size = Packet::from(packet.clone()).encoded_len(self.output.version);
        size <= self.limits.maximum_packet_size as usize
    }

    /// The session has ended: reports to everyone who waits that there will be no answer.
    pub(super) fn end(&mut self) {
        let reason = self.why_ended().cloned().map(Box::new);
        self.set_intent(Intent::Ended(reason));
        self.timers.stop(TimerKind::Drain);
        let undelivered: Vec<_> = self.undelivered().collect();
        if self.is_durable() {
            self.keep_all();
        } else {
            self.close_all();
        }
        if !undelivered.is_empty() {
            self.events.push_back(Event::Undelivered(undelivered));
        }
        self.timers.stop(TimerKind::Expiry);
        self.timers.stop(TimerKind::PublishTimeout);
        self.publish_deadlines = None;
        self.fail_pending();
        let error = RequestError::Closed(self.why_closed());
        self.end_authentication(error);
    }

    fn close_all(&mut self) {
        let fates = self.outbound.report_all(&mut self.deferred_drops);
        for fate in fates {
            self.report(fate, Err(PublishError::Closed(self.why_closed())));
        }
    }
}
