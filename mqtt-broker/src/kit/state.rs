//! The broker, its connections and what they have exchanged, behind one lock. Nothing here blocks.

use super::fault::{Fault, LineFaults, Schedule};
use super::line::{Line, LineEnd, Output};
use super::transcript::{Conversation, Direction};
use crate::{Broker, BrokerConfig, BrokerEvent, ConnectionId, Memory};
use bytes::BytesMut;
use core::task::Waker;
use core::time::Duration;
use martlet_proto::{Packet, Publish};
use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// What all threads share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    epoch: Instant,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) broker: Broker,
    pub(super) conversations: Vec<Conversation>,
    /// The messages of clients that the broker has accepted.
    pub(super) messages: Vec<Publish>,
    pub(super) schedule: Schedule,
    /// Connections come to nothing: the broker has stopped.
    pub(super) stopped: bool,
    /// The acceptor is to end.
    pub(super) refusing: bool,
    pub(super) threads: Vec<JoinHandle<()>>,
    /// By the number of the connection.
    lines: BTreeMap<usize, Line>,
    wires: BTreeMap<usize, Wire>,
    numbers: BTreeMap<ConnectionId, usize>,
    keeper: Arc<Bell>,
    /// Futures that wait, and until when.
    waiters: BTreeMap<u64, (Instant, Waker)>,
    next_waiter: u64,
    /// How much the broker's clock is ahead.
    advanced: Duration,
    deadline: Option<Duration>,
}

/// What a connection's threads need.
#[derive(Debug)]
struct Wire {
    socket: TcpStream,
    writer: Arc<Bell>,
}

/// Wakes one thread. A ring before the wait is not lost.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Waits for a ring, or for this long.
    pub(super) fn wait(&self, most: Option<Duration>) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rung = match most {
            None => self
                .changed
                .wait_while(rung, |rung| !*rung)
                .unwrap_or_else(PoisonError::into_inner),
            Some(most) => {
                self.changed
                    .wait_timeout_while(rung, most, |rung| !*rung)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        *rung = false;
    }
}

impl Shared {
    pub(super) fn new(config: BrokerConfig) -> Self {
        Self {
            state: Mutex::new(State {
                broker: Broker::new(config.record_events(true)),
                conversations: Vec::new(),
                messages: Vec::new(),
                schedule: Schedule::default(),
                stopped: false,
                refusing: false,
                threads: Vec::new(),
                lines: BTreeMap::new(),
                wires: BTreeMap::new(),
                numbers: BTreeMap::new(),
                keeper: Arc::default(),
                waiters: BTreeMap::new(),
                next_waiter: 0,
                advanced: Duration::ZERO,
                deadline: None,
            }),
            epoch: Instant::now(),
        }
    }

    /// Looks at the state, or takes something out of it, without an effect on connections.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` at the broker's time, then wakes all that may have something to do.
    pub(super) fn run<R>(&self, act: impl FnOnce(&mut State, Duration) -> R) -> R {
        let mut state = self.lock();
        let now = self.epoch.elapsed().saturating_add(state.advanced);
        let result = act(&mut state, now);
        state.settle();
        let waiters = core::mem::take(&mut state.waiters);
        drop(state);
        // A waker may be the application's own code.
        for (_, waker) in waiters.into_values() {
            waker.wake();
        }
        result
    }

    /// Does what is due, and returns how long it is until the next time.
    pub(super) fn keep_time(&self) -> Option<Duration> {
        let now = |state: &State| self.epoch.elapsed().saturating_add(state.advanced);
        let is_due = |state: &State| {
            let deadline = state.broker.poll_timeout();
            deadline.is_some_and(|at| at <= now(state))
        };
        let due = is_due(&self.lock());
        if due {
            self.run(|state, now| state.broker.handle_timeout(now));
        }
        let mut state = self.lock();
        let instant = Instant::now();
        let (late, waiting): (BTreeMap<_, _>, _) = core::mem::take(&mut state.waiters)
            .into_iter()
            .partition(|(_, (until, _))| *until <= instant);
        state.waiters = waiting;
        let broker = state.broker.poll_timeout();
        let broker = broker.map(|at| at.saturating_sub(now(&state)));
        let waiter = state.waiters.values().map(|(until, _)| *until).min();
        let waiter = waiter.map(|until| until.saturating_duration_since(instant));
        drop(state);
        for (_, waker) in late.into_values() {
            waker.wake();
        }
        broker.into_iter().chain(waiter).min()
    }
}

