//! A connection begins and ends, and what the application intends with the session: all transitions
//! of the two, and what belongs to one state only.
//!
//! The connection ([`Phase`]):
//!
//! ```text
//! Closed     ─► Connecting   handle_open: a CONNECT is queued
//! Connecting ─► Accepting    CONNACK 0 ends an enhanced authentication
//! Connecting ─► Connected    CONNACK 0
//! Accepting  ─► Connected    accept_server
//! Connecting ─► Closing      an error, or a drain that has ended; a DISCONNECT may be queued
//! Accepting  ─► Closing      likewise
//! Connected  ─► Closing      likewise, or replace
//! Connecting ─► Closed       handle_close
//! Accepting  ─► Closed       handle_close
//! Connected  ─► Closed       handle_close
//! Closing    ─► Closed       handle_close
//! ```
//!
//! What the application intends ([`Intent`]):
//!
//! ```text
//! Active     ─► Draining     disconnect, close
//! Draining   ─► Ended        all is acknowledged, or the deadline has passed
//! Active     ─► OnHold       stop
//! OnHold     ─► Active       resume, handle_open
//! OnHold     ─► Ended        disconnect, close
//! Ended      ─► Active       handle_open
//! ```

use crate::event::Connected;
use crate::output::aliases::Aliases;
use crate::session::timers::TimerKind;
use crate::{
    CleanStart, ConnectOptions, ConnectionError, DisconnectOptions, Event, Instant, Limits,
    Misbehaviour, OperationId, PublishError, Rejection, RequestError, Session,
};
use alloc::boxed::Box;
use core::time::Duration;
use martlet_proto::{ConnAck, Disconnect, DisconnectReasonCode, Version, Will};

/// What the session outlives the connection by when the configuration does not say, in seconds:
/// long enough for a network to come back, short enough not to burden a server.
const SESSION_EXPIRY: u32 = 3600;

/// The phases of the connection.
#[derive(Debug)]
pub(crate) enum Phase {
    Closed,
    Connecting,
    /// The server has accepted; the application looks at its proof first.
    Accepting,
    Connected,
    /// The caller is to close the connection.
    Closing(Box<Closing>),
}

/// What is known of a connection that is to be closed.
#[derive(Debug)]
pub(crate) struct Closing {
    /// Why it is to be closed.
    pub(super) error: ConnectionError,
    /// `poll_close` has reported it.
    pub(super) reported: bool,
    /// The server had accepted the connection.
    was_accepted: bool,
}

/// What the application intends with the session. It outlives connections.
#[derive(Debug)]
pub(crate) enum Intent {
    /// To use it.
    Active,
    /// To end it once what was accepted is acknowledged; nothing new is accepted.
    Draining(Box<Draining>),
    /// To wait, for this reason, and perhaps to go on later.
    OnHold(Box<ConnectionError>),
    /// Nothing more. The reason, unless it is `disconnect`.
    Ended(Option<Box<ConnectionError>>),
}

/// How a session ends that is being drained.
#[derive(Debug)]
pub(crate) struct Draining {
    pub(super) goodbye: DisconnectOptions,
    /// As of [`Intent::Ended`].
    pub(super) reason: Option<Box<ConnectionError>>,
}

impl Phase {
    const ARROWS: &[(&str, &str)] = &[
        ("Closed", "Connecting"),
        ("Connecting", "Accepting"),
        ("Connecting", "Connected"),
        ("Accepting", "Connected"),
        ("Connecting", "Closing"),
        ("Accepting", "Closing"),
        ("Connected", "Closing"),
        ("Connecting", "Closed"),
        ("Accepting", "Closed"),
        ("Connected", "Closed"),
        ("Closing", "Closed"),
    ];

    const fn name(&self) -> &'static str {
        match self {
            Self::Closed => "Closed",
            Self::Connecting => "Connecting",
            Self::Accepting => "Accepting",
            Self::Connected => "Connected",
            Self::Closing(_) => "Closing",
        }
    }
}

