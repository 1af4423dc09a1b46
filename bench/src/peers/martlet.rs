//! Martlet, on tokio in all scenarios and on other runtimes in some.

use super::{Peer, in_tasks};
use crate::client::Job;
use crate::control::Done;
use crate::messages::{Outgoing, Tally};
use crate::scenario::{ACKNOWLEDGED, Scenario, TOPIC, WINDOW};
use crate::tls::Trusted;
use martlet_tokio::client::{Item, OutgoingPublish, Positioned};
use martlet_tokio::session::{InboundLimits, QueueLimits};
use martlet_tokio::{Builder, Client, QoS, Subscription, TlsConfig, TopicName, Trust, Version};
use std::future::Future;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

pub struct Martlet<R> {
    client: Client,
    messages: Option<Subscription>,
    /// One for each filter, where the scenario is about them.
    streams: Vec<Subscription>,
    scenario: Scenario,
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
            Scenario::PingPong | Scenario::Idle(_) => true,
            Scenario::Connect | Scenario::ConnectTls => true,
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

/// The configuration of all connections, made once.
fn tls(trusted: &Trusted) -> TlsConfig {
    static CONFIG: OnceLock<TlsConfig> = OnceLock::new();
    let make = || Trust::new().ca_pem(&*trusted.pem).build();
    CONFIG
        .get_or_init(|| make().expect("a certificate"))
        .clone()
}

/// What may wait before the window: as many messages as in it, or all where there is no connection.
fn queue(job: &Job) -> QueueLimits {
    let limits = QueueLimits::default();
    match job.scenario {
        Scenario::Offline => limits.messages(job.n).bytes(1 << 30),
        _ => limits.messages(WINDOW),
    }
}

/// What may wait for the application: the default, and everything where it is to wait.
fn inbound(scenario: Scenario) -> InboundLimits {
    let limits = InboundLimits::default();
    match scenario {
        Scenario::Acknowledge { .. } => limits
            .soft_messages(2 * ACKNOWLEDGED)
            .hard_messages(2 * ACKNOWLEDGED),
        _ => limits,
    }
}

/// Reads each stream in a task of its own, until all messages are there.
async fn receive_from(streams: Vec<Subscription>, n: usize) -> Tally {
    let all = streams.len();
    let mut tasks = Vec::new();
    for (i, mut stream) in streams.into_iter().enumerate() {
        // The server publishes to one filter after the other.
        let expected = (i..n).step_by(all).len();
        tasks.push(tokio::spawn(async move {
            let mut tally = Tally::default();
            for _ in 0..expected {
                let message = stream.next().await.expect("a message");
                tally.add(message.payload());
            }
            tally
        }));
    }
    let mut tally = Tally::default();
    for task in tasks {
        tally.merge(task.await.expect("a task that did not panic"));
    }
    tally
}

/// Receives `n` messages, and what is kept of each.
async fn receive_all<M: Item, T>(
    stream: &mut Subscription<M>,
    n: usize,
    payload: impl Fn(&M) -> &[u8],
    keep: impl Fn(M) -> T,
) -> (Tally, Vec<T>) {
    let (mut tally, mut kept) = (Tally::default(), Vec::with_capacity(n));
    for _ in 0..n {
        let message = stream.next().await.expect("a message");
        tally.add(payload(&message));
        kept.push(keep(message));
    }
    (tally, kept)
}

impl<R: Runtime> Martlet<R> {
    /// A client that connects in the background.
    fn open(job: &Job) -> Self {
        let uri = match job.tls {
            None => format!("mqtt://127.0.0.1:{}", job.port),
            Some(_) => format!("mqtts://127.0.0.1:{}", job.port),
        };
        let mut builder = Client::builder(uri)
            .version(Version::V3_1_1)
            .max_in_flight(WINDOW as u16)
            .max_in_flight_3x(WINDOW as u16)
            .queue(queue(job))
            .inbound(inbound(job.scenario));
        if let Some(trusted) = job.tls {
            builder = builder.tls_config(tls(trusted));
        }
        let client = R::start(builder);
        Self {
            client,
            messages: None,
            streams: Vec::new(),
            scenario: job.scenario,
            runtime: PhantomData,
        }
    }
}

impl<R: Runtime> Peer for Martlet<R> {
    fn lacks(scenario: Scenario) -> Option<&'static str> {
        R::lacks(scenario)
    }

    fn block_on(scenario: Scenario, work: impl Future<Output = ()> + 'static) {
        R::block_on(scenario, work);
    }

    async fn connect(job: &Job, _: &str) -> Self {
        let peer = Self::open(job);
        peer.client.connected().await.expect("a connection");
        peer
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

    async fn publish_offline(
        job: &Job,
        messages: Outgoing,
        queued: impl FnOnce(),
        done: Done,
    ) -> Self {
        let peer = Self::open(job);
        let qos = qos(messages.qos);
        for payload in messages.payloads() {
            let publish = peer.client.publish(TOPIC, payload).qos(qos);
            drop(publish.enqueue().await.expect("a place in the queue"));
        }
        queued();
        done.await.expect("a server");
        peer
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
        if let Scenario::Streams(_) = self.scenario {
            for filter in filters {
                let subscribe = self.client.subscribe(filter).qos(qos(level));
                self.streams.push(subscribe.await.expect("a subscription"));
            }
            return;
        }
        let mut filters = filters.into_iter();
        let first = filters.next().expect("a filter");
        let subscribe = self.client.subscribe(first).qos(qos(level));
        let subscribe = filters.fold(subscribe, |subscribe, filter| {
            subscribe.and(filter, qos(level))
        });
        self.messages = Some(subscribe.await.expect("a subscription"));
    }

    async fn receive(&mut self, n: usize, delay: Duration) -> Tally {
        if !self.streams.is_empty() {
            return receive_from(std::mem::take(&mut self.streams), n).await;
        }
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

    async fn acknowledge(
        &mut self,
        n: usize,
        every: usize,
        go: impl FnOnce(),
        received: impl FnOnce(),
        done: Done,
    ) -> Tally {
        let stream = self.messages.take().expect("a subscription");
        if every == 1 {
            let mut stream = stream.acknowledge_manually();
            go();
            let (tally, messages) = receive_all(
                &mut stream,
                n,
                |message| message.payload(),
                |message| message,
            )
            .await;
            received();
            for message in messages {
                message.acknowledge();
            }
            done.await.expect("a server");
            return tally;
        }
        let mut stream = stream.acknowledge_by_position();
        go();
        let position = |message: Positioned| message.position();
        let (tally, positions) =
            receive_all(&mut stream, n, |message| message.payload(), position).await;
        received();
        for group in positions.chunks(every) {
            let last = *group.last().expect("a position");
            stream.acknowledge_up_to(last).expect("a position of it");
        }
        done.await.expect("a server");
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
