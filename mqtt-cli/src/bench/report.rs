//! The result: for people, as JSON, and the exit status that says whether all of it happened.

use super::clock::seconds;
use super::latency::{Latency, Percentiles, Point, Timeline, time};
use super::machine;
use super::meter::{Counters, Meter};
use super::options::{Task, Work};
use super::shard::{Run, Shard};
use crate::exit::{Failure, Status};
use crate::report::Report;
use martlet_tokio::QoS;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::sync::PoisonError;

/// What a run has measured. The names of the fields are the keys of the JSON.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    command: &'static str,
    /// `open`: messages were due at their times; `closed`: each waited for room.
    #[serde(rename = "loop")]
    pacing: Option<&'static str>,
    run: String,
    clients: u32,
    threads: u16,
    qos: Option<u8>,
    size: Option<usize>,
    topic: Option<String>,
    warm_up_seconds: f64,
    /// The measured time, of which the rate is.
    seconds: f64,
    wanted_rate: Option<f64>,
    rate: Option<f64>,
    is_rate_reached: Option<bool>,
    is_interrupted: bool,
    messages: Option<Messages>,
    connections: Connections,
    latency_us: Option<Percentiles>,
    acknowledgement_us: Option<Percentiles>,
    lateness_us: Option<Percentiles>,
    errors: Vec<ErrorCount>,
    cpu_seconds: Option<f64>,
    peak_memory_bytes: Option<u64>,
    pub(super) timeline: Vec<Point>,
    #[serde(skip)]
    first_error: Option<Failure>,
}

/// Messages, those of the warm-up among them.
#[derive(Debug, Default, Serialize)]
struct Messages {
    sent: u64,
    acknowledged: u64,
    failed: u64,
    unanswered: u64,
    unsent: u64,
    received: u64,
    /// None where it is not known.
    lost: Option<u64>,
    duplicates: u64,
    out_of_order: u64,
    foreign: u64,
    without_time: u64,
    before_due: u64,
    received_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Connections {
    attempted: u64,
    made: u64,
    failed: u64,
    lost: u64,
    made_again: u64,
}

#[derive(Debug, Serialize)]
struct ErrorCount {
    text: String,
    count: u64,
}

/// The inputs of a summary.
pub(super) struct Outcome<'a> {
    pub(super) run: &'a Run,
    pub(super) shards: Vec<&'a Shard>,
    pub(super) timeline: &'a Timeline,
    pub(super) signal: Option<Status>,
    pub(super) ended: &'a Ended,
}

/// The measured time, and the state when nothing more was due.
pub(super) struct Ended {
    /// Messages in the measured time; of a subscriber, without the one that the time begins with.
    pub(super) messages: u64,
    /// How long that was, in nanoseconds.
    pub(super) time: u64,
    /// Messages that were due and not answered when nothing more was due.
    pub(super) outstanding: u64,
    /// The CPU time of the process while messages were sent, in nanoseconds.
    pub(super) cpu: Option<u64>,
}

impl Outcome<'_> {
    fn sum(&self, counter: fn(&Counters) -> u64) -> u64 {
        self.shards
            .iter()
            .map(|shard| counter(&shard.counters))
            .sum()
    }

    fn percentiles(&self, meter: fn(&Shard) -> &Meter) -> Option<Percentiles> {
        let mut sum = Latency::new();
        for shard in &self.shards {
            sum.add(&meter(shard).lock().total);
        }
        sum.percentiles()
    }

    fn lateness(&self) -> Option<Percentiles> {
        let mut sum = Latency::new();
        for shard in &self.shards {
            let lateness = shard.lateness.lock();
            sum.add(&lateness.unwrap_or_else(PoisonError::into_inner));
        }
        sum.percentiles()
    }
}

/// A rate is reached when no more than this part of the messages that were due was outstanding at
/// the end, or no more than were due in [`GRACE`] seconds.
const TOLERANCE: f64 = 0.01;
const GRACE: f64 = 0.1;

