//! The fold of the facts about members: who counts, who no longer does, and what everybody has.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::digest::sip24_64;
use reconvene_clock::{Counter, Dot, NodeId, ReplicaId, VectorClock};

use crate::fact::Fact;
use crate::{Member, Retirement};

/// Which membership a replica goes by: the number of distinct member and retirement facts it holds, and their hash.
///
/// Equal epochs mean equal sets of facts. Two sides of a cut may hold different ones for a while; nothing depends on
/// their being equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Epoch {
    /// How many facts.
    pub facts: u64,
    /// Their hash, whatever the order they came in.
    pub hash: u64,
}

/// Everything known of members. A pure function of the facts and acknowledgements it was given, in any order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    members: BTreeMap<ReplicaId, Member>,
    /// For each retired replica, who says so and what that author held of it.
    retired: BTreeMap<ReplicaId, BTreeMap<ReplicaId, Option<Counter>>>,
    /// The last prefix that a replica declared durable, by itself or through others. Never lowered.
    acks: BTreeMap<ReplicaId, VectorClock>,
}

impl Members {
    /// Takes in a fact, and says whether it changed anything.
    pub(crate) fn learn(&mut self, fact: &Fact) -> bool {
        match fact {
            Fact::Member(member) => self.members.insert(member.replica, member.clone()).as_ref() != Some(member),
            Fact::Retirement(Retirement { replica, author, cut }) => {
                let authors = self.retired.entry(*replica).or_default();
                match authors.entry(*author) {
                    Entry::Vacant(entry) => {
                        entry.insert(*cut);
                        true
                    }
                    Entry::Occupied(mut entry) => {
                        let grew = *cut > *entry.get();
                        if grew {
                            entry.insert(*cut);
                        }
                        grew
                    }
                }
            }
            Fact::Acknowledgement(ack) => self.acknowledge(ack.replica, &ack.prefix),
        }
    }

    /// Takes in what a replica declared durable, and says whether that is more than before.
    pub(crate) fn acknowledge(&mut self, replica: ReplicaId, prefix: &VectorClock) -> bool {
        self.acks.entry(replica).or_default().merge(prefix)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn get(&self, replica: ReplicaId) -> Option<&Member> {
        self.members.get(&replica)
    }

    pub(crate) fn is_retired(&self, replica: ReplicaId) -> bool {
        self.retired.contains_key(&replica)
    }

    /// The greatest counter of a retired replica that any author of its retirement held.
    pub(crate) fn cut_of(&self, replica: ReplicaId) -> Option<Counter> {
        self.retired.get(&replica)?.values().copied().max().flatten()
    }

    /// Whether `author` has retired `replica`.
    pub(crate) fn has_retired(&self, author: ReplicaId, replica: ReplicaId) -> bool {
        self.retired.get(&replica).is_some_and(|authors| authors.contains_key(&author))
    }

    /// Who looks after what a retired replica left behind: the first of its retirement's authors that still counts. If all
    /// of them are retired by now, whoever looks after what those left.
    pub(crate) fn heir_of(&self, replica: ReplicaId) -> Option<ReplicaId> {
        let (mut asked, mut seen) = (vec![replica], BTreeSet::from([replica]));
        let mut next = 0_usize;
        while let Some(replica) = asked.get(next) {
            let authors = || self.retired.get(replica).into_iter().flat_map(BTreeMap::keys).copied();
            if let Some(heir) = authors().find(|author| !self.is_retired(*author)) {
                return Some(heir);
            }
            let further: Vec<ReplicaId> = authors().filter(|author| seen.insert(*author)).collect();
            asked.extend(further);
            next = next.saturating_add(1);
        }
        None
    }

    /// Whether every replica of a node is retired, and there is one.
    pub(crate) fn node_is_retired(&self, node: NodeId) -> bool {
        if self.retired.is_empty() {
            return false;
        }
        let mut of_node = self.members.values().filter(|member| member.node == node).peekable();
        of_node.peek().is_some() && of_node.all(|member| self.is_retired(member.replica))
    }

    /// The replicas of a node that still count.
    pub(crate) fn counting_of(&self, node: NodeId) -> impl Iterator<Item = ReplicaId> {
        self.counting().filter(move |replica| self.members.get(replica).is_some_and(|member| member.node == node))
    }

    /// The greatest incarnation number of a node.
    pub(crate) fn incarnation_of(&self, node: NodeId) -> u64 {
        self.iter().filter(|member| member.node == node).map(|member| member.incarnation).max().unwrap_or(0)
    }

    /// Everybody whose acknowledgement counts: all members but the retired, however long they have been silent.
    pub(crate) fn counting(&self) -> impl Iterator<Item = ReplicaId> {
        self.members.keys().copied().filter(|replica| !self.is_retired(*replica))
    }

    /// What everybody has: the pointwise minimum over all who count. A member without an acknowledgement has nothing.
    ///
    /// `own` is the replica that asks, whose acknowledgement is its own prefix. Alone, that is the answer.
    pub(crate) fn stable(&self, own: ReplicaId, prefix: &VectorClock) -> VectorClock {
        self.stable_among(own, prefix, |_| true)
    }

    /// The same over those members alone who `count`.
    pub(crate) fn stable_among(
        &self,
        own: ReplicaId,
        prefix: &VectorClock,
        count: impl Fn(ReplicaId) -> bool,
    ) -> VectorClock {
        let mut stable = prefix.clone();
        for replica in self.counting().filter(|replica| *replica != own && count(*replica)) {
            match self.acks.get(&replica) {
                Some(ack) => stable.meet(ack),
                None if reconvene_store::sabotage::on(16) => {}
                None => return VectorClock::new(),
            }
        }
        stable
    }

    /// Those who count and have not declared `dot` durable, the asking replica apart.
    pub(crate) fn lacking(&self, own: ReplicaId, dot: Dot) -> impl Iterator<Item = ReplicaId> {
        let has = move |replica: &ReplicaId| self.acks.get(replica).is_some_and(|ack| ack.contains(dot));
        self.counting().filter(move |replica| *replica != own && !has(replica))
    }

    /// Whether all that members declared durable is within `prefix`, so that nothing they wrote before is still to come.
    pub(crate) fn acks_are_within(&self, own: ReplicaId, prefix: &VectorClock) -> bool {
        let mut others = self.counting().filter(|replica| *replica != own);
        others.all(|replica| self.acks.get(&replica).is_some_and(|ack| prefix.dominates(ack)))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        let mut epoch = Epoch::default();
        let mut count = |numbers: [u64; 4]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
            epoch.facts = epoch.facts.saturating_add(1);
            // Any order gives the same sum.
            epoch.hash = epoch.hash.wrapping_add(sip24_64(b"reconvene epoch ", &bytes));
        };
        for member in self.members.values() {
            let [high, low] = halves(member.node);
            count([member.replica.get(), member.incarnation, high, low]);
        }
        for (replica, authors) in &self.retired {
            for (author, cut) in authors {
                count([u64::MAX, replica.get(), author.get(), cut.map_or(0, Counter::get)]);
            }
        }
        epoch
    }
}

