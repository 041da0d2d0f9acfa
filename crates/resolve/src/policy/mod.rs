//! Policies: a strategy with all its parameters, as one value with one spelling and one name.

mod codec;
mod id;
mod registry;

use alloc::vec::Vec;

pub use self::codec::PolicyDecodeError;
pub use self::id::{ParsePolicyIdError, PolicyEpoch, PolicyId, PolicyRef};
pub use self::registry::{Pin, PinEpoch, PolicyChoice, PolicyRegistry, RegistryError, Unresolved, UnresolvedCause};

use crate::job;
use crate::{
    AgeingRules, AlgorithmId, CausalOrder, Chain, ChainError, ContentionStrategy, EmergencyFirst, FirstComeFirstServed,
    HeadRoom, HeadStartMinutes, JobFacts, LateRule, Link, PreemptionRules, PriorityBased, ReconcileStrategy,
    ResourceOptimal, ResourcePacking, StrategyKind, VectorClockCausal,
};

/// A strategy for both senses of conflict with all its parameters. A policy that exists is valid.
///
/// Equal policies have equal [canonical bytes](Self::canonical_bytes) and hence the same [`PolicyId`], on every machine.
///
/// ```
/// use reconvene_resolve::{HeadStartMinutes, LateRule, Policy, PolicyError, StrategyKind};
///
/// let policy = Policy::builder(StrategyKind::EmergencyFirst)
///     .head_start(HeadStartMinutes { priority: 90, ..HeadStartMinutes::EMERGENCY_FIRST })
///     .late(LateRule::Refuse)
///     .build()?;
/// assert_eq!(Policy::decode(&policy.canonical_bytes()), Ok(policy.clone()));
/// assert_ne!(policy.id(), Policy::emergency_first().id());
///
/// // What a strategy does not have cannot be set.
/// let refused = Policy::builder(StrategyKind::FirstComeFirstServed).head_start(HeadStartMinutes::PRIORITY_BASED).build();
/// assert!(matches!(refused, Err(PolicyError::NotAParameter { .. })));
/// # Ok::<(), PolicyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    parameters: Parameters,
    strategies: Strategies,
    /// The order of jobs where late ones form a tier of their own.
    late_last: Option<Chain<JobFacts>>,
}

/// What of a policy is written down. What the kind does not have is at its default.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameters {
    kind: StrategyKind,
    head_start: HeadStartMinutes,
    causal_order: CausalOrder,
    ageing: AgeingRules,
    preemption: PreemptionRules,
    packing: PackingRules,
    head_room: HeadRoom,
}

#[derive(Clone, Debug)]
enum Strategies {
    First(FirstComeFirstServed),
    Priority(PriorityBased),
    Emergency(EmergencyFirst),
    Resource(ResourceOptimal),
    Causal(VectorClockCausal),
}

/// Parameters of packing under `RESOURCE_OPTIMAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the parameters of the policy format")]
pub struct PackingRules {
    /// After how many milliseconds of waiting a job goes before all that are denser, first come first served.
    pub starvation_after_ms: u64,
    /// How many passes of search follow the portfolio, 0 to [`PackingRules::MAX_SEARCH_ROUNDS`]; 0 is no search.
    pub search_rounds: u8,
}

impl PackingRules {
    /// The most passes of search.
    pub const MAX_SEARCH_ROUNDS: u8 = 16;
    /// 4 hours and no search.
    pub const DEFAULT: Self = Self { starvation_after_ms: 14_400_000, search_rounds: 0 };
}

