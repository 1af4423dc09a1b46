//! What holds for every packet and for any bytes (`martlet-proto`).

use bytes::BytesMut;
use martlet_proto::Version;
use martlet_tests::{fuzz, packets};
use proptest::prelude::*;

fn version() -> impl Strategy<Value = Version> {
    proptest::sample::select(&Version::ALL[..])
}

/// The choice of a fuzz body that means this version and no limit.
fn choice(version: Version) -> u8 {
    version.level() - 3
}

fn encoded(version: Version, packets: &[martlet_proto::Packet]) -> BytesMut {
    let mut wire = BytesMut::from(&[choice(version)][..]);
    for packet in packets {
        packet
            .encode(version, &mut wire)
            .expect("a packet of this version");
    }
    wire
}

fn packets(
    len: std::ops::Range<usize>,
) -> impl Strategy<Value = (Version, Vec<martlet_proto::Packet>)> {
    version().prop_flat_map(move |v| {
        (
            Just(v),
            proptest::collection::vec(packets::packet(v), len.clone()),
        )
    })
}

/// All bodies.
fn any_bytes(data: &[u8]) {
    fuzz::decode(data);
    fuzz::round_trip(data);
    fuzz::chunking(data);
    fuzz::topic(data);
    fuzz::second_opinion(data);
}

proptest! {
    // Seeds are printed; regressions become named tests instead of files.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_survives_the_wire((version, packets) in packets(1..4)) {
        for packet in &packets {
            prop_assert!(fuzz::survives(version, packet), "{version}: {packet:?}");
        }
        any_bytes(&encoded(version, &packets));
    }

    /// A valid stream with a few bytes changed is what comes closest to valid without being it.
    #[test]
    fn a_damaged_stream_is_packets_or_an_error(
        (version, packets) in packets(1..3),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        limit in 0..4u8,
    ) {
        let mut wire = encoded(version, &packets);
        wire[0] += 3 * limit;
        for (at, byte) in damage {
            let at = at.index(wire.len());
            if at > 0 {
                wire[at] = byte;
            }
        }
        any_bytes(&wire);
    }

    #[test]
    fn a_cut_or_joined_stream_is_packets_or_an_error(
        (version, packets) in packets(2..4),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let mut wire = encoded(version, &packets);
        let (from, to) = (1 + from.index(wire.len()), 1 + to.index(wire.len()));
        let (from, to) = (from.min(to).min(wire.len()), from.max(to).min(wire.len()));
        let tail = wire.split_off(to);
        wire.truncate(from);
        wire.extend_from_slice(&tail);
        any_bytes(&wire);
    }

    #[test]
    fn any_bytes_are_packets_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        any_bytes(&data);
    }

    /// Length first, so that more of the body is reached.
    #[test]
    fn any_body_is_a_packet_or_an_error(
        choice in any::<u8>(),
        first in any::<u8>(),
        body in proptest::collection::vec(prop_oneof![0..4u8, any::<u8>()], 0..100),
    ) {
        any_bytes(&[&[choice, first, body.len() as u8], &body[..]].concat());
    }

    #[test]
    fn filters_match_as_a_naive_reading_says(
        filter in packets::topic_filter(),
        name in packets::likely_topic_name(),
    ) {
        let mut data = vec![filter.as_bytes().len() as u8];
        data.extend_from_slice(filter.as_bytes());
        data.extend_from_slice(name.as_bytes());
        fuzz::topic(&data);
    }

    /// Filters and names of the characters that mean something.
    #[test]
    fn any_text_is_a_filter_or_an_error(
        filter in "(\\$share/)?[+#/$a]{0,8}",
        name in "[+#/$a\u{0}é]{0,8}",
    ) {
        let data = [&[filter.len() as u8], filter.as_bytes(), name.as_bytes()].concat();
        fuzz::topic(&data);
    }
}
