//! The session: a connection begins, lives and is cut off in this file; `closing.rs` ends it.

use crate::aliases::Aliases;
use crate::authenticating::Authentication;
use crate::event::{Connected, Counters};
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::output::Output;
use crate::requests::{Deadlines, Requests};
use crate::timers::{Timer, Timers};
use crate::{
    Awaited, Config, ConnectOptions, ConnectionError, DisconnectOptions, Event, Farewell, Instant, Limits,
    Misbehaviour, OperationId, PublishError, Refusal, RequestError, SendBuffer,
};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;
use martlet_proto::{
    ConnAck, Connect, ConnectProperties, Disconnect, Packet, PacketIdentifier, TopicFilter, Utf8String,
    Version, Will,
};

/// What the session outlives the connection by when the configuration does not say, in seconds: long enough for a
/// network to come back, short enough not to burden a server.
const SESSION_EXPIRY: u32 = 3600;

/// The client's half of an MQTT session (MQTT 5 §4.1, 3.1.1 §3.1.2.4), without I/O. It outlives connections.
///
/// Methods come in four kinds. **Getters** look. **Handlers** (`handle_*`) tell what happened outside. **Commands**
/// say what the application wants. **Polls** (`poll_*`) tell what the caller must do or learn next. After every
/// handler or command, drain the polls in this order: [`poll_store`](Self::poll_store) until `None` (if the session is
/// durable) and [`poll_transmit`](Self::poll_transmit) (unless the socket is full), in turns until that gives 0;
/// [`poll_event`](Self::poll_event) and [`poll_close`](Self::poll_close) until `None`; then
/// [`poll_timeout`](Self::poll_timeout), which is then the only thing to wait for besides the socket and the store.
/// Early and spurious calls do nothing.
///
/// ```text
///            handle_open            CONNACK 0
///   Closed ──────────────► Connecting ──────► Connected ──disconnect──► Draining
///      ▲                        │                 │                        │ settled, or deadline
///      │                        └──── error ──────┴────────┬───────────────┘
///      └───────────────── handle_close ◄────────────── Closing  (poll_close says so; a DISCONNECT is in the output)
/// ```
///
/// A drain goes on through connections: `disconnect` without one waits for it until the deadline, and CONNACK then
/// leads to Draining.
///
/// With enhanced authentication there is *Accepting* before Connected; the steps are in `authenticating.rs`.
#[derive(Debug)]
pub struct Session {
    pub(crate) config: Config,
    pub(crate) phase: Phase,
    pub(crate) rare: Option<Box<Rare>>,
    /// A CONNACK has been received before: later connections resume.
    pub(crate) established: bool,
    /// CONNECTs since the last CONNACK of success that were not refused.
    pub(crate) unanswered_connects: u32,
    /// This connection's CONNECT asked for a clean start.
    pub(crate) clean_start: bool,
    /// `disconnect` was called: nothing is accepted until the next `handle_open`.
    pub(crate) ended: bool,
    pub(crate) limits: Limits,
    pub(crate) output: Output,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    pub(crate) requests: Requests,
    /// There once a publish has a timeout.
    pub(crate) publish_deadlines: Option<Box<Deadlines<(PacketIdentifier, OperationId)>>>,
    pub(crate) events: VecDeque<Event>,
    /// QoS 0 messages dropped and not reported yet.
    pub(crate) inbound_dropped: u32,
    pub(crate) timers: Timers,
    pub(crate) last_sent: Instant,
    pub(crate) last_received: Instant,
    /// A PINGREQ is in the output and was not handed out.
    pub(crate) ping_queued: bool,
    /// Bytes that the last `handle_input` left.
    pub(crate) unread: u32,
    /// `poll_close` has told why the connection is to be closed.
    pub(crate) error_told: bool,
    pub(crate) next_operation: u64,
    pub(crate) counters: Counters,
}

/// What few sessions have, or none for long; apart, so that a session is small.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// The client identifier that the server assigned.
    pub(crate) assigned: Option<Utf8String>,
    /// The enhanced authentication of this connection.
    pub(crate) authentication: Option<Authentication>,
    /// `disconnect` was called, and what was accepted is still being settled.
    pub(crate) goodbye: Option<DisconnectOptions>,
    /// Why the connection is to be closed.
    pub(crate) error: Option<ConnectionError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed,
    Connecting,
    /// The server has accepted; the application looks at its proof first.
    Accepting,
    Connected,
    Draining,
    Closing,
}

