//! `martlet watch`: a live view of topics in a terminal.
//!
//! [`tree`] is what was counted and [`app`] what becomes of each event: neither has a terminal, a
//! clock or a client. [`view`] turns that into a [`grid`] of cells, [`terminal`] writes what has
//! changed of it, and [`live`] is the loop around them. Text of others becomes cells in [`glyph`]
//! only, which escapes it.

mod app;
mod glyph;
mod grid;
mod live;
mod message;
mod rate;
mod terminal;
mod tree;
mod view;

use crate::connection::{ConnectionOptions, Kind, Plan, Session, causes, qos};
use crate::exit::{Failure, Status};
use crate::report::Report;
use crate::signals::Signals;
use clap::Args;
use martlet_tokio::{Client, QoS, TopicFilter};
use std::io::{self, IsTerminal};
use tree::{Limits, Tree};

/// Options of `martlet watch`.
#[derive(Args)]
pub(crate) struct WatchOptions {
    /// Topic filters to subscribe to [default: #]
    #[arg(value_name = "TOPIC_FILTER", help_heading = "Subscription")]
    filters: Vec<String>,
    /// Highest QoS that messages come with: 0, 1 or 2 [default: 0]
    #[arg(short, long, value_name = "QOS", help_heading = "Subscription", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// Levels of topics that are open at the beginning
    #[arg(
        long,
        value_name = "LEVELS",
        help_heading = "View",
        default_value_t = 1
    )]
    open: usize,
    /// Most topics that are kept; what comes on others is counted
    #[arg(long, value_name = "TOPICS", help_heading = "View", default_value_t = 100_000, value_parser = at_least_one)]
    max_topics: usize,
    /// Most memory for topics and messages, in MiB; what has no room is counted
    #[arg(long, value_name = "MIB", help_heading = "View", default_value_t = 256, value_parser = at_least_one)]
    max_memory: usize,
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
}

/// What is kept of one payload.
const PAYLOAD_BYTES: usize = 16 * 1024;

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1_000_000_000) => Ok(number),
        _ => Err("expected a number from 1 to 1000000000".to_owned()),
    }
}

/// Shows what comes, until the user ends it.
pub(crate) async fn run(options: WatchOptions) -> Result<(), Failure> {
    let plan = options.connection.plan(Kind::Watch, None)?;
    let filters = options.filters(&plan)?;
    if !io::stdout().is_terminal() {
        return Err(Failure::usage(
            "standard output is not a terminal: use martlet sub, which prints messages to files and pipes",
        ));
    }
    if options.connection.debug && io::stderr().is_terminal() {
        return Err(Failure::usage(
            "--debug prints to the terminal that shows the topics: send standard error to a file, 2>FILE",
        ));
    }
    let report = Report::new(plan.is_quiet);
    let limits = Limits {
        topics: options.max_topics,
        bytes: options.max_memory.saturating_mul(1024 * 1024),
        payload: PAYLOAD_BYTES,
    };
    let mut signals = Signals::listen()?;
    // What happens to the connection is shown, not reported.
    let (session, events) = Session::start(&plan, Report::new(true), Client::events)?;
    let tree = Tree::new(limits, options.open);
    let mut live = live::Live::new(&session, &plan, tree);
    let result = live.run(events, &filters, &mut signals).await;
    let (streams, clearings) = live.end();
    session.end(&plan.properties, result.is_err()).await;
    // Dropped before the client has disconnected, they would be unsubscribed.
    drop(streams);
    let failed = clearings.failed().await;
    for text in &failed {
        report.error(text);
    }
    match failed.is_empty() {
        false if result.is_ok() => Err(Failure::quiet(Status::Partial)),
        _ => result,
    }
}

impl WatchOptions {
    fn filters(&self, plan: &Plan) -> Result<Vec<(TopicFilter, QoS)>, Failure> {
        let default = qos(self.qos.unwrap_or(0));
        let of_url = plan.topic.iter().map(|filter| ("--url", filter, default));
        let named = self
            .filters
            .iter()
            .map(|filter| ("TOPIC_FILTER", filter, default));
        let configured = plan.subscriptions.iter();
        let configured = configured.map(|(filter, qos)| ("--config", filter, *qos));
        let mut given: Vec<_> = of_url.chain(named).collect();
        if given.is_empty() {
            given = configured.collect();
        }
        let all = "#".to_owned();
        if given.is_empty() {
            given.push(("TOPIC_FILTER", &all, default));
        }
        let read = |(option, filter, qos): (&str, &String, QoS)| {
            let read = TopicFilter::try_from(filter.as_str());
            let read = read.map_err(|error| {
                Failure::usage(format!("{option}: {filter:?}: {}", causes(&error)))
            });
            read.map(|filter| (filter, qos))
        };
        given.into_iter().map(read).collect()
    }
}
