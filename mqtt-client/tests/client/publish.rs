//! Publishing: what is accepted, when it waits, and how it ends.

use crate::scripted::{
    Counted, builder, client, connected, encode, enqueue, identifier, is_pending, settle, soon,
    try_publish, with_broker,
};
use bytes::BytesMut;
use martlet_broker::BrokerConfig;
use martlet_client::{
    PublishError, PublishProperties, QoS, TopicName, Version,
    client::PublishDefaults,
    proto::Packet,
    session::{InboundLimits, OutgoingPublish, QueueLimits},
};
use martlet_proto::{Ack, Delivery, MAX_PACKET_SIZE, PubAckReasonCode, PubRelReasonCode};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const EACH: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn message(topic: &str, qos: QoS) -> OutgoingPublish {
    OutgoingPublish::new(TopicName::new(topic).unwrap(), "x").qos(qos)
}

#[tokio::test]
async fn each_qos_one_after_the_other_and_all_at_once() {
    for version in [Version::V5, Version::V3_1_1, Version::V3_1] {
        let (_server, client) =
            with_broker(BrokerConfig::default(), |builder| builder.version(version)).await;
        let mut stream = soon(client.subscribe("t/#").qos(QoS::ExactlyOnce))
            .await
            .unwrap();
        for qos in EACH {
            soon(client.publish("t/one", "1").qos(qos)).await.unwrap();
            assert_eq!(soon(stream.next()).await.unwrap().qos(), qos);
        }
        let mut tasks = Vec::new();
        for n in 0..300 {
            let client = client.clone();
            tasks.push(tokio::spawn(async move {
                client
                    .publish("t/many", n.to_string())
                    .qos(EACH[n % 3])
                    .await
                    .unwrap();
            }));
        }
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 300 {
            seen.insert(
                soon(stream.next())
                    .await
                    .unwrap()
                    .text()
                    .unwrap()
                    .to_owned(),
            );
        }
        for task in tasks {
            soon(task).await.unwrap();
        }
        let large = vec![7; 256 * 1024];
        soon(
            client
                .publish("t/large", large.clone())
                .qos(QoS::ExactlyOnce),
        )
        .await
        .unwrap();
        assert_eq!(soon(stream.next()).await.unwrap().payload(), large);
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_the_servers() {
    let (client, mut server, _network) = connected(builder()).await;
    let ack = async {
        let id = server.published_id().await;
        server
            .send(Packet::PubAck(Ack::new(
                id,
                PubAckReasonCode::NoMatchingSubscribers,
            )))
            .await;
        let id = server.published_id().await;
        server
            .send(Packet::PubAck(Ack::new(
                id,
                PubAckReasonCode::QuotaExceeded,
            )))
            .await;
        let id = server.published_id().await;
        server
            .send(Packet::PubRec(Ack::new(
                id,
                PubAckReasonCode::NotAuthorized,
            )))
            .await;
    };
    let published = async {
        let acknowledged = client
            .publish("a", "b")
            .qos(QoS::AtLeastOnce)
            .await
            .unwrap();
        assert_eq!(acknowledged.reason, PubAckReasonCode::NoMatchingSubscribers);
        for (qos, code) in [
            (QoS::AtLeastOnce, PubAckReasonCode::QuotaExceeded),
            (QoS::ExactlyOnce, PubAckReasonCode::NotAuthorized),
        ] {
            let rejected = client.publish("a", "b").qos(qos).await.unwrap_err();
            assert!(
                matches!(rejected, PublishError::Rejected { reason, .. } if reason == code),
                "{rejected}"
            );
        }
    };
    soon(async { tokio::join!(published, ack) }).await;
    assert_eq!(client.in_flight(), 0);
}

/// What is wrong is rejected before anything has changed: no packet identifier, no place in a queue
/// is lost.
#[tokio::test(start_paused = true)]
async fn wrong_messages_change_nothing() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open();
    server.connect().await;
    let mut connack = martlet_proto::ConnAck::new(martlet_proto::ConnectReasonCode::Success);
    connack.properties.maximum_packet_size = NonZeroU32::new(100);
    connack.properties.maximum_qos = Some(QoS::AtLeastOnce);
    connack.properties.retain_available = Some(false);
    server.send(connack).await;
    soon(client.connected()).await.unwrap();
    for qos in EACH {
        for topic in ["a/+", "#", "", "a\0b"] {
            let error = client.publish(topic, "x").qos(qos).await.unwrap_err();
            assert!(
                matches!(error, PublishError::Topic(_)),
                "{topic:?}: {error}"
            );
        }
    }
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let error = client
            .publish("a", vec![0; 100])
            .qos(qos)
            .await
            .unwrap_err();
        assert!(
            matches!(error, PublishError::PacketTooLarge { limit: 100, .. }),
            "{error}"
        );
        let error = client
            .publish("a", "b")
            .qos(qos)
            .retain(true)
            .await
            .unwrap_err();
        assert_eq!(error, PublishError::RetainNotSupported);
    }
    let error = client
        .publish("a", "b")
        .qos(QoS::ExactlyOnce)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        PublishError::QosNotSupported {
            maximum: QoS::AtLeastOnce
        }
    );
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
    let _receipt = enqueue(&client, "a", "b").await;
    assert_eq!(
        server.published().await.delivery().packet_identifier(),
        Some(identifier(1))
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_is_rejected_without_room() {
    let (client, _, mut network) = client(builder().queue(QueueLimits::default().messages(2)));
    let first = try_publish(&client, message("a/1", QoS::AtLeastOnce)).unwrap();
    let second = try_publish(&client, message("a/2", QoS::AtMostOnce)).unwrap();
    assert_eq!(
        try_publish(&client, message("a/3", QoS::AtLeastOnce)).unwrap_err(),
        PublishError::QueueFull
    );
    assert_eq!(client.queued(), 2);
    let mut server = network.accept().await;
    let id = server.published_id().await;
    assert_eq!(server.published().await.topic(), "a/2");
    server.puback(id).await;
    soon(first).await.unwrap();
    soon(second).await.unwrap();
}

/// Published before there is a connection: sent in order as soon as there is one.
#[tokio::test(start_paused = true)]
async fn what_was_published_offline_is_sent() {
    let (client, _, mut network) = client(builder());
    for n in 0..300 {
        drop(
            client
                .publish("a", n.to_string())
                .qos(EACH[n % 3])
                .enqueue()
                .await
                .unwrap(),
        );
    }
    assert_eq!(client.queued(), 300);
    let mut server = network.dial().await.open();
    server.accept(false).await;
    let server = tokio::spawn(server.serve());
    soon(client.connected()).await.unwrap();
    soon(client.disconnect()).await;
    let sent: Vec<usize> = soon(server)
        .await
        .unwrap()
        .iter()
        .map(|m| std::str::from_utf8(m.payload()).unwrap().parse().unwrap())
        .collect();
    assert_eq!(sent.len(), 300);
    for line in [0, 1, 2] {
        assert!(
            sent.iter().filter(|&n| n % 3 == line).is_sorted(),
            "order is kept for each QoS"
        );
    }
}

/// A node whose birth and readings belong to one connection looked whether it was still there, and
/// then published: the next connection got a reading before its birth.
#[tokio::test(start_paused = true)]
async fn what_is_for_one_connection_leaves_on_no_other() {
    let queue = QueueLimits::default().messages(1);
    let (client, mut server, mut network) =
        connected(builder().queue(queue).max_in_flight(1)).await;
    let first = client.connection().unwrap();
    let publish = |payload: &'static str, qos| client.publish("a", payload).qos(qos);
    let sent = publish("on it", QoS::AtMostOnce).only_on(&first);
    soon(sent).await.unwrap();
    server.published().await;
    // One in flight, one queued: no room for another until the connection has ended.
    let kept = publish("kept", QoS::AtLeastOnce).only_on(&first);
    let in_flight = kept.try_enqueue().unwrap();
    let queued = enqueue(&client, "a", "queued").await;
    let mut waiting = pin!(
        publish("late", QoS::AtLeastOnce)
            .only_on(&first)
            .into_future()
    );
    assert!(is_pending(&mut waiting));
    drop(server);
    assert_eq!(soon(waiting).await, Err(PublishError::ConnectionEnded));

    for qos in EACH {
        let error = Err(PublishError::ConnectionEnded);
        assert_eq!(soon(publish("late", qos).only_on(&first)).await, error);
        let enqueued = soon(publish("late", qos).only_on(&first).enqueue()).await;
        assert_eq!(enqueued.map(drop), error.clone().map(drop));
        let tried = publish("late", qos).only_on(&first).try_enqueue();
        assert_eq!(tried.map(drop), error.map(drop));
    }
    let server = network.accept().await;
    let server = tokio::spawn(server.serve());
    soon(client.connected()).await.unwrap();
    assert!(
        publish("late", QoS::AtMostOnce)
            .only_on(&first)
            .try_enqueue()
            .is_err()
    );
    let second = client.connection().unwrap();
    soon(publish("new", QoS::AtLeastOnce).only_on(&second))
        .await
        .unwrap();
    soon(in_flight).await.unwrap();
    soon(queued).await.unwrap();
    soon(client.disconnect()).await;
    let got = soon(server).await.unwrap();
    let got: Vec<_> = got.iter().map(martlet_proto::Publish::payload).collect();
    assert_eq!(got, [&b"kept"[..], b"queued", b"new"]);
}

/// What was tried while the output was full went to the queue, and from there to any connection.
#[tokio::test(start_paused = true)]
async fn what_is_for_one_connection_is_not_queued() {
    let (client, server, _network) = connected(builder()).await;
    let connection = client.connection().unwrap();
    let mut error = None;
    for _ in 0..100 {
        let publish = client.publish("a", vec![0; 64 * 1024]).only_on(&connection);
        error = publish.try_enqueue().err();
        if error.is_some() {
            break;
        }
    }
    assert_eq!(error, Some(PublishError::QueueFull));
    assert_eq!(client.queued(), 0);
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn offline_qos_0_may_be_rejected() {
    let (client, _, _network) = client(builder().queue(QueueLimits::default().qos0_offline(false)));
    assert_eq!(
        client.publish("a", "b").await.unwrap_err(),
        PublishError::NotConnected
    );
}

/// Publishes that wait for room get it in the order in which they were made; one that is dropped
/// loses its turn.
#[tokio::test(start_paused = true)]
async fn room_is_given_in_order() {
    let (client, _, mut network) = client(builder().queue(QueueLimits::default().messages(1)));
    drop(enqueue(&client, "a", "0").await);
    let mut waiting = Vec::new();
    for n in 1..10 {
        let client = client.clone();
        waiting.push(tokio::spawn(async move {
            let message = client.publish("a", n.to_string()).qos(QoS::AtLeastOnce);
            drop(message.enqueue().await.unwrap());
        }));
        settle().await;
    }
    waiting[2].abort();
    waiting[8].abort();
    let mut server = network.accept().await;
    for n in [0, 1, 2, 4, 5, 6, 7, 8] {
        assert_eq!(server.published().await.payload(), n.to_string().as_bytes());
    }
    for task in waiting {
        let _ = soon(task).await;
    }
}

/// A message that is larger than the queue failed as `QueueFull` at an empty queue when it was
/// published a moment before the connection was there. It waits for that, as others do, and says
/// what is wrong where it must not wait any longer.
#[tokio::test(start_paused = true)]
async fn what_never_fits_waits_for_a_connection() {
    let (client, _, mut network) = client(builder().queue(QueueLimits::default().bytes(100)));
    let larger = PublishError::LargerThanQueue {
        size: 201,
        limit: 100,
    };
    let publish = |qos| client.publish("a", vec![0; 200]).qos(qos);
    let mut waiting = Vec::new();
    for qos in EACH {
        let mut future = Box::pin(publish(qos).into_future());
        assert!(is_pending(&mut future.as_mut()));
        waiting.push(future);
        let limited = publish(qos).timeout(Duration::from_secs(1));
        assert_eq!(soon(limited).await, Err(larger.clone()));
        let topic = "a".try_into().unwrap();
        let message = OutgoingPublish::new(topic, vec![0; 200]).qos(qos);
        assert_eq!(try_publish(&client, message).unwrap_err(), larger);
    }
    tokio::spawn(network.accept().await.serve());
    for future in waiting {
        soon(future).await.unwrap();
    }
}

/// The socket is full and a publisher of QoS 0 waits for room in the output. The driver used to
/// wake it at each turn, because there was room in the queue, for which it did not wait; it called
/// the driver, which woke it: for ever.
#[tokio::test(start_paused = true)]
async fn who_waits_for_the_socket_is_not_woken_for_nothing() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open_with(1024);
    server.accept(false).await;
    soon(client.connected()).await.unwrap();
    let filling = tokio::spawn({
        let client = client.clone();
        async move {
            for _ in 0..8 {
                client.publish("a", vec![0; 32 * 1024]).await.unwrap();
            }
        }
    });
    settle().await;
    assert!(!filling.is_finished());
    let waiting = {
        let client = client.clone();
        async move { client.publish("a", vec![0; 32 * 1024]).await }
    };
    let polls = Arc::new(AtomicUsize::new(0));
    let waiting = tokio::spawn(Counted::new(waiting, polls.clone()));
    for _ in 0..10 {
        settle().await;
    }
    assert!(polls.load(Ordering::Relaxed) < 5, "{polls:?} polls");
    let server = tokio::spawn(server.serve());
    soon(filling).await.unwrap();
    soon(waiting).await.unwrap().unwrap();
    drop(client);
    assert_eq!(soon(server).await.unwrap().len(), 9);
}

/// Hundreds wait for the socket, and all have their turn when it moves.
#[tokio::test(start_paused = true)]
async fn everyone_who_waits_for_the_socket_has_a_turn() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open_with(1024);
    server.accept(false).await;
    soon(client.connected()).await.unwrap();
    let mut tasks = Vec::new();
    for n in 0..500 {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            client.publish("a", vec![0; 1000]).await
        }));
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    settle().await;
    for task in tasks.iter().skip(3).step_by(5) {
        task.abort();
    }
    let server = tokio::spawn(server.serve());
    let mut acknowledged = 0;
    for task in tasks {
        match soon(task).await {
            Ok(result) => acknowledged += usize::from(result.is_ok()),
            Err(error) => assert!(error.is_cancelled()),
        }
    }
    assert!(acknowledged >= 400, "{acknowledged}");
    drop(client);
    assert!(soon(server).await.unwrap().len() >= acknowledged);
}

