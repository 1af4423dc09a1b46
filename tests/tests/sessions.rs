//! The bodies of the fuzz targets of sessions, with proptest's bytes.

use martlet_tests::fuzz;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_phase(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz::session_bytes(&data);
    }

    #[test]
    fn any_operations_in_any_order(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::session_operations(&data);
    }
}

/// What random operations have found: a PUBREL ahead of one that waited for the store, and servers
/// that send PUBREC after an answer of another flow.
#[test]
fn operations_that_were_wrong_once() {
    for data in [
        &[
            129, 56, 128, 53, 0, 86, 45, 0, 0, 50, 246, 16, 96, 249, 4, 38, 13, 0, 0, 2, 0, 205,
            75, 182, 43, 0, 114, 0, 45, 255, 1,
        ][..],
        &[
            0, 0, 2, 2, 15, 0, 0, 14, 122, 1, 3, 10, 2, 14, 3, 1, 2, 9, 4, 13, 15, 3, 25,
        ],
        &[0, 0, 3, 6, 13, 0, 0, 13, 161, 13, 14, 15, 13, 0, 14],
    ] {
        fuzz::session_operations(data);
    }
}
