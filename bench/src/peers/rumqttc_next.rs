//! rumqttc-v4-next and rumqttc-v5-next, which go on from rumqttc: the event loop is polled in the
//! same way, requests are written in batches, and a publish can be tracked.

use crate::scenario::WINDOW;

/// How many requests wait for the event loop.
const CHANNEL: usize = WINDOW;
/// The default is 10 KiB.
const MAX_PACKET: usize = 1 << 20;

/// Both versions of MQTT have the same shape, and types of their own.
macro_rules! peer {
    ($name:ident) => {
        use crate::control::Done;
        use crate::messages::{Outgoing, Tally};
        use crate::peers::{Peer, in_tasks};
        use crate::scenario::{Scenario, TOPIC};
        use std::time::Duration;

        pub struct $name {
            client: AsyncClient,
            events: EventLoop,
        }

        fn level(qos: u8) -> QoS {
            [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)]
        }

        impl $name {
            async fn poll_until(&mut self, mut found: impl FnMut(&Event) -> bool) {
                while !found(&self.events.poll().await.expect("a connection")) {}
            }
        }

        impl Peer for $name {
            async fn connect(port: u16, id: &str, _: Scenario) -> Self {
                let (client, events) = open(id, port);
                let mut peer = Self { client, events };
                peer.poll_until(|event| matches!(event, Event::Incoming(Packet::ConnAck(_))))
                    .await;
                peer
            }

            async fn publish(&mut self, messages: Outgoing, mut done: Done) {
                let client = self.client.clone();
                let publisher = tokio::spawn(async move {
                    let options = PublishOptions::new(level(messages.qos));
                    for payload in messages.payloads() {
                        let publish = client.publish(TOPIC, payload, options.clone());
                        publish.await.expect("a publish");
                    }
                });
                let mut left = messages.n;
                self.poll_until(|event| {
                    left -= usize::from(match messages.qos {
                        0 => matches!(event, Event::Outgoing(Sent::Publish(_))),
                        1 => matches!(event, Event::Incoming(Packet::PubAck(_))),
                        _ => matches!(event, Event::Incoming(Packet::PubComp(_))),
                    });
                    left == 0
                })
                .await;
                publisher.await.expect("a task that did not panic");
                tokio::select! {
                    biased;
                    _ = &mut done => {}
                    () = self.poll_until(|_| false) => {}
                }
            }

            async fn publish_awaited(&mut self, messages: Outgoing, count: usize) {
                let client = self.client.clone();
                let tasks = tokio::spawn(async move {
                    in_tasks!(tokio::spawn, messages, count, client, |client, payload| {
                        let options = PublishOptions::new(QoS::AtLeastOnce);
                        let notice = client.publish_tracked(TOPIC, payload, options).await;
                        let notice = notice.expect("a publish");
                        notice.wait_async().await.expect("an acknowledgement");
                    });
                });
                let mut left = messages.n;
                self.poll_until(|event| {
                    left -= usize::from(matches!(event, Event::Incoming(Packet::PubAck(_))));
                    left == 0
                })
                .await;
                tasks.await.expect("tasks that did not panic");
            }

            async fn subscribe(&mut self, filters: Vec<String>, qos: u8) {
                for part in filters.chunks(500) {
                    let part = part
                        .iter()
                        .map(|filter| Filter::new(filter.clone(), level(qos)));
                    let subscribe = self.client.subscribe_many(part.collect::<Vec<_>>());
                    subscribe.await.expect("a subscribe");
                    self.poll_until(|event| matches!(event, Event::Incoming(Packet::SubAck(_))))
                        .await;
                }
            }

            async fn receive(&mut self, n: usize, delay: Duration) -> Tally {
                let mut tally = Tally::default();
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                self.poll_until(|event| {
                    if let Event::Incoming(Packet::Publish(publish)) = event {
                        tally.add(&publish.payload);
                    }
                    tally.count == n as u64
                })
                .await;
                tally
            }

            async fn ping(&mut self, payload: Vec<u8>) {
                let options = PublishOptions::new(QoS::AtMostOnce);
                let publish = self.client.publish(TOPIC, payload, options);
                publish.await.expect("a publish");
                self.poll_until(|event| matches!(event, Event::Incoming(Packet::Publish(_))))
                    .await;
            }

            async fn disconnect(mut self) {
                self.client.disconnect().await.expect("a disconnect");
                self.poll_until(|event| matches!(event, Event::Outgoing(Sent::Disconnect)))
                    .await;
            }
        }
    };
}

mod v4 {
    use super::{CHANNEL, MAX_PACKET, WINDOW};
    use rumqttc_v4_next::{
        AsyncClient, Event, EventLoop, MqttOptions, Outgoing as Sent, Packet, PublishOptions, QoS,
        SubscribeFilter as Filter,
    };

    peer!(V4);

    fn open(id: &str, port: u16) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, ("127.0.0.1", port));
        options.set_max_request_batch(WINDOW);
        options.set_inflight(WINDOW as u16);
        options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        let (client, mut events) = AsyncClient::builder(options).capacity(CHANNEL).build();
        events.network_options.set_tcp_nodelay(true);
        (client, events)
    }
}

mod v5 {
    use super::{CHANNEL, MAX_PACKET, WINDOW};
    use rumqttc_v5_next::{
        AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing as Sent, Packet,
        PublishOptions, QoS, SubscribeFilter as Filter,
    };

    peer!(V5);

    fn open(id: &str, port: u16) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, ("127.0.0.1", port));
        options.set_max_request_batch(WINDOW);
        options.set_outgoing_inflight_upper_limit(WINDOW as u16);
        options.set_max_packet_size(Some(MAX_PACKET as u32));
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        AsyncClient::builder(options).capacity(CHANNEL).build()
    }
}

pub use v4::V4;
pub use v5::V5;
