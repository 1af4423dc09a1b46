//! `martlet pub`: publishes, and says what became of it.

use crate::connection::{
    ConnectionOptions, Kind, Plan, Properties, Session, causes, pause, qos, seconds,
};
use crate::exit::{Failure, Status};
use crate::input::{self, Line, LineError, PayloadOptions};
use crate::report::Report;
use crate::signals::Signals;
use bytes::Bytes;
use clap::{ArgGroup, Args};
use martlet_tokio::{Builder, Client, PublishError, QoS, Receipt, TopicName};
use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;
use tokio::sync::watch;

/// Options of `martlet pub`.
#[derive(Args)]
#[command(group = ArgGroup::new("payload").required(true))]
pub(crate) struct PublishOptions {
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    /// Topic to publish to; may be repeated
    #[arg(short, long, value_name = "TOPIC", help_heading = "Message")]
    topic: Vec<String>,
    /// Topic with a QoS of its own; may be repeated
    #[arg(long, value_names = ["TOPIC", "QOS"], num_args = 2, help_heading = "Message")]
    topic_qos: Vec<String>,
    /// QoS: 0, 1 or 2 [default: 0]
    #[arg(short, long, value_name = "QOS", help_heading = "Message", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// Retain the message
    #[arg(short, long, help_heading = "Message")]
    retain: bool,
    #[command(flatten)]
    payload: PayloadOptions,
    /// Read standard input, and publish each line as a message
    #[arg(
        short = 'l',
        long = "stdin-line",
        help_heading = "Payload",
        group = "payload"
    )]
    lines: bool,
    /// With -l, a message ends with a NUL rather than with a line break
    #[arg(short = '0', long = "nul", help_heading = "Payload")]
    nul: bool,
    /// Publish this many times
    #[arg(long, value_name = "TIMES", help_heading = "Payload", conflicts_with = "lines", value_parser = clap::value_parser!(u64).range(1..))]
    repeat: Option<u64>,
    /// Seconds to wait before the next time
    #[arg(long, value_name = "SECONDS", help_heading = "Payload", requires = "repeat", value_parser = pause)]
    repeat_delay: Option<Duration>,
    /// Seconds that all of it may take once there is a connection [default: no limit]
    #[arg(short = 'W', long = "timeout", value_name = "SECONDS", help_heading = "Message", value_parser = seconds)]
    timeout: Option<Duration>,
}

/// How many messages are under way at most.
const WINDOW: usize = 10_000;

/// How many failed messages are reported one by one.
const REPORTED: u64 = 10;

/// Publishes what the options say.
pub(crate) async fn run(options: PublishOptions) -> Result<(), Failure> {
    let plan = options.connection.plan(Kind::Publish, None)?;
    let topics = options.topics(&plan)?;
    if options.nul && !options.lines {
        return Err(Failure::usage("--nul is for lines: add --stdin-line"));
    }
    let mut signals = Signals::listen()?;
    let payloads = options.payload.read(&mut signals).await?;
    let largest = payloads.iter().map(Bytes::len).max().unwrap_or(0);
    let (gate, is_open) = watch::channel(plan.store.is_none());
    let plan = Plan {
        builder: gated(
            plan.builder.queue(queue(largest)),
            &plan.properties,
            is_open,
        ),
        ..plan
    };
    let report = Report::new(plan.is_quiet);
    let (session, connections) = begin(&plan, report, &mut signals).await?;
    let mut publisher = Publisher::new(&session, &plan, &options, topics, report);
    publisher.gate = Some(gate);
    let work = async {
        publisher.publish_all(&options, payloads).await;
        publisher.settle().await;
        publisher.confirm(connections).await;
    };
    let interrupted = tokio::select! {
        biased;
        status = signals.next() => Some(Failure::quiet(status)),
        () = limit(&session, options.timeout) => Some(Failure::new(
            Status::TimedOut,
            "not everything was acknowledged in time; -W waits longer",
        )),
        () = work => None,
    };
    let result = match interrupted {
        Some(failure) => Err(failure),
        None => match session.unconnected().await {
            Some(failure) => Err(publisher.unconnected(failure)),
            None => publisher.result(),
        },
    };
    drop(publisher);
    let is_interrupted = result.is_err();
    session.end(&plan.properties, is_interrupted).await;
    result
}