impl Default for PackingRules {
    /// 4 hours and no search.
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Policy {
    /// The named strategy with its default parameters.
    #[must_use]
    pub fn of(kind: StrategyKind) -> Self {
        let strategies = match kind {
            StrategyKind::FirstComeFirstServed => Strategies::First(FirstComeFirstServed::new()),
            StrategyKind::PriorityBased => Strategies::Priority(PriorityBased::defaults()),
            StrategyKind::EmergencyFirst => Strategies::Emergency(EmergencyFirst::defaults()),
            StrategyKind::ResourceOptimal => Strategies::Resource(ResourceOptimal::new()),
            StrategyKind::VectorClockCausal => Strategies::Causal(VectorClockCausal::new(CausalOrder::Earliest)),
        };
        Self { parameters: Parameters::of(kind), strategies, late_last: None }
    }

    /// `FIRST_COME_FIRST_SERVED`.
    #[must_use]
    pub fn first_come_first_served() -> Self {
        Self::of(StrategyKind::FirstComeFirstServed)
    }

    /// `PRIORITY_BASED` with these head starts.
    ///
    /// # Errors
    /// [`PolicyError::HeadStart`] if together they could wrap a word.
    pub fn priority_based(head_start: HeadStartMinutes) -> Result<Self, PolicyError> {
        Self::builder(StrategyKind::PriorityBased).head_start(head_start).build()
    }

    /// `EMERGENCY_FIRST`.
    #[must_use]
    pub fn emergency_first() -> Self {
        Self::of(StrategyKind::EmergencyFirst)
    }

    /// `RESOURCE_OPTIMAL`.
    #[must_use]
    pub fn resource_optimal() -> Self {
        Self::of(StrategyKind::ResourceOptimal)
    }

    /// `VECTOR_CLOCK_CAUSAL` with this end of causality for results.
    #[must_use]
    pub fn vector_clock_causal(order: CausalOrder) -> Self {
        let mut policy = Self::of(StrategyKind::VectorClockCausal);
        policy.parameters.causal_order = order;
        policy.strategies = Strategies::Causal(VectorClockCausal::new(order));
        policy
    }

    /// Starts a policy of this strategy, with defaults for all that is not set.
    #[must_use]
    pub fn builder(kind: StrategyKind) -> PolicyBuilder {
        PolicyBuilder { parameters: Parameters::of(kind), foreign: Vec::new() }
    }

    /// The strategy.
    #[must_use]
    pub const fn kind(&self) -> StrategyKind {
        self.parameters.kind
    }

    /// Its algorithm, for both senses.
    #[must_use]
    pub const fn algorithm(&self) -> AlgorithmId {
        self.parameters.kind.algorithm()
    }

    /// How jobs are ordered.
    #[must_use]
    pub fn contention(&self) -> &dyn ContentionStrategy {
        if let Some(chain) = &self.late_last {
            return chain;
        }
        match &self.strategies {
            Strategies::First(strategy) => strategy,
            Strategies::Priority(strategy) => strategy,
            Strategies::Emergency(strategy) => strategy,
            Strategies::Resource(strategy) => strategy,
            Strategies::Causal(strategy) => strategy,
        }
    }

    /// How results are judged.
    #[must_use]
    pub fn reconcile(&self) -> &dyn ReconcileStrategy {
        match &self.strategies {
            Strategies::First(strategy) => strategy,
            Strategies::Priority(strategy) => strategy,
            Strategies::Emergency(strategy) => strategy,
            Strategies::Resource(strategy) => strategy,
            Strategies::Causal(strategy) => strategy,
        }
    }

    /// The head starts; nothing for strategies without.
    #[must_use]
    pub const fn head_start(&self) -> &HeadStartMinutes {
        &self.parameters.head_start
    }

    /// By how many milliseconds a later job of the same tier may go before an earlier one: always less than this.
    /// `None` where order does not follow submission, so that there is no such bound.
    #[must_use]
    pub fn overtake_bound_ms(&self) -> Option<u64> {
        match self.kind() {
            StrategyKind::FirstComeFirstServed => Some(0),
            StrategyKind::PriorityBased | StrategyKind::EmergencyFirst => Some(self.head_start().longest_ms()),
            StrategyKind::ResourceOptimal | StrategyKind::VectorClockCausal => None,
        }
    }

    /// Which end of causality counts among results.
    #[must_use]
    pub const fn causal_order(&self) -> CausalOrder {
        self.parameters.causal_order
    }

    /// What jobs that have waited long are owed.
    #[must_use]
    pub const fn ageing(&self) -> &AgeingRules {
        &self.parameters.ageing
    }

    /// When a running job may be stopped for another.
    #[must_use]
    pub const fn preemption(&self) -> &PreemptionRules {
        &self.parameters.preemption
    }

    /// What is kept free for life safety; nothing for strategies without tiers.
    #[must_use]
    pub const fn head_room(&self) -> &HeadRoom {
        &self.parameters.head_room
    }

    /// How jobs are packed.
    #[must_use]
    pub const fn packing(&self) -> &PackingRules {
        &self.parameters.packing
    }
}

/// Equal parameters, hence equal bytes and ids.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.parameters == other.parameters
    }
}

