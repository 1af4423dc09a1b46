//! The session: its state, and what a caller drains. A connection begins and ends in
//! `lifecycle.rs`.

mod admission;
mod answers;
mod authenticating;
mod diagnostics;
mod ending;
mod event_queue;
mod figures;
mod giving_up;
mod lifecycle;
mod liveness;
mod lost_session;
mod packets;
mod publishing;
mod receiving;
mod rejecting;
mod requesting;
#[cfg(feature = "durable")]
mod restoring;
#[cfg(feature = "durable")]
mod storing;
#[cfg(not(feature = "durable"))]
#[path = "not_storing.rs"]
mod storing;
mod timeouts;
mod timers;
pub use admission::Admission;
pub use giving_up::Withdrawal;
pub(crate) use lifecycle::{Intent, Phase};
#[cfg(feature = "durable")]
pub use restoring::Restored;

use crate::inbound::Inbound;
use crate::outbound::{Liveness, Outbound};
use crate::output::Output;
use crate::output::deferred_drops::DeferredDrops;
use crate::requests::deadlines::Deadlines;
use crate::requests::{Requests, Wishes};
use crate::session::authenticating::AuthenticationProgress;
use crate::session::event_queue::EventQueue;
use crate::session::timers::{TimerKind, Timers};
use crate::store::journal::Journal;
use crate::{
    CleanStart, Config, ConfigError, ConnectionError, Event, Instant, Limits, OperationId,
    SendBuffer,
};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use martlet_proto::{Delivery, PacketIdentifier, TopicFilter, TopicName, Utf8String};

/// The client's half of an MQTT session (MQTT 5 §4.1, 3.1.1 §3.1.2.4), without I/O. It outlives
/// connections.
///
/// Methods come in four kinds. **Getters** look. **Handlers** (`handle_*`) tell what happened
/// outside. **Commands** say what the application wants. **Polls** (`poll_*`) tell what the caller
/// must do or learn next. After every handler or command, drain the polls in this order:
/// [`poll_store`](Self::poll_store) until `None` (if the session is durable) and
/// [`poll_transmit`](Self::poll_transmit) (unless the socket is full), in turns until that gives 0;
/// [`poll_event`](Self::poll_event) and [`poll_close`](Self::poll_close) until `None`; then
/// [`poll_timeout`](Self::poll_timeout), which is then the only thing to wait for besides the
/// socket and the store. Early and spurious calls do nothing.
///
/// ```text
///            handle_open            CONNACK 0
///   Closed ──────────────► Connecting ──────► Connected
///      ▲                        │                 │
///      │                        └──── error ──────┤ disconnect, once what was accepted is acknowledged
///      │                                          ▼
///      └───────────────── handle_close ◄────── Closing  (poll_close says so; a DISCONNECT is in the output)
/// ```
///
/// With enhanced authentication there is *Accepting* before Connected. A drain goes on through
/// connections: `disconnect` without one waits for it until the deadline. The transitions of both,
/// of the connection and of what the application intends, are in `lifecycle.rs`.
#[derive(Debug)]
pub struct Session {
    pub(crate) config: Config,
    pub(crate) phase: Phase,
    pub(crate) intent: Intent,
    pub(crate) rare: Option<Box<Rare>>,
    /// A CONNACK has been received before: later connections resume.
    pub(crate) established: bool,
    /// CONNECTs since the last CONNACK of success that were not rejected.
    pub(crate) unanswered_connects: u32,
    /// This connection's CONNECT asked for a clean start.
    pub(crate) clean_start: bool,
    pub(crate) limits: Limits,
    pub(crate) output: Output,
    /// What is stored and what waits for that, if the session is durable.
    pub(crate) journal: Option<Box<Journal>>,
    pub(crate) outbound: Outbound,
    /// What messages held that are over.
    pub(crate) deferred_drops: DeferredDrops,
    pub(crate) inbound: Inbound,
    pub(crate) requests: Requests,
    /// Operations before this one were there when the connection began.
    pub(crate) began: OperationId,
    /// There once a publish has a timeout.
    pub(crate) publish_deadlines: Option<Box<Deadlines<(PacketIdentifier, OperationId)>>>,
    pub(crate) events: EventQueue,
    /// Bytes of diagnostics in `events`.
    pub(crate) diagnostics_waiting: u32,
    pub(crate) timers: Timers,
    pub(crate) last_sent: Instant,
    pub(crate) last_received: Instant,
    /// Bytes that the last `handle_input` left.
    pub(crate) unread: u32,
    /// So many bytes of a message that is not taken are still to be skipped.
    pub(crate) skipping: u32,
    /// How many messages of QoS 1 and 2 may be in flight on this connection.
    pub(crate) window: u16,
    pub(crate) next_operation: u64,
}

