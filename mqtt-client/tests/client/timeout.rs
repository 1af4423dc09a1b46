//! How long a publish is waited for, when it says so itself, in simulated time.

use crate::scripted::{builder, client, connected, enqueue, identifier, is_pending, settle, soon};
use martlet_client::{ConnectionError, PublishError, QoS, proto::Packet, session::QueueLimits};
use std::future::IntoFuture;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(7);
/// The timer of the runtime has steps of one millisecond.
const STEP: Duration = Duration::from_millis(1);

fn assert_took(since: Instant, expected: Duration) {
    let took = since.elapsed();
    assert!((expected..=expected + STEP).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_publish_fails_at_its_limit_and_the_message_stays_in_flight() {
    let (client, mut server, _network) = connected(builder()).await;
    for (qos, id) in [(QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
        let start = Instant::now();
        let publish = client
            .publish("a", "b")
            .timeout(LIMIT)
            .qos(qos)
            .into_future();
        let (result, packet) = tokio::join!(publish, server.packet());
        assert_eq!(result, Err(PublishError::Timeout));
        assert_took(start, LIMIT);
        assert!(matches!(packet, Packet::Publish(_)), "{packet:?}");
        assert_eq!(client.in_flight(), 1);
        // The answer still counts.
        if qos == QoS::ExactlyOnce {
            server.pubrec(identifier(id)).await;
            assert!(matches!(soon(server.packet()).await, Packet::PubRel(_)));
            server.pubcomp(identifier(id)).await;
        } else {
            server.puback(identifier(id)).await;
        }
        settle().await;
        assert_eq!(client.in_flight(), 0);
    }
    assert!(
        PublishError::Timeout
            .to_string()
            .contains("the message is not given up")
    );
}

/// Of this one and the one that all have, the one that runs out first counts.
#[tokio::test(start_paused = true)]
async fn the_shorter_of_two_limits_counts() {
    for (for_all, for_one) in [(5, 7), (7, 5)] {
        let builder = builder().publish_timeout(Duration::from_secs(for_all));
        let (client, _server, _network) = connected(builder).await;
        let start = Instant::now();
        let publish = client
            .publish("a", "b")
            .qos(QoS::AtLeastOnce)
            .timeout(Duration::from_secs(for_one));
        assert_eq!(publish.await, Err(PublishError::Timeout));
        assert_took(start, Duration::from_secs(5));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_the_result() {
    let (client, mut server, _network) = connected(builder()).await;
    let answer = async {
        assert!(matches!(server.packet().await, Packet::Publish(_)));
        tokio::time::advance(LIMIT / 2).await;
        server.puback(identifier(1)).await;
    };
    let publish = client
        .publish("a", "b")
        .qos(QoS::AtLeastOnce)
        .timeout(LIMIT)
        .into_future();
    let (result, ()) = tokio::join!(publish, answer);
    result.unwrap();
    // QoS 0 needs none.
    client
        .publish("a", "b")
        .timeout(Duration::ZERO)
        .await
        .unwrap();
}

/// It counts from when the message was first asked to go, not from when the receipt is looked at.
#[tokio::test(start_paused = true)]
async fn a_receipt_has_the_limit_of_its_publish() {
    let (client, _server, _network) = connected(builder()).await;
    let start = Instant::now();
    let receipt = client
        .publish("a", "b")
        .qos(QoS::AtLeastOnce)
        .timeout(LIMIT)
        .enqueue()
        .await
        .unwrap();
    tokio::time::advance(LIMIT / 2).await;
    let mut receipt = pin!(receipt);
    assert!(is_pending(&mut receipt));
    assert_eq!(receipt.await, Err(PublishError::Timeout));
    assert_took(start, LIMIT);
}

/// Nothing was published, and the error is another one.
#[tokio::test(start_paused = true)]
async fn without_room_nothing_is_published() {
    let builder = builder().queue(QueueLimits::default().messages(1));
    let (client, _driver, mut network) = client(builder);
    let first = enqueue(&client, "a", "1").await;
    let start = Instant::now();
    let second = client
        .publish("a", "2")
        .qos(QoS::AtLeastOnce)
        .timeout(LIMIT);
    assert_eq!(second.await, Err(PublishError::QueueFull));
    assert_took(start, LIMIT);
    let mut server = network.accept().await;
    let Packet::Publish(publish) = soon(server.packet()).await else {
        panic!("no PUBLISH")
    };
    assert_eq!(publish.payload_bytes(), "1");
    server.puback(identifier(1)).await;
    soon(first).await.unwrap();
    settle().await;
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
}

/// One that had given up kept its place before those who waited on, for room that they did not
/// need.
#[tokio::test(start_paused = true)]
async fn who_gives_up_keeps_no_place() {
    let builder = builder()
        .queue(QueueLimits::default().bytes(1000))
        .max_in_flight(1);
    let (client, _driver, mut network) = client(builder);
    let publish = |bytes| client.publish("a", vec![0; bytes]).qos(QoS::AtLeastOnce);
    let first = publish(500).enqueue().await.unwrap();
    drop(publish(300).enqueue().await.unwrap());
    // It lives on after its end.
    let mut large = pin!(publish(900).timeout(LIMIT).enqueue());
    assert!(is_pending(&mut large));
    let small = tokio::spawn({
        let client = client.clone();
        async move {
            client
                .publish("a", vec![0; 400])
                .qos(QoS::AtLeastOnce)
                .enqueue()
                .await
        }
    });
    settle().await;
    assert_eq!(large.as_mut().await.map(drop), Err(PublishError::QueueFull));
    let mut server = network.accept().await;
    assert!(matches!(soon(server.packet()).await, Packet::Publish(_)));
    drop(soon(small).await.unwrap().unwrap());
    assert_eq!((client.in_flight(), client.queued()), (1, 2));
    drop(first);
}

/// A message that waits for a connection is accepted: it goes when there is one.
#[tokio::test(start_paused = true)]
async fn without_a_connection_the_message_stays_queued() {
    let (client, _driver, mut network) = client(builder());
    let publish = client
        .publish("a", "b")
        .qos(QoS::AtLeastOnce)
        .timeout(LIMIT);
    assert_eq!(publish.await, Err(PublishError::Timeout));
    assert_eq!(client.queued(), 1);
    let mut server = network.accept().await;
    assert!(matches!(soon(server.packet()).await, Packet::Publish(_)));
}

/// The client ends before the limit, and that is the error. A receipt keeps no client alive.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_client_is_not_a_timeout() {
    let (client, driver, mut network) = client(builder());
    let server = async {
        let mut server = network.accept().await;
        assert!(matches!(server.packet().await, Packet::Publish(_)));
        server
    };
    let publish = client
        .publish("a", "b")
        .qos(QoS::AtLeastOnce)
        .timeout(Duration::from_secs(86_400))
        .enqueue();
    let (receipt, server) = tokio::join!(publish, server);
    drop(client);
    let receipt = receipt.unwrap();
    // The last handle is gone: the driver says goodbye, and waits for the acknowledgement no longer
    // than it drains.
    let (result, rest) = tokio::join!(soon(receipt), server.rest());
    assert_eq!(
        result,
        Err(PublishError::Closed(ConnectionError::ClosedHere))
    );
    assert!(matches!(rest[..], [Packet::Disconnect(_)]), "{rest:?}");
    assert_eq!(driver.await.unwrap(), ConnectionError::ClosedHere);
}
