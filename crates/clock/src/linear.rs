//! One total order that extends causality.

use crate::{Dot, Height, Hlc, ReplicaId, ReplicaKey, VectorClock};

/// A key under which versions order totally and never against causality: rank, stamp, replica, counter, in that order.
///
/// The rank grows along every causal chain; the stamp breaks ties among ranks by time; the dot makes keys unique. So
/// the maximum of a set of versions does not depend on the order in which they arrived. Build it once, when the version
/// is written: a key recomputed from a clock that has grown since would drift.
///
/// Known bias: a concurrent version with the longer history behind it wins over the more recent one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinearKey<R = ReplicaId> {
    rank: u128,
    hlc: Hlc,
    dot: Dot<R>,
}

impl<R: ReplicaKey> LinearKey<R> {
    /// The key of a version that carries its height.
    #[must_use]
    pub fn from_height(height: Height, hlc: Hlc, dot: Dot<R>) -> Self {
        Self { rank: height.get().into(), hlc, dot }
    }

    /// The key of a version that carries its vector clock.
    ///
    /// If `a` happened before `b`, no counter of `a` is greater than that of `b` and one is smaller, so the total is.
    #[must_use]
    pub fn from_total(clock: &VectorClock<R>, hlc: Hlc, dot: Dot<R>) -> Self {
        Self { rank: clock.total(), hlc, dot }
    }
}

impl LinearKey {
    /// The key as five words that order lexicographically as keys do.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low half of the rank is its own word")]
    pub const fn words(&self) -> [u64; 5] {
        let Self { rank, hlc, dot } = self;
        [(*rank >> 64) as u64, *rank as u64, hlc.as_u64(), dot.replica.get(), dot.counter.get()]
    }
}
