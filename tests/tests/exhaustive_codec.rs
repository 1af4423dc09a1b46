//! Small versions of `cargo run --release -p martlet-tests --example exhaustive_codec`.

use martlet_proto::Version;
use martlet_tests::exhaustive_codec::{Counts, Space, parts};

fn tried(space: Space) -> Counts {
    let mut sum = Counts::default();
    for part in parts(space) {
        sum += part.run();
    }
    assert_eq!(
        sum.visited,
        sum.packets + sum.rejected + sum.incomplete,
        "each has one outcome"
    );
    sum
}

fn strings_up_to(longest: u32) -> u64 {
    Version::ALL.len() as u64 * (1..=longest).map(|n| 256u64.pow(n)).sum::<u64>()
}

#[test]
fn every_string_of_three_bytes_is_decided_by_those_that_are_visited() {
    let counts = tried(Space::Strings(3));
    assert_eq!(counts.decided, strings_up_to(3));
    assert!(counts.packets > 0 && counts.visited < counts.decided / 10);
}

/// No branch is left out: the pruning loses nothing.
#[test]
fn each_string_of_two_bytes_is_what_its_beginning_says() {
    let counts = tried(Space::Unpruned(2));
    assert_eq!(counts.visited, strings_up_to(2));
    assert_eq!(counts.decided, counts.visited);
}

#[test]
fn every_packet_of_a_small_alphabet_survives_the_wire() {
    let counts = tried(Space::Frames {
        bytes: 8,
        letters: 4,
    });
    assert!(counts.packets > 0 && counts.tolerated > 0 && counts.incomplete == 0);
    assert!(counts.encoded > 0 && counts.encoded <= counts.packets);
}
