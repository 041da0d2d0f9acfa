//! Numbers whose range or direction a bare integer would leave open.

use core::fmt;

/// A share in basis points: 0 is nothing, 10,000 the whole. What factors are normalised to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "u16", into = "u16"))]
pub struct BasisPoints(u16);

impl BasisPoints {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole: 10,000.
    pub const FULL: Self = Self(10_000);

    /// A tenth: 1,000.
    pub const TENTH: Self = Self(1_000);

    /// `None` above 10,000.
    #[must_use]
    pub const fn new(bp: u16) -> Option<Self> {
        if bp <= Self::FULL.0 { Some(Self(bp)) } else { None }
    }

    /// `part / whole`, rounded down, at most [`FULL`](Self::FULL). Of an empty whole nothing is no share and anything
    /// is all of it.
    #[must_use]
    pub fn from_ratio(part: u64, whole: u64) -> Self {
        if part >= whole {
            return if part == 0 { Self::ZERO } else { Self::FULL };
        }
        // part < whole, so the quotient is below 10,000 and the division is by at least 1. Parts below 2^50, which is
        // all real ones, need no wide division.
        if let Some(scaled) = part.checked_mul(u64::from(Self::FULL.0)) {
            return u16::try_from(scaled.checked_div(whole).unwrap_or(0)).map_or(Self::FULL, Self);
        }
        let scaled = u128::from(part).saturating_mul(u128::from(Self::FULL.0));
        let bp = scaled.checked_div(u128::from(whole)).unwrap_or(0);
        u16::try_from(bp).map_or(Self::FULL, Self)
    }

    /// This share of `whole`, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole).saturating_mul(u128::from(self.0)).checked_div(u128::from(Self::FULL.0));
        part.and_then(|part| u64::try_from(part).ok()).unwrap_or(whole)
    }

    /// What is missing to the whole.
    #[must_use]
    pub const fn complement(self) -> Self {
        Self(Self::FULL.0.saturating_sub(self.0))
    }

    /// The number, 0..=10,000.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for BasisPoints {
    type Error = OutOfRange;

    fn try_from(bp: u16) -> Result<Self, OutOfRange> {
        Self::new(bp).ok_or_else(|| OutOfRange { what: "basis points", found: u32::from(bp), least: 0, most: 10_000 })
    }
}

impl From<BasisPoints> for u16 {
    fn from(bp: BasisPoints) -> Self {
        bp.0
    }
}

impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bp", self.0)
    }
}

/// How urgent the submitter calls a job. **Higher is more urgent**; 0 is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "every u8 is a priority")]
pub struct Priority(pub u8);

/// What running a job is worth, 1 to 1,000,000 in the network's own unit; 1 where nothing was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "u32", into = "u32"))]
pub struct JobValue(u32);

impl JobValue {
    /// The least value, and the default.
    pub const ONE: Self = Self(1);
    /// The greatest value: 1,000,000.
    pub const MAX: Self = Self(1_000_000);

    /// `None` for 0 and above 1,000,000.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value >= Self::ONE.0 && value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// The number, 1..=1,000,000.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for JobValue {
    fn default() -> Self {
        Self::ONE
    }
}

impl TryFrom<u32> for JobValue {
    type Error = OutOfRange;

    fn try_from(value: u32) -> Result<Self, OutOfRange> {
        Self::new(value).ok_or(OutOfRange { what: "job value", found: value, least: Self::ONE.0, most: Self::MAX.0 })
    }
}

impl From<JobValue> for u32 {
    fn from(value: JobValue) -> Self {
        value.0
    }
}

/// A number outside the range of its type. Nothing was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {found} is outside {least}..={most}")]
#[non_exhaustive]
pub struct OutOfRange {
    /// What the number was to become.
    pub what: &'static str,
    /// The number.
    pub found: u32,
    /// The least that is allowed.
    pub least: u32,
    /// The most that is allowed.
    pub most: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_round_down_and_stop_at_the_whole() {
        let bp = |part, whole| BasisPoints::from_ratio(part, whole).get();
        assert_eq!(bp(1, 3), 3_333);
        assert_eq!(bp(6_553, 65_536), 999);
        assert_eq!(bp(3, 3), 10_000);
        assert_eq!(bp(u64::MAX, 3), 10_000);
        assert_eq!(bp(u64::MAX - 1, u64::MAX), 9_999);
        assert_eq!(bp(0, 0), 0);
        assert_eq!(bp(1, 0), 10_000);
    }

    #[test]
    fn ranges_are_kept() {
        assert_eq!(BasisPoints::new(10_001), None);
        assert_eq!(JobValue::new(0), None);
        assert_eq!(JobValue::new(1_000_001), None);
        assert_eq!(JobValue::new(1_000_000), Some(JobValue::MAX));
    }
}
