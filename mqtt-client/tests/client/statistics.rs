//! Figures of a client.

use crate::scripted::{builder, client, connected, identifier, qos1, settle, soon};
use martlet_client::{
    ConnectionState, PublishError, QoS,
    proto::{Ack, ConnectReasonCode, Packet, PubAckReasonCode},
    session::{CleanStart, ConnectionError, QueueLimits, WhenFull},
};
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn messages_are_counted_by_what_becomes_of_them() {
    let (client, mut server, _network) = connected(builder()).await;
    let (subscription, _) = tokio::join!(soon(client.subscribe("in")), server.grant());
    let mut stream = subscription.unwrap();
    soon(client.publish("a", "0")).await.unwrap();
    let mut receipts = Vec::new();
    for n in 1..=3 {
        let publish = client.publish("a", n.to_string()).qos(QoS::AtLeastOnce);
        receipts.push(soon(publish.enqueue()).await.unwrap());
    }
    server.published().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.published_id().await.get());
    }
    let before = client.statistics();
    assert_eq!((before.published, before.in_flight), ([1, 3, 0], 3));
    server.puback(identifier(ids[0])).await;
    let rejection = Ack::new(identifier(ids[1]), PubAckReasonCode::NotAuthorized);
    server.send(Packet::PubAck(rejection)).await;
    server.message("in", "1", qos1(1), &[]).await;
    server.message("in", "2", qos1(2), &[]).await;
    settle().await;
    receipts.pop().unwrap().withdraw();
    settle().await;
    let now = client.statistics();
    assert_eq!(
        (now.acknowledged, now.rejected, now.failed),
        (1, 1, 1),
        "{now:?}"
    );
    assert_eq!((now.received, now.unhandled), ([0, 2, 0], 2));
    assert!(now.unhandled_bytes > 0 && now.bytes_sent > 0 && now.bytes_received > 0);
    soon(stream.next()).await.unwrap();
    assert_eq!(client.statistics().unhandled, 1);
    assert_eq!(client.statistics().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_expires_or_is_dropped_is_counted() {
    let queue = QueueLimits::default()
        .messages(2)
        .when_full(WhenFull::DropOldest);
    let (client, _, mut network) = client(builder().queue(queue));
    for payload in ["dropped", "expires", "stays"] {
        let publish = client.publish("a", payload).qos(QoS::AtLeastOnce);
        let publish = match payload {
            "expires" => publish.expires_after(Duration::from_secs(1)),
            _ => publish,
        };
        drop(publish.try_enqueue().unwrap());
    }
    let waiting = client.statistics();
    assert_eq!((waiting.queued, waiting.published), (2, [0, 3, 0]));
    assert!(waiting.queued_bytes >= "expires".len() + "stays".len());
    sleep(Duration::from_secs(2)).await;
    let mut server = network.accept().await;
    let id = server.published_id().await;
    server.puback(id).await;
    settle().await;
    let now = client.statistics();
    assert_eq!((now.dropped, now.expired, now.acknowledged), (1, 1, 1));
    assert_eq!((now.queued, now.queued_bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_connection_is_told_with_its_past() {
    let builder = builder().clean_start(CleanStart::Never);
    let (client, _, mut network) = client(builder);
    let start = client.statistics();
    assert!(matches!(
        start.state,
        ConnectionState::Connecting { attempt: 1 }
    ));
    assert_eq!(
        (start.connections, start.failures, start.last_error),
        (0, 0, None)
    );
    let server = network.accept().await;
    settle().await;
    sleep(Duration::from_secs(5)).await;
    let up = client.statistics();
    assert!(matches!(up.state, ConnectionState::Connected(_)));
    assert_eq!((up.connections, up.in_state), (1, Duration::from_secs(5)));
    drop(server);
    network.reject(ConnectReasonCode::ServerBusy).await;
    settle().await;
    let down = client.statistics();
    assert_eq!((down.connections, down.failures), (1, 2));
    assert!(matches!(
        down.last_error,
        Some(ConnectionError::Rejected(_))
    ));
    assert!(matches!(down.state, ConnectionState::Disconnected { .. }));
    let _server = network.resume().await;
    settle().await;
    assert_eq!(client.statistics().connections, 2);
    // One's own end is no error.
    client.disconnect().at_once().await;
    let closed = client.statistics();
    assert_eq!(
        (closed.state, closed.failures),
        (ConnectionState::Closed, 2)
    );
    let late = soon(client.publish("a", "")).await;
    assert!(matches!(late, Err(PublishError::Closed(_))));
}
