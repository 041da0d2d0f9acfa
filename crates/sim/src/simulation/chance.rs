//! What a plan draws from its seed.

use crate::world::rng::Rng;

/// Numbers from a seed. Streams of one seed with different names have nothing to do with each other, so that a plan with
/// one part left out draws the same for all others.
#[derive(Clone, Debug)]
pub(super) struct Chance(Rng);

impl Chance {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Rng::new(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        rng.next_u64();
        Self(rng)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// One time in `of`.
    pub(super) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub(super) fn per_mille(&mut self, rate: u64) -> bool {
        self.below(1_000) < rate
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).unwrap_or(1))).unwrap_or(0)
    }

    /// From `low` to `high`, as often between 1 and 10 as between 10 and 100: rare and frequent faults are both drawn.
    pub(super) fn log_between(&mut self, low: u64, high: u64) -> u64 {
        let (low, high) = (low.max(1), high.max(low.max(1)));
        // A random power of two first, then evenly within what is left of it.
        let (from, to) = (low.ilog2(), high.ilog2());
        let power = self.between(from.into(), to.into());
        let least = (1_u64 << power).max(low);
        let most = ((1_u64 << power) * 2 - 1).min(high);
        self.between(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn log_between_keeps_its_bounds_and_reaches_all_sizes() {
        let mut chance = Chance::new(7, 1);
        let drawn: Vec<u64> = (0..2_000).map(|_| chance.log_between(3, 500)).collect();
        assert!(drawn.iter().all(|number| (3..=500).contains(number)));
        assert!(drawn.iter().filter(|number| **number < 16).count() > 400);
        assert!(drawn.iter().filter(|number| **number > 128).count() > 400);
    }
}
