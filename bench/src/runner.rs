//! Starts a server and a client for each measurement, in rounds, and hands what comes out to the
//! reports.

use crate::foreign;
use crate::peers::{Entry, Kind, PEERS};
use crate::results::{Cell, Results, Row, Run};
use crate::sample::{ClientSample, ServerSample};
use crate::scenario::Scenario;
use crate::{chart, machine, report};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const USUAL_ROUNDS: usize = 7;
/// As many files as a process needs: some peers open three for a connection.
const FILES: u64 = 40_000;
/// How many files a process opens besides connections, at most.
const FILES_BESIDES: usize = 100;
/// How many seconds one measurement is to take.
const SECONDS: f64 = 0.2;

pub struct Options {
    quick: bool,
    rounds: usize,
    only: Option<String>,
    peers: Option<Vec<String>>,
    tools: PathBuf,
}

impl Options {
    pub fn parse(words: &[&str]) -> Self {
        let value = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            Some((*words.get(at + 1).expect("a value after the option")).to_owned())
        };
        let quick = words.contains(&"--quick");
        let rounds = if quick { 1 } else { USUAL_ROUNDS };
        Self {
            quick,
            rounds: value("--rounds").map_or(rounds, |n| n.parse().expect("a number of rounds")),
            only: value("--only"),
            peers: value("--peers").map(|names| names.split(',').map(str::to_owned).collect()),
            tools: value("--tools").map_or_else(foreign::usual_tools, PathBuf::from),
        }
    }

    /// Whether its rows go to the reports: peers are compared within one run only.
    fn is_for_reports(&self) -> bool {
        !self.quick && self.peers.is_none()
    }
}

/// How the process of a peer is started, up to the scenario.
pub struct Start {
    pub words: Vec<OsString>,
    pub environment: Option<(&'static str, OsString)>,
    pub version: String,
}

impl Start {
    /// A peer that is part of `program`.
    fn part_of(program: &Path, peer: &Entry, package: Option<&str>) -> Self {
        Self {
            words: vec![program.into(), "client".into(), peer.name.into()],
            environment: None,
            version: package.map_or("–", machine::version).to_owned(),
        }
    }

    /// The process, with `before` in front of its words.
    pub fn command(&self, before: &[OsString]) -> Command {
        let mut words = before.iter().chain(&self.words);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).envs(self.environment.clone());
        command
    }
}

