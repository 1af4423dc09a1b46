//! Tries all that can happen in small worlds: three messages from either side at each QoS, two cuts
//! between packets, in MQTT 3.1.1 and 5:
//!
//! ```text
//! cargo run --release -p martlet-tests --example exhaustive -- --messages 3 --cuts 2 --jobs 2
//! ```
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program"
)]

use martlet_tests::small_world::{Small, Walked, explore};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn main() -> ExitCode {
    let (mut messages, mut cuts, mut jobs) = (3, 2, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<u32>().ok());
        match (name.as_str(), value) {
            ("--messages", Some(value @ 1..=5)) => messages = value,
            ("--cuts", Some(value)) => cuts = value as usize,
            ("--jobs", Some(value)) => jobs = value,
            _ => {
                eprintln!("usage: exhaustive [--messages 1..5] [--cuts N] [--jobs N]");
                return ExitCode::FAILURE;
            }
        }
    }
    let all = Small::all(messages, cuts);
    let (next, sum, began) = (
        AtomicUsize::new(0),
        Mutex::new((Walked::default(), 0)),
        Instant::now(),
    );
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(small) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let walked = explore(small);
                    let mut sum = sum.lock().expect("nobody panics with it");
                    match walked {
                        Ok(walked) => {
                            sum.0.worlds += walked.worlds;
                            sum.0.states += walked.states;
                        }
                        Err(wrong) => {
                            sum.1 += 1;
                            println!("WRONG: {wrong}");
                        }
                    }
                }
            });
        }
    });
    let (walked, wrong) = *sum.lock().expect("nobody panics with it");
    println!(
        "{} settings of {messages} messages and {cuts} cuts: {} worlds through {} states, {wrong} settings wrong, {:.1?}",
        all.len(),
        walked.worlds,
        walked.states,
        began.elapsed()
    );
    if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
