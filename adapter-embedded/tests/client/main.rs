//! The client against the embedded broker, in memory and in simulated time.
#![allow(clippy::unwrap_used)]

#[path = "../clock/mod.rs"]
mod clock;
mod outcomes;
mod pauses;
mod world;

use clock::TestClock;
use martlet_broker::{BrokerConfig, BrokerEvent, BrokerLimits, Memory};
use martlet_embedded::proto::{
    ConnectReasonCode, DisconnectReasonCode, PubAckReasonCode, PublishProperties, PublishRef, QoS,
    SubAckReasonCode, SubscribeFilter, TopicName, Version,
};
use martlet_embedded::session::{
    Config, ConnectOptions, ConnectionError, DisconnectOptions, Event, OutgoingPublish,
    PublishError, SubscribeRequest, TransportErrorKind, UnsubscribeRequest,
};
use martlet_embedded::{Client, Message};
use std::collections::BTreeSet;
use std::time::Duration;
use world::World;

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const HOUR: Duration = Duration::from_secs(3600);

fn to(filter: &str, qos: QoS) -> SubscribeRequest {
    SubscribeRequest::new([SubscribeFilter::new(filter.try_into().unwrap(), qos)])
}

fn message(topic: &str, payload: &str, qos: QoS) -> OutgoingPublish {
    OutgoingPublish::new(topic.try_into().unwrap(), payload.to_owned()).qos(qos)
}

/// The broker publishes.
fn broadcast(world: &World, topic: &str, payload: &str, qos: QoS) {
    let inner = &mut *world.0.borrow_mut();
    let topic: TopicName = topic.try_into().unwrap();
    let one = 1.try_into().unwrap();
    let delivery = match qos {
        QoS::AtMostOnce => martlet_embedded::proto::Delivery::AtMostOnce,
        QoS::AtLeastOnce => martlet_embedded::proto::Delivery::AtLeastOnce {
            packet_identifier: one,
            duplicate: false,
        },
        QoS::ExactlyOnce => martlet_embedded::proto::Delivery::ExactlyOnce {
            packet_identifier: one,
            duplicate: false,
        },
    };
    let publish = PublishRef::new(&topic, payload.as_bytes()).with_delivery(delivery);
    assert!(
        inner.broker.publish(inner.clock.elapsed(), publish),
        "there is a subscription"
    );
}

fn text(message: &Message) -> String {
    String::from_utf8(message.publish.payload().to_vec()).unwrap()
}

fn connected(world: &World, client: &mut Client<World, TestClock>) {
    world.run(client.connected()).unwrap();
}

#[test]
fn messages_of_every_qos_go_both_ways_in_every_version() {
    for version in [Version::V5, Version::V3_1_1, Version::V3_1] {
        for chunk in [1, 3, usize::MAX] {
            let world = World::new();
            world.0.borrow_mut().chunk = chunk;
            let mut client = world
                .client(Config::default())
                .connect_options(ConnectOptions::new(version));
            world.run(async {
                client.connected().await.unwrap();
                for qos in ALL {
                    let answer = client
                        .subscribe(to(&format!("in/{qos:?}"), qos))
                        .await
                        .unwrap();
                    assert_eq!(answer.reasons[0].as_u8(), qos.as_u8());
                }
            });
            for qos in ALL {
                world
                    .run(client.publish(message("out", "hello", qos)))
                    .unwrap();
                world.run_turns(4, client.next());
                assert_eq!(world.accepted(), ["hello"], "{version:?} {qos:?} {chunk}");
                broadcast(&world, &format!("in/{qos:?}"), "there", qos);
                let message = world.run(client.next()).unwrap();
                assert_eq!(message.topic.as_str(), format!("in/{qos:?}"));
                assert_eq!(
                    (text(&message).as_str(), message.publish.delivery().qos()),
                    ("there", qos)
                );
            }
            world.run(client.disconnect(DisconnectOptions::default()));
            assert!(matches!(
                world.run(client.next()),
                Err(ConnectionError::ClosedHere)
            ));
            assert!(matches!(
                world.run(client.publish(message("a", "b", QoS::AtLeastOnce))),
                Err(PublishError::Closed(_))
            ));
        }
    }
}

