//! The linter itself: for each rule a transcript that breaks it is found, and good ones give
//! nothing.

mod broken;

use super::{Linter, Relay, Rule};
use broken::broken;
use core::time::Duration;
use martlet_proto::Version;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// What happens.
enum Step {
    /// A new connection.
    Open,
    /// The client sends.
    C(Vec<u8>),
    /// The server sends.
    S(Vec<u8>),
    /// Seconds pass.
    Wait(u64),
}
use Step::{C, Open, S, Wait};

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    assert!(body.len() < 128);
    [&[first, body.len() as u8], &body[..]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// A CONNECT with the identifier `a`.
fn connect(version: Version, flags: u8, keep_alive: u8, properties: &[u8], payload: &[u8]) -> Step {
    let (name, level) = match version {
        Version::V3_1 => ("MQIsdp", 3),
        Version::V3_1_1 => ("MQTT", 4),
        Version::V5 => ("MQTT", 5),
    };
    let length = [properties.len() as u8];
    let properties: &[&[u8]] = if level == 5 {
        &[&length, properties]
    } else {
        &[]
    };
    let properties = properties.concat();
    C(packet(
        0x10,
        &[
            &text(name),
            &[level, flags, 0, keep_alive],
            &properties,
            &text("a"),
            payload,
        ],
    ))
}

fn connect5(properties: &[u8]) -> Step {
    connect(Version::V5, 0, 0, properties, &[])
}

fn connack5(present: u8, properties: &[u8]) -> Step {
    S(packet(
        0x20,
        &[&[present, 0, properties.len() as u8], properties],
    ))
}

/// Connected with MQTT 5; the server says this.
fn v5(connack: &[u8], more: Vec<Step>) -> Vec<Step> {
    [vec![Open, connect5(&[]), connack5(0, connack)], more]
        .into_iter()
        .flatten()
        .collect()
}

/// Connected with MQTT 3.1.1.
fn v3(more: Vec<Step>) -> Vec<Step> {
    let begin = vec![
        Open,
        connect(Version::V3_1_1, 0, 0, &[], &[]),
        S(vec![0x20, 2, 0, 0]),
    ];
    begin.into_iter().chain(more).collect()
}

/// The connection breaks, and the server has the session.
fn again() -> [Step; 3] {
    [Open, connect5(&[]), connack5(1, &[])]
}

/// A PUBLISH on topic `t` with one byte.
fn publish(first: u8, id: u8, byte: u8) -> Vec<u8> {
    let id: &[u8] = if first & 6 == 0 { &[] } else { &[0, id] };
    packet(first, &[&text("t"), id, &[0, byte]])
}

fn publish3(first: u8, id: u8, byte: u8) -> Vec<u8> {
    packet(first, &[&text("t"), &[0, id, byte]])
}

fn ack(first: u8, id: u8) -> Vec<u8> {
    vec![first, 2, 0, id]
}

fn subscribe(filter: &str, options: u8) -> Step {
    C(packet(0x82, &[&[0, 1, 0], &text(filter), &[options]]))
}

fn lint(steps: &[Step]) -> Linter {
    lint_with(Linter::new(), steps)
}

fn lint_with(mut linter: Linter, steps: &[Step]) -> Linter {
    let mut now = Duration::from_secs(1000);
    for step in steps {
        match step {
            Open => linter.open(now),
            C(bytes) => linter.sent(now, bytes),
            S(bytes) => linter.received(now, bytes),
            Wait(seconds) => now += Duration::from_secs(*seconds),
        }
    }
    linter.passes(now);
    assert_eq!(linter.server_nonsense(), None);
    linter
}

#[test]
fn each_rule_is_found_where_it_is_broken() {
    let mut found: HashSet<Rule> = HashSet::new();
    for (i, (rule, steps)) in broken().iter().enumerate() {
        let linter = lint(steps);
        let rules: Vec<Rule> = linter
            .findings()
            .iter()
            .map(|finding| finding.rule)
            .collect();
        assert_eq!(rules, [*rule], "transcript {i}: {:?}", linter.findings());
        if linter.version().is_some() {
            assert!(
                !linter.findings()[0].statement.is_empty(),
                "{rule:?} is no rule of {:?}",
                linter.version()
            );
        }
        found.insert(*rule);
    }
    // The client's own limit, which the linter cannot see.
    let mut linter = Linter::new().with_window(1);
    for step in v3(vec![C(publish3(0x32, 1, 1)), C(publish3(0x32, 2, 2))]) {
        match step {
            C(bytes) => linter.sent(Duration::ZERO, &bytes),
            S(bytes) => linter.received(Duration::ZERO, &bytes),
            Open | Wait(_) => linter.open(Duration::ZERO),
        }
    }
    assert_eq!(linter.findings()[0].rule, Rule::Window);
    found.insert(Rule::Window);
    found.extend(nonsense().into_iter().map(|(rule, ..)| rule));
    let missing: Vec<_> = Rule::ALL
        .iter()
        .filter(|rule| !found.contains(rule))
        .collect();
    assert!(missing.is_empty(), "nothing breaks {missing:?}");
}

#[test]
fn a_good_client_of_mqtt_5_gives_nothing() {
    let talk = vec![
        Open,
        // A will with properties, a user name and a password; an expiry.
        connect(
            Version::V5,
            0xf6,
            10,
            &[
                0x11, 0, 0, 0, 9, 0x21, 0, 2, 0x26, 0, 0, 0, 0, 0x26, 0, 0, 0, 0,
            ],
            &[5, 0x18, 0, 0, 0, 1, 0, 1, b'w', 0, 0, 0, 1, b'u', 0, 0],
        ),
        connack5(0, &[0x21, 0, 2, 0x22, 0, 1, 0x13, 0, 5]),
        subscribe("$share/s/a/+/#", 0x2a),
        C(publish(0x34, 2, 2)),
        C(packet(0x33, &[&text("t"), &[0, 3, 3, 0x23, 0, 1, 9]])),
        Wait(5),
        C(vec![0xc0, 0]),
        // The alias alone; the window is full, and QoS 0 goes on.
        C(packet(0x30, &[&text(""), &[3, 0x23, 0, 1]])),
        S(packet(0x90, &[&[0, 1, 0, 2]])),
        S(ack(0x50, 2)),
        C(ack(0x62, 2)),
        // Both ways with the same identifiers.
        S(publish(0x32, 2, 7)),
        S(publish(0x34, 3, 8)),
        C(ack(0x50, 3)),
        C(ack(0x40, 2)),
        Wait(3),
        // Cut: what was published comes again in its order, the PUBREL too, and a new one after.
        Open,
        connect(Version::V5, 0, 10, &[0x11, 0, 0, 0, 9, 0x21, 0, 2], &[]),
        connack5(1, &[0x21, 0, 2]),
        C(ack(0x62, 2)),
        C(packet(0x3b, &[&text("t"), &[0, 3, 0, 9]])),
        S(publish(0x3c, 3, 8)),
        C(ack(0x50, 3)),
        S(ack(0x62, 3)),
        C(ack(0x70, 3)),
        S(ack(0x70, 2)),
        S(vec![0x40, 3, 0, 3, 0x10]),
        C(publish(0x34, 3, 5)),
        S(vec![0x50, 3, 0, 3, 0x97]),
        C(publish(0x32, 3, 6)),
        // Nobody waits for it: it is answered all the same.
        S(ack(0x50, 77)),
        C(vec![0x62, 3, 0, 77, 0x92]),
        S(ack(0x62, 78)),
        C(vec![0x70, 3, 0, 78, 0x92]),
        C(vec![0xe0, 7, 0x04, 5, 0x11, 0, 0, 0, 0]),
        Wait(100),
        // The server has lost the session: everything is new.
        Open,
        connect(Version::V5, 0, 10, &[], &[]),
        connack5(0, &[]),
        C(publish(0x32, 3, 6)),
    ];
    assert_eq!(lint(&talk).findings(), []);
}

#[test]
fn a_good_authentication_gives_nothing() {
    let talk = vec![
        Open,
        connect5(&[0x15, 0, 1, b'm']),
        S(vec![0xf0, 6, 0x18, 4, 0x15, 0, 1, b'm']),
        C(vec![0xf0, 6, 0x18, 4, 0x15, 0, 1, b'm']),
        connack5(0, &[0x15, 0, 1, b'm']),
        C(vec![0xf0, 6, 0x19, 4, 0x15, 0, 1, b'm']),
    ];
    assert_eq!(lint(&talk).findings(), []);
}

#[test]
fn a_good_client_of_mqtt_3_gives_nothing() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let connack = || S(vec![0x20, 2, u8::from(version != Version::V3_1), 0]);
        let talk = vec![
            Open,
            connect(
                version,
                0xc6,
                10,
                &[],
                &[0, 1, b'w', 0, 0, 0, 1, b'u', 0, 1, b'p'],
            ),
            S(vec![0x20, 2, 0, 0]),
            C(packet(0x82, &[&[0, 1], &text("a/+/#"), &[2]])),
            C(publish3(0x34, 2, 2)),
            C(publish3(0x32, 3, 3)),
            S(vec![0x90, 3, 0, 1, 2]),
            S(ack(0x50, 2)),
            C(ack(0x62, 2)),
            Open,
            connect(version, 0, 10, &[], &[]),
            connack(),
            C(ack(0x62, 2)),
            C(publish3(0x3a, 3, 3)),
            C(packet(0xa2, &[&[0, 4], &text("a/+/#")])),
            S(vec![0xb0, 2, 0, 4]),
            C(vec![0xe0, 0]),
        ];
        assert_eq!(lint(&talk).findings(), [], "{version}");
    }
}

