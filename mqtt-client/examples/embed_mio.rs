//! The client in an event loop of mio: one thread, a non-blocking socket, and room for what else
//! the loop does.
//!
//! ```text
//! cargo run --example embed_mio                            # against the embedded broker
//! cargo run --example embed_mio -- mqtt://127.0.0.1:1883   # against yours; ws works too
//! ```
#![allow(clippy::print_stdout)]

use martlet_client::proto::SubscribeFilter;
use martlet_client::session::{
    Config, DisconnectOptions, Event, OutgoingPublish, SubscribeRequest,
};
use martlet_client::{QoS, proto::PubAckReasonCode, session::Instant};
use martlet_client::{
    embedded::{Embedded, EmbeddedEvent, LinkConfig, Target},
    runtime::Clock,
    session::Session,
};
use martlet_tests::server::{Setup, TestServer};
use mio::{Events, Interest, Poll, Registry, Token, net::TcpStream};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, ToSocketAddrs};
use std::{collections::BTreeSet, error::Error, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(uri) = std::env::args().nth(1) {
        return run(&uri);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let server = runtime.block_on(TestServer::start(Setup::tcp()));
    run(&server.uri())
}

pub(crate) fn run(uri: &str) -> Result<(), Box<dyn Error>> {
    let config = Config::default().client_identifier("martlet-mio".try_into()?);
    let mut client = Embedded::new(Session::new(config), LinkConfig::new(uri.parse()?));
    let clock = Clock::default();
    begin(&mut client, clock.now())?;
    let mut application = Application::default();
    // So long all of it may take.
    let end = clock.now() + Duration::from_secs(30);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(16));
    let mut socket: Option<Socket> = None;
    loop {
        let now = clock.now();
        client.handle_timeout(now);
        let mut moved = false;
        if let Some(socket) = &mut socket {
            socket.finish_dial(&mut client, now)?;
            moved |= socket.read(&mut client, now);
            // Drain.
            socket.write(&mut client, now);
        }
        if let Some(target) = client.poll_dial(now) {
            moved = true;
            match Socket::dial(&target, poll.registry()) {
                Ok(dialed) => socket = Some(dialed),
                Err(error) => client.handle_dial_failed(now, error.into()),
            }
        }
        moved |= application.handle_events(&mut client)?;
        if application.is_done() || now > end {
            client
                .session_mut()
                .disconnect(now, DisconnectOptions::default());
        }
        if client.stopped().is_some() {
            return application.result();
        }
        socket = socket.filter(|_| client.wants_socket());
        if moved {
            continue;
        }
        // Wait for the socket or the time.
        let wait = client
            .poll_timeout()
            .unwrap_or(end)
            .saturating_duration_since(clock.now());
        match poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        if let Some(socket) = &mut socket {
            socket.readable |= events
                .iter()
                .any(|event| event.is_readable() || event.is_read_closed());
            socket.writable |= events.iter().any(mio::event::Event::is_writable);
        }
    }
}

/// A socket, and what mio has last said of it.
struct Socket {
    stream: TcpStream,
    is_open: bool,
    readable: bool,
    writable: bool,
    scratch: Vec<u8>,
}

impl Socket {
    /// Begins to connect. Looking up a name blocks: a loop with more to do leaves that to a thread,
    /// and tries more than one address.
    fn dial(target: &Target, registry: &Registry) -> io::Result<Self> {
        let mut addresses = (target.host(), target.port()).to_socket_addrs()?;
        let address = addresses.next().ok_or(ErrorKind::AddrNotAvailable)?;
        let mut stream = TcpStream::connect(address)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(0), both)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            is_open: false,
            readable: false,
            writable: false,
            scratch: vec![0; 16 * 1024],
        })
    }

    /// A new socket is open, or has failed, when it is writable.
    fn finish_dial(&mut self, client: &mut Embedded, now: Instant) -> io::Result<()> {
        if self.is_open || !self.writable {
            return Ok(());
        }
        match (self.stream.take_error()?, self.stream.peer_addr()) {
            (Some(error), _) => client.handle_dial_failed(now, error.into()),
            (None, Ok(_)) => {
                self.is_open = true;
                client.handle_dialed(now);
            }
            (None, Err(_)) => self.writable = false,
        }
        Ok(())
    }

    /// Reads once, if the client wants to. Returns whether it did.
    fn read(&mut self, client: &mut Embedded, now: Instant) -> bool {
        if !self.is_open || !self.readable || !client.wants_wire() {
            return false;
        }
        match self.stream.read(&mut self.scratch) {
            Ok(0) => client.handle_eof(now, None),
            Ok(n) => client.handle_wire(now, &self.scratch[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
            Err(error) => client.handle_eof(now, Some(error.into())),
        }
        true
    }

    /// Writes what the client has for the server, until the socket is full.
    fn write(&mut self, client: &mut Embedded, now: Instant) {
        while let Some(output) = client.poll_wire(now).filter(|_| self.writable) {
            let mut slices = [IoSlice::new(&[]); 8];
            let used = output.chunks_vectored(&mut slices);
            match self.stream.write_vectored(&slices[..used]) {
                Ok(n) => client.handle_written(now, n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) => client.handle_eof(now, Some(error.into())),
            }
        }
        if client.poll_shutdown(now) {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }
}

/// What the application waits for.
#[derive(Default)]
struct Application {
    /// The payloads of the messages that have arrived.
    arrived: BTreeSet<Vec<u8>>,
    /// How many messages the server has acknowledged.
    acknowledged: usize,
}

impl Application {
    /// Handles all events. Returns whether there were any.
    fn handle_events(&mut self, client: &mut Embedded) -> Result<bool, Box<dyn Error>> {
        let mut handled = false;
        while let Some(event) = client.poll_event() {
            handled = true;
            match event {
                EmbeddedEvent::Session(Event::Message(message)) => {
                    let payload = message.publish.payload();
                    println!(
                        "received: {} => {}",
                        message.topic(),
                        String::from_utf8_lossy(payload)
                    );
                    self.arrived.insert(payload.to_vec());
                    client
                        .session_mut()
                        .acknowledge(message.token, PubAckReasonCode::Success);
                }
                EmbeddedEvent::Session(Event::Published { result, .. }) => {
                    println!("published: {}", result?.reason);
                    self.acknowledged += 1;
                }
                EmbeddedEvent::Link(event) => println!("{event:?}"),
                _ => {}
            }
        }
        Ok(handled)
    }

    fn is_done(&self) -> bool {
        self.arrived.len() == 3 && self.acknowledged == 3
    }

    fn result(&self) -> Result<(), Box<dyn Error>> {
        let missing = || "something is missing".into();
        self.is_done().then_some(()).ok_or_else(missing)
    }
}

/// Subscribes, and publishes once with each QoS; all of it waits in the session for a connection.
fn begin(client: &mut Embedded, now: Instant) -> Result<(), Box<dyn Error>> {
    let subscriptions = vec![SubscribeFilter::new(
        "martlet/embedded".try_into()?,
        QoS::ExactlyOnce,
    )];
    client
        .session_mut()
        .subscribe(now, SubscribeRequest::new(subscriptions))?;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let message =
            OutgoingPublish::new("martlet/embedded".try_into()?, format!("hello with {qos}"));
        client
            .session_mut()
            .publish(now, message.qos(qos).key(Some(0)))?;
    }
    Ok(())
}
