//! Pauses between two calls, in which the client is not polled.

use super::*;
use martlet_broker::Ending;

/// A device that published once a minute, and slept in between, made a new connection for each message: the
/// PINGREQ had been due after 45 s, and the time for its answer was over before it was sent.
#[test]
fn a_pause_that_the_server_allows_does_not_end_the_connection() {
    for seconds in [44, 50, 56, 60, 89] {
        for qos in ALL {
            let world = World::new();
            let mut client = world.client(Config::default().keep_alive(60));
            connected(&world, &mut client);
            for n in 0..5 {
                world.pause(Duration::from_secs(seconds));
                world
                    .run(client.publish(message("a", &n.to_string(), qos)))
                    .unwrap();
            }
            world.pause(Duration::from_secs(seconds));
            world.run(client.disconnect(DisconnectOptions::default()));
            assert_eq!(world.0.borrow().dials.len(), 1, "{seconds} {qos:?}");
            assert_eq!(world.accepted().len(), 5);
        }
    }
    // A link that has died in a pause is found.
    let world = World::new();
    let mut client = world.client(Config::default().keep_alive(60));
    connected(&world, &mut client);
    world.0.borrow_mut().chunk = 0;
    world.pause(Duration::from_secs(60));
    let before = world.now();
    let event = world.run(client.next_event()).unwrap();
    assert!(matches!(event, Event::Disconnected(_)), "{event:?}");
    // And then the time in which its last packet may leave.
    assert_eq!(world.now() - before, Duration::from_secs(10 + 2));
    // Also by one that never waits for as long as that.
    let world = World::new();
    let mut client = world.client(Config::default().keep_alive(60));
    connected(&world, &mut client);
    world.0.borrow_mut().chunk = 0;
    for _ in 0..2 {
        world.pause(Duration::from_secs(60));
        world.run_for(Duration::from_secs(1), client.next());
    }
    assert!(client.last_error().is_some());
}

/// An answer that had come in time was too late for a program that looked for it later than its timer.
#[test]
fn an_answer_that_came_in_a_pause_is_in_time() {
    let world = World::new();
    let config = Config::default().publish_timeout(Duration::from_secs(5));
    let mut client = world.client(config);
    connected(&world, &mut client);
    client.enqueue(message("b", "", QoS::AtLeastOnce)).unwrap();
    let subscribe = client.subscribe(to("a", QoS::AtLeastOnce));
    assert!(world.run_turns(1, subscribe).is_none());
    world.pause(Duration::from_secs(30));
    let mut answers = 0;
    while answers < 2 {
        match world.run(client.next_event()).unwrap() {
            Event::Subscribed { result: Ok(_), .. } | Event::Published { result: Ok(_), .. } => {
                answers += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_disconnect_after_a_pause_says_goodbye() {
    let world = World::new();
    let mut client = world.client(Config::default().keep_alive(60));
    connected(&world, &mut client);
    world.pause(Duration::from_secs(80));
    world.run(client.disconnect(DisconnectOptions::default()));
    let ending = world.events().into_iter().find_map(|event| match event {
        BrokerEvent::Disconnected { ending, .. } => Some(ending),
        _ => None,
    });
    let goodbye = Ending::Client(DisconnectReasonCode::NormalDisconnection);
    assert_eq!(ending, Some(goodbye));
}

#[test]
fn a_connection_that_was_lost_in_a_pause_is_reported_before_another_is_made() {
    let world = World::new();
    let mut client = world.client(Config::default().keep_alive(60));
    connected(&world, &mut client);
    world.cut();
    world.pause(Duration::from_secs(80));
    let event = world.run(client.next_event()).unwrap();
    let lost = Event::Disconnected(ConnectionError::ClosedByPeer);
    assert_eq!((event, world.0.borrow().dials.len()), (lost, 1));
}
