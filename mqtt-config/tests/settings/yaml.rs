//! What YAML has in store for careless readers.

use crate::{assert_rejected, load, rejected};
use martlet_client::QoS;
use martlet_config::SettingsErrorKind as Kind;

#[test]
fn a_key_that_stands_there_twice() {
    assert_rejected(&[
        (
            "keep_alive: 1\nkeep_alive: 2",
            "2:1: \"keep_alive\" is given twice",
        ),
        (
            "plugins: [packet_logger_plugin, amqtt.plugins.logging_amqtt.PacketLoggerPlugin]",
            "1:1: \"amqtt.plugins.logging_amqtt.PacketLoggerPlugin\" is given twice",
        ),
        (
            "topics:\n  a: {qos: 1}\n  a: {qos: 2}",
            "3:3: a key is given twice",
        ),
    ]);
}

/// A text with `!!binary` went out as it was written; of other tags `!!str` and Python's were
/// passed over.
#[test]
fn no_tag_but_binary() {
    for tag in [
        "!seconds",
        "!!int",
        "!!str",
        "!!float",
        "!!bool",
        "!!null",
        "!!timestamp",
        "!!python/str",
        "!!python/name:os.system",
        "!<tag:yaml.org,2002:int>",
        "!<tag:yaml.org,2002:binarys>",
        "!",
    ] {
        assert_rejected(&[
            (
                &format!("keep_alive: {tag} 5"),
                "1:13: a tag; no setting has another than !!binary",
            ),
            (
                &format!("martlet: {{client_identifier: {tag} '5'}}"),
                "1:30: a tag; no setting has another than !!binary",
            ),
            (
                &format!("{tag} keep_alive: 5"),
                "1:1: a tag; no setting has another than !!binary",
            ),
        ]);
    }
    for collection in [
        "!settings {keep_alive: 5}",
        "!!map {keep_alive: 5}",
        "!!omap [keep_alive: 5]",
        "!!set {keep_alive}",
    ] {
        assert_rejected(&[(
            collection,
            "1:1: a tag; no setting has another than !!binary",
        )]);
    }
    // What PyYAML would call a function for.
    rejected("keep_alive: !!python/object/apply:os.system ['true']");
    rejected("%TAG !y! tag:yaml.org,2002:\n---\nkeep_alive: !y!int 5");
}

/// amqtt's files share settings with `<<`, the merge key of YAML 1.1, and were rejected.
#[test]
fn merge_keys() {
    let settings = load(
        "topics:
  a: &a {qos: 1, retain: true}
  b: &b {qos: 2}
  alone: {<<: *a}
  over: {<<: *a, qos: 0}
  before: {qos: 0, <<: *a}
  first: {<<: [*b, *a]}
  nested: {<<: {<<: *b, retain: false}}
  twice: {<<: *b, <<: *a}
",
    );
    let topic = |name: &str| {
        let defaults = settings.topics[name];
        (defaults.qos.map(QoS::as_u8), defaults.retain)
    };
    assert_eq!(topic("alone"), (Some(1), Some(true)));
    assert_eq!(topic("over"), (Some(0), Some(true)));
    assert_eq!(topic("before"), (Some(0), Some(true)));
    assert_eq!(
        topic("first"),
        (Some(2), Some(true)),
        "the first of a list has precedence"
    );
    assert_eq!(topic("nested"), (Some(2), Some(false)));
    assert_eq!(topic("twice"), (Some(2), Some(true)));
    // In quotes it is a topic as any other.
    assert!(load("topics: {'<<': {qos: 1}}").topics.contains_key("<<"));
    assert_rejected(&[
        (
            "topics: {a: {<<: 5}}",
            "1:18: expected keys with values, or a list of those, to merge, found a whole number",
        ),
        (
            "topics: {a: {<<: [{qos: 1}, b]}}",
            "1:18: expected keys with values, or a list of those, to merge, found text",
        ),
        // What is wrong in it is found where it stands.
        (
            "topics:\n  a: &a {qos: 3}\n  b: {<<: *a}",
            "2:15: topics.*.qos: a QoS is 0, 1 or 2",
        ),
        ("keep_alive: &a [*a]", "1:17: a value that contains itself"),
    ]);
}

#[test]
fn aliases_are_good_within_bounds() {
    let settings = load("topics:\n  a: &often {qos: 1}\n  b: *often");
    assert_eq!(settings.topics["a"], settings.topics["b"]);

    // A billion laughs.
    let mut yaml = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let last = format!("*a{}, ", n - 1).repeat(10);
        yaml += &format!("b{n}: &a{n} [{last}]\n");
    }
    let error = rejected(&yaml);
    assert!(
        matches!(error.kind(), Kind::Excess(_) | Kind::Syntax(_)),
        "{error}"
    );

    // One text, many times.
    let long = "x".repeat(500_000);
    let often = "*a, ".repeat(10_000);
    let error = rejected(&format!("a: &a {long}\nb: [{often}]"));
    assert!(
        matches!(error.kind(), Kind::Excess(_) | Kind::Syntax(_)),
        "{error}"
    );
}

/// Each of these would keep a careless reader busy for hours, or overflow its stack.
#[test]
fn values_within_values() {
    for deep in [
        "[".repeat(100) + &"]".repeat(100),
        "[".repeat(1_000_000),
        "{a: ".repeat(200_000),
        "- ".repeat(500_000),
        "? ".repeat(500_000),
        (0..1000).map(|n| " ".repeat(n) + "a:\n").collect(),
        "[]".repeat(400_000),
        "&a ".repeat(300_000),
        "!".repeat(1_000_000),
        "a: |\n ".repeat(150_000),
        "\"".repeat(1_000_000),
    ] {
        rejected(&deep);
    }
}

#[test]
fn a_huge_text() {
    let yaml = format!("keep_alive: 5 #{}", " ".repeat(1024 * 1024));
    assert_eq!(
        rejected(&yaml).to_string(),
        "it is larger than the 1048576 bytes that a configuration may have"
    );
}