/// With a store messages are stored before the first attempt to connect: a client that cannot connect
/// stores nothing any more.
fn gated(builder: Builder, properties: &Properties, is_open: watch::Receiver<bool>) -> Builder {
    /// Without a message, or without room for all of them, it does not wait for longer.
    const LONGEST: Duration = Duration::from_secs(1);
    if *is_open.borrow() {
        return builder;
    }
    let user = properties.connect.user.clone();
    builder.before_connect(move |mut attempt| {
        attempt.set_user_properties(user.clone());
        let mut is_open = is_open.clone();
        async move {
            let _ = tokio::time::timeout(LONGEST, is_open.wait_for(|is_open| *is_open)).await;
            Ok(attempt)
        }
    })
}

/// Connects, and returns how many connections there are without a loss. With a store no server is
/// waited for: what this command cannot deliver is sent by the next one.
async fn begin(
    plan: &Plan,
    report: Report,
    signals: &mut Signals,
) -> Result<(Session, u64), Failure> {
    if plan.store.is_some() {
        let (session, ()) = Session::start(plan, report, |_| ())?;
        return Ok((session, 1));
    }
    let (session, ()) = Session::connect(plan, report, signals, |_| ()).await?;
    let connections = session.client.statistics().connections;
    Ok((session, connections))
}

/// Ends when the time is over, once there is a connection; never without a limit.
async fn limit(session: &Session, time: Option<Duration>) {
    match (time, session.client.connected().await) {
        (Some(time), Ok(_)) => tokio::time::sleep(time).await,
        // Without a connection the work ends by itself.
        _ => pending().await,
    }
}

/// The queue of messages that wait to be sent takes the largest of them.
fn queue(largest: usize) -> martlet_tokio::session::QueueLimits {
    const LEAST: usize = 64 * 1024 * 1024;
    // The topic and the properties.
    const MARGIN: usize = 1024 * 1024;
    martlet_tokio::session::QueueLimits::default().bytes(LEAST.max(largest.saturating_add(MARGIN)))
}

impl PublishOptions {
    fn topics(&self, plan: &Plan) -> Result<Vec<(TopicName, Option<QoS>)>, Failure> {
        // A configuration has a QoS for each topic.
        let default = match (self.qos, self.connection.has_configuration()) {
            (None, true) => None,
            (number, _) => Some(qos(number.unwrap_or(0))),
        };
        let named = self.topic.iter().map(|topic| ("--topic", topic, default));
        let of_url = plan.topic.iter().map(|topic| ("--url", topic, default));
        let mut topics = Vec::new();
        for (option, topic, qos) in of_url.chain(named) {
            topics.push((topic_name(option, topic)?, qos));
        }
        for (topic, qos) in topics_with_qos(&self.topic_qos)? {
            topics.push((topic_name("--topic-qos", topic)?, Some(qos)));
        }
        if topics.is_empty() {
            return Err(Failure::usage(
                "--topic is missing: name the topic with -t, --topic-qos, or in the URL of -L",
            ));
        }
        Ok(topics)
    }
}

fn topic_name(option: &str, topic: &str) -> Result<TopicName, Failure> {
    TopicName::try_from(topic)
        .map_err(|error| Failure::usage(format!("{option}: {topic:?}: {}", causes(&error))))
}

