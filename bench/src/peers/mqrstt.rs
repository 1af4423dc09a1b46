//! mqrstt, with its network task on tokio and a buffered stream as in its README. There is no handle
//! to wait for one acknowledgement.

use super::inbox::Inbox;
use super::{Peer, in_tasks, lacks_awaited};
use crate::client::Job;
use crate::control::Done;
use crate::messages::{Outgoing, Tally};
use crate::scenario::{Scenario, TOPIC, WINDOW};
use mqrstt::packets::{Packet, QoS};
use mqrstt::{AsyncEventHandler, ConnectOptions, MqttClient, NetworkBuilder};
use rustls::pki_types::ServerName;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, BufStream};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

pub struct Mqrstt {
    client: MqttClient,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    inbox: Inbox,
    /// Counts acknowledgements, where batches wait for them.
    acknowledged: Option<Inbox>,
    subscribed: Notify,
    delay: Mutex<Duration>,
}

struct Handler(Arc<Shared>);

impl AsyncEventHandler for Handler {
    async fn handle(&mut self, packet: Packet) {
        match packet {
            Packet::Publish(publish) => {
                let delay = std::mem::take(&mut *self.0.delay.lock().expect("a lock"));
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                self.0.inbox.add(&publish.payload);
            }
            Packet::PubAck(_) => {
                if let Some(acknowledged) = &self.0.acknowledged {
                    acknowledged.add(&[]);
                }
            }
            Packet::SubAck(_) => self.0.subscribed.notify_one(),
            _ => {}
        }
    }
}

fn level(qos: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)]
}

/// Connects, and runs the network in a task.
async fn start<S>(options: ConnectOptions, stream: S, mut handler: Handler) -> MqttClient
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
{
    let (mut network, client) = NetworkBuilder::new_from_options(options).tokio_network();
    let connected = network.connect(stream, &mut handler).await;
    connected.expect("a CONNACK");
    tokio::spawn(async move {
        // It ends with the connection.
        let _ = network.run(&mut handler).await;
    });
    client
}

impl Peer for Mqrstt {
    fn lacks(scenario: Scenario) -> Option<&'static str> {
        match scenario {
            Scenario::Offline => Some("no more than 100 messages wait in its channel"),
            _ => lacks_awaited(scenario),
        }
    }

    async fn connect(job: &Job, id: &str) -> Self {
        let mut options = ConnectOptions::new(id);
        options.set_send_maximum(WINDOW as u16);
        let stream = TcpStream::connect(("127.0.0.1", job.port))
            .await
            .expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let shared = Arc::new(Shared {
            acknowledged: (job.scenario == Scenario::Batches).then(Inbox::default),
            ..Shared::default()
        });
        let handler = Handler(shared.clone());
        let client = match job.tls {
            None => start(options, BufStream::new(stream), handler).await,
            Some(trusted) => {
                let name = ServerName::try_from("127.0.0.1").expect("a name");
                let connector = TlsConnector::from(trusted.config.clone());
                let stream = connector.connect(name, stream).await.expect("a handshake");
                start(options, BufStream::new(stream), handler).await
            }
        };
        Self { client, shared }
    }

    async fn publish(&mut self, messages: Outgoing, done: Done) {
        let qos = level(messages.qos);
        for payload in messages.payloads() {
            let publish = self.client.publish(TOPIC, qos, false, payload);
            publish.await.expect("a publish");
        }
        done.await.expect("a server");
    }

    async fn publish_batch(&mut self, batch: Outgoing) {
        let qos = level(batch.qos);
        for payload in batch.payloads() {
            let publish = self.client.publish(TOPIC, qos, false, payload);
            publish.await.expect("a publish");
        }
        let acknowledged = self.shared.acknowledged.as_ref().expect("a scenario of it");
        acknowledged.until((batch.first + batch.n) as u64).await;
    }

    async fn publish_from_threads(&mut self, messages: Outgoing, threads: usize, done: Done) {
        let qos = level(messages.qos);
        in_tasks!(
            tokio::spawn,
            messages,
            threads,
            self.client,
            |client, payload| {
                let publish = client.publish(TOPIC, qos, false, payload);
                publish.await.expect("a publish");
            }
        );
        done.await.expect("a server");
    }

    async fn subscribe(&mut self, filters: Vec<String>, qos: u8) {
        for part in filters.chunks(500) {
            let part: Vec<_> = part
                .iter()
                .map(|filter| (filter.as_str(), level(qos)))
                .collect();
            self.client
                .subscribe(part.as_slice())
                .await
                .expect("a subscribe");
            self.shared.subscribed.notified().await;
        }
    }

    async fn receive(&mut self, n: usize, delay: Duration) -> Tally {
        *self.shared.delay.lock().expect("a lock") = delay;
        self.shared.inbox.until(n as u64).await
    }

    async fn ping(&mut self, payload: Vec<u8>) {
        let next = self.shared.inbox.tally().count + 1;
        let publish = self.client.publish(TOPIC, QoS::AtMostOnce, false, payload);
        publish.await.expect("a publish");
        self.shared.inbox.until(next).await;
    }

    async fn disconnect(self) {
        self.client.disconnect().await.expect("a disconnect");
    }
}
