//! Agreed memberships, and clocks over them without ids.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Display};
use core::hash::{Hash, Hasher};

use crate::codec::roster_digest;
use crate::lockstep::{compare_counters, raise_counters};
use crate::replica::number_of;
use crate::{Causality, ClockError, Counter, Dot, DotRange, Limits, ReplicaId, ReplicaKey, VectorClock};

/// The replicas that a [`RosterClock`] counts, in an order that all who know the roster share.
///
/// Its digest names it on the wire. It is an address and no proof: whoever chooses the ids can make two rosters with one
/// digest, so a roster is agreed upon by other means before clocks over it are exchanged.
///
/// ```
/// use reconvene_clock::{Limits, ReplicaId, Roster};
///
/// let ids = [7, 5, 7].map(|id| ReplicaId::new(id).expect("not zero"));
/// let roster = Roster::new(1, ids, &Limits::default())?;
/// assert_eq!(roster.ids(), [ids[1], ids[0]]);
/// # Ok::<(), reconvene_clock::ClockError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Roster<R = ReplicaId> {
    /// First, since it differs wherever anything does.
    digest: u64,
    epoch: u64,
    /// Strictly ascending.
    ids: Box<[R]>,
}

impl<R: ReplicaKey> Roster<R> {
    /// The roster of these replicas, in any order and named any number of times. `epoch` tells apart rosters of the same
    /// replicas that were agreed upon at different times.
    ///
    /// # Errors
    /// [`LimitExceeded`](ClockError::LimitExceeded) if there are more of them than [`Limits::max_entries`]; no more than
    /// that are taken from the iterator.
    pub fn new(epoch: u64, replicas: impl IntoIterator<Item = R>, limits: &Limits) -> Result<Self, ClockError> {
        let limit = limits.max_entries;
        let mut ids: Vec<R> = replicas.into_iter().take(limit.saturating_add(1)).collect();
        if ids.len() > limit {
            return Err(ClockError::LimitExceeded { what: "replicas of a roster", limit });
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Self::of_ascending(epoch, ids))
    }

    fn of_ascending(epoch: u64, ids: Vec<R>) -> Self {
        Self { digest: roster_digest(epoch, &ids), epoch, ids: ids.into_boxed_slice() }
    }

    /// The replicas, ascending. A clock over this roster has one place for each.
    #[must_use]
    pub fn ids(&self) -> &[R] {
        &self.ids
    }

    /// What tells this roster from others of the same replicas.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The name of this roster on the wire: 64 bits of SipHash-2-4 over epoch and ids.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many replicas it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has no replica.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The place of `replica`, if it is a member. O(log n).
    #[must_use]
    pub fn position(&self, replica: R) -> Option<usize> {
        self.ids.binary_search(&replica).ok()
    }

    fn place(&self, replica: R) -> Result<usize, ClockError> {
        self.position(replica).ok_or_else(|| ClockError::UnknownReplica { replica: number_of(replica) })
    }
}

/// A [`VectorClock`] over an agreed membership: one word for each member instead of two, and passes without ids.
///
/// For summaries that are many or long. It means the same history as the vector clock with the same entries; members
/// without an event count as zero. Clocks over one roster (the same [`Arc`], or an equal roster) meet in plain loops;
/// over different rosters the other's counters are brought to the places of the own roster once, and an event of a
/// replica that is no member is [`UnknownReplica`](ClockError::UnknownReplica).
///
/// ```
/// use std::sync::Arc;
/// use reconvene_clock::{Causality, Limits, ReplicaId, Roster, RosterClock, VectorClock};
///
/// let [a, b] = [1, 2].map(|id| ReplicaId::new(id).expect("not zero"));
/// let roster = Arc::new(Roster::new(1, [a, b], &Limits::default())?);
/// let mut left = RosterClock::new(roster.clone());
/// left.increment(a)?;
/// let mut right = RosterClock::new(roster);
/// right.increment(b)?;
/// assert_eq!(left.compare(&right), Causality::Concurrent);
/// assert!(left.merge(&right)?);
/// assert_eq!(VectorClock::from(left).len(), 2);
/// # Ok::<(), reconvene_clock::ClockError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RosterClock<R = ReplicaId> {
    roster: Arc<Roster<R>>,
    /// One for each member, below 2^63; zero without an event.
    counters: Box<[u64]>,
}

impl<R: ReplicaKey> RosterClock<R> {
    /// The clock over `roster` that knows no event. Allocates 8 bytes for each member.
    #[must_use]
    pub fn new(roster: Arc<Roster<R>>) -> Self {
        let counters = vec![0; roster.len()].into_boxed_slice();
        Self { roster, counters }
    }