impl Eq for Policy {}

/// A policy being made. What the strategy does not have is refused when it is [built](Self::build).
#[derive(Clone, Debug)]
pub struct PolicyBuilder {
    parameters: Parameters,
    /// Parameters that were set although the strategy does not have them.
    foreign: Vec<&'static str>,
}

impl PolicyBuilder {
    /// Minutes of head start, for `PRIORITY_BASED` and `EMERGENCY_FIRST`.
    #[must_use]
    pub fn head_start(mut self, head_start: HeadStartMinutes) -> Self {
        self.only("head start", self.parameters.has_head_start());
        self.parameters.head_start = head_start;
        self
    }

    /// Which end of causality counts among results, for `VECTOR_CLOCK_CAUSAL`.
    #[must_use]
    pub fn causal_order(mut self, order: CausalOrder) -> Self {
        self.only("causal order", self.parameters.has_causal_order());
        self.parameters.causal_order = order;
        self
    }

    /// What a missed deadline does.
    #[must_use]
    pub const fn late(mut self, rule: LateRule) -> Self {
        self.parameters.ageing.late = rule;
        self
    }

    /// What jobs that have waited long are owed, and what a missed deadline does.
    #[must_use]
    pub const fn ageing(mut self, rules: AgeingRules) -> Self {
        self.parameters.ageing = rules;
        self
    }

    /// When a running job may be stopped for another: by tier under `EMERGENCY_FIRST`, by value under
    /// `RESOURCE_OPTIMAL`. Stopping jobs by another order than the one they are ranked by would go round in circles.
    #[must_use]
    pub fn preemption(mut self, rules: PreemptionRules) -> Self {
        self.only("preemption", self.parameters.has_preemption());
        self.parameters.preemption = rules;
        self
    }

    /// What is kept free for life safety, for `EMERGENCY_FIRST`. Without an order by tiers who is let into the head room
    /// would not be who comes first.
    #[must_use]
    pub fn head_room(mut self, head_room: HeadRoom) -> Self {
        self.only("head room", self.parameters.has_head_room());
        self.parameters.head_room = head_room;
        self
    }

    /// How jobs are packed, for `RESOURCE_OPTIMAL`.
    #[must_use]
    pub fn packing(mut self, rules: PackingRules) -> Self {
        self.only("packing", self.parameters.has_packing());
        self.parameters.packing = rules;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] for parameters that the strategy does not have, that are out of range, or that contradict one
    /// another.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let Self { parameters, foreign } = self;
        if let Some(parameter) = foreign.first() {
            return Err(PolicyError::NotAParameter { parameter, strategy: parameters.kind });
        }
        parameters.check()?;
        let head_start = parameters.head_start;
        let strategies = match parameters.kind {
            StrategyKind::FirstComeFirstServed => Strategies::First(FirstComeFirstServed::new()),
            StrategyKind::PriorityBased => Strategies::Priority(PriorityBased::new(head_start)?),
            StrategyKind::EmergencyFirst => Strategies::Emergency(EmergencyFirst::new(head_start)?),
            StrategyKind::ResourceOptimal => {
                let packing = ResourcePacking::with_rules(parameters.packing);
                Strategies::Resource(ResourceOptimal::with_packing(packing))
            }
            StrategyKind::VectorClockCausal => Strategies::Causal(VectorClockCausal::new(parameters.causal_order)),
        };
        let late_last = match parameters.ageing.late {
            LateRule::LateTier => Some(parameters.late_last()?),
            LateRule::LoseUrgency | LateRule::Refuse | LateRule::Keep => None,
        };
        Ok(Policy { parameters, strategies, late_last })
    }

    fn only(&mut self, parameter: &'static str, allowed: bool) {
        if !allowed {
            self.foreign.push(parameter);
        }
    }
}

