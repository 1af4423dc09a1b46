//! Many messages with one receipt.

use crate::scripted::{Script, builder, client, connected, identifier, is_pending, settle, soon};
use martlet_client::{
    Builder, Client, PublishError, QoS, TopicName,
    client::{BatchReceipt, OutgoingPublish},
    proto::{Ack, Packet, PubAckReasonCode},
    session::{QueueLimits, WhenFull},
};
use std::error::Error;
use std::pin::pin;

fn numbered(count: usize, qos: QoS) -> impl Iterator<Item = OutgoingPublish> {
    let topic = TopicName::new("a").unwrap();
    (0..count).map(move |n| OutgoingPublish::new(topic.clone(), n.to_string()).qos(qos))
}

async fn enqueue(client: &Client, count: usize) -> BatchReceipt {
    let batch = client.publish_all(numbered(count, QoS::AtLeastOnce));
    soon(batch.enqueue()).await.unwrap()
}

/// The server reads this many, which are numbered from `first` on, and answers none.
async fn published(server: &mut Script, first: usize, count: usize) -> Vec<u16> {
    let mut ids = Vec::new();
    for n in first..first + count {
        let publish = soon(server.published()).await;
        assert_eq!(publish.payload(), n.to_string().as_bytes());
        ids.push(publish.delivery().packet_identifier().unwrap().get());
    }
    ids
}

fn few(messages: usize) -> Builder {
    builder()
        .max_in_flight(10)
        .queue(QueueLimits::default().messages(messages))
}

#[tokio::test(start_paused = true)]
async fn the_watermark_is_where_all_before_is_acknowledged() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut receipt = enqueue(&client, 5).await;
    assert_eq!((receipt.len(), receipt.acknowledged()), (5, 0));
    let ids = published(&mut server, 0, 5).await;
    for (place, watermark) in [(0, 1), (2, 1), (3, 1), (1, 4)] {
        server.puback(identifier(ids[place])).await;
        settle().await;
        assert_eq!(receipt.acknowledged(), watermark);
    }
    assert!(is_pending(&mut pin!(&mut receipt)));
    server.puback(identifier(ids[4])).await;
    assert_eq!(soon(&mut receipt).await, Ok(()));
    assert_eq!(receipt.acknowledged(), 5);
    assert_eq!(soon(&mut receipt).await, Ok(()), "it says so again");
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_is_told_at_once_with_its_place() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut receipt = enqueue(&client, 4).await;
    let ids = published(&mut server, 0, 4).await;
    let rejection = Ack::new(identifier(ids[2]), PubAckReasonCode::NotAuthorized);
    server.send(Packet::PubAck(rejection)).await;
    let error = soon(&mut receipt).await.unwrap_err();
    assert_eq!(error.index, 2);
    assert!(matches!(error.error, PublishError::Rejected { .. }));
    let cause = error.source().unwrap().to_string();
    assert!(!error.to_string().contains(&cause), "{error}: {cause}");
    // The others go on, and what is before it is known.
    for place in [0, 1, 3] {
        server.puback(identifier(ids[place])).await;
    }
    settle().await;
    assert_eq!(receipt.acknowledged(), 2);
    assert_eq!(client.in_flight(), 0);
}

/// Only the first failure was to be had, so that a program could not know what to publish again.
#[tokio::test(start_paused = true)]
async fn all_failures_of_a_batch_are_known_when_each_message_has_ended() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut receipt = enqueue(&client, 5).await;
    let ids = published(&mut server, 0, 5).await;
    for (place, reason) in [
        (3, PubAckReasonCode::QuotaExceeded),
        (1, PubAckReasonCode::NotAuthorized),
    ] {
        let rejection = Ack::new(identifier(ids[place]), reason);
        server.send(Packet::PubAck(rejection)).await;
    }
    assert_eq!(soon(&mut receipt).await.unwrap_err().index, 3);
    let mut waiting = Box::pin(receipt.failures());
    for place in [0, 2, 4] {
        settle().await;
        assert!(is_pending(&mut waiting.as_mut()), "{place}");
        server.puback(identifier(ids[place])).await;
    }
    let failures = soon(waiting).await;
    let reasons = failures.iter().map(|failure| match &failure.error {
        PublishError::Rejected { reason, .. } => (failure.index, *reason),
        other => panic!("{other:?}"),
    });
    let expected = [
        (1, PubAckReasonCode::NotAuthorized),
        (3, PubAckReasonCode::QuotaExceeded),
    ];
    assert_eq!(reasons.collect::<Vec<_>>(), expected);
    assert_eq!(soon(receipt.failures()).await, failures, "it says so again");
}

