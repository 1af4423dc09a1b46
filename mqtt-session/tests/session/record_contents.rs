//! Records whose checksum is right and whose contents are not: each is set aside with what is
//! wrong, and none is taken for something else.

use crate::driver::*;
use bytes::Bytes;
use martlet_proto::Version;
use martlet_session::{BadRecord, RecordKey, RestoreErrorKind, Session};
use std::collections::BTreeMap;

/// With the format before it and the checksum behind it.
fn sealed(key: RecordKey, body: &[u8]) -> Bytes {
    let mut value = [&[1], body].concat();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.to_bytes());
    hasher.update(&value);
    value.extend_from_slice(&hasher.finalize().to_be_bytes());
    value.into()
}

fn key(kind: u8, number: u64) -> RecordKey {
    let mut bytes = [kind; 9];
    bytes[1..].copy_from_slice(&number.to_be_bytes());
    RecordKey::from_bytes(bytes)
}

fn identity() -> Vec<u8> {
    let (flags, level, expiry) = ([1], [5], 3600u32.to_be_bytes());
    let (incarnation, next_operation) = (1u64.to_be_bytes(), 4097u64.to_be_bytes());
    [
        &flags[..],
        &level,
        &expiry,
        &incarnation,
        &next_operation,
        b"me",
    ]
    .concat()
}

fn stored_message(flags: u8, topic: &[u8], properties: &[u8]) -> Vec<u8> {
    let topic_len = (topic.len() as u16).to_be_bytes();
    let len = (properties.len() as u32).to_be_bytes();
    [
        &[flags][..],
        &1000u64.to_be_bytes(),
        &topic_len,
        topic,
        &len,
        properties,
        b"payload",
    ]
    .concat()
}

fn flow(packet_identifier: u16, phase: u8, reported: u8, place: u64) -> Vec<u8> {
    let (incarnation, identifier) = (1u64.to_be_bytes(), packet_identifier.to_be_bytes());
    [
        &incarnation[..],
        &identifier,
        &[phase, reported],
        &place.to_be_bytes(),
    ]
    .concat()
}

fn subscription(identifier: u32, options: u8, filter: &[u8]) -> Vec<u8> {
    [
        &1u64.to_be_bytes()[..],
        &identifier.to_be_bytes(),
        &[options],
        filter,
    ]
    .concat()
}

/// Restores a session of these records; what was set aside, and why.
fn set_aside(records: &[(RecordKey, Vec<u8>)]) -> Vec<(RecordKey, BadRecord)> {
    let mut store: BTreeMap<RecordKey, Bytes> = records
        .iter()
        .map(|(key, body)| (*key, sealed(*key, body)))
        .collect();
    store.insert(key(1, 0), sealed(key(1, 0), &identity()));
    let restored =
        Session::restore(durable(), Peer::new(durable()).now, store).expect("an identity");
    restored
        .quarantined
        .iter()
        .map(|bad| (bad.key, bad.reason))
        .collect()
}

const TOP: u64 = 1 << 63;

#[test]
fn what_is_right_is_taken() {
    let records = [
        (key(2, 1), stored_message(1, b"a/b", b"")),
        (key(2, 2), stored_message(2 | 4 | 8, b"a/b", b"\x01\x01")),
        (key(2, 3), stored_message(2 | 16, b"a/b", b"")),
        (key(2, 4), stored_message(1, b"a/b", b"")),
        (key(3, 1), flow(1, 1, 0, 0)),
        (key(3, 2), flow(2, 2, 0, 0)),
        (key(3, 3), flow(3, 2, 1, TOP - 1)),
        (key(3, 4), flow(0xffff, 3, 1, 0)),
        (key(4, 0xffff), 1u64.to_be_bytes().to_vec()),
        (key(5, TOP - 1), subscription(0, 0, b"a/#")),
        (key(5, 1), subscription(268_435_455, 0x2e, b"b")),
        (key(5, 2), subscription(1, 0x19, b"$share/g/b")),
    ];
    assert_eq!(set_aside(&records), []);
}

