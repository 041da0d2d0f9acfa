//! How two histories relate.

use core::fmt::{self, Display};

/// How one history relates to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "two sets are equal, one inside the other, or neither")]
pub enum Causality {
    /// Both hold the same events.
    Equal,
    /// The other holds everything in this one, and more: this one happened before.
    Before,
    /// This one holds everything in the other, and more.
    After,
    /// Each holds an event that the other lacks.
    Concurrent,
}

impl Causality {
    /// The relation between two sets, of which the left one `has_more`, or `has_less`, or both, or neither.
    pub(crate) const fn from_excess(has_more: bool, has_less: bool) -> Self {
        match (has_more, has_less) {
            (false, false) => Self::Equal,
            (false, true) => Self::Before,
            (true, false) => Self::After,
            (true, true) => Self::Concurrent,
        }
    }

    /// The relation as seen from the other side.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Before => Self::After,
            Self::After => Self::Before,
            Self::Equal | Self::Concurrent => self,
        }
    }
}

impl Display for Causality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "equal",
            Self::Before => "before",
            Self::After => "after",
            Self::Concurrent => "concurrent",
        })
    }
}
