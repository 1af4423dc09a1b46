//! What is printed can be read again, but for its secrets.

use crate::{load, rejected};
use martlet_config::{Settings, SettingsErrorKind as Kind};

#[test]
fn what_is_printed_can_be_read_again() {
    let default = Settings::default();
    assert_eq!(load(&default.to_yaml()), default);

    let settings = load(
        "
keep_alive: 7
ping_delay: 0
default_qos: 2
connection_timeout: 1.5
topics: {'a: b': {retain: false}, 'no': {qos: 1}, '1': {}, '~': {}, '{': {qos: 0}}
connection: {uri: 'mqtt://ann@h', cadata: \"-----BEGIN\\nno\\n\"}
plugins: [packet_logger_plugin]
will: {topic: '5', message: {file: a}, retain: true}
martlet:
  version: 3.1
  client_identifier: '1e3'
  servers: ['mqtt://[::1]:9']
  proxy: http://h
  headers: [{A: {env: B}}, {A: {file: C}}]
  queue: {when_full: drop_newest}
  inbound: {qos0_when_full: drop_newest}
  publish_timeout: 0.25
  subscriptions: {'#': {qos: 2}}
",
    );
    let printed = settings.to_yaml();
    assert_eq!(load(&printed), settings, "{printed}");
    assert_eq!(load(&printed).to_yaml(), printed);
}

/// Text that looks like a number of any size was printed without quotes, and rejected as one.
#[test]
fn a_number_that_is_too_large_to_be_one_is_text() {
    let mut settings = Settings::default();
    settings.martlet.client_identifier = Some("1e999".to_owned());
    let printed = settings.to_yaml();
    assert_eq!(load(&printed), settings, "{printed}");
}

#[test]
fn what_was_printed_lacks_its_secrets_and_is_not_taken_for_whole() {
    let secrets = [
        ("connection: {uri: 'mqtt://ann:canary@h'}", "connection.uri"),
        (
            "martlet: {servers: ['mqtt://ann:canary@h']}",
            "martlet.servers[0]",
        ),
        (
            "martlet: {user_name: ann, password: canary}",
            "martlet.user_name",
        ),
        ("will: {topic: a, message: canary}", "will.message"),
        ("martlet: {proxy: 'http://a:canary@h'}", "martlet.proxy"),
        ("martlet: {headers: {A: canary}}", "martlet.headers.*"),
        (
            "{certfile: a, keyfile: b, martlet: {key_password: canary}}",
            "martlet.key_password",
        ),
    ];
    for (yaml, path) in secrets {
        let printed = load(yaml).to_yaml();
        assert!(
            printed.contains("***") && !printed.contains("canary"),
            "{printed}"
        );
        let error = rejected(&printed);
        assert_eq!((error.kind(), error.path().as_str()), (&Kind::Hidden, path));
        assert!(error.position().is_some());
    }
}
