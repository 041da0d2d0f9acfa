//! What a version replaced.

use reconvene_clock::{Dot, VectorClock};
use smallvec::SmallVec;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyContext {
    dots: SmallVec<[Dot; 2]>,
    upto: VectorClock,
}

impl KeyContext {
    /// The most exact dots of one replica that are kept where they could be collapsed.
    pub const COLLAPSE_ABOVE: usize = 8;

    /// The context of a first write: nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The context that names `dots` and everything up to the entries of `upto`, in canonical form.
    #[must_use]
    pub fn from_parts(dots: impl IntoIterator<Item = Dot>, upto: VectorClock) -> Self {
        let mut context = Self { dots: dots.into_iter().collect(), upto };
        context.normalise();
        context
    }

    /// The dots it names exactly, ascending.
    #[must_use]
    pub fn dots(&self) -> &[Dot] {
        &self.dots
    }

    /// The collapsed parts: every dot of the replica on this key up to the counter.
    #[must_use]
    pub fn upto(&self) -> &VectorClock {
        &self.upto
    }

    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dots.is_empty() && self.upto.is_empty()
    }

    /// Whether it names `dot`, exactly or collapsed.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.dots.binary_search(&dot).is_ok() || self.upto.contains(dot)
    }

    /// Names `dot` as well.
    pub fn add(&mut self, dot: Dot) {
        if self.upto.contains(dot) {
            return;
        }
        if let Err(place) = self.dots.binary_search(&dot) {
            self.dots.insert(place, dot);
        }
    }

    /// Names everything that `other` names as well. Entries of `upto` are joined by the greater counter.
    pub fn merge(&mut self, other: &Self) {
        self.dots.extend_from_slice(&other.dots);
        self.upto.merge(&other.upto);
        self.normalise();
    }

    /// Collapses the part of each replica that has too many exact dots and whose dots `prefix` reaches.
    ///
    /// The caller answers for two things: `prefix` is the contiguous part of the writer's Knowledge, and the write
    /// leaves no sibling. Otherwise the entry would cover dots that nobody here explains.
    pub(crate) fn collapse(&mut self, prefix: &VectorClock) {
        for run in self.dots.chunk_by(|left, right| left.replica == right.replica) {
            if let Some(last) = run.last()
                && run.len() > Self::COLLAPSE_ABOVE
                && prefix.contains(*last)
            {
                self.upto.raise(*last);
            }
        }
        self.normalise();
    }

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
