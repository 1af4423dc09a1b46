//! What is exact can be held: a session in its steady state allocates nothing for a message, and an
//! idle one is small.

use martlet_proto::Version;
use martlet_session::{Config, ConnectOptions, Instant, Session};

#[allow(unreachable_pub, dead_code, missing_docs, clippy::all, reason = "a yardstick, kept as it is")]
#[rustfmt::skip]
#[path = "../../../bench/floors/codec.rs"]
mod codec;
#[path = "../../benches/ends/mod.rs"]
mod ends;

use ends::Ends;

fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

#[test]
#[cfg_attr(miri, ignore = "too slow: thousands of messages")]
fn a_completed_message_allocates_nothing() {
    for version in [Version::V3_1_1, Version::V5] {
        for key in [None, Some(7)] {
            for qos in [1, 2] {
                for window in [1, 100, 65_535] {
                    let mut ends = Ends::new(version, window, key);
                    let n = 2 * usize::from(window);
                    ends.publish(qos, window.into(), n);
                    let count = allocations(|| assert_eq!(ends.publish(qos, window.into(), n), n));
                    assert_eq!(
                        count, 0,
                        "{version}, QoS {qos}, window {window}, key {key:?}"
                    );
                }
            }
        }
    }
}

/// A read buffer that is shared with messages allocates when it is first shared and when it is not
/// free again: once or twice a turn, whatever the number of messages.
#[test]
#[cfg_attr(miri, ignore = "too slow: thousands of messages")]
fn a_received_message_allocates_nothing_of_its_own() {
    for version in [Version::V3_1_1, Version::V5] {
        for qos in [0, 1, 2] {
            let mut ends = Ends::new(version, 100, None);
            ends.receive(qos, 60, 6_000);
            let count = allocations(|| assert_eq!(ends.receive(qos, 60, 6_000), 6_000));
            assert!(
                count <= 2 * 100,
                "{version}, QoS {qos}: {count} in 100 turns of 60 messages"
            );
        }
    }
}
#[test]
fn an_idle_session_takes_less_than_a_kibibyte() {
    let size = size_of::<Session>();
    let mut session = None;
    let heap =
        allocation_counter::measure(|| session = Some(Session::new(Config::default()))).bytes_total;
    assert!(
        size + (heap as usize) < 1024,
        "{size} bytes and {heap} on the heap"
    );
    drop(session);
}

/// Other clients reserve 256 MiB for five bytes.
#[test]
fn a_hostile_header_allocates_less_than_64_kib() {
    for version in Version::ALL {
        for hostile in [
            &[0x30, 0xff, 0xff, 0xff, 0x7f][..],
            &[0x30, 0xff, 0xff, 0xff, 0x07],
        ] {
            let mut session =
                Session::new(Config::default().client_identifier("me".try_into().unwrap()));
            let now = Instant::from_epoch(std::time::Duration::from_secs(1));
            session.handle_open(now, ConnectOptions::new(version));
            let mut input = bytes::BytesMut::with_capacity(64);
            let connack: &[u8] = if version == Version::V5 {
                &[0x20, 3, 0, 0, 0]
            } else {
                &[0x20, 2, 0, 0]
            };
            input.extend_from_slice(connack);
            session.handle_input(now, &mut input);
            input.extend_from_slice(hostile);
            let bytes =
                allocation_counter::measure(|| session.handle_input(now, &mut input)).bytes_total;
            assert!(bytes < 64 * 1024, "{version}: {bytes}");
        }
    }
}
