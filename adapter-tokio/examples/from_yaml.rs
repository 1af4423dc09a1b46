//! A client that is configured by a YAML file, which its operator changes without a build.
//!
//! ```toml
//! [dependencies]
//! martlet-tokio = { path = "martlet/adapter-tokio", features = ["yaml"] } # a clone of the repository
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! `cargo run -- mqtt://localhost` runs it with your server and the text below, and
//! `cargo run -- mqtt://localhost client.yaml` with your file, which needs the topics of that text.

#![allow(clippy::print_stdout)]

use martlet_tokio::Settings;

/// In a program: a file of its own. What it leaves out has amqtt's defaults.
const SAMPLE: &str = "
keep_alive: 30
topics:                                   # what a publish uses when it does not say
  sensors/1/temp: {qos: 1, retain: true}
will: {topic: clients/sensor-1, message: gone, qos: 1, retain: false}
martlet:
  version: auto
  user_name: sensor-1
  password: secret                        # or {env: NAME}, or {file: /run/secrets/mqtt}
  subscriptions:                          # made with each new session
    commands/sensor-1/#: {qos: 1}
";

pub(crate) async fn run(
    server: &str,
    mut settings: Settings,
) -> Result<(), Box<dyn std::error::Error>> {
    settings.connection.uri = server.into(); // where the arguments win over the file
    println!(
        "the configuration, without its secrets:\n{}",
        settings.to_yaml()
    );

    let client = martlet_tokio::connect_with(settings.builder()?).await?;
    // With the QoS and the retain flag that the file has for this topic.
    let published = client.publish("sensors/1/temp", "21.5").await?;
    println!("published: {}", published.reason);

    // The messages of the subscriptions that the file makes.
    let mut commands = client
        .unmatched()
        .ok_or("the stream of unmatched messages is taken")?;
    client.publish("commands/sensor-1/led", "on").await?;
    if let Some(command) = commands.next().await {
        println!("received: {} => {:?}", command.topic(), command.text());
    }
    client.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next();
    let settings = match arguments.next() {
        Some(file) => Settings::load(file)?,
        None => Settings::from_yaml(SAMPLE)?,
    };
    run(server.as_deref().unwrap_or("mqtt://localhost"), settings).await
}
