//! The client in a loop without any socket: the embedded broker and simulated time in one thread,
//! the same each time. The network carries a few bytes at a time, and breaks once; the client comes
//! back, and nothing is lost.
//!
//! ```text
//! cargo run --example embed_simulated
//! ```
#![allow(clippy::print_stdout)]

use bytes::BytesMut;
use martlet_broker::{Broker, ConnectionId};
use martlet_client::proto::SubscribeFilter;
use martlet_client::session::{
    Config, DisconnectOptions, Event, OutgoingPublish, SubscribeRequest,
};
use martlet_client::{
    QoS,
    embedded::{Embedded, EmbeddedEvent, LinkConfig},
    proto::PubAckReasonCode,
    session::{Instant, Session},
};
use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

/// How many bytes the network carries at a time.
const CHUNK: usize = 16;
/// After how many bytes of the client's it breaks: among the acknowledgements.
const BREAKS_AFTER: usize = 157;
/// How long all of it may take.
const LONGEST: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::default().client_identifier("simulated".try_into()?);
    // The waits between attempts are random, and with this seed the same each time.
    let link = LinkConfig::new("mqtt://broker.example".parse()?).seed(7);
    let mut client = Embedded::new(Session::new(config), link);
    begin(&mut client, Instant::EPOCH)?;
    let mut application = Application::default();
    let mut network = Network::new();
    let mut now = Duration::ZERO;
    loop {
        let time = Instant::from_epoch(now);
        // Drain the client.
        network.carry_to_broker(&mut client, now);
        let mut moved = network.dial(&mut client, now);
        moved |= application.handle_events(&mut client)?;
        if application.is_done() || now > LONGEST {
            client
                .session_mut()
                .disconnect(time, DisconnectOptions::default());
        }
        if let Some(error) = client.stopped() {
            println!("{now:?}: {error}");
            return application.result();
        }
        moved |= network.carry_to_client(&mut client, now);
        // When nothing moves any more, time does.
        if !moved {
            let next = [
                client.poll_timeout().map(Instant::since_epoch),
                network.broker.poll_timeout(),
            ];
            let next = next.into_iter().flatten().min();
            now = now.max(next.ok_or("nothing will happen any more")?);
            client.handle_timeout(Instant::from_epoch(now));
            network.broker.handle_timeout(now);
        }
    }
}

/// The network, and the broker behind it.
struct Network {
    broker: Broker,
    connection: Option<ConnectionId>,
    /// What the broker has not read yet.
    wire: BytesMut,
    /// How many bytes the client has sent.
    carried: usize,
}

impl Network {
    fn new() -> Self {
        Self {
            broker: Broker::new(martlet_broker::BrokerConfig::default()),
            connection: None,
            wire: BytesMut::new(),
            carried: 0,
        }
    }

    /// Opens a connection if the client wants one. Returns whether it did.
    fn dial(&mut self, client: &mut Embedded, now: Duration) -> bool {
        let time = Instant::from_epoch(now);
        let Some(target) = client.poll_dial(time) else {
            return false;
        };
        println!("{now:?}: to {}:{}", target.host(), target.port());
        self.connection = Some(self.broker.handle_open(now));
        self.wire.clear();
        client.handle_dialed(time);
        true
    }

    /// Ends the connection at both ends.
    fn cut(&mut self, client: &mut Embedded, now: Duration) {
        if let Some(id) = self.connection.take() {
            self.broker.handle_close(now, id);
        }
        client.handle_eof(Instant::from_epoch(now), None);
    }

    fn carry_to_broker(&mut self, client: &mut Embedded, now: Duration) {
        let time = Instant::from_epoch(now);
        while let (Some(output), Some(id)) = (client.poll_wire(time), self.connection) {
            let chunk = output.chunk();
            let n = chunk.len().min(CHUNK);
            let breaks = (self.carried..self.carried + n).contains(&BREAKS_AFTER);
            self.carried += n;
            if breaks {
                println!("{now:?}: the network breaks");
                self.cut(client, now);
            } else {
                self.wire.extend_from_slice(&chunk[..n]);
                self.broker.handle_input(now, id, &mut self.wire);
                client.handle_written(time, n);
            }
        }
        if client.poll_shutdown(time) {
            self.cut(client, now);
        }
    }

    /// Returns whether there was anything to carry.
    fn carry_to_client(&mut self, client: &mut Embedded, now: Duration) -> bool {
        let mut output = BytesMut::new();
        if let Some(id) = self.connection {
            while self.broker.poll_transmit(now, id, &mut output) > 0 {}
        }
        for chunk in output.chunks(CHUNK) {
            client.handle_wire(Instant::from_epoch(now), chunk);
        }
        let has_closed = self.broker.poll_close().is_some();
        if has_closed {
            self.cut(client, now);
        }
        has_closed || !output.is_empty()
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
