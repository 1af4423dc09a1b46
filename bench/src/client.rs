//! One measurement, in a process of its own.

use crate::CountAllocations;
use crate::control::Control;
use crate::messages::{Outgoing, payload};
use crate::peers::{Kind, Peer, find};
use crate::sample::{ClientSample, Stopwatch};
use crate::scenario::{BATCH, LATE, Scenario, THREADS, WINDOW};
use crate::tls::Trusted;
use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
pub struct Job {
    pub scenario: Scenario,
    pub n: usize,
    pub port: u16,
    pub allocations: Option<CountAllocations>,
    /// What it trusts, over TLS.
    pub tls: Option<&'static Trusted>,
}

/// Measures one peer in one scenario, and prints a sample.
pub fn run(
    peer: &str,
    scenario: Scenario,
    n: usize,
    port: u16,
    allocations: Option<CountAllocations>,
) {
    let Kind::Rust { measure, .. } = find(peer).expect("a peer").kind else {
        panic!("{peer} is a program of its own");
    };
    std::thread::spawn(move || {
        let timeout = scenario.timeout();
        std::thread::sleep(timeout);
        eprintln!("not finished after {timeout:?}");
        std::process::exit(1);
    });
    measure(&Job {
        scenario,
        n,
        port,
        allocations,
        tls: None,
    });
}

pub fn measure<P: Peer + 'static>(job: &Job) {
    let mut job = *job;
    P::block_on(job.scenario, async move {
        let mut control = Control::connect(job.port);
        if job.scenario.has_tls() {
            // A process measures once.
            job.tls = Some(Box::leak(Box::new(Trusted::new(control.authority()))));
        }
        let sample = match job.scenario {
            Scenario::Idle(_) => idle::<P>(&job, &mut control).await,
            Scenario::Offline => offline::<P>(&job, &mut control).await,
            Scenario::Acknowledge { every } => acknowledge::<P>(&job, &mut control, every).await,
            Scenario::Connect | Scenario::ConnectTls => connect::<P>(&job, &mut control).await,
            _ => messages::<P>(&job, &mut control).await,
        };
        sample.print();
    });
}

/// The scenarios of one connection.
async fn messages<P: Peer>(job: &Job, control: &mut Control) -> ClientSample {
    let Job { scenario, n, .. } = *job;
    let mut peer = P::connect(job, "bench").await;
    let filters = scenario.filters();
    if !filters.is_empty() {
        peer.subscribe(filters, scenario.qos()).await;
    }
    let done = control.done();
    let outgoing = Outgoing::new(scenario, n);
    let (mut tally, mut latency) = (None, None);
    let stopwatch = Stopwatch::start(job.allocations);
    control.go();
    match scenario {
        Scenario::Publish { .. } => peer.publish(outgoing, done).await,
        Scenario::Batches => {
            for batch in outgoing.batches(BATCH) {
                peer.publish_batch(batch).await;
            }
            done.await.expect("a server");
        }
        Scenario::Threads { .. } => peer.publish_from_threads(outgoing, THREADS, done).await,
        Scenario::Awaited => peer.publish_awaited(outgoing, WINDOW).await,
        Scenario::PingPong => latency = Some(ping_pong(&mut peer, n).await),
        Scenario::LateReader => tally = Some(peer.receive(n, LATE).await),
        _ => tally = Some(peer.receive(n, Duration::ZERO).await),
    }
    let mut sample = stopwatch.stop(n);
    sample.tally = tally;
    sample.latency = latency;
    peer.disconnect().await;
    sample
}

/// What has grown is what the queue holds when it is longest.
async fn offline<P: Peer>(job: &Job, control: &mut Control) -> ClientSample {
    let done = control.done();
    let outgoing = Outgoing::new(job.scenario, job.n);
    let mut stopwatch = Stopwatch::start(job.allocations);
    let queued = || {
        stopwatch.mark();
        control.go();
    };
    let peer = P::publish_offline(job, outgoing, queued, done).await;
    let sample = stopwatch.stop(job.n);
    peer.disconnect().await;
    sample
}

/// Only the acknowledging is measured.
async fn acknowledge<P: Peer>(job: &Job, control: &mut Control, every: usize) -> ClientSample {
    let mut peer = P::connect(job, "bench").await;
    let scenario = job.scenario;
    peer.subscribe(scenario.filters(), scenario.qos()).await;
    let done = control.done();
    let mut server = control.share();
    let mut stopwatch = None;
    let received = || {
        stopwatch = Some(Stopwatch::start(job.allocations));
        // Again, for its CPU time: it has nothing more to send.
        server.go();
    };
    let go = || control.go();
    let tally = peer.acknowledge(job.n, every, go, received, done).await;
    let stopwatch = stopwatch.expect("messages that were received");
    let mut sample = stopwatch.stop(job.n);
    sample.tally = Some(tally);
    peer.disconnect().await;
    sample
}

async fn ping_pong<P: Peer>(peer: &mut P, n: usize) -> (f64, f64) {
    let mut times = Vec::with_capacity(n);
    for number in 0..n {
        let payload = payload(number as u64, 16);
        let start = Instant::now();
        peer.ping(payload).await;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    (times[n / 2], times[n * 99 / 100])
}

async fn idle<P: Peer>(job: &Job, control: &mut Control) -> ClientSample {
    let mut peers = Vec::with_capacity(job.n);
    // What the process allocates once is not a connection's.
    let first = P::connect(job, "first").await;
    let stopwatch = Stopwatch::start(job.allocations);
    control.go();
    for i in 0..job.n {
        peers.push(P::connect(job, &format!("idle-{i}")).await);
    }
    let sample = stopwatch.stop(job.n);
    drop((first, peers));
    sample
}

async fn connect<P: Peer>(job: &Job, control: &mut Control) -> ClientSample {
    P::connect(job, "first").await.disconnect().await;
    let stopwatch = Stopwatch::start(job.allocations);
    control.go();
    for _ in 0..job.n {
        P::connect(job, "connect").await.disconnect().await;
    }
    stopwatch.stop(job.n)
}