/// It does not matter how the bytes are cut.
#[test]
fn a_byte_at_a_time_is_the_same() {
    for (_, steps) in broken() {
        let (mut whole, mut cut) = (lint(&steps), Linter::new());
        let mut now = Duration::from_secs(1000);
        for step in &steps {
            match step {
                Open => cut.open(now),
                C(bytes) => bytes.chunks(1).for_each(|byte| cut.sent(now, byte)),
                S(bytes) => bytes.chunks(1).for_each(|byte| cut.received(now, byte)),
                Wait(seconds) => now += Duration::from_secs(*seconds),
            }
        }
        cut.passes(now);
        // What follows bytes that are none is another matter.
        whole.findings.truncate(1);
        cut.findings.truncate(1);
        assert_eq!(whole.findings(), cut.findings());
    }
}

/// Packets that no server sends to a client of this version.
fn nonsense() -> Vec<(Rule, Version, Vec<u8>)> {
    use Rule as R;
    use Version::{V3_1, V3_1_1, V5};
    vec![
        (R::FirstByte, V3_1_1, vec![0xf0, 0]),
        (R::Direction, V5, vec![0xc0, 0]),
        (R::ConnAckFlags, V3_1_1, vec![0x20, 2, 2, 0]),
        (R::ConnAckFlags, V5, vec![0x20, 2, 2, 5]),
        (R::ConnAckReason, V3_1, vec![0x20, 2, 0, 6]),
        (R::ConnAckReason, V3_1_1, vec![0x20, 2, 0, 0x80]),
        (R::ConnAckReason, V5, vec![0x20, 3, 0, 1, 0]),
        (R::ConnAckReason, V5, vec![0x20, 2, 0, 6]),
        (R::ConnAckReason, V5, vec![0x20, 3, 0, 0x8b, 0]),
        // Without properties a server can only reject.
        (R::Layout, V5, vec![0x20, 2, 0, 0]),
        (R::PropertyPlace, V5, vec![0x20, 6, 0, 0, 3, 0x16, 0, 0]),
        (R::SubAckReason, V3_1_1, vec![0x90, 3, 0, 1, 3]),
        (R::SubAckReason, V5, vec![0x90, 4, 0, 1, 0, 3]),
        (R::Layout, V5, vec![0x90, 3, 0, 1, 0]),
        (R::UnsubAckReason, V5, vec![0xb0, 4, 0, 1, 0, 1]),
        (R::Layout, V5, vec![0xb0, 3, 0, 1, 0]),
        (R::Layout, V3_1_1, vec![0xb0, 3, 0, 1, 0]),
        (R::DisconnectReason, V5, vec![0xe0, 1, 4]),
        (R::PropertyPlace, V5, vec![0xe0, 7, 0, 5, 0x11, 0, 0, 0, 1]),
        (R::AuthMethod, V5, vec![0xf0, 2, 0x18, 0]),
        (R::AuthMethod, V5, vec![0xf0, 5, 0, 3, 0x1f, 0, 0]),
    ]
}

