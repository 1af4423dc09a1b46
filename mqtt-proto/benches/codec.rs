//! What encoding and decoding cost, beside hand-written floors in the same run.
//!
//! `cargo bench -p martlet-proto` prints medians of interleaved rounds, ratios to the floor and
//! allocations. `cargo bench -p martlet-proto -- count` prints instructions instead (needs
//! valgrind): exact, and the same on every machine with the same compiler.
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

use bytes::{Buf, BytesMut};
use martlet_proto::*;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

#[allow(unreachable_pub, dead_code, missing_docs, reason = "a yardstick, kept as it is")]
#[rustfmt::skip]
#[path = "../../bench/floors/codec.rs"]
mod floor;

/// Packets in a block: enough to drown the clock, few enough to stay in the first caches.
const BLOCK: usize = 500;
const ROUNDS: usize = 2_001;
/// Blocks that a process prepares whose instructions are counted.
const BLOCKS: usize = 21;
const TOPIC: &str = "sensors/building-7/t/001";
const MAX: u32 = MAX_PACKET_SIZE;

/// One row: ours and the floor that it is measured by. Only `run` is timed; it handles one block.
struct Row {
    name: &'static str,
    ours: Box<dyn Side>,
    floor: Option<Box<dyn Side>>,
    /// The ratio that is wanted.
    goal: Option<f64>,
}

trait Side {
    fn prepare(&mut self);
    fn run(&mut self);
}

/// Writes into one buffer that is reused.
struct Encode<F>(BytesMut, F);

impl<F: FnMut(&mut BytesMut)> Side for Encode<F> {
    fn prepare(&mut self) {
        self.0.clear();
    }

    #[inline(never)]
    fn run(&mut self) {
        for _ in 0..BLOCK {
            (self.1)(&mut self.0);
        }
        black_box(&self.0);
    }
}

/// Takes packets from a buffer.
struct Decode<F> {
    block: Vec<u8>,
    input: BytesMut,
    take: F,
}

impl<F: FnMut(&mut BytesMut)> Side for Decode<F> {
    fn prepare(&mut self) {
        // As a reader does it: the same memory again, once all packets in it are gone.
        self.input.clear();
        self.input.reserve(self.block.len());
        self.input.extend_from_slice(&self.block);
    }

    #[inline(never)]
    fn run(&mut self) {
        for _ in 0..BLOCK {
            (self.take)(&mut self.input);
        }
        assert!(self.input.is_empty());
    }
}

fn encode(write: impl FnMut(&mut BytesMut) + 'static) -> Box<dyn Side> {
    Box::new(Encode(BytesMut::with_capacity(4 << 20), write))
}

fn decode(packet: &[u8], take: impl FnMut(&mut BytesMut) + 'static) -> Box<dyn Side> {
    Box::new(Decode {
        block: packet.repeat(BLOCK),
        input: BytesMut::new(),
        take,
    })
}

/// One floor for all that is owned, at its best: moved out of its `Option` it can be half as slow
/// again, by no more than where the compiler keeps it, and a slow floor would flatter the codec.
fn floor_owned(packet: &[u8]) -> Box<dyn Side> {
    decode(packet, |input| {
        let decoded = floor::decode_owned(black_box(input));
        assert!(black_box(&decoded).is_some());
    })
}

fn properties() -> PublishProperties {
    PublishProperties::builder()
        .payload_is_utf8(true)
        .message_expiry_interval(60)
        .content_type(Utf8String::from_static("text/plain").unwrap())
        .build()
}

fn wire(version: Version, publish: PublishRef<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    publish.encode(version, &mut out).unwrap();
    out
}

/// A PUBLISH that is measured in each direction.
struct Case {
    name: &'static str,
    version: Version,
    delivery: Delivery,
    properties: PublishProperties,
    payload: Vec<u8>,
    /// Whether its rows have ratios that are wanted.
    has_goal: bool,
}

impl Case {
    fn publish<'a>(&'a self, topic: &'a TopicName) -> PublishRef<'a> {
        PublishRef::new(topic, &self.payload)
            .with_delivery(self.delivery)
            .with_properties(&self.properties)
    }

    fn title(&self, what: &str) -> &'static str {
        format!("{what} {}", self.name).leak()
    }

    fn goal(&self, ratio: f64) -> Option<f64> {
        self.has_goal.then_some(ratio)
    }
}

fn topic() -> TopicName {
    TopicName::from_static(TOPIC).unwrap()
}

