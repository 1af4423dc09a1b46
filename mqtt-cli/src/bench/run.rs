//! The command: it starts the threads, watches the time, and reports.

use super::clock::{Clock, nanoseconds};
use super::latency::{Interval, Timeline};
use super::meter::{Budget, Counters, Errors, Meter};
use super::options::{BenchOptions, Task, Work};
use super::payload::Payloads;
use super::progress::ProgressLine;
use super::report::{Ended, Outcome, Summary};
use super::schedule::Schedule;
use super::shard::{Phase, Progress, Run, Shard, Window};
use super::thread::{self, Running};
use super::{machine, plot};
use crate::exit::{Failure, Status};
use crate::report::Report;
use crate::signals::Signals;
use martlet_tokio::QoS;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How often counters are read: the length of the shortest interval that is reported.
const TICK: Duration = Duration::from_millis(100);

/// How long answers are waited for when the command is interrupted.
const INTERRUPTED: Duration = Duration::from_secs(1);

/// Runs a benchmark, and prints its result.
pub(crate) async fn run(options: BenchOptions) -> Result<(), Failure> {
    let work = options.work()?;
    machine::allow_connections(work.connections(), work.threads)?;
    if let Some((path, _)) = &work.plot {
        plot::open(path)?;
    }
    let mut signals = Signals::listen()?;
    let report = Report::new(work.plan.is_quiet);
    let (phase, phases) = watch::channel(Phase::Connecting);
    let run = Arc::new(Run {
        clock: Clock::start(),
        id: RandomState::new().hash_one(std::process::id()),
        payloads: Payloads::new(work.size),
        errors: Errors::default(),
        is_stopped: AtomicBool::new(false),
        to_receive: Budget::new(work.count),
        work,
    });
    let mut bench = Bench {
        threads: Vec::new(),
        timeline: Timeline::new(nanoseconds(TICK)),
        line: ProgressLine::new(report),
        ticked: 0,
        phase,
        signal: None,
        run,
    };
    let begun = bench.begin(&mut signals, &phases).await;
    let result = match begun {
        Ok(()) => Ok(bench.measure(&mut signals).await),
        Err(failure) => Err(failure),
    };
    let window = result.as_ref().map(|(window, _)| *window);
    bench.end(window.unwrap_or_default());
    let (_, ended) = result?;
    let work = &bench.run.work;
    let summary = Summary::new(&Outcome {
        run: &bench.run,
        shards: bench.shards().collect(),
        timeline: &bench.timeline,
        signal: bench.signal,
        ended: &ended,
    });
    let drawn = match &work.plot {
        Some((path, format)) => plot::draw(path, *format, &summary, work),
        None => Ok(()),
    };
    summary.print(work)?;
    let status = summary.status(work, bench.signal, report);
    if let (Err(_), Err(failure)) = (&status, &drawn) {
        report.warning(&failure.to_string());
    }
    status.and(drawn)
}

/// A benchmark that runs.
struct Bench {
    run: Arc<Run>,
    threads: Vec<Running>,
    phase: watch::Sender<Phase>,
    timeline: Timeline,
    line: ProgressLine,
    /// When counters were read last.
    ticked: u64,
    signal: Option<Status>,
}

impl Bench {
    fn work(&self) -> &Work {
        &self.run.work
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.threads.iter().map(|running| &*running.shard)
    }

    /// A counter of all threads together.
    fn sum(&self, counter: fn(&Counters) -> u64) -> u64 {
        self.shards().map(|shard| counter(&shard.counters)).sum()
    }

    /// Whether no thread has anything left to send.
    fn is_idle(&self) -> bool {
        let is_idle = |running: &Running| *running.progress.borrow() == Progress::Idle;
        self.threads.iter().all(is_idle)
    }

