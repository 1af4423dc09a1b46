//! `martlet probe`: what a broker supports, and what it gets wrong.

mod catalog;
mod checks;
mod connection;
mod context;
mod finding;
mod output;
mod target;
mod trouble;

use crate::connection::{ConnectionOptions, Kind, Plan, Session, causes, seconds};
use crate::exit::{Failure, Status};
use crate::report::Report;
use crate::signals::Signals;
use catalog::{Check, Entry};
use clap::Args;
use clap::builder::PossibleValuesParser;
use context::{Ask, Context, Setup};
use finding::{Finding, Support};
use martlet_tokio::{TopicName, Version};
use output::{Output, Results};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use target::Target;
use tokio::time::timeout;
use trouble::Trouble;

/// Options of `martlet probe`.
#[derive(Args)]
pub(crate) struct ProbeOptions {
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    /// Print JSON
    #[arg(long, help_heading = "Probe")]
    json: bool,
    /// Capability that has to be there, or the exit status is 10; may be repeated, or have commas
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "Probe",
        value_delimiter = ',',
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(catalog::names())
    )]
    require: Vec<String>,
    /// Capability to try, with the versions and no others; may be repeated, or have commas
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "Probe",
        value_delimiter = ',',
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(catalog::names())
    )]
    only: Vec<String>,
    /// Topic that all topics of the probe are under
    #[arg(
        long,
        value_name = "TOPIC",
        help_heading = "Probe",
        default_value = "martlet-probe"
    )]
    topic_prefix: String,
    /// Topic that this client may not use: what happens when it does?
    #[arg(long, value_name = "TOPIC", help_heading = "Probe")]
    denied_topic: Option<String>,
    /// Largest payload to try, in bytes
    #[arg(
        long,
        value_name = "BYTES",
        help_heading = "Probe",
        default_value_t = 1024 * 1024,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PAYLOAD))
    )]
    max_payload: u32,
    /// Seconds that an answer or a message may take; where none may come, a tenth of it is waited
    #[arg(
        long,
        value_name = "SECONDS",
        help_heading = "Probe",
        default_value = "3",
        value_parser = seconds
    )]
    answer_timeout: Duration,
    /// Seconds that all of it may take
    #[arg(
        short = 'W',
        long = "timeout",
        value_name = "SECONDS",
        help_heading = "Probe",
        default_value = "300",
        value_parser = seconds
    )]
    timeout: Duration,
}

/// The largest payload to try: what is in memory then is a few times as much.
const MAX_PAYLOAD: u32 = 16 * 1024 * 1024;

/// How many times `--answer-timeout` a check may take: the longest on a server that is slow in everything.
const CHECK_WAITS: u32 = 15;

/// How long removing what is left of the probe may take.
const TIDY_TIME: Duration = Duration::from_secs(30);

/// How many checks in a row may find no connection before the server counts as gone.
const UNREACHABLE_CHECKS: u32 = 2;

/// Probes, and removes what it has made.
pub(crate) async fn run(options: ProbeOptions) -> Result<(), Failure> {
    options.connection.reject_for_probe()?;
    let entries = options.entries()?;
    let plan = options.connection.plan(Kind::Probe, None)?;
    let report = Report::new(plan.is_quiet);
    let cx = Context::new(options.setup(&plan)?);
    let mut signals = Signals::listen()?;
    // The client's errors say best why there is no connection.
    let (session, ()) = Session::connect(&plan, report, &mut signals, |_| ()).await?;
    session.end(&plan.properties, false).await;

    let mut probe = Probe {
        cx: &cx,
        entries: &entries,
        output: Output::new(options.json),
        fixed: plan.settings.martlet.version,
        results: Results {
            server: cx.target().name(),
            required: options.require.clone(),
            ..Results::default()
        },
        unreachable: 0,
    };
    let end = tokio::select! {
        biased;
        status = signals.next() => Err(Failure::quiet(status)),
        () = tokio::time::sleep(options.timeout) => {
            Err(Failure::new(Status::TimedOut, "the probe timed out (-W) before all was tried"))
        }
        end = probe.all() => end,
    };
    let left = match timeout(TIDY_TIME, cx.tidy()).await {
        Ok(left) => left,
        Err(_) => cx.left(),
    };
    let mut results = probe.results;
    if !left.is_empty() {
        report.warning(&format!("could not be removed: {}", left.join(", ")));
    }
    results.left = left;
    results.fill_up(&entries);
    let printed = match &end {
        // Nobody reads it.
        Err(failure) if failure.status == Status::BrokenPipe => Ok(()),
        _ => probe.output.end(&results),
    };
    end.and(printed)?;
    match &results.missing()[..] {
        [] => Ok(()),
        missing => Err(Failure::new(
            Status::Missing,
            format!("required and missing: {}", missing.join(", ")),
        )),
    }
}

