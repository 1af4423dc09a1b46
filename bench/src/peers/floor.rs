//! The hand-written floor: no properties, timers, limits or reconnect.

use super::{NO_QUEUE, Peer, in_tasks};
use crate::client::Job;
use crate::control::Done;
use crate::floor::Client;
use crate::messages::{Outgoing, Tally};
use crate::scenario::{Scenario, TOPIC, WINDOW};
use bytes::Bytes;
use std::time::Duration;

pub struct Floor(Client);

const TOPIC_BYTES: Bytes = Bytes::from_static(TOPIC.as_bytes());

impl Peer for Floor {
    fn lacks(scenario: Scenario) -> Option<&'static str> {
        match scenario {
            Scenario::Receive { qos: 2, .. } => Some("does not receive QoS 2"),
            Scenario::Offline => Some(NO_QUEUE),
            Scenario::Connect | Scenario::ConnectTls => Some("does not disconnect"),
            _ => None,
        }
    }

    async fn connect(job: &Job, _: &str) -> Self {
        let awaited = job.scenario == Scenario::Awaited;
        let client = Client::connect(job.port, WINDOW, awaited).await;
        Self(client.expect("a connection"))
    }

    async fn publish(&mut self, messages: Outgoing, done: Done) {
        for payload in messages.payloads() {
            self.0
                .publish(&TOPIC_BYTES, messages.qos, &payload.into())
                .await;
        }
        done.await.expect("a server");
    }

    async fn publish_batch(&mut self, batch: Outgoing) {
        for payload in batch.payloads() {
            let payload = payload.into();
            self.0.publish(&TOPIC_BYTES, batch.qos, &payload).await;
        }
        self.0.acked((batch.first + batch.n) as u64).await;
    }

    async fn publish_from_threads(&mut self, messages: Outgoing, threads: usize, done: Done) {
        in_tasks!(
            tokio::spawn,
            messages,
            threads,
            self.0,
            |client, payload| {
                let payload = payload.into();
                client.publish(&TOPIC_BYTES, messages.qos, &payload).await;
            }
        );
        done.await.expect("a server");
    }

    async fn publish_awaited(&mut self, messages: Outgoing, tasks: usize) {
        in_tasks!(tokio::spawn, messages, tasks, self.0, |client, payload| {
            client.publish_acked(&TOPIC_BYTES, 1, &payload.into()).await
        });
    }

    /// It waits for the answer to the first filter only; the server waits for all of them.
    async fn subscribe(&mut self, filters: Vec<String>, qos: u8) {
        for filter in filters {
            self.0.subscribe(&filter, qos).await;
        }
    }

    async fn receive(&mut self, n: usize, delay: Duration) -> Tally {
        let mut tally = Tally::default();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        for _ in 0..n {
            tally.add(&self.0.next().await.payload);
        }
        tally
    }

    async fn ping(&mut self, payload: Vec<u8>) {
        self.0.publish(&TOPIC_BYTES, 0, &payload.into()).await;
        self.0.next().await;
    }

    async fn disconnect(self) {}
}
