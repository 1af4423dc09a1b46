//! A process whose session is stored is killed with SIGKILL, again and again: nothing that was
//! accepted is lost, and what has QoS 2 never comes twice.
//!
//! The process is this test itself, started once more: [`CHILD`] tells it what to do. The small run
//! has the embedded broker; the one of 20 kills for each version has a mosquitto, and runs where it
//! is asked for with `--ignored`.
#![cfg(unix)]

#[allow(dead_code, reason = "its command-line clients are for others")]
mod mosquitto;

use martlet_broker::tokio::Server;
use martlet_tokio::{Client, QoS, Tokio, Version, store::RedbStore};
use mosquitto::{Mosquitto, in_time};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// Says that this process is the one to be killed: the server, the store's file, the version, and
/// the number of its first message or `settle`.
const CHILD: &str = "MARTLET_KILLED";

/// Messages of different processes are that far apart.
const BLOCK: u64 = 1_000_000;

/// How many publish at once: their messages share commits.
const PUBLISHERS: u64 = 64;

/// A line of the table.
#[derive(Debug, Default)]
struct Row {
    kills: usize,
    accepted: [usize; 2],
    arrived: [usize; 2],
    /// Accepted, and not arrived.
    lost: [usize; 2],
    /// More than once.
    repeated: [usize; 2],
    /// Arrived, although the process was killed before it had accepted it.
    unaccepted: usize,
}

fn index(number: u64) -> usize {
    (number % 2) as usize
}

fn qos(number: u64) -> QoS {
    [QoS::AtLeastOnce, QoS::ExactlyOnce][index(number)]
}

// ---- the process that is killed

fn version(name: &str) -> Version {
    if name == "5" {
        Version::V5
    } else {
        Version::V3_1_1
    }
}

/// Prints a line for the parent process: in one write, so that it is there whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes())
        .and_then(|()| out.flush())
        .expect("the parent reads");
}

async fn child(task: &str) {
    let parts: Vec<&str> = task.split(' ').collect();
    let [uri, file, level, first] = parts[..] else {
        panic!("{task}")
    };
    let builder = Client::builder(uri).client_identifier("killed");
    let builder = builder
        .version(version(level))
        .session_expiry_interval(3600);
    say("opening");
    let store = RedbStore::open(file).expect("a store");
    let (client, driver) = builder.store(store).build(Tokio).expect("a session");
    say("opened");
    tokio::spawn(driver);
    if first == "settle" {
        let left = client.disconnect().drain(Duration::from_secs(40)).await;
        assert_eq!(
            (left.in_flight, left.queued, &left.stored),
            (0, 0, &Ok(())),
            "all is acknowledged"
        );
        return say("acknowledged");
    }
    let next = Arc::new(AtomicU64::new(first.parse().expect("a number")));
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let (client, next) = (client.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                accept(&client, number, publisher % 2 == 0).await;
                say(&format!("accepted {number}"));
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    #[allow(
        clippy::never_loop,
        reason = "no publisher ends before the process does"
    )]
    for publisher in publishers {
        publisher.await.expect("it is killed before");
    }
}

/// Publishes, and waits until the message is accepted: in both ways that there are.
async fn accept(client: &Client, number: u64, enqueued: bool) {
    let payload = number.to_be_bytes().to_vec();
    if enqueued {
        drop(
            client
                .publish("killed", payload)
                .qos(qos(number))
                .enqueue()
                .await
                .expect("accepted"),
        );
        return;
    }
    let publish = client.publish("killed", payload).qos(qos(number));
    let mut receipt = publish.try_enqueue().expect("there is room");
    receipt.stored().await.expect("stored");
}

/// This process, if it is to be killed.
async fn is_child() -> bool {
    let Ok(task) = std::env::var(CHILD) else {
        return false;
    };
    child(&task).await;
    true
}

// ---- who kills it

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn start(
    test: &str,
    task: &str,
) -> (
    Child,
    tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
) {
    let mut command = Command::new(std::env::current_exe().expect("a test is a program"));
    command
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(CHILD, task);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    (child, lines)
}

