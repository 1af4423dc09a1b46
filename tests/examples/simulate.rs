//! Worlds, one after the other, until enough messages were accepted:
//!
//! ```text
//! cargo run --release -p martlet-tests --example simulate -- --seed 0 --messages 1000000
//! ```
//!
//! It prints a line now and then; the last line's `--seed` and `--done` go on from there.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program")]

use martlet_tests::sim::{Counts, Options, World};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How many messages a world accepts before its faults stop.
const PER_WORLD: u64 = 5_000;

/// Or how many steps it makes: some worlds are hard.
const STEPS: u64 = 100_000;

fn main() -> ExitCode {
    let (mut seed, mut messages, mut done) = (0, 1_000_000, 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.replace('_', "").parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--seed", Some(value)) => seed = value,
            ("--messages", Some(value)) => messages = value,
            ("--done", Some(value)) => done = value,
            _ => {
                eprintln!("usage: simulate [--seed N] [--messages N] [--done N]");
                return ExitCode::FAILURE;
            }
        }
    }
    let mut all = Counts::default();
    let mut failures = 0;
    let began = Instant::now();
    let mut told = began;
    while done < messages {
        let mut world = World::new(seed, Options::from_seed(seed));
        let result = world.run_to_end(PER_WORLD, STEPS);
        if let Err(failure) = result {
            failures += 1;
            println!("FAILED: {failure}");
        }
        let counts = world.counts();
        all.add(&counts);
        done += counts.accepted;
        seed += 1;
        if told.elapsed() > Duration::from_secs(10) || done >= messages {
            told = Instant::now();
            println!(
                "{:.0?}: {failures} failures; {all:?}; next: --seed {seed} --done {done}",
                began.elapsed()
            );
        }
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
