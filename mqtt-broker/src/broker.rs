//! The public methods of the broker. Connections and sessions begin and end in `lifecycle.rs`,
//! packets of connected clients are handled in `exchange.rs`, and messages are distributed in
//! `routing.rs`.

use crate::config::{BrokerConfig, reached};
use crate::connection::{BrokerConnection, Gone, LifecycleState};
use crate::deadlines::{BrokerDeadlines, BrokerTimer};
use crate::event::{BrokerEvent, Ending};
use crate::ids::{ConnectionId, SessionId};
use crate::message::Retained;
use crate::session::BrokerSession;
use crate::subscriptions::{Match, Subscriptions};
use crate::sys::{Statistics, Sys};
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use martlet_proto::{DisconnectReasonCode, Packet, PublishRef, TopicFilter, Utf8String};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How much [`Broker::poll_transmit`] makes at once: enough to keep a socket busy, little enough to
/// be fair.
const TRANSMIT_LIMIT: usize = 64 * 1024;

/// What a broker remembers when it [restarts](Broker::restart).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Memory {
    /// Sessions and retained messages are there again.
    Kept,
    /// Everything is forgotten.
    Lost,
}

/// A broker without I/O: bytes in, bytes out, time as an argument.
///
/// Its methods are of four kinds. **Getters** only look. **Handlers** `handle_*` report what
/// happened outside. **Commands** make the broker do something of its own accord. **Polls**
/// `poll_*` return what is to be done next.
///
/// **Drain the polls after every handler and command**: [`poll_transmit`](Self::poll_transmit) for
/// each connection (or for those that [`poll_ready`](Self::poll_ready) names),
/// [`poll_event`](Self::poll_event) when events are recorded, [`poll_close`](Self::poll_close), and
/// [`poll_timeout`](Self::poll_timeout), which is then, besides the sockets, the only thing to wait
/// for. Spurious calls, and calls for connections that are gone, do nothing.
///
/// Time is a [`Duration`] since an epoch of the caller's choosing, the same for all calls. It
/// should not run backwards; if it does, things are late.
#[derive(Debug)]
pub struct Broker {
    pub(crate) config: BrokerConfig,
    pub(crate) connections: BTreeMap<ConnectionId, BrokerConnection>,
    pub(crate) sessions: BTreeMap<SessionId, BrokerSession>,
    /// By client identifier.
    pub(crate) clients: BTreeMap<Utf8String, SessionId>,
    pub(crate) subscriptions: Subscriptions,
    /// By topic name.
    pub(crate) retained: BTreeMap<Bytes, Retained>,
    pub(crate) deadlines: BrokerDeadlines,
    pub(crate) sys: Sys,
    pub(crate) statistics: Statistics,
    ready: BTreeSet<ConnectionId>,
    closes: BTreeSet<ConnectionId>,
    events: VecDeque<BrokerEvent>,
    next_connection: u64,
    pub(crate) next_session: u64,
    pub(crate) assigned: u64,
    /// Matches of the message at hand; kept for its memory.
    pub(crate) matches: Vec<Match>,
}

impl Broker {
    /// A broker without connections, sessions and retained messages.
    pub fn new(config: BrokerConfig) -> Self {
        Self {
            config,
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            clients: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            retained: BTreeMap::new(),
            deadlines: BrokerDeadlines::default(),
            sys: Sys::default(),
            statistics: Statistics::default(),
            ready: BTreeSet::new(),
            closes: BTreeSet::new(),
            events: VecDeque::new(),
            next_connection: 0,
            next_session: SessionId::FIRST.0,
            assigned: 0,
            matches: Vec::new(),
        }
    }

    // ---- getters

    /// How it behaves.
    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// Counts.
    pub fn statistics(&self) -> Statistics {
        let output: usize = self
            .connections
            .values()
            .map(|connection| connection.output.len())
            .sum();
        Statistics {
            connections: self.connections.len(),
            sessions: self.sessions.len(),
            retained: self.retained.len(),
            pending: self.sessions.values().map(BrokerSession::pending).sum(),
            held_bytes: output
                + self
                    .sessions
                    .values()
                    .map(BrokerSession::queued_bytes)
                    .sum::<usize>(),
            ..self.statistics
        }
    }