#[test]
fn what_no_server_sends_is_told() {
    for (rule, version, bytes) in nonsense() {
        let mut linter = lint(&[Open, connect(version, 2, 0, &[], &[])]);
        linter.received(Duration::ZERO, &bytes);
        let found = linter.server_nonsense().map(|finding| finding.rule);
        assert_eq!(found, Some(rule), "{version}: {bytes:02x?}");
        assert_eq!(linter.findings(), []);
    }
}

#[test]
fn a_rejection_without_mqtt_5_is_one() {
    for code in [1, 5, 0x84] {
        let rejected = vec![
            Open,
            connect5(&[]),
            S(vec![0x20, 2, 0, code]),
            C(vec![0xe0, 0]),
        ];
        assert_eq!(lint(&rejected).findings()[0].rule, Rule::AfterRefusal);
    }
}

#[test]
fn nonsense_of_the_server_is_told() {
    let mut linter = Linter::new();
    linter.open(Duration::ZERO);
    linter.received(Duration::ZERO, &[0xff]);
    assert_eq!(linter.server_nonsense(), None, "not all there yet");
    linter.received(Duration::ZERO, &[0]);
    assert!(linter.server_nonsense().is_some());
    assert_eq!(linter.findings(), []);
}

/// The statements are those that the project's lists have.
#[test]
fn statements_are_known() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    for (place, list) in ["mqtt-3.1.1.tsv", "mqtt-5.tsv"].into_iter().enumerate() {
        let list = std::fs::read_to_string(folder.join(list)).unwrap();
        let known: HashSet<&str> = list
            .lines()
            .filter_map(|line| line.split('\t').next())
            .collect();
        for rule in Rule::ALL.iter().filter(|rule| !rule.is_servers()) {
            let statement = rule.statements()[place];
            let fine =
                statement.is_empty() || statement.starts_with('§') || known.contains(statement);
            assert!(fine, "{rule:?}: {statement}");
        }
    }
}

