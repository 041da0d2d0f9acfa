//! See `src/sync.rs`.
#![no_main]

#[path = "../src/sync.rs"]
mod sync;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync::claims(data));
