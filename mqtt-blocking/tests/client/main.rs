//! The client against the embedded broker: its own methods, and how it ends.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]

mod callbacks;
mod ending;
mod hostile;
mod messages;
mod waiting;

use martlet_blocking::hooks::Observer;
use martlet_blocking::proto::Packet;
use martlet_blocking::session::Instant;
use martlet_blocking::{Builder, Client, Reconnect, wait_for};
use martlet_broker::{BrokerConfig, BrokerEvent};
use martlet_tests::server::{Setup, TestServer};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Much longer than any of this takes: what hangs fails.
const LONG: Duration = Duration::from_secs(60);

/// Runs the test on a thread of its own, and fails when it hangs.
fn in_time(test: impl FnOnce() + Send + 'static) {
    let (running, ended) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _running = running;
        test();
    });
    assert_eq!(
        ended.recv_timeout(LONG),
        Err(RecvTimeoutError::Disconnected),
        "this takes too long"
    );
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn serve(setup: Setup) -> TestServer {
    wait_for(TestServer::start(setup)).unwrap()
}

fn recording() -> TestServer {
    serve(Setup::tcp().broker(BrokerConfig::default().record_events(true)))
}

/// What the broker has recorded.
fn events(server: &TestServer) -> Vec<BrokerEvent> {
    wait_for(server.events()).unwrap()
}

/// The payloads of the messages that clients have published.
fn accepted(events: &[BrokerEvent]) -> Vec<String> {
    let accepted = events.iter().filter_map(|event| match event {
        BrokerEvent::Accepted {
            client_identifier: Some(_),
            publish,
        } => Some(String::from_utf8(publish.payload_bytes().to_vec()).unwrap()),
        _ => None,
    });
    accepted.collect()
}

/// A client that reconnects soon.
fn builder(server: &TestServer) -> Builder {
    Client::builder(server.uri()).reconnect(
        Reconnect::default()
            .initial(Duration::from_millis(10))
            .max(Duration::from_millis(50)),
    )
}

type OnPacket = dyn FnMut(&Packet) + Send;

/// Calls a function with each packet that comes, on the client's thread.
#[derive(Clone)]
struct Receives(Arc<Mutex<Box<OnPacket>>>);

impl Receives {
    fn new(on_packet: impl FnMut(&Packet) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(on_packet))))
    }
}

impl Observer for Receives {
    fn packet_sent(&mut self, _: Instant, _: &Packet) {}

    fn packet_received(&mut self, _: Instant, packet: &Packet) {
        (*self.0.lock().unwrap())(packet);
    }
}

/// An observer that looks at nothing, and what ends with it: the client's thread drops it last.
fn watched() -> (Receives, mpsc::Receiver<()>) {
    let (alive, ended) = mpsc::channel();
    let observer = Receives::new(move |_| {
        let _ = &alive;
    });
    (observer, ended)
}

/// Blocks until the thread of a client with that observer has ended.
fn until_ended(ended: &mpsc::Receiver<()>) {
    assert!(ended.recv().is_err());
}

fn has_ended(ended: &mpsc::Receiver<()>) -> bool {
    ended.try_recv() == Err(mpsc::TryRecvError::Disconnected)
}
