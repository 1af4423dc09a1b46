//! Records: their format, which never changes, and what becomes of those that cannot be used.

use crate::driver::*;
use bytes::Bytes;
use martlet_proto::{SubAckReasonCode, TopicFilter, Version};
use martlet_session::{
    BadRecord, Durable, LostSession, OperationId, RecordKey, RestoreErrorKind, Session,
};

// ---- records that cannot be used

fn corrupt(value: &mut Bytes) {
    let mut bytes = value.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    *value = bytes.into();
}

#[test]
fn a_bad_record_is_set_aside_and_reported() {
    let mut stored = connected(Version::V5, durable());
    stored.publish(message(1, "a", "1"));
    stored.publish(message(2, "a", "2"));
    stored.store_all();
    let keys: Vec<_> = stored.store.keys().copied().collect();
    for key in keys {
        for cut in [None, Some(0), Some(3), Some(10)] {
            let mut peer = Peer::new(durable());
            peer.store.clone_from(&stored.store);
            let value = peer.store.get_mut(&key).unwrap();
            match cut {
                None => corrupt(value),
                Some(n) => value.truncate(n),
            }
            let value = value.clone();
            if key.to_string() == "identity" {
                let error = Session::restore(durable(), peer.now, peer.store.clone()).unwrap_err();
                assert_eq!(
                    error.kind(),
                    &RestoreErrorKind::Identity(BadRecord::Corrupt)
                );
                continue;
            }
            let restored = peer.crash(durable());
            assert_eq!(restored.quarantined.len(), 1, "{key}");
            let bad = &restored.quarantined[0];
            assert_eq!(
                (bad.key, &bad.value, bad.reason),
                (key, &value, BadRecord::Corrupt)
            );
            assert_eq!(peer.store.get(&key), Some(&value), "it stays");
            peer.reconnect(Version::V5, true);
            peer.store_all();
            let (said, reported) = (peer.said()[1..].to_vec(), peer.reported());
            match key.to_string().as_str() {
                "message 1" | "message 2" => {
                    assert_eq!(said.len(), 1, "{key}: {said:?}");
                    assert_eq!(peer.session.in_flight(), 1);
                    peer.publish(message(1, "a", "3"));
                    peer.store_all();
                    assert_eq!(
                        peer.said(),
                        ["PUBLISH q1 #3 a 3"],
                        "the server may hold the other's identifier"
                    );
                }
                "flow of message 1" => {
                    assert_eq!(said, ["PUBLISH q2 #2 dup a 2", "PUBLISH q1 #3 a 1"]);
                }
                "flow of message 2" => {
                    assert_eq!(said, ["PUBLISH q1 #1 dup a 1"]);
                    assert!(
                        reported[0].starts_with("published 2: in doubt"),
                        "{reported:?}"
                    );
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_store_without_an_identity_is_not_taken_for_an_empty_one() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(1, "a", "1"));
    peer.store_all();
    peer.store.pop_first();
    let error = Session::restore(durable(), peer.now, peer.store.clone()).unwrap_err();
    assert_eq!(error.kind(), &RestoreErrorKind::NoIdentity);
    let records: Vec<_> = peer.store.into_iter().collect();
    assert_eq!(error.into_records(), records);
}

#[test]
fn a_key_that_comes_twice_is_reported() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(1, "a", "1"));
    peer.store_all();
    let twice = peer
        .store
        .iter()
        .skip(1)
        .chain(&peer.store)
        .map(|(key, value)| (*key, value.clone()));
    let restored = Session::restore(durable(), peer.now, twice).unwrap();
    assert_eq!(restored.quarantined.len(), 2);
    assert!(
        restored
            .quarantined
            .iter()
            .all(|bad| bad.reason == BadRecord::Contradicts)
    );
    assert_eq!(restored.session.unacknowledged().count(), 1);
}

// ---- the format

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// One record of each kind, as a release has written it. It never changes: what was stored must
/// stay readable.
const GOLDEN: &[(&str, &str)] = &[
    // A connection was accepted; MQTT 5, 3,600 s, incarnation 1, operations from 4,097 on, "me".
    (
        "010000000000000000",
        "01010500000e10000000000000000100000000000010016d65ad16914a",
    ),
    // QoS 2, retain, expires 1,700,001,060 s after the Unix epoch, a/b, expiry interval 60 s,
    // "payload".
    (
        "020000000000000001",
        "01160000018bcff594a00003612f6200000005020000003c7061796c6f616429ceb3d9",
    ),
    // QoS 1, c, "2".
    (
        "020000000000000002",
        "0101000000000000000000016300000000323be238a2",
    ),
    // Incarnation 1, packet identifier 1, released first.
    (
        "030000000000000001",
        "010000000000000001000102000000000000000000d4ba2a8b",
    ),
    // Incarnation 1, packet identifier 2, published.
    (
        "030000000000000002",
        "0100000000000000010002010000000000000000009f175ac9",
    ),
    // Packet identifier 300, incarnation 1.
    ("04000000000000012c", "01000000000000000198200000"),
    // Of operation 3, no identifier, QoS 2, d/#.
    (
        "050000000000000000",
        "0100000000000000030000000002642f2389e29b95",
    ),
];

/// A session whose store has one record of each kind.
fn golden() -> Peer {
    let epoch = Some(seconds(1_700_000_000));
    let durable_config = Durable::default().epoch(epoch);
    let config = durable().durable(durable_config);
    let mut peer = connected(Version::V5, config);
    let mut published = expiring(2, "a/b", "payload", 60);
    published.retain = true;
    peer.publish(published);
    peer.publish(message(1, "c", "2"));
    peer.subscribe("d/#", 2);
    peer.send(publish(2, 300, "e", "3"));
    peer.reported();
    peer.take(0);
    peer.store_all();
    peer.send_all(&[pubrec(1), suback(3, &[SubAckReasonCode::GrantedQos2])]);
    peer.store_all();
    peer
}

#[test]
fn records_are_written_as_ever() {
    let written: Vec<_> = golden()
        .store
        .iter()
        .map(|(key, value)| (hex(&key.to_bytes()), hex(value)))
        .collect();
    let expected: Vec<_> = GOLDEN
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(written, expected);
}

#[test]
fn records_are_read_as_ever() {
    let mut peer = Peer::new(durable());
    for (key, value) in GOLDEN {
        let key = RecordKey::from_bytes(unhex(key).try_into().unwrap());
        peer.store.insert(key, unhex(value).into());
    }
    let epoch = Some(seconds(1_700_000_030));
    let config = durable()
        .durable(Durable::default().epoch(epoch))
        .lost_qos2(LostSession::Requeue);
    let restored = peer.crash(config);
    assert_eq!(restored.quarantined, []);
    assert_eq!(restored.version, Some(Version::V5));
    assert_eq!(
        peer.session
            .unacknowledged()
            .map(OperationId::get)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(
        peer.session
            .subscriptions()
            .map(TopicFilter::as_str)
            .collect::<Vec<_>>(),
        ["d/#"]
    );
    peer.reconnect(Version::V5, true);
    peer.store_all();
    let said = peer.said();
    assert_eq!(said[1..], ["PUBREL #1", "PUBLISH q1 #2 dup c 2"]);
    peer.send(duplicate(2, 300, "e", "3"));
    assert_eq!(peer.said(), ["PUBREC #300"]);
    // The server loses the session: the message of QoS 2 is there with all that belongs to it.
    peer.cut();
    peer.reconnect(Version::V5, false);
    peer.store_all();
    assert_eq!(
        peer.said().last_chunk::<2>().unwrap(),
        &[
            "PUBLISH q2 #4 retain a/b payload expiry=30",
            "PUBLISH q1 #5 c 2"
        ]
    );
}

#[test]
fn records_of_a_later_release_and_unknown_kinds_are_reported() {
    let mut peer = golden();
    let unknown = RecordKey::from_bytes([77, 0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(unknown.to_string(), "record 5 of kind 77");
    let (key, value) = peer
        .store
        .last_key_value()
        .map(|(key, value)| (*key, value.to_vec()))
        .unwrap();
    let sealed = |key: RecordKey, mut value: Vec<u8>| {
        let n = value.len() - 4;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&key.to_bytes());
        hasher.update(&value[..n]);
        value.splice(n.., hasher.finalize().to_be_bytes());
        Bytes::from(value)
    };
    peer.store.insert(unknown, sealed(unknown, value.clone()));
    let mut later = value;
    later[0] = 2;
    peer.store.insert(key, sealed(key, later));
    let mut other = Peer::new(durable());
    other.store.clone_from(&peer.store);
    let restored = peer.crash(durable());
    let reasons: Vec<_> = restored
        .quarantined
        .iter()
        .map(|bad| (bad.key, bad.reason))
        .collect();
    assert_eq!(
        reasons,
        [
            (key, BadRecord::LaterFormat(2)),
            (unknown, BadRecord::UnknownKind)
        ]
    );
    let (identity, value) = other.store.pop_first().unwrap();
    let mut later = value.to_vec();
    later[0] = 9;
    other.store.insert(identity, sealed(identity, later));
    let error = Session::restore(durable(), other.now, other.store.clone()).unwrap_err();
    assert_eq!(
        error.kind(),
        &RestoreErrorKind::Identity(BadRecord::LaterFormat(9))
    );
}

/// The payload is not copied when it comes back: the message shares its record's memory.
#[test]
fn a_restored_payload_shares_its_record() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(1, "a", &"x".repeat(100_000)));
    peer.store_all();
    let record = peer
        .store
        .values()
        .find(|value| value.len() > 100_000)
        .unwrap()
        .clone();
    peer.crash(durable());
    let mut out = martlet_session::SendBuffer::new();
    peer.blocked = true;
    peer.reconnect(Version::V5, true);
    peer.store_all();
    while peer.session.poll_transmit(peer.now, &mut out) > 0 {}
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let n = bytes::Buf::chunks_vectored(&out, &mut slices);
    let payload = slices[..n]
        .iter()
        .find(|slice| slice.len() == 100_000)
        .unwrap();
    assert!(record.as_ptr_range().contains(&payload.as_ptr()));
}