/// Kills this number of processes, and completes what they leave.
async fn kill_processes(test: &str, uri: &str, level: &str, kills: usize, seed: u64) -> Row {
    let file = folder().join(format!("killed-{}-{test}-{level}.redb", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let arrived = count(uri, level).await;
    let mut random = Random(seed);
    let mut accepted = BTreeSet::new();
    for run in 0..kills {
        // In the middle of opening the store, of the first connection, or after some messages.
        let moment = match random.below(5) {
            0 => Some(["opening", "opened"][random.below(2) as usize]),
            _ => None,
        };
        let mut left = 1 + random.below(1000);
        let task = format!("{uri} {} {level} {}", file.display(), run as u64 * BLOCK);
        let (mut child, mut lines) = start(test, &task);
        let mut is_killed = false;
        while let Some(line) = in_time("a line", lines.next_line()).await.expect("a pipe") {
            if let Some(number) = line.strip_prefix("accepted ") {
                accepted.insert(number.parse::<u64>().expect("a number"));
                left = left.saturating_sub(1);
            }
            if !is_killed && (Some(&*line) == moment || left == 0) {
                child.start_kill().expect("it runs");
                is_killed = true;
            }
        }
        let status = in_time("its end", child.wait()).await.expect("a child");
        assert!(
            is_killed && status.code().is_none(),
            "it ended by itself: {status}"
        );
    }
    let (mut child, mut lines) = start(test, &format!("{uri} {} {level} settle", file.display()));
    let mut is_acknowledged = false;
    while let Some(line) = in_time("a line", lines.next_line()).await.expect("a pipe") {
        is_acknowledged |= line == "acknowledged";
    }
    let status = in_time("its end", child.wait()).await.expect("a child");
    assert!(
        is_acknowledged && status.success(),
        "it could not settle the rest: {status}"
    );
    std::fs::remove_file(file).expect("a file");

    // What comes after everything else.
    let client = martlet_tokio::connect(uri).await.expect("a connection");
    client
        .publish("killed", "end")
        .qos(QoS::ExactlyOnce)
        .await
        .expect("acknowledged");
    let arrived = in_time("the rest", arrived).await.expect("it counts");
    let mut row = Row {
        kills,
        ..Row::default()
    };
    for &number in &accepted {
        row.accepted[index(number)] += 1;
        row.lost[index(number)] += usize::from(!arrived.contains_key(&number));
    }
    for (&number, &times) in &arrived {
        row.arrived[index(number)] += 1;
        row.repeated[index(number)] += usize::from(times > 1);
        row.unaccepted += usize::from(!accepted.contains(&number));
    }
    row
}

/// How often each message arrives, until the end comes.
async fn count(uri: &str, level: &str) -> JoinHandle<BTreeMap<u64, usize>> {
    let builder = Client::builder(uri).version(version(level));
    let client = martlet_tokio::connect_with(builder)
        .await
        .expect("a connection");
    let mut messages = client
        .subscribe("killed")
        .qos(QoS::ExactlyOnce)
        .await
        .expect("a subscription");
    tokio::spawn(async move {
        let mut arrived = BTreeMap::new();
        while let Some(message) = messages.next().await {
            let Ok(number) = <[u8; 8]>::try_from(message.payload()) else {
                break;
            };
            *arrived.entry(u64::from_be_bytes(number)).or_default() += 1;
        }
        drop(client);
        arrived
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned()
}

/// The table, past the harness, which keeps what tests that pass have printed.
fn tell(broker: &str, level: &str, row: &Row) {
    let Row {
        kills,
        accepted,
        arrived,
        lost,
        repeated,
        unaccepted,
    } = row;
    let line = format!(
        "SIGKILL | {broker} | {level} | {kills} kills | accepted {} at QoS 1, {} at QoS 2 | arrived {}, {} | \
         lost {}, {} | more than once {}, {} | arrived unaccepted {unaccepted}\n",
        accepted[0],
        accepted[1],
        arrived[0],
        arrived[1],
        lost[0],
        lost[1],
        repeated[0],
        repeated[1]
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn judge(row: &Row) {
    assert_eq!(row.lost, [0, 0], "lost, although accepted: {row:?}");
    assert_eq!(row.repeated[1], 0, "more than once at QoS 2: {row:?}");
    assert!(
        row.accepted.iter().all(|&n| n > row.kills),
        "hardly anything was accepted: {row:?}"
    );
}

/// A receipt was given before its message was on the disk: 20 kills lost 13 to 145 of 20,000
/// messages.
#[tokio::test]
async fn what_was_accepted_outlives_the_process() {
    if is_child().await {
        return;
    }
    for level in ["3.1.1", "5"] {
        let server = Server::start(martlet_broker::BrokerConfig::default())
            .await
            .expect("a broker");
        let test = "what_was_accepted_outlives_the_process";
        let row = kill_processes(test, &server.uri(), level, 4, 9).await;
        tell("embedded", level, &row);
        judge(&row);
    }
}

#[tokio::test]
#[ignore = "needs a mosquitto: see .ci/run"]
async fn what_was_accepted_outlives_the_process_with_mosquitto() {
    if is_child().await {
        return;
    }
    let broker = Mosquitto::start().await;
    for level in ["3.1.1", "5"] {
        let test = "what_was_accepted_outlives_the_process_with_mosquitto";
        let row = kill_processes(test, &broker.uri(), level, 20, 10).await;
        tell("mosquitto", level, &row);
        judge(&row);
    }
}