#[test]
fn a_subscription_that_is_rejected_has_its_code_and_one_that_ends_brings_nothing_more() {
    let limits = BrokerLimits::default()
        .shared_subscription_available(true)
        .maximum_qos(QoS::AtLeastOnce);
    let world = World::with(BrokerConfig::default().max_subscriptions(1).limits(limits));
    let mut client = world.client(Config::default());
    world.run(async {
        let granted = client.subscribe(to("a", QoS::ExactlyOnce)).await.unwrap();
        assert_eq!(granted.reasons, [SubAckReasonCode::GrantedQos1]);
        let rejected = client.subscribe(to("b", QoS::AtLeastOnce)).await.unwrap();
        assert_eq!(rejected.reasons, [SubAckReasonCode::QuotaExceeded]);
        assert_eq!(client.session().subscriptions().count(), 1);
        client
            .unsubscribe(UnsubscribeRequest::new(["a".try_into().unwrap()]))
            .await
            .unwrap();
        assert_eq!(client.session().subscriptions().count(), 0);
    });
    assert!(
        !world
            .0
            .borrow()
            .broker
            .is_subscribed(&"a".try_into().unwrap())
    );
}

/// The network breaks after each byte of a conversation, and once more; the broker may lose its memory.
#[test]
fn wherever_the_network_breaks_nothing_is_lost_and_nothing_of_qos_2_comes_twice() {
    let mut runs = 0;
    for at in 0.. {
        if !conversation(at, 1 + at % 5) {
            break;
        }
        runs += 1;
    }
    assert!(runs > 300, "{runs}");
}

/// Returns whether the network broke.
fn conversation(at: usize, chunk: usize) -> bool {
    let world = World::new();
    world.0.borrow_mut().chunk = chunk;
    world.0.borrow_mut().breaks_after = Some(at);
    // Without pings the conversation ends.
    let mut client = world.client(Config::default().keep_alive(0));
    let mut received = Vec::new();
    world.run(async {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            client
                .subscribe(to(&format!("echo/{qos:?}"), qos))
                .await
                .unwrap();
        }
        for n in 0..4 {
            for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let payload = format!("{n} {qos:?}");
                client
                    .publish(message(&format!("echo/{qos:?}"), &payload, qos))
                    .await
                    .unwrap();
            }
        }
        while received.iter().collect::<BTreeSet<_>>().len() < 8 {
            received.push(text(&client.next().await.unwrap()));
        }
    });
    // What else comes.
    while let Some(message) = world.run_for(HOUR, client.next()) {
        received.push(text(&message.unwrap()));
    }
    let twice = |payloads: &[String]| {
        let exactly_once: Vec<_> = payloads
            .iter()
            .filter(|payload| payload.ends_with("ExactlyOnce"))
            .collect();
        exactly_once.len() != exactly_once.iter().collect::<BTreeSet<_>>().len()
    };
    assert!(!twice(&received), "{at}: {received:?}");
    assert!(!twice(&world.accepted()), "{at}");
    let broke = world.0.borrow().breaks_after.is_none();
    assert_eq!(world.0.borrow().dials.len(), 1 + usize::from(broke), "{at}");
    broke
}

#[test]
fn a_subscription_is_made_again_when_the_broker_has_lost_it() {
    let world = World::new();
    let mut client = world.client(Config::default());
    world
        .run(client.subscribe(to("a", QoS::AtLeastOnce)))
        .unwrap();
    let now = world.now();
    world.0.borrow_mut().broker.restart(now, Memory::Lost);
    world.cut();
    assert!(
        world
            .run_for(Duration::from_secs(5), client.next())
            .is_none()
    );
    broadcast(&world, "a", "again", QoS::AtLeastOnce);
    assert_eq!(text(&world.run(client.next()).unwrap()), "again");
}

