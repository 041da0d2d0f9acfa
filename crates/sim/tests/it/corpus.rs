//! What fuzzing found worth keeping, run again.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/clock.rs"]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "a test")]
mod clock;

#[path = "../../fuzz/src/sync.rs"]
#[allow(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm, reason = "a test")]
mod sync;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "the corpus of {target} is there");
    for file in files {
        check(&fs::read(&file).unwrap());
    }
}

#[test]
fn regress_corpus_of_clock_raw() {
    replay("clock_raw", clock::raw);
}

#[test]
fn regress_corpus_of_clock_structured() {
    replay("clock_structured", clock::structured);
}

#[test]
fn regress_corpus_of_sync_frames() {
    replay("sync_frames", sync::frames);
}

#[test]
fn regress_corpus_of_sync_deltas() {
    replay("sync_deltas", sync::deltas);
}

#[test]
fn regress_corpus_of_sync_claims() {
    replay("sync_claims", sync::claims);
}

#[test]
fn regress_corpus_of_sync_session() {
    replay("sync_session", sync::session);
}

#[test]
fn regress_corpus_of_bundles() {
    replay("bundles", sync::bundles);
}