impl Intent {
    const ARROWS: &[(&str, &str)] = &[
        ("Active", "Draining"),
        ("Draining", "Ended"),
        ("Active", "OnHold"),
        ("OnHold", "Active"),
        ("OnHold", "Ended"),
        ("Ended", "Active"),
    ];

    const fn name(&self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Draining(_) => "Draining",
            Self::OnHold(_) => "OnHold",
            Self::Ended(_) => "Ended",
        }
    }
}

/// What the server has of the session, as far as its CONNACK tells.
enum Presence {
    Present,
    /// It says that it has the session; this may be one that it has begun unnoticed.
    Doubtful,
    Absent,
}

impl Session {
    /// Goes to another phase of the connection; gives back the one before.
    pub(super) fn set_phase(&mut self, phase: Phase) -> Phase {
        let arrow = (self.phase.name(), phase.name());
        debug_assert!(Phase::ARROWS.contains(&arrow), "{arrow:?} is no transition");
        core::mem::replace(&mut self.phase, phase)
    }

    /// What the application intends is another thing now; gives back what it was before.
    pub(super) fn set_intent(&mut self, intent: Intent) -> Intent {
        let arrow = (self.intent.name(), intent.name());
        debug_assert!(
            Intent::ARROWS.contains(&arrow),
            "{arrow:?} is no transition"
        );
        core::mem::replace(&mut self.intent, intent)
    }

    // ---- getters

    /// Whether [`stop`](Self::stop) has put the session on hold: nothing is accepted until
    /// [`resume`](Self::resume), and what was accepted before is kept.
    pub fn is_on_hold(&self) -> bool {
        matches!(self.intent, Intent::OnHold(_))
    }

    /// Whether the server has accepted the connection that there is, also when it is ending.
    pub fn was_accepted(&self) -> bool {
        match &self.phase {
            Phase::Connected => true,
            Phase::Closing(closing) => closing.was_accepted,
            Phase::Closed | Phase::Connecting | Phase::Accepting => false,
        }
    }

