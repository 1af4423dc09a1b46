//! From JetStream to MQTT: what the MQTT server has acknowledged is acknowledged to JetStream.

use crate::Error;
use crate::cluster::{COMMANDS, RETRY, at_start, stream};
use crate::names::topic;
use crate::to_jetstream::ID;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::{AckKind, Context, Message};
use futures_util::StreamExt as _;
use martlet_tokio::client::OutgoingPublish;
use martlet_tokio::{Client, PublishProperties, QoS, TopicName};
use std::time::Duration;

/// The consumer that all bridge processes pull from.
const CONSUMER: &str = "mqtt";
/// How long JetStream waits for an acknowledgement before it gives the message to another bridge process. A message
/// that takes longer, because the MQTT server is away, reaches it twice.
const ACK_WAIT: Duration = Duration::from_secs(10);
const BATCH: usize = 500;
/// How long JetStream waits for a message before it answers that there is none.
const PULL_WAIT: Duration = Duration::from_millis(500);

/// The durable consumer; made if it is not there.
///
/// # Errors
/// When the cluster does not make it.
pub async fn consumer(jetstream: &Context) -> Result<PullConsumer, Error> {
    let stream = stream(jetstream, COMMANDS).await?;
    let config = Config {
        durable_name: Some(CONSUMER.to_owned()),
        ack_wait: ACK_WAIT,
        ..Config::default()
    };
    at_start(CONSUMER, async || {
        Ok(stream
            .get_or_create_consumer(CONSUMER, config.clone())
            .await?)
    })
    .await
}

/// Runs until it is dropped.
pub async fn run(client: &Client, consumer: &PullConsumer) {
    loop {
        if let Err(error) = pass_on(client, consumer).await {
            // What was not acknowledged comes again after `ACK_WAIT`.
            eprintln!("{COMMANDS}: {error}; again in {RETRY:?}");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// One batch.
async fn pass_on(client: &Client, consumer: &PullConsumer) -> Result<(), Error> {
    let mut pulled = consumer
        .batch()
        .max_messages(BATCH)
        .expires(PULL_WAIT)
        .messages()
        .await?;
    let (mut batch, mut outgoing) = (Vec::new(), Vec::new());
    while let Some(message) = pulled.next().await {
        let message = message?;
        match publish_of(&message) {
            Ok(publish) => {
                outgoing.push(publish);
                batch.push(message);
            }
            Err(error) => {
                eprintln!("{}: no message of MQTT: {error}", message.subject);
                message.ack_with(AckKind::Term).await?; // it would never be one
            }
        }
    }
    let mut receipt = client.publish_all(outgoing).enqueue().await?;
    let result = (&mut receipt).await;
    // Also when one has failed: those before it are with the MQTT server.
    for message in &batch[..receipt.acknowledged()] {
        message.ack().await?;
    }
    Ok(result?)
}

/// The same message for MQTT. A receiver recognises a repeat by its id: stream and sequence number.
fn publish_of(message: &Message) -> Result<OutgoingPublish, Error> {
    let topic = topic(&message.subject).ok_or("its subject is not one of a topic")?;
    let id = format!("{COMMANDS}:{}", message.info()?.stream_sequence);
    let properties = PublishProperties::builder().try_user_property(ID, &id)?;
    Ok(
        OutgoingPublish::new(TopicName::new(&topic)?, message.payload.clone())
            .qos(QoS::AtLeastOnce)
            .properties(properties.build()),
    )
}
