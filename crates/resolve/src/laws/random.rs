use core::fmt;

/// Random numbers from a seed: the same on every machine. Not for secrets.
///
/// # Reference
/// Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators" (`SplitMix64`).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The numbers of one history of a seed.
    #[must_use]
    pub const fn of_history(seed: u64, history: u64) -> Self {
        let mut mixed = Self::new(seed);
        let high = mixed.next();
        let mut own = Self::new(high ^ history);
        Self::new(own.next())
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        // The bias is below 2^-32 for the small limits of histories.
        match self.next().checked_rem(limit) {
            Some(number) => number,
            None => 0,
        }
    }

    /// As [`below`](Self::below), for places in lists.
    pub fn place(&mut self, length: usize) -> usize {
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(limit)).unwrap_or(0)
    }

    /// True once in `times`.
    pub const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Any number, extremes and small ones more often than others.
    pub const fn extreme(&mut self) -> u64 {
        match self.below(5) {
            0 => 0,
            1 => u64::MAX,
            2 => self.below(3),
            3 => u64::MAX.wrapping_sub(self.below(3)),
            _ => self.next(),
        }
    }

    /// Puts a list into another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            let place = self.place(end.saturating_add(1));
            list.swap(end, place);
        }
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Random({:016x})", self.0)
    }
}