/// Parameters that do not make a policy. Nothing was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The strategy has no such parameter.
    #[error("{strategy} has no parameter `{parameter}`")]
    NotAParameter {
        /// Which.
        parameter: &'static str,
        /// Of what.
        strategy: StrategyKind,
    },
    /// A number outside its range.
    #[error("`{parameter}` of {found} is outside {least}..={most}")]
    OutOfRange {
        /// Which.
        parameter: &'static str,
        /// The number.
        found: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// `LateTier` needs an order of jobs; packing by value has none.
    #[error("{strategy} packs by value and has no place for a tier of late jobs; choose another rule for them")]
    NoLateTier {
        /// The strategy.
        strategy: StrategyKind,
    },
    /// The head starts do not fit a key.
    #[error("the head starts do not fit a key")]
    HeadStart(#[from] ChainError),
}

impl Parameters {
    /// The defaults.
    fn of(kind: StrategyKind) -> Self {
        const NO_HEAD_START: HeadStartMinutes =
            HeadStartMinutes { priority: 0, deadline: 0, lightness: 0, smallness: 0, emergency: 0 };
        let head_start = match kind {
            StrategyKind::PriorityBased => HeadStartMinutes::PRIORITY_BASED,
            StrategyKind::EmergencyFirst => HeadStartMinutes::EMERGENCY_FIRST,
            StrategyKind::FirstComeFirstServed | StrategyKind::ResourceOptimal | StrategyKind::VectorClockCausal => {
                NO_HEAD_START
            }
        };
        let ageing = match kind {
            // Who may be overtaken for less has a place reserved sooner.
            StrategyKind::EmergencyFirst => {
                AgeingRules { reserve_after_ms: head_start.longest_ms(), ..AgeingRules::default() }
            }
            StrategyKind::FirstComeFirstServed
            | StrategyKind::PriorityBased
            | StrategyKind::ResourceOptimal
            | StrategyKind::VectorClockCausal => AgeingRules::default(),
        };
        let enabled = kind == StrategyKind::EmergencyFirst;
        let preemption = PreemptionRules { enabled, ..PreemptionRules::default() };
        let (causal_order, packing, head_room) = (CausalOrder::Earliest, PackingRules::default(), HeadRoom::NONE);
        Self { kind, head_start, causal_order, ageing, preemption, packing, head_room }
    }

    const fn has_head_start(&self) -> bool {
        matches!(self.kind, StrategyKind::PriorityBased | StrategyKind::EmergencyFirst)
    }

    const fn has_preemption(&self) -> bool {
        matches!(self.kind, StrategyKind::EmergencyFirst | StrategyKind::ResourceOptimal)
    }

    const fn has_head_room(&self) -> bool {
        matches!(self.kind, StrategyKind::EmergencyFirst)
    }

    const fn has_packing(&self) -> bool {
        matches!(self.kind, StrategyKind::ResourceOptimal)
    }

    const fn has_causal_order(&self) -> bool {
        matches!(self.kind, StrategyKind::VectorClockCausal)
    }

    fn check(&self) -> Result<(), PolicyError> {
        let within = |parameter, found, least, most| {
            let fits = (least..=most).contains(&found);
            if fits { Ok(()) } else { Err(PolicyError::OutOfRange { parameter, found, least, most }) }
        };
        let rules = &self.preemption;
        within("search rounds", self.packing.search_rounds.into(), 0, PackingRules::MAX_SEARCH_ROUNDS.into())?;
        within("tier gap", rules.tier_gap.into(), 0, 200)?;
        within("preemption budget", rules.budget.into(), 0, PreemptionRules::MAX_BUDGET.into())?;
        within("preemption refill", rules.refill_ms, 1, u64::MAX)?;
        if self.ageing.late == LateRule::LateTier && self.has_packing() {
            return Err(PolicyError::NoLateTier { strategy: self.kind });
        }
        Ok(())
    }

    /// The order of jobs with late ones behind the others of their tier.
    fn late_last(&self) -> Result<Chain<JobFacts>, ChainError> {
        let links = match self.kind {
            StrategyKind::FirstComeFirstServed | StrategyKind::ResourceOptimal => Vec::from([job::submitted()]),
            StrategyKind::PriorityBased | StrategyKind::EmergencyFirst => {
                Vec::from([self.head_start.link(), job::submitted()])
            }
            StrategyKind::VectorClockCausal => Vec::from([job::height(), Link::tie_hash()]),
        };
        let tier = (self.kind == StrategyKind::EmergencyFirst).then(job::tier);
        let links = tier.into_iter().chain([job::late()]).chain(links).chain([Link::id()]);
        Chain::new(self.kind.algorithm(), links)
    }
}
