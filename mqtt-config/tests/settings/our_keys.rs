//! The section of a file that amqtt has no keys for.

use crate::load;
use martlet_client::{
    QoS, Version,
    session::{Config, DropQos0, InboundLimits, QueueLimits, WhenFull},
};
use martlet_config::{FilterSettings, Secret, Settings, Uri};
use std::time::Duration;

/// The file in the documentation says what the defaults are.
#[test]
fn the_sample_has_every_key_and_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/martlet.yaml");
    let mut sample = Settings::load(path).unwrap();
    assert!(sample.builder().is_ok());
    let martlet = &sample.martlet;
    assert_eq!(sample.ping_delay, Some(1));
    // What the session has a default for is set to that default.
    let set = Config::default()
        .max_in_flight(martlet.max_in_flight.unwrap().get())
        .max_in_flight_3x(martlet.max_in_flight_3x.unwrap().get())
        .maximum_packet_size(martlet.maximum_packet_size.unwrap())
        .request_timeout(martlet.request_timeout.unwrap())
        .ping_timeout(martlet.ping_timeout.unwrap());
    assert_eq!(set, Config::default());
    // All else is as if it were not there.
    sample.ping_delay = None;
    sample.topics.clear();
    sample.will = None;
    sample.martlet.subscriptions.clear();
    sample.martlet.max_in_flight = None;
    sample.martlet.max_in_flight_3x = None;
    sample.martlet.maximum_packet_size = None;
    sample.martlet.request_timeout = None;
    sample.martlet.ping_timeout = None;
    assert_eq!(sample, Settings::amqtt());
    // With what is commented out it is still good: every key is there.
    let text = std::fs::read_to_string(path).unwrap();
    let whole: String = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("plugins"))
        .map(|line| match line.strip_prefix("  # ") {
            Some(commented_out) => format!("  {commented_out}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let whole = load(&whole);
    assert!(whole.connection.keyfile.is_some() && whole.martlet.session_expiry_interval.is_some());
}

#[test]
fn every_key_of_ours() {
    let settings = load(
        "
martlet:
  version: 3.1.1
  client_identifier: sensor-7
  user_name: ann
  password: {env: MQTT_PASSWORD}
  servers: [mqtt://second, mqtt://third:1884]
  proxy: socks5://proxy:1080
  headers: {X-Device: seven, Authorization: {env: MQTT_TOKEN}}
  server_name: broker.example
  alpn: [mqtt]
  max_in_flight: 50
  max_in_flight_3x: 5
  queue: {messages: 100, bytes: 65536, when_full: drop_oldest, qos0_offline: false}
  inbound: {receive_maximum: 10, soft_messages: 20, qos0_when_full: drop_newest}
  maximum_packet_size: 1000000
  publish_timeout: 2.5
  request_timeout: 3
  ping_timeout: 4
  subscriptions:
    sensors/#: {qos: 1}
    '#': {}
",
    );
    let martlet = &settings.martlet;
    assert_eq!(martlet.version, Some(Version::V3_1_1));
    assert_eq!(martlet.client_identifier.as_deref(), Some("sensor-7"));
    assert_eq!(martlet.user_name, Some(Secret::from("ann")));
    assert_eq!(martlet.password, Some(Secret::Env("MQTT_PASSWORD".into())));
    assert_eq!(
        martlet.servers,
        [Uri::from("mqtt://second"), Uri::from("mqtt://third:1884")]
    );
    assert_eq!(martlet.proxy, Some(Uri::from("socks5://proxy:1080")));
    let token = Secret::Env("MQTT_TOKEN".into());
    let headers = [
        ("X-Device".to_owned(), Secret::from("seven")),
        ("Authorization".to_owned(), token),
    ];
    assert_eq!(martlet.headers, headers);
    assert_eq!(martlet.server_name.as_deref(), Some("broker.example"));
    assert_eq!(martlet.alpn, ["mqtt"]);
    assert_eq!(martlet.max_in_flight.map(u16::from), Some(50));
    assert_eq!(martlet.max_in_flight_3x.map(u16::from), Some(5));
    let queue = QueueLimits::default()
        .messages(100)
        .bytes(65536)
        .when_full(WhenFull::DropOldest)
        .qos0_offline(false);
    assert_eq!(martlet.queue, queue);
    let inbound = InboundLimits::default()
        .receive_maximum(10)
        .soft_messages(20)
        .qos0_when_full(DropQos0::Newest);
    assert_eq!(
        martlet.inbound, inbound,
        "what is not given has its default"
    );
    assert_eq!(martlet.maximum_packet_size, Some(1_000_000));
    assert_eq!(martlet.publish_timeout, Some(Duration::from_millis(2500)));
    assert_eq!(martlet.request_timeout, Some(Duration::from_secs(3)));
    assert_eq!(martlet.ping_timeout, Some(Duration::from_secs(4)));
    let filters: Vec<_> = martlet
        .subscriptions
        .iter()
        .map(|(filter, options)| (&**filter, *options))
        .collect();
    let mut once = FilterSettings::default();
    once.qos = QoS::AtLeastOnce;
    assert_eq!(
        filters,
        [("#", FilterSettings::default()), ("sensors/#", once)]
    );
}

#[test]
fn versions_with_and_without_quotes() {
    let table = [
        ("3.1", Version::V3_1),
        ("'3.1'", Version::V3_1),
        ("3.1.1", Version::V3_1_1),
        ("5", Version::V5),
        ("5.0", Version::V5),
        ("'5.0'", Version::V5),
    ];
    for (version, expected) in table {
        let settings = load(&format!("martlet: {{version: {version}}}"));
        assert_eq!(settings.martlet.version, Some(expected), "{version}");
    }
}

/// A file of amqtt, unchanged, never connected to amqtt's own broker, which does not answer a
/// CONNECT of MQTT 5.
#[test]
fn a_file_that_does_not_say_means_the_version_of_amqtt() {
    for yaml in [
        "{}",
        "keep_alive: 5",
        "martlet: {client_identifier: a}",
        "martlet: {version: }",
        "martlet:",
    ] {
        assert_eq!(load(yaml).martlet.version, Some(Version::V3_1_1), "{yaml}");
    }
    let automatic = load("martlet: {version: auto}");
    assert_eq!(automatic.martlet.version, None);
    // Code is no file, and what is printed means the same when it is read.
    assert_eq!(Settings::default().martlet.version, None);
    assert_eq!(load(&automatic.to_yaml()), automatic);
}

#[test]
fn a_secret_that_is_not_there_is_told_when_the_builder_is_made() {
    let settings = load("martlet: {user_name: ann, password: {env: MARTLET_NO_SUCH_VARIABLE}}");
    assert_eq!(
        settings.builder().unwrap_err().to_string(),
        "martlet.password: the environment variable that is named here is not set"
    );
    let settings = load("martlet: {user_name: ann, password: {file: /no/such/file}}");
    let error = settings.builder().unwrap_err().to_string();
    let beginning = "martlet.password: cannot read the file that is named here: ";
    assert!(error.starts_with(beginning), "{error}");
}

#[test]
fn a_session_that_is_kept() {
    let folder =
        std::env::temp_dir().join(format!("martlet-settings-store-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut settings = Settings::default();
    settings.martlet.store = Some(folder.join("session.redb"));
    assert_eq!(
        settings.builder().unwrap_err().to_string(),
        "martlet.store: a session that is kept begins with durable_builder()"
    );
    #[cfg(feature = "redb")]
    {
        assert!(settings.durable_builder().is_ok());
        settings.martlet.store = Some(folder.clone());
        let error = settings
            .durable_builder()
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("martlet.store: "), "{error}");
        settings.martlet.store = None;
        assert!(settings.durable_builder().is_err());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