    /// The history of `clock`, over `roster`. O(n + m log n).
    ///
    /// # Errors
    /// [`UnknownReplica`](ClockError::UnknownReplica) if the clock has an entry of a replica that is no member.
    pub fn from_clock(roster: Arc<Roster<R>>, clock: &VectorClock<R>) -> Result<Self, ClockError> {
        let mut dense = Self::new(roster);
        for entry in clock.iter() {
            dense.raise(entry)?;
        }
        Ok(dense)
    }

    /// The clock with these counters, one for each member.
    pub(crate) fn from_counters(roster: Arc<Roster<R>>, counters: Vec<u64>) -> Self {
        debug_assert_eq!(roster.len(), counters.len(), "one counter for each member");
        Self { roster, counters: counters.into_boxed_slice() }
    }

    /// The membership.
    #[must_use]
    pub fn roster(&self) -> &Arc<Roster<R>> {
        &self.roster
    }

    /// One counter for each member, in the order of [`Roster::ids`]; zero for a member without an event.
    #[must_use]
    pub fn counters(&self) -> &[u64] {
        &self.counters
    }

    /// Counts one more event of `replica` and returns its name. O(log n).
    ///
    /// # Errors
    /// [`UnknownReplica`](ClockError::UnknownReplica) if it is no member,
    /// [`CounterOverflow`](ClockError::CounterOverflow) if it is at [`Counter::MAX`]; the clock is unchanged.
    pub fn increment(&mut self, replica: R) -> Result<Dot<R>, ClockError> {
        let place = self.roster.place(replica)?;
        let counter = Counter::after(self.counter_at(place))
            .ok_or_else(|| ClockError::CounterOverflow { replica: number_of(replica) })?;
        self.raise_at(place, counter);
        Ok(Dot { replica, counter })
    }

    /// Takes in a dot that is the next of its replica, and returns whether it was new. O(log n).
    ///
    /// # Errors
    /// [`UnknownReplica`](ClockError::UnknownReplica) if the replica is no member, [`Gap`](ClockError::Gap) if an
    /// earlier dot of it is missing; the clock is unchanged.
    pub fn observe(&mut self, dot: Dot<R>) -> Result<bool, ClockError> {
        let place = self.roster.place(dot.replica)?;
        match Counter::after(self.counter_at(place)) {
            Some(expected) if dot.counter > expected => {
                Err(ClockError::Gap { replica: number_of(dot.replica), expected, got: dot.counter })
            }
            _ => Ok(self.raise_at(place, dot.counter)),
        }
    }

    /// Raises the counter of the dot's replica to at least its own, and returns whether that was a change. O(log n).
    ///
    /// This claims every earlier dot of the replica too: the caller answers for gaps.
    ///
    /// # Errors
    /// [`UnknownReplica`](ClockError::UnknownReplica) if the replica is no member; the clock is unchanged.
    pub fn raise(&mut self, dot: Dot<R>) -> Result<bool, ClockError> {
        let place = self.roster.place(dot.replica)?;
        Ok(self.raise_at(place, dot.counter))
    }

    /// Raises every counter to at least its value in `other` (the lattice join), and returns whether `self` grew.
    ///
    /// # Errors
    /// [`UnknownReplica`](ClockError::UnknownReplica) if `other`, over another roster, has an event of a replica that is
    /// no member here; the clock is unchanged.
    ///
    /// # Complexity
    /// O(n) over one roster; O(n + m log n) and one allocation over two.
    pub fn merge(&mut self, other: &Self) -> Result<bool, ClockError> {
        if self.same_roster(other) {
            return Ok(raise_counters(&mut self.counters, &other.counters));
        }
        let mut remapped = Self::new(self.roster.clone());
        for entry in other.iter() {
            remapped.raise(entry)?;
        }
        Ok(raise_counters(&mut self.counters, &remapped.counters))
    }

    /// Lowers every counter to at most its value in `other` (the lattice meet): what both know.
    pub fn meet(&mut self, other: &Self) {
        let same = self.same_roster(other);
        for (place, (own, replica)) in self.counters.iter_mut().zip(&self.roster.ids).enumerate() {
            *own = (*own).min(other.lookup(same, place, *replica));
        }
    }

    /// Forgets the events of the replicas that `keep` refuses; as for [`VectorClock::retain`], for working sets only.
    pub fn retain(&mut self, mut keep: impl FnMut(R) -> bool) {
        for (counter, replica) in self.counters.iter_mut().zip(&self.roster.ids) {
            if *counter > 0 && !keep(*replica) {
                *counter = 0;
            }
        }
    }

    /// The last known counter of `replica`, or `None` if no event of it is known or it is no member. O(log n).
    #[must_use]
    pub fn get(&self, replica: R) -> Option<Counter> {
        self.counter_at(self.roster.position(replica)?)
    }

