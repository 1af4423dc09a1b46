//! Every broker with every scenario, each in the versions that it serves.

use crate::peers::{Peer, is_wanted, is_wanted_in_full};
use crate::scenarios::{Broker, Flaw, everything};
use martlet_tokio::Version::{V3_1, V3_1_1, V5};

#[tokio::test]
async fn mosquitto() {
    if is_wanted() {
        everything(Broker::new(Peer::mosquitto().await, 0, &[]), &[V3_1, V3_1_1, V5]).await;
    }
}

#[tokio::test]
async fn aedes() {
    if is_wanted() {
        const FLAWS: &[Flaw] = &[Flaw::LosesDeliveries, Flaw::NoSessionOfPublishers];
        everything(Broker::new(Peer::aedes().await, 0, FLAWS), &[V3_1, V3_1_1]).await;
    }
}

#[tokio::test]
async fn amqtt() {
    if is_wanted() {
        const FLAWS: &[Flaw] = &[
            Flaw::QosOfSubscription,
            Flaw::ForgetsQos2Flows,
            Flaw::LosesDeliveries,
            Flaw::SilentToOtherVersions,
        ];
        let broker = Broker::new(Peer::amqtt().await, 0, FLAWS).user("martlet", "any");
        everything(broker, &[V3_1_1]).await;
    }
}

#[tokio::test]
async fn iotcore_3_1_1() {
    if is_wanted() {
        const FLAWS: &[Flaw] = &[Flaw::QosOfSubscription, Flaw::ForgetsQos2Flows];
        everything(Broker::new(Peer::iotcore().await, 0, FLAWS), &[V3_1_1]).await;
    }
}

#[tokio::test]
async fn iotcore_5() {
    if is_wanted() {
        const FLAWS: &[Flaw] = &[Flaw::QosOfSubscription, Flaw::OneAliasForAFilter, Flaw::IgnoresOptions];
        everything(Broker::new(Peer::iotcore().await, 1, FLAWS), &[V5]).await;
    }
}

#[tokio::test]
async fn ejabberd() {
    if is_wanted_in_full() {
        let broker = Broker::new(Peer::ejabberd().await, 0, &[]).user("martlet@localhost", "any");
        everything(broker, &[V3_1_1, V5]).await;
    }
}

#[tokio::test]
async fn rabbitmq() {
    if is_wanted_in_full() {
        const FLAWS: &[Flaw] = &[Flaw::NoQos2, Flaw::NoRetainedForWildcards];
        everything(Broker::new(Peer::rabbitmq().await, 0, FLAWS), &[V3_1, V3_1_1]).await;
    }
}
