//! Readers and requests against the driver.

use crate::scheduling::{Running, cancel_after, choose, model};
use crate::world::World;
use martlet_broker::BrokerConfig;
use martlet_client::{ConnectionState, QoS, StreamLimits};
use shuttle::future::{block_on, spawn, yield_now};
use std::future::IntoFuture;

/// One stream is read slowly and one is dropped in the middle: the first gets all, each once and in
/// order.
#[test]
fn a_slow_reader_gets_all_and_a_dropped_stream_holds_up_nobody() {
    model("slow reader", || {
        let world = World::new(BrokerConfig::default());
        let running = Running::start(&world, world.client(|builder| builder));
        let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][choose(2)];
        let client = running.client.clone();
        let tasks = spawn(async move {
            let limits = StreamLimits::default().messages(1);
            let subscribe = client.subscribe("a").qos(qos).limits(limits);
            let mut slow = subscribe.await.unwrap();
            let mut dropped = client.subscribe("a").qos(qos).await.unwrap();
            let publisher = client.clone();
            let publisher = spawn(async move {
                for payload in ["0", "1", "2"] {
                    publisher.publish("a", payload).qos(qos).await.unwrap();
                }
            });
            let other = spawn(async move {
                for _ in 0..choose(3) {
                    dropped.next().await.unwrap();
                }
            });
            for expected in ["0", "1", "2"] {
                let message = slow.next().await.unwrap();
                assert_eq!(message.text(), Some(expected));
                yield_now().await;
            }
            publisher.await.unwrap();
            other.await.unwrap();
        });
        running.finish([tasks]);
    });
}

/// Requests that are dropped at any moment take what they asked for back.
#[test]
fn requests_that_are_dropped_leave_nothing_behind() {
    model("cancelled requests", || {
        let world = World::new(BrokerConfig::default());
        let running = Running::start(&world, world.client(|builder| builder));
        let client = running.client.clone();
        let subscribe = spawn(async move {
            let subscribe = client.subscribe("a").into_future();
            drop(cancel_after(choose(6), subscribe).await);
        });
        let client = running.client.clone();
        let ping = spawn(async move {
            client.connected().await.unwrap();
            drop(cancel_after(choose(6), client.ping()).await);
        });
        let client = running.client.clone();
        let other = spawn(async move {
            client.connected().await.unwrap();
            client.ping().await.unwrap();
            let stream = client.subscribe("a").await.unwrap();
            stream.unsubscribe().await.unwrap();
        });
        block_on(async {
            for task in [subscribe, ping, other] {
                task.await.unwrap();
            }
            // What is taken back may wait for the answer to what was asked for.
            for _ in 0..3 {
                running.client.ping().await.unwrap();
            }
        });
        assert!(!world.is_subscribed("a"));
        running.finish([]);
    });
}

/// Those who wait for a change are woken by each, however late they begin to wait.
#[test]
fn watchers_see_the_end() {
    model("watchers", || {
        let world = World::new(BrokerConfig::default());
        if choose(2) == 1 {
            world.cut_after(1 + choose(60));
        }
        let running = Running::start(&world, world.client(|builder| builder));
        let mut events = running.client.events();
        let events = spawn(async move { while events.next().await.is_some() {} });
        let mut changes = running.client.state_changes();
        let changes = spawn(async move {
            let mut last = None;
            while let Some(state) = changes.next().await {
                last = Some(state);
            }
            assert!(matches!(last, Some(ConnectionState::Closed)), "{last:?}");
        });
        let client = running.client.clone();
        let flush = spawn(async move {
            client.publish("a", "0").await.unwrap();
            client.flush().await.unwrap();
            client.connected().await.unwrap();
            client.disconnect().await;
        });
        running.wait([events, changes, flush]);
    });
}
