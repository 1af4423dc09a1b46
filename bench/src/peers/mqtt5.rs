//! mqtt5. A publish of QoS 1 or 2 is a future that waits for its acknowledgement, so a window of 100
//! is 100 tasks; messages come by callback.

use super::inbox::Inbox;
use super::{IDENTIFIERS, Peer, in_tasks};
use crate::client::Job;
use crate::control::Done;
use crate::messages::{Outgoing, Tally};
use crate::scenario::{Scenario, TOPIC, WINDOW};
use crate::tls::Trusted;
use mqtt5::transport::tls::TlsConfig;
use mqtt5::{ConnectOptions, MqttClient, ProtocolVersion, QoS, SubscribeOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub struct Mqtt5 {
    client: MqttClient,
    inbox: Arc<Inbox>,
}

fn level(qos: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)]
}

fn tls(port: u16, trusted: &Trusted) -> TlsConfig {
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    let mut config = TlsConfig::new(server, "127.0.0.1").with_system_roots(false);
    let loaded = config.load_ca_cert_pem_bytes(trusted.pem.as_bytes());
    loaded.expect("a certificate");
    config
}

impl Mqtt5 {
    /// Publishes from tasks, each of which waits for each acknowledgement.
    async fn publish_from(&self, messages: Outgoing, tasks: usize) {
        let qos = level(messages.qos);
        in_tasks!(
            tokio::spawn,
            messages,
            tasks,
            self.client,
            |client, payload| {
                let publish = client.publish_qos(TOPIC, payload, qos);
                publish.await.expect("an acknowledgement");
            }
        );
    }
}

impl Peer for Mqtt5 {
    fn lacks(scenario: Scenario) -> Option<&'static str> {
        match scenario {
            Scenario::LateReader => Some("its callbacks cannot wait"),
            Scenario::Offline => Some(IDENTIFIERS),
            _ => None,
        }
    }

    async fn connect(job: &Job, id: &str) -> Self {
        let options = ConnectOptions::new(id).with_protocol_version(ProtocolVersion::V311);
        let client = MqttClient::with_options(options);
        let connected = match job.tls {
            None => {
                client
                    .connect(&format!("mqtt://127.0.0.1:{}", job.port))
                    .await
            }
            Some(trusted) => client.connect_with_tls(tls(job.port, trusted)).await,
        };
        connected.expect("a connection");
        Self {
            client,
            inbox: Arc::default(),
        }
    }

    async fn publish(&mut self, messages: Outgoing, done: Done) {
        if messages.qos == 0 {
            for payload in messages.payloads() {
                let publish = self.client.publish_qos(TOPIC, payload, QoS::AtMostOnce);
                publish.await.expect("a publish");
            }
        } else {
            self.publish_from(messages, WINDOW).await;
        }
        done.await.expect("a server");
    }

    async fn publish_batch(&mut self, batch: Outgoing) {
        self.publish_from(batch, WINDOW).await;
    }

    async fn publish_from_threads(&mut self, messages: Outgoing, threads: usize, done: Done) {
        // The tasks of a window run on all threads.
        let tasks = if messages.qos == 0 { threads } else { WINDOW };
        self.publish_from(messages, tasks).await;
        done.await.expect("a server");
    }

    async fn publish_awaited(&mut self, messages: Outgoing, tasks: usize) {
        self.publish_from(messages, tasks).await;
    }

    async fn subscribe(&mut self, filters: Vec<String>, qos: u8) {
        for filter in filters {
            let options = SubscribeOptions {
                qos: level(qos),
                ..SubscribeOptions::default()
            };
            let inbox = self.inbox.clone();
            let callback = move |message: mqtt5::Message| inbox.add(&message.payload);
            let subscribe = self
                .client
                .subscribe_with_options(filter, options, callback);
            subscribe.await.expect("a subscription");
        }
    }

    async fn receive(&mut self, n: usize, _: Duration) -> Tally {
        self.inbox.until(n as u64).await
    }

    async fn ping(&mut self, payload: Vec<u8>) {
        let next = self.inbox.tally().count + 1;
        let publish = self.client.publish_qos(TOPIC, payload, QoS::AtMostOnce);
        publish.await.expect("a publish");
        self.inbox.until(next).await;
    }

    async fn disconnect(self) {
        self.client.disconnect().await.expect("a disconnect");
    }
}
