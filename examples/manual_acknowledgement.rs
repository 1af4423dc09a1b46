//! Messages that are acknowledged when the work is done. One job fails: it stays unacknowledged,
//! and the server sends it again on the next connection.
//!
//! ```text
//! cargo run --example manual_acknowledgement                            # against the embedded broker
//! cargo run --example manual_acknowledgement -- mqtt://127.0.0.1:1883   # against yours, where no job fails
//! ```
//!
//! `martlet` is the adapter of your runtime: `use martlet_tokio as martlet;`.
#![allow(clippy::print_stdout)]

use crate::martlet::{self, QoS};
use martlet_tests::server::{Setup, TestServer};
use std::collections::BTreeSet;
use std::error::Error;

const JOBS: usize = 3;

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let (uri, broker) = match std::env::args().nth(1) {
        Some(uri) => (uri, None),
        None => {
            let broker = TestServer::start(Setup::tcp()).await;
            (broker.uri(), Some(broker))
        }
    };
    let client = martlet::connect(&uri).await?;
    let mut jobs = client
        .subscribe("jobs/+")
        .qos(QoS::AtLeastOnce)
        .await?
        .acknowledge_manually();
    for n in 1..=JOBS {
        client
            .publish(format!("jobs/{n}"), "do it")
            .qos(QoS::AtLeastOnce)
            .await?;
    }
    // By topic: a job may come again after it was done, if its acknowledgement was lost.
    let mut done = BTreeSet::new();
    while done.len() < JOBS {
        let Some(job) = jobs.next().await else { break };
        let again = if job.duplicate() { ", again" } else { "" };
        match &broker {
            Some(broker) if job.topic() == "jobs/2" && !job.duplicate() => {
                println!(
                    "{}{again}: it fails, and the connection is lost",
                    job.topic()
                );
                // Without an acknowledgement.
                drop(job);
                broker.cut().await;
            }
            _ => {
                println!("{}{again}: done", job.topic());
                // The next job is taken meanwhile: acknowledgements leave in the order in which
                // messages came.
                done.insert(job.acknowledge().topic().to_owned());
            }
        }
    }
    client.disconnect().await;
    Ok(())
}
