//! What a version replaced.

use std::sync::Arc;

use reconvene_clock::{Dot, VectorClock};

/// The versions of one key that a write replaced, and all that their contexts name.
///
/// Most are exact dots. Where one replica would give more than [`COLLAPSE_ABOVE`](Self::COLLAPSE_ABOVE), its part
/// collapses to one entry of [`upto`](Self::upto): *every dot of this replica on this key up to here*. Only a writer
/// collapses, and only while it knows all those dots and leaves no sibling; whoever replaces the version inherits the
/// entry as it is. An entry speaks of this key alone and never becomes part of anyone's Knowledge, which speaks of all
/// keys.
///
/// One canonical form: dots ascend strictly and none is covered by `upto`.
///
/// ```
/// use reconvene_clock::{Counter, Dot, ReplicaId, VectorClock};
/// use reconvene_store::KeyContext;
///
/// let replica = ReplicaId::new(7).expect("not zero");
/// let dot = |counter| Dot::new(replica, Counter::new(counter).expect("not zero"));
/// let context = KeyContext::from_parts([dot(9), dot(2)], VectorClock::from_iter([dot(4)]));
/// assert_eq!(context.dots(), [dot(9)]);
/// assert!(context.contains(dot(3)) && !context.contains(dot(8)));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyContext {
    named: Named,
}

/// What a context names, in the one form that its length has: two words in each version, whatever it is.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Named {
    /// One dot exactly, as after most writes that replace something: nothing on the heap.
    One(Dot),
    /// Nothing, as in most versions, or more than one dot. Clones share it.
    Other(Option<Arc<Parts>>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Parts {
    dots: Vec<Dot>,
    upto: VectorClock,
}

static NOTHING: VectorClock = VectorClock::new();

impl KeyContext {
    /// The most exact dots of one replica that are kept where they could be collapsed.
    pub const COLLAPSE_ABOVE: usize = 8;

    /// The context of a first write: nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { named: Named::Other(None) }
    }

    /// The context that names `dots` and everything up to the entries of `upto`, in canonical form.
    #[must_use]
    pub fn from_parts(dots: impl IntoIterator<Item = Dot>, upto: VectorClock) -> Self {
        let mut dots = dots.into_iter();
        let (first, second) = (dots.next(), dots.next());
        if upto.is_empty() && second.is_none() {
            return first.map_or_else(Self::new, Self::one);
        }
        let mut parts = Parts { dots: first.into_iter().chain(second).chain(dots).collect(), upto };
        parts.normalise();
        Self::of(parts)
    }

    const fn one(dot: Dot) -> Self {
        Self { named: Named::One(dot) }
    }

    /// The context of parts that are in canonical form.
    fn of(parts: Parts) -> Self {
        match (&parts.dots[..], parts.upto.is_empty()) {
            ([], true) => Self::new(),
            ([dot], true) => Self::one(*dot),
            _ => Self { named: Named::Other(Some(Arc::new(parts))) },
        }
    }

    /// Changes the parts to others, in canonical form, that name no less.
    fn change(&mut self, change: impl FnOnce(&mut Parts)) {
        if let Named::Other(Some(parts)) = &mut self.named {
            change(Arc::make_mut(parts));
        } else {
            let mut parts = Parts { dots: self.dots().to_vec(), upto: VectorClock::new() };
            change(&mut parts);
            *self = Self::of(parts);
        }
    }

    /// The dots it names exactly, ascending.
    #[must_use]
    pub fn dots(&self) -> &[Dot] {
        match &self.named {
            Named::One(dot) => core::slice::from_ref(dot),
            Named::Other(parts) => parts.as_ref().map_or(&[], |parts| &parts.dots),
        }
    }

    /// The collapsed parts: every dot of the replica on this key up to the counter.
    #[must_use]
    pub fn upto(&self) -> &VectorClock {
        match &self.named {
            Named::Other(Some(parts)) => &parts.upto,
            Named::One(_) | Named::Other(None) => &NOTHING,
        }
    }

    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.named, Named::Other(None))
    }

    /// Whether it names `dot`, exactly or collapsed.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        match &self.named {
            Named::One(held) => *held == dot,
            Named::Other(None) => false,
            Named::Other(Some(parts)) => parts.dots.binary_search(&dot).is_ok() || parts.upto.contains(dot),
        }
    }

    /// Names `dot` as well.
    pub fn add(&mut self, dot: Dot) {
        if self.is_empty() {
            *self = Self::one(dot);
        } else if !self.contains(dot) {
            self.change(|parts| {
                let place = parts.dots.partition_point(|held| *held < dot);
                parts.dots.insert(place, dot);
            });
        }
    }

    /// Names everything that `other` names as well. Entries of `upto` are joined by the greater counter.
    pub fn merge(&mut self, other: &Self) {
        if self.is_empty() {
            *self = other.clone();
        } else if !other.is_empty() {
            self.change(|parts| {
                parts.dots.extend_from_slice(other.dots());
                parts.upto.merge(other.upto());
                parts.normalise();
            });
        }
    }

    /// Collapses the part of each replica that has too many exact dots and whose dots `prefix` reaches.
    ///
    /// The caller answers for two things: `prefix` is the contiguous part of the writer's Knowledge, and the write
    /// leaves no sibling. Otherwise the entry would cover dots that nobody here explains.
    pub(crate) fn collapse(&mut self, prefix: &VectorClock) {
        let too_many = |run: &[Dot]| run.len() > Self::COLLAPSE_ABOVE;
        let runs = self.dots().chunk_by(|left, right| left.replica == right.replica);
        let reached: Vec<Dot> = runs
            .filter(|run| too_many(run))
            .filter_map(|run| run.last().copied())
            .filter(|last| prefix.contains(*last))
            .collect();
        if !reached.is_empty() {
            self.change(|parts| {
                parts.upto.extend(reached);
                parts.normalise();
            });
        }
    }
}