/// What few sessions have, or none for long; apart, so that a session is small.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// The client identifier that the server assigned.
    pub(crate) assigned: Option<Utf8String>,
    /// The enhanced authentication of this connection.
    pub(crate) authentication: Option<AuthenticationProgress>,
    /// The message whose bytes are being skipped.
    pub(crate) skipped: Option<Box<Skipped>>,
    /// So many connections in a row have ended with a message that cannot be taken.
    pub(crate) rejected_in_a_row: u32,
}

/// A message whose bytes are being skipped.
#[derive(Debug)]
pub(crate) struct Skipped {
    delivery: Delivery,
    topic: TopicName,
    size: u32,
}

impl Session {
    /// A session that has not been connected yet. With a configuration that cannot work
    /// ([`Config::check`]) each connection ends with [`ConnectionError::Configuration`] before
    /// anything is sent; [`try_new`](Self::try_new) says so at once.
    pub fn new(config: Config) -> Self {
        let mut session = Self {
            rare: None,
            phase: Phase::Closed,
            intent: Intent::Active,
            established: false,
            unanswered_connects: 0,
            clean_start: false,
            limits: Limits::unknown(),
            output: Output::new(),
            journal: None,
            outbound: Outbound::default(),
            deferred_drops: DeferredDrops::default(),
            inbound: Inbound::default(),
            requests: Requests::default(),
            began: OperationId(0),
            publish_deadlines: None,
            events: EventQueue::default(),
            diagnostics_waiting: 0,
            timers: Timers::default(),
            last_sent: Instant::EPOCH,
            last_received: Instant::EPOCH,
            unread: 0,
            skipping: 0,
            window: 0,
            next_operation: 1,
            config,
        };
        session.begin_journal();
        session
    }

