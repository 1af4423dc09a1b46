//! rumqttc. There is no handle to wait for one acknowledgement.

use crate::client::Job;
use crate::scenario::{Scenario, WINDOW};
use crate::tls::Trusted;
use rumqttc::{TlsConfiguration, Transport};

/// How many requests wait for the event loop.
fn channel(job: &Job) -> usize {
    match job.scenario {
        Scenario::Offline => job.n,
        _ => WINDOW,
    }
}

/// The default is 10 KiB.
const MAX_PACKET: usize = 1 << 20;

fn tls(trusted: &Trusted) -> Transport {
    Transport::tls_with_config(TlsConfiguration::Rustls(trusted.config.clone()))
}

macro_rules! peer {
    ($name:ident) => {
        use crate::peers::lacks_awaited;
        use crate::peers::polled::polled;
        use crate::scenario::Scenario;
        use rumqttc::Outgoing as Sent;

        async fn send(client: &AsyncClient, qos: QoS, payload: Vec<u8>) {
            let publish = client.publish(TOPIC, qos, false, payload);
            publish.await.expect("a publish");
        }

        polled! {
            $name,
            fn lacks(scenario: Scenario) -> Option<&'static str> {
                lacks_awaited(scenario)
            }
        }
    };
}

mod v4 {
    use super::{MAX_PACKET, WINDOW, channel};
    use rumqttc::{
        AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeFilter as Filter,
    };

    peer!(V4);

    fn open(job: &Job, id: &str) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, "127.0.0.1", job.port);
        options.set_inflight(WINDOW as u16);
        if let Some(trusted) = job.tls {
            options.set_transport(super::tls(trusted));
        }
        options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        let (client, mut events) = AsyncClient::new(options, channel(job));
        events.network_options.set_tcp_nodelay(true);
        (client, events)
    }
}

mod v5 {
    use super::{MAX_PACKET, WINDOW, channel};
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Filter, Packet};
    use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

    peer!(V5);

    fn open(job: &Job, id: &str) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, "127.0.0.1", job.port);
        options.set_outgoing_inflight_upper_limit(WINDOW as u16);
        if let Some(trusted) = job.tls {
            options.set_transport(super::tls(trusted));
        }
        options.set_max_packet_size(Some(MAX_PACKET as u32));
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        AsyncClient::new(options, channel(job))
    }
}

pub use v4::V4;
pub use v5::V5;
