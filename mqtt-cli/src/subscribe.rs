//! `martlet sub`: subscribes, and prints the messages.

use crate::connection::{ConnectionOptions, Kind, Plan, Session, causes, qos, seconds};
use crate::exit::{Failure, Status};
use crate::output::{OutputOptions, Printed, Printer};
use crate::publish::topics_with_qos;
use crate::report::Report;
use crate::signals::Signals;
use clap::Args;
use martlet_tokio::{
    Client, Message, QoS, Receipt, Subscription, TopicFilter, TopicName, Unacknowledged,
};
use std::collections::VecDeque;
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Options of `martlet sub`.
#[derive(Args)]
pub(crate) struct SubscribeOptions {
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    /// Topic filter to subscribe to; may be repeated
    #[arg(short, long, value_name = "FILTER", help_heading = "Subscription")]
    topic: Vec<String>,
    /// Topic filter with a QoS of its own; may be repeated
    #[arg(long, value_names = ["FILTER", "QOS"], num_args = 2, help_heading = "Subscription")]
    topic_qos: Vec<String>,
    /// Highest QoS that messages come with: 0, 1 or 2 [default: 0]
    #[arg(short, long, value_name = "QOS", help_heading = "Subscription", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// Unsubscribe from this filter; may be repeated
    #[arg(
        short = 'U',
        long,
        value_name = "FILTER",
        help_heading = "Subscription"
    )]
    unsubscribe: Vec<String>,
    /// Retain flag as the publisher has set it (MQTT 5)
    #[arg(long, help_heading = "Subscription")]
    retain_as_published: bool,
    /// No messages of this client itself (MQTT 5)
    #[arg(long, help_heading = "Subscription")]
    no_local: bool,

    /// Do not print topics that match this filter; may be repeated
    #[arg(short = 'T', long, value_name = "FILTER", help_heading = "Selection")]
    filter_out: Vec<String>,
    /// Do not print retained messages
    #[arg(
        short = 'R',
        long = "no-retained",
        help_heading = "Selection",
        conflicts_with = "retained_only"
    )]
    no_retained: bool,
    /// Print retained messages only, and end with the first other one
    #[arg(long, help_heading = "Selection")]
    retained_only: bool,
    /// Remove each retained message that comes from the server
    #[arg(long, help_heading = "Selection")]
    remove_retained: bool,
    /// Print this percentage of messages, at random
    #[arg(long, value_name = "PERCENT", help_heading = "Selection", value_parser = percentage)]
    random_filter: Option<f64>,

    /// End after this number of messages
    #[arg(short = 'C', long = "count", value_name = "MESSAGES", help_heading = "End", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Seconds after which the command ends once there is a connection; the exit status is then 27
    #[arg(short = 'W', long = "timeout", value_name = "SECONDS", help_heading = "End", value_parser = seconds)]
    timeout: Option<Duration>,
    /// End when the server has answered the subscriptions
    #[arg(short = 'E', long = "exit-after-subscribe", help_heading = "End", conflicts_with_all = ["count", "remove_retained", "retained_only"])]
    only_subscribe: bool,
    #[command(flatten)]
    output: OutputOptions,
}

fn percentage(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.1..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a percentage from 0.1 to 100".to_owned()),
    }
}

/// How many messages are printed before what is printed leaves and they are acknowledged.
const BATCH: usize = 256;

/// How long the removal of retained messages may take when the command ends.
const FINISH: Duration = Duration::from_secs(5);

