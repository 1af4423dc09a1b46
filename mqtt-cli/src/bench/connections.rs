//! Connections: many are made, and held.

use super::schedule::{Offer, Pacer, Schedule};
use super::shard::{Phases, Progress, Shard, Window, has_begun, has_ended, is_draining, until};
use crate::exit::Failure;
use martlet_tokio::{ConnectionError, ConnectionState, StateChanges, Tokio};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// How long disconnecting may take.
const DISCONNECT: Duration = Duration::from_secs(2);

/// Makes the connections of this thread, and holds them until the run has ended.
pub(super) async fn run(
    shard: &Arc<Shard>,
    mut phases: Phases,
    progress: &watch::Sender<Progress>,
) {
    let phase = until(&mut phases, has_begun).await;
    let Some(window) = phase.window().filter(|_| !has_ended(&phase)) else {
        return;
    };
    let mut stopping = phases.clone();
    let (trying, mut tried) = mpsc::channel::<()>(1);
    let mut tasks = JoinSet::new();
    tokio::select! {
        () = begin_all(shard, window, &phases, &trying, &mut tasks) => {}
        _ = until(&mut stopping, is_draining) => {}
    }
    drop(trying);
    // Each attempt drops its sender when it has an end.
    tokio::select! {
        _ = tried.recv() => {}
        _ = until(&mut stopping, is_draining) => {}
    }
    progress.send_replace(Progress::Idle);
    until(&mut phases, has_ended).await;
    tasks.join_all().await;
}

/// Begins each attempt when it is due, or when another has ended.
async fn begin_all(
    shard: &Arc<Shard>,
    window: Window,
    phases: &Phases,
    trying: &mpsc::Sender<()>,
    tasks: &mut JoinSet<()>,
) {
    let begin = |tasks: &mut JoinSet<()>, number, due, permit| {
        if shard.run.work.rate.is_some() {
            let late = shard.run.clock.now().saturating_sub(due);
            let lateness = shard.lateness.lock();
            let mut lateness = lateness.unwrap_or_else(PoisonError::into_inner);
            lateness.record(late);
        }
        let place = Place {
            trying: trying.clone(),
            permit,
        };
        tasks.spawn(hold(Arc::clone(shard), number, due, place, phases.clone()));
    };
    let work = &shard.run.work;
    if let Some(rate) = work.rate {
        let (sender, mut due) = mpsc::unbounded_channel();
        let pacer = Pacer::new(
            Schedule::new(rate),
            work.clients,
            &shard.mine,
            work.clients.into(),
        );
        let paced = Arc::clone(shard);
        let pace = std::thread::Builder::new().spawn(move || pace(&paced, pacer, window, &sender));
        if let Err(error) = pace {
            let text = format!("cannot start a thread: {error}");
            let failure = Failure::new(crate::exit::Status::Failed, text);
            return shard.run.errors.add(failure);
        }
        while let Some((place, due)) = due.recv().await {
            begin(tasks, shard.mine[place], due, None);
        }
        return;
    }
    let at_a_time = (work.concurrency as usize / usize::from(work.threads)).max(1);
    let permits = Arc::new(Semaphore::new(at_a_time));
    for &number in &shard.mine {
        // It is never closed.
        let permit = Arc::clone(&permits).acquire_owned().await.ok();
        begin(tasks, number, shard.run.clock.now(), permit);
    }
}

/// Sends the place of each client when its connection is due.
fn pace(
    shard: &Shard,
    mut pacer: Pacer,
    window: Window,
    sender: &mpsc::UnboundedSender<(usize, u64)>,
) {
    /// The thread looks this often whether the run is stopped.
    const LONGEST_SLEEP: Duration = Duration::from_millis(20);
    super::machine::wake_precisely();
    let clock = shard.run.clock;
    while !shard.run.is_stopped() {
        let now = clock.now().saturating_sub(window.start);
        pacer.turn(now, |place, _, due| {
            match sender.send((place, window.start + due)) {
                Ok(()) => Offer::Taken,
                Err(_) => Offer::Ended,
            }
        });
        let Some(next) = pacer.next_turn(now) else {
            return;
        };
        let wait = (window.start + next).saturating_sub(clock.now());
        std::thread::sleep(Duration::from_nanos(wait).min(LONGEST_SLEEP));
    }
}

/// Waits until a client has lost its connection for good.
async fn stopped(mut states: StateChanges) -> ConnectionError {
    while let Some(state) = states.next().await {
        if let ConnectionState::Stopped { reason } = state {
            return reason;
        }
    }
    std::future::pending().await
}

/// Given back when the attempt has an end.
struct Place {
    trying: mpsc::Sender<()>,
    permit: Option<OwnedSemaphorePermit>,
}

/// One connection: it is made, held, and closed.
async fn hold(shard: Arc<Shard>, number: u32, due: u64, place: Place, mut phases: Phases) {
    let run = &shard.run;
    let start = phases.borrow().window().unwrap_or_default().start;
    let last = u64::from(run.work.clients) - 1;
    let last_due = run
        .work
        .rate
        .map(|rate| start + Schedule::new(rate).due(last));
    let counters = &shard.counters;
    counters.attempted.add(1);
    let failed = |failure| {
        counters.not_connected.add(1);
        run.errors.add(failure);
    };
    let (client, driver) = match run.work.builder(run.id, number, "c").build(Tokio) {
        Ok(built) => built,
        Err(error) => return failed(Failure::of_connect(&error)),
    };
    // In a task of its own: each wakes only the one that it concerns.
    tokio::spawn(driver);
    let connected = tokio::select! {
        biased;
        connected = client.connected() => connected.map(drop),
        _ = until(&mut phases, has_ended) => return,
    };
    if let Err(error) = connected {
        return failed(Failure::of_connect(&error));
    }
    counters.connected.add(1);
    let now = run.clock.now();
    if last_due.is_some_and(|last| now > last) {
        counters.late.add(1);
    }
    shard.answers.lock().record(now, now.saturating_sub(due));
    let Place { trying, permit } = place;
    drop((trying, permit));
    tokio::select! {
        biased;
        reason = stopped(client.state_changes()) => {
            counters.lost.add(1);
            run.errors.add(Failure::of_connection(&reason, true));
        }
        _ = until(&mut phases, has_ended) => {
            let disconnect = client.disconnect().at_once();
            let _ = tokio::time::timeout(DISCONNECT, disconnect).await;
        }
    }
}