    /// The connection of a client, while it has one.
    pub fn connection_of(&self, client_identifier: &str) -> Option<ConnectionId> {
        self.session_of(client_identifier)?.connection
    }

    /// Whether there is a session of this client identifier.
    pub fn has_session(&self, client_identifier: &str) -> bool {
        self.session_of(client_identifier).is_some()
    }

    /// Whether a session has subscribed to exactly this topic filter.
    pub fn is_subscribed(&self, filter: &TopicFilter) -> bool {
        let mut sessions = self.sessions.values();
        sessions.any(|session| session.filters.contains(filter))
    }

    fn session_of(&self, client_identifier: &str) -> Option<&BrokerSession> {
        let client_identifier = Utf8String::try_from(client_identifier).ok()?;
        self.sessions.get(self.clients.get(&client_identifier)?)
    }

    // ---- handlers

    /// A client has opened a network connection. When there are too many it is closed at once.
    pub fn handle_open(&mut self, now: Duration) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let full = reached(self.connections.len(), self.config.max_connections);
        self.connections
            .insert(id, BrokerConnection::new(now, self.config.limits));
        if full {
            self.close(now, id, Gone::Dropped);
            return id;
        }
        if self.config.connect_timeout > Duration::ZERO {
            self.deadlines.set(
                BrokerTimer::Connect(id),
                now.saturating_add(self.config.connect_timeout),
            );
        }
        if self.sys.started.is_none() {
            self.publish_sys(now);
        }
        id
    }

    /// Bytes came from a client: takes the whole packets at the front of `input`, and leaves what
    /// is not a whole packet yet. Of a connection that the broker has ended, all are taken and
    /// ignored.
    pub fn handle_input(&mut self, now: Duration, id: ConnectionId, input: &mut BytesMut) {
        let (before, mut packets) = (input.len(), 0);
        loop {
            let Some(connection) = self.connections.get_mut(&id) else {
                break input.clear();
            };
            if matches!(connection.state, LifecycleState::Closing) {
                break input.clear();
            }
            if connection.output.len() > self.config.max_output_bytes
                && self.config.max_output_bytes > 0
            {
                self.close(now, id, Gone::Dropped);
                continue;
            }
            let waiting = matches!(connection.state, LifecycleState::Waiting);
            let level = if waiting { protocol_level(input) } else { None };
            match Packet::decode(
                input,
                connection.version,
                connection.limits.maximum_packet_size,
            ) {
                Ok(None) => break,
                Ok(Some(packet)) => {
                    packets += 1;
                    connection.last_packet = now;
                    self.packet(now, id, packet);
                }
                Err(error) if waiting => self.reject_malformed(now, id, level, error),
                Err(error) => self.close(now, id, Gone::Ended(error.reason())),
            }
        }
        self.statistics.packets_received += packets;
        self.statistics.bytes_received += (before - input.len()) as u64;
    }

    /// The network connection is gone: the other side has closed it, or it failed, or what
    /// [`poll_close`](Self::poll_close) asked for is done. What was not transmitted is dropped.
    pub fn handle_close(&mut self, now: Duration, id: ConnectionId) {
        self.close(now, id, Gone::Network);
    }

    /// Does what is due; see [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(timer) = self.deadlines.take_due(now) {
            match timer {
                BrokerTimer::Connect(id) => self.close(now, id, Gone::Dropped),
                BrokerTimer::KeepAlive(id) => self.check_keep_alive(now, id),
                BrokerTimer::Will(session) => self.publish_will(now, session),
                BrokerTimer::SessionExpiry(session) => self.end_session(now, session),
                BrokerTimer::Sys => self.publish_sys(now),
            }
        }
    }

    // ---- commands

    /// Publishes a message as the broker itself, with the QoS and the RETAIN flag of `publish`; its
    /// packet identifier is not used. Returns whether anybody has subscribed to it.
    pub fn publish(&mut self, now: Duration, publish: PublishRef<'_>) -> bool {
        self.route(now, publish, None).matched
    }

    /// Cuts a connection off without a word, as a failing network or a crashing broker does.
    pub fn drop_connection(&mut self, now: Duration, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.output.clear();
        }
        self.close(now, id, Gone::Dropped);
    }

    /// Ends a connection; a client of MQTT 5 is sent the reason. Its will is published.
    pub fn disconnect(&mut self, now: Duration, id: ConnectionId, reason: DisconnectReasonCode) {
        self.close(now, id, Gone::Ended(reason));
    }

    /// Forgets the sessions of all clients that are not connected, and of the others as soon as
    /// they disconnect.
    pub fn forget_sessions(&mut self, now: Duration) {
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        for id in ids {
            self.forget(now, id);
        }
    }

    /// Forgets the session of one client, at once or, when it is connected, as soon as it
    /// disconnects. Returns whether there was one.
    pub fn forget_session(&mut self, now: Duration, client_identifier: &str) -> bool {
        let id = Utf8String::try_from(client_identifier)
            .ok()
            .and_then(|client_identifier| self.clients.get(&client_identifier).copied());
        if let Some(id) = id {
            self.forget(now, id);
        }
        id.is_some()
    }

    fn forget(&mut self, now: Duration, id: SessionId) {
        match self.sessions.get_mut(&id) {
            Some(session) if session.connection.is_some() => session.forgotten = true,
            _ => self.end_session(now, id),
        }
    }

    /// Changes how the broker behaves from now on. The limits that a client got in its CONNACK hold
    /// until it connects again.
    ///
    /// ```
    /// use martlet_broker::{Broker, BrokerConfig};
    /// use martlet_proto::ConnectReasonCode;
    ///
    /// let mut broker = Broker::new(BrokerConfig::default());
    /// let rejects = broker.config().clone().reject(ConnectReasonCode::ServerBusy);
    /// broker.configure(rejects);
    /// ```
    pub fn configure(&mut self, config: BrokerConfig) {
        self.config = config;
    }

    /// Ends all connections with the reason *server shutting down*, and publishes their wills.
    pub fn shutdown(&mut self, now: Duration) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            self.close(
                now,
                id,
                Gone::Ended(DisconnectReasonCode::ServerShuttingDown),
            );
        }
    }

    /// What a crash and a new start of the broker's process are: all connections are gone without a
    /// word, and what is remembered of the rest is up to `memory`. With [`Memory::Kept`] the wills
    /// go where they are to go. Identifiers of connections go on, so that those of before do
    /// nothing.
    pub fn restart(&mut self, now: Duration, memory: Memory) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        if memory == Memory::Kept {
            for &id in &ids {
                self.drop_connection(now, id);
            }
            return;
        }
        let mut fresh = Self::new(self.config.clone());
        fresh.next_connection = self.next_connection;
        fresh.next_session = self.next_session;
        fresh.assigned = self.assigned;
        fresh.closes = core::mem::take(&mut self.closes);
        for id in ids {
            let mut connection = BrokerConnection::new(now, self.config.limits);
            connection.state = LifecycleState::Closing;
            fresh.connections.insert(id, connection);
            fresh.closes.insert(id);
        }
        fresh.events = core::mem::take(&mut self.events);
        *self = fresh;
    }

    // ---- polls

    /// Appends what is to be written to a connection: at most about 64 KiB, answers and one last
    /// packet not counted. Returns how many bytes there were; call it again until there are none.
    #[must_use = "what was appended is to be written"]
    pub fn poll_transmit(&mut self, now: Duration, id: ConnectionId, out: &mut BytesMut) -> usize {
        let Some(connection) = self.connections.get_mut(&id) else {
            return 0;
        };
        let before = out.len();
        connection.hand_out(out);
        if connection.ready {
            connection.ready = false;
            self.ready.remove(&id);
        }
        if let LifecycleState::Connected(session) = connection.state {
            if let Some(session) = self.sessions.get_mut(&session) {
                let (config, statistics, events) =
                    (&self.config, &mut self.statistics, &mut self.events);
                let limit = before + TRANSMIT_LIMIT;
                let packets =
                    session.fill(now, connection, out, limit, |session, message, reason| {
                        statistics.dropped += 1;
                        if config.record_events {
                            events.push_back(BrokerEvent::Dropped {
                                client_identifier: session.client_identifier.clone(),
                                reason,
                                publish: message.content.publish.clone(),
                            });
                        }
                    });
                statistics.packets_sent += packets;
            }
        } else if matches!(connection.state, LifecycleState::Closing) && !self.closes.contains(&id)
        {
            // Its last bytes are out, and `poll_close` has returned it: nothing is left to do.
            self.forget_connection(id);
        }
        let handed_out = out.len() - before;
        self.statistics.bytes_sent += handed_out as u64;
        handed_out
    }

    /// The next connection that may have something to transmit since
    /// [`poll_transmit`](Self::poll_transmit) was last called for it. A server of many connections
    /// need not poll all of them.
    #[must_use]
    pub fn poll_ready(&mut self) -> Option<ConnectionId> {
        let id = self.ready.pop_first()?;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ready = false;
        }
        Some(id)
    }

    /// What happened, when [`BrokerConfig::record_events`] is set.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<BrokerEvent> {
        self.events.pop_front()
    }

    /// The next connection that is to be closed, once what [`poll_transmit`](Self::poll_transmit)
    /// gives for it is written (or cannot be, in a time of the caller's choosing); then
    /// [`handle_close`](Self::handle_close).
    #[must_use]
    pub fn poll_close(&mut self) -> Option<ConnectionId> {
        let id = self.closes.pop_first()?;
        if self
            .connections
            .get(&id)
            .is_some_and(|connection| connection.output.is_empty())
        {
            self.forget_connection(id);
        }
        Some(id)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); it may turn out that nothing was due.
    /// `None`: never, as things are.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.deadlines.next()
    }

    // ---- what the other files need

    /// There may be something to transmit.
    pub(crate) fn mark_ready(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            if !connection.ready {
                connection.ready = true;
                self.ready.insert(id);
            }
        }
    }

    /// The broker is done with a connection: what is left is to write its output and to close it.
    pub(crate) fn ask_to_close(&mut self, id: ConnectionId) {
        self.closes.insert(id);
        self.mark_ready(id);
    }

    pub(crate) fn forget_connection(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
        self.ready.remove(&id);
        self.closes.remove(&id);
    }

    pub(crate) fn record(&mut self, event: impl FnOnce(&Self) -> BrokerEvent) {
        if self.config.record_events {
            let event = event(self);
            self.events.push_back(event);
        }
    }

    /// Appends an answer to the output of a connection. A client that takes no packets of that size
    /// is cut off.
    pub(crate) fn send(&mut self, now: Duration, id: ConnectionId, packet: &Packet) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.send(packet) {
            self.statistics.packets_sent += 1;
            self.mark_ready(id);
        } else {
            self.close(now, id, Gone::Dropped);
        }
    }

    fn check_keep_alive(&mut self, now: Duration, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let Some(timeout) = connection.keep_alive_timeout else {
            return;
        };
        let due = connection.last_packet.saturating_add(timeout);
        if due <= now {
            self.close(now, id, Gone::Ended(DisconnectReasonCode::KeepAliveTimeout));
        } else {
            // There were packets since; the deadline is moved here rather than with each of them.
            self.deadlines.set(BrokerTimer::KeepAlive(id), due);
        }
    }
}

impl From<Gone> for Ending {
    fn from(gone: Gone) -> Self {
        match gone {
            Gone::Network => Self::NetworkGone,
            Gone::Dropped => Self::Dropped,
            Gone::Ended(reason) => Self::Broker(reason),
            Gone::Left(reason) => Self::Client(reason),
        }
    }
}

/// The protocol level that a CONNECT claims, read from a packet that may be malformed further on:
/// the fixed header, two bytes of length, `MQTT`, the level.
fn protocol_level(input: &[u8]) -> Option<u8> {
    let end = input
        .iter()
        .skip(1)
        .take(4)
        .position(|byte| byte & 0x80 == 0)?;
    let rest = input.get(end + 2..)?.strip_prefix(b"\x00\x04MQTT")?;
    (input[0] == 0x10).then_some(*rest.first()?)
}