impl Summary {
    pub(super) fn new(outcome: &Outcome<'_>) -> Self {
        let ended = outcome.ended;
        let work = &outcome.run.work;
        let answers = outcome.percentiles(|shard| &shard.answers);
        let (latency, acknowledgement) = match work.task.subscribes() {
            true => (outcome.percentiles(|shard| &shard.arrivals), answers),
            false => (answers, None),
        };
        let time = seconds(ended.time);
        let errors = outcome.run.errors.list();
        let is_of_messages = work.task != Task::Connect;
        Self {
            command: work.task.name(),
            pacing: match (work.task, work.rate) {
                (Task::Subscribe, _) => None,
                (_, Some(_)) => Some("open"),
                (_, None) => Some("closed"),
            },
            run: format!("{:016x}", outcome.run.id),
            clients: work.clients,
            threads: work.threads,
            qos: is_of_messages.then_some(work.qos as u8),
            size: work.task.publishes().then_some(work.size),
            topic: is_of_messages.then(|| work.topic_text.clone()),
            warm_up_seconds: work.warm_up.as_secs_f64(),
            seconds: time,
            wanted_rate: work.rate,
            rate: (ended.time > 0).then(|| ended.messages as f64 / time),
            is_rate_reached: work.rate.map(|rate| is_reached(outcome, rate)),
            is_interrupted: outcome.signal.is_some(),
            messages: is_of_messages.then(|| Messages::new(outcome)),
            connections: Connections {
                attempted: outcome.sum(|counters| counters.attempted.get()),
                made: outcome.sum(|counters| counters.connected.get()),
                failed: outcome.sum(|counters| counters.not_connected.get()),
                lost: outcome.sum(|counters| counters.lost.get()),
                made_again: outcome.sum(|counters| counters.reconnected.get()),
            },
            latency_us: latency,
            acknowledgement_us: acknowledgement,
            lateness_us: outcome.lateness(),
            first_error: errors.first().map(|(failure, _)| failure.clone()),
            errors: errors
                .iter()
                .map(|(failure, count)| ErrorCount {
                    text: failure.to_string(),
                    count: *count,
                })
                .collect(),
            cpu_seconds: ended.cpu.map(seconds),
            peak_memory_bytes: machine::peak_memory(),
            timeline: outcome.timeline.points(),
        }
    }

    /// Prints it.
    pub(super) fn print(&self, work: &Work) -> Result<(), Failure> {
        let mut text = match work.json {
            true => serde_json::to_string_pretty(self).expect("it has no maps"),
            false => self.text(work),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(text.as_bytes());
        written
            .and_then(|()| stdout.flush())
            .map_err(|error| match error.kind() {
                ErrorKind::BrokenPipe => Failure::quiet(Status::BrokenPipe),
                _ => Failure::new(Status::Failed, format!("standard output: {error}")),
            })
    }

    fn text(&self, work: &Work) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_text(work, &mut text);
        text
    }

    fn write_text(&self, work: &Work, text: &mut String) -> std::fmt::Result {
        writeln!(text, "{}", self.title(work))?;
        let what = match work.task {
            Task::Connect => "connections/s",
            Task::Publish if work.qos == QoS::AtMostOnce => "messages/s given to the client",
            _ => "messages/s",
        };
        if let Some(rate) = self.rate {
            write!(
                text,
                "rate         {rate:.1} {what} over {:.2} s",
                self.seconds
            )?;
            match (self.wanted_rate, self.is_rate_reached) {
                (Some(wanted), Some(true)) => writeln!(text, ", wanted {wanted}")?,
                (Some(wanted), _) => writeln!(text, ", wanted {wanted}: NOT REACHED")?,
                _ => writeln!(text)?,
            }
        }
        if let Some(messages) = &self.messages {
            messages.write_text(work, text)?;
        }
        self.connections.write_text(work, text)?;
        let name = match work.task {
            Task::Publish => "acknowledged",
            Task::Connect => "connected",
            _ => "end to end",
        };
        let rows = [
            (name, &self.latency_us),
            ("acknowledged", &self.acknowledgement_us),
            ("begun late", &self.lateness_us),
        ];
        if rows.iter().any(|(_, found)| found.is_some()) {
            writeln!(
                text,
                "latency          min      mean       p50       p90       p99     p99.9    p99.99       max"
            )?;
        }
        for (name, found) in rows {
            let Some(found) = found else { continue };
            write!(text, "{name:<12}")?;
            for value in found.values() {
                write!(text, " {:>9}", time(value))?;
            }
            writeln!(text)?;
        }
        if work.task == Task::Publish && work.qos == QoS::AtMostOnce {
            writeln!(
                text,
                "latency      none: no server acknowledges QoS 0; see bench pubsub"
            )?;
        }
        for error in &self.errors {
            writeln!(text, "error        {} ({} times)", error.text, error.count)?;
        }
        write!(text, "this process")?;
        if let Some(cpu) = self.cpu_seconds {
            write!(text, " {cpu:.2} s of CPU time")?;
        }
        match self.peak_memory_bytes {
            Some(bytes) => writeln!(text, " {:.1} MiB at most", bytes as f64 / 1_048_576.0),
            None => writeln!(text),
        }
    }

