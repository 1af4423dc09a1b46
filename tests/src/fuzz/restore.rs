//! What a store holds, as a session takes it up again.

use bytes::{Bytes, BytesMut};
use core::time::Duration;
use martlet_proto::{QoS, TopicName, Version};
use martlet_session::CleanStart;
use martlet_session::Durable;
use martlet_session::drain::Drain;
use martlet_session::{
    Config, ConnectOptions, Instant, OutgoingPublish, RecordKey, Session, StoreOp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Any records make a session or are rejected: none vanishes, and what the session stores from then
/// on is understood. The first byte says what is done with the others: kind, number, length and
/// body of one record after the other.
pub fn restore(data: &[u8]) {
    let Some((&choice, mut rest)) = data.split_first() else {
        return;
    };
    let (sealed, with_identity, present) = (choice & 1 == 0, choice & 2 == 0, choice & 4 == 0);
    let now = Instant::from_epoch(Duration::from_secs(1000));
    let config = || {
        Config::default()
            .durable(Durable::default())
            .clean_start(CleanStart::Never)
    };
    let mut records = BTreeMap::new();
    while let [kind, number, len, tail @ ..] = rest {
        let (body, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        let key = RecordKey::from_bytes([*kind % 8, 0, 0, 0, 0, 0, 0, 0, *number]);
        let mut value = body.to_vec();
        if sealed {
            let mut checksum = crc32fast::Hasher::new();
            checksum.update(&key.to_bytes());
            checksum.update(body);
            value.extend_from_slice(&checksum.finalize().to_be_bytes());
        }
        records.insert(key, Bytes::from(value));
    }
    if with_identity {
        store(&mut Session::new(config()), now, &mut records);
    }
    let given: Vec<_> = records
        .iter()
        .map(|(key, value)| (*key, value.clone()))
        .collect();
    let mut restored = match Session::restore(config(), now, given.clone()) {
        Ok(restored) => restored,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return assert_eq!(error.into_records(), given);
        }
    };
    let bad: BTreeSet<_> = restored.quarantined.iter().map(|bad| bad.key).collect();
    assert!(bad.iter().all(|key| records.contains_key(key)));
    let session = &mut restored.session;
    session.handle_open(now, ConnectOptions::new(Version::V5));
    store(session, now, &mut records);
    let mut input = BytesMut::from(&[0x20, 3, u8::from(present), 0, 0][..]);
    session.handle_input(now, &mut input);
    let topic = TopicName::from_static("t").expect("a topic name");
    let message = OutgoingPublish::new(topic, "new").qos(QoS::ExactlyOnce);
    let accepted = session.publish(now, message);
    store(session, now, &mut records);
    let again = Session::restore(config(), now, records).expect("it has stored this");
    assert!(
        again.quarantined.iter().all(|now| bad.contains(&now.key)),
        "{:?}",
        again.quarantined
    );
    if let Ok(accepted) = accepted {
        assert!(
            again
                .session
                .unacknowledged()
                .any(|operation| operation == accepted.operation())
        );
    }
}

/// Stores what a session wants stored, until it wants no more.
fn store(session: &mut Session, now: Instant, records: &mut BTreeMap<RecordKey, Bytes>) {
    loop {
        let drained = Drain::default().run(session, now).expect("it is drained");
        let Some(&(upto, _)) = drained.operations.last() else {
            break;
        };
        for (_, operation) in drained.operations {
            match operation {
                StoreOp::Put { key, value } => drop(records.insert(key, value)),
                StoreOp::Delete { key } => drop(records.remove(&key)),
            }
        }
        session.handle_stored(upto);
    }
}
