//! What users of the test kit do, on every runtime: the broker has threads of its own, and its waits
//! are awaited.

use super::adapter::Adapter;
use martlet_broker::{Direction, Fault, Memory, TestBroker};
use martlet_client::{
    Builder, Client, ConnectError, ConnectionError, PublishError, QoS, Reconnect,
};
use martlet_proto::{ConnectReasonCode, PacketType, PublishRef, TopicName};
use std::time::Duration;

/// Makes a `#[test]` of each user's test for this [`Adapter`].
#[macro_export]
macro_rules! kit_tests {
    ($adapter:ty) => {
        $crate::runtime_tests! { $adapter =>
            a_service_publishes
            a_service_is_sent_a_message
            qos_2_survives_a_cut_at_each_step
            a_service_is_rejected_and_comes_back
            a_service_waits_for_a_broker_that_is_away
            a_broken_server_is_survived
            a_wait_fails_in_time
        }
    };
}

/// A client of a service, which reconnects fast.
fn service(broker: &TestBroker) -> Builder {
    let fast = Duration::from_millis(1);
    let reconnect = Reconnect::default().initial(fast).max(fast);
    Client::builder(broker.uri())
        .lasting_session("service", Duration::from_secs(3600))
        .reconnect(reconnect.retry_first(true))
}

async fn publish(client: &Client, qos: QoS) -> Result<(), PublishError> {
    client.publish("readings", "21.5").qos(qos).await.map(drop)
}

pub async fn a_service_publishes<A: Adapter>() {
    let broker = TestBroker::start().unwrap();
    let client = A::connect_with(service(&broker)).await.unwrap();
    broker.wait_for_client("service").await.unwrap();
    publish(&client, QoS::AtMostOnce).await.unwrap();
    let message = broker.wait_for_message("readings").await.unwrap();
    assert_eq!(message.payload(), b"21.5");
    client.disconnect().await;
    broker.wait_for_disconnect("service").await.unwrap();
    assert_eq!(
        broker.transcript()[0].received_types(),
        [
            PacketType::Connect,
            PacketType::Publish,
            PacketType::Disconnect
        ]
    );
}

pub async fn a_service_is_sent_a_message<A: Adapter>() {
    let broker = TestBroker::start().unwrap();
    let client = A::connect_with(service(&broker)).await.unwrap();
    let mut orders = client.subscribe("orders").await.unwrap();
    broker.wait_for_subscription("orders").await.unwrap();
    let topic = TopicName::from_static("orders").unwrap();
    assert!(broker.publish(PublishRef::new(&topic, b"on")));
    assert_eq!(orders.next().await.unwrap().text(), Some("on"));
}

pub async fn qos_2_survives_a_cut_at_each_step<A: Adapter>() {
    for (fault, connections) in [
        (Fault::hang_up_on(PacketType::Publish), 2),
        (Fault::hang_up_instead_of(PacketType::PubRec), 2),
        (Fault::hang_up_on(PacketType::PubRel), 2),
        (Fault::hang_up_instead_of(PacketType::PubComp), 2),
        (
            Fault::hang_up_instead_of(PacketType::PubComp).for_connections(3),
            4,
        ),
    ] {
        let broker = TestBroker::start().unwrap();
        broker.inject(fault.clone());
        let client = A::connect_with(service(&broker)).await.unwrap();
        publish(&client, QoS::ExactlyOnce).await.unwrap();
        assert_eq!(broker.messages().len(), 1, "{fault:?}");
        assert_eq!(broker.transcript().len(), connections, "{fault:?}");
    }
}

pub async fn a_service_is_rejected_and_comes_back<A: Adapter>() {
    let broker = TestBroker::start().unwrap();
    broker.inject(Fault::reject(ConnectReasonCode::NotAuthorized));
    match A::connect_with(service(&broker)).await {
        Err(ConnectError::Connection(ConnectionError::Rejected(rejection))) => {
            assert_eq!(rejection.reason, ConnectReasonCode::NotAuthorized);
        }
        other => panic!("{other:?}"),
    }
    let client = A::connect_with(service(&broker)).await.unwrap();
    publish(&client, QoS::AtLeastOnce).await.unwrap();
}

pub async fn a_service_waits_for_a_broker_that_is_away<A: Adapter>() {
    let broker = TestBroker::start().unwrap();
    let client = A::connect_with(service(&broker)).await.unwrap();
    broker.refuse_connections();
    broker.restart(Memory::Lost);
    client
        .publish("readings", "1")
        .qos(QoS::AtLeastOnce)
        .enqueue()
        .await
        .unwrap();
    assert!(broker.messages().is_empty());
    broker.accept_connections().unwrap();
    broker.wait_for_message("readings").await.unwrap();
}

pub async fn a_broken_server_is_survived<A: Adapter>() {
    let broker = TestBroker::start().unwrap();
    let connack = PacketType::ConnAck;
    for fault in [
        Fault::cut_from_client(0),
        Fault::cut_from_client(10),
        Fault::cut_to_client(1),
        Fault::hang_up_on(PacketType::Connect),
        Fault::hang_up_instead_of(connack),
        Fault::drip(Duration::ZERO),
        Fault::lose_session(),
    ] {
        broker.inject(fault.clone());
        let client = A::connect_with(service(&broker)).await;
        let client = client.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        publish(&client, QoS::AtLeastOnce).await.unwrap();
        client.disconnect().await;
    }
    // A handshake without an end has a time limit.
    for fault in [Fault::stall_handshake(), Fault::answer_short(connack)] {
        broker.inject(fault);
        let limited = service(&broker).connect_timeout(Duration::from_millis(50));
        let client = A::connect_with(limited).await.unwrap();
        client.disconnect().await;
    }
}

pub async fn a_wait_fails_in_time<A: Adapter>() {
    let broker = TestBroker::start().unwrap();
    let client = A::connect_with(service(&broker)).await.unwrap();
    publish(&client, QoS::AtLeastOnce).await.unwrap();
    let wait = broker.wait_for_packets(Direction::FromClient, PacketType::Publish, 2);
    let error = wait.timeout(Duration::from_millis(20)).await.unwrap_err();
    assert!(
        error.to_string().contains("> PUBLISH `readings`"),
        "{error}"
    );
}