/// Subscribes, and prints what comes.
pub(crate) async fn run(options: SubscribeOptions) -> Result<(), Failure> {
    let only_in_5 = match (options.retain_as_published, options.no_local) {
        (true, _) => Some("--retain-as-published"),
        (_, true) => Some("--no-local"),
        _ => None,
    };
    let plan = options.connection.plan(Kind::Subscribe, only_in_5)?;
    let filters = options.filters(&plan)?;
    let selection = options.selection()?;
    let unsubscribe = read_filters("--unsubscribe", &options.unsubscribe)?;
    let printer = options.output.printer()?;
    let mut signals = Signals::listen()?;
    let report = Report::new(plan.is_quiet);
    let (session, ()) = Session::connect(&plan, report, &mut signals, |_| ()).await?;
    let mut reader = Reader {
        client: &session.client,
        report,
        printer,
        selection,
        left: options.count,
        removals: VecDeque::new(),
        missing: 0,
        stream: None,
        unmatched: None,
    };
    let work = async {
        reader.subscribe(&options, &plan, &filters).await?;
        reader.unsubscribe(&plan, &unsubscribe).await?;
        if options.only_subscribe {
            return Ok(());
        }
        reader.read(&session).await
    };
    let mut is_stopped = false;
    let result = tokio::select! {
        biased;
        status = signals.next() => {
            is_stopped = true;
            // Without -C the command is to run until it is stopped.
            match (options.count, options.only_subscribe) {
                (None, false) => Ok(()),
                _ => Err(Failure::quiet(status)),
            }
        }
        () = limit(options.timeout) => Err(Failure::new(
            Status::TimedOut,
            "the time of -W is over",
        )),
        result = work => result,
    };
    let result = result.and(reader.finish().await);
    let missing = reader.missing;
    // Dropped before the client has disconnected, they would be unsubscribed and acknowledged.
    let streams = (reader.stream, reader.unmatched);
    let is_interrupted = is_stopped || result.is_err();
    let lost = session.end(&plan.properties, is_interrupted).await;
    drop(streams);
    match (result, missing + lost) {
        (Err(failure), _) => Err(failure),
        (Ok(()), 0) => Ok(()),
        // Each was reported when it was.
        (Ok(()), _) => Err(Failure::quiet(Status::Partial)),
    }
}

async fn limit(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => pending().await,
    }
}

impl SubscribeOptions {
    fn filters(&self, plan: &Plan) -> Result<Vec<(TopicFilter, QoS)>, Failure> {
        let default = qos(self.qos.unwrap_or(0));
        let named = self.topic.iter().map(|topic| ("--topic", topic));
        let of_url = plan.topic.iter().map(|topic| ("--url", topic));
        let mut filters = Vec::new();
        for (option, filter) in of_url.chain(named) {
            filters.push((topic_filter(option, filter)?, default));
        }
        for (filter, qos) in topics_with_qos(&self.topic_qos)? {
            filters.push((topic_filter("--topic-qos", filter)?, qos));
        }
        if filters.is_empty() {
            for (filter, qos) in &plan.subscriptions {
                filters.push((topic_filter("--config", filter)?, *qos));
            }
        }
        if filters.is_empty() && self.unsubscribe.is_empty() {
            return Err(Failure::usage(
                "--topic is missing: name a topic filter with -t, --topic-qos, or in the URL of -L",
            ));
        }
        let is_shared = |(filter, _): &&(TopicFilter, QoS)| filter.share_name().is_some();
        if let (true, Some((filter, _))) = (self.no_local, filters.iter().find(is_shared)) {
            return Err(Failure::usage(format!(
                "--no-local cannot be used with a shared subscription, as {:?} is",
                filter.as_str()
            )));
        }
        Ok(filters)
    }

    fn selection(&self) -> Result<Selection, Failure> {
        Ok(Selection {
            filter_out: read_filters("--filter-out", &self.filter_out)?,
            no_retained: self.no_retained,
            retained_only: self.retained_only,
            remove_retained: self.remove_retained,
            percentage: self.random_filter,
            random: RandomState::new(),
            seen: 0,
        })
    }
}

fn topic_filter(option: &str, filter: &str) -> Result<TopicFilter, Failure> {
    TopicFilter::try_from(filter)
        .map_err(|error| Failure::usage(format!("{option}: {filter:?}: {}", causes(&error))))
}

fn read_filters(option: &str, filters: &[String]) -> Result<Vec<TopicFilter>, Failure> {
    let filters = filters.iter().map(|filter| topic_filter(option, filter));
    filters.collect()
}

/// Which messages are printed.
struct Selection {
    filter_out: Vec<TopicFilter>,
    no_retained: bool,
    retained_only: bool,
    remove_retained: bool,
    percentage: Option<f64>,
    random: RandomState,
    seen: u64,
}

