//! What the client tells about itself.

use crate::scripted::{builder, client, connected, settle, soon};
use martlet_proto::{Delivery, Disconnect, DisconnectReasonCode};
use martlet_tokio::{ClientEvent, ConnectionError, PublishError, QoS};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn the_story_of_a_client() {
    let (client, _, mut network) = client(builder());
    let mut events = client.events();
    let mut late = client.events();
    let mut server = network.accept().await;
    assert!(
        matches!(soon(events.next()).await, Some(ClientEvent::Connecting(endpoint)) if endpoint.host() == "test")
    );
    assert!(matches!(soon(events.next()).await, Some(ClientEvent::Connected(_))));
    server.send(Disconnect::new(DisconnectReasonCode::ServerShuttingDown)).await;
    match soon(events.next()).await {
        Some(ClientEvent::Disconnected {
            error: ConnectionError::DisconnectedByPeer(farewell),
            retry_in,
        }) => {
            assert_eq!(farewell.reason, DisconnectReasonCode::ServerShuttingDown);
            assert!(retry_in.unwrap() <= Duration::from_secs(1));
        }
        other => panic!("{other:?}"),
    }
    let mut server = network.accept().await;
    assert!(matches!(soon(events.next()).await, Some(ClientEvent::Connecting(_))));
    assert!(matches!(soon(events.next()).await, Some(ClientEvent::Connected(_))));
    server.message("a", "b", Delivery::AtMostOnce, &[]).await;
    assert_eq!(soon(events.next()).await, Some(ClientEvent::Discarded(1)));
    client.disconnect().await;
    let closed = ClientEvent::Disconnected { error: ConnectionError::ClosedHere, retry_in: None };
    assert_eq!(soon(events.next()).await, Some(closed));
    assert_eq!(soon(events.next()).await, None);
    let mut count = 0;
    while soon(late.next()).await.is_some() {
        count += 1;
    }
    assert_eq!(count, 7, "each reader has its own");
}

/// Events used to hold on to the client as clients and streams do: a task that logs them kept the connection for ever.
#[tokio::test(start_paused = true)]
async fn listening_does_not_keep_the_client() {
    let (client, server, _network) = connected(builder()).await;
    let mut events = client.events();
    let server = tokio::spawn(server.rest());
    drop(client);
    let last = ClientEvent::Disconnected { error: ConnectionError::ClosedHere, retry_in: None };
    assert_eq!(soon(events.next()).await, Some(last));
    assert_eq!(soon(events.next()).await, None);
    assert_eq!(soon(server).await.unwrap().len(), 1, "DISCONNECT");
}

#[tokio::test(start_paused = true)]
async fn a_failed_message_whose_receipt_nobody_holds_is_told() {
    let (client, mut server, mut network) =
        connected(builder().session(|c| c.queue.qos0_offline = true)).await;
    let mut events = client.events();
    drop(client.publish("a", "1").qos(QoS::ExactlyOnce).enqueue().await.unwrap());
    server.published().await;
    drop(server);
    network.accept().await;
    // Its receipt was dropped: the slot is free again, and nobody else is told its end.
    let receipt = client.publish("a", "2").qos(QoS::AtLeastOnce).enqueue().await.unwrap();
    drop(receipt);
    settle().await;
    let mut told = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), events.next()).await {
        told.push(event);
    }
    assert!(!told.contains(&ClientEvent::PublishFailed(PublishError::Closed)), "{told:?}");
}

/// A reader that does not read costs 256 events, not more.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_the_oldest() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut events = client.events();
    for _ in 0..300 {
        // Each in a turn of its own: what happens in one is told together.
        server.message("a", "b", Delivery::AtMostOnce, &[]).await;
        settle().await;
    }
    client.disconnect().await;
    let mut told = Vec::new();
    while let Some(event) = soon(events.next()).await {
        told.push(event);
    }
    assert_eq!(told.len(), 256);
    assert!(matches!(told.last(), Some(ClientEvent::Disconnected { retry_in: None, .. })));
}
