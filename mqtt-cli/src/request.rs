//! `martlet rr`: both ends of request and response.

use crate::connection::{ConnectionOptions, Kind, Plan, Session, causes, qos, seconds};
use crate::exit::{Failure, NO_RESPONSE, Status};
use crate::input::PayloadOptions;
use crate::output::{OutputOptions, Printed, Printer};
use crate::report::Report;
use crate::signals::Signals;
use bytes::Bytes;
use clap::{ArgGroup, Args};
use martlet_tokio::proto::{BinaryData, PubAckReasonCode, PublishProperties};
use martlet_tokio::{Client, Message, QoS, TopicFilter, TopicName, Version};
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Options of `martlet rr`.
#[derive(Args)]
#[command(group = ArgGroup::new("payload").required(true))]
pub(crate) struct RequestOptions {
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    /// Topic of the request; with --respond the topic filter of requests
    #[arg(short, long, value_name = "TOPIC", help_heading = "Request")]
    topic: Option<String>,
    /// Topic of the response [default: one of the client's own, in MQTT 5]
    #[arg(short = 'e', long, value_name = "TOPIC", help_heading = "Request")]
    response_topic: Option<String>,
    /// QoS of the request, or of the responses: 0, 1 or 2 [default: 0]
    #[arg(short, long, value_name = "QOS", help_heading = "Request", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// Take any message on the topic of the response, whatever its correlation data
    #[arg(
        long,
        help_heading = "Request",
        requires = "response_topic",
        conflicts_with = "respond"
    )]
    any_correlation: bool,
    /// Do not take retained messages for a response
    #[arg(short = 'R', long = "no-retained", help_heading = "Request")]
    no_retained: bool,
    /// Seconds to wait for the response, or that --respond runs [default: 30, with --respond no limit]
    #[arg(short = 'W', long = "timeout", value_name = "SECONDS", help_heading = "Request", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Answer requests: with the payload, or with the request's own (--echo)
    #[arg(long, help_heading = "Response")]
    respond: bool,
    /// Answer with the payload of the request
    #[arg(
        long,
        help_heading = "Response",
        requires = "respond",
        group = "payload"
    )]
    echo: bool,
    /// End after this number of requests
    #[arg(short = 'C', long = "count", value_name = "REQUESTS", help_heading = "Response", requires = "respond", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    payload: PayloadOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// How long a response is waited for by default.
const RESPONSE_TIME: Duration = Duration::from_secs(30);

/// Asks, or answers.
pub(crate) async fn run(options: RequestOptions) -> Result<(), Failure> {
    let needs_5 = options.response_topic.is_none() && !options.respond;
    let plan = options
        .connection
        .plan(Kind::Request, needs_5.then_some("rr without -e"))?;
    let topics = options.topics(&plan)?;
    let mut signals = Signals::listen()?;
    let payload = options.payload(&mut signals).await?;
    let printer = options.output.printer()?;
    let report = Report::new(plan.is_quiet);
    let (session, ()) = Session::connect(&plan, report, &mut signals, |_| ()).await?;
    let mut exchange = Exchange {
        client: &session.client,
        session: &session,
        plan: &plan,
        options: &options,
        printer,
        report,
        ignored: 0,
        missing: 0,
    };
    let work = async {
        match &topics {
            Topics::Ask { topic, response } => {
                exchange.ask(topic, response.as_ref(), payload).await
            }
            Topics::Answer { filter, response } => {
                exchange.answer(filter, response.as_ref(), &payload).await
            }
        }
    };
    let mut is_stopped = false;
    let result = tokio::select! {
        biased;
        status = signals.next() => {
            is_stopped = true;
            // Without -C a responder is to run until it is stopped.
            match options.respond && options.count.is_none() {
                true => Ok(()),
                false => Err(Failure::quiet(status)),
            }
        }
        () = limit(options.limit()) => Err(Failure::quiet(Status::TimedOut)),
        result = work => result,
    };
    let result = match result {
        Err(failure) if failure.is_quiet() && failure.status == Status::TimedOut => {
            Err(exchange.timed_out())
        }
        result => result,
    };
    let result = result.and(exchange.printer.flush_at_end().await);
    let missing = exchange.missing;
    let is_interrupted = is_stopped || result.is_err();
    let lost = session.end(&plan.properties, is_interrupted).await;
    match (result, missing + lost) {
        (Ok(()), 1..) => Err(Failure::quiet(Status::Partial)),
        (result, _) => result,
    }
}

