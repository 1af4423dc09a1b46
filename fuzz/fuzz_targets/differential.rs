//! See `martlet_fuzz::differential`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| martlet_fuzz::differential(data));