fn halves(node: NodeId) -> [u64; 2] {
    let number = u128::from_be_bytes(*node.as_bytes());
    let low = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
    [u64::try_from(number >> 64).unwrap_or(0), low]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Acknowledgement;
    use proptest::prelude::*;

    fn replica(number: u64) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    fn prefix(counters: [u64; 3]) -> VectorClock {
        let entries = counters.into_iter().zip(1..);
        entries.filter_map(|(counter, number)| Some(Dot::new(replica(number), Counter::new(counter)?))).collect()
    }

    fn member(number: u64) -> Fact {
        let node = NodeId::from_bytes([u8::try_from(number % 2).unwrap(); 16]);
        Fact::Member(Member { replica: replica(number), node, incarnation: number, address: None })
    }

    fn fact() -> impl Strategy<Value = Fact> {
        prop_oneof![
            (1..4_u64).prop_map(member),
            (1..4_u64, 1..4_u64, 0..5_u64).prop_map(|(of, author, cut)| {
                Fact::Retirement(Retirement { replica: replica(of), author: replica(author), cut: Counter::new(cut) })
            }),
            (1..4_u64, proptest::array::uniform3(0..5_u64)).prop_map(|(of, counters)| {
                Fact::Acknowledgement(Acknowledgement { replica: replica(of), prefix: prefix(counters) })
            }),
        ]
    }

    proptest! {
        #[test]
        fn law_membership_ignores_order(
            facts in proptest::collection::vec(fact(), 0..20),
            seed in any::<u64>(),
            counters in proptest::array::uniform3(0..5_u64),
        ) {
            let mut other = facts.clone();
            crate::rng::Rng::new(seed).draw(&mut other, facts.len());
            let fold = |facts: &[Fact]| {
                let mut members = Members::default();
                for fact in facts {
                    members.learn(fact);
                }
                // Again: nothing changes.
                assert!(facts.iter().all(|fact| matches!(fact, Fact::Member(_)) || !members.learn(fact)));
                (members.epoch(), members.stable(replica(1), &prefix(counters)), members.cut_of(replica(2)))
            };
            prop_assert_eq!(fold(&facts), fold(&other));
        }

        #[test]
        fn law_stable_is_what_every_counting_member_has(
            facts in proptest::collection::vec(fact(), 0..20),
            counters in proptest::array::uniform3(0..5_u64),
        ) {
            let mut members = Members::default();
            for fact in &facts {
                members.learn(fact);
            }
            let own = prefix(counters);
            let stable = members.stable(replica(1), &own);
            for number in 1..4 {
                for counter in 1..5 {
                    let dot = Dot::new(replica(number), Counter::new(counter).unwrap());
                    let everybody = own.contains(dot) && members.lacking(replica(1), dot).next().is_none();
                    prop_assert_eq!(stable.contains(dot), everybody);
                }
            }
        }
    }

    #[test]
    fn a_silent_member_holds_back_and_a_retired_one_does_not() {
        let mut members = Members::default();
        let (one, two) = (replica(1), replica(2));
        let own = prefix([5, 5, 5]);
        assert_eq!(members.stable(one, &own), own, "alone");
        members.learn(&member(1));
        members.learn(&member(2));
        assert!(members.stable(one, &own).is_empty(), "never heard of");
        members.acknowledge(two, &prefix([3, 9, 0]));
        assert_eq!(members.stable(one, &own), prefix([3, 5, 0]));
        members.learn(&Fact::Retirement(Retirement { replica: two, author: one, cut: None }));
        assert_eq!(members.stable(one, &own), own);
        assert_eq!(members.heir_of(two), Some(one));
    }

    #[test]
    fn whoever_retired_the_heir_is_the_heir() {
        let retires = |author, replica| Fact::Retirement(Retirement { replica, author, cut: None });
        let mut members = Members::default();
        let (one, two, three) = (replica(1), replica(2), replica(3));
        members.learn(&retires(two, one));
        assert_eq!(members.heir_of(one), Some(two));
        members.learn(&retires(three, two));
        assert_eq!(members.heir_of(one), Some(three));
        members.learn(&retires(one, three));
        assert_eq!(members.heir_of(one), None, "a circle has no heir");
    }
}
