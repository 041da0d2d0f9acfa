//! The column codec: clocks and contexts as bytes, one spelling for each value.
//!
//! ```text
//! full    01 | v n | n ids of WIDTH bytes, strictly ascending | n * v (counter - 1)
//! roster  02 | digest:8 | one v per roster place: counter, 0 = absent
//! delta   03 | base digest:8 | v c | c * (v index gap, v (increment - 1)) | v a | a new ids | a * v (counter - 1)
//! context any clock | v k | k ids, ascending | per id: v (m - 1), m * (v (first - previous end - 2), v (last - first))
//! dot     id | v (counter - 1)          hlc  8 bytes          empty clock  01 00
//! ```
//! `v` is LEB128 in its shortest form, at most 9 bytes (63 bits). Ids, digests and stamps are big-endian. Offsets are
//! counted from what cannot occur, so that no two byte strings mean one value under one form.

mod context;
mod decoder;
mod reader;
mod small;
mod vector;
mod writer;

pub use self::decoder::Decoder;
pub use self::vector::Base;

use alloc::vec::Vec;

use crate::digest::sip24_64;
use crate::{ReplicaKey, VectorClock};

const FULL: u8 = 1;
const ROSTER: u8 = 2;
const DELTA: u8 = 3;

const ENTRIES: &str = "clock entries";
const CHANGED: &str = "changed entries";
const RANGED: &str = "replicas with ranges";
const RANGES: &str = "ranges";
const RANGES_OF_ONE: &str = "ranges of one replica";

/// The name of a roster on the wire: epoch and ids, big-endian, under a fixed public key.
pub(crate) fn roster_digest<R: ReplicaKey>(epoch: u64, ids: &[R]) -> u64 {
    let mut bytes = epoch.to_be_bytes().to_vec();
    writer::put_ids(&mut bytes, ids.iter().copied());
    sip24_64(b"reconvene-roster", &bytes)
}

/// The name of a base on the wire: its full form under a fixed public key.
fn base_digest<R: ReplicaKey>(clock: &VectorClock<R>) -> u64 {
    let mut bytes = Vec::new();
    clock.encode(&mut bytes);
    sip24_64(b"reconvene-vector", &bytes)
}
