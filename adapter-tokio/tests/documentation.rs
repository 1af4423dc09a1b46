//! What the pages in `docs` say in code is code that is compiled and run here; and the README's
//! example is the one of the crate's documentation, which is compiled too.

use martlet_broker::tokio::Server;
use martlet_tests::certificates::Directory;
use martlet_tokio::session::CleanStart;
use martlet_tokio::{
    Client, ConnectError, ConnectionError, Message, PacketLogger, QoS, Settings, TopicFilter,
    Trust, proto::ConnectReasonCode,
};
use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines between the first fence that begins so and its end, without those that documentation
/// hides.
fn example<'a>(lines: impl Iterator<Item = &'a str>, fence: &str) -> Vec<&'a str> {
    let block = lines
        .skip_while(|line| !line.starts_with(fence))
        .skip(1)
        .take_while(|line| !line.starts_with("```"));
    block.filter(|line| !line.starts_with("# ")).collect()
}

#[test]
fn the_readmes_example_is_the_one_of_the_documentation() {
    let (readme, source) = (read("../README.md"), read("src/lib.rs"));
    let documentation = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.trim_start_matches(' '));
    let ours = example(readme.lines().map(str::trim_start), "```rust");
    assert!(!ours.is_empty());
    assert_eq!(ours, example(documentation, "```no_run"));
}

/// The one of `docs/configuration.md`, but for the place of the file.
async fn configured(file: &Path) -> Result<Client, Box<dyn Error>> {
    let settings = Settings::load(file)?;
    let client = martlet_tokio::connect_with(settings.builder()?).await?;
    Ok(client)
}

#[tokio::test]
async fn the_example_of_configuring_works() {
    let page = read("../docs/configuration.md");
    let example = example(page.lines(), "```rust");
    let source = read("tests/documentation.rs").replace("load(file)", "load(\"client.yaml\")");
    let lines = example
        .iter()
        .map(|line| line.split(" //").next().unwrap().trim());
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 2);
    assert!(source.contains(&lines.join("\n    ")), "{lines:?}");

    let (broker, directory) = (
        Server::start(martlet_broker::BrokerConfig::default())
            .await
            .unwrap(),
        Directory::new(),
    );
    let file = directory.write(
        "client.yaml",
        format!("connection: {{uri: '{}'}}", broker.uri()),
    );
    configured(&file).await.unwrap().ping().await.unwrap();
}

#[test]
fn the_errors_of_configuring_are_these() {
    let page = read("../docs/configuration.md");
    let errors = example(page.lines(), "```text");
    let files = [
        "\n\nkeepalive: 6",
        "\n\nkeep_alive: soon",
        "keep_alive: 5\n\n\n\nping_delay: 6",
    ];
    assert_eq!(errors.len(), files.len());
    for (error, yaml) in errors.into_iter().zip(files) {
        let directory = Directory::new();
        let file = directory.write("client.yaml", yaml);
        let found = Settings::load(&file).unwrap_err().to_string();
        assert!(found.ends_with(&format!("/{error}")), "{found}");
    }
}

/// Everything that `docs/migrating-from-amqtt.md` puts in the place of something.
async fn migrated(uri: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let builder = Settings::load(path)?.builder()?.client_identifier("it");
    let builder = builder
        .header("a", "b")
        .trust(Trust::new())
        .clean_start(CleanStart::First)
        .lasting_session("it", Duration::MAX);
    let builder = builder
        .observer(PacketLogger::new("it", |_| {}))
        .drain(Duration::from_secs(1));
    let builder = builder.before_connect(|mut attempt| async move {
        attempt.set_credentials("it", "secret")?;
        Ok(attempt)
    });
    drop(builder);
    let client = martlet_tokio::connect_with(Client::builder(uri)).await?;
    let mut changes = client.state_changes();
    assert_eq!(changes.next().await, Some(client.state()));
    let events = client.events();
    let connected = client.reconnect().await?;
    assert_eq!(client.connected().await?, connected);
    client.ping().await?;
    let mut subscription = client.subscribe_all([("a", QoS::AtLeastOnce)]).await?;
    assert_eq!(subscription.reasons().len(), 1);
    let limit = Duration::from_secs(30);
    for _ in 0..2 {
        client
            .publish("a", "b")
            .qos(QoS::AtLeastOnce)
            .retain(false)
            .timeout(limit)
            .await?;
    }
    let shown = |message: &Message| {
        (
            message.topic() == "a",
            message.payload() == b"b",
            message.qos(),
            message.retain(),
        )
    };
    let message = subscription.next_timeout(limit).await?.ok_or("an end")?;
    assert_eq!(shown(&message), (true, true, QoS::AtLeastOnce, false));
    assert!(!message.duplicate() && message.text() == Some("b"));
    assert!(client.connection().is_some());
    assert!(subscription.next().await.is_some());
    assert!(client.unmatched().is_some());
    let mut manual = client.subscribe("c").await?.acknowledge_manually();
    client.publish("c", "d").await?;
    manual.next().await.ok_or("an end")?.acknowledge();
    subscription.unsubscribe().await?;
    client.unsubscribe(&TopicFilter::new("b")?).await?;
    client.unsubscribe_all([TopicFilter::new("d")?]).await?;
    client.disconnect().await;
    drop(events);
    Ok(())
}

