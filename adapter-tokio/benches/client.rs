//! What a client costs, beside a hand-written floor against the same sink in the same run.
//!
//! `cargo bench -p martlet-tokio` prints CPU time of the client's thread for a message (kernel
//! included), the ratio to the floor, and messages for each write. The sink is a thread that parses
//! as little as it can and acknowledges in batches; where it were the bottleneck, the client's
//! thread would sleep, which costs no CPU time.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "a benchmark prints and stops when it is wrong"
)]

use bytes::Bytes;
use cpu_time::ThreadTime;
use ends::{TOPIC, WINDOW, codec, median, run, sink, source};
use martlet_tokio::{Client, QoS, TopicName, Version, session::OutgoingPublish};

#[allow(clippy::all, clippy::semicolon_if_nothing_returned, unreachable_pub, dead_code, missing_docs, reason = "a yardstick, kept as it is")]
#[rustfmt::skip]
#[path = "../../bench/floors/client.rs"]
mod floor;

mod ends;

const ROUNDS: usize = 11;

/// Measures nanoseconds per message, given the number of messages.
type Measure = fn(usize) -> f64;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let n = if quick { 1_000 } else { 200_000 };
    let rounds = if quick { 1 } else { ROUNDS };
    println!(
        "CPU time of the client's thread, ns a message; median of {rounds} interleaved rounds of {n} messages, 16 B"
    );
    println!("{:<44} {:>8} {:>8} {:>7}", "", "ours", "floor", "ratio");
    let rows: [(&str, Measure, Measure); 4] = [
        ("publish QoS 0", ours_qos0, floor_qos0),
        ("publish QoS 1, window 100", ours_qos1, floor_qos1),
        (
            "publish QoS 1, each awaited, 100 tasks",
            ours_awaited,
            floor_awaited,
        ),
        ("receive QoS 0", ours_receive, floor_receive),
    ];
    // `cargo bench -p martlet-tokio -- only "receive QoS 0" 4000` runs ours of that row alone, once, with
    // this number of messages: for a profiler, and for `.ci/counts`.
    let mut arguments = std::env::args().skip_while(|argument| argument != "only");
    if let Some(only) = arguments.nth(1) {
        let n = arguments
            .next()
            .map_or(n, |n| n.parse().expect("a number of messages"));
        let (_, ours, _) = rows
            .iter()
            .find(|(name, ..)| *name == only)
            .expect("the name of a row");
        println!("{:.1}", ours(n));
        return;
    }
    for (name, ours, floor) in rows {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            a.push(ours(n));
            b.push(floor(n));
        }
        let (a, b) = (median(&mut a), median(&mut b));
        println!("{name:<44} {a:>8.1} {b:>8.1} {:>7.2}", a / b);
    }
}

async fn connect(port: u16) -> Client {
    let builder = Client::builder(format!("mqtt://127.0.0.1:{port}"))
        .version(Version::V3_1_1)
        .max_in_flight(WINDOW as u16)
        .max_in_flight_3x(WINDOW as u16);
    martlet_tokio::connect_with(builder).await.unwrap()
}

fn message(qos: QoS) -> OutgoingPublish {
    let topic = TopicName::from_static(TOPIC).unwrap();
    OutgoingPublish::new(topic, Bytes::from_static(&[b'x'; 16])).qos(qos)
}

fn ours_qos0(n: usize) -> f64 {
    let work = |port| async move {
        let client = connect(port).await;
        let message = message(QoS::AtMostOnce);
        let start = ThreadTime::now();
        for _ in 0..n {
            client
                .publish(&message.topic, message.payload.clone())
                .await
                .unwrap();
        }
        client.flush().await.unwrap();
        start
    };
    run(n, work, sink)
}

fn floor_qos0(n: usize) -> f64 {
    let work = |port| async move {
        let client = floor::Client::connect(port, WINDOW, false).await.unwrap();
        let (topic, payload) = (
            Bytes::from_static(TOPIC.as_bytes()),
            Bytes::from_static(&[b'x'; 16]),
        );
        let start = ThreadTime::now();
        for _ in 0..n {
            client.publish(&topic, 0, &payload).await;
        }
        start
    };
    run(n, work, sink)
}

fn ours_qos1(n: usize) -> f64 {
    let work = |port| async move {
        let client = connect(port).await;
        let message = message(QoS::AtLeastOnce);
        let start = ThreadTime::now();
        for _ in 0..n {
            drop(
                client
                    .publish(&message.topic, message.payload.clone())
                    .qos(message.qos)
                    .enqueue()
                    .await
                    .unwrap(),
            );
        }
        client
            .publish(&message.topic, message.payload.clone())
            .qos(message.qos)
            .await
            .unwrap();
        start
    };
    run(n, work, sink)
}

fn floor_qos1(n: usize) -> f64 {
    let work = |port| async move {
        let client = floor::Client::connect(port, WINDOW, false).await.unwrap();
        let (topic, payload) = (
            Bytes::from_static(TOPIC.as_bytes()),
            Bytes::from_static(&[b'x'; 16]),
        );
        let start = ThreadTime::now();
        for _ in 0..n {
            client.publish(&topic, 1, &payload).await;
        }
        client.acked(n as u64).await;
        start
    };
    run(n, work, sink)
}

fn ours_awaited(n: usize) -> f64 {
    let work = |port| async move {
        let client = connect(port).await;
        let start = ThreadTime::now();
        let tasks: Vec<_> = (0..WINDOW)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    let message = message(QoS::AtLeastOnce);
                    for _ in 0..n / WINDOW {
                        client
                            .publish(&message.topic, message.payload.clone())
                            .qos(message.qos)
                            .await
                            .unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        start
    };
    run(n, work, sink)
}

fn floor_awaited(n: usize) -> f64 {
    let work = |port| async move {
        let client = floor::Client::connect(port, WINDOW, true).await.unwrap();
        let start = ThreadTime::now();
        let tasks: Vec<_> = (0..WINDOW)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    let (topic, payload) = (
                        Bytes::from_static(TOPIC.as_bytes()),
                        Bytes::from_static(&[b'x'; 16]),
                    );
                    for _ in 0..n / WINDOW {
                        client.publish_acked(&topic, 1, &payload).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        start
    };
    run(n, work, sink)
}

fn ours_receive(n: usize) -> f64 {
    let work = |port| async move {
        let client = connect(port).await;
        let mut messages = client.subscribe("sensors/#").await.unwrap();
        let start = ThreadTime::now();
        for _ in 0..n {
            messages.next().await.unwrap();
        }
        start
    };
    run(n, work, move |socket| source(socket, n))
}

fn floor_receive(n: usize) -> f64 {
    let work = |port| async move {
        let client = floor::Client::connect(port, WINDOW, false).await.unwrap();
        client.subscribe("sensors/#", 0).await;
        let start = ThreadTime::now();
        for _ in 0..n {
            client.next().await;
        }
        start
    };
    run(n, work, move |socket| source(socket, n))
}
