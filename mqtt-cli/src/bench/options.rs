//! The options of `martlet bench`, and the work that they ask for. What cannot work is found here.

use super::payload::HEADER;
use super::topic::Template;
use crate::connection::{ConnectionOptions, Kind, Plan, causes, pause, qos, seconds};
use crate::documents;
use crate::exit::Failure;
use clap::{Args, Subcommand};
use martlet_tokio::session::QueueLimits;
use martlet_tokio::{Builder, Client, ConnectionState, QoS};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of `martlet bench`.
#[derive(Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct BenchOptions {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// Publish, and measure how long acknowledgements take
    Pub(Box<PublishBench>),
    /// Subscribe, and measure the rate, and the latency of messages of `bench pub`
    Sub(Box<SubscribeBench>),
    /// Publish and subscribe, and measure the latency from end to end, losses and duplicates
    Pubsub(Box<PublishBench>),
    /// Connect many clients, and hold the connections
    Conn(Box<ConnectBench>),
}

/// The names of the sub-commands.
pub(crate) const COMMANDS: [&str; 4] = ["pub", "sub", "pubsub", "conn"];

/// What every benchmark has.
#[derive(Args)]
struct RunOptions {
    /// How many clients connect [default: 1]
    #[arg(long, value_name = "CLIENTS", help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: Option<u32>,
    /// How many threads do the clients' work [default: 1]
    #[arg(long, value_name = "THREADS", help_heading = "Load", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print the result as JSON
    #[arg(long, help_heading = "Report")]
    json: bool,
    /// Draw latencies and rate over time into this file: .svg, or .png with the feature png
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    plot: Option<PathBuf>,
}

/// Options of `martlet bench pub` and `martlet bench pubsub`.
#[derive(Args)]
struct PublishBench {
    #[command(flatten)]
    connection: ConnectionOptions,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    time: TimeOptions,
    /// Messages a second, of all clients together: each is due at its time, whether or not the server keeps up [default: as fast as the server answers]
    #[arg(long, value_name = "MESSAGES", help_heading = "Load", value_parser = rate)]
    rate: Option<f64>,
    /// Bytes of each payload [default: 64]
    #[arg(long, value_name = "BYTES", help_heading = "Load", value_parser = clap::value_parser!(u32).range(..=MAX_SIZE))]
    size: Option<u32>,
    /// QoS: 0, 1 or 2 [default: 0]
    #[arg(short, long, value_name = "QOS", help_heading = "Load", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// Topic; {client} is the number of the client, {n} that of the message [default: martlet/bench/{client}]
    #[arg(short, long, value_name = "TOPIC", help_heading = "Load")]
    topic: Option<String>,
}

/// Options of `martlet bench sub`.
#[derive(Args)]
struct SubscribeBench {
    #[command(flatten)]
    connection: ConnectionOptions,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    time: TimeOptions,
    /// Highest QoS that messages come with: 0, 1 or 2 [default: 0]
    #[arg(short, long, value_name = "QOS", help_heading = "Load", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// Topic filter; {client} is the number of the client [default: martlet/bench/#]
    #[arg(short, long, value_name = "FILTER", help_heading = "Load")]
    topic: Option<String>,
}

/// When a benchmark of messages ends.
#[derive(Args)]
struct TimeOptions {
    /// Seconds that are measured [default: 10; with --count and of sub, no limit]
    #[arg(long, value_name = "SECONDS", help_heading = "Time", value_parser = seconds)]
    duration: Option<Duration>,
    /// Messages after which the run ends, of all clients together
    #[arg(long, value_name = "MESSAGES", help_heading = "Time", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Seconds before the measured time: their messages are in no latency and no rate [default: 0]
    #[arg(long, value_name = "SECONDS", help_heading = "Time", value_parser = pause)]
    warm_up: Option<Duration>,
    /// Seconds without any answer of the server after which what is outstanding is not waited for [default: 10]
    #[arg(long, value_name = "SECONDS", help_heading = "Time", value_parser = seconds)]
    answer_timeout: Option<Duration>,
}

/// Options of `martlet bench conn`.
#[derive(Args)]
struct ConnectBench {
    #[command(flatten)]
    connection: ConnectionOptions,
    #[command(flatten)]
    run: RunOptions,
    /// Connections a second: each is due at its time, whether or not the server keeps up [default: as fast as the server answers]
    #[arg(long, value_name = "CONNECTIONS", help_heading = "Load", value_parser = rate)]
    rate: Option<f64>,
    /// How many connections are being made at a time, without --rate [default: 100]
    #[arg(long, value_name = "CONNECTIONS", help_heading = "Load", conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    concurrency: Option<u32>,
    /// Seconds that the connections are held once all are made [default: 0]
    #[arg(long, value_name = "SECONDS", help_heading = "Time", value_parser = pause)]
    duration: Option<Duration>,
}

