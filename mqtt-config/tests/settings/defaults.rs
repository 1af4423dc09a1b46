//! What a setting is that is not given: Martlet's default in code, amqtt's in a file.

use crate::load;
use martlet_client::session::CleanStart;
use martlet_client::{Client, Version};
use martlet_config::Settings;
use std::time::Duration;

/// `Settings { .. }` in code was amqtt's client: it sent a ping after nine seconds instead of 45,
/// waited a minute for an answer, and stopped after four attempts.
#[test]
fn settings_in_code_have_the_builders_defaults() {
    let configured = Settings::default().builder().unwrap();
    let plain = Client::builder("mqtt://127.0.0.1:1883");
    assert_eq!(
        format!("{configured:#?}"),
        format!("{:#?}", plain.clean_start(CleanStart::First))
    );
}

/// A file that was written for amqtt leaves out what amqtt has a default for, and goes on meaning
/// that.
#[test]
fn a_file_has_the_defaults_of_amqtt() {
    for yaml in ["{}", "martlet: {}", "martlet:", "keep_alive:"] {
        assert_eq!(load(yaml), Settings::amqtt(), "{yaml}");
    }
    let settings = load("{}");
    assert_eq!((settings.keep_alive, settings.ping_delay), (10, None));
    assert_eq!(settings.connection_timeout, Duration::from_secs(60));
    assert!(settings.auto_reconnect && settings.martlet.retry_first);
    assert_eq!(settings.reconnect_retries, 2);
    assert_eq!(settings.reconnect_max_interval, Duration::from_secs(10));
    assert_eq!(settings.martlet.version, Some(Version::V3_1_1));
    let (file, amqtt) = (settings.builder().unwrap(), Settings::amqtt().builder());
    assert_eq!(format!("{file:?}"), format!("{:?}", amqtt.unwrap()));
}

/// A key that is given changes nothing but itself.
#[test]
fn what_a_file_gives_replaces_one_default() {
    let mut expected = Settings::amqtt();
    expected.martlet.retry_first = false;
    assert_eq!(load("martlet: {retry_first: false}"), expected);
    let mut expected = Settings::amqtt();
    expected.keep_alive = 60;
    assert_eq!(load("keep_alive: 60"), expected);
}

/// What a file needs to be the client that `Client::builder` makes.
#[test]
fn a_file_can_have_martlets_defaults() {
    let settings = load(
        "
keep_alive: 60
ping_delay: 0
connection_timeout: 10
reconnect_retries: -1
reconnect_max_interval: 60
martlet: {version: auto, retry_first: false}
",
    );
    assert_eq!(settings, Settings::default());
}
