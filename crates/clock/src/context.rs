//! Causal contexts: vector clocks with exceptions.

use alloc::vec::Vec;
use core::fmt::{self, Display};

use crate::replica::number_of;
use crate::segments::{Difference, Intersection, Segments};
use crate::{
    Causality, ClockError, Counter, DecodeError, DecodeKind, Dot, DotRange, Limits, ReplicaId, ReplicaKey, VectorClock,
};

/// A [`CausalContext`] where it speaks of everything that one store has seen.
pub type Knowledge<R = ReplicaId> = CausalContext<R>;

/// An exact set of dots: a vector for the contiguous part, and ranges above it.
///
/// Ranges are disjoint, ascend by (replica, first), and touch neither each other nor the contiguous part, so equal sets
/// have equal parts and hashes whatever built them.
///
/// ```
/// use reconvene_clock::{CausalContext, Counter, Dot, ReplicaId};
///
/// let replica = ReplicaId::new(7).expect("not zero");
/// let dot = |number| Dot::new(replica, Counter::new(number).expect("in range"));
///
/// let mut seen: CausalContext = [dot(1), dot(3)].into_iter().collect();
/// assert_eq!(seen.ranges().len(), 1); // 3 is known, 2 is not
/// assert!(!seen.contains(dot(2)));
///
/// assert!(seen.add(dot(2)));
/// assert_eq!(seen.ranges().len(), 0);
/// assert_eq!(seen.vector().get(replica), Counter::new(3));
/// ```
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CausalContext<R = ReplicaId> {
    vector: VectorClock<R>,
    ranges: Vec<DotRange<R>>,
}

impl<R: ReplicaKey> CausalContext<R> {
    /// The empty context.
    #[must_use]
    pub const fn new() -> Self {
        Self { vector: VectorClock::new(), ranges: Vec::new() }
    }

    /// The context with these parts, which come from a wire, a file or a user: ranges ascending by (replica, first),
    /// touching neither each other nor the vector, and no more of them than [`Limits::default`] allows.
    ///
    /// # Errors
    /// [`NotAscending`](DecodeKind::NotAscending), [`Touching`](DecodeKind::Touching) or
    /// [`LimitExceeded`](DecodeKind::LimitExceeded) with the index of the range, or of the entry if it is the vector
    /// that is too long.
    pub fn from_parts(
        vector: VectorClock<R>,
        ranges: impl IntoIterator<Item = DotRange<R>>,
    ) -> Result<Self, DecodeError> {
        Self::from_parts_within(vector, ranges, &Limits::default())
    }

    /// [`from_parts`](Self::from_parts) with limits of the caller's own.
    ///
    /// Allocates as ranges arrive and never for a claimed number of them.
    ///
    /// # Errors
    /// As there.
    pub fn from_parts_within(
        vector: VectorClock<R>,
        ranges: impl IntoIterator<Item = DotRange<R>>,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let too_many = |what, limit, index| Err(DecodeError::new(DecodeKind::LimitExceeded { what, limit }, index));
        if vector.len() > limits.max_entries {
            return too_many("clock entries", limits.max_entries, limits.max_entries);
        }
        let mut context = Self { vector, ranges: Vec::new() };
        let mut of_this_replica = 0_usize;
        for (index, range) in ranges.into_iter().enumerate() {
            let replica = range.replica();
            let previous = context.ranges.last().filter(|last| last.replica() == replica);
            of_this_replica = if previous.is_some() { of_this_replica.saturating_add(1) } else { 1 };
            if index >= limits.max_ranges {
                return too_many("ranges", limits.max_ranges, index);
            }
            if of_this_replica > limits.max_ranges_per_replica {
                return too_many("ranges of one replica", limits.max_ranges_per_replica, index);
            }
            if context.ranges.last().is_some_and(|last| (last.replica(), last.first()) >= (replica, range.first())) {
                return Err(DecodeError::new(DecodeKind::NotAscending, index));
            }
            let end = previous.map(DotRange::last).or_else(|| context.vector.get(replica));
            if reaches(end, range.first()) {
                return Err(DecodeError::new(DecodeKind::Touching, index));
            }
            context.ranges.push(range);
        }
        Ok(context)
    }