/// None, and all that a client has not sent when it stops.
#[tokio::test(start_paused = true)]
async fn no_failure_and_those_of_a_client_that_stops() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut first = enqueue(&client, 2).await;
    let mut second = enqueue(&client, 3).await;
    let ids = published(&mut server, 0, 2).await;
    let others = published(&mut server, 0, 3).await;
    for id in [ids[0], ids[1], others[1]] {
        server.puback(identifier(id)).await;
    }
    assert_eq!(soon(first.failures()).await, []);
    let mut waiting = Box::pin(second.failures());
    assert!(is_pending(&mut waiting.as_mut()));
    client.disconnect().at_once().await;
    let failures = soon(waiting).await;
    let places: Vec<_> = failures.iter().map(|failure| failure.index).collect();
    assert_eq!(places, [0, 2]);
    let closed = |error: &PublishError| matches!(error, PublishError::Closed(_));
    assert!(failures.iter().all(|failure| closed(&failure.error)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_room_as_single_messages_do() {
    let (client, _, mut network) = client(few(20));
    let batch = client.publish_all(numbered(1000, QoS::ExactlyOnce));
    let mut delivered = pin!(batch.into_future());
    assert!(is_pending(&mut delivered));
    assert_eq!(client.queued(), 20, "what there is room for, and no more");
    let server = network.accept().await;
    let (result, messages) = tokio::join!(
        async {
            let result = soon(delivered).await;
            client.disconnect().await;
            result
        },
        server.serve()
    );
    assert_eq!(result, Ok(()));
    let payloads: Vec<_> = messages.iter().map(|m| m.payload().to_vec()).collect();
    let expected: Vec<_> = (0..1000).map(|n| n.to_string().into_bytes()).collect();
    assert_eq!(payloads, expected, "each once, in order");
}

#[tokio::test(start_paused = true)]
async fn qos_0_is_done_when_it_is_in_the_output() {
    let (client, mut server, _network) = connected(builder()).await;
    let batch = client.publish_all(numbered(300, QoS::AtMostOnce));
    assert_eq!(soon(batch).await, Ok(()));
    for n in 0..300 {
        let publish = soon(server.published()).await;
        assert_eq!(publish.payload(), n.to_string().as_bytes());
    }
    // None at all is no wait.
    let none = client.publish_all([]).enqueue();
    let receipt = soon(none).await.unwrap();
    assert!(receipt.is_empty());
    assert_eq!(soon(receipt).await, Ok(()));
}

/// Dropped while it waits for room, nothing else is published; what was accepted is delivered, and
/// its place in the queue of those who wait is free.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_dropped_publishes_nothing_else() {
    let (client, _, mut network) = client(few(20));
    let mut batch = Box::pin(
        client
            .publish_all(numbered(100, QoS::AtLeastOnce))
            .enqueue(),
    );
    assert!(is_pending(&mut batch.as_mut()));
    let mut behind = pin!(client.publish("b", "").qos(QoS::AtLeastOnce).into_future());
    assert!(is_pending(&mut behind));
    drop(batch);
    let server = network.accept().await;
    let (result, messages) = tokio::join!(
        async {
            let result = soon(behind).await;
            client.disconnect().await;
            result
        },
        server.serve()
    );
    assert!(result.is_ok());
    assert_eq!(messages.len(), 21);
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_batch_is_withdrawn() {
    let (client, mut server, mut network) = connected(few(100)).await;
    let receipt = enqueue(&client, 30).await;
    let ids = published(&mut server, 0, 10).await;
    server.puback(identifier(ids[0])).await;
    published(&mut server, 10, 1).await;
    let withdrawn = receipt.withdraw();
    assert_eq!((withdrawn.unsent, withdrawn.in_flight), (19, 10));
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
    drop(server);
    let mut server = network.resume().await;
    client.publish("b", "next").await.unwrap();
    assert_eq!(server.published().await.topic(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_a_client_that_stops_fails_where_it_was() {
    let (client, mut server, _network) = connected(few(100)).await;
    let mut receipt = enqueue(&client, 30).await;
    let ids = published(&mut server, 0, 3).await;
    for id in &ids[..2] {
        server.puback(identifier(*id)).await;
    }
    settle().await;
    client.disconnect().at_once().await;
    let error = soon(&mut receipt).await.unwrap_err();
    assert_eq!((error.index, receipt.acknowledged()), (2, 2));
    assert!(matches!(error.error, PublishError::Closed(_)));
    let late = client.publish_all(numbered(2, QoS::AtLeastOnce)).enqueue();
    assert_eq!(soon(late).await.unwrap_err().index, 0);
}

/// The queue drops the oldest: a batch that is too large for it fails by itself.
#[tokio::test(start_paused = true)]
async fn what_the_queue_drops_is_a_failure_of_the_batch() {
    let queue = QueueLimits::default()
        .messages(10)
        .when_full(WhenFull::DropOldest);
    let (client, _, _network) = client(builder().queue(queue));
    let mut receipt = enqueue(&client, 15).await;
    let error = soon(&mut receipt).await.unwrap_err();
    assert_eq!((error.index, error.error), (0, PublishError::Dropped));
}

/// A second one that fails is no news, and one batch does not hear of another.
#[tokio::test(start_paused = true)]
async fn batches_are_apart() {
    let (client, mut server, _network) = connected(builder()).await;
    let mut first = enqueue(&client, 2).await;
    let mut second = enqueue(&client, 2).await;
    let ids = [
        published(&mut server, 0, 2).await,
        published(&mut server, 0, 2).await,
    ]
    .concat();
    for place in [1, 0] {
        let rejection = Ack::new(identifier(ids[place]), PubAckReasonCode::QuotaExceeded);
        server.send(Packet::PubAck(rejection)).await;
    }
    server.puback(identifier(ids[3])).await;
    settle().await;
    assert_eq!(soon(&mut first).await.unwrap_err().index, 1);
    assert_eq!(first.acknowledged(), 0);
    assert!(is_pending(&mut pin!(&mut second)));
    drop(first);
    server.puback(identifier(ids[2])).await;
    assert_eq!(soon(second).await, Ok(()));
}
