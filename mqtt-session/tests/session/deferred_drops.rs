//! A session that was asked to drops nothing of the application's: not a topic, not a payload,
//! whatever becomes of the message. `Drop` may be anybody's code, and the caller may hold a lock.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what is wrong by failing, its parts too"
)]

use crate::driver::*;
use bytes::Bytes;
use martlet_proto::{PubAckReasonCode, TopicName, Version};
use martlet_session::CleanStart;
use martlet_session::{Config, LostSession, OutgoingPublish, QueueLimits, WhenFull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Where parts of messages may be dropped.
#[derive(Default)]
struct Watch {
    /// The session is being called.
    locked: AtomicBool,
    dropped: AtomicUsize,
}

struct Owner(Vec<u8>, Arc<Watch>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        assert!(
            !self.1.locked.load(Ordering::Relaxed) || std::thread::panicking(),
            "dropped by the session"
        );
        self.1.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// A server and a session whose messages are watched.
struct World {
    peer: Peer,
    watch: Arc<Watch>,
    made: usize,
}

impl World {
    fn new(config: Config) -> Self {
        let mut peer = Peer::new(config);
        peer.session.defer_drops();
        Self {
            peer,
            watch: Arc::default(),
            made: 0,
        }
    }

    fn connected(config: Config) -> Self {
        let mut world = Self::new(config);
        world.peer.reconnect(Version::V5, false);
        world.peer.forget();
        world
    }

    fn message(&mut self, quality: u8, size: usize) -> OutgoingPublish {
        let mut owned = |bytes: Vec<u8>| {
            self.made += 1;
            Bytes::from_owner(Owner(bytes, self.watch.clone()))
        };
        let topic = TopicName::from_bytes(owned(b"a/b".to_vec())).unwrap();
        OutgoingPublish::new(topic, owned(vec![b'x'; size])).qos(qos(quality))
    }

    /// Calls the session, as under a lock.
    fn call<T>(&mut self, call: impl FnOnce(&mut Peer) -> T) -> T {
        self.watch.locked.store(true, Ordering::Relaxed);
        let result = call(&mut self.peer);
        self.watch.locked.store(false, Ordering::Relaxed);
        result
    }

    fn publish(&mut self, quality: u8, size: usize) {
        let message = self.message(quality, size);
        let now = self.peer.now;
        self.call(|peer| peer.session.publish(now, message).unwrap());
    }

    /// Everything that was made is over, and has been given back.
    fn all_is_deferred(mut self) {
        assert_eq!(
            self.watch.dropped.load(Ordering::Relaxed),
            0,
            "the session has dropped something"
        );
        assert!(self.peer.session.has_deferred_drops());
        let mut deferred_drops = Vec::new();
        self.call(|peer| peer.session.poll_deferred_drops(&mut deferred_drops));
        assert!(!self.peer.session.has_deferred_drops());
        drop(deferred_drops);
        assert_eq!(self.watch.dropped.load(Ordering::Relaxed), self.made);
    }
}

/// What stays with its segments in the output is handed out, and the driver's to drop.
#[test]
fn acknowledged() {
    for keep_released in [LostSession::InDoubt, LostSession::Requeue] {
        for size in [1, 5000] {
            let mut world = World::connected(named().lost_qos2(keep_released));
            for quality in [0, 1, 2] {
                world.publish(quality, size);
            }
            world.peer.drain();
            for packet in [puback(1), pubrec(2), pubcomp(2)] {
                world.call(|peer| peer.session.handle_input(peer.now, &mut encoded(&packet)));
            }
            world.all_is_deferred();
        }
    }
}

fn encoded(packet: &martlet_proto::Packet) -> bytes::BytesMut {
    let mut bytes = bytes::BytesMut::new();
    packet.encode(Version::V5, &mut bytes).unwrap();
    bytes
}

#[test]
fn rejected_by_the_server() {
    let mut world = World::connected(named());
    world.publish(1, 1);
    world.publish(2, 1);
    world.peer.drain();
    let rejection = |n| martlet_proto::Ack::new(id(n), PubAckReasonCode::NotAuthorized);
    let answers = [
        martlet_proto::Packet::PubAck(rejection(1)),
        martlet_proto::Packet::PubRec(rejection(2)),
    ];
    for packet in answers {
        world.call(|peer| peer.session.handle_input(peer.now, &mut encoded(&packet)));
    }
    world.all_is_deferred();
}

/// Not accepted, by any of the checks.
#[test]
fn rejected_here() {
    let queue = QueueLimits::default().messages(0).qos0_offline(false);
    let mut world = World::new(named().queue(queue));
    for quality in [0, 1, 2] {
        let message = world.message(quality, 1);
        world.call(|peer| peer.session.publish(peer.now, message).unwrap_err());
    }
    world.peer.disconnect(seconds(0));
    let message = world.message(1, 1);
    world.call(|peer| peer.session.publish(peer.now, message).unwrap_err());
    world.all_is_deferred();
}

#[test]
fn dropped_by_a_full_queue() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest] {
        let queue = QueueLimits::default().messages(1).when_full(when_full);
        let mut world = World::new(named().queue(queue));
        for _ in 0..3 {
            world.publish(0, 1);
        }
        world.call(|peer| peer.disconnect(seconds(0)));
        world.peer.forget(); // the event that has what was left
        world.all_is_deferred();
    }
}

