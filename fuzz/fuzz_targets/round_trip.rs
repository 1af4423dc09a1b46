//! See `martlet_tests::fuzz::round_trip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| martlet_tests::fuzz::round_trip(data));