/// `flush()` used to be content with an empty output while messages were waiting in the queue.
#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_is_queued() {
    let (client, _, mut network) = client(builder());
    let receipt = client.publish("a", "b").enqueue().await.unwrap();
    let mut flush = Box::pin(client.flush());
    for _ in 0..10 {
        assert!(is_pending(&mut flush.as_mut()));
        settle().await;
    }
    let mut server = network.accept().await;
    soon(flush).await.unwrap();
    assert_eq!(server.published().await.payload(), b"b");
    soon(receipt).await.unwrap();
    soon(client.flush()).await.unwrap();
}

/// … and it ends when there is nothing left to wait for, even though nothing was written.
#[tokio::test(start_paused = true)]
async fn a_flush_does_not_outwait_what_has_expired() {
    let (client, _, _network) = client(builder().dial_timeout(Duration::from_secs(86_400)));
    settle().await;
    let properties = PublishProperties::builder()
        .message_expiry_interval(5)
        .build();
    let receipt = client
        .publish("a", "b")
        .properties(properties)
        .enqueue()
        .await
        .unwrap();
    soon(client.flush()).await.unwrap();
    assert_eq!(soon(receipt).await, Err(PublishError::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_the_socket() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open_with(1024);
    server.accept(false).await;
    soon(client.connected()).await.unwrap();
    client.publish("a", vec![0; 10_000]).await.unwrap();
    let flush = tokio::spawn({
        let client = client.clone();
        async move { client.flush().await }
    });
    settle().await;
    assert!(!flush.is_finished());
    server.published().await;
    soon(flush).await.unwrap().unwrap();
}

/// Dropped before it was polled, while it waits for room, and while it waits for each answer.
#[tokio::test(start_paused = true)]
async fn a_dropped_publish_does_what_its_docs_say() {
    let (client, mut server, _network) = connected(builder().max_in_flight(1)).await;
    drop(client.publish("a", "never").qos(QoS::AtLeastOnce));
    drop(client.publish("a", "never").qos(QoS::AtLeastOnce).enqueue());
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
    {
        let mut publish = pin!(client.publish("a", "1").qos(QoS::AtLeastOnce).into_future());
        assert!(is_pending(&mut publish.as_mut()));
    }
    let id = server.published_id().await;
    assert_eq!(client.in_flight(), 1);
    server.puback(id).await;
    {
        let mut publish = Box::pin(client.publish("a", "2").qos(QoS::ExactlyOnce).into_future());
        assert!(is_pending(&mut publish.as_mut()));
        let id = server.published_id().await;
        server.pubrec(id).await;
        assert!(matches!(server.packet().await, Packet::PubRel(_)));
        assert!(is_pending(&mut publish.as_mut()));
        drop(publish);
        server.pubcomp(id).await;
    }
    // Its slot is free: another one gets its own result.
    let (acknowledged, ()) = tokio::join!(
        async { client.publish("a", "3").qos(QoS::AtLeastOnce).await },
        async {
            let publish = server.published().await;
            assert_eq!(publish.payload(), b"3");
            server
                .puback(publish.delivery().packet_identifier().unwrap())
                .await;
        }
    );
    acknowledged.unwrap();
    assert_eq!((client.in_flight(), client.queued()), (0, 0));
}

/// The application answers each message that it gets, and gets more than its limits allow to wait;
/// and the server reads nothing before it has written everything. Neither waits for the other for
/// ever: the connection is the same one in the end.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_publishes_while_it_is_flooded_never_wedges() {
    const FLOOD: usize = 3000;
    for qos in EACH {
        let (client, mut server, mut network) = connected(
            builder()
                .inbound(InboundLimits::default().soft_messages(100))
                .queue(QueueLimits::default().messages(100)),
        )
        .await;
        let mut stream = client.unmatched().unwrap();
        let echo = tokio::spawn(async move {
            for _ in 0..100 {
                stream.next().await.unwrap();
                client
                    .publish("echo", vec![0; 4000])
                    .qos(qos)
                    .await
                    .unwrap();
            }
            (client, stream)
        });
        let mut flood = BytesMut::new();
        for _ in 0..FLOOD {
            encode(
                &mut flood,
                Version::V5,
                "flood",
                &[0; 100],
                Delivery::AtMostOnce,
                &[],
            );
        }
        soon(server.stream.write_all(&flood)).await.unwrap();
        let (mut input, mut echoes, mut output) = (BytesMut::new(), 0, BytesMut::new());
        while echoes < 100 {
            soon(server.stream.read_buf(&mut input)).await.unwrap();
            while let Some(packet) =
                Packet::decode(&mut input, Version::V5, MAX_PACKET_SIZE).unwrap()
            {
                let answer = match packet {
                    Packet::Publish(publish) => {
                        echoes += usize::from(qos != QoS::ExactlyOnce);
                        match publish.delivery() {
                            Delivery::AtMostOnce => continue,
                            Delivery::AtLeastOnce {
                                packet_identifier, ..
                            } => Packet::PubAck(Ack::new(
                                packet_identifier,
                                PubAckReasonCode::Success,
                            )),
                            Delivery::ExactlyOnce {
                                packet_identifier, ..
                            } => Packet::PubRec(Ack::new(
                                packet_identifier,
                                PubAckReasonCode::Success,
                            )),
                        }
                    }
                    Packet::PubRel(ack) => {
                        echoes += 1;
                        Packet::PubComp(Ack::new(ack.packet_identifier, PubRelReasonCode::Success))
                    }
                    other => panic!("{other:?}"),
                };
                answer.encode(Version::V5, &mut output).unwrap();
            }
            soon(server.stream.write_all_buf(&mut output))
                .await
                .unwrap();
        }
        soon(echo).await.unwrap();
        assert!(network.is_quiet(), "{qos}: no second connection");
    }
}

/// A default of the builder's holds for every message that says nothing else.
#[tokio::test(start_paused = true)]
async fn the_builders_defaults_hold_for_each_publish() {
    let defaults = PublishDefaults::default()
        .qos(QoS::AtLeastOnce)
        .retain(true);
    let (client, mut server, _network) = connected(builder().publish_defaults(defaults)).await;
    drop(client.publish("a", "b").enqueue().await.unwrap());
    let publish = server.published().await;
    assert_eq!(publish.delivery().qos(), QoS::AtLeastOnce);
    assert!(publish.retain());
}
