//! A broker for tests of your own code: sockets, faults, a transcript and waits around the pure
//! [`Broker`](crate::Broker). The only module that opens sockets of std's, starts threads and reads
//! a clock.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "sockets and time are its purpose"
)]

mod fault;
mod line;
mod state;
mod threads;
mod transcript;
mod wait;

pub use fault::Fault;
pub use transcript::{Conversation, Direction};
pub use wait::{Wait, WaitError, WaitErrorKind};

use crate::{BrokerConfig, Memory, Statistics};
use core::net::SocketAddr;
use core::time::Duration;
use martlet_proto::{DisconnectReasonCode, Packet, PacketType, Publish, PublishRef, TopicFilter};
use state::{Shared, State};
use std::io::Result;
use std::sync::Arc;
use threads::Threads;

/// A broker on a free port of the loopback interface, for tests of code that uses MQTT. With the
/// feature `kit`, which is on by default.
///
/// **Not for production**: it keeps all that it has seen until it is dropped.
///
/// It has threads of its own, so that it works beneath every runtime, and without one:
///
/// ```
/// use martlet_broker::{Fault, TestBroker, proto::ConnectReasonCode, proto::PacketType};
/// use std::io::Write;
/// use std::net::TcpStream;
///
/// let broker = TestBroker::start()?;
/// println!("point the code under test at {}", broker.uri());
///
/// // Here a client that is a socket: it connects, and publishes to the topic `t`.
/// let mut client = TcpStream::connect(broker.local_addr())?;
/// client.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")?;
/// client.write_all(b"\x30\x05\x00\x01t21")?;
///
/// let message = broker.wait_for_message("t").blocking()?; // `.await` in async code
/// assert_eq!(message.payload(), b"21");
/// let conversation = &broker.transcript()[0];
/// assert_eq!(conversation.received_types(), [PacketType::Connect, PacketType::Publish]);
///
/// // The next client is rejected.
/// broker.inject(Fault::reject(ConnectReasonCode::NotAuthorized));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// **Faults** are of connections ([`inject`](Self::inject), [`inject_now`](Self::inject_now)), or of
/// the whole broker: [`refuse_connections`](Self::refuse_connections), [`restart`](Self::restart),
/// [`cut`](Self::cut), [`forget_sessions`](Self::forget_sessions). What it does wrong as MQTT is in
/// [`Moods`](crate::Moods).
///
/// **Waits** (`wait_for_…`) are futures that need no runtime, and block with
/// [`Wait::blocking`]; their time limit is 10 seconds, or what [`Wait::timeout`] sets. Other methods
/// neither wait nor sleep.
///
/// **Time** is real, and [`advance`](Self::advance) lets more of it pass for the broker.
///
/// It ends when it is dropped. For tests in memory, with tokio's paused time, there is
/// `tokio::Server`.
#[derive(Debug)]
pub struct TestBroker {
    shared: Arc<Shared>,
    threads: Threads,
}

