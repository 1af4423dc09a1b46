//! The world: chooses the next event of the simulation and hands it to the parties.

mod applications;
mod events;
mod misdeeds;

use super::client::{SimClient, instant};
use super::model::{Judgement, Model};
use super::network::{Arrival, SimLink, Way};
use super::saboteur::Reported;
use super::wire::{WireFrames, number};
use super::wishes::SimWishes;
use super::{Counts, Failure, Options, Random};
use bytes::BytesMut;
use core::cmp::Reverse;
use core::num::NonZeroU16;
use core::time::Duration;
use martlet_broker::{Broker, BrokerConfig, BrokerEvent, BrokerLimits, ConnectionId, DropReason};
use martlet_proto::{MAX_PACKET_SIZE, Packet, QoS};
use martlet_session::{ConnectionError, LostSession, StoreOp, StoreSeq};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// How long a world may take to settle after the faults have stopped, in simulated time: its
/// slowest way to move the whole backlog, and every timeout of both sides.
const PATIENCE: Duration = Duration::from_secs(600);

/// What comes next, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    /// Something arrives.
    Arrive(u64, Way),
    /// The applications do something, and things go wrong.
    Go,
    /// A client connects again.
    Reopen(usize),
    /// The socket of a client takes bytes again; of this connection.
    Unblock(usize, u64),
    /// A connection that a client has left ends for the broker too.
    Abandoned(u64),
    /// The disk of a client has stored what it was given; of this process.
    Stored(usize, u64),
}

/// One world.
#[derive(Debug)]
pub struct World {
    seed: u64,
    options: Options,
    random: Random,
    now: Duration,
    agenda: BinaryHeap<Reverse<(Duration, u64, Action)>>,
    scheduled: u64,
    broker: Broker,
    clients: Vec<SimClient>,
    links: BTreeMap<u64, SimLink>,
    by_connection: BTreeMap<ConnectionId, u64>,
    next_link: u64,
    model: Model,
    counts: Counts,
    /// No more faults and messages.
    finishing: bool,
    /// What the server does for a while.
    spells: misdeeds::Spells,
    wishes: SimWishes,
    /// Messages that the server has acknowledged in the wrong flow.
    touched: BTreeSet<u64>,
    /// Reused.
    reported: Vec<Reported>,
}

