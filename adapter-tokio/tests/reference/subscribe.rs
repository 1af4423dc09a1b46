//! 27, and topics of the server.

use super::peer::Peer;
use super::{broker_with, connect, message, next, settings};
use martlet_broker::BrokerConfig;
use martlet_tokio::{QoS, SubscribeError, proto::SubAckReasonCode};
use std::time::Duration;

#[tokio::test]
async fn t27_some_are_rejected() {
    let peer = Peer::start().await;
    let filters = ["a", "b", "c", "d", "e", "f"].map(|filter| (filter, QoS::AtLeastOnce));
    let settings = settings(peer.uri());
    let (client, mut server) = tokio::join!(connect(&settings), peer.accept(false));
    let (messages, ()) = tokio::join!(
        client.subscribe_all(filters),
        server.answer_subscribe(&[128, 1, 128, 1, 128, 1])
    );
    let messages = messages.unwrap();
    let codes: Vec<u8> = messages
        .reasons()
        .iter()
        .map(|reason| reason.as_u8())
        .collect();
    assert_eq!(codes, [128, 1, 128, 1, 128, 1]);
    // All of them: that is an error.
    let (rejected, ()) = tokio::join!(client.subscribe("g"), server.answer_subscribe(&[128]));
    assert!(
        matches!(rejected.unwrap_err(), SubscribeError::Rejected { reasons, .. } if reasons == [SubAckReasonCode::UnspecifiedError])
    );
}

/// 35, with topics that the server has.
#[tokio::test]
async fn the_servers_own_topics_come_to_who_asks_for_them() {
    let config = BrokerConfig::default().sys_interval(Duration::from_millis(5));
    let broker = broker_with(config).await;
    let client = connect(&settings(broker.uri())).await;
    let mut system = client.subscribe("$SYS/#").await.unwrap();
    let all = [("#", QoS::AtMostOnce), ("+/broker/#", QoS::AtMostOnce)];
    let mut all = client.subscribe_all(all).await.unwrap();
    for _ in 0..10 {
        assert!(next(&mut system).await.0.starts_with("$SYS/"));
    }
    client.publish("a", "b").await.unwrap();
    assert_eq!(next(&mut all).await, message("a", "b", 0));
    // What the server does with a client's own is its affair.
    let mut own = client.subscribe("$my/#").await.unwrap();
    client.publish("$my/own", "c").await.unwrap();
    assert_eq!(next(&mut own).await, message("$my/own", "c", 0));
}
