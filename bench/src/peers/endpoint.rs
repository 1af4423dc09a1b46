//! mqtt-endpoint-tokio, on mqtt-protocol-core. The application sends and receives packets; the
//! window is a semaphore here, and there is no handle for one acknowledgement.

use super::{IDENTIFIERS, OTHER_TLS, Peer, lacks_awaited};
use crate::client::Job;
use crate::control::Done;
use crate::messages::{Outgoing, Tally};
use crate::scenario::{Scenario, TOPIC, WINDOW};
use mqtt_endpoint_tokio::mqtt_ep;
use mqtt_ep::packet::v3_1_1::{Connect, Disconnect, Publish, Subscribe};
use mqtt_ep::packet::{Packet, Qos, SubEntry, SubOpts};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

type Client = mqtt_ep::Endpoint<mqtt_ep::role::Client>;

pub struct Endpoint(Arc<Client>);

fn level(qos: u8) -> Qos {
    [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(qos)]
}

async fn send(client: &Client, qos: u8, payload: Vec<u8>) {
    let mut publish = Publish::builder()
        .topic_name(TOPIC)
        .expect("a topic name")
        .qos(level(qos))
        .payload(payload);
    if qos > 0 {
        let id = client
            .acquire_packet_id()
            .await
            .expect("a packet identifier");
        publish = publish.packet_id(id);
    }
    let publish = publish.build().expect("a PUBLISH");
    client.send(publish).await.expect("a connection");
}

impl Endpoint {
    /// Publishes from tasks with a window, until all are written (QoS 0) or acknowledged.
    async fn publish_from(&self, tasks: usize, messages: Outgoing) {
        let window = Arc::new(Semaphore::new(WINDOW));
        let publishers: Vec<_> = (0..tasks)
            .map(|task| {
                let (client, permits) = (self.0.clone(), window.clone());
                tokio::spawn(async move {
                    for payload in messages.part(task, tasks) {
                        if messages.qos > 0 {
                            permits.acquire().await.expect("a window").forget();
                        }
                        send(&client, messages.qos, payload).await;
                    }
                })
            })
            .collect();
        let mut left = if messages.qos > 0 { messages.n } else { 0 };
        while left > 0 {
            if let Packet::V3_1_1Puback(_) | Packet::V3_1_1Pubcomp(_) = self.recv().await {
                window.add_permits(1);
                left -= 1;
            }
        }
        for publisher in publishers {
            publisher.await.expect("a task that did not panic");
        }
    }

    async fn recv(&self) -> Packet {
        self.0.recv().await.expect("a connection")
    }
}

impl Peer for Endpoint {
    fn lacks(scenario: Scenario) -> Option<&'static str> {
        match scenario {
            Scenario::Offline => Some(IDENTIFIERS),
            Scenario::ConnectTls => Some(OTHER_TLS),
            _ => lacks_awaited(scenario),
        }
    }

    async fn connect(job: &Job, id: &str) -> Self {
        let client = Client::new(mqtt_ep::Version::V3_1_1);
        let stream = TcpStream::connect(("127.0.0.1", job.port))
            .await
            .expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let transport = mqtt_ep::transport::TcpTransport::from_stream(stream);
        let attached = client.attach(transport, mqtt_ep::Mode::Client).await;
        attached.expect("a transport");
        let connect = Connect::builder()
            .client_id(id)
            .expect("a client identifier")
            .clean_session(true)
            .build()
            .expect("a CONNECT");
        client.send(connect).await.expect("a connection");
        let peer = Self(Arc::new(client));
        assert!(matches!(peer.recv().await, Packet::V3_1_1Connack(_)));
        peer
    }

    async fn publish(&mut self, messages: Outgoing, done: Done) {
        self.publish_from(1, messages).await;
        done.await.expect("a server");
    }

    async fn publish_batch(&mut self, batch: Outgoing) {
        self.publish_from(1, batch).await;
    }

    async fn publish_from_threads(&mut self, messages: Outgoing, threads: usize, done: Done) {
        self.publish_from(threads, messages).await;
        done.await.expect("a server");
    }

    async fn subscribe(&mut self, filters: Vec<String>, qos: u8) {
        for part in filters.chunks(500) {
            let options = SubOpts::new().set_qos(level(qos));
            let entries = part.iter().map(|filter| SubEntry::new(filter, options));
            let entries: Result<Vec<_>, _> = entries.collect();
            let id = self
                .0
                .acquire_packet_id()
                .await
                .expect("a packet identifier");
            let subscribe = Subscribe::builder()
                .packet_id(id)
                .entries(entries.expect("filters"))
                .build()
                .expect("a SUBSCRIBE");
            self.0.send(subscribe).await.expect("a connection");
            assert!(matches!(self.recv().await, Packet::V3_1_1Suback(_)));
        }
    }

    async fn receive(&mut self, n: usize, delay: Duration) -> Tally {
        let mut tally = Tally::default();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        while tally.count < n as u64 {
            if let Packet::V3_1_1Publish(publish) = self.recv().await {
                tally.add(publish.payload().as_slice());
            }
        }
        tally
    }

    async fn ping(&mut self, payload: Vec<u8>) {
        send(&self.0, 0, payload).await;
        while !matches!(self.recv().await, Packet::V3_1_1Publish(_)) {}
    }

    async fn disconnect(self) {
        let disconnect = Disconnect::builder().build().expect("a DISCONNECT");
        self.0.send(disconnect).await.expect("a connection");
        self.0.close().await.expect("a connection");
    }
}
