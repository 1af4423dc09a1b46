//! See `martlet_tests::fuzz::second_opinion`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| martlet_tests::fuzz::second_opinion(data));
