//! Passes over two sorted runs of entries that mostly name the same replicas at the same places.

use core::hint::select_unpredictable;

use crate::{Causality, Counter, Dot, ReplicaKey};

/// Pairs looked at before a branch on their ids. Branches at single pairs would keep the loop from being vectorised, and
/// a fixed number of pairs would be unrolled into more values than there are registers.
const CHUNK: usize = 64;
/// Entries for which the preparations of a longer pass would cost more than the pass.
const SHORT: usize = 8;

/// Which side has more than the other: the sign bits of differences, gathered by OR.
///
/// Counters stay below 2^63, so that the sign of a wrapping difference says which of two is smaller. Unlike a comparison
/// it is one instruction on two words at a time even where vectors have no unsigned compare.
#[derive(Clone, Copy, Default)]
struct Signs {
    more: u64,
    less: u64,
}

impl Signs {
    #[inline(always)]
    const fn add(&mut self, left: u64, right: u64) {
        self.more |= right.wrapping_sub(left);
        self.less |= left.wrapping_sub(right);
    }

    const fn has_more(self) -> bool {
        self.more >> 63 != 0
    }

    const fn has_less(self) -> bool {
        self.less >> 63 != 0
    }

    const fn causality(self) -> Causality {
        Causality::from_excess(self.has_more(), self.has_less())
    }
}

/// How two clocks relate, given their entries. O(n + m); O(m log n) where one is much the shorter.
#[inline]
pub(crate) fn compare<R: ReplicaKey>(left: &[Dot<R>], right: &[Dot<R>]) -> Causality {
    if left.len() == right.len() && left.len() <= SHORT {
        let (mut differs, mut signs) = (0, Signs::default());
        for (own, theirs) in left.iter().zip(right) {
            differs |= own.replica.differs(theirs.replica);
            signs.add(own.counter.get(), theirs.counter.get());
        }
        if differs == 0 {
            return signs.causality();
        }
    }
    compare_long(left, right)
}

#[inline(never)]
fn compare_long<'a, R: ReplicaKey>(mut left: &'a [Dot<R>], mut right: &'a [Dot<R>]) -> Causality {
    let mut signs = Signs::default();
    loop {
        // Stores that know each other name the same replicas, so that this is mostly all there is to do.
        let length;
        (length, signs) = compare_pairs(left, right, signs);
        (left, right) = (left.get(length..).unwrap_or_default(), right.get(length..).unwrap_or_default());
        match (left, right) {
            ([], []) => return signs.causality(),
            ([_, ..], []) => return Causality::from_excess(true, signs.has_less()),
            ([], [_, ..]) => return Causality::from_excess(signs.has_more(), true),
            ([_, ..], [_, ..]) if signs.has_more() && signs.has_less() => return Causality::Concurrent,
            ([_, ..], [_, ..]) => (left, right, signs) = compare_join(left, right, signs),
        }
    }
}

/// Compares chunks of pairs for as long as both sides name the same replicas, and returns how many pairs that were.
#[inline]
fn compare_pairs<R: ReplicaKey>(left: &[Dot<R>], right: &[Dot<R>], mut signs: Signs) -> (usize, Signs) {
    let mut length = 0_usize;
    for (left, right) in left.chunks(CHUNK).zip(right.chunks(CHUNK)) {
        let (mut differs, mut found) = (0, signs);
        for (own, theirs) in left.iter().zip(right) {
            differs |= own.replica.differs(theirs.replica);
            found.add(own.counter.get(), theirs.counter.get());
        }
        if differs != 0 {
            break;
        }
        signs = found;
        length = length.saturating_add(left.len().min(right.len()));
        if signs.has_more() && signs.has_less() {
            break;
        }
    }
    (length, signs)
}

