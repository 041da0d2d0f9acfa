//! What a runner says about an attempt that has ended.

use serde::{Deserialize, Serialize};

use crate::id::ResultDigest;
use crate::limits;

/// What came out of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "an attempt succeeds or fails")]
pub enum Outcome {
    /// It did what it was asked to do.
    Success {
        /// What it produced, at most [`limits::OUTPUT_BYTES`] bytes.
        #[serde(with = "crate::bytes")]
        output: Vec<u8>,
    },
    /// It did not.
    Failure {
        /// What went wrong, for people, at most [`limits::ERROR_BYTES`] bytes.
        error: String,
    },
}

impl Outcome {
    /// Whether the attempt did what it was asked to do.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        match self {
            Self::Success { .. } => true,
            Self::Failure { .. } => false,
        }
    }
}

/// What a runner says about an attempt that has ended.
///
/// ```
/// use reconvene_executor::{Report, ResultDigest};
///
/// let report = Report::success(b"42".to_vec()).with_quality_bp(9_500).with_cost_resource_ms(1_200);
/// assert_eq!(report.digest, ResultDigest::of(b"42"));
/// assert!(!Report::failure("no such file").outcome.is_success());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "plain data that runners build")]
pub struct Report {
    /// What came out.
    pub outcome: Outcome,
    /// The digest of the output, or of the reason: what makes two results equal. A broker takes no other.
    pub digest: ResultDigest,
    /// What it used up: milliseconds times thousandths of a core, or whatever the runner counts.
    pub cost_resource_ms: u64,
    /// How good the result is, in basis points; 10,000 unless the runner knows better.
    pub quality_bp: u16,
}

impl Report {
    /// A success with this output, the digest of it, full quality and no cost.
    #[must_use]
    pub fn success(output: Vec<u8>) -> Self {
        let digest = ResultDigest::of(&output);
        Self { outcome: Outcome::Success { output }, digest, cost_resource_ms: 0, quality_bp: limits::WHOLE_BP }
    }

    /// A failure for this reason, with the digest of the reason.
    #[must_use]
    pub fn failure(error: impl Into<String>) -> Self {
        let error = error.into();
        let digest = ResultDigest::of(error.as_bytes());
        Self { outcome: Outcome::Failure { error }, digest, cost_resource_ms: 0, quality_bp: 0 }
    }

    /// Says what the attempt used up.
    #[must_use]
    pub const fn with_cost_resource_ms(mut self, cost_resource_ms: u64) -> Self {
        self.cost_resource_ms = cost_resource_ms;
        self
    }

    /// Says how good the result is, in basis points.
    #[must_use]
    pub const fn with_quality_bp(mut self, quality_bp: u16) -> Self {
        self.quality_bp = quality_bp;
        self
    }

    /// The report with every part within the limits of the wire: an output that is too long becomes a failure that
    /// says so, a long error text is cut, amounts are capped.
    #[must_use]
    pub fn within_limits(mut self) -> Self {
        self.cost_resource_ms = self.cost_resource_ms.min(limits::AMOUNT_MAX);
        self.quality_bp = self.quality_bp.min(limits::WHOLE_BP);
        match &mut self.outcome {
            Outcome::Success { output } if output.len() > limits::OUTPUT_BYTES => {
                let (found, limit) = (output.len(), limits::OUTPUT_BYTES);
                let failure = Self::failure(format!("the output has {found} bytes, at most {limit} are taken"));
                failure.with_cost_resource_ms(self.cost_resource_ms)
            }
            Outcome::Success { .. } => self,
            Outcome::Failure { error } => {
                let end = error.floor_char_boundary(limits::ERROR_BYTES);
                error.truncate(end);
                self
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_brought_within_the_limits() {
        let long = Report::success(vec![7; limits::OUTPUT_BYTES + 1]).with_cost_resource_ms(u64::MAX).within_limits();
        assert!(matches!(&long.outcome, Outcome::Failure { error } if error.contains("524289 bytes")), "{long:?}");
        assert_eq!(long.cost_resource_ms, limits::AMOUNT_MAX);

        let error = format!("x{}", "é".repeat(limits::ERROR_BYTES));
        let Outcome::Failure { error } = Report::failure(error).within_limits().outcome else { unreachable!() };
        assert_eq!(error.len(), limits::ERROR_BYTES - 1, "cut between characters");

        let good = Report::success(vec![7; limits::OUTPUT_BYTES]);
        assert_eq!(good.clone().within_limits(), good);
    }
}
