//! A cluster of three NATS servers, of which one is killed while QoS 2 messages are on their way.

use crate::peers::{Peer, in_time};
use martlet_proto::Delivery;
use martlet_tokio::Reconnect;
use martlet_tokio::session::CleanStart;
use martlet_tokio::{
    Builder, Client, QoS, Tokio, Version, hooks::Observer, proto::Packet, session::Instant,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const MANY: usize = 300;

/// How many of them have arrived when the node is killed.
const BEFORE: usize = 60;

fn builder(nodes: &[&Peer], name: &str) -> Builder {
    let uri = |node: &Peer| format!("mqtt://127.0.0.1:{}", node.ports[0]);
    let builder = Client::builder(uri(nodes[0]));
    let builder = nodes[1..]
        .iter()
        .fold(builder, |builder, node| builder.server(uri(node)));
    let builder = builder
        .client_identifier(name)
        .version(Version::V3_1_1)
        .clean_start(CleanStart::Never);
    builder.reconnect(
        Reconnect::default()
            .retry_first(true)
            .initial(Duration::from_millis(50))
            .max(Duration::from_millis(500)),
    )
}

/// Tries until it is let in: a cluster that has no leader yet hangs up.
async fn connect(builder: Builder) -> Client {
    let (client, driver) = builder.build(Tokio).expect("settings that work");
    tokio::spawn(driver);
    in_time("a connection", client.connected())
        .await
        .expect("a connection");
    client
}

/// The QoS 2 flows of a publisher, as they pass: a message keeps its packet identifier, is sent
/// again with DUP, and not after its PUBREC [MQTT-4.3.3-1] [MQTT-4.4.0-1].
#[derive(Debug, Default)]
struct Flows {
    /// By payload: the packet identifier, and the last packet of the server for it.
    messages: BTreeMap<Vec<u8>, (u16, Stage)>,
    faults: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sent,
    Received,
    Complete,
}

impl Flows {
    fn answered(&mut self, id: u16, from: &[Stage], to: Stage) {
        let open = self
            .messages
            .values_mut()
            .find(|(its, stage)| *its == id && from.contains(stage));
        if let Some((_, stage)) = open {
            *stage = to;
        }
    }
}

/// Watches a publisher for the test.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<Flows>>);

impl Observer for Watch {
    fn packet_sent(&mut self, _: Instant, packet: &Packet) {
        let Packet::Publish(publish) = packet else {
            return;
        };
        let Delivery::ExactlyOnce {
            packet_identifier,
            duplicate,
        } = publish.delivery()
        else {
            return;
        };
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = (packet_identifier.get(), Stage::Sent);
        match flows.messages.insert(publish.payload().to_vec(), new) {
            // The node may have died before all of it had left.
            None => {}
            Some(old) if old == new && duplicate => {}
            Some(old) => flows.faults.push(format!(
                "{old:?}, then sent again as {new:?}, DUP {duplicate}"
            )),
        }
    }

    fn packet_received(&mut self, _: Instant, packet: &Packet) {
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match packet {
            Packet::PubRec(ack) => {
                flows.answered(ack.packet_identifier.get(), &[Stage::Sent], Stage::Received);
            }
            Packet::PubComp(ack) => {
                flows.answered(
                    ack.packet_identifier.get(),
                    &[Stage::Sent, Stage::Received],
                    Stage::Complete,
                );
            }
            _ => {}
        }
    }
}

/// The publisher is on the node that dies, and goes on to another one, where its session is too:
/// each of its messages is acknowledged, and published once. A subscriber on another node gets on with
/// it.
///
/// What NATS 2.15 does with them is held as little as it keeps to it: with the node it loses, at
/// times, a message that it has taken, acknowledged and released, and delivers others again under
/// another packet identifier although their PUBREC has come, against MQTT 5 §4.3.3. Those have DUP.
#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn flows_go_on_at_another_node_when_theirs_is_killed() {
    let [mut first, second, third] = Peer::nats_cluster().await;
    let subscriber = connect(builder(&[&second, &third], "to")).await;
    let subscribing = subscriber
        .subscribe("cluster")
        .qos(QoS::ExactlyOnce)
        .into_future();
    let mut messages = in_time("a subscription", subscribing)
        .await
        .expect("a subscription");
    let watch = Watch::default();
    let publisher =
        connect(builder(&[&first, &third, &second], "from").observer(watch.clone())).await;
    let publishing = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            let mut receipts = Vec::new();
            for n in 0..MANY {
                let publish = publisher
                    .publish("cluster", n.to_string())
                    .qos(QoS::ExactlyOnce);
                receipts.push(publish.enqueue().await.expect("accepted"));
            }
            for (n, receipt) in receipts.into_iter().enumerate() {
                receipt
                    .await
                    .unwrap_or_else(|error| panic!("message {n}: {error}"));
            }
            // What was on its way when the node died comes later, and may be behind this one.
            publisher
                .publish("cluster", MANY.to_string())
                .qos(QoS::ExactlyOnce)
                .await
                .expect("acknowledged");
        }
    });
    let mut arrived = BTreeSet::new();
    let mut is_killed = false;
    while !arrived.contains(&MANY) {
        let message = in_time("a message", messages.next())
            .await
            .expect("the stream goes on");
        let n: usize = message
            .text()
            .and_then(|text| text.parse().ok())
            .expect("a number");
        assert!(
            arrived.insert(n) || message.duplicate(),
            "message {n} was published twice"
        );
        if arrived.len() == BEFORE && !is_killed {
            is_killed = true;
            first.kill().await;
        }
    }
    in_time("the rest", publishing)
        .await
        .expect("all are acknowledged");
    assert_eq!((publisher.in_flight(), publisher.queued()), (0, 0));
    in_time("disconnecting", publisher.disconnect().into_future()).await;
    in_time("disconnecting", subscriber.disconnect().into_future()).await;
    let flows = watch.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(flows.faults, [""; 0]);
    assert_eq!(flows.messages.len(), MANY + 1);
    assert!(
        flows
            .messages
            .values()
            .all(|(_, stage)| *stage == Stage::Complete),
        "{flows:?}"
    );
}
