//! A shared subscription: two workers share the load, each job goes to one of them.
//!
//! ```toml
//! [dependencies]
//! futures-lite = "2"
//! martlet-tokio = { path = "martlet/adapter-tokio" } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server.

#![allow(clippy::print_stdout)]

use futures_lite::future;
use martlet_tokio::session::InboundLimits;
use martlet_tokio::{Client, QoS, Subscription, TopicFilter, Unacknowledged};

const JOBS: usize = 10;
/// The group `workers` shares what comes for these topics.
const GROUP: &str = "workers";
const TOPICS: &str = "jobs/+";

async fn worker(
    server: &str,
) -> Result<(Client, Subscription<Unacknowledged>), Box<dyn std::error::Error>> {
    // A worker has one job at a time, so a server that balances the load gives the next job to another worker.
    let one = InboundLimits::default().receive_maximum(1);
    let client = martlet_tokio::connect_with(Client::builder(server).inbound(one)).await?;
    let jobs = client.subscribe_shared(GROUP, TOPICS);
    let jobs = jobs.qos(QoS::AtLeastOnce).await?;
    Ok((client, jobs.acknowledge_manually()))
}

async fn work(
    name: &str,
    client: &Client,
    mut jobs: Subscription<Unacknowledged>,
) -> Result<(), Box<dyn std::error::Error>> {
    while let Some(job) = jobs.next().await {
        let result = format!("{} was done by {name}", job.topic());
        client
            .publish("results", result)
            .qos(QoS::AtLeastOnce)
            .await?;
        // Last: a worker that crashes before this leaves the job to another worker.
        job.acknowledge();
    }
    Ok(())
}

/// Gives out the jobs, and waits until all are done.
async fn give_out(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    let mut results = client.subscribe("results").qos(QoS::AtLeastOnce).await?;
    for n in 1..=JOBS {
        let job = client.publish(format!("jobs/{n}"), "do it");
        job.qos(QoS::AtLeastOnce).await?;
    }
    for _ in 0..JOBS {
        let result = results.next().await.ok_or("the client has stopped")?;
        println!("{}", result.text().unwrap_or("(binary)"));
    }
    Ok(())
}

pub(crate) async fn run(server: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (ann, jobs_of_ann) = worker(server).await?;
    let (bob, jobs_of_bob) = worker(server).await?;
    let client = martlet_tokio::connect(server).await?;
    // In a program each of them is a program.
    let boss = async {
        give_out(&client).await?;
        // Their streams end, and the workers do when they have acknowledged their last jobs.
        let shared = TopicFilter::shared(GROUP, TOPICS)?;
        ann.unsubscribe(shared.clone()).await?;
        bob.unsubscribe(shared).await?;
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    let workers = future::try_zip(
        work("Ann", &ann, jobs_of_ann),
        work("Bob", &bob, jobs_of_bob),
    );
    future::try_zip(boss, workers).await?;
    for client in [client, ann, bob] {
        client.disconnect().await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1);
    run(server.as_deref().unwrap_or("mqtt://localhost")).await
}