/// Compares entries of which not all replicas are on both sides, until both are known to differ or the sides have been
/// alike for a chunk. Returns what is left.
fn compare_join<'a, R: ReplicaKey>(
    mut left: &'a [Dot<R>],
    mut right: &'a [Dot<R>],
    mut signs: Signs,
) -> (&'a [Dot<R>], &'a [Dot<R>], Signs) {
    let mut alike = 0_usize;
    while let ([own, left_rest @ ..], [theirs, right_rest @ ..]) = (left, right) {
        if own.replica == theirs.replica {
            signs.add(own.counter.get(), theirs.counter.get());
            (left, right) = (left_rest, right_rest);
            alike = alike.saturating_add(1);
        } else {
            alike = 0;
            if own.replica < theirs.replica {
                signs.more = u64::MAX;
                left = skip_below(left_rest, theirs.replica);
            } else {
                signs.less = u64::MAX;
                right = skip_below(right_rest, own.replica);
            }
        }
        if alike == CHUNK || signs.has_more() && signs.has_less() {
            break;
        }
    }
    (left, right, signs)
}

/// What a merge of entries in place came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raised {
    /// How many entries of the own side are done with.
    pub(crate) own: usize,
    /// How many entries of the other side are done with.
    pub(crate) theirs: usize,
    /// Whether any counter grew.
    pub(crate) grew: bool,
}

/// Raises the counters of `own` to those of `theirs`, up to the first entry whose replica `own` does not have.
pub(crate) fn raise_until_new<R: ReplicaKey>(own: &mut [Dot<R>], theirs: &[Dot<R>]) -> Raised {
    let mut done = Raised::default();
    loop {
        let own_rest = own.get_mut(done.own..).unwrap_or_default();
        let theirs_rest = theirs.get(done.theirs..).unwrap_or_default();
        let (pairs, grew) = raise_chunks(own_rest, theirs_rest);
        done.grew |= grew;
        done.own = done.own.saturating_add(pairs);
        done.theirs = done.theirs.saturating_add(pairs);

        let own_rest = own.get(done.own..).unwrap_or_default();
        let Some(next) = theirs.get(done.theirs) else {
            return done;
        };
        let left = skip_below(own_rest, next.replica);
        done.own = own.len().saturating_sub(left.len());
        if left.first().is_none_or(|held| held.replica != next.replica) {
            return done;
        }
    }
}

/// Raises counters as [`raise_pairs`] does, a few at a time: branches and loops then cost less than the counters.
#[inline]
fn raise_chunks<R: ReplicaKey>(own: &mut [Dot<R>], theirs: &[Dot<R>]) -> (usize, bool) {
    let (mut length, mut signs) = (0_usize, 0);
    for (own, theirs) in own.as_chunks_mut::<SHORT>().0.iter_mut().zip(theirs.as_chunks::<SHORT>().0) {
        if own.iter().zip(theirs).fold(0, |ids, (own, theirs)| ids | own.replica.differs(theirs.replica)) != 0 {
            break;
        }
        for (own, theirs) in own.iter_mut().zip(theirs) {
            let excess = own.counter.get().wrapping_sub(theirs.counter.get());
            signs |= excess;
            // The sign is at hand, and there may be no instruction for the greater of two unsigned words.
            own.counter = if excess >> 63 == 0 { own.counter } else { theirs.counter };
        }
        length = length.saturating_add(SHORT);
    }
    let own = own.get_mut(length..).unwrap_or_default();
    let (pairs, grew) = raise_pairs(own.iter_mut().zip(theirs.get(length..).unwrap_or_default()));
    (length.saturating_add(pairs), grew | (signs >> 63 != 0))
}

/// Raises counters for as long as both name the same replicas, and returns how many pairs that were and whether any
/// counter grew.
#[inline]
pub(crate) fn raise_pairs<'a, R: ReplicaKey>(
    pairs: impl Iterator<Item = (&'a mut Dot<R>, &'a Dot<R>)>,
) -> (usize, bool) {
    let (mut length, mut grew) = (0_usize, false);
    for (own, theirs) in pairs {
        if own.replica != theirs.replica {
            break;
        }
        // Max, not sum: counters are totals, so a repeated merge must not count twice.
        grew |= own.counter < theirs.counter;
        own.counter = own.counter.max(theirs.counter);
        length = length.saturating_add(1);
    }
    (length, grew)
}

