//! A store that fails.

use crate::driver::*;
use crate::durable::{keys, nothing};
use martlet_proto::Version;
use martlet_session::{Durable, PublishError, StoreError, StoreErrorKind, WhenStoreFails};

fn full() -> StoreError {
    StoreError::new(StoreErrorKind::Full, "no space left")
}

#[test]
fn a_store_that_fails_fails_what_it_did_not_take() {
    let mut peer = connected(Version::V5, durable());
    peer.publish(message(1, "a", "stored"));
    peer.store(1);
    peer.publish(message(1, "a", "not stored"));
    let from = peer.operations[0].0;
    peer.session.handle_store_failed(from, &full());
    peer.drain();
    assert_eq!(
        peer.reported(),
        [
            r#"StoreFailed(StoreError { kind: Full, error: "no space left" })"#,
            "published 2: the message could not be stored: no space left"
        ]
    );
    // It is not reported twice, and no more is accepted above QoS 0.
    peer.session.handle_store_failed(from, &full());
    peer.drain();
    assert_eq!(peer.reported(), nothing());
    let rejected = peer.session.publish(peer.now, message(2, "a", "rejected"));
    assert_eq!(rejected, Err(PublishError::Store(full())));
    peer.publish(message(0, "a", "passes"));
    assert_eq!(peer.said(), ["PUBLISH q0 a passes"]);
    // It works again: what was stored leaves, what has failed does not come back.
    peer.store_all();
    assert_eq!(peer.reported(), ["published 3: ok", "StoreRecovered"][1..]);
    assert_eq!(peer.said(), ["PUBLISH q1 #1 a stored"]);
    assert_eq!(keys(&peer), ["identity", "message 1", "flow of message 1"]);
}

/// The same of messages that wait for a connection.
#[test]
fn a_store_that_fails_fails_what_is_queued() {
    let mut peer = Peer::new(durable());
    peer.publish(message(1, "a", "stored"));
    peer.store_all();
    peer.publish(message(1, "a", "not stored"));
    peer.publish(message(0, "a", "never stored"));
    peer.session
        .handle_store_failed(peer.operations[0].0, &full());
    peer.drain();
    assert_eq!(
        peer.reported()[1..],
        ["published 2: the message could not be stored: no space left"]
    );
    let bytes = "a".len() + "stored".len() + "a".len() + "never stored".len();
    assert_eq!(
        (peer.session.queued(), peer.session.queued_bytes()),
        (2, bytes)
    );
    peer.reconnect(Version::V5, false);
    peer.store_all();
    assert_eq!(
        peer.said()[1..],
        ["PUBLISH q0 a never stored", "PUBLISH q1 #1 a stored"]
    );
}

#[test]
fn a_store_that_fails_may_hold_messages_until_it_works_again() {
    let when_store_fails = WhenStoreFails::Hold;
    let config = durable().durable(Durable::default().when_store_fails(when_store_fails));
    let mut peer = connected(Version::V5, config);
    peer.publish(message(1, "a", "held"));
    peer.session
        .handle_store_failed(peer.operations[0].0, &full());
    peer.drain();
    assert_eq!(
        peer.reported(),
        [r#"StoreFailed(StoreError { kind: Full, error: "no space left" })"#]
    );
    assert!(!peer.session.has_room(1), "who can wait, waits");
    assert!(
        peer.session
            .publish(peer.now, message(2, "a", "rejected"))
            .is_err()
    );
    peer.store_all();
    assert_eq!(peer.reported(), ["StoreRecovered"]);
    assert!(peer.session.has_room(1));
    assert_eq!(peer.said(), ["PUBLISH q1 #1 a held"]);
}
