//! What a connection over plain TCP holds, and how often its payloads are copied: counted, on a
//! runtime of the test's own whose socket sees what it is given.

use crate::wire::{InMemory, Wire, World, accept, encoded, poll};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use martlet_client::proto::{Ack, Packet, PubAckReasonCode, PublishRef};
use martlet_client::session::{Config, Event, OutgoingPublish};
use martlet_client::{
    Driver, Message, QoS, TopicName, Version,
    embedded::{Embedded, EmbeddedEvent, LinkConfig},
    session::{Instant, Session},
};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

const LARGE: usize = 64 * 1024;

/// The goal is 4 KiB for a connection with nothing to do, on top of the task that drives it.
#[test]
fn an_idle_connection_takes_less_than_4_kib_of_heap() {
    // What a thread has once, such as the buffer that it reads into.
    drop(World::new());
    let mut world = None;
    let all = allocation_counter::measure(|| world = Some(World::new())).bytes_current;
    let fresh = all - i64::try_from(Wire::HEAP).unwrap();
    let world = world.as_mut().unwrap();
    // A message each way, and then nothing.
    let answer = Ack::new(1.try_into().unwrap(), PubAckReasonCode::Success);
    let answer = encoded(Version::V5, Packet::PubAck(answer));
    let message = message(100);
    let used = allocation_counter::measure(|| {
        {
            let publish = world.client.publish("a/b", "21.5").qos(QoS::AtLeastOnce);
            let mut publish = pin!(publish.into_future());
            assert!(poll(&mut publish).is_pending());
            for _ in 0..4 {
                assert!(poll(&mut world.driver).is_pending());
            }
            world.wire.borrow_mut().input.push_back(answer.clone());
            for _ in 0..4 {
                assert!(poll(&mut world.driver).is_pending());
            }
            assert!(poll(&mut publish).is_ready());
        }
        let mut messages = world.client.unmatched().unwrap();
        world.wire.borrow_mut().input.push_back(message.clone());
        for _ in 0..4 {
            assert!(poll(&mut world.driver).is_pending());
        }
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(
            Pin::new(&mut messages).poll_next(&mut cx),
            Poll::Ready(Some(_))
        ));
        for _ in 0..4 {
            assert!(poll(&mut world.driver).is_pending());
        }
    })
    .bytes_current;
    println!("the driver itself: {} bytes", size_of::<Driver<InMemory>>());
    println!(
        "on the heap: {fresh} bytes when connected, {} after a message each way",
        fresh + used
    );
    // With metrics the driver remembers what it has recorded.
    let recorded = if cfg!(feature = "metrics") { 256 } else { 0 };
    assert!(fresh <= 4096 + recorded, "{fresh}");
    // The tables of messages, and what is counted of them, are there from the first one on; the
    // times of acknowledgements, 870 bytes, until none has come for a minute.
    // With metrics the driver has a copy of them.
    let copy = if cfg!(feature = "metrics") { 1156 } else { 0 };
    assert!(fresh + used <= 7 * 1024 + copy, "{used} more");
}

fn message(size: usize) -> Bytes {
    let topic = TopicName::new("a/b").unwrap();
    let mut bytes = BytesMut::new();
    PublishRef::new(&topic, &vec![7; size])
        .encode(Version::V5, &mut bytes)
        .unwrap();
    bytes.freeze()
}

/// The socket is given the application's own bytes, whole or in pieces.
#[test]
fn a_large_payload_is_not_copied_on_its_way_out() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for takes in [usize::MAX, 10_000, 1] {
            let mut world = World::new();
            let payload = Bytes::from(vec![7; LARGE]);
            let begin = payload.as_ptr() as usize;
            {
                let mut wire = world.wire.borrow_mut();
                wire.payload = Some(begin..begin + LARGE);
                wire.takes = takes;
                wire.output.clear();
            }
            let publish = world.client.publish("a/b", payload.clone()).qos(qos);
            let mut publish = pin!(publish.into_future());
            let counted = allocation_counter::measure(|| {
                let _ = poll(&mut publish);
                for _ in 0..100_000 {
                    assert!(poll(&mut world.driver).is_pending());
                    if world.wire.borrow().from_payload == LARGE {
                        break;
                    }
                }
            });
            let wire = world.wire.borrow();
            assert_eq!(wire.from_payload, LARGE, "{qos}, {takes} at a time");
            assert!(
                wire.output.len() < 64,
                "the rest is the head of the packet: {:?}",
                wire.output
            );
            assert!(
                counted.bytes_total < 8 * 1024,
                "{qos}, {takes} at a time: {}",
                counted.bytes_total
            );
        }
    }
}

#[test]
fn an_embedded_client_is_given_the_payload_itself() {
    let now = Instant::EPOCH;
    let mut client = Embedded::new(
        Session::new(Config::default()),
        LinkConfig::new("mqtt://localhost".parse().unwrap()),
    );
    assert!(client.poll_dial(now).is_some());
    client.handle_dialed(now);
    let n = client.poll_wire(now).unwrap().remaining();
    client.handle_written(now, n);
    client.handle_wire(now, &accept(Version::V5));
    assert!(matches!(client.poll_event(), Some(EmbeddedEvent::Link(_))));
    assert!(matches!(
        client.poll_event(),
        Some(EmbeddedEvent::Session(Event::Connected(_)))
    ));
    let payload = Bytes::from(vec![7; LARGE]);
    client
        .session_mut()
        .publish(
            now,
            OutgoingPublish::new("a/b".try_into().unwrap(), payload.clone()),
        )
        .unwrap();
    let output = client.poll_wire(now).unwrap();
    let mut slices = [IoSlice::new(&[]); 4];
    let used = output.chunks_vectored(&mut slices);
    assert_eq!(used, 2, "the head of the packet and the payload");
    assert_eq!(
        (slices[1].as_ptr(), slices[1].len()),
        (payload.as_ptr(), LARGE)
    );
}

/// What is allocated has room for each message once: the copy out of the buffer that the thread
/// reads into. That they are not moved within it is held where it is made, in `src/intake.rs`.
#[test]
fn a_large_payload_is_copied_once_on_its_way_in() {
    const MESSAGES: usize = 16;
    for read in [usize::MAX, 64 * 1024, 16 * 1024, 1460] {
        let mut world = World::new();
        let mut messages = world.client.unmatched().unwrap();
        let mut stream = BytesMut::new();
        (0..MESSAGES).for_each(|_| stream.extend_from_slice(&message(LARGE)));
        let mut stream = stream.freeze();
        let mut received: Vec<Message> = Vec::with_capacity(MESSAGES);
        let size = stream.len() / MESSAGES;
        {
            let mut wire = world.wire.borrow_mut();
            while !stream.is_empty() {
                let chunk = stream.split_to(read.min(stream.len()));
                wire.input.push_back(chunk);
            }
        }
        let counted = allocation_counter::measure(|| {
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..10_000 {
                assert!(poll(&mut world.driver).is_pending());
                while let Poll::Ready(Some(message)) = Pin::new(&mut messages).poll_next(&mut cx) {
                    received.push(message);
                }
                if received.len() == MESSAGES {
                    break;
                }
            }
        });
        assert_eq!(received.len(), MESSAGES, "in reads of {read}");
        assert!(
            received
                .iter()
                .all(|message| message.payload() == [7; LARGE])
        );
        let each = usize::try_from(counted.bytes_total).unwrap() / MESSAGES;
        println!("reads of {read}: {each} bytes allocated for a message of {size}");
        assert!(
            each < size + size / 8,
            "reads of {read}: {each} bytes for a message of {size}"
        );
    }
}
