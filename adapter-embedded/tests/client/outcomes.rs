//! What becomes of messages and requests: whose outcome a call returns, and what is acknowledged.

use super::*;
use martlet_embedded::proto::UnsubAckReasonCode;
use martlet_embedded::session::InboundLimits;

/// Messages that the broker has sent and that are not acknowledged.
fn unacknowledged(world: &World) -> usize {
    world.0.borrow().broker.statistics().pending
}

#[test]
fn next_acknowledges_what_it_returns_and_next_event_does_not() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let world = World::new();
        let mut client = world.client(Config::default());
        world.run(client.subscribe(to("a", qos))).unwrap();
        broadcast(&world, "a", "1", qos);
        world.run(client.next()).unwrap();
        assert!(world.run_for(HOUR, client.next()).is_none());
        assert_eq!(unacknowledged(&world), 0, "{qos:?}");
        broadcast(&world, "a", "2", qos);
        let Event::Message(message) = world.run(client.next_event()).unwrap() else {
            panic!("a message is next")
        };
        assert!(world.run_for(HOUR, client.next_event()).is_none());
        assert_eq!(unacknowledged(&world), 1, "{qos:?}");
        client.acknowledge(message.token, PubAckReasonCode::Success);
        assert!(world.run_for(HOUR, client.next_event()).is_none());
        assert_eq!(unacknowledged(&world), 0, "{qos:?}");
    }
}

/// Of a message that comes again, after the connection has broken, only one counts for the bounds.
#[test]
fn a_message_that_came_twice_takes_room_once() {
    let world = World::new();
    let inbound = InboundLimits::default().soft_messages(1);
    let mut client = world.client(Config::default().inbound(inbound));
    world
        .run(client.subscribe(to("a", QoS::AtLeastOnce)))
        .unwrap();
    broadcast(&world, "a", "1", QoS::AtLeastOnce);
    // It comes while something else is waited for, and again on the next connection.
    for is_last in [false, true] {
        let publish = client.publish(message("b", "", QoS::ExactlyOnce));
        world.run(publish).unwrap();
        if !is_last {
            world.cut();
        }
    }
    world.run(client.next()).unwrap();
    assert!(!client.session().is_above_soft_bound());
    assert!(world.run_for(HOUR, client.next()).is_none());
    assert_eq!(unacknowledged(&world), 0);
}

/// The outcome of a call whose future was dropped is not that of the next one.
#[test]
fn each_call_returns_its_own_outcome() {
    let world = World::new();
    let mut client = world.client(Config::default());
    connected(&world, &mut client);
    let dropped = client.subscribe(to("a", QoS::AtMostOnce));
    assert!(world.run_turns(1, dropped).is_none());
    let subscribed = world.run(client.subscribe(to("b", QoS::ExactlyOnce)));
    assert_eq!(subscribed.unwrap().reasons, [SubAckReasonCode::GrantedQos2]);

    let dropped = client.publish(message("nobody", "", QoS::AtLeastOnce));
    assert!(world.run_turns(1, dropped).is_none());
    let published = world.run(client.publish(message("b", "", QoS::AtLeastOnce)));
    assert_eq!(published.unwrap().reason, PubAckReasonCode::Success);

    let unsubscribe = |filter: &str| UnsubscribeRequest::new([filter.try_into().unwrap()]);
    let dropped = client.unsubscribe(unsubscribe("c"));
    assert!(world.run_turns(1, dropped).is_none());
    let unsubscribed = world.run(client.unsubscribe(unsubscribe("b")));
    assert_eq!(unsubscribed.unwrap().reasons, [UnsubAckReasonCode::Success]);
}
