//! Gives the codec every byte string of up to 5 bytes, and every packet of up to 12 bytes of a small alphabet, in each
//! version, and prints how many:
//!
//! ```text
//! cargo run --release -p martlet-tests --example exhaustive_codec -- --jobs 2
//! ```
//!
//! `--bytes`, `--unpruned`, `--packet` and `--letters` make the spaces smaller or larger.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program"
)]

use martlet_proto::Version;
use martlet_tests::exhaustive_codec::{Counts, Space, parts};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn main() -> ExitCode {
    let (mut jobs, mut bytes, mut unpruned, mut packet, mut letters) = (1, 5, 3, 12, 4);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse().ok());
        match (name.as_str(), value) {
            ("--jobs", Some(value @ 1..)) => jobs = value,
            ("--bytes", Some(value @ 1..=6)) => bytes = value,
            ("--unpruned", Some(value @ 1..=5)) => unpruned = value,
            ("--packet", Some(value @ 2..=16)) => packet = value,
            ("--letters", Some(value @ 1..=8)) => letters = value,
            _ => {
                eprintln!(
                    "usage: exhaustive_codec [--jobs N] [--bytes 1..6] [--unpruned 1..5] [--packet 2..16] [--letters 1..8]"
                );
                return ExitCode::FAILURE;
            }
        }
    }
    let spaces = [
        (
            format!("strings of up to {unpruned} bytes, none left out"),
            Space::Unpruned(unpruned),
        ),
        (
            format!("strings of up to {bytes} bytes"),
            Space::Strings(bytes),
        ),
        (
            format!("packets of up to {packet} bytes with {letters} letters"),
            Space::Frames {
                bytes: packet,
                letters,
            },
        ),
    ];
    for (name, space) in spaces {
        let began = Instant::now();
        let of_versions = tried(space, jobs);
        for (version, counts) in Version::ALL.into_iter().zip(of_versions) {
            println!("{name}, {version}: {}", shown(&counts));
            if let Space::Strings(longest) | Space::Unpruned(longest) = space {
                let all: u64 = (1..=longest as u32).map(|n| 256u64.pow(n)).sum();
                assert_eq!(counts.decided, all, "each string is decided once");
            }
        }
        println!("{name}: {:.1?}", began.elapsed());
    }
    ExitCode::SUCCESS
}

/// The counts of each version.
fn tried(space: Space, jobs: usize) -> [Counts; 3] {
    let (all, next, sums) = (
        parts(space),
        AtomicUsize::new(0),
        Mutex::new([Counts::default(); 3]),
    );
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(part) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let counts = part.run();
                    let place = Version::ALL
                        .iter()
                        .position(|version| *version == part.version());
                    let place = place.expect("it is one of them");
                    sums.lock().expect("nobody panics with it")[place] += counts;
                }
            });
        }
    });
    sums.into_inner().expect("nobody panics with it")
}

fn shown(counts: &Counts) -> String {
    let Counts {
        visited,
        decided,
        packets,
        rejected,
        incomplete,
        encoded,
        tolerated,
    } = counts;
    format!(
        "{visited} visited, which decide about {decided}: {packets} packets, {rejected} rejected, {incomplete} incomplete; \
         {encoded} encoded again, {tolerated} where the decoders differ on purpose"
    )
}
