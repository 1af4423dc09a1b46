//! rumqttc-v4-next and rumqttc-v5-next, which go on from rumqttc: requests are written in batches, and a
//! publish can be tracked.

use crate::client::Job;
use crate::scenario::{Scenario, WINDOW};

/// How many requests wait for the event loop.
fn channel(job: &Job) -> usize {
    match job.scenario {
        Scenario::Offline => job.n,
        _ => WINDOW,
    }
}

/// The default is 10 KiB.
const MAX_PACKET: usize = 1 << 20;

macro_rules! peer {
    ($name:ident) => {
        use crate::peers::in_tasks;
        use crate::peers::polled::polled;

        async fn send(client: &AsyncClient, qos: QoS, payload: Vec<u8>) {
            let publish = client.publish(TOPIC, payload, PublishOptions::new(qos));
            publish.await.expect("a publish");
        }

        polled! {
            $name,
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
        }
    };
}

mod v4 {
    use super::{MAX_PACKET, WINDOW, channel};
    use rumqttc_v4_next::{
        AsyncClient, Event, EventLoop, MqttOptions, Outgoing as Sent, Packet, PublishOptions, QoS,
        SubscribeFilter as Filter, TlsConfiguration, Transport,
    };

    peer!(V4);

    fn open(job: &Job, id: &str) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, ("127.0.0.1", job.port));
        options.set_max_request_batch(WINDOW);
        options.set_inflight(WINDOW as u16);
        if let Some(trusted) = job.tls {
            let config = TlsConfiguration::Rustls(trusted.config.clone());
            options.set_transport(Transport::tls_with_config(config));
        }
        options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        let (client, mut events) = AsyncClient::builder(options).capacity(channel(job)).build();
        events.network_options.set_tcp_nodelay(true);
        (client, events)
    }
}

mod v5 {
    use super::{MAX_PACKET, WINDOW, channel};
    use rumqttc_v5_next::{
        AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing as Sent, Packet,
        PublishOptions, QoS, SubscribeFilter as Filter, TlsConfiguration, Transport,
    };

    peer!(V5);

    fn open(job: &Job, id: &str) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, ("127.0.0.1", job.port));
        options.set_max_request_batch(WINDOW);
        options.set_outgoing_inflight_upper_limit(WINDOW as u16);
        if let Some(trusted) = job.tls {
            let config = TlsConfiguration::Rustls(trusted.config.clone());
            options.set_transport(Transport::tls_with_config(config));
        }
        options.set_max_packet_size(Some(MAX_PACKET as u32));
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        AsyncClient::builder(options).capacity(channel(job)).build()
    }
}

pub use v4::V4;
pub use v5::V5;
