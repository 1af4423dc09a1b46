//! `RESULTS.md`, and lines on the terminal.

use crate::machine::Machine;
use crate::peers::{Entry, MARTLET, RUNTIMES};
use crate::results::{Cell, Results, Row, Run};
use crate::sample::ClientSample;
use crate::scenario::Scenario;
use std::fmt::Write;

/// The peers that are no clients: what is hand-written, and no client at all.
const YARDSTICKS: [&str; 2] = ["floor", "raw writes"];

/// A median with the least and the greatest.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len() / 2)?,
            min: *values.first()?,
            max: *values.last()?,
        })
    }
}

impl Cell {
    /// One number of each sample; nothing if the cell has a note instead.
    pub fn spread(&self, number: impl Fn(&ClientSample) -> f64) -> Option<Spread> {
        let valid = self.note.is_none();
        valid.then(|| Spread::of(self.samples.iter().map(number)))?
    }

    /// The number that the scenario is about, in [`unit`].
    fn main(&self, scenario: Scenario) -> Option<Spread> {
        self.spread(|sample| match scenario {
            Scenario::Idle(_) => grown(sample) / 1024.0,
            Scenario::PingPong => sample.latency.unwrap_or_default().0,
            _ => cpu(sample),
        })
    }
}

/// Microseconds of CPU time for a message, user and system.
pub fn cpu(sample: &ClientSample) -> f64 {
    (sample.user + sample.system) * 1e6 / sample.messages as f64
}

pub fn user(sample: &ClientSample) -> f64 {
    sample.user * 1e6 / sample.messages as f64
}

/// Bytes that became resident for a message or a connection.
fn grown(sample: &ClientSample) -> f64 {
    sample.grown as f64 / sample.messages as f64
}

fn unit(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Idle(_) => "KiB a connection",
        Scenario::PingPong => "µs a round trip, median",
        Scenario::Connect | Scenario::ConnectTls => "CPU µs a connection",
        _ => "CPU µs a message",
    }
}

pub fn print_row(row: &Row) {
    println!("{}, {}", row.scenario.title(), unit(row.scenario));
    for (name, cell) in &row.cells {
        match (cell.main(row.scenario), &cell.note) {
            (Some(spread), _) => println!(
                "  {name:<22} {:>9} ({}–{})",
                digits(spread.median),
                digits(spread.min),
                digits(spread.max)
            ),
            (None, note) => println!("  {name:<22} {}", note.as_deref().unwrap_or("–")),
        }
    }
}

pub fn markdown(results: &Results) -> String {
    let mut text = String::new();
    head(&mut text, results);
    summary(&mut text, results);
    lost(&mut text, results);
    runtimes(&mut text, results);
    server(&mut text, results);
    details(&mut text, results);
    text.push_str("\n## What is left out\n\n");
    for (name, reason) in missing(results) {
        let _ = writeln!(text, "* {name} was not on this machine: {reason}");
    }
    let left_out = concat!(env!("CARGO_MANIFEST_DIR"), "/left_out.md");
    text.push_str(&std::fs::read_to_string(left_out).unwrap_or_default());
    text
}

/// The peers that a run lacked, each once.
fn missing(results: &Results) -> Vec<&(String, String)> {
    let mut missing: Vec<_> = results.runs().iter().flat_map(|run| &run.missing).collect();
    missing.sort();
    missing.dedup_by(|(a, _), (b, _)| a == b);
    missing
}

fn head(text: &mut String, results: &Results) {
    text.push_str(
        "# Results\n\n\
         Written by `cargo run --release --manifest-path bench/Cargo.toml -- all`; the \
         [README](README.md) says how it is measured and what the columns mean.\n",
    );
    runs(text, results);
    text.push_str("\n| peer | version | MQTT |\n|---|---|---|\n");
    for peer in results.peers() {
        let runs = results.runs();
        let versions = runs.iter().flat_map(|run| &run.versions);
        let of_peer = versions.filter(|(name, _)| name == peer.name);
        let mut versions: Vec<&str> = of_peer.map(|(_, version)| version.as_str()).collect();
        versions.dedup();
        let versions = versions.join(", then ");
        let _ = writeln!(text, "| {} | {versions} | {} |", peer.name, peer.mqtt);
    }
}

