//! Short spellings, and generators over small universes, where conflicts are common.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reconvene_clock::{CausalContext, Counter, Dot, DotRange, ReplicaId, VectorClock};

pub(crate) const A: u64 = 0xa;
pub(crate) const B: u64 = 0xb;
pub(crate) const C: u64 = 0xc;

pub(crate) fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

pub(crate) fn counter(number: u64) -> Counter {
    Counter::new(number).unwrap()
}

pub(crate) fn dot(replica: u64, number: u64) -> Dot {
    Dot::new(id(replica), counter(number))
}

pub(crate) fn range(replica: u64, first: u64, last: u64) -> DotRange {
    DotRange::new(id(replica), counter(first), counter(last)).unwrap()
}

pub(crate) fn clock<const N: usize>(entries: [(u64, u64); N]) -> VectorClock {
    entries.into_iter().map(|(replica, number)| dot(replica, number)).collect()
}

pub(crate) fn context<const N: usize>(dots: [(u64, u64); N]) -> CausalContext {
    dots.into_iter().map(|(replica, number)| dot(replica, number)).collect()
}

/// What a context is, spelled out: the plain set of its dots.
pub(crate) type Model = BTreeSet<(u64, u64)>;

pub(crate) fn model(context: &CausalContext) -> Model {
    context.runs().flat_map(|run| run.dots()).map(|dot| (dot.replica.get(), dot.counter.get())).collect()
}

/// Up to six replicas: more than are held inline.
pub(crate) fn any_clock() -> impl Strategy<Value = VectorClock> {
    prop::collection::btree_map(1..=6_u64, 1..=4_u64, 0..=6)
        .prop_map(|entries| entries.into_iter().map(|(replica, number)| dot(replica, number)).collect())
}

pub(crate) fn any_dots() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((1..=3_u64, 1..=8_u64), 0..24)
}

pub(crate) fn any_context() -> impl Strategy<Value = CausalContext> {
    any_dots().prop_map(|dots| dots.into_iter().map(|(replica, number)| dot(replica, number)).collect())
}
