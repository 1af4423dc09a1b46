//! Messages that are acknowledged when the work is done: a job that fails stays unacknowledged, and the server
//! sends it again on the next connection.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.

#![allow(clippy::print_stdout)]

use martlet_tokio::{Message, QoS};
use std::collections::BTreeSet;

const JOBS: usize = 3;

/// Fails at the second job, the first time.
fn work(job: &Message) -> Result<(), &'static str> {
    if job.topic() == "jobs/2" && !job.duplicate() {
        return Err("the disk is full");
    }
    Ok(())
}

pub(crate) async fn run(server: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = martlet_tokio::connect(server).await?;
    let jobs = client.subscribe("jobs/+").qos(QoS::AtLeastOnce).await?;
    let mut jobs = jobs.acknowledge_manually();
    for n in 1..=JOBS {
        let job = client.publish(format!("jobs/{n}"), "do it");
        job.qos(QoS::AtLeastOnce).await?;
    }

    // By topic: at QoS 1 a job may come again after it was done, if its acknowledgement was lost.
    let mut done = BTreeSet::new();
    while done.len() < JOBS {
        let Some(job) = jobs.next().await else { break };
        let again = if job.duplicate() { " again" } else { "" };
        match work(&job) {
            Ok(()) => {
                println!("{}{again}: done", job.topic());
                done.insert(job.acknowledge().topic().to_owned());
            }
            Err(error) => {
                println!("{}{again}: {error}", job.topic());
                drop(job); // without an acknowledgement
                // Otherwise it comes again when the connection is lost and made again.
                client.reconnect().replace().await?;
            }
        }
    }
    client.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1);
    run(server.as_deref().unwrap_or("mqtt://localhost")).await
}
