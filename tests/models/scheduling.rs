//! Runs a model under many schedules.

use martlet_client::{Client, Driver};
use shuttle::future::{JoinHandle, block_on, spawn};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, MaxSteps, Runner};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use crate::world::{Memory, World};

/// Steps after which a schedule goes round in circles.
const MOST_STEPS: usize = 200_000;

/// Counts schedules and steps.
struct Counted<S> {
    scheduler: S,
    schedules: Arc<AtomicU64>,
    steps: Arc<AtomicU64>,
}

impl<S: Scheduler> Scheduler for Counted<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        let schedule = self.scheduler.new_execution()?;
        self.schedules.fetch_add(1, Ordering::Relaxed);
        Some(schedule)
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.scheduler.next_task(runnable, current, is_yielding)
    }

    fn next_u64(&mut self) -> u64 {
        self.scheduler.next_u64()
    }
}

/// Runs a model under random schedules, and under ones that let the same task go on but for two
/// changes.
pub(crate) fn model(name: &str, body: fn()) {
    let wanted = std::env::var("MODEL_SCHEDULES").ok();
    let wanted = wanted.map_or(500, |wanted| wanted.parse().unwrap());
    let (schedules, steps) = (Arc::default(), Arc::default());
    run(RandomScheduler::new(wanted), &schedules, &steps, body);
    run(PctScheduler::new(3, wanted), &schedules, &steps, body);
    eprintln!(
        "{name}: {} schedules, {} steps",
        schedules.load(Ordering::Relaxed),
        steps.load(Ordering::Relaxed)
    );
}

fn run(
    scheduler: impl Scheduler + 'static,
    schedules: &Arc<AtomicU64>,
    steps: &Arc<AtomicU64>,
    body: fn(),
) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    config.silence_warnings = true;
    let scheduler = Counted {
        scheduler,
        schedules: Arc::clone(schedules),
        steps: Arc::clone(steps),
    };
    Runner::new(scheduler, config).run(body);
}

/// A client, its driver and the server at work, each in a task.
pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) driver: JoinHandle<()>,
    server: JoinHandle<()>,
    world: World,
}

impl Running {
    pub(crate) fn start(world: &World, (client, driver): (Client, Driver<Memory>)) -> Self {
        Self {
            client,
            driver: spawn(async move { drop(driver.await) }),
            server: spawn(world.serve()),
            world: world.clone(),
        }
    }

    /// Waits for these tasks, disconnects, and waits for the driver.
    pub(crate) fn finish(self, tasks: impl IntoIterator<Item = JoinHandle<()>>) {
        block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
            self.client.disconnect().await;
            self.driver.await.unwrap();
            self.world.end();
            self.server.await.unwrap();
        });
    }

    /// Waits for these tasks, and for the driver, which ends by itself or by one of them.
    pub(crate) fn wait(self, tasks: impl IntoIterator<Item = JoinHandle<()>>) {
        block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
            let _ = self.driver.await;
            self.world.end();
            self.server.await.unwrap();
        });
    }
}

/// Polls a future this many times at most, and drops it.
pub(crate) async fn cancel_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        shuttle::future::yield_now().await;
    }
    None
}

/// A number below `end`, which the scheduler chooses.
pub(crate) fn choose(end: usize) -> usize {
    use shuttle::rand::{Rng, thread_rng};
    thread_rng().gen_range(0..end)
}
