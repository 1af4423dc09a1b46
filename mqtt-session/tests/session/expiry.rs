//! Message Expiry Interval: what is left of it on the wire.

use crate::driver::*;
use martlet_proto::Version;
use martlet_session::Config;

/// A message that left a millisecond after it was published had one second less than it was given,
/// always: of a second that had only begun, nothing was left.
// MQTT 5 §3.3.2.3.3
#[test]
fn only_whole_seconds_that_have_passed_are_taken_off() {
    for (waited, left) in [
        (0, 5),
        (1, 5),
        (999, 5),
        (1000, 4),
        (1001, 4),
        (3999, 2),
        (4000, 1),
        (4999, 1),
    ] {
        for quality in [0, 1, 2] {
            let mut peer = Peer::connected(Version::V5, Config::default().keep_alive(0));
            peer.blocked = true;
            peer.publish(expiring(quality, "a", "1", 5));
            peer.wait(millis(waited));
            peer.unblock();
            let said = peer.said();
            assert!(
                said[0].ends_with(&format!("expiry={left}")),
                "after {waited} ms: {said:?}"
            );
        }
    }
    // The largest interval does not overflow.
    let mut peer = Peer::connected(Version::V5, Config::default().keep_alive(0));
    peer.blocked = true;
    peer.publish(expiring(1, "a", "1", u32::MAX));
    peer.wait(millis(1));
    peer.unblock();
    assert_eq!(
        peer.said(),
        [format!("PUBLISH q1 #1 a 1 expiry={}", u32::MAX)]
    );
}
