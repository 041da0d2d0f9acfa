//! Inputs that are the same in every run.

/// An endless sequence of well-mixed numbers, the same for the same seed (SplitMix64).
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Entries of a clock, as pairs of id and counter.
pub type Entries = Vec<(u64, u64)>;

/// `n` random ids, each with a counter from 1 to 1,000.
pub fn entries(n: usize) -> Entries {
    let counters = numbers(!(n as u64)).map(|number| 1 + number % 1_000);
    numbers(n as u64).map(|id| id.max(1)).zip(counters).take(n).collect()
}

/// The same ids, and every counter greater by 1 to 3.
pub fn above(entries: &[(u64, u64)]) -> Entries {
    entries.iter().zip(numbers(7)).map(|((id, counter), more)| (*id, counter + 1 + more % 3)).collect()
}

/// Every second entry greater by one, and as many ids more that are new.
pub fn half_new(entries: &[(u64, u64)]) -> Entries {
    let kept = entries.iter().step_by(2).map(|(id, counter)| (*id, counter + 1));
    kept.chain(numbers(11).map(|id| (id.max(1), 1 + id % 1_000)).take(entries.len() / 2)).collect()
}

/// One entry in twenty greater by one.
pub fn few_grown(entries: &[(u64, u64)]) -> Entries {
    let grown = |(index, (id, counter)): (usize, &(u64, u64))| (*id, counter + u64::from(index % 20 == 10));
    entries.iter().enumerate().map(grown).collect()
}

/// 64 of the ids in an order that nobody can predict.
pub fn picks(entries: &[(u64, u64)]) -> Vec<u64> {
    numbers(13).take(64).map(|number| entries[(number % entries.len() as u64) as usize].0).collect()
}