/// The largest payload: a packet of MQTT has 256 MiB with its topic.
const MAX_SIZE: i64 = 255 * 1024 * 1024;

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=100_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0.001 to 100000000".to_owned()),
    }
}

/// Which benchmark it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Publish,
    Subscribe,
    PublishAndSubscribe,
    Connect,
}

impl Task {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Publish => "pub",
            Self::Subscribe => "sub",
            Self::PublishAndSubscribe => "pubsub",
            Self::Connect => "conn",
        }
    }

    pub(super) fn publishes(self) -> bool {
        matches!(self, Self::Publish | Self::PublishAndSubscribe)
    }

    pub(super) fn subscribes(self) -> bool {
        matches!(self, Self::Subscribe | Self::PublishAndSubscribe)
    }
}

/// A validated benchmark.
pub(super) struct Work {
    pub(super) task: Task,
    pub(super) plan: Plan,
    pub(super) identifier: Option<String>,
    pub(super) clients: u32,
    pub(super) threads: u16,
    pub(super) qos: QoS,
    pub(super) size: usize,
    pub(super) topic: Template,
    pub(super) topic_text: String,
    /// Of all clients together; none: a closed loop.
    pub(super) rate: Option<f64>,
    pub(super) warm_up: Duration,
    /// What is measured, or how long connections are held.
    pub(super) duration: Option<Duration>,
    pub(super) count: Option<u64>,
    pub(super) answer_timeout: Duration,
    pub(super) concurrency: u32,
    pub(super) json: bool,
    pub(super) plot: Option<(PathBuf, PlotFormat)>,
}

/// Bytes that wait in all clients together, if each has more than one message.
const QUEUED: usize = 64 * 1024 * 1024;
/// Bytes of one payload of each client.
const MOST_PAYLOADS: usize = 256 * 1024 * 1024;

const DEFAULT_DURATION: Duration = Duration::from_secs(10);
const DEFAULT_SIZE: usize = 64;
const DEFAULT_CONCURRENCY: u32 = 100;

impl BenchOptions {
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.command {
            BenchCommand::Pub(options) | BenchCommand::Pubsub(options) => options.connection.quiet,
            BenchCommand::Sub(options) => options.connection.quiet,
            BenchCommand::Conn(options) => options.connection.quiet,
        }
    }

    /// Checks the options.
    pub(super) fn work(self) -> Result<Work, Failure> {
        match self.command {
            BenchCommand::Pub(options) => options.work(Task::Publish),
            BenchCommand::Pubsub(options) => options.work(Task::PublishAndSubscribe),
            BenchCommand::Sub(options) => options.work(),
            BenchCommand::Conn(options) => options.work(),
        }
    }
}

impl PublishBench {
    fn work(self, task: Task) -> Result<Work, Failure> {
        let kind = match task {
            Task::PublishAndSubscribe => Kind::Request,
            _ => Kind::Publish,
        };
        let mut work = Work::new(
            task,
            &self.connection,
            self.run,
            kind,
            "martlet/bench/{client}",
        )?;
        work.set_topic(self.topic)?;
        work.set_time(&self.time);
        if work.duration.is_none() && work.count.is_none() {
            work.duration = Some(DEFAULT_DURATION);
        }
        work.rate = self.rate;
        work.qos = qos(self.qos.unwrap_or(0));
        work.size = self.size.map_or(DEFAULT_SIZE, |size| size as usize);
        work.topic
            .check_topic()
            .map_err(|error| wrong_topic(&work.topic_text, &error))?;
        if task == Task::PublishAndSubscribe {
            if work.size < HEADER {
                return Err(Failure::usage(format!(
                    "--size: pubsub needs {HEADER} bytes for the number and the time of each message"
                )));
            }
            let filter = |client| {
                let filter = work.topic.filter(client);
                filter.map_err(|error| wrong_topic(&work.topic_text, &error))
            };
            if filter(0)? == filter(1)? && work.clients > 1 {
                return Err(Failure::usage(
                    "--topic: several --clients of pubsub need topics of their own: put {client} into a level without {n}",
                ));
            }
        }
        work.check_count()?;
        let payloads = work.size.saturating_mul(work.clients as usize);
        if payloads > MOST_PAYLOADS {
            return Err(Failure::usage(format!(
                "--size, --clients: one payload of each client needs {payloads} bytes, more than the {MOST_PAYLOADS} that bench allows: lower one of both"
            )));
        }
        work.set_queue();
        Ok(work)
    }
}

