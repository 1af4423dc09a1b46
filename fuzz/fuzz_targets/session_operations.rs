//! See `martlet_tests::fuzz::session_operations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| martlet_tests::fuzz::session_operations(data));
