//! Every broker with every scenario, each in the versions that it serves.

use crate::flaws::Flaw;
use crate::peers::Peer;
use crate::scenarios::{Broker, everything};
use martlet_tokio::Version::{V3_1, V3_1_1, V5};

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn mosquitto() {
    everything(
        Broker::new(Peer::mosquitto().await, 0, &[]),
        &[V3_1, V3_1_1, V5],
    )
    .await;
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn aedes() {
    const FLAWS: &[Flaw] = &[Flaw::LosesDeliveries, Flaw::NoSessionOfPublishers];
    everything(Broker::new(Peer::aedes().await, 0, FLAWS), &[V3_1, V3_1_1]).await;
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn amqtt() {
    const FLAWS: &[Flaw] = &[
        Flaw::QosOfSubscription,
        Flaw::ForgetsQos2Flows,
        Flaw::LosesDeliveries,
        Flaw::SilentToOtherVersions,
    ];
    let broker = Broker::new(Peer::amqtt().await, 0, FLAWS).user("martlet", "any");
    everything(broker, &[V3_1_1]).await;
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn iotcore_3_1_1() {
    const FLAWS: &[Flaw] = &[Flaw::QosOfSubscription, Flaw::ForgetsQos2Flows];
    everything(Broker::new(Peer::iotcore().await, 0, FLAWS), &[V3_1_1]).await;
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn iotcore_5() {
    // What had no PUBREC when a connection was cut comes again under another identifier.
    const FLAWS: &[Flaw] = &[
        Flaw::QosOfSubscription,
        Flaw::ForgetsQos2Flows,
        Flaw::OneAliasForAFilter,
        Flaw::IgnoresOptions,
    ];
    everything(Broker::new(Peer::iotcore().await, 1, FLAWS), &[V5]).await;
}

#[tokio::test]
#[ignore = "needs real brokers: see .ci/run"]
async fn nats() {
    const FLAWS: &[Flaw] = &[Flaw::ResendsLater, Flaw::RetainsLater];
    everything(Broker::new(Peer::nats().await, 0, FLAWS), &[V3_1_1]).await;
}

#[tokio::test]
#[ignore = "needs brokers that are heavy: see .ci/run"]
async fn ejabberd() {
    let broker = Broker::new(Peer::ejabberd().await, 0, &[]).user("martlet@localhost", "any");
    everything(broker, &[V3_1_1, V5]).await;
}

#[tokio::test]
#[ignore = "needs brokers that are heavy: see .ci/run"]
async fn rabbitmq() {
    const FLAWS: &[Flaw] = &[Flaw::NoQos2, Flaw::NoRetainedForWildcards];
    everything(
        Broker::new(Peer::rabbitmq().await, 0, FLAWS),
        &[V3_1, V3_1_1],
    )
    .await;
}