impl SubscribeBench {
    fn work(self) -> Result<Work, Failure> {
        let (task, kind) = (Task::Subscribe, Kind::Subscribe);
        let mut work = Work::new(task, &self.connection, self.run, kind, "martlet/bench/#")?;
        work.set_topic(self.topic)?;
        work.set_time(&self.time);
        work.qos = qos(self.qos.unwrap_or(0));
        if work.topic.has_number() {
            return Err(Failure::usage(
                "--topic: {n} is the number of a message that is published: write + in a filter",
            ));
        }
        work.topic
            .filter(u32::MAX)
            .map_err(|error| wrong_topic(&work.topic_text, &error))?;
        Ok(work)
    }
}

impl ConnectBench {
    fn work(self) -> Result<Work, Failure> {
        if let Some(option) = self.connection.reconnect_option() {
            return Err(Failure::usage(format!(
                "{option} cannot be used with conn: it counts the connections that are lost"
            )));
        }
        let (task, kind) = (Task::Connect, Kind::Publish);
        let mut work = Work::new(task, &self.connection, self.run, kind, "")?;
        if work.plan.topic.is_some() {
            return Err(Failure::usage("--url: conn has no topic"));
        }
        let never = martlet_tokio::Reconnect::default().enabled(false);
        work.plan.builder = work.plan.builder.clone().reconnect(never);
        work.rate = self.rate;
        work.duration = Some(self.duration.unwrap_or_default());
        work.concurrency = self.concurrency.unwrap_or(DEFAULT_CONCURRENCY);
        work.check_count()?;
        Ok(work)
    }
}

/// What a plot is, by the end of the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlotFormat {
    Svg,
    #[cfg(feature = "png")]
    Png,
}

impl PlotFormat {
    fn of(path: &Path) -> Result<Self, Failure> {
        let extension = path.extension().unwrap_or_default();
        match extension.to_string_lossy().to_ascii_lowercase().as_str() {
            "svg" => Ok(Self::Svg),
            #[cfg(feature = "png")]
            "png" => Ok(Self::Png),
            #[cfg(not(feature = "png"))]
            "png" => Err(wrong_plot(
                path,
                "this martlet draws SVG only: name a file that ends with .svg, or install martlet with --features png",
            )),
            _ => Err(wrong_plot(path, "name a file that ends with .svg or .png")),
        }
    }
}

pub(super) fn wrong_plot(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("--plot: {}: {why}", path.display()))
}

fn wrong_topic(text: &str, error: &dyn std::error::Error) -> Failure {
    Failure::usage(format!("--topic: {text:?}: {}", causes(error)))
}

impl Work {
    fn new(
        task: Task,
        connection: &ConnectionOptions,
        run: RunOptions,
        kind: Kind,
        topic: &str,
    ) -> Result<Self, Failure> {
        let plan = connection.plan(kind, None)?;
        if plan.is_lasting {
            return Err(Failure::usage(
                "-c, -x and --store cannot be used with bench: its sessions would stay on the server",
            ));
        }
        let plot = run
            .plot
            .map(|path| PlotFormat::of(&path).map(|format| (path, format)))
            .transpose()?;
        let work = Self {
            task,
            plan,
            identifier: connection.identifier(),
            clients: run.clients.unwrap_or(1),
            threads: run.threads.unwrap_or(1),
            qos: QoS::AtMostOnce,
            size: 0,
            topic: Template::parse(topic).expect("it is well formed"),
            topic_text: topic.to_owned(),
            rate: None,
            warm_up: Duration::ZERO,
            duration: None,
            count: None,
            answer_timeout: DEFAULT_DURATION,
            concurrency: DEFAULT_CONCURRENCY,
            json: run.json,
            plot,
        };
        if u32::from(work.threads) > work.clients {
            return Err(Failure::usage(format!(
                "--threads: {} threads have nothing to do: there is one client for each at least, and --clients is {}",
                work.threads, work.clients
            )));
        }
        Ok(work)
    }