impl ProbeOptions {
    /// What is to be tried.
    fn entries(&self) -> Result<Vec<&'static Entry>, Failure> {
        let is_named = |entry: &&Entry| {
            let mut names = entry.names.iter();
            self.only.is_empty()
                || entry.check == Check::Versions
                || names.any(|name| self.only.iter().any(|only| only == name))
        };
        let entries: Vec<_> = catalog::ALL.iter().filter(is_named).collect();
        let is_tried = |name: &str| entries.iter().any(|entry| entry.names.contains(&name));
        match self.require.iter().find(|name| !is_tried(name)) {
            None => Ok(entries),
            Some(name) => Err(Failure::usage(format!(
                "--require: {name} is not among what --only has: add it there"
            ))),
        }
    }

    fn setup(&self, plan: &Plan) -> Result<Setup, Failure> {
        let topic = |option: &str, text: &str| {
            TopicName::new(text)
                .map_err(|error| Failure::usage(format!("{option}: {text:?}: {}", causes(&error))))
        };
        topic("--topic-prefix", &self.topic_prefix)?;
        if self.topic_prefix.chars().any(char::is_control) {
            return Err(Failure::usage(
                "--topic-prefix: servers reject control characters",
            ));
        }
        if self.topic_prefix.len() > MAX_PREFIX {
            return Err(Failure::usage(format!(
                "--topic-prefix: at most {MAX_PREFIX} bytes"
            )));
        }
        let denied = self.denied_topic.as_deref();
        Ok(Setup {
            target: Target::new(plan)?,
            topic_prefix: self.topic_prefix.clone(),
            id_prefix: plan
                .settings
                .martlet
                .client_identifier
                .clone()
                .unwrap_or_default(),
            wait: self.answer_timeout,
            max_payload: self.max_payload,
            denied: denied
                .map(|text| topic("--denied-topic", text))
                .transpose()?,
            shows_packets: self.connection.debug,
            random: RandomState::new().hash_one(std::process::id()),
        })
    }
}

/// So that every topic of the probe is one, whatever is added.
const MAX_PREFIX: usize = 1024;

/// A probe that runs.
struct Probe<'a> {
    cx: &'a Context,
    entries: &'a [&'static Entry],
    output: Output,
    /// The version that `-V` names.
    fixed: Option<Version>,
    results: Results,
    /// Checks in a row that found no connection.
    unreachable: u32,
}

