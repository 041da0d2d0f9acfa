#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::cast_possible_truncation,
        reason = "tests index, add and unwrap freely"
    )
)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod bytes;
mod id;
mod key;
mod tie;

mod declaration;
mod emergency;
mod quantity;
mod resources;

mod facts;

mod breakdown;
mod chain;
mod error;
mod link;
mod strategy;

pub mod job;
pub mod version;

mod five;
mod head_start;
mod kind;

mod audit;
mod counterfactual;
mod decision;
mod reason;
mod statistics;

#[cfg(feature = "laws")]
pub mod laws;

mod ageing;
mod cluster;
mod greedy;
mod head_room;
mod packing;
mod placement;
mod policy;
mod preemption;
mod radix;
mod ranking;

pub use crate::ageing::{AgeingRules, LateRule, Lateness, SharesTooLarge, TierShares, inherit_levels};
pub use crate::audit::{DecisionChain, InputsDigest};
pub use crate::breakdown::{FactorReading, KeyBreakdown, LinkReading};
pub use crate::chain::{Chain, MAX_FACTORS, MAX_HEAD_START_MINUTES};
pub use crate::cluster::{ClusterView, Placement, Plan, Reservation, ReservationCause, RunningJob, Waiting};
pub use crate::counterfactual::Counterfactual;
pub use crate::decision::{Context, Deciding, Decision, InWords, Standing, decide, explain_rank};
pub use crate::declaration::{Authority, DeclarationError, DeclarationId, EmergencyDeclaration};
pub use crate::emergency::{Level, ParseLevelError, scope_covers};
pub use crate::error::ChainError;
pub use crate::facts::{Facts, JobFacts, Outcome, RoundFacts, VersionFacts};
pub use crate::five::{
    CausalOrder, EmergencyFirst, FirstComeFirstServed, PriorityBased, ResourceOptimal, VectorClockCausal,
};
pub use crate::head_room::HeadRoom;
pub use crate::head_start::HeadStartMinutes;
pub use crate::id::{AlgorithmId, CandidateId, SubjectId};
pub use crate::key::RankKey;
pub use crate::kind::{ContestRule, ParseStrategyError, StrategyKind};
pub use crate::link::{Factor, FactorValue, Link, Term, Unit};
pub use crate::packing::{FitRule, FreeIndex, ResourcePacking, Scarce};
pub use crate::placement::{ExecutorFacts, balance, choose_executor, fits};
pub use crate::policy::{
    PackingRules, ParsePolicyIdError, Pin, PinEpoch, Policy, PolicyBuilder, PolicyChoice, PolicyDecodeError,
    PolicyEpoch, PolicyError, PolicyId, PolicyRef, PolicyRegistry, RegistryError, Unresolved, UnresolvedCause,
};
pub use crate::preemption::{
    Eviction, Preemption, PreemptionBudget, PreemptionRules, Preemptor, plan_preemption, plan_swap, swap_pays,
};
pub use crate::quantity::{BasisPoints, JobValue, OutOfRange, Priority};
pub use crate::ranking::{rank, resolve, top};
pub use crate::reason::{PreemptionRefusal, Reason};
pub use crate::resources::{Dimension, Resources};
pub use crate::statistics::{DecisionKind, Histogram, Statistics};
pub use crate::strategy::{ContentionStrategy, ReconcileStrategy};
pub use crate::tie::tie_hash;

/// The words of a [`RankKey`] before its id.
pub const MAX_WORDS: usize = 6;