fn cases() -> Vec<Case> {
    use Version::{V3_1_1, V5};
    let once = Delivery::AtLeastOnce {
        packet_identifier: PacketIdentifier::MIN,
        duplicate: false,
    };
    let none = PublishProperties::default();
    let three = properties();
    let table = [
        (
            "PUBLISH QoS 0, 16 B, MQTT 5",
            V5,
            Delivery::AtMostOnce,
            &none,
            16,
            true,
        ),
        (
            "PUBLISH QoS 0, 64 B, MQTT 5",
            V5,
            Delivery::AtMostOnce,
            &none,
            64,
            true,
        ),
        (
            "PUBLISH QoS 0, 16 B, MQTT 5, 3 properties",
            V5,
            Delivery::AtMostOnce,
            &three,
            16,
            false,
        ),
        (
            "PUBLISH QoS 0, 64 B, MQTT 5, 3 properties",
            V5,
            Delivery::AtMostOnce,
            &three,
            64,
            false,
        ),
        (
            "PUBLISH QoS 0, 16 B, MQTT 3.1.1",
            V3_1_1,
            Delivery::AtMostOnce,
            &none,
            16,
            false,
        ),
        ("PUBLISH QoS 1, 16 B, MQTT 5", V5, once, &none, 16, false),
        (
            "PUBLISH QoS 1, 16 B, MQTT 3.1.1",
            V3_1_1,
            once,
            &none,
            16,
            false,
        ),
    ];
    table
        .into_iter()
        .map(
            |(name, version, delivery, properties, payload, has_goal)| Case {
                name,
                version,
                delivery,
                properties: properties.clone(),
                payload: vec![b'x'; payload],
                has_goal,
            },
        )
        .collect()
}

fn build_and_encode(case: &Case) -> Row {
    let (version, delivery) = (case.version, case.delivery);
    let (level, qos) = (version.level(), delivery.qos().as_u8());
    let ours = (topic(), case.payload.clone(), case.properties.clone());
    let theirs = case.payload.clone();
    let encoded = case.properties.as_bytes().to_vec();
    Row {
        name: case.title("build + encode"),
        ours: encode(move |out| {
            let (topic, payload, properties) = black_box(&ours);
            PublishRef::new(topic, payload)
                .with_delivery(black_box(delivery))
                .with_properties(properties)
                .encode(version, out)
                .unwrap();
        }),
        floor: Some(encode(move |out| {
            let payload = black_box(&theirs);
            floor::encode(
                out,
                level,
                black_box(qos),
                black_box(1),
                black_box(TOPIC),
                &encoded,
                payload,
            );
        })),
        goal: case.goal(1.6),
    }
}

fn decode_borrowed(case: &Case, packet: &[u8]) -> Row {
    let (version, level) = (case.version, case.version.level());
    Row {
        name: case.title("decode borrowed"),
        ours: decode(packet, move |input| {
            let (publish, size) = PublishRef::decode(black_box(input), version, MAX)
                .unwrap()
                .unwrap();
            black_box(&publish);
            input.advance(size);
        }),
        floor: Some(decode(packet, move |input| {
            let (publish, size) = floor::decode_borrowed(black_box(input), level).unwrap();
            black_box(&publish);
            input.advance(size);
        })),
        goal: case.goal(1.3),
    }
}

/// What becomes of the packet decides as much as the decoder does: a copy of what was just written
/// waits for it. So all three are here: looked at where it is, taken out of its enums by a match,
/// and by unwrapping. The floor knows QoS 0 of MQTT 5 only.
fn decode_owned(case: &Case, packet: &[u8]) -> [Row; 3] {
    let version = case.version;
    let has_floor = version == Version::V5 && case.delivery.qos() == QoS::AtMostOnce;
    let row = |what, ours| Row {
        name: case.title(what),
        ours,
        floor: has_floor.then(|| floor_owned(packet)),
        goal: case.goal(1.3),
    };
    [
        row(
            "decode owned, in place",
            decode(packet, move |input| {
                let decoded = Packet::decode(black_box(input), version, MAX);
                assert!(matches!(black_box(&decoded), Ok(Some(_))));
            }),
        ),
        row(
            "decode owned, matched",
            decode(packet, move |input| {
                match Packet::decode(black_box(input), version, MAX) {
                    Ok(Some(Packet::Publish(publish))) => drop(black_box(publish)),
                    other => panic!("{other:?}"),
                }
            }),
        ),
        row(
            "decode owned, unwrapped",
            decode(packet, move |input| {
                black_box(
                    Packet::decode(black_box(input), version, MAX)
                        .unwrap()
                        .unwrap(),
                );
            }),
        ),
    ]
}

fn encode_by_reference() -> Row {
    let large = vec![0; 64 << 10];
    let by_reference = (topic(), bytes::Bytes::from(large.clone()));
    let copied = (topic(), large);
    Row {
        name: "encode PUBLISH QoS 0, 64 KiB, by reference",
        ours: encode(move |out| {
            let (topic, payload) = black_box(&by_reference);
            PublishRef::new(topic, payload)
                .encode_head(Version::V5, out)
                .unwrap();
            black_box(payload.clone());
        }),
        floor: Some(Box::new(Encode(
            BytesMut::with_capacity(1 << 20),
            move |out: &mut BytesMut| {
                let (topic, payload) = black_box(&copied);
                out.clear();
                floor::encode(out, 5, 0, 0, topic.as_str(), &[], payload);
            },
        ))),
        goal: Some(1.0),
    }
}

