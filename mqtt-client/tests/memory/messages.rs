//! What is exact can be held: in its steady state the whole client, from the handle to the socket,
//! allocates nothing for a message, and how often it calls the socket in a turn is fixed.

use crate::wire::{World, poll};
use allocation_counter::{measure, opt_out};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use martlet_client::proto::{Delivery, PublishRef};
use martlet_client::{QoS, Subscription, TopicName, Version};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

const PER_TURN: usize = 100;
const TURNS: usize = 50;

/// What `TURNS` turns cost, after as many that nobody counts.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    allocations: u64,
    writes: usize,
    reads: usize,
}

impl Cost {
    /// What it is to be, by the calls of the socket in one turn; reads count also where nothing is there.
    fn of_turns(writes: usize, reads: usize) -> Self {
        Self {
            allocations: 0,
            writes: writes * TURNS,
            reads: reads * TURNS,
        }
    }
}

fn cost(world: &mut World, mut turn: impl FnMut(&mut World)) -> Cost {
    (0..TURNS).for_each(|_| turn(world));
    let before = (world.wire.borrow().writes, world.wire.borrow().reads);
    let counted = measure(|| (0..TURNS).for_each(|_| turn(world)));
    let wire = world.wire.borrow();
    Cost {
        allocations: counted.count_total,
        writes: wire.writes - before.0,
        reads: wire.reads - before.1,
    }
}

/// The driver has its turns until it has nothing to do, and the server answers what it was sent.
fn serve(world: &mut World) {
    loop {
        assert!(poll(&mut world.driver).is_pending());
        let mut wire = world.wire.borrow_mut();
        opt_out(|| {
            let answers = answers(&mut wire.output);
            wire.input.extend((!answers.is_empty()).then_some(answers));
        });
        if wire.input.is_empty() {
            return;
        }
    }
}

/// What a server answers to these packets of less than 128 bytes.
fn answers(output: &mut BytesMut) -> Bytes {
    let mut answers = BytesMut::new();
    while !output.is_empty() {
        let packet = output.split_to(2 + usize::from(output[1]));
        let topic = match packet[0] >> 4 {
            3 => 2 + usize::from(packet[3]),
            _ => 0,
        };
        let first = match packet[0] & 0xf6 {
            0x32 => 0x40,
            0x34 => 0x50,
            0x50 => 0x62,
            0x62 => 0x70,
            _ => continue,
        };
        answers.extend_from_slice(&[first, 2, packet[2 + topic], packet[3 + topic]]);
    }
    answers.freeze()
}

fn topic() -> TopicName {
    TopicName::new("sensors/7/temperature").unwrap()
}

#[test]
fn a_published_message_allocates_nothing() {
    let (topic, payload) = (topic(), Bytes::from_static(b"21.5"));
    for (qos, writes, reads) in [
        (QoS::AtMostOnce, 1, 2),
        (QoS::AtLeastOnce, 1, 4),
        (QoS::ExactlyOnce, 2, 6),
    ] {
        let mut world = World::new();
        world.wire.borrow_mut().output.clear();
        let counted = cost(&mut world, |world| {
            for _ in 0..PER_TURN {
                let publish = world.client.publish(&topic, payload.clone()).qos(qos);
                let mut enqueue = pin!(publish.enqueue());
                assert!(matches!(poll(&mut enqueue), Poll::Ready(Ok(_))));
            }
            serve(world);
        });
        assert_eq!(counted, Cost::of_turns(writes, reads), "{qos}");
    }
}

#[test]
fn an_awaited_message_allocates_nothing() {
    let (topic, payload) = (topic(), Bytes::from_static(b"21.5"));
    for (qos, writes, reads) in [
        (QoS::AtMostOnce, 1, 2),
        (QoS::AtLeastOnce, PER_TURN, 4 * PER_TURN + 1),
        (QoS::ExactlyOnce, 2 * PER_TURN, 6 * PER_TURN + 1),
    ] {
        let mut world = World::new();
        world.wire.borrow_mut().output.clear();
        let client = world.client.clone();
        let counted = cost(&mut world, |world| {
            for _ in 0..PER_TURN {
                let publish = client.publish(&topic, payload.clone()).qos(qos);
                let mut publish = pin!(publish.into_future());
                if poll(&mut publish).is_pending() {
                    serve(world);
                    assert!(matches!(poll(&mut publish), Poll::Ready(Ok(_))));
                }
            }
            serve(world);
        });
        assert_eq!(counted, Cost::of_turns(writes, reads), "{qos}");
    }
}

#[test]
fn a_received_message_allocates_nothing_of_its_own() {
    for (qos, writes, reads) in [
        (QoS::AtMostOnce, 0, 3),
        (QoS::AtLeastOnce, 1, 4),
        (QoS::ExactlyOnce, 2, 6),
    ] {
        let mut world = World::new();
        world.wire.borrow_mut().output.clear();
        let mut messages = world.client.unmatched().unwrap();
        let counted = cost(&mut world, |world| {
            opt_out(|| world.wire.borrow_mut().input.push_back(sent(qos)));
            receive(world, &mut messages);
        });
        assert_eq!(counted, Cost::of_turns(writes, reads), "{qos}");
    }
}

/// A turn's messages, as a server sends them.
fn sent(qos: QoS) -> Bytes {
    let topic = topic();
    let mut bytes = BytesMut::new();
    for n in 1..=u16::try_from(PER_TURN).unwrap() {
        let (packet_identifier, duplicate) = (n.try_into().unwrap(), false);
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce {
                packet_identifier,
                duplicate,
            },
            QoS::ExactlyOnce => Delivery::ExactlyOnce {
                packet_identifier,
                duplicate,
            },
        };
        PublishRef::new(&topic, b"21.5")
            .with_delivery(delivery)
            .encode(Version::V5, &mut bytes)
            .unwrap();
    }
    bytes.freeze()
}

fn receive(world: &mut World, messages: &mut Subscription) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(poll(&mut world.driver).is_pending());
    let mut count = 0;
    while let Poll::Ready(Some(message)) = Pin::new(&mut *messages).poll_next(&mut cx) {
        assert_eq!(message.payload(), b"21.5");
        count += 1;
    }
    assert_eq!(count, PER_TURN);
    serve(world);
}