/// What is to be done with a message.
#[derive(Debug, PartialEq, Eq)]
enum Selected {
    Print,
    Ignore,
    /// It is the first that is not retained, of those that were asked for.
    End,
}

impl Selection {
    /// In the order in which mosquitto decides.
    fn select(&mut self, message: &Message) -> Selected {
        if self.retained_only && !message.retain() {
            return Selected::End;
        }
        let is_out = self.is_filtered_out(message);
        if is_out || (self.no_retained && message.retain()) {
            return Selected::Ignore;
        }
        let percentage = self.percentage.unwrap_or(100.0);
        match self.next_random() < percentage {
            true => Selected::Print,
            false => Selected::Ignore,
        }
    }

    fn is_filtered_out(&self, message: &Message) -> bool {
        let topic = message.topic();
        self.filter_out.iter().any(|filter| filter.matches(topic))
    }

    fn removes(&self, message: &Message) -> bool {
        self.remove_retained
            && message.retain()
            && !message.payload().is_empty()
            && !self.is_filtered_out(message)
    }

    /// From 0 to 100, exclusive.
    fn next_random(&mut self) -> f64 {
        self.seen += 1;
        let bits = self.random.hash_one(self.seen) >> 11;
        bits as f64 * 100.0 / (1u64 << 53) as f64
    }
}

/// Reads the messages and prints them.
struct Reader<'a> {
    client: &'a Client,
    report: Report,
    printer: Printer,
    selection: Selection,
    /// How many messages are still to come.
    left: Option<u64>,
    removals: VecDeque<(TopicName, Receipt)>,
    /// What was asked for and did not happen: each was reported.
    missing: u64,
    stream: Option<Subscription<Unacknowledged>>,
    unmatched: Option<Subscription<Unacknowledged>>,
}

