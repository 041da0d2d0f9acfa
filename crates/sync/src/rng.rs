//! The one source of chance.

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good enough for jitter and the choice of peers.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included; `low` if they are the wrong way round.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = u128::from(high.saturating_sub(low)).saturating_add(1);
        // The high half of a product is even enough: its bias is below span / 2^64.
        let offset = u128::from(self.next()).saturating_mul(span) >> 64;
        low.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }

    /// Moves `count` items drawn at random to the front of `items`.
    pub(crate) fn draw<T>(&mut self, items: &mut [T], count: usize) {
        for index in 0..count.min(items.len()) {
            let last = items.len().saturating_sub(1);
            let chosen = self.between(u64::try_from(index).unwrap_or(0), u64::try_from(last).unwrap_or(0));
            items.swap(index, usize::try_from(chosen).unwrap_or(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    /// The first outputs for seed 1234567, from the reference implementation.
    #[test]
    fn known_answers() {
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn between_keeps_its_bounds() {
        let mut rng = Rng::new(1);
        let drawn: Vec<u64> = (0..200).map(|_| rng.between(3, 5)).collect();
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
        assert!((3..=5).all(|number| drawn.contains(&number)));
        assert_eq!(rng.between(9, 2), 9);
        assert!(rng.between(0, u64::MAX) > 0);
    }

    #[test]
    fn draw_is_a_permutation() {
        let mut items: Vec<u32> = (0..10).collect();
        Rng::new(5).draw(&mut items, 3);
        let mut sorted = items.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert_ne!(items, sorted);
    }
}