    fn set_topic(&mut self, given: Option<String>) -> Result<(), Failure> {
        let Some(text) = given.or_else(|| self.plan.topic.clone()) else {
            return Ok(());
        };
        self.topic = Template::parse(&text)
            .map_err(|error| Failure::usage(format!("--topic: {text:?}: {error}")))?;
        self.topic_text = text;
        Ok(())
    }

    fn set_time(&mut self, time: &TimeOptions) {
        self.warm_up = time.warm_up.unwrap_or_default();
        self.duration = time.duration;
        self.count = time.count;
        self.answer_timeout = time.answer_timeout.unwrap_or(DEFAULT_DURATION);
    }

    /// What no run can do in a year is a mistake.
    fn check_count(&self) -> Result<(), Failure> {
        const YEAR: f64 = 366.0 * 24.0 * 60.0 * 60.0;
        let (count, option) = match (self.task, self.count) {
            (Task::Connect, _) => (u64::from(self.clients), "--rate"),
            (_, Some(count)) => (count, "--count"),
            (_, None) => return Ok(()),
        };
        match self.rate {
            Some(rate) if count as f64 / rate > YEAR => Err(Failure::usage(format!(
                "{option}: {count} at {rate} a second take more than a year"
            ))),
            _ => Ok(()),
        }
    }

    /// What waits in the clients is bounded, however many there are.
    fn set_queue(&mut self) {
        /// Of all clients, in an open loop: twice what leaves in a millisecond, after which a client
        /// that is full is offered messages again.
        const MESSAGES: usize = 2_000;
        /// Of one client, in a closed loop: messages of QoS 1 and 2 that the window has room for,
        /// and those of QoS 0.
        const CLOSED: usize = 100;
        /// The topic and the properties.
        const MARGIN: usize = 128 * 1024;
        let clients = self.clients as usize;
        let messages = match self.rate {
            Some(_) => (MESSAGES / clients).max(10),
            None => CLOSED,
        };
        let bytes = (QUEUED / clients).max(self.size + MARGIN);
        let limits = QueueLimits::default().messages(messages).bytes(bytes);
        self.plan.builder = self.plan.builder.clone().queue(limits);
    }

    /// How many messages of QoS 1 and 2 a client has in flight in a closed loop; none of them waits in
    /// the client for the others.
    pub(super) fn in_flight(&self, client: &Client) -> usize {
        const DEFAULT: u16 = 100;
        let limit = self.plan.settings.martlet.max_in_flight;
        let limit = limit.map_or(DEFAULT, NonZeroU16::get);
        let limit = match client.state() {
            ConnectionState::Connected(connected) => limit.min(connected.limits.receive_maximum),
            _ => limit,
        };
        let payloads = QUEUED / self.clients as usize / self.size.max(1);
        usize::from(limit).min(payloads).max(1)
    }

    /// Whether the messages are shared with others, also with subscribers of other processes: a gap in
    /// what one subscriber gets is no loss.
    pub(super) fn is_shared(&self) -> bool {
        let filter = self.topic.filter(0);
        self.task == Task::Subscribe && filter.is_ok_and(|filter| filter.share_name().is_some())
    }

    /// How many connections are open at once.
    pub(super) fn connections(&self) -> u64 {
        match self.task {
            Task::PublishAndSubscribe => 2 * u64::from(self.clients),
            _ => self.clients.into(),
        }
    }

    /// The messages of this client when the run ends after a number of messages.
    pub(super) fn count_of(&self, client: u32) -> u64 {
        match self.count {
            None => u64::MAX,
            Some(count) => match count.checked_sub(u64::from(client) + 1) {
                Some(more) => more / u64::from(self.clients) + 1,
                None => 0,
            },
        }
    }

    /// The builder of one client; `role`: a letter, for clients with two connections.
    pub(super) fn builder(&self, run: u64, client: u32, role: &str) -> Builder {
        let identifier = match &self.identifier {
            Some(identifier) if self.connections() == 1 => identifier.clone(),
            Some(identifier) => format!("{identifier}-{role}{client}"),
            // The 23 characters that every server takes.
            None => format!("mlt{:08x}-{role}{client}", run & 0xffff_ffff),
        };
        self.plan.builder.clone().client_identifier(identifier)
    }
}

/// What follows the options in the help of a sub-command.
pub(crate) fn after_help(command: &str) -> String {
    format!(
        "Options file:\n  $XDG_CONFIG_HOME/martlet_bench_{command} or ~/.config/martlet_bench_{command}: one option a line, its value behind a space.\n\n{}",
        documents::exit_statuses()
    )
}
