//! What the client tells about itself.

use crate::scripted::{builder, client, connected, discarded, enqueue, qos1, settle, soon};
use martlet_client::{ClientEvent, ConnectionError, PublishError, QoS, session::QueueLimits};
use martlet_proto::{Delivery, Disconnect, DisconnectReasonCode};
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
    assert!(matches!(
        soon(events.next()).await,
        Some(ClientEvent::Connected(_))
    ));
    server
        .send(Disconnect::new(DisconnectReasonCode::ServerShuttingDown))
        .await;
    match soon(events.next()).await {
        Some(ClientEvent::Disconnected {
            reason: ConnectionError::DisconnectedByPeer(disconnect),
            retry_in,
        }) => {
            assert_eq!(disconnect.reason, DisconnectReasonCode::ServerShuttingDown);
            assert!(retry_in.unwrap() <= Duration::from_secs(1));
        }
        other => panic!("{other:?}"),
    }
    let mut server = network.accept().await;
    assert!(matches!(
        soon(events.next()).await,
        Some(ClientEvent::Connecting(_))
    ));
    assert!(matches!(
        soon(events.next()).await,
        Some(ClientEvent::Connected(_))
    ));
    server.message("a", "b", Delivery::AtMostOnce, &[]).await;
    assert_eq!(
        soon(events.next()).await,
        discarded(1, "a", QoS::AtMostOnce)
    );
    client.disconnect().await;
    let closed = ClientEvent::Closed;
    assert_eq!(soon(events.next()).await, Some(closed));
    assert_eq!(soon(events.next()).await, None);
    let mut count = 0;
    while soon(late.next()).await.is_some() {
        count += 1;
    }
    assert_eq!(count, 7, "each reader has its own");
}

/// Events used to hold on to the client as clients and streams do: a task that logs them kept the
/// connection for ever.
#[tokio::test(start_paused = true)]
async fn listening_does_not_keep_the_client() {
    let (client, server, _network) = connected(builder()).await;
    let mut events = client.events();
    let server = tokio::spawn(server.rest());
    drop(client);
    let last = ClientEvent::Closed;
    assert_eq!(soon(events.next()).await, Some(last));
    assert_eq!(soon(events.next()).await, None);
    assert_eq!(soon(server).await.unwrap().len(), 1, "DISCONNECT");
}

#[tokio::test(start_paused = true)]
async fn a_failed_message_whose_receipt_nobody_holds_is_told() {
    let (client, mut server, mut network) =
        connected(builder().queue(QueueLimits::default().qos0_offline(true))).await;
    let mut events = client.events();
    drop(
        client
            .publish("a", "1")
            .qos(QoS::ExactlyOnce)
            .enqueue()
            .await
            .unwrap(),
    );
    server.published().await;
    drop(server);
    network.accept().await;
    // Its receipt was dropped: the slot is free again, and its end is not reported to another.
    let receipt = enqueue(&client, "a", "2").await;
    drop(receipt);
    settle().await;
    let mut seen = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), events.next()).await
    {
        seen.push(event);
    }
    assert!(
        !seen.contains(&ClientEvent::PublishFailed(PublishError::Closed(
            ConnectionError::ClosedHere
        ))),
        "{seen:?}"
    );
}

/// Each turn in which messages were dropped was an event: 200,000 drops were 2,001 of them, and the
/// loss of the connection was pushed out. Counts are added up in the event that waits.
#[tokio::test(start_paused = true)]
async fn counts_do_not_push_out_what_happened_to_the_connection() {
    let (client, mut server, mut network) = connected(builder()).await;
    let mut events = client.events();
    drop(server);
    server = network.accept().await;
    for n in 0..1000 {
        // Each in a turn of its own: what happens in one is reported together.
        server
            .message(
                if n % 2 == 0 { "a" } else { "b" },
                "",
                Delivery::AtMostOnce,
                &[],
            )
            .await;
        settle().await;
    }
    server.message("last", "", qos1(1), &[]).await;
    settle().await;
    assert!(matches!(
        soon(events.next()).await,
        Some(ClientEvent::Disconnected {
            retry_in: Some(_),
            ..
        })
    ));
    assert!(matches!(
        soon(events.next()).await,
        Some(ClientEvent::Connecting(_))
    ));
    assert!(matches!(
        soon(events.next()).await,
        Some(ClientEvent::Connected(_))
    ));
    assert_eq!(
        soon(events.next()).await,
        discarded(1001, "last", QoS::AtLeastOnce)
    );
    client.disconnect().await;
    assert!(matches!(
        soon(events.next()).await,
        Some(ClientEvent::Closed)
    ));
    assert_eq!(soon(events.next()).await, None);
}

/// A reader that does not read costs 256 events of a kind, not more: it loses the oldest, and an
/// event says how many.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_the_oldest() {
    let (client, server, mut network) = connected(builder()).await;
    let mut events = client.events();
    drop(server);
    for _ in 0..200 {
        network.dial().await.reject();
    }
    settle().await;
    client.disconnect().await;
    let mut seen = Vec::new();
    while let Some(event) = soon(events.next()).await {
        seen.push(event);
    }
    // Each attempt is two events; the connection that was lost and the end are one each.
    assert_eq!(seen.remove(0), ClientEvent::Missed(1 + 2 * 200 + 1 - 256));
    assert_eq!(seen.len(), 256);
    assert!(
        matches!(seen.last(), Some(ClientEvent::Closed)),
        "the newest is kept"
    );
}