#[test]
fn what_is_wrong_is_set_aside() {
    let received = 1u64.to_be_bytes().to_vec();
    let with = |body: Vec<u8>, more: &[u8]| [&body, more].concat();
    let without_last = |mut body: Vec<u8>| {
        body.pop();
        body
    };
    let long_properties = {
        let mut body = stored_message(1, b"a", b"");
        body[12..16].copy_from_slice(&8u32.to_be_bytes());
        body
    };
    let table = [
        (key(2, 1), stored_message(0, b"a", b""), "QoS"),
        (key(2, 1), stored_message(3, b"a", b""), "QoS"),
        (key(2, 1), stored_message(1 | 8 | 16, b"a", b""), "flags"),
        (key(2, 1), stored_message(1 | 32, b"a", b""), "flags"),
        (key(2, 1), stored_message(1, b"a/+", b""), "topic"),
        (key(2, 1), stored_message(1, b"", b""), "topic"),
        (
            key(2, 1),
            stored_message(1, b"a", b"\x01\x02"),
            "properties",
        ),
        (
            key(2, 1),
            stored_message(1, b"a", b"\x23\x00\x01"),
            "properties",
        ),
        (key(2, 1), long_properties, "length"),
        (key(2, 1), vec![1, 0, 0], "length"),
        (key(2, TOP), stored_message(1, b"a", b""), "count"),
        (key(3, 1), flow(0, 1, 0, 0), "packet identifier"),
        (key(3, 1), flow(1, 0, 0, 0), "phase"),
        (key(3, 1), flow(1, 1, 1, 0), "phase"),
        (key(3, 1), flow(1, 2, 2, 0), "phase"),
        (key(3, 1), flow(1, 3, 0, 0), "phase"),
        (key(3, 1), flow(1, 4, 0, 0), "phase"),
        (key(3, 1), flow(1, 2, 0, TOP), "count"),
        (key(3, 1), with(flow(1, 1, 0, 0), &[0]), "length"),
        (key(3, 1), without_last(flow(1, 1, 0, 0)), "length"),
        (key(4, 0), received.clone(), "packet identifier"),
        (key(4, 65_536), received.clone(), "packet identifier"),
        (key(4, 1), TOP.to_be_bytes().to_vec(), "count"),
        (key(4, 1), with(received.clone(), &[0]), "length"),
        (key(4, 1), without_last(received), "length"),
        (
            key(5, 1),
            subscription(268_435_456, 0, b"a"),
            "subscription identifier",
        ),
        (key(5, 1), subscription(0, 3, b"a"), "options"),
        (key(5, 1), subscription(0, 0x30, b"a"), "options"),
        (key(5, 1), subscription(0, 4, b"$share/g/a"), "options"),
        (key(5, 1), subscription(0, 0, b"a#"), "topic filter"),
        (key(5, 1), subscription(0, 0, b""), "topic filter"),
    ];
    for (key, body, what) in table {
        let records = [(key, body)];
        assert_eq!(
            set_aside(&records),
            [(key, BadRecord::Contents(what))],
            "{records:?}"
        );
        assert_eq!(
            BadRecord::Contents(what).to_string(),
            format!("its {what} is wrong")
        );
    }
    // There is one identity.
    assert_eq!(
        set_aside(&[(key(1, 1), identity())]),
        [(key(1, 1), BadRecord::UnknownKind)]
    );
}

#[test]
fn an_identity_that_is_wrong_is_an_error() {
    let changed = |at: usize, byte: u8| {
        let mut body = identity();
        body[at] = byte;
        body
    };
    let table = [
        (changed(0, 4), "flags"),
        (changed(1, 6), "version"),
        (changed(1, 1), "version"),
        (changed(6, 0x80), "count"),
        (changed(14, 0x80), "count"),
        (changed(22, 0xff), "client identifier"),
        (identity()[..21].to_vec(), "length"),
    ];
    for (body, what) in table {
        let records = [(key(1, 0), sealed(key(1, 0), &body))];
        let error = Session::restore(durable(), Peer::new(durable()).now, records).expect_err(what);
        assert_eq!(
            error.kind(),
            &RestoreErrorKind::Identity(BadRecord::Contents(what))
        );
    }
    // No version is known before the first CONNACK; an empty name is one that the server is to
    // choose.
    for body in [changed(0, 3), changed(1, 0), identity()[..22].to_vec()] {
        let records = [(key(1, 0), sealed(key(1, 0), &body))];
        assert!(
            Session::restore(durable(), Peer::new(durable()).now, records).is_ok(),
            "{body:?}"
        );
    }
}

/// Two flows of one session cannot have the same packet identifier: the second message begins anew.
#[test]
fn an_identifier_that_two_messages_have_is_that_of_the_first() {
    let mut peer = Peer::new(durable());
    for (key, body) in [
        (key(1, 0), identity()),
        (key(2, 1), stored_message(1, b"a", b"")),
        (key(2, 2), stored_message(1, b"b", b"")),
        (key(3, 1), flow(7, 1, 0, 0)),
        (key(3, 2), flow(7, 1, 0, 0)),
    ] {
        peer.store.insert(key, sealed(key, &body));
    }
    let restored = peer.crash(durable());
    let reasons: Vec<_> = restored
        .quarantined
        .iter()
        .map(|bad| (bad.key, bad.reason))
        .collect();
    assert_eq!(reasons, [(key(3, 2), BadRecord::Contradicts)]);
    peer.reconnect(Version::V5, true);
    peer.store_all();
    let said = peer.said();
    assert_eq!(said[1], "PUBLISH q1 #7 dup a payload");
    assert!(
        said[2].starts_with("PUBLISH q1 #") && said[2].ends_with(" b payload"),
        "{said:?}"
    );
    assert!(!said[2].contains("#7"), "{said:?}");
}

/// A filter that is stored twice, after a crash between the two operations of a change, is
/// subscribed to once.
#[test]
fn a_filter_that_is_stored_twice_counts_once() {
    let mut peer = Peer::new(durable());
    for (key, body) in [
        (key(1, 0), identity()),
        (key(5, 1), subscription(0, 1, b"a")),
        (key(5, 2), subscription(0, 2, b"a")),
    ] {
        peer.store.insert(key, sealed(key, &body));
    }
    let restored = peer.crash(durable());
    assert_eq!(restored.quarantined, []);
    peer.store_all();
    assert!(!peer.store.contains_key(&key(5, 1)) && peer.store.contains_key(&key(5, 2)));
    peer.reconnect(Version::V5, false);
    assert_eq!(peer.said()[1..], ["SUBSCRIBE #1 a:2"]);
}