/// When, where and of what the rows were measured. Peers are compared within a row, and thus within
/// one run.
fn runs(text: &mut String, results: &Results) {
    text.push_str(
        "\nThe load average before and after; the measurement itself is two processes.\n\n\
         | run | began (UTC) | commit | compiler | kernel | processor | load before | after | rows |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let runs = results.runs();
    let titles = |run: &Run| -> Vec<String> {
        let rows = results.rows.iter();
        let rows = rows.filter(|row| row.run.began == run.began);
        rows.map(|row| row.scenario.title()).collect()
    };
    let largest = (0..runs.len()).max_by_key(|i| titles(runs[*i]).len());
    for (i, run) in runs.iter().enumerate() {
        let rows = titles(run);
        let rows = match runs.len() {
            1 => "all".to_owned(),
            _ if Some(i) == largest => "all others".to_owned(),
            _ => rows.join("; "),
        };
        let Machine {
            processor,
            kernel,
            compiler,
            commit,
        } = &run.machine;
        let (before, after) = run.load;
        let _ = writeln!(
            text,
            "| {} | {} | {commit} | {compiler} | {kernel} | {processor} | {before:.2} | {after:.2} | {rows} |",
            i + 1,
            run.began,
        );
    }
}

/// One row for each scenario, one column for each peer.
fn summary(text: &mut String, results: &Results) {
    text.push_str(
        "\n## Summary\n\nMedians; the least of the clients in bold. The floor and the raw writes are \
         yardsticks, not clients. An empty cell: see the note below the table of the scenario.\n\n| |",
    );
    let mut peers: Vec<&str> = results.peers().iter().map(|peer| peer.name).collect();
    peers.retain(|name| !RUNTIMES.contains(name));
    columns(text, &peers);
    for row in &results.rows {
        let scenario = row.scenario;
        let _ = write!(text, "| {}, {} |", scenario.title(), unit(scenario));
        let best = clients(row)
            .filter_map(|(_, cell)| cell.main(scenario))
            .map(|spread| spread.median)
            .fold(f64::INFINITY, f64::min);
        for peer in &peers {
            let cell = row.cell(peer);
            match cell.and_then(|cell| cell.main(scenario)) {
                Some(spread) if spread.median == best => {
                    let _ = write!(text, " **{}** |", digits(spread.median));
                }
                Some(spread) => {
                    let _ = write!(text, " {} |", digits(spread.median));
                }
                None => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
}

/// The rest of the first line of a table.
fn columns(text: &mut String, names: &[&str]) {
    for name in names {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(names.len()));
    text.push('\n');
}

/// Martlet on tokio beside Martlet on the others.
fn runtimes(text: &mut String, results: &Results) {
    let is_there = |name: &&str| results.rows.iter().any(|row| row.cell(name).is_some());
    let mut names: Vec<&str> = RUNTIMES.into_iter().filter(is_there).collect();
    if names.is_empty() {
        return;
    }
    names.insert(0, MARTLET);
    text.push_str(
        "\n## Martlet on other runtimes\n\nMedians, and how many times the one on the left. \
         \"Martlet\" is tokio with one thread; two workers are tokio with two, besides the one that \
         waits. smol and async-std are as they are by default.\n\n| |",
    );
    columns(text, &names);
    for row in &results.rows {
        let scenario = row.scenario;
        let number = |name: &str| row.cell(name)?.main(scenario);
        if names[1..].iter().all(|name| number(name).is_none()) {
            continue;
        }
        let ours = number(MARTLET).map(|spread| spread.median);
        let _ = write!(text, "| {}, {} |", scenario.title(), unit(scenario));
        for name in &names {
            match (number(name), ours.filter(|_| *name != MARTLET)) {
                (Some(spread), Some(ours)) => {
                    let ratio = spread.median / ours;
                    let _ = write!(text, " {} ({ratio:.2} ×) |", digits(spread.median));
                }
                (Some(spread), None) => {
                    let _ = write!(text, " {} |", digits(spread.median));
                }
                (None, _) => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
}

/// The clients of a row, Martlet on tokio among them.
fn clients(row: &Row) -> impl Iterator<Item = (&'static str, &Cell)> {
    let named = row.cells().map(|(peer, cell)| (peer.name, cell));
    named.filter(|(name, _)| !YARDSTICKS.contains(name) && !RUNTIMES.contains(name))
}

/// The rows in which another client is ahead of Martlet, and the number of those it leads.
fn lost(text: &mut String, results: &Results) {
    text.push_str("\n## Where Martlet is behind\n\n");
    let (mut led, mut compared) = (0, 0);
    for row in &results.rows {
        let scenario = row.scenario;
        let mut others = Vec::new();
        let mut ours = None;
        for (name, cell) in clients(row) {
            match cell.main(scenario) {
                Some(spread) if name == MARTLET => ours = Some(spread),
                Some(spread) => others.push((name, spread)),
                None => {}
            }
        }
        let Some(ours) = ours.filter(|_| !others.is_empty()) else {
            continue;
        };
        compared += 1;
        others.retain(|(_, spread)| spread.median < ours.median);
        others.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
        if others.is_empty() {
            led += 1;
            continue;
        }
        let ahead: Vec<String> = others
            .iter()
            .map(|(name, spread)| {
                let overlap = if spread.max >= ours.min {
                    "; the ranges overlap"
                } else {
                    ""
                };
                format!("{name} ({}{overlap})", digits(spread.median))
            })
            .collect();
        let _ = writeln!(
            text,
            "* {}: {} {}, behind {}",
            scenario.title(),
            digits(ours.median),
            unit(scenario),
            ahead.join(", ")
        );
    }
    let _ = writeln!(
        text,
        "\nIt leads in {led} of the {compared} rows that others have too."
    );
}

/// Whether the server could be what is measured.
fn server(text: &mut String, results: &Results) {
    text.push_str(
        "\n## The server\n\nThousand messages a second of a client that only writes (or reads) 64 KiB \
         at a time, beside the fastest client, and the server's own CPU time with that client. Where \
         the clients stay below what raw writes reach, the server does not hold them up.\n\n\
         | | raw | fastest client | | server CPU µs a message |\n|---|---|---|---|---|\n",
    );
    let rate = |sample: &ClientSample| sample.messages as f64 / sample.wall / 1e3;
    for row in &results.rows {
        let raw = row.cell("raw writes").and_then(|cell| cell.spread(rate));
        let fastest = clients(row)
            .filter_map(|(name, cell)| Some((name, cell, cell.spread(rate)?)))
            .max_by(|(.., a), (.., b)| a.median.total_cmp(&b.median));
        if let (Some(raw), Some((name, cell, spread))) = (raw, fastest) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {name} | {} |",
                row.scenario.title(),
                digits(raw.median),
                digits(spread.median),
                server_cpu(cell).map_or_else(String::new, |spread| digits(spread.median))
            );
        }
    }
}

fn server_cpu(cell: &Cell) -> Option<Spread> {
    let pairs = cell.servers.iter().zip(&cell.samples);
    Spread::of(pairs.map(|(server, sample)| server.cpu * 1e6 / sample.messages as f64))
}

/// A table for each scenario, one row for each peer, and the notes of those without a number.
fn details(text: &mut String, results: &Results) {
    text.push_str("\n## All numbers\n");
    for row in &results.rows {
        let each = match row.scenario {
            Scenario::Idle(_) | Scenario::Connect | Scenario::ConnectTls => "connection",
            Scenario::PingPong => "round trip",
            _ => "message",
        };
        let _ = writeln!(text, "\n### {}\n", row.scenario.title());
        if let Some(run) = results.run(row) {
            let _ = write!(text, "Run {run}. ");
        }
        let _ = match row.rounds() {
            1 => writeln!(text, "For each {each}, in one round:\n"),
            n => writeln!(
                text,
                "For each {each}, the median of {n} interleaved rounds:\n"
            ),
        };
        text.push_str(
            "| | CPU µs (least–greatest) | user µs | wall µs (least–greatest) | system calls | \
             allocations | peak MiB | server CPU µs |",
        );
        text.push_str(match row.scenario {
            Scenario::PingPong => " p50 µs | p99 µs |\n|---|---|---|---|---|---|---|---|---|---|\n",
            Scenario::Idle(_) => IDLE_COLUMNS,
            Scenario::Offline => OFFLINE_COLUMNS,
            _ => "\n|---|---|---|---|---|---|---|---|\n",
        });
        for (peer, cell) in row.cells() {
            detail(text, row.scenario, peer, cell);
        }
        notes(text, row);
    }
}

const IDLE_COLUMNS: &str =
    " KiB resident | KiB of heap | connections |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
const OFFLINE_COLUMNS: &str =
    " B resident | B of heap |\n|---|---|---|---|---|---|---|---|---|---|\n";

/// Why peers have no number: a line for each reason.
fn notes(text: &mut String, row: &Row) {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (peer, cell) in row.cells() {
        let lacks = peer.lacks(row.scenario).is_some();
        let Some(note) = cell
            .note
            .as_deref()
            .filter(|_| !lacks || !RUNTIMES.contains(&peer.name))
        else {
            continue;
        };
        match reasons.iter_mut().find(|(reason, _)| *reason == note) {
            Some((_, names)) => names.push(peer.name),
            None => reasons.push((note, vec![peer.name])),
        }
    }
    if !reasons.is_empty() {
        text.push('\n');
    }
    for (reason, names) in reasons {
        let _ = writeln!(text, "* {}: {reason}", names.join(", "));
    }
}

fn detail(text: &mut String, scenario: Scenario, peer: &Entry, cell: &Cell) {
    let Some(spent) = cell.spread(cpu) else {
        return;
    };
    let _ = write!(text, "| {} |", peer.name);
    let range = |spread: Spread| {
        let [median, min, max] = [spread.median, spread.min, spread.max].map(digits);
        format!("{median} ({min}–{max})")
    };
    let median =
        |spread: Option<Spread>| spread.map_or_else(String::new, |spread| digits(spread.median));
    let wall = cell.spread(|sample| sample.wall * 1e6 / sample.messages as f64);
    let optional = |number: Option<f64>| number.map_or_else(String::new, digits);
    let mut columns = vec![
        range(spent),
        median(cell.spread(user)),
        wall.map_or_else(String::new, range),
        optional(cell.system_calls),
        optional(cell.allocations),
        median(cell.spread(|sample| sample.peak as f64 / f64::from(1 << 20))),
        median(server_cpu(cell)),
    ];
    match scenario {
        Scenario::PingPong => {
            let latency = |sample: &ClientSample| sample.latency.unwrap_or_default();
            columns.push(median(cell.spread(|sample| latency(sample).0)));
            columns.push(median(cell.spread(|sample| latency(sample).1)));
        }
        Scenario::Idle(_) => {
            columns.push(median(cell.spread(|sample| grown(sample) / 1024.0)));
            columns.push(optional(cell.heap.map(|heap| heap / 1024.0)));
            columns.push(median(cell.spread(|sample| sample.messages as f64)));
        }
        Scenario::Offline => {
            columns.push(median(cell.spread(grown)));
            columns.push(optional(cell.heap));
        }
        _ => {}
    }
    let _ = writeln!(text, " {} |", columns.join(" | "));
}

/// Three digits that mean something.
pub fn digits(number: f64) -> String {
    match number {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 1.0 => format!("{n:.2}"),
        n => format!("{n:.3}"),
    }
}
