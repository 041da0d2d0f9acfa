//! The laws of strategies, as a kit that certifies one of your own (feature `laws`).
//!
//! A strategy that breaks one of them gives brokers different answers, or one broker an order that no reason explains.
//! [`reconcile`] and [`contention`] draw random histories from a seed and check each law on each of them; the first
//! violation names the law, the history and what was seen.
//!
//! ```
//! use reconvene_resolve::{AlgorithmId, Chain, Link, VersionFacts, laws, version};
//!
//! // One's own rule: of the successful results the one of best quality, then the cheapest.
//! let mine = AlgorithmId::new(AlgorithmId::FIRST_CUSTOM, 1);
//! let links = [version::outcome(), version::quality(), version::cost(), Link::tie_hash(), Link::id()];
//! let best: Chain<VersionFacts> = Chain::new(mine, links)?;
//!
//! let report = laws::reconcile(&best).histories(200).check()?;
//! assert_eq!(report.histories, 200);
//!
//! // It does not claim to follow causality, and would not get away with it.
//! let violation = laws::reconcile(&best).causal(reconvene_resolve::CausalOrder::Earliest).check().unwrap_err();
//! assert_eq!(violation.law.name(), "law_causality_is_respected");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a strategy *claims* beyond the laws of all is said with [`Claims`]: that tiers dominate, that its order follows
//! causality, that overtaking is bounded.

mod contention;
mod history;
mod plans;
mod policy;
mod preemption;
mod random;
mod readings;
mod reconcile;
mod trees;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use self::history::{JobHistory, VersionHistory};
pub use self::plans::{PlanLaws, plans};
pub use self::policy::{PolicyLaws, policies};
pub use self::preemption::{PreemptionLaws, SwapLaws, preemption, swaps};
pub use self::random::Random;
pub use self::trees::{random_contention, random_reconcile};

use crate::laws::contention::ContentionCheck;
use crate::laws::reconcile::ReconcileCheck;
use crate::{CausalOrder, ContentionStrategy, LateRule, Policy, ReconcileStrategy, StrategyKind};

/// The laws, by the names of their tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Law {
    /// Equal keys are of the same candidate.
    KeyIsInjective,
    /// The same facts have the same key, whatever was asked before, and the same words alone as in it.
    KeyIsDeterministic,
    /// The order does not depend on the order in which candidates are given.
    RankIgnoresOrder,
    /// Who comes or goes changes nothing about the others.
    IrrelevantCandidatesChangeNothing,
    /// r(A ∪ B) = r(B ∪ A).
    ResolveIsCommutative,
    /// r(r(A, B), C) = r(A, r(B, C)).
    ResolveIsAssociative,
    /// r(A ∪ r(A)) = r(A).
    ResolveIsIdempotent,
    /// r(A ∪ B) = r({r(A), r(B)}).
    ResolvePrunes,
    /// If one happened before the other, their keys say so. Claimed with [`Claims::causal`].
    CausalityIsRespected,
    /// As versions become known the winner's key only improves, and changes at most k − 1 times for k versions.
    SupersessionIsMonotone,
    /// No failure is canonical while there is a success.
    FailureNeverBeatsSuccess,
    /// Nothing crosses tiers. Claimed with [`Claims::tiers`].
    TierDominates,
    /// Neither time nor later jobs move a job behind another; being marked late never moves it forward.
    WaitingNeverWorsensRank,
    /// Within a tier nobody is passed by who came the bound or more later. Claimed with [`Claims::overtake_bound_ms`].
    OvertakeIsBounded,
    /// The explanation makes the same key to the bit, and the deciding link and its margin are the keys' own.
    ExplanationEqualsDecision,
    /// Words that are sums are exactly the sums of what they are explained by, for extreme facts too.
    WeightsNeverOverflow,
    /// Victims are of lower tiers and few, nobody is stopped too often, nobody twice for the same job.
    PreemptionIsBounded,
    /// No swap for value can be swapped back.
    SwapIsNotReversible,
    /// What starts below life safety leaves the head room free; it holds back nobody else, and nobody for ever.
    HeadRoomIsKept,
    /// A policy has one spelling.
    PolicyRoundtrips,
}

