//! What is wrong with a configuration, and where.

use crate::{assert_rejected, load, rejected};
use martlet_config::{Position, Settings, SettingsErrorKind as Kind};

#[test]
fn unknown_keys_with_what_was_meant() {
    assert_rejected(&[
        (
            "keep_alive: 5\nkeepalive: 6\n",
            r#"2:1: there is no such key; did you mean "keep_alive"?"#,
        ),
        (
            "connection:\n  uri: mqtt://h\n  ca_file: x",
            r#"3:3: connection: there is no such key; did you mean "cafile"?"#,
        ),
        (
            "connection: {urii: a}",
            r#"1:14: connection: there is no such key; did you mean "uri"?"#,
        ),
        (
            "broker:\n  urii: a",
            r#"2:3: broker: there is no such key; did you mean "uri"?"#,
        ),
        (
            "default-qos: 1",
            r#"1:1: there is no such key; did you mean "default_qos"?"#,
        ),
        (
            "topics:\n  a:\n    qus: 1",
            r#"3:5: topics.*: there is no such key; did you mean "qos"?"#,
        ),
        (
            "martlet:\n  queue: {mesages: 5}",
            r#"2:11: martlet.queue: there is no such key; did you mean "messages"?"#,
        ),
        (
            "will: {topic: a, message: b, QoS: 1}",
            r#"1:30: will: there is no such key; did you mean "qos"?"#,
        ),
        (
            "will: {topic: a, message: b, something: 1}",
            r#"1:30: will: there is no such key; there is topic, message, qos, retain"#,
        ),
        (
            "plugins: {packet_logger_plugin: {level: 1}}",
            r#"1:34: plugins.*: there is no such key; there is none"#,
        ),
    ]);
}

