//! Whose store it is: opening it again, freezing it, and going on under another name.

use std::sync::Arc;

use reconvene_clock::{Counter, Dot, DotRange, Knowledge, ReplicaId};

use super::Plan;
use crate::{Fact, Frozen, Identity, MemberState, PlanError, SessionNonce, Version};

impl Plan {
    /// Plans that the store was opened again, in a session of this nonce, and is the newest copy of itself: it goes on
    /// above everything it reserved. Numbers that were reserved and not given out count as known, so that nobody waits
    /// for them, and are remembered as unused.
    pub fn resume(&mut self, session: SessionNonce) {
        self.head.session = session;
        let marks = &mut self.head.marks;
        if marks.issued < marks.reserved {
            let first = marks.issued.map_or(Some(Counter::MIN), Counter::checked_next);
            let range = first.zip(marks.reserved);
            let range = range.and_then(|(first, last)| DotRange::new(self.head.identity.replica, first, last));
            marks.issued = marks.reserved;
            if let Some(range) = range {
                let unused = Arc::make_mut(&mut marks.unused);
                let place = unused.partition_point(|held| *held < range);
                unused.insert(place, range);
                Arc::make_mut(&mut self.head.knowledge).add_range(range);
            }
        }
        marks.stamped = marks.stamped.max(marks.stamp_bound);
    }

    /// Plans that the store goes on under another name: as a new incarnation, which has given out nothing yet. What it
    /// holds and knows stays; dots of the old name are valid for ever. The old one is retired among the members.
    ///
    /// `replica` was drawn at random for this, and `incarnation` is above every one that is known of the node.
    pub fn renew(&mut self, replica: ReplicaId, incarnation: u64, session: SessionNonce) {
        let Identity { node, incarnation: before, replica: old } = self.head.identity;
        let incarnation = incarnation.max(before.saturating_add(1));
        self.learn(Fact::Member { replica: old, node, incarnation: before, state: MemberState::Retired });
        self.learn(Fact::Member { replica, node, incarnation, state: MemberState::Active });
        self.head.identity = Identity { node, replica, incarnation };
        self.head.session = session;
        let marks = &mut self.head.marks;
        (marks.issued, marks.reserved, marks.frozen) = (None, None, None);
        marks.stamped = marks.stamped.max(marks.stamp_bound);
    }

    /// Plans that no dot is given out any more under the store's present name. The first reason stays.
    pub fn freeze(&mut self, why: Frozen) {
        self.head.marks.frozen.get_or_insert(why);
    }

    /// Plans that the numbers counted as unused around `held` were used after all, by writes that this store lost: they
    /// leave Knowledge, so that sessions bring what others have of them. Returns whether there were any.
    ///
    /// Freeze or [`renew`](Self::renew) the identity in the same batch.
    pub fn reclaim_unused(&mut self, held: Dot) -> bool {
        let ranges: Vec<DotRange> = self.unused_with(held).into_iter().collect();
        self.forget_unused(&ranges);
        !ranges.is_empty()
    }

    /// The unused ranges that `version` shows to have been used.
    ///
    /// # Errors
    ///
    /// [`UnusedDot`](PlanError::UnusedDot) if they are of the store's present name: it has to be given up first.
    pub(super) fn disproved_by(&self, version: &Version) -> Result<Vec<DotRange>, PlanError> {
        if self.head.marks.unused.is_empty() {
            return Ok(Vec::new());
        }
        let named = version.context.dots().iter().copied().chain(version.context.upto().iter()).chain([version.dot]);
        let mut ranges: Vec<DotRange> = Vec::new();
        for dot in named {
            // A collapsed part, too, ends at a dot that some version had.
            if let Some(range) = self.unused_with(dot) {
                self.not_own(dot)?;
                ranges.push(range);
            }
        }
        Ok(ranges)
    }

    /// The unused ranges of which `knowledge` holds some and not all: numbers that came from this store's claims come
    /// together, so that somebody has seen writes with them.
    ///
    /// # Errors
    ///
    /// As for [`disproved_by`](Self::disproved_by).
    pub(super) fn disproved_by_claim(&self, knowledge: &Knowledge) -> Result<Vec<DotRange>, PlanError> {
        let mut ranges: Vec<DotRange> = Vec::new();
        for range in self.head.marks.unused.iter() {
            let mut whole = Knowledge::new();
            whole.add_range(*range);
            let both = whole.meet(knowledge);
            if let Some(held) = both.last_of(range.replica())
                && both != whole
            {
                self.not_own(Dot::new(range.replica(), held))?;
                ranges.push(*range);
            }
        }
        Ok(ranges)
    }

    pub(super) fn forget_unused(&mut self, ranges: &[DotRange]) {
        if ranges.is_empty() {
            return;
        }
        let mut out = Knowledge::new();
        for range in ranges {
            out.add_range(*range);
        }
        self.unlearn(&out);
        Arc::make_mut(&mut self.head.marks.unused).retain(|range| !ranges.contains(range));
    }

    /// Takes dots out of Knowledge. O(replicas + ranges).
    pub(super) fn unlearn(&mut self, out: &Knowledge) {
        let mut rest = Knowledge::new();
        for run in self.head.knowledge.missing_from(out) {
            rest.add_range(run);
        }
        self.head.knowledge = Arc::new(rest);
    }

    fn unused_with(&self, dot: Dot) -> Option<DotRange> {
        self.head.marks.unused.iter().find(|range| range.contains(dot)).copied()
    }

    fn not_own(&self, dot: Dot) -> Result<(), PlanError> {
        if dot.replica == self.head.identity.replica { Err(PlanError::UnusedDot { dot }) } else { Ok(()) }
    }
}
