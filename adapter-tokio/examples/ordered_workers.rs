//! Workers in parallel that keep the order of each topic: a job is acknowledged when it is done, so that a crash
//! loses none.
//!
//! ```toml
//! [dependencies]
//! futures-lite = "2"
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread", "sync"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.

#![allow(clippy::print_stdout)]

use futures_lite::future;
use martlet_tokio::{Client, Error, QoS, Unacknowledged};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::sync::mpsc;

const WORKERS: usize = 3;
const JOBS: usize = 20;

/// Does jobs on a thread of its own, so it may block. While a job that failed is not acknowledged, the client holds back
/// the acknowledgements of those behind it.
fn work(
    client: &Client,
    mut jobs: mpsc::Receiver<Unacknowledged>,
    crashes: bool,
) -> Result<(), Error> {
    while let Some(job) = jobs.blocking_recv() {
        let reading = job.text().unwrap_or_default().to_owned();
        if crashes && reading == "12" {
            return Err(Error::other("the power is gone"));
        }
        let result = client.publish(job.topic().replace("readings", "results"), reading);
        future::block_on(result.qos(QoS::AtLeastOnce).into_future())?;
        job.acknowledge(); // last
    }
    Ok(())
}

/// Gives each job to the worker of its topic, until the last job, or until a worker fails.
async fn process(server: &str, is_first: bool) -> Result<(), Error> {
    // A process with this client identifier gets what the one before it has not acknowledged.
    let hour = Duration::from_secs(3600);
    let builder = Client::builder(server).lasting_session("ordered-workers", hour);
    let client = martlet_tokio::connect_with(builder).await?;
    let jobs = client.subscribe("readings/+").qos(QoS::AtLeastOnce).await?;
    let mut jobs = jobs.acknowledge_manually();
    for n in (0..JOBS).filter(|_| is_first) {
        let job = client.publish(format!("readings/{}", n % 5), n.to_string());
        job.qos(QoS::AtLeastOnce).await?;
    }
    let (end, mut ends) = mpsc::channel(WORKERS);
    let (mut queues, hasher) = (Vec::new(), RandomState::new());
    for _ in 0..WORKERS {
        let (queue, waiting) = mpsc::channel(16);
        let (client, end) = (client.clone(), end.clone());
        std::thread::spawn(move || {
            let result = work(&client, waiting, is_first);
            if result.is_err() {
                future::block_on(client.disconnect().into_future()); // `jobs` ends
            }
            end.blocking_send(result)
        });
        queues.push(queue);
    }
    drop(end); // the workers have theirs
    while let Some(job) = jobs.next().await {
        let is_last = job.payload() == (JOBS - 1).to_string().as_bytes();
        let worker = hasher.hash_one(job.topic()) % WORKERS as u64;
        // A worker that is behind makes this wait, and in the end the server.
        if queues[worker as usize].send(job).await.is_err() || is_last {
            break;
        }
    }
    drop(queues); // each worker ends when it has done what waits for it
    for _ in 0..WORKERS {
        let result = ends.recv().await;
        result.unwrap_or_else(|| Err(Error::other("a worker panicked")))?;
    }
    client.disconnect().await;
    Ok(())
}

pub(crate) async fn run(server: &str) -> Result<(), Box<dyn std::error::Error>> {
    if let Err(error) = process(server, true).await {
        println!("{error}: another process goes on");
        process(server, false).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1);
    run(server.as_deref().unwrap_or("mqtt://localhost")).await
}