    /// How many replicas have an event. O(n).
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether no event is known. O(n).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.iter().all(|counter| *counter == 0)
    }

    /// The last known dot of each replica that has one, ascending by replica.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Dot<R>> + '_ {
        let pairs = self.roster.ids.iter().zip(&self.counters);
        pairs.filter_map(|(replica, counter)| Some(Dot { replica: *replica, counter: Counter::new(*counter)? }))
    }

    /// How this history relates to `other`.
    ///
    /// # Complexity
    /// O(n) over one roster; O(n + m) and two allocations over two.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Causality {
        if self.same_roster(other) {
            return compare_counters(&self.counters, &other.counters);
        }
        VectorClock::from(self).compare(&VectorClock::from(other))
    }

    /// Whether this history holds everything in `other`: [`Equal`](Causality::Equal) or [`After`](Causality::After).
    #[must_use]
    pub fn dominates(&self, other: &Self) -> bool {
        matches!(self.compare(other), Causality::Equal | Causality::After)
    }

    /// Whether `dot` is part of this history. O(log n).
    #[must_use]
    pub fn contains(&self, dot: Dot<R>) -> bool {
        self.get(dot.replica).is_some_and(|last| dot.counter <= last)
    }

    /// The dots that are here and missing from `other`, as runs ascending by replica. O(n) over one roster, else
    /// O(n log m).
    pub fn missing_from<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = DotRange<R>> + 'a {
        let same = self.same_roster(other);
        let pairs = self.roster.ids.iter().zip(&self.counters).enumerate();
        pairs.filter_map(move |(place, (replica, own))| {
            let last = Counter::new(*own)?;
            let first = Counter::after(Counter::new(other.lookup(same, place, *replica)))?;
            DotRange::new(*replica, first, last)
        })
    }

    /// How many events are known: the sum of all counters. O(n).
    #[must_use]
    pub fn total(&self) -> u128 {
        self.counters.iter().fold(0, |total, counter| total.saturating_add((*counter).into()))
    }

    /// The counter of `replica`, which is at `place` if both clocks are over one roster.
    fn lookup(&self, same: bool, place: usize, replica: R) -> u64 {
        let place = if same { Some(place) } else { self.roster.position(replica) };
        place.and_then(|place| self.counters.get(place)).copied().unwrap_or_default()
    }

    fn counter_at(&self, place: usize) -> Option<Counter> {
        self.counters.get(place).and_then(|counter| Counter::new(*counter))
    }

    fn raise_at(&mut self, place: usize, counter: Counter) -> bool {
        match self.counters.get_mut(place) {
            Some(own) if *own < counter.get() => {
                *own = counter.get();
                true
            }
            _ => false,
        }
    }

    /// Digests alone would do if nobody made two rosters with one digest; the ids settle it.
    #[inline]
    fn same_roster(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.roster, &other.roster) || self.roster == other.roster
    }
}

/// Equal are clocks over equal rosters with equal counters, which is what equal bytes say. Clocks over different rosters
/// may still hold the same history: see [`compare`](RosterClock::compare).
impl<R: ReplicaKey> PartialEq for RosterClock<R> {
    fn eq(&self, other: &Self) -> bool {
        self.same_roster(other) && self.counters == other.counters
    }
}

impl<R: ReplicaKey> Eq for RosterClock<R> {}

impl<R: ReplicaKey> Hash for RosterClock<R> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.roster.digest.hash(state);
        self.counters.hash(state);
    }
}

impl<R: ReplicaKey> Display for RosterClock<R> {
    /// As a [`VectorClock`] with the same entries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        VectorClock::from(self).fmt(f)
    }
}

impl<R: ReplicaKey> From<&RosterClock<R>> for VectorClock<R> {
    fn from(dense: &RosterClock<R>) -> Self {
        let mut clock = Self::new();
        for entry in dense.iter() {
            clock.push(entry);
        }
        clock
    }
}

impl<R: ReplicaKey> From<RosterClock<R>> for VectorClock<R> {
    fn from(dense: RosterClock<R>) -> Self {
        Self::from(&dense)
    }
}

/// Over a roster of its own, which has exactly the replicas of the clock and epoch 0.
impl<R: ReplicaKey> From<&VectorClock<R>> for RosterClock<R> {
    fn from(clock: &VectorClock<R>) -> Self {
        let roster = Roster::of_ascending(0, clock.iter().map(|entry| entry.replica).collect());
        let counters = clock.iter().map(|entry| entry.counter.get()).collect();
        Self { roster: Arc::new(roster), counters }
    }
}

/// Over a roster of its own, which has exactly the replicas of the clock and epoch 0.
impl<R: ReplicaKey> From<VectorClock<R>> for RosterClock<R> {
    fn from(clock: VectorClock<R>) -> Self {
        Self::from(&clock)
    }
}