/// Writes the merge of `own` and `theirs` into `merged`, which has room for all of both, and returns its length.
///
/// Which side comes next cannot be predicted, so that nothing here branches on it.
pub(crate) fn union<R: ReplicaKey>(merged: &mut [Dot<R>], mut own: &[Dot<R>], mut theirs: &[Dot<R>]) -> usize {
    let (room, mut places) = (merged.len(), merged.iter_mut());
    if let ([held, ..], [new, ..]) = (own, theirs) {
        let (mut own_id, mut their_id) = (held.replica, new.replica);
        // Each step has the ids of the next one loaded before it knows which of them it needs: a load that waited for
        // the outcome would take longer than all the rest.
        while let ([held, own_next, ..], [new, their_next, ..]) = (own, theirs) {
            let Some(place) = places.next() else { break };
            let (take_own, take_theirs) = (own_id <= their_id, their_id <= own_id);
            place.replica = select_unpredictable(take_own, own_id, their_id);
            place.counter = greatest(held, new, take_own, take_theirs);
            own_id = select_unpredictable(take_own, own_next.replica, own_id);
            their_id = select_unpredictable(take_theirs, their_next.replica, their_id);
            own = own.get(usize::from(take_own)..).unwrap_or_default();
            theirs = theirs.get(usize::from(take_theirs)..).unwrap_or_default();
        }
    }
    // At least one side is down to its last entry.
    while let ([held, ..], [new, ..]) = (own, theirs) {
        let Some(place) = places.next() else { break };
        let (take_own, take_theirs) = (held.replica <= new.replica, new.replica <= held.replica);
        place.replica = if take_own { held.replica } else { new.replica };
        place.counter = greatest(held, new, take_own, take_theirs);
        own = own.get(usize::from(take_own)..).unwrap_or_default();
        theirs = theirs.get(usize::from(take_theirs)..).unwrap_or_default();
    }
    let rest = if own.is_empty() { theirs } else { own };
    let done = room.saturating_sub(places.len());
    if let Some(places) = places.into_slice().get_mut(..rest.len()) {
        places.copy_from_slice(rest);
    }
    done.saturating_add(rest.len())
}

/// The counter of the entry that is taken, or the greater of both.
#[inline(always)]
fn greatest<R: ReplicaKey>(own: &Dot<R>, theirs: &Dot<R>, take_own: bool, take_theirs: bool) -> Counter {
    let counter = select_unpredictable(take_own, own.counter, theirs.counter);
    let other = select_unpredictable(take_theirs, theirs.counter, own.counter);
    select_unpredictable(counter > other, counter, other)
}

/// The entries from the first that is not below `replica`: near the start at the cost of a step, far off in O(log n).
fn skip_below<R: ReplicaKey>(entries: &[Dot<R>], replica: R) -> &[Dot<R>] {
    let mut width = 1_usize;
    while entries.get(width.saturating_sub(1)).is_some_and(|entry| entry.replica < replica) {
        width = width.saturating_mul(2);
    }
    let near = entries.get(..width.min(entries.len())).unwrap_or_default();
    let below = near.partition_point(|entry| entry.replica < replica);
    entries.get(below..).unwrap_or_default()
}

/// How two clocks over the same roster relate, given their counters.
#[inline]
pub(crate) fn compare_counters(left: &[u64], right: &[u64]) -> Causality {
    let mut signs = Signs::default();
    for (own, theirs) in left.iter().zip(right) {
        signs.add(*own, *theirs);
    }
    signs.causality()
}

/// Raises counters to those of another clock over the same roster, and returns whether any grew.
#[inline]
pub(crate) fn raise_counters(own: &mut [u64], theirs: &[u64]) -> bool {
    debug_assert!(own.iter().chain(theirs).all(|counter| *counter <= Counter::MAX.get()), "counters are below 2^63");
    let mut grew = 0;
    for (own, theirs) in own.iter_mut().zip(theirs) {
        let excess = own.wrapping_sub(*theirs);
        grew |= excess;
        // The sign is at hand, and there may be no instruction for the greater of two unsigned words.
        *own = if excess >> 63 == 0 { *own } else { *theirs };
    }
    grew >> 63 != 0
}
