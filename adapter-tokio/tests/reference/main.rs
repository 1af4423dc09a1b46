//! What the tests of the Python client amqtt hold, held here: each is named by what it says and
//! numbered as in `docs/migrating-from-amqtt.md`. What its client does wrong has a test of what is
//! right, in `faults`.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]

mod any_broker;
mod client;
mod connect;
mod faults;
mod flows;
mod keep_alive;
mod peer;
mod publish;
mod settings;
mod subscribe;
mod transports;

use client::{PATIENCE, connect, lasting, message, next, settings, try_connect};
use martlet_broker::tokio::Server;
use martlet_broker::{BrokerConfig, BrokerEvent};
use std::collections::BTreeSet;

/// A broker that tells what happens to it.
async fn broker() -> Server {
    broker_with(BrokerConfig::default()).await
}

async fn broker_with(config: BrokerConfig) -> Server {
    Server::start(config.record_events(true)).await.unwrap()
}

fn events(broker: &Server) -> Vec<BrokerEvent> {
    broker.events()
}

/// Tests are named after the numbers that they are for: `t01_…` asserts what amqtt's tests assert,
/// by the list of those, and `f01_…` is right where amqtt has a fault.
#[test]
fn each_of_amqtts_tests_has_one_here_or_is_different_on_purpose() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let sources = files
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect::<String>();
    let numbers = |kind: char| {
        let names = sources
            .lines()
            .filter_map(|line| line.split_once("async fn ")?.1.strip_prefix(kind));
        names
            .flat_map(|name| name.split('_').map_while(|part| part.parse().ok()))
            .collect::<BTreeSet<u8>>()
    };
    let page = include_str!("../../../docs/migrating-from-amqtt.md");
    let different = page
        .split("\n## ")
        .find(|part| part.starts_with("What is different on purpose"))
        .unwrap();
    let mut listed = BTreeSet::new();
    for row in include_str!("amqtt-tests.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let [_file, test, number, here] = row
            .split('\t')
            .collect::<Vec<_>>()
            .try_into()
            .expect("four columns");
        match (number.parse::<u8>(), here) {
            (Ok(number), "same") => drop(listed.insert(number)),
            (Ok(number), "different") => {
                let mark = format!("t{number:02}");
                let is_explained = different
                    .split(['(', ')', ',', ' '])
                    .any(|word| word == mark);
                assert!(
                    is_explained,
                    "{test}: {mark} is not explained in the migration page"
                );
                listed.insert(number);
            }
            (Err(_), "broker" | "handler") => {}
            _ => panic!("{row}"),
        }
    }
    assert!(listed.len() > 50);
    assert_eq!(numbers('t'), listed);
    assert_eq!(numbers('f'), (1..=26).collect());
}

macro_rules! with_the_embedded_broker {
    ($($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let broker = broker().await;
                any_broker::$name(&broker.uri()).await;
            }
        )*
    };
}
any_broker::with_any_broker!(with_the_embedded_broker);