impl Law {
    /// The name, as in `docs/guarantees.md`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyIsInjective => "law_key_is_injective",
            Self::KeyIsDeterministic => "law_key_is_deterministic",
            Self::RankIgnoresOrder => "law_rank_ignores_order",
            Self::IrrelevantCandidatesChangeNothing => "law_irrelevant_candidates_change_nothing",
            Self::ResolveIsCommutative => "law_resolve_is_commutative",
            Self::ResolveIsAssociative => "law_resolve_is_associative",
            Self::ResolveIsIdempotent => "law_resolve_is_idempotent",
            Self::ResolvePrunes => "law_resolve_prunes",
            Self::CausalityIsRespected => "law_causality_is_respected",
            Self::SupersessionIsMonotone => "law_supersession_is_monotone",
            Self::FailureNeverBeatsSuccess => "law_failure_never_beats_success",
            Self::TierDominates => "law_tier_dominates",
            Self::WaitingNeverWorsensRank => "law_waiting_never_worsens_rank",
            Self::OvertakeIsBounded => "law_overtake_is_bounded",
            Self::ExplanationEqualsDecision => "law_explanation_equals_decision",
            Self::WeightsNeverOverflow => "law_weights_never_overflow",
            Self::PreemptionIsBounded => "law_preemption_is_bounded",
            Self::SwapIsNotReversible => "law_swap_is_not_reversible",
            Self::HeadRoomIsKept => "law_head_room_is_kept",
            Self::PolicyRoundtrips => "law_policy_roundtrips",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a strategy promises beyond the laws that hold for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "claims that the kit knows how to check")]
pub struct Claims {
    /// Which end of causality goes first.
    pub causal: Option<CausalOrder>,
    /// Whether the emergency level is a tier that nothing crosses.
    pub tiers: bool,
    /// Whether jobs that are late form a tier of their own, within that of their level.
    pub late_tier: bool,
    /// By how many milliseconds a later job of the same tier may go before an earlier one: less than this, or not at all
    /// if it is 0.
    pub overtake_bound_ms: Option<u64>,
}

impl Claims {
    /// What a policy promises of the order of jobs.
    #[must_use]
    pub fn of_contention(policy: &Policy) -> Self {
        Self {
            causal: (policy.kind() == StrategyKind::VectorClockCausal && policy.ageing().late != LateRule::LateTier)
                .then_some(CausalOrder::Earliest),
            tiers: policy.kind() == StrategyKind::EmergencyFirst,
            late_tier: policy.ageing().late == LateRule::LateTier,
            overtake_bound_ms: policy.overtake_bound_ms(),
        }
    }

    /// What a policy promises of the choice among results.
    #[must_use]
    pub fn of_reconcile(policy: &Policy) -> Self {
        Self {
            causal: (policy.kind() == StrategyKind::VectorClockCausal).then_some(policy.causal_order()),
            tiers: policy.kind() == StrategyKind::EmergencyFirst,
            ..Self::default()
        }
    }
}

/// The laws of a rule that chooses among results, to be [checked](Certification::check).
#[must_use]
pub fn reconcile(strategy: &dyn ReconcileStrategy) -> Certification<'_> {
    Certification::new(Subject::Reconcile(strategy))
}

/// The laws of a rule that orders jobs, to be [checked](Certification::check).
#[must_use]
pub fn contention(strategy: &dyn ContentionStrategy) -> Certification<'_> {
    Certification::new(Subject::Contention(strategy))
}

/// A strategy, what it claims, and on how many histories it is tried.
#[derive(Clone)]
pub struct Certification<'a> {
    subject: Subject<'a>,
    claims: Claims,
    only: Option<Law>,
    except: Vec<Law>,
    draws: Draws,
}

#[derive(Clone, Copy)]
enum Subject<'a> {
    Reconcile(&'a dyn ReconcileStrategy),
    Contention(&'a dyn ContentionStrategy),
}

/// Which histories are drawn.
#[derive(Clone, Copy, Debug)]
struct Draws {
    seed: u64,
    first: u64,
    count: u64,
}

impl Draws {
    const DEFAULT: Self = Self { seed: 1, first: 0, count: 10_000 };

    /// Calls `check` with the number of each history and its random numbers, until one fails.
    fn run(
        self,
        laws: Vec<Law>,
        mut check: impl FnMut(&mut Random) -> Result<(), (Law, String)>,
    ) -> Result<Report, Violation> {
        for history in self.first..self.first.saturating_add(self.count) {
            let mut random = Random::of_history(self.seed, history);
            check(&mut random).map_err(|(law, what)| Violation { law, seed: self.seed, history, what })?;
        }
        Ok(Report { histories: self.count, laws })
    }
}

/// How many draws, and from which seed.
macro_rules! from_draws {
    ($laws:ident on $what:literal) => {
        impl $laws<'_> {
            #[doc = concat!("On so many ", $what, "; 10,000 if nothing is said.")]
            #[must_use]
            pub const fn histories(mut self, count: u64) -> Self {
                self.draws.count = count;
                self
            }

            #[doc = concat!("On ", $what, " drawn from this seed; 1 if nothing is said.")]
            #[must_use]
            pub const fn seed(mut self, seed: u64) -> Self {
                self.draws.seed = seed;
                self
            }
        }
    };
}