impl Session {
    /// A session that has not been connected yet.
    pub fn new(config: Config) -> Self {
        let mut session = Self {
            rare: None,
            phase: Phase::Closed,
            established: false,
            unanswered_connects: 0,
            clean_start: false,
            ended: false,
            limits: Limits::unknown(),
            output: Output::new(),
            outbound: Outbound::default(),
            inbound: Inbound::default(),
            requests: Requests::default(),
            publish_deadlines: None,
            events: VecDeque::new(),
            inbound_dropped: 0,
            timers: Timers::default(),
            last_sent: Instant::EPOCH,
            last_received: Instant::EPOCH,
            ping_queued: false,
            unread: 0,
            error_told: false,
            next_operation: 1,
            counters: Counters::default(),
            config,
        };
        if session.config.durable.is_some() {
            session.begin_journal();
        }
        session
    }

    // ---- getters

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the server has accepted the connection and it is not ending.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// What the server of this connection allows; before a CONNACK nothing is refused.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The client identifier in use: empty until the server has assigned one.
    pub fn client_identifier(&self) -> &Utf8String {
        let assigned = self.rare.as_deref().and_then(|rare| rare.assigned.as_ref());
        assigned.unwrap_or(&self.config.client_identifier)
    }

    /// Whether [`poll_spent`](Self::poll_spent) has anything to give.
    #[inline]
    pub fn has_spent(&self) -> bool {
        !self.outbound.spent.is_empty()
    }

    /// Whether there are bytes to hand out.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether [`disconnect`](Self::disconnect) was called: nothing is accepted until a later
    /// [`handle_open`](Self::handle_open).
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether a connection is of use: not after [`disconnect`](Self::disconnect), unless what was accepted before it is
    /// still to be settled.
    pub fn wants_connection(&self) -> bool {
        !self.ended || self.is_draining()
    }

    /// The topic filters that the server has granted and that were not unsubscribed.
    pub fn subscriptions(&self) -> impl Iterator<Item = &TopicFilter> {
        self.requests.filters()
    }

