//! How a connection ends from our side: all transitions into *Draining* and *Closing*.

use crate::event::Unsettled;
use crate::session::Phase;
use crate::timers::Timer;
use crate::{
    ConnectionError, DisconnectOptions, Event, Instant, Limits, PublishError, RequestError, Session,
};
use martlet_proto::{Disconnect, DisconnectReasonCode, Packet};

impl Session {
    // ---- commands

    /// Ends the connection: what was accepted is sent and settled within the drain time, then a DISCONNECT leaves and
    /// [`poll_close`](Self::poll_close) asks for the end. Whatever is not settled then is told as
    /// [`PublishError::Closed`], or, if the session is durable and above QoS 0, stays in the store and is told as
    /// [`PublishError::Kept`]; [`Event::Unsettled`] counts both.
    ///
    /// Without a connection, messages wait for one as long as the drain time allows; without messages, or without
    /// drain time, all ends at once. Requests that were not sent yet fail.
    pub fn disconnect(&mut self, now: Instant, options: DisconnectOptions) {
        if self.ended {
            // The second wins where it is in more of a hurry.
            if let Some(deadline) = self.timers.get(Timer::Drain) {
                self.timers.set(Timer::Drain, deadline.min(now + options.drain));
                self.handle_timeout(now);
            }
            return;
        }
        self.ended = true;
        self.timers.set(Timer::Drain, now + options.drain);
        self.rare.get_or_insert_default().goodbye = Some(options);
        if self.phase == Phase::Connected {
            self.phase = Phase::Draining;
        }
        self.fail_pending();
        self.handle_timeout(now);
    }

    /// `disconnect` was called, and it has not come to its end.
    pub(crate) fn is_draining(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| rare.goodbye.is_some())
    }

    /// Nothing is left to wait for: goodbye.
    #[inline]
    pub(crate) fn finish_drain(&mut self) {
        if self.ended
            && self.outbound.unsettled() == 0
            && self.outbound.queue().len() == 0
            && self.requests.outstanding == 0
            && self.is_draining()
        {
            self.leave();
        }
    }

    /// The drain is over.
    pub(crate) fn leave(&mut self) {
        match self.phase {
            Phase::Closed | Phase::Closing => self.end(),
            Phase::Connecting if self.output.handed_out() == 0 => {
                self.output.open(self.output.version, &mut self.outbound.spent);
                self.end();
                self.close_with(ConnectionError::ClosedHere);
            }
            // A server that has the CONNECT would publish the will if it did not hear goodbye.
            Phase::Connecting | Phase::Accepting | Phase::Connected | Phase::Draining => self.say_goodbye(),
        }
    }

    fn say_goodbye(&mut self) {
        let goodbye = self.rare.as_deref_mut().and_then(|rare| rare.goodbye.take());
        let options = goodbye.unwrap_or_default();
        let mut packet = Disconnect::new(options.reason);
        let version = self.output.version;
        if version.has_properties() {
            // Zero cannot become more than zero [MQTT-3.14.2]; what stays as it is goes without saying.
            // What is stored is to go on; otherwise nobody will ask for the session again.
            let unasked = if self.is_durable() { self.session_expiry() } else { 0 };
            let wanted =
                options.session_expiry_interval.or(self.config.session_expiry_interval).unwrap_or(unasked);
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
    fn end(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.goodbye = None;
        }
        self.timers.stop(Timer::Drain);
        let queued = self.outbound.queue().len();
        let unsettled = if self.is_durable() { self.keep_all() } else { self.close_all() };
        if unsettled > 0 {
            let in_flight = unsettled.saturating_sub(queued);
            self.events.push_back(Event::Unsettled(Unsettled { in_flight, queued }));
        }
        self.timers.stop(Timer::Expiry);
        self.timers.stop(Timer::PublishTimeout);
        self.publish_deadlines = None;
        self.fail_pending();
        self.end_authentication(RequestError::Closed);
    }

    /// Returns how many messages were told.
    fn close_all(&mut self) -> usize {
        let fates = self.outbound.report_all();
        let unsettled = fates.iter().filter(|fate| !fate.reported).count();
        for fate in fates {
            self.report(fate, Err(PublishError::Closed));
        }
        unsettled
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
        self.close_with(error);
    }

    pub(crate) fn close_with(&mut self, error: ConnectionError) {
        self.phase = Phase::Closing;
        self.timers.stop_connection();
        // They are this server's; the next may have others.
        self.limits = Limits::unknown();
        self.rare.get_or_insert_default().error = Some(error);
        self.error_told = false;
    }
}
