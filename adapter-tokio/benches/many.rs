//! What many messages cost together, beside one by one: publishing with one receipt, and
//! acknowledging by position.
//!
//! `cargo bench -p martlet-tokio --bench many` prints CPU time of the client's thread for a message
//! (kernel included). The server is a thread of its own.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "a benchmark prints and stops when it is wrong"
)]

mod ends;

use bytes::Bytes;
use cpu_time::ThreadTime;
use ends::{TOPIC, codec, median, run, sink};
use martlet_tokio::client::OutgoingPublish;
use martlet_tokio::session::InboundLimits;
use martlet_tokio::{Client, QoS, Subscription, TopicName, Version};
use std::io::{Read, Write};
use std::net::TcpStream;

const ROUNDS: usize = 7;
/// As many as may be unacknowledged at a time, about.
const MESSAGES: usize = 50_000;
const BATCH: usize = 10_000;

type Measure = fn(usize) -> f64;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let rounds = if quick { 1 } else { ROUNDS };
    let publishing: [(&str, Measure); 2] = [
        ("publish 10,000 of QoS 1, a receipt each", receipts),
        ("publish 10,000 of QoS 1, one receipt", batch),
    ];
    let acknowledging: [(&str, Measure); 3] = [
        ("acknowledge 50,000, one by one", one_by_one),
        (
            "acknowledge 50,000, by position, 1,000 at a time",
            in_groups,
        ),
        ("acknowledge 50,000, by position, all at once", at_once),
    ];
    // `cargo bench -p martlet-tokio --bench many -- only "<the name of a row>"` runs it once, for a profiler.
    let mut arguments = std::env::args().skip_while(|argument| argument != "only");
    if let Some(only) = arguments.nth(1) {
        let rows = publishing.iter().map(|row| (row, BATCH));
        let rows = rows.chain(acknowledging.iter().map(|row| (row, MESSAGES)));
        for ((_, measure), n) in rows.filter(|((name, _), _)| *name == only) {
            println!("{:.1}", measure(n));
        }
        return;
    }
    println!(
        "CPU time of the client's thread, ns a message; median of {rounds} interleaved rounds"
    );
    compare(rounds, BATCH, publishing);
    compare(rounds, MESSAGES, acknowledging);
}

fn compare<const N: usize>(rounds: usize, n: usize, rows: [(&str, Measure); N]) {
    let mut nanos = [(); N].map(|()| Vec::new());
    for _ in 0..rounds {
        for ((_, measure), nanos) in rows.iter().zip(&mut nanos) {
            nanos.push(measure(n));
        }
    }
    let medians = nanos.map(|mut nanos| median(&mut nanos));
    for ((name, _), nanos) in rows.iter().zip(medians) {
        println!("{name:<50} {nanos:>8.1} {:>7.3}", nanos / medians[0]);
    }
}

async fn connect(port: u16) -> Client {
    let limits = InboundLimits::default()
        .soft_messages(2 * MESSAGES)
        .hard_messages(2 * MESSAGES);
    let builder = Client::builder(format!("mqtt://127.0.0.1:{port}"))
        .version(Version::V3_1_1)
        .max_in_flight_3x(1000)
        .inbound(limits);
    martlet_tokio::connect_with(builder).await.unwrap()
}

fn messages(n: usize) -> impl Iterator<Item = OutgoingPublish> {
    let topic = TopicName::from_static(TOPIC).unwrap();
    let payload = Bytes::from_static(&[b'x'; 16]);
    (0..n).map(move |_| OutgoingPublish::new(topic.clone(), payload.clone()).qos(QoS::AtLeastOnce))
}

fn receipts(n: usize) -> f64 {
    let work = |port| async move {
        let client = connect(port).await;
        let topic = TopicName::from_static(TOPIC).unwrap();
        let payload = Bytes::from_static(&[b'x'; 16]);
        let start = ThreadTime::now();
        let mut receipts = Vec::with_capacity(n);
        for _ in 0..n {
            let publish = client
                .publish(&topic, payload.clone())
                .qos(QoS::AtLeastOnce);
            receipts.push(publish.enqueue().await.unwrap());
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
        start
    };
    run(n, work, sink)
}

fn batch(n: usize) -> f64 {
    let work = |port| async move {
        let client = connect(port).await;
        let messages = messages(n);
        let start = ThreadTime::now();
        client.publish_all(messages).await.unwrap();
        start
    };
    run(n, work, sink)
}

/// Accepts, waits for the SUBSCRIBE, sends `n` messages of QoS 1, and one more when all are
/// acknowledged.
fn source(mut socket: TcpStream, n: usize) {
    let mut buf = vec![0; 1 << 16];
    let _ = socket.read(&mut buf).unwrap();
    socket.write_all(b"\x20\x02\x00\x00").unwrap();
    let _ = socket.read(&mut buf).unwrap();
    socket.write_all(&[0x90, 3, buf[2], buf[3], 1]).unwrap();
    let mut all = bytes::BytesMut::new();
    for id in 1..=n {
        codec::encode(&mut all, 4, 1, id as u16, TOPIC, &[], &[b'x'; 16]);
    }
    socket.write_all(&all).unwrap();
    let mut acknowledged = 0;
    while acknowledged < 4 * n {
        acknowledged += socket.read(&mut buf).unwrap();
    }
    let mut last = bytes::BytesMut::new();
    codec::encode(&mut last, 4, 0, 0, TOPIC, &[], b"end");
    socket.write_all(&last).unwrap();
    let _ = socket.read(&mut buf);
}

async fn subscribe(client: &Client) -> Subscription {
    client
        .subscribe("sensors/#")
        .qos(QoS::AtLeastOnce)
        .await
        .unwrap()
}

fn one_by_one(n: usize) -> f64 {
    let work = |port| async move {
        let client = connect(port).await;
        let mut stream = subscribe(&client).await.acknowledge_manually();
        let mut taken = Vec::with_capacity(n);
        for _ in 0..n {
            taken.push(stream.next().await.unwrap());
        }
        let start = ThreadTime::now();
        for message in taken {
            message.acknowledge();
        }
        let _all_acknowledged = stream.next().await.unwrap();
        start
    };
    run(n, work, move |socket| source(socket, n))
}

fn by_position(n: usize, group: usize) -> f64 {
    let work = |port| async move {
        let client = connect(port).await;
        let mut stream = subscribe(&client).await.acknowledge_by_position();
        let mut positions = Vec::with_capacity(n);
        for _ in 0..n {
            positions.push(stream.next().await.unwrap().position());
        }
        let start = ThreadTime::now();
        for group in positions.chunks(group) {
            stream.acknowledge_up_to(*group.last().unwrap()).unwrap();
        }
        stream.next().await.unwrap();
        start
    };
    run(n, work, move |socket| source(socket, n))
}

fn in_groups(n: usize) -> f64 {
    by_position(n, 1000)
}

fn at_once(n: usize) -> f64 {
    by_position(n, n)
}