    pub(super) fn wanted_rate(&self) -> Option<f64> {
        self.wanted_rate
    }

    pub(super) fn title(&self, work: &Work) -> String {
        let pacing = match (work.task, work.rate) {
            (Task::Subscribe, _) => "receiving only".to_owned(),
            (_, Some(rate)) => format!("open loop at {rate}/s"),
            (_, None) => "closed loop, as fast as the server answers".to_owned(),
        };
        let mut title = format!("bench {}: {pacing}, {} clients", self.command, self.clients);
        if let Some(qos) = self.qos {
            let _ = write!(title, ", QoS {qos}");
        }
        if let Some(size) = self.size {
            let _ = write!(title, ", {size} bytes");
        }
        if self.is_interrupted {
            title.push_str(", interrupted");
        }
        title
    }

    /// Whether everything that was asked for has happened.
    pub(super) fn status(
        &self,
        work: &Work,
        signal: Option<Status>,
        report: Report,
    ) -> Result<(), Failure> {
        if let Some(before_due) = self.messages.as_ref().map(|messages| messages.before_due) {
            if before_due > 0 {
                report.warning(&format!(
                    "{before_due} messages came before they were due: the clocks of this machine and of the publishers differ, and the latencies with them"
                ));
            }
        }
        if self.rate.is_none() && !work.warm_up.is_zero() && signal.is_none() {
            report.warning("nothing was measured: the run ended within the time of --warm-up");
        }
        // A subscriber without an end is to run until it is stopped.
        let is_endless =
            work.task == Task::Subscribe && work.duration.is_none() && work.count.is_none();
        match signal {
            Some(status) if !is_endless => return Err(Failure::quiet(status)),
            _ => {}
        }
        let problems = self.problems(work);
        if problems.is_empty() {
            return Ok(());
        }
        let first = self.first_error.as_ref();
        let status = match first {
            _ if !self.has_done_nothing(work) => Status::Partial,
            Some(failure) => failure.status,
            None if work.task == Task::Publish => Status::Publish,
            None => Status::Partial,
        };
        let mut text = problems.join("; ");
        if let Some(failure) = first {
            let _ = write!(text, "; first error: {failure}");
        }
        Err(Failure::new(status, text))
    }

    fn has_done_nothing(&self, work: &Work) -> bool {
        match (work.task, &self.messages) {
            (Task::Connect, _) => self.connections.made == 0,
            (Task::Publish, Some(messages)) => messages.acknowledged == 0,
            (_, Some(messages)) => messages.received == 0,
            (_, None) => false,
        }
    }

    /// What did not happen, in words.
    fn problems(&self, work: &Work) -> Vec<String> {
        let connections = &self.connections;
        let mut problems = Vec::new();
        let mut note = |count: u64, text: &str| {
            if count > 0 {
                problems.push(format!("{count} {text}"));
            }
        };
        note(connections.failed, "connections were not made");
        note(connections.lost, "connections were lost");
        if let Some(messages) = &self.messages {
            note(messages.failed, "messages were not published");
            note(messages.unanswered, "messages were not acknowledged");
            note(messages.unsent, "messages were due and not sent");
            note(messages.lost.unwrap_or(0), "messages were lost");
            let is_wrong = work.task.publishes() && work.qos != QoS::AtLeastOnce;
            note(
                if is_wrong { messages.duplicates } else { 0 },
                "messages came more than once",
            );
            if let Some(count) = work.count.filter(|_| work.task == Task::Subscribe) {
                let missing = count.saturating_sub(messages.received);
                note(
                    if self.is_interrupted { 0 } else { missing },
                    "messages did not come",
                );
            } else if work.task == Task::Subscribe && !self.is_interrupted && messages.received == 0
            {
                problems.push("no message came".to_owned());
            }
        }
        if let (Some(wanted), Some(false)) = (self.wanted_rate, self.is_rate_reached) {
            problems.push(format!("the wanted rate of {wanted}/s was not reached"));
        }
        problems
    }
}

