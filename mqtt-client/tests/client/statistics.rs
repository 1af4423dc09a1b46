//! Figures of a client.

use crate::scripted::{builder, client, connected, identifier, qos1, settle, soon};
use martlet_client::{
    Client, ConnectionState, PublishError, QoS, TopicFilter, TopicName,
    client::{PacketCount, StreamStatistics},
    proto::{Ack, ConnectReasonCode, Packet, PacketType, PubAckReasonCode},
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
    // A connection that was replaced, as with a new token each hour, counted as a failure.
    let (replaced, _second) = tokio::join!(soon(client.reconnect().replace()), network.resume());
    replaced.unwrap();
    let replaced = client.statistics();
    assert_eq!((replaced.connections, replaced.failures), (3, 2));
    assert_eq!(replaced.last_error, down.last_error);
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

#[tokio::test(start_paused = true)]
async fn packets_are_counted_by_type() {
    let (client, mut server, _network) = connected(builder()).await;
    let receipt = soon(client.publish("a", "12345").qos(QoS::AtLeastOnce).enqueue());
    let receipt = receipt.await.unwrap();
    let id = server.published_id().await;
    server.puback(id).await;
    soon(receipt).await.unwrap();
    soon(client.publish("a", "")).await.unwrap();
    settle().await;
    let now = client.statistics();
    let count = |count: PacketCount| (count.packets, count.bytes);
    assert_eq!(count(now.traffic.sent(PacketType::Connect)).0, 1);
    assert_eq!(count(now.traffic.sent(PacketType::Publish)), (2, 13 + 6));
    assert_eq!(count(now.traffic.received(PacketType::PubAck)), (1, 4));
    assert_eq!(now.published, [1, 1, 0]);
    let all = PacketType::ALL.into_iter();
    let sum: u64 = all.map(|kind| now.traffic.sent(kind).bytes).sum();
    assert_eq!(sum, now.bytes_sent, "plain TCP has nothing else");
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_told_for_each_stream() {
    let (client, mut server, _network) = connected(builder()).await;
    let (cars, _) = tokio::join!(soon(client.subscribe("cars/+")), server.grant());
    let (ships, _) = tokio::join!(soon(client.subscribe("ships/+")), server.grant());
    let (mut cars, _ships) = (cars.unwrap(), ships.unwrap());
    for n in 1..=3 {
        server.message("cars/1", "1234", qos1(n), &[]).await;
    }
    settle().await;
    let waiting = |client: &Client| {
        let streams = client.statistics().streams;
        let of = |stream: &StreamStatistics| {
            let filters = stream.filters.iter().map(TopicFilter::as_str);
            (filters.collect::<String>(), stream.waiting)
        };
        streams.iter().map(of).collect::<Vec<_>>()
    };
    let expected = |cars| {
        [
            (String::new(), 0),
            ("cars/+".into(), cars),
            ("ships/+".into(), 0),
        ]
    };
    assert_eq!(waiting(&client), expected(3));
    assert!(client.statistics().streams[1].waiting_bytes > 3 * 4);
    soon(cars.next()).await.unwrap();
    assert_eq!(waiting(&client), expected(2));
    drop(cars);
    assert_eq!(waiting(&client).len(), 2);
}

/// More streams than are looked at for each time that the lock is held.
#[tokio::test(start_paused = true)]
async fn all_streams_are_told_however_many() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut streams = Vec::new();
    for n in 0..2500 {
        let subscribe = client.subscribe(format!("a/{n}"));
        let (stream, _) = tokio::join!(soon(subscribe), server.grant());
        streams.push(stream.unwrap());
    }
    streams.remove(1500);
    let streams = client.statistics().streams;
    assert_eq!(streams.len(), 2500);
    assert_eq!(streams[2499].filters[0].as_str(), "a/2499");
}

#[tokio::test(start_paused = true)]
async fn what_holds_acknowledgements_is_told() {
    let (client, mut server, _network) = connected(builder()).await;
    let (stream, _) = tokio::join!(soon(client.subscribe("#")), server.grant());
    let mut stream = stream.unwrap().acknowledge_manually();
    for (n, topic) in [(1, "slow"), (2, "fast"), (3, "fast")] {
        server.message(topic, "", qos1(n), &[]).await;
    }
    let slow = soon(stream.next()).await.unwrap();
    soon(stream.next()).await.unwrap().acknowledge();
    soon(stream.next()).await.unwrap().acknowledge();
    let held = client.statistics().held_acknowledgements;
    assert_eq!(held.len(), 1);
    let topic = held[0].topic.as_ref().map(TopicName::as_str);
    assert_eq!((topic, held[0].held), (Some("slow"), 2));
    assert_eq!((held[0].qos, held[0].received), (QoS::AtLeastOnce, true));
    slow.acknowledge();
    assert!(client.statistics().held_acknowledgements.is_empty());
}

#[tokio::test(start_paused = true)]
async fn answers_are_timed() {
    let (client, mut server, _network) = connected(builder().keep_alive(60)).await;
    let none = client.statistics();
    assert_eq!((none.ping_time, none.acknowledgement_times), (None, None));
    for wait in [10, 20] {
        let publish = client.publish("a", "").qos(QoS::AtLeastOnce);
        let receipt = soon(publish.enqueue()).await.unwrap();
        let id = server.published_id().await;
        sleep(Duration::from_millis(wait)).await;
        server.puback(id).await;
        soon(receipt).await.unwrap();
    }
    let times = client.statistics().acknowledgement_times.unwrap();
    assert_eq!((times.count, times.max), (2, Duration::from_millis(20)));
    assert_eq!(times.mean, Duration::from_millis(15));
    let ping = tokio::spawn({
        let client = client.clone();
        async move { client.ping().await }
    });
    settle().await;
    sleep(Duration::from_millis(5)).await;
    server.send(Packet::PingResp).await;
    ping.await.unwrap().unwrap();
    assert_eq!(
        client.statistics().ping_time,
        Some(Duration::from_millis(5))
    );
    assert_eq!(client.statistics().store_lag, None);
}
