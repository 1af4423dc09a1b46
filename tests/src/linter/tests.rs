//! The linter itself: for each rule a transcript that breaks it is found, and good ones give nothing.

use super::{Linter, Relay, Rule};
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
    let properties: &[&[u8]] = if level == 5 { &[&length, properties] } else { &[] };
    let properties = properties.concat();
    C(packet(0x10, &[&text(name), &[level, flags, 0, keep_alive], &properties, &text("a"), payload]))
}

fn connect5(properties: &[u8]) -> Step {
    connect(Version::V5, 0, 0, properties, &[])
}

fn connack5(present: u8, properties: &[u8]) -> Step {
    S(packet(0x20, &[&[present, 0, properties.len() as u8], properties]))
}

/// Connected with MQTT 5; the server says this.
fn v5(connack: &[u8], more: Vec<Step>) -> Vec<Step> {
    [vec![Open, connect5(&[]), connack5(0, connack)], more].into_iter().flatten().collect()
}

/// Connected with MQTT 3.1.1.
fn v3(more: Vec<Step>) -> Vec<Step> {
    let begin = vec![Open, connect(Version::V3_1_1, 0, 0, &[], &[]), S(vec![0x20, 2, 0, 0])];
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

/// Transcripts that break one rule each, and it alone.
fn broken() -> Vec<(Rule, Vec<Step>)> {
    use Rule as R;
    use Version::{V3_1, V3_1_1, V5};
    let publish5 = |properties: &[u8]| C(packet(0x30, &[&text("t"), &[properties.len() as u8], properties]));
    vec![
        (R::FirstByte, v5(&[], vec![C(vec![0xc1, 0])])),
        (R::FirstByte, v5(&[], vec![C(vec![0x00, 0])])),
        (R::FirstByte, v5(&[], vec![C(packet(0x80, &[&[0, 1, 0], &text("t"), &[0]]))])),
        (R::FirstByte, v3(vec![C(vec![0xf0, 0])])),
        (R::Direction, v5(&[], vec![C(vec![0xd0, 0])])),
        (R::Length, v5(&[], vec![C(vec![0xc0, 0x80, 0])])),
        (R::Length, v5(&[], vec![C(vec![0xc0, 0x80, 0x80, 0x80, 0x80, 1])])),
        (R::Length, v5(&[], vec![C(packet(0x30, &[&text("t"), &[0x80, 0]]))])),
        (R::Layout, v5(&[], vec![C(vec![0xc0, 1, 0])])),
        (R::Layout, v5(&[], vec![C(vec![0x30, 3, 0, 9, b't'])])),
        (R::Layout, v3(vec![C(vec![0x40, 3, 0, 1, 0])])),
        (R::Utf8, v5(&[], vec![C(packet(0x30, &[&[0, 1, 0xff], &[0]]))])),
        (R::Utf8, v3(vec![C(packet(0x30, &[&[0, 3, 0xed, 0xa0, 0x80]]))])),
        (R::Null, v5(&[], vec![C(packet(0x30, &[&text("\0"), &[0]]))])),
        (R::IdentifierZero, v5(&[], vec![C(publish(0x32, 0, 1))])),
        (R::PropertyPlace, v5(&[], vec![publish5(&[0x11, 0, 0, 0, 1])])),
        (R::PropertyPlace, v5(&[], vec![C(vec![0xe0, 4, 0, 2, 0x1c, 0])])),
        (R::PropertyPlace, vec![Open, connect5(&[0x16, 0, 1, 0])]),
        (R::PropertyTwice, v5(&[], vec![publish5(&[0x01, 0, 0x01, 0])])),
        (R::PropertyTwice, v5(&[], vec![C(packet(0x82, &[&[0, 1, 4, 0x0b, 1, 0x0b, 2], &text("t"), &[0]]))])),
        (R::PropertyValue, v5(&[], vec![publish5(&[0x01, 2])])),
        (R::PropertyValue, vec![Open, connect5(&[0x21, 0, 0])]),
        (R::PropertyValue, v5(&[], vec![C(packet(0x82, &[&[0, 1, 2, 0x0b, 0], &text("t"), &[0]]))])),
        (R::SubscriptionIdentifierSent, v5(&[], vec![publish5(&[0x0b, 1])])),
        (R::ResponseTopic, v5(&[], vec![publish5(&[0x08, 0, 1, b'#'])])),
        (R::AliasZero, v5(&[0x22, 0, 9], vec![publish5(&[0x23, 0, 0])])),
        (R::PubAckReason, v5(&[], vec![S(publish(0x32, 1, 1)), C(vec![0x40, 3, 0, 1, 0x92])])),
        (R::PubRecReason, v5(&[], vec![S(publish(0x34, 1, 1)), C(vec![0x50, 3, 0, 1, 0x01])])),
        (R::PubRelReason, v5(&[], vec![S(ack(0x50, 1)), C(vec![0x62, 3, 0, 1, 0x80])])),
        (R::PubCompReason, v5(&[], vec![S(ack(0x62, 1)), C(vec![0x70, 3, 0, 1, 0x80])])),
        (R::DisconnectReason, v5(&[], vec![C(vec![0xe0, 1, 0x8d])])),
        (R::AuthReason, v5(&[], vec![C(vec![0xf0, 2, 0x01, 0])])),
        (R::ConnectFirst, vec![Open, C(vec![0xc0, 0])]),
        (R::ConnectOnce, v5(&[], vec![connect5(&[])])),
        (R::Protocol, vec![Open, C(packet(0x10, &[&text("MQTT"), &[6, 0, 0, 0, 0], &text("a")]))]),
        (R::Protocol, vec![Open, C(packet(0x10, &[&text("mqtt"), &[4, 0, 0, 0], &text("a")]))]),
        (R::ConnectFlags, vec![Open, connect(V3_1_1, 1, 0, &[], &[])]),
        (R::WillQos, vec![Open, connect(V3_1_1, 0x1c, 0, &[], &[0, 1, b't', 0, 0])]),
        (R::WillAbsent, vec![Open, connect(V3_1_1, 0x08, 0, &[], &[])]),
        (R::WillAbsent, vec![Open, connect(V5, 0x20, 0, &[], &[])]),
        (R::Layout, vec![Open, connect(V3_1_1, 0x04, 0, &[], &[])]),
        (R::TopicEmpty, vec![Open, connect(V3_1_1, 0x04, 0, &[], &[0, 0, 0, 0])]),
        (R::TopicWildcard, vec![Open, connect(V5, 0x04, 0, &[], &[0, 0, 1, b'#', 0, 0])]),
        (R::PasswordAlone, vec![Open, connect(V3_1_1, 0x40, 0, &[], &[0, 0])]),
        (R::ClientIdentifier, vec![Open, C(packet(0x10, &[&text("MQTT"), &[4, 0, 0, 0], &text("")]))]),
        (R::ClientIdentifier, vec![Open, C(packet(0x10, &[&text("MQIsdp"), &[3, 2, 0, 0], &text("")]))]),
        (R::BeforeConnAck, vec![Open, connect5(&[]), C(publish(0x30, 0, 1))]),
        (R::AfterRefusal, vec![Open, connect5(&[]), S(vec![0x20, 3, 0, 0x87, 0]), C(vec![0xe0, 0])]),
        (R::AfterDisconnect, v5(&[], vec![C(vec![0xe0, 0, 0xc0, 0])])),
        (R::ExpiryInDisconnect, v5(&[], vec![C(vec![0xe0, 7, 0, 5, 0x11, 0, 0, 0, 1])])),
        (R::KeepAlive, vec![Open, connect(V5, 0, 9, &[], &[]), connack5(0, &[]), Wait(10)]),
        (R::KeepAlive, v5(&[0x13, 0, 5], vec![C(vec![0xc0, 0]), Wait(6), C(vec![0xc0, 0])])),
        (R::AuthUnasked, v5(&[], vec![C(vec![0xf0, 6, 0x19, 4, 0x15, 0, 1, b'm'])])),
        (
            R::AuthMethod,
            vec![
                Open,
                connect5(&[0x15, 0, 1, b'm']),
                S(vec![0xf0, 6, 0x18, 4, 0x15, 0, 1, b'm']),
                C(vec![0xf0, 6, 0x18, 4, 0x15, 0, 1, b'x']),
            ],
        ),
        (
            R::AuthContinue,
            vec![Open, connect5(&[0x15, 0, 1, b'm']), C(vec![0xf0, 6, 0x18, 4, 0x15, 0, 1, b'm'])],
        ),
        (R::ReceiveMaximum, v5(&[0x21, 0, 1], vec![C(publish(0x32, 1, 1)), C(publish(0x34, 2, 2))])),
        (R::PacketSize, v5(&[0x27, 0, 0, 0, 7], vec![C(publish(0x30, 0, 1)), C(publish(0x32, 1, 1))])),
        (R::MaximumQos, v5(&[0x24, 0], vec![C(publish(0x32, 1, 1))])),
        (R::Retain, v5(&[0x25, 0], vec![C(publish(0x31, 0, 1))])),
        (R::AliasMaximum, v5(&[0x22, 0, 1], vec![publish5(&[0x23, 0, 2])])),
        (R::AliasMaximum, v5(&[], vec![publish5(&[0x23, 0, 1])])),
        (R::WildcardSubscription, v5(&[0x28, 0], vec![subscribe("a/+", 0)])),
        (
            R::SubscriptionIdentifier,
            v5(&[0x29, 0], vec![C(packet(0x82, &[&[0, 1, 2, 0x0b, 1], &text("t"), &[0]]))]),
        ),
        (R::SharedSubscription, v5(&[0x2a, 0], vec![subscribe("$share/s/t", 0)])),
        (R::Qos, v5(&[], vec![C(publish(0x36, 1, 1))])),
        (R::DupQos0, v5(&[], vec![C(publish(0x38, 0, 1))])),
        (
            R::DupMissing,
            v5(
                &[],
                [vec![C(publish(0x32, 1, 1))], again().into(), vec![C(publish(0x32, 1, 1))]]
                    .into_iter()
                    .flatten()
                    .collect(),
            ),
        ),
        (R::DupClaimed, v3(vec![C(publish3(0x3a, 1, 1))])),
        (R::TopicEmpty, v5(&[], vec![C(packet(0x30, &[&text(""), &[0]]))])),
        (R::TopicEmpty, v5(&[], vec![publish5(&[0x08, 0, 0])])),
        (R::TopicWildcard, v5(&[], vec![C(packet(0x30, &[&text("a/+"), &[0]]))])),
        (
            R::AliasUnknown,
            v5(
                &[0x22, 0, 9],
                vec![
                    publish5(&[0x23, 0, 1]),
                    Open,
                    connect5(&[]),
                    connack5(0, &[0x22, 0, 9]),
                    C(packet(0x30, &[&text(""), &[3, 0x23, 0, 1]])),
                ],
            ),
        ),
        (R::IdentifierInUse, v5(&[], vec![C(publish(0x32, 1, 1)), C(publish(0x32, 1, 2))])),
        (R::IdentifierInUse, v5(&[], vec![C(publish(0x32, 1, 1)), subscribe("t", 0)])),
        (R::IdentifierInUse, v5(&[], vec![subscribe("t", 0), C(publish(0x34, 1, 1))])),
        (R::IdentifierInUse, v5(&[], vec![C(publish(0x34, 1, 1)), S(ack(0x40, 1)), C(publish(0x34, 1, 2))])),
        (R::SentTwice, v5(&[], vec![C(publish(0x32, 1, 1)), C(publish(0x3a, 1, 1))])),
        (
            R::SentTwice,
            v5(&[], vec![C(publish(0x34, 1, 1)), S(ack(0x50, 1)), C(ack(0x62, 1)), C(ack(0x62, 1))]),
        ),
        (
            R::PublishReleased,
            v5(
                &[],
                [
                    vec![C(publish(0x34, 1, 1)), S(ack(0x50, 1)), C(ack(0x62, 1))],
                    again().into(),
                    vec![C(publish(0x3c, 1, 1))],
                ]
                .into_iter()
                .flatten()
                .collect(),
            ),
        ),
        (
            R::ResendOrder,
            v5(
                &[],
                [
                    vec![C(publish(0x32, 1, 1)), C(publish(0x34, 2, 2))],
                    again().into(),
                    vec![C(publish(0x3c, 2, 2)), C(publish(0x3a, 1, 1))],
                ]
                .into_iter()
                .flatten()
                .collect(),
            ),
        ),
        (R::PubRelUnasked, v5(&[], vec![C(publish(0x34, 1, 1)), C(ack(0x62, 1))])),
        (R::PubRelUnasked, v3(vec![C(ack(0x62, 1))])),
        (
            R::PubRelOrder,
            v5(
                &[],
                vec![
                    C(publish(0x34, 1, 1)),
                    C(publish(0x34, 2, 2)),
                    S(ack(0x50, 1)),
                    S(ack(0x50, 2)),
                    C(ack(0x62, 2)),
                ],
            ),
        ),
        (
            R::PubRelOrder,
            v5(
                &[],
                [
                    vec![C(publish(0x34, 1, 1)), C(publish(0x34, 2, 2)), S(ack(0x50, 2)), S(ack(0x50, 1))],
                    vec![C(ack(0x62, 2)), C(ack(0x62, 1))],
                    again().into(),
                    vec![C(ack(0x62, 1)), C(ack(0x62, 2))],
                ]
                .into_iter()
                .flatten()
                .collect(),
            ),
        ),
        (R::AckUnasked, v5(&[], vec![C(ack(0x40, 1))])),
        (R::AckUnasked, v5(&[], vec![S(publish(0x34, 1, 1)), C(ack(0x50, 1)), C(ack(0x50, 1))])),
        (R::AckKind, v5(&[], vec![S(publish(0x34, 1, 1)), C(ack(0x40, 1))])),
        (R::AckKind, v5(&[], vec![S(publish(0x32, 1, 1)), C(ack(0x50, 1))])),
        (R::PubAckOrder, v5(&[], vec![S(publish(0x32, 1, 1)), S(publish(0x32, 2, 2)), C(ack(0x40, 2))])),
        (R::PubRecOrder, v5(&[], vec![S(publish(0x34, 1, 1)), S(publish(0x34, 2, 2)), C(ack(0x50, 2))])),
        (R::PubCompUnasked, v5(&[], vec![S(publish(0x34, 1, 1)), C(ack(0x50, 1)), C(ack(0x70, 1))])),
        (R::SubscribeEmpty, v5(&[], vec![C(packet(0x82, &[&[0, 1, 0]]))])),
        (R::UnsubscribeEmpty, v3(vec![C(packet(0xa2, &[&[0, 1]]))])),
        (R::SubscribeOptions, v5(&[], vec![subscribe("t", 3)])),
        (R::SubscribeOptions, v5(&[], vec![subscribe("t", 0x40)])),
        (R::SubscribeOptions, v5(&[], vec![subscribe("t", 0x30)])),
        (R::SubscribeOptions, v3(vec![C(packet(0x82, &[&[0, 1], &text("t"), &[4]]))])),
        (R::NoLocalShared, v5(&[], vec![subscribe("$share/s/t", 4)])),
        (R::FilterEmpty, v5(&[], vec![subscribe("", 0)])),
        (R::FilterHash, v5(&[], vec![subscribe("a/#/b", 0)])),
        (R::FilterHash, v5(&[], vec![subscribe("a#", 0)])),
        (R::FilterPlus, v3(vec![C(packet(0xa2, &[&[0, 1], &text("a+/b")]))])),
        (R::ShareName, v5(&[], vec![subscribe("$share/s", 0)])),
        (R::ShareName, v5(&[], vec![subscribe("$share//t", 0)])),
        (R::ShareName, v5(&[], vec![subscribe("$share/+/t", 0)])),
        (R::ShareName, v5(&[], vec![subscribe("$share/s/", 0)])),
        (
            R::ServerReceiveMaximum,
            vec![
                Open,
                connect5(&[0x21, 0, 1]),
                connack5(0, &[]),
                S(publish(0x32, 1, 1)),
                S(publish(0x34, 2, 2)),
            ],
        ),
        (
            R::ServerPacketSize,
            vec![
                Open,
                connect5(&[0x27, 0, 0, 0, 7]),
                connack5(0, &[]),
                S(publish(0x30, 0, 1)),
                S(publish(0x32, 1, 1)),
            ],
        ),
        (R::ServerAlias, v5(&[], vec![S(packet(0x30, &[&text("t"), &[3, 0x23, 0, 1]]))])),
        // 3.1 knows the flag of an older time.
        (
            R::DupMissing,
            vec![
                Open,
                connect(V3_1, 0, 0, &[], &[]),
                S(vec![0x20, 2, 0, 0]),
                C(publish3(0x32, 1, 1)),
                Open,
                connect(V3_1, 0, 0, &[], &[]),
                S(vec![0x20, 2, 0, 0]),
                C(publish3(0x32, 1, 1)),
            ],
        ),
    ]
}

#[test]
fn each_rule_is_found_where_it_is_broken() {
    let mut found: HashSet<Rule> = HashSet::new();
    for (i, (rule, steps)) in broken().iter().enumerate() {
        let linter = lint(steps);
        let rules: Vec<Rule> = linter.findings().iter().map(|finding| finding.rule).collect();
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
    // The client's own, which it must be told.
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
    let missing: Vec<_> = Rule::ALL.iter().filter(|rule| !found.contains(rule)).collect();
    assert!(missing.is_empty(), "nothing breaks {missing:?}");
}

#[test]
fn a_good_client_gives_nothing() {
    let v5_talk = vec![
        Open,
        // A will with properties, a user name and a password; an expiry.
        connect(
            Version::V5,
            0xf6,
            10,
            &[0x11, 0, 0, 0, 9, 0x21, 0, 2, 0x26, 0, 0, 0, 0, 0x26, 0, 0, 0, 0],
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
    let auth_talk = vec![
        Open,
        connect5(&[0x15, 0, 1, b'm']),
        S(vec![0xf0, 6, 0x18, 4, 0x15, 0, 1, b'm']),
        C(vec![0xf0, 6, 0x18, 4, 0x15, 0, 1, b'm']),
        connack5(0, &[0x15, 0, 1, b'm']),
        C(vec![0xf0, 6, 0x19, 4, 0x15, 0, 1, b'm']),
    ];
    for talk in [v5_talk, auth_talk] {
        assert_eq!(lint(&talk).findings(), []);
    }
    for version in [Version::V3_1, Version::V3_1_1] {
        let connack = || S(vec![0x20, 2, u8::from(version != Version::V3_1), 0]);
        let talk = vec![
            Open,
            connect(version, 0xc6, 10, &[], &[0, 1, b'w', 0, 0, 0, 1, b'u', 0, 1, b'p']),
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
        // Without properties a server can only refuse.
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
        let told = linter.server_nonsense().map(|finding| finding.rule);
        assert_eq!(told, Some(rule), "{version}: {bytes:02x?}");
        assert_eq!(linter.findings(), []);
    }
}

#[test]
fn a_refusal_without_mqtt_5_is_one() {
    for code in [1, 5, 0x84] {
        let refused = vec![Open, connect5(&[]), S(vec![0x20, 2, 0, code]), C(vec![0xe0, 0])];
        assert_eq!(lint(&refused).findings()[0].rule, Rule::AfterRefusal);
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
        let known: HashSet<&str> = list.lines().filter_map(|line| line.split('\t').next()).collect();
        for rule in Rule::ALL.iter().filter(|rule| !rule.is_servers()) {
            let statement = rule.statements()[place];
            let fine = statement.is_empty() || statement.starts_with('§') || known.contains(statement);
            assert!(fine, "{rule:?}: {statement}");
        }
    }
}

/// A PUBREC of an old PUBLISH comes with the CONNACK, and crosses the PUBLISH that is sent again. The client answers it, is
/// cut, and sends that PUBREL again. amqtt does so to its clients.
#[test]
fn a_pubrec_may_cross_the_publish_that_is_sent_again() {
    let first = v5(&[], vec![C(publish(0x34, 1, 0))]);
    let second = [S(ack(0x50, 1)), C(publish(0x3c, 1, 0)), C(ack(0x62, 1))];
    let third = [C(ack(0x62, 1))];
    let steps: Vec<_> = first.into_iter().chain(again()).chain(second).chain(again()).chain(third).collect();
    assert_eq!(lint_with(Linter::on_the_way(), &steps).findings(), []);
}

/// Bytes come through a relay as they are, and what is wrong with them is found.
#[test]
fn a_relay_lints_what_it_passes_on() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let relay = Relay::start(server.local_addr().unwrap()).unwrap();
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
    for (publish, wrong) in [(b"\x32\x05\x00\x01t\x00\x01", false), (b"\x3a\x05\x00\x01t\x00\x01", true)] {
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
        let rules: Vec<Rule> = relay.findings().iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, if wrong { vec![Rule::DupClaimed] } else { vec![] });
        drop(there);
        assert_eq!(client.read(&mut taken).unwrap(), 0, "the end comes through");
    }
    assert_eq!(relay.connections(), 2);
}

/// A connection is cut behind the byte that was named, whoever sends it; others are not.
#[test]
fn a_relay_cuts_where_it_is_told() {
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