fn is_reached(outcome: &Outcome<'_>, rate: f64) -> bool {
    let unsent = outcome.sum(|counters| counters.unsent.get());
    let (due, outstanding) = match outcome.run.work.task {
        // What was not made when the last was due was outstanding then.
        Task::Connect => (
            outcome.sum(|counters| counters.attempted.get()),
            outcome.sum(|counters| counters.late.get() + counters.not_connected.get()),
        ),
        _ => (outcome.sum(|counters| counters.sent.get()) + unsent, 0),
    };
    let most = (due as f64 * TOLERANCE).max(rate * GRACE).max(1.0);
    unsent == 0 && (outcome.ended.outstanding + outstanding) as f64 <= most
}

impl Messages {
    fn new(outcome: &Outcome<'_>) -> Self {
        let work = &outcome.run.work;
        let sent = outcome.sum(|counters| counters.sent.get());
        let failed = outcome.sum(|counters| counters.failed.get());
        let distinct = outcome.sum(|counters| counters.distinct.get());
        Self {
            sent,
            acknowledged: outcome.sum(|counters| counters.acknowledged.get()),
            failed: failed + outcome.sum(|counters| counters.not_accepted.get()),
            unanswered: outcome.sum(|counters| counters.unanswered.get()),
            unsent: outcome.sum(|counters| counters.unsent.get()),
            received: outcome.sum(|counters| counters.received.get()),
            lost: match work.task {
                _ if work.is_shared() => None,
                Task::PublishAndSubscribe => Some(sent.saturating_sub(failed + distinct)),
                _ => Some(outcome.sum(|counters| counters.missing.get())),
            },
            duplicates: outcome.sum(|counters| counters.duplicates.get()),
            out_of_order: outcome.sum(|counters| counters.out_of_order.get()),
            foreign: outcome.sum(|counters| counters.foreign.get()),
            without_time: outcome.sum(|counters| counters.unstamped.get()),
            before_due: outcome.sum(|counters| counters.early.get()),
            received_bytes: outcome.sum(|counters| counters.bytes.get()),
        }
    }

    fn write_text(&self, work: &Work, text: &mut String) -> std::fmt::Result {
        if work.task.publishes() {
            write!(text, "published    {} sent", self.sent)?;
            let is_confirmed = work.task == Task::Publish || work.qos != QoS::AtMostOnce;
            match (is_confirmed, work.qos) {
                (false, _) => {}
                (true, QoS::AtMostOnce) => {
                    write!(text, ", {} read by the server", self.acknowledged)?;
                }
                (true, _) => write!(text, ", {} acknowledged", self.acknowledged)?,
            }
            for (count, name) in [
                (self.failed, "failed"),
                (self.unanswered, "not acknowledged"),
                (self.unsent, "due and not sent"),
            ] {
                if count > 0 {
                    write!(text, ", {count} {name}")?;
                }
            }
            writeln!(text)?;
        }
        if !work.task.subscribes() {
            return Ok(());
        }
        let lost = match self.lost {
            Some(lost) => format!("{lost} lost"),
            None => "losses unknown (a shared subscription)".to_owned(),
        };
        write!(
            text,
            "received     {}, {lost}, {} duplicates, {} out of order",
            self.received, self.duplicates, self.out_of_order
        )?;
        for (count, name) in [
            (self.foreign, "of others (not counted)"),
            (self.without_time, "without a time"),
            (self.before_due, "before they were due"),
        ] {
            if count > 0 {
                write!(text, ", {count} {name}")?;
            }
        }
        writeln!(text)
    }
}

impl Connections {
    fn write_text(&self, work: &Work, text: &mut String) -> std::fmt::Result {
        let is_worth_it = work.task == Task::Connect || self.lost + self.made_again > 0;
        if !is_worth_it {
            return Ok(());
        }
        writeln!(
            text,
            "connections  {} made, {} failed, {} lost, {} made again",
            self.made, self.failed, self.lost, self.made_again
        )
    }
}

impl Percentiles {
    fn values(&self) -> [f64; 8] {
        [
            self.min,
            self.mean,
            self.p50,
            self.p90,
            self.p99,
            self.p99_9,
            self.p99_99,
            self.max,
        ]
    }
}