/// A PUBREC of an old PUBLISH comes with the CONNACK, and crosses the PUBLISH that is sent again.
/// The client answers it, is cut, and sends that PUBREL again. amqtt does so to its clients.
#[test]
fn a_pubrec_may_cross_the_publish_that_is_sent_again() {
    let first = v5(&[], vec![C(publish(0x34, 1, 0))]);
    let second = [S(ack(0x50, 1)), C(publish(0x3c, 1, 0)), C(ack(0x62, 1))];
    let third = [C(ack(0x62, 1))];
    let steps: Vec<_> = first
        .into_iter()
        .chain(again())
        .chain(second)
        .chain(again())
        .chain(third)
        .collect();
    assert_eq!(lint_with(Linter::on_the_way(), &steps).findings(), []);
}

/// The server ends a QoS 2 flow with the answer of another, and sends the PUBREC all the same: the
/// client may wait for the PUBCOMP, and sends its PUBREL again.
#[test]
fn a_pubrec_may_come_after_an_answer_of_another_flow() {
    let steps = v5(
        &[],
        vec![
            C(publish(0x34, 1, 0)),
            S(ack(0x70, 1)),
            S(ack(0x50, 1)),
            C(ack(0x62, 1)),
        ],
    );
    let steps: Vec<_> = steps
        .into_iter()
        .chain(again())
        .chain([C(ack(0x62, 1))])
        .collect();
    assert_eq!(lint(&steps).findings(), []);
}

/// Bytes come through a relay as they are, and what is wrong with them is found.
#[test]
fn a_relay_lints_what_it_passes_on() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let relay = Relay::start(server.local_addr().unwrap()).unwrap();
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
    for (publish, wrong) in [
        (b"\x32\x05\x00\x01t\x00\x01", false),
        (b"\x3a\x05\x00\x01t\x00\x01", true),
    ] {
        let mut client = TcpStream::connect(relay.address()).unwrap();
        client.write_all(connect).unwrap();
        let (mut there, _) = server.accept().unwrap();
        let mut taken = [0; 15];
        there.read_exact(&mut taken).unwrap();
        assert_eq!(&taken, connect);
        there.write_all(b"\x20\x02\x00\x00").unwrap();
        let mut connack = [0; 4];
        client.read_exact(&mut connack).unwrap();
        client.write_all(publish).unwrap();
        let mut taken = [0; 7];
        there.read_exact(&mut taken).unwrap();
        let rules: Vec<Rule> = relay
            .findings()
            .iter()
            .map(|finding| finding.rule)
            .collect();
        assert_eq!(
            rules,
            if wrong {
                vec![Rule::DupClaimed]
            } else {
                vec![]
            }
        );
        drop(there);
        assert_eq!(client.read(&mut taken).unwrap(), 0, "the end comes through");
    }
    assert_eq!(relay.connections(), 2);
}

/// A connection is cut after the given number of bytes, in either direction; others are not.
#[test]
fn a_relay_cuts_after_the_given_bytes() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let relay = Relay::start(server.local_addr().unwrap()).unwrap();
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
    relay.cut_after([21]);
    for passes in [2, 7] {
        let mut client = TcpStream::connect(relay.address()).unwrap();
        client.write_all(connect).unwrap();
        let (mut there, _) = server.accept().unwrap();
        there.read_exact(&mut [0; 15]).unwrap();
        there.write_all(b"\x20\x02\x00\x00").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        client.write_all(b"\x32\x05\x00\x01t\x00\x01").unwrap();
        there.read_exact(&mut vec![0; passes]).unwrap();
        if passes == 7 {
            relay.cut();
        }
        assert_eq!(there.read(&mut [0]).unwrap(), 0);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(relay.findings(), []);
}
