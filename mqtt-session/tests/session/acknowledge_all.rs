//! Many messages acknowledged at once, and messages that come again.

use crate::driver::*;
use crate::receive::config;
use martlet_proto::{PubAckReasonCode, Version};
use martlet_session::ReceivedPublish;
use proptest::prelude::*;

/// What a session says of either QoS, in order, and what waits then.
fn outcome(peer: &mut Peer) -> [Vec<String>; 2] {
    let (first, second) = peer
        .said()
        .into_iter()
        .partition(|line| line.starts_with("PUBACK"));
    [first, second]
}

/// A connection on which messages of these QoS have come, `again` after they came on another one.
fn received(qualities: &[u8], again: bool) -> Peer {
    let mut peer = Peer::connected(Version::V5, config());
    for (n, quality) in (1..).zip(qualities) {
        peer.send(publish(*quality, n, "a", &n.to_string()));
    }
    if again {
        peer.cut();
        peer.reconnect(Version::V5, true);
        for (n, quality) in (1..).zip(qualities).filter(|(_, quality)| **quality == 1) {
            peer.send(duplicate(*quality, n, "a", &n.to_string()));
        }
    }
    peer.reported();
    peer.said();
    peer
}

proptest! {
    /// In any order and any parts: the server hears what it would hear of each by itself.
    #[test]
    fn together_is_as_one_by_one(
        qualities in prop::collection::vec(0..3u8, 1..20),
        order in prop::collection::vec(any::<u32>(), 40),
        parts in prop::collection::vec(1..6usize, 20),
        again in any::<bool>(),
    ) {
        let run = |together: bool| {
            let mut peer = received(&qualities, again);
            let mut messages: Vec<(u32, ReceivedPublish)> =
                order.iter().copied().zip(std::mem::take(&mut peer.messages)).collect();
            messages.sort_by_key(|(place, _)| *place);
            let mut messages = messages.into_iter().map(|(_, message)| message.token);
            let mut outcomes = Vec::new();
            for part in &parts {
                let tokens: Vec<_> = messages.by_ref().take(*part).collect();
                if together {
                    peer.session.acknowledge_all(tokens);
                    peer.drain();
                } else {
                    for token in tokens {
                        peer.acknowledge(token, PubAckReasonCode::Success);
                    }
                }
                outcomes.push((outcome(&mut peer), peer.session.unhandled()));
            }
            outcomes
        };
        prop_assert_eq!(run(true), run(false));
    }
}

/// What comes again names the delivery that the application may have, also when it came in between
/// without having been looked at; once.
#[test]
fn what_comes_again_names_what_it_replaces() {
    let mut peer = received(&[1, 1, 2], false);
    let first: Vec<_> = peer.messages.drain(..).collect();
    for connection in 0..2 {
        peer.cut();
        peer.reconnect(Version::V5, true);
        peer.send_all(&[duplicate(1, 1, "a", "1"), duplicate(1, 2, "a", "2")]);
        peer.reported();
        assert_eq!(peer.messages.len(), 2 * (connection + 1));
    }
    peer.send_all(&[publish(1, 9, "a", "new")]);
    peer.reported();
    let second = peer.messages.split_off(2);
    let mut replaced = |n: usize| peer.session.take_replaced(&second[n].token);
    assert_eq!(replaced(0), Some(first[0].token.delivery()));
    assert_eq!(replaced(0), None, "returned once");
    assert_eq!(replaced(1), Some(first[1].token.delivery()));
    assert_eq!(replaced(2), None, "it is new");
    // With the session, what came before is forgotten.
    peer.cut();
    peer.reconnect(Version::V5, false);
    peer.send(duplicate(1, 1, "a", "1"));
    peer.reported();
    let last = peer.messages.pop().unwrap();
    assert_eq!(peer.session.take_replaced(&last.token), None);
}
