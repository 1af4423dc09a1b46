//! Messages that are larger than the whole queue.

use crate::driver::*;
use martlet_proto::Version;
use martlet_session::{Config, PublishError, QueueLimits};

fn small_queue(config: Config) -> Config {
    config.queue(QueueLimits::default().bytes(100))
}

/// It leaves at once or not at all: with an expiry interval too, which otherwise waits in the
/// queue.
#[test]
fn a_message_larger_than_the_queue_leaves_at_once() {
    let mut peer = Peer::connected(Version::V5, small_queue(Config::default()));
    let payload = "x".repeat(200);
    for quality in [0, 1, 2] {
        assert!(peer.session.may_send_at_once(qos(quality)));
        peer.publish(message(quality, "a", &payload));
        peer.publish(expiring(quality, "a", &payload, 9));
        let said = peer.said();
        assert!(
            said.len() == 2 && said[1].ends_with("200 bytes expiry=9"),
            "{said:?}"
        );
    }
    let mut peer = Peer::new(small_queue(Config::default()));
    assert!(!peer.session.may_send_at_once(qos(1)));
    assert_eq!(
        peer.session.publish(peer.now, message(1, "a", &payload)),
        Err(PublishError::LargerThanQueue {
            size: 201,
            limit: 100
        })
    );
    peer.drain();
}

/// What is stored passes the queue: it can never be accepted, and the error says so.
#[test]
fn a_stored_message_larger_than_the_queue_says_so() {
    let mut peer = connected(Version::V5, small_queue(durable()));
    let error = peer
        .session
        .publish(peer.now, message(1, "a", &"x".repeat(200)))
        .unwrap_err();
    assert_eq!(
        error,
        PublishError::LargerThanQueue {
            size: 201,
            limit: 100
        }
    );
    // QoS 0 is not stored.
    peer.publish(message(0, "a", &"x".repeat(200)));
    assert_eq!(peer.said().len(), 1);
}
