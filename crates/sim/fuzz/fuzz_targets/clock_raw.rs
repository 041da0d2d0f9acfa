//! See `src/clock.rs`.
#![no_main]

#[path = "../src/clock.rs"]
mod clock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| clock::raw(data));
