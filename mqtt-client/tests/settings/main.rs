//! Configuration files: those written for amqtt, our own section, and everything that can be wrong with one.
#![cfg(feature = "yaml")]

mod yaml;

use martlet_client::settings::{
    Connection, Filter, Plugin, Position, Secret, SettingsErrorKind as Kind, Uri, Will,
};
use martlet_client::{QoS, QueueLimits, Settings, SettingsError, TopicDefaults, Version, WhenFull};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn load(yaml: &str) -> Settings {
    Settings::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

#[track_caller]
fn refused(yaml: &str) -> SettingsError {
    match Settings::from_yaml(yaml) {
        Ok(settings) => panic!("{yaml} is taken for {settings:?}"),
        Err(error) => error,
    }
}

#[track_caller]
fn assert_refused(table: &[(&str, &str)]) {
    for (yaml, message) in table {
        assert_eq!(refused(yaml).to_string(), *message, "{yaml}");
    }
}

// ---- files of amqtt

/// What its package holds as the default of its tools: no `connection_timeout`, the plugin without options.
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
    let expected = Settings {
        ping_delay: Some(1),
        connection: Connection { uri: "mqtt://127.0.0.1".into(), ..Connection::default() },
        plugins: vec![Plugin::PacketLogger],
        ..Settings::default()
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

/// Its page about certificates has them at the top, where its own code refuses them.
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
    assert_eq!(settings.connection.cafile.as_deref(), Some(Path::new("ca.crt")));
    assert_eq!(settings.connection.certfile.as_deref(), Some(Path::new("client.crt")));
    assert_eq!(settings.connection.keyfile.as_deref(), Some(Path::new("client.key")));
    // Alone, the server is the default one.
    let settings = load("{certfile: a, keyfile: b}");
    assert_eq!(settings.connection.uri.as_str(), "mqtt://127.0.0.1:1883");
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
    let defaults = |qos, retain| TopicDefaults { qos: Some(qos), retain };
    let expected = Settings {
        keep_alive: 20,
        ping_delay: Some(2),
        default_qos: QoS::AtLeastOnce,
        default_retain: true,
        auto_reconnect: false,
        connection_timeout: Duration::from_secs(6),
        reconnect_retries: -1,
        reconnect_max_interval: Duration::from_secs(5),
        cleansession: false,
        check_hostname: false,
        verify_cert: false,
        topics: [
            ("a/b".to_owned(), defaults(QoS::AtMostOnce, None)),
            ("a/c".to_owned(), defaults(QoS::ExactlyOnce, Some(true))),
        ]
        .into(),
        connection: Connection {
            uri: "mqtt://user:pw@host:8883".into(),
            cafile: Some("/p/ca.pem".into()),
            capath: Some("/p/cas".into()),
            cadata: Some("PEM...".into()),
            certfile: Some("/p/c.pem".into()),
            keyfile: Some("/p/k.pem".into()),
        },
        plugins: vec![Plugin::PacketLogger],
        will: Some(Will {
            topic: "will/t".into(),
            message: "gone".into(),
            qos: QoS::AtLeastOnce,
            retain: true,
        }),
        martlet: Default::default(),
    };
    assert_eq!(settings, expected);
}

#[test]
fn a_key_without_a_value_is_as_good_as_none() {
    let empty = "keep_alive:\nping_delay: ~\ntopics:\nwill: null\nbroker:\nplugins:\ncheck_hostname:\n\
        connection:\ncertfile:\nmartlet: {queue: , client_id: }";
    assert_eq!(load(empty), Settings::default());
    assert_refused(&[("keep:", r#"1:1: there is no key "keep"; did you mean "keep_alive"?"#)]);
}

/// YAML 1.1 has more words for true and false than 1.2; amqtt reads 1.1.
#[test]
fn words_for_true_and_false() {
    for (word, value) in
        [("yes", true), ("On", true), ("TRUE", true), ("no", false), ("OFF", false), ("False", false)]
    {
        assert_eq!(load(&format!("cleansession: {word}")).cleansession, value, "{word}");
    }
    // Elsewhere they are text.
    let settings = load("martlet: {client_id: no}\ntopics: {on: {retain: off}}");
    assert_eq!(settings.martlet.client_id.as_deref(), Some("no"));
    assert_eq!(settings.topics["on"].retain, Some(false));
}

// ---- our own section

/// The file in the documentation says what the defaults are.
#[test]
fn the_sample_has_every_key_and_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/martlet.yaml");
    let mut sample = Settings::load(path).unwrap();
    assert!(sample.builder().is_ok());
    let config = martlet_client::Config::default();
    let martlet = &sample.martlet;
    assert_eq!(sample.ping_delay, Some(1));
    assert_eq!(martlet.max_in_flight, Some(config.max_in_flight));
    assert_eq!(martlet.max_in_flight_3x, Some(config.max_in_flight_3x));
    assert_eq!(martlet.maximum_packet_size, Some(config.maximum_packet_size));
    assert_eq!(martlet.request_timeout, Some(config.request_timeout));
    assert_eq!(martlet.ping_timeout, Some(config.ping_timeout));
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
    assert_eq!(sample, Settings::default());
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
    assert!(whole.connection.keyfile.is_some() && whole.martlet.session_expiry.is_some());
}

#[test]
fn every_key_of_ours() {
    let settings = load(
        "
martlet:
  protocol_version: 3.1.1
  client_id: sensor-7
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
  ack_timeout: 2.5
  request_timeout: 3
  ping_timeout: 4
  subscriptions:
    sensors/#: {qos: 1}
    '#': {}
",
    );
    let martlet = &settings.martlet;
    assert_eq!(martlet.protocol_version, Some(Version::V3_1_1));
    assert_eq!(martlet.client_id.as_deref(), Some("sensor-7"));
    assert_eq!(martlet.user_name, Some(Secret::from("ann")));
    assert_eq!(martlet.password, Some(Secret::Env("MQTT_PASSWORD".into())));
    assert_eq!(martlet.servers, [Uri::from("mqtt://second"), Uri::from("mqtt://third:1884")]);
    assert_eq!(martlet.proxy, Some(Uri::from("socks5://proxy:1080")));
    let token = Secret::Env("MQTT_TOKEN".into());
    let headers = [("X-Device".to_owned(), Secret::from("seven")), ("Authorization".to_owned(), token)];
    assert_eq!(martlet.headers, headers);
    assert_eq!(martlet.server_name.as_deref(), Some("broker.example"));
    assert_eq!(martlet.alpn, ["mqtt"]);
    assert_eq!(martlet.max_in_flight.map(u16::from), Some(50));
    assert_eq!(martlet.max_in_flight_3x.map(u16::from), Some(5));
    let queue =
        QueueLimits { messages: 100, bytes: 65536, when_full: WhenFull::DropOldest, qos0_offline: false };
    assert_eq!(martlet.queue, queue);
    assert_eq!(martlet.inbound.receive_maximum.get(), 10);
    assert_eq!(martlet.inbound.soft_messages, 20);
    let default = martlet_client::InboundLimits::default();
    assert_eq!(martlet.inbound.soft_bytes, default.soft_bytes, "what is not given has its default");
    assert_eq!(martlet.maximum_packet_size, Some(1_000_000));
    assert_eq!(martlet.ack_timeout, Some(Duration::from_millis(2500)));
    assert_eq!(martlet.request_timeout, Some(Duration::from_secs(3)));
    assert_eq!(martlet.ping_timeout, Some(Duration::from_secs(4)));
    let filters: Vec<_> =
        martlet.subscriptions.iter().map(|(filter, options)| (&**filter, *options)).collect();
    let filter = |qos| Filter { qos };
    assert_eq!(filters, [("#", filter(QoS::AtMostOnce)), ("sensors/#", filter(QoS::AtLeastOnce))]);
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
        let settings = load(&format!("martlet: {{protocol_version: {version}}}"));
        assert_eq!(settings.martlet.protocol_version, Some(expected), "{version}");
    }
}

#[test]
fn a_secret_that_is_not_there_is_told_when_the_builder_is_made() {
    let settings = load("martlet: {user_name: ann, password: {env: MARTLET_NO_SUCH_VARIABLE}}");
    assert_eq!(
        settings.builder().unwrap_err().to_string(),
        "configuration: martlet.password: the environment variable MARTLET_NO_SUCH_VARIABLE is not set"
    );
    let settings = load("martlet: {user_name: ann, password: {file: /no/such/file}}");
    let error = settings.builder().unwrap_err().to_string();
    assert!(error.starts_with("configuration: martlet.password: cannot read /no/such/file: "), "{error}");
}

#[test]
fn a_session_that_is_kept() {
    let folder = std::env::temp_dir().join(format!("martlet-settings-store-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut settings = Settings::default();
    settings.martlet.store = Some(folder.join("session.redb"));
    assert_eq!(
        settings.builder().unwrap_err().to_string(),
        "configuration: martlet.store: a session that is kept begins with durable_builder()"
    );
    #[cfg(feature = "redb")]
    {
        assert!(settings.durable_builder().is_ok());
        settings.martlet.store = Some(folder.clone());
        let error = settings.durable_builder().map(drop).unwrap_err().to_string();
        assert!(error.starts_with("configuration: martlet.store: "), "{error}");
        settings.martlet.store = None;
        assert!(settings.durable_builder().is_err());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

// ---- what is wrong, and where

#[test]
fn unknown_keys_with_what_was_meant() {
    assert_refused(&[
        ("keep_alive: 5\nkeepalive: 6\n", r#"2:1: there is no key "keepalive"; did you mean "keep_alive"?"#),
        (
            "connection:\n  uri: mqtt://h\n  ca_file: x",
            r#"3:3: connection: there is no key "ca_file"; did you mean "cafile"?"#,
        ),
        ("connection: {urii: a}", r#"1:14: connection: there is no key "urii"; did you mean "uri"?"#),
        ("broker:\n  urii: a", r#"2:3: broker: there is no key "urii"; did you mean "uri"?"#),
        ("default-qos: 1", r#"1:1: there is no key "default-qos"; did you mean "default_qos"?"#),
        ("topics:\n  a:\n    qus: 1", r#"3:5: topics.a: there is no key "qus"; did you mean "qos"?"#),
        (
            "martlet:\n  queue: {mesages: 5}",
            r#"2:11: martlet.queue: there is no key "mesages"; did you mean "messages"?"#,
        ),
        ("will: {topic: a, message: b, QoS: 1}", r#"1:30: will: there is no key "QoS"; did you mean "qos"?"#),
        (
            "will: {topic: a, message: b, something: 1}",
            r#"1:30: will: there is no key "something"; there is topic, message, qos, retain"#,
        ),
        (
            "plugins: {packet_logger_plugin: {level: 1}}",
            r#"1:34: plugins.packet_logger_plugin: there is no key "level"; there is none"#,
        ),
    ]);
}

#[test]
fn plugins_that_are_not_there() {
    let known = "amqtt.plugins.logging_amqtt.PacketLoggerPlugin, packet_logger_plugin";
    assert_refused(&[
        (
            "plugins:\n  - amqtt.plugins.sys.broker.BrokerSysPlugin",
            &format!("2:5: plugins[0]: there is no such word; there is {known}"),
        ),
        (
            "plugins:\n  my.own.Plugin: {a: b}",
            &format!(r#"2:3: plugins: there is no key "my.own.Plugin"; there is {known}"#),
        ),
        (
            "plugins:\n- amqtt.plugins.logging.PacketLoggerPlugin",
            r#"2:3: plugins[0]: there is no such word; did you mean "amqtt.plugins.logging_amqtt.PacketLoggerPlugin"?"#,
        ),
    ]);
}

#[test]
fn wrong_types() {
    let number = "expected a whole number from 0 to 65535";
    let no_time = "no such time: cannot convert float seconds to Duration: value is either too big or NaN";
    let secret = "expected text, {env: NAME} or {file: path}";
    assert_refused(&[
        ("keep_alive: \"10\"", &format!("1:13: keep_alive: {number}, found text")),
        ("keep_alive: 2.5", &format!("1:13: keep_alive: {number}, found a number with a fraction")),
        ("keep_alive: 65536", &format!("1:13: keep_alive: {number}")),
        ("keep_alive: -1", &format!("1:13: keep_alive: {number}")),
        (
            "keep_alive: 99999999999999999999999999999999999999999999",
            &format!("1:13: keep_alive: {number}, found a number with a fraction"),
        ),
        ("keep_alive: [1]", &format!("1:13: keep_alive: {number}, found a list")),
        // In YAML 1.1 these are 8, 90 and 1000, in 1.2 text: neither.
        ("keep_alive: 010", &format!("1:13: keep_alive: {number}, found text")),
        ("keep_alive: 1:30", &format!("1:13: keep_alive: {number}, found text")),
        ("keep_alive: 1_000", &format!("1:13: keep_alive: {number}, found text")),
        ("cleansession: 1", "1:15: cleansession: expected true or false, found a whole number"),
        ("cleansession: 'maybe'", "1:15: cleansession: expected true or false, found text"),
        ("default_qos: 3", "1:14: default_qos: there is no QoS 3; it is 0, 1 or 2"),
        ("default_qos: -1", "1:14: default_qos: a QoS is 0, 1 or 2"),
        ("default_qos: one", "1:14: default_qos: expected a QoS of 0, 1 or 2, found text"),
        ("connection_timeout: -5", "1:21: connection_timeout: a time cannot be negative"),
        ("connection_timeout: .nan", &format!("1:21: connection_timeout: {no_time}")),
        ("connection_timeout: .inf", &format!("1:21: connection_timeout: {no_time}")),
        ("connection_timeout: soon", "1:21: connection_timeout: expected a number of seconds, found text"),
        ("connection: mqtt://h", "1:13: connection: expected keys with values, found text"),
        (
            "connection: {uri: 5}",
            "1:19: connection.uri: expected text (put it in quotes), found a whole number",
        ),
        (
            "will: {topic: a, message: 1.10}",
            &format!("1:27: will.message: {secret}, found a number with a fraction"),
        ),
        ("will: {topic: a}", "1:7: will: \"message\" is missing"),
        ("will: {message: a}", "1:7: will: \"topic\" is missing"),
        ("topics: [a]", "1:9: topics: expected keys with values, found a list"),
        ("topics: {a: 1}", "1:13: topics.a: expected keys with values, found a whole number"),
        ("topics: {1: {qos: 1}}", "1:10: expected text as a key (put it in quotes), found a number"),
        ("[a, b]: 1", "1:1: expected text as a key (put it in quotes), found a list"),
        ("- keep_alive: 1", "1:1: expected keys with values, found a list"),
        ("keep_alive", "1:1: expected keys with values, found text"),
        ("martlet: {servers: mqtt://h}", "1:20: martlet.servers: expected a list, found text"),
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
            "martlet: {protocol_version: 4}",
            r#"1:29: martlet.protocol_version: there is no such word; there is 3.1, 3.1.1, 5"#,
        ),
        ("martlet: {max_in_flight: 0}", "1:26: martlet.max_in_flight: expected a nonzero u16"),
        ("martlet: {password: [a]}", &format!("1:21: martlet.password: {secret}, found a list")),
        ("martlet: {password: {a: b}}", &format!("1:21: martlet.password: {secret}")),
        ("martlet: {password: {env: A, file: b}}", &format!("1:21: martlet.password: {secret}")),
    ]);
}

#[test]
fn values_that_cannot_be() {
    assert_refused(&[
        (
            "connection:\n  uri: mq://localhost:1883",
            "2:8: connection.uri: the scheme \"mq\" is not supported; use mqtt, mqtts, ws, wss or mqtt+unix",
        ),
        ("connection_timeout: 0", "1:21: connection_timeout: must be more than 0"),
        ("reconnect_max_interval: 0", "1:25: reconnect_max_interval: must be more than 0"),
        ("martlet: {ack_timeout: 0}", "1:24: martlet.ack_timeout: must be more than 0"),
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
        "martlet: {client_id: \"a\\0b\"}",
    ] {
        let error = refused(yaml);
        assert!(matches!(error.kind(), Kind::Value(_)), "{error}");
        assert!(error.position().is_some_and(|at| at.line == 1 && at.column > 10), "{error}");
    }
    let long = "x".repeat(65_536);
    let error = refused(&format!("will:\n  topic: a\n  message: {long}"));
    assert_eq!(error.position(), Some(Position { line: 3, column: 12 }));
    assert!(!error.to_string().contains("xxx"), "{error}");
}

#[test]
fn settings_that_contradict_each_other() {
    assert_refused(&[
        ("keep_alive: 5\nping_delay: 5", "2:13: ping_delay: must be less than the keep alive of 5 s"),
        // Of the default of 10.
        ("ping_delay: 10", "1:13: ping_delay: must be less than the keep alive of 10 s"),
        (
            "verify_cert: false",
            "1:14: verify_cert: a certificate that is not verified has no host name to check; set check_hostname to \
             false too",
        ),
        ("connection: {certfile: a}", "1:24: connection.certfile: a certificate needs its keyfile"),
        (
            "martlet: {key_password: a}",
            "1:25: martlet.key_password: there is no keyfile that it could be for",
        ),
        ("keyfile: a", "1:10: connection.keyfile: a key needs its certfile"),
        ("connection: {uri: mqtt://a}\nbroker: {uri: mqtt://b}", "1:1: \"connection\" is given twice"),
        ("connection: {keyfile: a, certfile: b}\nkeyfile: a", "2:1: \"keyfile\" is given twice"),
        (
            "connection: {uri: 'mqtt://u@h'}\nmartlet: {user_name: a}",
            "2:22: martlet.user_name: the URI has a user name or a password too",
        ),
        (
            "martlet: {protocol_version: 3.1.1, session_expiry: 5}",
            "1:52: martlet.session_expiry: a session expiry needs MQTT 5",
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
        "a: *b",
        "'",
        "%",
        "keep_alive: 1\n---\nkeep_alive: 2",
    ] {
        let error = refused(yaml);
        assert!(matches!(error.kind(), Kind::Syntax(_)), "{error:?}");
    }
    assert_eq!(
        refused("keep_alive: 5\n  ping_delay: 1").to_string(),
        "2:13: not YAML: mapping values are not allowed in this context"
    );
}

#[test]
fn nothing() {
    for yaml in ["", " \n", "# only a remark\n", "---\n", "~", "null", "\u{feff}"] {
        assert_eq!(refused(yaml).kind(), &Kind::Empty, "{yaml:?}");
    }
    assert_eq!(load("{}"), Settings::default());
}

// ---- files

#[test]
fn files_that_cannot_be_read() {
    let folder = std::env::temp_dir().join(format!("martlet-settings-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, content: &[u8]| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let kind = |path: &Path| {
        let error = Settings::load(path).unwrap_err();
        assert_eq!(error.file(), Some(path));
        assert!(error.to_string().starts_with(&format!("{}:", path.display())), "{error}");
        error.kind().clone()
    };
    let unreadable = |kind: &Kind, wanted| matches!(kind, Kind::Unreadable { kind, .. } if *kind == wanted);
    assert!(unreadable(&kind(&folder.join("missing.yaml")), std::io::ErrorKind::NotFound));
    assert!(unreadable(&kind(&folder), std::io::ErrorKind::IsADirectory));
    assert_eq!(kind(&file("empty.yaml", b"")), Kind::Empty);
    assert_eq!(kind(&file("latin.yaml", b"# caf\xe9")), Kind::NotText);
    assert!(matches!(kind(&file("broken.yaml", b"a: [")), Kind::Syntax(_)));
    let limit = 1024 * 1024;
    assert_eq!(kind(&file("huge.yaml", &vec![b' '; limit + 1])), Kind::TooLarge { limit });
    #[cfg(target_os = "linux")]
    assert_eq!(kind(Path::new("/dev/zero")), Kind::TooLarge { limit });

    let wrong = file("wrong.yaml", b"keep_alive: 5\nwil: 1\n");
    assert_eq!(
        Settings::load(&wrong).unwrap_err().to_string(),
        format!("{}:2:1: there is no key \"wil\"; did you mean \"will\"?", wrong.display())
    );
    let good = file("good.yaml", b"keep_alive: 5\r\n");
    assert_eq!(Settings::load(&good).unwrap().keep_alive, 5);
    std::fs::remove_dir_all(&folder).unwrap();
}

// ---- printing

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
  protocol_version: 3.1
  client_id: '1e3'
  servers: ['mqtt://[::1]:9']
  proxy: http://h
  headers: [{A: {env: B}}, {A: {file: C}}]
  queue: {when_full: drop_newest}
  inbound: {qos0_when_full: drop_newest}
  ack_timeout: 0.25
  subscriptions: {'#': {qos: 2}}
",
    );
    let printed = settings.to_yaml();
    assert_eq!(load(&printed), settings, "{printed}");
    assert_eq!(load(&printed).to_yaml(), printed);
}

#[test]
fn what_was_printed_lacks_its_secrets_and_is_not_taken_for_whole() {
    let secrets = [
        ("connection: {uri: 'mqtt://ann:canary@h'}", "connection.uri"),
        ("martlet: {servers: ['mqtt://ann:canary@h']}", "martlet.servers[0]"),
        ("martlet: {user_name: ann, password: canary}", "martlet.user_name"),
        ("will: {topic: a, message: canary}", "will.message"),
        ("martlet: {proxy: 'http://a:canary@h'}", "martlet.proxy"),
        ("martlet: {headers: {A: canary}}", "martlet.headers.A"),
        ("{certfile: a, keyfile: b, martlet: {key_password: canary}}", "martlet.key_password"),
    ];
    for (yaml, path) in secrets {
        let printed = load(yaml).to_yaml();
        assert!(printed.contains("***") && !printed.contains("canary"), "{printed}");
        let error = refused(&printed);
        assert_eq!((error.kind(), error.path().as_str()), (&Kind::Hidden, path));
        assert!(error.position().is_some());
    }
}
