//! Martlet, on tokio in all scenarios and on other runtimes in some.

use super::{Peer, in_tasks};
use crate::control::Done;
use crate::messages::{Outgoing, Tally};
use crate::scenario::{Scenario, TOPIC, WINDOW};
use martlet_tokio::client::OutgoingPublish;
use martlet_tokio::session::QueueLimits;
use martlet_tokio::{Builder, Client, QoS, Subscription, TopicName, Version};
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

pub struct Martlet<R> {
    client: Client,
    messages: Option<Subscription>,
    runtime: PhantomData<R>,
}

/// What Martlet runs on.
pub trait Runtime {
    /// Why the scenario is not measured on it.
    fn lacks(scenario: Scenario) -> Option<&'static str> {
        let has = match scenario {
            Scenario::Publish { qos, size } | Scenario::Receive { qos, size } => {
                qos < 2 && size == 16
            }
            Scenario::PingPong | Scenario::Idle | Scenario::Connect => true,
            _ => false,
        };
        (!has).then_some("a runtime of which some scenarios are measured")
    }

    fn block_on(scenario: Scenario, work: impl Future<Output = ()> + 'static);

    /// A client whose driver is spawned.
    fn start(builder: Builder) -> Client;
}

/// tokio, with one thread unless the scenario is about several.
pub struct Tokio;

impl Runtime for Tokio {
    fn lacks(_: Scenario) -> Option<&'static str> {
        None
    }

    fn block_on(scenario: Scenario, work: impl Future<Output = ()> + 'static) {
        super::block_on_tokio(scenario, work);
    }

    fn start(builder: Builder) -> Client {
        martlet_tokio::start(builder).expect("a client")
    }
}

/// tokio, with two threads besides the one that waits.
pub struct TwoWorkers;

impl Runtime for TwoWorkers {
    fn block_on(_: Scenario, work: impl Future<Output = ()> + 'static) {
        super::block_on_two_workers(work);
    }

    fn start(builder: Builder) -> Client {
        Tokio::start(builder)
    }
}

/// smol, with its global executor: a thread for the driver, and one for the reactor.
pub struct Smol;

impl Runtime for Smol {
    fn block_on(_: Scenario, work: impl Future<Output = ()> + 'static) {
        smol::block_on(work);
    }

    fn start(builder: Builder) -> Client {
        martlet_smol::start(builder).expect("a client")
    }
}

/// async-std, with a thread for each core.
pub struct AsyncStd;

impl Runtime for AsyncStd {
    fn block_on(_: Scenario, work: impl Future<Output = ()> + 'static) {
        async_std::task::block_on(work);
    }

    fn start(builder: Builder) -> Client {
        martlet_async_std::start(builder).expect("a client")
    }
}

fn qos(level: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(level)]
}

impl<R: Runtime> Peer for Martlet<R> {
    fn lacks(scenario: Scenario) -> Option<&'static str> {
        R::lacks(scenario)
    }

    fn block_on(scenario: Scenario, work: impl Future<Output = ()> + 'static) {
        R::block_on(scenario, work);
    }

    async fn connect(port: u16, _: &str, _: Scenario) -> Self {
        let builder = Client::builder(format!("mqtt://127.0.0.1:{port}"))
            .version(Version::V3_1_1)
            .max_in_flight(WINDOW as u16)
            .max_in_flight_3x(WINDOW as u16)
            .queue(QueueLimits::default().messages(WINDOW));
        let client = R::start(builder);
        client.connected().await.expect("a connection");
        Self {
            client,
            messages: None,
            runtime: PhantomData,
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

    async fn publish_batch(&mut self, batch: Outgoing) {
        let messages = batch.payloads().map(|payload| {
            let topic = TopicName::try_from(TOPIC).expect("a topic name");
            OutgoingPublish::new(topic, payload).qos(qos(batch.qos))
        });
        let published = self.client.publish_all(messages).await;
        published.expect("acknowledgements");
    }

    async fn publish_from_threads(&mut self, messages: Outgoing, threads: usize, done: Done) {
        let qos = qos(messages.qos);
        in_tasks!(
            tokio::spawn,
            messages,
            threads,
            self.client,
            |client, payload| {
                let publish = client.publish(TOPIC, payload).qos(qos);
                if qos == QoS::AtMostOnce {
                    publish.await.expect("a publish");
                } else {
                    drop(publish.enqueue().await.expect("a publish"));
                }
            }
        );
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
