//! From MQTT to JetStream: what JetStream has confirmed is acknowledged to the MQTT server.

use crate::Error;
use crate::cluster::{PLANT, store};
use crate::names::{escape, subject};
use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesOrdered};
use martlet_tokio::client::{Acknowledger, Position, PositionError, Positioned};
use martlet_tokio::{Client, QoS};

/// All bridge processes with this share name divide the messages between them.
const GROUP: &str = "bridge";
const TOPICS: &str = "plant/#";
/// The user property in which a producer identifies its message. It survives whatever happens to a bridge.
pub const ID: &str = "id";

/// Runs until the client disconnects.
///
/// # Errors
/// When the MQTT server rejects the subscription.
pub async fn run(client: &Client, jetstream: &Context) -> Result<(), Error> {
    let messages = client
        .subscribe_shared(GROUP, TOPICS)
        .qos(QoS::AtLeastOnce)
        .await?;
    println!("subscribed");
    let mut messages = messages.acknowledge_by_position();
    let acknowledger = messages.acknowledger();
    // As many as the Receive Maximum are on their way to JetStream; their results come in the order of the messages.
    let mut storing = FuturesOrdered::new();
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => storing.push_back(forward(jetstream, message)),
                None => return Ok(()),
            },
            Some(mut stored) = storing.next() => {
                while let Some(Some(next)) = storing.next().now_or_never() {
                    stored = next; // one call for all that are stored by now
                }
                acknowledge(&acknowledger, stored)?;
            }
        }
    }
}

/// Stores a message, and returns its position.
async fn forward(jetstream: &Context, message: Positioned) -> Position {
    let position = message.position();
    if message.duplicate() {
        println!("came again: {}", message.topic());
    }
    if message.earlier_position().is_some() {
        // It came on a connection that was lost. It is further ahead in the order, so it is stored by the time
        // that this position is acknowledged.
        println!("dropped by its position: {}", message.topic());
        return position;
    }
    let id = message_id(&message);
    let subject = subject(message.topic());
    let outgoing = PublishMessage::build()
        .payload(message.payload_bytes())
        .message_id(&id)
        .expected_stream(PLANT);
    if store(jetstream, &subject, &outgoing).await.duplicate {
        println!("dropped by its id: {id}");
    }
    position
}

/// The `Nats-Msg-Id`: the same whenever the message comes again.
///
/// After SIGKILL only what is in the message is left of it: positions begin anew, and so do packet identifiers. So the
/// id is the producer's, together with the topic, for two producers may count alike. A hash of the payload would not
/// do: two readings of 21.5 are two messages.
///
/// A message without an id has its stream and position. That drops what this process publishes again because a
/// confirmation got lost. What comes again to another process is stored twice.
fn message_id(message: &Positioned) -> String {
    let mut properties = message.properties().user_properties();
    match properties.find(|(name, _)| *name == ID) {
        Some((_, id)) => format!("{}:{}", subject(message.topic()), escape(id)),
        None => format!("position:{:032x}", u128::from(message.position())),
    }
}

fn acknowledge(acknowledger: &Acknowledger, position: Position) -> Result<(), Error> {
    match acknowledger.acknowledge_up_to(position) {
        Ok(_) => Ok(()),
        // JetStream has it, and the server knows nothing of it any more.
        Err(PositionError::SessionLost) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
