//! What a session ends with, and what it allows to be forgotten.

use std::sync::Arc;

use reconvene_clock::{Dot, DotRange, Knowledge, ReplicaId, VectorClock};

use super::Plan;
use crate::record::Live;
use crate::version::is_tombstone;
use crate::{Fact, Key, PlanError, Version, sabotage};

impl Plan {
    /// Plans that everything in `knowledge` is known, and that its sender collected tombstones up to `floor`. The last
    /// step of a session's direction: everything that the sender held and that was not here before must have been
    /// applied, and `floor` must be within what was known here before, or what the sender no longer holds was dropped by
    /// [`drop_dead`](Self::drop_dead).
    ///
    /// Versions that were put aside, and what they replaced, do not become known.
    ///
    /// # Errors
    ///
    /// [`Clock`](PlanError::Clock) with [`StateLoss`](reconvene_clock::ClockError::StateLoss), or
    /// [`UnusedDot`](PlanError::UnusedDot), if it names a write of this replica that this store never made.
    pub fn claim(&mut self, knowledge: &Knowledge, floor: &VectorClock) -> Result<(), PlanError> {
        self.check_own(knowledge.last_of(self.head.identity.replica))?;
        let disproved = self.disproved_by_claim(knowledge)?;
        self.forget_unused(&disproved);
        let rest = self.claimable(knowledge);
        let joined = rest.as_ref().unwrap_or(knowledge);
        if !self.head.knowledge.covers(joined) {
            Arc::make_mut(&mut self.head.knowledge).merge(joined);
        }
        if !self.head.gc_floor.dominates(floor) && !sabotage::on(17) {
            Arc::make_mut(&mut self.head.gc_floor).merge(floor);
        }
        Ok(())
    }

    /// Plans that `member` said it has made everything up to `prefix` durable. Joined with what it said before; own
    /// words are facts like those of others.
    pub fn acknowledge(&mut self, member: ReplicaId, prefix: &VectorClock) {
        self.learn(Fact::Ack { member, prefix: prefix.clone() });
    }

    /// Plans that a fact is kept: joined with what is there of its kind and replica.
    pub fn learn(&mut self, fact: Fact) {
        match self.facts.get_mut(&(fact.kind(), fact.id())) {
            Some(held) => drop(held.merge(&fact)),
            None => drop(self.facts.insert((fact.kind(), fact.id()), fact)),
        }
    }

    /// Plans that the settled tombstones among the keys that were looked up are collected, and returns how many: those
    /// whose dot, and the ends of whose collapsed context, `stable` and this store's own prefix cover. Stops where the
    /// batch is full; what is left goes with a later one.
    ///
    /// `stable` is the pointwise minimum of the prefixes that all members acknowledged. A collected tombstone stays
    /// known, and raises the [`gc_floor`](crate::Head::gc_floor). Values are never collected.
    pub fn collect(&mut self, stable: &VectorClock) -> usize {
        let mut stable = stable.clone();
        stable.meet(self.head.knowledge.vector());
        let settled = |version: &Version| {
            is_tombstone(version) && stable.contains(version.dot) && stable.dominates(version.context.upto())
        };
        let keys: Vec<Key> =
            self.rows.iter().filter(|(_, row)| row.live().iter().any(settled)).map(|(key, _)| key.clone()).collect();
        let mut collected = 0_usize;
        for key in keys {
            let Ok(row) = self.row(&key) else { continue };
            let (gone, kept): (Live, Live) = row.live().iter().cloned().partition(settled);
            if self.replace_row(&key, kept).is_err() {
                break;
            }
            collected = collected.saturating_add(gone.len());
            Arc::make_mut(&mut self.head.gc_floor).extend(gone.iter().map(|version| version.dot));
        }
        collected
    }

    /// Plans that the ranges of numbers counted as unused are forgotten where `stable` covers them: whoever could show
    /// that one was used after all has said that it holds all up to there.
    ///
    /// Not for a store that knows of no other member. One that an old copy took the place of may have forgotten who they
    /// are, and they will show it what it lost.
    pub fn settle_unused(&mut self, stable: &VectorClock) {
        let is_stable = |range: &DotRange| stable.contains(Dot::new(range.replica(), range.last()));
        if self.head.marks.unused.iter().any(is_stable) {
            Arc::make_mut(&mut self.head.marks.unused).retain(|range| !is_stable(range));
        }
    }
}
