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
    embedded::{Embedded, EmbeddedEvent, LinkConfig},
    runtime::StdClock,
    session::Session,
};
use martlet_tests::server::{Setup, TestServer};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use std::io::{ErrorKind, IoSlice, Read, Write};
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

/// A socket, and what mio has last said of it.
struct Socket {
    stream: TcpStream,
    is_open: bool,
    readable: bool,
    writable: bool,
}

pub(crate) fn run(uri: &str) -> Result<(), Box<dyn Error>> {
    let config = Config::default().client_identifier("martlet-mio".try_into()?);
    let mut client = Embedded::new(Session::new(config), LinkConfig::new(uri.parse()?));
    begin(&mut client, StdClock::now())?;
    let (mut arrived, mut settled) = (BTreeSet::new(), 0);
    // So long all of it may take.
    let end = StdClock::now() + Duration::from_secs(30);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(16));
    let (mut socket, mut scratch) = (None::<Socket>, vec![0; 16 * 1024]);
    loop {
        let now = StdClock::now();
        client.handle_timeout(now);
        let mut moved = false;
        if let Some(socket) = &mut socket {
            // A new socket is open, or has failed, when it is writable.
            if !socket.is_open && socket.writable {
                match (socket.stream.take_error()?, socket.stream.peer_addr()) {
                    (Some(error), _) => client.handle_dial_failed(now, error.into()),
                    (None, Ok(_)) => {
                        socket.is_open = true;
                        client.handle_dialed(now);
                    }
                    (None, Err(_)) => socket.writable = false,
                }
            }
            if socket.is_open && socket.readable && client.wants_wire() {
                moved = true;
                match socket.stream.read(&mut scratch) {
                    Ok(0) => client.handle_eof(now, None),
                    Ok(n) => client.handle_wire(now, &scratch[..n]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => socket.readable = false,
                    Err(error) => client.handle_eof(now, Some(error.into())),
                }
            }
            // Drain.
            while let Some(output) = client.poll_wire(now).filter(|_| socket.writable) {
                let mut slices = [IoSlice::new(&[]); 8];
                let used = output.chunks_vectored(&mut slices);
                match socket.stream.write_vectored(&slices[..used]) {
                    Ok(n) => client.handle_written(now, n),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => socket.writable = false,
                    Err(error) => client.handle_eof(now, Some(error.into())),
                }
            }
            if client.poll_shutdown(now) {
                let _ = socket.stream.shutdown(Shutdown::Write);
            }
        }
        if let Some(target) = client.poll_dial(now) {
            moved = true;
            // Looking up a name blocks: a loop with more to do leaves that to a thread, and tries
            // more than one address.
            let address = (target.host(), target.port())
                .to_socket_addrs()
                .map(|mut all| all.next());
            let address = address.and_then(|first| first.ok_or(ErrorKind::AddrNotAvailable.into()));
            match address.and_then(TcpStream::connect) {
                Ok(mut stream) => {
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(0), both)?;
                    stream.set_nodelay(true)?;
                    socket = Some(Socket {
                        stream,
                        is_open: false,
                        readable: false,
                        writable: false,
                    });
                }
                Err(error) => client.handle_dial_failed(now, error.into()),
            }
        }
        while let Some(event) = client.poll_event() {
            moved = true;
            match event {
                EmbeddedEvent::Session(Event::Message(message)) => {
                    let payload = message.publish.payload();
                    println!(
                        "received: {} => {}",
                        message.topic(),
                        String::from_utf8_lossy(payload)
                    );
                    arrived.insert(payload.to_vec());
                    client
                        .session_mut()
                        .acknowledge(message.token, PubAckReasonCode::Success);
                }
                EmbeddedEvent::Session(Event::Published { result, .. }) => {
                    println!("published: {}", result?.reason);
                    settled += 1;
                }
                EmbeddedEvent::Link(event) => println!("{event:?}"),
                _ => {}
            }
        }
        let is_done = arrived.len() == 3 && settled == 3;
        if is_done || now > end {
            client
                .session_mut()
                .disconnect(now, DisconnectOptions::default());
        }
        if client.stopped().is_some() {
            return if is_done {
                Ok(())
            } else {
                Err("something is missing".into())
            };
        }
        socket = socket.filter(|_| client.wants_socket());
        if moved {
            continue;
        }
        // Wait for the socket or the time.
        let wait = client
            .poll_timeout()
            .unwrap_or(end)
            .saturating_duration_since(StdClock::now());
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
