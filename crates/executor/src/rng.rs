//! The one source of randomness: a seed.

/// SplitMix64 (Steele, Lea and Flood 2014). Small, and good enough to spread retries.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// `duration_ms` and up to a fifth more or less, so that what failed together does not come back together.
    pub(crate) fn jitter(&mut self, duration_ms: u64) -> u64 {
        let fifth = duration_ms / 5;
        let width = fifth.saturating_mul(2).saturating_add(1);
        let spread = self.next().checked_rem(width).unwrap_or(0);
        duration_ms.saturating_sub(fifth).saturating_add(spread)
    }
}