/// The peers of the options.
#[derive(Default)]
struct Peers {
    found: Vec<(&'static Entry, Start)>,
    /// The names of those that are not on this machine, and why.
    missing: Vec<(String, String)>,
}

fn find_peers(options: &Options) -> Peers {
    let me = std::env::current_exe().expect("this program");
    let mut peers = Peers::default();
    for peer in PEERS {
        let wanted = options.peers.as_ref();
        if wanted.is_some_and(|names| names.iter().all(|name| name != peer.name)) {
            continue;
        }
        match &peer.kind {
            Kind::Rust { package, .. } => {
                let start = Start::part_of(&me, peer, *package);
                peers.found.push((peer, start));
            }
            Kind::Foreign(program) => match program.prepare(&options.tools) {
                Ok(start) => peers.found.push((peer, start)),
                Err(reason) => {
                    println!("{} is left out: {reason}", peer.name);
                    peers.missing.push((peer.name.to_owned(), reason));
                }
            },
        }
    }
    peers
}

pub fn run(options: &Options) {
    let began = std::time::Instant::now();
    let load = machine::load();
    let results = if options.is_for_reports() && options.only.is_some() {
        Results::load()
    } else {
        Results::default()
    };
    let files = raise_open_files();
    let counted = build_counted();
    let Peers {
        found: peers,
        missing,
    } = find_peers(options);
    let versions = peers
        .iter()
        .map(|(peer, start)| (peer.name.to_owned(), start.version.clone()));
    let mut run = Run {
        began: machine::now(),
        machine: machine::Machine::here(),
        load: (load, load),
        versions: versions.collect(),
        missing,
    };
    let mut rows = Vec::new();
    for scenario in Scenario::all() {
        let wanted = options.only.as_ref();
        if wanted.is_some_and(|only| !scenario.to_string().contains(only)) {
            continue;
        }
        let cells = if scenario.files() + FILES_BESIDES <= files {
            row(options, &peers, scenario, counted.as_deref())
        } else {
            let note = format!("a process opens {files} files at most on this machine");
            peers.iter().map(|_| Cell::without_number(&note)).collect()
        };
        let names = peers.iter().map(|(peer, _)| peer.name.to_owned());
        let row = Row {
            scenario,
            run: run.clone(),
            cells: names.zip(cells).collect(),
        };
        report::print_row(&row);
        rows.push(row);
    }
    run.load.1 = machine::load();
    for row in &mut rows {
        row.run = run.clone();
    }
    println!("took {:.0} s", began.elapsed().as_secs_f64());
    finish(options, results, rows);
}

/// Stores the rows and writes the reports, or prints them if the run is not one for the reports.
fn finish(options: &Options, mut results: Results, rows: Vec<Row>) {
    results.replace(rows);
    if options.is_for_reports() {
        results.store();
        write_reports();
    } else {
        println!("{}", report::markdown(&results));
    }
}

/// Writes the reports from what is stored.
pub fn write_reports() {
    let results = Results::load();
    assert!(!results.rows.is_empty(), "a run before the report");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::write(folder.join("RESULTS.md"), report::markdown(&results)).expect("a file");
    std::fs::write(folder.join("chart.svg"), chart::svg(&results)).expect("a file");
}

/// Measures all peers in one scenario: a short run that finds the number of messages, then rounds,
/// then what is counted rather than timed.
fn row(
    options: &Options,
    peers: &[(&'static Entry, Start)],
    scenario: Scenario,
    counted: Option<&Path>,
) -> Vec<Cell> {
    let first = scenario.first(options.quick);
    let mut cells: Vec<Cell> = peers.iter().map(|_| Cell::default()).collect();
    let mut numbers = vec![first; peers.len()];
    for (((peer, start), cell), number) in peers.iter().zip(&mut cells).zip(&mut numbers) {
        if let Some(reason) = peer.lacks(scenario) {
            cell.note = Some(reason.to_owned());
            continue;
        }
        match measure(&mut start.command(&[]), scenario, first) {
            Ok((sample, _)) if !options.quick => {
                let each = |whole: f64| whole / first as f64;
                let (seconds, bytes) = (each(sample.wall), each(sample.grown as f64));
                *number = scenario.messages(seconds, bytes, SECONDS);
            }
            Ok(_) => {}
            Err(reason) => cell.note = Some(reason),
        }
    }
    for _ in 0..scenario.rounds(options.rounds) {
        for (((_, start), cell), number) in peers.iter().zip(&mut cells).zip(&numbers) {
            if cell.note.is_some() {
                continue;
            }
            match measure(&mut start.command(&[]), scenario, *number) {
                Ok((sample, server)) => {
                    cell.samples.push(sample);
                    cell.servers.push(server);
                }
                Err(reason) => cell.note = Some(reason),
            }
        }
    }
    for (((peer, start), cell), number) in peers.iter().zip(&mut cells).zip(numbers) {
        if cell.note.is_none() {
            let counted = counted.filter(|_| matches!(peer.kind, Kind::Rust { .. }));
            let counted = counted.map(|counted| Start::part_of(counted, peer, None));
            if let Some(counted) = counted {
                // What one holds depends on how many there are.
                let holds = matches!(scenario, Scenario::Idle(_) | Scenario::Offline);
                let n = if holds { number } else { first };
                count_allocations(&counted, scenario, n, cell);
            }
            count_system_calls(start, scenario, first, cell);
        }
    }
    cells
}

/// Counts in a run of its own, because counting takes time.
fn count_allocations(counted: &Start, scenario: Scenario, n: usize, cell: &mut Cell) {
    let measured = measure(&mut counted.command(&[]), scenario, n).ok();
    let sample = measured.map(|(sample, _)| sample).unwrap_or_default();
    let each = |number: Option<u64>| number.map(|number| number as f64 / n as f64);
    cell.allocations = each(sample.allocations);
    cell.heap = each(sample.heap);
}

/// Likewise.
fn count_system_calls(start: &Start, scenario: Scenario, n: usize, cell: &mut Cell) {
    if machine::has_strace() {
        // Twice, for what the process does besides: the difference is the messages'. Few, because
        // a traced system call takes long.
        let n = (n / 4).max(200);
        let more = traced(start, scenario, 2 * n);
        let less = traced(start, scenario, n);
        cell.system_calls = more
            .zip(less)
            .map(|(more, less)| (more - less).max(0.0) / n as f64);
    }
}

/// The system calls of the whole process.
fn traced(start: &Start, scenario: Scenario, n: usize) -> Option<f64> {
    let name = format!("martlet-bench-{}.strace", std::process::id());
    let file = std::env::temp_dir().join(name);
    let strace = [
        "strace".into(),
        "-c".into(),
        "-f".into(),
        "-o".into(),
        file.clone().into(),
    ];
    let measured = measure(&mut start.command(&strace), scenario, n);
    let summary = std::fs::read_to_string(&file).unwrap_or_default();
    // A summary that was not written leaves the cell empty, and so does a file that stays.
    let _ = std::fs::remove_file(&file);
    measured.ok()?;
    let total = summary.lines().last()?;
    let column = total.split_whitespace().nth(3)?;
    column.parse().ok()
}

/// One measurement: a server, and `command` as the client.
fn measure(
    command: &mut Command,
    scenario: Scenario,
    n: usize,
) -> Result<(ClientSample, ServerSample), String> {
    let mut server = Server::start(scenario, n);
    let client = command
        .args([scenario.to_string(), n.to_string()])
        .arg(server.port.to_string())
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| error.to_string())?;
    let served = server.stop();
    let sample: Option<ClientSample> = serde_json::from_slice(client.stdout.trim_ascii()).ok();
    let Some(sample) = sample.filter(|_| client.status.success()) else {
        let log = String::from_utf8_lossy(&client.stderr);
        let got = served.map_or(0, |served| served.tally.count + served.acknowledged as u64);
        let last = log
            .lines()
            .rfind(|line| !line.starts_with("note:"))
            .unwrap_or("no output");
        return Err(format!("failed at {n} messages (server saw {got}): {last}"));
    };
    let served = served.ok_or("the server failed")?;
    check(scenario, n, &sample, &served)?;
    Ok((sample, served))
}

/// A peer that lost or repeated messages gets a note instead of a number.
fn check(
    scenario: Scenario,
    n: usize,
    client: &ClientSample,
    server: &ServerSample,
) -> Result<(), String> {
    if let Scenario::Acknowledge { .. } = scenario {
        let acknowledged = server.acknowledged;
        if acknowledged != n {
            return Err(format!("{acknowledged} of {n} messages were acknowledged"));
        }
    }
    if let Scenario::Idle(_) | Scenario::Connect | Scenario::ConnectTls = scenario {
        // One before the measured part.
        let (made, wanted) = (server.connections, n + 1);
        return if made == wanted {
            Ok(())
        } else {
            Err(format!(
                "the server accepted {made} connections of {wanted}"
            ))
        };
    }
    let (tally, place) = match client.tally {
        Some(tally) => (tally, "the client received"),
        None => (server.tally, "the server received"),
    };
    if tally.is_whole(n) {
        Ok(())
    } else if tally.count == n as u64 {
        Err("some messages arrived twice, and others not at all".to_owned())
    } else {
        Err(format!("{place} {} of {n} messages", tally.count))
    }
}

struct Server {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Server {
    fn start(scenario: Scenario, n: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["server", &scenario.to_string(), &n.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        let mut port = String::new();
        output.read_line(&mut port).expect("a line");
        Self {
            process,
            output,
            port: port.trim().parse().expect("a port"),
        }
    }

    /// Waits until the server has seen its client leave; ends it if the client never came.
    fn stop(&mut self) -> Option<ServerSample> {
        // Ten thousand threads take a while to end.
        for _ in 0..5_000 {
            if let Ok(Some(_)) = self.process.try_wait() {
                let mut line = String::new();
                self.output.read_to_string(&mut line).ok()?;
                return serde_json::from_str(line.trim()).ok();
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        None
    }
}

/// Builds the program that counts allocations; nothing if cargo did not start this one.
fn build_counted() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO")?;
    let mut build = Command::new(cargo);
    build
        .args(["build", "--release", "--bin", "counted", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    // What cargo sets for this program: build scripts that look at it would run again, and with them
    // everything that depends on ring would be compiled again.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            build.env_remove(name);
        }
    }
    let built = build.status();
    let counted = std::env::current_exe().ok()?.with_file_name("counted");
    (built.is_ok_and(|status| status.success()) && counted.exists()).then_some(counted)
}

/// Lets this process and those that it starts open as many files as there may be connections;
/// returns how many they can.
fn raise_open_files() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return usize::MAX;
    };
    // Only some may raise the hard limit. Where it is not enough, the row says so.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, FILES, hard.max(FILES));
    if raised.is_err() {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(FILES), hard);
    }
    getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| soft as usize)
}
