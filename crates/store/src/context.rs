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
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct KeyContext {
    /// `None` if it names nothing, as most do: one word instead of a hundred bytes in each version. Clones share it.
    parts: Option<Arc<Parts>>,
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
    pub fn new() -> Self {
        Self::default()
    }

    /// The context that names `dots` and everything up to the entries of `upto`, in canonical form.
    #[must_use]
    pub fn from_parts(dots: impl IntoIterator<Item = Dot>, upto: VectorClock) -> Self {
        let mut parts = Parts { dots: dots.into_iter().collect(), upto };
        parts.normalise();
        Self::of(parts)
    }

    fn of(parts: Parts) -> Self {
        let empty = parts.dots.is_empty() && parts.upto.is_empty();
        Self { parts: (!empty).then(|| Arc::new(parts)) }
    }

    /// The dots it names exactly, ascending.
    #[must_use]
    pub fn dots(&self) -> &[Dot] {
        self.parts.as_ref().map_or(&[], |parts| &parts.dots)
    }

    /// The collapsed parts: every dot of the replica on this key up to the counter.
    #[must_use]
    pub fn upto(&self) -> &VectorClock {
        self.parts.as_ref().map_or(&NOTHING, |parts| &parts.upto)
    }

    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_none()
    }

    /// Whether it names `dot`, exactly or collapsed.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.dots().binary_search(&dot).is_ok() || self.upto().contains(dot)
    }

    /// Names `dot` as well.
    pub fn add(&mut self, dot: Dot) {
        if !self.contains(dot) {
            let parts = Arc::make_mut(self.parts.get_or_insert_default());
            let place = parts.dots.partition_point(|held| *held < dot);
            parts.dots.insert(place, dot);
        }
    }

    /// Names everything that `other` names as well. Entries of `upto` are joined by the greater counter.
    pub fn merge(&mut self, other: &Self) {
        let Some(more) = &other.parts else {
            return;
        };
        let Some(held) = &mut self.parts else {
            self.parts = Some(Arc::clone(more));
            return;
        };
        let parts = Arc::make_mut(held);
        parts.dots.extend_from_slice(&more.dots);
        parts.upto.merge(&more.upto);
        parts.normalise();
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
        if let Some(parts) = self.parts.as_mut().filter(|_| !reached.is_empty()) {
            let parts = Arc::make_mut(parts);
            parts.upto.extend(reached);
            parts.normalise();
        }
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