    /// The context with these parts, which are known to be canonical.
    pub(crate) fn of_canonical(vector: VectorClock<R>, ranges: Vec<DotRange<R>>) -> Self {
        Self { vector, ranges }
    }

    /// Adds one dot, and returns whether it was new.
    ///
    /// # Complexity
    /// O(log n) in entries and ranges, plus the move of what lies behind an insertion.
    pub fn add(&mut self, dot: Dot<R>) -> bool {
        self.add_range(dot.into())
    }

    /// Adds a run of dots, and returns whether any of them was new. Complexity as for [`add`](Self::add).
    pub fn add_range(&mut self, range: DotRange<R>) -> bool {
        let replica = range.replica();
        let base = self.vector.get(replica);
        if base.is_some_and(|base| range.last() <= base) {
            return false;
        }
        // The held ranges that overlap or touch the new one; all of them become one.
        let start = self
            .ranges
            .partition_point(|held| (held.replica(), held.last()) < (replica, range.first()) && !joins(held, &range));
        let end = self
            .ranges
            .partition_point(|held| (held.replica(), held.first()) <= (replica, range.last()) || joins(&range, held));
        let joined = self.ranges.get(start..end).unwrap_or_default();
        if joined.iter().any(|held| held.first() <= range.first() && range.last() <= held.last()) {
            return false;
        }
        let first = joined.first().map_or_else(|| range.first(), |held| held.first().min(range.first()));
        let last = joined.last().map_or_else(|| range.last(), |held| held.last().max(range.last()));
        if reaches(base, first) {
            self.ranges.drain(start..end);
            self.vector.raise(Dot { replica, counter: last });
        } else {
            self.ranges.splice(start..end, DotRange::new(replica, first, last));
        }
        true
    }

    /// Adds everything in `other` (set union), and returns whether `self` grew.
    ///
    /// Commutative, associative and idempotent. Allocates only for what is new.
    pub fn merge(&mut self, other: &Self) -> bool {
        let mut grew = self.vector.merge(&other.vector);
        if grew {
            self.absorb_ranges();
        }
        for range in &other.ranges {
            grew |= self.add_range(*range);
        }
        grew
    }

    /// Restores the canonical form after the vector has grown.
    fn absorb_ranges(&mut self) {
        let vector = &mut self.vector;
        self.ranges.retain_mut(|range| {
            let base = vector.get(range.replica());
            if !reaches(base, range.first()) {
                return true;
            }
            vector.raise(Dot { replica: range.replica(), counter: range.last() });
            false
        });
    }

