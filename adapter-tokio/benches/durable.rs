//! What storing messages costs: one commit a message, beside commits that many share, with the same
//! store on the same disk.
//!
//! `cargo bench -p martlet-tokio --bench durable --features redb` prints wall time, because the disk
//! is what is waited for; commits and the size of the file do not depend on the machine.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "a benchmark prints and stops when it is wrong"
)]

mod ends;

use bytes::Bytes;
use ends::{TOPIC, median, sink};
use martlet_tokio::client::OutgoingPublish;
use martlet_tokio::session::{RecordKey, StoreError, StoreOp};
use martlet_tokio::store::{RedbStore, Store};
use martlet_tokio::{Client, QoS, TopicName, Version};
use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;

/// Counts commits.
#[derive(Debug)]
struct Counting(RedbStore, Arc<AtomicUsize>);

impl Store for Counting {
    fn load(&mut self) -> Result<Vec<(RecordKey, Bytes)>, StoreError> {
        self.0.load()
    }

    fn commit(&mut self, operations: &[StoreOp]) -> Result<(), StoreError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.commit(operations)
    }
}

/// Time and commits for a message, and the file's size at the end.
struct Cost {
    micros: f64,
    commits: f64,
    file: u64,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let (rounds, few, many) = if quick {
        (1, 10, 1_000)
    } else {
        (ROUNDS, 200, 20_000)
    };
    println!("QoS 1, 100 B; median of {rounds} interleaved rounds");
    println!(
        "{:<44} {:>10} {:>9} {:>12} {:>11}",
        "", "µs each", "ratio", "commits each", "file, KiB"
    );
    let mut costs = [(); 3].map(|()| Vec::new());
    for _ in 0..rounds {
        costs[0].push(measure(few, |client, n| async move {
            for message in messages(n) {
                let publish = client.publish(&message.topic, message.payload);
                publish.qos(QoS::AtLeastOnce).await.unwrap();
            }
        }));
        costs[1].push(measure(many, |client, n| async move {
            let tasks: Vec<_> = (0..100)
                .map(|_| {
                    let client = client.clone();
                    tokio::spawn(async move {
                        for message in messages(n / 100) {
                            let publish = client.publish(&message.topic, message.payload);
                            publish.qos(QoS::AtLeastOnce).await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        }));
        costs[2].push(measure(many, |client, n| async move {
            client.publish_all(messages(n)).await.unwrap();
        }));
    }
    let names = [
        "one after the other, each awaited",
        "100 tasks, each awaited",
        "one batch",
    ];
    let mut first = None;
    for (name, costs) in names.iter().zip(&costs) {
        let mut micros: Vec<_> = costs.iter().map(|cost| cost.micros).collect();
        let micros = median(&mut micros);
        let ratio = *first.get_or_insert(micros) / micros;
        let mut commits: Vec<_> = costs.iter().map(|cost| cost.commits).collect();
        let file = costs.iter().map(|cost| cost.file).max().unwrap() / 1024;
        println!(
            "{name:<44} {micros:>10.1} {ratio:>8.1}x {:>12.4} {file:>11}",
            median(&mut commits)
        );
    }
}

fn messages(n: usize) -> impl Iterator<Item = OutgoingPublish> {
    let topic = TopicName::from_static(TOPIC).unwrap();
    let payload = Bytes::from_static(&[b'x'; 100]);
    (0..n).map(move |_| OutgoingPublish::new(topic.clone(), payload.clone()).qos(QoS::AtLeastOnce))
}

fn measure<F: Future<Output = ()>>(n: usize, work: impl FnOnce(Client, usize) -> F) -> Cost {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let name = format!("martlet-bench-{}-{run}.redb", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        sink(socket);
    });
    let commits = Arc::new(AtomicUsize::new(0));
    let store = Counting(RedbStore::open(&path).unwrap(), Arc::clone(&commits));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let took = runtime.block_on(async {
        let builder = Client::builder(format!("mqtt://127.0.0.1:{port}"))
            .version(Version::V3_1_1)
            .client_identifier("bench")
            .max_in_flight_3x(1000)
            .store(store);
        let client = martlet_tokio::connect_with(builder).await.unwrap();
        commits.store(0, Ordering::Relaxed);
        let start = Instant::now();
        work(client.clone(), n).await;
        let took = start.elapsed();
        client.disconnect().await;
        took
    });
    drop(runtime);
    server.join().unwrap();
    let file = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let _ = std::fs::remove_file(&path);
    Cost {
        micros: Duration::as_secs_f64(&took) * 1e6 / n as f64,
        commits: commits.load(Ordering::Relaxed) as f64 / n as f64,
        file,
    }
}
