//! What a message costs from the handle to the socket and back, in instructions, without a runtime and its system calls.
//!
//! `cargo bench -p martlet-client --bench instructions`, with the features in question, prints a row for each kind of
//! message (needs valgrind). It is exact to about an instruction: two builds can be compared, such as one with the feature
//! `tracing` and one without, where no subscriber is set.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops when it is wrong"
)]

#[expect(dead_code, reason = "tests look at more of it")]
#[path = "../tests/memory/wire.rs"]
mod wire;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use martlet_client::client::OutgoingPublish;
use martlet_client::proto::{Delivery, PublishRef};
use martlet_client::{QoS, TopicName, Version};
use std::pin::{Pin, pin};
use std::process::Command;
use std::task::{Context, Poll, Waker};
use wire::{World, poll};

/// Messages of a turn of the driver.
const PER_TURN: u16 = 100;

/// What is done in a turn.
type Turn = fn(&mut World);

const ROWS: [(&str, Turn); 7] = [
    ("publish QoS 0", |world| publish(world, QoS::AtMostOnce)),
    ("publish QoS 1", |world| publish(world, QoS::AtLeastOnce)),
    ("publish QoS 1, each awaited", publish_awaited),
    ("publish QoS 1, batches of 100", publish_all),
    ("publish QoS 1, batches of 1", publish_one_by_one),
    ("receive QoS 0", |world| receive(world, QoS::AtMostOnce)),
    ("receive QoS 1", |world| receive(world, QoS::AtLeastOnce)),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let ["--row", row, turns] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return run(row.parse().unwrap(), turns.parse().unwrap());
    }
    // `cargo test --benches` runs it too: once is enough to see that it works.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return (0..ROWS.len()).for_each(|row| run(row, 1));
    }
    println!("{:<40} {:>8}", "instructions a message", "");
    for (row, (name, _)) in ROWS.iter().enumerate() {
        let turns = instructions(row, 60) - instructions(row, 20);
        println!("{name:<40} {:>8.1}", turns / 40.0 / f64::from(PER_TURN));
    }
}

fn run(row: usize, turns: usize) {
    let mut world = World::new();
    world.wire.borrow_mut().output.clear();
    let turn = ROWS[row].1;
    (0..turns).for_each(|_| turn(&mut world));
}

/// Of a process that does this row.
fn instructions(row: usize, turns: usize) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--row", &row.to_string(), &turns.to_string()])
        .output()
        .expect("valgrind is installed");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    collected.expect("a count").1.trim().parse().unwrap()
}

fn message(qos: QoS) -> OutgoingPublish {
    let topic = TopicName::from_static("sensors/7/temperature").unwrap();
    OutgoingPublish::new(topic, Bytes::from_static(b"21.5")).qos(qos)
}

fn publish(world: &mut World, qos: QoS) {
    let OutgoingPublish { topic, payload, .. } = message(qos);
    for _ in 0..PER_TURN {
        let publish = world.client.publish(&topic, payload.clone()).qos(qos);
        let mut enqueue = pin!(publish.enqueue());
        assert!(matches!(poll(&mut enqueue), Poll::Ready(Ok(_))));
    }
    serve(world);
}

fn publish_awaited(world: &mut World) {
    let OutgoingPublish { topic, payload, .. } = message(QoS::AtLeastOnce);
    let client = world.client.clone();
    let mut all = Vec::new();
    for _ in 0..PER_TURN {
        let publish = client.publish(&topic, payload.clone());
        let mut publish = publish.qos(QoS::AtLeastOnce).into_future();
        assert!(poll(&mut publish).is_pending());
        all.push(publish);
    }
    serve(world);
    for mut publish in all {
        assert!(matches!(poll(&mut publish), Poll::Ready(Ok(_))));
    }
}

fn publish_all(world: &mut World) {
    let message = message(QoS::AtLeastOnce);
    let client = world.client.clone();
    let messages = (0..PER_TURN).map(|_| message.clone());
    let mut batch = client.publish_all(messages).into_future();
    assert!(poll(&mut batch).is_pending());
    serve(world);
    assert_eq!(poll(&mut batch), Poll::Ready(Ok(())));
}

fn publish_one_by_one(world: &mut World) {
    let message = message(QoS::AtLeastOnce);
    let client = world.client.clone();
    for _ in 0..PER_TURN {
        let mut batch = client.publish_all([message.clone()]).enqueue();
        assert!(matches!(poll(&mut batch), Poll::Ready(Ok(_))));
    }
    serve(world);
}

fn receive(world: &mut World, qos: QoS) {
    let OutgoingPublish { topic, .. } = message(qos);
    let mut bytes = BytesMut::new();
    for n in 1..=PER_TURN {
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            _ => Delivery::AtLeastOnce {
                packet_identifier: n.try_into().unwrap(),
                duplicate: false,
            },
        };
        let publish = PublishRef::new(&topic, b"21.5").with_delivery(delivery);
        publish.encode(Version::V5, &mut bytes).unwrap();
    }
    world.wire.borrow_mut().input.push_back(bytes.freeze());
    let mut messages = world.client.unmatched().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(poll(&mut world.driver).is_pending());
    for _ in 0..PER_TURN {
        let next = Pin::new(&mut messages).poll_next(&mut cx);
        assert!(matches!(next, Poll::Ready(Some(_))));
    }
    serve(world);
}

/// The driver has its turns until it has nothing to do, and the server acknowledges what it was sent.
fn serve(world: &mut World) {
    loop {
        assert!(poll(&mut world.driver).is_pending());
        let mut wire = world.wire.borrow_mut();
        let mut answers = BytesMut::new();
        while !wire.output.is_empty() {
            let length = 2 + usize::from(wire.output[1]);
            let packet = wire.output.split_to(length);
            if packet[0] == 0x32 {
                let topic = 2 + usize::from(packet[3]);
                answers.extend_from_slice(&[0x40, 2, packet[2 + topic], packet[3 + topic]]);
            }
        }
        if answers.is_empty() {
            return;
        }
        wire.input.push_back(answers.freeze());
    }
}
