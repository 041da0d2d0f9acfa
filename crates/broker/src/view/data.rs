//! Which brokers hold which data, by name.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{NodeId, ReplicaId};

use crate::fact::{ContentHash, DataFact, DataId, DataName, DataState};

/// All that is known of where data is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DataIndex {
    entries: BTreeMap<DataId, BTreeMap<ReplicaId, DataFact>>,
    /// What each incarnation says that it holds.
    held: BTreeMap<ReplicaId, BTreeSet<DataId>>,
}

/// What was published: two are the same data only if both agree.
pub(crate) type Content = (ContentHash, u64);

impl DataIndex {
    /// Folds a fact: the greatest of each writer holds. Says whether that was news.
    pub(super) fn join(&mut self, id: DataId, by: ReplicaId, fact: DataFact) -> bool {
        let known = self.entries.entry(id).or_default();
        if known.get(&by).is_some_and(|known| *known >= fact) {
            return false;
        }
        let held = self.held.entry(by).or_default();
        match fact.state {
            DataState::Present => held.insert(id),
            DataState::Gone => held.remove(&id),
        };
        known.insert(by, fact);
        true
    }

    pub(crate) fn fact(&self, id: DataId, by: ReplicaId) -> Option<&DataFact> {
        self.entries.get(&id)?.get(&by)
    }

    /// How many names are known.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many names this incarnation says that it holds.
    pub(crate) fn held_count(&self, by: ReplicaId) -> usize {
        self.held.get(&by).map_or(0, BTreeSet::len)
    }

    /// The names that incarnations of one broker say that they hold.
    pub(crate) fn held_by(&self, incarnations: impl Iterator<Item = ReplicaId>) -> BTreeSet<DataId> {
        incarnations.filter_map(|replica| self.held.get(&replica)).flatten().copied().collect()
    }

    /// The last word of each broker about a name: that of greatest revision among its incarnations, and of the later
    /// incarnation at equal revision. A broker of which nothing is known but its word counts for itself.
    pub(crate) fn last_words(
        &self,
        id: DataId,
        who: impl Fn(ReplicaId) -> Option<(NodeId, u64)>,
    ) -> Vec<(ReplicaId, &DataFact)> {
        let mut brokers = BTreeMap::new();
        for (replica, fact) in self.entries.get(&id).into_iter().flatten() {
            let (broker, incarnation) = match who(*replica) {
                Some((node, incarnation)) => ((Some(node), None), incarnation),
                None => ((None, Some(*replica)), 0),
            };
            let word = (fact.revision, incarnation, *replica);
            let best = brokers.entry(broker).or_insert((word, fact));
            if best.0 < word {
                *best = (word, fact);
            }
        }
        brokers.into_values().map(|((.., replica), fact)| (replica, fact)).collect()
    }

    /// What a name is called, if anything is known under it.
    pub(crate) fn name(&self, id: DataId) -> Option<&DataName> {
        self.entries.get(&id)?.values().next().map(|fact| &fact.name)
    }
}
