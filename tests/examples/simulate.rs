//! Worlds, one after the other, until enough messages were accepted and enough connections cut:
//!
//! ```text
//! cargo run --release -p martlet-tests --example simulate -- --jobs 2 --messages 100_000_000 --cuts 1_000_000
//! ```
//!
//! Now and then it prints a line; the arguments after its `next:` continue from there. A failure is
//! printed with its seed, which replays it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program"
)]

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
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// What the arguments ask for.
struct Goal {
    messages: u64,
    cuts: u64,
    jobs: u64,
}

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

impl Progress {
    /// Takes the next seed, unless the goal is reached.
    fn start(&mut self, goal: &Goal) -> Option<u64> {
        if self.messages >= goal.messages && self.cuts >= goal.cuts {
            return None;
        }
        let seed = self.next_seed;
        self.next_seed += 1;
        self.running.insert(seed);
        Some(seed)
    }

    fn finish(&mut self, seed: u64, counts: &Counts) {
        self.running.remove(&seed);
        self.counts.add(counts);
        self.messages += counts.accepted;
        self.cuts += counts.cuts;
    }

    fn print(&self, began: Instant) {
        // What is under way is done again.
        let seed = self.running.first().copied().unwrap_or(self.next_seed);
        let Self {
            counts,
            messages,
            cuts,
            failures,
            ..
        } = self;
        println!(
            "{:.0?}: {failures} failures; {counts:?}; next: --seed {seed} --done {messages} --cut {cuts}",
            began.elapsed()
        );
    }
}

/// Reads the arguments; `None` if they are wrong.
fn arguments() -> Option<(Goal, Progress)> {
    let mut goal = Goal {
        messages: 1_000_000,
        cuts: 0,
        jobs: 1,
    };
    let mut progress = Progress::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .and_then(|value| value.replace('_', "").parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--seed", Some(value)) => progress.next_seed = value,
            ("--messages", Some(value)) => goal.messages = value,
            ("--cuts", Some(value)) => goal.cuts = value,
            ("--jobs", Some(value @ 1..)) => goal.jobs = value,
            ("--done", Some(value)) => progress.messages = value,
            ("--cut", Some(value)) => progress.cuts = value,
            _ => return None,
        }
    }
    Some((goal, progress))
}

/// In one world of four sessions are stored, and processes die; in another the server misbehaves.
fn world(seed: u64) -> World {
    let options = match seed % 4 {
        3 => Options::durable(seed),
        1 => Options::moody(seed),
        _ => Options::from_seed(seed),
    };
    World::new(seed, options)
}

fn main() -> ExitCode {
    let Some((goal, progress)) = arguments() else {
        eprintln!(
            "usage: simulate [--seed N] [--messages N] [--cuts N] [--jobs N] [--done N] [--cut N]"
        );
        return ExitCode::FAILURE;
    };
    let (began, last_report) = (Instant::now(), Mutex::new(Instant::now()));
    let progress = Mutex::new(progress);
    let lock = || progress.lock().expect("nobody panics with it");
    let run_worlds = || {
        loop {
            let Some(seed) = lock().start(&goal) else {
                break;
            };
            let mut world = world(seed);
            let result = world.run_to_end(PER_WORLD, STEPS);
            let mut progress = lock();
            progress.finish(seed, &world.counts());
            if let Err(failure) = result {
                progress.failures += 1;
                println!("FAILED: {failure}");
            }
            let mut last_report = last_report.lock().expect("nobody panics with it");
            if last_report.elapsed() > REPORT_INTERVAL {
                *last_report = Instant::now();
                progress.print(began);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..goal.jobs {
            scope.spawn(run_worlds);
        }
    });
    let progress = lock();
    progress.print(began);
    if progress.failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
