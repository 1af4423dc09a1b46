//! See `martlet_tests::fuzz::topic`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| martlet_tests::fuzz::topic(data));
