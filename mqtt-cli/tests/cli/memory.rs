//! What the binary has resident at most, as Linux counts it. These tests are ignored for what they
//! need of the machine; `.ci/run` runs them.

use crate::peer::{Peer, listen};
use crate::run::{Running, at_port, martlet, status};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use std::io::{BufRead, BufReader};

/// The most memory that a command had resident so far, in bytes; none when it has ended.
fn peak_memory(running: &mut Running) -> Option<u64> {
    let path = format!("/proc/{}/status", running.child().id());
    let status = std::fs::read_to_string(path).unwrap();
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    Some(kibibytes * 1024)
}

/// Lets this process, and those that it starts, have this many files open.
fn allow_open_files(needed: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    assert!(
        maximum.is_none_or(|most| most >= needed),
        "this test needs {needed} open files in a process, and the hard limit is {maximum:?}: raise it (ulimit -Hn)"
    );
    let raised = Rlimit {
        current: Some(needed),
        maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// The broker has an end of each connection, in a process of its own. What the command has resident
/// is read while it holds them; so is what it reports in the end.
#[test]
#[ignore = "needs 10,300 open files in each of two processes, and 10,000 ports"]
fn ten_thousand_idle_connections_need_less_than_150_mb() {
    const CLIENTS: u64 = 10_000;
    const MOST: u64 = 150_000_000;
    allow_open_files(CLIENTS + 300);
    let mut broker = Running::start(&mut martlet(["broker", "-p", "0"]));
    let mut out = BufReader::new(broker.child().stdout.take().unwrap());
    let mut url = String::new();
    out.read_line(&mut url).unwrap();
    let mut command = martlet(["bench", "conn", "--json", "-L", url.trim()]);
    command.args(["--clients", &CLIENTS.to_string(), "--duration", "1"]);
    let mut running = Running::start(&mut command);
    // It ends when it has held them: until then this is the most of it so far.
    let mut seen = 0;
    while let Some(peak) = peak_memory(&mut running) {
        seen = peak;
    }
    let report: Value = serde_json::from_slice(&running.end().expect(status::DONE).out).unwrap();
    assert_eq!(report["connections"]["made"], CLIENTS, "{report:#}");
    let reported = report["peak_memory_bytes"].as_u64().unwrap();
    assert!(seen > 0 && seen < MOST, "{seen} bytes");
    assert!(reported < MOST, "{reported} bytes");
}

/// A server that floods ends neither in a hang nor in unbounded memory.
#[test]
#[ignore = "takes 300 MB of loopback traffic"]
fn a_packet_of_256_mib_is_refused_in_little_memory() {
    let (listener, port) = listen();
    let mut command = at_port(port, "sub -V 311 -t a -W 20 -C 1");
    let mut running = Running::start(&mut command);
    let mut peer = Peer::accept(&listener);
    peer.accept_subscribe();
    // A PUBLISH of the largest size that MQTT has.
    peer.write(b"\x30\xff\xff\xff\x7f\x00\x01a");
    let chunk = vec![b'x'; 1 << 20];
    let mut left = 268_435_455 - 3;
    while left > 0 {
        let now = chunk.len().min(left);
        peer.write(&chunk[..now]);
        left -= now;
    }
    let peak = peak_memory(&mut running).unwrap();
    assert!(peak < 64 << 20, "{peak} bytes");
    peer.write(b"\x30\x04\x00\x01ax");
    assert_eq!(running.end().expect(status::PARTIAL).text(), "x\n");
}