/// The same of laws that try a function, which has no `Debug`.
macro_rules! of_function {
    ($laws:ident on $what:literal) => {
        $crate::laws::from_draws!($laws on $what);

        impl core::fmt::Debug for $laws<'_> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($laws)).field("draws", &self.draws).finish_non_exhaustive()
            }
        }
    };
}

use {from_draws, of_function};

from_draws!(Certification on "histories");

impl<'a> Certification<'a> {
    const fn new(subject: Subject<'a>) -> Self {
        let claims = Claims { causal: None, tiers: false, late_tier: false, overtake_bound_ms: None };
        Self { subject, claims, only: None, except: Vec::new(), draws: Draws::DEFAULT }
    }

    /// With these claims, in the place of none.
    #[must_use]
    pub const fn claiming(mut self, claims: Claims) -> Self {
        self.claims = claims;
        self
    }

    /// Claiming to follow causality, with this end of it first.
    #[must_use]
    pub const fn causal(mut self, order: CausalOrder) -> Self {
        self.claims.causal = Some(order);
        self
    }

    /// Claiming that nothing crosses tiers.
    #[must_use]
    pub const fn tiers(mut self) -> Self {
        self.claims.tiers = true;
        self
    }

    /// Claiming this bound on overtaking within a tier.
    #[must_use]
    pub const fn overtake_bound_ms(mut self, bound_ms: u64) -> Self {
        self.claims.overtake_bound_ms = Some(bound_ms);
        self
    }

    /// One history alone, as a [`Violation`] names it.
    #[must_use]
    pub const fn replay(mut self, seed: u64, history: u64) -> Self {
        self.draws = Draws { seed, first: history, count: 1 };
        self
    }

    /// One law alone.
    #[must_use]
    pub const fn only(mut self, law: Law) -> Self {
        self.only = Some(law);
        self
    }

    /// Without a law that the strategy does not mean to keep. Say so where it is used.
    #[must_use]
    pub fn except(mut self, law: Law) -> Self {
        self.except.push(law);
        self
    }

    /// Checks every law on every history.
    ///
    /// # Errors
    /// The first [`Violation`].
    ///
    /// # Complexity
    /// O(histories × laws × k log k) for histories of at most 8 candidates.
    pub fn check(&self) -> Result<Report, Violation> {
        let wants = |law: Law| self.only.is_none_or(|only| only == law) && !self.except.contains(&law);
        let claims = self.claims;
        match self.subject {
            Subject::Reconcile(strategy) => {
                let laws: Vec<Law> = ReconcileCheck::laws(&claims).into_iter().filter(|law| wants(*law)).collect();
                let check = ReconcileCheck { strategy, claims, laws: &laws };
                self.draws.run(laws.clone(), |random| check.history(&VersionHistory::draw(random), random))
            }
            Subject::Contention(strategy) => {
                let laws: Vec<Law> = ContentionCheck::laws(&claims).into_iter().filter(|law| wants(*law)).collect();
                let check = ContentionCheck { strategy, claims, laws: &laws };
                self.draws.run(laws.clone(), |random| check.history(&JobHistory::draw(random), random))
            }
        }
    }
}

impl fmt::Debug for Certification<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = match self.subject {
            Subject::Reconcile(strategy) => strategy.algorithm(),
            Subject::Contention(strategy) => strategy.algorithm(),
        };
        let Self { claims, only, except, draws, .. } = self;
        f.debug_struct("Certification")
            .field("algorithm", &algorithm)
            .field("claims", claims)
            .field("only", only)
            .field("except", except)
            .field("draws", draws)
            .finish()
    }
}

/// What was checked, without a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// On how many histories.
    pub histories: u64,
    /// Which laws.
    pub laws: Vec<Law>,
}

/// A law that does not hold, and where to see it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{law} is broken in history {history} of seed {seed}: {what}")]
#[non_exhaustive]
pub struct Violation {
    /// The law.
    pub law: Law,
    /// The seed.
    pub seed: u64,
    /// The number of the history, for [`Certification::replay`].
    pub history: u64,
    /// What was seen.
    pub what: String,
}

/// `Ok` if it holds; else the law and what was seen.
fn ensure(law: Law, holds: bool, what: impl FnOnce() -> String) -> Result<(), (Law, String)> {
    if holds { Ok(()) } else { Err((law, what())) }
}
