//! The examples of the adapters as tests: each example's `run`, with a server and what happens to it meanwhile.
//! [`example_tests!`](crate::example_tests!) compiles them for one adapter, whose test has the examples' files as
//! modules of its root.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]
#![expect(missing_docs, reason = "a test's name says which example it runs")]

use crate::certificates::{Certificates, Directory};
use crate::conformance::root;
use crate::server::{Setup, TestServer};
use martlet_broker::{BrokerConfig, BrokerEvent, Memory};
use martlet_config::Settings;
use martlet_proto::QoS;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;

/// What an example returns.
pub type ExampleResult = Result<(), Box<dyn Error>>;

/// Makes a `#[test]` of each example that runs on all runtimes: an [`Adapter`](crate::runtimes::Adapter)'s runtime,
/// and the function that runs a future on it.
#[macro_export]
macro_rules! example_tests {
    ($runtime:ty, $block_on:path) => {
        $crate::example_tests! { $runtime, $block_on =>
            back_pressure
            birth_and_death
            from_yaml
            manual_acknowledgement
            mutual_tls
            ordered_workers
            request_response
            several_servers
            shared_subscriptions
            testing
            token_refresh
            websocket_bearer
        }
    };
    ($runtime:ty, $block_on:path => $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $block_on($crate::runtimes::in_time::<$runtime>(
                    $crate::examples::$name($name::run),
                ));
            }
        )*
    };
}

pub async fn back_pressure(run: impl AsyncFnOnce(&str) -> ExampleResult) {
    let server = recording().await;
    run(&server.uri()).await.unwrap();
    // Awaited, and enqueued; of those that were only tried, and of those of which the oldest are dropped, at least
    // what a queue takes.
    assert!(accepted(&server).await.len() >= 10 + 1000 + 20 + 20);
}

/// The server cuts the connection twice. No reading comes before the birth of its connection.
pub async fn birth_and_death(run: impl AsyncFnOnce(&str) -> ExampleResult) {
    let server = recording().await;
    let mut seen = Vec::new();
    let look_on = async {
        let (mut births, mut cuts) = (0, 0);
        while !seen.last().is_some_and(|last: &Accepted| {
            last.topic.contains("NDEATH") && last.payload == births.to_string()
        }) {
            let new = accepted(&server).await;
            births += new
                .iter()
                .filter(|one| one.topic.contains("NBIRTH"))
                .count();
            let has_readings = new.iter().any(|one| one.topic.contains("NDATA"));
            seen.extend(new);
            if has_readings && cuts < 2 {
                cuts += 1;
                server.cut().await;
            }
        }
    };
    let uri = server.uri();
    let (done, ()) = tokio::join!(run(&uri), look_on);
    done.unwrap();
    let mut born = None;
    for message in &seen {
        match message.topic.split('/').nth(2) {
            Some("NBIRTH") => assert!(born.replace(&*message.payload) < Some(&*message.payload)),
            Some("NDEATH") => assert!(born == Some(&*message.payload) || born.is_none()),
            Some("NDATA") => assert!(born.is_some(), "a reading before the first birth"),
            other => panic!("{other:?}"),
        }
    }
}

/// With the text in the example, and with the file of the documentation.
pub async fn from_yaml(run: impl AsyncFn(&str, Settings) -> ExampleResult) {
    let example = read("adapter-tokio/examples/from_yaml.rs");
    let (_, sample) = example.split_once("SAMPLE: &str = \"").unwrap();
    let (sample, _) = sample.split_once("\";").unwrap();
    for text in [sample, &read("docs/martlet.yaml")] {
        let server = recording().await;
        let settings = Settings::from_yaml(text).unwrap();
        run(&server.uri(), settings).await.unwrap();
        let accepted = accepted(&server).await;
        let published: Vec<_> = accepted
            .iter()
            .map(|message| (&*message.topic, message.qos))
            .collect();
        let reading = ("sensors/1/temp", QoS::AtLeastOnce);
        let command = ("commands/sensor-1/led", QoS::AtMostOnce);
        assert_eq!(published, [reading, command]);
    }
}

pub async fn manual_acknowledgement(run: impl AsyncFnOnce(&str) -> ExampleResult) {
    let server = recording().await;
    run(&server.uri()).await.unwrap();
    assert_eq!(connections(&server.events().await), 2);
}

pub async fn mutual_tls(run: impl AsyncFnOnce(&str, &Path, &Path, &Path) -> ExampleResult) {
    let server = TestServer::start(Setup::mutual_tls()).await;
    let (files, certificates) = (Directory::new(), Certificates::shared());
    let authority = files.write("ca.pem", &certificates.authority.pem);
    let certificate = files.write("client.pem", &certificates.client.chain_pem);
    let key = files.write("client.key", &certificates.client.key_pem);
    run(&server.uri_by_name(), &authority, &certificate, &key)
        .await
        .unwrap();
    assert!(server.seen()[0].has_client_certificate);
}

