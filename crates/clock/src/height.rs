//! Lamport's scalar.

use core::fmt::{self, Display};
use core::num::NonZeroU64;

/// One more than the greatest height its writer had observed (Lamport's scalar clock).
///
/// If one write happened before another, its height is smaller. The converse does not hold.
///
/// # Reference
/// Lamport 1978, "Time, Clocks, and the Ordering of Events in a Distributed System".
///
/// ```
/// use reconvene_clock::Height;
///
/// let first = Height::above(None).expect("one is a height");
/// let second = Height::above(Some(first)).expect("far from the end");
/// assert!(first < second);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Height(NonZeroU64);

impl Height {
    /// The height of a write whose writer had observed none.
    pub const MIN: Self = Self(NonZeroU64::MIN);

    /// The height with this number, or `None` for zero.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The height of a write whose writer had observed `greatest`, or `None` if there is no greater one.
    #[must_use]
    pub const fn above(greatest: Option<Self>) -> Option<Self> {
        match greatest {
            Some(greatest) => match greatest.0.checked_add(1) {
                Some(number) => Some(Self(number)),
                None => None,
            },
            None => Some(Self::MIN),
        }
    }
}

impl Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}
