//! Publishers against the driver.

use crate::scheduling::{Running, cancel_after, choose, model};
use crate::world::World;
use martlet_broker::BrokerConfig;
use martlet_client::session::{OutgoingPublish, QueueLimits};
use martlet_client::store::MemoryStore;
use martlet_client::{Builder, Client, PublishError, QoS, TopicName};
use shuttle::future::{JoinHandle, spawn};
use std::future::IntoFuture;
use std::num::NonZeroU16;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Room for one message at a time.
fn narrow(builder: Builder) -> Builder {
    builder
        .queue(QueueLimits::default().messages(1))
        .max_in_flight(1)
}

/// A task that publishes, and finds the message with the server when it is acknowledged.
fn publish(world: &World, client: &Client, qos: QoS, payload: &'static str) -> JoinHandle<()> {
    let (world, client) = (world.clone(), client.clone());
    spawn(async move {
        client.publish("a", payload).qos(qos).await.unwrap();
        if qos != QoS::AtMostOnce {
            assert!(world.count(payload) > 0, "{payload} is not with the server");
        }
    })
}

#[test]
fn publishers_that_share_little_room_all_get_it() {
    model("little room", || {
        let world = World::new(BrokerConfig::default());
        let running = Running::start(&world, world.client(narrow));
        let tasks = ["0", "1", "2", "3"].map(|payload| {
            let qos = QOS[choose(QOS.len())];
            publish(&world, &running.client, qos, payload)
        });
        running.finish(tasks);
        let mut accepted = world.accepted();
        accepted.sort_unstable();
        assert_eq!(accepted, ["0", "1", "2", "3"]);
    });
}

/// A publish that is dropped at any moment: while it waits for room, when it was woken for it, and when
/// it is accepted.
#[test]
fn a_publish_that_is_dropped_leaves_its_room_and_its_place_to_others() {
    model("cancelled publish", || {
        let world = World::new(BrokerConfig::default());
        let running = Running::start(&world, world.client(narrow));
        let qos = QOS[1 + choose(2)];
        let cancelled = ["x", "y"].map(|payload| {
            let (client, polls) = (running.client.clone(), choose(5));
            spawn(async move {
                let publish = client.publish("a", payload).qos(qos);
                cancel_after(polls, publish.into_future()).await;
            })
        });
        let tasks = ["0", "1"].map(|payload| publish(&world, &running.client, qos, payload));
        running.finish(cancelled.into_iter().chain(tasks));
        for (payload, least) in [("0", 1), ("1", 1), ("x", 0), ("y", 0)] {
            assert!((least..=1).contains(&world.count(payload)), "{payload}");
        }
    });
}

#[test]
fn publishers_end_once_whenever_the_connection_is_cut() {
    model("cut connection", || {
        let world = World::new(BrokerConfig::default());
        world.cut_after(1 + choose(120));
        let running = Running::start(&world, world.client(narrow));
        let messages = [
            (QoS::AtLeastOnce, "1"),
            (QoS::ExactlyOnce, "2"),
            (QoS::ExactlyOnce, "3"),
        ];
        let tasks = messages.map(|(qos, payload)| publish(&world, &running.client, qos, payload));
        running.finish(tasks);
        assert!(world.count("1") >= 1);
        assert_eq!((world.count("2"), world.count("3")), (1, 1));
    });
}

