//! Files that were written for amqtt.

use crate::{assert_rejected, load, rejected};
use martlet_client::{QoS, client::TopicDefaults};
use martlet_config::{ConnectionSettings, Plugin, Settings, WillSettings};
use std::path::Path;
use std::time::Duration;

/// What its package holds as the default of its tools: no `connection_timeout`, the plugin without
/// options.
#[test]
fn the_file_that_amqtt_comes_with() {
    let settings = load(
        "---
keep_alive: 10
ping_delay: 1
default_qos: 0
default_retain: false
auto_reconnect: true
cleansession: true
reconnect_max_interval: 10
reconnect_retries: 2
connection:
  uri: \"mqtt://127.0.0.1\"
plugins:
  amqtt.plugins.logging_amqtt.PacketLoggerPlugin:
",
    );
    let expected = {
        let mut settings = Settings::amqtt();
        settings.ping_delay = Some(1);
        settings.connection = {
            let mut connection_settings = ConnectionSettings::default();
            connection_settings.uri = "mqtt://127.0.0.1".into();
            connection_settings
        };
        settings.plugins = vec![Plugin::PacketLogger];
        settings
    };
    assert_eq!(settings, expected);
    assert!(settings.builder().is_ok());
}

/// What its documentation shows as the defaults: the server under `broker`, the plugins as a list.
#[test]
fn the_defaults_in_the_documentation_of_amqtt() {
    let settings = load(
        "
keep_alive: 10
ping_delay: 1
default_qos: 0
default_retain: false
auto_reconnect: true
connection_timeout: 60
reconnect_retries: 2
reconnect_max_interval: 10
cleansession: true
topics: {}
broker:
  uri: \"mqtt://127.0.0.1\"
plugins:
  - amqtt.plugins.logging_amqtt.PacketLoggerPlugin
",
    );
    assert_eq!(settings.connection.uri.as_str(), "mqtt://127.0.0.1");
    assert_eq!(settings.plugins, [Plugin::PacketLogger]);
    assert_eq!(settings.connection_timeout, Duration::from_secs(60));
}

/// Its page about certificates has them at the top, where its own code rejects them.
#[test]
fn the_certificates_in_the_documentation_of_amqtt() {
    let settings = load(
        "
keep_alive: 10
broker:
  uri: mqtt://localhost:8883
  cafile: ca.crt
certfile: client.crt
keyfile: client.key
check_hostname: false
",
    );
    assert_eq!(
        settings.connection.cafile.as_deref(),
        Some(Path::new("ca.crt"))
    );
    assert_eq!(
        settings.connection.certfile.as_deref(),
        Some(Path::new("client.crt"))
    );
    assert_eq!(
        settings.connection.keyfile.as_deref(),
        Some(Path::new("client.key"))
    );
    // Alone, the server is the default one.
    let settings = load("{certfile: a, keyfile: b}");
    assert_eq!(settings.connection.uri.as_str(), "mqtt://127.0.0.1:1883");
}

/// One of two keys without a value was "given twice".
#[test]
fn a_certificate_without_a_value_is_not_given_twice() {
    for (inside, outside) in [("ca.crt", ""), ("", "ca.crt")] {
        let file = format!("connection:\n  cafile: {inside}\ncafile: {outside}");
        let settings = load(&file);
        assert_eq!(
            settings.connection.cafile.as_deref(),
            Some(Path::new("ca.crt")),
            "{file}"
        );
    }
}

#[test]
fn every_key_of_amqtt() {
    let settings = load(
        "
keep_alive: 20
ping_delay: 2
default_qos: 1
default_retain: true
auto_reconnect: false
connection_timeout: 6
reconnect_retries: -1
reconnect_max_interval: 5
cleansession: false
check_hostname: false
verify_cert: false
topics:
  a/b:   {qos: 0}
  a/c:   {qos: 2, retain: true}
will:   {topic: will/t, message: \"gone\", qos: 1, retain: true}
connection:
  uri: \"mqtt://user:pw@host:8883\"
  cafile: /p/ca.pem
  capath: /p/cas
  cadata: \"PEM...\"
  certfile: /p/c.pem
  keyfile: /p/k.pem
plugins:
  - amqtt.plugins.logging_amqtt.PacketLoggerPlugin: {}
",
    );
    let defaults = |qos, retain: Option<bool>| TopicDefaults::default().qos(qos).retain(retain);
    let expected = {
        let mut settings = Settings::default();
        settings.keep_alive = 20;
        settings.ping_delay = Some(2);
        settings.default_qos = QoS::AtLeastOnce;
        settings.default_retain = true;
        settings.auto_reconnect = false;
        settings.connection_timeout = Duration::from_secs(6);
        settings.reconnect_retries = -1;
        settings.reconnect_max_interval = Duration::from_secs(5);
        settings.cleansession = false;
        settings.check_hostname = false;
        settings.verify_cert = false;
        settings.topics = [
            ("a/b".to_owned(), defaults(QoS::AtMostOnce, None)),
            ("a/c".to_owned(), defaults(QoS::ExactlyOnce, Some(true))),
        ]
        .into();
        settings.connection = {
            let mut connection_settings = ConnectionSettings::default();
            connection_settings.uri = "mqtt://user:pw@host:8883".into();
            connection_settings.cafile = Some("/p/ca.pem".into());
            connection_settings.capath = Some("/p/cas".into());
            connection_settings.cadata = Some("PEM...".into());
            connection_settings.certfile = Some("/p/c.pem".into());
            connection_settings.keyfile = Some("/p/k.pem".into());
            connection_settings
        };
        settings.plugins = vec![Plugin::PacketLogger];
        settings.will = Some({
            let mut will_settings = WillSettings::new("will/t", "gone");
            will_settings.qos = QoS::AtLeastOnce;
            will_settings.retain = true;
            will_settings
        });
        settings.martlet = Settings::amqtt().martlet;
        settings
    };
    assert_eq!(settings, expected);
}

#[test]
fn a_key_without_a_value_is_as_good_as_none() {
    let empty = "keep_alive:\nping_delay: ~\ntopics:\nwill: null\nbroker:\nplugins:\ncheck_hostname:\n\
        connection:\ncertfile:\nmartlet: {queue: , client_identifier: }";
    assert_eq!(load(empty), Settings::amqtt());
    assert_rejected(&[(
        "keep:",
        r#"1:1: there is no such key; did you mean "keep_alive"?"#,
    )]);
}

/// YAML 1.1 has more words for true and false than 1.2; amqtt reads 1.1.
#[test]
fn words_for_true_and_false() {
    for (word, value) in [
        ("yes", true),
        ("On", true),
        ("TRUE", true),
        ("no", false),
        ("OFF", false),
        ("False", false),
    ] {
        assert_eq!(
            load(&format!("cleansession: {word}")).cleansession,
            value,
            "{word}"
        );
    }
    // In quotes they are text, for PyYAML too.
    rejected("cleansession: 'yes'");
    // Elsewhere they are text.
    let settings = load("martlet: {client_identifier: no}\ntopics: {on: {retain: off}}");
    assert_eq!(settings.martlet.client_identifier.as_deref(), Some("no"));
    assert_eq!(settings.topics["on"].retain, Some(false));
}