impl State {
    // ---- what the threads report and ask

    /// A client has connected: its number, and what wakes its writer. `None` when there are to be
    /// no more clients.
    pub(super) fn open(&mut self, now: Duration, socket: TcpStream) -> Option<(usize, Arc<Bell>)> {
        if self.stopped || self.refusing {
            return None;
        }
        let number = self.conversations.len();
        self.conversations.push(Conversation::new(number));
        let id = self.broker.handle_open(now);
        let writer = Arc::<Bell>::default();
        self.numbers.insert(id, number);
        self.lines
            .insert(number, Line::new(id, self.schedule.open()));
        let wire = Wire {
            socket,
            writer: Arc::clone(&writer),
        };
        self.wires.insert(number, wire);
        Some((number, writer))
    }

    /// Bytes came from a client.
    pub(super) fn receive(&mut self, now: Duration, number: usize, bytes: &[u8]) {
        let maximum = self.broker.config().limits.maximum_packet_size;
        let Some(line) = self.lines.get_mut(&number) else {
            return;
        };
        line.receive(bytes);
        loop {
            let Some(line) = self
                .lines
                .get_mut(&number)
                .filter(|line| line.end.is_none())
            else {
                return;
            };
            let Some(input) = line.next_input(maximum) else {
                break;
            };
            line.to_broker.extend_from_slice(&input.bytes);
            self.conversations[number].record(Direction::FromClient, input.packet.clone());
            self.handle(now, number, input.packet.as_ref());
        }
        let line = self.lines.get(&number);
        if line.is_some_and(|line| line.faults.from_client == Some(0)) {
            self.cut(now, number);
        }
    }

    /// A packet is recorded; now the broker gets it, unless a fault has it otherwise.
    fn handle(&mut self, now: Duration, number: usize, packet: Option<&Packet>) {
        let Some(line) = self.lines.get_mut(&number) else {
            return;
        };
        let hangs_up = |packet: &Packet| line.faults.hang_up_on.contains(&packet.packet_type());
        if packet.is_some_and(hangs_up) {
            return self.cut(now, number);
        }
        let mut rejects = None;
        if let Some(Packet::Connect(connect)) = packet.filter(|_| !line.has_connected) {
            line.has_connected = true;
            line.version = connect.version;
            rejects = line.faults.reject;
            if line.faults.loses_session {
                let identifier = connect.client_identifier.as_str();
                self.broker.forget_session(now, identifier);
            }
            if line.faults.stalls {
                return self.leave_broker(now, number);
            }
        }
        let Some(id) = line.id else {
            return line.to_broker.clear();
        };
        let reject = self.broker.config.reject;
        self.broker.config.reject = rejects.or(reject);
        self.broker.handle_input(now, id, &mut line.to_broker);
        self.broker.config.reject = reject;
    }

    /// What the writer of a connection does next.
    pub(super) fn next_output(&mut self, now: Duration, number: usize) -> Output {
        let Some(line) = self.lines.get_mut(&number) else {
            return Output::Cut;
        };
        if let Some(id) = line.id.filter(|_| line.has_room()) {
            let mut packets = BytesMut::new();
            while self.broker.poll_transmit(now, id, &mut packets) > 0 {}
            line.send(now, packets);
        }
        let output = line.next_output(now, &mut self.conversations[number]);
        match &output {
            Output::Cut => self.cut(now, number),
            Output::Close => self.remove(now, number),
            // A due time is by the broker's clock, which is this much from the caller's.
            Output::Wait(due) => return Output::Wait(due.map(|due| due.saturating_sub(now))),
            Output::Write(_) => {}
        }
        output
    }

    /// The client has closed the connection, or it has failed.
    pub(super) fn lose(&mut self, now: Duration, number: usize) {
        self.cut(now, number);
        self.wires.remove(&number);
    }

    // ---- commands