/// However often a future of a command is polled before it is dropped, the command is carried out once.
#[test]
fn dropped_futures_lose_nothing_and_do_nothing_twice() {
    for turns in 0..60 {
        for chunk in [1, 4] {
            let world = World::new();
            world.0.borrow_mut().chunk = chunk;
            let mut client = world.client(Config::default());
            let _ = world.run_turns(turns, client.connected());
            let _ = world.run_turns(turns, client.subscribe(to("echo", QoS::ExactlyOnce)));
            let published = world.run_turns(
                turns,
                client.publish(message("out", "once", QoS::ExactlyOnce)),
            );
            // Its end is an event, if it was asked for at all.
            let mut is_published = published.is_some() || turns == 0;
            while !is_published {
                let event = world.run(client.next_event()).unwrap();
                is_published = matches!(event, Event::Published { result: Ok(_), .. });
            }
            assert_eq!(world.accepted().len(), usize::from(turns > 0), "{turns}");
            world
                .run(client.subscribe(to("echo", QoS::ExactlyOnce)))
                .unwrap();
            broadcast(&world, "echo", "back", QoS::ExactlyOnce);
            let mut messages = Vec::new();
            for _ in 0..100 {
                messages.extend(world.run_turns(turns.max(1), client.next()));
            }
            assert_eq!(messages.len(), 1, "{turns}");
        }
    }
}

#[test]
fn messages_that_come_while_something_else_is_waited_for_are_kept_in_order() {
    let world = World::new();
    let mut client = world.client(Config::default());
    world
        .run(client.subscribe(to("a", QoS::AtLeastOnce)))
        .unwrap();
    for n in 0..3 {
        broadcast(&world, "a", &n.to_string(), QoS::AtLeastOnce);
    }
    world
        .run(client.publish(message("b", "", QoS::ExactlyOnce)))
        .unwrap();
    // The connection breaks before they are acknowledged: they come again, and are handed out once.
    world.cut();
    world
        .run(client.publish(message("b", "", QoS::ExactlyOnce)))
        .unwrap();
    let received: Vec<_> = (0..3)
        .map(|_| text(&world.run(client.next()).unwrap()))
        .collect();
    assert_eq!(received, ["0", "1", "2"]);
    assert!(world.run_for(HOUR, client.next()).is_none());
}

#[test]
fn an_idle_connection_is_kept_alive_and_one_that_fell_silent_is_made_again() {
    let world = World::new();
    let mut client = world.client(Config::default().keep_alive(20));
    connected(&world, &mut client);
    assert!(world.run_for(HOUR, client.next()).is_none());
    assert_eq!(world.0.borrow().dials.len(), 1);
    let gone = |event: &BrokerEvent| matches!(event, BrokerEvent::Disconnected { .. });
    assert!(!world.events().iter().any(gone));
    // Nothing of the broker's arrives any more.
    world.0.borrow_mut().chunk = 0;
    let lost = world.run_for(HOUR, async {
        loop {
            if let Event::Disconnected(error) = client.next_event().await.unwrap() {
                return error;
            }
        }
    });
    assert!(lost.is_some());
    assert!(!world.has_connection(), "it was hung up");
}

#[test]
fn attempts_that_fail_are_made_again_with_a_back_off() {
    let world = World::new();
    world.0.borrow_mut().failing_dials = 12;
    let mut client = world.client(Config::default());
    let error = world.run(client.connected()).unwrap_err();
    let ConnectionError::Transport(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind(), TransportErrorKind::Connect);
    // What the network says of it.
    assert_eq!(error.to_string(), "nobody answers");
    while world.run(client.connected()).is_err() {}
    let dials = world.0.borrow().dials.clone();
    assert_eq!(dials.len(), 13);
    let waits: Vec<_> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        waits[0] <= Duration::from_secs(1)
            && waits.iter().all(|&wait| wait <= Duration::from_secs(60)),
        "{waits:?}"
    );
    assert!(
        waits.iter().any(|&wait| wait > Duration::from_secs(10)),
        "{waits:?}"
    );
    // An attempt that does not end has 10 s.
    world.cut();
    world.0.borrow_mut().silent_dials = true;
    let before = world.now();
    while client
        .last_error()
        .is_none_or(|error| !error.to_string().contains("in time"))
    {
        world.run_turns(2, client.next());
        assert!(world.now() - before < HOUR, "it has an end");
    }
    assert!(world.now() - before >= Duration::from_secs(10));
}