/// Ten times: how far each worker is at the crash differs.
pub async fn ordered_workers(run: impl AsyncFn(&str) -> ExampleResult) {
    for _ in 0..10 {
        let server = recording().await;
        run(&server.uri()).await.unwrap();
        let events = server.events().await;
        assert_eq!(connections(&events), 2);
        let mut results: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for message in messages(events) {
            if let Some(key) = message.topic.strip_prefix("results/") {
                let job = message.payload.parse().unwrap();
                results.entry(key.parse().unwrap()).or_default().push(job);
            }
        }
        assert_eq!(results.len(), 5);
        for (key, results) in results {
            assert_in_order(key, &results);
        }
    }
}

/// The jobs of a topic in their order, in the process that crashes and in the one after it. Together they have all.
fn assert_in_order(key: u32, results: &[u32]) {
    let jobs: Vec<u32> = (0..20).filter(|job| job % 5 == key).collect();
    // What the first process has done and not acknowledged comes again, from some job on.
    let again = results.windows(2).position(|pair| pair[1] <= pair[0]);
    let (first, second) = results.split_at(again.map_or(results.len(), |at| at + 1));
    assert!(jobs.starts_with(first), "{key}: {results:?}");
    assert!(
        second.is_empty() || jobs.ends_with(second),
        "{key}: {results:?}"
    );
    assert_eq!(results.last(), jobs.last(), "{key}: {results:?}");
    if key == 2 {
        let later = results.iter().filter(|&&job| job >= 12).count();
        assert_eq!(later, 2, "the first process crashes at job 12: {results:?}");
    }
}

pub async fn request_response(run: impl AsyncFnOnce(&str) -> ExampleResult) {
    let server = recording().await;
    run(&server.uri()).await.unwrap();
    let accepted = accepted(&server).await;
    let topics: Vec<_> = accepted.iter().map(|message| &*message.topic).collect();
    let [request, response, unanswered] = &*topics else {
        panic!("{topics:?}");
    };
    assert_eq!((*request, *unanswered), ("lamps/1/get", "lamps/2/get"));
    assert!(response.starts_with("responses/"));
}

/// The first server is not there, and the second crashes when it has got a message.
pub async fn several_servers(run: impl AsyncFnOnce(&str, &[String]) -> ExampleResult) {
    let servers = [recording().await, recording().await, recording().await];
    let uris = servers.each_ref().map(TestServer::uri);
    let [first, second, third] = servers;
    first.kill(Memory::Lost).await;
    let crash = async {
        while accepted(&second).await.is_empty() {}
        second.kill(Memory::Lost).await;
    };
    let (done, ()) = tokio::join!(run(&uris[0], &uris[1..]), crash);
    done.unwrap();
    // One, or two if the second has crashed before its acknowledgement.
    assert!(!accepted(&third).await.is_empty());
}

pub async fn shared_subscriptions(run: impl AsyncFnOnce(&str) -> ExampleResult) {
    let server = recording().await;
    run(&server.uri()).await.unwrap();
    let accepted = accepted(&server).await;
    let results = accepted.iter().filter(|message| message.topic == "results");
    let results: BTreeSet<_> = results.map(|message| &*message.payload).collect();
    assert_eq!(results.len(), 10);
    for name in ["Ann", "Bob"] {
        assert!(results.iter().any(|result| result.ends_with(name)));
    }
}

pub async fn testing(run: impl AsyncFnOnce(&str) -> ExampleResult) {
    let server = TestServer::start(Setup::tcp()).await;
    run(&server.uri()).await.unwrap();
}

pub async fn token_refresh(run: impl AsyncFnOnce(&str) -> ExampleResult) {
    let server = recording().await;
    run(&server.uri()).await.unwrap();
    assert_eq!(connections(&server.events().await), 2);
}

pub async fn websocket_bearer(run: impl AsyncFnOnce(&str, &str) -> ExampleResult) {
    let server = TestServer::start(Setup::tcp().websocket()).await;
    run(&format!("{}/mqtt", server.uri()), "an-example")
        .await
        .unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), Some("Bearer an-example"));
    assert_eq!(seen[0].path.as_deref(), Some("/mqtt"));
}

// ---- their parts

/// A server that keeps events of what clients do.
pub async fn recording() -> TestServer {
    TestServer::start(Setup::tcp().broker(BrokerConfig::default().record_events(true))).await
}

/// A message of a client that the server has accepted.
#[derive(Debug)]
pub struct Accepted {
    pub topic: String,
    pub payload: String,
    pub qos: QoS,
}

/// The messages since the last call; all other events are lost.
pub async fn accepted(server: &TestServer) -> Vec<Accepted> {
    messages(server.events().await)
}

fn messages(events: Vec<BrokerEvent>) -> Vec<Accepted> {
    let accepted = events.into_iter().filter_map(|event| match event {
        BrokerEvent::Accepted {
            client_identifier: Some(_),
            publish,
        } => Some(Accepted {
            topic: publish.topic().to_owned(),
            payload: String::from_utf8(publish.payload_bytes().to_vec()).unwrap(),
            qos: publish.delivery().qos(),
        }),
        _ => None,
    });
    accepted.collect()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

fn connections(events: &[BrokerEvent]) -> usize {
    let connected = |event: &&BrokerEvent| matches!(event, BrokerEvent::Connected { .. });
    events.iter().filter(connected).count()
}
