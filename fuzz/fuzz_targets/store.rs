//! The property is in src/fuzzing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| connectify::fuzzing::store(data));
