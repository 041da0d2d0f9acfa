//! Which attempts of a job count, and which of them go on when a lost one comes back.

use core::fmt::{self, Display};
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which attempts may bring the result of a job.
///
/// ```
/// use reconvene_executor::AttemptRule;
///
/// assert_eq!("owner-epoch-only".parse(), Ok(AttemptRule::OwnerEpochOnly));
/// assert_eq!(AttemptRule::default().to_string(), "any-attempt");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new rule is a new version")]
pub enum AttemptRule {
    /// Any of them, the original or its replacement.
    #[default]
    AnyAttempt,
    /// Only the one that was started last, of those that were not stopped.
    CurrentAttemptOnly,
    /// Only those that the present owner of the job has started.
    OwnerEpochOnly,
}

/// What becomes of the attempts of a job when one that was given up is there again and its replacement runs.
///
/// ```
/// use reconvene_executor::Reappearance;
///
/// assert_eq!("most-progress".parse(), Ok(Reappearance::MostProgress));
/// assert_eq!(Reappearance::default().to_string(), "first-result");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new policy is a new version")]
pub enum Reappearance {
    /// All run on; the first result that is accepted stops the rest.
    #[default]
    FirstResult,
    /// The first attempt runs on, the others are stopped.
    KeepOriginal,
    /// The last attempt runs on, the others are stopped.
    KeepReplacement,
    /// The attempt that was placed best runs on, as its broker saw that when it placed it.
    BestScore,
    /// The attempt that is furthest runs on, as its executor said when it last registered.
    MostProgress,
}

impl AttemptRule {
    const NAMES: [(Self, &'static str); 3] = [
        (Self::AnyAttempt, "any-attempt"),
        (Self::CurrentAttemptOnly, "current-attempt-only"),
        (Self::OwnerEpochOnly, "owner-epoch-only"),
    ];
}

impl Reappearance {
    const NAMES: [(Self, &'static str); 5] = [
        (Self::FirstResult, "first-result"),
        (Self::KeepOriginal, "keep-original"),
        (Self::KeepReplacement, "keep-replacement"),
        (Self::BestScore, "best-score"),
        (Self::MostProgress, "most-progress"),
    ];
}

impl Display for AttemptRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMES, self))
    }
}

impl Display for Reappearance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Self::NAMES, self))
    }
}

impl FromStr for AttemptRule {
    type Err = RuleError;

    fn from_str(name: &str) -> Result<Self, RuleError> {
        named(&Self::NAMES, name)
    }
}

impl FromStr for Reappearance {
    type Err = RuleError;

    fn from_str(name: &str) -> Result<Self, RuleError> {
        named(&Self::NAMES, name)
    }
}

/// A text is not the name of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rule of this name, expected one of {expected}")]
pub struct RuleError {
    expected: String,
}

fn name_of<T: PartialEq>(names: &[(T, &'static str)], rule: &T) -> &'static str {
    names.iter().find(|(named, _)| named == rule).map_or("", |(_, name)| *name)
}

fn named<T: Copy>(names: &[(T, &'static str)], text: &str) -> Result<T, RuleError> {
    let found = names.iter().find(|(_, name)| *name == text).map(|(rule, _)| *rule);
    found.ok_or_else(|| {
        let names: Vec<_> = names.iter().map(|(_, name)| *name).collect();
        RuleError { expected: names.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for (rule, name) in AttemptRule::NAMES {
            assert_eq!((rule.to_string().as_str(), name.parse()), (name, Ok(rule)));
        }
        for (policy, name) in Reappearance::NAMES {
            assert_eq!((policy.to_string().as_str(), name.parse()), (name, Ok(policy)));
        }
        let error = "keep".parse::<Reappearance>().unwrap_err().to_string();
        assert!(error.contains("keep-original, keep-replacement"), "{error}");
    }
}
