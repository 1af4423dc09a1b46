//! gneiss-mqtt, its client for tokio. Each publish is a future; 100 of them are kept.

use super::inbox::Inbox;
use super::{OTHER_TLS, Peer, in_tasks};
use crate::client::Job;
use crate::control::Done;
use crate::messages::{Outgoing, Tally};
use crate::scenario::{Scenario, TOPIC, WINDOW};
use gneiss_mqtt::client::config::{ConnectOptions, MqttClientOptions, ProtocolMode};
use gneiss_mqtt::client::{
    AsyncClient, AsyncClientHandle, AsyncPublishResult, ClientEvent, TokioClientBuilder,
};
use gneiss_mqtt::mqtt::{PublishPacket, QualityOfService, SubscribePacket};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

pub struct Gneiss {
    client: AsyncClientHandle,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    inbox: Inbox,
    connected: Notify,
    stopped: Notify,
}

fn level(qos: u8) -> QualityOfService {
    [
        QualityOfService::AtMostOnce,
        QualityOfService::AtLeastOnce,
        QualityOfService::ExactlyOnce,
    ][usize::from(qos)]
}

fn packet(qos: u8, payload: Vec<u8>) -> PublishPacket {
    PublishPacket::builder(TOPIC.to_owned(), level(qos))
        .with_payload(payload)
        .build()
}

/// Publishes with a window, until all are acknowledged.
async fn publish(
    client: &AsyncClientHandle,
    qos: u8,
    size: usize,
    payloads: impl Iterator<Item = Vec<u8>>,
) {
    let mut window = VecDeque::<AsyncPublishResult>::with_capacity(size);
    for payload in payloads {
        if window.len() == size {
            let oldest = window.pop_front().expect("a publish");
            oldest.await.expect("an acknowledgement");
        }
        window.push_back(client.publish(packet(qos, payload), None));
    }
    for publish in window {
        publish.await.expect("an acknowledgement");
    }
}

impl Gneiss {
    /// A client that connects in the background.
    fn start(job: &Job, id: &str) -> Self {
        let mode = ProtocolMode::Mqtt311;
        let client = TokioClientBuilder::new("127.0.0.1", job.port)
            .with_connect_options(ConnectOptions::builder().with_client_id(id).build())
            .with_client_options(
                MqttClientOptions::builder()
                    .with_protocol_mode(mode)
                    .build(),
            )
            .build()
            .expect("a client");
        let shared = Arc::<Shared>::default();
        let ours = shared.clone();
        let listener = move |event: Arc<ClientEvent>| match &*event {
            ClientEvent::PublishReceived(event) => {
                ours.inbox.add(event.publish.payload().unwrap_or_default());
            }
            ClientEvent::ConnectionSuccess(_) => ours.connected.notify_one(),
            ClientEvent::Stopped(_) => ours.stopped.notify_one(),
            _ => {}
        };
        client.start(Some(Arc::new(listener))).expect("a client");
        Self { client, shared }
    }
}

impl Peer for Gneiss {
    fn lacks(scenario: Scenario) -> Option<&'static str> {
        match scenario {
            Scenario::LateReader => Some("its callbacks cannot wait"),
            Scenario::ConnectTls => Some(OTHER_TLS),
            _ => None,
        }
    }

    async fn connect(job: &Job, id: &str) -> Self {
        let peer = Self::start(job, id);
        peer.shared.connected.notified().await;
        peer
    }

    async fn publish(&mut self, messages: Outgoing, done: Done) {
        self.publish_batch(messages).await;
        done.await.expect("a server");
    }

    async fn publish_batch(&mut self, batch: Outgoing) {
        publish(&self.client, batch.qos, WINDOW, batch.payloads()).await;
    }

    async fn publish_offline(
        job: &Job,
        messages: Outgoing,
        queued: impl FnOnce(),
        done: Done,
    ) -> Self {
        let peer = Self::start(job, "bench");
        for payload in messages.payloads() {
            // It is sent whether or not the future is polled.
            drop(peer.client.publish(packet(messages.qos, payload), None));
        }
        queued();
        done.await.expect("a server");
        peer
    }

    async fn publish_from_threads(&mut self, messages: Outgoing, threads: usize, done: Done) {
        let mut tasks = Vec::new();
        for task in 0..threads {
            let (client, payloads) = (self.client.clone(), messages.part(task, threads));
            let window = WINDOW / threads;
            tasks.push(tokio::spawn(async move {
                publish(&client, messages.qos, window, payloads).await;
            }));
        }
        for task in tasks {
            task.await.expect("a task that did not panic");
        }
        done.await.expect("a server");
    }

    async fn publish_awaited(&mut self, messages: Outgoing, tasks: usize) {
        in_tasks!(
            tokio::spawn,
            messages,
            tasks,
            self.client,
            |client, payload| {
                let publish = client.publish(packet(1, payload), None);
                publish.await.expect("an acknowledgement");
            }
        );
    }

    async fn subscribe(&mut self, filters: Vec<String>, qos: u8) {
        // What goes beyond 4 KiB of a packet is not written until the next.
        for part in filters.chunks(100) {
            let builder = part
                .iter()
                .fold(SubscribePacket::builder(), |builder, filter| {
                    builder.with_subscription_simple(filter.clone(), level(qos))
                });
            let subscribe = self.client.subscribe(builder.build(), None);
            subscribe.await.expect("a subscription");
        }
    }

    async fn receive(&mut self, n: usize, _: Duration) -> Tally {
        self.shared.inbox.until(n as u64).await
    }

    async fn ping(&mut self, payload: Vec<u8>) {
        let next = self.shared.inbox.tally().count + 1;
        // It is sent whether or not the future is polled.
        drop(self.client.publish(packet(0, payload), None));
        self.shared.inbox.until(next).await;
    }

    async fn disconnect(self) {
        self.client.stop(None).expect("a client");
        self.shared.stopped.notified().await;
        self.client.close().expect("a client");
    }
}