    /// Whether the server has accepted the connection and it is not ending: what was accepted from
    /// the application is sent and acknowledged, also during a drain.
    #[inline]
    pub(crate) fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    /// Whether nothing that comes on the connection matters any more.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Closing(_))
    }

    // ---- handlers

    /// A transport is up: the CONNECT is queued. An earlier connection must have been closed with
    /// [`handle_close`](Self::handle_close); if it was not, it is now.
    pub fn handle_open(&mut self, now: Instant, connect: ConnectOptions) {
        if !matches!(self.phase, Phase::Closed) {
            self.handle_close(now, ConnectionError::ClosedByPeer);
        }
        let version = connect.version;
        self.open_output(version);
        self.inbound.open(&self.config.inbound);
        self.limits = Limits::unknown();
        if matches!(self.intent, Intent::OnHold(_) | Intent::Ended(_)) {
            self.set_intent(Intent::Active);
        }
        self.unanswered_connects = self.unanswered_connects.saturating_add(1);
        self.store_identity(None);
        self.unread = 0;
        self.last_sent = now;
        self.last_received = now;
        self.set_phase(Phase::Connecting);
        self.timers
            .set(TimerKind::Handshake, now + self.config.connect_timeout);
        self.clean_start = match self.config.clean_start {
            CleanStart::First => !(self.established && version.has_properties()),
            CleanStart::Every => true,
            CleanStart::Never => false,
        };
        if !version.has_properties() {
            let has_properties =
                |will: &Will| will.delay_interval.is_some() || !will.properties.is_empty();
            let left_out = u64::from(!connect.user_properties.is_empty())
                + u64::from(connect.will.as_deref().is_some_and(has_properties));
            if left_out > 0 {
                self.output.tally.counters_mut().left_out_in_3x += left_out;
            }
        }
        let connect = self.connect(connect);
        self.begin_authentication(connect.properties.authentication_method.clone());
        if let Err(error) = self.config.check() {
            self.close_with(ConnectionError::Configuration(error));
        } else if let Err(what) = self.output.packet(&connect.into()) {
            self.close_with(ConnectionError::CannotConnect { version, what });
        }
    }

    /// The network connection has ended. `reason` is reported to the application, unless the
    /// session had its own reason to end it.
    pub fn handle_close(&mut self, now: Instant, reason: ConnectionError) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        let reason = match self.set_phase(Phase::Closed) {
            Phase::Closing(closing) => closing.error,
            Phase::Connected => {
                self.forget_rejected();
                reason
            }
            Phase::Closed | Phase::Connecting | Phase::Accepting => reason,
        };
        self.stop_skipping();
        self.end_authentication(RequestError::NotConnected);
        self.timers.stop_connection();
        if let Some(deadlines) = &mut self.publish_deadlines {
            deadlines.forget_departing();
        }
        self.output.ping_queued = false;
        self.unread = 0;
        self.count_hang_up(now, &reason);
        let unanswered = self.outbound.handle_close(self.output.handed_out());
        self.free_given_up();
        self.open_output(self.output.version);
        self.limits = Limits::unknown();
        self.inbound.handle_close();
        for operation in core::mem::take(&mut self.requests.pings)
            .into_iter()
            .flatten()
        {
            self.events.push_back(Event::Pong {
                operation,
                result: Err(RequestError::NotConnected),
            });
        }
        let blame = self.blame(&reason);
        self.requests.deadlines.clear();
        if let Some(wishes) = self.requests.known() {
            wishes.handle_close(unanswered, self.config.max_request_losses, blame);
        }
        self.emit_request_events();
        if self.is_ended() {
            self.fail_pending();
        }
        self.timers
            .set(TimerKind::Request, self.requests.next_deadline(now));
        self.tell(Event::Disconnected(reason));
        self.handle_timeout(now);
    }

    // ---- commands

    /// Ends the connection: what was accepted is sent and acknowledged within the drain time, then
    /// a DISCONNECT leaves and [`poll_close`](Self::poll_close) asks for the end. Whatever is not
    /// acknowledged then is reported as [`PublishError::Closed`], or, if the session is durable and
    /// above QoS 0, stays in the store and is reported as [`PublishError::Kept`];
    /// [`Event::Undelivered`] counts both.
    ///
    /// Without a connection, messages wait for one as long as the drain time allows; without
    /// messages, or without drain time, all ends at once. Requests that were not sent yet fail.
    pub fn disconnect(&mut self, now: Instant, options: DisconnectOptions) {
        match self.intent {
            Intent::Active => self.drain(now, options, None),
            Intent::OnHold(_) => self.end(),
            // The second wins where it is in more of a hurry.
            Intent::Draining(_) => {
                let deadline = now + options.drain;
                let deadline = self.timers.get(TimerKind::Drain).map(|at| at.min(deadline));
                self.timers.set(TimerKind::Drain, deadline);
                self.handle_timeout(now);
            }
            Intent::Ended(_) => {}
        }
    }

    /// Puts the session on hold, because no connection will be made for the time being, for this
    /// reason. Nobody waits for what does not come: everyone with a
    /// [key](crate::OutgoingPublish::key) gets [`PublishError::OnHold`], and requests fail as
    /// [`RequestError::Closed`]. Messages, subscriptions and the state of every delivery stay.
    /// [`resume`](Self::resume) goes on with them, [`disconnect`](Self::disconnect) ends them.
    pub fn stop(&mut self, now: Instant, reason: ConnectionError) {
        self.handle_close(now, reason.clone());
        if self.is_ended() {
            return;
        }
        self.set_intent(Intent::OnHold(Box::new(reason.clone())));
        self.publish_deadlines = None;
        self.timers.stop(TimerKind::PublishTimeout);
        for (operation, key) in self.outbound.take_keys() {
            let result = Err(PublishError::OnHold(reason.clone()));
            self.events.push_back(Event::Published {
                operation,
                key: Some(key),
                result,
            });
        }
        self.fail_pending();
        self.end_authentication(RequestError::Closed(reason));
    }

    /// Goes on after [`stop`](Self::stop): the session accepts again, and wants a connection.
    pub fn resume(&mut self) {
        if self.is_on_hold() {
            self.set_intent(Intent::Active);
        }
    }

    /// Ends the session as [`disconnect`](Self::disconnect) does without a drain, for this reason,
    /// which everyone who waits gets.
    pub fn close(&mut self, now: Instant, reason: ConnectionError) {
        self.handle_close(now, reason.clone());
        let options = DisconnectOptions {
            drain: Duration::ZERO,
            ..DisconnectOptions::default()
        };
        match &mut self.intent {
            Intent::Active => self.drain(now, options, Some(Box::new(reason))),
            Intent::Ended(why) => {
                why.get_or_insert_with(|| Box::new(reason));
            }
            Intent::OnHold(_) | Intent::Draining(_) => self.disconnect(now, options),
        }
    }

    /// Ends the connection in good order, for another that takes its place, as with new
    /// credentials: a DISCONNECT leaves, so that the will is not published, and the session goes
    /// on. [`poll_close`](Self::poll_close) asks for the end, as [`ConnectionError::Replaced`].
    /// Without a connection it does nothing.
    pub fn replace(&mut self) {
        if self.is_connected() {
            let packet = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
            self.output
                .packet(&packet.into())
                .expect("a DISCONNECT without a word");
            self.close_with(ConnectionError::Replaced);
        }
    }

    // ---- a connection begins

    /// Nothing of an earlier connection is left to be written.
    pub(super) fn open_output(&mut self, version: Version) {
        self.output.open(version, &mut self.deferred_drops);
        if let Some(journal) = &mut self.journal {
            journal.forget_answers();
        }
    }

    pub(crate) fn session_expiry(&self) -> u32 {
        self.config
            .session_expiry_interval
            .unwrap_or(SESSION_EXPIRY)
    }

    pub(super) fn handle_connack(
        &mut self,
        now: Instant,
        mut connack: ConnAck,
    ) -> Result<(), ConnectionError> {
        self.take_answers(&mut connack);
        if connack.reason.is_error() {
            self.unanswered_connects -= 1;
            let ConnAck {
                reason, properties, ..
            } = connack;
            return Err(ConnectionError::Rejected(Box::new(Rejection {
                reason,
                reason_string: properties.reason_string,
                server_reference: properties.server_reference,
                user_properties: properties.user_properties,
            })));
        }
        let version = self.output.version;
        let surprising = connack.session_present && !self.established;
        if connack.session_present && self.clean_start {
            return Err(ConnectionError::PeerMisbehaved(
                Misbehaviour::SessionPresentAfterCleanStart,
            ));
        }
        if surprising && self.config.strict_session_present {
            return Err(ConnectionError::PeerMisbehaved(
                Misbehaviour::SessionUnknown,
            ));
        }
        let expiry = if version.has_properties() {
            self.session_expiry()
        } else {
            0
        };
        self.limits = Limits::new(&connack, version, self.config.keep_alive, expiry);
        if !version.has_properties() {
            self.limits.receive_maximum = self.config.max_in_flight_3x;
        }
        if let Some(connack) = self.authenticated(now, connack)? {
            self.enter(connack);
            self.send_requests(now);
        }
        Ok(())
    }

    /// Both sides accept the connection.
    pub(super) fn enter(&mut self, connack: ConnAck) {
        let version = self.output.version;
        self.set_phase(Phase::Connected);
        self.timers.stop(TimerKind::Handshake);
        // An acknowledgement with a reason code has five bytes; without one it has four
        // [MQTT-3.2.2-15].
        self.output.takes_reasons &= self.limits.maximum_packet_size > 4;
        self.output.aliases =
            Aliases::new(self.config.topic_aliases_out, &self.limits).map(Box::new);
        if let Some(assigned) = &connack.properties.assigned_client_identifier {
            self.rare.get_or_insert_default().assigned = Some(assigned.clone());
        }
        self.set_window();
        self.arm_keep_alive();
        self.began = OperationId(self.next_operation);
        let again = core::mem::replace(&mut self.established, true);
        let presence = self.presence(&connack, again);
        let rejected = self.resume_requests(
            !matches!(presence, Presence::Absent),
            again && self.config.resubscribe && !matches!(presence, Presence::Present),
        );
        match presence {
            Presence::Present => self.resume_session(version),
            Presence::Doubtful => {
                self.inbound.doubt();
                self.resume_session(version);
            }
            Presence::Absent => self.lose_session(version),
        }
        let connected = Connected {
            version,
            session_present: !matches!(presence, Presence::Absent),
            limits: self.limits.clone(),
            connack,
        };
        self.tell(Event::Connected(Box::new(connected)));
        if !rejected.is_empty() {
            self.events.push_back(Event::Resubscribed(rejected));
        }
        self.emit_request_events();
        // Requests and messages follow when bytes are asked for: what is left of an expiry interval
        // is then right.
    }

    /// What the server has of the session; `again`: there was a connection before.
    fn presence(&mut self, connack: &ConnAck, again: bool) -> Presence {
        let is_v3_1 = self.output.version == Version::V3_1;
        // An answer to an earlier CONNECT may have been lost, and with it that a session began.
        let unanswered = core::mem::take(&mut self.unanswered_connects) > 1;
        // 3.1 cannot say; what the server should have, it has.
        let is_present = connack.session_present || (is_v3_1 && !self.clean_start);
        if !is_present {
            return Presence::Absent;
        }
        if unanswered || (again && is_v3_1) {
            return Presence::Doubtful;
        }
        Presence::Present
    }

    /// The server has kept the session: everything is to be sent again.
    fn resume_session(&mut self, version: Version) {
        self.store_identity(Some(version));
        self.outbound.resume();
        self.resume_stored();
        self.expire_at(self.outbound.next_expiry());
    }

    // ---- a connection ends

    /// The connection cannot go on; MQTT 5 tells the server why.
    pub(crate) fn fail(&mut self, error: ConnectionError) {
        if self.is_over() {
            return;
        }
        if let Some(reason) = error
            .disconnect_reason()
            .filter(|_| self.output.version.has_properties())
        {
            let packet = Disconnect::new(reason);
            if self.fits(&packet) {
                self.output
                    .packet(&packet.into())
                    .expect("a DISCONNECT with a reason code");
            }
        }
        self.close_with(error);
    }

    /// The caller is to close the connection, for this reason.
    pub(super) fn close_with(&mut self, error: ConnectionError) {
        let was_accepted = self.was_accepted();
        self.set_phase(Phase::Closing(Box::new(Closing {
            error,
            reported: false,
            was_accepted,
        })));
        self.timers.stop_connection();
        // They are this server's; the next may have others.
        self.limits = Limits::unknown();
    }

    pub(super) fn why_ended(&self) -> Option<&ConnectionError> {
        match &self.intent {
            Intent::Active => None,
            Intent::OnHold(reason) => Some(reason),
            Intent::Draining(drain) => drain.reason.as_deref(),
            Intent::Ended(reason) => reason.as_deref(),
        }
    }

    /// Why nothing is accepted.
    pub(crate) fn why_closed(&self) -> ConnectionError {
        let reason = self.why_ended().cloned();
        reason.unwrap_or(ConnectionError::ClosedHere)
    }
}

#[cfg(test)]
mod tests {
    use super::{Intent, Phase};
    use crate::session::arrows_of;
    use alloc::vec::Vec;

    #[test]
    fn the_diagrams_are_the_tables() {
        let diagrams = arrows_of(include_str!("lifecycle.rs"));
        let tables: Vec<_> = Phase::ARROWS
            .iter()
            .chain(Intent::ARROWS)
            .copied()
            .collect();
        assert_eq!(diagrams, tables);
    }
}