    /// Makes a session that has not been connected yet, as [`new`](Self::new) does, if it can work.
    ///
    /// # Errors
    /// [`ConfigError`] as [`Config::check`] gives it.
    pub fn try_new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self::new(config))
    }

    // ---- getters

    /// The configuration, as it was given.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a session that an earlier process has left is resumed ([`CleanStart::Never`]).
    pub fn resumes_earlier(&self) -> bool {
        self.config.clean_start == CleanStart::Never
    }

    /// How long each step of a CONNECT has: [`Config::connect_timeout`].
    pub fn connect_timeout(&self) -> Duration {
        self.config.connect_timeout
    }

    /// How long after a PINGREQ something must have arrived: [`Config::ping_timeout`].
    pub fn ping_timeout(&self) -> Duration {
        self.config.ping_timeout
    }

    /// The largest packet that is taken, in bytes: [`Config::maximum_packet_size`].
    pub fn maximum_packet_size(&self) -> u32 {
        self.config.maximum_packet_size
    }

    /// Whether the server has accepted the connection and it is not ending.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected) && matches!(self.intent, Intent::Active)
    }

    /// What the server of this connection allows; before a CONNACK nothing is rejected.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The client identifier in use: empty until the server has assigned one.
    pub fn client_identifier(&self) -> &Utf8String {
        let assigned = self.rare.as_deref().and_then(|rare| rare.assigned.as_ref());
        assigned.unwrap_or(&self.config.client_identifier)
    }

    /// Whether [`poll_deferred_drops`](Self::poll_deferred_drops) has anything to give.
    #[inline]
    pub fn has_deferred_drops(&self) -> bool {
        !self.deferred_drops.is_empty()
    }

    /// Whether there are bytes to hand out.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether [`disconnect`](Self::disconnect) was called: nothing is accepted until a later
    /// [`handle_open`](Self::handle_open).
    pub fn is_ended(&self) -> bool {
        !matches!(self.intent, Intent::Active)
    }

    /// Whether a connection is of use: not after [`disconnect`](Self::disconnect), unless what was
    /// accepted before it is still to be acknowledged.
    pub fn wants_connection(&self) -> bool {
        matches!(self.intent, Intent::Active | Intent::Draining(_))
    }

    /// The topic filters that the server has granted and that were not unsubscribed.
    pub fn subscriptions(&self) -> impl Iterator<Item = &TopicFilter> {
        self.requests.wishes().into_iter().flat_map(Wishes::filters)
    }

    /// Messages of QoS 1 and 2 that are not completed: after [`restore`](Self::restore) those of
    /// earlier processes, whose end [`Event::Published`] will report.
    pub fn unacknowledged(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.outbound.operations()
    }

    /// Checks what must agree inside of the session. It is for tests: its cost grows with what is
    /// in flight.
    ///
    /// # Errors
    /// When something does not agree: what.
    #[doc(hidden)]
    pub fn check_invariants(&self) -> Result<(), String> {
        self.outbound.check()
    }

    /// Whether the socket should be read. False while too many messages wait to be taken and the
    /// server owes us nothing, or while it does not read what we send; when it becomes true again,
    /// call [`handle_input`](Self::handle_input) with what is left, even without new bytes.
    #[inline]
    pub fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Closed | Phase::Closing(_) => true,
            // What came behind the CONNACK waits with it.
            Phase::Accepting => false,
            _ if self.output.is_stuck() || self.is_store_far_behind() => false,
            // A server that is busy writing to us may read nothing before we do.
            _ => {
                !self.inbound.is_above_soft(&self.config.inbound)
                    || self.awaits_answer()
                    || !self.requests.pings.is_empty()
                    || self.timers.get(TimerKind::PingResponse).is_some()
                    || !self.output.is_empty()
            }
        }
    }

    /// Whether the server owes an answer that the application may be waiting for: to a CONNECT,
    /// publish, subscribe, unsubscribe, ping or authentication, or to the PINGREQ that a publish,
    /// subscribe or unsubscribe waits for. The PINGRESP of a PINGREQ that the keep alive has sent is
    /// not one.
    pub fn awaits_answer(&self) -> bool {
        matches!(self.phase, Phase::Connecting)
            || self.timers.get(TimerKind::Handshake).is_some()
            || self.outbound.in_flight() > 0
            || self.requests.outstanding() > 0
            || self.requests.pings.iter().any(Option::is_some)
            || self.outbound.liveness == Liveness::Asked
    }

    /// When an answer of the server, a PINGRESP among them, will be too late, if there is a
    /// deadline for one. A caller that leaves the socket unread for reasons of its own must read it
    /// before.
    pub fn reply_deadline(&self) -> Option<Instant> {
        // A timer of answers may be set still when they have come.
        let asked =
            self.requests.outstanding() > 0 || self.requests.pings.iter().any(Option::is_some);
        let timers = [
            Some(TimerKind::Handshake),
            Some(TimerKind::PingResponse),
            Some(TimerKind::Request).filter(|_| asked),
            Some(TimerKind::PublishTimeout).filter(|_| self.outbound.in_flight() > 0),
            Some(TimerKind::Probe).filter(|_| self.outbound.liveness == Liveness::Asked),
        ];
        timers
            .into_iter()
            .flatten()
            .filter_map(|timer| self.timers.get(timer))
            .min()
    }

    /// Whether the messages that were delivered and not taken have reached
    /// [`soft_messages`](crate::InboundLimits::soft_messages) or `soft_bytes`: more are read only
    /// while the server owes an answer.
    pub fn is_above_soft_bound(&self) -> bool {
        self.inbound.is_above_soft(&self.config.inbound)
    }

    /// How many bytes at the front of the next input belong to a message that is not taken: they
    /// are dropped as they come.
    pub fn skipping(&self) -> usize {
        self.skipping as usize
    }

    // ---- polls

    /// Appends bytes for the server to `out`, bounded to about 64 KiB past one packet; returns how
    /// many. They count as sent from now on. Call it when the socket can take more, until it
    /// returns 0.
    #[must_use = "0 means that there is nothing to write"]
    pub fn poll_transmit(&mut self, now: Instant, out: &mut SendBuffer) -> usize {
        let has_ready = self.requests.wishes().is_some_and(Wishes::has_ready);
        if has_ready && !self.outbound.awaits_probe() {
            self.send_requests(now);
        }
        if self.outbound.has_backlog() {
            self.pump(now);
            // A suspected request waits for messages, and they may have ended without a byte:
            // expired, or failed.
            if self.requests.wishes().is_some_and(Wishes::has_ready) {
                self.send_requests(now);
            }
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
        if self.output.tally.wants_time(now) {
            self.time_newest(n, now);
        }
        if self.output.ping_queued {
            self.output.ping_queued = false;
            self.output.tally.hand_out_ping(now);
            self.arm_keep_alive();
        }
        self.requests_handed_out(now);
        if let (Some(timeout), Some(deadlines)) =
            (self.config.publish_timeout, &mut self.publish_deadlines)
        {
            let upto = self.output.handed_out();
            if deadlines.handed_out(upto, now + timeout) {
                let outbound = &self.outbound;
                deadlines.tidy(outbound.unacknowledged(), |&(id, operation)| {
                    outbound.is_waiting(id, operation)
                });
                self.timers.set(TimerKind::PublishTimeout, deadlines.next());
            }
        }
        n
    }

    /// What the application should know next.
    #[must_use = "an event is returned once"]
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(mut event) = self.events.pop_front() {
            if self.diagnostics_waiting > 0 {
                self.release_diagnostics(&mut event);
            }
            return Some(event);
        }
        let dropped = self.output.tally.take_dropped();
        (dropped > 0).then_some(Event::InboundDropped(dropped))
    }

    /// Moves what [`defer_drops`](Self::defer_drops) has kept to the end of `deferred_drops`, for
    /// the caller to drop where it holds no lock. An empty list is exchanged, so that its memory is
    /// used again.
    #[inline]
    pub fn poll_deferred_drops(&mut self, deferred_drops: &mut Vec<Bytes>) {
        self.deferred_drops.take(deferred_drops);
    }

    /// Returns, once, why the connection is to be closed. Write what
    /// [`poll_transmit`](Self::poll_transmit) still gives, within a deadline of your own, close the
    /// socket, and call [`handle_close`](Self::handle_close).
    #[must_use = "the connection is to be closed"]
    pub fn poll_close(&mut self) -> Option<ConnectionError> {
        match &mut self.phase {
            Phase::Closing(closing) if !closing.reported => {
                closing.reported = true;
                Some(closing.error.clone())
            }
            _ => None,
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` when there is nothing to wait
    /// for.
    #[must_use = "wait for it besides the socket"]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    // ---- keep alive
}

/// The transitions in the diagrams of a module's documentation: `from ─► to`, then when.
#[cfg(test)]
fn arrows_of(source: &str) -> Vec<(&str, &str)> {
    source
        .lines()
        .filter_map(|line| line.strip_prefix("//! ")?.split_once(" ─► "))
        .filter_map(|(from, to)| Some((from.trim(), to.split_whitespace().next()?)))
        .collect()
}
