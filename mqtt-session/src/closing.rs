//! How a connection ends from our side: all transitions into *Draining* and *Closing*.

use crate::session::Phase;
use crate::timers::Timer;
use crate::{ConnectionError, DisconnectOptions, Instant, Limits, PublishError, RequestError, Session};
use alloc::boxed::Box;
use martlet_proto::{Disconnect, DisconnectReasonCode, Packet};

impl Session {
    // ---- commands

    /// Ends the connection: what was accepted is sent and settled within the drain time, then a DISCONNECT leaves and
    /// [`poll_close`](Self::poll_close) asks for the end. Whatever is not settled then is told as
    /// [`PublishError::Closed`]. Without a connection all of that happens at once.
    pub fn disconnect(&mut self, now: Instant, options: DisconnectOptions) {
        if self.ended {
            // The second wins where it is in more of a hurry.
            if let Some(deadline) = self.timers.get(Timer::Drain).filter(|_| self.phase == Phase::Draining) {
                self.timers.set(Timer::Drain, deadline.min(now + options.drain));
                self.handle_timeout(now);
            }
            return;
        }
        self.ended = true;
        match self.phase {
            Phase::Closed | Phase::Closing => self.end(),
            Phase::Connecting if self.output.handed_out() == 0 => {
                self.output.open(self.output.version);
                self.end();
                self.close_with(ConnectionError::ClosedHere);
            }
            Phase::Connecting | Phase::Accepting => {
                // A server that has the CONNECT would publish the will if it did not hear goodbye.
                self.goodbye = Some(Box::new(options));
                self.say_goodbye();
            }
            Phase::Connected | Phase::Draining => {
                self.phase = Phase::Draining;
                self.timers.set(Timer::Drain, now + options.drain);
                self.goodbye = Some(Box::new(options));
                self.handle_timeout(now);
            }
        }
    }

    /// Nothing is left to wait for: goodbye.
    #[inline]
    pub(crate) fn finish_drain(&mut self) {
        if self.phase == Phase::Draining
            && self.outbound.unsettled() == 0
            && self.outbound.queue().len() == 0
            && self.requests.outstanding == 0
        {
            self.say_goodbye();
        }
    }

    pub(crate) fn say_goodbye(&mut self) {
        let options = *self.goodbye.take().unwrap_or_default();
        let mut packet = Disconnect::new(options.reason);
        let version = self.output.version;
        if version.has_properties() {
            // Zero cannot become more than zero [MQTT-3.14.2]; what stays as it is goes without saying.
            let wanted = options.session_expiry_interval.or(self.config.session_expiry_interval).unwrap_or(0);
            packet.session_expiry_interval =
                Some(wanted).filter(|&it| it != self.session_expiry() && self.session_expiry() != 0);
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
        // In 3.x there is no DISCONNECT with another reason: closing without one says that something was wrong.
        let has_words = match version.has_properties() {
            true => self.fits(&packet),
            false => packet.reason == DisconnectReasonCode::NormalDisconnection,
        };
        if has_words {
            self.output.packet(&packet.into()).expect("a DISCONNECT of this version");
        }
        self.end();
        self.close_with(ConnectionError::ClosedHere);
    }

    /// Whether the server takes a DISCONNECT as large as this [MQTT-3.2.2-15].
    pub(crate) fn fits(&self, packet: &Disconnect) -> bool {
        let size = Packet::from(packet.clone()).encoded_len(self.output.version);
        size <= self.limits.maximum_packet_size as usize
    }

    /// Tells everyone who waits that there will be no answer.
    pub(crate) fn end(&mut self) {
        for fate in self.outbound.report_all() {
            self.report(fate, Err(PublishError::Closed));
        }
        self.timers.stop(Timer::Expiry);
        self.timers.stop(Timer::PublishTimeout);
        self.publish_deadlines.clear();
        self.fail_pending();
        self.end_authentication(RequestError::Closed);
    }

    /// The connection cannot go on; MQTT 5 tells the server why.
    pub(crate) fn fail(&mut self, error: ConnectionError) {
        if matches!(self.phase, Phase::Closed | Phase::Closing) {
            return;
        }
        if let Some(reason) = error.disconnect_reason().filter(|_| self.output.version.has_properties()) {
            let packet = Disconnect::new(reason);
            if self.fits(&packet) {
                self.output.packet(&packet.into()).expect("a DISCONNECT with a reason code");
            }
        }
        if self.phase == Phase::Draining {
            self.end();
        }
        self.close_with(error);
    }

    pub(crate) fn close_with(&mut self, error: ConnectionError) {
        self.phase = Phase::Closing;
        self.timers.stop_connection();
        // They are this server's; the next may have others.
        self.limits = Limits::unknown();
        self.error = Some(Box::new(error));
        self.error_told = false;
    }
}