async fn limit(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => pending().await,
    }
}

/// Where requests go to or come from, and where their responses go to.
enum Topics {
    Ask {
        topic: TopicName,
        response: Option<TopicName>,
    },
    Answer {
        filter: TopicFilter,
        response: Option<TopicName>,
    },
}

impl RequestOptions {
    fn topics(&self, plan: &Plan) -> Result<Topics, Failure> {
        let (option, topic) = match (&self.topic, &plan.topic) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage(
                    "--topic and --url both name a topic, and rr has one: leave one of them out",
                ));
            }
            (Some(topic), None) => ("--topic", topic),
            (None, Some(topic)) => ("--url", topic),
            (None, None) => {
                return Err(Failure::usage(
                    "--topic is missing: name the topic with -t, or in the URL of -L",
                ));
            }
        };
        let wrong = |option: &str, topic: &str, error: &dyn std::error::Error| {
            Failure::usage(format!("{option}: {topic:?}: {}", causes(error)))
        };
        let response = match &self.response_topic {
            Some(topic) => {
                let name = TopicName::try_from(topic);
                Some(name.map_err(|error| wrong("--response-topic", topic, &error))?)
            }
            None => None,
        };
        if self.respond {
            let filter =
                TopicFilter::try_from(topic).map_err(|error| wrong(option, topic, &error))?;
            return match &response {
                Some(response) if filter.matches(response.as_str()) => Err(Failure::usage(
                    "--response-topic: the responses would be requests: choose another topic",
                )),
                _ => Ok(Topics::Answer { filter, response }),
            };
        }
        let topic = TopicName::try_from(topic).map_err(|error| wrong(option, topic, &error))?;
        if response.as_ref() == Some(&topic) {
            return Err(Failure::usage(
                "--response-topic: the request would be its own response: choose another topic",
            ));
        }
        Ok(Topics::Ask { topic, response })
    }

    async fn payload(&self, signals: &mut Signals) -> Result<Bytes, Failure> {
        let mut payloads = self.payload.read(signals).await?;
        match payloads.len() {
            0 | 1 => Ok(payloads.pop().unwrap_or_default()),
            _ => Err(Failure::usage("--file: rr has one payload: name one file")),
        }
    }

    fn limit(&self) -> Option<Duration> {
        match (self.timeout, self.respond) {
            (None, false) => Some(RESPONSE_TIME),
            (timeout, _) => timeout,
        }
    }

    fn qos(&self) -> QoS {
        qos(self.qos.unwrap_or(0))
    }
}

/// One end of the conversation.
struct Exchange<'a> {
    client: &'a Client,
    session: &'a Session,
    plan: &'a Plan,
    options: &'a RequestOptions,
    printer: Printer,
    report: Report,
    /// Messages that were no response to the request.
    ignored: u64,
    /// Requests that were not answered, and what could not be printed: each was reported.
    missing: u64,
}

