//! Values as amqtt's files have them, whose reader knows YAML 1.1.

use crate::{assert_rejected, load, rejected};
use martlet_config::Secret;
use std::time::Duration;

/// `reconnect_max_interval: 1_000` and the like were rejected, and `keep_alive: 010` would have
/// been another number.
#[test]
fn numbers_of_yaml_1_1_are_numbers_where_a_number_is_expected() {
    for (text, number) in [
        ("010", 8),
        ("0o10", 8),
        ("1_000", 1000),
        ("1:30", 90),
        ("0b11", 3),
        ("0x1F", 31),
    ] {
        assert_eq!(
            load(&format!("keep_alive: {text}")).keep_alive,
            number,
            "{text}"
        );
        let seconds = Duration::from_secs(number.into());
        assert_eq!(
            load(&format!("connection_timeout: {text}")).connection_timeout,
            seconds,
            "{text}"
        );
        // In quotes it is text.
        rejected(&format!("keep_alive: '{text}'"));
    }
    assert_eq!(load("reconnect_retries: -1_0").reconnect_retries, -10);
    assert_eq!(load("default_qos: 0_2").default_qos.as_u8(), 2);
    assert_eq!(
        load("connection_timeout: 1:30.5").connection_timeout,
        Duration::from_millis(90_500)
    );
    // Where text is expected, who wrote it meant text.
    let settings = load(
        "martlet: {client_identifier: 11:22:33:44, user_name: 0123, password: 1_000}\ntopics: {010: {}}",
    );
    assert_eq!(
        settings.martlet.client_identifier.as_deref(),
        Some("11:22:33:44")
    );
    assert_eq!(settings.martlet.user_name, Some(Secret::from("0123")));
    assert_eq!(settings.martlet.password, Some(Secret::from("1_000")));
    assert!(settings.topics.contains_key("010"));
}

/// The text of base64 was the password that went out.
#[test]
fn binary_is_decoded() {
    let settings = load(
        "will: {topic: a, message: !!binary /wD/}
martlet:
  client_identifier: !!binary aXQ=
  user_name: !!binary YW5u
  password: !!binary |
    c2Vj
    cmV0
connection: {cadata: !!binary UEVN}
",
    );
    assert_eq!(
        settings.will.as_ref().unwrap().message,
        Secret::Bytes(vec![0xff, 0, 0xff])
    );
    assert_eq!(settings.martlet.client_identifier.as_deref(), Some("it"));
    assert_eq!(settings.martlet.user_name, Some(Secret::from("ann")));
    assert_eq!(settings.martlet.password, Some(Secret::from("secret")));
    assert_eq!(settings.connection.cadata.as_deref(), Some("PEM"));
    assert_rejected(&[
        (
            "martlet: {password: !!binary c2Vj*}",
            "1:21: it is not base64",
        ),
        (
            "martlet: {client_identifier: !!binary /w==}",
            "1:30: martlet.client_identifier: expected text, found binary data",
        ),
        (
            "keep_alive: !!binary NQ==",
            "1:13: keep_alive: expected a whole number from 0 to 65535, found binary data",
        ),
    ]);
    // What is no text cannot be a name.
    let settings = load("martlet: {user_name: !!binary /w==}");
    assert_eq!(
        settings.builder().unwrap_err().to_string(),
        "martlet.user_name: it is not UTF-8"
    );
}

/// amqtt takes both, and `broker` counts; they were rejected as one key given twice.
#[test]
fn broker_beside_connection() {
    let settings = load("connection: {uri: mqtt://a, cafile: a}\nbroker: {uri: mqtt://b}");
    assert_eq!(settings.connection.uri.as_str(), "mqtt://b");
    assert_eq!(settings.connection.cafile, None, "all of it is replaced");
    let settings = load("broker: {uri: mqtt://b}\nconnection: {uri: mqtt://a}\ncafile: c");
    assert_eq!(settings.connection.cafile.as_deref(), Some("c".as_ref()));
    assert_eq!(
        load("broker:\nconnection: {uri: mqtt://a}")
            .connection
            .uri
            .as_str(),
        "mqtt://a"
    );
    assert_eq!(
        load("broker: {uri: mqtt://b}\nconnection:")
            .connection
            .uri
            .as_str(),
        "mqtt://b"
    );
    assert_rejected(&[
        (
            "connection: {urii: a}\nbroker: {uri: mqtt://b}",
            "1:13: connection: there is no such key; did you mean \"uri\"?",
        ),
        (
            "connection: {uri: mqtt://a}\nbroker: {uri: mqtt://b:0}",
            "2:15: connection.uri: port 0 cannot be connected to",
        ),
    ]);
}

/// amqtt takes all of these and connects.
#[test]
fn what_amqtt_takes() {
    for yaml in [
        "verify_cert: false",
        "verify_cert: false\nconnection: {uri: 'ws://h'}",
        "reconnect_max_interval: 0",
        "keep_alive: 1\nping_delay: 1",
        "ping_delay: 10",
        "keep_alive: 0\nping_delay: 1",
    ] {
        assert!(load(yaml).builder().is_ok(), "{yaml}");
    }
}
