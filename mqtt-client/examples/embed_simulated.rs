//! The client in a loop without any socket: the embedded broker and simulated time in one thread,
//! the same each time. The network carries a few bytes at a time, and breaks once; the client comes
//! back, and nothing is lost.
//!
//! ```text
//! cargo run --example embed_simulated
//! ```
#![allow(clippy::print_stdout)]

use bytes::BytesMut;
use martlet_broker::Broker;
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
    let mut broker = Broker::new(martlet_broker::BrokerConfig::default());
    begin(&mut client, Instant::EPOCH)?;
    let (mut arrived, mut settled) = (BTreeSet::new(), 0);
    let (mut connection, mut wire) = (None, BytesMut::new());
    let mut now = Duration::ZERO;
    let mut carried = 0;
    loop {
        let time = Instant::from_epoch(now);
        let mut moved = false;
        // Drain the client. What it writes goes to the broker.
        while let (Some(output), Some(id)) = (client.poll_wire(time), connection) {
            let chunk = output.chunk();
            let n = chunk.len().min(CHUNK);
            if (carried..carried + n).contains(&BREAKS_AFTER) {
                println!("{now:?}: the network breaks");
                broker.handle_close(now, id);
                connection = None;
                client.handle_eof(time, None);
            } else {
                wire.extend_from_slice(&chunk[..n]);
                broker.handle_input(now, id, &mut wire);
                client.handle_written(time, n);
            }
            carried += n;
        }
        if client.poll_shutdown(time) {
            connection
                .take()
                .into_iter()
                .for_each(|id| broker.handle_close(now, id));
            client.handle_eof(time, None);
        }
        if let Some(target) = client.poll_dial(time) {
            println!("{now:?}: to {}:{}", target.host(), target.port());
            connection = Some(broker.handle_open(now));
            wire.clear();
            client.handle_dialed(time);
            moved = true;
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
        if is_done || now > LONGEST {
            client
                .session_mut()
                .disconnect(time, DisconnectOptions::default());
        }
        if let Some(error) = client.stopped() {
            println!("{now:?}: {error}");
            return if is_done {
                Ok(())
            } else {
                Err("something is missing".into())
            };
        }
        // What the broker writes goes to the client.
        let mut output = BytesMut::new();
        if let Some(id) = connection {
            while broker.poll_transmit(now, id, &mut output) > 0 {}
        }
        for chunk in output.chunks(CHUNK) {
            client.handle_wire(time, chunk);
            moved = true;
        }
        if let Some(id) = broker.poll_close() {
            broker.handle_close(now, id);
            connection = None;
            client.handle_eof(time, None);
            moved = true;
        }
        // When nothing moves any more, time does.
        if !moved {
            let next = [
                client.poll_timeout().map(Instant::since_epoch),
                broker.poll_timeout(),
            ];
            now = now.max(
                next.into_iter()
                    .flatten()
                    .min()
                    .ok_or("nothing will happen any more")?,
            );
            client.handle_timeout(Instant::from_epoch(now));
            broker.handle_timeout(now);
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
