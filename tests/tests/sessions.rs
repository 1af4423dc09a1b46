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
