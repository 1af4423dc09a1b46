//! The clients that are measured. Each in Rust has a module of the same shape, an implementation of
//! [`Peer`], and a line in [`PEERS`]; each in another language has a program in `bench/foreign`.

mod endpoint;
mod floor;
mod gneiss;
mod inbox;
mod martlet;
mod mqrstt;
mod mqtt5;
mod ntex;
mod polled;
mod raw;
mod rumqttc;
mod rumqttc_next;

use crate::client::Job;
use crate::control::Done;
use crate::foreign::{self, Program};
use crate::messages::{Outgoing, Tally};
use crate::scenario::{Scenario, THREADS};
use std::future::Future;
use std::time::Duration;

/// One client library, used as its documentation says is best for throughput.
pub trait Peer: Sized {
    /// Why the scenario has no result, if the peer cannot do it.
    fn lacks(_scenario: Scenario) -> Option<&'static str> {
        None
    }

    /// Runs the measurement on the runtime that the peer is made for.
    fn block_on(scenario: Scenario, work: impl Future<Output = ()> + 'static) {
        block_on_tokio(scenario, work);
    }

    /// Connects, with a window of [`crate::scenario::WINDOW`], and waits for the server's answer.
    async fn connect(job: &Job, id: &str) -> Self;

    /// Publishes all messages, without waiting for each, until `done`.
    async fn publish(&mut self, messages: Outgoing, done: Done);

    /// Publishes all messages from several tasks, each of which waits for each acknowledgement.
    async fn publish_awaited(&mut self, _messages: Outgoing, _tasks: usize) {
        unreachable!("lacking");
    }

    /// Publishes a batch, and waits until all of it is acknowledged.
    async fn publish_batch(&mut self, _batch: Outgoing) {
        unreachable!("lacking");
    }

    /// Publishes all messages from several threads, without waiting for each, until `done`.
    async fn publish_from_threads(&mut self, _messages: Outgoing, _threads: usize, _done: Done) {
        unreachable!("lacking");
    }

    /// Makes a client, publishes all messages before it is connected, and calls `queued`, which lets the
    /// server answer; delivers them until `done`.
    async fn publish_offline(
        _job: &Job,
        _messages: Outgoing,
        _queued: impl FnOnce(),
        _done: Done,
    ) -> Self {
        unreachable!("lacking");
    }

    /// Subscribes, and waits for the server's answer.
    async fn subscribe(&mut self, filters: Vec<String>, qos: u8);

    /// Receives `n` messages; the application begins after `delay`.
    async fn receive(&mut self, n: usize, delay: Duration) -> Tally;

    /// Receives `n` messages from the server, which starts when `go` is called; calls `received`, and
    /// acknowledges them, one by one or by the position of one in `every`, until `done`.
    async fn acknowledge(
        &mut self,
        _n: usize,
        _every: usize,
        _go: impl FnOnce(),
        _received: impl FnOnce(),
        _done: Done,
    ) -> Tally {
        unreachable!("lacking");
    }

    /// Publishes at QoS 0 and receives one message.
    async fn ping(&mut self, payload: Vec<u8>);

    /// Disconnects as the protocol wants it.
    async fn disconnect(self);
}

/// On tokio, with one thread unless the scenario is about several.
fn block_on_tokio(scenario: Scenario, work: impl Future<Output = ()>) {
    if matches!(scenario, Scenario::Threads { .. }) {
        return block_on_two_workers(work);
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build();
    runtime.expect("a runtime").block_on(work);
}

/// On tokio, with two threads besides the one that waits.
fn block_on_two_workers(work: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(THREADS).enable_all().build();
    runtime.expect("a runtime").block_on(work);
}

/// What a table says of a peer, and how to measure it.
pub struct Entry {
    pub name: &'static str,
    /// The version of MQTT that is spoken.
    pub mqtt: &'static str,
    lacks: fn(Scenario) -> Option<&'static str>,
    pub kind: Kind,
}

impl Entry {
    /// Why the scenario has no result, if the peer cannot do it.
    pub fn lacks(&self, scenario: Scenario) -> Option<&'static str> {
        let is_rust = matches!(self.kind, Kind::Rust { .. });
        match scenario {
            Scenario::Acknowledge { .. } if self.name != MARTLET => Some("compares Martlet's ways"),
            Scenario::ConnectTls if !is_rust => Some(OTHER_TLS),
            Scenario::Offline if !is_rust => Some("not measured in other languages"),
            Scenario::Threads { .. } if !is_rust => Some("its program here has one thread"),
            _ => (self.lacks)(scenario),
        }
    }
}