/// The values of `--topic-qos`, two at a time.
pub(crate) fn topics_with_qos(values: &[String]) -> Result<Vec<(&str, QoS)>, Failure> {
    let mut topics = Vec::new();
    for pair in values.chunks(2) {
        let [topic, number] = pair else { continue };
        let number = match number.as_str() {
            "0" => 0,
            "1" => 1,
            "2" => 2,
            _ => {
                return Err(Failure::usage(format!(
                    "--topic-qos: {number:?} is not a QoS: 0, 1 or 2"
                )));
            }
        };
        topics.push((topic.as_str(), qos(number)));
    }
    Ok(topics)
}

/// Publishes messages, and keeps books of them.
struct Publisher<'a> {
    session: &'a Session,
    client: &'a Client,
    plan: &'a Plan,
    topics: Vec<(TopicName, Option<QoS>)>,
    retain: bool,
    report: Report,
    /// With each, whether a server answers it.
    pending: VecDeque<(Receipt, bool)>,
    published: u64,
    failed: u64,
    first: Option<Failure>,
    /// Why no more lines are published: it is no failed message.
    end: Option<Failure>,
    /// Messages of QoS 0, for which no server answers.
    unanswered: u64,
    /// Messages that the store keeps for the next command.
    kept: u64,
    /// What has to be stored before the first attempt to connect is.
    gate: Option<watch::Sender<bool>>,
    is_only_one: bool,
}

impl<'a> Publisher<'a> {
    fn new(
        session: &'a Session,
        plan: &'a Plan,
        options: &PublishOptions,
        topics: Vec<(TopicName, Option<QoS>)>,
        report: Report,
    ) -> Self {
        Self {
            session,
            client: &session.client,
            plan,
            retain: options.retain,
            report,
            pending: VecDeque::new(),
            published: 0,
            failed: 0,
            first: None,
            end: None,
            unanswered: 0,
            kept: 0,
            gate: None,
            is_only_one: topics.len() == 1 && !options.lines && options.repeat.is_none(),
            topics,
        }
    }

    async fn publish_all(&mut self, options: &PublishOptions, payloads: Vec<Bytes>) {
        if options.lines {
            return self
                .publish_lines(if options.nul { 0 } else { b'\n' })
                .await;
        }
        self.is_only_one &= payloads.len() == 1;
        let times = options.repeat.unwrap_or(1);
        for time in 1..=times {
            for payload in &payloads {
                self.publish(payload).await;
            }
            self.open_gate();
            if time == times {
                return;
            }
            // The next follows when this one is delivered, as with mosquitto.
            self.settle().await;
            if let Some(delay) = options.repeat_delay {
                tokio::time::sleep(delay).await;
            }
        }
    }

    async fn publish_lines(&mut self, end: u8) {
        let mut lines = input::lines(end);
        loop {
            let is_full = self.pending.len() >= WINDOW;
            tokio::select! {
                biased;
                () = self.session.until_stopped(), if self.pending.is_empty() => {
                    self.end = Some(self.session.stopped().await);
                    return;
                }
                result = next(&mut self.pending), if !self.pending.is_empty() => {
                    self.note(result);
                }
                batch = lines.recv(), if !is_full => match batch {
                    Some(batch) => {
                        for line in batch {
                            self.publish_line(line).await;
                        }
                        self.open_gate();
                    }
                    None => return,
                },
            }
        }
    }

    async fn publish_line(&mut self, line: Line) {
        match line {
            Ok(payload) => self.publish(&payload).await,
            Err(error @ LineError::TooLarge) => {
                self.fail(Failure::new(Status::Publish, error.to_string()));
            }
            // Nothing comes after it.
            Err(error @ LineError::Input(_)) => {
                self.end = Some(Failure::new(Status::Failed, error.to_string()));
            }
        }
    }

    fn open_gate(&self) {
        if let Some(gate) = &self.gate {
            gate.send_replace(true);
        }
    }

