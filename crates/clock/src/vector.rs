//! Vector clocks.

use core::fmt::{self, Display};

use smallvec::SmallVec;

use crate::lockstep;
use crate::replica::number_of;
use crate::segments::{Difference, Segments};
use crate::{Causality, ClockError, Counter, DecodeError, DecodeKind, Dot, DotRange, Limits, ReplicaId, ReplicaKey};

/// How many events of each replica are known: a gapless history.
///
/// A replica without an entry counts as zero; no zero is ever stored, so equal clocks have equal entries and hashes
/// whatever built them. Up to four entries live inline.
///
/// There is no `Ord` (a total order contradicts causality) and no `PartialOrd` (it invites `!(a < b)`, which is not
/// `a >= b` here): use [`compare`](Self::compare).
///
/// ```
/// use reconvene_clock::{Causality, ReplicaId, VectorClock};
///
/// let [a, b] = [1, 2].map(|id| ReplicaId::new(id).expect("not zero"));
/// let mut left = VectorClock::new();
/// left.increment(a)?;
/// let mut right = left.clone();
/// left.increment(a)?;
/// right.increment(b)?;
/// assert_eq!(left.compare(&right), Causality::Concurrent);
///
/// assert!(left.merge(&right));
/// assert_eq!(left.compare(&right), Causality::After);
/// # Ok::<(), reconvene_clock::ClockError>(())
/// ```
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct VectorClock<R = ReplicaId> {
    /// Strictly ascending by replica.
    entries: SmallVec<[Dot<R>; INLINE]>,
}

/// Entries held without an allocation. Eight would double the size of records for clocks that are rare.
const INLINE: usize = 4;
/// Entries that are looked through faster than they are searched.
const SCANNED: usize = 4;

