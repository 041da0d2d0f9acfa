//! Versions that have no place here: remembered by name, so that no claim counts them as held.

use std::sync::Arc;

use reconvene_clock::{Dot, Knowledge, ReplicaId, VectorClock};

use super::{Applied, Plan};
use crate::{Key, KeyContext, PlanError, PutAside, Version};

/// Exact dots that are remembered of one context. A longer one is remembered by the replicas it names.
const MAX_DOTS: usize = 1_024;

impl Plan {
    /// Remembers a version whose row would have `bytes`.
    pub(super) fn put_aside(&mut self, key: Key, version: &Version, bytes: usize) -> Result<Applied, PlanError> {
        let dot = version.dot;
        let limit = self.limits.put_aside;
        if !self.head.put_aside.contains_key(&dot) && self.head.put_aside.len() >= limit {
            return Err(PlanError::PutAsideFull { key, dot, limit });
        }
        let hash = version.content_hash(&key);
        let context = shortened(&version.context);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Arc::make_mut(&mut self.head.put_aside).insert(dot, PutAside { key, hash, bytes, context });
        Ok(Applied::PutAside)
    }

    /// Forgets that `version`, or what it replaces, was put aside.
    pub(super) fn no_longer_aside(&mut self, version: &Version) {
        let is_held = |dot: &Dot| *dot == version.dot || version.context.dots().binary_search(dot).is_ok();
        if self.head.put_aside.keys().any(is_held) {
            Arc::make_mut(&mut self.head.put_aside).retain(|dot, _| !is_held(dot));
        }
    }

    /// What may become known of a claim: not the versions put aside, not what they replaced, and of a replica whose dots
    /// they name only by an upper end, nothing. Their sender no longer holds what they replaced.
    pub(super) fn claimable(&self, knowledge: &Knowledge) -> Option<Knowledge> {
        if self.head.put_aside.is_empty() {
            return None;
        }
        let mut out = Knowledge::new();
        let mut origins: Vec<ReplicaId> = Vec::new();
        for (dot, aside) in self.head.put_aside.iter() {
            out.add(*dot);
            out.extend(aside.context.dots().iter().copied());
            origins.extend(aside.context.upto().iter().map(|end| end.replica));
        }
        let mut rest = Knowledge::new();
        for run in knowledge.missing_from(&out).filter(|run| !origins.contains(&run.replica())) {
            rest.add_range(run);
        }
        Some(rest)
    }
}

fn shortened(context: &KeyContext) -> KeyContext {
    if context.dots().len() <= MAX_DOTS {
        return context.clone();
    }
    let mut upto: VectorClock = context.dots().iter().copied().collect();
    upto.merge(context.upto());
    KeyContext::from_parts([], upto)
}