    /// What both contexts hold (set intersection): met over all members, it is what everybody has seen.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let mut both = Self::new();
        // Two runs of the result lie in different runs of one side, so they do not touch.
        for run in Intersection::new(self.segments(), other.segments()) {
            if run.first() == Counter::MIN {
                both.vector.push(Dot { replica: run.replica(), counter: run.last() });
            } else {
                both.ranges.push(run);
            }
        }
        both
    }

    /// Names the next write of the replica `own`, given the last counter that its durable store gave out. The dot is
    /// not added: it becomes knowledge when the write is durable.
    ///
    /// # Errors
    /// [`StateLoss`](ClockError::StateLoss) if this context holds an own dot that the durable store never gave out: it
    /// was lost, restored or copied, and goes on only under a new id, since a dot must never name two writes.
    /// [`CounterOverflow`](ClockError::CounterOverflow) if `issued` is [`Counter::MAX`].
    pub fn next_dot(&self, own: R, issued: Option<Counter>) -> Result<Dot<R>, ClockError> {
        if let Some(held) = self.last_of(own)
            && Some(held) > issued
        {
            return Err(ClockError::StateLoss { held, issued });
        }
        let counter = Counter::after(issued).ok_or_else(|| ClockError::CounterOverflow { replica: number_of(own) })?;
        Ok(Dot { replica: own, counter })
    }

    /// Whether no dot is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vector.is_empty() && self.ranges.is_empty()
    }

    /// Whether `dot` is known. O(log n).
    #[must_use]
    pub fn contains(&self, dot: Dot<R>) -> bool {
        let end = self.ranges.partition_point(|range| (range.replica(), range.last()) < (dot.replica, dot.counter));
        self.vector.contains(dot) || self.ranges.get(end).is_some_and(|range| range.contains(dot))
    }

    /// Whether this context holds everything in `other`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.missing_from(self).next().is_none()
    }

    /// How this set relates to `other`.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Causality {
        Causality::from_excess(!other.covers(self), !self.covers(other))
    }

    /// The dots that are here and missing from `other`, as runs ascending by (replica, first). O(n + m) for the whole
    /// walk, without allocating.
    pub fn missing_from<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = DotRange<R>> + 'a {
        Difference::new(self.segments(), other.segments())
    }

    /// The contiguous part: for each replica the last counter up to which nothing is missing.
    #[must_use]
    pub fn vector(&self) -> &VectorClock<R> {
        &self.vector
    }

    /// What is known above the contiguous part, ascending by (replica, first).
    #[must_use]
    pub fn ranges(&self) -> &[DotRange<R>] {
        &self.ranges
    }

    /// The greatest known counter of `replica`, whether or not all before it are known.
    #[must_use]
    pub fn last_of(&self, replica: R) -> Option<Counter> {
        let end = self.ranges.partition_point(|range| range.replica() <= replica);
        let above = end.checked_sub(1).and_then(|index| self.ranges.get(index));
        above.filter(|range| range.replica() == replica).map(DotRange::last).or_else(|| self.vector.get(replica))
    }

    /// Everything as maximal runs, ascending by (replica, first).
    pub fn runs(&self) -> impl Iterator<Item = DotRange<R>> + '_ {
        self.segments()
    }

    fn segments(&self) -> Segments<'_, R> {
        self.vector.segments(&self.ranges)
    }
}

/// Whether a run that ends at `end` (or at zero) leaves no dot out before `first`.
fn reaches(end: Option<Counter>, first: Counter) -> bool {
    Counter::after(end).is_none_or(|next| first <= next)
}

/// Whether `high` starts right behind `low`.
fn joins<R: ReplicaKey>(low: &DotRange<R>, high: &DotRange<R>) -> bool {
    low.replica() == high.replica() && low.last().checked_next() == Some(high.first())
}

/// By hand, since a derived one would bound `R` by `Clone` alone.
impl<R: ReplicaKey> Clone for CausalContext<R> {
    fn clone(&self) -> Self {
        Self { vector: self.vector.clone(), ranges: self.ranges.clone() }
    }
}

impl<R: ReplicaKey> Default for CausalContext<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything up to the vector's counters, without exceptions.
impl<R: ReplicaKey> From<VectorClock<R>> for CausalContext<R> {
    fn from(vector: VectorClock<R>) -> Self {
        Self { vector, ranges: Vec::new() }
    }
}

impl<R: ReplicaKey> Extend<Dot<R>> for CausalContext<R> {
    fn extend<I: IntoIterator<Item = Dot<R>>>(&mut self, dots: I) {
        for dot in dots {
            self.add(dot);
        }
    }
}

impl<R: ReplicaKey> FromIterator<Dot<R>> for CausalContext<R> {
    fn from_iter<I: IntoIterator<Item = Dot<R>>>(dots: I) -> Self {
        let mut context = Self::new();
        context.extend(dots);
        context
    }
}

impl<R: ReplicaKey> Display for CausalContext<R> {
    /// The vector, then the ranges above it, if any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.vector.fmt(f)?;
        for (index, range) in self.ranges.iter().enumerate() {
            f.write_str(if index == 0 { " and " } else { ", " })?;
            range.fmt(f)?;
        }
        Ok(())
    }
}
