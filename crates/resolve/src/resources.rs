use core::fmt;

use crate::BasisPoints;
use crate::bytes::Writer;

/// An amount in each of the three dimensions: what a job needs, or what an executor has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a new dimension must show wherever amounts are compared")]
pub struct Resources {
    /// Processor, in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Graphics processor, in thousandths of one.
    pub gpu_milli: u64,
}

impl Resources {
    /// `cpu_milli` thousandths of a core, `memory_mib` MiB, `gpu_milli` thousandths of a graphics processor.
    #[must_use]
    pub const fn new(cpu_milli: u64, memory_mib: u64, gpu_milli: u64) -> Self {
        Self { cpu_milli, memory_mib, gpu_milli }
    }

    /// The amount in one dimension.
    #[must_use]
    pub const fn get(&self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Cpu => self.cpu_milli,
            Dimension::Memory => self.memory_mib,
            Dimension::Gpu => self.gpu_milli,
        }
    }

    /// Both together, at most `u64::MAX` in each dimension.
    #[must_use]
    pub const fn saturating_add(&self, other: &Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            gpu_milli: self.gpu_milli.saturating_add(other.gpu_milli),
        }
    }

    /// What is left of this without `other`, at least 0 in each dimension.
    #[must_use]
    pub const fn saturating_sub(&self, other: &Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
            gpu_milli: self.gpu_milli.saturating_sub(other.gpu_milli),
        }
    }

    /// This share of it, rounded down in each dimension.
    #[must_use]
    pub fn portion(&self, share: BasisPoints) -> Self {
        Self {
            cpu_milli: share.of(self.cpu_milli),
            memory_mib: share.of(self.memory_mib),
            gpu_milli: share.of(self.gpu_milli),
        }
    }

    /// The smaller amount in each dimension.
    #[must_use]
    pub fn min(&self, other: &Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.min(other.cpu_milli),
            memory_mib: self.memory_mib.min(other.memory_mib),
            gpu_milli: self.gpu_milli.min(other.gpu_milli),
        }
    }

    /// The three amounts, in the order of [`Dimension::ALL`].
    pub(crate) const fn amounts(&self) -> [u64; 3] {
        [self.cpu_milli, self.memory_mib, self.gpu_milli]
    }

    /// Whether `demand` is at most this in every dimension.
    #[must_use]
    pub fn holds(&self, demand: &Self) -> bool {
        Dimension::ALL.iter().all(|dimension| demand.get(*dimension) <= self.get(*dimension))
    }
}

impl Resources {
    pub(crate) fn write(&self, out: &mut Writer) {
        Dimension::ALL.into_iter().for_each(|dimension| out.u64(self.get(dimension)));
    }
}

/// One of the three dimensions of [`Resources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[expect(clippy::exhaustive_enums, reason = "a new dimension must show wherever amounts are compared")]
pub enum Dimension {
    /// Processor, in thousandths of a core.
    Cpu,
    /// Memory, in MiB.
    Memory,
    /// Graphics processor, in thousandths of one.
    Gpu,
}

impl Dimension {
    /// All three, in the order of the fields of [`Resources`].
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Gpu];

    /// Its number in canonical bytes.
    pub(crate) const fn place(self) -> u64 {
        match self {
            Self::Cpu => 0,
            Self::Memory => 1,
            Self::Gpu => 2,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Gpu => "gpu",
        })
    }
}

/// One in the fixed point in which shares of a capacity are compared: 2^20.
pub(crate) const SHARE_ONE: u64 = 1 << 20;

/// `floor(amount × 2^20 / whole)`, at most `u64::MAX`. Of an empty whole nothing is 0 and anything the maximum.
pub(crate) fn share(amount: u64, whole: u64) -> u64 {
    if amount == 0 {
        return 0;
    }
    // Amounts below 2^44, which is all real ones, need no wide division.
    if let Some(scaled) = amount.checked_mul(SHARE_ONE) {
        return scaled.checked_div(whole).unwrap_or(u64::MAX);
    }
    let scaled = u128::from(amount).saturating_mul(u128::from(SHARE_ONE));
    let share = scaled.checked_div(u128::from(whole)).unwrap_or(u128::MAX);
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holding_is_decided_by_every_dimension() {
        let room = Resources::new(10, 10, 4);
        assert!(room.holds(&Resources::new(10, 10, 4)));
        assert!(!room.holds(&Resources::new(11, 0, 0)));
        assert!(!room.holds(&Resources::new(0, 11, 0)));
        assert!(!room.holds(&Resources::new(0, 0, 5)));
    }

    #[test]
    fn shares_round_down_and_never_wrap() {
        assert_eq!(share(6, 20), 314_572);
        assert_eq!(share(u64::MAX, 1), u64::MAX);
        assert_eq!(share(1, 0), u64::MAX);
        assert_eq!(share(0, 0), 0);
    }
}