    /// Publishes to every topic. It waits for room in the queue.
    async fn publish(&mut self, payload: &Bytes) {
        for index in 0..self.topics.len() {
            let (topic, qos) = &self.topics[index];
            let mut publish = self.client.publish(topic.clone(), payload.clone());
            if let Some(qos) = qos {
                publish = publish.qos(*qos);
            }
            if self.retain {
                publish = publish.retain(true);
            }
            if !self.plan.properties.publish.is_empty() {
                publish = publish.properties(self.plan.properties.publish.clone());
            }
            if let Some(alias) = self.plan.properties.topic_alias {
                publish = publish.topic_alias(alias);
            }
            match publish.enqueue().await {
                Ok(receipt) => {
                    // A message of QoS 0 has no operation, unless it had to wait for a connection.
                    let is_answered =
                        receipt.operation().is_some() && *qos != Some(QoS::AtMostOnce);
                    self.unanswered += u64::from(!is_answered);
                    self.pending.push_back((receipt, is_answered));
                }
                Err(error) => self.fail(Failure::of_publish(&error)),
            }
        }
    }

    /// Waits for the server's answer to everything.
    async fn settle(&mut self) {
        while !self.pending.is_empty() {
            let result = next(&mut self.pending).await;
            self.note(result);
        }
    }

    fn note(&mut self, (result, is_answered): Answer) {
        match result {
            Ok(()) => self.published += 1,
            Err(error) => {
                let is_kept = matches!(error, PublishError::Kept | PublishError::OnHold(_));
                self.kept += u64::from(is_kept && is_answered && self.plan.store.is_some());
                self.fail(Failure::of_publish(&error));
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failed += 1;
        if !self.is_only_one && self.failed <= REPORTED {
            self.report.failure(&failure);
        }
        self.first.get_or_insert(failure);
    }

    /// A server does not answer messages of QoS 0, but it answers a PINGREQ that follows them: then
    /// it has read them all. On a connection that was lost meanwhile some may be lost.
    async fn confirm(&mut self, connections: u64) {
        if self.unanswered == 0 || self.failed > 0 && self.published == 0 {
            return;
        }
        let is_read = self.client.flush().await.is_ok() && self.client.ping().await.is_ok();
        if is_read && self.client.statistics().connections == connections {
            return;
        }
        let messages = self.unanswered.min(self.published);
        self.published -= messages;
        self.failed += messages;
        let reason = match self.client.statistics().last_error {
            Some(error) => format!(": {}", crate::exit::in_one_line(error)),
            None => String::new(),
        };
        let failure = Failure::new(
            Status::Publish,
            format!(
                "the connection ended before the server had read all messages of QoS 0{reason}; publish with -q 1 to know which arrive"
            ),
        );
        if !self.is_only_one {
            self.report.failure(&failure);
        }
        self.first.get_or_insert(failure);
    }

    /// What becomes of the messages where there was no connection at all.
    fn unconnected(&self, failure: Failure) -> Failure {
        match self.kept {
            0 => failure,
            kept => failure.and(&format!(
                "{kept} messages are kept, and the next command with this --store sends them"
            )),
        }
    }

    fn result(&mut self) -> Result<(), Failure> {
        let end = self.end.take();
        let Some(first) = self.first.take() else {
            return end.map_or(Ok(()), Err);
        };
        // What became of messages says more than the end.
        if let Some(end) = end {
            self.report.failure(&end);
        }
        if self.is_only_one {
            return Err(first);
        }
        let status = match self.published {
            0 => first.status,
            _ => Status::Partial,
        };
        let (failed, all) = (self.failed, self.failed + self.published);
        Err(Failure::new(
            status,
            format!("{failed} of {all} messages were not published, or may not have been"),
        ))
    }
}

/// What became of a message, and whether a server answers it: one of QoS 0 is never stored.
type Answer = (Result<(), PublishError>, bool);

/// Waits for the first receipt; cancel safe.
async fn next(pending: &mut VecDeque<(Receipt, bool)>) -> Answer {
    let Some((first, is_answered)) = pending.front_mut() else {
        return std::future::pending().await;
    };
    let answer = (first.await.map(drop), *is_answered);
    pending.pop_front();
    answer
}
