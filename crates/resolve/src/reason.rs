//! Why a candidate stands where it stands, as codes that programs may rely on.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::string::String;
use core::fmt;

use crate::bytes::Writer;
use crate::{CandidateId, DeclarationId, Dimension};

/// Why a candidate stands where it stands. A closed set with stable codes, see [`Reason::code`].
///
/// This crate gives all but [`ParkedAwaitingJob`](Self::ParkedAwaitingJob) and
/// [`EmergencyExpired`](Self::EmergencyExpired), which are for whoever keeps results and declarations, so that there is
/// one list of codes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_enums, reason = "a closed set: whoever shows reasons must show each")]
pub enum Reason {
    /// It comes first.
    Chosen,
    /// There was no other.
    OnlyCandidate,
    /// Jobs of a higher tier are ranked before it.
    BehindHigherTier {
        /// How many.
        n: u64,
    },
    /// Jobs with an earlier start, real or virtual, are ranked before it.
    BehindEarlier {
        /// How many.
        n: u64,
        /// How many minutes more of head start would have put it level with the first, rounded up.
        minutes: u64,
    },
    /// Another version won.
    LostTo {
        /// Which.
        winner: CandidateId,
        /// The first link in which the two differ.
        link: Cow<'static, str>,
        /// By how much, in the unit of that link.
        margin: u64,
    },
    /// Another version is canonical and has the same digest: no conflict.
    AgreesWith {
        /// Which.
        winner: CandidateId,
    },
    /// The job could no longer meet its deadline.
    DeadlineHopeless {
        /// By how much it would miss it, in milliseconds.
        by_ms: u64,
    },
    /// An executor could run it, but not now.
    WaitingForCapacity {
        /// What is short on the executor that comes closest.
        dimension: Dimension,
        /// How much is short, in the unit of the dimension.
        short_by: u64,
    },
    /// No executor that is large enough has all required tags.
    NoExecutorWithTags {
        /// What the one that comes closest lacks; empty if there is no executor at all.
        missing: BTreeSet<String>,
    },
    /// The place is kept for another job.
    ReservedForOther {
        /// Which.
        job: CandidateId,
    },
    /// It would fit, but what is free is kept for life safety.
    KeptAsHeadRoom {
        /// What is short.
        dimension: Dimension,
        /// How much more would have to be free, in the unit of the dimension.
        short_by: u64,
    },
    /// No preemption in its favour.
    PreemptionRefused {
        /// Why not.
        why: PreemptionRefusal,
    },
    /// The broker takes itself for cut off and starts nothing.
    StormGuard,
    /// A result whose job is not known here yet.
    ParkedAwaitingJob,
    /// The policy that must judge is not known here yet.
    AwaitingPolicy,
    /// The declaration that gave the job its level has ended.
    EmergencyExpired {
        /// Which.
        declaration: DeclarationId,
    },
    /// The best packing found leaves it out.
    NotPacked {
        /// Value of that packing.
        value: u64,
        /// Value of the best packing found that contains it.
        best_without: u64,
    },
}

impl Reason {
    /// The stable code, for logs, statistics and other programs. It will not change.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Chosen => "Chosen",
            Self::OnlyCandidate => "OnlyCandidate",
            Self::BehindHigherTier { .. } => "BehindHigherTier",
            Self::BehindEarlier { .. } => "BehindEarlier",
            Self::LostTo { .. } => "LostTo",
            Self::AgreesWith { .. } => "AgreesWith",
            Self::DeadlineHopeless { .. } => "DeadlineHopeless",
            Self::WaitingForCapacity { .. } => "WaitingForCapacity",
            Self::NoExecutorWithTags { .. } => "NoExecutorWithTags",
            Self::ReservedForOther { .. } => "ReservedForOther",
            Self::KeptAsHeadRoom { .. } => "KeptAsHeadRoom",
            Self::PreemptionRefused { .. } => "PreemptionRefused",
            Self::StormGuard => "StormGuard",
            Self::ParkedAwaitingJob => "ParkedAwaitingJob",
            Self::AwaitingPolicy => "AwaitingPolicy",
            Self::EmergencyExpired { .. } => "EmergencyExpired",
            Self::NotPacked { .. } => "NotPacked",
        }
    }
}