impl World {
    /// A world in which nothing has happened yet.
    pub fn new(seed: u64, options: Options) -> Self {
        let config = BrokerConfig::default()
            .sys_interval(Duration::ZERO)
            .record_events(true)
            .max_queued(0)
            .max_in_flight(NonZeroU16::new(options.server_in_flight).unwrap_or(NonZeroU16::MIN));
        let names = ["first", "second", "third"].into_iter().enumerate();
        let publishers = names
            .take(options.publishers.into())
            .map(|(publisher, name)| {
                SimClient::new(
                    name,
                    &options,
                    Some(publisher),
                    options.together && publisher == 0,
                )
            });
        let subscriber =
            (!options.together).then(|| SimClient::new("subscriber", &options, None, true));
        let clients = publishers.chain(subscriber).collect();
        let mut world = Self {
            seed,
            random: Random::new(seed),
            // Not zero, so that nothing passes because zero is zero.
            now: Duration::from_secs(1000),
            agenda: BinaryHeap::new(),
            scheduled: 0,
            broker: Broker::new(config),
            links: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            next_link: 0,
            model: Model::default(),
            counts: Counts::default(),
            finishing: false,
            spells: misdeeds::Spells::default(),
            wishes: SimWishes::new(&options),
            touched: BTreeSet::new(),
            reported: Vec::new(),
            clients,
            options,
        };
        if world.options.durable.is_some() {
            world.model.expect_deaths();
        }
        for client in 0..world.clients.len() {
            world.after(Duration::ZERO, Action::Reopen(client));
        }
        world.after(Duration::ZERO, Action::Go);
        world
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.model.next(),
            acknowledged: self.model.acknowledged,
            failed: self.model.failed,
            delivered: self.model.delivered,
            repeated: self.model.repeated,
            ..self.counts
        }
    }

    /// The next thing happens, and the books are balanced.
    ///
    /// # Errors
    /// [`Failure`] when something is wrong.
    pub fn step(&mut self) -> Result<(), Failure> {
        self.counts.steps += 1;
        self.advance().map_err(|what| self.failure(what))
    }

    /// So many steps.
    ///
    /// # Errors
    /// [`Failure`] when something is wrong.
    pub fn run(&mut self, steps: u64) -> Result<(), Failure> {
        (0..steps).try_for_each(|_| self.step())
    }

    /// Runs until the given number of messages was accepted, or of steps made, and
    /// [finishes](Self::finish).
    ///
    /// # Errors
    /// [`Failure`] when something is wrong, or does not settle.
    pub fn run_to_end(&mut self, messages: u64, steps: u64) -> Result<(), Failure> {
        while self.model.next() < messages && self.counts.steps < steps {
            self.step()?;
        }
        self.finish()
    }

    /// The faults stop, nothing new is published: everything settles within a bounded time.
    ///
    /// # Errors
    /// [`Failure`] when something is wrong, or does not settle.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.finishing = true;
        let end = self.now + PATIENCE;
        while !self.is_acknowledged() {
            if self.now > end {
                let what = format!(
                    "stuck: {}; {}",
                    self.model.describe(),
                    self.wishes.describe()
                );
                return Err(self.failure(what));
            }
            self.step()?;
        }
        Ok(())
    }

    fn is_acknowledged(&self) -> bool {
        self.model.is_acknowledged()
            && self.wishes.are_acknowledged()
            && self.model.is_subscribed()
            && self
                .clients
                .iter()
                .all(|client| client.subscribed || !client.subscribes)
            && self
                .clients
                .iter()
                .all(|client| client.session.in_flight() + client.session.queued() == 0)
    }

    fn failure(&self, what: String) -> Failure {
        let options = Box::new(self.options.clone());
        Failure {
            seed: self.seed,
            step: self.counts.steps,
            at: self.now,
            options,
            what,
        }
    }

    fn after(&mut self, delay: Duration, action: Action) {
        self.at(self.now + delay, action);
    }

    fn at(&mut self, at: Duration, action: Action) {
        self.scheduled += 1;
        self.agenda.push(Reverse((at, self.scheduled, action)));
    }

    fn latency(&mut self) -> Duration {
        let (low, high) = self.options.latency;
        Duration::from_micros(self.random.between(low * 1000, high * 1000))
    }

    fn seconds(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.random.below(most * 1000))
    }

    fn advance(&mut self) -> Judgement {
        let planned = self.agenda.peek().map(|Reverse((at, ..))| *at);
        let mut sooner = planned.unwrap_or(Duration::MAX);
        let mut timer = None;
        for (i, client) in self.clients.iter().enumerate() {
            if let Some(at) = client.timeout().filter(|&at| at < sooner) {
                (sooner, timer) = (at, Some(Some(i)));
            }
        }
        if let Some(at) = self.broker.poll_timeout().filter(|&at| at < sooner) {
            (sooner, timer) = (at, Some(None));
        }
        self.now = self.now.max(sooner);
        match timer {
            Some(Some(i)) => {
                self.clients[i].session.handle_timeout(instant(self.now));
                self.drain_client(i)?;
            }
            Some(None) => self.broker.handle_timeout(self.now),
            None => {
                if let Some(Reverse((_, _, action))) = self.agenda.pop() {
                    self.act(action)?;
                }
            }
        }
        self.drain_broker()?;
        let is_watched = !self.options.misdeeds.is_none();
        for (
            i,
            SimClient {
                publisher, session, ..
            },
        ) in self.clients.iter().enumerate()
        {
            if let &Some(publisher) = publisher {
                let others = if is_watched {
                    self.wishes.held(i)
                } else {
                    (0, 0)
                };
                self.model
                    .balance(publisher, session.in_flight() + session.queued(), others)?;
            }
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Judgement {
        match action {
            Action::Arrive(link, Way::ToBroker) => self.arrive_at_broker(link)?,
            Action::Arrive(link, Way::ToClient) => self.arrive_at_client(link)?,
            Action::Go => {
                self.go()?;
                self.after(Duration::from_millis(self.options.pace), Action::Go);
            }
            Action::Reopen(i) => self.open(i)?,
            Action::Unblock(i, link) => {
                if self.clients[i].link == Some(link) && self.clients[i].blocked {
                    self.clients[i].blocked = false;
                    self.clients[i].linter.was_blocked(self.now);
                    self.drain_client(i)?;
                }
            }
            Action::Abandoned(link) => self.send(link, Way::ToBroker, Arrival::End),
            Action::Stored(i, process) => {
                if self.clients[i]
                    .disk
                    .as_ref()
                    .is_some_and(|disk| disk.process == process)
                {
                    self.clients[i].stored();
                    self.drain_client(i)?;
                }
            }
        }
        Ok(())
    }

    // ---- the network

    fn send(&mut self, id: u64, way: Way, arrival: Arrival) {
        let latency = self.latency();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if let Some(at) = link.lane(way).send(self.now + latency, arrival) {
            self.at(at, Action::Arrive(id, way));
        }
    }

    fn send_bytes(&mut self, link: u64, way: Way, mut bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        if self.random.per_mille(self.options.split) {
            let at = self.random.below(bytes.len() as u64) as usize;
            let rest = bytes.split_off(at);
            if !bytes.is_empty() {
                self.send(link, way, Arrival::Bytes(bytes));
            }
            bytes = rest;
        }
        self.send(link, way, Arrival::Bytes(bytes));
    }

    fn arrive_at_broker(&mut self, id: u64) -> Judgement {
        loop {
            let Some(link) = self.links.get_mut(&id) else {
                return Ok(());
            };
            let Some(arrival) = link.lane(Way::ToBroker).receive(self.now) else {
                return Ok(());
            };
            if !link.broker_open {
                continue;
            }
            match arrival {
                Arrival::Bytes(bytes) => {
                    let limits = link.limits;
                    let config = self.broker.config().clone().limits(limits);
                    self.broker.configure(config);
                    link.unread.extend_from_slice(&bytes);
                    self.broker
                        .handle_input(self.now, link.connection, &mut link.unread);
                }
                Arrival::End => {
                    self.broker.handle_close(self.now, link.connection);
                    link.broker_open = false;
                    self.tidy(id);
                }
            }
            self.drain_broker()?;
        }
    }

    fn arrive_at_client(&mut self, id: u64) -> Judgement {
        loop {
            let Some(link) = self.links.get_mut(&id) else {
                return Ok(());
            };
            let (client, open) = (link.client, link.client_open);
            let Some(arrival) = link.lane(Way::ToClient).receive(self.now) else {
                return Ok(());
            };
            if !open {
                continue;
            }
            match arrival {
                Arrival::Bytes(bytes) => {
                    self.clients[client].receive(self.now, &bytes)?;
                    self.drain_client(client)?;
                }
                Arrival::End => self.close_client(client, ConnectionError::ClosedByPeer)?,
            }
        }
    }

    /// Forgets a connection that is over.
    fn tidy(&mut self, id: u64) {
        if self.links.get(&id).is_some_and(SimLink::is_over) {
            if let Some(link) = self.links.remove(&id) {
                self.by_connection.remove(&link.connection);
            }
        }
    }

    // ---- clients

    fn open(&mut self, i: usize) -> Judgement {
        if self.clients[i].link.is_some() {
            return Ok(());
        }
        let id = self.next_link;
        self.next_link += 1;
        let limits = self.draw_limits(self.clients[i].subscribes);
        let config = self.broker.config().clone().limits(limits);
        self.broker.configure(config);
        let connection = self.broker.handle_open(self.now);
        self.links.insert(id, SimLink::new(i, connection, limits));
        self.by_connection.insert(connection, id);
        self.clients[i].open(self.now, id, &self.options);
        self.drain_client(i)
    }

    /// What the server allows this time.
    fn draw_limits(&mut self, subscribes: bool) -> BrokerLimits {
        let mut limits = BrokerLimits::default();
        if !self.options.limits_change || self.finishing || !self.options.version.has_properties() {
            return limits;
        }
        if self.random.per_mille(600) {
            let most = self.random.between(1, 20) as u16;
            limits = limits.receive_maximum(NonZeroU16::new(most).unwrap_or(NonZeroU16::MIN));
        }
        limits = limits.maximum_packet_size(match self.random.below(4) {
            0 => self.random.between(100, 500) as u32,
            _ => MAX_PACKET_SIZE,
        });
        limits = limits.maximum_qos(match self.random.below(8) {
            0 if !subscribes => QoS::AtMostOnce,
            1 if !subscribes => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        });
        if self.random.per_mille(200) {
            limits = limits.server_keep_alive(self.random.between(3, 20) as u16);
        }
        limits
    }

    /// The client's socket closes: the other side hears of it, if the network lets it.
    fn close_client(&mut self, i: usize, reason: ConnectionError) -> Judgement {
        self.leave_client(i, reason, None)
    }

    fn leave_client(
        &mut self,
        i: usize,
        reason: ConnectionError,
        heard: Option<Duration>,
    ) -> Judgement {
        let Some(id) = self.clients[i].link else {
            return Ok(());
        };
        self.counts.connections += 1;
        self.clients[i].close(self.now, reason)?;
        if let Some(link) = self.links.get_mut(&id) {
            link.client_open = false;
        }
        match heard {
            None => self.send(id, Way::ToBroker, Arrival::End),
            Some(after) => self.after(after, Action::Abandoned(id)),
        }
        let wait = if heard.is_some() {
            Duration::ZERO
        } else {
            self.seconds(2)
        };
        self.after(wait, Action::Reopen(i));
        self.tidy(id);
        self.drain_client(i)
    }

    fn drain_client(&mut self, i: usize) -> Judgement {
        let drained = self.clients[i].drain(self.now)?;
        self.store(i, drained.operations);
        if let Some(link) = self.clients[i].link {
            let bytes = self.clients[i].transmit(self.now, drained.output)?;
            for packet in core::mem::take(&mut self.clients[i].sent) {
                self.wishes.sent(i, &packet)?;
            }
            self.send_bytes(link, Way::ToBroker, bytes);
        }
        let mut reported = core::mem::take(&mut self.reported);
        self.clients[i].report(drained.events, &mut reported);
        let anything = !reported.is_empty();
        for Reported { event, times } in reported.drain(..) {
            self.deliver_event(i, event, times)?;
        }
        self.reported = reported;
        if drained.close.is_some() {
            // What is left is written, if the socket takes it.
            self.close_client(i, ConnectionError::ClosedByPeer)?;
        } else if anything {
            self.drain_client(i)?;
        }
        Ok(())
    }

    /// The disk of a client gets what is to be stored, unless it is busy: then it gets that next.
    fn store(&mut self, i: usize, operations: Vec<(StoreSeq, StoreOp)>) {
        if self.clients[i].gather(operations) {
            let (low, high) = self.options.durable.unwrap_or_default();
            let delay = Duration::from_micros(self.random.between(low * 1000, high * 1000));
            let process = self.clients[i].disk.as_ref().map_or(0, |disk| disk.process);
            self.after(delay, Action::Stored(i, process));
        }
    }

    // ---- the broker

    fn drain_broker(&mut self) -> Judgement {
        while let Some(event) = self.broker.poll_event() {
            self.hear(event)?;
        }
        while let Some(connection) = self.broker.poll_ready() {
            self.transmit_broker(connection)?;
        }
        while let Some(connection) = self.broker.poll_close() {
            self.transmit_broker(connection)?;
            self.broker.handle_close(self.now, connection);
            if let Some(&id) = self.by_connection.get(&connection) {
                self.send(id, Way::ToClient, Arrival::End);
                if let Some(link) = self.links.get_mut(&id) {
                    link.broker_open = false;
                }
                self.tidy(id);
            }
        }
        while let Some(event) = self.broker.poll_event() {
            self.hear(event)?;
        }
        self.model.forget_unsubscribed();
        Ok(())
    }

    fn transmit_broker(&mut self, connection: ConnectionId) -> Judgement {
        let mut out = BytesMut::new();
        while self.broker.poll_transmit(self.now, connection, &mut out) > 0 {}
        let Some(&id) = self.by_connection.get(&connection) else {
            return Ok(());
        };
        let Some((i, life)) = self.links.get(&id).map(|link| (link.client, link.life)) else {
            return Ok(());
        };
        let is_moody = !self.options.misdeeds.is_none();
        let watched = !self.model.is_subscribed() || self.options.unsubscribe > 0;
        let is_subscribers = self.clients[i].subscribes && life == Some(self.model.life());
        if is_moody || (watched && is_subscribers) {
            let mut frames = WireFrames::default();
            frames.push(&out);
            while let Some(frame) = frames.next(self.options.version)? {
                let is_about = |id| is_subscribers && self.clients[i].is_about_everything(id);
                match frame.packet {
                    Packet::SubAck(it) => {
                        if is_about(it.packet_identifier) {
                            self.model.subscribed();
                        }
                        self.wishes.answered(i, it.packet_identifier);
                    }
                    Packet::UnsubAck(it) if is_about(it.packet_identifier) => {
                        self.model.unsubscribed();
                    }
                    _ => {}
                }
            }
        }
        self.send_bytes(id, Way::ToClient, out.to_vec());
        Ok(())
    }

    fn hear(&mut self, event: BrokerEvent) -> Judgement {
        match event {
            BrokerEvent::Connected {
                connection,
                client_identifier,
                session_present,
                ..
            } => {
                let mut clients = self.clients.iter_mut();
                let client = clients.find(|client| client.name == client_identifier.as_str());
                if let Some(client) = client.filter(|_| !session_present) {
                    client.lost = true;
                    if let Some(publisher) = client.publisher {
                        let requeued = self.options.lost_qos2 == LostSession::Requeue;
                        self.model.publisher_lost(publisher, requeued);
                    }
                    if client.subscribes {
                        self.model.new_life();
                    }
                }
                let link = self
                    .by_connection
                    .get(&connection)
                    .and_then(|id| self.links.get_mut(id));
                if let Some(link) = link {
                    link.life = Some(self.model.life());
                }
            }
            BrokerEvent::Accepted { publish, .. } => {
                self.model.accepted(number(publish.payload()))?;
            }
            BrokerEvent::Misbehaved { .. } => self.misbehaved(&event)?,
            BrokerEvent::Dropped {
                publish,
                reason: DropReason::Expired,
                ..
            } => {
                self.model.expired(number(publish.payload()));
            }
            BrokerEvent::Dropped { publish, .. } if publish.delivery().qos() == QoS::AtMostOnce => {
            }
            BrokerEvent::Dropped { .. }
            | BrokerEvent::Rejected { .. }
            | BrokerEvent::SessionEnded { .. } => {
                return Err(format!("from the broker: {event:?}"));
            }
            _ => {}
        }
        Ok(())
    }
}