/// Where the code of a peer is.
pub enum Kind {
    /// In this program.
    Rust {
        /// The package whose version the report states, or nothing for what is part of this folder.
        package: Option<&'static str>,
        measure: fn(&Job),
    },
    /// In a program of its own.
    Foreign(Program),
}

const fn entry<P: Peer + 'static>(
    name: &'static str,
    package: Option<&'static str>,
    mqtt: &'static str,
) -> Entry {
    Entry {
        name,
        mqtt,
        lacks: P::lacks,
        kind: Kind::Rust {
            package,
            measure: crate::client::measure::<P>,
        },
    }
}

const fn foreign(
    name: &'static str,
    program: Program,
    lacks: fn(Scenario) -> Option<&'static str>,
) -> Entry {
    Entry {
        name,
        mqtt: "3.1.1",
        lacks,
        kind: Kind::Foreign(program),
    }
}

const OTHER_TLS: &str = "its TLS is not rustls with ring, or a package of its own";

const IDENTIFIERS: &str = "each queued message takes one of 65,535 identifiers";
const NO_QUEUE: &str = "queues nothing before there is a connection";

fn lacks_awaited(scenario: Scenario) -> Option<&'static str> {
    (scenario == Scenario::Awaited).then_some("no handle for one acknowledgement")
}

fn lacks_nothing(_: Scenario) -> Option<&'static str> {
    None
}

pub const PEERS: &[Entry] = &[
    entry::<martlet::Martlet<martlet::Tokio>>(MARTLET, Some("martlet-tokio"), "3.1.1"),
    entry::<floor::Floor>("floor", None, "3.1.1"),
    entry::<raw::Raw>("raw writes", None, "3.1.1"),
    entry::<rumqttc::V4>("rumqttc", Some("rumqttc"), "3.1.1"),
    entry::<rumqttc::V5>("rumqttc v5", Some("rumqttc"), "5"),
    entry::<rumqttc_next::V4>("rumqttc-v4-next", Some("rumqttc-v4-next"), "3.1.1"),
    entry::<rumqttc_next::V5>("rumqttc-v5-next", Some("rumqttc-v5-next"), "5"),
    entry::<ntex::Ntex>("ntex-mqtt", Some("ntex-mqtt"), "3.1.1"),
    entry::<mqrstt::Mqrstt>("mqrstt", Some("mqrstt"), "5"),
    entry::<gneiss::Gneiss>("gneiss-mqtt", Some("gneiss-mqtt"), "3.1.1"),
    entry::<mqtt5::Mqtt5>("mqtt5", Some("mqtt5"), "3.1.1"),
    entry::<endpoint::Endpoint>("mqtt-endpoint-tokio", Some("mqtt-endpoint-tokio"), "3.1.1"),
    foreign("libmosquitto", foreign::LIBMOSQUITTO, lacks_awaited),
    foreign("Paho C", foreign::PAHO_C, lacks_nothing),
    foreign("Paho Python", foreign::PAHO_PYTHON, lacks_nothing),
    foreign("MQTT.js", foreign::MQTT_JS, lacks_nothing),
    entry::<martlet::Martlet<martlet::TwoWorkers>>(TWO_WORKERS, Some("martlet-tokio"), "3.1.1"),
    entry::<martlet::Martlet<martlet::Smol>>(SMOL, Some("martlet-smol"), "3.1.1"),
    entry::<martlet::Martlet<martlet::AsyncStd>>(ASYNC_STD, Some("martlet-async-std"), "3.1.1"),
];

/// Martlet on tokio with one thread, which is compared with the others.
pub const MARTLET: &str = "Martlet";
const TWO_WORKERS: &str = "Martlet on two workers";
const SMOL: &str = "Martlet on smol";
const ASYNC_STD: &str = "Martlet on async-std";

/// The peers that are Martlet on other runtimes. They have a table of their own.
pub const RUNTIMES: [&str; 3] = [TWO_WORKERS, SMOL, ASYNC_STD];

pub fn find(name: &str) -> Option<&'static Entry> {
    PEERS.iter().find(|peer| peer.name == name)
}

/// Spawns the tasks of [`Peer::publish_awaited`] and waits for them. A macro, because the bounds of
/// what can be spawned differ between runtimes.
macro_rules! in_tasks {
    ($spawn:path, $messages:expr, $tasks:expr, $client:expr, |$handle:ident, $payload:ident| $publish:expr) => {{
        let mut tasks = Vec::new();
        for task in 0..$tasks {
            let payloads = $messages.part(task, $tasks);
            let $handle = $client.clone();
            tasks.push($spawn(async move {
                for $payload in payloads {
                    $publish;
                }
            }));
        }
        for task in tasks {
            task.await.expect("a task that did not panic");
        }
    }};
}
use in_tasks;
