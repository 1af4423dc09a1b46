//! What rumqttc and the crates that go on from it have in common: the application polls the event loop,
//! and publishes from another task. Each version of MQTT has types of its own, hence a macro.

/// Implements [`super::Peer`] for `$name`, with more methods of that trait. Its module has the crate's
/// types (`AsyncClient`, `Event`, `EventLoop`, `Filter`, `Packet`, `QoS`, `Sent`), `open`, which makes a
/// client, and `send`, which publishes a message.
macro_rules! polled {
    ($name:ident, $($methods:tt)*) => {
        use crate::control::Done;
        use crate::messages::{Outgoing, Tally};
        use crate::client::Job;
        use crate::peers::Peer;
        use crate::scenario::TOPIC;
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

            /// Publishes from this many tasks, until all are written (QoS 0) or acknowledged.
            async fn publish_from(&mut self, tasks: usize, messages: Outgoing) {
                let publishers: Vec<_> = (0..tasks)
                    .map(|task| {
                        let client = self.client.clone();
                        tokio::spawn(async move {
                            for payload in messages.part(task, tasks) {
                                send(&client, level(messages.qos), payload).await;
                            }
                        })
                    })
                    .collect();
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
                for publisher in publishers {
                    publisher.await.expect("a task that did not panic");
                }
            }

            async fn poll_while_not(&mut self, mut done: Done) {
                tokio::select! {
                    biased;
                    _ = &mut done => {}
                    () = self.poll_until(|_| false) => {}
                }
            }
        }

        impl Peer for $name {
            $($methods)*

            async fn connect(job: &Job, id: &str) -> Self {
                let (client, events) = open(job, id);
                let mut peer = Self { client, events };
                peer.poll_until(|event| matches!(event, Event::Incoming(Packet::ConnAck(_))))
                    .await;
                peer
            }

            async fn publish(&mut self, messages: Outgoing, done: Done) {
                self.publish_from(1, messages).await;
                self.poll_while_not(done).await;
            }

            async fn publish_batch(&mut self, batch: Outgoing) {
                self.publish_from(1, batch).await;
            }

            async fn publish_from_threads(&mut self, messages: Outgoing, threads: usize, done: Done) {
                self.publish_from(threads, messages).await;
                self.poll_while_not(done).await;
            }

            async fn publish_offline(
                job: &Job,
                messages: Outgoing,
                queued: impl FnOnce(),
                done: Done,
            ) -> Self {
                // What waits is in the channel, which is long enough.
                let (client, events) = open(job, "bench");
                let mut peer = Self { client, events };
                for payload in messages.payloads() {
                    send(&peer.client, level(messages.qos), payload).await;
                }
                queued();
                peer.poll_while_not(done).await;
                peer
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
                send(&self.client, QoS::AtMostOnce, payload).await;
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
pub(super) use polled;
