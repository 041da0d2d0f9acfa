//! The five strategies by name.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::emergency::FOUND_SHOWN;
use crate::five::{
    CAUSAL, CausalOrder, EMERGENCY, EmergencyFirst, FCFS, FirstComeFirstServed, PRIORITY, PriorityBased, RESOURCE,
    ResourceOptimal, VectorClockCausal,
};
use crate::{AlgorithmId, ContentionStrategy, ReconcileStrategy};

/// A strategy by name: a pair of implementations, one for each sense of conflict, with default parameters.
///
/// ```
/// use reconvene_resolve::StrategyKind;
///
/// let kind: StrategyKind = "emergency".parse()?;
/// assert_eq!(kind.name(), "EMERGENCY_FIRST");
/// assert_eq!(kind.contention().algorithm(), kind.reconcile().algorithm());
/// # Ok::<(), reconvene_resolve::ParseStrategyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "SCREAMING_SNAKE_CASE"))]
#[expect(clippy::exhaustive_enums, reason = "five, by name; your own are types of your own")]
pub enum StrategyKind {
    /// By submit stamp; the first accepted result stands.
    FirstComeFirstServed,
    /// By virtual start; the result of the best declared quality.
    PriorityBased,
    /// By emergency tier, then virtual start; the result accepted under the gravest emergency.
    EmergencyFirst,
    /// By value for capacity taken; the cheapest result.
    ResourceOptimal,
    /// By causal height; the causally earliest result.
    VectorClockCausal,
}

/// When a broker stops to admit further results for a job that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "either the first result ends the matter or a settle does")]
pub enum ContestRule {
    /// An accepted result known here ends the matter.
    FirstStands,
    /// Challengers are admitted and judged until the job is settled.
    JudgeUntilSettled,
}

impl StrategyKind {
    /// All five, in the order of their algorithm ids.
    pub const ALL: [Self; 5] = [
        Self::FirstComeFirstServed,
        Self::PriorityBased,
        Self::EmergencyFirst,
        Self::ResourceOptimal,
        Self::VectorClockCausal,
    ];

    /// The name in configurations and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstComeFirstServed => "FIRST_COME_FIRST_SERVED",
            Self::PriorityBased => "PRIORITY_BASED",
            Self::EmergencyFirst => "EMERGENCY_FIRST",
            Self::ResourceOptimal => "RESOURCE_OPTIMAL",
            Self::VectorClockCausal => "VECTOR_CLOCK_CAUSAL",
        }
    }

    /// The name on the command line.
    #[must_use]
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::FirstComeFirstServed => "fcfs",
            Self::PriorityBased => "priority",
            Self::EmergencyFirst => "emergency",
            Self::ResourceOptimal => "resource",
            Self::VectorClockCausal => "causal",
        }
    }

    /// The algorithm of both its senses.
    #[must_use]
    pub const fn algorithm(self) -> AlgorithmId {
        match self {
            Self::FirstComeFirstServed => FCFS,
            Self::PriorityBased => PRIORITY,
            Self::EmergencyFirst => EMERGENCY,
            Self::ResourceOptimal => RESOURCE,
            Self::VectorClockCausal => CAUSAL,
        }
    }

    /// The strategy that is this algorithm, if it is one of the five.
    #[must_use]
    pub fn from_algorithm(algorithm: AlgorithmId) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.algorithm() == algorithm)
    }

    /// How jobs are ordered.
    #[must_use]
    pub fn contention(self) -> &'static dyn ContentionStrategy {
        static FIRST: FirstComeFirstServed = FirstComeFirstServed::new();
        static BY_PRIORITY: PriorityBased = PriorityBased::defaults();
        static BY_EMERGENCY: EmergencyFirst = EmergencyFirst::defaults();
        static BY_DENSITY: ResourceOptimal = ResourceOptimal::new();
        static BY_HEIGHT: VectorClockCausal = VectorClockCausal::new(CausalOrder::Earliest);
        match self {
            Self::FirstComeFirstServed => &FIRST,
            Self::PriorityBased => &BY_PRIORITY,
            Self::EmergencyFirst => &BY_EMERGENCY,
            Self::ResourceOptimal => &BY_DENSITY,
            Self::VectorClockCausal => &BY_HEIGHT,
        }
    }

    /// How results are judged. The causal one takes the earliest.
    #[must_use]
    pub fn reconcile(self) -> &'static dyn ReconcileStrategy {
        static FIRST: FirstComeFirstServed = FirstComeFirstServed::new();
        static BY_QUALITY: PriorityBased = PriorityBased::defaults();
        static BY_EMERGENCY: EmergencyFirst = EmergencyFirst::defaults();
        static BY_COST: ResourceOptimal = ResourceOptimal::new();
        static BY_HEIGHT: VectorClockCausal = VectorClockCausal::new(CausalOrder::Earliest);
        match self {
            Self::FirstComeFirstServed => &FIRST,
            Self::PriorityBased => &BY_QUALITY,
            Self::EmergencyFirst => &BY_EMERGENCY,
            Self::ResourceOptimal => &BY_COST,
            Self::VectorClockCausal => &BY_HEIGHT,
        }
    }

    /// Whether further results are admitted once one is accepted.
    #[must_use]
    pub const fn contest_rule(self) -> ContestRule {
        match self {
            Self::FirstComeFirstServed | Self::VectorClockCausal => ContestRule::FirstStands,
            Self::PriorityBased | Self::EmergencyFirst | Self::ResourceOptimal => ContestRule::JudgeUntilSettled,
        }
    }

    /// Whether a success is judged against one that was accepted before, or refused because of it.
    #[must_use]
    pub const fn admits_challengers(self) -> bool {
        matches!(self.contest_rule(), ContestRule::JudgeUntilSettled)
    }
}

/// The configuration name.
impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Either name, in either case.
impl FromStr for StrategyKind {
    type Err = ParseStrategyError;

    fn from_str(text: &str) -> Result<Self, ParseStrategyError> {
        let matches =
            |kind: &Self| kind.name().eq_ignore_ascii_case(text) || kind.short_name().eq_ignore_ascii_case(text);
        let found = Self::ALL.into_iter().find(matches);
        found.ok_or_else(|| ParseStrategyError { found: text.chars().take(FOUND_SHOWN).collect() })
    }
}

/// A text that names no strategy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no strategy: expected fcfs, priority, emergency, resource or causal")]
#[non_exhaustive]
pub struct ParseStrategyError {
    /// The text, cut after 64 characters.
    pub found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_strategy() {
        for kind in StrategyKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(kind.short_name().parse(), Ok(kind));
            assert_eq!(StrategyKind::from_algorithm(kind.contention().algorithm()), Some(kind));
            assert_eq!(StrategyKind::from_algorithm(kind.reconcile().algorithm()), Some(kind));
        }
        assert_eq!("fastest".parse::<StrategyKind>().unwrap_err().found, "fastest");
    }
}
