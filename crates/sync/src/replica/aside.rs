//! What a claim must not teach.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{Dot, DotRange, Knowledge, ReplicaId};
use reconvene_store::{Key, KeyContext, Version};

/// Versions of one session that were not taken in, and what each of them would have superseded.
///
/// Their sender no longer holds what they superseded, so nobody sends it; to join those dots with the claim would lose
/// live data to a version that is not here.
#[derive(Clone, Debug, Default)]
pub(super) struct SetAside {
    dots: BTreeSet<Dot>,
    /// Replicas of which nothing may be claimed: a collapsed context does not say which dots it stands for.
    replicas: BTreeSet<ReplicaId>,
    /// The contexts of the versions, by key. Of what is held here the key is known, and a context speaks of one key.
    contexts: BTreeMap<Key, Vec<KeyContext>>,
    /// Dots and ends remembered, those that came again as well: a peer may send one version as often as it likes.
    named: usize,
    /// More was put aside than is remembered, so nothing at all may be claimed.
    overflown: bool,
}

impl SetAside {
    /// Puts a version of a key aside.
    pub(super) fn put(&mut self, key: &Key, version: &Version) {
        let context = &version.context;
        let names = context.dots().len().saturating_add(context.upto().len()).saturating_add(1);
        self.named = self.named.saturating_add(names);
        if self.named > MAX_NAMED {
            self.overflown = true;
            return;
        }
        self.dots.insert(version.dot);
        if reconvene_store::sabotage::on(44) {
            return;
        }
        self.dots.extend(context.dots());
        self.replicas.extend(context.upto().iter().map(|end| end.replica));
        if !context.is_empty() {
            self.contexts.entry(key.clone()).or_default().push(context.clone());
        }
    }

    /// Whether a version that was put aside has superseded this dot, which is held here. Then that its sender knows it and
    /// does not hold it is no sign that it was deleted.
    pub(super) fn superseded(&self, key: &Key, dot: Dot) -> bool {
        self.contexts.get(key).is_some_and(|contexts| contexts.iter().any(|context| context.contains(dot)))
    }

    /// Whether nothing of a claim can be told from what was put aside.
    pub(super) const fn hides_all(&self) -> bool {
        self.overflown
    }

    /// Whether any of these ranges, of dots that are unknown here, is left out of the claim though it may have nothing to do
    /// with what was put aside.
    ///
    /// Then a late copy of such a dot would be taken for new. What deleted it may be a tombstone that is collected, so
    /// the ends that the claim speaks of must not be joined either.
    pub(super) fn hides_any(&self, unknown: impl IntoIterator<Item = DotRange>) -> bool {
        unknown.into_iter().any(|range| self.replicas.contains(&range.replica()))
    }

    /// The part of what a peer claims that may be joined.
    pub(super) fn claimable(&self, claimed: impl IntoIterator<Item = DotRange>) -> Knowledge {
        if self.overflown {
            return Knowledge::new();
        }
        let mut claimable = Knowledge::new();
        for range in claimed.into_iter().filter(|range| !self.replicas.contains(&range.replica())) {
            for part in self.without_dots(&range) {
                claimable.add_range(part);
            }
        }
        claimable
    }

    /// The parts of a range between the dots that were put aside.
    fn without_dots(&self, range: &DotRange) -> Vec<DotRange> {
        let replica = range.replica();
        let mut parts = Vec::new();
        let mut first = Some(range.first());
        for dot in self.dots.range(Dot::new(replica, range.first())..=Dot::new(replica, range.last())) {
            let before = dot.counter.checked_previous();
            parts.extend(first.zip(before).and_then(|(first, last)| DotRange::new(replica, first, last)));
            first = dot.counter.checked_next();
        }
        parts.extend(first.and_then(|first| DotRange::new(replica, first, range.last())));
        parts
    }
}

/// Dots and upper ends remembered for one session.
const MAX_NAMED: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use reconvene_clock::{Counter, Height, Hlc, VectorClock};
    use reconvene_store::{Body, Class, KeyContext};

    fn replica(number: u64) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    fn dot(number: u64, counter: u64) -> Dot {
        Dot::new(replica(number), Counter::new(counter).unwrap())
    }

    fn range(number: u64, first: u64, last: u64) -> DotRange {
        DotRange::new(replica(number), Counter::new(first).unwrap(), Counter::new(last).unwrap()).unwrap()
    }

    fn version(own: Dot, context: KeyContext) -> Version {
        Version {
            dot: own,
            context,
            height: Height::MIN,
            hlc: Hlc::default(),
            class: Class::NORMAL,
            body: Body::Tombstone,
        }
    }

    fn key() -> Key {
        Key::new("key").unwrap()
    }

    #[test]
    fn its_dot_and_its_contexts_dots_leave_the_claim() {
        let mut aside = SetAside::default();
        aside.put(
            &key(),
            &version(dot(1, 5), KeyContext::from_parts([dot(1, 1), dot(2, 3), dot(2, 9)], VectorClock::new())),
        );
        let claimed = aside.claimable([range(1, 1, 9), range(2, 3, 9), range(3, 1, 1)]);
        let expected: Knowledge = [range(1, 2, 4), range(1, 6, 9), range(2, 4, 8), range(3, 1, 1)].into_iter().fold(
            Knowledge::new(),
            |mut all, range| {
                all.add_range(range);
                all
            },
        );
        assert_eq!(claimed, expected);
    }

    #[test]
    fn a_collapsed_context_takes_its_replica_out() {
        let mut aside = SetAside::default();
        aside.put(&key(), &version(dot(1, 5), KeyContext::from_parts([], VectorClock::from_iter([dot(2, 3)]))));
        let claimed = aside.claimable([range(1, 1, 4), range(2, 1, 9)]);
        assert!(claimed.contains(dot(1, 4)) && !claimed.contains(dot(2, 9)));
        assert!(aside.hides_any([range(1, 1, 1), range(2, 9, 9)]) && !aside.hides_any([range(1, 1, 9)]));
    }

    #[test]
    fn a_context_spares_what_it_names_of_its_own_key_alone() {
        let mut aside = SetAside::default();
        let context = KeyContext::from_parts([dot(3, 7)], VectorClock::from_iter([dot(2, 3)]));
        aside.put(&key(), &version(dot(1, 5), context));
        assert!(aside.superseded(&key(), dot(2, 2)) && aside.superseded(&key(), dot(3, 7)));
        assert!(!aside.superseded(&key(), dot(2, 4)) && !aside.superseded(&Key::new("other").unwrap(), dot(2, 2)));
    }

    #[test]
    fn more_than_is_remembered_voids_the_claim() {
        let mut aside = SetAside::default();
        for counter in 1..=70_000 {
            aside.put(&key(), &version(dot(1, counter), KeyContext::new()));
        }
        assert!(aside.claimable([range(2, 1, 9)]).is_empty());
    }

    #[test]
    fn one_version_put_aside_again_and_again_is_bounded() {
        let mut aside = SetAside::default();
        let context = KeyContext::from_parts([dot(2, 1)], VectorClock::from_iter([dot(3, 1)]));
        for _ in 0..70_000 {
            aside.put(&key(), &version(dot(1, 5), context.clone()));
        }
        let kept: usize = aside.contexts.values().map(Vec::len).sum();
        assert!(aside.hides_all() && kept <= MAX_NAMED / 3, "{kept} were kept");
    }
}