impl Probe<'_> {
    /// Tries everything.
    async fn all(&mut self) -> Result<(), Failure> {
        self.output.begin(&self.results.server)?;
        for entry in self.entries {
            let findings = match self.without_trying(entry) {
                Some(why) => vec![Finding::not_tried(why); entry.names.len()],
                None => self.check(entry).await?,
            };
            for (name, finding) in entry.names.iter().zip(findings) {
                self.output.finding(name, entry.group, &finding)?;
                self.results.findings.push((name, entry.group, finding));
            }
            if entry.check == Check::Versions {
                self.choose_version().await?;
                if self.entries.iter().any(|entry| entry.check.uses_topics()) {
                    self.use_topics().await?;
                }
            }
        }
        Ok(())
    }

    /// Why a check makes no sense here.
    fn without_trying(&self, entry: &Entry) -> Option<&'static str> {
        let is_5 = self.cx.is_5() || entry.check == Check::Versions;
        match (entry.only_in_5 && !is_5, self.fixed) {
            (false, _) => None,
            (true, Some(_)) => Some("needs MQTT 5, and -V has another version"),
            (true, None) => Some("needs MQTT 5"),
        }
    }

    async fn check(&mut self, entry: &Entry) -> Result<Vec<Finding>, Failure> {
        let limit = self.cx.wait().saturating_mul(CHECK_WAITS) + self.cx.target().timeout;
        let result = timeout(limit, Box::pin(entry.check.run(self.cx))).await;
        let (note, trouble) = match result {
            Ok(Ok(findings)) => {
                self.unreachable = 0;
                return Ok(findings);
            }
            Ok(Err(trouble)) => (trouble.to_string(), Some(trouble)),
            Err(_) => {
                let seconds = limit.as_secs_f32();
                (format!("it took longer than {seconds} s"), None)
            }
        };
        let is_unreachable = match &trouble {
            Some(Trouble::Unreachable(_) | Trouble::Silent("CONNACK")) => true,
            Some(Trouble::Closed { after, .. }) => *after == "CONNECT",
            _ => false,
        };
        self.unreachable = if is_unreachable {
            self.unreachable + 1
        } else {
            0
        };
        if self.unreachable >= UNREACHABLE_CHECKS {
            return Err(Failure::new(
                Status::Lost,
                format!("the server does not answer any more: {note}"),
            ));
        }
        Ok(vec![Finding::not_tried(note); entry.names.len()])
    }

    /// The highest version, or that of `-V`.
    async fn choose_version(&mut self) -> Result<(), Failure> {
        let found = &self.results.findings;
        let mut spoken = Version::ALL
            .into_iter()
            .zip(found)
            .filter(|(_, (.., finding))| finding.result == Support::Yes)
            .map(|(version, _)| version);
        let version = match self.fixed {
            Some(fixed) => spoken.find(|version| *version == fixed),
            None => spoken.next_back(),
        };
        let Some(version) = version else {
            return Err(Failure::new(
                Status::Lost,
                "the server accepted the client, and then spoke no version of MQTT with it",
            ));
        };
        self.cx.speak(version);
        self.results.version = Some(version_key(version).to_owned());
        if version == Version::V5 {
            let ask = Ask::new(self.cx.identifier());
            let connected = self.cx.connect(ask).await;
            let (client, answer) = connected.map_err(|trouble| {
                Failure::new(Status::Lost, format!("the server was lost: {trouble}"))
            })?;
            self.cx.set_announced(answer.properties);
            // The connection has served its purpose, however it ends.
            let _ = client.disconnect(None).await;
        }
        Ok(())
    }
}

impl Probe<'_> {
    /// Ends the probe where this client may not use its topics: every check would be about that.
    async fn use_topics(&self) -> Result<(), Failure> {
        match self.cx.use_topics().await {
            Err(trouble)
                if trouble.is_denied()
                    || matches!(
                        trouble,
                        Trouble::Closed { .. } | Trouble::Silent("message" | "SUBACK")
                    ) =>
            {
                let prefix = self.cx.topic_prefix();
                Err(Failure::new(
                    Status::Subscribe,
                    format!(
                        "this client cannot use {prefix}/#: {trouble}; name topics that it may \
                         use with --topic-prefix"
                    ),
                ))
            }
            // The checks find out about the rest.
            _ => Ok(()),
        }
    }
}

impl Results {
    /// Adds what was not tried because the probe stopped before.
    fn fill_up(&mut self, entries: &[&'static Entry]) {
        for entry in entries {
            for name in entry.names {
                if !self.findings.iter().any(|(found, ..)| found == name) {
                    let finding = Finding::not_tried("the probe stopped before this check");
                    self.findings.push((name, entry.group, finding));
                }
            }
        }
    }
}

/// As JSON has it.
fn version_key(version: Version) -> &'static str {
    match version {
        Version::V3_1 => "3.1",
        Version::V3_1_1 => "3.1.1",
        Version::V5 => "5",
    }
}
