//! See `martlet_tests::fuzz::session_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| martlet_tests::fuzz::session_bytes(data));