impl TestBroker {
    /// Starts a broker with the default configuration on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn start() -> Result<Self> {
        Self::start_with(BrokerConfig::default())
    }

    /// Starts a broker with this configuration on a free port of 127.0.0.1. It records events in
    /// any case.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn start_with(config: BrokerConfig) -> Result<Self> {
        let shared = Arc::new(Shared::new(config));
        let threads = Threads::start(&shared)?;
        Ok(Self { shared, threads })
    }

    // ---- getters

    /// Where it listens, as `mqtt://127.0.0.1:port`.
    pub fn uri(&self) -> String {
        format!("mqtt://{}", self.local_addr())
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.threads.address()
    }

    /// All connections so far, in the order in which they were opened, and what was said on each.
    pub fn transcript(&self) -> Vec<Conversation> {
        self.shared.lock().conversations.clone()
    }

    /// The messages of clients that the broker has accepted, in their order: each once, however often
    /// its client sent it. Wills are among them.
    pub fn messages(&self) -> Vec<Publish> {
        self.shared.lock().messages.clone()
    }

    /// The broker's counts.
    pub fn statistics(&self) -> Statistics {
        self.shared.lock().broker.statistics()
    }

    /// Whether a client of this identifier is connected.
    pub fn is_connected(&self, client_identifier: &str) -> bool {
        let state = self.shared.lock();
        state.broker.connection_of(client_identifier).is_some()
    }

    /// Whether there is a session of this client identifier, connected or not.
    pub fn has_session(&self, client_identifier: &str) -> bool {
        self.shared.lock().broker.has_session(client_identifier)
    }

    // ---- faults

    /// Puts a fault on the next connection, or on those that it names.
    pub fn inject(&self, fault: Fault) {
        self.shared.lock().schedule.add(fault);
    }

    /// Puts a fault on all connections that are open, and counts bytes from now. Its own counts of
    /// connections are ignored. A fault of the handshake does nothing where CONNECT has come.
    #[expect(clippy::needless_pass_by_value, reason = "as `inject` takes it")]
    pub fn inject_now(&self, fault: Fault) {
        self.shared.run(|state, _| state.inject_now(&fault));
    }

    /// Takes all faults from all connections, open or to come: what is delayed is sent. A handshake
    /// that stalls, and a connection on which an answer was short, stay as they are.
    pub fn clear_faults(&self) {
        self.shared.run(|state, _| state.clear_faults());
    }

    /// Closes the listener: when it returns, connections are refused, until
    /// [`accept_connections`](Self::accept_connections). Those that are open stay. Does nothing when
    /// it is closed.
    pub fn refuse_connections(&self) {
        self.threads.refuse(&self.shared);
    }

    /// Listens again at the same address. Does nothing when it listens.
    ///
    /// # Errors
    /// The operating system's error; `NotConnected` after [`stop`](Self::stop).
    pub fn accept_connections(&self) -> Result<()> {
        self.threads.listen(&self.shared)
    }

    /// Cuts all connections. The broker keeps its sessions.
    pub fn cut(&self) {
        self.shared.run(State::cut_all);
    }

    /// Does what a crash and a new start of the broker do: all connections are cut, and what it
    /// remembers is up to `memory`. It does not stop listening; see
    /// [`refuse_connections`](Self::refuse_connections).
    pub fn restart(&self, memory: Memory) {
        self.shared.run(|state, now| state.restart(now, memory));
    }

    /// Discards the sessions of all clients that are not connected, and of the others as soon as they
    /// disconnect.
    pub fn forget_sessions(&self) {
        self.shared
            .run(|state, now| state.broker.forget_sessions(now));
    }

    /// Disconnects a client; one of MQTT 5 is sent the reason. Returns whether it was connected.
    pub fn disconnect(&self, client_identifier: &str, reason: DisconnectReasonCode) -> bool {
        self.shared.run(|state, now| {
            let connection = state.broker.connection_of(client_identifier);
            if let Some(connection) = connection {
                state.broker.disconnect(now, connection, reason);
            }
            connection.is_some()
        })
    }

    // ---- other commands

    /// Publishes a message as the broker itself, with the QoS and the RETAIN flag of `publish`; its
    /// packet identifier is not used. Returns whether any client has subscribed to it.
    pub fn publish(&self, publish: PublishRef<'_>) -> bool {
        self.shared
            .run(|state, now| state.broker.publish(now, publish))
    }

    /// Changes how the broker behaves from now on. The limits that a client got in its CONNACK hold
    /// until it connects again.
    pub fn configure(&self, config: BrokerConfig) {
        let config = config.record_events(true);
        self.shared.run(|state, _| state.broker.configure(config));
    }

    /// Lets this time pass for the broker at once: keep alive, session expiry, delays of wills,
    /// faults that wait. What that brings about is done when this returns, but for bytes that are on
    /// their way. The time limits of waits are of real time.
    pub fn advance(&self, by: Duration) {
        self.shared.run(|state, now| state.advance(now, by));
    }

    /// Stops: connections are cut, waits fail, and nobody listens. When it returns, all of its threads
    /// have ended. Does nothing when it has stopped. Getters go on to return what was.
    pub fn stop(&self) {
        self.threads.stop(&self.shared);
    }

    // ---- waits

    /// Waits until a client of this identifier is connected.
    pub fn wait_for_client(&self, client_identifier: &str) -> Wait<()> {
        let what = format!("client `{client_identifier}` to connect");
        let client_identifier = client_identifier.to_owned();
        let find = move |state: &State| {
            let connection = state.broker.connection_of(&client_identifier);
            connection.map(|_| ())
        };
        Wait::new(&self.shared, what, Ok(find))
    }

    /// Waits until no client of this identifier is connected.
    pub fn wait_for_disconnect(&self, client_identifier: &str) -> Wait<()> {
        let what = format!("client `{client_identifier}` to disconnect");
        let client_identifier = client_identifier.to_owned();
        let find = move |state: &State| {
            let connection = state.broker.connection_of(&client_identifier);
            connection.is_none().then_some(())
        };
        Wait::new(&self.shared, what, Ok(find))
    }

    /// Waits until this number of connections were opened since the start, open or not, and whether
    /// or not a CONNECT came.
    pub fn wait_for_connections(&self, count: usize) -> Wait<()> {
        let find = move |state: &State| (state.conversations.len() >= count).then_some(());
        Wait::new(&self.shared, format!("{count} connections"), Ok(find))
    }

    /// Waits until a session has subscribed to exactly this topic filter. From then on the broker
    /// sends it what is published there.
    pub fn wait_for_subscription(&self, filter: &str) -> Wait<()> {
        let what = format!("a subscription to `{filter}`");
        let find = TopicFilter::new(filter)
            .map(|filter| move |state: &State| state.broker.is_subscribed(&filter).then_some(()));
        Wait::new(&self.shared, what, find)
    }

    /// Waits until the broker has accepted a message whose topic matches this filter, and returns the
    /// first one since the start.
    pub fn wait_for_message(&self, filter: &str) -> Wait<Publish> {
        let what = format!("a message to `{filter}`");
        let find = TopicFilter::new(filter).map(|filter| {
            move |state: &State| {
                let mut messages = state.messages.iter();
                messages
                    .find(|message| filter.matches(message.topic()))
                    .cloned()
            }
        });
        Wait::new(&self.shared, what, find)
    }

    /// Waits until the broker has accepted this number of messages whose topics match this filter, and
    /// returns the first ones since the start, in their order. `#` matches all but those of `$SYS`.
    pub fn wait_for_messages(&self, filter: &str, count: usize) -> Wait<Vec<Publish>> {
        let what = format!("{count} messages to `{filter}`");
        let find = TopicFilter::new(filter).map(|filter| {
            move |state: &State| {
                let messages = state.messages.iter();
                let matching = messages.filter(|message| filter.matches(message.topic()));
                let matching: Vec<Publish> = matching.take(count).cloned().collect();
                (matching.len() == count).then_some(matching)
            }
        });
        Wait::new(&self.shared, what, find)
    }

    /// Waits until this number of packets of this type were sent in this direction, on all connections
    /// since the start, and returns the first ones.
    pub fn wait_for_packets(
        &self,
        direction: Direction,
        packet_type: PacketType,
        count: usize,
    ) -> Wait<Vec<Packet>> {
        let whose = match direction {
            Direction::FromClient => "from clients",
            Direction::ToClient => "to clients",
        };
        let find = move |state: &State| {
            let conversations = state.conversations.iter();
            let packets = conversations.flat_map(|conversation| conversation.directed(direction));
            let matching = packets.filter(|packet| packet.packet_type() == packet_type);
            let matching: Vec<Packet> = matching.take(count).cloned().collect();
            (matching.len() == count).then_some(matching)
        };
        let what = format!("{count} {packet_type} packets {whose}");
        Wait::new(&self.shared, what, Ok(find))
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.stop();
    }
}
