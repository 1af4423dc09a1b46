//! What a session costs beside a hand-written floor in the same run: one completed message, out and in.
//!
//! `cargo bench -p martlet-session` prints the best and the median of interleaved rounds and the ratio to the floor. Of
//! a ratio trust the first digit after the point; of nanoseconds nothing but their order of magnitude.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops when it is wrong"
)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]

use bytes::{Buf, Bytes, BytesMut};
use ends::{Ends, PAYLOAD, TOPIC};
use martlet_proto::Version;
use std::hint::black_box;
use std::time::Instant;

#[allow(unreachable_pub, dead_code, missing_docs, clippy::all, reason = "a yardstick, kept as it is")]
#[rustfmt::skip]
#[path = "../../bench/floors/codec.rs"]
mod codec;
mod ends;
#[allow(unreachable_pub, dead_code, missing_docs, clippy::all, reason = "a yardstick, kept as it is")]
#[rustfmt::skip]
#[path = "../../bench/floors/session.rs"]
mod floor;

/// Messages in a round: two of the largest windows.
const MESSAGES: usize = 131_070;

struct Row {
    name: String,
    goal: Option<f64>,
    floor: Box<dyn FnMut()>,
    ours: Box<dyn FnMut()>,
    times: [Vec<f64>; 2],
}

fn publishing(version: Version, qos: u8, window: u16, key: Option<u32>) -> Row {
    let mut floor = floor::Floor::default();
    let (topic, payload) = (Bytes::from_static(TOPIC.as_bytes()), Bytes::from_static(PAYLOAD));
    let mut ends = Ends::new(version, window, key);
    let told = if key.is_some() { ", told" } else { "" };
    Row {
        name: format!("publish QoS {qos}, {version}, window {window}{told}"),
        goal: Some(3.0),
        floor: Box::new(move || {
            let arrived = floor.run(qos, window.into(), MESSAGES as u64, &topic, &payload);
            assert_eq!(arrived, MESSAGES as u64);
        }),
        ours: Box::new(move || assert_eq!(ends.publish(qos, window.into(), MESSAGES), MESSAGES)),
        times: Default::default(),
    }
}

/// The floor of receiving: what the server's half of `floors/session.rs` does.
fn receive_floor(qos: u8, batch: u16, input: &mut BytesMut, output: &mut BytesMut, seen: &mut [u64]) {
    for id in 1..=batch {
        codec::encode(input, 4, qos, id, TOPIC, &[], PAYLOAD);
    }
    while !input.is_empty() {
        let (p, l) = codec::decode_borrowed(input, 4).unwrap();
        black_box(&p);
        let [high, low] = p.id.to_be_bytes();
        if qos == 1 {
            output.extend_from_slice(&[0x40, 2, high, low]);
        } else if qos == 2 {
            seen[usize::from(p.id >> 6)] |= 1 << (p.id & 63);
            output.extend_from_slice(&[0x50, 2, high, low]);
        }
        input.advance(l);
    }
    input.clear();
    if qos == 2 {
        for id in 1..=batch {
            let [high, low] = id.to_be_bytes();
            input.extend_from_slice(&[0x62, 2, high, low]);
        }
        while !input.is_empty() {
            let id = u16::from_be_bytes([input[2], input[3]]);
            seen[usize::from(id >> 6)] &= !(1 << (id & 63));
            output.extend_from_slice(&[0x70, 2, input[2], input[3]]);
            input.advance(4);
        }
        input.clear();
    }
    black_box(&output);
    output.clear();
}

fn receiving(version: Version, qos: u8, batch: u16) -> Row {
    let mut ends = Ends::new(version, 100, None);
    let (mut input, mut output) = (BytesMut::with_capacity(1 << 20), BytesMut::with_capacity(1 << 20));
    let mut seen = vec![0; 1024];
    let turns = MESSAGES / usize::from(batch);
    Row {
        name: format!("receive QoS {qos}, {version}, {batch} a turn"),
        goal: None,
        floor: Box::new(move || {
            for _ in 0..turns {
                receive_floor(qos, batch, &mut input, &mut output, &mut seen);
            }
        }),
        ours: Box::new(move || _ = black_box(ends.receive(qos, batch, turns * usize::from(batch)))),
        times: Default::default(),
    }
}

fn main() {
    // `cargo test` runs benches too: once is enough to see that they work.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 25 } else { 1 };
    let mut rows = Vec::new();
    for qos in [1, 2] {
        for window in [1, 100, 65_535] {
            rows.push(publishing(Version::V3_1_1, qos, window, None));
        }
        rows.push(publishing(Version::V3_1_1, qos, 100, Some(1)));
        rows.push(publishing(Version::V5, qos, 100, Some(1)));
    }
    for qos in [0, 1, 2] {
        rows.push(receiving(Version::V3_1_1, qos, 1));
        rows.push(receiving(Version::V3_1_1, qos, 500));
        rows.push(receiving(Version::V5, qos, 500));
    }
    for _ in 0..rounds {
        for row in &mut rows {
            for (run, times) in [&mut row.floor, &mut row.ours].into_iter().zip(&mut row.times) {
                let start = Instant::now();
                run();
                times.push(start.elapsed().as_nanos() as f64 / MESSAGES as f64);
            }
        }
    }
    println!("{:<48} {:>13} {:>13} {:>7}  ns a message: best (median)", "", "floor", "session", "ratio");
    for row in &mut rows {
        let [floor, ours] = row.times.each_mut().map(|times| {
            times.sort_by(f64::total_cmp);
            (times[0], times[times.len() / 2])
        });
        let ratio = ours.0 / floor.0;
        let verdict = match row.goal {
            Some(goal) if ratio <= goal => "ok",
            Some(_) => "MISSED",
            None => "",
        };
        let cell = |(best, median): (f64, f64)| format!("{best:.1} ({median:.1})");
        println!("{:<48} {:>13} {:>13} {ratio:>6.2}x  {verdict}", row.name, cell(floor), cell(ours));
    }
    println!("size of a Session: {} bytes", size_of::<martlet_session::Session>());
}