fn ack_rows(name: &str, packet: Packet) -> [Row; 2] {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes).unwrap();
    let head = [bytes[0], 2];
    [
        Row {
            name: format!("encode {name}").leak(),
            ours: encode(move |out| black_box(&packet).encode(Version::V5, out).unwrap()),
            floor: Some(encode(move |out| {
                out.extend_from_slice(&[head[0], 2, 0, black_box(1)]);
            })),
            goal: None,
        },
        Row {
            name: format!("decode {name}").leak(),
            ours: decode(&bytes, |input| {
                let decoded = Packet::decode(black_box(input), Version::V5, MAX);
                assert!(matches!(black_box(&decoded), Ok(Some(_))));
            }),
            floor: Some(decode(&bytes, |input| {
                let (i, l) = floor::frame(black_box(input)).unwrap();
                black_box(u16::from_be_bytes([input[i], input[i + 1]]));
                input.advance(l);
            })),
            goal: None,
        },
    ]
}

fn rows() -> Vec<Row> {
    let topic = topic();
    let mut rows = Vec::new();
    for case in cases() {
        let packet = wire(case.version, case.publish(&topic));
        rows.extend([build_and_encode(&case), decode_borrowed(&case, &packet)]);
        rows.extend(decode_owned(&case, &packet));
    }
    rows.push(encode_by_reference());
    rows.extend(ack_rows(
        "PUBACK",
        Packet::PubAck(Ack::new(PacketIdentifier::MIN, PubAckReasonCode::Success)),
    ));
    rows.extend(ack_rows(
        "PUBREL",
        Packet::PubRel(Ack::new(PacketIdentifier::MIN, PubRelReasonCode::Success)),
    ));
    rows
}

fn timed(side: &mut dyn Side) -> Duration {
    side.prepare();
    let start = Instant::now();
    side.run();
    start.elapsed()
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos() as f64 / BLOCK as f64
}

fn allocations(side: &mut dyn Side) -> f64 {
    side.prepare();
    side.run();
    side.prepare();
    allocation_counter::measure(|| side.run()).count_total as f64 / BLOCK as f64
}

fn time(rounds: usize) {
    let mut rows = rows();
    let mut times: Vec<[Vec<Duration>; 2]> = rows.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for (row, times) in rows.iter_mut().zip(&mut times) {
            times[0].push(timed(&mut *row.ours));
            if let Some(floor) = &mut row.floor {
                times[1].push(timed(&mut **floor));
            }
        }
    }
    println!(
        "{:<68} {:>8} {:>8} {:>6} {:>6} {:>7}",
        "", "ours ns", "floor ns", "ratio", "goal", "allocs"
    );
    for (row, [ours, floor]) in rows.iter_mut().zip(&mut times) {
        let ours = median(ours);
        let allocations = allocations(&mut *row.ours);
        print!("{:<68} {ours:>8.1} ", row.name);
        match row.floor {
            Some(_) => {
                let floor = median(floor);
                print!("{floor:>8.1} {:>6.2} ", ours / floor);
            }
            None => print!("{:>8} {:>6} ", "", ""),
        }
        match row.goal {
            Some(goal) => print!("{goal:>6.1} "),
            None => print!("{:>6} ", ""),
        }
        println!("{allocations:>7.3}");
    }
}

/// Instructions of a packet: the difference between a process that runs all blocks it prepares and
/// one that runs one.
fn count() {
    let own = std::env::current_exe().unwrap();
    let instructions = |row: usize, side: &str, blocks: usize| -> f64 {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&own)
            .args(["once", &row.to_string(), side, &blocks.to_string()])
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
    let each = |row, side| {
        (instructions(row, side, BLOCKS) - instructions(row, side, 1))
            / ((BLOCKS - 1) * BLOCK) as f64
    };
    println!(
        "{:<68} {:>8} {:>8} {:>6}",
        "instructions a packet", "ours", "floor", "ratio"
    );
    for (i, row) in rows().iter().enumerate() {
        let ours = each(i, "ours");
        print!("{:<68} {ours:>8.1} ", row.name);
        match row.floor {
            Some(_) => {
                let floor = each(i, "floor");
                println!("{floor:>8.1} {:>6.2}", ours / floor);
            }
            None => println!(),
        }
    }
}

fn once(row: usize, side: &str, blocks: usize) {
    let row = &mut rows()[row];
    let side = match side {
        "ours" => &mut row.ours,
        _ => row.floor.as_mut().unwrap(),
    };
    for block in 0..BLOCKS {
        side.prepare();
        if block < blocks {
            side.run();
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count"] => count(),
        ["once", row, side, blocks] => once(row.parse().unwrap(), side, blocks.parse().unwrap()),
        // `cargo test --benches` only looks whether it runs.
        _ => time(if std::env::args().any(|a| a == "--bench") {
            ROUNDS
        } else {
            1
        }),
    }
}