impl Default for KeyContext {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for KeyContext {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KeyContext").field("dots", &self.dots()).field("upto", self.upto()).finish()
    }
}

impl Parts {
    fn normalise(&mut self) {
        self.dots.sort_unstable();
        self.dots.dedup();
        let upto = &self.upto;
        self.dots.retain(|dot| !upto.contains(*dot));
    }
}

#[cfg(test)]
mod tests {
    use reconvene_clock::{Counter, ReplicaId};

    use super::*;

    fn dot(replica: u64, counter: u64) -> Dot {
        Dot::new(ReplicaId::new(replica).unwrap(), Counter::new(counter).unwrap())
    }

    #[test]
    fn nine_dots_collapse_where_the_prefix_reaches_them() {
        let dots = (1..=9).map(|counter| dot(1, counter * 2)).chain([dot(2, 5)]);
        let mut context = KeyContext::from_parts(dots, VectorClock::new());
        let before = context.clone();
        context.collapse(&VectorClock::from_iter([dot(1, 17), dot(2, 9)]));
        assert_eq!(context, before, "the prefix ends one short");
        context.collapse(&VectorClock::from_iter([dot(1, 18), dot(2, 9)]));
        assert_eq!(context.dots(), [dot(2, 5)]);
        assert_eq!(context.upto(), &VectorClock::from_iter([dot(1, 18)]));
    }

    #[test]
    fn a_context_takes_two_words_and_one_dot_no_heap() {
        assert_eq!(size_of::<KeyContext>(), 16);
        let [mut added, mut merged] = [KeyContext::new(), KeyContext::new()];
        added.add(dot(3, 7));
        merged.merge(&added);
        // One dot twice is one dot as well.
        let again = KeyContext::from_parts([dot(3, 7), dot(3, 7)], VectorClock::new());
        for context in [added.clone(), merged, again] {
            assert!(matches!(context.named, Named::One(_)));
            assert_eq!(context, added);
            assert!(context.contains(dot(3, 7)) && !context.contains(dot(3, 6)) && context.upto().is_empty());
        }
        let covered = KeyContext::from_parts([dot(3, 7)], VectorClock::from_iter([dot(3, 9)]));
        added.merge(&covered);
        assert_eq!((&added, added.dots()), (&covered, &[][..]));
        added.add(dot(3, 8));
        assert_eq!(added, covered, "named already");
    }

    #[test]
    fn eight_dots_stay() {
        let mut context = KeyContext::from_parts((1..=8).map(|counter| dot(1, counter)), VectorClock::new());
        let before = context.clone();
        context.collapse(&VectorClock::from_iter([dot(1, 8)]));
        assert_eq!(context, before);
    }

    #[test]
    fn merged_contexts_have_one_form() {
        let collapsed = KeyContext::from_parts([dot(2, 1)], VectorClock::from_iter([dot(1, 9)]));
        let exact = KeyContext::from_parts([dot(1, 3), dot(1, 12), dot(2, 1)], VectorClock::new());
        let mut left = collapsed.clone();
        left.merge(&exact);
        let mut right = exact;
        right.merge(&collapsed);
        assert_eq!(left, right);
        assert_eq!(left.dots(), [dot(1, 12), dot(2, 1)]);
    }
}
