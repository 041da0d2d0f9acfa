//! Why a candidate stands where it stands, as codes that programs may rely on.

use alloc::collections::BTreeSet;
use alloc::string::String;
use core::fmt;

use crate::{CandidateId, Dimension};

/// A closed set of reasons, each with a stable string ([`Reason::code`]).
///
/// Reasons of parts that are not in this version (preemption, parking, policies) join it with those parts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Reason {
    /// It stands first.
    Chosen,
    /// There was no other.
    OnlyCandidate,
    /// Jobs of a higher tier stand before it.
    BehindHigherTier {
        /// How many candidates stand before it.
        n: u64,
    },
    /// Jobs with an earlier (virtual) start stand before it.
    BehindEarlier {
        /// How many candidates stand before it.
        n: u64,
        /// How many minutes before it the first of them was submitted; 0 if it was submitted later.
        minutes: u64,
    },
    /// An executor could run it, but not now.
    WaitingForCapacity {
        /// What is short on the executor that comes closest.
        dimension: Dimension,
        /// By how much, in the unit of that dimension.
        short_by: u64,
    },
    /// No executor could run it even when idle: tags are missing.
    NoExecutorWithTags {
        /// Required tags that no executor has all of; those missing where fewest are.
        missing: BTreeSet<String>,
    },
    /// Another version is canonical.
    LostTo {
        /// Which.
        winner: CandidateId,
        /// The link in which the two differ first.
        #[cfg_attr(feature = "serde", serde(skip_deserializing))]
        link: &'static str,
        /// By how much.
        margin: u64,
    },
    /// Another version is canonical, and says the same.
    AgreesWith {
        /// Which.
        winner: CandidateId,
    },
}

impl Reason {
    /// The stable name of the reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Chosen => "Chosen",
            Self::OnlyCandidate => "OnlyCandidate",
            Self::BehindHigherTier { .. } => "BehindHigherTier",
            Self::BehindEarlier { .. } => "BehindEarlier",
            Self::WaitingForCapacity { .. } => "WaitingForCapacity",
            Self::NoExecutorWithTags { .. } => "NoExecutorWithTags",
            Self::LostTo { .. } => "LostTo",
            Self::AgreesWith { .. } => "AgreesWith",
        }
    }
}

/// A phrase for a person.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen => f.write_str("chosen"),
            Self::OnlyCandidate => f.write_str("the only candidate"),
            Self::BehindHigherTier { n } => write!(f, "behind {n}, the first of them of a higher tier"),
            Self::BehindEarlier { n, minutes } => write!(f, "behind {n}, the first submitted {minutes} min earlier"),
            Self::WaitingForCapacity { dimension, short_by } => {
                write!(f, "waiting for capacity: short of {dimension} by {short_by}")
            }
            Self::NoExecutorWithTags { missing } => {
                f.write_str("no executor has the tags")?;
                missing.iter().try_for_each(|tag| write!(f, " {tag}"))
            }
            Self::LostTo { winner, link, margin } => write!(f, "lost to {winner} by {link} (margin {margin})"),
            Self::AgreesWith { winner } => write!(f, "says the same as {winner}"),
        }
    }
}
