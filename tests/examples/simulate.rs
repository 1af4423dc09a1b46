//! Worlds, one after the other, until enough messages were accepted and enough connections cut:
//!
//! ```text
//! cargo run --release -p martlet-tests --example simulate -- --jobs 2 --messages 100_000_000 --cuts 1_000_000
//! ```
//!
//! Now and then it prints a line; what stands behind its `next:` goes on from there, when it is given as arguments. A
//! failure is printed with its seed, which replays it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program")]

use martlet_tests::sim::{Counts, Options, World};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How many messages a world accepts before its faults stop.
const PER_WORLD: u64 = 5_000;

/// Or how many steps it makes: some worlds are hard.
const STEPS: u64 = 100_000;

/// How often it says how far it is.
const TELL: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Progress {
    next_seed: u64,
    /// Seeds that are under way.
    running: BTreeSet<u64>,
    /// Of this run.
    counts: Counts,
    /// Of this run and those before it.
    messages: u64,
    cuts: u64,
    failures: u64,
}

fn main() -> ExitCode {
    let (mut messages, mut cuts, mut jobs) = (1_000_000, 0, 1);
    let mut progress = Progress::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.replace('_', "").parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--seed", Some(value)) => progress.next_seed = value,
            ("--messages", Some(value)) => messages = value,
            ("--cuts", Some(value)) => cuts = value,
            ("--jobs", Some(value @ 1..)) => jobs = value,
            ("--done", Some(value)) => progress.messages = value,
            ("--cut", Some(value)) => progress.cuts = value,
            _ => {
                eprintln!(
                    "usage: simulate [--seed N] [--messages N] [--cuts N] [--jobs N] [--done N] [--cut N]"
                );
                return ExitCode::FAILURE;
            }
        }
    }
    let (began, told) = (Instant::now(), Mutex::new(Instant::now()));
    let progress = Mutex::new(progress);
    let lock = || progress.lock().expect("nobody panics with it");
    let tell = |progress: &Progress| {
        // What is under way is done again.
        let seed = progress.running.first().copied().unwrap_or(progress.next_seed);
        let Progress { counts, messages, cuts, failures, .. } = progress;
        println!(
            "{:.0?}: {failures} failures; {counts:?}; next: --seed {seed} --done {messages} --cut {cuts}",
            began.elapsed()
        );
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = {
                        let mut progress = lock();
                        if progress.messages >= messages && progress.cuts >= cuts {
                            break;
                        }
                        let seed = progress.next_seed;
                        progress.next_seed += 1;
                        progress.running.insert(seed);
                        seed
                    };
                    // In one world of four sessions are stored, and processes die.
                    let options =
                        if seed % 4 == 3 { Options::durable(seed) } else { Options::from_seed(seed) };
                    let mut world = World::new(seed, options);
                    let result = world.run_to_end(PER_WORLD, STEPS);
                    let counts = world.counts();
                    let mut progress = lock();
                    progress.running.remove(&seed);
                    progress.counts.add(&counts);
                    progress.messages += counts.accepted;
                    progress.cuts += counts.cuts;
                    if let Err(failure) = result {
                        progress.failures += 1;
                        println!("FAILED: {failure}");
                    }
                    let mut told = told.lock().expect("nobody panics with it");
                    if told.elapsed() > TELL {
                        *told = Instant::now();
                        tell(&progress);
                    }
                }
            });
        }
    });
    let progress = lock();
    tell(&progress);
    if progress.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