impl<R: ReplicaKey> VectorClock<R> {
    /// The clock that knows no event.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: SmallVec::new_const() }
    }

    /// The clock with these entries, which come from a wire, a file or a user: strictly ascending by replica, and no
    /// more than [`Limits::default`] allows.
    ///
    /// # Errors
    /// [`NotAscending`](DecodeKind::NotAscending) or [`LimitExceeded`](DecodeKind::LimitExceeded) with the index of
    /// the entry.
    pub fn try_from_entries(entries: impl IntoIterator<Item = Dot<R>>) -> Result<Self, DecodeError> {
        Self::try_from_entries_within(entries, &Limits::default())
    }

    /// [`try_from_entries`](Self::try_from_entries) with limits of the caller's own.
    ///
    /// Allocates as entries arrive and never for a claimed number of them.
    ///
    /// # Errors
    /// As there.
    pub fn try_from_entries_within(
        entries: impl IntoIterator<Item = Dot<R>>,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let mut clock = Self::new();
        for (index, entry) in entries.into_iter().enumerate() {
            if index >= limits.max_entries {
                let kind = DecodeKind::LimitExceeded { what: "clock entries", limit: limits.max_entries };
                return Err(DecodeError::new(kind, index));
            }
            if clock.entries.last().is_some_and(|last| last.replica >= entry.replica) {
                return Err(DecodeError::new(DecodeKind::NotAscending, index));
            }
            clock.entries.push(entry);
        }
        Ok(clock)
    }

    /// Counts one more event of `replica` and returns its name.
    ///
    /// # Errors
    /// [`CounterOverflow`](ClockError::CounterOverflow) if `replica` is at [`Counter::MAX`].
    ///
    /// # Complexity
    /// O(log n); O(n) for a replica that is new to the clock.
    #[inline]
    pub fn increment(&mut self, replica: R) -> Result<Dot<R>, ClockError> {
        match self.position(replica) {
            Ok(index) => {
                let entry = self.entries.get_mut(index);
                let next = entry.and_then(|entry| {
                    entry.counter = entry.counter.checked_next()?;
                    Some(*entry)
                });
                next.ok_or_else(|| ClockError::CounterOverflow { replica: number_of(replica) })
            }
            Err(index) => {
                let first = Dot { replica, counter: Counter::MIN };
                self.insert(index, first);
                Ok(first)
            }
        }
    }

    /// Takes in a dot that is the next of its replica, and returns whether it was new.
    ///
    /// # Errors
    /// [`Gap`](ClockError::Gap) if an earlier dot of that replica is missing.
    ///
    /// # Complexity
    /// O(log n); O(n) for a replica that is new to the clock.
    pub fn observe(&mut self, dot: Dot<R>) -> Result<bool, ClockError> {
        // No next counter means that every dot is already in.
        match Counter::after(self.get(dot.replica)) {
            Some(expected) if dot.counter > expected => {
                Err(ClockError::Gap { replica: number_of(dot.replica), expected, got: dot.counter })
            }
            _ => Ok(self.raise(dot)),
        }
    }

    /// Raises the entry of the dot's replica to at least its counter, and returns whether that was a change.
    ///
    /// This claims every earlier dot of the replica too: the caller answers for gaps.
    #[inline]
    pub fn raise(&mut self, dot: Dot<R>) -> bool {
        match self.position(dot.replica) {
            Ok(index) => match self.entries.get_mut(index) {
                Some(entry) if entry.counter < dot.counter => {
                    entry.counter = dot.counter;
                    true
                }
                _ => false,
            },
            Err(index) => {
                self.insert(index, dot);
                true
            }
        }
    }

    /// Raises every counter to at least its value in `other` (the lattice join), and returns whether `self` grew.
    ///
    /// Commutative, associative and idempotent.
    ///
    /// # Complexity
    /// O(n + m), O(m log n) where the other is much the shorter; allocates only if a replica is new to `self`.
    ///
    /// # Reference
    /// Mattern 1989, "Virtual Time and Global States of Distributed Systems".
    #[inline]
    pub fn merge(&mut self, other: &Self) -> bool {
        // Stores that know each other name the same replicas, so that this is mostly all there is to do.
        let done = lockstep::raise_until_new(&mut self.entries, &other.entries);
        match other.entries.get(done.theirs..).unwrap_or_default() {
            [] => done.grew,
            theirs => {
                self.insert_new(done.own, theirs);
                true
            }
        }
    }

    /// Merges `theirs`, of which the first is new, from the own entry at `from` on.
    #[inline(never)]
    fn insert_new(&mut self, from: usize, theirs: &[Dot<R>]) {
        // Where few are new, most of what is left is alike again.
        let own = self.entries.get_mut(from..).unwrap_or_default();
        let (alike, _) = lockstep::raise_pairs(own.iter_mut().rev().zip(theirs.iter().rev()));
        let theirs = theirs.get(..theirs.len().saturating_sub(alike)).unwrap_or_default();
        let until = self.entries.len().saturating_sub(alike);

        // What is copied beyond `from` only makes room, faster than filling it with one value would.
        let mut merged = SmallVec::with_capacity(self.entries.len().saturating_add(theirs.len()));
        merged.extend_from_slice(self.entries.get(..until).unwrap_or_default());
        merged.extend_from_slice(theirs);
        let own = self.entries.get(from..until).unwrap_or_default();
        let length = lockstep::union(merged.get_mut(from..).unwrap_or_default(), own, theirs);
        merged.truncate(from.saturating_add(length));
        merged.extend_from_slice(self.entries.get(until..).unwrap_or_default());
        // A third of the room may stay unused: giving it back takes as long as copying as many entries.
        if merged.capacity() > merged.len().saturating_add(merged.len() / 2) {
            merged.shrink_to_fit();
        }
        self.entries = merged;
    }

    /// Lowers every counter to at most its value in `other` (the lattice meet): what both know.
    /// O(n + m).
    pub fn meet(&mut self, other: &Self) {
        let mut theirs = other.entries.iter().peekable();
        self.entries.retain(|own| {
            while theirs.next_if(|theirs| theirs.replica < own.replica).is_some() {}
            theirs.next_if(|theirs| theirs.replica == own.replica).is_some_and(|theirs| {
                own.counter = own.counter.min(theirs.counter);
                true
            })
        });
    }

    /// Keeps the entries of the replicas that `keep` accepts. O(n).
    ///
    /// For the caller's own working sets, such as acknowledgements. A store's knowledge must never lose an entry:
    /// an old dot would look new again.
    pub fn retain(&mut self, mut keep: impl FnMut(R) -> bool) {
        self.entries.retain(|entry| keep(entry.replica));
    }

    /// The last known counter of `replica`, or `None` if no event of it is known. O(log n).
    #[inline]
    #[must_use]
    pub fn get(&self, replica: R) -> Option<Counter> {
        let index = self.position(replica).ok()?;
        self.entries.get(index).map(|entry| entry.counter)
    }

    /// How many replicas have an entry.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no event is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The last known dot of each replica, ascending by replica.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Dot<R>> + DoubleEndedIterator + '_ {
        self.entries.iter().copied()
    }

    /// How this history relates to `other`, in one pass over both, without allocating.
    ///
    /// # Complexity
    /// O(n + m); O(m log n) where one is much the shorter.
    #[inline]
    #[must_use]
    pub fn compare(&self, other: &Self) -> Causality {
        lockstep::compare(&self.entries, &other.entries)
    }

    /// Whether this history holds everything in `other`: [`Equal`](Causality::Equal) or [`After`](Causality::After).
    #[inline]
    #[must_use]
    pub fn dominates(&self, other: &Self) -> bool {
        matches!(self.compare(other), Causality::Equal | Causality::After)
    }

    /// Whether `dot` is part of this history. O(log n).
    #[must_use]
    pub fn contains(&self, dot: Dot<R>) -> bool {
        self.get(dot.replica).is_some_and(|last| dot.counter <= last)
    }

    /// The dots that are here and missing from `other`, as runs ascending by replica. O(n + m) for all of them; allocates
    /// nothing.
    pub fn missing_from<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = DotRange<R>> + 'a {
        Difference::new(self.segments(&[]), other.segments(&[]))
    }

    /// How many events are known: the sum of all counters. O(n).
    ///
    /// A history that dominates another and differs from it has a greater total.
    #[must_use]
    pub fn total(&self) -> u128 {
        // At most 2^64 entries of less than 2^63 each: the sum stays below 2^127.
        self.entries.iter().fold(0, |total, entry| total.saturating_add(u128::from(entry.counter.get())))
    }

    /// This history as the contiguous part below `ranges`.
    pub(crate) fn segments<'a>(&'a self, ranges: &'a [DotRange<R>]) -> Segments<'a, R> {
        Segments::new(&self.entries, ranges)
    }

    /// The empty clock, with room for exactly so many entries.
    pub(crate) fn with_room(count: usize) -> Self {
        Self { entries: SmallVec::with_capacity(count) }
    }

    pub(crate) fn entries(&self) -> &[Dot<R>] {
        &self.entries
    }

    /// The entries; their replicas must stay as they are.
    pub(crate) fn entries_mut(&mut self) -> &mut [Dot<R>] {
        &mut self.entries
    }

    /// Appends an entry whose replica is above every other.
    pub(crate) fn push(&mut self, entry: Dot<R>) {
        debug_assert!(self.entries.last().is_none_or(|last| last.replica < entry.replica), "entries ascend");
        self.entries.push(entry);
    }

    // `SmallVec::clone` and `from_slice` go entry by entry; as one block it takes half the time.
    #[inline(never)]
    fn clone_spilled(&self) -> Self {
        let mut clock = Self::with_room(self.entries.len());
        clock.entries.extend_from_slice(&self.entries);
        clock
    }

    #[cold]
    fn insert(&mut self, index: usize, entry: Dot<R>) {
        self.entries.insert(index, entry);
    }

    #[inline]
    fn position(&self, replica: R) -> Result<usize, usize> {
        let entries = self.entries.as_slice();
        if entries.len() > SCANNED {
            return entries.binary_search_by(|entry| entry.replica.cmp(&replica));
        }
        // Each step of a search waits for the step before; of a few comparisons, none waits for another.
        let below = entries.iter().fold(0_usize, |below, entry| below.saturating_add((entry.replica < replica).into()));
        match entries.get(below) {
            Some(entry) if entry.replica == replica => Ok(below),
            _ => Err(below),
        }
    }
}