#[test]
fn plugins_that_are_not_there() {
    let known = "amqtt.plugins.logging_amqtt.PacketLoggerPlugin, packet_logger_plugin";
    assert_rejected(&[
        (
            "plugins:\n  - amqtt.plugins.sys.broker.BrokerSysPlugin",
            &format!("2:5: plugins[0]: there is no such word; there is {known}"),
        ),
        (
            "plugins:\n  my.own.Plugin: {a: b}",
            &format!(r#"2:3: plugins: there is no such key; there is {known}"#),
        ),
        (
            "plugins:\n- amqtt.plugins.logging.PacketLoggerPlugin",
            r#"2:3: plugins[0]: there is no such word; did you mean "amqtt.plugins.logging_amqtt.PacketLoggerPlugin"?"#,
        ),
    ]);
}

#[test]
fn what_is_no_number() {
    let number = "expected a whole number from 0 to 65535";
    assert_rejected(&[
        (
            "keep_alive: \"10\"",
            &format!("1:13: keep_alive: {number}, found text"),
        ),
        (
            "keep_alive: 2.5",
            &format!("1:13: keep_alive: {number}, found a number with a fraction"),
        ),
        ("keep_alive: 65536", &format!("1:13: keep_alive: {number}")),
        ("keep_alive: -1", &format!("1:13: keep_alive: {number}")),
        (
            "keep_alive: 99999999999999999999999999999999999999999999",
            &format!("1:13: keep_alive: {number}, found a number with a fraction"),
        ),
        (
            "keep_alive: [1]",
            &format!("1:13: keep_alive: {number}, found a list"),
        ),
        (
            "keep_alive: 08",
            &format!("1:13: keep_alive: {number}, found text"),
        ),
        (
            "keep_alive: '010'",
            &format!("1:13: keep_alive: {number}, found text"),
        ),
        (
            "martlet: {max_in_flight: 0}",
            "1:26: martlet.max_in_flight: expected a nonzero u16",
        ),
    ]);
}

#[test]
fn what_is_neither_true_nor_false_and_no_qos() {
    assert_rejected(&[
        (
            "cleansession: 1",
            "1:15: cleansession: expected true or false, found a whole number",
        ),
        (
            "cleansession: 'maybe'",
            "1:15: cleansession: expected true or false, found text",
        ),
        ("default_qos: 3", "1:14: default_qos: a QoS is 0, 1 or 2"),
        ("default_qos: -1", "1:14: default_qos: a QoS is 0, 1 or 2"),
        (
            "default_qos: one",
            "1:14: default_qos: expected a QoS of 0, 1 or 2, found text",
        ),
    ]);
}

#[test]
fn what_is_no_time() {
    let no_time =
        "no such time: cannot convert float seconds to Duration: value is either too big or NaN";
    assert_rejected(&[
        (
            "connection_timeout: -5",
            "1:21: connection_timeout: a time cannot be negative",
        ),
        (
            "connection_timeout: .nan",
            &format!("1:21: connection_timeout: {no_time}"),
        ),
        (
            "connection_timeout: .inf",
            &format!("1:21: connection_timeout: {no_time}"),
        ),
        (
            "connection_timeout: soon",
            "1:21: connection_timeout: expected a number of seconds, found text",
        ),
    ]);
}

#[test]
fn wrong_maps_and_their_keys() {
    assert_rejected(&[
        (
            "connection: mqtt://h",
            "1:13: connection: expected keys with values, found text",
        ),
        (
            "connection: {uri: 5}",
            "1:19: connection.uri: expected text (put it in quotes), found a whole number",
        ),
        ("will: {topic: a}", "1:7: will: \"message\" is missing"),
        ("will: {message: a}", "1:7: will: \"topic\" is missing"),
        (
            "topics: [a]",
            "1:9: topics: expected keys with values, found a list",
        ),
        (
            "topics: {a: 1}",
            "1:13: topics.*: expected keys with values, found a whole number",
        ),
        (
            "topics: {1: {qos: 1}}",
            "1:10: expected text as a key (put it in quotes), found a whole number",
        ),
        (
            "[a, b]: 1",
            "1:1: expected text as a key (put it in quotes), found a list",
        ),
        (
            "- keep_alive: 1",
            "1:1: expected keys with values, found a list",
        ),
        ("keep_alive", "1:1: expected keys with values, found text"),
    ]);
}

#[test]
fn what_is_no_list_and_no_word() {
    assert_rejected(&[
        (
            "martlet: {servers: mqtt://h}",
            "1:20: martlet.servers: expected a list, found text",
        ),
        (
            "martlet: {servers: [mqtt://a, 2]}",
            "1:31: martlet.servers[1]: expected text (put it in quotes), found a whole number",
        ),
        (
            "martlet: {queue: {when_full: drop_oldst}}",
            r#"1:30: martlet.queue.when_full: there is no such word; did you mean "drop_oldest"?"#,
        ),
        (
            "martlet: {queue: {when_full: 1}}",
            "1:30: martlet.queue.when_full: expected a word, found a whole number",
        ),
        (
            "martlet: {version: 4}",
            r#"1:20: martlet.version: there is no such word; there is 3.1, 3.1.1, 5, auto"#,
        ),
    ]);
}

#[test]
fn what_is_no_secret() {
    let secret = "expected text, {env: NAME} or {file: path}";
    assert_rejected(&[
        (
            "will: {topic: a, message: 1.10}",
            &format!("1:27: will.message: {secret}, found a number with a fraction"),
        ),
        (
            "martlet: {password: [a]}",
            &format!("1:21: martlet.password: {secret}, found a list"),
        ),
        (
            "martlet: {password: {a: b}}",
            &format!("1:21: martlet.password: {secret}"),
        ),
        (
            "martlet: {password: {env: A, file: b}}",
            &format!("1:21: martlet.password: {secret}"),
        ),
    ]);
}

#[test]
fn values_that_cannot_be() {
    assert_rejected(&[
        (
            "connection:\n  uri: mq://localhost:1883",
            "2:8: connection.uri: its scheme is not supported; use mqtt, mqtts, ws, wss or mqtt+unix",
        ),
        (
            "connection_timeout: 0",
            "1:21: connection_timeout: must be more than 0",
        ),
        (
            "martlet: {publish_timeout: 0}",
            "1:28: martlet.publish_timeout: must be more than 0",
        ),
        (
            "martlet: {servers: [mqtt://a, mqtt://b:0]}",
            "1:31: martlet.servers[1]: port 0 cannot be connected to",
        ),
    ]);
    for yaml in [
        "topics: {a/+: {qos: 1}}",
        "topics: {'': {qos: 1}}",
        "will: {topic: 'a/#', message: b}",
        "martlet: {subscriptions: {sport+: {qos: 1}}}",
        "martlet: {client_identifier: \"a\\0b\"}",
    ] {
        let error = rejected(yaml);
        assert!(matches!(error.kind(), Kind::Value(_)), "{error}");
        assert!(
            error
                .position()
                .is_some_and(|at| at.line == 1 && at.column > 10),
            "{error}"
        );
    }
    let long = "x".repeat(65_536);
    let error = rejected(&format!("will:\n  topic: a\n  message: {long}"));
    assert_eq!(
        error.position(),
        Some(Position {
            line: 3,
            column: 12
        })
    );
    assert!(!error.to_string().contains("xxx"), "{error}");
}

#[test]
fn settings_that_contradict_each_other() {
    assert_rejected(&[
        (
            "keep_alive: 5\nping_delay: 6",
            "2:13: ping_delay: must not be more than keep_alive",
        ),
        // The default is 10.
        (
            "ping_delay: 11",
            "1:13: ping_delay: must not be more than keep_alive",
        ),
        (
            "verify_cert: false\nconnection: {uri: 'mqtts://h'}",
            "1:14: verify_cert: a certificate that is not verified has no host name to check; set check_hostname to \
             false too",
        ),
        (
            "connection: {certfile: a}",
            "1:24: connection.certfile: a certificate needs its keyfile",
        ),
        (
            "martlet: {key_password: a}",
            "1:25: martlet.key_password: there is no keyfile that it could be for",
        ),
        (
            "keyfile: a",
            "1:10: connection.keyfile: a key needs its certfile",
        ),
        (
            "connection: {keyfile: a, certfile: b}\nkeyfile: a",
            "2:1: \"keyfile\" is given twice",
        ),
        (
            "connection: {uri: 'mqtt://u@h'}\nmartlet: {user_name: a}",
            "2:22: martlet.user_name: the URI has a user name or a password too",
        ),
        (
            "martlet: {version: 3.1.1, session_expiry_interval: 5}",
            "1:52: martlet.session_expiry_interval: a session expiry needs MQTT 5; set martlet.version to 5 or auto",
        ),
        (
            "martlet: {session_expiry_interval: 5}",
            "1:36: martlet.session_expiry_interval: a session expiry needs MQTT 5; set martlet.version to 5 or auto",
        ),
    ]);
    // No keep alive, no ping.
    assert_eq!(load("keep_alive: 0\nping_delay: 5").ping_delay, Some(5));
    assert!(load("keep_alive: 1").builder().is_ok());
}

#[test]
fn no_yaml() {
    for yaml in [
        "keep_alive: 5\n  ping_delay: 1",
        "connection: {uri: a",
        "a: b: c",
        "\tkeep_alive: 1",
        "connection:\n  \turi: a",
        "keep_alive: 1\n\tping_delay: 1",
        "a: *b",
        "'",
        "%",
        "keep_alive: 1\n---\nkeep_alive: 2",
    ] {
        let error = rejected(yaml);
        assert!(matches!(error.kind(), Kind::Syntax(_)), "{error:?}");
    }
    assert_eq!(
        rejected("keep_alive: 5\n  ping_delay: 1").to_string(),
        "2:13: not YAML: mapping values are not allowed in this context"
    );
}

#[test]
fn nothing() {
    for yaml in [
        "",
        " \n",
        "# only a remark\n",
        "---\n",
        "~",
        "null",
        "\u{feff}",
    ] {
        assert_eq!(rejected(yaml).kind(), &Kind::Empty, "{yaml:?}");
    }
    assert_eq!(load("{}"), Settings::amqtt());
}