impl Reader<'_> {
    async fn subscribe(
        &mut self,
        options: &SubscribeOptions,
        plan: &Plan,
        filters: &[(TopicFilter, QoS)],
    ) -> Result<(), Failure> {
        if !filters.is_empty() {
            let mut subscribe = self.client.subscribe_all(filters.iter().cloned());
            subscribe = subscribe.without_identifier();
            if options.no_local {
                subscribe = subscribe.no_local();
            }
            if options.retain_as_published {
                subscribe = subscribe.retain_as_published();
            }
            if plan.is_lasting {
                subscribe = subscribe.keep_on_server();
            }
            if !plan.properties.subscribe.is_empty() {
                subscribe = subscribe.user_properties(plan.properties.subscribe.clone());
            }
            let stream = subscribe.await;
            let stream = stream.map_err(|error| Failure::of_subscribe(&error))?;
            self.check_answer(filters, &stream);
            self.stream = Some(stream.acknowledge_manually());
        }
        // Those of a session that goes on, and of filters that it has from before.
        let unmatched = self.client.unmatched();
        self.unmatched = unmatched.map(Subscription::acknowledge_manually);
        Ok(())
    }

    /// The server may have rejected some of the filters; the others go on.
    fn check_answer(&mut self, filters: &[(TopicFilter, QoS)], stream: &Subscription) {
        for ((filter, qos), reason) in filters.iter().zip(stream.reasons()) {
            let filter = filter.as_str();
            if reason.is_error() {
                self.missing += 1;
                self.report.error(&format!(
                    "the server rejected {filter:?}: {reason}; the other filters go on"
                ));
            } else if reason.as_u8() < *qos as u8 {
                let granted = reason.as_u8();
                self.report
                    .warning(&format!("the server granted QoS {granted} for {filter:?}"));
            }
        }
    }

    async fn unsubscribe(&mut self, plan: &Plan, filters: &[TopicFilter]) -> Result<(), Failure> {
        if filters.is_empty() {
            return Ok(());
        }
        let mut unsubscribe = self.client.unsubscribe_all(filters.iter().cloned());
        if !plan.properties.unsubscribe.is_empty() {
            unsubscribe = unsubscribe.user_properties(plan.properties.unsubscribe.clone());
        }
        let answer = unsubscribe.await;
        let answer = answer.map_err(|error| Failure::of_unsubscribe(&error))?;
        for (filter, reason) in filters.iter().zip(&answer.reasons) {
            if reason.is_error() {
                self.missing += 1;
                let filter = filter.as_str();
                self.report.error(&format!(
                    "the server rejected to unsubscribe {filter:?}: {reason}"
                ));
            }
        }
        Ok(())
    }

    /// Prints messages until there are enough, or the client stops.
    async fn read(&mut self, session: &Session) -> Result<(), Failure> {
        loop {
            let first = tokio::select! {
                biased;
                message = next(&mut self.unmatched) => message,
                message = next(&mut self.stream) => message,
            };
            let Some(mut message) = first else {
                return Err(session.stopped().await);
            };
            let mut batch = Vec::new();
            let mut is_over = false;
            loop {
                is_over = self.take(&message).await? || is_over;
                batch.push(message);
                if is_over || batch.len() >= BATCH {
                    break;
                }
                match try_next(&mut self.unmatched).or_else(|| try_next(&mut self.stream)) {
                    Some(next) => message = next,
                    None => break,
                }
            }
            self.printer.flush().await?;
            // What was not printed is not acknowledged, so that a session that goes on has it.
            for message in batch {
                message.acknowledge();
            }
            if is_over {
                return Ok(());
            }
        }
    }

    /// Prints a message if it is to be printed; returns whether it was the last.
    async fn take(&mut self, message: &Message) -> Result<bool, Failure> {
        if self.selection.removes(message) {
            self.remove(message).await;
        }
        match self.selection.select(message) {
            Selected::End => return Ok(true),
            Selected::Ignore => return Ok(false),
            Selected::Print => {}
        }
        if self.printer.print(message)? == Printed::NotJson {
            self.missing += 1;
            let topic = message.topic();
            self.report.error(&format!(
                "the payload on {topic:?} is not JSON, which %J needs; %j prints any payload"
            ));
        }
        if self.printer.is_full() {
            self.printer.flush().await?;
        }
        let Some(left) = &mut self.left else {
            return Ok(false);
        };
        *left -= 1;
        Ok(*left == 0)
    }

    async fn remove(&mut self, message: &Message) {
        /// How many are under way at most.
        const WINDOW: usize = 1_000;
        if self.removals.len() >= WINDOW {
            self.await_removal().await;
        }
        let topic = message.topic_name();
        let publish = self.client.publish(topic.clone(), "").retain(true);
        match publish.qos(QoS::AtLeastOnce).enqueue().await {
            Ok(receipt) => self.removals.push_back((topic, receipt)),
            Err(error) => self.not_removed(&topic, &Failure::of_publish(&error)),
        }
    }

    async fn await_removal(&mut self) {
        if let Some((topic, receipt)) = self.removals.pop_front() {
            if let Err(error) = receipt.await {
                self.not_removed(&topic, &Failure::of_publish(&error));
            }
        }
    }

    fn not_removed(&mut self, topic: &TopicName, failure: &Failure) {
        self.missing += 1;
        let topic = topic.as_str();
        self.report.error(&format!(
            "the retained message on {topic:?} is not removed: {failure}"
        ));
    }

    /// Waits for what was published, and writes what was printed.
    async fn finish(&mut self) -> Result<(), Failure> {
        let removals = async {
            while !self.removals.is_empty() {
                self.await_removal().await;
            }
        };
        let is_late = tokio::time::timeout(FINISH, removals).await.is_err();
        if is_late {
            self.missing += 1;
            self.report
                .error("not all retained messages were removed in time");
        }
        self.printer.flush_at_end().await
    }
}

/// The next message; never without a stream.
async fn next(stream: &mut Option<Subscription<Unacknowledged>>) -> Option<Unacknowledged> {
    match stream {
        Some(stream) => stream.next().await,
        None => pending().await,
    }
}

fn try_next(stream: &mut Option<Subscription<Unacknowledged>>) -> Option<Unacknowledged> {
    stream.as_mut().and_then(Subscription::try_next)
}
