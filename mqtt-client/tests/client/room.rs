//! Publishers that wait for room: who is woken, and when.

use crate::scripted::{builder, client, connected, enqueue, settle, soon};
use martlet_client::{PublishError, PublishProperties, QoS, session::QueueLimits};

/// QoS 0 publishers that waited for the socket were not woken when the connection went: without one
/// they need not wait.
#[tokio::test(start_paused = true)]
async fn who_waits_for_the_socket_is_woken_when_the_connection_goes() {
    let (client, _, mut network) = client(builder());
    let mut server = network.dial().await.open_with(1024);
    server.accept(false).await;
    soon(client.connected()).await.unwrap();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                client
                    .publish("a", vec![0; 32 * 1024])
                    .enqueue()
                    .await
                    .map(drop)
            })
        })
        .collect();
    settle().await;
    assert!(waiting.iter().any(|task| !task.is_finished()));
    drop(server);
    for task in waiting {
        soon(task).await.unwrap().unwrap();
    }
}

/// A QoS 0 publisher that waited for the queue while there was no connection did not notice the
/// connection: it waited for a queue that others filled, and was overtaken by everyone who came
/// later.
#[tokio::test(start_paused = true)]
async fn who_waits_for_the_queue_offline_is_woken_by_the_connection() {
    let (client, _, mut network) = client(
        builder()
            .queue(QueueLimits::default().bytes(30))
            .max_in_flight(1),
    );
    for _ in 0..3 {
        drop(enqueue(&client, "a", "123456789").await);
    }
    let publish = |qos| {
        let client = client.clone();
        tokio::spawn(async move {
            client
                .publish("a", "123456789")
                .qos(qos)
                .enqueue()
                .await
                .map(drop)
        })
    };
    let _first = publish(QoS::AtLeastOnce);
    settle().await;
    let waiting = publish(QoS::AtMostOnce);
    settle().await;
    assert!(!waiting.is_finished());
    let mut server = network.accept().await;
    soon(waiting).await.unwrap().unwrap();
    let qos = [
        server.published().await.delivery().qos(),
        server.published().await.delivery().qos(),
    ];
    assert!(qos.contains(&QoS::AtMostOnce), "{qos:?}");
}

/// A message that is larger than the queue failed as `QueueFull` or was sent, depending on the
/// moment: behind another large one it failed. Those that come later do not overtake it.
#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_queue_waits_for_its_turn() {
    let (client, _, mut network) = client(builder().queue(QueueLimits::default().bytes(1000)));
    let mut server = network.dial().await.open_with(1024);
    server.accept(false).await;
    soon(client.connected()).await.unwrap();
    let expiring = PublishProperties::builder()
        .message_expiry_interval(100)
        .build();
    let mut tasks = Vec::new();
    for (topic, size, qos, expires) in [
        ("1", 100_000, QoS::AtLeastOnce, false),
        ("2", 200_000, QoS::AtLeastOnce, false),
        ("3", 10, QoS::AtLeastOnce, false),
        ("4", 100_000, QoS::ExactlyOnce, true),
        ("5", 10, QoS::AtLeastOnce, false),
    ] {
        let properties = if expires {
            expiring.clone()
        } else {
            PublishProperties::default()
        };
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            client
                .publish(topic, vec![0; size])
                .qos(qos)
                .properties(properties)
                .await
        }));
        settle().await;
    }
    // QoS 0 has a line of its own.
    tasks.push(tokio::spawn({
        let client = client.clone();
        async move { client.publish("0", vec![0; 100_000]).await }
    }));
    settle().await;
    let server = tokio::spawn(server.serve());
    for task in tasks {
        soon(task).await.unwrap().unwrap();
    }
    drop(client);
    let topics: Vec<_> = soon(server)
        .await
        .unwrap()
        .iter()
        .map(|message| message.topic().to_owned())
        .collect();
    let without_qos0: Vec<_> = topics.iter().filter(|topic| *topic != "0").collect();
    assert_eq!(
        (without_qos0, topics.len()),
        (
            ["1", "2", "3", "4", "5"].map(String::from).iter().collect(),
            6
        )
    );
}

/// What no room would help is rejected at once, instead of after the wait.
#[tokio::test(start_paused = true)]
async fn what_can_never_be_sent_does_not_wait() {
    let (client, _server, _network) = connected(
        builder()
            .queue(QueueLimits::default().bytes(1000))
            .max_in_flight(1),
    )
    .await;
    for _ in 0..2 {
        drop(
            client
                .publish("a", vec![0; 900])
                .qos(QoS::AtLeastOnce)
                .enqueue()
                .await
                .unwrap(),
        );
    }
    let too_large = vec![0; martlet_proto::MAX_PACKET_SIZE as usize];
    let error = soon(client.publish("a", too_large).qos(QoS::AtLeastOnce))
        .await
        .unwrap_err();
    assert!(
        matches!(error, PublishError::PacketTooLarge { .. }),
        "{error}"
    );
}