    /// What was tolerated or left out so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the socket should be read. False while too many messages wait to be taken and the server owes us
    /// nothing, or while it does not read what we send; when it becomes true again, call
    /// [`handle_input`](Self::handle_input) with what is left, even without new bytes.
    #[inline]
    pub fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Closed | Phase::Closing => true,
            // What came behind the CONNACK waits with it.
            Phase::Accepting => false,
            _ if self.output.is_stuck() => false,
            // A server that is busy writing to us may read nothing before we do.
            _ => {
                !self.inbound.is_above_soft(&self.config.inbound)
                    || self.awaits_answer()
                    || !self.output.is_empty()
            }
        }
    }

    /// Whether the server owes us anything.
    fn awaits_answer(&self) -> bool {
        self.phase == Phase::Connecting
            || self.timers.get(Timer::Handshake).is_some()
            || self.outbound.in_flight() > 0
            || self.requests.outstanding > 0
            || !self.requests.pings.is_empty()
            || self.timers.get(Timer::PingResponse).is_some()
    }

    // ---- handlers

    /// A transport is up: the CONNECT is queued. An earlier connection must have been closed with
    /// [`handle_close`](Self::handle_close); if it was not, it is now.
    pub fn handle_open(&mut self, now: Instant, connect: ConnectOptions) {
        if self.phase != Phase::Closed {
            self.handle_close(now, ConnectionError::ClosedByPeer);
        }
        let version = connect.version;
        self.output.open(version, &mut self.outbound.spent);
        self.inbound.open(&self.config.inbound);
        self.limits = Limits::unknown();
        self.ended &= self.is_draining();
        self.unanswered_connects = self.unanswered_connects.saturating_add(1);
        self.store_identity(None);
        self.take_error();
        self.unread = 0;
        self.last_sent = now;
        self.last_received = now;
        self.phase = Phase::Connecting;
        self.timers.set(Timer::Handshake, now + self.config.connect_timeout);
        // In 3.x a clean session is clean each time; in MQTT 5 only the first connection starts clean.
        self.clean_start = self.config.clean_start && !(self.established && version.has_properties());
        if !version.has_properties() {
            let has_properties = |will: &Will| will.delay_interval.is_some() || !will.properties.is_empty();
            self.counters.left_out_in_3x += u64::from(!connect.user_properties.is_empty())
                + u64::from(connect.will.as_deref().is_some_and(has_properties));
        }
        let connect = self.connect(connect);
        self.begin_authentication(connect.properties.authentication_method.clone());
        if let Err(what) = self.output.packet(&connect.into()) {
            self.close_with(ConnectionError::CannotConnect { version, what });
        }
    }

    fn connect(&self, options: ConnectOptions) -> Connect {
        let config = &self.config;
        let (authentication_method, authentication_data) =
            options.authentication.map_or((None, None), |it| (Some(it.method), it.data));
        let properties = if options.version.has_properties() {
            ConnectProperties {
                authentication_method,
                authentication_data,
                session_expiry_interval: Some(self.session_expiry()).filter(|&seconds| seconds > 0),
                receive_maximum: Some(self.inbound.receive_maximum()).filter(|&n| n != NonZeroU16::MAX),
                maximum_packet_size: NonZeroU32::new(config.maximum_packet_size),
                topic_alias_maximum: Some(config.topic_alias_maximum).filter(|&n| n > 0),
                request_response_information: Some(true).filter(|_| config.request_response_information),
                user_properties: options.user_properties,
                ..ConnectProperties::default()
            }
        } else {
            // 3.x has no word for it, and without it nobody knows who the other is: CONNECT is not made.
            ConnectProperties { authentication_method, ..ConnectProperties::default() }
        };
        Connect {
            version: options.version,
            clean_start: self.clean_start,
            keep_alive: config.keep_alive,
            client_identifier: self.client_identifier().clone(),
            will: options.will.map(|will| {
                let mut will = *will;
                if !options.version.has_properties() {
                    will.delay_interval = None;
                    will.properties = martlet_proto::PublishProperties::default();
                }
                will
            }),
            user_name: options.user_name,
            password: options.password,
            properties,
        }
    }

    pub(crate) fn session_expiry(&self) -> u32 {
        self.config.session_expiry_interval.unwrap_or(SESSION_EXPIRY)
    }

    /// Bytes have arrived, or [`wants_input`](Self::wants_input) has become true again. Whole packets are consumed
    /// from the front; keep the rest and append to it.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        if input.len() > self.unread as usize && !matches!(self.phase, Phase::Closed | Phase::Closing) {
            self.last_received = now;
            // Any byte answers for the link. Otherwise the next PINGREQ only becomes due later.
            if self.timers.get(Timer::PingResponse).is_some() {
                self.timers.stop(Timer::PingResponse);
                self.arm_keep_alive();
            }
        }
        self.inbound.begin_turn();
        loop {
            if matches!(self.phase, Phase::Closed | Phase::Closing) {
                input.clear();
                break;
            }
            if !self.wants_input() {
                break;
            }
            if self.handle_short_acks(input) {
                continue;
            }
            let done = match Packet::decode(input, self.output.version, self.config.maximum_packet_size) {
                Ok(None) => break,
                // The packet that must be fast takes no detour.
                Ok(Some(Packet::Publish(publish))) if self.phase != Phase::Connecting => {
                    self.handle_publish(publish)
                }
                Ok(Some(packet)) => self.handle_packet(now, packet),
                Err(error) => Err(ConnectionError::Malformed(error)),
            };
            if let Err(error) = done {
                self.fail(error);
            }
        }
        self.unread = u32::try_from(input.len()).unwrap_or(u32::MAX);
        self.finish_drain();
    }

    fn handle_packet(&mut self, now: Instant, packet: Packet) -> Result<(), ConnectionError> {
        match packet {
            Packet::Disconnect(packet) if self.output.version.has_properties() => {
                return self.handle_disconnect(*packet);
            }
            Packet::ConnAck(packet) if self.phase == Phase::Connecting => {
                return self.handle_connack(now, *packet);
            }
            Packet::Auth(packet) => return self.handle_auth(now, *packet),
            packet if self.phase == Phase::Connecting => {
                return Err(ConnectionError::PeerMisbehaved(Misbehaviour::BeforeConnAck(
                    packet.packet_type(),
                )));
            }
            Packet::Publish(publish) => return self.handle_publish(publish),
            Packet::PubAck(ack) => self.handle_puback(ack),
            Packet::PubRec(ack) => self.handle_pubrec(ack),
            Packet::PubRel(ack) => self.inbound.handle_pubrel(ack.packet_identifier, &mut self.output),
            Packet::PubComp(ack) => self.handle_pubcomp(ack.packet_identifier),
            Packet::SubAck(packet) => return self.handle_suback(*packet),
            Packet::UnsubAck(packet) => return self.handle_unsuback(*packet),
            Packet::PingResp => {
                if let Some(Some(operation)) = self.requests.pings.pop_front() {
                    self.events.push_back(Event::Pong { operation, result: Ok(()) });
                }
            }
            Packet::ConnAck(_) => return Err(ConnectionError::PeerMisbehaved(Misbehaviour::SecondConnAck)),
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Disconnect(_) => {
                return Err(ConnectionError::PeerMisbehaved(Misbehaviour::NotAServerPacket(
                    packet.packet_type(),
                )));
            }
        }
        Ok(())
    }

    fn handle_connack(&mut self, now: Instant, connack: ConnAck) -> Result<(), ConnectionError> {
        if connack.reason.is_error() {
            self.unanswered_connects -= 1;
            let ConnAck { reason, properties, .. } = connack;
            return Err(ConnectionError::Refused(Box::new(Refusal {
                reason,
                reason_string: properties.reason_string,
                server_reference: properties.server_reference,
                user_properties: properties.user_properties,
            })));
        }
        let version = self.output.version;
        let surprising = connack.session_present && !self.established;
        if connack.session_present && self.clean_start {
            return Err(ConnectionError::PeerMisbehaved(Misbehaviour::SessionPresentAfterCleanStart));
        }
        if surprising && self.config.strict_session_present {
            return Err(ConnectionError::PeerMisbehaved(Misbehaviour::SessionUnknown));
        }
        let expiry = if version.has_properties() { self.session_expiry() } else { 0 };
        self.limits = Limits::new(&connack, version, self.config.keep_alive, expiry);
        if !version.has_properties() {
            self.limits.receive_maximum = self.config.max_in_flight_3x.get();
        }
        if let Some(connack) = self.authenticated(now, connack)? {
            self.enter(connack);
        }
        Ok(())
    }

    /// Both sides accept the connection.
    pub(crate) fn enter(&mut self, connack: ConnAck) {
        let version = self.output.version;
        // 3.1 cannot say; what it should have, it has.
        let session_present = connack.session_present || (version == Version::V3_1 && !self.clean_start);
        // An acknowledgement with a reason code has five bytes; without one it has four [MQTT-3.2.2-15].
        self.output.takes_reasons &= self.limits.maximum_packet_size > 4;
        self.output.aliases = Aliases::new(self.config.topic_aliases_out, &self.limits).map(Box::new);
        if let Some(assigned) = &connack.properties.assigned_client_identifier {
            self.rare.get_or_insert_default().assigned = Some(assigned.clone());
        }
        self.timers.stop(Timer::Handshake);
        self.phase = if self.ended { Phase::Draining } else { Phase::Connected };
        self.arm_keep_alive();
        let again = self.established;
        self.established = true;
        // The session may have begun with a CONNECT whose answer was lost: it is present, and knows nothing of ours.
        // 3.1 cannot say that it lost the session.
        let maybe_empty =
            core::mem::take(&mut self.unanswered_connects) > 1 || (again && version == Version::V3_1);
        let refused = if again && (!session_present || maybe_empty) {
            self.requests.restore(&self.limits)
        } else {
            Vec::new()
        };
        if session_present {
            if maybe_empty {
                self.inbound.doubt();
            }
            self.store_identity(Some(version));
            self.outbound.resume();
            self.resume_stored();
            self.expire_at(self.outbound.next_expiry());
        } else {
            let flows = self.begin_incarnation(version);
            self.inbound.lose_session();
            for fate in self.outbound.lose_session(self.config.lost_qos1, self.config.lost_qos2) {
                self.report(fate, Err(PublishError::InDoubt));
            }
            self.forget_flows(flows);
            // Messages with an expiry may be back in the queue.
            self.expire_at(self.outbound.next_expiry());
        }
        let limits = self.limits.clone();
        let connected = Connected { version, session_present, limits, connack };
        self.events.push_back(Event::Connected(Box::new(connected)));
        if !refused.is_empty() {
            self.events.push_back(Event::Resubscribed(refused));
        }
        while !self.ended {
            let Some(request) = self.requests.pending.pop_front() else { break };
            self.send_request(request);
        }
        // Messages follow when bytes are asked for: what is left of an expiry interval is then right.
    }

    fn handle_disconnect(&mut self, packet: Disconnect) -> Result<(), ConnectionError> {
        if packet.session_expiry_interval.is_some() {
            return Err(ConnectionError::PeerMisbehaved(Misbehaviour::SessionExpiryInDisconnect));
        }
        Err(ConnectionError::DisconnectedByPeer(Box::new(Farewell {
            reason: packet.reason,
            reason_string: packet.reason_string,
            server_reference: packet.server_reference,
            user_properties: packet.user_properties,
        })))
    }

    /// The time is `now`; timers that have run out do their work. Early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        for timer in Timer::ALL {
            if self.timers.expire(timer, now).is_none() {
                continue;
            }
            match timer {
                Timer::Handshake => {
                    let awaited = self.awaited();
                    self.fail(ConnectionError::Timeout(awaited));
                }
                Timer::PingResponse => self.fail(ConnectionError::Timeout(Awaited::PingResp)),
                Timer::KeepAlive => {
                    // What was sent and received since the timer was set has moved it.
                    self.arm_keep_alive();
                    let Some(due) = self.timers.expire(timer, now) else { continue };
                    self.send_ping(None);
                    // It counts from when the PINGREQ was due, whether or not the socket takes it. What has arrived
                    // since then, while nobody looked at the clock, has answered.
                    if self.timers.get(Timer::PingResponse).is_none() {
                        let due = due.max(self.last_received);
                        self.timers.set(Timer::PingResponse, due + self.config.ping_timeout);
                    }
                    self.arm_keep_alive();
                }
                Timer::Request => self.expire_requests(now),
                Timer::PublishTimeout => {
                    while let Some((id, operation)) =
                        self.publish_deadlines.as_mut().and_then(|deadlines| deadlines.expire(now))
                    {
                        if let Some(fate) = self.outbound.give_up(id, operation) {
                            self.report(fate, Err(PublishError::Timeout));
                        }
                    }
                    let next = self.publish_deadlines.as_ref().and_then(|deadlines| deadlines.next());
                    self.timers.set(Timer::PublishTimeout, next);
                }
                Timer::Expiry => {
                    for outgoing in self.outbound.take_expired(now) {
                        self.forget_queued(&outgoing);
                        let fate = self.outbound.spend(outgoing);
                        self.report(fate, Err(PublishError::Expired));
                    }
                    // At most once a second: looking costs as much as the queue is long.
                    let next = self.outbound.next_expiry().map(|at| at.max(now + Duration::from_secs(1)));
                    self.timers.set(Timer::Expiry, next);
                }
                Timer::Drain => self.leave(),
                Timer::Acknowledgements => self.report_held_acknowledgements(now),
            }
        }
        // What ran out just now may have been due again already, as with a keep alive in a long pause.
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.handle_timeout(now);
        }
        self.finish_drain();
    }

    /// The network connection is gone. `reason` is told to the application, unless the session had a reason of its
    /// own to end it.
    pub fn handle_close(&mut self, now: Instant, reason: ConnectionError) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        self.end_authentication(RequestError::NotConnected);
        self.timers.stop_connection();
        if let Some(deadlines) = &mut self.publish_deadlines {
            deadlines.forget_departing();
        }
        self.ping_queued = false;
        self.unread = 0;
        let unanswered = self.outbound.handle_close(self.output.handed_out());
        self.output.open(self.output.version, &mut self.outbound.spent);
        self.limits = Limits::unknown();
        self.inbound.handle_close();
        for operation in self.requests.handle_close(unanswered, now + self.config.offline_timeout) {
            self.events.push_back(Event::Pong { operation, result: Err(RequestError::NotConnected) });
        }
        if self.ended {
            self.fail_pending();
        }
        self.timers.set(Timer::Request, self.requests.next_deadline());
        let reason = self.take_error().unwrap_or(reason);
        self.events.push_back(Event::Disconnected(reason));
        self.handle_timeout(now);
    }

    // ---- polls

    /// Appends bytes for the server to `out`, bounded to about 64 KiB past one packet; returns how many. They count as
    /// sent from now on. Call it when the socket can take more, until it returns 0.
    #[must_use = "0 means that there is nothing to write"]
    pub fn poll_transmit(&mut self, now: Instant, out: &mut SendBuffer) -> usize {
        if self.outbound.has_backlog() {
            self.pump(now);
        }
        if self.inbound.take_overtaken() {
            self.watch_acknowledgements(now);
        }
        self.finish_drain();
        let n = self.output.hand_out(out);
        if n == 0 {
            return 0;
        }
        self.last_sent = now;
        if self.ping_queued {
            self.ping_queued = false;
            self.arm_keep_alive();
        }
        self.requests_handed_out(now);
        if let (Some(timeout), Some(deadlines)) = (self.config.publish_timeout, &mut self.publish_deadlines) {
            let upto = self.output.handed_out();
            if deadlines.handed_out(upto, now + timeout) {
                let outbound = &self.outbound;
                deadlines.tidy(outbound.unsettled(), |&(id, operation)| outbound.is_waiting(id, operation));
                self.timers.set(Timer::PublishTimeout, deadlines.next());
            }
        }
        n
    }

    /// What the application should know next.
    #[must_use = "an event is told once"]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| {
            let dropped = core::mem::take(&mut self.inbound_dropped);
            (dropped > 0).then_some(Event::InboundDropped(dropped.into()))
        })
    }

    /// Moves what [`keep_spent`](Self::keep_spent) has kept to the end of `spent`, for the caller to drop where it holds
    /// no lock. An empty list is exchanged, so that its memory is used again.
    #[inline]
    pub fn poll_spent(&mut self, spent: &mut Vec<Bytes>) {
        self.outbound.spent.take(spent);
    }

    /// The connection is to be closed, and why; told once. Write what [`poll_transmit`](Self::poll_transmit) still
    /// gives, within a deadline of your own, close the socket, and call [`handle_close`](Self::handle_close).
    #[must_use = "the connection is to be closed"]
    pub fn poll_close(&mut self) -> Option<ConnectionError> {
        if self.error_told {
            return None;
        }
        let error = self.rare.as_deref().and_then(|rare| rare.error.clone());
        self.error_told = error.is_some();
        error
    }

    fn take_error(&mut self) -> Option<ConnectionError> {
        self.error_told = false;
        self.rare.as_deref_mut().and_then(|rare| rare.error.take())
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` when there is nothing to wait for.
    #[must_use = "wait for it besides the socket"]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    // ---- keep alive

    /// The next PINGREQ: a margin before the keep alive has passed without anything sent, or when it has passed
    /// without anything received (MQTT 5 §3.1.2.10). It is set when it may have become sooner; that it has become later
    /// is found out when it runs out.
    fn arm_keep_alive(&mut self) {
        if self.limits.keep_alive == 0 || !matches!(self.phase, Phase::Connected | Phase::Draining) {
            return self.timers.stop(Timer::KeepAlive);
        }
        let keep_alive = Duration::from_secs(self.limits.keep_alive.into());
        // The server may have set a keep alive that is too short for the margin.
        let fits = |margin: &Duration| margin.saturating_add(Duration::from_secs(1)) <= keep_alive;
        let margin = self.config.keep_alive_margin.filter(fits).unwrap_or(keep_alive / 4);
        let nothing_sent = (!self.ping_queued).then(|| self.last_sent + (keep_alive - margin));
        let asked = self.timers.get(Timer::PingResponse).is_some();
        let nothing_received = (!asked).then(|| self.last_received + keep_alive);
        self.timers.set(Timer::KeepAlive, nothing_sent.into_iter().chain(nothing_received).min());
    }
}