#[test]
fn expired() {
    let mut world = World::new(named());
    for quality in [0, 1, 2] {
        let mut message = world.message(quality, 1);
        message.properties = martlet_proto::PublishProperties::builder()
            .message_expiry_interval(1)
            .build();
        world.call(|peer| peer.session.publish(peer.now, message).unwrap());
    }
    world.peer.now += seconds(2);
    world.call(|peer| peer.session.handle_timeout(peer.now));
    world.all_is_deferred();
}

/// The connection breaks with large payloads in its output, before anybody could write them.
#[test]
fn lost_with_the_connection() {
    let mut world = World::connected(named());
    world.publish(0, 5000);
    world.call(Peer::cut);
    world.all_is_deferred();
}

/// The same, when the message has been given back and the output is the last to have its payload.
#[test]
fn lost_with_the_connection_after_it_was_given_back() {
    let mut world = World::connected(named());
    world.publish(0, 5000);
    let mut deferred_drops = vec![Bytes::from_static(b"of another session")];
    world.peer.session.poll_deferred_drops(&mut deferred_drops);
    assert_eq!(
        deferred_drops.iter().map(Bytes::len).collect::<Vec<_>>(),
        [18, 3, 5000]
    );
    drop(deferred_drops);
    assert_eq!(
        world.watch.dropped.load(Ordering::Relaxed),
        1,
        "only the topic: the payload is in the output"
    );
    world.peer.blocked = true;
    world.call(Peer::cut);
    let mut deferred_drops = Vec::new();
    world.peer.session.poll_deferred_drops(&mut deferred_drops);
    assert_eq!(world.watch.dropped.load(Ordering::Relaxed), 1);
    drop(deferred_drops);
    assert_eq!(world.watch.dropped.load(Ordering::Relaxed), 2);
}

#[test]
fn lost_with_the_session() {
    let lost = named().lost_qos1(LostSession::InDoubt);
    let mut world = World::connected(lost);
    for quality in [1, 2, 2] {
        world.publish(quality, 5000);
    }
    world.peer.drain();
    world.call(|peer| {
        peer.send(pubrec(3));
        peer.cut();
        peer.reconnect(Version::V5, false);
    });
    world.all_is_deferred();
}

/// The next server does not take what the last one did.
#[test]
fn too_large_for_the_next_server() {
    let mut world = World::connected(named().clean_start(CleanStart::Never));
    for quality in [0, 1, 2, 1] {
        if quality == 0 {
            world.peer.cut();
        }
        world.publish(quality, 5000);
    }
    let mut small = connack(true);
    small.properties.maximum_packet_size = core::num::NonZeroU32::new(100);
    world.call(|peer| {
        peer.open(Version::V5);
        peer.send(small);
    });
    world.all_is_deferred();
}