#[test]
fn a_server_that_rejects_the_client_stops_it_at_first_and_later_makes_it_slow() {
    let rejects = BrokerConfig::default().reject(ConnectReasonCode::NotAuthorized);
    let world = World::with(rejects.clone());
    let mut client = world.client(Config::default());
    assert!(matches!(
        world.run(client.connected()),
        Err(ConnectionError::Rejected(_))
    ));
    assert!(matches!(
        world.run(client.next()),
        Err(ConnectionError::Rejected(_))
    ));
    assert_eq!(world.0.borrow().dials.len(), 1);
    // Somebody mends it.
    world
        .0
        .borrow_mut()
        .broker
        .configure(BrokerConfig::default());
    client.retry();
    connected(&world, &mut client);
    // What was right once will be right again.
    world.0.borrow_mut().broker.configure(rejects);
    world.cut();
    assert!(world.run_for(HOUR, client.next()).is_none());
    let dials = world.0.borrow().dials.len();
    assert!((60..=125).contains(&dials), "{dials}");
}

#[test]
fn another_client_with_its_identifier_stops_it() {
    let world = World::new();
    let mut client = world.client(Config::default());
    connected(&world, &mut client);
    {
        let inner = &mut *world.0.borrow_mut();
        let id = inner.broker.connection_of("device").unwrap();
        inner.broker.disconnect(
            inner.clock.elapsed(),
            id,
            DisconnectReasonCode::SessionTakenOver,
        );
    }
    assert!(matches!(
        world.run(client.next()),
        Err(ConnectionError::DisconnectedByPeer(_))
    ));
    assert_eq!(world.0.borrow().dials.len(), 1);
}

#[test]
fn messages_that_are_enqueued_leave_together_and_report_their_end() {
    let world = World::new();
    let mut client = world.client(Config::default());
    let mut waiting: BTreeSet<_> = (0..20)
        .map(|n| {
            client
                .enqueue(message("a", &n.to_string(), QoS::AtLeastOnce))
                .unwrap()
        })
        .collect();
    while !waiting.is_empty() {
        if let Event::Published {
            operation,
            result: Ok(outcome),
            ..
        } = world.run(client.next_event()).unwrap()
        {
            assert_eq!(outcome.reason, PubAckReasonCode::NoMatchingSubscribers);
            assert!(waiting.remove(&operation));
        }
    }
    assert_eq!(world.accepted().len(), 20);
}

#[test]
fn what_was_accepted_leaves_before_the_disconnect() {
    let world = World::new();
    world.0.borrow_mut().chunk = 2;
    let mut client = world.client(Config::default());
    connected(&world, &mut client);
    for n in 0..5 {
        client
            .enqueue(message("a", &n.to_string(), QoS::ExactlyOnce))
            .unwrap();
    }
    world.run(client.disconnect(DisconnectOptions::default()));
    assert_eq!(world.accepted().len(), 5);
}

/// It was reported as sent when the connection broke before a byte of it had left.
#[test]
fn a_message_of_qos_0_that_was_not_written_is_an_error() {
    let world = World::new();
    let mut client = world.client(Config::default());
    connected(&world, &mut client);
    world.0.borrow_mut().breaks_after = Some(0);
    let publish = client.publish(message("a/b", "1", QoS::AtMostOnce));
    assert_eq!(world.run(publish), Err(PublishError::ConnectionEnded));
}

/// One that waited for a connection, or for its turn, was reported as sent before a byte of it had
/// left: a device that then slept had it in its memory.
#[test]
fn a_message_of_qos_0_that_had_to_wait_is_written_when_its_publish_ends() {
    for is_connected in [false, true] {
        let world = World::new();
        let mut client = world.client(Config::default());
        if is_connected {
            connected(&world, &mut client);
        }
        // With an expiry it waits for its turn.
        let expires = PublishProperties::default().with_message_expiry_interval(60);
        let message = message("a/b", "1", QoS::AtMostOnce).properties(expires);
        world.run(client.publish(message)).unwrap();
        world.run_turns(1, std::future::pending::<()>());
        assert_eq!(world.accepted(), ["1"], "{is_connected}");
    }
    // Nor is it said to be written when the network breaks before that.
    let handshake = {
        let world = World::new();
        world.0.borrow_mut().breaks_after = Some(1000);
        connected(&world, &mut world.client(Config::default()));
        1000 - world.0.borrow().breaks_after.unwrap()
    };
    let world = World::new();
    world.0.borrow_mut().breaks_after = Some(handshake);
    let mut client = world.client(Config::default());
    let publish = client.publish(message("a/b", "1", QoS::AtMostOnce));
    assert_eq!(world.run(publish), Err(PublishError::ConnectionEnded));
}
