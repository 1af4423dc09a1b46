//! Martlet beside its peers: what a message costs each client, against the same server, in one run.
//!
//! The runner ([`runner`]) starts this binary again for each measurement: once as the server
//! ([`sink`]), once as a client ([`client`]) of one peer ([`peers`]) in one scenario
//! ([`scenario`]), so that no peer shares a process with another. Peers in other languages are
//! programs of their own ([`foreign`]). [`report`] and [`chart`] write what came out.
#![forbid(unsafe_code)]

mod chart;
mod client;
#[allow(clippy::all, dead_code, reason = "a yardstick, kept as it is")]
#[rustfmt::skip]
#[path = "../floors/codec.rs"]
mod codec;
mod control;
#[allow(clippy::all, dead_code, reason = "a yardstick, kept as it is")]
#[rustfmt::skip]
#[path = "../floors/client.rs"]
mod floor;
mod foreign;
mod machine;
mod messages;
mod peers;
mod report;
mod results;
mod runner;
mod sample;
mod scenario;
mod sink;
mod tls;

use std::path::Path;

/// What was allocated so far, in the build that counts.
pub type CountAllocations = fn() -> Allocations;

#[derive(Debug, Clone, Copy)]
pub struct Allocations {
    /// Reallocations among them.
    pub count: u64,
    /// The bytes that are allocated now.
    pub live: u64,
}

const USAGE: &str = "\
usage: martlet-bench all [--quick] [--rounds N] [--only TEXT] [--peers A,B] [--tools FOLDER]
       martlet-bench install [FOLDER]
       martlet-bench report
       martlet-bench client PEER SCENARIO N PORT
       martlet-bench server SCENARIO N

A run with --only replaces the rows of its scenarios in the reports.
TLS and WebSocket have a binary of their own: --bin transports";

/// The command line of both binaries.
pub fn main(allocations: Option<CountAllocations>) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["all", options @ ..] => runner::run(&runner::Options::parse(options)),
        ["install"] => foreign::install(&foreign::usual_tools()),
        ["install", folder] => foreign::install(Path::new(folder)),
        ["report"] => runner::write_reports(),
        ["client", peer, scenario, n, port] => client::run(
            peer,
            scenario.parse().expect("a scenario"),
            n.parse().expect("a number of messages"),
            port.parse().expect("a port"),
            allocations,
        ),
        ["server", scenario, n] => sink::run(
            scenario.parse().expect("a scenario"),
            n.parse().expect("a number of messages"),
        ),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}
