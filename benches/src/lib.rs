//! What the benchmarks of the Reconvene crates share: inputs that are the same in every run.
//!
//! One bench per crate, in `benches/`, each for the crate's main operation. Compare figures within one run; machines
//! are noisy. `benches/peers` is a workspace of its own, where other crates are measured beside ours.

use reconvene_clock::ReplicaId;

/// An endless sequence of well-mixed numbers, the same for the same seed (SplitMix64).
pub fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// The replica with this number; zero, which is no replica, stands for one.
///
/// # Panics
/// Never: the number is made positive first.
#[must_use]
pub fn replica(number: u64) -> ReplicaId {
    ReplicaId::new(number.max(1)).expect("at least one")
}
