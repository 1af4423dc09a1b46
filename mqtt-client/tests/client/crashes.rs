//! A server that crashes again and again while messages flow: none is lost, and none at QoS 2
//! arrives twice.

use crate::reconnect::quick;
use crate::scripted::soon;
use martlet_broker::tokio::Server;
use martlet_broker::{BrokerConfig, Memory};
use martlet_client::{Client, QoS};
use std::collections::BTreeMap;

const MESSAGES: usize = 10_000;

async fn broker_and_clients() -> (Server, Client, Client) {
    let server = Server::start(BrokerConfig::default()).await.unwrap();
    let publisher = Client::builder(server.uri()).reconnect(quick());
    let publisher = soon(martlet_tokio::connect_with(publisher)).await.unwrap();
    let subscriber = Client::builder(server.uri()).reconnect(quick());
    let subscriber = soon(martlet_tokio::connect_with(subscriber)).await.unwrap();
    (server, publisher, subscriber)
}

/// 10,000 messages of QoS 1, and the broker crashes and forgets everything, three times. Each is
/// acknowledged.
#[tokio::test]
async fn every_qos_1_message_is_acknowledged_through_crashes() {
    let (mut server, publisher, subscriber) = broker_and_clients().await;
    let mut stream = soon(subscriber.subscribe("n").qos(QoS::AtLeastOnce))
        .await
        .unwrap();
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        while stream.next().await.is_some() {
            seen += 1;
        }
        seen
    });
    let sender = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            let mut receipts = Vec::new();
            for n in 0..MESSAGES {
                let message = publisher.publish("n", n.to_string()).qos(QoS::AtLeastOnce);
                receipts.push(message.enqueue().await.unwrap());
                if n % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let mut acknowledged = 0;
            for receipt in receipts {
                acknowledged += usize::from(receipt.await.is_ok());
            }
            acknowledged
        }
    });
    for crash in 1..=3 {
        while server.statistics().packets_received < crash * 2500 {
            tokio::task::yield_now().await;
        }
        server.kill(Memory::Lost).await;
        server.revive().await.unwrap();
    }
    assert_eq!(soon(sender).await.unwrap(), MESSAGES);
    assert_eq!((publisher.in_flight(), publisher.queued()), (0, 0));
    soon(subscriber.disconnect()).await;
    assert!(soon(reader).await.unwrap() > 0);
}

/// 10,000 messages of QoS 2, and the broker crashes but keeps its sessions, three times. Each
/// arrives exactly once, in order.
#[tokio::test]
async fn every_qos_2_message_arrives_once_through_crashes() {
    let (mut server, publisher, subscriber) = broker_and_clients().await;
    let mut stream = soon(subscriber.subscribe("n").qos(QoS::ExactlyOnce))
        .await
        .unwrap();
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < MESSAGES {
            seen.push(
                stream
                    .next()
                    .await
                    .unwrap()
                    .text()
                    .unwrap()
                    .parse::<usize>()
                    .unwrap(),
            );
        }
        assert!(stream.try_next().is_none());
        seen
    });
    let sender = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            let mut receipts = Vec::new();
            for n in 0..MESSAGES {
                let message = publisher.publish("n", n.to_string()).qos(QoS::ExactlyOnce);
                receipts.push(message.enqueue().await.unwrap());
                if n % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            for receipt in receipts {
                receipt.await.unwrap();
            }
        }
    });
    for crash in 1..=3 {
        while server.statistics().packets_received < crash * 8000 {
            tokio::task::yield_now().await;
        }
        server.kill(Memory::Kept).await;
        server.revive().await.unwrap();
    }
    soon(sender).await.unwrap();
    let seen = soon(reader).await.unwrap();
    let mut counts = BTreeMap::new();
    for n in &seen {
        *counts.entry(n).or_insert(0) += 1;
    }
    assert!(counts.len() == MESSAGES && counts.values().all(|&count| count == 1));
    assert!(seen.is_sorted(), "in order");
}
