//! What a session costs beside a hand-written floor in the same run: one completed message, out and
//! in.
//!
//! `cargo bench -p martlet-session` prints the best and the median of interleaved rounds and the
//! ratio to the floor. `cargo bench -p martlet-session -- count`, with a part of a row's name
//! behind it if need be, prints instructions instead (needs valgrind): exact, and the same on every
//! machine with the same compiler.
//!
//! Of a ratio trust the first digit after the point; of nanoseconds nothing but their order of
//! magnitude.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops when it is wrong"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads the clock"
)]

use bytes::{Buf, Bytes, BytesMut};
use ends::{Ends, PAYLOAD, TOPIC};
use martlet_proto::Version;
use std::hint::black_box;
use std::process::Command;
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

/// Messages in a round: few, so that some rounds are not disturbed, but at least one window.
const fn messages(window: u16) -> usize {
    if window > 10_000 {
        window as usize
    } else {
        10_000
    }
}

type Run = Box<dyn FnMut()>;

struct Row {
    name: String,
    goal: Option<f64>,
    /// How many messages one call of a side handles.
    messages: usize,
    /// The floor and ours.
    sides: Box<dyn Fn() -> [Run; 2]>,
}

fn publishing(version: Version, qos: u8, window: u16, key: Option<u32>) -> Row {
    let reported = if key.is_some() { ", reported" } else { "" };
    let messages = messages(window);
    let sides = move || -> [Run; 2] {
        let mut floor = floor::Floor::default();
        let (topic, payload) = (
            Bytes::from_static(TOPIC.as_bytes()),
            Bytes::from_static(PAYLOAD),
        );
        let mut ends = Ends::new(version, window, key);
        let floor = move || {
            let arrived = floor.run(qos, window.into(), messages as u64, &topic, &payload);
            assert_eq!(arrived, messages as u64);
        };
        let ours = move || assert_eq!(ends.publish(qos, window.into(), messages), messages);
        [Box::new(floor), Box::new(ours)]
    };
    let name = format!("publish QoS {qos}, {version}, window {window}{reported}");
    Row {
        name,
        goal: Some(3.0),
        messages,
        sides: Box::new(sides),
    }
}

/// The floor of receiving: what the server's half of `floors/session.rs` does.
fn receive_floor(
    qos: u8,
    batch: u16,
    input: &mut BytesMut,
    output: &mut BytesMut,
    seen: &mut [u64],
) {
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
    let turns = messages(1) / usize::from(batch);
    let messages = turns * usize::from(batch);
    let sides = move || -> [Run; 2] {
        let mut ends = Ends::new(version, 100, None);
        let (mut input, mut output) = (
            BytesMut::with_capacity(1 << 20),
            BytesMut::with_capacity(1 << 20),
        );
        let mut seen = vec![0; 1024];
        let floor = move || {
            for _ in 0..turns {
                receive_floor(qos, batch, &mut input, &mut output, &mut seen);
            }
        };
        let ours = move || _ = black_box(ends.receive(qos, batch, messages));
        [Box::new(floor), Box::new(ours)]
    };
    let name = format!("receive QoS {qos}, {version}, {batch} a turn");
    Row {
        name,
        goal: None,
        messages,
        sides: Box::new(sides),
    }
}

fn rows() -> Vec<Row> {
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
    rows
}

fn verdict(row: &Row, ratio: f64) -> &'static str {
    match row.goal {
        Some(goal) if ratio <= goal => "ok",
        Some(_) => "MISSED",
        None => "",
    }
}

fn time(rounds: usize) {
    let rows = rows();
    let mut running: Vec<_> = rows
        .iter()
        .map(|row| ((row.sides)(), [Vec::new(), Vec::new()]))
        .collect();
    for _ in 0..rounds {
        for ((sides, times), row) in running.iter_mut().zip(&rows) {
            for (run, times) in sides.iter_mut().zip(times) {
                let start = Instant::now();
                run();
                times.push(start.elapsed().as_nanos() as f64 / row.messages as f64);
            }
        }
    }
    println!(
        "{:<48} {:>14} {:>14} {:>7}",
        "ns a message: best (median)", "floor", "session", "ratio"
    );
    for (row, (_, mut times)) in rows.iter().zip(running) {
        let [floor, ours] = times.each_mut().map(|times| {
            times.sort_by(f64::total_cmp);
            (times[0], times[times.len() / 2])
        });
        let ratio = ours.0 / floor.0;
        let cell = |(best, median): (f64, f64)| format!("{best:.1} ({median:.1})");
        let verdict = verdict(row, ratio);
        println!(
            "{:<48} {:>14} {:>14} {ratio:>6.2}x  {verdict}",
            row.name,
            cell(floor),
            cell(ours)
        );
    }
}

/// Instructions of a message: the difference between a process that runs twice and one that runs
/// once.
fn count(filter: &str) {
    let own = std::env::current_exe().unwrap();
    let instructions = |row: usize, side: usize, times: usize| -> f64 {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&own)
            .args([
                "once",
                &row.to_string(),
                &side.to_string(),
                &times.to_string(),
            ])
            .output()
            .expect("valgrind is installed");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let collected = text
            .lines()
            .find_map(|line| line.split_once("Collected : "))
            .expect("a count")
            .1;
        collected.trim().parse().unwrap()
    };
    println!(
        "{:<48} {:>8} {:>8} {:>7}",
        "instructions a message", "floor", "session", "ratio"
    );
    for (i, row) in rows()
        .iter()
        .enumerate()
        .filter(|(_, row)| row.name.contains(filter))
    {
        let [floor, ours] = [0, 1].map(|side| {
            (instructions(i, side, 2) - instructions(i, side, 1)) / row.messages as f64
        });
        let ratio = ours / floor;
        println!(
            "{:<48} {floor:>8.1} {ours:>8.1} {ratio:>6.2}x  {}",
            row.name,
            verdict(row, ratio)
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count"] => count(""),
        ["count", filter] => count(filter),
        ["once", row, side, times] => {
            let run = &mut (rows()[row.parse::<usize>().unwrap()].sides)()
                [side.parse::<usize>().unwrap()];
            (0..times.parse().unwrap()).for_each(|_: usize| run());
        }
        // `cargo test` runs benches too: once is enough to see that they work.
        _ => time(if std::env::args().any(|argument| argument == "--bench") {
            301
        } else {
            1
        }),
    }
}
