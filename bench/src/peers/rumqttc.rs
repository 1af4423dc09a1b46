//! rumqttc: the application polls the event loop, and publishes from another task. There is no
//! handle to wait for one acknowledgement.

use crate::scenario::{Scenario, WINDOW};

/// How many requests wait for the event loop.
const CHANNEL: usize = WINDOW;
/// The default is 10 KiB.
const MAX_PACKET: usize = 1 << 20;

fn lacks(scenario: Scenario) -> Option<&'static str> {
    (scenario == Scenario::Awaited).then_some("no handle for one acknowledgement")
}

/// Both versions of MQTT have the same shape, and types of their own.
macro_rules! peer {
    ($name:ident) => {
        use crate::control::Done;
        use crate::messages::{Outgoing, Tally};
        use crate::peers::Peer;
        use crate::scenario::{Scenario, TOPIC};
        use rumqttc::Outgoing as Sent;
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
            fn lacks(scenario: Scenario) -> Option<&'static str> {
                super::lacks(scenario)
            }

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
                    let qos = level(messages.qos);
                    for payload in messages.payloads() {
                        let publish = client.publish(TOPIC, qos, false, payload);
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

            async fn publish_awaited(&mut self, _: Outgoing, _: usize) {
                unreachable!("lacking");
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
                let publish = self.client.publish(TOPIC, QoS::AtMostOnce, false, payload);
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
    use rumqttc::{
        AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeFilter as Filter,
    };

    peer!(V4);

    fn open(id: &str, port: u16) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_inflight(WINDOW as u16);
        options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        let (client, mut events) = AsyncClient::new(options, CHANNEL);
        events.network_options.set_tcp_nodelay(true);
        (client, events)
    }
}

mod v5 {
    use super::{CHANNEL, MAX_PACKET, WINDOW};
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Filter, Packet};
    use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

    peer!(V5);

    fn open(id: &str, port: u16) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_outgoing_inflight_upper_limit(WINDOW as u16);
        options.set_max_packet_size(Some(MAX_PACKET as u32));
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        AsyncClient::new(options, CHANNEL)
    }
}

pub use v4::V4;
pub use v5::V5;
