//! 10,000 clients lose one server: how often they try to connect while it is away and when it is
//! back.
//!
//! ```text
//! cargo run --release -p martlet-tests --example reconnect_storm
//! ```
#![allow(clippy::print_stdout, reason = "this is a program")]

use martlet_client::Reconnect;
use martlet_tests::storm::Storm;
use std::time::Duration;

fn main() {
    for outage in [0, 30, 300] {
        let outage = Duration::from_secs(outage);
        let dial = Duration::from_millis(20);
        let storm = Storm {
            clients: 10_000,
            outage,
            dial,
            reconnect: Reconnect::default(),
        };
        let seen = storm.run();
        println!(
            "{} clients, a server that is away for {outage:?}:\n{seen}",
            storm.clients
        );
        println!(
            "at most {} attempts in a tenth of a second after the first second\n",
            seen.peak_tenth
        );
    }
}