impl Exchange<'_> {
    async fn ask(
        &mut self,
        topic: &TopicName,
        response: Option<&TopicName>,
        payload: Bytes,
    ) -> Result<(), Failure> {
        let properties = self.plan.properties.publish.clone();
        let Some(response) = response else {
            // The library has the topic and the correlation data; its time limit is ours.
            let request = self
                .client
                .request(topic.clone(), payload)
                .qos(self.options.qos())
                .properties(properties)
                .timeout(Duration::from_secs(u32::MAX.into()));
            let response = request
                .await
                .map_err(|error| Failure::of_response(&error))?;
            return self.print(&response).await;
        };
        let version = self
            .client
            .connection()
            .map(|connection| connection.version);
        let correlation = match version {
            Some(Version::V5) => Some(correlation_data(&properties)),
            _ => None,
        };
        let mut stream = self
            .client
            .subscribe(response.as_str())
            .qos(self.options.qos())
            .without_identifier()
            .user_properties(self.plan.properties.subscribe.clone())
            .await
            .map_err(|error| Failure::of_subscribe(&error))?;
        let mut publish = self
            .client
            .publish(topic.clone(), payload)
            .qos(self.options.qos());
        if let Some(data) = &correlation {
            let properties = properties
                .to_builder()
                .response_topic(response.clone())
                .correlation_data(data.clone());
            publish = publish.properties(properties);
        }
        let outcome = publish.await.map_err(|error| Failure::of_publish(&error))?;
        if outcome.reason == PubAckReasonCode::NoMatchingSubscribers {
            return Err(Failure::new(
                Status::Publish,
                "nobody subscribes to the topic of the request",
            ));
        }
        while let Some(message) = stream.next().await {
            let is_stale = self.options.no_retained && message.retain();
            let data = message.properties().correlation_data();
            let is_ours = match &correlation {
                Some(expected) if !self.options.any_correlation => {
                    data == Some(expected.as_bytes())
                }
                _ => true,
            };
            if is_ours && !is_stale {
                return self.print(&message).await;
            }
            self.ignored += 1;
        }
        Err(self.session.stopped().await)
    }

    async fn answer(
        &mut self,
        filter: &TopicFilter,
        response: Option<&TopicName>,
        payload: &Bytes,
    ) -> Result<(), Failure> {
        let mut left = self.options.count;
        let stream = self
            .client
            .subscribe(filter.clone())
            .qos(QoS::ExactlyOnce)
            .without_identifier()
            .user_properties(self.plan.properties.subscribe.clone())
            .await
            .map_err(|error| Failure::of_subscribe(&error))?;
        let mut stream = stream.acknowledge_manually();
        while let Some(request) = stream.next().await {
            if self.options.no_retained && request.retain() {
                request.acknowledge();
                continue;
            }
            self.print(&request).await?;
            let payload = match self.options.echo {
                true => request.payload_bytes(),
                false => payload.clone(),
            };
            self.respond(&request, response, payload).await;
            // Answered: it does not come again.
            request.acknowledge();
            if let Some(left) = &mut left {
                *left -= 1;
                if *left == 0 {
                    return Ok(());
                }
            }
        }
        Err(self.session.stopped().await)
    }

    async fn respond(&mut self, request: &Message, response: Option<&TopicName>, payload: Bytes) {
        let asked = request.properties();
        let topic = match (asked.response_topic(), response) {
            (Some(topic), _) => TopicName::try_from(topic),
            (None, Some(topic)) => Ok(topic.clone()),
            (None, None) => {
                self.missing += 1;
                return self.report.error(&format!(
                    "the request on {:?} names no topic for its response; -e names one",
                    request.topic()
                ));
            }
        };
        let mut properties = self.plan.properties.publish.to_builder();
        let data = asked.correlation_data().map(BinaryData::try_from);
        if let Some(Ok(data)) = data {
            properties = properties.correlation_data(data);
        }
        let sent = match topic {
            Ok(topic) => {
                let publish = self.client.publish(topic, payload).qos(self.options.qos());
                publish.properties(properties).await
            }
            Err(error) => Err(martlet_tokio::PublishError::Topic(error)),
        };
        if let Err(error) = sent {
            self.missing += 1;
            self.report.failure(&Failure::of_publish(&error));
        }
    }

    async fn print(&mut self, message: &Message) -> Result<(), Failure> {
        if self.printer.print(message)? == Printed::NotJson {
            self.missing += 1;
            self.report.error(&format!(
                "the payload on {:?} is not JSON, which %J needs; %j prints any payload",
                message.topic()
            ));
        }
        self.printer.flush().await
    }

    fn timed_out(&self) -> Failure {
        let text = match (self.options.respond, self.ignored) {
            (true, _) => "the time of -W is over".to_owned(),
            (false, 0) => NO_RESPONSE.to_owned(),
            (false, ignored) => format!(
                "no response in time; {ignored} messages had other correlation data, or were retained"
            ),
        };
        Failure::new(Status::TimedOut, text)
    }
}

/// What `-D publish correlation-data` says, or something that nobody else knows.
fn correlation_data(properties: &PublishProperties) -> BinaryData {
    if let Some(data) = properties.as_ref().correlation_data() {
        return BinaryData::try_from(data).expect("it was correlation data before");
    }
    let random = || RandomState::new().hash_one(0).to_be_bytes();
    BinaryData::try_from([random(), random()].concat()).expect("16 bytes")
}
