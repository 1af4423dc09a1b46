//! See `martlet_tests::fuzz_transport::transport`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| martlet_tests::fuzz_transport::transport(data));
