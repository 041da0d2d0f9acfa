//! What a store gave out, reserved and saw: numbers that are durable before they are used and never lowered.

use core::fmt::{self, Display};
use std::sync::Arc;

use reconvene_clock::{Counter, DotRange, Height, Hlc};

/// Counters and milliseconds are reserved in blocks of so many.
pub const BLOCK: u64 = 1_024;

/// Why a store gives out no more dots under its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "stored; another one is another format")]
pub enum Frozen {
    /// It has lost writes: somebody knows own dots that this store never gave out, or a row with own writes
    /// cannot be read.
    Amnesia,
    /// Somebody met the same replica in another session: there are two copies of this store.
    Cloned,
    /// One own dot names two contents.
    Collision,
    /// The members have retired this replica.
    Retired,
}

impl Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amnesia => "it has lost writes of its own",
            Self::Cloned => "another copy of the store runs under the same identity",
            Self::Collision => "one of its dots names two contents",
            Self::Retired => "it was retired",
        })
    }
}

/// What a store gave out, reserved and saw so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub(crate) issued: Option<Counter>,
    pub(crate) reserved: Option<Counter>,
    pub(crate) stamped: Option<Hlc>,
    pub(crate) stamp_bound: Option<Hlc>,
    pub(crate) height: Option<Height>,
    pub(crate) unused: Arc<Vec<DotRange>>,
    pub(crate) frozen: Option<Frozen>,
}

impl Marks {
    /// The last counter that was given to a write of this replica, or counted as unused.
    #[must_use]
    pub fn issued(&self) -> Option<Counter> {
        self.issued
    }

    /// The end of the block of [`BLOCK`] counters that `issued` is in: no write of this replica has a greater one,
    /// whatever was lost, and a store that is opened again starts above it.
    #[must_use]
    pub fn reserved(&self) -> Option<Counter> {
        self.reserved
    }

    /// The greatest stamp of a write of this store.
    #[must_use]
    pub fn stamped(&self) -> Option<Hlc> {
        self.stamped
    }

    /// The end of the block of [`BLOCK`] milliseconds that `stamped` is in.
    #[must_use]
    pub fn stamp_bound(&self) -> Option<Hlc> {
        self.stamp_bound
    }

    /// The greatest height of any version seen.
    #[must_use]
    pub fn height(&self) -> Option<Height> {
        self.height
    }

    /// Counters that were reserved and never given out, ascending, of this replica and the store's earlier ones: those
    /// that not every member has heard of yet.
    #[must_use]
    pub fn unused(&self) -> &[DotRange] {
        &self.unused
    }

    /// Why no more dots are given out, if so.
    #[must_use]
    pub fn frozen(&self) -> Option<Frozen> {
        self.frozen
    }

    /// Gives out `counter`, and reserves the block it is in.
    pub(crate) fn issue(&mut self, counter: Counter, stamp: Hlc) {
        self.issued = Some(counter);
        if self.reserved < Some(counter) {
            let end = counter.get().div_ceil(BLOCK).saturating_mul(BLOCK);
            self.reserved = Some(Counter::new(end).unwrap_or(Counter::MAX));
        }
        self.stamped = self.stamped.max(Some(stamp));
        if self.stamp_bound < Some(stamp) {
            self.stamp_bound = Some(Hlc::from_u64(stamp.as_u64() | STAMP_BLOCK));
        }
    }
}

/// The bits of a stamp that say where in its block it is: 10 bits of milliseconds and all 16 of the logical part.
const STAMP_BLOCK: u64 = (BLOCK << 16).wrapping_sub(1);
