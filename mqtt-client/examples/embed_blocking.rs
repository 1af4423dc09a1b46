//! The client in a blocking loop: one thread, a socket of `std`, TLS. It waits in `read`, no longer
//! than the client has time.
//!
//! ```text
//! cargo run --example embed_blocking                            # with TLS, against the embedded broker
//! cargo run --example embed_blocking -- mqtts://broker.example  # against yours; mqtt, ws and wss work too
//! ```
#![allow(clippy::print_stdout)]

use martlet_client::proto::SubscribeFilter;
use martlet_client::session::{
    Config, DisconnectOptions, Event, OutgoingPublish, SubscribeRequest,
};
use martlet_client::{QoS, proto::PubAckReasonCode, session::Instant};
use martlet_client::{
    Trust,
    embedded::{Embedded, EmbeddedEvent, LinkConfig, Target},
    runtime::Clock,
    session::Session,
};
use martlet_tests::certificates::Certificates;
use martlet_tests::server::{Setup, TestServer};
use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a write may wait for a socket that is full; then it is read in between.
const WRITE: Duration = Duration::from_millis(50);
/// How long one address may take to answer, and any wait.
const LONGEST: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(uri) = std::env::args().nth(1) {
        return run(&uri, &Trust::new());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let server = runtime.block_on(TestServer::start(Setup::tls()));
    let authority = Certificates::shared().authority.pem.as_str();
    run(&server.uri_by_name(), &Trust::new().ca_pem(authority))
}

pub(crate) fn run(uri: &str, trust: &Trust) -> Result<(), Box<dyn Error>> {
    let config = Config::default().client_identifier("martlet-blocking".try_into()?);
    let link = LinkConfig::new(uri.parse()?).tls(trust.build()?);
    let mut client = Embedded::new(Session::new(config), link);
    let clock = Clock::default();
    begin(&mut client, clock.now())?;
    let mut application = Application::default();
    let mut socket: Option<Socket> = None;
    // So long all of it may take.
    let end = clock.now() + Duration::from_secs(30);
    loop {
        let now = clock.now();
        client.handle_timeout(now);
        // Drain.
        if let Some(socket) = &mut socket {
            socket.write(&mut client, now);
        }
        let mut moved = false;
        if let Some(target) = client.poll_dial(now) {
            moved = true;
            match Socket::dial(&target) {
                Ok(dialed) => {
                    socket = Some(dialed);
                    client.handle_dialed(clock.now());
                }
                Err(error) => client.handle_dial_failed(clock.now(), error.into()),
            }
        }
        moved |= application.handle_events(&mut client)?;
        if application.is_done() || now > end {
            client
                .session_mut()
                .disconnect(now, DisconnectOptions::default());
        }
        if let Some(error) = client.stopped() {
            println!("{error}");
            return application.result();
        }
        if moved {
            continue;
        }
        // Wait for the socket or the time. A socket's timeout cannot be zero.
        let is_full = socket.as_ref().is_some_and(|socket| socket.is_full);
        let wait = client
            .poll_timeout()
            .map_or(LONGEST, |at| at.saturating_duration_since(clock.now()));
        let wait = wait.clamp(
            Duration::from_millis(1),
            if is_full { WRITE } else { LONGEST },
        );
        socket = socket.filter(|_| client.wants_socket());
        match socket.as_mut().filter(|_| client.wants_wire()) {
            Some(socket) => socket.read(&mut client, &clock, wait)?,
            None => std::thread::sleep(wait),
        }
    }
}

struct Socket {
    stream: TcpStream,
    /// Whether the last write found no room.
    is_full: bool,
    scratch: Vec<u8>,
}

impl Socket {
    fn dial(target: &Target) -> io::Result<Self> {
        let mut result = Err(ErrorKind::AddrNotAvailable.into());
        for address in (target.host(), target.port()).to_socket_addrs()? {
            result = TcpStream::connect_timeout(&address, LONGEST);
            if result.is_ok() {
                break;
            }
        }
        let stream = result?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE))?;
        Ok(Self {
            stream,
            is_full: false,
            scratch: vec![0; 16 * 1024],
        })
    }

    /// Writes what the client has for the server, unless the socket is full.
    fn write(&mut self, client: &mut Embedded, now: Instant) {
        self.is_full = false;
        while let Some(output) = client.poll_wire(now).filter(|_| !self.is_full) {
            let mut slices = [IoSlice::new(&[]); 8];
            let used = output.chunks_vectored(&mut slices);
            match self.stream.write_vectored(&slices[..used]) {
                Ok(n) => client.handle_written(now, n),
                Err(error) if is_timeout(&error) => self.is_full = true,
                Err(error) => client.handle_eof(now, Some(error.into())),
            }
        }
        if client.poll_shutdown(now) {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// Reads what the server has sent, and waits for it no longer than this.
    fn read(&mut self, client: &mut Embedded, clock: &Clock, wait: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(wait))?;
        let read = self.stream.read(&mut self.scratch);
        let now = clock.now();
        match read {
            Ok(0) => client.handle_eof(now, None),
            Ok(n) => client.handle_wire(now, &self.scratch[..n]),
            Err(error) if is_timeout(&error) => {}
            Err(error) => client.handle_eof(now, Some(error.into())),
        }
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
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
