//! The concurrent values of one key.

use core::mem;

use smallvec::SmallVec;

use crate::replica::number_of;
use crate::{CausalContext, ClockError, Dot, ReplicaId, ReplicaKey};

/// A value and the write that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a value with its dot, and nothing else")]
pub struct Dotted<T, R = ReplicaId> {
    /// The write that made the value.
    pub dot: Dot<R>,
    /// The value.
    pub value: T,
}

/// The concurrent values of one key under one context: a dotted version vector set.
///
/// A write replaces exactly the values that its writer had seen. A value that is in the context and not among the
/// values was replaced or deleted, and does not come back.
///
/// The context names dots of this key only, or of a counter that belongs to this key. Where one counter serves many keys,
/// a vector would claim dots of other keys, and exact dots are needed instead.
///
/// # Reference
/// Almeida et al. 2014, "Scalable and Accurate Causality Tracking for Eventually Consistent Stores".
///
/// ```
/// use reconvene_clock::{Counter, Dot, Dotted, ReplicaId, SiblingSet};
///
/// let write = |replica, number, value| Dotted {
///     dot: Dot::new(ReplicaId::new(replica).expect("not zero"), Counter::new(number).expect("in range")),
///     value,
/// };
/// let mut here = SiblingSet::new();
/// here.write(&Default::default(), write(1, 1, "draft"))?;
/// let mut there = here.clone();
///
/// // Both sides of a partition replace the draft, and neither sees the other.
/// here.write(&here.context().clone(), write(1, 2, "mine"))?;
/// there.write(&there.context().clone(), write(2, 1, "yours"))?;
///
/// assert!(here.merge(&there)?);
/// let values: Vec<_> = here.values().iter().map(|sibling| sibling.value).collect();
/// assert_eq!(values, ["mine", "yours"]);
/// # Ok::<(), reconvene_clock::ClockError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SiblingSet<T, R: ReplicaKey = ReplicaId> {
    context: CausalContext<R>,
    /// Strictly ascending by dot; every dot is in the context.
    live: SmallVec<[Dotted<T, R>; 1]>,
}

impl<T, R: ReplicaKey> SiblingSet<T, R> {
    /// The set without values and without history.
    #[must_use]
    pub fn new() -> Self {
        Self { context: CausalContext::new(), live: SmallVec::new() }
    }

    /// Adds the value of a new write whose writer had seen `seen`, in place of all values in `seen`, and returns how many
    /// those were.
    ///
    /// # Errors
    /// [`DotInUse`](ClockError::DotInUse) if the new dot is in the history or in `seen` already. Nothing changes.
    pub fn write(&mut self, seen: &CausalContext<R>, new: Dotted<T, R>) -> Result<usize, ClockError> {
        let Dot { replica, counter } = new.dot;
        if self.context.contains(new.dot) || seen.contains(new.dot) {
            return Err(ClockError::DotInUse { replica: number_of(replica), counter });
        }
        let replaced = self.delete(seen);
        self.context.add(new.dot);
        let index = self.live.partition_point(|sibling| sibling.dot < new.dot);
        self.live.insert(index, new);
        Ok(replaced)
    }

    /// Removes all values in `seen`, and returns how many those were.
    pub fn delete(&mut self, seen: &CausalContext<R>) -> usize {
        let before = self.live.len();
        self.live.retain(|sibling| !seen.contains(sibling.dot));
        self.context.merge(seen);
        before.saturating_sub(self.live.len())
    }

    /// Takes in another replica's values and history, and returns whether `self` changed.
    ///
    /// A value stays if it is live on both sides, or on one and unknown to the other's context. Commutative, associative
    /// and idempotent.
    ///
    /// # Errors
    /// [`Equivocation`](ClockError::Equivocation) if one dot carries two values; neither is chosen and nothing changes.
    pub fn merge(&mut self, other: &Self) -> Result<bool, ClockError>
    where
        T: Clone + Eq,
    {
        for theirs in &other.live {
            if self.get(theirs.dot).is_some_and(|own| own.value != theirs.value) {
                let Dot { replica, counter } = theirs.dot;
                return Err(ClockError::Equivocation { replica: number_of(replica), counter });
            }
        }
        let before = self.live.len();
        self.live.retain(|own| other.get(own.dot).is_some() || !other.context.contains(own.dot));
        let removed = self.live.len() < before;

        let new = other.live.iter().filter(|theirs| !self.context.contains(theirs.dot)).cloned();
        let mut live: SmallVec<_> = mem::take(&mut self.live);
        live.extend(new);
        live.sort_unstable_by_key(|sibling| sibling.dot);
        self.live = live;
        // A value that is new here has a dot that is new here, so the context tells of every addition.
        Ok(self.context.merge(&other.context) | removed)
    }

    /// The values, ascending by dot: none before the first write or after a delete, several after concurrent writes.
    #[must_use]
    pub fn values(&self) -> &[Dotted<T, R>] {
        &self.live
    }

    /// The history. Who reads the values hands it back with the write that replaces them.
    #[must_use]
    pub fn context(&self) -> &CausalContext<R> {
        &self.context
    }

    fn get(&self, dot: Dot<R>) -> Option<&Dotted<T, R>> {
        let index = self.live.binary_search_by_key(&dot, |sibling| sibling.dot).ok()?;
        self.live.get(index)
    }
}

impl<T, R: ReplicaKey> Default for SiblingSet<T, R> {
    fn default() -> Self {
        Self::new()
    }
}
