//! Martlet on tokio.

use super::{Peer, in_tasks};
use crate::control::Done;
use crate::messages::{Outgoing, Tally};
use crate::scenario::{Scenario, TOPIC, WINDOW};
use martlet_tokio::session::QueueLimits;
use martlet_tokio::{Client, QoS, Subscription, Version};
use std::time::Duration;

pub struct Martlet {
    client: Client,
    messages: Option<Subscription>,
}

fn qos(level: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(level)]
}

impl Peer for Martlet {
    async fn connect(port: u16, _: &str, _: Scenario) -> Self {
        let builder = Client::builder(format!("mqtt://127.0.0.1:{port}"))
            .version(Version::V3_1_1)
            .max_in_flight(WINDOW as u16)
            .max_in_flight_3x(WINDOW as u16)
            .queue(QueueLimits::default().messages(WINDOW));
        let client = martlet_tokio::connect_with(builder)
            .await
            .expect("a connection");
        Self {
            client,
            messages: None,
        }
    }

    async fn publish(&mut self, messages: Outgoing, done: Done) {
        let qos = qos(messages.qos);
        for payload in messages.payloads() {
            let publish = self.client.publish(TOPIC, payload).qos(qos);
            if qos == QoS::AtMostOnce {
                publish.await.expect("a publish");
            } else {
                drop(publish.enqueue().await.expect("a publish"));
            }
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
                let publish = client.publish(TOPIC, payload).qos(QoS::AtLeastOnce);
                publish.await.expect("an acknowledgement")
            }
        );
    }

    async fn subscribe(&mut self, filters: Vec<String>, level: u8) {
        let mut filters = filters.into_iter();
        let first = filters.next().expect("a filter");
        let subscribe = self.client.subscribe(first).qos(qos(level));
        let subscribe = filters.fold(subscribe, |subscribe, filter| {
            subscribe.and(filter, qos(level))
        });
        self.messages = Some(subscribe.await.expect("a subscription"));
    }

    async fn receive(&mut self, n: usize, delay: Duration) -> Tally {
        let messages = self.messages.as_mut().expect("a subscription");
        let mut tally = Tally::default();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        for _ in 0..n {
            let message = messages.next().await.expect("a message");
            tally.add(message.payload());
        }
        tally
    }

    async fn ping(&mut self, payload: Vec<u8>) {
        let messages = self.messages.as_mut().expect("a subscription");
        self.client
            .publish(TOPIC, payload)
            .await
            .expect("a publish");
        messages.next().await.expect("a message");
    }

    async fn disconnect(self) {
        self.client.disconnect().await;
    }
}