#[tokio::test]
async fn who_comes_from_amqtt_finds_what_the_page_names() {
    let page = read("../docs/migrating-from-amqtt.md");
    let table = page
        .split("\n## ")
        .next()
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| "));
    let here: String = table.filter_map(|row| row.split(" | ").nth(1)).collect();
    // What a parenthesis follows.
    let (calls, _) = here.rsplit_once('(').unwrap();
    let ends_a_name = |c: char| !c.is_alphanumeric() && c != '_';
    let named: BTreeSet<_> = calls
        .split('(')
        .filter_map(|call| call.rsplit(ends_a_name).next())
        .collect();
    assert!(
        named.contains("subscribe_all") && named.len() > 20,
        "{named:?}"
    );
    let source = read("tests/documentation.rs");
    for name in named.into_iter().filter(|name| !name.is_empty()) {
        assert!(
            source.contains(&format!("{name}(")),
            "{name} is not tried here"
        );
    }

    let (broker, directory) = (
        Server::start(martlet_broker::BrokerConfig::default())
            .await
            .unwrap(),
        Directory::new(),
    );
    migrated(
        &broker.uri(),
        &directory.write("client.yaml", "keep_alive: 7"),
    )
    .await
    .unwrap();
    let reject = Some(ConnectReasonCode::NotAuthorized);
    let broker = Server::start(martlet_broker::BrokerConfig::default().reject(reject))
        .await
        .unwrap();
    let rejected = martlet_tokio::connect(broker.uri()).await;
    let Err(ConnectError::Connection(ConnectionError::Rejected(rejection))) = rejected else {
        panic!("{rejected:?}")
    };
    assert_eq!(rejection.reason.return_code(), Some(5));
}

/// The one of `docs/migrating-from-amqtt.md`.
#[allow(clippy::print_stdout, reason = "the page prints")]
async fn one_queue(client: &Client) -> Result<(), Box<dyn Error>> {
    let mut messages = client
        .subscribe_all([("a/#", QoS::AtLeastOnce), ("b", QoS::AtMostOnce)])
        .await?;
    while let Some(message) = messages.next().await {
        match message.topic() {
            "b" => println!("b: {}", message.text().unwrap_or("no text")),
            topic => println!("{topic}: {} bytes", message.payload().len()),
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_example_of_one_queue_works() {
    let page = read("../docs/migrating-from-amqtt.md");
    let example: Vec<_> = example(page.lines(), "```rust")
        .into_iter()
        .map(str::trim)
        .collect();
    let source: Vec<String> = read("tests/documentation.rs")
        .lines()
        .map(|line| line.trim().to_owned())
        .collect();
    assert!(
        example.len() == 9 && source.windows(example.len()).any(|lines| lines == example),
        "{example:?}"
    );

    let broker = Server::start(martlet_broker::BrokerConfig::default())
        .await
        .unwrap();
    let client = martlet_tokio::connect(broker.uri()).await.unwrap();
    let queue = one_queue(&client);
    let publishes = async {
        while broker.statistics().packets_received < 2 {
            tokio::task::yield_now().await;
        }
        client
            .publish("b", "text")
            .qos(QoS::AtLeastOnce)
            .await
            .unwrap();
        client.disconnect().await;
    };
    let (queued, ()) = tokio::join!(queue, publishes);
    queued.unwrap();
}
