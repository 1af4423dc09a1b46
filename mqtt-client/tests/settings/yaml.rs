//! What YAML has in store for careless readers.

use crate::{assert_refused, load, refused};
use martlet_client::settings::SettingsErrorKind as Kind;

#[test]
fn a_key_that_stands_there_twice() {
    assert_refused(&[
        ("keep_alive: 1\nkeep_alive: 2", "2:1: \"keep_alive\" is given twice"),
        (
            "plugins: [packet_logger_plugin, amqtt.plugins.logging_amqtt.PacketLoggerPlugin]",
            "1:1: \"amqtt.plugins.logging_amqtt.PacketLoggerPlugin\" is given twice",
        ),
        ("topics:\n  a: {qos: 1}\n  a: {qos: 2}", "3:3: \"a\" is given twice"),
    ]);
}

#[test]
fn tags_and_merges() {
    assert_refused(&[
        ("keep_alive: !seconds 5", "1:13: a tag; no setting has one"),
        ("!settings {keep_alive: 5}", "1:1: a tag; no setting has one"),
        ("a: &a {qos: 1}\ntopics: {b: {<<: *a}}", "2:14: maps cannot be merged; write the keys out"),
    ]);
    // What PyYAML would call a function for.
    refused("keep_alive: !!python/object/apply:os.system ['true']");
    assert_eq!(load("keep_alive: !!int 5").keep_alive, 5);
    refused("keep_alive: !!str 5");
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
    let error = refused(&yaml);
    assert!(matches!(error.kind(), Kind::Excess(_) | Kind::Syntax(_)), "{error}");

    // One text, many times.
    let long = "x".repeat(500_000);
    let often = "*a, ".repeat(10_000);
    let error = refused(&format!("a: &a {long}\nb: [{often}]"));
    assert!(matches!(error.kind(), Kind::Excess(_) | Kind::Syntax(_)), "{error}");
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
        refused(&deep);
    }
}

#[test]
fn a_huge_text() {
    let yaml = format!("keep_alive: 5 #{}", " ".repeat(1024 * 1024));
    assert_eq!(
        refused(&yaml).to_string(),
        "it is larger than the 1048576 bytes that a configuration may have"
    );
}