impl Reason {
    /// The code and what goes with it.
    pub(crate) fn write(&self, out: &mut Writer) {
        out.text(self.code());
        match self {
            Self::Chosen | Self::OnlyCandidate | Self::StormGuard | Self::ParkedAwaitingJob | Self::AwaitingPolicy => {}
            Self::BehindHigherTier { n } => out.u64(*n),
            Self::BehindEarlier { n, minutes } => out.words([*n, *minutes]),
            Self::LostTo { winner, link, margin } => {
                out.id(*winner);
                out.text(link);
                out.u64(*margin);
            }
            Self::AgreesWith { winner } => out.id(*winner),
            Self::DeadlineHopeless { by_ms } => out.u64(*by_ms),
            Self::WaitingForCapacity { dimension, short_by } | Self::KeptAsHeadRoom { dimension, short_by } => {
                out.u64(dimension.place());
                out.u64(*short_by);
            }
            Self::NoExecutorWithTags { missing } => out.texts(missing.iter()),
            Self::ReservedForOther { job } => out.id(*job),
            Self::PreemptionRefused { why } => out.text(why.code()),
            Self::EmergencyExpired { declaration } => out.words(declaration.0),
            Self::NotPacked { value, best_without } => out.words([*value, *best_without]),
        }
    }
}

/// A sentence for people.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen => f.write_str("chosen"),
            Self::OnlyCandidate => f.write_str("the only candidate"),
            Self::BehindHigherTier { n } => write!(f, "behind {n} of a higher tier"),
            Self::BehindEarlier { n, minutes } => {
                write!(f, "behind {n} that start earlier, the first by {minutes} min")
            }
            Self::LostTo { winner, link, margin } => write!(f, "lost to {winner} in {link} by {margin}"),
            Self::AgreesWith { winner } => write!(f, "the same result as {winner}"),
            Self::DeadlineHopeless { by_ms } => write!(f, "would miss its deadline by {by_ms} ms"),
            Self::WaitingForCapacity { dimension, short_by } => {
                write!(f, "waiting for capacity: short of {short_by} in {dimension}")
            }
            Self::NoExecutorWithTags { missing } if missing.is_empty() => f.write_str("there is no executor"),
            Self::NoExecutorWithTags { missing } => {
                f.write_str("no executor with the tags: missing")?;
                for tag in missing {
                    write!(f, " {tag}")?;
                }
                Ok(())
            }
            Self::ReservedForOther { job } => write!(f, "the place is reserved for {job}"),
            Self::KeptAsHeadRoom { dimension, short_by } => {
                write!(f, "what is free is kept for life safety: short of {short_by} in {dimension}")
            }
            Self::PreemptionRefused { why } => write!(f, "no preemption: {why}"),
            Self::StormGuard => f.write_str("the broker takes itself for cut off"),
            Self::ParkedAwaitingJob => f.write_str("parked until the job is known"),
            Self::AwaitingPolicy => f.write_str("waiting for the policy that must judge"),
            Self::EmergencyExpired { declaration } => write!(f, "emergency {declaration} has ended"),
            Self::NotPacked { value, best_without } => {
                write!(f, "left out of a packing worth {value}; with it {best_without}")
            }
        }
    }
}

/// Why nothing was preempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_enums, reason = "a closed set: whoever shows reasons must show each")]
pub enum PreemptionRefusal {
    /// No running job is of a strictly lower tier.
    NotLowerTier,
    /// The victims have not run long enough.
    MinRun,
    /// The victims were preempted often enough.
    MaxCount,
    /// The budget of preemptions is spent.
    Budget,
    /// The job would not fit even then.
    WouldNotFit,
    /// The job was displaced itself and may not displace others yet.
    CoolDown,
}

impl PreemptionRefusal {
    /// The stable code, as [`Reason::code`]. It will not change.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotLowerTier => "NotLowerTier",
            Self::MinRun => "MinRun",
            Self::MaxCount => "MaxCount",
            Self::Budget => "Budget",
            Self::WouldNotFit => "WouldNotFit",
            Self::CoolDown => "CoolDown",
        }
    }
}

impl fmt::Display for PreemptionRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLowerTier => "nothing of a lower tier runs",
            Self::MinRun => "the victims have not run long enough",
            Self::MaxCount => "the victims were preempted often enough",
            Self::Budget => "the budget is spent",
            Self::WouldNotFit => "it would not fit even then",
            Self::CoolDown => "it was displaced a short while ago",
        })
    }
}