    /// Cuts one connection.
    pub(super) fn cut(&mut self, now: Duration, number: usize) {
        if let Some(wire) = self.wires.get(&number) {
            // It may be closed already.
            let _ = wire.socket.shutdown(Shutdown::Both);
            wire.writer.ring();
        }
        self.remove(now, number);
    }

    /// Cuts all connections.
    pub(super) fn cut_all(&mut self, now: Duration) {
        let numbers: Vec<usize> = self.wires.keys().copied().collect();
        for number in numbers {
            self.cut(now, number);
        }
    }

    /// Ends all connections as a crash does, and starts the broker again.
    pub(super) fn restart(&mut self, now: Duration, memory: Memory) {
        self.broker.restart(now, memory);
        self.cut_all(now);
    }

    /// Puts a fault on all connections that are open.
    pub(super) fn inject_now(&mut self, fault: &Fault) {
        for line in self.lines.values_mut() {
            line.faults.add(fault);
        }
        self.ring_all();
    }

    /// Takes all faults from all connections, open or to come.
    pub(super) fn clear_faults(&mut self) {
        self.schedule.clear();
        for line in self.lines.values_mut() {
            line.faults = LineFaults::default();
        }
        self.ring_all();
    }

    /// Lets time pass for the broker.
    pub(super) fn advance(&mut self, now: Duration, by: Duration) {
        self.advanced = self.advanced.saturating_add(by);
        self.broker.handle_timeout(now.saturating_add(by));
        self.ring_all();
    }

    /// Ends everything: what waits is woken, and all threads end.
    pub(super) fn stop(&mut self, now: Duration) {
        self.stopped = true;
        self.cut_all(now);
        self.ring_all();
    }

    // ---- waiting

    /// Wakes `waker` when something has happened or that time has come, once.
    pub(super) fn register(&mut self, key: Option<u64>, until: Instant, waker: Waker) -> u64 {
        let key = key.unwrap_or_else(|| {
            self.next_waiter += 1;
            self.next_waiter
        });
        self.waiters.insert(key, (until, waker));
        self.keeper.ring();
        key
    }

    pub(super) fn deregister(&mut self, key: u64) -> Option<Waker> {
        Some(self.waiters.remove(&key)?.1)
    }

    /// What wakes the thread that keeps time.
    pub(super) fn keeper(&self) -> Arc<Bell> {
        Arc::clone(&self.keeper)
    }

    // ---- helpers

    /// Passes on what the broker has to say.
    fn settle(&mut self) {
        while let Some(event) = self.broker.poll_event() {
            if let BrokerEvent::Accepted {
                client_identifier: Some(_),
                publish,
            } = event
            {
                self.messages.push(publish);
            }
        }
        while let Some(id) = self.broker.poll_close() {
            if let Some(line) = self.line_of(id) {
                line.end.get_or_insert(LineEnd::Close);
            }
            self.ring(id);
        }
        while let Some(id) = self.broker.poll_ready() {
            self.ring(id);
        }
        let deadline = self.broker.poll_timeout();
        if core::mem::replace(&mut self.deadline, deadline) != deadline {
            self.keeper.ring();
        }
    }

    fn line_of(&mut self, id: ConnectionId) -> Option<&mut Line> {
        self.lines.get_mut(self.numbers.get(&id)?)
    }

    fn ring(&self, id: ConnectionId) {
        let number = self.numbers.get(&id);
        if let Some(wire) = number.and_then(|number| self.wires.get(number)) {
            wire.writer.ring();
        }
    }

    fn ring_all(&self) {
        for wire in self.wires.values() {
            wire.writer.ring();
        }
        self.keeper.ring();
    }

    /// The broker no longer has this connection; its socket stays open.
    fn leave_broker(&mut self, now: Duration, number: usize) {
        let line = self.lines.get_mut(&number);
        if let Some(id) = line.and_then(|line| line.id.take()) {
            self.numbers.remove(&id);
            self.broker.handle_close(now, id);
        }
    }

    fn remove(&mut self, now: Duration, number: usize) {
        self.leave_broker(now, number);
        if self.lines.remove(&number).is_some() {
            self.conversations[number].close();
        }
    }
}
