//! ntex-mqtt, on ntex's runtime over tokio's reactor. It is made for one thread: nothing is `Send`.

use super::{NO_QUEUE, OTHER_TLS, Peer, in_tasks};
use crate::client::Job;
use crate::control::Done;
use crate::messages::{Outgoing, Tally};
use crate::scenario::{Scenario, TOPIC, WINDOW};
use ntex_bytes::Bytes;
use ntex_mqtt::MqttServiceConfig;
use ntex_mqtt::v3::client::{Client, Connect, MqttConnector, MqttSink, ProtocolMessage, QoS};
use ntex_service::Pipeline;
use ntex_service::cfg::SharedCfg;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

pub struct Ntex {
    sink: MqttSink,
    client: Option<Client>,
    inbox: Rc<Inbox>,
}

/// What the handler counts, and what it waits for.
#[derive(Default)]
struct Inbox {
    tally: RefCell<Tally>,
    /// The number of messages at which the waiting task is woken.
    wanted: Cell<u64>,
    reached: Notify,
    delay: Cell<Duration>,
}

impl Ntex {
    fn start(&mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        let inbox = self.inbox.clone();
        let handler = async move |message: ProtocolMessage| {
            if let ProtocolMessage::Publish(publish) = &message {
                let payload = publish.read_all().await.expect("a payload");
                let delay = inbox.delay.get();
                if !delay.is_zero() {
                    inbox.delay.set(Duration::ZERO);
                    tokio::time::sleep(delay).await;
                }
                let mut tally = inbox.tally.borrow_mut();
                tally.add(&payload);
                if tally.count == inbox.wanted.get() {
                    inbox.reached.notify_one();
                }
            }
            Ok::<_, ()>(message.ack())
        };
        ntex_rt::spawn(async move {
            let _ = client.start(handler).await;
        })
        .detach();
    }

    async fn until(&self, n: u64) {
        self.inbox.wanted.set(n);
        if self.inbox.tally.borrow().count < n {
            self.inbox.reached.notified().await;
        }
    }
}

impl Peer for Ntex {
    fn lacks(scenario: Scenario) -> Option<&'static str> {
        match scenario {
            Scenario::Publish { qos: 2, .. } => {
                Some("fails with more than one QoS 2 message in flight: UnexpectedRelease")
            }
            Scenario::Offline => Some(NO_QUEUE),
            Scenario::ConnectTls => Some(OTHER_TLS),
            Scenario::Threads { .. } => Some("is made for one thread"),
            _ => None,
        }
    }

    fn block_on(_: Scenario, work: impl Future<Output = ()> + 'static) {
        ntex_rt::System::build()
            .name("bench")
            .build(ntex_net::DefaultRuntime)
            .block_on(work);
    }

    async fn connect(job: &Job, id: &str) -> Self {
        let config = MqttServiceConfig::new().set_max_send(WINDOW as u16);
        let config: SharedCfg = SharedCfg::new("bench").add(config).into();
        let connect = Connect::new(format!("127.0.0.1:{}", job.port))
            .client_id(id)
            .clean_session();
        let client = Pipeline::new(config, MqttConnector::new())
            .call(connect)
            .await;
        let client = client.expect("a connection");
        let mut peer = Self {
            sink: client.sink(),
            client: Some(client),
            inbox: Rc::default(),
        };
        peer.start();
        peer
    }

    async fn publish(&mut self, messages: Outgoing, done: Done) {
        match messages.qos {
            0 => {
                for (i, payload) in messages.payloads().enumerate() {
                    // Sending never waits, so nothing would leave otherwise.
                    if i % WINDOW == 0 {
                        ntex_util::task::yield_to().await;
                    }
                    while !self.sink.is_ready() {
                        assert!(self.sink.ready().await, "a connection");
                    }
                    let publish = self.sink.publish(TOPIC);
                    publish
                        .send_at_most_once(Bytes::from(payload))
                        .expect("a publish");
                }
            }
            1 => {
                self.sink.publish_ack_cb(|_, _| {});
                for payload in messages.payloads() {
                    while !self.sink.is_ready() {
                        assert!(self.sink.ready().await, "a connection");
                    }
                    let publish = self.sink.publish(TOPIC);
                    let sent = publish.send_at_least_once_no_block(Bytes::from(payload));
                    sent.expect("a publish");
                }
            }
            _ => unreachable!("lacking"),
        }
        done.await.expect("a server");
    }

    async fn publish_batch(&mut self, batch: Outgoing) {
        let left = Rc::new(Cell::new(batch.n));
        let complete = Rc::new(Notify::new());
        let (ours, theirs) = (left.clone(), complete.clone());
        self.sink.publish_ack_cb(move |_, _| {
            ours.set(ours.get() - 1);
            if ours.get() == 0 {
                theirs.notify_one();
            }
        });
        for payload in batch.payloads() {
            while !self.sink.is_ready() {
                assert!(self.sink.ready().await, "a connection");
            }
            let publish = self.sink.publish(TOPIC);
            let sent = publish.send_at_least_once_no_block(Bytes::from(payload));
            sent.expect("a publish");
        }
        complete.notified().await;
    }

    async fn publish_awaited(&mut self, messages: Outgoing, tasks: usize) {
        in_tasks!(
            ntex_rt::spawn,
            messages,
            tasks,
            self.sink,
            |sink, payload| {
                let publish = sink.publish(TOPIC).send_at_least_once(Bytes::from(payload));
                publish.await.expect("an acknowledgement");
            }
        );
    }

    async fn subscribe(&mut self, filters: Vec<String>, qos: u8) {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)];
        for part in filters.chunks(500) {
            let subscribe = part
                .iter()
                .fold(self.sink.subscribe(), |subscribe, filter| {
                    subscribe.topic_filter(filter.clone().into(), qos)
                });
            subscribe.send().await.expect("a subscription");
        }
    }

    async fn receive(&mut self, n: usize, delay: Duration) -> Tally {
        self.inbox.delay.set(delay);
        self.until(n as u64).await;
        *self.inbox.tally.borrow()
    }

    async fn ping(&mut self, payload: Vec<u8>) {
        let next = self.inbox.tally.borrow().count + 1;
        let publish = self.sink.publish(TOPIC);
        publish
            .send_at_most_once(Bytes::from(payload))
            .expect("a publish");
        self.until(next).await;
    }

    async fn disconnect(self) {
        self.sink.close();
        ntex_util::task::yield_to().await;
    }
}