impl<R: ReplicaKey> Clone for VectorClock<R> {
    /// Copies the entries, into no more room than they need.
    #[inline]
    fn clone(&self) -> Self {
        if !self.entries.spilled() {
            return Self { entries: SmallVec::from_slice(&self.entries) };
        }
        self.clone_spilled()
    }
}

impl<R: ReplicaKey> Default for VectorClock<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// As by [`raise`](VectorClock::raise): of several dots of a replica, the greatest counts. O(n + m log m).
impl<R: ReplicaKey> Extend<Dot<R>> for VectorClock<R> {
    fn extend<I: IntoIterator<Item = Dot<R>>>(&mut self, dots: I) {
        self.merge(&dots.into_iter().collect());
    }
}

/// As by [`raise`](VectorClock::raise): of several dots of a replica, the greatest counts. O(m log m).
impl<R: ReplicaKey> FromIterator<Dot<R>> for VectorClock<R> {
    fn from_iter<I: IntoIterator<Item = Dot<R>>>(dots: I) -> Self {
        let mut entries: SmallVec<[Dot<R>; INLINE]> = dots.into_iter().collect();
        entries.sort_unstable_by(|left, right| (left.replica, right.counter).cmp(&(right.replica, left.counter)));
        entries.dedup_by_key(|entry| entry.replica);
        entries.shrink_to_fit();
        Self { entries }
    }
}

impl<R: ReplicaKey> Display for VectorClock<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, entry) in self.entries.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            entry.fmt(f)?;
        }
        f.write_str("}")
    }
}
