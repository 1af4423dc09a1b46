//! The work of one thread: it connects its clients, runs their tasks, and disconnects them.

use super::latency::Latency;
use super::meter::{Counter, Counters, Meter};
use super::options::Task;
use super::shard::{Phases, Progress, Run, Shard, has_begun, has_ended, until};
use super::{connections, publisher, receiver};
use crate::exit::{Failure, Status};
use martlet_tokio::{Client, ConnectError, ConnectionState, SubscribeError, Subscription, Tokio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// The handle of a thread.
pub(super) struct Running {
    pub(super) shard: Arc<Shard>,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) thread: Option<std::thread::JoinHandle<()>>,
}

/// How many clients of a thread connect at a time, before a run begins.
const CONNECTING: usize = 50;

/// How long disconnecting may take.
const DISCONNECT: Duration = Duration::from_millis(500);

/// Starts the thread with this number.
pub(super) fn start(run: &Arc<Run>, number: u16, phases: Phases) -> Result<Running, Failure> {
    let threads = usize::from(run.work.threads);
    let mine: Vec<u32> = (u32::from(number)..run.work.clients)
        .step_by(threads)
        .collect();
    let shard = Arc::new(Shard {
        run: Arc::clone(run),
        published: mine.iter().map(|_| Counter::default()).collect(),
        last_due: Counter::default(),
        mine,
        counters: Counters::default(),
        answers: Meter::new(),
        arrivals: Meter::new(),
        lateness: Mutex::new(Latency::new()),
    });
    let cannot = |error: std::io::Error| {
        Failure::new(Status::Failed, format!("cannot start a thread: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(cannot)?;
    let (sender, progress) = watch::channel(Progress::Connecting);
    let worker = Arc::clone(&shard);
    let thread = std::thread::Builder::new()
        .name(format!("bench-{number}"))
        .spawn(move || runtime.block_on(work(&worker, phases, &sender)))
        .map_err(cannot)?;
    Ok(Running {
        shard,
        progress,
        thread: Some(thread),
    })
}

async fn work(shard: &Arc<Shard>, mut phases: Phases, progress: &watch::Sender<Progress>) {
    if shard.run.work.task == Task::Connect {
        progress.send_replace(Progress::Ready);
        return connections::run(shard, phases, progress).await;
    }
    let mut ending = phases.clone();
    let mut clients = tokio::select! {
        connected = connect_all(shard) => match connected {
            Ok(clients) => clients,
            Err(failure) => {
                progress.send_replace(Progress::Failed(failure));
                return;
            }
        },
        // The command was interrupted.
        _ = until(&mut ending, has_ended) => return,
    };
    progress.send_replace(Progress::Ready);
    let mut receivers = JoinSet::new();
    for client in &mut clients {
        if let Some(stream) = client.stream.take() {
            receivers.spawn(receiver::run(
                Arc::clone(shard),
                client.number,
                stream,
                phases.clone(),
            ));
        }
    }
    until(&mut phases, has_begun).await;
    if shard.run.work.task.publishes() {
        let publishers = clients.iter().filter_map(|client| {
            let publisher = client.publisher.clone()?;
            Some((client.number, publisher))
        });
        publisher::run(shard, publishers.collect(), phases.clone(), progress).await;
    }
    receivers.join_all().await;
    progress.send_replace(Progress::Idle);
    until(&mut phases, has_ended).await;
    disconnect_all(shard, clients).await;
}

/// A client of the run with its connections.
struct Connected {
    number: u32,
    publisher: Option<Client>,
    subscriber: Option<Client>,
    stream: Option<Subscription>,
}

async fn connect_all(shard: &Arc<Shard>) -> Result<Vec<Connected>, Failure> {
    let permits = Arc::new(Semaphore::new(CONNECTING));
    let mut connecting = JoinSet::new();
    for &number in &shard.mine {
        let shard = Arc::clone(shard);
        let permits = Arc::clone(&permits);
        connecting.spawn(async move {
            // It is never closed.
            let _permit = permits.acquire().await;
            connect(&shard, number).await
        });
    }
    let mut clients = Vec::new();
    while let Some(connected) = connecting.join_next().await {
        clients.push(connected.expect("it does not panic")?);
    }
    clients.sort_unstable_by_key(|client| client.number);
    Ok(clients)
}

/// Connects one client, and subscribes.
async fn connect(shard: &Arc<Shard>, number: u32) -> Result<Connected, Failure> {
    let work = &shard.run.work;
    let mut connected = Connected {
        number,
        publisher: None,
        subscriber: None,
        stream: None,
    };
    if work.task.subscribes() {
        let client = connect_one(shard, number, "s").await?;
        let filter = work.topic.filter(number);
        let filter = filter.expect("the template was checked");
        let subscribe = client
            .subscribe(filter)
            .qos(work.qos)
            .user_properties(work.plan.properties.subscribe.clone());
        let stream = subscribe
            .await
            .map_err(|error: SubscribeError| Failure::of_subscribe(&error))?;
        connected.stream = Some(stream);
        connected.subscriber = Some(client);
    }
    if work.task.publishes() {
        connected.publisher = Some(connect_one(shard, number, "p").await?);
    }
    Ok(connected)
}

async fn connect_one(shard: &Arc<Shard>, number: u32, role: &str) -> Result<Client, Failure> {
    let run = &shard.run;
    let builder = run.work.builder(run.id, number, role);
    let of_connect = |error: &ConnectError| Failure::of_connect(error);
    let (client, driver) = builder.build(Tokio).map_err(|error| of_connect(&error))?;
    tokio::spawn(driver);
    shard.counters.attempted.add(1);
    match client.connected().await {
        Ok(_) => {
            shard.counters.connected.add(1);
            Ok(client)
        }
        Err(error) => Err(of_connect(&error)),
    }
}

async fn disconnect_all(shard: &Arc<Shard>, clients: Vec<Connected>) {
    let mut ending = JoinSet::new();
    for client in clients {
        for client in [client.publisher, client.subscriber].into_iter().flatten() {
            if let ConnectionState::Stopped { reason } = client.state() {
                shard.counters.lost.add(1);
                shard.run.errors.add(Failure::of_connection(&reason, true));
            }
            let connections = client.statistics().connections;
            shard
                .counters
                .reconnected
                .add(connections.saturating_sub(1));
            ending.spawn(async move {
                // What was not answered by now is reported as that.
                let disconnect = client.disconnect().at_once();
                let _ = tokio::time::timeout(DISCONNECT, disconnect).await;
            });
        }
    }
    ending.join_all().await;
}
