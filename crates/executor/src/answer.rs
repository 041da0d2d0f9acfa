//! What a broker says to a submitted result.

use serde::{Deserialize, Serialize};

use crate::id::{FencingToken, ResultDigest, SpecDigest, SubmissionId};

/// What became of a submitted result.
///
/// The executor keeps the result until the answer [is final](Self::is_final). The same submission, repeated, gets the
/// same final answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new answer is a new version")]
pub enum Answer {
    /// The result counts.
    Accepted {
        /// How sure that is.
        finality: Finality,
    },
    /// The failure counts; the job may be tried again.
    AcceptedFailure,
    /// The result does not count. Final, and no fault of the executor.
    Rejected(Rejection),
    /// The executor contradicted itself.
    Fault(Equivocation),
    /// The job is unknown here; a copy is kept, and judged when the job becomes known. Not final.
    Parked {
        /// For how long the copy is kept at least, in milliseconds from now.
        until_ms: u64,
    },
    /// Not now. Not final, and nothing was kept.
    Busy {
        /// When to ask again, in milliseconds from now.
        retry_after_ms: u64,
    },
}

impl Answer {
    /// Whether the executor may forget the result. It may not if the result cannot be taken as it came: nobody has another
    /// copy, and another broker may take more.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Rejected(Rejection::DigestMismatch { .. } | Rejection::TooLarge { .. })
            | Self::Parked { .. }
            | Self::Busy { .. } => false,
            Self::Accepted { .. } | Self::AcceptedFailure | Self::Rejected(_) | Self::Fault(_) => true,
        }
    }
}

/// How sure it is that an accepted result stays the job's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new rung is a new version")]
pub enum Finality {
    /// A broker that has not been heard yet may know a result that goes before it.
    Provisional,
    /// Every member has confirmed it.
    Stable,
}

/// Why a result does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new reason is a new version")]
pub enum Rejection {
    /// The attempt was never given to this executor and session.
    NotAssigned,
    /// Another specification was run than the job's.
    StaleSpec {
        /// The job's.
        current: SpecDigest,
    },
    /// The job is over: cancelled, or finished long ago.
    Late {
        /// The result that stands, if there is one and it is still known.
        canonical: Option<SubmissionId>,
    },
    /// The same result is there already.
    Equivalent {
        /// The result that stands.
        canonical: SubmissionId,
        /// How many attempts agree on it, this one included.
        agreement: u32,
    },
    /// The attempt has submitted another result before.
    Divergent,
    /// Another result was first, and first stands.
    AlreadyAccepted {
        /// The result that stands.
        by: SubmissionId,
    },
    /// Another result goes before this one by the job's strategy.
    LostTo {
        /// The result that stands.
        canonical: SubmissionId,
    },
    /// The job takes no more challengers.
    Settled {
        /// The result that stands.
        canonical: SubmissionId,
    },
    /// Only the current attempt may submit, and it is another one.
    NotCurrent {
        /// The token of the current attempt.
        token: FencingToken,
    },
    /// The digest declared is not that of the output.
    DigestMismatch {
        /// What was found instead.
        found: ResultDigest,
    },
    /// The output is longer than the broker stores.
    TooLarge {
        /// The greatest length stored, in bytes.
        limit: u64,
    },
}

/// One submission with two contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct Equivocation {
    /// The digest that was submitted first, and stays.
    pub first: ResultDigest,
    /// The digest submitted under the same name later.
    pub second: ResultDigest,
}