    /// The meter whose rate and latency are those of the run.
    fn meter<'a>(&self, shard: &'a Shard) -> &'a Meter {
        match self.work().task.subscribes() {
            true => &shard.arrivals,
            false => &shard.answers,
        }
    }

    /// Starts the threads, and waits until all clients are connected.
    async fn begin(
        &mut self,
        signals: &mut Signals,
        phases: &watch::Receiver<Phase>,
    ) -> Result<(), Failure> {
        for number in 0..self.work().threads {
            let running = thread::start(&self.run, number, phases.clone())?;
            self.threads.push(running);
        }
        for running in &mut self.threads {
            let ready = |progress: &Progress| *progress != Progress::Connecting;
            let progress = tokio::select! {
                biased;
                status = signals.next() => return Err(Failure::quiet(status)),
                progress = running.progress.wait_for(ready) => progress,
            };
            match progress.as_deref() {
                Ok(Progress::Failed(failure)) => return Err(failure.clone()),
                Ok(_) => {}
                Err(_) => return Err(Failure::new(Status::Failed, "a thread has ended")),
            }
        }
        Ok(())
    }

    /// From when the first message is due until nothing is waited for any more.
    async fn measure(&mut self, signals: &mut Signals) -> (Window, Ended) {
        let start = self.run.clock.now();
        let measured = start.saturating_add(nanoseconds(self.work().warm_up));
        let is_connect = self.work().task == Task::Connect;
        let duration = self.work().duration.filter(|_| !is_connect);
        let end = duration.map(|duration| measured.saturating_add(nanoseconds(duration)));
        let window = Window {
            start,
            measured,
            end,
        };
        let cpu = machine::cpu_time();
        self.phase.send_replace(Phase::Running(window));
        // Intervals begin with the measured time.
        let tick = nanoseconds(TICK);
        let first = start + (measured - start) % tick + tick;
        let mut ticks = tokio::time::interval_at(self.run.clock.instant(first), TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        self.send(signals, window, &mut ticks).await;
        self.run.is_stopped.store(true, Ordering::Relaxed);
        let now = self.run.clock.now();
        let outstanding = self.outstanding();
        let by_then = self.measured();
        let cpu = machine::cpu_time().zip(cpu).map(|(now, then)| now - then);
        match is_connect && self.signal.is_none() {
            true => self.hold(signals, window, &mut ticks).await,
            false => {
                self.phase.send_replace(Phase::Draining(window));
                self.drain(signals, window, &mut ticks).await;
            }
        }
        self.tick_last(window);
        let finally = self.measured();
        let last = finally.last;
        let (first, known) = match (self.work().task, finally.first) {
            // Nobody knows when the publishers began: the time begins with the first message.
            (Task::Subscribe, Some(first)) => (first, by_then.messages.min(1)),
            _ => (measured, 0),
        };
        // After a time, what was answered by then counts; after a number, the last answer ends it.
        let (messages, first, last) = match window.end {
            Some(end) if now >= end => (by_then.messages, measured, end),
            _ if self.signal.is_some() && !is_connect => (by_then.messages - known, first, now),
            _ => (finally.messages - known, first, last),
        };
        let ended = Ended {
            messages,
            time: last.saturating_sub(first.max(measured)),
            outstanding,
            cpu,
        };
        (window, ended)
    }

    /// Waits until nothing more is due.
    async fn send(
        &mut self,
        signals: &mut Signals,
        window: Window,
        ticks: &mut tokio::time::Interval,
    ) {
        let end = window.end.map(|end| self.run.clock.instant(end));
        let is_bounded = end.is_some() || !self.work().task.publishes();
        let mut idle = Idle::new(self.answered());
        loop {
            tokio::select! {
                biased;
                status = signals.next() => {
                    self.signal = Some(status);
                    return;
                }
                () = until(end) => return,
                _ = ticks.tick() => self.tick(window),
            }
            if self.is_idle() || self.run.to_receive.is_empty() {
                return;
            }
            // In a closed loop something is always waited for.
            let is_waiting = self.outstanding() > 0 || self.work().rate.is_none();
            let limit = self.work().answer_timeout;
            if idle.is_over(self.answered(), is_waiting, limit) && !is_bounded {
                return;
            }
        }
    }

    /// Waits for what is outstanding, as long as answers come.
    async fn drain(
        &mut self,
        signals: &mut Signals,
        window: Window,
        ticks: &mut tokio::time::Interval,
    ) {
        /// Answers that are on their way are seen at once.
        const LOOK: Duration = Duration::from_millis(5);
        if !self.work().task.publishes() {
            return;
        }
        let limit = match self.signal {
            Some(_) => self.work().answer_timeout.min(INTERRUPTED),
            None => self.work().answer_timeout,
        };
        let mut idle = Idle::new(self.answered());
        // The threads notice soon that the time is over.
        while !self.is_idle() || self.unanswered() > 0 {
            tokio::select! {
                biased;
                status = signals.next(), if self.signal.is_none() => {
                    self.signal = Some(status);
                    return;
                }
                _ = ticks.tick() => self.tick(window),
                () = tokio::time::sleep(LOOK) => {}
            }
            let is_over = self.signal.is_some() && idle.since.elapsed() >= limit;
            if (idle.is_over(self.answered(), true, limit) || is_over) && self.is_idle() {
                return;
            }
        }
    }

    /// Holds the connections.
    async fn hold(
        &mut self,
        signals: &mut Signals,
        window: Window,
        ticks: &mut tokio::time::Interval,
    ) {
        let now = tokio::time::Instant::now();
        let end = now + self.work().duration.unwrap_or_default();
        loop {
            tokio::select! {
                biased;
                status = signals.next() => {
                    self.signal = Some(status);
                    return;
                }
                () = tokio::time::sleep_until(end) => return,
                _ = ticks.tick() => self.tick(window),
            }
            let gone = self.sum(|counters| counters.lost.get() + counters.not_connected.get());
            if gone == u64::from(self.work().clients) {
                return;
            }
        }
    }

    /// Reads what was measured since the last time.
    fn interval(&mut self) -> Interval {
        let mut interval = Interval::new();
        for shard in self.shards() {
            let measured = &mut *self.meter(shard).lock();
            interval.add(&measured.interval);
            measured.interval.clear();
        }
        interval.outstanding = self.outstanding();
        interval
    }

    fn tick(&mut self, window: Window) {
        let interval = self.interval();
        let now = self.run.clock.now();
        // The tick at the begin of the measured time belongs to the warm-up.
        if now > window.measured.saturating_add(nanoseconds(TICK / 2)) {
            self.timeline.push(&interval);
        }
        self.ticked = now;
        let line = &mut self.line;
        line.show(&interval, TICK, now.saturating_sub(window.start));
    }

    /// What came since the last tick.
    fn tick_last(&mut self, window: Window) {
        let interval = self.interval();
        let now = self.run.clock.now();
        let length = now.saturating_sub(self.ticked.max(window.measured)).max(1);
        if interval.messages > 0 {
            self.timeline.push_last(&interval, length);
        }
    }

    /// Messages that were sent and have no answer; of both ends, messages that have not come.
    fn unanswered(&self) -> u64 {
        let sent = self.sum(|counters| counters.sent.get().saturating_sub(counters.failed.get()));
        let acknowledged = self.sum(|counters| counters.acknowledged.get());
        let done = match self.work().task {
            Task::Publish => acknowledged,
            _ if self.work().qos == QoS::AtMostOnce => self.sum(|counters| counters.distinct.get()),
            _ => acknowledged.min(self.sum(|counters| counters.distinct.get())),
        };
        sent.saturating_sub(done)
            .saturating_sub(self.sum(|counters| counters.unanswered.get()))
    }

    /// Messages and connections that are due and have no answer. QoS 0 needs none, once a client has it.
    fn outstanding(&self) -> u64 {
        let behind = self.sum(|counters| counters.behind.get() + counters.unsent.get());
        match (self.work().task, self.work().qos) {
            (Task::Publish, QoS::AtMostOnce) => behind,
            (Task::Publish | Task::PublishAndSubscribe, _) => behind + self.unanswered(),
            (Task::Subscribe, _) => 0,
            (Task::Connect, _) => self.unconnected(),
        }
    }

    /// Connections that are due and neither made nor failed.
    fn unconnected(&self) -> u64 {
        let window = self.phase.borrow().window();
        let (Some(rate), Some(window)) = (self.work().rate, window) else {
            return 0;
        };
        let now = self.run.clock.now().saturating_sub(window.start);
        let due = Schedule::new(rate).due_by(now);
        let done = self.sum(|counters| counters.connected.get() + counters.not_connected.get());
        due.min(self.work().clients.into()).saturating_sub(done)
    }

    /// Changes with each answer.
    fn answered(&self) -> u64 {
        let is_answered = self.work().qos != QoS::AtMostOnce || self.work().task.subscribes();
        self.sum(|counters| {
            counters.acknowledged.get() + counters.failed.get() + counters.distinct.get()
        }) + match is_answered {
            true => 0,
            false => self.sum(|counters| counters.sent.get()),
        }
    }

    fn measured(&self) -> Course {
        let mut course = Course::default();
        for shard in self.shards() {
            let measured = self.meter(shard).lock();
            course.messages += measured.messages;
            course.last = course.last.max(measured.last);
            course.first = match (course.first, measured.first) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        course
    }

    /// Ends the threads.
    fn end(&mut self, window: Window) {
        self.run.is_stopped.store(true, Ordering::Relaxed);
        self.phase.send_replace(Phase::Ended(window));
        self.line.clear();
        for running in &mut self.threads {
            if let Some(thread) = running.thread.take() {
                // It has said what went wrong if it has panicked.
                let _ = thread.join();
            }
        }
    }
}

async fn until(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// When the first and the last message came, and how many did.
#[derive(Default)]
struct Course {
    messages: u64,
    first: Option<u64>,
    last: u64,
}

/// Since when nothing has changed while something was waited for.
struct Idle {
    seen: u64,
    since: std::time::Instant,
}

impl Idle {
    fn new(seen: u64) -> Self {
        Self {
            seen,
            since: std::time::Instant::now(),
        }
    }

    fn is_over(&mut self, seen: u64, is_waiting: bool, limit: Duration) -> bool {
        if seen != self.seen || !is_waiting {
            *self = Self::new(seen);
        }
        self.since.elapsed() >= limit
    }
}