/// Somebody disconnects while others publish: each gets an end.
#[test]
fn publishers_end_when_the_client_disconnects() {
    model("disconnect", || {
        let world = World::new(BrokerConfig::default());
        let running = Running::start(&world, world.client(narrow));
        let tasks = ["0", "1", "2"].map(|payload| {
            let (world, client) = (world.clone(), running.client.clone());
            spawn(async move {
                match client.publish("a", payload).qos(QoS::AtLeastOnce).await {
                    Ok(_) => assert_eq!(world.count(payload), 1),
                    Err(PublishError::Closed(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            })
        });
        let client = running.client.clone();
        let disconnect = spawn(async move {
            client.disconnect().await;
        });
        running.wait(tasks.into_iter().chain([disconnect]));
    });
}

/// The driver is dropped while others publish and wait for what it does: each gets an end.
#[test]
fn whoever_waits_is_woken_when_the_driver_is_dropped() {
    model("dropped driver", || {
        let world = World::new(BrokerConfig::default());
        let running = Running::start(&world, world.client(narrow));
        let publishers = ["0", "1"].map(|payload| {
            let client = running.client.clone();
            spawn(async move { drop(client.publish("a", payload).qos(QoS::ExactlyOnce).await) })
        });
        let client = running.client.clone();
        let flush = spawn(async move { drop(client.flush().await) });
        let client = running.client.clone();
        let ping = spawn(async move { drop(client.ping().await) });
        let client = running.client.clone();
        let connected = spawn(async move { drop(client.connected().await) });
        running.driver.abort();
        running.wait(publishers.into_iter().chain([flush, ping, connected]));
    });
}

/// A message of QoS 0 waits for the queue, which is full of others, while there is no connection: with
/// one it need not wait. Where it was not woken, it was overtaken for ever by those who came later: the
/// queue does not empty, because the server acknowledges nothing.
#[test]
fn who_waits_for_the_queue_notices_the_connection() {
    model("overtaken", || {
        let world = World::new(BrokerConfig::default());
        let (client, driver) = world.client(|builder| {
            builder
                .queue(QueueLimits::default().bytes(30))
                .max_in_flight(1)
        });
        world.mute();
        let enqueue = |client: &Client, qos| {
            let publish = client.publish("a", "123456789").qos(qos);
            publish.try_enqueue().map(drop)
        };
        for _ in 0..3 {
            enqueue(&client, QoS::AtLeastOnce).unwrap();
        }
        // The first takes the room that there is once a message has left.
        let publish = |qos, payload| {
            let client = client.clone();
            spawn(async move { drop(client.publish("a", payload).qos(qos).await) })
        };
        let first = publish(QoS::AtLeastOnce, "123456789");
        let waiting = publish(QoS::AtMostOnce, "0");
        let running = Running::start(&world, (client, driver));
        let client = running.client.clone();
        let busy = spawn(async move {
            for _ in 0..4 {
                // Accepted or rejected, as it may be.
                drop(enqueue(&client, QoS::AtLeastOnce));
                shuttle::future::yield_now().await;
            }
        });
        let (arrived, driver) = (world.clone(), running.driver.abort_handle());
        let end = spawn(async move {
            waiting.await.unwrap();
            arrived.arrival("0").await;
            driver.abort();
        });
        running.wait([first, busy, end]);
        assert_eq!(world.count("0"), 1);
    });
}

/// A message for one connection waits for the queue when that connection ends, and no other comes.
#[test]
fn who_waits_for_room_on_one_connection_notices_its_end() {
    model("one connection", || {
        let world = World::new(BrokerConfig::default());
        world.mute();
        let queue = QueueLimits::default().messages(1);
        let running = Running::start(
            &world,
            world.client(|builder| builder.queue(queue).max_in_flight(1)),
        );
        let client = running.client.clone();
        let (leaving, driver) = (world.clone(), running.driver.abort_handle());
        let task = spawn(async move {
            let connected = client.connected().await.unwrap();
            for _ in 0..2 {
                let publish = client.publish("a", "0").qos(QoS::AtLeastOnce);
                drop(publish.enqueue().await.unwrap());
            }
            let last = spawn(async move {
                let publish = client.publish("a", "1").qos(QoS::AtLeastOnce);
                publish.only_on(&connected).await
            });
            leaving.leave();
            let end = last.await.unwrap();
            assert!(matches!(end, Err(PublishError::ConnectionEnded)), "{end:?}");
            driver.abort();
        });
        running.wait([task]);
    });
}

#[test]
fn batches_and_single_messages_share_the_room() {
    model("batches", || {
        let world = World::new(BrokerConfig::default());
        let running = Running::start(&world, world.client(narrow));
        let batches = [["a", "b", "c"], ["d", "e", "f"]].map(|payloads| {
            let (world, client) = (world.clone(), running.client.clone());
            spawn(async move {
                let batch = payloads.map(|payload| {
                    let topic = TopicName::from_static("a").unwrap();
                    OutgoingPublish::new(topic, payload).qos(QOS[1 + choose(2)])
                });
                client.publish_all(batch).await.unwrap();
                assert!(payloads.iter().all(|payload| world.count(payload) == 1));
            })
        });
        let single = publish(&world, &running.client, QoS::AtLeastOnce, "0");
        running.finish(batches.into_iter().chain([single]));
        assert_eq!(world.accepted().len(), 7);
    });
}

/// The store has a thread of its own: who waits for it, and for the end, is woken by both.
#[test]
fn messages_are_stored_and_then_acknowledged() {
    model("store", || {
        let world = World::new(BrokerConfig::default());
        let durable = crate::world::builder().max_in_flight(1);
        let durable = durable.store(MemoryStore::new());
        let running = Running::start(&world, durable.build(world.runtime()).unwrap());
        let tasks = ["0", "1"].map(|payload| {
            let client = running.client.clone();
            spawn(async move {
                let publish = client.publish("a", payload).qos(QoS::AtLeastOnce);
                let receipt = publish.enqueue().await.unwrap();
                receipt.await.unwrap();
            })
        });
        let client = running.client.clone();
        let cancelled = spawn(async move {
            let publish = client.publish("a", "x").qos(QoS::AtLeastOnce);
            cancel_after(choose(4), publish.enqueue()).await;
        });
        running.finish(tasks.into_iter().chain([cancelled]));
        assert_eq!((world.count("0"), world.count("1")), (1, 1));
    });
}

/// A server with a Receive Maximum of one: who waits for its window is woken.
#[test]
fn a_small_window_of_the_server_is_shared() {
    model("small window", || {
        let limits = martlet_broker::BrokerLimits::default().receive_maximum(NonZeroU16::MIN);
        let world = World::new(BrokerConfig::default().limits(limits));
        let running = Running::start(&world, world.client(|builder| builder));
        let tasks =
            ["0", "1", "2"].map(|name| publish(&world, &running.client, QOS[1 + choose(2)], name));
        running.finish(tasks);
        assert_eq!(world.accepted().len(), 3);
    });
}
